//! `up`: from a folder to a running container that the editor outside knows.

use std::time::Duration;

use gpubay_protocol::agent::{Entrypoint, StatusRequest};

use super::dev::{self, Dev, Wanted};
use super::exposure::{self, Protected};
use super::given::{self, Offer, Offered, made_with};
use super::image::{self, Desired};
use super::leases::Asking;
use super::report::{ContainerReport, GpuDevice, GpuReport, ImageReport, UpReport};
use super::spec::{Inputs, Places, Task, plan};
use super::stages::Stages;
use super::user::{self, ContainerUser};
use super::{
    Drift, Recreate, Workspace, attach, choice, delivery, fit, host_env, labels, lock, lost, python, visibility,
    waiting,
};
use crate::HostPath;
use crate::agent;
use crate::config::model::{Gpus, Isolation, Paths};
use crate::engine::{self, Container, ContainerState, Image as EngineImage, UserMap};
use crate::error::Result;
use crate::gpu::{self, cuda::Machine, lost::LostGpus};

/// How often everything is planned anew for a container.
const TRIES: u32 = 4;

/// Everything that a container of this workspace is planned from.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) image: EngineImage,
    pub(super) reference: String,
    pub(super) built: bool,
    /// The wanted image is not there, and nothing was built because a container runs.
    pub(super) outdated: bool,
    pub(super) user: ContainerUser,
    users: UserMap,
    gpus: Gpus,
    chosen: Picked,
    pub(super) gpu: gpu::Plan,
    pub(super) offer: Offer,
    pub(super) places: Places,
    pub(super) python: host_env::Place,
    memory: u64,
    base_name: String,
    protected: Protected,
    extensions: Vec<String>,
    /// What is to know of the image and of what it is built on; said already.
    warnings: Vec<String>,
}

impl Ground {
    pub(super) fn with(self, chosen: &Picked) -> Self {
        Self { chosen: chosen.clone(), ..self }
    }

    pub(super) fn inputs<'a>(&'a self, workspace: &'a Workspace) -> Inputs<'a> {
        Inputs {
            config: workspace.config(),
            workspace: workspace.folder(),
            id: workspace.id(),
            base_name: &self.base_name,
            owner: workspace.host.uid,
            image: &self.image,
            image_reference: &self.reference,
            user: &self.user,
            users: self.users,
            gpus: &self.gpus,
            chosen: self.chosen.vouched.as_deref(),
            gpu: &self.gpu,
            venv: &self.python.venv,
            user_key: workspace.user_key(),
            places: &self.places,
            memory: self.memory,
            protected: &self.protected,
            extensions: &self.extensions,
        }
    }
}

/// Finds out, and builds or pulls, what a container is made of. `running` is the one to keep, if any.
pub(super) async fn ground(workspace: &Workspace, gpus: &Gpus, running: Option<&Container>) -> Result<Ground> {
    ground_of(workspace, gpus, running, None, Asking::default()).await
}

/// As [`ground`], with the image of that id where it is still there.
pub(super) async fn ground_of(
    workspace: &Workspace,
    gpus: &Gpus,
    running: Option<&Container>,
    image: Option<&str>,
    asking: Asking<'_>,
) -> Result<Ground> {
    // Before a build that may take minutes: what cannot work is said at once.
    let offered = given::offered(workspace, gpus, running, asking).await?;
    let desired = image::desired(workspace, offered.users).await?;
    let earlier = match image {
        Some(id) => workspace.engine.image(id).await?,
        None => None,
    };
    let image = match earlier {
        Some(image) => Chosen { reference: image.id.clone(), image, ..Chosen::default() },
        None => chosen_image(workspace, running, desired, offered.machine.as_ref()).await?,
    };
    let users = image::users(workspace, &image.image).await?;
    let user = user_of(workspace, &image.image, &users, offered.users)?;
    let python = host_env::place(workspace)?;
    let places =
        delivery::prepare(&workspace.shared(), &workspace.place, &workspace.venv_folder(), &workspace.host, &user)?;
    assemble(workspace, gpus, offered, image, user, python, places).await
}

/// What [`ground`] would find, as far as it can be known with nothing built, pulled or made; and whether the image is
/// there. Where it is not, its users and its environment are those of an image that says nothing.
pub(super) async fn expected_ground(workspace: &Workspace, gpus: &Gpus) -> Result<(Ground, bool)> {
    let offered = given::offered(workspace, gpus, None, Asking::default()).await?;
    let desired = image::desired(workspace, offered.users).await?;
    let there = desired.found.is_some();
    let users = known_users(workspace, desired.found.as_ref(), Busy::Wait).await?.unwrap_or_default();
    let image = desired.found.unwrap_or_default();
    let user = user_of(workspace, &image, &users, offered.users)?;
    let image = Chosen { image, reference: desired.reference, ..Chosen::default() };
    let python = host_env::expected_place(workspace)?;
    let places = delivery::places(&workspace.shared(), &workspace.place, &workspace.venv_folder());
    Ok((assemble(workspace, gpus, offered, image, user, python, places).await?, there))
}

