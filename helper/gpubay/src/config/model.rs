//! The configuration after everything is decided: files merged, defaults filled, paths absolute,
//! sizes in bytes. The rest of the core sees only this.

use std::collections::BTreeMap;

use crate::{ContainerPath, HostPath};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub image: Image,
    pub container: Container,
    pub gpus: Gpus,
    pub venv: Venv,
    pub jobs: BTreeMap<String, Job>,
    pub engine: Engine,
    pub paths: Paths,
}

/// Where the image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// A reference used as it is; nothing is built.
    From(String),
    Build(Build),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    pub dockerfile: Dockerfile,
    pub context: HostPath,
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub secrets: Vec<Secret>,
    /// A name for the image besides our own.
    pub tag: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dockerfile {
    File(HostPath),
    /// Nothing but a requirements file in the workspace: this text is built, and its name for messages.
    Generated {
        text: String,
        because: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub id: String,
    pub source: SecretSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the helper's environment.
    Env(String),
    File(HostPath),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Where the workspace is mounted, and the working directory.
    pub workdir: ContainerPath,
    pub mounts: Vec<Mount>,
    pub user: User,
    pub entrypoint: EntrypointUse,
    /// In bytes; `None`: half of the engine's memory, at most 16 GiB.
    pub shm_size: Option<u64>,
    /// `env_file` first, then `env`.
    pub env: BTreeMap<String, String>,
    pub ports: Vec<Port>,
    pub cache: Cache,
    /// Folders that survive a recreate; `~` is the container user's home.
    pub persist: Vec<String>,
    /// In units of one CPU.
    pub cpus: Option<Decimal>,
    /// In bytes.
    pub memory: Option<u64>,
    pub network: String,
    pub restart: Restart,
    pub engine: EngineOptions,
}

/// A decimal number as text that is known to parse, so that configurations can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal(pub String);

impl Decimal {
    pub fn value(&self) -> f64 {
        self.0.parse().unwrap_or(0.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub source: MountSource,
    pub target: ContainerPath,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    Host(HostPath),
    Volume(String),
    Tmpfs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// The host's user, so that files in the workspace belong to them.
    Host,
    /// What the image's USER says.
    Image,
    Root,
    Ids {
        uid: u32,
        gid: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntrypointUse {
    /// Run once for the environment that it leaves.
    Image,
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Address on the host; `127.0.0.1` unless written out.
    pub address: std::net::IpAddr,
    /// On the host; the next free one is taken where it is in use.
    pub host: u16,
    pub container: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// One volume for all of a user's workspaces.
    User,
    Workspace,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    No,
    Always,
    UnlessStopped,
    OnFailure { most: Option<u32> },
}

/// What `docker run` takes, by the engine's own names. Filled from the keys of `[container]` and
/// from `docker_args`, which are two spellings of the same things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    pub name: Option<String>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub mac_address: Option<String>,
    pub ipc: Option<String>,
    pub pid: Option<String>,
    pub uts: Option<String>,
    pub userns: Option<String>,
    pub cgroupns: Option<String>,
    pub cgroup_parent: Option<String>,
    pub runtime: Option<String>,
    pub platform: Option<String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_option: Vec<String>,
    /// `name:address`
    pub extra_hosts: Vec<String>,
    pub network_aliases: Vec<String>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub devices: Vec<Device>,
    pub device_cgroup_rules: Vec<String>,
    pub security_opt: Vec<String>,
    pub privileged: bool,
    pub ulimits: Vec<Ulimit>,
    pub sysctls: BTreeMap<String, String>,
    pub cpuset: Option<String>,
    pub cpuset_mems: Option<String>,
    pub cpu_shares: Option<i64>,
    pub cpu_period: Option<i64>,
    pub cpu_quota: Option<i64>,
    pub memory_swap: Option<i64>,
    pub memory_reservation: Option<u64>,
    pub memory_swappiness: Option<i64>,
    pub oom_kill_disable: bool,
    pub oom_score_adj: Option<i64>,
    pub pids_limit: Option<i64>,
    pub blkio_weight: Option<u16>,
    pub group_add: Vec<String>,
    pub init: Option<bool>,
    pub read_only: bool,
    pub volumes_from: Vec<String>,
    pub volume_driver: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub timezone: Option<String>,
    pub stop_signal: Option<String>,
    /// Seconds.
    pub stop_timeout: Option<i64>,
    pub log_driver: Option<String>,
    pub log_opts: BTreeMap<String, String>,
    pub storage_opts: BTreeMap<String, String>,
    pub publish_all: bool,
    /// `3000/tcp`
    pub expose: Vec<String>,
    /// Folders in memory with options of their own: path and `size=64m,mode=1777`.
    pub tmpfs: BTreeMap<String, String>,
    pub ip: Option<String>,
    pub ip6: Option<String>,
    pub link_local_ips: Vec<String>,
    /// `container[:alias]`
    pub links: Vec<String>,
    pub health: Option<Health>,
    /// Microseconds.
    pub cpu_rt_period: Option<i64>,
    /// Microseconds.
    pub cpu_rt_runtime: Option<i64>,
    /// Device and weight.
    pub blkio_weight_devices: Vec<(String, u64)>,
    /// Device and bytes per second, likewise below; `iops` are operations per second.
    pub device_read_bps: Vec<(String, u64)>,
    pub device_write_bps: Vec<(String, u64)>,
    pub device_read_iops: Vec<(String, u64)>,
    pub device_write_iops: Vec<(String, u64)>,
}

/// A health check in place of the image's. Times are in nanoseconds, as the engine takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// As the engine takes it: `["CMD-SHELL", text]`, `["NONE"]`, or empty for the image's own.
    pub test: Vec<String>,
    pub interval: Option<i64>,
    pub timeout: Option<i64>,
    pub start_period: Option<i64>,
    pub start_interval: Option<i64>,
    pub retries: Option<i64>,
}

impl Health {
    /// None, whatever the image says.
    pub fn none() -> Self {
        Self { test: vec!["NONE".to_owned()], ..Self::default() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub host: String,
    pub container: String,
    /// Of `rwm`.
    pub permissions: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpus {
    pub select: GpuSelection,
    /// Without any GPU: an error instead of the CPU.
    pub required: bool,
    pub isolation: Isolation,
    /// Force one way instead of asking the engine.
    pub injection: Option<Injection>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuSelection {
    /// One free GPU.
    Auto,
    All,
    None,
    Count(GpuCount),
    /// Indices, UUIDs or MIG UUIDs as written; their order is kept.
    Named(Vec<String>),
}

/// So many GPUs, each of which is like that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuCount {
    pub count: u32,
    /// Bytes.
    pub min_free: Option<u64>,
    /// Part of the model's name, in either case: `h100`.
    pub name: Option<String>,
    /// A MIG slice of this profile: `1g.10gb`.
    pub mig: Option<String>,
}

impl GpuCount {
    /// Whichever they are.
    pub fn of(count: u32) -> Self {
        Self { count, min_free: None, name: None, mig: None }
    }
}

/// In the largest unit that it is a whole number of.
fn in_units(bytes: u64) -> String {
    let units = [(30, "g"), (20, "m"), (10, "k")];
    let fits = units.iter().find(|(shift, _)| bytes.trailing_zeros() >= *shift);
    fits.map_or_else(|| format!("{bytes}b"), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

impl GpuSelection {
    /// As `--gpus` takes it.
    pub fn typed(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::All => "all".to_owned(),
            Self::None => "none".to_owned(),
            Self::Count(GpuCount { count, min_free: None, name: None, mig: None }) => count.to_string(),
            Self::Count(GpuCount { count, min_free, name, mig }) => {
                let mut parts = vec![format!("count={count}")];
                parts.extend(min_free.map(|bytes| format!("min_free={}", in_units(bytes))));
                parts.extend(name.as_ref().map(|name| format!("name={name}")));
                parts.extend(mig.as_ref().map(|mig| format!("mig={mig}")));
                parts.join(",")
            }
            // A number alone would be a count.
            Self::Named(names) => format!("device={}", names.join(",")),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Soft,
    Hard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    Cdi,
    NvidiaRuntime,
    Direct,
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Venv {
    /// A single name directly under the workdir.
    pub name: String,
    /// Installed into the venv, in this order.
    pub requirements: Vec<HostPath>,
    pub installer: Installer,
    /// The image's interpreter, where it is not to be searched for.
    pub python: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installer {
    Pip,
    Uv,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub command: Vec<String>,
    pub gpus: Option<GpuSelection>,
    /// Above the container's.
    pub env: BTreeMap<String, String>,
    pub workdir: Option<JobWorkdir>,
    pub snapshot: bool,
    /// Relative to the workspace; what stays its own where there is a snapshot.
    pub live: Vec<String>,
}

/// Where a job starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobWorkdir {
    /// Below the workspace.
    Below(String),
    Inside(ContainerPath),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// As `DOCKER_HOST` writes it. `None`: `DOCKER_HOST`, then the current docker context, then the local socket.
    pub host: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Venvs, the agent, run folders, approvals: what must last.
    pub data: HostPath,
    /// Mirrors and caches: what can be made again.
    pub cache: HostPath,
}
