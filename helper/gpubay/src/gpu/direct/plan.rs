//! From what is wanted and what can be given to what a container gets. Pure.

use super::{File, Kit, Node};
use crate::config::model::{Device, GpuSelection, Gpus, Isolation, Mount, MountSource};
use crate::engine::{Given, GpuRequest};
use crate::gpu::decide::{all_by_uuid, asked_order, hard_reason, nothing_sound, placed, promise, soft_promise};
use crate::gpu::inventory::Inventory;
use crate::gpu::lease::Claims;
use crate::gpu::offer::{self, Candidate, Known, Place};
use crate::gpu::select::choose;
use crate::gpu::{GpuError, Plan, Promise};
use crate::{ContainerPath, HostPath};

/// A GPU that can be given, or the reason why it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    pub place: Option<Place>,
    pub uuid: Option<String>,
    pub trouble: Option<String>,
}

/// A driver's files are mounted over nothing of the user's, and into nothing of theirs, where an engine would make their points.
///
/// # Errors
/// [`GpuError::InTheWay`]
pub fn refuse(plan: &Plan, mounts: &[Mount]) -> Result<(), GpuError> {
    for file in plan.request.given().into_iter().flat_map(|given| &given.files) {
        let meets =
            |mount: &&Mount| file.target.below(&mount.target).is_some() || mount.target.below(&file.target).is_some();
        if let Some(mount) = mounts.iter().find(meets) {
            return Err(GpuError::InTheWay { file: file.target.clone(), target: mount.target.clone() });
        }
    }
    Ok(())
}

impl Kit {
    /// All of them. `inventory`: what the driver tells.
    pub fn offered(&self, inventory: Option<&Inventory>) -> Vec<Offered> {
        let one = |(one, _): (Candidate, _)| {
            let trouble = one.trouble().map(str::to_owned);
            Offered { place: one.place, uuid: one.uuid, trouble }
        };
        self.candidates(inventory).into_iter().map(one).collect()
    }

    /// What there is to choose from, each with the nodes that it takes.
    fn candidates(&self, inventory: Option<&Inventory>) -> Vec<(Candidate, Vec<&Node>)> {
        let told = inventory.map(offer::of_driver).unwrap_or_default();
        let told = if told.is_empty() { self.by_its_files() } else { told };
        told.into_iter()
            .map(|mut one| match self.nodes_of(&one, inventory) {
                Ok(nodes) => (one, nodes),
                Err(why) => {
                    one.known.get_or_insert_with(Known::default).trouble.get_or_insert(why);
                    (one, Vec::new())
                }
            })
            .collect()
    }

    /// Where the driver's library cannot be asked. It counts by the place on the bus, and only what it can open.
    fn by_its_files(&self) -> Vec<Candidate> {
        let is_here = |minor: u32| self.nodes.iter().any(|(known, ..)| *known == minor);
        let mut cards: Vec<(&str, Option<&str>)> = self
            .cards
            .iter()
            .filter(|card| is_here(card.minor))
            .map(|card| (&*card.bus, card.uuid.as_deref()))
            .collect();
        cards.sort_unstable();
        if cards.len() != self.nodes.len() {
            // Some are not told of: only the numbers of the nodes are known.
            cards = vec![("", None); self.nodes.len()];
        }
        let one = |(index, (_, uuid)): (usize, (&str, Option<&str>))| Candidate {
            name: uuid.map_or_else(|| index.to_string(), str::to_owned),
            place: Some((index as u32, None)),
            uuid: uuid.map(str::to_owned),
            ..Candidate::default()
        };
        cards.into_iter().enumerate().map(one).collect()
    }

    /// The nodes that open it, or why there are none.
    fn nodes_of(&self, one: &Candidate, inventory: Option<&Inventory>) -> Result<Vec<&Node>, String> {
        if self.as_one {
            return Ok(Vec::new());
        }
        let place = one.place;
        let gpu = place.and_then(|(index, _)| inventory?.gpus.iter().find(|gpu| gpu.index == index));
        let whole = gpu.map(|gpu| gpu.uuid.as_str()).or(one.uuid.as_deref());
        let by_uuid = || self.cards.iter().find(|card| card.uuid.is_some() && card.uuid.as_deref() == whole);
        let minor = match gpu.and_then(|gpu| gpu.minor).or_else(|| Some(by_uuid()?.minor)) {
            Some(minor) => minor,
            None => match &self.nodes[..] {
                // There is nothing else that it could be.
                [(minor, ..)] if inventory.is_none_or(|told| told.gpus.len() < 2) => *minor,
                nodes if inventory.is_none() => {
                    place.and_then(|(index, _)| nodes.get(index as usize)).map(|(minor, ..)| *minor).unwrap_or_default()
                }
                _ => return Err("the driver does not tell which of its device nodes it is".to_owned()),
            },
        };
        let (_, node, refused) = self
            .nodes
            .iter()
            .find(|(known, ..)| *known == minor)
            .ok_or_else(|| format!("its device node /dev/nvidia{minor} is not there"))?;
        if let Some(refused) = refused {
            return Err(refused.to_string());
        }
        let Some((gpu, slice)) = gpu.zip(place.and_then(|(_, slice)| slice)) else { return Ok(vec![node]) };
        let instance = self.instances.iter().find(|known| known.gpu == gpu.uuid && known.index == slice);
        let instance = instance.ok_or("nvidia-smi does not tell which instances the slice is")?;
        let capability = |compute: Option<u32>| {
            let is = |(known, _): &&(super::Capability, Node)| {
                (known.gpu, known.gpu_instance, known.compute_instance) == (minor, instance.gpu_instance, compute)
            };
            self.capabilities.iter().find(is).map(|(_, node)| node)
        };
        let opened = [capability(None), capability(Some(instance.compute_instance))];
        let [Some(of_gpu), Some(of_compute)] = opened else {
            return Err(format!(
                "the node in /dev/nvidia-caps that opens its instance {}/{} is not there; \
                 `nvidia-modprobe -f /proc/driver/nvidia/capabilities/gpu{minor}/mig/gi{}/access` makes one",
                instance.gpu_instance, instance.compute_instance, instance.gpu_instance
            ));
        };
        Ok(vec![node, of_gpu, of_compute])
    }

