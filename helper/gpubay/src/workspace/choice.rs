//! Which GPUs are selected where all of them are inside: a file in the container's run folder, which its agent reads before it
//! starts something. What was selected when the container was made is in its labels, and in its environment.
//!
//! The folder is in the container's hands: what is read is believed only as far as the labels allow it.

use std::collections::BTreeMap;
use std::io::Read;

use gpubay_protocol::agent::{CHOICE_LIMIT, CHOICE_NAME, GpuChoice, RUN_DIR};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat, renameat, unlinkat};

use super::leases::Asking;
use super::report::GpuDevice;
use super::{Workspace, given, labels, leases};
use crate::HostPath;
use crate::config::model::{GpuSelection, Isolation};
use crate::engine::{Container, Listed};
use crate::error::{Error, Result};
use crate::gpu::inventory::Inventory;
use crate::gpu::lease::Claims;
use crate::gpu::{self, Placed};

/// What is selected in a container; `None`: its isolation is `hard`, so that there is nothing to select.
pub(super) fn current(container: &Container, run: &HostPath) -> Option<GpuChoice> {
    of_labels(&container.labels, Some(run))
}

/// The same of what carries these labels. Without the run folder: what was selected first.
pub(super) fn of_labels(labels: &BTreeMap<String, String>, run: Option<&HostPath>) -> Option<GpuChoice> {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    if label(labels::ISOLATION) != gpu::name_of_isolation(Isolation::Soft) {
        return None;
    }
    let inside = gpu::read(label(labels::DEVICES));
    let later = run.and_then(read).filter(|choice| is_meant(choice, &inside));
    Some(later.unwrap_or_else(|| made_with(&label)))
}

/// The same of a container of which a list tells: its run folder is on this machine, or nothing is known but its labels.
pub(super) fn of_listed(container: &Listed, local: bool) -> Option<GpuChoice> {
    let run = container.mounts.iter().find(|mount| mount.target == RUN_DIR).and_then(|mount| mount.source.as_ref());
    let run = run.filter(|_| local).and_then(|run| HostPath::new(run).ok());
    of_labels(&container.labels, run.as_ref())
}

/// What was selected when the container was made.
fn made_with<'a>(label: &dyn Fn(&str) -> &'a str) -> GpuChoice {
    GpuChoice {
        visible: uuids(label(labels::VISIBLE)),
        asked: label(labels::ASKED).to_owned(),
        explicit: !label(labels::CHOSEN).is_empty(),
        inside: label(labels::DEVICES).to_owned(),
    }
}

fn uuids(list: &str) -> Vec<String> {
    list.split(',').filter(|uuid| !uuid.is_empty()).map(str::to_owned).collect()
}

/// Whether it selects what it says, among what is inside. A container that writes it itself can say no more than that.
fn is_meant(choice: &GpuChoice, inside: &[Placed]) -> bool {
    let Ok(select) = crate::config::parse_gpus(&choice.asked) else { return false };
    let all_inside = choice.visible.iter().all(|uuid| inside.iter().any(|device| device.uuid == *uuid));
    let meant = match &select {
        GpuSelection::Auto => choice.visible.len() == 1,
        GpuSelection::Count(wish) => choice.visible.len() == wish.count as usize,
        // One that has fallen ill since was well when it was selected.
        GpuSelection::All => !choice.visible.is_empty(),
        GpuSelection::None | GpuSelection::Named(_) => {
            gpu::select_inside(&select, inside, None, &Claims::default()).is_ok_and(|uuids| uuids == choice.visible)
        }
    };
    all_inside && meant && select.typed() == choice.asked
}

/// What `--gpus` said last of a container, in place of the configuration.
pub(super) fn chosen(container: &Container, run: &HostPath) -> Option<String> {
    current(container, run).map_or_else(|| chosen_first(container), |choice| choice.explicit.then_some(choice.asked))
}

/// What `--gpus` said when the container was made: no container can write that.
pub(super) fn chosen_first(container: &Container) -> Option<String> {
    Some(container.label(labels::CHOSEN).to_owned()).filter(|chosen| !chosen.is_empty())
}

