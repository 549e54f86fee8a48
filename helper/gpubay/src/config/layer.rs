//! One file's wishes with every value decided, but nothing filled in: what two files and the
//! defaults are merged from, and what powers are read off.

use std::collections::BTreeMap;

use super::error::{BadValue, Problem};
use super::file::{self, File};
use super::model::{
    Cache, Decimal, EngineOptions, EntrypointUse, GpuSelection, Injection, Installer, Isolation, Job, Mount, Port,
    Restart, Secret, User,
};
use super::parse::Step;
use super::values::{self, Places};
use super::{docker_args, engine_host, env_file, gpu_values, mounts};
use crate::files::{self, FileError};
use crate::{ContainerPath, HostPath};
use gpubay_protocol::agent::CUDA_VISIBLE_DEVICES;

#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) from: Option<String>,
    pub(super) dockerfile: Option<HostPath>,
    pub(super) context: Option<HostPath>,
    pub(super) args: BTreeMap<String, String>,
    pub(super) target: Option<String>,
    pub(super) secrets: Vec<Secret>,
    pub(super) tag: Option<String>,

    pub(super) workdir: Option<ContainerPath>,
    pub(super) mounts: Vec<Mount>,
    pub(super) user: Option<User>,
    pub(super) entrypoint: Option<EntrypointUse>,
    pub(super) shm_size: Option<u64>,
    /// What files of variables and, after them, `env` and `docker_args` set.
    pub(super) env: BTreeMap<String, String>,
    /// Names whose value is taken from the helper's environment, and what asks for it.
    pub(super) passed: BTreeMap<String, Passed>,
    pub(super) env_files: Vec<HostPath>,
    pub(super) label_files: Vec<HostPath>,
    pub(super) ports: Vec<Port>,
    pub(super) cache: Option<Cache>,
    pub(super) persist: Option<Vec<String>>,
    pub(super) cpus: Option<Decimal>,
    pub(super) memory: Option<u64>,
    pub(super) network: Option<String>,
    pub(super) restart: Option<Restart>,
    pub(super) privileged: Option<bool>,
    pub(super) read_only: Option<bool>,
    pub(super) engine_options: EngineOptions,

    pub(super) select: Option<GpuSelection>,
    pub(super) required: Option<bool>,
    pub(super) isolation: Option<Isolation>,
    pub(super) injection: Option<Injection>,

    pub(super) venv: Option<String>,
    pub(super) requirements: Option<Vec<HostPath>>,
    pub(super) installer: Option<Installer>,
    pub(super) python: Option<String>,

    pub(super) jobs: BTreeMap<String, Job>,
    pub(super) host: Option<String>,
    pub(super) data: Option<HostPath>,
    pub(super) cache_folder: Option<HostPath>,
}

/// Who names a variable of the helper's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    Option,
    File(HostPath),
}

/// What resolving needs to know besides the file.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) places: Places<'a>,
    /// The helper's environment.
    pub(super) env: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

macro_rules! at {
    ($($step:expr),+) => { vec![$(Step::from($step)),+] };
}

/// Adds the key to a bad value.
trait At<T> {
    fn at(self, key: Vec<Step>) -> Result<T, Problem>;
}

impl<T> At<T> for Result<T, BadValue> {
    fn at(self, key: Vec<Step>) -> Result<T, Problem> {
        self.map_err(|bad| Problem { key, bad })
    }
}

