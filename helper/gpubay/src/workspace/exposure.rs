//! What no container may get at: the host envs of every workspace, which the host runs, and our own folders,
//! in which approvals, sockets and mirrors lie. Pure but for the questions to the engine.
//!
//! A mount that shows one of them gets an empty read-only folder over it (a cover). A cover alone is not
//! enough where the container may write: it could rename a folder above the cover, and put another in its
//! place. So the folders that lead to a cover are mounted onto themselves (pins): a mount point cannot be
//! renamed or removed. The sources of mounts that lie in another writable mount are pinned, too: the next
//! start, which the engine may do by itself, would follow a link that was put there.

use std::path::{Path, PathBuf};

use gpubay_protocol::mountinfo::{self, MountInfo, Place};

use super::Workspace;
use crate::HostPath;
use crate::config::model::{Mount, MountSource};
use crate::engine::MountPoint;
use crate::error::{Error, Result};

/// What is to be kept from containers, and how this machine's folders hang together.
#[derive(Clone, Debug, Default)]
pub(super) struct Protected {
    /// What the host runs, and our own folders.
    pub(super) paths: Vec<HostPath>,
    pub(super) mounts: Vec<MountInfo>,
    /// What containers named in `volumes_from` mount.
    pub(super) borrowed: Vec<Mount>,
}

/// Read afresh each time; where it cannot be read, paths are what they say.
pub(super) fn mounts_of_host() -> Vec<MountInfo> {
    std::fs::read("/proc/self/mountinfo").map(|text| mountinfo::parse(&text)).unwrap_or_default()
}

/// A mount, or one that comes along below it: where its source lies, and where it is inside.
struct Shown<'a> {
    mount: &'a Mount,
    source: PathBuf,
    place: Place,
    /// Relative to the mount's target.
    inside: PathBuf,
}

impl Protected {
    fn places(&self) -> Vec<Place> {
        self.paths.iter().map(|path| mountinfo::place(&self.mounts, path.as_path())).collect()
    }

    /// Everything that a mount of a folder shows: the folder, and what is mounted below it on the host.
    fn shown<'a>(&'a self, mount: &'a Mount) -> Vec<Shown<'a>> {
        let MountSource::Host(source) = &mount.source else { return Vec::new() };
        let source = source.as_path();
        let place = mountinfo::place(&self.mounts, source);
        let mut shown = vec![Shown { mount, source: source.to_owned(), place, inside: PathBuf::new() }];
        for below in self.mounts.iter().filter(|info| info.target != source) {
            let Ok(inside) = below.target.strip_prefix(source) else { continue };
            let place = Place { device: below.device.clone(), path: below.root.clone() };
            shown.push(Shown { mount, source: below.target.clone(), place, inside: inside.to_owned() });
        }
        shown
    }

    /// # Errors
    /// `mount_exposes` for a mount that is, or lies in, what is to be kept from containers.
    pub(super) fn refuse<'a>(&self, mounts: impl IntoIterator<Item = &'a Mount>) -> Result<()> {
        let protected = self.places();
        for mount in mounts {
            for shown in self.shown(mount) {
                for protected in &protected {
                    if shown.place.below(protected).is_some() {
                        return Err(Error::new(
                            "mount_exposes",
                            format!(
                                "the mount on {} would show the container {}, which belongs to GPU Bay",
                                mount.target,
                                shown.source.display()
                            ),
                        )
                        .with_hint("Mount another folder; a container must not write what the host runs."));
                    }
                }
            }
        }
        Ok(())
    }

    /// The mounts that have to be added to `mounts`: covers of `cover`, and pins.
    pub(super) fn guards(&self, mounts: &[Mount], cover: &HostPath) -> Vec<Mount> {
        // Asked once: a machine may have a thousand mounts.
        let protected = self.places();
        let sources: Vec<Place> = mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Host(source) => Some(mountinfo::place(&self.mounts, source.as_path())),
                _ => None,
            })
            // Not what a cover hides from everywhere anyway.
            .filter(|place| protected.iter().all(|protected| place.below(protected).is_none()))
            .collect();
        let mut added: Vec<Mount> = Vec::new();
        let taken = |added: &[Mount], target: &crate::ContainerPath| {
            mounts.iter().chain(added).any(|other| other.target == *target)
        };
        let mut add = |mount: Mount| {
            if !taken(&added, &mount.target) {
                added.push(mount);
            }
        };
        for mount in mounts.iter().chain(&self.borrowed) {
            for shown in self.shown(mount) {
                for place in &protected {
                    let Some(rest) = place.below(&shown.place).filter(|rest| !rest.as_os_str().is_empty()) else {
                        continue;
                    };
                    pins(&shown, rest, &mut add);
                    if let Some(target) = inside(&shown, rest) {
                        add(Mount { source: MountSource::Host(cover.clone()), target, read_only: true });
                    }
                }
                for place in &sources {
                    let Some(rest) = place.below(&shown.place).filter(|rest| !rest.as_os_str().is_empty()) else {
                        continue;
                    };
                    pins(&shown, rest, &mut add);
                    pin(&shown, rest, &mut add);
                }
            }
        }
        added
    }
}

/// Mounts the folders that lead to `rest`, without itself, onto themselves.
fn pins(shown: &Shown<'_>, rest: &Path, add: &mut impl FnMut(Mount)) {
    let mut folders: Vec<&Path> = rest.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).collect();
    folders.reverse();
    for folder in folders {
        pin(shown, folder, add);
    }
}

