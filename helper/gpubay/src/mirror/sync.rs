//! A workspace's own view of its image's mirror.

use std::sync::Arc;

use gpubay_protocol::agent::ScanRequest;

use super::error::MirrorError;
use super::make::{Built, Make, Published, mark_synced_later, publish, reach, root_paths, scan, tidy};
use super::manifest::{self, Files, RootCount, TREE};
use super::plan::{self, Deletions, Old};
use super::source::Source;
use super::stage::{Basis, Job, Work, blocking};
use super::store::{BaseKey, Generation, Store, scope};
use crate::progress::{Progress, StepEnd};
use crate::{ContainerPath, HostPath};

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
    let make = Make { store, key: base, request, scanned: &scanned, progress, step: &step };
    let (stage, work) = if let Some(header) = as_image {
        (make.point_to_base(header).await?, Work::default())
    } else {
        plan::believe(&plan, deletions)?;
        let basis = Basis::Older(old.into_iter().map(|(_, old)| (old, plan.link.clone())).collect());
        let job = Job { entries: Arc::new(entries), roots: request.roots.clone(), part: None };
        let Built { stage, work, .. } = make.build(job, plan, basis, source).await?;
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

/// `made` has a tree of its own.
pub(super) fn synced(store: &Store, made: &Generation, changed: bool) -> Synced {
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
