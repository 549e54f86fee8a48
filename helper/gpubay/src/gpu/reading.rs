//! One look at everything that the driver tells of its GPUs.
//!
//! What a GPU does not tell is left out; what says that it is ill becomes its trouble, and the others are told of all
//! the same. Only what concerns the driver as a whole is an error.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::{Brand, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::structs::device::MigMode;
use nvml_wrapper::{Device, Nvml};

use super::inventory::{Gpu, Inventory, Memory, Process, Slice};

type Answer<T> = Result<T, NvmlError>;

/// For how long a GPU is taken to be divided or not: the question costs as much as all others together, and nobody can
/// change it while we have the GPU open. Nor does its brand change.
const MODE_LASTS: Duration = Duration::from_secs(30);

/// Whether GPUs are divided, as they said not long ago, of one that cannot be, nothing; and what they are sold as.
#[derive(Debug, Default)]
pub(super) struct Modes(BTreeMap<u32, (Instant, Option<MigMode>, Option<Brand>)>);

pub(super) fn read(nvml: &Nvml, modes: &mut Modes) -> Answer<Inventory> {
    let count = nvml.device_count()?;
    let gpus = (0..count).map(|index| gpu(nvml, index, modes)).collect::<Answer<_>>()?;
    // Without libcuda there is none.
    let cuda = part(nvml.sys_cuda_driver_version())?.filter(|version| *version > 0);
    Ok(Inventory {
        driver: part(nvml.sys_driver_version())?,
        cuda: cuda.map(|version| (version as u32 / 1000, version as u32 % 1000 / 10)),
        gpus,
    })
}

/// The driver as a whole has failed: there is no use in asking on.
fn is_fatal(error: &NvmlError) -> bool {
    matches!(error, NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch)
}

/// What need not be told.
fn part<T>(answer: Answer<T>) -> Answer<Option<T>> {
    match answer {
        Ok(told) => Ok(Some(told)),
        Err(error) if is_fatal(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// What a GPU in order tells, or an error that says what is the matter with it.
struct Asking<'a> {
    gpu: &'a mut Gpu,
}

impl Asking<'_> {
    /// What every GPU tells: any refusal is its trouble.
    fn always<T>(&mut self, answer: Answer<T>) -> Answer<Option<T>> {
        match answer {
            Err(error) if !is_fatal(&error) => {
                let trouble = trouble(&error, self.gpu.index);
                self.gpu.trouble.get_or_insert(trouble);
                Ok(None)
            }
            other => part(other),
        }
    }

    /// What some do not tell.
    fn perhaps<T>(&mut self, answer: Answer<T>) -> Answer<Option<T>> {
        let ill = matches!(
            answer,
            Err(NvmlError::GpuLost | NvmlError::ResetRequired | NvmlError::InsufficientPower | NvmlError::IrqIssue)
        );
        if ill { self.always(answer) } else { part(answer) }
    }
}

fn gpu(nvml: &Nvml, index: u32, modes: &mut Modes) -> Answer<Gpu> {
    let mut gpu = Gpu { index, ..Gpu::default() };
    let mut asking = Asking { gpu: &mut gpu };
    let Some(device) = asking.always(nvml.device_by_index(index))? else { return Ok(gpu) };
    let uuid = asking.always(device.uuid())?;
    // WSL has no node for it.
    let minor = asking.perhaps(device.minor_number())?;
    let name = asking.perhaps(device.name())?;
    // A board without memory of its own shares the machine's, and tells none.
    let memory = match device.memory_info() {
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => None,
        answer => asking.always(answer)?,
    };
    let utilization = asking.perhaps(device.utilization_rates())?;
    let temperature = asking.perhaps(device.temperature(TemperatureSensor::Gpu))?;
    let power = asking.perhaps(device.power_usage())?;
    let limit = asking.perhaps(device.enforced_power_limit())?;
    let (mode, brand) = match modes.0.get(&index).filter(|(at, ..)| at.elapsed() < MODE_LASTS) {
        Some((_, mode, brand)) => (mode.clone(), *brand),
        None => {
            // Those that cannot be divided have none.
            let (mode, brand) = (asking.perhaps(device.mig_mode())?, part(device.brand())?);
            modes.0.insert(index, (Instant::now(), mode.clone(), brand));
            (mode, brand)
        }
    };
    let mig = mode.as_ref().is_some_and(|mode| mode.current == 1);
    let slices = if mig { slices(&device)? } else { Vec::new() };
    let mut processes = processes(&device)?;
    processes.retain(|process| !slices.iter().any(|slice| slice.processes.iter().any(|p| p.pid == process.pid)));
    if mig && slices.is_empty() && gpu.trouble.is_none() {
        gpu.trouble = Some(
            "it is to be divided (MIG) and has no slice: `nvidia-smi mig -cgi … -C` makes some, or \
             `nvidia-smi -mig 0` takes the mode back"
                .to_owned(),
        );
    }
    Ok(Gpu {
        uuid: uuid.unwrap_or_default(),
        minor,
        name: name.unwrap_or_default(),
        brand: brand.map(brand_name).map(str::to_owned),
        memory: memory.map(|memory| Memory { used: memory.used, total: memory.total }),
        utilization: utilization.map(|rates| rates.gpu),
        temperature,
        power: power.map(|power| (power, limit)),
        mig,
        mig_pending: mode.map(|mode| mode.pending == 1).filter(|pending| *pending != mig),
        slices,
        processes,
        ..gpu
    })
}

fn slices(gpu: &Device<'_>) -> Answer<Vec<Slice>> {
    let most = part(gpu.mig_device_count())?.unwrap_or(0);
    let mut slices = Vec::new();
    for index in 0..most {
        // Places may be empty, and one that was taken away a moment ago is.
        let Some(device) = part(gpu.mig_device_by_index(index))? else { continue };
        let Some(uuid) = part(device.uuid())? else { continue };
        let memory = part(device.memory_info())?;
        slices.push(Slice {
            uuid,
            index,
            profile: profile(&device)?,
            memory: memory.map(|memory| Memory { used: memory.used, total: memory.total }),
            processes: processes(&device)?,
        });
    }
    Ok(slices)
}

/// In the words of NVIDIA's container library.
fn brand_name(brand: Brand) -> &'static str {
    match brand {
        Brand::Unknown => "unknown",
        Brand::Quadro => "quadro",
        Brand::Tesla => "tesla",
        Brand::NVS => "nvs",
        Brand::GRID => "grid",
        Brand::GeForce => "geforce",
        Brand::Titan => "titan",
        Brand::VApps => "vapps",
        Brand::VPC => "vpc",
        Brand::VCS => "vcs",
        Brand::VWS => "vws",
        Brand::CloudGaming | Brand::VGaming => "cloudgaming",
        Brand::QuadroRTX => "quadrortx",
        Brand::NvidiaRTX => "nvidiartx",
        Brand::Nvidia => "nvidia",
        Brand::GeForceRTX => "geforcertx",
        Brand::TitanRTX => "titanrtx",
    }
}

