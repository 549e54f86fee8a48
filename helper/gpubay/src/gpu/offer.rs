//! What there is to choose from: the engine's devices, each once, with what the driver tells of it.

use std::collections::BTreeSet;

use gpubay_protocol::agent::is_gpu_uuid;

use super::GpuError;
use super::inventory::{Gpu, Inventory, Memory, Process};
use super::lease::{Named, Standing};
use crate::engine::EngineInfo;

/// The kind of CDI device that NVIDIA's own tools generate.
pub(super) const CDI_KIND: &str = "nvidia.com/gpu=";

/// Index, and slice of a GPU that is divided.
pub type Place = (u32, Option<u32>);

/// `nvidia.com/gpu=0`
pub fn cdi_name(name: &str) -> String {
    format!("{CDI_KIND}{name}")
}

/// The names of CDI devices that are GPUs, without their kind.
pub(super) fn cdi_names(info: &EngineInfo) -> Vec<&str> {
    info.cdi_devices.iter().filter_map(|name| name.strip_prefix(CDI_KIND)).collect()
}

/// A MIG slice: `0:1`, or by its UUID.
pub(super) fn is_slice(name: &str) -> bool {
    name.starts_with("MIG-") || place(name).is_some_and(|(_, slice)| slice.is_some())
}

/// `0` is a GPU, `0:1` a MIG slice of it.
pub(super) fn place(name: &str) -> Option<Place> {
    match name.split_once(':') {
        Some((gpu, slice)) => Some((gpu.parse().ok()?, Some(slice.parse().ok()?))),
        None => Some((name.parse().ok()?, None)),
    }
}

/// In which words a device is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Gpu,
    Slice,
    GpuUuid,
    SliceUuid,
    Cdi,
}

impl Name {
    pub(super) fn of(asked: &str) -> Self {
        match asked {
            _ if asked.contains('=') => Self::Cdi,
            _ if asked.starts_with("GPU-") => Self::GpuUuid,
            _ if asked.starts_with("MIG-") => Self::SliceUuid,
            _ if asked.contains(':') => Self::Slice,
            _ => Self::Gpu,
        }
    }
}

/// Where a container's devices are, by the names that it was given them under, in the order in which they are counted
/// inside; `None`: not all of them say so.
pub fn places(label: &str) -> Option<Vec<Place>> {
    let names = label.split(',').map(|name| place(name.strip_prefix(CDI_KIND).unwrap_or(name)));
    let mut places = names.collect::<Option<Vec<_>>>()?;
    places.sort_unstable();
    Some(places)
}

/// As people type it: `0`, `0:1`.
pub(super) fn placed((gpu, slice): Place) -> String {
    slice.map_or_else(|| gpu.to_string(), |slice| format!("{gpu}:{slice}"))
}

/// One name for each device. NVIDIA's generator names one by its place, by its UUID or both, and all of them `all`.
fn one_name_each<'a>(devices: &[&'a str]) -> Vec<&'a str> {
    let mut placed: Vec<_> = devices.iter().filter_map(|name| place(name).map(|place| (place, *name))).collect();
    if placed.is_empty() {
        return devices.iter().copied().filter(|name| *name != "all").collect();
    }
    placed.sort_unstable();
    placed.into_iter().map(|(_, name)| name).collect()
}

/// A device of the engine's, under the name that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// Without its kind: `0`, `0:1`, `GPU-…`.
    pub name: &'a str,
    pub place: Option<Place>,
    pub uuid: Option<&'a str>,
}

/// The engine's CDI devices, each once, and the names that cannot be told whose they are.
pub fn devices(info: &EngineInfo) -> (Vec<Device<'_>>, Vec<&str>) {
    let names = cdi_names(info);
    let single = one_name_each(&names);
    let is_uuid = |name: &&str| name.starts_with("GPU-") || name.starts_with("MIG-");
    let mut others: Vec<&str> = names.iter().copied().filter(|name| !single.contains(name)).collect();
    let mut devices: Vec<Device<'_>> =
        single.into_iter().map(|name| Device { name, place: place(name), uuid: Some(name).filter(is_uuid) }).collect();
    // One device and one UUID can only be each other's.
    let uuids: Vec<&str> = others.iter().copied().filter(is_uuid).collect();
    if let ([device], [uuid]) = (devices.as_mut_slice(), uuids.as_slice()) {
        device.uuid = Some(uuid);
        others.retain(|name| name != uuid);
    }
    (devices, others)
}

/// How the engine's specification counts its GPUs, divided ones too.
pub fn numbers(info: &EngineInfo) -> BTreeSet<u32> {
    cdi_names(info).iter().filter_map(|name| place(name)).map(|(gpu, _)| gpu).collect()
}

/// Something that a container can be given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What the engine takes for it, without a kind: `0`, `0:1`, `GPU-…`.
    pub name: String,
    pub place: Option<Place>,
    pub uuid: Option<String>,
    /// `None`: nobody could be asked.
    pub known: Option<Known>,
    /// Who else uses it.
    pub standing: Standing,
}