fn pin(shown: &Shown<'_>, rest: &Path, add: &mut impl FnMut(Mount)) {
    // What is mounted below a read-only mount is writable on some engines.
    if shown.mount.read_only && shown.inside.as_os_str().is_empty() {
        return;
    }
    let source = shown.source.join(rest);
    if let (Some(target), Ok(source)) = (inside(shown, rest), HostPath::new(source)) {
        add(Mount { source: MountSource::Host(source), target, read_only: shown.mount.read_only });
    }
}

fn inside(shown: &Shown<'_>, rest: &Path) -> Option<crate::ContainerPath> {
    shown.mount.target.join(shown.inside.join(rest).to_str()?).ok()
}

/// What is approved is what is mounted: a source in which a container put a link meanwhile is refused.
///
/// # Errors
/// `mount_moved`
pub(super) fn sources_are_as_they_were(mounts: &[Mount]) -> Result<()> {
    for mount in mounts {
        let MountSource::Host(source) = &mount.source else { continue };
        let now = source.as_path().canonicalize();
        if now.as_ref().is_ok_and(|now| now == source.as_path()) {
            continue;
        }
        let what = now.map_or_else(|error| error.to_string(), |now| format!("it leads to {} now", now.display()));
        return Err(Error::new("mount_moved", format!("{source}, to be mounted on {}: {what}", mount.target))
            .with_hint("Something put another thing in its place; look at it, and run the command again."));
    }
    Ok(())
}

/// The same of a container that is there already and is started again.
///
/// # Errors
/// `mount_moved`
pub(super) fn points_are_as_they_were(points: &[MountPoint]) -> Result<()> {
    let local = points.iter().filter(|point| point.volume.is_none()).filter_map(|point| {
        let source = HostPath::new(point.source.clone()?).ok().filter(|source| source.as_path().exists())?;
        let target = crate::ContainerPath::new(&point.target).ok()?;
        Some(Mount { source: MountSource::Host(source), target, read_only: !point.writable })
    });
    sources_are_as_they_were(&local.collect::<Vec<_>>())
}

/// Running containers of other workspaces and of others that can write `path`, which the host is to run from
/// now on: they were made when there was nothing to cover. Ours first, then names of what is not ours.
pub(super) async fn who_writes(workspace: &Workspace, path: &HostPath) -> Result<(Vec<String>, Vec<String>)> {
    let protected = Protected { paths: vec![path.clone()], mounts: mounts_of_host(), borrowed: Vec::new() };
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for container in workspace.engine.list(&[]).await? {
        let id = container.labels.get(super::labels::ID);
        if container.state != "running" || id.is_some_and(|id| id == workspace.id()) {
            continue;
        }
        let mounts: Vec<Mount> = container
            .mounts
            .iter()
            .filter_map(|point| {
                let source = match &point.volume {
                    Some(volume) => MountSource::Volume(volume.clone()),
                    None => MountSource::Host(HostPath::new(point.source.clone()?).ok()?),
                };
                let target = crate::ContainerPath::new(&point.target).ok()?;
                Some(Mount { source, target, read_only: !point.writable })
            })
            .collect();
        let writable: Vec<Mount> = mounts.iter().filter(|mount| !mount.read_only).cloned().collect();
        // A cover that is missing is a place where it can write.
        let uncovered = protected.guards(&mounts, path).iter().any(|guard| guard.read_only);
        if uncovered && !protected.guards(&writable, path).is_empty() || protected.refuse(&writable).is_err() {
            if id.is_some() { ours.push(container.name) } else { others.push(container.name) }
        }
    }
    Ok((ours, others))
}

/// A volume whose driver mounts a folder or a device of the engine's machine is a mount that nobody approved.
///
/// # Errors
/// `volume_is_a_folder`
pub(super) async fn refuse_volumes_that_are_folders(workspace: &Workspace, mounts: &[Mount]) -> Result<()> {
    for mount in mounts {
        let MountSource::Volume(name) = &mount.source else { continue };
        if let Some(device) = workspace.engine.volume_device(name).await? {
            return Err(Error::new(
                "volume_is_a_folder",
                format!("the volume {name} is {device} of the engine's machine"),
            )
            .with_hint("Mount that folder itself in [container] mounts, so that it is said what is mounted."));
        }
    }
    Ok(())
}

/// What the containers in `volumes_from` bring along.
///
/// # Errors
/// `volume_is_a_folder`, or the engine's own.
pub(super) async fn borrowed(workspace: &Workspace) -> Result<Vec<Mount>> {
    let mut borrowed = Vec::new();
    for entry in &workspace.config().container.engine.volumes_from {
        let (name, mode) = entry.split_once(':').unwrap_or((entry, ""));
        let Some(found) = workspace.engine.container(name).await? else { continue };
        for point in found.mounts {
            let Ok(target) = crate::ContainerPath::new(&point.target) else { continue };
            let source = match (point.volume, point.source.map(HostPath::new)) {
                (Some(volume), _) => MountSource::Volume(volume),
                (None, Some(Ok(source))) => MountSource::Host(source),
                _ => continue,
            };
            borrowed.push(Mount { source, target, read_only: !point.writable || mode.split(',').any(|m| m == "ro") });
        }
    }
    refuse_volumes_that_are_folders(workspace, &borrowed).await?;
    Ok(borrowed)
}

#[cfg(test)]
#[path = "exposure_tests.rs"]
mod tests;
