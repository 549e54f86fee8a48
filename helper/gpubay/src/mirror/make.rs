//! What both workflows do: ask for the list, make a stage into a whole mirror, put it in its place.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use gpubay_protocol::agent::{Entry, ScanRequest, Scanned};

use super::disk::Folder;
use super::error::{Doing, MirrorError};
use super::manifest::{self, FORMAT, Files, HEADER, Header, MANIFEST, RootCount, SYNCED};
use super::plan::{self, Kept};
use super::source::Source;
use super::stage::{self, Basis, Filled, Job, Work, blocking};
use super::store::{BaseKey, Generation, NEW, Stage, Store, scope};
use crate::progress::{Progress, Step};
use crate::{ContainerPath, failpoint};

/// A stage of the work begins, unless it is no longer wanted.
pub(super) fn reach(place: &'static str, progress: &Progress) -> Result<(), MirrorError> {
    failpoint::hit(place)?;
    progress.check().map_err(|_| MirrorError::Cancelled)
}

pub(super) fn root_paths(header: &Header) -> Vec<ContainerPath> {
    header.roots.iter().map(|root| root.path.clone()).collect()
}

/// Removes leftovers of processes that were killed; what cannot be removed is only untidy.
pub(super) async fn tidy(store: &Store) {
    let store = store.clone();
    if let Err(error) = blocking(move || store.clean()).await {
        tracing::warn!("leftovers of an earlier mirror were not removed: {error}");
    }
}

pub(super) async fn scan(
    source: &mut dyn Source,
    request: &ScanRequest,
    known: Option<[u8; 32]>,
    progress: &Progress,
) -> Result<(Vec<Entry>, Scanned), MirrorError> {
    reach("mirror.scan", progress)?;
    let request = ScanRequest { known, ..request.clone() };
    let (entries, scanned) = tokio::select! {
        biased;
        () = progress.cancel.cancelled() => return Err(MirrorError::Cancelled),
        answer = source.scan(request.clone()) => answer?,
    };
    if scanned.same && known.is_none() {
        return Err(MirrorError::Refused("it says «unchanged» although nothing is known".to_owned()));
    }
    if scanned.missing.iter().any(|&root| usize::from(root) >= request.roots.len()) {
        return Err(MirrorError::Refused("a missing folder that was not asked for".to_owned()));
    }
    plan::check(&entries, &request.roots, &request.limits)?;
    tracing::debug!(files = entries.len(), same = scanned.same, "scanned and checked");
    Ok((entries, scanned))
}

/// A whole mirror that is not in its place yet.
pub(super) struct Built {
    pub(super) stage: Arc<Stage>,
    pub(super) header: Header,
    /// The entries that are in its tree.
    pub(super) files: Vec<u32>,
    pub(super) work: Work,
}

/// What both workflows know when they make a new mirror.
pub(super) struct Make<'a> {
    pub(super) store: &'a Store,
    pub(super) key: &'a BaseKey,
    pub(super) request: &'a ScanRequest,
    pub(super) scanned: &'a Scanned,
    pub(super) progress: &'a Progress,
    pub(super) step: &'a Step,
}

