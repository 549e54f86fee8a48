//! Who has which GPU, read from the engine each time: containers are the leases, and who waits is a container, too.
//!
//! Nothing is written down: a lease ends with its container, also where its process was killed or the machine went down. The
//! ticket of who waits is a small container that lives as long as the connection to its standard input: the engine ends
//! it with whoever held that. Users, windows and machines that share an engine see the same.
//!
//! Two that choose at the same moment both make their container first and look then ([`confirm`]): at least one of them
//! sees the other, and the one that was made later goes back and chooses again.

use super::there::Reach;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gpubay_protocol::agent::{AGENT_DIR, RUN_DIR};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::gpus::{GpuLease, OfferedGpu};
use super::holders::Holders;
use super::report::GpuDevice;
use super::{Role, Workspace, choice, delivery, labels, unique, visibility};
use crate::config::model::{Mount, MountSource};
use crate::engine::{Attached, Engine, EngineError, Listed, Stdio};
use crate::error::{Error, Result};
use crate::gpu::gib;
use crate::gpu::lease::{Claims, Held, Kind, Lease};
use crate::progress::long;
use crate::quoting::printable;
use crate::{ContainerPath, HostPath};

/// Another job was given the same GPU at the same moment: it is to be chosen again.
pub(super) const RACED: &str = "gpu_raced";
/// The code of [`crate::gpu::GpuError::Taken`].
pub(super) const TAKEN: &str = "gpu_taken";
/// Between making a container and starting it lie some tenths of a second: one that takes so long has no process of ours any
/// more, or one that sleeps.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
const BEAT: Duration = Duration::from_millis(500);

/// A job's label [`labels::LEASE`].
pub(super) fn written(kind: Kind) -> &'static str {
    match kind {
        Kind::Shared => "shared",
        Kind::Exclusive => "exclusive",
    }
}

const WAITING: &str = "waiting";

/// Whether it stands in a queue for somebody.
pub(super) fn is_ticket(container: &Listed) -> bool {
    container.label(labels::LEASE) == WAITING && container.label(labels::ROLE) == Role::Helper.as_str()
}

/// Who asks for GPUs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asking<'a> {
    /// How they would be held.
    pub(super) kind: Kind,
    /// Who waits already, and where.
    pub(super) ticket: Option<&'a Ticket>,
}

/// A container that holds GPUs.
#[derive(Clone, Debug)]
struct Holding<'a> {
    by: &'a Listed,
    kind: Kind,
    held: Held,
}

fn is_unstarted(container: &Listed) -> bool {
    // The last two are Podman's.
    matches!(container.state.as_str(), "created" | "configured" | "initialized")
}

fn is_alive(container: &Listed) -> bool {
    // What is told to stop, as Podman has it, still computes.
    matches!(container.state.as_str(), "running" | "paused" | "restarting" | "stopping")
}

/// What a container holds now. One that is about to start holds its GPUs as well, for the short while that this may take.
/// `selected`: in a dev container in which the environment selects.
///
/// The clocks of two machines differ: this is good for a choice, of which [`confirm`] makes certain.
fn holding<'a>(by: &'a Listed, selected: Option<&[String]>, now: i64) -> Option<Holding<'a>> {
    let starts = is_unstarted(by) && now.saturating_sub(by.created) < STARTS_WITHIN.as_secs() as i64;
    may_hold(by, selected).filter(|_| is_alive(by) || starts)
}

