//! The dev container: found, made, started, and never taken away from whoever works in it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use gpubay_protocol::agent::Status;

use super::drift::{self, Drift};
use super::exposure;
use super::given::{self, Offer};
use super::labels::{self, Role};
use super::spec::{Places, Planned, owned_folders};
use super::stakes::{self, Losses};
use super::user::ContainerUser;
use super::waiting::{ask, ready};
use super::{Recreate, Workspace, choice, visibility};
use crate::config::model::{GpuSelection, MountSource, Port, Protocol};
use crate::engine::{Archive, Container, ContainerState, EngineError, Owner};
use crate::error::{Error, Result, Shortage};
use crate::gpu;
use crate::gpu::lost::LostGpus;
use crate::{ContainerPath, HostPath};

/// The code of the error that says: replacing the container loses nothing, and takes asking the engine or a build.
pub(super) const NEEDS_GROUND: &str = "needs_ground";
/// The option that a [`Drift`] names when the venv's mount is gone.
const LOST_MOUNT: &str = "venv";
/// The option that a [`Drift`] names when the GPUs do not answer any more.
pub const LOST_GPUS: &str = "lost_gpus";
/// How often a lost race for a name or a port is run again.
const TRIES: u32 = 5;

/// A dev container that runs and whose agent answers.
#[derive(Debug)]
pub(super) struct Dev {
    pub(super) container: Container,
    pub(super) created: bool,
    pub(super) started: bool,
    /// Each difference between what runs and what the configuration says.
    pub(super) drift: Vec<Drift>,
    /// What would be lost by a recreate that does away with the drift.
    pub(super) at_stake: Losses,
    /// What was lost with a container that this call replaced.
    pub(super) lost: Losses,
    /// What has become of the GPUs of one that was kept.
    pub(super) lost_gpus: Option<LostGpus>,
    pub(super) status: Status,
}

/// What the container has to be like now.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) planned: &'a Planned,
    pub(super) user: &'a ContainerUser,
    pub(super) places: &'a Places,
    /// The image's id, or `None` where it would have to be built first.
    pub(super) image: Option<&'a str>,
    pub(super) offer: Offer,
    pub(super) venv: &'a ContainerPath,
    /// Folders whose fingerprint the status brings along.
    pub(super) stamp: &'a [ContainerPath],
    /// The GPUs of a new one, the wish that led to them, and whether somebody asked for them.
    pub(super) gpu: (&'a gpu::Plan, &'a GpuSelection, bool),
    /// What has become of the GPUs of the one that runs.
    pub(super) lost: Option<&'a LostGpus>,
    pub(super) recreate: Recreate,
}

impl Wanted<'_> {
    /// # Errors
    /// [`NEEDS_GROUND`] where too little is known to make a container.
    fn must_be_makeable(&self) -> Result<(), Attempt> {
        if self.image.is_some() && self.offer == Offer::Asked {
            return Ok(());
        }
        Err(Attempt::Failed(Error::new(NEEDS_GROUND, "the dev container has to be made anew")))
    }
}

/// Brings the dev container to life, making it where there is none.
///
/// # Errors
/// `foreign_container` when the name belongs to somebody else; the engine's own errors. A container
/// that this call made is removed again when it does not come up.
///
/// `seen` is what the caller has just found, to save asking for it again.
pub(super) async fn ensure(workspace: &Workspace, wanted: &Wanted<'_>, mut seen: Option<Container>) -> Result<Dev> {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(workspace, wanted, seen.take()).await {
            // Somebody on another machine was faster, or took ours away meanwhile: look again.
            Err(Attempt::Again(error)) if tries >= TRIES => return Err(error),
            Err(Attempt::Again(_)) => {}
            Err(Attempt::Failed(error)) => return Err(error),
            Ok(dev) => return Ok(dev),
        }
    }
}

enum Attempt {
    Again(Error),
    Failed(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<EngineError> for Attempt {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Conflict { .. } | EngineError::NotFound { .. } | EngineError::PortInUse { .. } => {
                Self::Again(error.into())
            }
            other => Self::Failed(other.into()),
        }
    }
}

