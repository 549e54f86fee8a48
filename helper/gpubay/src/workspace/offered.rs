//! What an engine offers and what a driver tells, as one list. Pure.
//!
//! The two are matched by UUID; where the engine knows an index only, by that: NVIDIA's tools count in the driver's order.

use std::collections::{BTreeSet, HashMap};

use super::gpus::{GpuHolder, GpuMemory, OfferedGpu};
use crate::config::model::Injection;
use crate::engine::EngineInfo;
use crate::gpu::direct::{Kit, Offered};
use crate::gpu::inventory::{Gpu, Inventory, Memory, Process, Slice};
use crate::gpu::{self, Lack};

/// What can be taken: a GPU, or a slice of one.
#[derive(Clone, Copy)]
struct Unit<'a> {
    gpu: &'a Gpu,
    slice: Option<&'a Slice>,
}

impl<'a> Unit<'a> {
    /// A GPU that is divided is its slices.
    fn all(inventory: &'a Inventory) -> impl Iterator<Item = Self> {
        inventory.gpus.iter().flat_map(|gpu| {
            let whole = gpu.slices.is_empty().then_some(Self { gpu, slice: None });
            whole.into_iter().chain(gpu.slices.iter().map(move |slice| Self { gpu, slice: Some(slice) }))
        })
    }

    /// `None` where the driver has lost it.
    fn uuid(self) -> Option<&'a str> {
        Some(self.slice.map_or(self.gpu.uuid.as_str(), |slice| slice.uuid.as_str())).filter(|uuid| !uuid.is_empty())
    }

    fn place(self) -> (u32, Option<u32>) {
        (self.gpu.index, self.slice.map(|slice| slice.index))
    }

    /// `device`, and what the driver tells of it.
    fn tell(self, device: OfferedGpu, holders: &HashMap<u32, GpuHolder>) -> OfferedGpu {
        let Self { gpu, slice } = self;
        let whole = slice.is_none();
        let memory = if let Some(slice) = slice { slice.memory } else { gpu.memory };
        let processes = slice.map_or(&gpu.processes, |slice| &slice.processes);
        let mut found: Vec<GpuHolder> = processes
            .iter()
            .filter_map(|process| Some(GpuHolder { memory: process.memory, ..holders.get(&process.pid)?.clone() }))
            .collect();
        sort(&mut found);
        OfferedGpu {
            index: Some(gpu.index),
            slice: slice.map(|slice| slice.index),
            uuid: self.uuid().map(str::to_owned),
            name: Some(gpu.name.clone()).filter(|name| !name.is_empty()),
            profile: slice.and_then(|slice| slice.profile.clone()),
            memory: memory.map(|Memory { used, total }| GpuMemory { used, total }),
            utilization: gpu.utilization.filter(|_| whole),
            temperature: gpu.temperature.filter(|_| whole),
            power: gpu.power.filter(|_| whole).map(|(power, _)| watts(power)),
            power_limit: gpu.power.filter(|_| whole).and_then(|(_, limit)| limit).map(watts),
            trouble: device.trouble.or_else(|| gpu.trouble.clone()),
            holders: found,
            ..device
        }
    }
}

fn watts(milliwatts: u32) -> u32 {
    (milliwatts + 500) / 1000
}

/// By its UUID; it stays at the place where it was found.
pub(super) fn with_figures(device: OfferedGpu, told: &Inventory) -> OfferedGpu {
    let found = Unit::all(told).find(|unit| unit.uuid().is_some() && unit.uuid() == device.uuid.as_deref());
    let (index, slice) = (device.index, device.slice);
    match found {
        Some(unit) => OfferedGpu { index, slice, ..unit.tell(device, &HashMap::new()) },
        None => device,
    }
}

/// The one with the most memory first.
pub(super) fn sort(holders: &mut [GpuHolder]) {
    holders.sort_by_key(|holder| (std::cmp::Reverse(holder.memory), holder.pid));
}

/// Every process on any GPU.
pub(super) fn processes(inventory: &Inventory) -> Vec<Process> {
    let of = |gpu: &Gpu| {
        let slices = gpu.slices.iter().flat_map(|slice| slice.processes.clone());
        gpu.processes.iter().copied().chain(slices).collect::<Vec<_>>()
    };
    inventory.gpus.iter().flat_map(of).collect()
}

/// The devices, and the names of the engine's that are none of theirs.
pub(super) fn devices(
    info: &EngineInfo,
    injection: Injection,
    told: Option<&Inventory>,
    holders: &HashMap<u32, GpuHolder>,
) -> (Vec<OfferedGpu>, Vec<String>) {
    if injection == Injection::Cdi {
        return by_cdi(info, told, holders);
    }
    let named = |unit: Unit<'_>| {
        let select = match (unit.uuid(), unit.place()) {
            (Some(uuid), _) => uuid.to_owned(),
            (None, (index, _)) => format!("device={index}"),
        };
        unit.tell(OfferedGpu { select, ..OfferedGpu::default() }, holders)
    };
    (told.into_iter().flat_map(Unit::all).map(named).collect(), Vec::new())
}

