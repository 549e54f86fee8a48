//! The two workflows: the base of an image, and a workspace's own view of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use gpubay_protocol::agent::{Entry, ScanRequest, Scanned};

use super::disk::Folder;
use super::error::{Doing, MirrorError};
use super::manifest::{self, FORMAT, Files, HEADER, Header, MANIFEST, RootCount, SYNCED, TREE};
use super::plan::{self, Deletions, Kept, Old};
use super::source::Source;
use super::stage::{self, Filled, Job, Work, blocking};
use super::store::{BaseKey, Generation, NEW, Stage, Store, scope};
use crate::progress::{Progress, Step, StepEnd};
use crate::{ContainerPath, HostPath, failpoint};

/// A root and its copy on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    pub container: ContainerPath,
    pub host: HostPath,
    pub files: u32,
    /// Of the originals' contents.
    pub bytes: u64,
}

/// A mirror that is in place and as the container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// In the order of the request's roots; those that the container lacks are in `missing`.
    pub trees: Vec<Tree>,
    pub missing: Vec<ContainerPath>,
    pub files: u32,
    pub bytes: u64,
    /// Files, links and folders of the container that could not be read or lead elsewhere.
    pub left_out: u32,
    /// Whether this call put something new in place.
    pub changed: bool,
    /// `base/<key>` or `workspace/<id>/<n>`.
    pub generation: String,
    /// What this call had to do for it.
    pub work: Work,
}

/// The base, if it is in place: then no container has to be started for it.
pub fn find_base(store: &Store, key: &BaseKey) -> Option<Synced> {
    store.base(key).map(|base| synced(store, &base, false))
}

/// Makes the mirror of an image from a fresh container of it, unless it is in place.
pub async fn ensure_base(
    store: &Store,
    key: &BaseKey,
    request: &ScanRequest,
    source: &mut dyn Source,
    progress: &Progress,
) -> Result<Synced, MirrorError> {
    plan::check_roots(&request.roots)?;
    tidy(store).await;
    if let Some(base) = store.base(key) {
        mark_synced_later(&base);
        return Ok(synced(store, &base, false));
    }
    let step = progress.step("Mirroring the image's Python packages");
    let (entries, scanned) = scan(source, request, None, progress).await?;
    reach("mirror.plan", progress)?;
    let (plan, old) = nearest(store, request, &entries);
    let make = Make { store, key, request, scanned: &scanned, old, progress, step: &step };
    let (stage, header, work) = make.build(entries, plan, source).await?;
    let name = Store::base_name(key);
    let base = loop {
        match publish(store, &stage, &name, progress)? {
            Published::Ours(base) => break (base, true),
            // Another process was faster: what it made is the same.
            Published::Theirs(Some(base)) if base.header.base == header.base => break (base, false),
            Published::Theirs(_) => store.discard(&name, &stage)?,
        }
    };
    step.done();
    Ok(Synced { work, ..synced(store, &base.0, base.1) })
}

/// The plan that has the least to ask for, from the mirrors of other images that there are: an image with one more package
/// shares its other layers with the one before.
fn nearest(store: &Store, request: &ScanRequest, entries: &[Entry]) -> (plan::Plan, Option<Arc<Generation>>) {
    /// The newest ones: each takes a moment to read.
    const MOST: usize = 4;
    let mut best = (plan::plan(entries, &request.roots, None), None);
    for base in store.bases_of_scope(&scope(request)).into_iter().take(MOST) {
        let Some(kept) = manifest::load(&base.folder, &base.header) else { continue };
        let old = Old { roots: &root_paths(&base.header), kept: &kept, of_another_image: true };
        let plan = plan::plan(entries, &request.roots, Some(old));
        if plan.fetch.len() + plan.place.len() < best.0.fetch.len() + best.0.place.len() {
            best = (plan, Some(Arc::new(base)));
        }
    }
    best
}