/// Selects what is wanted now, for whatever starts from now on. Nothing that runs notices.
///
/// # Errors
/// GPUs that are not in the container; a run folder that cannot be written.
pub(super) async fn settle(workspace: &Workspace, container: &Container, run: &HostPath) -> Result<Option<GpuChoice>> {
    let Some(current) = current(container, run) else { return Ok(None) };
    let explicit = workspace.loaded.chosen_gpus.is_some();
    if !explicit && current.explicit {
        return Ok(Some(current));
    }
    let wanted = &workspace.config().gpus.select;
    let asked = wanted.typed();
    if (&asked, explicit) == (&current.asked, current.explicit) {
        return Ok(Some(current));
    }
    if asked == current.asked {
        return place(run, GpuChoice { explicit, ..current }).map(Some);
    }
    // Only who has to find the best one asks what is on them, which takes its time.
    let (inventory, claims) = match wanted {
        GpuSelection::Auto | GpuSelection::Count(_) => {
            let claims = leases::claims(workspace, Asking::default());
            let (inventory, claims) = tokio::join!(given::told_of(workspace), claims);
            (inventory, claims?)
        }
        GpuSelection::All | GpuSelection::None | GpuSelection::Named(_) => (None, Claims::default()),
    };
    let inside = gpu::read(container.label(labels::DEVICES));
    match select(run, wanted, explicit, &inside, inventory.as_ref(), &claims) {
        Ok(choice) => Ok(Some(choice)),
        Err(error) => Err(leases::with_memory(workspace, error).await),
    }
}

/// Selects some of what is `inside`.
///
/// # Errors
/// As of [`settle`].
pub(crate) fn select(
    run: &HostPath,
    select: &GpuSelection,
    explicit: bool,
    inside: &[Placed],
    inventory: Option<&Inventory>,
    claims: &Claims,
) -> Result<GpuChoice> {
    let visible = gpu::select_inside(select, inside, inventory, claims)?;
    place(run, GpuChoice { visible, asked: select.typed(), explicit, inside: gpu::written(inside) })
}

fn place(run: &HostPath, choice: GpuChoice) -> Result<GpuChoice> {
    write(run, &choice).map_err(|cause| {
        Error::new("gpu_choice", format!("write which GPUs are selected into {run}: {cause}"))
            .with_hint("Look what is in the way there, and remove it.")
    })?;
    Ok(choice)
}