/// `1g.10gb`: newer drivers have it at the end of the name.
fn profile(slice: &Device<'_>) -> Answer<Option<String>> {
    let name = part(slice.name())?.unwrap_or_default();
    if let Some((_, profile)) = name.split_once(" MIG ").filter(|(_, profile)| profile.contains("g.")) {
        return Ok(Some(profile.to_owned()));
    }
    let told = part(slice.attributes())?;
    Ok(told.map(|told| {
        let (compute, gpu) = (told.compute_instance_slice_count, told.gpu_instance_slice_count);
        let part = if compute == gpu { String::new() } else { format!("{compute}c.") };
        // In the name, a part of the memory counts as a whole gigabyte.
        format!("{part}{gpu}g.{}gb", told.memory_size_mb.div_ceil(1024))
    }))
}

/// Everything that has a context there: computing, drawing, or through a server for several (MPS).
fn processes(device: &Device<'_>) -> Answer<Vec<Process>> {
    let missing = |answer: &Answer<Vec<ProcessInfo>>| matches!(answer, Err(NvmlError::FailedToLoadSymbol(_)));
    let computing = twice(|| match device.running_compute_processes() {
        answer if missing(&answer) => device.running_compute_processes_v2(),
        answer => answer,
    });
    let drawing = twice(|| match device.running_graphics_processes() {
        answer if missing(&answer) => device.running_graphics_processes_v2(),
        answer => answer,
    });
    let mut found: Vec<Process> = Vec::new();
    for told in [part(computing)?, part(drawing)?, part(twice(|| device.mps_running_compute_processes()))?] {
        for info in told.unwrap_or_default() {
            let memory = match info.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            };
            // A process may be in several lists, each time with all of its memory.
            match found.iter_mut().find(|known| known.pid == info.pid) {
                Some(known) => known.memory = known.memory.max(memory),
                None => found.push(Process { pid: info.pid, memory }),
            }
        }
    }
    Ok(found)
}

/// Between the question how many there are and the one which, more may come than there is room for.
fn twice<T>(ask: impl Fn() -> Answer<T>) -> Answer<T> {
    match ask() {
        Err(NvmlError::InsufficientSize(_)) => ask(),
        answer => answer,
    }
}

/// Why a GPU cannot be used, with the next step.
fn trouble(error: &NvmlError, index: u32) -> String {
    match error {
        NvmlError::GpuLost => {
            "it is lost: the driver cannot reach it any more; `dmesg` tells of it (Xid), and a reboot brings it back"
                .to_owned()
        }
        NvmlError::ResetRequired => {
            format!("it must be reset before it works again: `nvidia-smi --gpu-reset -i {index}`, or reboot")
        }
        NvmlError::InsufficientPower => "its power cables are not attached as they must be".to_owned(),
        NvmlError::IrqIssue => "the machine delivers it no interrupts; `dmesg` tells of it".to_owned(),
        NvmlError::NoPermission | NvmlError::OperatingSystem => {
            format!("this user may not use it: look who may open /dev/nvidia{index}")
        }
        NvmlError::NotFound | NvmlError::InvalidArg => {
            "it is being changed right now (MIG, a reset): look again in a moment".to_owned()
        }
        NvmlError::Unknown => "the driver reports an unknown error of it; `dmesg` may tell more".to_owned(),
        other => format!("the driver says of it: {other}"),
    }
}