fn user_of(
    workspace: &Workspace,
    image: &EngineImage,
    files: &user::ImageUsers,
    users: UserMap,
) -> Result<ContainerUser> {
    let wanted = &workspace.config().container.user;
    Ok(user::resolve(wanted, &workspace.host.seen_by(users), &image.user, image.var("HOME"), files)?)
}

/// What to do while somebody is at work on the workspace, which may take as long as a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    Wait,
    GiveUp,
}

/// Of an image that may not be there: then those of one that says nothing. `None`: it was given up.
async fn known_users(
    workspace: &Workspace,
    image: Option<&EngineImage>,
    busy: Busy,
) -> Result<Option<user::ImageUsers>> {
    let Some(image) = image else { return Ok(Some(user::ImageUsers::default())) };
    if let Some(known) = image::known_users(workspace, image) {
        return Ok(Some(known));
    }
    // Looked up in a container that never runs; one that exists under a free lock was left behind.
    let (data, name) = (&workspace.config().paths.data, workspace.id8());
    let lock = match busy {
        Busy::Wait => Some(lock::hold(data, name, &workspace.progress).await?),
        Busy::GiveUp => lock::try_hold(data, name)?,
    };
    let Some(_lock) = lock else { return Ok(None) };
    Ok(Some(image::users(workspace, image).await?))
}

/// The GPUs of the container that runs, and each difference between it and what is configured. Nothing is built, made
/// or started. `devices` are those that answered inside after its start.
pub(super) async fn compare(
    workspace: &Workspace,
    found: &Container,
    devices: &[GpuDevice],
) -> Result<(GpuReport, Vec<Drift>)> {
    let (gpus, _) = selection(workspace, Some(found));
    let offered = given::offered(workspace, &gpus, Some(found), Asking::default()).await?;
    let desired = image::desired(workspace, offered.users).await?;
    let (image, outdated) = match desired.found {
        Some(image) => (Some(image), false),
        None => (workspace.engine.image(&found.image).await?, true),
    };
    let Some(users) = known_users(workspace, image.as_ref(), Busy::GiveUp).await? else {
        // Whoever is at work changes what there is to compare. That there is another image is known all the same.
        let other = image.as_ref().filter(|image| image.id != found.image);
        let drift = other.map(|image| dev::image_drift(&found.image, Some(&image.id))).into_iter().flatten();
        return Ok((gpu_report(workspace, found, devices), drift.collect()));
    };
    let image = image.unwrap_or_default();
    let user = user_of(workspace, &image, &users, offered.users)?;
    let image = Chosen { image, reference: desired.reference, outdated, ..Chosen::default() };
    let python = host_env::expected_place(workspace)?;
    let places = delivery::places(&workspace.shared(), &workspace.place, &workspace.venv_folder());
    let ground = assemble(workspace, &gpus, offered, image, user, python, places).await?;
    let planned = plan(&ground.inputs(workspace), &Task::Dev);
    let image = (!ground.outdated).then_some(ground.image.id.as_str());
    let drift = dev::differences(workspace, found, &planned, image);
    Ok((gpu_report(workspace, found, devices), drift))
}

async fn assemble(
    workspace: &Workspace,
    gpus: &Gpus,
    Offered { gpu, memory, users, offer, .. }: Offered,
    Chosen { image, reference, built, outdated, warnings }: Chosen,
    user: ContainerUser,
    python: host_env::Place,
    places: Places,
) -> Result<Ground> {
    let protected = Protected {
        paths: protected_paths(workspace, &python),
        mounts: exposure::mounts_of_host(),
        borrowed: exposure::borrowed(workspace).await?,
    };
    let asked = &workspace.config().container.mounts;
    protected.refuse(asked.iter().chain(&protected.borrowed))?;
    gpu::direct::refuse(&gpu, asked)?;
    Ok(Ground {
        image,
        reference,
        built,
        outdated,
        user,
        users,
        gpus: gpus.clone(),
        chosen: Picked::default(),
        gpu,
        offer,
        places,
        python,
        memory,
        base_name: workspace.base_name(),
        protected,
        extensions: attach::recommended_extensions(workspace),
        warnings,
    })
}

