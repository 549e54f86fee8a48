//! GPUs, as long as somebody looks at them: one task a folder, so that an engine which hangs delays no other folder's
//! figures, and none when nobody looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::inside;
use super::method::request;
use super::outgoing::Outgoing;
use super::wire::{Failure, GpusParams};
use crate::config;
use crate::failpoint;
use crate::gpu::Driver;
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::workspace::gpus::{BEAT, GpusReport, Viewer};

/// For how long a folder's configuration is taken to be what it was.
const STANDS: Duration = Duration::from_secs(30);
/// In a container the agent runs a program for each look.
const BEAT_INSIDE: Duration = Duration::from_secs(10);

/// The owner's end.
pub(super) struct GpuWatch {
    out: Arc<Outgoing>,
    /// The newest wish about each folder, by the number of its request.
    newest: BTreeMap<PathBuf, u64>,
    watched: BTreeMap<PathBuf, DropGuard>,
    /// Whoever looks asks the same one. It is let go when nobody does.
    driver: Driver,
}

impl GpuWatch {
    pub(super) fn new(out: Arc<Outgoing>) -> Self {
        Self { out, newest: BTreeMap::new(), watched: BTreeMap::new(), driver: Driver::default() }
    }

    /// A wish that an older request takes longer to make does not count any more. Who asks again is told again.
    pub(super) fn set(&mut self, folder: PathBuf, watched: bool, number: u64) {
        let newest = self.newest.entry(folder.clone()).or_default();
        if number < *newest {
            return;
        }
        *newest = number;
        self.watched.remove(&folder);
        if watched {
            let over = CancellationToken::new();
            let (out, driver, until) = (self.out.clone(), self.driver.clone(), over.clone());
            let of = folder.clone();
            tokio::spawn(async move {
                // A driver that hangs is not waited for by who does not look any more.
                until.run_until_cancelled(follow(&out, &of, &driver)).await;
            });
            self.watched.insert(folder, over.drop_guard());
        } else if self.watched.is_empty() {
            self.stop();
        }
    }

    pub(super) fn stop(&mut self) {
        self.watched.clear();
        self.driver = Driver::default();
    }
}

/// One watched folder.
#[derive(Default)]
struct Watched {
    viewer: Option<(Instant, Viewer)>,
    told: Option<GpusReport>,
}

async fn follow(out: &Outgoing, folder: &Path, driver: &Driver) {
    let beat = if inside::is() { BEAT_INSIDE } else { BEAT };
    let mut watched = Watched::default();
    loop {
        watched.look(out, folder, driver).await;
        tokio::time::sleep(beat).await;
    }
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
        failpoint::reach("serve.watch").await?;
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
