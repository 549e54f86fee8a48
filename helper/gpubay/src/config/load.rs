//! From a folder to its [`Config`]: the files found, read, merged and filled with the defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::discover::{Found, discover};
use super::error::{BadValue, ConfigError, Problem};
use super::identity::{Identity, machine_id};
use super::layer::{self, Context, Layer};
use super::model::{
    Build, Cache, Config, Container, Dockerfile, Engine, EngineOptions, EntrypointUse, GpuSelection, Gpus, Image,
    Installer, Isolation, Paths, Restart, User, Venv,
};
use super::parse::{dotted, locate, parse, read_text, text_of, unread};
use super::powers::{self, Power};
use super::reach;
use super::values::{Places, resolve_existing};
use super::{engine_host, gpu_values};
use crate::files::{self, FileError};
use crate::quoting::printable;
use crate::scaffold::bases;
use crate::{ContainerPath, HostPath};
use gpubay_protocol::agent::AGENT_DIR;

/// The workspace's own file.
pub const FILE_NAME: &str = "gpubay.toml";

/// What is mounted where, unless said otherwise.
const WORKDIR: &str = "/workspace";
const PERSIST: [&str; 2] = ["~/.vscode-server", "~/.config"];

const GENERATED: &str = "\
# Made by GPU Bay, since the workspace has a requirements.txt and no Dockerfile.
# The requirements are installed into the virtual environment, not into the image.
FROM ";

/// Everything that loading depends on; nothing else of the process is asked.
pub struct LoadRequest<'a> {
    /// The folder, as the user names it; relative to the current one.
    pub workspace: PathBuf,
    pub home: PathBuf,
    pub uid: u32,
    pub gid: u32,
    /// The helper's environment: for `XDG_*`, and for the variables that a configuration names.
    pub env: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// `/etc/machine-id`
    pub machine_id: PathBuf,
    pub overrides: Overrides,
}

/// What the command line says above every file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// As typed: `all`, `2`, `device=0,1`, `GPU-…,GPU-…`.
    pub gpus: Option<String>,
    pub data: Option<PathBuf>,
    pub cache: Option<PathBuf>,
}

/// A workspace as it is configured.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Canonical.
    pub workspace: HostPath,
    pub identity: Identity,
    /// The workspace's own file, where there is one.
    pub file: Option<HostPath>,
    /// What that file asks beyond the workspace, still to be approved.
    pub powers: Vec<Power>,
    /// The data folder that the user named, whatever the workspace's file says: approvals and choices
    /// live here, so that no workspace brings its own.
    pub state: HostPath,
    /// Holds the user's own file, where there is one.
    pub user_folder: HostPath,
    /// The user's, as far as it exists, resolved.
    pub home: HostPath,
    /// What the command line asked of `[gpus] use`, which is in [`Loaded::config`] as well.
    pub chosen_gpus: Option<String>,
    pub warnings: Vec<String>,
}

impl LoadRequest<'static> {
    /// From the process itself; for front ends. `None` where the user has no home.
    pub fn of_process(workspace: PathBuf) -> Option<Self> {
        Some(LoadRequest {
            workspace,
            home: std::env::home_dir().filter(|home| home.is_absolute())?,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            env: &|name| std::env::var(name).ok(),
            machine_id: "/etc/machine-id".into(),
            overrides: Overrides::default(),
        })
    }
}

/// Reads and decides everything. Nothing is written but, on a machine without an id, that id.
pub fn load(request: &LoadRequest<'_>) -> Result<Loaded, ConfigError> {
    let workspace = workspace(&request.workspace)?;
    let home = resolve_existing(&request.home);
    let context = Context { places: Places { workspace: workspace.as_path(), home: &home }, env: request.env };
    let user = read_layer(&user_file(request)?, context)?.unwrap_or_default();
    let own = read_own(&workspace.join(FILE_NAME), &workspace, context)?;
    decide(request, workspace.clone(), &home, user, own, Need::Everything)
}

/// What is wrong with `text` as the workspace's own file, which need not have been saved. Looks at what it names.
///
/// # Errors
/// As [`load`].
pub fn check(request: &LoadRequest<'_>, text: &str) -> Result<(), ConfigError> {
    let workspace = workspace(&request.workspace)?;
    let home = resolve_existing(&request.home);
    let context = Context { places: Places { workspace: workspace.as_path(), home: &home }, env: request.env };
    let user = read_layer(&user_file(request)?, context)?.unwrap_or_default();
    let own = layer_of(text, &workspace.join(FILE_NAME), context)?;
    decide(request, workspace.clone(), &home, user, Some(own), Need::Everything).map(drop)
}