pub(super) fn resolve(file: &File, context: Context<'_>) -> Result<Layer, Problem> {
    let mut layer = Layer::default();
    image(&file.image, context, &mut layer)?;
    container(&file.container, context, &mut layer)?;
    gpus(&file.gpus, &mut layer)?;
    venv(&file.venv, context, &mut layer)?;
    for (name, job) in &file.jobs {
        values::name(name, "a name for a job").at(at!["jobs", name.as_str()])?;
        if job.command.first().is_none_or(String::is_empty) {
            return Err(BadValue::EmptyCommand(name.clone())).at(at!["jobs", name.as_str(), "command"]);
        }
        let gpus = job.gpus.as_ref().map(gpu_values::gpu_use).transpose().at(at!["jobs", name.as_str(), "gpus"])?;
        for (variable, value) in &job.env {
            values::env_name(variable).and_then(|()| values::env_value(variable, value)).at(at![
                "jobs",
                name.as_str(),
                "env",
                variable.as_str()
            ])?;
        }
        let workdir = job.workdir.as_deref().map(values::job_workdir).transpose();
        let workdir = workdir.at(at!["jobs", name.as_str(), "workdir"])?;
        for (i, folder) in job.live.iter().enumerate() {
            values::folder_of_workspace(folder).at(at!["jobs", name.as_str(), "live", i])?;
        }
        let job = Job {
            command: job.command.clone(),
            gpus,
            env: job.env.clone(),
            workdir,
            snapshot: job.snapshot,
            live: job.live.clone(),
        };
        layer.jobs.insert(name.clone(), job);
    }
    layer.host = file.engine.host.as_deref().map(engine_host::check).transpose().at(at!["engine", "host"])?;
    let ours = |text: &Option<String>| text.as_deref().map(|text| context.places.ours(text)).transpose();
    layer.data = ours(&file.paths.data).at(at!["paths", "data"])?;
    layer.cache_folder = ours(&file.paths.cache).at(at!["paths", "cache"])?;
    Ok(layer)
}

fn image(image: &file::Image, context: Context<'_>, layer: &mut Layer) -> Result<(), Problem> {
    let key = |name: &str| at!["image", name];
    let reference = |text: &Option<String>, what| text.as_deref().map(|text| values::word(text, what)).transpose();
    layer.from = reference(&image.from, "a reference to an image").at(key("from"))?;
    if image.from.is_some() {
        let other = [
            ("dockerfile", image.dockerfile.is_some()),
            ("context", image.context.is_some()),
            ("target", image.target.is_some()),
            ("tag", image.tag.is_some()),
            ("args", !image.args.is_empty()),
            ("secrets", !image.secrets.is_empty()),
        ];
        if let Some((name, _)) = other.into_iter().find(|(_, set)| *set) {
            return Err(BadValue::ImageConflict(name)).at(key("from"));
        }
    }
    layer.dockerfile = image
        .dockerfile
        .as_deref()
        .map(|path| context.places.file("the Dockerfile", path))
        .transpose()
        .at(key("dockerfile"))?;
    layer.context = image
        .context
        .as_deref()
        .map(|path| context.places.folder("the build context", path))
        .transpose()
        .at(key("context"))?;
    for (name, value) in &image.args {
        values::env_name(name).and_then(|()| values::env_value(name, value)).at(at!["image", "args", name.as_str()])?;
    }
    layer.args.clone_from(&image.args);
    layer.target = reference(&image.target, "the name of a stage").at(key("target"))?;
    layer.tag = reference(&image.tag, "a name for an image").at(key("tag"))?;
    for (i, text) in image.secrets.iter().enumerate() {
        layer.secrets.push(values::secret(text, &context.places).at(at!["image", "secrets", i])?);
    }
    Ok(())
}

