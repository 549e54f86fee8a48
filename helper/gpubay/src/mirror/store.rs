//! The folder of all mirrors: bases, the workspaces' own generations, and stages in the making.
//!
//! ```text
//! <cache>/mirror/base/<key>/{tree/<container path>/…, manifest, header.json}
//! <cache>/mirror/workspace/<id>/<n>/…        the highest number counts
//! <cache>/mirror/.stage-<pid>-<random>/{lock, new/…}
//! ```

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use gpubay_protocol::agent::ScanRequest;
use gpubay_protocol::contents::is_plain;
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use super::disk::Folder;
use super::error::{Doing, MirrorError};
use super::manifest::{self, Header, TREE};
use crate::HostPath;

const BASE: &str = "base";
const WORKSPACE: &str = "workspace";
const STAGE: &str = ".stage-";
const LOCK: &str = "lock";
/// Held shared by whoever is about to use a mirror, and alone by whoever frees one.
const USE: &str = "use";
pub(super) const NEW: &str = "new";

/// The folder of all mirrors of one user. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) path: HostPath,
    pub(super) folder: Arc<Folder>,
}

/// Names a base: the image's files, roots and exclusions, and the format of mirrors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseKey(pub(super) String);

impl BaseKey {
    /// `image`: what names its files, not its settings. `request.known` and the limits do not matter.
    pub fn new(image: &str, request: &ScanRequest) -> Self {
        Self(hash(&["base", image, &scope(request)]))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a digest of a scan refers to.
pub(super) fn scope(request: &ScanRequest) -> String {
    let mut parts = vec!["roots"];
    parts.extend(request.roots.iter().map(crate::ContainerPath::as_str));
    parts.push("exclude");
    parts.extend(request.exclude.iter().map(crate::ContainerPath::as_str));
    hash(&parts)
}

fn hash(parts: &[&str]) -> String {
    use std::fmt::Write;
    let mut hash = Sha256::new();
    hash.update(manifest::FORMAT.to_le_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(16).fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A mirror in place.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) header: Header,
    /// `base/<key>` or `workspace/<id>/<n>`.
    pub(super) name: String,
    pub(super) folder: Folder,
}

/// A mirror that nothing refers to any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreferenced {
    /// `base/<key>` or `workspace/<id>`.
    pub name: String,
    pub path: HostPath,
}

impl Store {
    /// `cache`: the folder that holds everything which can be made again (`~/.cache/gpubay`).
    pub fn open(cache: &HostPath) -> Result<Self, MirrorError> {
        let path = cache.join("mirror");
        std::fs::create_dir_all(&path).doing("make the folder of mirrors", &path)?;
        let folder = Folder::open(path.as_path()).doing("open the folder of mirrors", &path)?;
        for name in [BASE, WORKSPACE] {
            folder.ensure(name).doing("make the folder of mirrors", &path)?;
        }
        Ok(Self { path, folder: Arc::new(folder) })
    }

    pub(super) fn parent(&self, name: &str) -> Result<Folder, MirrorError> {
        let mut at = self.folder.try_clone().doing("open a folder", &self.path)?;
        let parts: Vec<&str> = name.split('/').collect();
        for part in &parts[..parts.len() - 1] {
            at = at.ensure(part).doing("make a folder", &self.path)?;
        }
        Ok(at)
    }

    /// The mirror of that name, if it is there and whole.
    pub(super) fn generation(&self, name: &str) -> Option<Generation> {
        let folder = self.folder.below(name.as_bytes()).ok()?;
        let header = manifest::header(&folder)?;
        Some(Generation { header, name: name.to_owned(), folder })
    }

    pub(super) fn base(&self, key: &BaseKey) -> Option<Generation> {
        self.base_or_part(key).filter(|found| !found.header.part)
    }

    /// The first part of a base where the whole is not there yet.
    pub(super) fn base_or_part(&self, key: &BaseKey) -> Option<Generation> {
        self.generation(&Self::base_name(key)).filter(|found| found.header.base == key.0)
    }

    pub(super) fn base_name(key: &BaseKey) -> String {
        format!("{BASE}/{}", key.0)
    }

    /// The mirror of an image that one of these folders lies in.
    pub(super) fn base_of(&self, folders: &[HostPath]) -> Option<Generation> {
        let key = folders.iter().find_map(|folder| self.base_key_in(folder))?;
        self.generation(&format!("{BASE}/{key}"))
    }

