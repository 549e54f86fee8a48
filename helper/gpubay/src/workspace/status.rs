//! `status`: what runs for a workspace, compared with what is configured. Builds, makes and starts nothing.

use schemars::JsonSchema;
use serde::Serialize;

use super::down::{self, losses};
use super::report::{GpuReport, HostEnvReport, Row};
use super::stakes::Losses;
use super::{Drift, Workspace, dev, python, shown, up};
use crate::engine::ContainerState;
use crate::error::Result;
use crate::{ContainerPath, HostPath};

/// The answer of `status`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct StatusReport {
    /// `None`: there is none.
    pub container: Option<StatusContainer>,
    /// Why nothing can be done in the dev container now, with the next step; `None`: it runs.
    pub hindrance: Option<String>,
    /// Of the container that runs.
    pub gpu: Option<GpuReport>,
    /// What the last `up` made for the tools outside.
    pub host_env: Option<HostEnvReport>,
    /// Folders for tools that take extra paths.
    pub paths: Vec<HostPath>,
    /// Each difference between what runs and what the configuration says.
    pub drift: Vec<Drift>,
    /// Oldest first.
    pub jobs: Vec<Row>,
    /// Names in `[jobs]`.
    pub known_jobs: Vec<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct StatusContainer {
    pub id: String,
    pub name: String,
    /// `created`, `running`, `paused`, `restarting`, `exited`, `dead`.
    pub state: String,
    pub workdir: ContainerPath,
}

/// Whether the configuration can be asked what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configured {
    Usable,
    /// It only says where its containers are: it is broken, or asks for what nobody approved.
    Broken,
}

/// Looks at the dev container and the jobs.
///
/// # Errors
/// The engine's own; `foreign_container`.
pub async fn status(workspace: &Workspace, configured: Configured) -> Result<StatusReport> {
    let wanted = workspace.dev_name();
    let (found, rows) = tokio::join!(dev::find(workspace, &wanted), shown::ps(workspace, shown::Scope::Workspace));
    let (found, mut jobs) = (found?, rows?);
    let lost = found.as_ref().and_then(|found| jobs.iter().find(|row| row.id == found.id)?.lost_gpus.clone());
    jobs.retain(|row| row.job.is_some());
    let hindrance = dev::hindrance(&wanted, found.as_ref());
    let record = python::record(workspace);
    let (mut gpu, mut drift) = (None, Vec::new());
    if let Some(found) = found.as_ref().filter(|found| found.state == ContainerState::Running) {
        let devices = record.as_ref().filter(|record| record.container == found.id).map(|record| record.gpus.clone());
        let devices = devices.unwrap_or_default();
        (gpu, drift) = match configured {
            Configured::Usable => {
                let (gpu, drift) = up::compare(workspace, found, &devices).await?;
                (Some(gpu), drift)
            }
            Configured::Broken => (Some(up::gpu_report(workspace, found, &devices)), Vec::new()),
        };
        drift.extend(lost.as_ref().map(|lost| Drift::told(dev::LOST_GPUS, &lost.text)));
        gpu = gpu.map(|gpu| GpuReport { lost, ..gpu });
    }
    let (prepared, paths) = record.map(|record| (record.report, record.paths)).unwrap_or_default();
    Ok(StatusReport {
        container: found.map(|found| StatusContainer {
            state: found.state.name().to_owned(),
            id: found.id,
            name: found.name,
            workdir: workspace.config().container.workdir.clone(),
        }),
        hindrance: hindrance.map(|error| format!("{}. {}", error.message, error.hint.unwrap_or_default())),
        gpu,
        host_env: prepared,
        paths,
        drift,
        jobs,
        known_jobs: workspace.config().jobs.keys().cloned().collect(),
    })
}

/// What a recreate (or a `down`, with `jobs`) of what is there would lose, by container.
///
/// # Errors
/// The engine's own.
pub async fn stakes(workspace: &Workspace, jobs: bool) -> Result<std::collections::BTreeMap<String, Losses>> {
    let mut containers = down::with_waiting(workspace).await?;
    containers.retain(|container| jobs || !container.labels.contains_key(super::labels::JOB));
    losses(&workspace.engine, &containers).await
}
