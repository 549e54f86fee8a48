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

pub use self::decide::{
    Made, decide, decide_beside, half_updated, has_a_way, made, remembered, select_inside, the_same, would_do,
};
pub(crate) use self::kernel::driver_version;
pub(crate) use self::nvml::on_this_machine;
pub use self::nvml::{Driver, Lack, inventory_of};
pub use self::offer::{Device, Place, Placed, cdi_name, devices, numbers, places, read, written};
pub(crate) use self::offer::{gone, not_offered};
pub use self::select::{Listed, not_there, which};

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
    #[error("{}", unknown(.asked, .offered))]
    Unknown { asked: String, offered: Vec<String> },
    /// `more`: what else there is, and why it is not offered.
    #[error("{} asked for and the engine offers {offered}{}", are(*.asked, "GPU"), .more.as_ref().map(|more| format!("; {more}")).unwrap_or_default())]
    TooMany { asked: u32, offered: u32, more: Option<String> },
    #[error("{} asked for and {}: {why}", are(*.asked, "GPU"), can(*.fit, *.offered))]
    TooFewSound { asked: u32, fit: u32, offered: u32, why: String, stale: bool },
    #[error("{asked} is asked for, and {} like that: {why}", alike(*.fit, *.offered))]
    TooFew { asked: String, fit: u32, offered: u32, why: String },
    #[error("GPUs are asked for ({asked}), and {why}")]
    Taken { asked: String, would_do: lease::Held, why: String },
    #[error("{asked} is asked for, and the driver that would know which GPUs are like that cannot be asked")]
    Unknowable { asked: String },
    #[error("GPU {asked:?} could be any of {}", .means.join(", "))]
    Ambiguous { asked: String, means: Vec<String> },
    #[error("GPU {asked:?} is GPU {is}, which is asked for already")]
    Twice { asked: String, is: String },
    #[error("GPU {asked:?} is divided (MIG), and only its slices can be given: {}", .slices.join(", "))]
    Divided { asked: String, slices: Vec<String> },
    /// `stale`: it is what the engine offers that is wrong, and not the device.
    #[error("GPU {asked:?} cannot be used: {trouble}")]
    Trouble { asked: String, trouble: String, stale: bool },
    #[error("GPU {asked:?} is asked for, and {reason}")]
    NamedButNone { asked: String, reason: String },
    #[error("injection {forced:?} is asked for, and {reason}")]
    Forced { forced: &'static str, reason: String },
    #[error("the driver's {file} goes where a mount on {target} is in the way")]
    InTheWay { file: ContainerPath, target: ContainerPath },
    #[error("injection \"direct\" is asked for, and {0}")]
    NotDirectly(direct::Obstacle),
    #[error("GPUs are asked for, and {0}")]
    Sick(Lack),
    #[error("the container was given its GPUs ({injection}), and its user may not open them: {detail}")]
    Closed { injection: &'static str, detail: String },
    #[error("promised through {injection}: {promised}; what answered inside the container: {found} GPU(s); {detail}")]
    Broken { injection: &'static str, promised: String, found: usize, detail: String },
}

impl Explain for GpuError {
    fn code(&self) -> &'static str {
        match self {
            Self::Required { .. } => "gpu_required",
            Self::Unknown { .. } => "gpu_unknown",
            Self::TooMany { .. } => "gpu_too_many",
            Self::TooFew { .. } | Self::TooFewSound { .. } => "gpu_too_few",
            Self::Taken { .. } => "gpu_taken",
            Self::Unknowable { .. } => "gpu_unknowable",
            Self::Ambiguous { .. } => "gpu_ambiguous",
            Self::Twice { .. } => "gpu_twice",
            Self::Trouble { .. } | Self::Divided { .. } => "gpu_trouble",
            Self::NamedButNone { .. } => "gpu_none",
            Self::Forced { .. } => "gpu_injection",
            Self::InTheWay { .. } => "gpu_mount_in_the_way",
            Self::NotDirectly(obstacle) => obstacle.code(),
            Self::Sick(lack) => lack.code(),
            Self::Closed { .. } => "gpu_no_permission",
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
            Self::TooMany { more: Some(_), .. } => format!("{WRITE_ANEW} on the engine's machine; `gpubay gpus` lists them."),
            Self::TooMany { asked, .. } => format!(
                "A number is a count: GPU {asked} alone is device={asked}, where there is one. `gpubay gpus` lists them."
            ),
            Self::Unknown { asked, .. } => next_of_unknown(asked),
            Self::TooFewSound { stale: true, .. } => {
                format!("{WRITE_ANEW} on the engine's machine, or ask for fewer; `gpubay gpus` shows what can be used now.")
            }
            Self::TooFewSound { .. } => "Ask for fewer; `gpubay gpus` shows what each of them does.".to_owned(),
            Self::TooFew { .. } => "Ask for fewer or for less, or see in `gpubay gpus` who holds them.".to_owned(),
            Self::Taken { .. } => {
                "`gpubay run --wait` waits until they are free, --share uses them beside who holds them, and `gpubay gpus` shows \
                 the others."
                    .to_owned()
            }
            Self::Ambiguous { .. } => "Write more of its UUID.".to_owned(),
            Self::Twice { .. } => "Name each once.".to_owned(),
            Self::Divided { slices, .. } => format!(
                "Name a slice, such as {}; `gpubay gpus` lists them.",
                slices.first().map_or("0:0", String::as_str)
            ),
            Self::Trouble { stale: true, .. } => {
                format!("{WRITE_ANEW} on the engine's machine, or choose another, which `gpubay gpus` lists.")
            }
            Self::Trouble { .. } => "Choose another; `nvidia-smi` and `dmesg` may tell more of this one.".to_owned(),
            Self::InTheWay { .. } => {
                "Mount that somewhere else, or set [gpus] injection = \"none\" to work on the CPU.".to_owned()
            }
            Self::NotDirectly(obstacle) => return obstacle.hint(),
            Self::Sick(lack) => return lack.hint(),
            Self::Closed { .. } => {
                "Look on the engine's machine who may open them (`ls -l /dev/nvidia*`): open them to all, which is NVIDIA's default \
                 (NVreg_DeviceFileMode=0666 of its module), or name their group in [container] group_add."
                    .to_owned()
            }
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

/// How an engine learns which devices there are now.
pub(crate) const WRITE_ANEW: &str = "Run `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`";

/// Each way to name a GPU fails for a reason of its own.
fn unknown(asked: &str, offered: &[String]) -> String {
    let there = if offered.len() == 1 { "there is only" } else { "there are" };
    let offered = offered.join(", ");
    match offer::Name::of(asked) {
        offer::Name::Cdi => format!("the engine has no CDI device {asked}; {there} {offered}"),
        offer::Name::GpuUuid => format!("no GPU here has the UUID {asked}; {there} {offered}"),
        offer::Name::SliceUuid => format!("no MIG slice here has the UUID {asked}; {there} {offered}"),
        offer::Name::Slice => format!("there is no MIG slice {asked}; {there} {offered}"),
        offer::Name::Gpu => format!("there is no GPU {asked}; {there} {offered}"),
    }
}

fn next_of_unknown(asked: &str) -> String {
    match offer::Name::of(asked) {
        offer::Name::Cdi => {
            "Such names come and go with the CDI specification: `nvidia-ctk cdi list` on the engine's machine shows what it has \
             now, and `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` writes it anew."
        }
        offer::Name::GpuUuid => {
            "A UUID is of one GPU alone: that one is in another machine, or was taken out. `gpubay gpus` lists those of this engine."
        }
        offer::Name::SliceUuid => {
            "A slice has another UUID each time its GPU is divided. `gpubay gpus` lists those that there are now."
        }
        offer::Name::Slice => "The first number is the GPU, the second its slice, both from 0. `gpubay gpus` lists them.",
        offer::Name::Gpu => "GPUs are counted from 0; `gpubay gpus` lists them.",
    }
    .to_owned()
}

/// `1 GPU is`, `3 GPUs are`
fn are(count: u32, noun: &str) -> String {
    format!("{} {}", plural(count as usize, noun), if count == 1 { "is" } else { "are" })
}

fn can(fit: u32, offered: u32) -> String {
    match (fit, offered) {
        (0, 1) => "the only one cannot be used".to_owned(),
        (0, _) => format!("none of the {offered} can be used"),
        _ => format!("{fit} of {offered} can be used"),
    }
}

fn alike(fit: u32, offered: u32) -> String {
    match (fit, offered) {
        (0, 1) => "the only GPU is not".to_owned(),
        (0, _) => format!("none of the {offered} GPUs is"),
        (1, _) => format!("1 of {offered} GPUs is"),
        _ => format!("{fit} of {offered} GPUs are"),
    }
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Where only device nodes answer nobody knows; a slice answers as its GPU.
fn is_missing(uuid: &str, report: &GpuReport) -> bool {
    let told = report.devices.iter().all(|seen| seen.uuid.is_some());
    told && uuid.starts_with("GPU-") && !report.devices.iter().any(|seen| seen.uuid.as_deref() == Some(uuid))
}

/// Why nothing, or too little, answered inside, where its own words tell.
fn broken(plan: &Plan, promised: String, report: &GpuReport) -> GpuError {
    let (injection, found) = (name_of(plan.injection), report.devices.len());
    let detail = report.problem.clone().unwrap_or_else(|| format!("asked {}", report.asked));
    if detail.contains("Driver/library version mismatch") {
        return GpuError::Sick(Lack::Mismatch);
    }
    if detail.contains("Insufficient Permissions") || detail.contains("Permission denied") {
        return GpuError::Closed { injection, detail };
    }
    GpuError::Broken { injection, promised, found, detail }
}

/// Compares what was promised with what answered inside the container.
///
/// # Errors
/// [`GpuError::Broken`] when fewer (or other than exactly as many) GPUs answered, [`GpuError::Closed`] and [`GpuError::Sick`]
/// where that is why.
pub fn check(plan: &Plan, report: &GpuReport) -> Result<Vec<GpuSeen>, GpuError> {
    let found = report.devices.len();
    if let Some(uuid) = plan.visible.iter().flatten().find(|uuid| is_missing(uuid, report)) {
        return Err(broken(plan, format!("GPU {uuid}"), report));
    }
    let kept = match plan.promised {
        Promise::Nothing => true,
        Promise::AtLeastOne => found > 0,
        Promise::Exactly(count) => found == count as usize,
    };
    if kept {
        return Ok(report.devices.clone());
    }
    let promised = match plan.promised {
        Promise::Exactly(count) => plural(count as usize, "GPU"),
        _ => "at least 1 GPU".to_owned(),
    };
    Err(broken(plan, promised, report))
}