/// What the host runs, and our own folders.
fn protected_paths(workspace: &Workspace, python: &host_env::Place) -> Vec<HostPath> {
    let Paths { data, cache } = &workspace.config().paths;
    let mut paths = host_env::known(workspace);
    paths.extend(python.host_env.clone());
    // What the user's own file says needs no approval, so no container writes it.
    paths.extend([data.clone(), cache.clone(), workspace.loaded.state.clone(), workspace.loaded.user_folder.clone()]);
    paths.push(workspace.shared());
    paths.extend(visibility::all(&workspace.loaded.state));
    paths.sort_by(|a, b| a.as_path().cmp(b.as_path()));
    paths.dedup();
    paths
}

/// The image that a container is made from.
#[derive(Default)]
struct Chosen {
    image: EngineImage,
    reference: String,
    built: bool,
    outdated: bool,
    warnings: Vec<String>,
}

/// Builds or pulls what is missing, unless a container is there: then its image is used, and said to be out of date.
async fn chosen_image(
    workspace: &Workspace,
    running: Option<&Container>,
    desired: Desired,
    machine: Option<&Machine>,
) -> Result<Chosen> {
    if desired.found.is_none()
        && let Some(running) = running
        && let Some(image) = workspace.engine.image(&running.image).await?
    {
        let reference = image.id.clone();
        return Ok(Chosen { image, reference, outdated: true, ..Chosen::default() });
    }
    let warnings = fit::said(workspace, &desired.reference, desired.found.as_ref(), machine).await;
    let (image, reference, built) = image::ensure(workspace, desired, super::build::Cache::Use).await?;
    Ok(Chosen { image, reference, built, outdated: false, warnings })
}

/// Whether an `up` has made venv and host env before, so that a job can start without one.
pub(super) fn is_prepared(workspace: &Workspace) -> bool {
    python::record(workspace).is_some()
}

/// Builds, starts and prepares everything; what is there already is used as it is.
///
/// # Errors
/// Of every stage, each with its own code. What a failed `up` leaves is used by the next one.
pub async fn up(workspace: &Workspace, recreate: Recreate) -> Result<UpReport> {
    up_after(workspace, recreate, None).await
}

/// [`up`] with a consent that was given beside the container of the id `seen`. Whatever has come in its place since was not
/// asked about.
///
/// # Errors
/// Those of [`up`].
pub async fn up_after(workspace: &Workspace, recreate: Recreate, seen: Option<&str>) -> Result<UpReport> {
    let mut stages = Stages::start();
    let _lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
    stages.lap("lock");
    under_lock(workspace, recreate, seen, stages).await
}

/// [`up_after`] for who has the workspace's lock.
pub(super) async fn under_lock(
    workspace: &Workspace,
    recreate: Recreate,
    seen: Option<&str>,
    stages: Stages,
) -> Result<UpReport> {
    super::known::remember(workspace, None);
    let free = host_env::FreeNames::look(workspace);
    let existing = dev::find(workspace, &workspace.dev_name()).await?;
    let recreate = match (&existing, seen) {
        (Some(now), Some(seen)) if now.id != seen => Recreate::WhenNothingIsLost,
        _ => recreate,
    };
    match bring(workspace, existing, recreate, stages).await {
        Ok(report) => Ok(report),
        Err(error) => {
            free.take_back(workspace).await;
            Err(error)
        }
    }
}

