//! Fills a stage: folders, hard links, then the container's files by several threads at once.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use gpubay_protocol::agent::Entry;
use tokio::sync::mpsc;

use super::at::At;
use super::disk::Folder;
use super::error::{Doing, MirrorError};
use super::link::{Item, Linked, link};
use super::manifest::TREE;
use super::plan::{self, LARGEST_FILE, Plan, is_pth, split, tree_path};
use super::pth::rewrite_pth;
use super::source::{FileSink, Source, SourceError, Stopped};
use super::store::{Generation, NEW, Stage};
use crate::ContainerPath;
use crate::progress::{Progress, Step, Unit};

/// Batches that may wait for a writer, and how large one grows: a slow disk slows the container
/// down instead of filling the memory.
const WAITING: usize = 4;
const BATCH_BYTES: usize = 1 << 20;
const BATCH_FILES: usize = 128;

/// What is to be in the stage.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) entries: Arc<Vec<Entry>>,
    pub(super) roots: Vec<ContainerPath>,
    /// Only these of the entries.
    pub(super) part: Option<HashSet<u32>>,
}

impl Job {
    /// The entries that it is about, with their numbers.
    pub(super) fn files(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let all = self.entries.iter().enumerate().map(|(index, entry)| (index as u32, entry));
        all.filter(|(index, _)| self.part.as_ref().is_none_or(|part| part.contains(index)))
    }

    /// Those that its tree needs.
    fn folders(&self) -> BTreeSet<Vec<u8>> {
        plan::folders(self.files().map(|(_, entry)| entry), &self.roots)
    }
}

struct NewFile {
    /// Below `tree`.
    path: Vec<u8>,
    contents: Vec<u8>,
    mtime: i64,
}

/// What filling a stage came to.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// Entries that could not be had.
    pub(super) absent: HashSet<u32>,
    pub(super) folders: BTreeSet<Vec<u8>>,
    pub(super) work: Work,
}

/// How much a mirror took: what was written, and what was already on this disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Files that were written, placeholders among them.
    pub written: u64,
    /// Contents of files that were written.
    pub bytes: u64,
    /// Files that are hard links to those of an older mirror.
    pub linked: u64,
    /// The list of the mirror's files, which each new one has.
    pub list_bytes: u64,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.bytes += other.bytes;
        self.linked += other.linked;
        self.list_bytes += other.list_bytes;
    }
}

/// What a new tree begins with.
pub(super) enum Basis {
    /// Nothing yet: links are made to files of these, each with positions in the scan's entries.
    Older(Vec<(Arc<Generation>, Vec<u32>)>),
    /// All of an older tree is linked already; of it stay those positions.
    Linked(Arc<Linked>, Vec<u32>),
}

impl Basis {
    fn count(&self) -> usize {
        match self {
            Self::Older(olders) => olders.iter().map(|(_, links)| links.len()).sum(),
            Self::Linked(_, links) => links.len(),
        }
    }
}

/// Fills the stage's tree. `plan.link` is what `basis` says it is.
pub(super) async fn fill(
    stage: &Arc<Stage>,
    job: &Arc<Job>,
    mut plan: Plan,
    basis: Basis,
    source: &mut dyn Source,
    progress: &Progress,
    step: &Step,
) -> Result<Filled, MirrorError> {
    room(stage, job, &plan)?;
    let total = (basis.count() + plan.place.len() + plan.fetch.len()) as u64;
    let (lost, folders) = {
        let (stage, job) = (stage.clone(), job.clone());
        blocking(move || begin(&stage, &job, &basis)).await?
    };
    tracing::debug!(lost = lost.len(), "what older trees have is linked");
    // A file that the old tree lost is had from the container again.
    for index in lost {
        let whole = job.entries[index as usize].form == gpubay_protocol::contents::Form::Whole;
        if whole { plan.fetch.push(index) } else { plan.place.push(index) }
    }
    plan.fetch.sort_unstable();
    if progress.cancel.is_cancelled() {
        return Err(MirrorError::Cancelled);
    }
    let mut absent: HashSet<u32> = plan.absent.iter().copied().collect();
    let linked = total - (plan.place.len() + plan.fetch.len()) as u64;
    absent.extend(write(stage, job, &plan, source, progress, step, (linked, total)).await?);
    tracing::debug!("the files are written");
    let fetched = plan.fetch.iter().filter(|index| !absent.contains(index));
    let work = Work {
        written: (plan.place.len() + fetched.clone().count()) as u64,
        bytes: fetched.map(|&index| job.entries[index as usize].size).sum(),
        linked,
        list_bytes: 0,
    };
    Ok(Filled { absent, folders, work })
}