/// [`check`] without looking at anything: keys, types and words only.
///
/// # Errors
/// Of reading the text.
pub fn check_syntax(request: &LoadRequest<'_>, text: &str) -> Result<(), ConfigError> {
    parse(text, &absolute(request.workspace.join(FILE_NAME))?).map(drop)
}

/// [`load`] for what only has to reach containers that are there. Their owner must get at them whatever became of the
/// files meanwhile: of a configuration that cannot be used, what says where they are is enough, and the error comes
/// along.
///
/// # Errors
/// Where that part is wrong, too, or there is no workspace.
pub fn load_to_reach(request: &LoadRequest<'_>) -> Result<(Loaded, Option<ConfigError>), ConfigError> {
    let error = match load(request) {
        Ok(loaded) => return Ok((loaded, None)),
        Err(error) => error,
    };
    let workspace = workspace(&request.workspace)?;
    let home = resolve_existing(&request.home);
    let context = Context { places: Places { workspace: workspace.as_path(), home: &home }, env: request.env };
    let user_file = user_file(request)?;
    let user = match read_layer(&user_file, context) {
        Ok(layer) => layer.unwrap_or_default(),
        Err(_) => reach::layer(read_text(user_file.as_path()).ok().flatten(), &user_file, context)?,
    };
    let own_file = workspace.join(FILE_NAME);
    let own = match read_own(&own_file, &workspace, context) {
        Ok(layer) => layer,
        // A file that lies outside or is none says nothing.
        Err(_) => Some(reach::layer(read_own_text(&own_file, &workspace).ok().flatten(), &own_file, context)?),
    };
    Ok((decide(request, workspace.clone(), &home, user, own, Need::ToReach)?, Some(error)))
}

fn user_file(request: &LoadRequest<'_>) -> Result<HostPath, ConfigError> {
    absolute(user_folder(request).join("config.toml"))
}

fn user_folder(request: &LoadRequest<'_>) -> PathBuf {
    xdg(request, "XDG_CONFIG_HOME", ".config").join("gpubay")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Everything,
    /// Nothing will be made, so nobody asks what from.
    ToReach,
}

fn decide(
    request: &LoadRequest<'_>,
    workspace: HostPath,
    home: &Path,
    user: Layer,
    own: Option<Layer>,
    need: Need,
) -> Result<Loaded, ConfigError> {
    let file = own.is_some().then(|| workspace.join(FILE_NAME));
    let own = own.unwrap_or_default();

    let state = state(request, &user)?;
    let cache = cache(request, own.cache_folder.as_ref().or(user.cache_folder.as_ref()))?;
    let data = match (&request.overrides.data, &own.data) {
        (None, Some(path)) => path.clone(),
        _ => state.clone(),
    };
    let identity = Identity::new(&machine_id(&request.machine_id, &state)?, request.uid, &workspace);

    let (image, generated_from) = match need {
        Need::Everything => image(&own, &user, &workspace, &state, &identity)?,
        Need::ToReach => (Image::From(String::new()), None),
    };
    let own_name = identity.container_name();
    let (uid, gid) = (request.uid, request.gid);
    let user_of = powers::Asker { workspace: &workspace, home, uid, gid, own_name: &own_name };
    let powers = powers::of(&own, &user, &image, generated_from.as_ref(), user_of);
    let none = |layer: &Layer| layer.select == Some(GpuSelection::None);
    // In one file that is its layer's to judge.
    let contradicting = match (&own, &user) {
        (own, user) if own.required == Some(true) && own.select.is_none() && none(user) => {
            Some((workspace.join(FILE_NAME), user_file(request)?))
        }
        (own, user) if own.required.is_none() && user.required == Some(true) && none(own) => {
            Some((user_file(request)?, workspace.join(FILE_NAME)))
        }
        _ => None,
    };
    let mut config = merge(own, user, image, Paths { data, cache });
    if let Some(requirements) = generated_from
        && config.venv.requirements.is_empty()
    {
        config.venv.requirements.push(requirements);
    }
    if let (Some((required, none)), Need::Everything, None) = (contradicting, need, &request.overrides.gpus) {
        let (required, none) = (printable(&required.to_string()), printable(&none.to_string()));
        let problem = BadValue::GpusRequiredElsewhere { required, none };
        return Err(ConfigError::Option { option: "[gpus]".to_owned(), problem });
    }
    if let Some(text) = &request.overrides.gpus {
        config.gpus.select =
            gpu_values::gpus(text).map_err(|problem| ConfigError::Option { option: "--gpus".to_owned(), problem })?;
    }
    if need == Need::Everything {
        reserved_places(&config)?;
    }
    let warnings = warnings(&config, &workspace, request);
    let chosen_gpus = request.overrides.gpus.clone();
    let user_folder = absolute(resolve_existing(&user_folder(request)))?;
    let home = absolute(home.to_owned())?;
    Ok(Loaded { config, workspace, identity, file, powers, state, user_folder, home, chosen_gpus, warnings })
}

