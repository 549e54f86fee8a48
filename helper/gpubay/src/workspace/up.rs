//! `up`: from a folder to a running container that the editor outside knows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::dev::{self, Dev, Wanted};
use super::image::{self, Desired};
use super::report::{ContainerReport, GpuDevice, GpuReport, ImageReport, UpReport};
use super::spec::{Inputs, Places, Task, plan};
use super::user::{self, ContainerUser};
use super::{Recreate, Workspace, delivery, labels, lock, python};
use crate::HostPath;
use crate::agent;
use crate::config::model::Gpus;
use crate::engine::Image as EngineImage;
use crate::error::{Error, Result};
use crate::gpu;

/// Measures stages; each lap ends the one before.
#[derive(Debug)]
pub(super) struct Stages {
    start: Instant,
    last: Instant,
    laps: BTreeMap<&'static str, u64>,
}

impl Stages {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, laps: BTreeMap::new() }
    }

    pub(super) fn lap(&mut self, stage: &'static str) {
        let now = Instant::now();
        self.laps.insert(stage, (now - self.last).as_millis() as u64);
        self.last = now;
    }

    pub(super) fn end(mut self) -> BTreeMap<&'static str, u64> {
        self.laps.insert("total", self.start.elapsed().as_millis() as u64);
        self.laps
    }
}

/// What to do about an image that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Image {
    Build,
    /// A container runs already: use its image and say that it is out of date.
    KeepRunning,
}

/// Everything that a container of this workspace is planned from.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) image: EngineImage,
    pub(super) reference: String,
    pub(super) built: bool,
    /// The wanted image is not there, and nothing was built because a container runs.
    pub(super) outdated: bool,
    pub(super) user: ContainerUser,
    pub(super) gpu: gpu::Plan,
    pub(super) places: Places,
    pub(super) python: python::Place,
    memory: u64,
    base_name: String,
    known_host_envs: Vec<HostPath>,
}

impl Ground {
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
            gpu: &self.gpu,
            venv: &self.python.venv,
            user_key: workspace.user_key(),
            places: &self.places,
            memory: self.memory,
            known_host_envs: &self.known_host_envs,
        }
    }
}

/// Finds out, and builds or pulls, what a container is made of.
pub(super) async fn ground(workspace: &Workspace, missing: Image, gpus: &Gpus) -> Result<Ground> {
    let (desired, info) = tokio::join!(image::desired(workspace), workspace.engine.info());
    let (desired, info) = (desired?, info?);
    if info.os != "linux" {
        return Err(Error::new("engine_os", format!("the engine runs {} containers", info.os))
            .with_hint("Switch it to Linux containers."));
    }
    // Before a build that may take minutes: what cannot work is said at once.
    let gpu = gpu::decide(gpus, &info)?;
    let (image, reference, built, outdated) = chosen_image(workspace, missing, desired).await?;
    let users = image::users(workspace, &image).await?;
    let user =
        user::resolve(&workspace.config().container.user, &workspace.host, &image.user, image.var("HOME"), &users)?;
    let python = python::place(workspace)?;
    let places = delivery::prepare(
        &workspace.config().paths.data,
        workspace.id8(),
        &workspace.venv_folder(),
        &workspace.host,
        &user,
    )?;
    Ok(Ground {
        image,
        reference,
        built,
        outdated,
        user,
        gpu,
        places,
        python,
        memory: info.memory,
        base_name: workspace.base_name(),
        known_host_envs: python::known_host_envs(workspace),
    })
}

async fn chosen_image(
    workspace: &Workspace,
    missing: Image,
    desired: Desired,
) -> Result<(EngineImage, String, bool, bool)> {
    if desired.found.is_none()
        && missing == Image::KeepRunning
        && let Some(running) = dev::find(workspace, &workspace.dev_name()).await?
        && let Some(image) = workspace.engine.image(&running.image).await?
    {
        let reference = image.id.clone();
        return Ok((image, reference, false, true));
    }
    let (image, reference, built) = image::ensure(workspace, desired, super::build::Cache::Use).await?;
    Ok((image, reference, built, false))
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
    let mut stages = Stages::start();
    let progress = &workspace.progress;
    let _lock = lock::hold(&workspace.config().paths.data, workspace.id8(), progress).await?;
    stages.lap("lock");
    let existing = dev::find(workspace, &workspace.dev_name()).await?;
    let missing = match (&existing, recreate) {
        (Some(_), Recreate::WhenNothingIsLost) => Image::KeepRunning,
        _ => Image::Build,
    };
    let mut ground = ground(workspace, missing, &workspace.config().gpus).await?;
    stages.lap("image");
    let dev = match bring_up(workspace, &ground, recreate).await {
        // Nothing is lost by replacing it, so the image that was only missing is built after all.
        Err(error) if error.code == "needs_build" => {
            ground = self::ground(workspace, Image::Build, &workspace.config().gpus).await?;
            bring_up(workspace, &ground, recreate).await?
        }
        other => other?,
    };
    stages.lap("container");
    let devices = match gpus_inside(workspace, &ground, &dev).await {
        Ok(devices) => devices,
        Err(error) => {
            if dev.created {
                workspace.engine.remove(&dev.container.id).await?;
            }
            return Err(error);
        }
    };
    stages.lap("gpu");
    let prepared = python::prepare(workspace, &ground, &dev, &devices).await?;
    stages.lap("python");
    let mut warnings = workspace.loaded.warnings.clone();
    warnings.extend(prepared.warnings);
    warnings.extend(entrypoint_warning(&dev));
    Ok(UpReport {
        workspace: workspace.folder().clone(),
        image: ImageReport { id: ground.image.id.clone(), reference: ground.reference.clone(), built: ground.built },
        gpu: gpu_report(&ground, &dev, devices),
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
        drift: dev.drift,
        timings_ms: stages.end(),
        warnings,
    })
}

pub(super) async fn bring_up(workspace: &Workspace, ground: &Ground, recreate: Recreate) -> Result<Dev> {
    let planned = plan(&ground.inputs(workspace), &Task::Dev);
    dev::prepare_mount_points(&planned)?;
    let stamp = python::record(workspace).map(|record| record.roots).unwrap_or_default();
    let wanted = Wanted {
        planned: &planned,
        user: &ground.user,
        places: &ground.places,
        image: (!ground.outdated).then_some(ground.image.id.as_str()),
        venv: &ground.python.venv,
        stamp: &stamp,
        recreate,
    };
    dev::ensure(workspace, &wanted).await
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
    check_gpus(&ground.gpu, &ground.places.run).await
}

/// Asks the agent in a started container whether the promised GPUs are there.
pub(super) async fn check_gpus(plan: &gpu::Plan, run: &HostPath) -> Result<Vec<GpuDevice>> {
    let client = agent::wait_ready(run, Duration::from_secs(30)).await?;
    let report = client.gpus().await?;
    let seen = gpu::check(plan, &report)?;
    Ok(seen.into_iter().map(|seen| GpuDevice { uuid: seen.uuid, index: seen.index, name: seen.name }).collect())
}

fn gpu_report(ground: &Ground, dev: &Dev, devices: Vec<GpuDevice>) -> GpuReport {
    GpuReport {
        injection: dev.container.label(labels::INJECTION).to_owned(),
        isolation: gpu::name_of_isolation(ground.gpu.isolation).to_owned(),
        reason: dev.container.label(labels::REASON).to_owned(),
        devices,
    }
}

fn entrypoint_warning(dev: &Dev) -> Option<String> {
    use gpubay_protocol::agent::Entrypoint;
    match &dev.status.entrypoint {
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
