//! How GPUs get into a container.
//!
//! The engine is asked, the host is not: an engine elsewhere, or one without the driver's toolkit,
//! knows best what it can give. [`decide`] is pure; what it decides is checked inside the container
//! after the start ([`check`]).

pub mod cuda;
mod decide;
pub mod direct;
pub mod inventory;
mod kernel;
pub mod lease;
pub mod lost;
mod nvml;
mod offer;
mod reading;
mod require;
mod select;
pub(crate) mod smi;

pub use self::decide::{Made, decide, decide_beside, has_a_way, made, remembered, select_inside, the_same, would_do};
pub(crate) use self::kernel::driver_version;
pub(crate) use self::nvml::on_this_machine;
pub use self::nvml::{Driver, Lack, inventory_of};
pub use self::offer::{Device, Place, Placed, cdi_name, devices, places, read, written};

use gpubay_protocol::agent::{GpuReport, GpuSeen};

use crate::ContainerPath;
use crate::config::model::{Injection, Isolation};
use crate::engine::GpuRequest;
use crate::error::Explain;

/// Where the driver's libraries lie, unknown to the linker: images of GPU clusters, Nix, driver containers.
const LIBRARY_FOLDERS: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/nvidia/current",
    "/usr/local/nvidia/lib64",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
    "/run/opengl-driver/lib",
];

/// What a container is given, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub injection: Injection,
    pub isolation: Isolation,
    /// A sentence for people.
    pub reason: String,
    pub request: GpuRequest,
    /// How many GPUs must answer inside; `None`: at least one.
    pub promised: Promise,
    /// For the label `gpubay.gpus`: what was asked of the engine.
    pub label: String,
    /// What is in the container and can be told to CUDA; nothing where that is not known.
    pub devices: Vec<Placed>,
    /// UUIDs for `CUDA_VISIBLE_DEVICES`, in their order; `None`: it is left alone.
    pub visible: Option<Vec<String>>,
    /// The version of the driver whose files the container is given; `None`: it is given none by us.
    pub driver: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    Nothing,
    AtLeastOne,
    Exactly(u32),
}

#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error("a GPU is required, and {reason}")]
    Required { reason: String },
    #[error("GPU {asked:?} is not among the {} that the engine offers: {}", .offered.len(), .offered.join(", "))]
    Unknown { asked: String, offered: Vec<String> },
    #[error("{asked} GPUs are asked for and the engine offers {offered}")]
    TooMany { asked: u32, offered: u32 },
    #[error("{fit} of {offered} GPUs are like {asked}: {why}")]
    TooFew { asked: String, fit: u32, offered: u32, why: String },
    #[error("GPUs are asked for ({asked}), and {why}")]
    Taken { asked: String, would_do: lease::Held, why: String },
    #[error("{asked} is asked for, and the driver that would know which GPUs are like that cannot be asked")]
    Unknowable { asked: String },
    #[error("GPU {asked:?} could be any of {}", .means.join(", "))]
    Ambiguous { asked: String, means: Vec<String> },
    #[error("GPU {asked:?} is GPU {is}, which is asked for already")]
    Twice { asked: String, is: String },
    #[error("GPU {asked:?} cannot be used: {trouble}")]
    Trouble { asked: String, trouble: String },
    #[error("GPU {asked:?} is asked for, and {reason}")]
    NamedButNone { asked: String, reason: String },
    #[error("injection {forced:?} is asked for, and {reason}")]
    Forced { forced: &'static str, reason: String },
    #[error("the driver's {file} goes where a mount on {target} is in the way")]
    InTheWay { file: ContainerPath, target: ContainerPath },
    #[error("injection \"direct\" is asked for, and {0}")]
    NotDirectly(direct::Obstacle),
    #[error("promised through {injection}: {promised}; what answered inside the container: {found} GPU(s); {detail}")]
    Broken { injection: &'static str, promised: String, found: usize, detail: String },
}

impl Explain for GpuError {
    fn code(&self) -> &'static str {
        match self {
            Self::Required { .. } => "gpu_required",
            Self::Unknown { .. } => "gpu_unknown",
            Self::TooMany { .. } => "gpu_too_many",
            Self::TooFew { .. } => "gpu_too_few",
            Self::Taken { .. } => "gpu_taken",
            Self::Unknowable { .. } => "gpu_unknowable",
            Self::Ambiguous { .. } => "gpu_ambiguous",
            Self::Twice { .. } => "gpu_twice",
            Self::Trouble { .. } => "gpu_trouble",
            Self::NamedButNone { .. } => "gpu_none",
            Self::Forced { .. } => "gpu_injection",
            Self::InTheWay { .. } => "gpu_mount_in_the_way",
            Self::NotDirectly(obstacle) => obstacle.code(),
            Self::Broken { .. } => "gpu_broken",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Required { .. } | Self::NamedButNone { .. } => {
                "Set [gpus] use = \"none\" (or required = false with use = \"auto\") to work on the CPU, or give the engine \
                 GPUs: a CDI specification (`nvidia-ctk cdi generate`) on Docker 25 or newer, or the NVIDIA runtime; Podman from 5.4."
                    .to_owned()
            }
            Self::Unknowable { .. } => {
                "Name them by index instead (device=0), or ask for a count alone; `gpubay doctor` says what keeps the driver from \
                 being asked."
                    .to_owned()
            }
            // Who types 9 may mean GPU 9.
            Self::TooMany { asked, .. } => format!(
                "A number is a count: GPU {asked} alone is device={asked}, where there is one. `gpubay gpus` lists them."
            ),
            Self::Unknown { .. } => {
                "Name what is there, with --gpus or in [gpus] use; `gpubay gpus` lists it.".to_owned()
            }
            Self::TooFew { .. } => "Ask for fewer or for less, or see in `gpubay gpus` who holds them.".to_owned(),
            Self::Taken { .. } => {
                "`gpubay run --wait` waits until they are free, --share uses them beside who holds them, and `gpubay gpus` shows \
                 the others."
                    .to_owned()
            }
            Self::Ambiguous { .. } => "Write more of its UUID.".to_owned(),
            Self::Twice { .. } => "Name each once.".to_owned(),
            Self::Trouble { .. } => "Choose another; `nvidia-smi` and `dmesg` may tell more of this one.".to_owned(),
            Self::InTheWay { .. } => {
                "Mount that somewhere else, or set [gpus] injection = \"none\" to work on the CPU.".to_owned()
            }
            Self::NotDirectly(obstacle) => return obstacle.hint(),
            Self::Forced { .. } => "Leave [gpus] injection out to let the engine decide.".to_owned(),
            Self::Broken { injection: "direct", .. } => {
                "Check `nvidia-smi` on this machine; on one with SELinux `sudo setsebool -P container_use_devices on` lets \
                 containers use its device nodes."
                    .to_owned()
            }
            Self::Broken { .. } => {
                "Check `nvidia-smi` on the engine's machine, and that its CDI specification fits the driver \
                 (`nvidia-ctk cdi generate` again after a driver update)."
                    .to_owned()
            }
        })
    }
}