/// Folders, and links to what older trees have; the answer is those that could not be made.
fn begin(stage: &Stage, job: &Job, basis: &Basis) -> Result<(Vec<u32>, BTreeSet<Vec<u8>>), MirrorError> {
    let folders = job.folders();
    let items = |links: &[u32]| -> Vec<Item> {
        links.iter().map(|&index| Item::new(&job.roots, &job.entries[index as usize])).collect()
    };
    let mut lost = Vec::new();
    match basis {
        Basis::Linked(linked, links) => {
            lost.extend(linked.cut_to(&items(links), &folders)?.into_iter().map(|at| links[at]));
        }
        Basis::Older(olders) => {
            make_folders(stage, &folders)?;
            for (old, links) in olders {
                match old.folder.below(TREE.as_bytes()) {
                    Ok(from) => {
                        let failed = link(&from, stage, &items(links), &AtomicBool::new(false))?;
                        lost.extend(failed.into_iter().map(|at| links[at]));
                    }
                    Err(_) => lost.extend_from_slice(links),
                }
            }
        }
    }
    Ok((lost, folders))
}

/// Fails early where the disk has too little room, in a message and not in the middle.
fn room(stage: &Stage, job: &Job, plan: &Plan) -> Result<(), MirrorError> {
    const BLOCK: u64 = 4096;
    let blocks: u64 = plan.fetch.iter().map(|&i| job.entries[i as usize].size.div_ceil(BLOCK) + 1).sum();
    let needed = blocks.saturating_mul(BLOCK).saturating_add(16 << 20);
    let place = stage.place();
    let free = stage.folder.free().doing("ask for the free space", place)?;
    if needed > free {
        return Err(MirrorError::NoSpace { needed, free, place: place.to_string() });
    }
    Ok(())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MirrorError> + Send + 'static,
) -> Result<T, MirrorError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| MirrorError::Task(e.to_string()))?
}

pub(super) fn tree(stage: &Stage) -> Result<Folder, MirrorError> {
    stage.folder.below(format!("{NEW}/{TREE}").as_bytes()).doing("open the stage", stage.place())
}

pub(super) fn make_folders(stage: &Stage, folders: &BTreeSet<Vec<u8>>) -> Result<(), MirrorError> {
    let mut at = At::new(tree(stage)?);
    for path in folders {
        let (parent, name) = split(path);
        at.folder(parent).and_then(|folder| folder.make(name)).doing("make a folder", shown(stage, path))?;
    }
    Ok(())
}

/// Closes the finished tree to accidental changes.
pub(super) fn seal(stage: &Stage, folders: &BTreeSet<Vec<u8>>) -> Result<(), MirrorError> {
    let tree = tree(stage)?;
    let mut at = At::new(tree.try_clone().doing("open a folder", stage.place())?);
    for path in folders.iter().rev() {
        at.folder(path).and_then(Folder::seal).doing("close a folder", shown(stage, path))?;
    }
    tree.seal().doing("close a folder", stage.place())
}

pub(super) fn shown(stage: &Stage, path: &[u8]) -> String {
    format!("{} ({:?})", stage.place(), String::from_utf8_lossy(path))
}

async fn write(
    stage: &Arc<Stage>,
    job: &Arc<Job>,
    plan: &Plan,
    source: &mut dyn Source,
    progress: &Progress,
    step: &Step,
    (done, total): (u64, u64),
) -> Result<Vec<u32>, MirrorError> {
    let (sender, receiver) = mpsc::channel::<Vec<NewFile>>(WAITING);
    let receiver = Arc::new(Mutex::new(receiver));
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let writers: Vec<_> = (0..(2 * cpus).min(8))
        .map(|_| {
            let (stage, receiver) = (stage.clone(), receiver.clone());
            tokio::task::spawn_blocking(move || writer(&stage, &receiver))
        })
        .collect();
    let mut sink = Sink {
        job: job.clone(),
        expected: plan.fetch.clone(),
        next: 0,
        open: None,
        batch: Vec::new(),
        batch_bytes: 0,
        sender,
        absent: Vec::new(),
        refused: None,
        step,
        done,
        total,
    };
    let fed = tokio::select! {
        fed = feed(&mut sink, &plan.place, source) => fed,
        () = progress.cancel.cancelled() => Err(MirrorError::Cancelled),
    };
    let Sink { sender, absent, refused, .. } = sink;
    drop(sender);
    // All of them, before anyone removes the stage.
    let mut written = Ok(());
    for writer in writers {
        let ended = writer.await.unwrap_or_else(|e| Err(MirrorError::Task(e.to_string())));
        written = written.and(ended);
    }
    written?;
    // Why the receiver stopped says more than that it did.
    refused.map_or(Ok(()), Err)?;
    fed?;
    Ok(absent)
}

