//! The mirror of a workspace's container: the image's, and what the container has beyond it.

use std::collections::BTreeMap;
use std::time::Instant;

use async_trait::async_trait;
use gpubay_protocol::agent::{Entry, ScanLimits, ScanRequest, Scanned};
use tokio::sync::oneshot;

use super::report::MirrorReport;
use super::sync::Deletions;
use super::up::Ground;
use super::{Workspace, helper, imports, waiting};
use crate::agent::{AgentError, Client, FileEvent, Scanner};
use crate::error::Result;
use crate::mirror::{
    self, Ahead, BaseKey, FileSink, First, Source, SourceError, Store, Work, find_base, sync_workspace,
};
use crate::{ContainerPath, HostPath, Mapping};

#[derive(Debug, Default)]
pub(super) struct Mirrored {
    pub(super) trees: Vec<Mapping>,
    pub(super) counts: Counts,
    pub(super) changed: bool,
    /// Nobody frees a mirror before something refers to these.
    pub(super) using: Option<mirror::Using>,
    pub(super) report: MirrorReport,
}

/// What is to be mirrored.
pub(super) struct Wanted<'a> {
    pub(super) roots: &'a [ContainerPath],
    pub(super) exclude: &'a [ContainerPath],
    /// Folders of mirrors that the workspace has used so far.
    pub(super) near: &'a [HostPath],
    /// Gets a mirror of what the workspace imports, where that is there sooner than the whole.
    pub(super) first: Option<oneshot::Sender<mirror::Synced>>,
}

/// Brings the mirror up to what the dev container, `container` of `image`, has.
pub(super) async fn sync(
    workspace: &Workspace,
    ground: &Ground,
    container: &str,
    image: &str,
    Wanted { roots, exclude, near, first }: Wanted<'_>,
    deletions: Deletions,
) -> Result<Mirrored> {
    if roots.is_empty() {
        return Ok(Mirrored::default());
    }
    let request =
        ScanRequest { roots: roots.to_vec(), exclude: exclude.to_vec(), known: None, limits: ScanLimits::default() };
    workspace.remove_stale_helpers().await?;
    let cache = &workspace.config().paths.cache;
    let store = Store::open(cache)?;
    let using = store.using()?;
    let files = if ground.image.id == image {
        ground.image.files()
    } else {
        workspace.engine.image(image).await?.map_or_else(|| image.to_owned(), |image| image.files())
    };
    let key = BaseKey::new(&files, &request);
    let progress = &workspace.progress;
    let begun = Instant::now();
    let mut work = Work::default();
    let mut source = Conversation::new(workspace, Whose::Dev, container, workspace.run_folder());
    if find_base(&store, &key).is_none() {
        let (digest, known) = oneshot::channel();
        let first = match first {
            Some(ready) => {
                let folder = workspace.folder().clone();
                let modules = tokio::task::spawn_blocking(move || imports::of(folder.as_path())).await;
                modules.ok().map(|modules| First { modules, ready })
            }
            None => None,
        };
        let ahead = Ahead { near: near.to_vec(), digest: Some(digest), first };
        // Once the image's files are known, it can be asked whether the dev container has the same.
        let compare = async {
            if let Ok(known) = known.await {
                source.scan_ahead(ScanRequest { known: Some(known), ..request.clone() }).await;
            }
        };
        let make = helper::make_base(workspace, ground, image, &store, &key, &request, ahead);
        work += both(make, compare).await?;
    }
    let policy = match deletions {
        Deletions::Ask => mirror::Deletions::Ask,
        Deletions::Allowed => mirror::Deletions::Allowed,
    };
    let synced = sync_workspace(&store, &key, workspace.id8(), &request, &mut source, progress, policy).await?;
    tracing::debug!("the workspace's mirror is in place");
    work += synced.work;
    let (files, bytes, changed) = (u64::from(synced.files), synced.bytes, synced.changed);
    let (trees, counts) = mapped(synced);
    Ok(Mirrored {
        report: MirrorReport {
            files,
            bytes,
            written_files: work.written,
            written_bytes: work.bytes,
            list_bytes: work.list_bytes,
            linked_files: work.linked,
            ms: begun.elapsed().as_millis() as u64,
        },
        counts,
        trees,
        changed,
        using: Some(using),
    })
}

