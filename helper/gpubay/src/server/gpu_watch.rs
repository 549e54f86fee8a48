//! GPUs, as long as somebody looks at them: one task for all folders, and none when nobody does.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::inside;
use super::method::request;
use super::outgoing::Outgoing;
use super::wire::{Failure, GpusParams};
use crate::config;
use crate::gpu::Driver;
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::workspace::gpus::{BEAT, GpusReport, Viewer};

/// For how long a folder's configuration is taken to be what it was.
const STANDS: Duration = Duration::from_secs(30);
/// In a container the agent runs a program for each look.
const BEAT_INSIDE: Duration = Duration::from_secs(10);

/// Which folders are watched: each with the number of the wish, so that who asks again is told again.
type Wanted = BTreeMap<PathBuf, u64>;

/// The owner's end.
pub(super) struct GpuWatch {
    out: Arc<Outgoing>,
    /// The newest wish about each folder, by the number of its request.
    newest: BTreeMap<PathBuf, u64>,
    /// `None`: nobody looks, and nothing runs.
    wanted: Option<watch::Sender<Wanted>>,
}

impl GpuWatch {
    pub(super) fn new(out: Arc<Outgoing>) -> Self {
        Self { out, newest: BTreeMap::new(), wanted: None }
    }

    /// A wish that an older request takes longer to make does not count any more.
    pub(super) fn set(&mut self, folder: PathBuf, watched: bool, number: u64) {
        let newest = self.newest.entry(folder.clone()).or_default();
        if number < *newest {
            return;
        }
        *newest = number;
        match (&self.wanted, watched) {
            (Some(wanted), true) => wanted.send_modify(|wanted| {
                wanted.insert(folder, number);
            }),
            (Some(wanted), false) => {
                wanted.send_if_modified(|wanted| wanted.remove(&folder).is_some());
                if wanted.borrow().is_empty() {
                    self.stop();
                }
            }
            (None, true) => {
                let (sender, receiver) = watch::channel(Wanted::from([(folder, number)]));
                tokio::spawn(follow(self.out.clone(), receiver));
                self.wanted = Some(sender);
            }
            (None, false) => {}
        }
    }

    pub(super) fn stop(&mut self) {
        self.wanted = None;
    }
}

/// One watched folder.
struct Watched {
    wish: u64,
    viewer: Option<(Instant, Viewer)>,
    told: Option<GpusReport>,
}

async fn follow(out: Arc<Outgoing>, mut wanted: watch::Receiver<Wanted>) {
    let driver = Driver::default();
    let mut folders: HashMap<PathBuf, Watched> = HashMap::new();
    let beat = if inside::is() { BEAT_INSIDE } else { BEAT };
    loop {
        let now = wanted.borrow_and_update().clone();
        folders.retain(|folder, watched| now.get(folder) == Some(&watched.wish));
        for (folder, wish) in now {
            let watched = folders.entry(folder.clone()).or_insert(Watched { wish, viewer: None, told: None });
            tokio::select! {
                () = watched.look(&out, &folder, &driver) => {}
                // A driver that hangs is not waited for by who does not look any more.
                gone = gone(&wanted) => return gone,
            }
        }
        tokio::select! {
            () = tokio::time::sleep(beat) => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

/// Until nobody looks.
async fn gone(wanted: &watch::Receiver<Wanted>) {
    let mut wanted = wanted.clone();
    while wanted.changed().await.is_ok() {}
}

impl Watched {
    async fn look(&mut self, out: &Outgoing, folder: &Path, driver: &Driver) {
        match self.report(folder, driver).await {
            Ok(report) => {
                if self.told.as_ref().is_none_or(|told| report.is_news_to(told)) {
                    self.told = Some(report.clone());
                    out.gpus(GpusParams { folder: folder.display().to_string(), report }).await;
                }
            }
            // `gpubay/state` tells that the engine is away; what is told next is told in full.
            Err(failure) => {
                tracing::debug!(folder = %folder.display(), code = failure.code, "{}", failure.message);
                (self.viewer, self.told) = (None, None);
            }
        }
    }

    async fn report(&mut self, folder: &Path, driver: &Driver) -> Result<GpusReport, Failure> {
        if inside::is() {
            return inside::gpus(driver).await;
        }
        if self.viewer.as_ref().is_none_or(|(since, _)| since.elapsed() > STANDS) {
            self.viewer = None;
        }
        let (_, viewer) = match &mut self.viewer {
            Some(viewer) => viewer,
            None => {
                let viewer = Viewer::of(&open(folder).await?).sharing(driver);
                self.viewer.insert((Instant::now(), viewer))
            }
        };
        Ok(viewer.look().await?)
    }
}

async fn open(folder: &Path) -> Result<Workspace, Failure> {
    let (loaded, _) = config::load_to_reach(&request(folder.to_owned(), None)?)?;
    config::consent::require_to_reach(&loaded, &[], None)?;
    Ok(Workspace::open(loaded, Progress::silent()).await?)
}
