//! The file that tells the shim where its container is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::paths::{ContainerPath, HostPath, PathMap};

/// The name of the file, directly in the host env (`.venv/`); its presence makes a `.venv` ours.
pub const FILE_NAME: &str = "gpubay-env.json";

/// In the host env's `bin`: the shim once more, as a file of its own and no hard link.
pub const UNCACHED_PYTHON: &str = "python-for-uv";

/// Raised with every change that an older shim would misread.
pub const SCHEMA: u32 = 1;

/// What the host env says of its container. Written by the helper, read by the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEnv {
    pub schema: u32,
    /// The workspace's identity, 64 hexadecimal digits.
    pub id: String,
    /// The workspace folder on the host.
    pub workspace: HostPath,
    /// The host env itself: `<workspace>/.venv`.
    pub path: HostPath,
    /// The dev container's name, for messages.
    pub container: String,
    /// The agent's socket on the host; `None` where the engine shares no folders with this host.
    pub socket: Option<HostPath>,
    /// The helper's executable, for what the socket cannot do and for messages.
    pub helper: HostPath,
    /// Interpreter inside the container: `<venv>/bin/python`.
    pub python: ContainerPath,
    /// The venv inside the container.
    pub venv: ContainerPath,
    /// As `3.12.7`.
    pub version: String,
    /// Import roots in the container that the mirror does not hold and the venv is not: a tool that
    /// asks never learns of them, since the host may have another folder of that name.
    pub unmapped: Vec<ContainerPath>,
    /// Workspace, mounts, the venv's folders and the mirrored roots.
    pub map: PathMap,
    /// Console scripts of the host env's `bin` that are not in the venv's: by name, the program inside.
    #[serde(default)]
    pub scripts: BTreeMap<String, ContainerPath>,
    /// Folder of the host for cached answers to tools' questions.
    pub cache: HostPath,
}
