//! GPUs for a container of an engine that knows nothing of them: the driver's device nodes and its libraries, as they lie
//! on this machine, with no toolkit of NVIDIA's.
//!
//! [`gather`] is the only one that looks at the machine; what follows from what it finds is pure.

mod gather;
mod plan;
mod text;

use std::path::PathBuf;

use gpubay_protocol::agent::{DRIVER_LIBRARIES, WSL_LIBRARIES};

pub use self::gather::{closed, look, look_of, may_be_here};
pub(super) use self::plan::plan;
pub use self::plan::{Offered, refuse};
pub use self::text::{Capability, Card, Instance, version};
use crate::error::Explain;

/// Where `nvidia-smi` is in a container: where NVIDIA's own toolkit puts it, and on every `PATH`.
const SMI: &str = "/usr/bin/nvidia-smi";
/// Without these no GPU of a machine answers.
const NEEDED: [&str; 2] = ["nvidiactl", "nvidia-uvm"];
/// What those add that have them.
const USEFUL: [&str; 2] = ["nvidia-uvm-tools", "nvidia-modeset"];
/// The one node of a WSL machine, for all GPUs.
const WSL_NODE: &str = "dxg";
/// What WSL gives of the Windows driver, as it lies there.
const WSL_FOLDERS: [&str; 2] = [WSL_LIBRARIES, "/usr/lib/wsl/drivers"];

/// A device node of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Below `/dev`: `nvidia0`, `nvidia-caps/nvidia-cap1`.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The group's name, where it has one.
    pub group: Option<String>,
}

/// A folder of libraries, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    pub names: Vec<String>,
}

/// Everything that this machine says of its driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The version of the kernel's module; a container that is the machine may not see it.
    pub kernel: Option<String>,
    pub nodes: Vec<Node>,
    pub cards: Vec<Card>,
    pub capabilities: Vec<Capability>,
    pub instances: Vec<Instance>,
    /// Where the linker finds libcuda, and otherwise where it is known to lie.
    pub folders: Vec<Folder>,
    pub smi: Option<PathBuf>,
    /// On WSL: the folders of the Windows driver, each with where it is to be inside; empty where it has no libcuda.
    pub wsl: Vec<(PathBuf, String)>,
}

/// Who opens the nodes, in the numbers of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opener {
    pub uid: u32,
    pub groups: Vec<u32>,
    /// The engine runs as an ordinary user, and supplementary groups do not reach into its containers.
    pub rootless: bool,
}

impl Opener {
    fn may_open(&self, node: &Node) -> bool {
        let bits = if node.uid == self.uid {
            node.mode >> 6
        } else if self.groups.contains(&node.gid) {
            node.mode >> 3
        } else {
            node.mode
        };
        bits & 0o6 == 0o6 || self.uid == 0 && !self.rootless
    }
}

/// Why GPUs cannot be given directly: fits «since …».
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error("the engine at {0} is another machine's, whose device nodes and files are not ours to give")]
    Elsewhere(String),
    #[error("this machine has no NVIDIA driver")]
    NoDriver,
    #[error("the NVIDIA driver{} is loaded, and there is no {}", told(.version.as_deref()), .missing.join(", no "))]
    NoNodes { version: Option<String>, missing: Vec<String> },
    #[error("{}this machine's linker knows no libcuda.so.1{}", if *.wsl { "WSL's /dev/dxg is here and " } else { "" }, wanted(.version.as_deref()))]
    NoLibraries { version: Option<String>, wsl: bool },
    #[error("the driver in the kernel is {kernel}, and its libraries are {}: it was updated, and its older part still runs", .libraries.join(" and "))]
    Mismatch { kernel: String, libraries: Vec<String> },
    #[error("{0}")]
    NotPermitted(Refusal),
}

fn told(version: Option<&str>) -> String {
    version.map(|version| format!(" {version}")).unwrap_or_default()
}

fn wanted(version: Option<&str>) -> String {
    version.map(|version| format!(" of the driver {version}")).unwrap_or_default()
}

/// A node that the container's user may not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("user {uid} may not open /dev/{} in a container{}: its mode is {:04o}, its owner user {}, its group {}",
    .node.name, if *.rootless { " of a rootless engine" } else { "" }, .node.mode, .node.uid, .node.shown_group())]
pub struct Refusal {
    node: Node,
    uid: u32,
    rootless: bool,
}

impl Refusal {
    fn of(node: &Node, opener: &Opener) -> Self {
        Self { node: node.clone(), uid: opener.uid, rootless: opener.rootless }
    }
}