/// What the driver tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The model's name.
    pub model: String,
    /// Of a slice.
    pub profile: Option<String>,
    pub memory: Option<Memory>,
    /// Percent.
    pub utilization: Option<u32>,
    pub processes: usize,
    pub trouble: Option<String>,
    /// The engine offers what the driver does not have.
    pub stale: bool,
}

impl Candidate {
    /// As people name it: by its place, else by what the engine takes.
    pub(super) fn shown(&self) -> String {
        self.place.map_or_else(|| self.name.clone(), placed)
    }

    /// As leases know it.
    pub(super) fn named(&self) -> Named {
        Named { place: self.place, uuid: self.uuid.clone() }
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.known.as_ref()?.trouble.as_deref()
    }

    pub(super) fn stale(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.stale)
    }

    /// Bytes.
    pub(super) fn free(&self) -> Option<u64> {
        let memory = self.known.as_ref()?.memory?;
        Some(memory.total.saturating_sub(memory.used))
    }
}

/// The engine's CDI devices, with what the driver of its machine tells.
pub(super) fn of_cdi(info: &EngineInfo, inventory: Option<&Inventory>) -> Vec<Candidate> {
    let (devices, _) = devices(info);
    devices.into_iter().map(|device| with_driver(device.name, device.place, device.uuid, inventory)).collect()
}

/// Names that the engine takes and that nobody can match with one of its devices.
pub(super) fn unmatched(info: &EngineInfo, known: &[Candidate], inventory: Option<&Inventory>) -> Vec<Candidate> {
    let (_, others) = devices(info);
    let new = |name: &&str| *name != "all" && !known.iter().any(|one| one.uuid.as_deref() == Some(*name));
    let one = |name: &str| match Some(name).filter(|name| is_gpu_uuid(name)) {
        // A driver knows its own UUIDs.
        Some(uuid) => with_driver(name, None, Some(uuid), inventory),
        None => Candidate { name: name.to_owned(), ..Candidate::default() },
    };
    others.into_iter().filter(new).map(one).collect()
}

/// Devices that a container holds already.
pub(super) fn of_places(devices: &[Placed], inventory: Option<&Inventory>) -> Vec<Candidate> {
    devices.iter().map(|device| with_driver(&device.uuid, device.place, Some(&device.uuid), inventory)).collect()
}

/// Everything that the driver knows, by UUID: for ways into a container that do not say what they have.
pub(super) fn of_driver(inventory: &Inventory) -> Vec<Candidate> {
    let everything = inventory.gpus.iter().flat_map(|gpu| {
        let place = (gpu.index, None);
        if gpu.slices.is_empty() {
            return vec![(gpu.uuid.clone(), place, known_gpu(gpu))];
        }
        let slices = gpu.slices.iter().enumerate();
        slices.map(|(at, slice)| (slice.uuid.clone(), (gpu.index, Some(slice.index)), known_slice(gpu, at))).collect()
    });
    everything
        .filter(|(uuid, ..)| !uuid.is_empty())
        .map(|(uuid, place, known)| Candidate {
            name: uuid.clone(),
            place: Some(place),
            uuid: Some(uuid),
            known: Some(known),
            standing: Standing::default(),
        })
        .collect()
}

fn with_driver(name: &str, place: Option<Place>, uuid: Option<&str>, inventory: Option<&Inventory>) -> Candidate {
    let all = inventory.map(of_driver).unwrap_or_default();
    let same = |one: &&Candidate| match uuid {
        Some(uuid) => one.uuid.as_deref() == Some(uuid),
        None => place.is_some() && one.place == place,
    };
    let found = all.iter().find(same);
    // A GPU that the driver has lost has no UUID any more, and trouble.
    let lost = || {
        let (index, _) = place?;
        inventory?.gpus.iter().find(|gpu| gpu.index == index && gpu.trouble.is_some()).map(known_gpu)
    };
    let unknown =
        || inventory.map(|told| Known { trouble: Some(gone(place, uuid, told)), stale: true, ..Known::default() });
    Candidate {
        name: name.to_owned(),
        place: place.or_else(|| found?.place),
        uuid: uuid.map(str::to_owned).or_else(|| found?.uuid.clone()),
        known: found.and_then(|found| found.known.clone()).or_else(lost).or_else(unknown),
        standing: Standing::default(),
    }
}

