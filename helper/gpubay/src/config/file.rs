//! `gpubay.toml` and `~/.config/gpubay/config.toml` as they are written: everything optional, nothing
//! decided. The comments of the fields are the descriptions in the JSON schema.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// GPU Bay's configuration of a workspace. Everything is optional.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "gpubay.toml")]
pub struct File {
    /// Where the image comes from.
    pub image: Image,
    /// How the container is made.
    pub container: Container,
    /// Which GPUs the container gets.
    pub gpus: Gpus,
    /// The Python virtual environment inside the container.
    pub venv: Venv,
    /// Commands that `gpubay run NAME` runs in a container of their own.
    pub jobs: BTreeMap<String, Job>,
    /// The Docker-compatible engine to talk to.
    pub engine: Engine,
    /// Where GPU Bay keeps its own files on the host.
    pub paths: Paths,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Image {
    /// An image to use as it is, instead of building one.
    pub from: Option<String>,
    /// The Dockerfile, relative to the workspace. Without it: `Dockerfile`, else the only `docker/*/Dockerfile`.
    pub dockerfile: Option<String>,
    /// The build context, relative to the workspace; the workspace itself unless set.
    pub context: Option<String>,
    /// Build arguments. `USER_UID`, `USER_GID`, `UID`, `GID` and `USER_NAME` fill themselves when declared.
    pub args: BTreeMap<String, String>,
    /// The stage of the Dockerfile to build.
    pub target: Option<String>,
    /// `BuildKit` secrets, `id=env:VARIABLE` or `id=file:path`; never build arguments.
    pub secrets: Vec<String>,
    /// A name for the image besides GPU Bay's own.
    pub tag: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Container {
    /// Where the workspace is mounted, `/workspace` unless set; `host` is the same path as outside.
    pub workdir: Option<String>,
    /// `host-path:/path`, `host-path:/path:ro` or `volume:/path`.
    pub mounts: Vec<String>,
    /// `host` (the user's own ids), `image`, `root` or numbers such as `1000:1000`.
    pub user: Option<String>,
    /// `image` runs the image's entrypoint once and keeps the environment that it leaves.
    pub entrypoint: Option<Entrypoint>,
    /// Size of /dev/shm; unless set 16g, at most half of the memory.
    pub shm_size: Option<Size>,
    /// Variables of the container.
    pub env: BTreeMap<String, String>,
    /// Files of `KEY=value` lines as docker compose reads them (`export`, quotes), read before `env`.
    pub env_file: Option<OneOrMany>,
    /// Ports to publish, on 127.0.0.1 unless another address is written out: `6006`, `8080:80`, `0.0.0.0:6006`.
    pub ports: Vec<PortEntry>,
    /// The volume behind ~/.cache: `true` one for the user, `workspace` one for the workspace, `false` none.
    pub cache: Option<Cache>,
    /// Folders that survive a recreate; `~` is the container user's home.
    pub persist: Option<Vec<String>>,
    /// How many CPUs the container may use.
    pub cpus: Option<Number>,
    /// The memory limit.
    pub memory: Option<Size>,
    /// The network: `bridge`, `none`, `host` or the name of one.
    pub network: Option<String>,
    /// `no`, `always`, `unless-stopped` or `on-failure[:times]`.
    pub restart: Option<String>,
    /// The container's name instead of GPU Bay's own.
    pub name: Option<String>,
    /// The host name inside.
    pub hostname: Option<String>,
    /// The IPC mode: `private`, `shareable`, `host`, `none` or `container:NAME`.
    pub ipc: Option<String>,
    /// DNS servers.
    pub dns: Vec<String>,
    /// `name:address` entries for /etc/hosts.
    pub extra_hosts: Vec<String>,
    /// Linux capabilities to add.
    pub cap_add: Vec<String>,
    /// Linux capabilities to drop.
    pub cap_drop: Vec<String>,
    /// Device nodes, `/dev/host[:/dev/inside[:rwm]]`. GPUs belong into `[gpus]`.
    pub devices: Vec<String>,
    /// Security options, such as `seccomp=unconfined`.
    pub security_opt: Vec<String>,
    /// All capabilities and all devices.
    pub privileged: Option<bool>,
    /// Limits, `name=soft[:hard]`.
    pub ulimits: Vec<String>,
    /// The CPUs that may be used: `0-3`, `0,1`.
    pub cpuset: Option<String>,
    /// The relative weight of the CPU.
    pub cpu_shares: Option<i64>,
    /// Supplementary groups, by name or number.
    pub group_add: Vec<String>,
    /// Run the engine's own init as well.
    pub init: Option<bool>,
    /// Make the container's own file system read-only.
    pub read_only: Option<bool>,
    /// Containers whose volumes are mounted as well.
    pub volumes_from: Vec<String>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// The time zone, such as `Europe/Berlin`.
    pub timezone: Option<String>,
    /// Anything else that `docker run` takes, one argument an entry.
    pub docker_args: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gpus {
    /// `auto` (one free GPU), `all`, `none`, a number, a list of indices and UUIDs, or a table.
    #[serde(rename = "use")]
    pub select: Option<GpuUse>,
    /// Without any GPU: an error instead of the CPU.
    pub required: Option<bool>,
    /// `soft`: all allowed GPUs are inside and a variable selects; `hard`: only the selected ones are inside.
    pub isolation: Option<Isolation>,
    /// Force one way into the container instead of asking the engine.
    pub injection: Option<Injection>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Venv {
    /// One name directly under the workdir, `.venv` unless set.
    pub path: Option<String>,
    /// Requirements files to install, in this order, relative to the workspace.
    pub requirements: Option<Vec<String>>,
    /// What installs them.
    pub installer: Option<Installer>,
    /// The image's interpreter, where it is not to be searched for.
    pub python: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The job's GPUs, as in `[gpus] use`.
    #[serde(default)]
    pub gpus: Option<GpuUse>,
    /// Variables of this job, above those of the container.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it starts: a folder of the workspace, or an absolute path inside.
    #[serde(default)]
    pub workdir: Option<String>,
    /// Work on a frozen copy of the sources, as `run --snapshot` does.
    #[serde(default)]
    pub snapshot: bool,
    /// With a snapshot: folders that stay the workspace's own, as `run --live` names them.
    #[serde(default)]
    pub live: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// As `DOCKER_HOST` writes it: `unix:///path`, `ssh://user@host`, `tcp://host:2376`.
    pub host: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// Virtual environments and what must last; `~/.local/share/gpubay` unless set.
    pub data: Option<String>,
    /// Mirrors and what can be made again; `~/.cache/gpubay` unless set.
    pub cache: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Entrypoint {
    Image,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    Soft,
    Hard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Injection {
    Cdi,
    NvidiaRuntime,
    Direct,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Installer {
    Pip,
    Uv,
}

/// A number of bytes, or a text such as `512m` or `16g`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a size such as \"16g\" or a number of bytes")]
pub enum Size {
    Bytes(i64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a number")]
pub enum Number {
    Whole(i64),
    Decimal(f64),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a port such as \"6006\" or \"8080:80\"")]
pub enum PortEntry {
    Number(i64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a text or a list of texts")]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "true, false or \"workspace\"")]
pub enum Cache {
    Switch(bool),
    Scope(CacheScope),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheScope {
    Workspace,
}

/// Which GPUs: a word, a number, a list or a table.
// Read by hand, since an untagged enum would forget which key of the table is unknown.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum GpuUse {
    Text(String),
    Count(i64),
    Named(Vec<GpuName>),
    Request(GpuRequest),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "the index or UUID of a GPU")]
pub enum GpuName {
    Index(i64),
    Text(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GpuRequest {
    /// How many, 1 unless set.
    pub count: Option<i64>,
    /// Free memory that each must have.
    pub min_free: Option<Size>,
    /// Part of the model's name, such as `"H100"`.
    pub name: Option<String>,
    /// A MIG slice of this profile, such as `"1g.10gb"`.
    pub mig: Option<String>,
}

impl<'de> Deserialize<'de> for GpuUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = GpuUse;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\", \"all\", \"none\", a number, a list of GPUs or a table with count, min_free, name and mig")
            }

            fn visit_i64<E>(self, count: i64) -> Result<GpuUse, E> {
                Ok(GpuUse::Count(count))
            }

            fn visit_str<E>(self, text: &str) -> Result<GpuUse, E> {
                Ok(GpuUse::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<GpuUse, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(GpuUse::Named)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<GpuUse, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(table)).map(GpuUse::Request)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
