//! From configuration, image, user and GPUs to the options that a container is created with. Pure.

use std::collections::BTreeMap;

use crate::config::model::{Cache, Config, EngineOptions, Gpus, Isolation, Mount, MountSource, User};
use crate::engine::{CreateSpec, GpuRequest, Image, KEEP_ID, Stdio, UserMap};
use crate::gpu;
use crate::workspace::exposure::Protected;
use crate::workspace::labels::{self, Role};
use crate::workspace::record::Frozen;
use crate::workspace::user::ContainerUser;
use crate::{ContainerPath, HostPath};
use gpubay_protocol::agent::{AGENT_DIR, AGENT_PATH, CUDA_VISIBLE_DEVICES, LD_LIBRARY_PATH, RUN_DIR, with_folder};

/// Where the venv's, the agent's and the run folder's data lie on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Mounted over `<workdir>/<venv name>`.
    pub(super) venv: HostPath,
    /// Holds the agent's executable; mounted read-only.
    pub(super) agent: HostPath,
    /// Holds the agent's socket.
    pub(super) run: HostPath,
    /// An empty folder, mounted over host envs that a mount would show to the container.
    pub(super) cover: HostPath,
    /// Holds `passwd` and `group`, for containers whose own root cannot be written.
    pub(super) etc: HostPath,
}

/// What the options are made of.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    pub(super) config: &'a Config,
    pub(super) workspace: &'a HostPath,
    /// 64 hexadecimal digits.
    pub(super) id: &'a str,
    /// `gpubay-<slug>-<id8>`
    pub(super) base_name: &'a str,
    pub(super) owner: u32,
    /// Tells apart the users of all machines that share the engine.
    pub(super) user_key: &'a str,
    pub(super) image: &'a Image,
    pub(super) image_reference: &'a str,
    pub(super) user: &'a ContainerUser,
    pub(super) users: UserMap,
    /// The wish that the plan follows.
    pub(super) gpus: &'a Gpus,
    /// What `--gpus` said, where it decided that wish.
    pub(super) chosen: Option<&'a str>,
    pub(super) gpu: &'a gpu::Plan,
    /// Where the venv is mounted.
    pub(super) venv: &'a ContainerPath,
    pub(super) places: &'a Places,
    /// Of the engine, in bytes; 0 if unknown.
    pub(super) memory: u64,
    /// What no mount may show.
    pub(super) protected: &'a Protected,
    /// Extensions that an editor brings along when it attaches.
    pub(super) extensions: &'a [String],
}

/// What the container is to run.
#[derive(Clone, Debug)]
pub(super) enum Task<'a> {
    Dev,
    Job {
        name: &'a str,
        argv: &'a [String],
        cwd: Option<&'a ContainerPath>,
        env: &'a [(String, String)],
        stdio: Stdio,
        /// In place of the workspace.
        frozen: Option<&'a Frozen>,
    },
}

/// A volume that must exist, and belong to the user, before the container starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnedVolume {
    pub(super) name: String,
    pub(super) target: ContainerPath,
    /// The workspace's alone: neither the user's cache nor one that the user has named.
    pub(super) own: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) spec: CreateSpec,
    /// What the label [`labels::OPTIONS`] holds.
    pub(super) options: BTreeMap<String, String>,
    pub(super) volumes: Vec<OwnedVolume>,
}

/// What the NVIDIA runtime's hook reads.
const VISIBLE_DEVICES: &str = "NVIDIA_VISIBLE_DEVICES";
const CUDA_DEVICE_ORDER: &str = "CUDA_DEVICE_ORDER";

/// The agent's command line for a container of this configuration. `seen`: what it is to find mounted.
fn agent_argv(config: &Config, image: &Image, task: &Task<'_>, seen: Vec<String>) -> Vec<String> {
    use crate::config::model::EntrypointUse;
    let mut argv = vec![match task {
        Task::Dev => "init".to_owned(),
        Task::Job { .. } => "job".to_owned(),
    }];
    if config.container.entrypoint == EntrypointUse::Image && !image.entrypoint.is_empty() {
        argv.push("--entrypoint-json".to_owned());
        argv.push(serde_json::to_string(&image.entrypoint).unwrap_or_else(|_| "[]".to_owned()));
    }
    argv.extend(seen.into_iter().flat_map(|seen| ["--mount-is".to_owned(), seen]));
    if let Task::Job { argv: command, .. } = task {
        argv.push("--".to_owned());
        argv.extend_from_slice(command);
    }
    argv
}

