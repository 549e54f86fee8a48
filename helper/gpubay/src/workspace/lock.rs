//! One process at a time changes what belongs to one workspace.
//!
//! The engine's uniqueness of names settles races between machines; on this machine a file lock
//! lets the second process wait instead of fail. The kernel frees it when its holder dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::HostPath;
use crate::error::{Explain, Shortage};
use crate::progress::Progress;

#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error("lock {}: {cause}", .path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error("waiting for another gpubay on this workspace: cancelled")]
    Cancelled,
}

impl Explain for LockError {
    fn code(&self) -> &'static str {
        match self {
            Self::Io { cause, .. } => Shortage::of(cause).map_or("lock", Shortage::code),
            Self::Cancelled => "cancelled",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { cause, .. } => Some(Shortage::of(cause).map_or_else(
                || "Check that the data folder can be written, or name another in [paths] data.".to_owned(),
                |shortage| shortage.hint("name another folder in [paths] data of your own config.toml"),
            )),
            Self::Cancelled => None,
        }
    }
}

/// The lock of `name`, unless somebody has it.
///
/// # Errors
/// [`LockError::Io`] when the data folder cannot be written.
pub(super) fn try_hold(data: &HostPath, name: &str) -> Result<Option<Lock>, LockError> {
    let folder = data.join("locks");
    let path = folder.as_path().join(name);
    let taken = loop {
        let taken = open(folder.as_path(), &path).and_then(|file| {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if !is_still(&file, &path) => Ok(None),
                Ok(()) => Ok(Some(Some(Lock(file)))),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(None)),
                Err(errno) => Err(errno.into()),
            }
        });
        if let Some(taken) = taken.transpose() {
            break taken;
        }
    };
    taken.map_err(|cause| LockError::Io { path, cause })
}

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Waits for the lock of `name`, saying so when it takes a moment.
///
/// # Errors
/// [`LockError`] when the data folder cannot be written, or the wait is cancelled.
pub(super) async fn hold(data: &HostPath, name: &str, progress: &Progress) -> Result<Lock, LockError> {
    let folder = data.join("locks");
    let path = folder.as_path().join(name);
    let opened = || open(folder.as_path(), &path).map_err(|cause| LockError::Io { path: path.clone(), cause });
    let mut file = opened()?;
    let mut told = false;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if !is_still(&file, &path) => file = opened()?,
            Ok(()) => return Ok(Lock(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                if !told {
                    progress.note("another gpubay is at work on this workspace; waiting for it");
                    told = true;
                }
                tokio::select! {
                    () = progress.cancel.cancelled() => return Err(LockError::Cancelled),
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                }
            }
            Err(errno) => return Err(LockError::Io { path, cause: errno.into() }),
        }
    }
}

/// `prune` removes the locks of workspaces that are gone: somebody may have made another file since this one was opened.
fn is_still(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

fn open(folder: &Path, path: &Path) -> io::Result<File> {
    let options = || {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        options
    };
    match options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(folder)?;
            options().open(path)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn the_second_waits_says_so_and_can_be_cancelled() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = HostPath::new(folder.path()).expect("absolute");
        let first = hold(&data, "w", &Progress::silent()).await.expect("free");
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let progress = Progress::new(move |event| heard.lock().expect("unpoisoned").push(event));
        let cancel = progress.cancel.clone();
        let second = tokio::spawn({
            let (data, progress) = (data.clone(), progress.clone());
            async move { hold(&data, "w", &progress).await }
        });
        while said.lock().expect("unpoisoned").is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        assert!(matches!(second.await.expect("ran"), Err(LockError::Cancelled)));
        // A lock whose file was removed while it was waited for is none.
        std::fs::remove_file(folder.path().join("locks/w")).expect("removed");
        let other = try_hold(&data, "w").expect("made").expect("free");
        let waits = tokio::spawn({
            let data = data.clone();
            async move { hold(&data, "w", &Progress::silent()).await }
        });
        drop(first);
        assert!(try_hold(&data, "w").expect("asked").is_none(), "the other has it");
        drop(other);
        waits.await.expect("ran").expect("free");
        hold(&data, "w", &Progress::silent()).await.expect("free again");
    }
}
