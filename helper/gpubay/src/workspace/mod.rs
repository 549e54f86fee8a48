//! The workflows: up, down, run and their kin, over engine, gpu, venv and mirror.
//!
//! **Architecture Invariant:** nothing here knows of a terminal, of JSON-RPC or of an editor; progress
//! goes out as events, and results as values.
//!
//! **Architecture Invariant:** what runs is read from the engine's labels each time. The files under
//! `[paths] cache` only save work: without them everything is found again.

pub mod attach;
pub mod build;
pub(crate) mod choice;
mod delivery;
mod dev;
pub mod doctor;
pub mod down;
mod drift;
pub mod elsewhere;
pub mod enclosing;
pub mod exec;
mod exposure;
pub mod fingerprint;
pub(crate) mod fit;
mod given;
pub mod gpus;
mod helper;
mod holders;
mod host_env;
mod image;
mod imports;
pub mod jobs;
mod known;
mod labels;
mod leases;
mod lock;
pub(crate) mod lost;
mod mirrored;
mod offered;
pub mod print;
pub mod prune;
mod published;
mod python;
mod queue;
pub mod record;
pub mod report;
pub mod restart;
pub mod shown;
mod spec;
mod stages;
mod stakes;
pub mod status;
pub mod sync;
mod there;
mod ticket;
pub mod up;
mod user;
mod visibility;
mod waiting;
mod watcher;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use serde::Serialize;

use crate::HostPath;
use crate::config::Loaded;
use crate::config::model::{Config, EngineOptions, Health};
use crate::engine::{CreateSpec, Engine, GpuRequest, Image, Stdio, Surroundings, endpoint};
use crate::error::Result;
use crate::progress::Progress;

pub use dev::LOST_GPUS;
pub use drift::Drift;
pub use labels::{COMMAND, COMMIT, GPUS, ID, JOB, RECORD, ROLE, Role, WORKSPACE};
pub use stakes::Losses;
pub use user::HostUser;

/// Whether an existing container may be replaced although something would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recreate {
    /// Only when nothing runs in it and nothing outside of mounts was changed.
    WhenNothingIsLost,
    /// The user has said so.
    Allowed,
}

/// One workspace, its configuration and a connection to its engine: what every workflow starts from.
#[derive(Debug)]
pub struct Workspace {
    pub loaded: Loaded,
    pub engine: Engine,
    pub host: HostUser,
    pub progress: Progress,
    /// Of this workspace on this engine: two engines may hold a container each, and each has a venv and a
    /// socket of its own.
    place: String,
    /// See [`Workspace::shared`].
    shared: RwLock<HostPath>,
    /// What is known of a driver that only the engine reaches.
    there: there::Kept,
}

impl Workspace {
    /// Connects to the engine that the configuration names.
    ///
    /// # Errors
    /// Of [`endpoint::locate`] and [`Engine::connect`].
    pub async fn open(loaded: Loaded, progress: Progress) -> Result<Self> {
        let located = endpoint::locate(loaded.config.engine.host.as_deref(), &Surroundings::of_process())?;
        let place = format!("{}-{}", &loaded.identity.id[..8], located.endpoint.key());
        let engine = Engine::connect(located).await?;
        for warning in &loaded.warnings {
            progress.warn(warning.clone());
        }
        let shared = RwLock::new(visibility::shared(&loaded.state, &place, &loaded.config.paths.data));
        Ok(Self { loaded, engine, host: HostUser::current(), progress, place, shared, there: there::Kept::default() })
    }

    /// Where everything lies that a container mounts of ours: `[paths] data`, or another folder where the engine does
    /// not see that one. Locks stay in `[paths] data`, so that there is one of each whatever is shared.
    pub fn shared(&self) -> HostPath {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Only [`visibility`] decides that.
    fn share(&self, folder: HostPath) {
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = folder;
    }

    /// A stage of a workflow begins, unless it is no longer wanted.
    fn reach(&self, place: &'static str) -> Result<()> {
        crate::failpoint::hit(place)?;
        Ok(self.progress.check()?)
    }

    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// The workspace's folder, canonical.
    pub fn folder(&self) -> &HostPath {
        &self.loaded.workspace
    }

    /// The identity, 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.loaded.identity.id
    }

    pub fn id8(&self) -> &str {
        &self.loaded.identity.id[..8]
    }

    /// `gpubay-<slug>-<id8>`
    pub fn base_name(&self) -> String {
        self.loaded.identity.container_name()
    }

    /// Tells apart the users of all machines that share an engine.
    pub fn user_key(&self) -> &str {
        &self.loaded.identity.user
    }

    /// The dev container's name.
    pub fn dev_name(&self) -> String {
        self.config().container.engine.name.clone().unwrap_or_else(|| self.base_name())
    }