/// Puts everything together.
pub(super) fn plan(inputs: &Inputs<'_>, task: &Task<'_>) -> Planned {
    let Inputs { config, user, image, places, .. } = inputs;
    let container = &config.container;
    let workdir = &container.workdir;
    let inside = |path: &str| ContainerPath::new(path).expect("a constant path");
    let mount = |source, target, read_only| Mount { source, target, read_only };
    let host = |path: &HostPath| MountSource::Host(path.clone());

    let frozen = match task {
        Task::Job { frozen, .. } => *frozen,
        Task::Dev => None,
    };
    let sources = frozen.map_or(inputs.workspace, |frozen| &frozen.root);
    let mut mounts = vec![
        mount(host(sources), workdir.clone(), false),
        mount(host(&places.venv), inputs.venv.clone(), false),
        mount(host(&places.agent), inside(&format!("{AGENT_DIR}/bin")), true),
        mount(host(&places.run), inside(RUN_DIR), false),
    ];
    mounts.extend(container.mounts.iter().cloned());
    let is = |(device, inode): (u64, u64), target: &ContainerPath| format!("{device}:{inode}:{target}");
    let mut seen: Vec<String> = frozen.map(|frozen| is(frozen.held.root, workdir)).into_iter().collect();
    for (frozen, live) in frozen.into_iter().flat_map(|frozen| frozen.snapshot.live.iter().map(move |l| (frozen, l))) {
        if let Ok(target) = workdir.join(&live.path)
            && mounts.iter().all(|mount| mount.target != target)
        {
            // A dev container beside it may exchange the folder at any moment, and the engine goes by the path.
            seen.extend(frozen.held.live.get(&live.path).map(|identity| is(*identity, &target)));
            mounts.push(mount(host(&inputs.workspace.join(&live.path)), target, live.read_only));
        }
    }
    if container.engine.read_only {
        for (name, file) in [("passwd", &user.passwd), ("group", &user.group)] {
            if file.is_some() {
                mounts.push(mount(host(&places.etc.join(name)), inside(&format!("/etc/{name}")), true));
            }
        }
    }
    mounts.extend(inputs.protected.guards(&mounts, &places.cover));
    let mut volumes = Vec::new();
    let own_volume = |name: String, target: ContainerPath, mounts: &mut Vec<Mount>, volumes: &mut Vec<OwnedVolume>| {
        if mounts.iter().any(|mount| mount.target == target) {
            return;
        }
        mounts.push(mount(MountSource::Volume(name.clone()), target.clone(), false));
        let own = name.starts_with(inputs.base_name);
        volumes.push(OwnedVolume { name, target, own });
    };
    for mount in &container.mounts {
        if let MountSource::Volume(name) = &mount.source {
            volumes.push(OwnedVolume { name: name.clone(), target: mount.target.clone(), own: false });
        }
    }
    let cache = home_path(user, "~/.cache");
    match container.cache {
        Cache::User => own_volume(user_cache(inputs), cache.clone(), &mut mounts, &mut volumes),
        Cache::Workspace => own_volume(format!("{}-cache", inputs.base_name), cache.clone(), &mut mounts, &mut volumes),
        Cache::None => {}
    }
    for path in &container.persist {
        let target = home_path(user, path);
        let name = format!("{}-{}", inputs.base_name, volume_suffix(path));
        own_volume(name, target, &mut mounts, &mut volumes);
    }

    let mut groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
    groups.extend(container.engine.group_add.iter().cloned());
    groups.dedup();
    let mut labels = labels::common(inputs.workspace, inputs.id, inputs.owner, Role::Dev);
    labels.insert(labels::GPUS.to_owned(), inputs.gpu.label.clone());
    labels.insert(labels::INJECTION.to_owned(), gpu::name_of(inputs.gpu.injection).to_owned());
    labels.insert(labels::REASON.to_owned(), inputs.gpu.reason.clone());
    labels.insert(labels::ISOLATION.to_owned(), gpu::name_of_isolation(inputs.gpu.isolation).to_owned());
    labels.insert(labels::DEVICES.to_owned(), gpu::written(&inputs.gpu.devices));
    labels.insert(labels::ASKED.to_owned(), inputs.gpus.select.typed());
    if let Some(visible) = &inputs.gpu.visible {
        labels.insert(labels::VISIBLE.to_owned(), visible.join(","));
    }
    if let Some(driver) = &inputs.gpu.driver {
        labels.insert(labels::DRIVER.to_owned(), driver.clone());
    }
    labels.insert(labels::USERS.to_owned(), inputs.users.as_str().to_owned());
    let mut metadata = serde_json::json!([{ "remoteUser": user.name, "workspaceFolder": workdir.as_str() }]);
    if !inputs.extensions.is_empty() {
        metadata[0]["customizations"] = serde_json::json!({ "vscode": { "extensions": inputs.extensions } });
    }
    labels.insert(labels::METADATA.to_owned(), metadata.to_string());

    let mut spec = CreateSpec {
        name: container.engine.name.clone().unwrap_or_else(|| inputs.base_name.to_owned()),
        image: inputs.image_reference.to_owned(),
        labels,
        env: environment(inputs),
        entrypoint: vec![AGENT_PATH.to_owned()],
        cmd: agent_argv(config, image, task, seen),
        user: user.ids(),
        workdir: workdir.clone(),
        mounts,
        ports: container.ports.clone(),
        groups,
        shm_size: container.shm_size.or_else(|| default_shm(inputs.memory)),
        cpus: container.cpus.clone(),
        memory: container.memory,
        network: container.network.clone(),
        restart: container.restart,
        options: EngineOptions { name: None, group_add: Vec::new(), ..container.engine.clone() },
        gpu: inputs.gpu.request.clone(),
        stdio: Stdio::Detached,
        removes_itself: false,
    };
    if container.user == User::Host && inputs.users == UserMap::Kept {
        spec.options.userns.get_or_insert_with(|| KEEP_ID.to_owned());
    }
    if container.engine.read_only && user.uid != 0 {
        // The home has to be writable, and nothing can be put into the container before it starts.
        let options = format!("mode=0755,uid={},gid={},exec", user.uid, user.gid);
        spec.options.tmpfs.entry(user.home.to_string()).or_insert(options);
    }
    if let Task::Job { name, argv, cwd, env, stdio, frozen: _ } = task {
        // A published port belongs to the dev container; a job that took it would keep it from starting.
        spec.ports.clear();
        spec.restart = crate::config::model::Restart::No;
        spec.name = format!("{}-{name}", inputs.base_name);
        spec.labels.insert(labels::ROLE.to_owned(), Role::Job.as_str().to_owned());
        spec.labels.insert(labels::JOB.to_owned(), (*name).to_owned());
        spec.labels.insert(labels::COMMAND.to_owned(), serde_json::to_string(argv).unwrap_or_default());
        spec.env.extend(env.iter().cloned());
        if let Some(cwd) = cwd {
            spec.workdir = (*cwd).clone();
        }
        spec.stdio = *stdio;
    }
    if let Some(given) = inputs.gpu.request.given() {
        // Behind the folders that somebody named: as with NVIDIA's toolkit, those come first.
        let named = spec.env.get(LD_LIBRARY_PATH).map(String::as_str).or(image.var(LD_LIBRARY_PATH));
        let path = with_folder(named.unwrap_or_default(), &given.library_path);
        spec.env.insert(LD_LIBRARY_PATH.to_owned(), path);
    }
    let wish = wish(&spec, config, inputs.gpus, inputs.gpu.isolation);
    spec.labels.insert(labels::CONFIG.to_owned(), wish.fingerprint());
    let mut options = wish.named_options();
    options.remove(&format!("labels.{WISHED_GPUS}"));
    options.extend(gpu_options(inputs.gpus, inputs.gpu.isolation));
    if matches!(task, Task::Dev) {
        spec.labels.insert(labels::OPTIONS.to_owned(), serde_json::to_string(&options).unwrap_or_default());
        if let Some(chosen) = inputs.chosen {
            spec.labels.insert(labels::CHOSEN.to_owned(), chosen.to_owned());
        }
    }
    // We go by those of ours, and an image says nothing by them.
    crate::engine::labels::take_back(&mut spec.labels, &inputs.image.labels, labels::OURS);
    Planned { spec, options, volumes }
}

