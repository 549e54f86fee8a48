//! The place of a job in the queue for GPUs: a small container that lives as long as the connection to its standard input.
//! The engine ends it with whoever held that, however they end, and its clock says who came first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use gpubay_protocol::agent::{AGENT_DIR, RUN_DIR};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::leases::{holding, is_alive, is_unstarted, now};
use super::{Role, Workspace, delivery, labels, unique, visibility};
use crate::config::model::{GpuSelection, Mount, MountSource};
use crate::engine::{Attached, ContainerState, Engine, Listed, Stdio};
use crate::error::{Error, Result};
use crate::gpu::lease::Held;
use crate::mirror;
use crate::{ContainerPath, HostPath};

/// Of run folders: behind the workspace's place, where a job has its name. No job's begins with a dot.
const RUN: &str = ".waits-";

/// What has changed is told by the engine; this is for what it does not tell, such as a start that never comes.
const NOW_AND_THEN: Duration = Duration::from_secs(4);
/// Several things happen together.
const SETTLE: Duration = Duration::from_millis(100);
/// An engine that does not answer may be about to be started again.
const AGAIN: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);

/// The code of: what stood in the queue has ended with the engine.
pub(super) const GONE: &str = "ticket_gone";

/// The label [`labels::LEASE`] of a ticket, and the state of a job that waits.
pub(super) const WAITING: &str = "waiting";

/// Whether it stands in a queue for somebody.
pub(super) fn is_ticket(container: &Listed) -> bool {
    container.label(labels::LEASE) == WAITING && container.label(labels::ROLE) == Role::Helper.as_str()
}

/// Whether a job waits by it.
pub(super) fn waits(container: &Listed) -> bool {
    is_ticket(container) && is_alive(container)
}

/// What would do for it.
fn wanted(ticket: &Listed) -> Option<Held> {
    Held::given(ticket.label(labels::GPUS), ticket.label(labels::DEVICES))
}

/// Somebody in the queue, as everybody sees it.
#[derive(Clone, Debug)]
pub(super) struct InLine {
    pub(super) by: Listed,
    /// 1 is next. Those who want other GPUs do not count.
    pub(super) place: usize,
}

impl InLine {
    /// `waiting, 2nd for GPU 0`
    pub(super) fn status(&self) -> String {
        let each = matches!(
            crate::config::parse_gpus(self.by.label(labels::ASKED)),
            Ok(GpuSelection::Named(_) | GpuSelection::All)
        );
        let what = wanted(&self.by).map_or_else(|| "GPUs".to_owned(), |held| held.shown(each));
        format!("{WAITING}, {} for {what}", ordinal(self.place))
    }
}

fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Who waits of all containers that were `found`, in their order.
///
/// # Errors
/// The engine's own.
pub(super) async fn in_line(engine: &Engine, found: &[Listed]) -> Result<Vec<InLine>> {
    let mut tickets = Vec::new();
    for by in found.iter().filter(|container| waits(container)) {
        // A list tells the second only, in which several may have come.
        if let Some(seen) = engine.container(&by.id).await? {
            tickets.push((seen.created, by.clone()));
        }
    }
    tickets.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
    Ok(placed(tickets.into_iter().map(|(_, by)| by)))
}

/// `tickets` in their order.
fn placed(tickets: impl Iterator<Item = Listed>) -> Vec<InLine> {
    let mut line: Vec<InLine> = Vec::new();
    for by in tickets {
        let own = wanted(&by);
        let meets = |one: &&InLine| Option::zip(wanted(&one.by), own.as_ref()).is_some_and(|(one, own)| one.meets(own));
        let place = 1 + line.iter().filter(meets).count();
        line.push(InLine { by, place });
    }
    line
}

/// Who waits on this engine, whoever it is.
///
/// # Errors
/// The engine's own.
pub(super) async fn all(engine: &Engine) -> Result<Vec<InLine>> {
    let found = engine.list(&[(labels::LEASE, WAITING), (labels::ID, "")]).await?;
    in_line(engine, &found).await
}

/// Those of this workspace's jobs.
///
/// # Errors
/// The engine's own.
pub(super) async fn of_workspace(workspace: &Workspace) -> Result<Vec<InLine>> {
    let owner = workspace.host.uid.to_string();
    let own = |line: &InLine| line.by.label(labels::ID) == workspace.id() && line.by.label(labels::OWNER) == owner;
    Ok(all(&workspace.engine).await?.into_iter().filter(own).collect())
}