fn container(c: &file::Container, context: Context<'_>, layer: &mut Layer) -> Result<(), Problem> {
    let key = |name: &str| at!["container", name];
    let places = &context.places;
    layer.workdir = c.workdir.as_deref().map(|text| workdir(text, places)).transpose().at(key("workdir"))?;
    for (i, text) in c.mounts.iter().enumerate() {
        layer.mounts.push(mounts::short(text, places).at(at!["container", "mounts", i])?);
    }
    layer.user = c.user.as_deref().map(values::user).transpose().at(key("user"))?;
    layer.entrypoint = c.entrypoint.map(|entrypoint| match entrypoint {
        file::Entrypoint::Image => EntrypointUse::Image,
        file::Entrypoint::None => EntrypointUse::None,
    });
    layer.shm_size = c.shm_size.as_ref().map(values::size_entry).transpose().at(key("shm_size"))?;
    let files = match &c.env_file {
        None => &[][..],
        Some(file::OneOrMany::One(path)) => std::slice::from_ref(path),
        Some(file::OneOrMany::Many(paths)) => paths,
    };
    for (i, path) in files.iter().enumerate() {
        read_env_file(path, env_file::Form::Compose, context, layer).at(at!["container", "env_file", i])?;
    }
    for (name, value) in &c.env {
        set_env(layer, name, value).at(at!["container", "env", name.as_str()])?;
    }
    for (i, entry) in c.ports.iter().enumerate() {
        let ports = match entry {
            file::PortEntry::Number(port) => values::ports(&port.to_string()),
            file::PortEntry::Text(text) => values::ports(text),
        };
        layer.ports.extend(ports.at(at!["container", "ports", i])?);
    }
    layer.cache = c.cache.map(|cache| match cache {
        file::Cache::Switch(true) => Cache::User,
        file::Cache::Switch(false) => Cache::None,
        file::Cache::Scope(file::CacheScope::Workspace) => Cache::Workspace,
    });
    if let Some(folders) = &c.persist {
        let folders = folders.iter().enumerate().map(|(i, f)| values::persist(f).at(at!["container", "persist", i]));
        layer.persist = Some(folders.collect::<Result<_, _>>()?);
    }
    layer.cpus = match &c.cpus {
        None => None,
        Some(file::Number::Whole(n)) => Some(values::cpus(&n.to_string()).at(key("cpus"))?),
        Some(file::Number::Decimal(n)) => Some(values::cpus(&n.to_string()).at(key("cpus"))?),
    };
    layer.memory = c.memory.as_ref().map(values::memory).transpose().at(key("memory"))?;
    layer.network = word(c.network.as_deref(), "the name of a network").at(key("network"))?;
    layer.restart = c.restart.as_deref().map(values::restart).transpose().at(key("restart"))?;
    layer.privileged = c.privileged;
    layer.read_only = c.read_only;
    engine_options(c, &mut layer.engine_options)?;
    docker_args::apply(&c.docker_args, context, layer)
        .map_err(|(i, bad)| Problem { key: at!["container", "docker_args", i], bad })
}

fn word(text: Option<&str>, what: &'static str) -> Result<Option<String>, BadValue> {
    text.map(|text| values::word(text, what)).transpose()
}

fn engine_options(c: &file::Container, options: &mut EngineOptions) -> Result<(), Problem> {
    let key = |name: &str| at!["container", name];
    if let Some(name) = &c.name {
        values::name(name, "a name for a container").at(key("name"))?;
    }
    options.name.clone_from(&c.name);
    options.hostname = word(c.hostname.as_deref(), "a host name").at(key("hostname"))?;
    options.ipc = word(c.ipc.as_deref(), "an IPC mode").at(key("ipc"))?;
    options.cpuset = word(c.cpuset.as_deref(), "a list of CPUs").at(key("cpuset"))?;
    options.timezone = word(c.timezone.as_deref(), "a time zone").at(key("timezone"))?;
    let list = |from: &[String], what, name: &str| -> Result<Vec<String>, Problem> {
        from.iter().enumerate().map(|(i, text)| values::word(text, what).at(at!["container", name, i])).collect()
    };
    options.dns = list(&c.dns, "the address of a DNS server", "dns")?;
    options.extra_hosts = list(&c.extra_hosts, "a pair name:address", "extra_hosts")?;
    for (i, entry) in options.extra_hosts.iter().enumerate() {
        extra_host(entry).at(at!["container", "extra_hosts", i])?;
    }
    options.cap_add = list(&c.cap_add, "a capability", "cap_add")?;
    options.cap_drop = list(&c.cap_drop, "a capability", "cap_drop")?;
    options.security_opt = list(&c.security_opt, "a security option", "security_opt")?;
    options.group_add = list(&c.group_add, "a group", "group_add")?;
    options.volumes_from = list(&c.volumes_from, "a container", "volumes_from")?;
    for (i, text) in c.devices.iter().enumerate() {
        options.devices.push(values::device(text).at(at!["container", "devices", i])?);
    }
    for (i, text) in c.ulimits.iter().enumerate() {
        options.ulimits.push(values::ulimit(text).at(at!["container", "ulimits", i])?);
    }
    for name in c.labels.keys() {
        label(name).at(at!["container", "labels", name.as_str()])?;
    }
    options.labels.clone_from(&c.labels);
    options.cpu_shares =
        c.cpu_shares
            .map(|n| {
                if (2..=262_144).contains(&n) {
                    Ok(n)
                } else {
                    Err(BadValue::Range { given: n, low: 2, high: 262_144 })
                }
            })
            .transpose()
            .at(key("cpu_shares"))?;
    options.init = c.init;
    Ok(())
}