fn by_cdi(
    info: &EngineInfo,
    told: Option<&Inventory>,
    holders: &HashMap<u32, GpuHolder>,
) -> (Vec<OfferedGpu>, Vec<String>) {
    let units: Vec<Unit<'_>> = told.into_iter().flat_map(Unit::all).collect();
    let (devices, mut others) = gpu::devices(info);
    let is_uuid = |name: &str| name.starts_with("GPU-") || name.starts_with("MIG-");
    let uuids: BTreeSet<&str> =
        others.iter().copied().filter(|name| is_uuid(name)).chain(devices.iter().filter_map(|d| d.uuid)).collect();
    let mut matched: BTreeSet<(u32, Option<u32>)> = BTreeSet::new();
    let mut offered: Vec<OfferedGpu> = Vec::new();
    for device in &devices {
        let unit = units.iter().copied().find(|unit| match device.uuid {
            Some(uuid) => unit.uuid() == Some(uuid),
            // An index that is another GPU's by now: the UUIDs of the specification tell.
            None => {
                Some(unit.place()) == device.place
                    && unit.uuid().is_none_or(|uuid| uuids.is_empty() || uuids.contains(uuid))
            }
        });
        let uuid = device.uuid.or_else(|| unit?.uuid());
        // The name that stands for it at any time, if the engine has it.
        let select = match uuid.filter(|uuid| uuids.contains(uuid)) {
            Some(uuid) => uuid.to_owned(),
            None if device.name.bytes().all(|byte| byte.is_ascii_digit()) => format!("device={}", device.name),
            None => gpu::cdi_name(device.name),
        };
        let known = OfferedGpu {
            select,
            index: device.place.map(|(gpu, _)| gpu),
            slice: device.place.and_then(|(_, slice)| slice),
            uuid: device.uuid.map(str::to_owned),
            cdi: Some(gpu::cdi_name(device.name)),
            trouble: told.filter(|_| unit.is_none()).map(|told| gpu::gone(device.place, device.uuid, told) + AGAIN),
            ..OfferedGpu::default()
        };
        offered.push(match unit {
            Some(unit) => {
                matched.insert(unit.place());
                others.retain(|name| Some(*name) != unit.uuid());
                unit.tell(known, holders)
            }
            None => known,
        });
    }
    let places: Vec<gpu::Place> = devices.iter().filter_map(|device| device.place).collect();
    for unit in units.into_iter().filter(|unit| !matched.contains(&unit.place())) {
        // With nothing but `all`, as on WSL, they are had together.
        let together = devices.is_empty();
        let select = match unit.uuid() {
            _ if together => gpu::cdi_name("all"),
            Some(uuid) => uuid.to_owned(),
            None => format!("device={}", unit.gpu.index),
        };
        let trouble = (!together).then(|| gpu::not_offered(unit.place(), &places) + AGAIN);
        offered.push(unit.tell(OfferedGpu { select, trouble, ..OfferedGpu::default() }, holders));
    }
    offered.sort_by_key(|device| (device.index.is_none(), device.index, device.slice));
    (offered, others.into_iter().map(gpu::cdi_name).collect())
}

/// What the engine's CDI specification has wrong of the machine's GPUs, a fragment each.
pub(super) fn stale(info: &EngineInfo, told: &Inventory) -> Vec<String> {
    let (devices, _) = by_cdi(info, Some(told), &HashMap::new());
    let one = |device: &OfferedGpu| {
        let why = device.trouble.as_deref()?.strip_suffix(AGAIN)?;
        let place = match (device.index, device.slice) {
            (Some(index), Some(slice)) => format!("GPU {index}:{slice}"),
            (Some(index), None) => format!("GPU {index}"),
            (None, _) => device.select.clone(),
        };
        Some(format!("{place}: {why}"))
    };
    devices.iter().filter_map(one).collect()
}

const AGAIN: &str = "; `nvidia-ctk cdi generate` writes it anew";

/// The devices, where the driver itself would be given: those that cannot be are told, too, and where the driver's library
/// cannot be asked its files tell which there are.
pub(super) fn directly(mut devices: Vec<OfferedGpu>, kit: &Kit, told: Option<&Inventory>) -> Vec<OfferedGpu> {
    for Offered { place, uuid, trouble } in kit.offered(told) {
        let (index, slice) = (place.map(|(gpu, _)| gpu), place.and_then(|(_, slice)| slice));
        let same = |device: &&mut OfferedGpu| match &uuid {
            Some(uuid) => device.uuid.as_ref() == Some(uuid),
            None => (device.index, device.slice) == (index, slice),
        };
        if let Some(known) = devices.iter_mut().find(same) {
            known.trouble = known.trouble.take().or(trouble);
        } else {
            let select = uuid.clone().unwrap_or_else(|| format!("device={}", index.unwrap_or_default()));
            devices.push(OfferedGpu { select, index, slice, uuid, trouble, ..OfferedGpu::default() });
        }
    }
    devices
}