/// From what is there to an environment.
async fn bring(
    workspace: &Workspace,
    existing: Option<Container>,
    recreate: Recreate,
    mut stages: Stages,
) -> Result<UpReport> {
    let progress = &workspace.progress;
    let (ground, dev) = reach(workspace, existing, recreate, &mut stages).await?;
    let ready = async {
        let devices = gpus_inside(workspace, &ground, &dev).await?;
        choice::settle(workspace, &dev.container, &ground.places.run).await?;
        Ok(devices)
    };
    let devices = match ready.await {
        Ok(devices) => devices,
        Err(error) => {
            if dev.created {
                workspace.engine.remove(&dev.container.id).await?;
            }
            return Err(error);
        }
    };
    stages.lap("gpu");
    let made_or_built = dev.created || ground.built;
    let holes = async { if made_or_built { workspace.engine.holes().await } else { Vec::new() } };
    let (prepared, holes) = tokio::join!(python::prepare(workspace, &ground, &dev, &devices), holes);
    let prepared = match prepared {
        Ok(prepared) => prepared,
        // The user has taken it back before anything could run in it; the venv's folder stays.
        Err(error) if dev.created && progress.cancel.is_cancelled() => {
            workspace.engine.remove(&dev.container.id).await?;
            return Err(error);
        }
        Err(error) => return Err(waiting::explain(workspace, &dev.container.id, error).await),
    };
    stages.lap("python");
    let mut warnings = workspace.loaded.warnings.clone();
    warnings.extend(ground.warnings.clone());
    warnings.extend(engine::in_short(&holes));
    warnings.extend(ground.built.then(|| image::copy_of_the_workspace(workspace)).flatten());
    warnings.extend(prepared.warnings);
    warnings.extend(entrypoint_warning(&entrypoint(workspace, &dev).await));
    Ok(UpReport {
        workspace: workspace.folder().clone(),
        image: ImageReport { id: ground.image.id.clone(), reference: ground.reference.clone(), built: ground.built },
        gpu: GpuReport { lost: dev.lost_gpus, ..gpu_report(workspace, &dev.container, &devices) },
        container: ContainerReport {
            id: dev.container.id,
            name: dev.container.name,
            created: dev.created,
            started: dev.started,
            reused: !dev.created,
            user: format!("{} ({})", dev.container.user, ground.user.name),
            workdir: workspace.config().container.workdir.clone(),
            ports: dev.container.ports,
        },
        host_env: prepared.host_env,
        mirror: prepared.mirror,
        drift: dev.drift,
        stakes: dev.at_stake,
        lost: dev.lost,
        timings_ms: stages.end(),
        warnings,
    })
}

/// The dev container, and what it is made of. One that is there is looked at first with what it says
/// itself; only for a new one the engine is asked what it offers, and a missing image is built.
pub(super) async fn reach(
    workspace: &Workspace,
    existing: Option<Container>,
    recreate: Recreate,
    stages: &mut Stages,
) -> Result<(Ground, Dev)> {
    let kept = existing.as_ref().filter(|_| recreate == Recreate::WhenNothingIsLost);
    let lost = match existing.as_ref().filter(|found| found.state == ContainerState::Running) {
        Some(found) => lost::of(&workspace.engine, found.into()).await,
        None => None,
    };
    let (gpus, chosen) = selection(workspace, existing.as_ref());
    // One that is made anew for the GPUs that it lost keeps which these were.
    let earlier = existing.as_ref().filter(|_| lost.is_some());
    let earlier = earlier.and_then(|found| choice::current(found, &workspace.run_folder()));
    let mut ground = ground(workspace, &gpus, kept).await?.with(&chosen);
    stages.lap("image");
    // After a build that took minutes it may have become another.
    let mut seen = existing.filter(|_| !ground.built);
    let mut tries = 0;
    let dev = loop {
        tries += 1;
        match bring_up(workspace, &ground, lost.as_ref(), recreate, seen.take()).await {
            // Nothing is lost by replacing it; or all of it lies elsewhere now.
            Err(error) if [dev::NEEDS_GROUND, visibility::MOVED].contains(&error.code) && tries < TRIES => {
                ground = self::ground(workspace, &gpus, None).await?.with(&chosen);
            }
            other => break other?,
        }
    };
    if let Some(earlier) = earlier.filter(|_| dev.created) {
        choice::keep(&dev.container, &ground.places.run, earlier)?;
    }
    stages.lap("container");
    Ok((ground, dev))
}

/// The GPUs that the dev container is to have, and what `--gpus` said of them. An `up --gpus 2` holds until
/// another `--gpus` or a `down`: neither a plain `up` nor a recreate, which is about something else, takes the second GPU
/// away again.
pub(super) fn selection(workspace: &Workspace, existing: Option<&Container>) -> (Gpus, Picked) {
    let configured = workspace.config().gpus.clone();
    if let Some(chosen) = &workspace.loaded.chosen_gpus {
        return (configured, Picked { explicit: true, vouched: Some(chosen.clone()) });
    }
    // Where only the selected ones are inside, what a container could have written itself must not say which these are.
    let vouched = existing.and_then(choice::chosen_first);
    let earlier = match configured.isolation {
        Isolation::Soft => existing.and_then(|container| choice::chosen(container, &workspace.run_folder())),
        Isolation::Hard => vouched.clone(),
    };
    match earlier.and_then(|chosen| crate::config::parse_gpus(&chosen).ok()) {
        Some(select) => (Gpus { select, ..configured }, Picked { explicit: true, vouched }),
        None => (configured, Picked::default()),
    }
}

/// What somebody said of the GPUs, in place of the configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Picked {
    explicit: bool,
    /// What `--gpus` said, as far as no container can have written it: for the label of the next one.
    vouched: Option<String>,
}

impl Picked {
    pub(super) fn is_explicit(&self) -> bool {
        self.explicit
    }
}

