//! Which GPUs are selected where all of them are inside: a file in the container's run folder, which its agent reads before it
//! starts something. What was selected when the container was made is in its labels, and in its environment.
//!
//! The folder is in the container's hands: what is read is believed only as far as the labels allow it.

use std::io::Read;

use gpubay_protocol::agent::{CHOICE_LIMIT, CHOICE_NAME, GpuChoice};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat, renameat, unlinkat};

use super::report::GpuDevice;
use super::{Workspace, labels};
use crate::HostPath;
use crate::config::model::{GpuSelection, Isolation};
use crate::engine::Container;
use crate::error::{Error, Result};
use crate::gpu::inventory::Inventory;
use crate::gpu::{self, Placed};

/// What is selected in a container; `None`: its isolation is `hard`, so that there is nothing to select.
pub(super) fn current(container: &Container, run: &HostPath) -> Option<GpuChoice> {
    if container.label(labels::ISOLATION) != gpu::name_of_isolation(Isolation::Soft) {
        return None;
    }
    let inside = gpu::read(container.label(labels::DEVICES));
    let is_inside = |uuid: &String| inside.iter().any(|device| device.uuid == *uuid);
    let later = read(run).filter(|choice| {
        choice.visible.iter().all(is_inside)
            && crate::config::parse_gpus(&choice.asked).is_ok_and(|select| select.typed() == choice.asked)
    });
    Some(later.unwrap_or_else(|| GpuChoice {
        visible:
            container.label(labels::VISIBLE).split(',').filter(|uuid| !uuid.is_empty()).map(str::to_owned).collect(),
        asked: container.label(labels::ASKED).to_owned(),
        explicit: !container.label(labels::CHOSEN).is_empty(),
    }))
}

/// What `--gpus` said last of a container, in place of the configuration.
pub(super) fn chosen(container: &Container, run: &HostPath) -> Option<String> {
    let made_with = || Some(container.label(labels::CHOSEN).to_owned()).filter(|chosen| !chosen.is_empty());
    current(container, run).map_or_else(made_with, |choice| choice.explicit.then_some(choice.asked))
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
    // Only who has to find the best one asks the driver, which takes its time.
    let inventory = match wanted {
        GpuSelection::Auto | GpuSelection::Count(_) => gpu::inventory_of(&workspace.engine).await.ok(),
        GpuSelection::All | GpuSelection::None | GpuSelection::Named(_) => None,
    };
    let inside = gpu::read(container.label(labels::DEVICES));
    select(run, wanted, explicit, &inside, inventory.as_ref()).map(Some)
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
) -> Result<GpuChoice> {
    let visible = gpu::select_inside(select, inside, inventory)?;
    place(run, GpuChoice { visible, asked: select.typed(), explicit })
}

fn place(run: &HostPath, choice: GpuChoice) -> Result<GpuChoice> {
    write(run, &choice).map_err(|cause| {
        Error::new("gpu_choice", format!("write which GPUs are selected into {run}: {cause}"))
            .with_hint("Look what is in the way there; `gpubay up --recreate` makes the container anew.")
    })?;
    Ok(choice)
}

/// A container that is made anew begins with what its labels say.
pub(super) fn forget(run: &HostPath) {
    if let Ok(folder) = open(run.as_path(), FOLDER, Mode::empty()) {
        let _ = unlinkat(&folder, CHOICE_NAME, rustix::fs::AtFlags::empty());
    }
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

/// The GPUs that a container's programs get now, as the engine counts them. `seen`: what answered inside.
pub(super) fn devices(container: &Container, seen: &[GpuDevice], choice: Option<&GpuChoice>) -> Vec<GpuDevice> {
    let inside = gpu::read(container.label(labels::DEVICES));
    let place = |uuid: &str| inside.iter().find(|device| device.uuid == uuid).and_then(|device| device.place);
    let mut devices: Vec<GpuDevice> = match choice {
        Some(choice) => {
            let one = |uuid: &String| {
                let known = seen.iter().find(|seen| seen.uuid.as_ref() == Some(uuid));
                let (index, slice) = place(uuid).unwrap_or_else(|| (known.map_or(0, |known| known.index), None));
                // A slice answers as its GPU.
                let of =
                    seen.iter().find(|seen| seen.uuid.as_deref().and_then(place).is_some_and(|at| at == (index, None)));
                let name = known.or(of).and_then(|seen| seen.name.clone());
                GpuDevice { uuid: Some(uuid.clone()), index, slice, name, cuda: None }
            };
            choice.visible.iter().map(one).collect()
        }
        None => {
            let names = gpu::places(container.label(labels::GPUS));
            let by_uuid = |device: &GpuDevice| place(device.uuid.as_deref()?);
            // Inside they are counted anew, in the same order.
            let by_order = |at: usize| names.as_ref().filter(|names| names.len() == seen.len())?.get(at).copied();
            let one = |(at, device): (usize, &GpuDevice)| match by_uuid(device).or_else(|| by_order(at)) {
                Some((index, slice)) => GpuDevice { index, slice, ..device.clone() },
                None => device.clone(),
            };
            seen.iter().enumerate().map(one).collect()
        }
    };
    if choice.is_none() {
        let asked: Vec<&str> = container.label(labels::VISIBLE).split(',').collect();
        let at = |device: &GpuDevice| asked.iter().position(|uuid| device.uuid.as_deref() == Some(uuid));
        devices.sort_by_key(|device| at(device).unwrap_or(usize::MAX));
    }
    for (cuda, device) in devices.iter_mut().enumerate() {
        device.cuda = Some(cuda as u32);
    }
    devices
}
