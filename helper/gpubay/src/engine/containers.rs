//! Containers: make, start, look, list, stop, remove; their end.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;

use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder,
    StopContainerOptionsBuilder, TopOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::{Stream, StreamExt};
use gpubay_protocol::agent::{AGENT_PATH, Process, is_engines_init};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncWrite;

use super::logs::chunk;
use super::{CreateSpec, Engine, EngineError, Flavour, LogChunk, error::sort, labels};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    Created,
    Running,
    Paused,
    Restarting,
    /// With its exit code, and whether the kernel killed it for its memory.
    Exited {
        code: i64,
        out_of_memory: bool,
    },
    /// Being removed, or beyond repair.
    Dead,
}

impl ContainerState {
    /// The engine's word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited { .. } => "exited",
            Self::Dead => "dead",
        }
    }
}

/// What the engine says of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub name: String,
    /// The image's id, `sha256:…`.
    pub image: String,
    pub labels: BTreeMap<String, String>,
    pub state: ContainerState,
    /// `uid:gid` as it was created.
    pub user: String,
    /// When it was made, in nanoseconds since the Unix epoch by the engine's clock; 0 where that is not told.
    pub created: i128,
    /// RFC 3339, or empty.
    pub started_at: String,
    /// When it ended, in seconds since the Unix epoch.
    pub finished: Option<u64>,
    /// `NAME=value`
    pub env: Vec<String>,
    /// Host ports by container port: `6006/tcp` -> `127.0.0.1:6007`.
    pub ports: BTreeMap<String, Vec<String>>,
    /// What is mounted, and folders in memory.
    pub mounts: Vec<MountPoint>,
}

/// A mount as the engine tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountPoint {
    /// On the engine's machine.
    pub source: Option<String>,
    /// The volume's name, where it is one.
    pub volume: Option<String>,
    pub target: String,
    pub writable: bool,
}

impl Container {
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// One line of a list of containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: String,
    pub name: String,
    pub image: String,
    /// `sha256:…`
    pub image_id: String,
    pub labels: BTreeMap<String, String>,
    /// `running`, `exited`, …
    pub state: String,
    /// In the engine's words: `Up 3 minutes`.
    pub status: String,
    /// Seconds since the Unix epoch.
    pub created: i64,
    /// What is mounted.
    pub mounts: Vec<MountPoint>,
}

impl Listed {
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// The standard streams of a container.
pub struct Attached {
    pub output: Pin<Box<dyn Stream<Item = Result<LogChunk, EngineError>> + Send>>,
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached").finish_non_exhaustive()
    }
}

