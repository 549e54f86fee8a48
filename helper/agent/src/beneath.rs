//! Opens files below a root's descriptor, never through a symbolic link: what a name resolves to is
//! decided once, by the scan, and a link that is planted later leads nowhere.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Kernels before 5.6, and engines whose filter does not know the call.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// `path` is relative to `root`; empty is the root itself.
pub(crate) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path: &[u8] = if path.is_empty() { b"." } else { path };
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM) => NO_OPENAT2.store(true, Ordering::Relaxed),
            answer => return answer,
        }
    }
    step_by_step(root, path, flags)
}

fn step_by_step(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut parts = path.split(|&b| b == b'/').peekable();
    let mut at: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        if part == b".." || part.is_empty() {
            return Err(Errno::XDEV);
        }
        let here = at.as_ref().map_or(root, AsFd::as_fd);
        let last = parts.peek().is_none();
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = Some(openat(here, OsStr::from_bytes(part), if last { flags } else { folder }, Mode::empty())?);
    }
    at.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    type Way = fn(BorrowedFd<'_>, &[u8], OFlags) -> Result<OwnedFd, Errno>;

    #[test]
    fn both_ways_refuse_links_and_climbing() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("a/b")).expect("made");
        std::fs::write(folder.path().join("a/b/f"), "x").expect("written");
        symlink("a", folder.path().join("link")).expect("linked");
        symlink("/etc/passwd", folder.path().join("a/out")).expect("linked");
        let root = std::fs::File::open(folder.path()).expect("opened");
        let slow: Way = |root, path, flags| step_by_step(root, path, flags | OFlags::NOFOLLOW);
        for way in [open as Way, slow] {
            assert!(way(root.as_fd(), b"a/b/f", OFlags::RDONLY).is_ok());
            for bad in ["link/b/f", "a/out", "../x", "a/../../etc/passwd", "/etc/passwd"] {
                assert!(way(root.as_fd(), bad.as_bytes(), OFlags::RDONLY).is_err(), "{bad}");
            }
        }
    }
}