/// Whose folder it was, and what the user's own file says: all that there is where the folder is gone, or its
/// own file cannot be read.
#[derive(Clone, Debug)]
pub struct Bare {
    /// As far as it exists, resolved.
    pub workspace: HostPath,
    pub identity: Identity,
    /// As [`super::model::Engine::host`].
    pub host: Option<String>,
    /// As [`Loaded::state`].
    pub state: HostPath,
    /// As [`Paths::cache`].
    pub cache: HostPath,
    machine: String,
    uid: u32,
}

impl Bare {
    /// Of another workspace of this user's on this machine.
    pub fn identity_of(&self, workspace: &HostPath) -> Identity {
        Identity::new(&self.machine, self.uid, workspace)
    }
}

/// Reads the user's own file only.
pub fn bare(request: &LoadRequest<'_>) -> Result<Bare, ConfigError> {
    let folder = std::path::absolute(&request.workspace).unwrap_or_else(|_| request.workspace.clone());
    let workspace = absolute(resolve_existing(&folder))?;
    let home = resolve_existing(&request.home);
    let places = Places { workspace: workspace.as_path(), home: &home };
    let user = read_layer(&user_file(request)?, Context { places, env: request.env })?.unwrap_or_default();
    let state = state(request, &user)?;
    let machine = machine_id(&request.machine_id, &state)?;
    let identity = Identity::new(&machine, request.uid, &workspace);
    let cache = cache(request, user.cache_folder.as_ref())?;
    Ok(Bare { workspace, identity, host: user.host, state, cache, machine, uid: request.uid })
}

fn cache(request: &LoadRequest<'_>, configured: Option<&HostPath>) -> Result<HostPath, ConfigError> {
    match (&request.overrides.cache, configured) {
        (Some(path), _) => absolute(resolve_existing(path)),
        (None, Some(path)) => Ok(path.clone()),
        (None, None) => absolute(resolve_existing(&xdg(request, "XDG_CACHE_HOME", ".cache").join("gpubay"))),
    }
}

fn state(request: &LoadRequest<'_>, user: &Layer) -> Result<HostPath, ConfigError> {
    match (&request.overrides.data, &user.data) {
        (Some(path), _) => absolute(resolve_existing(path)),
        (None, Some(path)) => Ok(path.clone()),
        (None, None) => absolute(resolve_existing(&xdg(request, "XDG_DATA_HOME", ".local/share").join("gpubay"))),
    }
}

fn workspace(path: &Path) -> Result<HostPath, ConfigError> {
    let shown = || printable(&path.display().to_string());
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(ConfigError::NoWorkspace(shown())),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(ConfigError::WorkspaceNotAFolder(shown()));
        }
        Err(source) => return Err(ConfigError::WorkspaceUnreadable { path: shown(), source }),
    };
    if !real.is_dir() {
        return Err(ConfigError::WorkspaceNotAFolder(shown()));
    }
    absolute(real)
}

fn absolute(path: PathBuf) -> Result<HostPath, ConfigError> {
    let shown = path.display().to_string();
    HostPath::new(path).map_err(|_| ConfigError::Relative(shown))
}

/// A relative value is to be ignored, says the XDG specification.
fn xdg(request: &LoadRequest<'_>, variable: &str, default: &str) -> PathBuf {
    (request.env)(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| request.home.join(default))
}

/// The workspace's own file. A link out of the workspace would make another file of the user's appear in
/// messages, so the file that was opened is asked where it lies: the name may lead elsewhere by then.
fn read_own(path: &HostPath, workspace: &HostPath, context: Context<'_>) -> Result<Option<Layer>, ConfigError> {
    read_own_text(path, workspace)?.map(|text| layer_of(&text, path, context)).transpose()
}

fn read_own_text(path: &HostPath, workspace: &HostPath) -> Result<Option<String>, ConfigError> {
    let opened = match files::open(path.as_path()) {
        Ok(opened) => opened,
        Err(FileError::Missing) => return Ok(None),
        Err(error) => return Err(unread(path.as_path(), error)),
    };
    let target = opened.place().map_err(|error| unread(path.as_path(), error))?;
    if !target.starts_with(workspace.as_path()) {
        let target = printable(&target.display().to_string());
        return Err(ConfigError::FileOutside { file: printable(&path.to_string()), target });
    }
    text_of(path.as_path(), opened).map(Some)
}