pub(super) fn extra_host(text: &str) -> Result<(), BadValue> {
    // The engine's own tool takes `name=address` as well.
    match text.split_once([':', '=']) {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => Ok(()),
        _ => Err(BadValue::Name { given: text.to_owned(), what: "a pair name:address" }),
    }
}

/// Our own labels say what belongs to whom: no workspace may claim another's container.
pub(super) fn label(name: &str) -> Result<(), BadValue> {
    if name.is_empty() {
        Err(BadValue::Name { given: String::new(), what: "a label" })
    } else if name.starts_with("gpubay.") || name == "devcontainer.metadata" {
        Err(BadValue::ReservedLabel(name.to_owned()))
    } else {
        Ok(())
    }
}

pub(super) fn workdir(text: &str, places: &Places<'_>) -> Result<ContainerPath, BadValue> {
    let bad = |why: &str| BadValue::Workdir { given: text.to_owned(), why: why.to_owned() };
    let path = if text == "host" {
        // It is what it is, however it is called.
        let path = places.workspace.to_str().ok_or_else(|| bad("the path outside is not UTF-8"))?;
        ContainerPath::new(path).map_err(|e| bad(&e.to_string()))?
    } else {
        values::path_inside(text).map_err(|e| bad(&e))?
    };
    // A system folder under the workspace would hide what the image brought, or worse (WORKDIR /proc/self/fd/N).
    let system = ["/proc", "/sys", "/dev", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/usr"];
    if path.as_str() == "/" || values::is_of_the_kernel(&path) {
        Err(bad("the workspace cannot be mounted there"))
    } else if system.contains(&path.as_str()) {
        Err(bad("it would hide the image's own files"))
    } else {
        Ok(path)
    }
}

pub(super) fn set_env(layer: &mut Layer, name: &str, value: &str) -> Result<(), BadValue> {
    values::env_name(name)?;
    values::env_value(name, value)?;
    layer.passed.remove(name);
    layer.env.insert(name.to_owned(), value.to_owned());
    Ok(())
}

/// Nothing of the helper's environment goes in unless it is named here.
pub(super) fn pass_env(layer: &mut Layer, name: &str, by: Passed, context: Context<'_>) {
    if let Some(value) = (context.env)(name) {
        layer.env.insert(name.to_owned(), value);
    }
    // Remembered even when unset now: what a workspace may read is approved by name.
    layer.passed.insert(name.to_owned(), by);
}

pub(super) fn read_env_file(
    path: &str,
    form: env_file::Form,
    context: Context<'_>,
    layer: &mut Layer,
) -> Result<(), BadValue> {
    let (path, text) = small_file("env_file", path, context)?;
    for entry in env_file::parse(&text, form, path.as_path().to_str().unwrap_or_default())? {
        match entry {
            env_file::Entry::Set(name, value) => set_env(layer, &name, &value)?,
            env_file::Entry::Pass(name) => pass_env(layer, &name, Passed::File(path.clone()), context),
        }
    }
    layer.env_files.push(path);
    Ok(())
}

/// A file of lines, with the error in the words of the key that names it. Its path is that of the file which
/// was read, since a name may lead elsewhere a moment later.
pub(super) fn small_file(what: &'static str, path: &str, context: Context<'_>) -> Result<(HostPath, String), BadValue> {
    let named = context.places.absolute(path)?;
    let shown = || named.display().to_string();
    let wrong = |why: String| BadValue::WrongFile { what, path: shown(), why };
    let read = || {
        let opened = files::open(&named)?;
        Ok((opened.place()?, opened.read(files::SMALL)?))
    };
    let (place, bytes) = read().map_err(|error| match error {
        FileError::Missing => BadValue::MissingFile { what, path: shown() },
        // A link that leads nowhere.
        FileError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
            BadValue::MissingFile { what, path: shown() }
        }
        FileError::TooLarge(_) => wrong("is too large".to_owned()),
        other => wrong(other.to_string()),
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|error| wrong(format!("is not UTF-8 text (byte {})", error.utf8_error().valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    match HostPath::new(place) {
        Ok(place) if place.as_path().to_str().is_some() => Ok((place, text)),
        _ => Err(BadValue::Path { given: path.to_owned(), why: "it is not UTF-8".to_owned() }),
    }
}

/// What the NVIDIA runtime reads, and what CUDA reads: both select GPUs where people write container options by hand.
const VISIBLE: [&str; 2] = ["NVIDIA_VISIBLE_DEVICES", CUDA_VISIBLE_DEVICES];

fn gpus(gpus: &file::Gpus, layer: &mut Layer) -> Result<(), Problem> {
    // One way to say it: of two nobody knows which was meant.
    let twice = |one: &str, other: String| BadValue::GpusTwice { one: one.to_owned(), other };
    let mut by = layer.select.as_ref().map(|select| format!("docker_args --gpus {}", select.typed()));
    for name in VISIBLE {
        let Some(list) = layer.env.remove(name) else { continue };
        let key = || at!["container", "env", name];
        let this = format!("{name}={list} in [container] env");
        if let Some(one) = &by {
            return Err(twice(one, this)).at(key());
        }
        by = Some(this);
        layer.select = Some(gpu_values::visible_devices(&list).at(key())?);
    }
    if let Some(select) = &gpus.select {
        let select = gpu_values::gpu_use(select).at(at!["gpus", "use"])?;
        if let Some(one) = &by {
            return Err(twice(one, format!("{} in [gpus] use", select.typed()))).at(at!["gpus", "use"]);
        }
        layer.select = Some(select);
    }
    if gpus.required == Some(true) && layer.select == Some(GpuSelection::None) {
        return Err(BadValue::GpusRequired).at(at!["gpus", "required"]);
    }
    layer.required = gpus.required;
    layer.isolation = gpus.isolation.map(|isolation| match isolation {
        file::Isolation::Soft => Isolation::Soft,
        file::Isolation::Hard => Isolation::Hard,
    });
    layer.injection = gpus.injection.map(|injection| match injection {
        file::Injection::Cdi => Injection::Cdi,
        file::Injection::NvidiaRuntime => Injection::NvidiaRuntime,
        file::Injection::Direct => Injection::Direct,
        file::Injection::None => Injection::None,
    });
    Ok(())
}

fn venv(venv: &file::Venv, context: Context<'_>, layer: &mut Layer) -> Result<(), Problem> {
    layer.venv = venv.path.as_deref().map(values::venv_name).transpose().at(at!["venv", "path"])?;
    if let Some(files) = &venv.requirements {
        let files = files
            .iter()
            .enumerate()
            .map(|(i, path)| context.places.file("the requirements file", path).at(at!["venv", "requirements", i]));
        layer.requirements = Some(files.collect::<Result<_, _>>()?);
    }
    layer.installer = venv.installer.map(|installer| match installer {
        file::Installer::Pip => Installer::Pip,
        file::Installer::Uv => Installer::Uv,
    });
    layer.python = word(venv.python.as_deref(), "the path of an interpreter").at(at!["venv", "python"])?;
    Ok(())
}
