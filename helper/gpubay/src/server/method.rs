//! What every request of ours has in common: a name, parameters, an answer, and how the core is reached for it.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::outgoing::Outgoing;
use super::owner::Event;
use super::wire::{AskedPower, Failure, FolderParams, WorkParams};
use crate::config::consent::ConsentError;
use crate::config::{self, ConfigError, LoadRequest, Loaded};
use crate::error::Error;
use crate::progress::Progress;
use crate::workspace::{Recreate, Workspace};

/// How requests of one folder go beside one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Beside anything.
    Reads,
    /// Beside anything, too, as a job that may wait for hours; taken back with its progress or the session, as work is.
    Starts,
    /// One at a time in a folder; shown as its work.
    Works,
}

/// One request of ours.
pub(super) trait Method: Send + Sync + 'static {
    /// As on the wire: `gpubay/up`.
    const NAME: &'static str;
    const KIND: Kind;
    type Params: DeserializeOwned + About + Send + 'static;
    type Answer: Serialize + Send;

    fn answer(call: Call, params: Self::Params) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// What parameters are about.
pub(super) trait About {
    fn folder(&self) -> &str;

    /// Of the progress that the client wants.
    fn token(&self) -> Option<&str> {
        None
    }
}

impl About for FolderParams {
    fn folder(&self) -> &str {
        &self.folder
    }
}

impl About for WorkParams {
    fn folder(&self) -> &str {
        &self.folder
    }

    fn token(&self) -> Option<&str> {
        self.work_done_token.as_deref()
    }
}

/// What a method works with.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) folder: PathBuf,
    pub(super) progress: Progress,
    pub(super) out: Arc<Outgoing>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// Its place among all requests of the session.
    pub(super) number: u64,
}

impl Call {
    fn request(&self, gpus: Option<&str>) -> Result<LoadRequest<'static>, Failure> {
        request(self.folder.clone(), gpus)
    }

    /// The folder as configured, with the consent that it needs.
    pub(super) fn load(&self, allow: &[String], gpus: Option<&str>) -> Result<Loaded, Failure> {
        let loaded = config::load(&self.request(gpus)?).map_err(of_config)?;
        config::consent::require(&loaded, allow, None).map_err(of_consent)?;
        Ok(loaded)
    }

    /// The workspace, for what makes or changes something.
    pub(super) async fn open(&self, allow: &[String], gpus: Option<&str>) -> Result<Workspace, Failure> {
        self.connect(self.load(allow, gpus)?).await
    }

    /// The workspace, for what only reaches containers that are there: a broken configuration is no hindrance.
    pub(super) async fn reach(&self, allow: &[String]) -> Result<Workspace, Failure> {
        let (loaded, _) = config::load_to_reach(&self.request(None)?).map_err(of_config)?;
        config::consent::require_to_reach(&loaded, allow, None).map_err(of_consent)?;
        self.connect(loaded).await
    }

    async fn connect(&self, loaded: Loaded) -> Result<Workspace, Failure> {
        tokio::select! {
            biased;
            workspace = Workspace::open(loaded, self.progress.clone()) => Ok(workspace?),
            () = self.progress.cancel.cancelled() => Err(cancelled().into()),
        }
    }

    /// Hands the wish to the owner.
    pub(super) fn watch_gpus(&self, watch: bool) {
        // Without an owner the session is over.
        let _ = self.events.send(Event::WatchGpus { folder: self.folder.clone(), watch, number: self.number });
    }

    /// Of a failed call: what was cancelled says so, whatever broke by that.
    pub(super) fn failed(&self, failure: Failure) -> Failure {
        if self.progress.cancel.is_cancelled() && failure.code != "cancelled" {
            return cancelled().into();
        }
        failure
    }
}

pub(super) fn request(folder: PathBuf, gpus: Option<&str>) -> Result<LoadRequest<'static>, Failure> {
    let mut request = LoadRequest::of_process(folder).ok_or_else(|| {
        Error::new("no_home", "this user has no home folder").with_hint("Set HOME to an absolute path.")
    })?;
    request.overrides.gpus = gpus.map(str::to_owned);
    Ok(request)
}

pub(super) fn cancelled() -> Error {
    Error::new("cancelled", "cancelled")
}

/// What the user agreed to.
pub(super) fn consent(given: bool) -> Recreate {
    if given { Recreate::Allowed } else { Recreate::WhenNothingIsLost }
}

pub(super) fn of_config(error: ConfigError) -> Failure {
    let candidates = match &error {
        ConfigError::AmbiguousDockerfile { candidates } => candidates.clone(),
        _ => Vec::new(),
    };
    let mut failure = Failure { candidates, ..Error::from(error).into() };
    if let Some(place) = &mut failure.place {
        place.of_config = true;
    }
    failure
}

pub(super) fn of_consent(error: ConsentError) -> Failure {
    let powers = match &error {
        ConsentError::NeedsConsent { missing, .. } => missing.iter().map(AskedPower::from).collect(),
        _ => Vec::new(),
    };
    Failure { powers, ..Error::from(error).into() }
}

/// Any room's error is a failure of a method.
impl<E: crate::error::Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Error::from(error).into()
    }
}