fn read_layer(path: &HostPath, context: Context<'_>) -> Result<Option<Layer>, ConfigError> {
    let Some(text) = read_text(path.as_path())? else { return Ok(None) };
    layer_of(&text, path, context).map(Some)
}

fn layer_of(text: &str, path: &HostPath, context: Context<'_>) -> Result<Layer, ConfigError> {
    let file = parse(text, path)?;
    layer::resolve(&file, context).map_err(|problem| placed(problem, text, path))
}

pub(super) fn placed(problem: Problem, text: &str, path: &HostPath) -> ConfigError {
    let place = Box::new(locate(text, path, &problem.key));
    ConfigError::Value { place, key: printable(&dotted(&problem.key)), problem: problem.bad }
}

/// What the image comes from, and the requirements file where only that was found.
fn image(
    own: &Layer,
    user: &Layer,
    workspace: &HostPath,
    state: &HostPath,
    identity: &Identity,
) -> Result<(Image, Option<HostPath>), ConfigError> {
    // The more particular wish wins: the workspace's file, then what lies in the folder, then the
    // user's default for all workspaces.
    if let Some(from) = &own.from {
        return Ok((Image::From(from.clone()), None));
    }
    let build = |dockerfile| {
        let mut args = user.args.clone();
        args.extend(own.args.clone());
        Image::Build(Build {
            dockerfile,
            context: own.context.as_ref().or(user.context.as_ref()).unwrap_or(workspace).clone(),
            args,
            target: own.target.clone().or_else(|| user.target.clone()),
            secrets: keyed(&user.secrets, &own.secrets, |secret| secret.id.clone()),
            tag: own.tag.clone().or_else(|| user.tag.clone()),
        })
    };
    if let Some(path) = &own.dockerfile {
        return Ok((build(Dockerfile::File(path.clone())), None));
    }
    let found = discover(workspace, state, identity)?;
    if let Found::Dockerfile(path) = found {
        return Ok((build(Dockerfile::File(path)), None));
    }
    if let Some(from) = &user.from {
        return Ok((Image::From(from.clone()), None));
    }
    if let Some(path) = &user.dockerfile {
        return Ok((build(Dockerfile::File(path.clone())), None));
    }
    match found {
        Found::Requirements(path) => {
            let because = "requirements.txt".to_owned();
            Ok((build(Dockerfile::Generated { text: format!("{GENERATED}{}\n", bases::PYTHON), because }), Some(path)))
        }
        _ => Err(ConfigError::NoDockerfile { workspace: printable(&workspace.to_string()) }),
    }
}

/// Both lists, where a later entry replaces an earlier one of the same key.
fn keyed<T: Clone, K: Ord>(first: &[T], second: &[T], key: impl Fn(&T) -> K) -> Vec<T> {
    let mut merged: Vec<T> = Vec::new();
    for entry in first.iter().chain(second) {
        match merged.iter_mut().find(|other| key(other) == key(entry)) {
            Some(other) => *other = entry.clone(),
            None => merged.push(entry.clone()),
        }
    }
    merged
}

fn both<K: Ord, V>(mut first: BTreeMap<K, V>, second: BTreeMap<K, V>) -> BTreeMap<K, V> {
    first.extend(second);
    first
}

/// The user's file gives the defaults: tables and lists of `[container]` add up, where one entry of
/// the workspace's replaces the user's of the same name, target or port; every other value replaces.
fn merge(own: Layer, user: Layer, image: Image, paths: Paths) -> Config {
    let mut engine = engine_options(own.engine_options, user.engine_options);
    engine.privileged = own.privileged.or(user.privileged).unwrap_or(false);
    engine.read_only = own.read_only.or(user.read_only).unwrap_or(false);
    let workdir = own.workdir.or(user.workdir);
    Config {
        image,
        container: Container {
            workdir: workdir.unwrap_or_else(|| ContainerPath::new(WORKDIR).expect("absolute")),
            mounts: keyed(&user.mounts, &own.mounts, |mount| mount.target.clone()),
            user: own.user.or(user.user).unwrap_or(User::Host),
            entrypoint: own.entrypoint.or(user.entrypoint).unwrap_or(EntrypointUse::Image),
            shm_size: own.shm_size.or(user.shm_size),
            env: both(user.env, own.env),
            ports: keyed(&user.ports, &own.ports, |port| {
                (port.container, port.protocol == super::model::Protocol::Udp)
            }),
            cache: own.cache.or(user.cache).unwrap_or(Cache::User),
            persist: own.persist.or(user.persist).unwrap_or_else(|| PERSIST.map(str::to_owned).to_vec()),
            cpus: own.cpus.or(user.cpus),
            memory: own.memory.or(user.memory),
            network: own.network.or(user.network).unwrap_or_else(|| "bridge".to_owned()),
            restart: own.restart.or(user.restart).unwrap_or(Restart::No),
            engine,
        },
        gpus: Gpus {
            select: own.select.or(user.select).unwrap_or(GpuSelection::Auto),
            required: own.required.or(user.required).unwrap_or(false),
            isolation: own.isolation.or(user.isolation).unwrap_or(Isolation::Soft),
            injection: own.injection.or(user.injection),
        },
        venv: Venv {
            name: own.venv.or(user.venv).unwrap_or_else(|| ".venv".to_owned()),
            requirements: own.requirements.or(user.requirements).unwrap_or_default(),
            installer: own.installer.or(user.installer).unwrap_or(Installer::Pip),
            python: own.python.or(user.python),
        },
        jobs: both(user.jobs, own.jobs),
        engine: Engine { host: own.host.or(user.host) },
        paths,
    }
}