/// Takes away what processes left that were killed while they took a ticket: that is done under the workspace's lock, which is
/// ours.
pub(super) async fn sweep(workspace: &Workspace) -> Result<()> {
    let found = workspace.engine.list(&[(labels::ID, workspace.id()), (labels::LEASE, WAITING)]).await?;
    for left in found.iter().filter(|container| is_ticket(container) && is_unstarted(container)) {
        workspace.engine.remove_unstarted(&left.id).await?;
    }
    let folder = workspace.shared().join("run");
    let used = |path: &HostPath| {
        let sources = found.iter().filter(|container| waits(container)).flat_map(|container| &container.mounts);
        sources.filter_map(|mount| mount.source.as_deref()).any(|source| std::path::Path::new(source) == path.as_path())
    };
    let begins = format!("{}-{RUN}", workspace.place);
    for entry in std::fs::read_dir(folder.as_path()).into_iter().flatten().flatten() {
        let Some(name) = entry.file_name().to_str().filter(|name| name.starts_with(&begins)).map(str::to_owned) else {
            continue;
        };
        if !used(&folder.join(&name))
            && let Err(error) = mirror::remove_below(&workspace.shared(), "run", &name)
        {
            tracing::debug!(name, %error, "it stays");
        }
    }
    Ok(())
}

fn ended(name: &str) -> Error {
    Error::new("ticket_lost", format!("the wait of job {name} was ended: what stood in the queue for it was removed"))
        .with_hint(
            "`gpubay stop`, `gpubay rm` and `gpubay down` do that. Run it again: it waits behind the others then.",
        )
}

/// The tickets of those who came before; of everybody for who has none.
pub(super) async fn ahead_of<'a>(
    engine: &Engine,
    found: &'a [Listed],
    own: Option<&Ticket>,
) -> Result<Vec<&'a Listed>> {
    let mut ahead = Vec::new();
    for ticket in found.iter().filter(|container| is_ticket(container) && is_alive(container)) {
        let first = match own {
            None => true,
            Some(own) if own.id == ticket.id => false,
            Some(own) => {
                let Some(made) = own.made(engine, ticket).await? else { continue };
                (made, &ticket.id) < (own.created, &own.id)
            }
        };
        if first {
            ahead.push(ticket);
        }
    }
    ahead.sort_by_key(|ticket| ticket.created);
    Ok(ahead)
}

/// Who is to wait.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    /// The job's.
    pub(super) name: &'a str,
    pub(super) argv: &'a [String],
    /// Its wish, as `--gpus` takes it.
    pub(super) asked: &'a str,
    /// What would do for it.
    pub(super) wanted: Held,
}

/// A place in the queue. It is given back at the end of its life, however that comes.
pub(super) struct Ticket {
    id: String,
    /// The job's.
    name: String,
    created: i128,
    wanted: Held,
    /// When the others were made.
    made: Mutex<HashMap<String, i128>>,
    run: HostPath,
    news: News,
    /// The engine ends the container with this.
    _line: Mutex<Attached>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("id", &self.id).field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Ticket {
    /// Takes one for a job, under the workspace's lock. `image` is any that the engine has, `agent` our program on the host.
    ///
    /// # Errors
    /// The engine's own.
    pub(super) async fn take(workspace: &Workspace, job: &Waiter<'_>, image: &str, agent: &HostPath) -> Result<Self> {
        let Waiter { name, argv, asked, wanted } = job;
        let run = workspace.shared().join("run").join(format!("{}-{RUN}{}", workspace.place, unique()));
        std::fs::create_dir_all(run.as_path()).map_err(delivery::at(run.as_path()))?;
        let inside = |path: &str| ContainerPath::new(path).expect("a constant path");
        let mount = |source: &HostPath, target: &str, read_only| Mount {
            source: MountSource::Host(source.clone()),
            target: inside(target),
            read_only,
        };
        let mut spec = workspace.helper_spec(image);
        spec.name = format!("gpubay-waits-{}-{}", workspace.id8(), unique());
        let (gpus, devices) = wanted.labels();
        let command = serde_json::to_string(argv).unwrap_or_default();
        let own = [
            (labels::LEASE, WAITING),
            (labels::JOB, name),
            (labels::COMMAND, &command),
            (labels::ASKED, asked),
            (labels::GPUS, &gpus),
            (labels::DEVICES, &devices),
        ];
        spec.labels.extend(own.map(|(label, value)| (label.to_owned(), value.to_owned())));
        // A conversation over its standard input, which ends when that does.
        spec.cmd = vec!["stdio".to_owned()];
        spec.stdio = Stdio::Attached { tty: false };
        spec.mounts = vec![mount(agent, &format!("{AGENT_DIR}/bin"), true), mount(&run, RUN_DIR, false)];
        let id = workspace.engine.create(&spec).await?;
        let started = async {
            workspace.reach("ticket.created")?;
            visibility::check(workspace, &id, &run, None).await.map_err(visibility::Problem::into_error)?;
            let line = workspace.engine.attach(&id).await?;
            workspace.engine.start(&id).await?;
            let created = workspace.engine.container(&id).await?.map(|seen| seen.created);
            Ok::<_, Error>((line, created.ok_or_else(|| ended(name))?))
        };
        match started.await {
            Ok((line, created)) => Ok(Self {
                id,
                name: (*name).to_owned(),
                created,
                wanted: wanted.clone(),
                made: Mutex::default(),
                run,
                news: News::of(&workspace.engine),
                _line: Mutex::new(line),
            }),
            Err(error) => {
                let _ = workspace.engine.remove(&id).await;
                let _ = std::fs::remove_dir_all(run.as_path());
                Err(error)
            }
        }
    }

    /// When another ticket was made, by the engine's own clock; a list of containers tells only the second.
    async fn made(&self, engine: &Engine, other: &Listed) -> Result<Option<i128>> {
        let known = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&other.id).copied();
        if known.is_some() {
            return Ok(known);
        }
        let Some(seen) = engine.container(&other.id).await? else { return Ok(None) };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(other.id.clone(), seen.created);
        Ok(Some(seen.created))
    }