async fn feed(sink: &mut Sink<'_>, place: &[u32], source: &mut dyn Source) -> Result<(), MirrorError> {
    let stopped = |_| MirrorError::Source(SourceError::Stopped);
    for &index in place {
        sink.push(index, Vec::new()).await.map_err(stopped)?;
    }
    if !sink.expected.is_empty() {
        let wanted = sink.expected.clone();
        source.fetch(&wanted, sink).await?;
        if sink.next != wanted.len() || sink.open.is_some() {
            return Err(MirrorError::Refused("files that were asked for did not come".to_owned()));
        }
    }
    sink.flush().await.map_err(stopped)
}

/// One of the threads that write. The first error closes the queue for all.
fn writer(stage: &Stage, queue: &Mutex<mpsc::Receiver<Vec<NewFile>>>) -> Result<(), MirrorError> {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
    let write = || -> Result<(), MirrorError> {
        let mut at = At::new(tree(stage)?);
        while let Some(batch) = next() {
            for file in batch {
                let (folder, name) = split(&file.path);
                at.folder(folder)
                    .and_then(|folder| folder.create(name, &file.contents, Some(file.mtime)))
                    .doing("write a file", shown(stage, &file.path))?;
            }
        }
        Ok(())
    };
    let result = write();
    if result.is_err() {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.close();
        while queue.try_recv().is_ok() {}
    }
    result
}

struct Sink<'a> {
    job: Arc<Job>,
    expected: Vec<u32>,
    next: usize,
    open: Option<Open>,
    batch: Vec<NewFile>,
    batch_bytes: usize,
    sender: mpsc::Sender<Vec<NewFile>>,
    absent: Vec<u32>,
    refused: Option<MirrorError>,
    step: &'a Step,
    done: u64,
    total: u64,
}

struct Open {
    index: u32,
    /// As announced when the container opened it.
    size: u64,
    contents: Vec<u8>,
    received: u64,
}

impl Sink<'_> {
    fn refuse(&mut self, why: &str) -> Stopped {
        self.refused = Some(MirrorError::Refused(why.to_owned()));
        Stopped
    }

    async fn push(&mut self, index: u32, contents: Vec<u8>) -> Result<(), Stopped> {
        let entry = &self.job.entries[index as usize];
        let path = tree_path(&self.job.roots, entry);
        self.batch_bytes += contents.len();
        self.batch.push(NewFile { path, contents, mtime: entry.mtime });
        if self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Stopped> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        self.done += batch.len() as u64;
        self.step.advance(self.done, Some(self.total), Unit::Files);
        self.sender.send(batch).await.map_err(|_| Stopped)
    }
}

#[async_trait]
impl FileSink for Sink<'_> {
    async fn file(&mut self, index: u32, size: u64) -> Result<(), Stopped> {
        if self.open.is_some() || self.expected.get(self.next) != Some(&index) {
            return Err(self.refuse("a file came that was not its turn"));
        }
        self.next += 1;
        self.open = Some(Open { index, size, contents: Vec::new(), received: 0 });
        Ok(())
    }

    async fn data(&mut self, data: &[u8]) -> Result<(), Stopped> {
        let Some(open) = &mut self.open else {
            return Err(self.refuse("data came that belongs to no file"));
        };
        open.received = open.received.saturating_add(data.len() as u64);
        if open.received > open.size {
            return Err(self.refuse("a file is longer than it was said to be"));
        }
        // A file that grew since the scan is of no use, and must not fill the memory.
        if open.size == self.job.entries[open.index as usize].size && open.size <= LARGEST_FILE {
            open.contents.extend_from_slice(data);
        }
        Ok(())
    }

    async fn end(&mut self, error: Option<String>) -> Result<(), Stopped> {
        let Some(open) = self.open.take() else {
            return Err(self.refuse("the end of no file came"));
        };
        let entry = &self.job.entries[open.index as usize];
        // RACE: the file was changed between scan and fetch. Its new size or time makes the next
        // scan differ, and it is fetched then; what came now is neither the old nor the new file.
        if error.is_some() || open.contents.len() as u64 != entry.size {
            if let Some(error) = error {
                tracing::debug!("left out {:?}: {error}", String::from_utf8_lossy(&entry.path));
            }
            self.absent.push(open.index);
            return Ok(());
        }
        let contents = if is_pth(entry) {
            let folder = String::from_utf8_lossy(split(&entry.path).0).into_owned();
            let root = &self.job.roots[usize::from(entry.root)];
            match root.join(if folder.is_empty() { "." } else { &folder }) {
                Ok(folder) => rewrite_pth(&open.contents, &folder, &self.job.roots).into_bytes(),
                Err(_) => Vec::new(),
            }
        } else {
            open.contents
        };
        self.push(open.index, contents).await
    }
}
