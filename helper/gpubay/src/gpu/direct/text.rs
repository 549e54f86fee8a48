//! What the driver and the linker write about themselves. Pure.

use std::path::PathBuf;

use gpubay_protocol::agent::is_gpu_uuid;

/// A GPU as `/proc/driver/nvidia/gpus/<place>/information` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its place on the bus, by which the driver counts.
    pub bus: String,
    /// Of the node `/dev/nvidia<minor>`.
    pub minor: u32,
    /// `None`: nobody has woken it up yet.
    pub uuid: Option<String>,
}

/// What opens a slice of a GPU: both its GPU instance and its compute instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Of the GPU.
    pub gpu: u32,
    pub gpu_instance: u32,
    /// `None`: of the GPU instance itself.
    pub compute_instance: Option<u32>,
    /// Of the node `/dev/nvidia-caps/nvidia-cap<minor>`.
    pub minor: u32,
}

/// Which instances a slice is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// UUID of the GPU.
    pub gpu: String,
    /// The slice's place in it.
    pub index: u32,
    pub gpu_instance: u32,
    pub compute_instance: u32,
}

/// Of the kernel's module, from `/proc/driver/nvidia/version` or `/sys/module/nvidia/version`.
pub fn version(text: &str) -> Option<&str> {
    text.split_whitespace().find(|word| is_version(word))
}

/// `580.65.06`, `535.54`
pub(super) fn is_version(word: &str) -> bool {
    let mut parts = word.split('.');
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.clone().count() > 1 && parts.next().is_some_and(|first| first.len() > 1) && word.split('.').all(number)
}

/// `place` is the name of the folder.
pub(super) fn card(place: &str, text: &str) -> Option<Card> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name))
            .map(|(_, value)| value.trim())
    };
    Some(Card {
        bus: place.to_owned(),
        minor: field("Device Minor")?.parse().ok()?,
        uuid: field("GPU UUID").filter(|uuid| is_gpu_uuid(uuid) && !uuid.contains('?')).map(str::to_owned),
    })
}

/// Lines of `/proc/driver/nvidia-caps/mig-minors`: `gpu0/gi1/access 12`, `gpu0/gi1/ci0/access 13`.
pub(super) fn capabilities(text: &str) -> Vec<Capability> {
    let one = |line: &str| {
        let (what, minor) = line.split_once(' ')?;
        let mut parts = what.strip_suffix("/access")?.split('/');
        let gpu = parts.next()?.strip_prefix("gpu")?.parse().ok()?;
        let gpu_instance = parts.next()?.strip_prefix("gi")?.parse().ok()?;
        let compute_instance = match parts.next() {
            Some(part) => Some(part.strip_prefix("ci")?.parse().ok()?),
            None => None,
        };
        Some(Capability { gpu, gpu_instance, compute_instance, minor: minor.trim().parse().ok()? })
    };
    text.lines().filter_map(one).collect()
}

/// From `nvidia-smi -q -x`, which alone tells what its library tells no safe caller.
pub(super) fn instances(xml: &str) -> Vec<Instance> {
    let value = |line: &str, tag: &str| {
        let rest = line.trim().strip_prefix(&format!("<{tag}>"))?;
        Some(rest.strip_suffix(&format!("</{tag}>"))?.trim().to_owned())
    };
    let mut found = Vec::new();
    for gpu in xml.split("<gpu id=").skip(1) {
        let Some(uuid) = gpu.lines().find_map(|line| value(line, "uuid")).filter(|uuid| uuid.starts_with("GPU-"))
        else {
            continue;
        };
        for slice in gpu.split("<mig_device>").skip(1) {
            let slice = slice.split("</mig_device>").next().unwrap_or_default();
            let number = |tag| slice.lines().find_map(|line| value(line, tag))?.parse().ok();
            if let (Some(index), Some(gpu_instance), Some(compute_instance)) =
                (number("index"), number("gpu_instance_id"), number("compute_instance_id"))
            {
                found.push(Instance { gpu: uuid.clone(), index, gpu_instance, compute_instance });
            }
        }
    }
    found
}

/// What `ldconfig -p` lists under `name` for programs of this machine's kind.
pub(super) fn in_the_cache(listed: &str, name: &str) -> Vec<PathBuf> {
    let kind = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86-64" };
    let one = |line: &str| {
        let (what, path) = line.trim().split_once(" => ")?;
        let (found, kinds) = what.split_once(" (")?;
        (found == name && kinds.to_lowercase().contains(kind)).then(|| PathBuf::from(path))
    };
    listed.lines().filter_map(one).collect()
}

/// The group's name in `/etc/group`.
pub(super) fn group(text: &str, gid: u32) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    })
}

/// Names of the files in a folder of libraries that are of the driver's `version`, each with the other names it goes by
/// there: `libcuda.so.580.65.06` is `libcuda.so.1` and `libcuda.so`, too.
pub(super) fn of_version(names: &[String], version: &str) -> Vec<(String, Vec<String>)> {
    let end = format!(".so.{version}");
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for name in names {
        let Some(stem) = name.strip_suffix(&end).filter(|stem| stem.starts_with("lib")) else { continue };
        // What a library of another version goes by, this one goes by as well: after an update the links are the other's.
        let is_link = |other: &&String| {
            let rest = other.strip_prefix(stem).and_then(|rest| rest.strip_prefix(".so"));
            rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.').is_some_and(|n| n.parse::<u8>().is_ok()))
        };
        let mut others: Vec<String> = names.iter().filter(is_link).cloned().collect();
        // Programs ask for these two by name, whatever the linker has been told.
        let asked = format!("{stem}.so.1");
        if ["libcuda", "libnvidia-ml"].contains(&stem) && !others.contains(&asked) {
            others.push(asked);
        }
        others.sort();
        found.push((name.clone(), others));
    }
    found.sort();
    found
}

/// The versions of which there is a libcuda in a folder.
pub(super) fn versions(names: &[String]) -> Vec<String> {
    let of = |name: &String| name.strip_prefix("libcuda.so.").filter(|rest| is_version(rest)).map(str::to_owned);
    names.iter().filter_map(of).collect()
}