/// Stands for `[gpus]` in the options that count, since the request itself follows from the engine's offer.
const WISHED_GPUS: &str = "wished GPUs";

/// `isolation` is what it has become: where the environment selects, another selection is no other container.
fn gpu_options(gpus: &Gpus, isolation: Isolation) -> BTreeMap<String, String> {
    let mut options =
        BTreeMap::from([("gpus.isolation".to_owned(), gpu::name_of_isolation(gpus.isolation).to_owned())]);
    if isolation == Isolation::Hard {
        options.insert("gpus.use".to_owned(), gpus.select.typed());
    }
    if let Some(injection) = gpus.injection {
        options.insert("gpus.injection".to_owned(), gpu::name_of(injection).to_owned());
    }
    options
}

/// The options without what follows from the engine's present offer, so that a container that runs
/// can be compared with the configuration before the engine is asked for it.
fn wish(spec: &CreateSpec, config: &Config, gpus: &Gpus, is: Isolation) -> CreateSpec {
    let mut wish = CreateSpec { shm_size: config.container.shm_size, ..spec.clone() };
    for name in [VISIBLE_DEVICES, CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER, LD_LIBRARY_PATH] {
        match config.container.env.get(name) {
            Some(value) => wish.env.insert(name.to_owned(), value.clone()),
            None => wish.env.remove(name),
        };
    }
    let Gpus { select, isolation, injection, required: _ } = gpus;
    let select = (is == Isolation::Hard).then_some(select);
    wish.options.labels.insert(WISHED_GPUS.to_owned(), format!("{select:?} {isolation:?} {injection:?}"));
    wish
}