/// Why the driver does not know a device that the engine still lists.
pub(crate) fn gone(place: Option<Place>, uuid: Option<&str>, told: &Inventory) -> String {
    let is_slice = uuid.is_some_and(|uuid| uuid.starts_with("MIG-")) || place.is_some_and(|(_, slice)| slice.is_some());
    let gpu = told.gpus.iter().find(|gpu| match (uuid, place) {
        (Some(uuid), _) if !is_slice => gpu.uuid == uuid,
        (_, Some((index, _))) => gpu.index == index,
        _ => false,
    });
    let since = "the engine's CDI specification was made before that";
    match gpu {
        Some(gpu) if is_slice && gpu.slices.is_empty() => {
            format!("GPU {} is not divided any more (MIG), and {since}", gpu.index)
        }
        Some(gpu) if is_slice => format!("GPU {} is divided otherwise by now (MIG), and {since}", gpu.index),
        Some(gpu) if !gpu.slices.is_empty() => format!("it is divided by now (MIG), and {since}"),
        _ if is_slice => "the driver has no such slice: the engine's CDI specification is of other ones".to_owned(),
        _ => "the driver has no such GPU: the engine's CDI specification is of other ones".to_owned(),
    }
}

/// Why the engine does not list a device that the driver has. `offered`: where those are that it lists.
pub(crate) fn not_offered((index, slice): Place, offered: &[Place]) -> String {
    let of_it = |(other, _): &Place| *other == index;
    match slice {
        Some(_) if offered.iter().any(of_it) => {
            format!(
                "the engine does not offer it: its CDI specification was made before GPU {index} was divided like that (MIG)"
            )
        }
        None if offered.iter().any(of_it) => {
            format!("the engine does not offer it: its CDI specification was made when GPU {index} was divided (MIG)")
        }
        _ => "the engine does not offer it: its CDI specification has none for it".to_owned(),
    }
}

/// What is asked for and not offered may be in the machine all the same.
pub(super) fn beside_the_driver(error: GpuError, offered: &[Candidate], told: Option<&Inventory>) -> GpuError {
    let Some(told) = told else { return error };
    let places: Vec<Place> = offered.iter().filter_map(|one| one.place).collect();
    let has = |unit: &Candidate| {
        offered.iter().any(|one| one.uuid.is_some() && one.uuid == unit.uuid || one.place == unit.place)
    };
    let others: Vec<Candidate> = of_driver(told).into_iter().filter(|unit| !has(unit)).collect();
    match error {
        GpuError::Unknown { asked, offered } => {
            let name = asked.strip_prefix(CDI_KIND).unwrap_or(&asked);
            let is_uuid = matches!(Name::of(name), Name::GpuUuid | Name::SliceUuid);
            let is = |unit: &&Candidate| {
                let by_uuid = is_uuid && unit.uuid.as_ref().is_some_and(|uuid| uuid.starts_with(name));
                by_uuid || place(name).is_some() && place(name) == unit.place
            };
            if let Some(place) = others.iter().find(is).and_then(|unit| unit.place) {
                return GpuError::Trouble { trouble: not_offered(place, &places), asked, stale: true };
            }
            // A GPU that is divided is nothing that can be given, whether the engine knows it or not.
            let whole = |gpu: &&Gpu| {
                !gpu.slices.is_empty()
                    && if is_uuid { gpu.uuid.starts_with(name) } else { place(name) == Some((gpu.index, None)) }
            };
            match told.gpus.iter().find(whole) {
                Some(gpu) => GpuError::Divided {
                    asked,
                    slices: gpu.slices.iter().map(|slice| placed((gpu.index, Some(slice.index)))).collect(),
                },
                None => GpuError::Unknown { asked, offered },
            }
        }
        GpuError::TooMany { asked, offered, .. } if !others.is_empty() => {
            let these: Vec<String> = others.iter().map(Candidate::shown).collect();
            let more =
                format!("the driver has {} as well, and the engine's CDI specification does not", these.join(", "));
            GpuError::TooMany { asked, offered, more: Some(more) }
        }
        error => error,
    }
}

fn known_gpu(gpu: &Gpu) -> Known {
    Known {
        stale: false,
        model: gpu.name.clone(),
        profile: None,
        memory: gpu.memory,
        utilization: gpu.utilization,
        processes: gpu.processes.len(),
        trouble: gpu.trouble.clone(),
    }
}

fn known_slice(gpu: &Gpu, at: usize) -> Known {
    let slice = &gpu.slices[at];
    let processes: &[Process] = &slice.processes;
    Known {
        profile: slice.profile.clone(),
        memory: slice.memory,
        // The driver tells none of a slice, and that of the whole GPU says nothing about one.
        utilization: None,
        processes: processes.len(),
        ..known_gpu(gpu)
    }
}

/// A device that CUDA can be told by its UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub place: Option<Place>,
    pub uuid: String,
}

/// For a label: `0=GPU-…,1:0=MIG-…`.
pub fn written(devices: &[Placed]) -> String {
    let one = |device: &Placed| format!("{}={}", device.place.map(placed).unwrap_or_default(), device.uuid);
    devices.iter().map(one).collect::<Vec<_>>().join(",")
}

/// What a label of that kind says; nothing where it says something else.
pub fn read(label: &str) -> Vec<Placed> {
    let one = |text: &str| {
        let (at, uuid) = text.split_once('=')?;
        Some(Placed { place: place(at), uuid: Some(uuid).filter(|uuid| is_gpu_uuid(uuid))?.to_owned() })
    };
    label.split(',').filter_map(one).collect()
}