impl Node {
    fn shown_group(&self) -> String {
        self.group.clone().unwrap_or_else(|| self.gid.to_string())
    }

    /// Whether who is in its group may use it, and is nothing more by that.
    fn group_helps(&self) -> bool {
        self.mode & 0o060 == 0o060 && self.gid != 0
    }
}

impl Explain for Obstacle {
    fn code(&self) -> &'static str {
        match self {
            Self::Elsewhere(_) => "gpu_driver_elsewhere",
            Self::NoDriver => "gpu_no_driver",
            Self::NoNodes { .. } => "gpu_no_nodes",
            Self::NoLibraries { .. } => "gpu_no_library",
            Self::Mismatch { .. } => "gpu_driver_mismatch",
            Self::NotPermitted(_) => "gpu_no_permission",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Elsewhere(_) => {
                "Leave [gpus] injection out: such an engine has to have a way of its own (CDI, the NVIDIA runtime)."
                    .to_owned()
            }
            Self::NoDriver => "Install it if there is an NVIDIA GPU in it.".to_owned(),
            Self::NoNodes { .. } => {
                "`nvidia-modprobe -u -c=0` makes them, and so does the first CUDA program after a boot; \
                 `nvidia-persistenced` makes them at each boot."
                    .to_owned()
            }
            Self::NoLibraries { wsl: true, .. } => {
                "Install or update the NVIDIA driver of Windows, then `wsl --shutdown`; none is to be installed inside WSL."
                    .to_owned()
            }
            Self::NoLibraries { .. } => {
                "Install the driver's libraries of the same version (libnvidia-compute on Ubuntu, libcuda1 on Debian), or run \
                 `sudo ldconfig` where they were put by hand; GPUBAY_DRIVER_ROOT names another root for a driver that \
                 lies elsewhere."
                    .to_owned()
            }
            Self::Mismatch { .. } => {
                "Reboot, or unload the kernel's modules named nvidia and load them again; end what uses GPUs before.".to_owned()
            }
            Self::NotPermitted(refusal) if refusal.rootless => {
                "Open the nodes to all, which is NVIDIA's default (NVreg_DeviceFileMode=0666 of its module), or use an engine \
                 of root's."
                    .to_owned()
            }
            // A group that is let in by nothing, or that is root's, helps nobody.
            Self::NotPermitted(refusal) if !refusal.node.group_helps() => {
                "Open the nodes to all, which is NVIDIA's default (NVreg_DeviceFileMode=0666 of its module).".to_owned()
            }
            Self::NotPermitted(refusal) => format!(
                "`sudo usermod -aG {} $USER` and a new login, or open the nodes to all, which is NVIDIA's default \
                 (NVreg_DeviceFileMode=0666 of its module).",
                refusal.node.shown_group()
            ),
        })
    }
}

impl Obstacle {
    /// What is wrong and what to do, in one line.
    pub fn in_full(&self) -> String {
        let next = self.hint().unwrap_or_default();
        format!("{self}. {next}")
    }

    /// Nobody expects GPUs to be given this way there.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Elsewhere(_) | Self::NoDriver)
    }
}

/// A file or a folder of the driver's, and where it is to be inside.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    source: PathBuf,
    target: String,
}

/// All that can be given of a driver that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kit {
    pub version: Option<String>,
    /// For every container with a GPU.
    common: Vec<Node>,
    /// By minor number, with why a container's user could not open it.
    nodes: Vec<(u32, Node, Option<Refusal>)>,
    cards: Vec<Card>,
    capabilities: Vec<(Capability, Node)>,
    instances: Vec<Instance>,
    files: Vec<File>,
    /// Where the libraries are inside.
    library_path: &'static str,
    /// There is one node for all GPUs, as on WSL.
    as_one: bool,
}