    fn base_key_in<'a>(&self, folder: &'a HostPath) -> Option<&'a str> {
        let below = folder.as_path().strip_prefix(self.path.join(BASE).as_path()).ok()?;
        below.components().next()?.as_os_str().to_str().filter(|key| is_plain(key.as_bytes()))
    }

    /// Other images' mirrors of the same roots, the newest first: what a new one may be made from.
    pub(super) fn bases_of_scope(&self, scope: &str) -> Vec<Generation> {
        let names = self.folder.below(BASE.as_bytes()).and_then(|folder| folder.names()).unwrap_or_default();
        let whole = names.iter().filter_map(|name| self.generation(&format!("{BASE}/{name}")));
        let mut found: Vec<Generation> = whole.filter(|base| base.header.scope == scope).collect();
        found.sort_by_key(|base| base.folder.age(manifest::HEADER));
        found
    }

    /// The numbers of a workspace's generations, ascending, whole or not.
    pub(super) fn numbers(&self, workspace: &str) -> Result<Vec<u64>, MirrorError> {
        if !is_plain(workspace.as_bytes()) || workspace.starts_with('.') {
            return Err(MirrorError::Workspace { name: workspace.to_owned() });
        }
        let Ok(folder) = self.folder.below(format!("{WORKSPACE}/{workspace}").as_bytes()) else {
            return Ok(Vec::new());
        };
        let mut out: Vec<u64> =
            folder.names().doing("list a folder", &self.path)?.iter().filter_map(|n| n.parse().ok()).collect();
        out.sort_unstable();
        Ok(out)
    }

    pub(super) fn number_name(workspace: &str, number: u64) -> String {
        format!("{WORKSPACE}/{workspace}/{number}")
    }

    /// The newest generation of a workspace that is whole.
    pub(super) fn newest(&self, workspace: &str) -> Result<Option<Generation>, MirrorError> {
        let numbers = self.numbers(workspace)?;
        Ok(numbers.iter().rev().find_map(|&n| self.generation(&Self::number_name(workspace, n))))
    }

    /// A place for a new mirror, on the same file system as its final place.
    pub(super) fn stage(&self) -> Result<Stage, MirrorError> {
        let place = &self.path;
        let gate = self.gate()?;
        let name = format!("{STAGE}{}-{:016x}", std::process::id(), unlikely_to_repeat());
        self.folder.make(name.as_bytes()).doing("make a folder", place)?;
        let folder = self.folder.below(name.as_bytes()).doing("open a folder", place)?;
        let lock = folder.lock_file(LOCK).doing("make a lock file", place)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).doing("lock a stage", place)?;
        drop(gate);
        let stage = Stage { store: self.clone(), name, folder, _lock: lock };
        let new = stage.folder.ensure(NEW).doing("make a folder", place)?;
        new.ensure(TREE).doing("make a folder", place)?;
        Ok(stage)
    }

    /// Held for moments: while a stage has no lock of its own yet, nobody judges it.
    fn gate(&self) -> Result<OwnedFd, MirrorError> {
        let gate = self.folder.lock_file(LOCK).doing("make a lock file", &self.path)?;
        rustix::fs::flock(&gate, FlockOperation::LockExclusive).doing("wait for a lock", &self.path)?;
        Ok(gate)
    }

    /// Removes what processes left that no longer live. Failing at it harms nothing.
    pub fn clean(&self) -> Result<(), MirrorError> {
        for (name, _lock) in self.dead()? {
            self.folder.remove(&name).doing("remove a stale stage", &self.path)?;
        }
        Ok(())
    }

    /// With their locks, so that nobody else judges them meanwhile.
    fn dead(&self) -> Result<Vec<(String, OwnedFd)>, MirrorError> {
        let names = self.folder.names().doing("list a folder", &self.path)?;
        let mut dead = Vec::new();
        if !names.iter().any(|name| name.starts_with(STAGE)) {
            return Ok(dead);
        }
        let gate = self.gate()?;
        for name in names.into_iter().filter(|name| name.starts_with(STAGE)) {
            let Ok(folder) = self.folder.below(name.as_bytes()) else {
                continue;
            };
            let lock = folder.lock_file(LOCK).doing("open a lock file", &self.path)?;
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                dead.push((name, lock));
            }
        }
        drop(gate);
        Ok(dead)
    }

    /// Takes a mirror out of its place at once, then deletes it.
    pub(super) fn discard(&self, name: &str, stage: &Stage) -> Result<(), MirrorError> {
        let parent = self.parent(name)?;
        let last = name.rsplit('/').next().unwrap_or(name);
        let aside = format!("old-{:016x}", unlikely_to_repeat());
        match parent.rename(last, &stage.folder, &aside) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            // The stage removes it with itself.
            other => other.doing("put an old mirror aside", &self.path),
        }
    }

    /// While this is held nothing that is in place is freed. Whoever looks for a mirror holds it until something names
    /// what was found.
    pub fn using(&self) -> Result<Using, MirrorError> {
        let file = self.folder.lock_file(USE).doing("make a lock file", &self.path)?;
        // Held by others for the moment of a few renames.
        rustix::fs::flock(&file, FlockOperation::LockShared).doing("wait for a lock", &self.path)?;
        Ok(Using(file))
    }

    /// Mirrors that nothing needs; `needed` is derived by the caller from what workspaces name.
    ///
    /// A base that a workspace's newest generation goes back to is needed as well, and so are all generations of a
    /// workspace that is not known to be gone.
    pub fn unreferenced(&self, needed: &Needed) -> Result<Vec<Unreferenced>, MirrorError> {
        let mut bases = BTreeSet::new();
        let named = needed.paths.iter().filter_map(|path| self.base_key_in(path));
        bases.extend(named.map(str::to_owned));
        let mut names = Vec::new();
        let list = |kind: &str| {
            self.folder.below(kind.as_bytes()).and_then(|folder| folder.names()).doing("list a folder", &self.path)
        };
        for id in list(WORKSPACE)? {
            if needed.gone.contains(&id) {
                names.push(format!("{WORKSPACE}/{id}"));
            } else {
                bases.extend(self.newest(&id)?.map(|newest| newest.header.base));
            }
        }
        names.extend(list(BASE)?.into_iter().filter(|key| !bases.contains(key)).map(|key| format!("{BASE}/{key}")));
        names.sort();
        Ok(names.into_iter().map(|name| Unreferenced { path: self.path.join(&name), name }).collect())
    }

    /// Deletes those that are still unreferenced when nobody is about to use one, and returns their names.
    ///
    /// # Errors
    /// [`MirrorError::InUse`] where somebody is at it for longer than a moment.
    pub fn free(&self, listed: &[Unreferenced], needed: impl FnOnce() -> Needed) -> Result<Vec<String>, MirrorError> {
        let file = self.folder.lock_file(USE).doing("make a lock file", &self.path)?;
        let mut tries = 0;
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            tries += 1;
            if tries > 20 {
                return Err(MirrorError::InUse);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let still: BTreeSet<String> = self.unreferenced(&needed())?.into_iter().map(|found| found.name).collect();
        let mut freed = Vec::new();
        let mut stages = Vec::new();
        for found in listed.iter().filter(|found| still.contains(&found.name)) {
            let stage = self.stage()?;
            self.discard(&found.name, &stage)?;
            stages.push(stage);
            freed.push(found.name.clone());
        }
        // Out of their places; deleting takes longer, and holds nobody up.
        drop(file);
        drop(stages);
        Ok(freed)
    }

    /// Name and place of stages whose processes have ended.
    pub fn dead_stages(&self) -> Result<Vec<(String, HostPath)>, MirrorError> {
        let dead = self.dead()?;
        Ok(dead.into_iter().map(|(name, _)| (name.clone(), self.path.join(&name))).collect())
    }
}

/// What must stay of the mirrors.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// Workspaces that are known to be gone.
    pub gone: BTreeSet<String>,
    /// Folders that something names, mirrors among them.
    pub paths: BTreeSet<HostPath>,
}

/// See [`Store::using`].
#[derive(Debug)]
pub struct Using(#[expect(dead_code, reason = "the open file is the lock")] OwnedFd);

/// A mirror in the making; dropping it removes what it still holds.
#[derive(Debug)]
pub(super) struct Stage {
    store: Store,
    name: String,
    pub(super) folder: Folder,
    _lock: OwnedFd,
}

impl Stage {
    /// Where it lies, for people.
    pub(super) fn place(&self) -> &HostPath {
        &self.store.path
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = self.store.folder.remove(&self.name) {
            tracing::warn!("a stage of the mirror was not removed: {}: {error}", self.name);
        }
    }
}

fn unlikely_to_repeat() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::Instant::now())
}
