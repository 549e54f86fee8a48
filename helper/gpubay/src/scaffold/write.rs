//! Looking at and writing files of the workspace: relative to its open folder, never through a link that leads out of
//! it, and never over anything.

use std::io::{self, Write as _};
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions};
use rustix::fs::{RenameFlags, renameat_with};

use super::{Found, Plan, PlannedFile, ScaffoldError, State};
use crate::HostPath;

/// The workspace's folder, open.
pub(super) struct Root(Dir);

impl Root {
    pub(super) fn open(workspace: &HostPath) -> Result<Self, ScaffoldError> {
        Dir::open_ambient_dir(workspace.as_path(), cap_std::ambient_authority())
            .map(Self)
            .map_err(|source| ScaffoldError::Workspace { workspace: workspace.clone(), source })
    }

    /// Whether something is there, a link that leads nowhere included.
    ///
    /// # Errors
    /// Where nothing can be made there either.
    fn is_there(&self, path: &str) -> io::Result<bool> {
        match self.0.symlink_metadata(path) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        for parent in Path::new(path).ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            if self.0.symlink_metadata(parent).is_ok() {
                // A link that leads nowhere, or out, cannot be gone through.
                return match self.0.metadata(parent) {
                    Ok(meta) if meta.is_dir() => Ok(false),
                    Ok(_) => Err(io::Error::other(format!("{} is no folder", parent.display()))),
                    Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", parent.display()))),
                };
            }
        }
        Ok(false)
    }

    /// A file that others depend on.
    pub(super) fn needed(&self, path: &str, text: String) -> Result<PlannedFile, ScaffoldError> {
        match self.is_there(path) {
            Ok(there) => Ok(planned(path, text, there)),
            Err(error) => Err(ScaffoldError::Blocked { path: path.to_owned(), why: error.to_string() }),
        }
    }

    /// A file that is a help: where it cannot be, it is left.
    pub(super) fn wanted(&self, path: &str, text: String) -> PlannedFile {
        match self.is_there(path) {
            Ok(there) => planned(path, text, there),
            Err(error) => {
                PlannedFile { path: path.to_owned(), state: State::Left, reason: Some(error.to_string()), text }
            }
        }
    }

    /// Whole or not at all, and only where nothing is.
    fn create(&self, path: &str, text: &str) -> io::Result<()> {
        let path = Path::new(path);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let opened;
        let folder = match parent {
            Some(parent) => {
                self.0.create_dir_all(parent)?;
                opened = self.0.open_dir(parent)?;
                &opened
            }
            None => &self.0,
        };
        let mut aside = name.to_owned();
        aside.push(format!(".gpubay-{}", std::process::id()));
        let mut file = folder.open_with(&aside, OpenOptions::new().write(true).create_new(true))?;
        let written = file.write_all(text.as_bytes()).and_then(|()| {
            match renameat_with(folder, &aside, folder, name, RenameFlags::NOREPLACE) {
                // A file system that cannot promise it: a second name can be given only where nothing has it.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
                    folder.hard_link(&aside, folder, name).and_then(|()| folder.remove_file(&aside))
                }
                other => other.map_err(Into::into),
            }
        });
        if written.is_err() {
            let _ = folder.remove_file(&aside);
        }
        written
    }
}

fn planned(path: &str, text: String, there: bool) -> PlannedFile {
    let state = if there { State::Left } else { State::Planned };
    let reason = there.then(|| "it exists".to_owned());
    PlannedFile { path: path.to_owned(), state, reason, text }
}

/// Writes what is planned. A file that came to be since then is left like any other.
///
/// # Errors
/// [`ScaffoldError::Write`]; what was written before stays, and a second call goes on.
pub fn apply(found: &Found, plan: &mut Plan) -> Result<(), ScaffoldError> {
    let root = Root::open(&found.workspace)?;
    for file in plan.files.iter_mut().filter(|file| file.state == State::Planned) {
        match root.create(&file.path, &file.text) {
            Ok(()) => file.state = State::Written,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                file.state = State::Left;
                file.reason = Some("it exists".to_owned());
            }
            Err(source) => return Err(ScaffoldError::Write { path: file.path.clone(), source }),
        }
    }
    Ok(())
}