/// Half of the memory, at most 16 GiB: data loaders fill the engine's own 64 MiB at once.
fn default_shm(memory: u64) -> Option<u64> {
    (memory > 0).then(|| (memory / 2).min(16 << 30))
}

fn environment(inputs: &Inputs<'_>) -> BTreeMap<String, String> {
    let Inputs { config, image, user, venv, .. } = inputs;
    let path = image.var("PATH").unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let mut env = BTreeMap::from([
        ("VIRTUAL_ENV".to_owned(), venv.to_string()),
        ("PATH".to_owned(), format!("{venv}/bin:{path}")),
        ("HOME".to_owned(), user.home.to_string()),
        ("USER".to_owned(), user.name.clone()),
    ]);
    if config.container.cache != Cache::None && image.var("HF_TOKEN_PATH").is_none() {
        // The cache is shared between workspaces, and a token is not a cache.
        env.insert("HF_TOKEN_PATH".to_owned(), format!("{}/.config/huggingface/token", user.home));
    }
    if config.container.persist.iter().any(|path| path == "~/.config") {
        env.insert("HISTFILE".to_owned(), format!("{}/.config/.shell_history", user.home));
    }
    let not_through_the_runtime = matches!(inputs.gpu.request, GpuRequest::None | GpuRequest::Direct(_));
    if not_through_the_runtime && image.var(VISIBLE_DEVICES).is_some() {
        // An engine whose default runtime is NVIDIA's would follow the image's wish.
        env.insert(VISIBLE_DEVICES.to_owned(), "void".to_owned());
    }
    if inputs.gpu.request != GpuRequest::None {
        // As the driver, `nvidia-smi` and we count; CUDA's own order is another.
        env.insert(CUDA_DEVICE_ORDER.to_owned(), "PCI_BUS_ID".to_owned());
    }
    if let Some(visible) = &inputs.gpu.visible {
        env.insert(CUDA_VISIBLE_DEVICES.to_owned(), visible.join(","));
    }
    if let Some(zone) = &config.container.engine.timezone {
        env.insert("TZ".to_owned(), zone.clone());
    }
    env.extend(config.container.env.clone());
    env
}

/// `~` is the container user's home; anything else is taken as it is.
pub(super) fn home_path(user: &ContainerUser, path: &str) -> ContainerPath {
    let full = match path.strip_prefix('~') {
        Some(rest) => format!("{}{rest}", user.home.as_str().trim_end_matches('/')),
        None => path.to_owned(),
    };
    ContainerPath::new(full).unwrap_or_else(|_| user.home.clone())
}

/// One for each user of this machine; never shared between two.
fn user_cache(inputs: &Inputs<'_>) -> String {
    format!("gpubay-cache-{}", inputs.user_key)
}

fn volume_suffix(path: &str) -> String {
    let plain: String =
        path.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    plain.trim_matches('-').to_owned()
}

/// Folders that must be there and belong to the user before the engine makes them as root: the home,
/// and what lies between it and a mount in it. Never below a folder of the host.
pub(super) fn owned_folders(planned: &Planned, user: &ContainerUser) -> Vec<ContainerPath> {
    let mut folders = vec![user.home.clone()];
    for mount in &planned.spec.mounts {
        let mut parent = mount.target.parent();
        while let Some(folder) = parent {
            if folder.below(&user.home).is_none_or(str::is_empty) || folders.contains(&folder) {
                break;
            }
            parent = folder.parent();
            folders.push(folder);
        }
    }
    let of_host =
        |folder: &ContainerPath| planned.spec.mounts.iter().any(|mount| folder.below(&mount.target).is_some());
    folders.retain(|folder| !of_host(folder));
    folders.sort();
    folders
}

#[cfg(test)]
mod tests;