    /// Nobody waits any more.
    pub(super) async fn give_back(self, workspace: &Workspace) {
        if let Err(error) = workspace.engine.remove(&self.id).await {
            tracing::debug!(%error, "the ticket ends with its connection");
        }
    }

    /// Waits until it is worth to try: everybody who came before has gone, and something has changed since the last time.
    /// `told` hears how many of those there are. `memory`: it may come free without any container that ends.
    ///
    /// # Errors
    /// `cancelled`; `ticket_lost`; [`GONE`]; the engine's own, once it has not answered for long.
    pub(super) async fn turn(
        &self,
        workspace: &Workspace,
        memory: bool,
        seen: &mut Option<Seen>,
        patience: &mut Patience,
        told: &mut impl FnMut(usize),
    ) -> Result<()> {
        // Looking at everything anew costs more than to see who is there.
        let anyway = if memory { Duration::from_secs(3) } else { Duration::from_secs(30) };
        let began = Instant::now();
        loop {
            let (before, now) = match self.look(workspace).await {
                Ok(Some(looked)) => looked,
                Ok(None) => return Err(self.missing(patience)),
                Err(error) => {
                    patience.after(workspace, &self.name, error).await?;
                    continue;
                }
            };
            patience.answered(workspace);
            told(before);
            if before == 0 && (seen.as_ref() != Some(&now) || began.elapsed() >= anyway) {
                *seen = Some(now);
                return Ok(());
            }
            tokio::select! {
                () = self.news.heard() => {}
                () = tokio::time::sleep(NOW_AND_THEN.min(anyway)) => {}
                () = workspace.progress.cancel.cancelled() => return Err(cancelled()),
            }
        }
    }

    /// Whether it still stands in the queue: asked right before what was waited for starts.
    ///
    /// # Errors
    /// `ticket_lost`; [`GONE`]; the engine's own.
    pub(super) async fn stands(&self, workspace: &Workspace, patience: &Patience) -> Result<()> {
        match workspace.engine.container(&self.id).await? {
            Some(found) if found.state == ContainerState::Running => Ok(()),
            _ => Err(self.missing(patience)),
        }
    }

    /// An engine that did not answer since it was seen last took it along; else somebody ended the wait.
    fn missing(&self, patience: &Patience) -> Error {
        if patience.0.is_some() { gone(&self.name) } else { ended(&self.name) }
    }

    /// How many are before it, and who holds something. `None`: it stands in no queue any more.
    async fn look(&self, workspace: &Workspace) -> Result<Option<(usize, Seen)>> {
        let found = workspace.engine.list(&[(labels::ID, "")]).await?;
        if !found.iter().any(|container| container.id == self.id && is_alive(container)) {
            return Ok(None);
        }
        let ahead = ahead_of(&workspace.engine, &found, Some(self)).await?;
        let before = ahead.iter().filter(|ticket| wanted(ticket).is_some_and(|held| held.meets(&self.wanted))).count();
        let others = found.iter().filter(|by| holding(by, None, now()).is_some()).map(|by| by.id.clone());
        Ok(Some((before, Seen(others.collect()))))
    }
}

fn cancelled() -> Error {
    Error::new("cancelled", "cancelled while the job waited for its GPUs")
}

