//! The mirror of an image, shared by all of its workspaces.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gpubay_protocol::agent::{Entry, ScanRequest};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::error::MirrorError;
use super::link::{Linked, Stop};
use super::make::{Built, Make, Published, mark_synced_later, publish, reach, root_paths, scan, tidy};
use super::plan::{self, Old, Plan};
use super::source::Source;
use super::stage::{Basis, Job, Work};
use super::store::{BaseKey, Generation, NEW, Stage, Store, scope};
use super::sync::{Synced, synced};
use super::{manifest, part};
use crate::progress::{Progress, Step};
use crate::{HostPath, failpoint};

/// What is known beforehand, and who waits for parts of the work. All of it only saves time.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Folders of mirrors that the workspace has used so far: the new one is probably much like them.
    pub near: Vec<HostPath>,
    /// Hears the digest of the image's files, once it is known: who scans a container of it can begin.
    pub digest: Option<oneshot::Sender<[u8; 32]>>,
    pub first: Option<First>,
}

/// What somebody waits for more than for the rest.
#[derive(Debug)]
pub struct First {
    /// Top-level names of what is imported.
    pub modules: BTreeSet<String>,
    /// Gets a mirror of these alone, in the place where the whole one will be. Not where that would not be sooner.
    pub ready: oneshot::Sender<Synced>,
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
    ahead: Ahead,
) -> Result<Synced, MirrorError> {
    plan::check_roots(&request.roots)?;
    tidy(store).await;
    if let Some(base) = store.base(key) {
        mark_synced_later(&base);
        return Ok(synced(store, &base, false));
    }
    let step = progress.step("Mirroring the image's Python packages");
    let mut guess = Guess::begin(store, request, &ahead.near);
    let made = make(store, key, request, source, progress, &step, &mut guess, ahead).await;
    // Also after an error nothing of ours is left.
    guess.end().await;
    let made = made?;
    step.done();
    Ok(made)
}

#[expect(clippy::too_many_arguments, reason = "the one caller has them")]
async fn make(
    store: &Store,
    key: &BaseKey,
    request: &ScanRequest,
    source: &mut dyn Source,
    progress: &Progress,
    step: &Step,
    guess: &mut Guess,
    ahead: Ahead,
) -> Result<Synced, MirrorError> {
    let (entries, scanned) = scan(source, request, None, progress).await?;
    if let Some(digest) = ahead.digest {
        // Nobody may wait any more.
        let _ = digest.send(scanned.digest);
    }
    reach("mirror.plan", progress)?;
    let linked = guess.linked().await;
    let (mut plan, basis) = nearest(store, key, request, &entries, linked.as_ref());
    tracing::debug!(link = plan.link.len(), fetch = plan.fetch.len(), "planned");
    let job = Job { entries: Arc::new(entries), roots: request.roots.clone(), part: None };
    let make = Make { store, key, request, scanned: &scanned, progress, step };
    let mut before = Work::default();
    let mut basis = basis;
    if let (Basis::Older(olders), Some(first)) = (&mut basis, ahead.first)
        && store.base_or_part(key).is_none()
        && let Some(part) = part::of(&job.entries, &plan, &first.modules)
        && let Some(made) = part::make(&make, &job, &plan, olders, &part, source).await?
    {
        let _ = first.ready.send(synced(store, &made.generation, true));
        failpoint::reach("mirror.first").await?;
        before = made.work;
        // For the whole they are links.
        let part: HashSet<u32> = made.files.iter().copied().collect();
        for indices in [&mut plan.fetch, &mut plan.place].into_iter().chain(olders.iter_mut().map(|(_, links)| links)) {
            indices.retain(|index| !part.contains(index));
        }
        olders.push((Arc::new(made.generation), made.files));
    }
    let Built { stage, header, mut work, .. } = make.build(job, plan, basis, source).await?;
    // Those of the first part are counted where they were written.
    work.linked -= before.written.min(work.linked);
    work += before;
    let name = Store::base_name(key);
    let (base, ours) = loop {
        match publish(store, &stage, &name, progress)? {
            Published::Ours(base) => break (base, true),
            Published::Theirs(Some(part)) if part.header.base == header.base && part.header.part => {
                if let Some(base) = supersede(store, &stage, &name)? {
                    break (base, true);
                }
            }
            // Another process was faster: what it made is the same.
            Published::Theirs(Some(base)) if base.header.base == header.base => break (base, false),
            Published::Theirs(_) => store.discard(&name, &stage)?,
        }
    };
    Ok(Synced { work, ..synced(store, &base, ours) })
}

