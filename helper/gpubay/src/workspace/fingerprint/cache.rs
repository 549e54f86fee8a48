//! Remembers the hashes of files by what `stat` says of them.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hex;
use crate::engine::build::context::{self, ContextError, Entry};

/// A file that changed less than this before it was hashed could change again within the same
/// tick of the clock; its hash is not kept. In nanoseconds.
const RACY: i64 = 2_000_000_000;
/// Bytes of a cache file that are read; more is none of ours.
const LIMIT: u64 = 256 * 1024 * 1024;
const SCHEMA: u32 = 1;

/// What identifies a state of a file. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    device: u64,
    inode: u64,
    size: i64,
    modified: i64,
    changed: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    state: State,
    hash: [u8; 32],
}

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    schema: u32,
    files: HashMap<String, Known>,
}

/// Hashes of the files of one context.
#[derive(Debug, Default)]
pub(super) struct Cache {
    before: HashMap<String, Known>,
    now: HashMap<String, Known>,
    read: bool,
}

impl Cache {
    pub(super) fn load(path: &Path) -> Self {
        let bytes = std::fs::File::open(path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(LIMIT).read_to_end(&mut bytes).map(|_| bytes)
        });
        let stored = bytes.ok().and_then(|bytes| postcard::from_bytes::<Stored>(&bytes).ok()).unwrap_or_default();
        let before = if stored.schema == SCHEMA { stored.files } else { HashMap::new() };
        Self { before, ..Self::default() }
    }

    /// The hash of a regular file's content.
    pub(super) fn hash_of(&mut self, root: BorrowedFd<'_>, entry: &Entry<'_>) -> Result<String, ContextError> {
        let state = State::of(entry.stat);
        if let Some(known) = self.before.remove(entry.path)
            && known.state == state
        {
            let text = hex(&known.hash);
            self.now.insert(entry.path.to_owned(), known);
            return Ok(text);
        }
        self.read = true;
        let begun = now();
        let file = match context::open_file(root, entry.path) {
            Ok(file) => file,
            // Gone since it was listed: the next look will see that.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL | Errno::LOOP) => return Ok("gone".to_owned()),
            Err(errno) => return Err(ContextError::Read { path: entry.path.into(), source: errno.into() }),
        };
        let hash = hash_file(&file).map_err(|source| ContextError::Read { path: entry.path.into(), source })?;
        let after = rustix::fs::fstat(&file).map(|stat| State::of(&stat));
        if after == Ok(state) && begun - state.modified.max(state.changed) > RACY {
            self.now.insert(entry.path.to_owned(), Known { state, hash });
        }
        Ok(hex(&hash))
    }

    /// Writes what is known now, when it is not what was read. That it cannot be written costs
    /// only time.
    pub(super) fn save(self, path: &Path) {
        // What is left in `before` is gone from the context or has changed.
        if !self.read && self.before.is_empty() {
            return;
        }
        let stored = Stored { schema: SCHEMA, files: self.now };
        if let Err(error) = write(path, &stored) {
            tracing::debug!(%error, path = %path.display(), "the cache of file hashes was not written");
        }
    }
}

impl State {
    fn of(stat: &rustix::fs::Stat) -> Self {
        let time = |seconds: i64, nanos: u64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos as i64);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

fn hash_file(mut file: &std::fs::File) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    std::fs::create_dir_all(folder)?;
    let bytes = postcard::to_stdvec(stored).map_err(io::Error::other)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&bytes)?;
    file.persist(path)?;
    Ok(())
}