async fn bring_up(
    workspace: &Workspace,
    ground: &Ground,
    lost: Option<&LostGpus>,
    recreate: Recreate,
    seen: Option<Container>,
) -> Result<Dev> {
    let planned = plan(&ground.inputs(workspace), &Task::Dev);
    dev::prepare_mount_points(&planned)?;
    let stamp = python::record(workspace).map(|record| record.roots).unwrap_or_default();
    let wanted = Wanted {
        planned: &planned,
        user: &ground.user,
        places: &ground.places,
        image: (!ground.outdated).then_some(ground.image.id.as_str()),
        offer: ground.offer,
        venv: &ground.python.venv,
        stamp: &stamp,
        gpu: (&ground.gpu, &ground.gpus.select, ground.chosen.explicit),
        lost,
        recreate,
    };
    dev::ensure(workspace, &wanted, seen).await
}

/// The GPUs that answer inside: asked after a start, remembered while the container runs.
async fn gpus_inside(workspace: &Workspace, ground: &Ground, dev: &Dev) -> Result<Vec<GpuDevice>> {
    if dev.container.label(labels::INJECTION) == "none" {
        return Ok(Vec::new());
    }
    if !dev.started
        && let Some(record) = python::record(workspace).filter(|record| record.container == dev.container.id)
    {
        return Ok(record.gpus);
    }
    // One that is kept was promised what it was made with, and needs what is selected of that.
    let kept = (!dev.created).then(|| gpu::made(made_with(&dev.container))).flatten().map(|plan| {
        let visible = choice::current(&dev.container, &ground.places.run).map(|choice| choice.visible);
        gpu::Plan { visible: visible.or(plan.visible), ..plan }
    });
    check_gpus(kept.as_ref().unwrap_or(&ground.gpu), &ground.places.run).await
}

/// Asks the agent in a started container whether the promised GPUs are there.
pub(super) async fn check_gpus(plan: &gpu::Plan, run: &HostPath) -> Result<Vec<GpuDevice>> {
    let client = agent::wait_ready(run, Duration::from_secs(30)).await?;
    let report = client.gpus().await?;
    let seen = gpu::check(plan, &report)?;
    Ok(seen.into_iter().map(GpuDevice::from).collect())
}

/// Of what a container was made with, as its labels say it, and what is selected of that now. `seen`: what answered
/// inside after its start.
pub(super) fn gpu_report(workspace: &Workspace, container: &Container, seen: &[GpuDevice]) -> GpuReport {
    let run = workspace.run_folder();
    let choice = choice::current(container, &run);
    let made_with = || {
        let label = container.labels.get(labels::VISIBLE)?;
        Some(label.split(',').filter(|uuid| !uuid.is_empty()).map(str::to_owned).collect())
    };
    GpuReport {
        injection: container.label(labels::INJECTION).to_owned(),
        isolation: container.label(labels::ISOLATION).to_owned(),
        reason: container.label(labels::REASON).to_owned(),
        chosen: choice::chosen(container, &run),
        asked: choice
            .as_ref()
            .map(|choice| choice.asked.clone())
            .or_else(|| container.labels.get(labels::ASKED).cloned())
            .filter(|asked| !asked.is_empty()),
        devices: choice::devices(&container.labels, seen, choice.as_ref()),
        visible: choice.map(|choice| choice.visible).or_else(made_with),
        lost: None,
    }
}

/// What became of the ENTRYPOINT: right after the start, when the container was asked, it was still running.
async fn entrypoint(workspace: &Workspace, dev: &Dev) -> Entrypoint {
    if dev.status.entrypoint != Entrypoint::Running {
        return dev.status.entrypoint.clone();
    }
    let asked = async {
        let client = agent::Client::connect(&workspace.run_folder()).await?;
        client.status(StatusRequest { mounts: Vec::new(), stamp: Vec::new() }).await
    };
    asked.await.map_or(Entrypoint::Running, |status| status.entrypoint)
}

fn entrypoint_warning(entrypoint: &Entrypoint) -> Option<String> {
    match entrypoint {
        Entrypoint::TimedOut { after_ms } => Some(format!(
            "the image's ENTRYPOINT did not hand over to its arguments within {} s, so the environment it sets is unknown; \
             set [container] entrypoint = \"none\" if it is a server",
            after_ms / 1000
        )),
        Entrypoint::Failed { reason } => Some(format!(
            "the image's ENTRYPOINT failed ({reason}), so the environment it sets is unknown; \
             set [container] entrypoint = \"none\" to go without"
        )),
        Entrypoint::NotRun | Entrypoint::Running | Entrypoint::Learned { .. } => None,
    }
}
