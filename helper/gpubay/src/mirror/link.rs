//! Hard links to an older tree, made by several threads; and a whole tree of them, before anybody knows what of it is wanted.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::at::At;
use super::disk::Folder;
use super::error::{Doing, MirrorError};
use super::manifest::{self, TREE};
use super::plan::{self, Kept, is_pth, split, tree_path};
use super::stage::{self, shown};
use super::store::{Generation, Stage, Store};
use crate::ContainerPath;

/// A file of the older tree.
pub(super) struct Item {
    /// Below `tree`, there and here.
    pub(super) path: Vec<u8>,
    /// As it was written; a path file has another size than its original.
    size: Option<u64>,
}

impl Item {
    pub(super) fn new(roots: &[ContainerPath], entry: &gpubay_protocol::agent::Entry) -> Self {
        Self { path: tree_path(roots, entry), size: (!is_pth(entry)).then_some(entry.size) }
    }
}

/// More gain nothing: the file system keeps a journal.
const MAX_THREADS: usize = 4;
/// Neighbours, so that a thread finds most folders open.
const CHUNK: usize = 512;

/// Links `items` of the tree `from` into the stage, whose folders are there. The answer is the positions of those that could
/// not be linked. `stop`: nobody wants them any more.
pub(super) fn link(from: &Folder, stage: &Stage, items: &[Item], stop: &AtomicBool) -> Result<Vec<usize>, MirrorError> {
    let to = stage::tree(stage)?;
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<usize>, MirrorError> {
        let open = |folder: &Folder| folder.try_clone().doing("open a folder", stage.place());
        let (mut from, mut to) = (At::new(open(from)?), At::new(open(&to)?));
        let mut lost = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= items.len() {
                break;
            }
            for (at, item) in items.iter().enumerate().skip(start).take(CHUNK) {
                let (folder, name) = split(&item.path);
                let to = to.folder(folder).doing("open a folder", shown(stage, &item.path))?;
                if from.folder(folder).and_then(|from| to.link_from(from, name, item.size)).is_err() {
                    lost.push(at);
                }
            }
        }
        Ok(lost)
    };
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cpus.min(MAX_THREADS).min(items.len().div_ceil(CHUNK));
    std::thread::scope(|scope| {
        // Without a further thread it takes longer, nothing else.
        let others: Vec<_> =
            (1..threads).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let mut lost = work();
        for other in others {
            let theirs =
                other.join().unwrap_or_else(|_| Err(MirrorError::Task("a thread that links files".to_owned())));
            lost = lost.and_then(|mut lost| {
                lost.extend(theirs?);
                Ok(lost)
            });
        }
        lost
    })
}

/// A stage that holds links to all files of an older tree.
pub(super) struct Linked {
    pub(super) stage: Arc<Stage>,
    pub(super) old: Arc<Generation>,
    pub(super) kept: Vec<Kept>,
    /// What is there of it.
    files: HashSet<Vec<u8>>,
    folders: BTreeSet<Vec<u8>>,
}

impl Linked {
    /// Links all of `old`, which is most of what a new image of the same workspace has; `None` where its list is damaged.
    pub(super) fn all_of(store: &Store, old: Generation, stop: &AtomicBool) -> Result<Option<Self>, MirrorError> {
        let Some(kept) = manifest::load(&old.folder, &old.header) else { return Ok(None) };
        let Ok(from) = old.folder.below(TREE.as_bytes()) else { return Ok(None) };
        let roots: Vec<ContainerPath> = old.header.roots.iter().map(|root| root.path.clone()).collect();
        let stage = Arc::new(store.stage()?);
        let present = || kept.iter().filter(|kept| !kept.absent).map(|kept| &kept.entry);
        let folders = plan::folders(present(), &roots);
        stage::make_folders(&stage, &folders)?;
        let items: Vec<Item> = present().map(|entry| Item::new(&roots, entry)).collect();
        let lost: HashSet<usize> = link(&from, &stage, &items, stop)?.into_iter().collect();
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let there = items.into_iter().enumerate().filter(|(at, _)| !lost.contains(at));
        let files = there.map(|(_, item)| item.path).collect();
        tracing::debug!("the tree of the nearest mirror is linked");
        Ok(Some(Self { stage, old: Arc::new(old), kept, files, folders }))
    }

    /// Takes away what is not in `wanted` and makes the missing ones of `folders`. The answer is the positions of those
    /// wanted that are not there.
    pub(super) fn cut_to(&self, wanted: &[Item], folders: &BTreeSet<Vec<u8>>) -> Result<Vec<usize>, MirrorError> {
        let stage = &*self.stage;
        let stays: HashSet<&[u8]> = wanted.iter().map(|item| item.path.as_slice()).collect();
        let mut goes: Vec<&[u8]> = self.files.iter().map(Vec::as_slice).filter(|path| !stays.contains(path)).collect();
        goes.sort_unstable();
        let mut at = At::new(stage::tree(stage)?);
        for path in goes {
            let (folder, name) = split(path);
            let gone = at.folder(folder).and_then(|folder| folder.unlink(name));
            gone.doing("take away what the new image has not", shown(stage, path))?;
        }
        // Those within come after the one that holds them, so the other way round they come first.
        for path in self.folders.iter().rev().filter(|path| !folders.contains(*path)) {
            let (folder, name) = split(path);
            let gone = at.folder(folder).and_then(|folder| folder.unlink_folder(name));
            gone.doing("take away what the new image has not", shown(stage, path))?;
        }
        stage::make_folders(stage, &folders.difference(&self.folders).cloned().collect())?;
        let lost = wanted.iter().enumerate().filter(|(_, item)| !self.files.contains(&item.path));
        Ok(lost.map(|(at, _)| at).collect())
    }
}

/// Ends the work on links when it is dropped.
pub(super) struct Stop(pub(super) Arc<AtomicBool>);

impl Stop {
    pub(super) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.now();
    }
}
