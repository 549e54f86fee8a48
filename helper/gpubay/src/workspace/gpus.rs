//! `gpus`: what the engine offers.

use schemars::JsonSchema;
use serde::Serialize;

use super::Workspace;
use super::elsewhere::Elsewhere;
use crate::config::model::{GpuSelection, Gpus, Injection, Isolation};
use crate::engine::Engine;
use crate::error::Result;
use crate::gpu;

/// The answer of `gpus`. Later versions add what a driver tells of each device: memory, use, processes.
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
}

/// A GPU or a MIG slice; what is not known is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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
                name: None,
                cdi: Some(gpu::cdi_name(device.name)),
            })
            .collect(),
        other_names: other_names.into_iter().map(gpu::cdi_name).collect(),
    })
}