async fn attempt(workspace: &Workspace, wanted: &Wanted<'_>, seen: Option<Container>) -> Result<Dev, Attempt> {
    let name = &wanted.planned.spec.name;
    let found = match seen {
        Some(seen) => Some(seen),
        None => find(workspace, name).await?,
    };
    let Some(found) = found else {
        return make(workspace, wanted).await;
    };
    match found.state {
        // It never ran, so nobody can have left anything in it: a process of ours died between the two.
        ContainerState::Created | ContainerState::Dead => {
            workspace.engine.remove(&found.id).await?;
            make(workspace, wanted).await
        }
        ContainerState::Paused => Err(Attempt::Failed(paused(&found.name))),
        ContainerState::Running | ContainerState::Restarting => keep(workspace, wanted, found, Found::Running).await,
        ContainerState::Exited { .. } => keep(workspace, wanted, found, Found::Stopped).await,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Running,
    Stopped,
}

fn paused(name: &str) -> Error {
    Error::new("container_paused", format!("the dev container {name} is paused"))
        .with_hint(format!("Let it go on with `docker unpause {name}`."))
}

/// Why nothing can be done in the dev container now; `None`: it runs.
pub(super) fn hindrance(name: &str, found: Option<&Container>) -> Option<Error> {
    let not_running = |what: String| {
        let error = Error::new("not_running", format!("the dev container {name} {what}"));
        Some(error.with_hint("Start it with `gpubay up`."))
    };
    let Some(found) = found else { return not_running("does not exist".to_owned()) };
    match found.state {
        ContainerState::Running => None,
        ContainerState::Paused => Some(paused(&found.name)),
        ContainerState::Exited { out_of_memory: true, .. } => {
            not_running("is not running: the kernel ended it, since its memory was used up".to_owned())
                .map(|error| error.with_hint("Raise [container] memory or use less, then start it with `gpubay up`."))
        }
        ContainerState::Exited { code, .. } => not_running(format!("is not running: it ended with exit code {code}")),
        ContainerState::Created | ContainerState::Restarting | ContainerState::Dead => {
            not_running("is not running".to_owned())
        }
    }
}

/// The container of that name, or, where there is none, the dev container under the name that somebody gave it
/// since. It is this workspace's.
pub(super) async fn find(workspace: &Workspace, name: &str) -> Result<Option<Container>> {
    let found = match workspace.engine.container(name).await? {
        Some(found) => found,
        None => match renamed(workspace).await? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    // Labels can be copied; a dev container of this workspace mounts its folder, too.
    let folder = workspace.folder().as_path();
    let mounted = |source: &String| std::path::Path::new(source).ends_with(folder.strip_prefix("/").unwrap_or(folder));
    let ours = found.label(labels::ID) == workspace.id()
        && found.mounts.iter().any(|mount| mount.source.as_ref().is_some_and(mounted));
    if !ours {
        return Err(Error::new(
            "foreign_container",
            format!("a container named {name} exists and is not this workspace's"),
        )
        .with_hint(format!(
            "It is left alone. Rename it (`docker rename {name} …`), or set [container] name to another name."
        )));
    }
    Ok(Some(found))
}

async fn renamed(workspace: &Workspace) -> Result<Option<Container>> {
    let ours = [(labels::ID, workspace.id()), (labels::ROLE, Role::Dev.as_str())];
    match workspace.engine.list(&ours).await?.first() {
        Some(listed) => Ok(workspace.engine.container(&listed.id).await?),
        None => Ok(None),
    }
}

async fn keep(workspace: &Workspace, wanted: &Wanted<'_>, found: Container, was: Found) -> Result<Dev, Attempt> {
    let mut drift = differences(workspace, &found, wanted.planned, wanted.image);
    drift.extend(wanted.lost.map(|lost| Drift::told(LOST_GPUS, &lost.text)));
    let mut status = None;
    if was == Found::Running {
        match ask(wanted).await {
            Ok(answer) => {
                if answer.mounted.first() == Some(&false) {
                    let text =
                        format!("the venv's mount over {} is gone (the folder was deleted on the host)", wanted.venv);
                    drift.push(Drift::told(LOST_MOUNT, text));
                }
                status = Some(answer);
            }
            Err(error) => {
                // Paused or ended since it was looked at: nothing is wrong with its agent.
                let now = workspace.engine.container(&found.id).await?;
                if let Some(now) = now.filter(|now| now.state != found.state) {
                    return Err(hindrance(&now.name, Some(&now)).unwrap_or(error).into());
                }
                drift.push(Drift::told("agent", format!("the agent inside does not answer: {}", error.message)));
            }
        }
    }
    let lost_mount = status.as_ref().is_some_and(|status| status.mounted.first() == Some(&false));
    let unwell = was == Found::Running && status.is_none();
    let mut at_stake = Losses::default();
    if drift.is_empty() && wanted.recreate == Recreate::Allowed {
        drift.push(Drift::told("recreate", "it was asked for"));
    }
    if !drift.is_empty() {
        let stakes = stakes::of(&workspace.engine, &found, status.as_ref(), &wanted.places.run).await?;
        let losses = stakes.losses();
        if wanted.recreate == Recreate::Allowed || stakes.is_empty() {
            wanted.must_be_makeable()?;
            for drift in &drift {
                workspace.progress.note(format!("recreating the dev container: {}", drift.text));
            }
            for line in losses.describe() {
                workspace.progress.note(format!("lost with it: {line}"));
            }
            // What was said of it is no news while the next one starts.
            let step = workspace.progress.step(format!("Removing {}", found.name));
            workspace.engine.remove(&found.id).await?;
            step.done();
            return Ok(Dev { lost: losses, ..make(workspace, wanted).await? });
        }
        if unwell {
            return Err(Attempt::Failed(
                Error::new("agent_silent", format!("the agent in {} does not answer", found.name)).with_hint(
                    "Run `gpubay up --recreate` to replace the container, once nothing in it is needed any more.",
                ),
            ));
        }
        // Mounts are made at a start, and devices let in; nothing runs that a restart could hurt, and files stay.
        let regains = wanted.lost.is_some_and(|lost| lost.cause.a_restart_mends());
        if (lost_mount || regains) && stakes.processes.is_empty() {
            let what =
                if lost_mount { format!("mount {} again", wanted.venv) } else { "let its GPUs in again".to_owned() };
            workspace.progress.note(format!("restarting the dev container to {what}"));
            workspace.engine.stop(&found.id, 10).await?;
            drift.retain(|drift| drift.option != LOST_MOUNT && !(regains && drift.option == LOST_GPUS));
            status = None;
        }
        if !drift.is_empty() {
            at_stake = losses;
        }
    }
    let kept = |container, started, status| Dev {
        container,
        created: false,
        started,
        drift,
        at_stake,
        lost: Losses::default(),
        lost_gpus: wanted.lost.filter(|_| !started).cloned(),
        status,
    };
    if let Some(status) = status {
        return Ok(kept(found, false, status));
    }
    exposure::points_are_as_they_were(&found.mounts)?;
    given::has_its_driver(&found)?;
    // It was made when the engine saw these files, maybe from another machine's side of a socket.
    if let Err(problem) = visibility::check(workspace, &found.id, &wanted.places.run, Some(sources(workspace))).await {
        let hint = "`gpubay up --recreate` makes the container anew, with a folder that the engine sees.";
        return Err(Attempt::Failed(match problem {
            visibility::Problem::Unseen { path, error } if path == wanted.places.run => error.with_hint(hint),
            other => other.into_error(),
        }));
    }
    let step = workspace.progress.step("Starting the container");
    start(workspace, wanted, &found.id).await?;
    let status = ready(workspace, wanted, &found.name).await?;
    step.done();
    let container = find(workspace, &found.name).await?.unwrap_or(found);
    Ok(kept(container, true, status))
}

/// `wanted` is `None` where it would have to be built.
pub(super) fn image_drift(has: &str, wanted: Option<&str>) -> Option<Drift> {
    let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
    match wanted {
        Some(wanted) if wanted == has => None,
        Some(wanted) => Some(Drift::between("image", Some(&short(has)), Some(&short(wanted)))),
        None => {
            Some(Drift::told("image", "image: the Dockerfile, its arguments or its context changed since it was built"))
        }
    }
}

/// What the configuration wants otherwise than it is. `image` is `None` where the wanted one would have to be built.
pub(super) fn differences(
    workspace: &Workspace,
    found: &Container,
    planned: &Planned,
    image: Option<&str>,
) -> Vec<Drift> {
    let mut drift = Vec::new();
    if found.name != planned.spec.name {
        drift.push(Drift::between("name", Some(&found.name), Some(&planned.spec.name)));
    }
    drift.extend(image_drift(&found.image, image));
    let wish = |label| planned.spec.labels.get(label).map_or("", String::as_str);
    let differs = |label| found.label(label) != wish(label);
    if differs(labels::CONFIG) {
        drift.extend(drift::options(found.label(labels::OPTIONS), &planned.options));
    } else if differs(labels::GPUS) || differs(labels::INJECTION) {
        // Nobody changed the configuration: the engine offers others.
        let of = |gpus: &str, injection: &str| format!("{gpus} ({injection})");
        let was = of(found.label(labels::GPUS), found.label(labels::INJECTION));
        let now = of(wish(labels::GPUS), wish(labels::INJECTION));
        drift.push(Drift::between("gpus", Some(&was), Some(&now)));
    } else if differs(labels::DRIVER) {
        // Its files are mounted from where that version lay.
        drift.push(Drift::between("driver", Some(found.label(labels::DRIVER)), Some(wish(labels::DRIVER))));
    }
    if let Some(name) = workspace.config().container.engine.name.as_ref().filter(|name| **name != found.name) {
        drift.push(Drift::between("name", Some(&found.name), Some(name)));
    }
    drift
}

/// The workspace here, and in its containers.
fn sources(workspace: &Workspace) -> (&HostPath, &ContainerPath) {
    (workspace.folder(), &workspace.config().container.workdir)
}

async fn make(workspace: &Workspace, wanted: &Wanted<'_>) -> Result<Dev, Attempt> {
    wanted.must_be_makeable()?;
    exposure::refuse_volumes_that_are_folders(workspace, &wanted.planned.spec.mounts).await?;
    let mut planned = wanted.planned.clone();
    let moved = free_ports(&mut planned.spec.ports);
    choice::begin(&wanted.places.run, wanted.gpu.0, wanted.gpu.1, wanted.gpu.2)?;
    let id = match create(workspace, &planned, wanted.user).await {
        Ok(id) => id,
        Err(error @ EngineError::Refused { .. }) => {
            let problem = visibility::refusal(workspace, error, &planned.spec).await;
            return Err(visibility::settle(workspace, &planned.spec.image, problem).await.into());
        }
        Err(error) => return Err(error.into()),
    };
    if let Err(problem) = visibility::check(workspace, &id, &wanted.places.run, Some(sources(workspace))).await {
        workspace.engine.remove(&id).await?;
        return Err(visibility::settle(workspace, &planned.spec.image, problem).await.into());
    }
    let step = workspace.progress.step("Starting the container");
    let brought_up = async {
        workspace.reach("container.created")?;
        start(workspace, wanted, &id).await?;
        workspace.reach("container.started")?;
        ready(workspace, wanted, &planned.spec.name).await.map_err(Attempt::from)
    }
    .await;
    match brought_up {
        Ok(status) => {
            step.done();
            for line in moved {
                workspace.progress.note(line);
            }
            let container = find(workspace, &id).await?.ok_or_else(|| {
                Error::new(
                    "container_vanished",
                    format!("the dev container {} vanished right after its start", planned.spec.name),
                )
            })?;
            Ok(Dev {
                container,
                created: true,
                started: true,
                drift: Vec::new(),
                at_stake: Losses::default(),
                lost: Losses::default(),
                lost_gpus: None,
                status,
            })
        }
        Err(problem) => {
            // Nothing of the user's has run in it; what is left behind would only be in the way.
            if let Err(error) = workspace.engine.remove(&id).await {
                workspace.progress.warn(format!("could not remove {} again: {error}", planned.spec.name));
            }
            Err(problem)
        }
    }
}

/// Creates a container and puts into it what it needs before it starts. Removes it again on failure.
pub(super) async fn create(
    workspace: &Workspace,
    planned: &Planned,
    user: &ContainerUser,
) -> Result<String, EngineError> {
    let engine = &workspace.engine;
    let mut fresh = Vec::new();
    for volume in &planned.volumes {
        if !engine.volume_exists(&volume.name).await? {
            engine.create_volume(&volume.name, workspace.volume_labels(volume.own)).await?;
            fresh.push(&volume.target);
        }
    }
    let owner = Owner { uid: user.uid, gid: user.gid };
    if planned.spec.options.read_only && !fresh.is_empty() {
        own_volumes(workspace, planned, &fresh, owner).await?;
    }
    let id = engine.create(&planned.spec).await?;
    let root = Owner { uid: 0, gid: 0 };
    let mut archive = Archive::default();
    if !planned.spec.options.read_only {
        let path = |path: &str| ContainerPath::new(path).expect("a constant path");
        if let Some(passwd) = &user.passwd {
            archive.file(&path("/etc/passwd"), passwd.as_bytes(), 0o644, root);
        }
        if let Some(group) = &user.group {
            archive.file(&path("/etc/group"), group.as_bytes(), 0o644, root);
        }
        if user.uid != 0 {
            for folder in owned_folders(planned, user) {
                archive.folder(&folder, 0o755, owner);
            }
        }
        for target in fresh {
            archive.folder(target, 0o755, owner);
        }
    }
    if archive.is_empty() {
        return Ok(id);
    }
    match engine.put(&id, archive).await {
        Ok(()) => Ok(id),
        Err(error) => {
            engine.remove(&id).await?;
            Err(error)
        }
    }
}

/// Hands fresh volumes to the user through a container whose root can be written; it never runs.
async fn own_volumes(
    workspace: &Workspace,
    planned: &Planned,
    fresh: &[&ContainerPath],
    owner: Owner,
) -> Result<(), EngineError> {
    let mut spec = workspace.helper_spec(&planned.spec.image);
    spec.mounts = planned.spec.mounts.iter().filter(|mount| fresh.contains(&&mount.target)).cloned().collect();
    let mut archive = Archive::default();
    for target in fresh {
        archive.folder(target, 0o755, owner);
    }
    let id = workspace.engine.create(&spec).await?;
    let put = workspace.engine.put(&id, archive).await;
    workspace.engine.remove(&id).await?;
    put
}

async fn start(workspace: &Workspace, wanted: &Wanted<'_>, id: &str) -> Result<(), Attempt> {
    // The engine resolves them now, and a container that writes the workspace had time since they were.
    exposure::sources_are_as_they_were(&wanted.planned.spec.mounts)?;
    // A socket that an earlier run left would look like an agent that answers.
    let socket = wanted.places.run.join(gpubay_protocol::agent::SOCKET_NAME);
    let _ = std::fs::remove_file(socket.as_path());
    workspace.engine.start(id).await.map_err(Attempt::from)
}

/// Gives every port that is taken on the host the next free one, unless it was written out.
fn free_ports(ports: &mut [Port]) -> Vec<String> {
    let mut moved = Vec::new();
    let mut used = BTreeSet::new();
    for port in ports {
        if port.address != Ipv4Addr::LOCALHOST {
            continue;
        }
        let asked = port.host;
        while port.host < u16::MAX && (used.contains(&port.host) || !is_free(port)) {
            port.host += 1;
        }
        used.insert(port.host);
        if port.host != asked {
            moved.push(format!(
                "port {asked} is taken: the container's {} is at 127.0.0.1:{}",
                port.container, port.host
            ));
        }
    }
    moved
}

fn is_free(port: &Port) -> bool {
    let address = SocketAddr::new(port.address, port.host);
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(address).is_ok(),
        Protocol::Udp => UdpSocket::bind(address).is_ok(),
    }
}

/// Mount points inside the workspace or another folder of the host: the engine would make a missing
/// one as root, in the user's own folder. They are made here, as the user.
///
/// # Errors
/// When one cannot be made, or is there and is no folder.
pub(super) fn prepare_mount_points(planned: &Planned) -> Result<()> {
    let mounts = &planned.spec.mounts;
    for mount in mounts {
        let holder = mounts
            .iter()
            .filter(|other| other.target != mount.target)
            .filter_map(|other| match &other.source {
                MountSource::Host(source) => Some((source, mount.target.below(&other.target)?, other)),
                _ => None,
            })
            .max_by_key(|(_, _, other)| other.target.as_str().len());
        let Some((source, below, holder)) = holder else { continue };
        // A volume in between takes the mount point, not the host's folder.
        let nearer = |other: &crate::config::model::Mount| {
            other.target != mount.target
                && other.target.as_str().len() > holder.target.as_str().len()
                && mount.target.below(&other.target).is_some()
        };
        if mounts.iter().any(nearer) {
            continue;
        }
        make_below(source, below, &mount.target)?;
    }
    Ok(())
}

fn make_below(source: &HostPath, below: &str, target: &ContainerPath) -> Result<()> {
    use cap_std::fs::Dir;
    let failed = |cause: std::io::Error| {
        let shortage = Shortage::of(&cause);
        let error = Error::new(
            shortage.map_or("mount_point", Shortage::code),
            format!("make the mount point for {target} in {source}: {cause}"),
        );
        match shortage {
            Some(shortage) => error.with_hint(shortage.hint("mount it somewhere else")),
            None => error.with_hint("Make that folder yourself, or mount it somewhere else."),
        }
    };
    // Relative to an open folder and never out of it: a link in the workspace leads nowhere else.
    let root = Dir::open_ambient_dir(source.as_path(), cap_std::ambient_authority()).map_err(failed)?;
    match root.metadata(below) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => root.create_dir_all(below).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}
