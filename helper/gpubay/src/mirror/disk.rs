//! Files and folders relative to open descriptors, never following a symbolic link.
//!
//! Everything that this room writes or deletes goes through here: whoever swaps a folder for a link
//! between two of our steps gets an error, not our files.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Mode of a finished folder and of a finished file.
const FOLDER_DONE: Mode = Mode::from_raw_mode(0o555);
const FILE_DONE: Mode = Mode::from_raw_mode(0o444);
const FOLDER_OPEN: Mode = Mode::from_raw_mode(0o700);

impl Folder {
    /// The one place that follows links: the user's own cache folder may be one.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// The folder `path` below this one; empty is this one. `path` holds plain names and `/`.
    pub(super) fn below(&self, path: &[u8]) -> io::Result<Self> {
        let mut at = self.try_clone()?;
        for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            at = at.child(name)?;
        }
        Ok(at)
    }

    /// The folder of that plain name in this one.
    pub(super) fn child(&self, name: &[u8]) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, name, FOLDER, Mode::empty())?))
    }

    /// Makes the folder; it may exist.
    pub(super) fn ensure(&self, name: &str) -> io::Result<Self> {
        match self.make(name.as_bytes()) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        self.below(name.as_bytes())
    }

    pub(super) fn make(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.0, name, FOLDER_OPEN)?)
    }

    /// A new file with these contents; `mtime` in nanoseconds since the epoch.
    pub(super) fn create(&self, name: &[u8], contents: &[u8], mtime: Option<i64>) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, FILE_DONE)?;
        let mut rest = contents;
        while !rest.is_empty() {
            match rustix::io::write(&file, rest) {
                Ok(n) => rest = &rest[n..],
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if let Some(mtime) = mtime {
            let time =
                Timespec { tv_sec: mtime.div_euclid(1_000_000_000), tv_nsec: mtime.rem_euclid(1_000_000_000) as _ };
            // A time that the file system cannot hold is no reason to do without the file.
            let _ = rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time });
        }
        Ok(file)
    }

    /// The contents of a regular file of at most `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        use std::io::Read;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = std::fs::File::from(rustix::fs::openat(&self.0, name, flags, Mode::empty())?);
        let facts = file.metadata()?;
        if !facts.is_file() || facts.len() > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name} is not what it should be")));
        }
        let mut out = Vec::with_capacity(facts.len() as usize);
        file.take(limit).read_to_end(&mut out)?;
        Ok(out)
    }

    /// A hard link to a regular file of exactly `size` bytes (`None`: of any size).
    pub(super) fn link_from(&self, from: &Self, name: &[u8], size: Option<u64>) -> io::Result<()> {
        let facts = rustix::fs::statat(&from.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let regular = FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile;
        if !regular || size.is_some_and(|size| size != facts.st_size as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the old mirror's file was changed"));
        }
        Ok(rustix::fs::linkat(&from.0, name, &self.0, name, AtFlags::empty())?)
    }

    pub(super) fn rename(&self, from: &str, into: &Self, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from, &into.0, to)?)
    }

    /// Two folders change places, at once. Not every file system can do that.
    pub(super) fn exchange(&self, name: &str, other: &Self, with: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(&self.0, name, &other.0, with, RenameFlags::EXCHANGE)?)
    }

    /// Takes a file away.
    pub(super) fn unlink(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Takes a folder away that is empty.
    pub(super) fn unlink_folder(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// How long ago a file of the folder was written. One from the future, by a clock that was set back, is very old.
    pub(super) fn age(&self, name: &str) -> Option<Duration> {
        let found = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(found.st_mtime).ok()?);
        Some(SystemTime::now().duration_since(written).unwrap_or(Duration::MAX))
    }

    /// The names in the folder, unsorted. Those that are not UTF-8 are not ours and are left out.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut out = Vec::new();
        for item in Dir::read_from(&self.0)? {
            if let Ok(name) = item?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                out.push(name.to_owned());
            }
        }
        Ok(out)
    }

    /// From now on nothing is added or removed by accident.
    pub(super) fn seal(&self) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.0, FOLDER_DONE)?)
    }

    /// Deletes a file, a link (never what it leads to) or a whole folder; gone already is well.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.remove_raw(name.as_bytes())
    }

    fn remove_raw(&self, name: &[u8]) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
        let inner = Self(rustix::fs::openat(&self.0, name, FOLDER, Mode::empty())?);
        rustix::fs::fchmod(&inner.0, FOLDER_OPEN)?;
        // RACE: a thread or process that still marks this mirror as synced may add that file meanwhile.
        for _ in 0..8 {
            inner.clear()?;
            match rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(Errno::NOTEMPTY.into())
    }

    /// Deletes all that is in it.
    pub(super) fn clear(&self) -> io::Result<()> {
        let mut names = Vec::new();
        for item in Dir::read_from(&self.0)? {
            let item = item?;
            let name = item.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_owned());
            }
        }
        names.iter().try_for_each(|name| self.remove_raw(name))
    }

    /// A lock file, created where it is missing. The lock ends with the descriptor, and so with the process.
    pub(super) fn lock_file(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(0o600))?)
    }

    /// Bytes that an ordinary user may still write to this file system.
    pub(super) fn free(&self) -> io::Result<u64> {
        let facts = rustix::fs::fstatvfs(&self.0)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    /// Waits until everything on this file system is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.0)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::fsync(&self.0)?;
        Ok(())
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.as_fd().try_clone_to_owned()?))
    }
}