/// The same, however long it has been about to start.
fn may_hold<'a>(by: &'a Listed, selected: Option<&[String]>) -> Option<Holding<'a>> {
    let (gpus, devices) = (by.label(labels::GPUS), by.label(labels::DEVICES));
    match by.label(labels::ROLE) {
        "job" if is_alive(by) || is_unstarted(by) => {
            let kind = if by.label(labels::LEASE) == written(Kind::Shared) { Kind::Shared } else { Kind::Exclusive };
            Some(Holding { by, kind, held: Held::given(gpus, devices)? })
        }
        "dev" if is_alive(by) => {
            let held = match selected {
                Some(visible) => Held::selected(devices, visible)?,
                None => Held::given(gpus, devices)?,
            };
            Some(Holding { by, kind: Kind::Shared, held })
        }
        _ => None,
    }
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// What others hold and wait for.
///
/// # Errors
/// The engine's own.
pub(super) async fn claims(workspace: &Workspace, asking: Asking<'_>) -> Result<Claims> {
    let found = workspace.engine.list(&[(labels::ID, "")]).await?;
    let mut people = Holders::default();
    let mut leases = Vec::new();
    for by in &found {
        let own = by.label(labels::ID) == workspace.id();
        let selected = choice::of_listed(by, workspace.engine.is_local()).map(|choice| choice.visible);
        let Some(Holding { kind, held, .. }) = holding(by, selected.as_deref(), now()) else { continue };
        // A job may use what its own workspace's dev container uses.
        if !(own && kind == Kind::Shared && by.label(labels::ROLE) == Role::Dev.as_str()) {
            leases.push(Lease { kind, held, who: who(workspace, &mut people, by).await });
        }
    }
    let mut ahead = Vec::new();
    if asking.kind == Kind::Exclusive {
        for by in ahead_of(workspace, &found, asking.ticket).await? {
            let Some(held) = Held::given(by.label(labels::GPUS), by.label(labels::DEVICES)) else { continue };
            ahead.push(Lease { kind: Kind::Exclusive, held, who: who(workspace, &mut people, by).await });
        }
    }
    Ok(Claims { kind: asking.kind, leases, ahead })
}

/// Adds to the devices who has them, and returns who waits.
///
/// # Errors
/// The engine's own.
pub(super) async fn show(engine: &Engine, people: &mut Holders, devices: &mut [OfferedGpu]) -> Result<Vec<GpuLease>> {
    let found = engine.list(&[(labels::ID, "")]).await?;
    let mut waiting = Vec::new();
    for by in &found {
        if is_ticket(by) && is_alive(by) {
            let lease = lease(WAITING, by, people).await;
            // A list tells the second only, in which several may have come.
            let created = engine.container(&by.id).await?.map_or(0, |seen| seen.created);
            waiting.push((created, lease));
            continue;
        }
        let choice = choice::of_listed(by, engine.is_local());
        let selected = choice.as_ref().map(|choice| choice.visible.as_slice());
        let Some(Holding { kind, held, .. }) = holding(by, selected, now()) else { continue };
        let lease = lease(written(kind), by, people).await;
        let inside = choice::told(&by.labels, choice.as_ref()).unwrap_or_default();
        for device in devices.iter_mut() {
            let place = device.index.map(|index| (index, device.slice));
            if held.has(place, device.uuid.as_deref()) {
                let is = |one: &&GpuDevice| match (&one.uuid, &device.uuid) {
                    (Some(inside), Some(outside)) => inside == outside,
                    _ => Some((one.index, one.slice)) == place,
                };
                let cuda = inside.iter().find(is).and_then(|one| one.cuda);
                device.leases.push(GpuLease { cuda, ..lease.clone() });
            }
        }
    }
    for device in devices {
        // The order of a list of containers is none.
        device.leases.sort_by(|a, b| (&a.kind, &a.since, &a.container).cmp(&(&b.kind, &b.since, &b.container)));
    }
    waiting.sort_by_key(|(created, _)| *created);
    Ok(waiting.into_iter().map(|(_, lease)| lease).collect())
}

/// What a label says, as far as anybody would read it.
fn text(by: &Listed, label: &str) -> Option<String> {
    const MOST: usize = 200;
    let text: String = printable(by.label(label)).chars().take(MOST).collect();
    Some(text).filter(|text| !text.is_empty())
}

async fn lease(kind: &str, by: &Listed, people: &mut Holders) -> GpuLease {
    let text = |label| text(by, label);
    let since = OffsetDateTime::from_unix_timestamp(by.created).ok().and_then(|since| since.format(&Rfc3339).ok());
    GpuLease {
        kind: kind.to_owned(),
        workspace: text(labels::WORKSPACE).unwrap_or_default(),
        job: text(labels::JOB),
        user: match by.label(labels::OWNER).parse() {
            Ok(uid) => Some(people.user(uid).await),
            Err(_) => None,
        },
        container: Some(printable(&by.name)),
        cuda: None,
        since,
    }
}

