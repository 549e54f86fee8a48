//! What is live, held open while a job starts: a path may lead elsewhere at any moment, an open folder does not.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fstat, open, openat};

use super::Live;
use crate::HostPath;
use crate::error::{Error, Result};

/// Device and inode.
type Identity = (u64, u64);

#[derive(Debug)]
pub(in crate::workspace) struct Held {
    /// The frozen copy's, which no container can exchange.
    pub(in crate::workspace) root: Identity,
    pub(in crate::workspace) live: BTreeMap<String, Identity>,
    /// While one is open, nothing else gets its inode.
    _open: Vec<OwnedFd>,
}

impl Held {
    /// # Errors
    /// `mount_moved` for what is a link by now, or gone.
    pub(super) fn open(workspace: &HostPath, live: &[Live], root: &HostPath) -> Result<Self> {
        let failed = |path: &Path, error: rustix::io::Errno| {
            let why = std::io::Error::from(error);
            Error::new("mount_moved", format!("{}, which is the workspace's own in a snapshot: {why}", path.display()))
                .with_hint("Something put another thing in its place; look at it, and run the command again.")
        };
        let identity = |path: &Path, file: &OwnedFd| {
            fstat(file).map(|stat| (stat.st_dev, stat.st_ino)).map_err(|error| failed(path, error))
        };
        let copy = open(root.as_path(), FOLDER, Mode::empty()).map_err(|error| failed(root.as_path(), error))?;
        let (mut identities, mut files) = (BTreeMap::new(), Vec::new());
        for Live { path, .. } in live {
            let shown = workspace.join(path);
            let file = beneath(workspace.as_path(), path).map_err(|error| failed(shown.as_path(), error))?;
            identities.insert(path.clone(), identity(shown.as_path(), &file)?);
            files.push(file);
        }
        Ok(Self { root: identity(root.as_path(), &copy)?, live: identities, _open: files })
    }
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

fn beneath(root: &Path, path: &str) -> rustix::io::Result<OwnedFd> {
    let mut at = open(root, FOLDER, Mode::empty())?;
    for name in path.split('/') {
        // A folder that another file system is mounted on first gets it now. A file is not opened: it may be a device.
        at = openat(&at, name, FOLDER, Mode::empty())
            .or_else(|_| openat(&at, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()))?;
    }
    if rustix::fs::FileType::from_raw_mode(fstat(&at)?.st_mode) == rustix::fs::FileType::Symlink {
        return Err(rustix::io::Errno::LOOP);
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let host = |path: &Path| HostPath::new(path).expect("absolute");
        let root = host(folder.path());
        std::fs::create_dir_all(folder.path().join("exp/runs")).expect("made");
        symlink("exp", folder.path().join("link")).expect("linked");
        let held = |path: &str| Held::open(&root, &[Live { path: path.to_owned(), read_only: false }], &root);
        let runs = std::fs::metadata(folder.path().join("exp/runs")).expect("there");
        assert_eq!(held("exp/runs").expect("held").live["exp/runs"], (runs.dev(), runs.ino()));
        for bad in ["link", "link/runs", "gone"] {
            assert_eq!(held(bad).expect_err(bad).code, "mount_moved", "{bad}");
        }
    }
}