impl Engine {
    /// `None` when there is no container of that name or id.
    pub async fn container(&self, name: &str) -> Result<Option<Container>, EngineError> {
        let doing = format!("inspect container {name}");
        let found = if self.is_read_raw() {
            self.inspection(name, &doing).await
        } else {
            self.docker.inspect_container(name, None).await.map_err(|error| sort(&doing, error))
        };
        let found = match found {
            Ok(found) => found,
            Err(EngineError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let config = found.config.unwrap_or_default();
        let state = found.state.unwrap_or_default();
        let ports = found.network_settings.and_then(|network| network.ports).unwrap_or_default();
        let in_memory = found.host_config.and_then(|host| host.tmpfs).unwrap_or_default().into_keys();
        let in_memory = in_memory.map(|target| MountPoint { target, writable: true, ..MountPoint::default() });
        let mounts = found.mounts.unwrap_or_default().into_iter().map(mount_point);
        Ok(Some(Container {
            id: found.id.unwrap_or_default(),
            name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            image: found.image.unwrap_or_default(),
            labels: labels::of_container(config.labels),
            created: found.created.map(OffsetDateTime::unix_timestamp_nanos).unwrap_or_default(),
            started_at: state.started_at.clone().unwrap_or_default(),
            finished: state.finished_at.as_deref().and_then(seconds),
            state: state_of(&state),
            user: config.user.unwrap_or_default(),
            env: config.env.unwrap_or_default(),
            mounts: mounts.chain(in_memory).collect(),
            ports: ports
                .into_iter()
                .map(|(port, bindings)| {
                    let address = |binding: bollard::models::PortBinding| {
                        format!("{}:{}", binding.host_ip.unwrap_or_default(), binding.host_port.unwrap_or_default())
                    };
                    (port, bindings.unwrap_or_default().into_iter().map(address).collect())
                })
                .collect(),
        }))
    }

    /// Makes a container and returns its id.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when the name is taken: the engine's uniqueness of names is the
    /// lock between processes.
    pub async fn create(&self, spec: &CreateSpec) -> Result<String, EngineError> {
        let mut options = CreateContainerOptionsBuilder::default().name(&spec.name);
        if let Some(platform) = &spec.options.platform {
            options = options.platform(platform);
        }
        let doing = format!("create container {}", spec.name);
        let mut body = spec.body();
        if self.flavour == Flavour::Podman {
            let refused = |message| EngineError::Refused { doing: doing.clone(), status: 0, message };
            body = super::fit::for_podman(body).map_err(refused)?;
        }
        let made =
            self.docker.create_container(Some(options.build()), body).await.map_err(|error| sort(&doing, error))?;
        Ok(made.id)
    }

    /// Starting one that runs is no error.
    pub async fn start(&self, name: &str) -> Result<(), EngineError> {
        let doing = format!("start container {name}");
        self.docker.start_container(name, None).await.map_err(|error| sort(&doing, error))
    }

    /// Ends it with its stop signal, and after `grace` seconds for good. Stopping one that does not
    /// run is no error.
    pub async fn stop(&self, name: &str, grace: i32) -> Result<(), EngineError> {
        let options = StopContainerOptionsBuilder::default().t(grace).build();
        let doing = format!("stop container {name}");
        let stop =
            async |options| self.docker.stop_container(name, Some(options)).await.map_err(|error| sort(&doing, error));
        match stop(options.clone()).await {
            // Docker lets a paused one go on for its end, Podman refuses.
            Err(error) if self.flavour == Flavour::Podman => {
                let state = self.container(name).await?.map(|container| container.state);
                if state != Some(ContainerState::Paused) {
                    return Err(error);
                }
                self.docker.unpause_container(name).await.map_err(|error| sort(&doing, error))?;
                stop(options).await
            }
            stopped => stopped,
        }
    }

    pub async fn kill(&self, name: &str, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let doing = format!("send {signal} to container {name}");
        self.docker.kill_container(name, Some(options)).await.map_err(|error| sort(&doing, error))
    }

    /// Removes it with its anonymous volumes, running or not. One that is gone is no error.
    pub async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let doing = format!("remove container {name}");
        match self.docker.remove_container(name, Some(options)).await.map_err(|error| sort(&doing, error)) {
            Err(EngineError::NotFound { .. }) => Ok(()),
            // Somebody else is removing it already: wait until they have.
            Err(EngineError::Conflict { message, .. }) if message.contains("already in progress") => {
                let options = WaitContainerOptionsBuilder::default().condition("removed").build();
                let mut end = std::pin::pin!(self.docker.wait_container(name, Some(options)));
                while let Some(item) = end.next().await {
                    if item.is_err() {
                        break;
                    }
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Removes one that never ran.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] or [`EngineError::Refused`] for one that runs by now. One that is gone is no error.
    pub async fn remove_unstarted(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().v(true).build();
        let doing = format!("remove container {name}, which never ran");
        match self.docker.remove_container(name, Some(options)).await.map_err(|error| sort(&doing, error)) {
            Err(EngineError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Containers in any state that carry all of `labels`.
    pub async fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<Listed>, EngineError> {
        let wanted: Vec<String> = labels
            .iter()
            .map(|(name, value)| if value.is_empty() { (*name).to_owned() } else { format!("{name}={value}") })
            .collect();
        let filters = HashMap::from([("label".to_owned(), wanted)]);
        let doing = "list containers";
        let found = if self.is_read_raw() {
            let filters = serde_json::to_string(&filters).unwrap_or_default();
            self.summaries(&filters, doing).await?
        } else {
            let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
            self.docker.list_containers(Some(options)).await.map_err(|error| sort(doing, error))?
        };
        let listed = |container: bollard::models::ContainerSummary| Listed {
            id: container.id.unwrap_or_default(),
            name: container
                .names
                .unwrap_or_default()
                .first()
                .map(|name| name.trim_start_matches('/').to_owned())
                .unwrap_or_default(),
            image: container.image.unwrap_or_default(),
            image_id: container.image_id.unwrap_or_default(),
            labels: labels::of_container(container.labels),
            state: container.state.map(|state| state.to_string()).unwrap_or_default(),
            status: container.status.unwrap_or_default(),
            created: container.created.unwrap_or_default(),
            mounts: container.mounts.unwrap_or_default().into_iter().map(mount_point).collect(),
        };
        Ok(found.into_iter().map(listed).collect())
    }

    /// Paths that the container changed, added or removed since it was made.
    pub async fn changes(&self, name: &str) -> Result<Vec<String>, EngineError> {
        let doing = format!("ask what changed in {name}");
        let changes = self.docker.container_changes(name).await.map_err(|error| sort(&doing, error))?;
        Ok(changes.unwrap_or_default().into_iter().map(|change| change.path).collect())
    }

    /// What runs in a container besides its first process, as the engine sees it from outside.
    pub async fn processes(&self, name: &str) -> Result<Vec<Process>, EngineError> {
        let doing = format!("ask what runs in {name}");
        // Podman runs a `ps` of the container's own for what it is not asked in its own words.
        let podman = self.flavour == Flavour::Podman;
        let options = podman.then(|| TopOptionsBuilder::default().ps_args("hpid,args").build());
        let found = match self.docker.top_processes(name, options).await.map_err(|error| sort(&doing, error)) {
            Ok(found) => found,
            // It has ended meanwhile.
            Err(EngineError::Conflict { .. } | EngineError::NotFound { .. }) => return Ok(Vec::new()),
            // The answer is empty where it does not run: Podman tells of no other.
            Err(error) if podman => {
                return match self.container(name).await?.map(|container| container.state) {
                    Some(ContainerState::Running) => Err(error),
                    Some(ContainerState::Paused) => Ok(vec![untold()]),
                    _ => Ok(Vec::new()),
                };
            }
            Err(error) => return Err(error),
        };
        let titles = found.titles.unwrap_or_default();
        let column = |names: &[&str]| titles.iter().position(|title| names.contains(&title.as_str()));
        let (pid, command) = (column(&["PID", "HPID"]), column(&["CMD", "COMMAND", "ARGS"]));
        let text = |row: &[String], at: Option<usize>| at.and_then(|at| row.get(at)).cloned().unwrap_or_default();
        let rows = found.processes.unwrap_or_default();
        let process = |row: &Vec<String>| Process {
            pid: text(row, pid).parse().unwrap_or_default(),
            uid: 0,
            argv: vec![text(row, command)],
            started: 0,
        };
        let words = |process: &Process| process.argv[0].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let ours = |process: &Process| process.argv[0].starts_with(AGENT_PATH) || is_engines_init(&words(process));
        Ok(rows.iter().map(process).filter(|process| !ours(process)).collect())
    }

    pub async fn attach(&self, name: &str) -> Result<Attached, EngineError> {
        let options =
            AttachContainerOptionsBuilder::default().stdin(true).stdout(true).stderr(true).stream(true).build();
        let doing = format!("attach to container {name}");
        let attached = self.docker.attach_container(name, Some(options)).await.map_err(|error| sort(&doing, error))?;
        let output = attached.output.map(move |item| item.map(chunk).map_err(|error| sort(&doing, error)));
        Ok(Attached { output: Box::pin(output), input: attached.input })
    }

    pub async fn resize(&self, name: &str, rows: u16, columns: u16) -> Result<(), EngineError> {
        let options = ResizeContainerTTYOptionsBuilder::default().h(i32::from(rows)).w(i32::from(columns)).build();
        let doing = format!("resize the terminal of {name}");
        self.docker.resize_container_tty(name, options).await.map_err(|error| sort(&doing, error))
    }

    /// Waits for its end and returns its exit code.
    pub async fn wait(&self, name: &str) -> Result<i64, EngineError> {
        let doing = format!("wait for container {name}");
        let mut stream = std::pin::pin!(self.docker.wait_container(name, None));
        match stream.next().await {
            Some(Ok(end)) => Ok(end.status_code),
            // bollard makes an error of every non-zero code; an exit code is an answer here.
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(sort(&doing, error)),
            None => Err(EngineError::Lost { doing, message: "the answer never came".to_owned() }),
        }
    }
}

/// Stands for all of those that the engine does not tell.
fn untold() -> Process {
    Process { pid: 0, uid: 0, argv: vec!["whatever was paused".to_owned()], started: 0 }
}

/// Of RFC 3339. What has not ended yet has ended in the year 1.
fn seconds(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok().filter(|seconds| *seconds > 0)
}

fn mount_point(mount: bollard::models::MountPoint) -> MountPoint {
    MountPoint {
        source: mount.source.filter(|source| !source.is_empty()),
        volume: mount.name.filter(|name| !name.is_empty()),
        target: mount.destination.unwrap_or_default(),
        writable: mount.rw.unwrap_or(true),
    }
}

fn state_of(state: &bollard::models::ContainerState) -> ContainerState {
    use bollard::models::ContainerStateStatusEnum as S;
    match state.status {
        Some(S::RUNNING) => ContainerState::Running,
        Some(S::PAUSED) => ContainerState::Paused,
        Some(S::RESTARTING) => ContainerState::Restarting,
        Some(S::EXITED) => ContainerState::Exited {
            code: state.exit_code.unwrap_or_default(),
            out_of_memory: state.oom_killed.unwrap_or_default(),
        },
        Some(S::CREATED) => ContainerState::Created,
        _ => ContainerState::Dead,
    }
}