impl Make<'_> {
    /// A finished stage with a tree of its own.
    pub(super) async fn build(
        &self,
        job: Job,
        plan: plan::Plan,
        basis: Basis,
        source: &mut dyn Source,
    ) -> Result<Built, MirrorError> {
        let stage = match &basis {
            Basis::Linked(linked, _) => linked.stage.clone(),
            Basis::Older(_) => self.stage().await?,
        };
        reach("mirror.stage", self.progress)?;
        let job = Arc::new(job);
        let Filled { absent, folders, mut work } =
            stage::fill(&stage, &job, plan, basis, source, self.progress, self.step).await?;
        reach("mirror.seal", self.progress)?;
        let mut header = self.header(&job, &absent);
        let sealing = stage.clone();
        let (header, files) = blocking(move || {
            stage::seal(&sealing, &folders)?;
            tracing::debug!("the tree is closed");
            let kept: Vec<Kept> = job
                .files()
                .map(|(index, entry)| Kept { entry: entry.clone(), absent: absent.contains(&index) })
                .collect();
            write_facts(&sealing, &mut header, &kept)?;
            let present = job.files().map(|(index, _)| index).filter(|index| !absent.contains(index));
            Ok((header, present.collect()))
        })
        .await?;
        tracing::debug!("the list is written");
        work.list_bytes = header.manifest_bytes;
        Ok(Built { stage, header, files, work })
    }

    /// A stage that only says that the container is as its image.
    pub(super) async fn point_to_base(&self, base: Header) -> Result<Arc<Stage>, MirrorError> {
        let stage = self.stage().await?;
        let writing = stage.clone();
        blocking(move || {
            let mut header = Header { files_are: Files::InBase, boot: manifest::boot(), ..base };
            write_facts(&writing, &mut header, &[])
        })
        .await?;
        Ok(stage)
    }

    async fn stage(&self) -> Result<Arc<Stage>, MirrorError> {
        let store = self.store.clone();
        blocking(move || store.stage()).await.map(Arc::new)
    }

    fn header(&self, job: &Job, absent: &HashSet<u32>) -> Header {
        let mut roots: Vec<RootCount> = self
            .request
            .roots
            .iter()
            .enumerate()
            .map(|(i, path)| RootCount {
                path: path.clone(),
                files: 0,
                bytes: 0,
                missing: self.scanned.missing.contains(&(i as u16)),
            })
            .collect();
        for (_, entry) in job.files().filter(|(index, _)| !absent.contains(index)) {
            roots[usize::from(entry.root)].files += 1;
            roots[usize::from(entry.root)].bytes += entry.size;
        }
        Header {
            format: FORMAT,
            base: self.key.0.clone(),
            files_are: Files::Here,
            scope: scope(self.request),
            digest: self.scanned.digest,
            roots,
            left_out: self.scanned.left_out.saturating_add(absent.len() as u32),
            manifest_digest: [0; 32],
            manifest_bytes: 0,
            boot: manifest::boot(),
            part: job.part.is_some(),
        }
    }
}

/// The header comes last: without it there is no mirror.
fn write_facts(stage: &Stage, header: &mut Header, kept: &[Kept]) -> Result<(), MirrorError> {
    let place = stage.place();
    let new = stage.folder.below(NEW.as_bytes()).doing("open a folder", place)?;
    let (bytes, digest) = manifest::encode(kept);
    (header.manifest_digest, header.manifest_bytes) = (digest, bytes.len() as u64);
    new.create(MANIFEST.as_bytes(), &bytes, None).doing("write the manifest", place)?;
    if header.boot.is_empty() {
        // Without a boot to compare with later, the disk has to be waited for.
        new.sync().doing("wait for the disk", place)?;
        new.create(SYNCED.as_bytes(), b"", None).doing("write a file", place)?;
    }
    let text = serde_json::to_vec(header).map_err(|e| MirrorError::Task(e.to_string()))?;
    new.create(HEADER.as_bytes(), &text, None).doing("write the header", place)?;
    Ok(())
}

pub(super) enum Published {
    Ours(Generation),
    /// Something was there already; `None`: and it is not whole.
    Theirs(Option<Generation>),
}

/// The one step that makes a mirror visible.
pub(super) fn publish(store: &Store, stage: &Stage, name: &str, progress: &Progress) -> Result<Published, MirrorError> {
    reach("mirror.apply", progress)?;
    let parent = store.parent(name)?;
    let last = name.rsplit('/').next().unwrap_or(name);
    match stage.folder.rename(NEW, &parent, last) {
        Ok(()) => {
            let made =
                store.generation(name).ok_or_else(|| MirrorError::Task("the new mirror is not whole".to_owned()))?;
            failpoint::hit("mirror.applied")?;
            Ok(Published::Ours(made))
        }
        Err(e) if matches!(e.kind(), std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::DirectoryNotEmpty) => {
            Ok(Published::Theirs(store.generation(name)))
        }
        Err(e) => Err(e).doing("put the new mirror in place", &store.path),
    }
}

/// A file system writes out by itself what has lain in memory for so long. Asking it sooner keeps everything
/// that uses this disk waiting, the engine's removal of the helper container among it.
const SETTLED: Duration = Duration::from_mins(1);

/// Notes, once the disk has it all, that the mirror outlives a crash of the machine. In a thread of
/// its own: nobody waits for it, and a process that ends first leaves it to the next one, as all do that come
/// before the mirror is [`SETTLED`]. Until then a crash costs making it again.
pub(super) fn mark_synced_later(made: &Generation) {
    if made.folder.exists(SYNCED) || made.folder.age(HEADER).is_none_or(|age| age < SETTLED) {
        return;
    }
    let Ok(folder) = made.folder.try_clone() else {
        return;
    };
    let mark = move |folder: Folder| folder.sync().and_then(|()| folder.create(SYNCED.as_bytes(), b"", None));
    std::thread::spawn(move || {
        if let Err(error) = mark(folder) {
            tracing::debug!("a mirror was not marked as being on the disk: {error}");
        }
    });
}