/// What can be given of what was found. `opener`: who is to open it, where that is known.
///
/// # Errors
/// [`Obstacle`]: what is missing or does not fit.
pub fn survey(facts: &Facts, opener: Option<&Opener>) -> Result<Kit, Obstacle> {
    let node = |name: &str| facts.nodes.iter().find(|node| node.name == name);
    if let Some(dxg) = node(WSL_NODE).filter(|_| node(NEEDED[0]).is_none()) {
        return wsl(facts, dxg, opener);
    }
    let minor = |node: &Node| node.name.strip_prefix("nvidia")?.parse::<u32>().ok();
    let mut missing: Vec<String> =
        NEEDED.iter().filter(|name| node(name).is_none()).map(|name| format!("/dev/{name}")).collect();
    let cards: Vec<(u32, &Node)> = facts.nodes.iter().filter_map(|node| Some((minor(node)?, node))).collect();
    if cards.is_empty() {
        missing.push("/dev/nvidia0".to_owned());
    }
    let has_any_node = missing.len() < NEEDED.len() + 1;
    if facts.kernel.is_none() && !has_any_node {
        return Err(Obstacle::NoDriver);
    }
    if !missing.is_empty() {
        return Err(Obstacle::NoNodes { version: facts.kernel.clone(), missing });
    }
    let (version, mut files) = libraries(facts)?;
    let common: Vec<&Node> = NEEDED.iter().chain(&USEFUL).filter_map(|name| node(name)).collect();
    let refusal = |node: &Node| opener.filter(|opener| !opener.may_open(node)).map(|opener| Refusal::of(node, opener));
    let needed = NEEDED.iter().filter_map(|name| node(name));
    if let Some(refused) = needed.clone().find_map(refusal) {
        return Err(Obstacle::NotPermitted(refused));
    }
    // Where not one can be opened, that is what there is to say.
    if let Some(refused) = cards.iter().map(|(_, node)| refusal(node)).collect::<Option<Vec<_>>>() {
        return Err(Obstacle::NotPermitted(refused[0].clone()));
    }
    files.extend(facts.smi.iter().map(|smi| File { source: smi.clone(), target: SMI.to_owned() }));
    let capability = |one: &Capability| Some((*one, node(&format!("nvidia-caps/nvidia-cap{}", one.minor))?.clone()));
    Ok(Kit {
        version: Some(version),
        common: common.into_iter().cloned().collect(),
        nodes: cards.into_iter().map(|(minor, node)| (minor, node.clone(), refusal(node))).collect(),
        cards: facts.cards.clone(),
        capabilities: facts.capabilities.iter().filter_map(capability).collect(),
        instances: facts.instances.clone(),
        files,
        library_path: DRIVER_LIBRARIES,
        as_one: false,
    })
}

/// The driver's libraries, all of one version: the kernel's, where that is known.
fn libraries(facts: &Facts) -> Result<(String, Vec<File>), Obstacle> {
    let mut versions: Vec<String> = facts.folders.iter().flat_map(|folder| text::versions(&folder.names)).collect();
    versions.sort();
    versions.dedup();
    let version = match &facts.kernel {
        _ if versions.is_empty() => {
            return Err(Obstacle::NoLibraries { version: facts.kernel.clone(), wsl: false });
        }
        Some(kernel) if versions.contains(kernel) => kernel.clone(),
        Some(kernel) => return Err(Obstacle::Mismatch { kernel: kernel.clone(), libraries: versions }),
        // The linker's first folder is the one that counts.
        None => facts.folders.iter().find_map(|folder| text::versions(&folder.names).pop()).unwrap_or_default(),
    };
    let mut files: Vec<File> = Vec::new();
    for folder in &facts.folders {
        for (name, others) in text::of_version(&folder.names, &version) {
            let source = folder.path.join(&name);
            for name in std::iter::once(name).chain(others) {
                let target = format!("{DRIVER_LIBRARIES}/{name}");
                if files.iter().all(|file| file.target != target) {
                    files.push(File { source: source.clone(), target });
                }
            }
        }
    }
    Ok((version, files))
}

fn wsl(facts: &Facts, dxg: &Node, opener: Option<&Opener>) -> Result<Kit, Obstacle> {
    if facts.wsl.is_empty() {
        return Err(Obstacle::NoLibraries { version: None, wsl: true });
    }
    if let Some(opener) = opener.filter(|opener| !opener.may_open(dxg)) {
        return Err(Obstacle::NotPermitted(Refusal::of(dxg, opener)));
    }
    let folder = |(source, target): &(PathBuf, String)| File { source: source.clone(), target: target.clone() };
    let mut files: Vec<File> = facts.wsl.iter().map(folder).collect();
    files.extend(facts.smi.iter().map(|smi| File { source: smi.clone(), target: SMI.to_owned() }));
    Ok(Kit {
        version: None,
        common: vec![dxg.clone()],
        nodes: Vec::new(),
        cards: Vec::new(),
        capabilities: Vec::new(),
        instances: Vec::new(),
        files,
        library_path: WSL_LIBRARIES,
        as_one: true,
    })
}

#[cfg(test)]
mod tests;
