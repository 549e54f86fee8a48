//! Who has which GPU, read from the engine each time: containers are the leases, and who waits is a container, too.
//!
//! Nothing is written down: a lease ends with its container, also where its process was killed or the machine went down.
//! Users, windows and machines that share an engine see the same.
//!
//! Two that choose at the same moment both make their container first and look then ([`confirm`]): at least one of them
//! sees the other, and the one that was made later goes back and chooses again.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::gpus::{GpuLease, OfferedGpu};
use super::holders::Holders;
use super::report::GpuDevice;
use super::there::Reach;
use super::ticket::{self, Ticket};
use super::{Role, Workspace, choice, labels, watcher};
use crate::engine::{Engine, EngineError, Listed};
use crate::error::{Error, Result};
use crate::gpu::gib;
use crate::gpu::lease::{Claims, Held, Kind, Lease};
use crate::progress::long;
use crate::quoting::printable;

/// Another job was given the same GPU at the same moment: it is to be chosen again.
pub(super) const RACED: &str = "gpu_raced";
/// The code of [`crate::gpu::GpuError::Taken`].
pub(super) const TAKEN: &str = "gpu_taken";
/// Between making a container and starting it lie some tenths of a second: one that takes so long has no process of ours any
/// more, or one that sleeps.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A job's label [`labels::LEASE`].
pub(super) fn written(kind: Kind) -> &'static str {
    match kind {
        Kind::Shared => "shared",
        Kind::Exclusive => "exclusive",
    }
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
pub(super) struct Holding<'a> {
    by: &'a Listed,
    kind: Kind,
    held: Held,
}

pub(super) fn is_unstarted(container: &Listed) -> bool {
    // The last two are Podman's.
    matches!(container.state.as_str(), "created" | "configured" | "initialized")
}

pub(super) fn is_alive(container: &Listed) -> bool {
    // What is told to stop, as Podman has it, still computes.
    matches!(container.state.as_str(), "running" | "paused" | "restarting" | "stopping")
}

/// What a container holds now. One that is about to start holds its GPUs as well, for the short while that this may take.
/// `selected`: in a dev container in which the environment selects.
///
/// The clocks of two machines differ: this is good for a choice, of which [`confirm`] makes certain.
pub(super) fn holding<'a>(by: &'a Listed, selected: Option<&[String]>, now: i64) -> Option<Holding<'a>> {
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

pub(super) fn now() -> i64 {
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
        for by in ticket::ahead_of(&workspace.engine, &found, asking.ticket).await? {
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
    for by in &found {
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
    let mut waiting = Vec::new();
    for line in ticket::in_line(engine, &found).await? {
        waiting.push(lease(ticket::WAITING, &line.by, people).await);
    }
    Ok(waiting)
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
        unwatched: watcher::is_unwatched(by),
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
    let unwatched = match text(by, labels::JOB).filter(|_| watcher::is_unwatched(by)) {
        Some(job) if own => format!(", whose terminal is gone (`gpubay logs -f {job}`, `gpubay stop {job}`)"),
        Some(_) => ", whose terminal is gone".to_owned(),
        None => String::new(),
    };
    format!("{what}{user}{unwatched}, for {}", long(time::Duration::seconds(now().saturating_sub(by.created))))
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
    with_holders(workspace, error, "idle with memory held", |device| device.utilization == Some(0)).await
}

/// Adds who has the memory, where there is too little of it.
pub(super) async fn with_memory(workspace: &Workspace, error: Error) -> Error {
    if error.code != "gpu_too_few" || !error.message.contains("min_free") {
        return error;
    }
    with_holders(workspace, error, "memory is held", |_| true).await
}

async fn with_holders(workspace: &Workspace, error: Error, what: &str, of: impl Fn(&OfferedGpu) -> bool) -> Error {
    /// What a context takes by itself is not worth a word.
    const WORTH: u64 = 1 << 30;
    let Ok(report) = super::gpus::gpus(workspace, Reach::Through).await else { return error };
    let held: Vec<String> = report
        .devices
        .iter()
        .filter(|device| of(device))
        .flat_map(|device| device.holders.iter().map(move |holder| (device, holder)))
        .filter_map(|(device, holder)| {
            let memory = holder.memory.filter(|memory| *memory >= WORTH)?;
            let place = device.index.map_or_else(|| device.select.clone(), |index| format!("GPU {index}"));
            let program = holder.program.as_deref().unwrap_or("a process");
            let user = holder.user.as_ref().map(|user| format!(", {user}")).unwrap_or_default();
            Some(format!("{program} ({}{user}) holds {} of {place}", holder.pid, gib(memory)))
        })
        .collect();
    if held.is_empty() {
        return error;
    }
    Error { message: format!("{}; {what}: {}", error.message, held.join(", ")), ..error }
}

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
            // Podman, of one that was told to end: it still computes.
            ("stopping", 0, true),
            // The engine's clock is ahead of ours.
            ("created", 5000, true),
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
}