/// Brings a workspace's mirror up to what its container has now. What nobody changed is the base's.
pub async fn sync_workspace(
    store: &Store,
    base: &BaseKey,
    workspace: &str,
    request: &ScanRequest,
    source: &mut dyn Source,
    progress: &Progress,
    deletions: Deletions,
) -> Result<Synced, MirrorError> {
    plan::check_roots(&request.roots)?;
    tidy(store).await;
    let step = progress.step("Mirroring the container's Python packages");
    let scope = scope(request);
    let base_there = store.base(base);
    // A generation of another image says nothing about this container.
    let own = store
        .newest(workspace)?
        .filter(|own| own.header.base == base.0 && (own.header.files_are == Files::Here || base_there.is_some()));
    let from_base = |generation: &Generation| generation.header.files_are == Files::InBase;
    let current = match (own, base_there) {
        (Some(own), Some(base)) if from_base(&own) => Some((own.name, base)),
        (Some(own), _) => Some((own.name.clone(), own)),
        (None, Some(base)) => Some((base.name.clone(), base)),
        (None, None) => None,
    };
    let known = current.as_ref().filter(|(_, now)| now.header.scope == scope).map(|(_, now)| now.header.digest);
    let (entries, scanned) = scan(source, request, known, progress).await?;
    if let (Some((name, now)), true) = (&current, scanned.same) {
        if known != Some(scanned.digest) {
            return Err(MirrorError::Refused("it says «unchanged» of something else".to_owned()));
        }
        step.end(StepEnd::Cached);
        mark_synced_later(now);
        return Ok(Synced { generation: name.clone(), ..synced(store, now, false) });
    }
    let base_header = store.base(base).map(|base| base.header);
    let as_image = base_header.filter(|base| base.scope == scope && base.digest == scanned.digest);
    let old = current.and_then(|(_, now)| Some((manifest::load(&now.folder, &now.header)?, Arc::new(now))));
    reach("mirror.plan", progress)?;
    let old_roots = old.as_ref().map(|(_, old)| root_paths(&old.header)).unwrap_or_default();
    let before = old.as_ref().map(|(kept, _)| Old { roots: &old_roots, kept, of_another_image: false });
    let plan = plan::plan(&entries, &request.roots, before);
    let make =
        Make { store, key: base, request, scanned: &scanned, old: old.map(|(_, old)| old), progress, step: &step };
    let (stage, work) = if let Some(header) = as_image {
        (make.point_to_base(header).await?, Work::default())
    } else {
        plan::believe(&plan, deletions)?;
        let (stage, _, work) = make.build(entries, plan, source).await?;
        (stage, work)
    };
    let alike = |there: &Generation| {
        let header = &there.header;
        (header.digest, &header.scope, &header.base) == (scanned.digest, &scope, &base.0)
    };
    let made = loop {
        // Another process may have been faster: were ours put on top of an equal one, a third would
        // free the one that the first is about to use.
        if let Some(theirs) = store.newest(workspace)?.filter(alike) {
            break theirs;
        }
        let number = store.numbers(workspace)?.last().map_or(1, |last| last + 1);
        if let Published::Ours(made) = publish(store, &stage, &Store::number_name(workspace, number), progress)? {
            break made;
        }
    };
    // The one before stays: an editor may be reading it.
    let numbers = store.numbers(workspace)?;
    for number in numbers.iter().rev().skip(2) {
        store.discard(&Store::number_name(workspace, *number), &stage)?;
    }
    let removal = stage;
    blocking(move || {
        drop(removal);
        Ok(())
    })
    .await?;
    step.done();
    if from_base(&made) {
        let base = store.base(base).ok_or_else(|| MirrorError::Task("the base was deleted meanwhile".to_owned()))?;
        return Ok(Synced { generation: made.name, work, ..synced(store, &base, true) });
    }
    Ok(Synced { work, ..synced(store, &made, true) })
}

/// A stage of the work begins, unless it is no longer wanted.
fn reach(place: &'static str, progress: &Progress) -> Result<(), MirrorError> {
    failpoint::hit(place)?;
    progress.check().map_err(|_| MirrorError::Cancelled)
}