fn engine_options(own: EngineOptions, user: EngineOptions) -> EngineOptions {
    fn list<T: PartialEq>(mut first: Vec<T>, second: Vec<T>) -> Vec<T> {
        for entry in second {
            if !first.contains(&entry) {
                first.push(entry);
            }
        }
        first
    }
    // Every field is named, so that a new one cannot be forgotten here.
    macro_rules! merged {
        (or: $($one:ident)*; list: $($many:ident)*; map: $($map:ident)*; any: $($flag:ident)*; ulimits: $ulimits:ident) => {
            EngineOptions {
                $($one: own.$one.or(user.$one),)*
                $($many: list(user.$many, own.$many),)*
                $($map: both(user.$map, own.$map),)*
                $($flag: own.$flag || user.$flag,)*
                $ulimits: keyed(&user.$ulimits, &own.$ulimits, |ulimit| ulimit.name.clone()),
            }
        };
    }
    merged! {
        or: name hostname domainname mac_address ipc pid uts userns cgroupns cgroup_parent runtime platform cpuset
            cpuset_mems cpu_shares cpu_period cpu_quota memory_swap memory_reservation memory_swappiness
            oom_score_adj pids_limit blkio_weight init volume_driver timezone stop_signal stop_timeout log_driver
            ip ip6 health cpu_rt_period cpu_rt_runtime;
        list: dns dns_search dns_option extra_hosts network_aliases cap_add cap_drop devices device_cgroup_rules
            security_opt group_add volumes_from expose link_local_ips links blkio_weight_devices device_read_bps
            device_write_bps device_read_iops device_write_iops;
        map: sysctls labels annotations log_opts storage_opts tmpfs;
        any: privileged oom_kill_disable read_only publish_all;
        ulimits: ulimits
    }
}

/// A mount there would hide the workspace, or let the container write what the host runs.
fn reserved_places(config: &Config) -> Result<(), ConfigError> {
    let workdir = &config.container.workdir;
    let venv = workdir.join(&config.venv.name).ok();
    let agent = ContainerPath::new(AGENT_DIR).expect("absolute");
    let tmpfs = config.container.engine.tmpfs.keys().filter_map(|path| ContainerPath::new(path).ok());
    for target in config.container.mounts.iter().map(|mount| mount.target.clone()).chain(tmpfs) {
        let in_venv = venv.as_ref().is_some_and(|venv| target.below(venv).is_some());
        // The agent lies there, which root runs as well.
        let of_agent = target.below(&agent).is_some();
        if target == *workdir || in_venv || of_agent {
            let of = match (in_venv, of_agent) {
                (true, _) => "the virtual environment",
                (_, true) => "GPU Bay's agent",
                _ => "the workspace",
            };
            let problem = BadValue::Mount {
                given: target.to_string(),
                why: format!("that place in the container belongs to {of}"),
            };
            return Err(ConfigError::Option { option: "container.mounts".to_owned(), problem });
        }
    }
    Ok(())
}

/// What only the whole can tell.
fn warnings(config: &Config, workspace: &HostPath, request: &LoadRequest<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(host) = &config.engine.host {
        let tls = (request.env)("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty());
        if engine_host::is_open(host, tls) {
            warnings.push(format!(
                "{} is not encrypted: whoever is on the way controls that machine; use ssh:// or TLS",
                engine_host::redact(host)
            ));
        }
    }
    if workspace.as_path() == request.home || workspace.as_path() == Path::new("/") {
        warnings.push(format!("the workspace is {workspace}: everything in it is visible to the container"));
    }
    warnings
}
