//! What the workflows answer: the JSON contract of the command line, and of the protocol.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Drift, Losses};
use crate::gpu::lost::LostGpus;
use crate::{ContainerPath, HostPath};

/// The answer of `up`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UpReport {
    pub workspace: HostPath,
    pub container: ContainerReport,
    pub image: ImageReport,
    pub gpu: GpuReport,
    pub host_env: Option<HostEnvReport>,
    /// `None`: nothing was to be looked at.
    pub mirror: Option<MirrorReport>,
    /// Each difference between what runs and what the configuration says, and nothing else.
    pub drift: Vec<Drift>,
    /// What `--recreate`, which does away with the drift, would lose.
    pub stakes: Losses,
    /// What was lost with a container that this call replaced.
    pub lost: Losses,
    /// Milliseconds by stage, and `total`.
    pub timings_ms: BTreeMap<&'static str, u64>,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ContainerReport {
    pub id: String,
    pub name: String,
    /// By this call.
    pub created: bool,
    /// By this call.
    pub started: bool,
    pub reused: bool,
    /// `uid:gid` and name of the container's user.
    pub user: String,
    pub workdir: ContainerPath,
    /// `6006/tcp` -> addresses on the host.
    pub ports: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ImageReport {
    pub id: String,
    pub reference: String,
    /// By this call.
    pub built: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GpuReport {
    /// How they got in: `cdi`, `nvidia-runtime`, `direct`, `none`; `inside`: who tells is in there, and cannot know.
    pub injection: String,
    pub isolation: String,
    pub reason: String,
    /// What `--gpus` said, where it decided instead of the configuration.
    pub chosen: Option<String>,
    /// The wish by which `devices` were selected, as `--gpus` takes it; of `--gpus`, or of the configuration.
    pub asked: Option<String>,
    /// What programs get that start now, in the order in which CUDA counts them. With `soft` isolation all of the
    /// engine's are inside, and these are selected.
    pub devices: Vec<GpuDevice>,
    /// What `CUDA_VISIBLE_DEVICES` holds for whatever starts now; `null`: it is left alone.
    pub visible: Option<Vec<String>>,
    /// Why they do not answer any more, although they did when the container started; `null`: nobody knows of it.
    pub lost: Option<LostGpus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GpuDevice {
    pub uuid: Option<String>,
    /// As the engine's machine counts, where that is known.
    pub index: u32,
    /// Of a MIG slice: its place in its GPU.
    #[serde(default)]
    pub slice: Option<u32>,
    pub name: Option<String>,
    /// As CUDA counts inside: 1 is `cuda:1`.
    #[serde(default)]
    pub cuda: Option<u32>,
}

impl GpuDevice {
    /// `3`, `1:2` of a slice.
    pub fn place(&self) -> String {
        self.slice.map_or_else(|| self.index.to_string(), |slice| format!("{}:{slice}", self.index))
    }

    /// `3 = cuda:0`
    pub fn inside(&self) -> String {
        let cuda = self.cuda.map(|cuda| format!(" = cuda:{cuda}")).unwrap_or_default();
        self.place() + &cuda
    }
}

impl From<gpubay_protocol::agent::GpuSeen> for GpuDevice {
    /// As it is counted inside.
    fn from(seen: gpubay_protocol::agent::GpuSeen) -> Self {
        Self { uuid: seen.uuid, index: seen.index, slice: None, name: seen.name, cuda: Some(seen.index) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct HostEnvReport {
    pub path: HostPath,
    /// On the host: the shim.
    pub python: HostPath,
    /// As `3.12.7`.
    pub version: String,
    pub roots: Vec<RootReport>,
}

/// What a call had to do for the host's copy of the packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MirrorReport {
    /// What the copy holds, and the size of the originals.
    pub files: u64,
    pub bytes: u64,
    pub written_files: u64,
    /// Contents of the files that this call wrote.
    pub written_bytes: u64,
    /// The lists of files that it wrote besides.
    pub list_bytes: u64,
    /// Files that this call took from another copy, by a hard link.
    pub linked_files: u64,
    pub ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct RootReport {
    pub container: ContainerPath,
    pub host: HostPath,
    pub files: u64,
    pub bytes: u64,
}

/// The answer of `sync`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SyncReport {
    pub changed: bool,
    pub host_env: Option<HostEnvReport>,
    /// Folders for tools that take extra paths.
    pub paths: Vec<HostPath>,
    pub timings_ms: BTreeMap<&'static str, u64>,
    pub warnings: Vec<String>,
}

/// One line of `ps`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Row {
    pub id: String,
    pub name: String,
    pub role: String,
    pub job: Option<String>,
    pub command: Option<Vec<String>>,
    pub workspace: String,
    /// `false` where the folder was moved or deleted, or is another machine's.
    pub workspace_exists: bool,
    /// The engine's word; `waiting`: a job that stands in the queue for its GPUs.
    pub state: String,
    /// In the engine's words; of a job that waits: `waiting, 2nd for GPU 0`.
    pub status: String,
    /// What the engine was asked for.
    pub gpus: String,
    /// The GPUs that programs get in it that start now, in the order in which CUDA counts them; `null`: that is not known
    /// without asking in there.
    pub devices: Option<Vec<GpuDevice>>,
    /// Why its GPUs do not answer any more, although they did when it started; `null`: nobody knows of it.
    pub lost_gpus: Option<LostGpus>,
    /// Of a job: the name of the record of what it was made of, for `gpubay record`.
    pub record: Option<String>,
    /// Of a job: the commit it was started from, with a `+` where tracked files differed from it.
    pub commit: Option<String>,
    pub exit_code: Option<i64>,
    /// Of a job in the foreground: it goes on, and the process that watched it was killed.
    pub unwatched: bool,
    /// Of a job that waits: its place among those who want the same GPUs, 1 is next.
    pub place: Option<usize>,
    /// Seconds since the Unix epoch.
    pub created: i64,
}

/// The answer of `down` and `stop`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DownReport {
    /// Names of the containers that were removed or stopped.
    pub containers: Vec<String>,
    /// Jobs that waited for GPUs, and do not any more.
    pub waits: Vec<String>,
    /// What was kept, in sentences.
    pub kept: Vec<String>,
    /// What was lost, by container; those that lost nothing are left out.
    pub lost: BTreeMap<String, Losses>,
}

/// The answer of `rm`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct RmReport {
    /// Names of the containers that were removed.
    pub containers: Vec<String>,
    /// Jobs that waited for GPUs, and do not any more.
    pub waits: Vec<String>,
    /// The venv that was emptied, on the host.
    pub venv: Option<HostPath>,
    /// What was lost, by container; those that lost nothing are left out.
    pub lost: BTreeMap<String, Losses>,
}

/// The answer of `build`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct BuildReport {
    pub image: ImageReport,
    pub timings_ms: BTreeMap<&'static str, u64>,
    /// What should be known although it went well, a sentence each.
    pub warnings: Vec<String>,
}
