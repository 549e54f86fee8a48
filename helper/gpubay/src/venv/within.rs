//! Files below one open folder, without ever following a link: another process, one in the container
//! included, may plant or swap any name at any moment.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

/// Prefix of temporary names; a leftover one is ours to remove.
pub(super) const TEMPORARY: &str = ".gpubay-tmp";

/// Opens a folder by its whole path; only its last component must not be a link.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, FOLDER, Mode::empty())?)
}

pub(super) fn open_folder(at: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(at, name, FOLDER, Mode::empty())?)
}

/// What lies at the name itself; `None` for nothing.
pub(super) fn stat(at: impl AsFd, name: &str) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens a folder of ours, making it where it is missing. Anything else at its name is removed: in
/// our own folder nobody else has a name.
pub(super) fn make_folder(at: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    match open_folder(&at, name) {
        Ok(folder) => return Ok(folder),
        Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
        Err(e) if [Errno::NOTDIR, Errno::LOOP].iter().any(|x| e.raw_os_error() == Some(x.raw_os_error())) => {
            rustix::fs::unlinkat(&at, name, AtFlags::empty())?;
        }
        Err(e) => return Err(e),
    }
    match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => open_folder(&at, name),
        Err(e) => Err(e.into()),
    }
}

/// A regular file's contents and metadata; `None` where there is no regular file or it is over `most`.
pub(super) fn read(at: impl AsFd, name: &str, most: u64) -> io::Result<Option<(Vec<u8>, Stat)>> {
    let Some((file, stat)) = open_file(at, name)? else { return Ok(None) };
    if stat.st_size as u64 > most {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(stat.st_size as usize);
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some((bytes, stat)))
}

/// At most the first `most` bytes of a regular file, however long it is, and its metadata.
pub(super) fn head(at: impl AsFd, name: &str, most: u64) -> io::Result<Option<(Vec<u8>, Stat)>> {
    let Some((file, stat)) = open_file(at, name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Some((bytes, stat)))
}

/// `None` where there is no regular file.
fn open_file(at: impl AsFd, name: &str) -> io::Result<Option<(std::fs::File, Stat)>> {
    // A FIFO must not block the open.
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    Ok((kind(&stat) == FileType::RegularFile).then(|| (file.into(), stat)))
}

/// Puts a file there in one step, replacing whatever had the name; a link is replaced, not followed.
/// Nothing is written where it already is as wanted. Returns whether anything was.
pub(super) fn write(at: impl AsFd, name: &str, bytes: &[u8], mode: u32) -> io::Result<bool> {
    if let Some((old, stat)) = read(&at, name, bytes.len() as u64)?
        && old == bytes
        && stat.st_mode & 0o7777 == mode
    {
        return Ok(false);
    }
    replace(&at, name, |temporary| {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        let file = rustix::fs::openat(&at, temporary, flags, Mode::from_raw_mode(0o600))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        std::fs::File::from(file).write_all(bytes)
    })?;
    Ok(true)
}

/// Makes `name` another name of the file `existing` in the same folder, or a copy where the file
/// system has no hard links.
pub(super) fn link(at: impl AsFd, existing: &str, name: &str, bytes: &[u8], mode: u32) -> io::Result<bool> {
    let (old, new) = (stat(&at, existing)?, stat(&at, name)?);
    if let (Some(old), Some(new)) = (old, new)
        && (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino)
    {
        return Ok(false);
    }
    let linked =
        replace(&at, name, |temporary| Ok(rustix::fs::linkat(&at, existing, &at, temporary, AtFlags::empty())?));
    match linked {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            write(at, name, bytes, mode)
        }
        Err(e) => Err(e),
    }
}

/// Makes `name` a link to `target`, in one step. Returns whether it was not one already.
pub(super) fn symlink(at: impl AsFd, target: &Path, name: &str) -> io::Result<bool> {
    if rustix::fs::readlinkat(&at, name, Vec::new()).is_ok_and(|old| old.as_bytes() == target.as_os_str().as_bytes()) {
        return Ok(false);
    }
    replace(&at, name, |temporary| Ok(rustix::fs::symlinkat(target, &at, temporary)?))?;
    Ok(true)
}

fn replace(at: impl AsFd, name: &str, make: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
    let temporary = format!("{TEMPORARY}-{}-{name}", std::process::id());
    remove(&at, &temporary)?;
    let done = make(&temporary).and_then(|()| {
        if stat(&at, name)?.is_some_and(|old| kind(&old) == FileType::Directory) {
            // A folder planted at a file's name; only an empty one goes, what has contents is reported.
            rustix::fs::unlinkat(&at, name, AtFlags::REMOVEDIR)?;
        }
        Ok(rustix::fs::renameat(&at, &temporary, &at, name)?)
    });
    if done.is_err() {
        let _ = remove(&at, &temporary);
    }
    done
}

/// Removes a file or link; one that is not there is no error.
pub(super) fn remove(at: impl AsFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The names in a folder, those that are UTF-8.
pub(super) fn names(folder: impl AsFd) -> io::Result<Vec<String>> {
    first_names(folder, usize::MAX)
}

/// The same of at most `most` entries, those that come first.
pub(super) fn first_names(folder: impl AsFd, most: usize) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)?.take(most) {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_planted_link_is_replaced_and_its_target_untouched() {
        let temp = tempfile::tempdir().expect("a folder");
        let canary = temp.path().join("canary");
        fs::write(&canary, "safe").expect("writes");
        let ours = temp.path().join("ours");
        fs::create_dir(&ours).expect("makes");
        symlink(&canary, ours.join("file")).expect("links");
        fs::create_dir(temp.path().join("outside")).expect("makes");
        symlink(temp.path().join("outside"), ours.join("sub")).expect("links");

        let at = open(&ours).expect("opens");
        assert!(read(&at, "file", 100).expect("no error").is_none());
        assert!(write(&at, "file", b"new", 0o644).expect("writes"));
        assert!(!write(&at, "file", b"new", 0o644).expect("writes"), "nothing to do");
        let sub = make_folder(&at, "sub").expect("makes");
        write(&sub, "x", b"1", 0o644).expect("writes");

        assert_eq!(fs::read(&canary).expect("reads"), b"safe");
        assert_eq!(fs::read(ours.join("file")).expect("reads"), b"new");
        assert_eq!(fs::read_dir(temp.path().join("outside")).expect("lists").count(), 0);
        assert!(ours.join("sub/x").exists());
        let leftovers = names(&at).expect("lists");
        assert!(!leftovers.iter().any(|name| name.starts_with(TEMPORARY)), "{leftovers:?}");
    }

    #[test]
    fn a_fifo_does_not_block() {
        let temp = tempfile::tempdir().expect("a folder");
        let at = open(temp.path()).expect("opens");
        rustix::fs::mknodat(&at, "pipe", FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("makes");
        assert!(read(&at, "pipe", 100).expect("no error").is_none());
        assert!(write(&at, "pipe", b"x", 0o644).expect("writes"));
    }
}