fn gone(name: &str) -> Error {
    Error::new(GONE, format!("what stood in the queue for job {name} has ended with the engine"))
}

/// That the engine has told something.
struct News {
    told: Arc<Notify>,
    listens: AbortHandle,
}

impl News {
    fn of(engine: &Engine) -> Self {
        let told = Arc::new(Notify::new());
        let (tell, engine) = (told.clone(), engine.clone());
        let listens = tokio::spawn(async move {
            loop {
                let mut events = std::pin::pin!(engine.events(labels::ID, ""));
                while let Some(Ok(_)) = events.next().await {
                    tell.notify_one();
                }
                tell.notify_one();
                tokio::time::sleep(NOW_AND_THEN).await;
            }
        });
        Self { told, listens: listens.abort_handle() }
    }

    async fn heard(&self) {
        self.told.notified().await;
        tokio::time::sleep(SETTLE).await;
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.listens.abort();
    }
}

/// With an engine that does not answer for a while.
#[derive(Debug, Default)]
pub(super) struct Patience(Option<Instant>);

impl Patience {
    /// Waits a moment after a failure that may pass.
    ///
    /// # Errors
    /// `cancelled`; the failure, where it will not pass or has not for long.
    pub(super) async fn after(&mut self, workspace: &Workspace, job: &str, error: Error) -> Result<()> {
        if !passes(&error) {
            return Err(error);
        }
        if self.0.is_none() {
            workspace.progress.note(format!("job {job} waits for the engine, too: {}", error.message));
        }
        if self.0.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(error);
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => Ok(()),
            () = workspace.progress.cancel.cancelled() => Err(cancelled()),
        }
    }

    fn answered(&mut self, workspace: &Workspace) {
        if self.0.take().is_some() {
            workspace.progress.note("the engine answers again");
        }
    }
}

/// Whether it is about the engine not being there, and not about what it was asked.
pub(super) fn passes(error: &Error) -> bool {
    matches!(error.code, "engine_lost" | "engine_stopped" | "engine_unreachable" | "no_engine")
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.run.as_path());
    }
}

/// The containers that held something when it was looked last.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen(Vec<String>);

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(with: &[(&str, &str)]) -> Listed {
        let waiting = [(labels::ROLE, "helper"), (labels::LEASE, WAITING)];
        let with = waiting.iter().chain(with).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Listed {
            id: "c".to_owned(),
            name: String::new(),
            image: String::new(),
            image_id: String::new(),
            labels: with.collect(),
            state: "running".to_owned(),
            status: String::new(),
            created: 0,
            mounts: Vec::new(),
        }
    }

    #[test]
    fn only_who_waits_is_a_ticket() {
        assert!(waits(&ticket(&[])));
        for other in [(labels::LEASE, ""), (labels::LEASE, "exclusive"), (labels::ROLE, "job")] {
            assert!(!is_ticket(&ticket(&[other])), "{other:?}");
        }
        let ended = Listed { state: "exited".to_owned(), ..ticket(&[]) };
        assert!(is_ticket(&ended) && !waits(&ended));
    }

    #[test]
    fn a_place_counts_those_who_want_the_same() {
        let wants = |asked: &str, gpus: &str| ticket(&[(labels::ASKED, asked), (labels::GPUS, gpus)]);
        let line = placed(
            [wants("0", "0"), wants("1", "1"), wants("auto", "0,1"), wants("0,1", "0,1"), wants("all", "all")]
                .into_iter(),
        );
        let said: Vec<String> = line.iter().map(InLine::status).collect();
        assert_eq!(
            said,
            [
                "waiting, 1st for GPU 0",
                "waiting, 1st for GPU 1",
                "waiting, 3rd for GPU 0 or 1",
                "waiting, 4th for GPU 0 and 1",
                "waiting, 5th for all GPUs",
            ]
        );
        for (number, want) in [(2, "2nd"), (11, "11th"), (21, "21st"), (112, "112th"), (103, "103rd")] {
            assert_eq!(ordinal(number), want);
        }
    }

    #[test]
    fn foreign_words_stay_words() {
        let line = InLine { by: ticket(&[(labels::ASKED, "\u{1b}[2J"), (labels::GPUS, "\u{1b}[31m,0")]), place: 1 };
        assert!(!line.status().contains('\u{1b}'), "{}", line.status());
        let many: String = (0..5000).map(|index| format!("{index},")).collect();
        let line = InLine { by: ticket(&[(labels::GPUS, &many)]), place: 1 };
        assert!(line.status().len() < 200, "{}", line.status());
    }
}
