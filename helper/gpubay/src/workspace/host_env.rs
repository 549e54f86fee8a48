//! Where a workspace's host env lies: the name that it takes, and which folders of this user's are host envs.

use gpubay_protocol::agent::StatusRequest;
use gpubay_protocol::hostenv;

use super::labels::{self, Role};
use super::{Workspace, delivery, dev};
use crate::agent::Client;
use crate::error::{Error, Result};
use crate::venv::hostenv::{self as layout, HostEnvError};
use crate::venv::probe::Probe;
use crate::{ContainerPath, HostPath, Mapping, PathMap};

/// Where the venv goes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Inside.
    pub(super) venv: ContainerPath,
    /// `None`: the workspace cannot be written, and the host goes without.
    pub(super) host_env: Option<HostPath>,
    pub(super) warning: Option<String>,
}

/// Claims the folder that becomes the host env, before any container mounts the workspace.
pub(super) fn place(workspace: &Workspace) -> Result<Place> {
    place_at(workspace, layout::prepare_mount_point(workspace.folder(), &workspace.config().venv.name))
}

/// Where [`place`] would put it. Claims nothing.
pub(super) fn expected_place(workspace: &Workspace) -> Result<Place> {
    place_at(workspace, layout::find_mount_point(workspace.folder(), &workspace.config().venv.name))
}

fn place_at(workspace: &Workspace, point: std::result::Result<layout::MountPoint, HostEnvError>) -> Result<Place> {
    let workdir = &workspace.config().container.workdir;
    let internal = |error: gpubay_protocol::paths::PathError| Error::new("bad_venv_path", error.to_string());
    match point {
        Ok(point) => Ok(Place {
            venv: workdir.join(&point.name).map_err(internal)?,
            host_env: Some(point.path),
            warning: point.other.or_else(|| roots_in_another_home(workspace)),
        }),
        Err(error @ HostEnvError::ReadOnly { .. }) => Ok(Place {
            venv: ContainerPath::new("/.gpubay/venv").map_err(internal)?,
            host_env: None,
            warning: Some(format!("{error}; the container works, and editors on the host do not see its Python")),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Root's files in a user's folder are in that user's way.
fn roots_in_another_home(workspace: &Workspace) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(workspace.folder().as_path()).ok()?.uid();
    (workspace.host.uid == 0 && owner != 0).then(|| {
        format!(
            "{} belongs to the user {owner} and this runs as root: {} and what the container writes belong to root, and that \
             user's own `gpubay up` will have to take another name for it; run gpubay as that user",
            workspace.folder(),
            workspace.config().venv.name
        )
    })
}

/// Names that are free for the host env: what a call makes there it takes away again where it fails.
#[derive(Debug)]
pub(super) struct FreeNames(Vec<HostPath>);

impl FreeNames {
    pub(super) fn look(workspace: &Workspace) -> Self {
        let wanted = &workspace.config().venv.name;
        let paths = [wanted.clone(), format!("{wanted}-gpubay")].map(|name| workspace.folder().join(name));
        Self(paths.into_iter().filter(|path| path.as_path().symlink_metadata().is_err()).collect())
    }

    /// Removes the mount point that was made meanwhile, unless something is in it or a container mounts it.
    pub(super) async fn take_back(self, workspace: &Workspace) {
        if matches!(dev::find(workspace, &workspace.dev_name()).await, Ok(None)) {
            for path in self.0 {
                let _ = std::fs::remove_dir(path.as_path());
            }
        }
    }
}

/// Names in the workspace that are, or may become, the host env, and never are part of a build.
pub(super) fn names(workspace: &Workspace) -> Vec<String> {
    let wanted = &workspace.config().venv.name;
    let names = [wanted.clone(), format!("{wanted}-gpubay")];
    let foreign = |name: &String| {
        let path = workspace.folder().join(name);
        let empty = std::fs::read_dir(path.as_path()).is_ok_and(|mut entries| entries.next().is_none());
        path.as_path().exists() && !empty && !path.join(hostenv::FILE_NAME).as_path().exists()
    };
    names.into_iter().filter(|name| !foreign(name)).collect()
}

/// Host envs of this user, whichever workspace they are of: any container that would see one of them
/// gets something mounted over it.
pub(super) fn known(workspace: &Workspace) -> Vec<HostPath> {
    let folder = workspace.loaded.state.join("host-envs");
    let Ok(entries) = std::fs::read_dir(folder.as_path()) else { return Vec::new() };
    let mut known: Vec<HostPath> = entries
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .filter_map(|path| HostPath::new(path).ok())
        .filter(|path| path.join(hostenv::FILE_NAME).as_path().exists())
        .collect();
    known.sort();
    known.dedup();
    known
}

pub(super) fn is_remembered(workspace: &Workspace, path: &HostPath) -> bool {
    let file = workspace.loaded.state.join("host-envs").join(workspace.id8());
    std::fs::read_to_string(file.as_path()).is_ok_and(|known| known == path.to_string())
}

pub(super) fn remember(workspace: &Workspace, path: &HostPath) -> Result<()> {
    // Where every workspace of the user's looks, whatever `[paths]` one of them has.
    let folder = workspace.loaded.state.join("host-envs");
    let file = folder.join(workspace.id8());
    if is_remembered(workspace, path) {
        return Ok(());
    }
    let write =
        std::fs::create_dir_all(folder.as_path()).and_then(|()| std::fs::write(file.as_path(), path.to_string()));
    Ok(write.map_err(delivery::at(file.as_path()))?)
}

/// Running jobs of this workspace that would see the host env itself: deleting its folder took the mount over it away. Only
/// where there is none can that have happened.
pub(super) async fn jobs_without_cover(
    workspace: &Workspace,
    venv: &ContainerPath,
    path: &HostPath,
) -> Result<Vec<String>> {
    if path.join(hostenv::FILE_NAME).as_path().exists() {
        return Ok(Vec::new());
    }
    let mut uncovered = Vec::new();
    let ours = [(labels::ID, workspace.id()), (labels::ROLE, Role::Job.as_str())];
    for job in workspace.engine.list(&ours).await?.into_iter().filter(|job| job.state == "running") {
        let Some(name) = job.labels.get(labels::JOB) else { continue };
        let covered = async {
            let client = Client::connect(&workspace.job_run_folder(name)).await.ok()?;
            client
                .status(StatusRequest { mounts: vec![venv.clone()], stamp: Vec::new() })
                .await
                .ok()?
                .mounted
                .first()
                .copied()
        };
        if covered.await != Some(true) {
            uncovered.push(name.clone());
        }
    }
    Ok(uncovered)
}

/// What the venv was made from, as host tools are to find it; `None` where the host has no copy of its
/// standard library.
pub(super) fn home(workspace: &Workspace, probe: &Probe, on_host: &[Mapping]) -> Result<Option<HostPath>> {
    let stdlib = probe.paths.get("stdlib").cloned().flatten().and_then(|path| ContainerPath::new(path).ok());
    let stdlib = stdlib.and_then(|path| PathMap::new(on_host.to_vec()).to_host(&path));
    let Some(stdlib) = stdlib.filter(|path| path.is_dir()) else { return Ok(None) };
    let stdlib = HostPath::new(stdlib).map_err(|error| Error::new("internal", error.to_string()))?;
    let folder = workspace.config().paths.cache.join("homes").join(&workspace.place);
    Ok(Some(layout::make_home(&folder, &probe.version, &stdlib)?))
}
