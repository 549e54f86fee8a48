//! A window that is attached to a container of ours: the helper runs in there, beside the agent, and has no engine. What
//! the agent knows is told; nothing is started, stopped or attached from in there.

use std::path::Path;

use gpubay_protocol::agent::{GpuChoice, RUN_DIR};

use super::folder::Derived;
use super::method::of_config;
use super::wire::{Failure, Phase, SelectedGpus};
use crate::agent::{AgentError, Client};
use crate::config::model::{Injection, Isolation};
use crate::error::{Error, Explain};
use crate::gpu::Driver;
use crate::gpu::inventory::Inventory;
use crate::gpu::lease::Claims;
use crate::quoting::printable;
use crate::workspace::choice;
use crate::workspace::gpus::{GpusReport, OfferedGpu};
use crate::workspace::lost::{self, Guarded};
use crate::workspace::report::{GpuDevice, GpuReport};
use crate::workspace::status::{StatusContainer, StatusReport};
use crate::{ContainerPath, HostPath, gpu, programs};

const INSIDE: &str = "inside";
const REASON: &str = "this window is in the container, and sees its GPUs only";

/// What can be asked in there.
const ANSWERED: [&str; 4] = ["gpubay/status", "gpubay/gpus", "gpubay/watchGpus", "gpubay/selectGpus"];

pub(super) fn is() -> bool {
    programs::in_a_container_of_ours()
}

/// Why a method is refused in there.
pub(super) fn refusal(method: &str) -> Option<Error> {
    if !is() || ANSWERED.contains(&method) {
        return None;
    }
    let what = "this window is in the container already";
    Some(Error::new("inside", what).with_hint("Do that in the window of the folder outside."))
}

/// The agent's folder is at the same place for whoever is in there.
async fn devices() -> Result<Vec<GpuDevice>, Failure> {
    let asked = async { Client::connect(&run_folder()).await?.gpus().await };
    let report = asked.await.map_err(|error| mended_outside(&error))?;
    Ok(report.devices.into_iter().map(GpuDevice::from).collect())
}

/// The next step that an agent's errors name is none that can be done in here.
fn mended_outside(error: &AgentError) -> Failure {
    let hint = match error.code() {
        "agent_version" => {
            "The container was started by another version of gpubay; `gpubay up --recreate` in the window of the folder outside puts the present one in."
        }
        _ => "Look at the container in the window of the folder outside.",
    };
    Error::new(error.code(), error.to_string()).with_hint(hint).into()
}

/// How they got in is known outside alone.
fn injection(seen: &[GpuDevice]) -> &'static str {
    if seen.is_empty() { gpu::name_of(Injection::None) } else { INSIDE }
}

/// The file that is there where the environment selects.
fn choice() -> Option<GpuChoice> {
    choice::read(&run_folder())
}

/// What is selected of what is inside, by its own names: `nvidia-smi` lists whole GPUs.
fn selected(seen: Vec<GpuDevice>, choice: Option<&GpuChoice>) -> Vec<GpuDevice> {
    let Some(choice) = choice else { return seen };
    let inside = gpu::read(&choice.inside);
    choice::selected(&inside, &seen, &choice.visible)
}

async fn gpu_report() -> Result<GpuReport, Failure> {
    let inside = devices().await?;
    let choice = choice();
    let isolation = if choice.is_some() { Isolation::Soft } else { Isolation::Hard };
    Ok(GpuReport {
        injection: injection(&inside).to_owned(),
        isolation: gpu::name_of_isolation(isolation).to_owned(),
        reason: REASON.to_owned(),
        chosen: choice.as_ref().filter(|choice| choice.explicit).map(|choice| printable(&choice.asked)),
        asked: choice.as_ref().map(|choice| printable(&choice.asked)),
        devices: selected(inside, choice.as_ref()),
        visible: choice.map(|choice| choice.visible),
        lost: lost::inside(&run_folder()).await,
    })
}

/// Among the GPUs that are in here; another one has to be brought in from outside.
pub(super) async fn select_gpus(asked: &str) -> Result<SelectedGpus, Failure> {
    let select = crate::config::parse_gpus(asked).map_err(of_config)?;
    let Some(now) = choice() else {
        let what = "only the GPUs that were selected outside are in this container";
        return Err(Error::new("inside", what).with_hint("Select others in the window of the folder outside.").into());
    };
    let inside = gpu::read(&now.inside);
    let inventory = Driver::default().inventory().await.ok();
    choice::select(&run_folder(), &select, true, &inside, inventory.as_ref(), &Claims::default())?;
    Ok(SelectedGpus { gpu: gpu_report().await?, drift: Vec::new() })
}

fn run_folder() -> HostPath {
    HostPath::new(RUN_DIR).expect("an absolute path")
}

pub(super) async fn derive(folder: &Path) -> Derived {
    match status(folder).await {
        Ok(status) => {
            let lost = status.gpu.as_ref().is_some_and(|gpu| gpu.lost.is_some());
            let guarded = vec![Guarded { id: String::new(), run: run_folder(), lost }];
            Derived { phase: Phase::Running, status: Some(status), problem: None, guarded }
        }
        Err(problem) => Derived::of_problem(problem),
    }
}

pub(super) async fn status(folder: &Path) -> Result<StatusReport, Failure> {
    let gpu = gpu_report().await?;
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let workdir =
        ContainerPath::new(folder.to_string_lossy()).map_err(|error| Error::new("bad_path", error.to_string()))?;
    Ok(StatusReport {
        // An engine names a container's machine after its id.
        container: Some(StatusContainer { id: name.clone(), name, state: "running".to_owned(), workdir }),
        hindrance: None,
        gpu: Some(gpu),
        host_env: None,
        paths: Vec::new(),
        drift: Vec::new(),
        jobs: Vec::new(),
        known_jobs: Vec::new(),
    })
}

/// `driver`: its library comes into a container with the GPUs.
pub(super) async fn gpus(driver: &Driver) -> Result<GpusReport, Failure> {
    let devices = devices().await?;
    let told = if devices.is_empty() { None } else { Some(driver.inventory().await) };
    let (told, lack) = match told {
        Some(Ok(told)) => (Some(told), None),
        Some(Err(lack)) => (None, Some(lack)),
        None => (None, None),
    };
    Ok(GpusReport {
        engine: "the container of this window".to_owned(),
        injection: injection(&devices).to_owned(),
        reason: REASON.to_owned(),
        complete: true,
        devices: devices
            .into_iter()
            .map(|seen| OfferedGpu {
                select: seen.uuid.clone().unwrap_or_else(|| seen.index.to_string()),
                index: Some(seen.index),
                uuid: seen.uuid,
                name: seen.name,
                ..OfferedGpu::default()
            })
            // Whose the processes are nobody in here can know: their numbers are the machine's.
            .map(|device| if let Some(told) = &told { device.with_figures(told) } else { device })
            .collect(),
        waiting: Vec::new(),
        other_names: Vec::new(),
        driver: told.as_ref().and_then(|told| told.driver.clone()),
        cuda: told.as_ref().and_then(Inventory::cuda_version),
        problem: lack.map(|lack| lack.in_full()),
    })
}