/// Puts the whole where its first part is, at once; `None`: something else is there meanwhile.
fn supersede(store: &Store, stage: &Stage, name: &str) -> Result<Option<Generation>, MirrorError> {
    let parent = store.parent(name)?;
    let last = name.rsplit('/').next().unwrap_or(name);
    match stage.folder.exchange(NEW, &parent, last) {
        // What was there goes with the stage.
        Ok(()) => Ok(store.generation(name)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // A file system that cannot do that: for a moment nothing is there.
        Err(error) => {
            tracing::debug!("the first part of a mirror is taken away before the whole comes: {error}");
            store.discard(name, stage)?;
            Ok(None)
        }
    }
}

/// The plan that has the least to ask for, from the mirrors of other images that there are: an image with one more package
/// shares its other layers with the one before.
fn nearest(
    store: &Store,
    key: &BaseKey,
    request: &ScanRequest,
    entries: &[Entry],
    linked: Option<&Arc<Linked>>,
) -> (Plan, Basis) {
    /// The newest ones: each takes a moment to read.
    const MOST: usize = 4;
    let plan_from = |base: &Generation, kept: &[plan::Kept]| {
        let of_another_image = base.header.base != key.as_str();
        plan::plan(entries, &request.roots, Some(Old { roots: &root_paths(&base.header), kept, of_another_image }))
    };
    let to_ask = |plan: &Plan| plan.fetch.len() + plan.place.len();
    let mut best = match linked {
        Some(linked) => {
            let plan = plan_from(&linked.old, &linked.kept);
            let links = plan.link.clone();
            (plan, Basis::Linked(linked.clone(), links))
        }
        None => (plan::plan(entries, &request.roots, None), Basis::Older(Vec::new())),
    };
    // Nearly all is there: none can have much more.
    if to_ask(&best.0) * 10 <= entries.len() && linked.is_some() {
        return best;
    }
    // A first part of this very image that a process left which was killed comes with the others.
    for base in store.bases_of_scope(&scope(request)).into_iter().take(MOST) {
        let Some(kept) = manifest::load(&base.folder, &base.header) else { continue };
        let plan = plan_from(&base, &kept);
        if to_ask(&plan) < to_ask(&best.0) {
            let links = plan.link.clone();
            best = (plan, Basis::Older(vec![(Arc::new(base), links)]));
        }
    }
    best
}

/// The tree that the new one will probably be, in the making while nobody knows yet: a container takes a while to start and to
/// scan, and the disk would wait meanwhile.
struct Guess {
    stop: Stop,
    linking: Option<JoinHandle<Result<Option<Linked>, MirrorError>>>,
    /// Kept until the end: to delete one that was not used takes a while, too.
    linked: Option<Arc<Linked>>,
}

impl Guess {
    fn begin(store: &Store, request: &ScanRequest, near: &[HostPath]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let old = store.base_of(near).filter(|old| old.header.scope == scope(request));
        let linking = old.map(|old| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::task::spawn_blocking(move || Linked::all_of(&store, old, &stop))
        });
        Self { stop: Stop(stop), linking, linked: None }
    }

    async fn linked(&mut self) -> Option<Arc<Linked>> {
        if let Some(linking) = self.linking.take() {
            self.linked = match linking.await.unwrap_or_else(|e| Err(MirrorError::Task(e.to_string()))) {
                Ok(linked) => linked.map(Arc::new),
                Err(error) => {
                    tracing::debug!("the nearest mirror was not linked beforehand: {error}");
                    None
                }
            };
        }
        self.linked.clone()
    }

    async fn end(mut self) {
        self.stop.now();
        let linked = self.linked().await;
        drop(self);
        let _ = tokio::task::spawn_blocking(move || drop(linked)).await;
    }
}