fn root_paths(header: &Header) -> Vec<ContainerPath> {
    header.roots.iter().map(|root| root.path.clone()).collect()
}

/// Removes leftovers of processes that were killed; what cannot be removed is only untidy.
async fn tidy(store: &Store) {
    let store = store.clone();
    if let Err(error) = blocking(move || store.clean()).await {
        tracing::warn!("leftovers of an earlier mirror were not removed: {error}");
    }
}

async fn scan(
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
    Ok((entries, scanned))
}

/// What both workflows know when they make a new mirror.
struct Make<'a> {
    store: &'a Store,
    key: &'a BaseKey,
    request: &'a ScanRequest,
    scanned: &'a Scanned,
    old: Option<Arc<Generation>>,
    progress: &'a Progress,
    step: &'a Step,
}

impl Make<'_> {
    /// A finished stage with a tree of its own.
    async fn build(
        &self,
        entries: Vec<Entry>,
        plan: plan::Plan,
        source: &mut dyn Source,
    ) -> Result<(Arc<Stage>, Header, Work), MirrorError> {
        let stage = self.stage().await?;
        reach("mirror.stage", self.progress)?;
        let job = Arc::new(Job { entries, roots: self.request.roots.clone() });
        let Filled { absent, mut work } =
            stage::fill(&stage, &job, plan, self.old.clone(), source, self.progress, self.step).await?;
        reach("mirror.seal", self.progress)?;
        let header = self.header(&job.entries, &absent, Files::Here);
        let (sealing, mut written) = (stage.clone(), header.clone());
        let header = blocking(move || {
            stage::seal(&sealing, &job)?;
            let kept: Vec<Kept> = job
                .entries
                .iter()
                .enumerate()
                .map(|(i, entry)| Kept { entry: entry.clone(), absent: absent.contains(&(i as u32)) })
                .collect();
            write_facts(&sealing, &mut written, &kept)?;
            Ok(written)
        })
        .await?;
        work.list_bytes = header.manifest_bytes;
        Ok((stage, header, work))
    }

    /// A stage that only says that the container is as its image.
    async fn point_to_base(&self, base: Header) -> Result<Arc<Stage>, MirrorError> {
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

    fn header(&self, entries: &[Entry], absent: &HashSet<u32>, files_are: Files) -> Header {
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
        for (i, entry) in entries.iter().enumerate() {
            if !absent.contains(&(i as u32)) {
                roots[usize::from(entry.root)].files += 1;
                roots[usize::from(entry.root)].bytes += entry.size;
            }
        }
        Header {
            format: FORMAT,
            base: self.key.0.clone(),
            files_are,
            scope: scope(self.request),
            digest: self.scanned.digest,
            roots,
            left_out: self.scanned.left_out.saturating_add(absent.len() as u32),
            manifest_digest: [0; 32],
            manifest_bytes: 0,
            boot: manifest::boot(),
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

enum Published {
    Ours(Generation),
    /// Something was there already; `None`: and it is not whole.
    Theirs(Option<Generation>),
}

/// The one step that makes a mirror visible.
fn publish(store: &Store, stage: &Stage, name: &str, progress: &Progress) -> Result<Published, MirrorError> {
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
fn mark_synced_later(made: &Generation) {
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

/// `made` has a tree of its own.
fn synced(store: &Store, made: &Generation, changed: bool) -> Synced {
    let top = store.path.join(&made.name).join(TREE);
    let header = &made.header;
    let tree = |root: &RootCount| Tree {
        container: root.path.clone(),
        host: top.join(&root.path.as_str()[1..]),
        files: root.files,
        bytes: root.bytes,
    };
    Synced {
        trees: header.roots.iter().filter(|root| !root.missing).map(tree).collect(),
        missing: header.roots.iter().filter(|root| root.missing).map(|root| root.path.clone()).collect(),
        files: header.roots.iter().map(|root| root.files).sum(),
        bytes: header.roots.iter().map(|root| root.bytes).sum(),
        left_out: header.left_out,
        changed,
        generation: made.name.clone(),
        work: Work::default(),
    }
}
