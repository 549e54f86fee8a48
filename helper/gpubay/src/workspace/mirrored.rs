//! The mirror of a workspace's container: the image's, and what the container has beyond it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gpubay_protocol::agent::{AGENT_DIR, Entry, RUN_DIR, ScanLimits, ScanRequest, Scanned};

use super::report::MirrorReport;
use super::sync::Deletions;
use super::up::Ground;
use super::{Workspace, delivery, unique, visibility, waiting};
use async_trait::async_trait;

use crate::agent::{self, AgentError, Client, FileEvent, Scanner};
use crate::config::model::{Mount, MountSource};
use crate::error::{Error, Result};
use crate::mirror::{self, BaseKey, FileSink, Source, SourceError, Store, Work, find_base, sync_workspace};
use crate::{ContainerPath, HostPath, Mapping};

#[derive(Debug, Default)]
pub(super) struct Mirrored {
    pub(super) trees: Vec<Mapping>,
    /// Files and bytes by root.
    pub(super) counts: BTreeMap<ContainerPath, (u64, u64)>,
    pub(super) changed: bool,
    /// Nobody frees a mirror before something refers to these.
    pub(super) using: Option<mirror::Using>,
    pub(super) report: MirrorReport,
}

/// Brings the mirror of `roots` up to what the dev container, `container` of `image`, has.
pub(super) async fn sync(
    workspace: &Workspace,
    ground: &Ground,
    container: &str,
    image: &str,
    roots: &[ContainerPath],
    exclude: &[ContainerPath],
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
    if find_base(&store, &key).is_none() {
        work += make_base(workspace, ground, image, &store, &key, &request).await?;
    }
    let mut source = Conversation::new(workspace, container, workspace.run_folder());
    let policy = match deletions {
        Deletions::Ask => mirror::Deletions::Ask,
        Deletions::Allowed => mirror::Deletions::Allowed,
    };
    let synced = sync_workspace(&store, &key, workspace.id8(), &request, &mut source, progress, policy).await?;
    work += synced.work;
    Ok(Mirrored {
        report: MirrorReport {
            files: u64::from(synced.files),
            bytes: synced.bytes,
            written_files: work.written,
            written_bytes: work.bytes,
            list_bytes: work.list_bytes,
            linked_files: work.linked,
            ms: begun.elapsed().as_millis() as u64,
        },
        counts: synced.trees.iter().map(|tree| (tree.container.clone(), (u64::from(tree.files), tree.bytes))).collect(),
        trees: synced.trees.into_iter().map(|tree| Mapping { host: tree.host, container: tree.container }).collect(),
        changed: synced.changed,
        using: Some(using),
    })
}

/// From a fresh container of the image in which nothing but the agent has run: no network, no
/// workspace, nothing of the user's.
async fn make_base(
    workspace: &Workspace,
    ground: &Ground,
    image: &str,
    store: &Store,
    key: &BaseKey,
    request: &ScanRequest,
) -> Result<Work> {
    let run = workspace.shared().join("run").join(format!("helper-{}", unique()));
    std::fs::create_dir_all(run.as_path()).map_err(delivery::at(run.as_path()))?;
    let inside = |path: &str| ContainerPath::new(path).expect("a constant path");
    let bind = |source: &HostPath, target: &str, read_only| Mount {
        source: MountSource::Host(source.clone()),
        target: inside(target),
        read_only,
    };
    let mut spec = workspace.helper_spec(image);
    spec.mounts = vec![bind(&ground.places.agent, &format!("{AGENT_DIR}/bin"), true), bind(&run, RUN_DIR, false)];
    let made = async {
        let id = workspace.engine.create(&spec).await?;
        let filled = async {
            workspace.reach("mirror.helper")?;
            visibility::check(workspace, &id, &run, None).await.map_err(visibility::Problem::into_error)?;
            workspace.engine.start(&id).await?;
            agent::wait_ready(&run, Duration::from_secs(30)).await?;
            let mut source = Conversation::new(workspace, &id, run.clone());
            Ok::<_, Error>(mirror::ensure_base(store, key, request, &mut source, &workspace.progress).await?.work)
        }
        .await;
        // Before an engine takes a container's file system away, it lets the disk have all that was written meanwhile:
        // the whole mirror, which takes as long again as to write it. That may happen while we go on.
        if filled.is_err() || workspace.engine.kill(&id, "SIGTERM").await.is_err() {
            workspace.engine.remove(&id).await?;
        }
        filled
    }
    .await;
    let _ = std::fs::remove_dir_all(run.as_path());
    made
}

/// The mirror's source over the agent's socket: a conversation for each scan.
struct Conversation<'a> {
    workspace: &'a Workspace,
    container: &'a str,
    run: HostPath,
    scanner: Option<Scanner>,
}

impl<'a> Conversation<'a> {
    fn new(workspace: &'a Workspace, container: &'a str, run: HostPath) -> Self {
        Self { workspace, container, run, scanner: None }
    }
}

/// The agent's answer, unless its container is paused or ends before.
async fn answer<T>(
    workspace: &Workspace,
    container: &str,
    asked: impl Future<Output = std::result::Result<T, AgentError>> + Send,
) -> std::result::Result<T, SourceError> {
    tokio::select! {
        biased;
        answer = asked => answer.map_err(lost),
        why = waiting::trouble(workspace, container) => Err(SourceError::Lost(why.message)),
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
    async fn scan(&mut self, request: ScanRequest) -> Result<(Vec<Entry>, Scanned), SourceError> {
        self.scanner = None;
        let scan = async { Client::connect(&self.run).await?.scan(request, |_| ()).await };
        let scanner = answer(self.workspace, self.container, scan).await?;
        let found = (scanner.entries.clone(), scanner.scanned.clone());
        self.scanner = Some(scanner);
        Ok(found)
    }

    async fn fetch(&mut self, indices: &[u32], sink: &mut dyn FileSink) -> Result<(), SourceError> {
        if indices.is_empty() {
            return Ok(());
        }
        let scanner =
            self.scanner.take().ok_or_else(|| SourceError::Lost("files are asked for before their list".to_owned()))?;
        let (workspace, container) = (self.workspace, self.container);
        let mut files = answer(workspace, container, scanner.fetch(indices.to_vec())).await?;
        while let Some(event) = answer(workspace, container, files.next()).await? {
            match event {
                FileEvent::Begin { index, size } => sink.file(index, size).await?,
                FileEvent::Data(bytes) => sink.data(&bytes).await?,
                FileEvent::End { error } => sink.end(error).await?,
            }
        }
        Ok(())
    }
}
