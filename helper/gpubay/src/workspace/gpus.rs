//! `gpus`: what the engine offers.

use schemars::JsonSchema;
use serde::Serialize;

use super::Workspace;
use super::elsewhere::Elsewhere;
use crate::config::model::{GpuSelection, Gpus, Injection, Isolation};
use crate::engine::Engine;
use crate::error::Result;
use crate::gpu;

/// The answer of `gpus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GpusReport {
    /// The engine's address.
    pub engine: String,
    /// How GPUs get into a container: `cdi`, `nvidia-runtime`, `direct`, `none`.
    pub injection: String,
    /// Why that way.
    pub reason: String,
    /// Whether `devices` holds all that there are: the NVIDIA runtime does not tell the engine which it has.
    pub complete: bool,
    pub devices: Vec<OfferedGpu>,
    /// Names that the engine takes and that cannot be matched with a device from here: UUIDs, `all`.
    pub other_names: Vec<String>,
    /// The driver's version.
    pub driver: Option<String>,
    /// The newest CUDA that the driver runs: `13.0`.
    pub cuda: Option<String>,
    /// Why memory, use and processes are not known, with the next step.
    pub problem: Option<String>,
}

/// A GPU or a MIG slice; what is not known is `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OfferedGpu {
    /// What `--gpus` takes for it.
    pub select: String,
    pub index: Option<u32>,
    /// Of a MIG slice: its place in its GPU.
    pub slice: Option<u32>,
    pub uuid: Option<String>,
    /// The model.
    pub name: Option<String>,
    /// Its CDI name.
    pub cdi: Option<String>,
    /// Of a MIG slice: `1g.10gb`.
    pub profile: Option<String>,
    pub memory: Option<GpuMemory>,
    /// Percent of the driver's last sample in which something ran.
    pub utilization: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Watts.
    pub power: Option<u32>,
    /// Watts.
    pub power_limit: Option<u32>,
    /// Why it cannot be used.
    pub trouble: Option<String>,
    /// Whose processes are on it, the one with the most memory first.
    pub holders: Vec<GpuHolder>,
}

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GpuMemory {
    pub used: u64,
    pub total: u64,
}

/// A process on a GPU, and whose it is. What cannot be found out is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GpuHolder {
    /// On the engine's machine.
    pub pid: u32,
    /// The program's name.
    pub program: Option<String>,
    /// Bytes.
    pub memory: Option<u64>,
    /// The user's name, or the number.
    pub user: Option<String>,
    /// The container's name; `null`: it runs in none.
    pub container: Option<String>,
    /// The workspace of a container of ours.
    pub workspace: Option<String>,
    /// The job of a container of ours; `null` in a dev container.
    pub job: Option<String>,
    /// Since when it runs: RFC 3339.
    pub since: Option<String>,
}

/// Of the workspace's engine, in the way that the workspace would use.
///
/// # Errors
/// The engine's own, and a way that was forced and is not there.
pub async fn gpus(workspace: &Workspace) -> Result<GpusReport> {
    let wanted = Gpus { select: GpuSelection::All, required: false, ..workspace.config().gpus.clone() };
    offered(&workspace.engine, &wanted).await
}

/// Without a workspace.
///
/// # Errors
/// The engine's own.
pub async fn elsewhere(elsewhere: &Elsewhere) -> Result<GpusReport> {
    let wanted = Gpus { select: GpuSelection::All, required: false, isolation: Isolation::Hard, injection: None };
    offered(elsewhere.engine(), &wanted).await
}

async fn offered(engine: &Engine, wanted: &Gpus) -> Result<GpusReport> {
    let info = engine.info().await?;
    let plan = gpu::decide(wanted, &info)?;
    let (devices, other_names) = match plan.injection {
        Injection::Cdi => gpu::devices(&info),
        _ => (Vec::new(), Vec::new()),
    };
    Ok(GpusReport {
        engine: engine.located().endpoint.to_string(),
        injection: gpu::name_of(plan.injection).to_owned(),
        reason: plan.reason,
        complete: plan.injection != Injection::NvidiaRuntime,
        devices: devices
            .into_iter()
            .map(|device| OfferedGpu {
                select: device.name.to_owned(),
                index: device.place.map(|(gpu, _)| gpu),
                slice: device.place.and_then(|(_, slice)| slice),
                uuid: device.uuid.map(str::to_owned),
                cdi: Some(gpu::cdi_name(device.name)),
                ..OfferedGpu::default()
            })
            .collect(),
        other_names: other_names.into_iter().map(gpu::cdi_name).collect(),
        driver: None,
        cuda: None,
        problem: None,
    })
}