/// The name that configuration and reports use.
pub fn name_of(injection: Injection) -> &'static str {
    match injection {
        Injection::Cdi => "cdi",
        Injection::NvidiaRuntime => "nvidia-runtime",
        Injection::Direct => "direct",
        Injection::None => "none",
    }
}

/// The name that configuration and reports use.
pub fn name_of_isolation(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Soft => "soft",
        Isolation::Hard => "hard",
    }
}

/// GPU memory is sold and asked for in these.
pub(crate) fn gib(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Where only device nodes answer nobody knows; a slice answers as its GPU.
fn is_missing(uuid: &str, report: &GpuReport) -> bool {
    let told = report.devices.iter().all(|seen| seen.uuid.is_some());
    told && uuid.starts_with("GPU-") && !report.devices.iter().any(|seen| seen.uuid.as_deref() == Some(uuid))
}

/// Compares what was promised with what answered inside the container.
///
/// # Errors
/// [`GpuError::Broken`] when fewer (or other than exactly as many) GPUs answered.
pub fn check(plan: &Plan, report: &GpuReport) -> Result<Vec<GpuSeen>, GpuError> {
    let found = report.devices.len();
    if let Some(uuid) = plan.visible.iter().flatten().find(|uuid| is_missing(uuid, report)) {
        return Err(GpuError::Broken {
            injection: name_of(plan.injection),
            promised: format!("GPU {uuid}"),
            found,
            detail: report.problem.clone().unwrap_or_else(|| format!("asked {}", report.asked)),
        });
    }
    let kept = match plan.promised {
        Promise::Nothing => true,
        Promise::AtLeastOne => found > 0,
        Promise::Exactly(count) => found == count as usize,
    };
    if kept {
        return Ok(report.devices.clone());
    }
    Err(GpuError::Broken {
        injection: name_of(plan.injection),
        promised: match plan.promised {
            Promise::Exactly(count) => plural(count as usize, "GPU"),
            _ => "at least 1 GPU".to_owned(),
        },
        found,
        detail: report.problem.clone().unwrap_or_else(|| format!("asked {}", report.asked)),
    })
}