/// Files and bytes by root.
pub(super) type Counts = BTreeMap<ContainerPath, (u64, u64)>;

/// Where the roots are on the host, and how much is in them.
pub(super) fn mapped(synced: mirror::Synced) -> (Vec<Mapping>, Counts) {
    let counts =
        synced.trees.iter().map(|tree| (tree.container.clone(), (u64::from(tree.files), tree.bytes))).collect();
    (synced.trees.into_iter().map(|tree| Mapping { host: tree.host, container: tree.container }).collect(), counts)
}

/// What the first comes to; the second is waited for only where that went well.
async fn both<T>(first: impl Future<Output = Result<T>>, second: impl Future<Output = ()>) -> Result<T> {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    let done = tokio::select! {
        done = &mut first => done?,
        () = &mut second => return first.await,
    };
    second.await;
    Ok(done)
}

/// Which container an agent is in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    Dev,
    Helper,
}

/// The container that an agent is in.
#[derive(Clone, Copy)]
struct Place<'a> {
    workspace: &'a Workspace,
    whose: Whose,
    container: &'a str,
}

impl Place<'_> {
    /// The agent's answer, unless its container is paused or ends before.
    async fn answer<T>(
        self,
        asked: impl Future<Output = std::result::Result<T, AgentError>> + Send,
    ) -> std::result::Result<T, SourceError> {
        let trouble = async {
            match self.whose {
                Whose::Dev => waiting::trouble(self.workspace, self.container).await,
                Whose::Helper => helper::trouble(self.workspace, self.container).await,
            }
        };
        tokio::select! {
            biased;
            answer = asked => answer.map_err(lost),
            why = trouble => Err(SourceError::Lost(why.message)),
        }
    }
}

/// The mirror's source over the agent's socket: a conversation for each scan.
pub(super) struct Conversation<'a> {
    place: Place<'a>,
    run: HostPath,
    scanner: Option<Scanner>,
    /// What was asked beforehand; its answer is in `scanner`.
    ahead: Option<ScanRequest>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(workspace: &'a Workspace, whose: Whose, container: &'a str, run: HostPath) -> Self {
        Self { place: Place { workspace, whose, container }, run, scanner: None, ahead: None }
    }

    /// Asks already what [`Source::scan`] will be asked. That it fails is said then.
    async fn scan_ahead(&mut self, request: ScanRequest) {
        if self.begin(request.clone()).await.is_ok() {
            self.ahead = Some(request);
        }
    }

    async fn begin(&mut self, request: ScanRequest) -> std::result::Result<(), SourceError> {
        self.scanner = None;
        let scan = async { Client::connect(&self.run).await?.scan(request, |_| ()).await };
        let scanner = self.place.answer(scan).await?;
        self.scanner = Some(scanner);
        Ok(())
    }
}

fn lost(error: AgentError) -> SourceError {
    match error {
        AgentError::Refused(failure) => SourceError::Failed(failure),
        other => SourceError::Lost(other.to_string()),
    }
}

#[async_trait]
impl Source for Conversation<'_> {
    async fn scan(&mut self, request: ScanRequest) -> std::result::Result<(Vec<Entry>, Scanned), SourceError> {
        if self.ahead.take().as_ref() != Some(&request) {
            self.begin(request).await?;
        }
        let scanner = self.scanner.as_ref().ok_or_else(|| SourceError::Lost("the scan has no answer".to_owned()))?;
        Ok((scanner.entries.clone(), scanner.scanned.clone()))
    }

    async fn fetch(&mut self, indices: &[u32], sink: &mut dyn FileSink) -> std::result::Result<(), SourceError> {
        if indices.is_empty() {
            return Ok(());
        }
        let mut scanner =
            self.scanner.take().ok_or_else(|| SourceError::Lost("files are asked for before their list".to_owned()))?;
        let mut files = self.place.answer(scanner.fetch(indices.to_vec())).await?;
        while let Some(event) = self.place.answer(files.next()).await? {
            match event {
                FileEvent::Begin { index, size } => sink.file(index, size).await?,
                FileEvent::Data(bytes) => sink.data(&bytes).await?,
                FileEvent::End { error } => sink.end(error).await?,
            }
        }
        // Only one that was read to its end can be asked for more.
        self.scanner = Some(scanner);
        Ok(())
    }
}
