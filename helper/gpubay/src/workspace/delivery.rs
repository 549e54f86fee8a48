//! The agent's way into a container: a folder of the data folder, mounted read-only.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gpubay_protocol::agent::AGENT_NAME;

use crate::HostPath;
use crate::agent::embedded;
use crate::error::{Explain, Shortage};
use crate::workspace::spec::Places;
use crate::workspace::user::{ContainerUser, HostUser};

#[derive(Debug, thiserror::Error)]
#[error("prepare {}: {cause}", .path.display())]
pub(super) struct DataError {
    pub path: PathBuf,
    pub cause: io::Error,
}

impl Explain for DataError {
    fn code(&self) -> &'static str {
        Shortage::of(&self.cause).map_or("data_folder", Shortage::code)
    }

    fn hint(&self) -> Option<String> {
        Some(Shortage::of(&self.cause).map_or_else(
            || "Check who owns that folder, or name another in [paths] data.".to_owned(),
            |shortage| shortage.hint("name another folder in [paths] data of your own config.toml"),
        ))
    }
}

/// What goes wrong at `path` of the data folder.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> DataError + '_ {
    move |cause| DataError { path: path.to_owned(), cause }
}

/// Where the folders are that a container of this workspace mounts from our data folder. Makes none.
pub(super) fn places(data: &HostPath, run_name: &str, venv: &HostPath) -> Places {
    Places {
        venv: venv.clone(),
        agent: data.join("agent").join(&embedded::ID[..16]),
        run: data.join("run").join(run_name),
        cover: data.join("cover"),
        etc: data.join("etc").join(run_name),
    }
}

/// Makes the folders that a container of this workspace mounts from our data folder, and puts the
/// agent where it belongs. Cheap when all of it is there.
///
/// # Errors
/// [`DataError`] when the data folder cannot be written.
pub(super) fn prepare(
    data: &HostPath,
    run_name: &str,
    venv: &HostPath,
    host: &HostUser,
    user: &ContainerUser,
) -> Result<Places, DataError> {
    let places = places(data, run_name, venv);
    agent_folder(data)?;
    for parent in [data.clone(), data.join("run"), data.join("venvs")] {
        folder(parent.as_path(), 0o700)?;
    }
    folder(places.cover.as_path(), 0o755)?;
    // Where the container's user is somebody else than the host's, these two must be open to all;
    // the folder above them is not, so nobody else on the host gets there.
    let mode = if user.uid == host.uid || user.uid == 0 { 0o700 } else { 0o777 };
    folder(places.run.as_path(), mode)?;
    folder(venv.as_path(), mode)?;
    for (name, file) in [("passwd", &user.passwd), ("group", &user.group)] {
        let Some(text) = file else { continue };
        let path = places.etc.join(name);
        if std::fs::read_to_string(path.as_path()).is_ok_and(|known| known == *text) {
            continue;
        }
        folder(data.join("etc").as_path(), 0o700)?;
        folder(places.etc.as_path(), 0o755)?;
        // In place: a container that mounts this very file must see the change.
        std::fs::write(path.as_path(), text).map_err(at(path.as_path()))?;
    }
    Ok(places)
}

/// `<data>/agent/<hash of the agent>/`, complete.
///
/// # Errors
/// [`DataError`] when the data folder cannot be written.
pub(super) fn agent_folder(data: &HostPath) -> Result<HostPath, DataError> {
    let folder_path = data.join("agent").join(&embedded::ID[..16]);
    let file = folder_path.join(AGENT_NAME);
    let complete = std::fs::metadata(file.as_path()).is_ok_and(|found| found.len() == embedded::PROGRAM.len() as u64);
    if !complete {
        folder(folder_path.as_path(), 0o755)?;
        // Written aside and renamed: a container that starts meanwhile sees all of it or none.
        let aside = folder_path.join(format!(".{AGENT_NAME}.{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o755);
        options
            .open(aside.as_path())
            .and_then(|mut out| out.write_all(embedded::PROGRAM).and_then(|()| out.sync_all()))
            .and_then(|()| std::fs::rename(aside.as_path(), file.as_path()))
            .map_err(at(file.as_path()))?;
    }
    Ok(folder_path)
}

fn folder(path: &Path, mode: u32) -> Result<(), DataError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            if found.permissions().mode() & 0o777 != mode {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(at(path))?;
            }
            Ok(())
        }
        Ok(_) => Err(at(path)(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"))),
        Err(_) => {
            std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(at(path))?;
            // The process's umask may have taken some of it away.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(at(path))
        }
    }
}