    /// What a container gets that has these nodes.
    fn given(&self, nodes: &[&Node]) -> Given {
        let mut devices: Vec<Device> = Vec::new();
        for node in self.common.iter().chain(nodes.iter().copied()) {
            let device = Device {
                host: node.path.display().to_string(),
                container: format!("/dev/{}", node.name),
                permissions: "rw".to_owned(),
            };
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        Given {
            devices,
            files: self.files.iter().filter_map(File::mount).collect(),
            library_path: self.library_path.to_owned(),
        }
    }

    /// Why it is this way, and what it is.
    fn reason(&self, wanted: &Gpus) -> String {
        let why = match wanted.injection {
            Some(_) => "as [gpus] injection asks",
            None => "the engine has neither CDI devices nor the NVIDIA runtime",
        };
        let what = match &self.version {
            Some(version) => format!("this machine's driver {version} is given by its device nodes and libraries"),
            None => "what WSL has of the Windows driver is given, with its one device node for all GPUs".to_owned(),
        };
        format!("{what}, {why}")
    }
}

impl File {
    /// `None`: a path that no engine could be told.
    fn mount(&self) -> Option<Mount> {
        let source = MountSource::Host(HostPath::new(self.source.clone()).ok()?);
        Some(Mount { source, target: ContainerPath::new(&self.target).ok()?, read_only: true })
    }
}

/// # Errors
/// As of [`super::super::decide`].
pub(in crate::gpu) fn plan(
    wanted: &Gpus,
    kit: &Kit,
    inventory: Option<&Inventory>,
    claims: &Claims,
) -> Result<Plan, GpuError> {
    let reason = kit.reason(wanted);
    let (mut offered, opened): (Vec<Candidate>, Vec<Vec<&Node>>) = kit.candidates(inventory).into_iter().unzip();
    claims.mark(&mut offered);
    let offered = offered;
    let nodes = |of: &[&Candidate]| -> Vec<&Node> {
        let each = offered.iter().zip(&opened).filter(|(one, _)| of.iter().any(|chosen| chosen.name == one.name));
        each.flat_map(|(_, nodes)| nodes.iter().copied()).collect()
    };
    let plan = |isolation, promised, of: &[&Candidate], visible, reason| {
        let names: Vec<&str> = of.iter().map(|one| one.name.as_str()).collect();
        Plan {
            injection: crate::config::model::Injection::Direct,
            isolation,
            reason,
            request: GpuRequest::Direct(kit.given(&nodes(of))),
            promised,
            label: if names.is_empty() { "all".to_owned() } else { names.join(",") },
            devices: if of.iter().all(|one| one.uuid.is_some()) { placed(of) } else { Vec::new() },
            visible,
            driver: kit.version.clone(),
        }
    };
    if kit.as_one && offered.is_empty() {
        // Which there are nobody tells; whoever names one would get all of them.
        if let GpuSelection::Named(names) = &wanted.select
            && let Some(asked) = names.iter().find(|name| *name != "all")
        {
            let reason = "WSL gives all of its GPUs as one, and its driver does not tell which there are".to_owned();
            return Err(GpuError::NamedButNone { asked: asked.clone(), reason });
        }
        return Ok(plan(Isolation::Hard, Promise::AtLeastOne, &[], None, reason));
    }
    if let Some(plan) = nothing_sound(wanted, &offered)? {
        return Ok(plan);
    }
    let chosen = choose(&wanted.select, &offered, claims.kind)?;
    let uuids = || -> Vec<String> { chosen.iter().filter_map(|at| offered[*at].uuid.clone()).collect() };
    let soft = Gpus { isolation: Isolation::Soft, ..wanted.clone() };
    let narrowed = kit.as_one && chosen.len() < offered.len();
    if let Some(sound) = all_by_uuid(if narrowed { &soft } else { wanted }, &offered) {
        let visible = uuids();
        let inside: Vec<&Candidate> = sound.iter().collect();
        let reason = if narrowed && wanted.isolation == Isolation::Hard {
            format!("{reason}, so that only the environment selects")
        } else {
            reason
        };
        return Ok(plan(Isolation::Soft, soft_promise(&visible), &inside, Some(visible), reason));
    }
    let chosen: Vec<&Candidate> = chosen.iter().map(|at| &offered[*at]).collect();
    let names: Vec<String> = chosen.iter().map(|one| one.name.clone()).collect();
    let visible = asked_order(&chosen);
    Ok(plan(Isolation::Hard, promise(&names), &chosen, visible, hard_reason(wanted, reason, &offered)))
}