/// What a user should know of the driver, in whole sentences.
pub(super) fn problem(told: &Result<Inventory, Lack>) -> Option<String> {
    let told = match told {
        Ok(told) => told,
        Err(lack) => return Some(upper(&lack.in_full())),
    };
    told.remark().map(|(what, next)| format!("{}. {next}", upper(&what)))
}

fn upper(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Flavour;

    fn engine(cdi: &[&str]) -> EngineInfo {
        EngineInfo {
            flavour: Flavour::Docker,
            heeds_gpu_requests: true,
            version: "28.5.2".to_owned(),
            cdi_devices: cdi.iter().map(|name| format!("nvidia.com/gpu={name}")).collect(),
            runtimes: vec!["runc".to_owned()],
            memory: 1 << 34,
            rootless: false,
            os: "linux".to_owned(),
            storage_driver: "overlay2".to_owned(),
            log_drivers: Vec::new(),
            machine: "lab".to_owned(),
        }
    }

    fn gpu(index: u32, uuid: &str) -> Gpu {
        Gpu { index, uuid: uuid.to_owned(), name: "H100".to_owned(), utilization: Some(7), ..Gpu::default() }
    }

    fn divided(index: u32, slices: &[(u32, &str)]) -> Gpu {
        let slice = |(index, uuid): &(u32, &str)| Slice {
            uuid: (*uuid).to_owned(),
            index: *index,
            profile: Some("1g.10gb".to_owned()),
            ..Slice::default()
        };
        Gpu { mig: true, slices: slices.iter().map(slice).collect(), ..gpu(index, "GPU-whole") }
    }

    /// `select index:slice uuid`, with a `!` where it cannot be used.
    fn listed(injection: Injection, cdi: &[&str], gpus: &[Gpu]) -> (Vec<String>, Vec<String>) {
        let inventory = Inventory { gpus: gpus.to_vec(), ..Inventory::default() };
        let (devices, others) = devices(&engine(cdi), injection, Some(&inventory), &HashMap::new());
        let line = |device: &OfferedGpu| {
            let place = match (device.index, device.slice) {
                (Some(index), Some(slice)) => format!("{index}:{slice}"),
                (index, _) => index.map_or_else(|| "-".to_owned(), |index| index.to_string()),
            };
            let bad = if device.trouble.is_some() { " !" } else { "" };
            format!("{} {place} {}{bad}", device.select, device.uuid.as_deref().unwrap_or("-"))
        };
        (devices.iter().map(line).collect(), others)
    }

    #[test]
    fn a_device_is_selected_by_its_uuid_if_the_engine_knows_it() {
        let two = [gpu(0, "GPU-a"), gpu(1, "GPU-b")];
        let (devices, others) = listed(Injection::Cdi, &["0", "1", "GPU-a", "GPU-b", "all"], &two);
        assert_eq!(devices, ["GPU-a 0 GPU-a", "GPU-b 1 GPU-b"]);
        assert_eq!(others, ["nvidia.com/gpu=all"]);
        assert_eq!(listed(Injection::Cdi, &["0", "1", "all"], &two).0, ["device=0 0 GPU-a", "device=1 1 GPU-b"]);
        assert_eq!(listed(Injection::Cdi, &["GPU-b", "GPU-a"], &two).0, ["GPU-a 0 GPU-a", "GPU-b 1 GPU-b"]);
        // Each of these is what `--gpus` takes as one device.
        for select in ["device=1", "GPU-b", "nvidia.com/gpu=0:1"] {
            let parsed = crate::config::parse_gpus(select).expect("a selection");
            assert!(matches!(parsed, crate::config::model::GpuSelection::Named(names) if names.len() == 1), "{select}");
        }
        // And as all that there are, where these are one.
        assert_eq!(crate::config::parse_gpus("nvidia.com/gpu=all").ok(), Some(crate::config::model::GpuSelection::All));
    }

    #[test]
    fn what_only_one_of_the_two_knows_is_listed_and_said() {
        let two = [gpu(0, "GPU-a"), gpu(1, "GPU-b")];
        assert_eq!(listed(Injection::Cdi, &["0", "GPU-a"], &two).0, ["GPU-a 0 GPU-a", "GPU-b 1 GPU-b !"]);
        assert_eq!(listed(Injection::Cdi, &["0", "1"], &two[..1]).0, ["device=0 0 GPU-a", "device=1 1 - !"]);
        // A specification of the GPUs that were in the machine before.
        let (devices, _) = listed(Injection::Cdi, &["0", "1", "GPU-x", "GPU-y"], &two);
        assert_eq!(devices, ["device=0 0 - !", "GPU-a 0 GPU-a !", "device=1 1 - !", "GPU-b 1 GPU-b !"]);
        // WSL.
        assert_eq!(listed(Injection::Cdi, &["all"], &two[..1]).0, ["nvidia.com/gpu=all 0 GPU-a"]);
    }

    #[test]
    fn a_divided_gpu_is_its_slices() {
        let gpus = [divided(0, &[(0, "MIG-a"), (2, "MIG-b")]), gpu(1, "GPU-b")];
        let (devices, others) = listed(Injection::Cdi, &["0:0", "0:2", "1", "MIG-a", "MIG-b", "GPU-b", "all"], &gpus);
        assert_eq!(devices, ["MIG-a 0:0 MIG-a", "MIG-b 0:2 MIG-b", "GPU-b 1 GPU-b"]);
        assert_eq!(others, ["nvidia.com/gpu=all"]);
        let (devices, _) = listed(Injection::Cdi, &["0:0", "0:2", "1"], &gpus);
        assert_eq!(devices, ["nvidia.com/gpu=0:0 0:0 MIG-a", "nvidia.com/gpu=0:2 0:2 MIG-b", "device=1 1 GPU-b"]);
        // Divided since the specification was made.
        let (devices, _) = listed(Injection::Cdi, &["0", "1"], &gpus);
        assert_eq!(devices, ["device=0 0 - !", "MIG-a 0:0 MIG-a !", "MIG-b 0:2 MIG-b !", "device=1 1 GPU-b"]);
    }

    #[test]
    fn without_cdi_the_drivers_gpus_are_listed() {
        let gpus = [gpu(0, "GPU-a"), Gpu { trouble: Some("lost".to_owned()), ..gpu(1, "") }];
        for injection in [Injection::NvidiaRuntime, Injection::None, Injection::Direct] {
            assert_eq!(listed(injection, &[], &gpus).0, ["GPU-a 0 GPU-a", "device=1 1 - !"]);
        }
        // A lost GPU is where it was.
        let (devices, _) = listed(Injection::Cdi, &["0", "1", "GPU-a", "GPU-b"], &gpus);
        assert_eq!(devices, ["GPU-a 0 GPU-a", "device=1 1 - !"]);
    }

    #[test]
    fn holders_stand_where_their_processes_are() {
        let process = |pid, memory| Process { pid, memory: Some(memory) };
        let mut first = divided(0, &[(0, "MIG-a")]);
        first.slices[0].processes = vec![process(1, 5)];
        let second = Gpu { processes: vec![process(1, 6), process(2, 9), process(3, 9)], ..gpu(1, "GPU-b") };
        let inventory = Inventory { gpus: vec![first, second], ..Inventory::default() };
        assert_eq!(processes(&inventory).iter().map(|process| process.pid).collect::<Vec<_>>(), [1, 1, 2, 3]);
        let holder = |pid| GpuHolder {
            pid,
            program: None,
            memory: None,
            user: None,
            container: None,
            workspace: None,
            job: None,
            since: None,
        };
        let holders = HashMap::from([1, 2, 3].map(|pid| (pid, holder(pid))));
        let (devices, _) = devices(&engine(&[]), Injection::None, Some(&inventory), &holders);
        let held = |device: &OfferedGpu| {
            device.holders.iter().map(|holder| (holder.pid, holder.memory.expect("told"))).collect::<Vec<_>>()
        };
        assert_eq!((held(&devices[0]), held(&devices[1])), (vec![(1, 5)], vec![(2, 9), (3, 9), (1, 6)]));
        assert_eq!((devices[0].utilization, devices[1].utilization), (None, Some(7)), "a slice has none of its own");
    }

    #[test]
    fn what_is_to_know_of_the_driver_is_a_sentence() {
        assert_eq!(problem(&Ok(Inventory { gpus: vec![gpu(0, "GPU-a")], ..Inventory::default() })), None);
        let switching = Gpu { mig_pending: Some(true), ..gpu(3, "GPU-a") };
        let said = problem(&Ok(Inventory { gpus: vec![switching], ..Inventory::default() })).expect("said");
        assert!(said.starts_with("GPU 3 is to be divided"), "{said}");
        assert!(problem(&Ok(Inventory::default())).is_some_and(|said| said.contains("has no GPU")));
        assert!(problem(&Err(Lack::NoDriver)).is_some_and(|said| said.starts_with("This machine has no")));
    }
}