    /// Where images that are built for this workspace get their tags.
    fn repository(&self) -> String {
        format!("gpubay/{}", self.base_name().trim_start_matches("gpubay-"))
    }

    fn image_labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (ID.to_owned(), self.id().to_owned()),
            (WORKSPACE.to_owned(), self.folder().to_string()),
            (labels::SCHEMA_LABEL.to_owned(), labels::SCHEMA.to_owned()),
        ])
    }

    /// `own`: no other workspace has it.
    fn volume_labels(&self, own: bool) -> HashMap<String, String> {
        let mut labels = HashMap::from([
            (labels::OWNER.to_owned(), self.host.uid.to_string()),
            (labels::SCHEMA_LABEL.to_owned(), labels::SCHEMA.to_owned()),
        ]);
        if own {
            labels.insert(ID.to_owned(), self.id().to_owned());
            labels.insert(WORKSPACE.to_owned(), self.folder().to_string());
        }
        labels
    }

    /// Folders of the workspace that are ours and never part of a build's context.
    fn never_in_context(&self) -> Vec<String> {
        host_env::names(self)
    }

    /// What is remembered of one image, to save asking it again.
    fn image_cache(&self, image: &Image) -> HostPath {
        let short = image.id.trim_start_matches("sha256:");
        self.config().paths.cache.join("images").join(&short[..short.len().min(24)])
    }

    /// Where the host side of the venv lies.
    fn venv_folder(&self) -> HostPath {
        self.shared().join("venvs").join(&self.place)
    }

    /// The folder with the socket of the dev container's agent.
    pub fn run_folder(&self) -> HostPath {
        self.shared().join("run").join(&self.place)
    }

    /// The same of a job's.
    fn job_run_folder(&self, job: &str) -> HostPath {
        self.shared().join("run").join(format!("{}-{job}", self.place))
    }

    /// A container of `image` that is never started, to look into the image. The caller removes it.
    async fn helper_container(&self, image: &Image) -> Result<String> {
        let spec = self.helper_spec(&image.id);
        Ok(self.engine.create(&spec).await?)
    }

    /// Helpers of this workspace that are there while its lock is ours were left behind by a process that was killed.
    async fn remove_stale_helpers(&self) -> Result<()> {
        let mut found = self.engine.list(&[(ID, self.id()), (ROLE, Role::Helper.as_str())]).await?;
        found.retain(|helper| {
            (!ticket::is_ticket(helper) || leases::is_unstarted(helper)) && !there::is_somebodys(helper)
        });
        for stale in found {
            self.engine.remove(&stale.id).await?;
        }
        Ok(())
    }

    fn helper_spec(&self, image: &str) -> CreateSpec {
        helper_spec(self.folder(), self.id(), self.host.uid, image)
    }
}

/// No network, no workspace, nothing of the user's.
fn helper_spec(folder: &HostPath, id: &str, uid: u32, image: &str) -> CreateSpec {
    CreateSpec {
        name: format!("gpubay-helper-{}-{}", id.get(..8).unwrap_or(id), unique()),
        image: image.to_owned(),
        labels: labels::common(folder, id, uid, Role::Helper),
        env: BTreeMap::new(),
        entrypoint: vec![gpubay_protocol::agent::AGENT_PATH.to_owned()],
        cmd: vec!["init".to_owned()],
        user: "0:0".to_owned(),
        workdir: crate::ContainerPath::new("/").expect("an absolute path"),
        mounts: Vec::new(),
        ports: Vec::new(),
        groups: Vec::new(),
        shm_size: None,
        cpus: None,
        memory: None,
        network: "none".to_owned(),
        restart: crate::config::model::Restart::No,
        // The image's own health check would run in it, as root.
        options: EngineOptions { health: Some(Health::none()), ..EngineOptions::default() },
        gpu: GpuRequest::None,
        stdio: Stdio::Detached,
        removes_itself: true,
    }
}
/// Differs between two calls on this machine, also of two processes.
fn unique() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:08x}", hasher.finish() as u32)
}

/// Saves work next time. That it cannot be written is no failure of the workflow.
fn write_cache(path: &HostPath, value: &impl Serialize) {
    let write = || -> std::io::Result<()> {
        let folder = path.as_path().parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, value)?;
        file.persist(path.as_path())?;
        Ok(())
    };
    if let Err(error) = write() {
        tracing::debug!(path = %path, %error, "cache not written");
    }
}

fn read_cache<T: serde::de::DeserializeOwned>(path: &HostPath) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path.as_path()).ok()?).ok()
}

/// Where the helper's own executable lies, for the shim's messages.
fn helper_executable() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/local/bin/gpubay"))
}