/// `job train of /home/ann/proj (ann), for 12 min`
async fn who(workspace: &Workspace, people: &mut Holders, by: &Listed) -> String {
    let own = by.label(labels::ID) == workspace.id();
    let folder = if own { "this workspace".to_owned() } else { text(by, labels::WORKSPACE).unwrap_or_default() };
    let what = match by.label(labels::ROLE) {
        "dev" => format!("the dev container of {folder}"),
        _ => format!("job {} of {folder}", text(by, labels::JOB).unwrap_or_default()),
    };
    // Who is not ours may say anything on its labels; its name is the engine's.
    let what = if own { what } else { format!("{what} (container {})", printable(&by.name)) };
    let user = match by.label(labels::OWNER).parse() {
        Ok(uid) if uid != workspace.host.uid => format!(" ({})", people.user(uid).await),
        _ => String::new(),
    };
    format!("{what}{user}, for {}", long(time::Duration::seconds(now().saturating_sub(by.created))))
}

/// The tickets of those who came before; of everybody for who has none.
async fn ahead_of<'a>(workspace: &Workspace, found: &'a [Listed], own: Option<&Ticket>) -> Result<Vec<&'a Listed>> {
    let mut ahead = Vec::new();
    for ticket in found.iter().filter(|container| is_ticket(container) && is_alive(container)) {
        let first = match own {
            None => true,
            Some(own) if own.id == ticket.id => false,
            Some(own) => {
                let Some(made) = own.made(workspace, ticket).await? else { continue };
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

pub(super) fn raced() -> Error {
    Error::new(RACED, "another job was given the same GPU at the same moment").with_hint("Run it again.")
}

/// After a job's container was made, and before it is started: whether its GPUs are its own.
///
/// # Errors
/// [`RACED`]: another was first. The engine's own.
pub(super) async fn confirm(workspace: &Workspace, id: &str, held: &Held) -> Result<()> {
    let own = workspace.engine.container(id).await?.ok_or_else(raced)?.created;
    let began = tokio::time::Instant::now();
    loop {
        let found = workspace.engine.list(&[(labels::ID, ""), (labels::ROLE, Role::Job.as_str())]).await?;
        let rivals = found.iter().filter(|rival| rival.id != id).filter_map(|rival| may_hold(rival, None));
        let rivals: Vec<&Listed> = rivals
            .filter(|rival| rival.kind == Kind::Exclusive && rival.held.meets(held))
            .map(|rival| rival.by)
            .collect();
        if rivals.is_empty() {
            return Ok(());
        }
        for rival in rivals {
            let Some(seen) = workspace.engine.container(&rival.id).await? else { continue };
            // Both by the engine's clock.
            let left = own - seen.created > STARTS_WITHIN.as_nanos() as i128 || began.elapsed() > STARTS_WITHIN;
            let first = (seen.created, seen.id.as_str()) < (own, id);
            if is_alive(rival) || first && !left {
                return Err(raced());
            }
            // One that was made later will see us and go, or it has seen nobody and starts. Who takes so long has no process
            // any more, or one that sleeps and will find its container gone.
            if left {
                match workspace.engine.remove_unstarted(&rival.id).await {
                    Ok(()) => {}
                    Err(EngineError::Conflict { .. } | EngineError::Refused { .. }) => return Err(raced()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Adds what sits on the GPUs and does nothing.
pub(super) async fn with_idle(workspace: &Workspace, error: Error) -> Error {
    /// What a context takes by itself is not worth a word.
    const WORTH: u64 = 1 << 30;
    let Ok(report) = super::gpus::gpus(workspace, Reach::Through).await else { return error };
    let idle: Vec<String> = report
        .devices
        .iter()
        .filter(|device| device.utilization == Some(0))
        .flat_map(|device| device.holders.iter().map(move |holder| (device, holder)))
        .filter_map(|(device, holder)| {
            let memory = holder.memory.filter(|memory| *memory >= WORTH)?;
            let place = device.index.map_or_else(|| device.select.clone(), |index| format!("GPU {index}"));
            let program = holder.program.as_deref().unwrap_or("a process");
            let user = holder.user.as_ref().map(|user| format!(", {user}")).unwrap_or_default();
            Some(format!("{program} ({}{user}) holds {} of {place}", holder.pid, gib(memory)))
        })
        .collect();
    if idle.is_empty() {
        return error;
    }
    Error { message: format!("{}; idle with memory held: {}", error.message, idle.join(", ")), ..error }
}

/// A place in the queue. It is given back at the end of its life, however that comes.
pub(super) struct Ticket {
    id: String,
    created: i128,
    wanted: Held,
    /// When the others were made.
    made: Mutex<HashMap<String, i128>>,
    run: HostPath,
    /// The engine ends the container with this.
    _line: Mutex<Attached>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("id", &self.id).field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Ticket {
    /// Takes one for the job `name`, which would do with some of `wanted`. `image` is any that the engine has, `agent` our
    /// program on the host.
    ///
    /// # Errors
    /// The engine's own.
    pub(super) async fn take(
        workspace: &Workspace,
        name: &str,
        wanted: Held,
        image: &str,
        agent: &HostPath,
    ) -> Result<Self> {
        let run = workspace.shared().join("run").join(format!("waits-{}", unique()));
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
        let own = [(labels::LEASE, WAITING), (labels::JOB, name), (labels::GPUS, &gpus), (labels::DEVICES, &devices)];
        spec.labels.extend(own.map(|(label, value)| (label.to_owned(), value.to_owned())));
        // A conversation over its standard input, which ends when that does.
        spec.cmd = vec!["stdio".to_owned()];
        spec.stdio = Stdio::Attached { tty: false };
        spec.mounts = vec![mount(agent, &format!("{AGENT_DIR}/bin"), true), mount(&run, RUN_DIR, false)];
        let id = workspace.engine.create(&spec).await?;
        let started = async {
            visibility::check(workspace, &id, &run, None).await.map_err(visibility::Problem::into_error)?;
            let line = workspace.engine.attach(&id).await?;
            workspace.engine.start(&id).await?;
            let created = workspace.engine.container(&id).await?.map(|seen| seen.created);
            let gone = || Error::new("ticket_lost", "what stood in the queue for the job was removed");
            Ok::<_, Error>((line, created.ok_or_else(gone)?))
        };
        match started.await {
            Ok((line, created)) => {
                Ok(Self { id, created, wanted, made: Mutex::default(), run, _line: Mutex::new(line) })
            }
            Err(error) => {
                let _ = workspace.engine.remove(&id).await;
                let _ = std::fs::remove_dir_all(run.as_path());
                Err(error)
            }
        }
    }

    /// When another ticket was made, by the engine's own clock; a list of containers tells only the second.
    async fn made(&self, workspace: &Workspace, other: &Listed) -> Result<Option<i128>> {
        let known = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&other.id).copied();
        if known.is_some() {
            return Ok(known);
        }
        let Some(seen) = workspace.engine.container(&other.id).await? else { return Ok(None) };
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
    /// `told` hears how many of those there are.
    ///
    /// # Errors
    /// `cancelled`; `ticket_lost`; the engine's own.
    pub(super) async fn turn(
        &self,
        workspace: &Workspace,
        seen: &mut Option<Seen>,
        told: &mut impl FnMut(usize),
    ) -> Result<()> {
        // Memory comes free without any container that ends.
        const NOW_AND_THEN: u32 = 6;
        let mut beats = 0;
        loop {
            let found = workspace.engine.list(&[(labels::ID, "")]).await?;
            if !found.iter().any(|container| container.id == self.id && is_alive(container)) {
                return Err(Error::new("ticket_lost", "what stood in the queue for the job was removed")
                    .with_hint("Run it again; `gpubay-waits-…` among the engine's containers are those who wait."));
            }
            let ahead = ahead_of(workspace, &found, Some(self)).await?;
            let in_the_way = |ticket: &&&Listed| {
                let held = Held::given(ticket.label(labels::GPUS), ticket.label(labels::DEVICES));
                held.is_some_and(|held| held.meets(&self.wanted))
            };
            let before = ahead.iter().filter(in_the_way).count();
            told(before);
            let others = found.iter().filter(|by| holding(by, None, now()).is_some()).map(|by| by.id.clone());
            let now = Seen(others.collect());
            if before == 0 && (seen.as_ref() != Some(&now) || beats >= NOW_AND_THEN) {
                *seen = Some(now);
                return Ok(());
            }
            beats += 1;
            tokio::select! {
                () = tokio::time::sleep(BEAT) => {}
                () = workspace.progress.cancel.cancelled() => {
                    return Err(Error::new("cancelled", "cancelled while the job waited for its GPUs"));
                }
            }
        }
    }
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
    use std::collections::BTreeMap;

    use super::*;

    fn container(state: &str, created: i64, with: &[(&str, &str)]) -> Listed {
        Listed {
            id: "c".to_owned(),
            name: String::new(),
            image: String::new(),
            image_id: String::new(),
            labels: with
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            state: state.to_owned(),
            status: String::new(),
            created,
            mounts: Vec::new(),
        }
    }

    #[test]
    fn what_lives_holds_what_it_was_given() {
        let job = [(labels::ROLE, "job"), (labels::GPUS, "nvidia.com/gpu=0")];
        for (state, created, held) in [
            ("running", 0, true),
            ("paused", 0, true),
            ("exited", 0, false),
            ("dead", 0, false),
            ("created", 995, true),
            ("created", 100, false),
            ("configured", 995, true),
        ] {
            let by = container(state, created, &job);
            assert_eq!(holding(&by, None, 1000).map(|held| held.kind), held.then_some(Kind::Exclusive), "{state}");
        }
        let with = |more: (&'static str, &'static str)| container("running", 0, &[job.as_slice(), &[more]].concat());
        let kind = |by: &Listed| holding(by, None, 0).map(|held| held.kind);
        assert_eq!(kind(&with((labels::LEASE, "shared"))), Some(Kind::Shared));
        assert_eq!(kind(&with((labels::LEASE, "exclusive"))), Some(Kind::Exclusive));
        assert_eq!(kind(&with((labels::GPUS, "none"))), None);
        assert_eq!(kind(&with((labels::ROLE, "dev"))), Some(Kind::Shared));
        assert_eq!(kind(&with((labels::ROLE, "helper"))), None);
        assert_eq!(kind(&container("created", 990, &[(labels::ROLE, "dev"), job[1]])), None);
    }

    #[test]
    fn where_the_environment_selects_only_that_is_held() {
        let dev = [(labels::ROLE, "dev"), (labels::GPUS, "all"), (labels::DEVICES, "0=GPU-a,1=GPU-b")];
        let by = container("running", 0, &dev);
        let held = |visible: &[&str]| {
            let visible: Vec<String> = visible.iter().map(|&uuid| uuid.to_owned()).collect();
            holding(&by, Some(&visible), 0).map(|held| held.held)
        };
        assert_eq!(held(&["GPU-b"]), Held::given("", "1=GPU-b"));
        assert_eq!(held(&[]), None);
        let soft = [(labels::ISOLATION, "soft"), (labels::VISIBLE, "GPU-a"), (labels::ASKED, "auto")];
        let selected = |by: &Listed| choice::of_listed(by, true).map(|choice| choice.visible);
        assert_eq!(selected(&container("running", 0, &[&dev[..], &soft].concat())), Some(vec!["GPU-a".to_owned()]));
        assert_eq!(selected(&by), None);
    }

    #[test]
    fn only_who_waits_is_a_ticket() {
        let waiting = (labels::LEASE, WAITING);
        assert!(is_ticket(&container("running", 0, &[(labels::ROLE, "helper"), waiting])));
        assert!(!is_ticket(&container("running", 0, &[(labels::ROLE, "helper")])));
        assert!(!is_ticket(&container("running", 0, &[(labels::ROLE, "job"), waiting])));
    }
}
