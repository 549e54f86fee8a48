//! Reading a small file that somebody else may have put there.
//!
//! A workspace is writable from inside its container, so whatever is read from it may be a FIFO that
//! never ends, a device, a file of a terabyte, or a link that was put there a moment ago. Here a file
//! is opened once, and everything that is asked of it is asked of what was opened.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::HostPath;

/// Enough for everything that a person writes by hand: configuration, Dockerfiles, requirements.
pub const SMALL: u64 = 1 << 20;

/// Why a file was not read. The text goes on from the file's name: «x is a named pipe, not a file».
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is nothing of that name, not even a link.
    #[error("does not exist")]
    Missing,
    /// Its kind, with its article.
    #[error("is {0}, not a file")]
    NotAFile(&'static str),
    /// The limit in bytes.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// Where the name leads now.
    #[error("has become a link to {}", .0.display())]
    Moved(PathBuf),
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io(error) => error,
            FileError::Missing => io::Error::new(io::ErrorKind::NotFound, "it does not exist"),
            other => io::Error::new(io::ErrorKind::InvalidInput, format!("it {other}")),
        }
    }
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct Opened {
    file: File,
    length: u64,
}

/// Opens a regular file, following links. Nothing but an ordinary file is opened for long, and nothing
/// is waited for.
///
/// # Errors
/// [`FileError::Missing`], [`FileError::NotAFile`], or of the system.
pub fn open(path: &Path) -> Result<Opened, FileError> {
    // O_NONBLOCK: opening a FIFO without a writer would wait for one.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        // A link that leads nowhere is not nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            return Err(FileError::Missing);
        }
        // A socket cannot be opened at all.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            return Err(FileError::NotAFile("a socket or a device"));
        }
        Err(error) => return Err(FileError::Io(error)),
    };
    let meta = file.metadata().map_err(FileError::Io)?;
    let kind = meta.file_type();
    if kind.is_file() {
        return Ok(Opened { file, length: meta.len() });
    }
    Err(FileError::NotAFile(match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a named pipe",
        _ => "a socket or a device",
    }))
}

impl Opened {
    /// Where the file lies that was opened, whatever its name leads to by now.
    ///
    /// # Errors
    /// Of the system, where it does not tell.
    pub fn place(&self) -> Result<PathBuf, FileError> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd())).map_err(FileError::Io)
    }

    /// All of it.
    ///
    /// # Errors
    /// [`FileError::TooLarge`] beyond `limit` bytes, however much it was said to hold.
    pub fn read(self, limit: u64) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.length.min(limit)).unwrap_or_default() + 1);
        self.file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(FileError::Io)?;
        if bytes.len() as u64 > limit { Err(FileError::TooLarge(limit)) } else { Ok(bytes) }
    }
}

/// Reads a regular file of at most `limit` bytes, following links.
///
/// # Errors
/// [`FileError`]
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    open(path)?.read(limit)
}

/// Reads the file that was resolved to `path` earlier, and no other: what the user approved is what is
/// read, although a container may have put a link in its place meanwhile.
///
/// # Errors
/// [`FileError::Moved`] when `path` leads elsewhere now.
pub fn read_resolved(path: &HostPath, limit: u64) -> Result<Vec<u8>, FileError> {
    let opened = open(path.as_path())?;
    let place = opened.place()?;
    if place != path.as_path() {
        return Err(FileError::Moved(place));
    }
    opened.read(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_ordinary_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "12345").expect("written");
        symlink("file", at("link")).expect("linked");
        symlink("nowhere", at("dangling")).expect("linked");
        symlink("/dev/zero", at("zero")).expect("linked");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("bound");
        assert_eq!(read(&at("file"), 5).expect("read"), b"12345");
        assert_eq!(read(&at("link"), 5).expect("read"), b"12345");
        assert!(matches!(read(&at("file"), 4), Err(FileError::TooLarge(4))));
        assert!(matches!(read(&at("none"), 5), Err(FileError::Missing)));
        assert!(matches!(read(&at("dangling"), 5), Err(FileError::Io(_))));
        assert!(matches!(read(folder.path(), 5), Err(FileError::NotAFile("a folder"))));
        assert!(matches!(read(&at("fifo"), 5), Err(FileError::NotAFile("a named pipe"))));
        for other in ["socket", "zero"] {
            assert!(matches!(read(&at(other), 5), Err(FileError::NotAFile("a socket or a device"))), "{other}");
        }
        // A file that says it holds nothing, and does not end soon.
        assert!(matches!(read(Path::new("/proc/kallsyms"), 100), Err(FileError::TooLarge(100))));
    }

    #[test]
    fn what_was_resolved_is_read_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("canonical");
        let file = HostPath::new(root.join("file")).expect("absolute");
        std::fs::write(file.as_path(), "mine").expect("written");
        std::fs::write(root.join("other"), "theirs").expect("written");
        assert_eq!(read_resolved(&file, SMALL).expect("read"), b"mine");
        std::fs::remove_file(file.as_path()).expect("removed");
        symlink("other", file.as_path()).expect("linked");
        assert!(matches!(read_resolved(&file, SMALL), Err(FileError::Moved(to)) if to == root.join("other")));
        // Above the file, too.
        let below = HostPath::new(root.join("sub/file")).expect("absolute");
        std::fs::create_dir(root.join("real")).expect("made");
        std::fs::write(root.join("real/file"), "theirs").expect("written");
        symlink("real", root.join("sub")).expect("linked");
        assert!(matches!(read_resolved(&below, SMALL), Err(FileError::Moved(_))));
    }
}