/// A container that is about to be made begins with what its labels will say. Whoever is inside takes it from there too, so
/// that there is such a file is what `soft` means in there.
///
/// # Errors
/// What lies in the way and cannot be taken away.
pub(super) fn begin(run: &HostPath, gpu: &gpu::Plan, asked: &GpuSelection, explicit: bool) -> Result<()> {
    let failed = |cause: std::io::Error| {
        Error::new(
            "gpu_choice",
            format!("take away {CHOICE_NAME} in {run}, which says what an earlier container was given: {cause}"),
        )
        .with_hint("Remove it yourself.")
    };
    let folder = cap_std::fs::Dir::open_ambient_dir(run.as_path(), cap_std::ambient_authority()).map_err(failed)?;
    let gone = match folder.symlink_metadata(CHOICE_NAME) {
        Ok(found) if found.is_dir() => folder.remove_dir_all(CHOICE_NAME),
        Ok(_) => folder.remove_file(CHOICE_NAME),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    gone.map_err(failed)?;
    if gpu.isolation == Isolation::Hard {
        return Ok(());
    }
    let visible = gpu.visible.clone().unwrap_or_default();
    place(run, GpuChoice { visible, asked: asked.typed(), explicit, inside: gpu::written(&gpu.devices) }).map(drop)
}

/// Selects in a container that took the place of another what was selected in that one, as far as it is inside.
///
/// # Errors
/// A run folder that cannot be written.
pub(super) fn keep(container: &Container, run: &HostPath, earlier: GpuChoice) -> Result<()> {
    let Some(now) = current(container, run) else { return Ok(()) };
    let kept = GpuChoice { inside: now.inside.clone(), ..earlier };
    let same_wish = (&kept.asked, kept.explicit) == (&now.asked, now.explicit);
    if kept == now || !same_wish || !is_meant(&kept, &gpu::read(container.label(labels::DEVICES))) {
        return Ok(());
    }
    place(run, kept).map(drop)
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What lies there, whoever wrote it.
pub(crate) fn read(run: &HostPath) -> Option<GpuChoice> {
    let folder = open(run.as_path(), FOLDER, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(&folder, CHOICE_NAME, flags, Mode::empty()).ok()?;
    if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = String::new();
    std::fs::File::from(file).take(CHOICE_LIMIT).read_to_string(&mut text).ok()?;
    GpuChoice::read(&text)
}

/// In one step, and through no link.
fn write(run: &HostPath, choice: &GpuChoice) -> std::io::Result<()> {
    use std::io::Write;
    let folder = open(run.as_path(), FOLDER, Mode::empty())?;
    let fresh = format!("{CHOICE_NAME}.{}", super::unique());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // The container's user may be another than ours.
    let mode = Mode::from_raw_mode(0o644);
    let mut file = std::fs::File::from(openat(&folder, fresh.as_str(), flags, mode)?);
    rustix::fs::fchmod(&file, mode)?;
    let written = file.write_all(choice.written().as_bytes());
    let placed = written.and_then(|()| Ok(renameat(&folder, fresh.as_str(), &folder, CHOICE_NAME)?));
    if placed.is_err() {
        let _ = unlinkat(&folder, fresh.as_str(), rustix::fs::AtFlags::empty());
    }
    placed
}

/// Selected devices by their own names, in the order in which CUDA counts them. `seen`: the GPUs that answered inside, a slice
/// as the GPU that it is of.
pub(crate) fn selected(inside: &[Placed], seen: &[GpuDevice], visible: &[String]) -> Vec<GpuDevice> {
    let mut gpus: Vec<u32> = inside.iter().filter_map(|device| device.place).map(|(gpu, _)| gpu).collect();
    gpus.sort_unstable();
    gpus.dedup();
    let one = |(cuda, uuid): (usize, &String)| {
        let known = seen.iter().find(|seen| seen.uuid.as_ref() == Some(uuid));
        let place = inside.iter().find(|device| device.uuid == *uuid).and_then(|device| device.place);
        let (index, slice) = place.unwrap_or_else(|| (known.map_or(0, |known| known.index), None));
        // Inside they are counted anew, in the same order.
        let of = gpus.iter().position(|gpu| *gpu == index).and_then(|at| seen.get(at));
        let name = known.or(of).and_then(|seen| seen.name.clone());
        GpuDevice { uuid: Some(uuid.clone()), index, slice, name, cuda: Some(cuda as u32) }
    };
    visible.iter().enumerate().map(one).collect()
}

/// The GPUs that programs get now in what carries these labels, as the engine counts them. `seen`: what answered inside.
pub(super) fn devices(
    labels: &BTreeMap<String, String>,
    seen: &[GpuDevice],
    choice: Option<&GpuChoice>,
) -> Vec<GpuDevice> {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    let inside = gpu::read(label(labels::DEVICES));
    if let Some(choice) = choice {
        return selected(&inside, seen, &choice.visible);
    }
    let names = gpu::places(label(labels::GPUS));
    let by_uuid = |device: &GpuDevice| inside.iter().find(|one| device.uuid.as_ref() == Some(&one.uuid))?.place;
    // Inside they are counted anew, in the same order.
    let by_order = |at: usize| names.as_ref().filter(|names| names.len() == seen.len())?.get(at).copied();
    let one = |(at, device): (usize, &GpuDevice)| match by_uuid(device).or_else(|| by_order(at)) {
        Some((index, slice)) => GpuDevice { index, slice, ..device.clone() },
        None => device.clone(),
    };
    let mut devices: Vec<GpuDevice> = seen.iter().enumerate().map(one).collect();
    let asked = uuids(label(labels::VISIBLE));
    let at = |device: &GpuDevice| asked.iter().position(|uuid| device.uuid.as_ref() == Some(uuid));
    devices.sort_by_key(|device| at(device).unwrap_or(usize::MAX));
    for (cuda, device) in devices.iter_mut().enumerate() {
        device.cuda = Some(cuda as u32);
    }
    devices
}

/// The same as far as the labels tell it, with nobody asked. `None`: they do not say which these are.
pub(super) fn told(labels: &BTreeMap<String, String>, choice: Option<&GpuChoice>) -> Option<Vec<GpuDevice>> {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    let inside = gpu::read(label(labels::DEVICES));
    let known = |device: &Placed| Some((device.place?, Some(device.uuid.clone())));
    let devices: Vec<(gpu::Place, Option<String>)> = match (choice, label(labels::GPUS)) {
        (Some(choice), _) => {
            let selected = |uuid: &String| known(inside.iter().find(|device| device.uuid == *uuid)?);
            choice.visible.iter().map(selected).collect::<Option<_>>()?
        }
        (None, "" | "none") => Vec::new(),
        (None, names) if inside.is_empty() => gpu::places(names)?.into_iter().map(|place| (place, None)).collect(),
        (None, _) => {
            let mut devices = inside.iter().map(known).collect::<Option<Vec<_>>>()?;
            let asked = uuids(label(labels::VISIBLE));
            let at = |uuid: &Option<String>| asked.iter().position(|one| Some(one) == uuid.as_ref());
            devices.sort_by_key(|(place, uuid)| (at(uuid).unwrap_or(usize::MAX), *place));
            devices
        }
    };
    let one = |(cuda, ((index, slice), uuid))| GpuDevice { uuid, index, slice, name: None, cuda: Some(cuda as u32) };
    Some(devices.into_iter().enumerate().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tell_which_gpu_is_which_inside() {
        let told = |gpus: &str, devices: &str, visible: Option<&str>, selected: Option<&[&str]>| {
            let mut labels = BTreeMap::from([
                (labels::GPUS.to_owned(), gpus.to_owned()),
                (labels::DEVICES.to_owned(), devices.to_owned()),
            ]);
            labels.extend(visible.map(|visible| (labels::VISIBLE.to_owned(), visible.to_owned())));
            let choice = selected.map(|selected| GpuChoice {
                visible: selected.iter().map(|&uuid| uuid.to_owned()).collect(),
                asked: String::new(),
                explicit: false,
                inside: devices.to_owned(),
            });
            let found = told(&labels, choice.as_ref())?;
            Some(found.iter().map(GpuDevice::inside).collect::<Vec<_>>().join(", "))
        };
        for (gpus, devices, visible, selected, want) in [
            ("none", "", None, None, Some("")),
            ("nvidia.com/gpu=3", "", None, None, Some("3 = cuda:0")),
            // CUDA counts by place, however they were named.
            ("5,3", "", None, None, Some("3 = cuda:0, 5 = cuda:1")),
            ("GPU-b,GPU-a", "5=GPU-b,3=GPU-a", None, None, Some("3 = cuda:0, 5 = cuda:1")),
            ("GPU-b,GPU-a", "5=GPU-b,3=GPU-a", Some("GPU-b,GPU-a"), None, Some("5 = cuda:0, 3 = cuda:1")),
            ("nvidia.com/gpu=1:2", "1:2=MIG-a", None, None, Some("1:2 = cuda:0")),
            ("all", "0=GPU-a,1=GPU-b", Some("GPU-a"), Some(&["GPU-b"][..]), Some("1 = cuda:0")),
            ("all", "0=GPU-a,1=GPU-b", Some("GPU-a"), Some(&[][..]), Some("")),
            ("all", "0=GPU-a", None, Some(&["GPU-x"][..]), None),
            ("all", "", None, None, None),
            ("GPU-a", "", None, None, None),
        ] {
            assert_eq!(told(gpus, devices, visible, selected).as_deref(), want, "{gpus} {devices} {selected:?}");
        }
    }
}
