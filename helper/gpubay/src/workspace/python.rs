//! The container's Python on the host: venv, requirements, mirror, host env.
//!
//! Each part looks first whether it has been done, so the whole may be run at any time and goes on
//! where an earlier one was cut off.

use async_trait::async_trait;
use gpubay_protocol::agent::{Exit, FindPythonRequest, StatusRequest};
use gpubay_protocol::hostenv::{self, HostEnv};
use serde::{Deserialize, Serialize};

use super::dev::{self, Dev};
use super::labels::{self, Role};
use super::report::{GpuDevice, HostEnvReport, MirrorReport, RootReport};
use super::sync::Deletions;
use super::up::Ground;
use super::{Workspace, delivery, exec, exposure, helper_executable, mirrored, read_cache, write_cache};
use crate::agent::{Client, embedded};
use crate::config::model::{Build, Dockerfile, Image};
use crate::error::{Error, Result};
use crate::venv::create::{self, Made};
use crate::venv::hostenv::{self as layout, HostEnvError, Layout};
use crate::venv::inside::{Inside, Output, Run, Stream};
use crate::venv::install::{Install, Installed, install};
use crate::venv::probe::{self, PLACES, Probe};
use crate::venv::requirements::{self, Requirements};
use crate::venv::roots::{self, Kind, Shared};
use crate::{ContainerPath, HostPath, Mapping, PathMap, files};

/// Where the venv goes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Inside.
    pub(super) venv: ContainerPath,
    /// `None`: the workspace cannot be written, and the host goes without.
    pub(super) host_env: Option<HostPath>,
    pub(super) warning: Option<String>,
}

/// What an earlier `up` or `sync` found. Saves asking again while nothing has changed; without it
/// everything is asked again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    schema: u32,
    /// The helper that wrote it: another one may lay out the host env differently.
    helper: String,
    pub(super) container: String,
    image: String,
    /// Of the requirements files and the like.
    inputs: String,
    /// Mirrored folders, and what a scan of them leaves out.
    trees: Vec<ContainerPath>,
    exclude: Vec<ContainerPath>,
    /// Folders that [`Record::stamp`] is over.
    pub(super) roots: Vec<ContainerPath>,
    stamp: u64,
    pub(super) gpus: Vec<GpuDevice>,
    pub(super) report: Option<HostEnvReport>,
    /// Of the host env, as it was left.
    env_stamp: Option<u64>,
    pub(super) paths: Vec<HostPath>,
    warnings: Vec<String>,
}

/// The result of [`prepare`].
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) host_env: Option<HostEnvReport>,
    pub(super) mirror: Option<MirrorReport>,
    pub(super) paths: Vec<HostPath>,
    pub(super) changed: bool,
    pub(super) warnings: Vec<String>,
}

impl Record {
    /// Nothing is to be done.
    fn prepared(self) -> Prepared {
        Prepared { host_env: self.report, mirror: None, paths: self.paths, changed: false, warnings: self.warnings }
    }
}

const SCHEMA: u32 = 3;

pub(super) fn record(workspace: &Workspace) -> Option<Record> {
    let record: Record = read_cache(&record_path(workspace))?;
    (record.schema == SCHEMA && record.helper == embedded::ID).then_some(record)
}

/// As if there had been no `up`.
pub(super) fn forget(workspace: &Workspace) {
    if let Err(error) = std::fs::remove_file(record_path(workspace).as_path()) {
        tracing::debug!(%error, "the record stays");
    }
}

fn record_path(workspace: &Workspace) -> HostPath {
    record_of(&workspace.config().paths.cache, workspace.id8())
}

fn record_of(cache: &HostPath, id8: &str) -> HostPath {
    cache.join("records").join(format!("{id8}.json"))
}

/// The mirrored folders that were last found for a workspace, whatever version of the helper wrote that.
pub(super) fn mirrored_paths(cache: &HostPath, id8: &str) -> Vec<HostPath> {
    #[derive(Deserialize)]
    struct Paths {
        #[serde(default)]
        report: Option<HostEnvReport>,
        #[serde(default)]
        paths: Vec<HostPath>,
    }
    let Some(found) = read_cache::<Paths>(&record_of(cache, id8)) else { return Vec::new() };
    let roots = found.report.into_iter().flat_map(|report| report.roots).map(|root| root.host);
    found.paths.into_iter().chain(roots).collect()
}

/// Claims the folder that becomes the host env, before any container mounts the workspace.
pub(super) fn place(workspace: &Workspace) -> Result<Place> {
    place_at(workspace, layout::prepare_mount_point(workspace.folder(), &workspace.config().venv.name))
}

/// Where [`place`] would put it. Claims nothing.
pub(super) fn expected_place(workspace: &Workspace) -> Result<Place> {
    place_at(workspace, layout::find_mount_point(workspace.folder(), &workspace.config().venv.name))
}

fn place_at(workspace: &Workspace, point: std::result::Result<layout::MountPoint, HostEnvError>) -> Result<Place> {
    let workdir = &workspace.config().container.workdir;
    let internal = |error: gpubay_protocol::paths::PathError| Error::new("bad_venv_path", error.to_string());
    match point {
        Ok(point) => Ok(Place {
            venv: workdir.join(&point.name).map_err(internal)?,
            host_env: Some(point.path),
            warning: point.other.or_else(|| roots_in_another_home(workspace)),
        }),
        Err(error @ HostEnvError::ReadOnly { .. }) => Ok(Place {
            venv: ContainerPath::new("/.gpubay/venv").map_err(internal)?,
            host_env: None,
            warning: Some(format!("{error}; the container works, and editors on the host do not see its Python")),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Root's files in a user's folder are in that user's way.
fn roots_in_another_home(workspace: &Workspace) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(workspace.folder().as_path()).ok()?.uid();
    (workspace.host.uid == 0 && owner != 0).then(|| {
        format!(
            "{} belongs to the user {owner} and this runs as root: {} and what the container writes belong to root, and that \
             user's own `gpubay up` will have to take another name for it; run gpubay as that user",
            workspace.folder(),
            workspace.config().venv.name
        )
    })
}

/// Names that are free for the host env: what a call makes there it takes away again where it fails.
#[derive(Debug)]
pub(super) struct FreeNames(Vec<HostPath>);

impl FreeNames {
    pub(super) fn look(workspace: &Workspace) -> Self {
        let wanted = &workspace.config().venv.name;
        let paths = [wanted.clone(), format!("{wanted}-gpubay")].map(|name| workspace.folder().join(name));
        Self(paths.into_iter().filter(|path| path.as_path().symlink_metadata().is_err()).collect())
    }

    /// Removes the mount point that was made meanwhile, unless something is in it or a container mounts it.
    pub(super) async fn take_back(self, workspace: &Workspace) {
        if matches!(dev::find(workspace, &workspace.dev_name()).await, Ok(None)) {
            for path in self.0 {
                let _ = std::fs::remove_dir(path.as_path());
            }
        }
    }
}

/// Names in the workspace that are, or may become, the host env, and never are part of a build.
pub(super) fn host_env_names(workspace: &Workspace) -> Vec<String> {
    let wanted = &workspace.config().venv.name;
    let names = [wanted.clone(), format!("{wanted}-gpubay")];
    let foreign = |name: &String| {
        let path = workspace.folder().join(name);
        let empty = std::fs::read_dir(path.as_path()).is_ok_and(|mut entries| entries.next().is_none());
        path.as_path().exists() && !empty && !path.join(hostenv::FILE_NAME).as_path().exists()
    };
    names.into_iter().filter(|name| !foreign(name)).collect()
}

/// Host envs of this user, whichever workspace they are of: any container that would see one of them
/// gets something mounted over it.
pub(super) fn known_host_envs(workspace: &Workspace) -> Vec<HostPath> {
    let folder = workspace.loaded.state.join("host-envs");
    let Ok(entries) = std::fs::read_dir(folder.as_path()) else { return Vec::new() };
    let mut known: Vec<HostPath> = entries
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .filter_map(|path| HostPath::new(path).ok())
        .filter(|path| path.join(hostenv::FILE_NAME).as_path().exists())
        .collect();
    known.sort();
    known.dedup();
    known
}

fn is_remembered(workspace: &Workspace, path: &HostPath) -> bool {
    let file = workspace.loaded.state.join("host-envs").join(workspace.id8());
    std::fs::read_to_string(file.as_path()).is_ok_and(|known| known == path.to_string())
}

fn remember_host_env(workspace: &Workspace, path: &HostPath) -> Result<()> {
    // Where every workspace of the user's looks, whatever `[paths]` one of them has.
    let folder = workspace.loaded.state.join("host-envs");
    let file = folder.join(workspace.id8());
    if is_remembered(workspace, path) {
        return Ok(());
    }
    let write =
        std::fs::create_dir_all(folder.as_path()).and_then(|()| std::fs::write(file.as_path(), path.to_string()));
    Ok(write.map_err(delivery::at(file.as_path()))?)
}

/// Programs in the dev container, for the venv's room.
struct InDev<'a> {
    workspace: &'a Workspace,
    container: &'a str,
    env: Vec<(String, Option<String>)>,
}

#[async_trait]
impl Inside for InDev<'_> {
    async fn run(&self, run: &Run, output: &mut Output<'_>) -> Result<Exit> {
        use crate::agent::ExecEvent;
        let client = Client::connect(&self.workspace.run_folder()).await?;
        let mut env = self.env.clone();
        env.extend(run.env.iter().cloned());
        let request = gpubay_protocol::agent::ExecRequest {
            argv: run.argv.clone(),
            env,
            cwd: None,
            tty: None,
            stdin: !run.stdin.is_empty(),
        };
        let (to, mut from) = client.exec(request).await?;
        if !run.stdin.is_empty() {
            to.stdin(&run.stdin).await;
            to.eof().await;
        }
        let cancel = &self.workspace.progress.cancel;
        let mut trouble = std::pin::pin!(dev::trouble(self.workspace, self.container));
        loop {
            let event = tokio::select! {
                event = from.next() => event?,
                why = &mut trouble => return Err(why),
                // Dropping the conversation ends the program's whole process group inside.
                () = cancel.cancelled() => return Err(Error::new("cancelled", "cancelled")),
            };
            match event {
                ExecEvent::Stdout(bytes) => output(Stream::Stdout, &bytes),
                ExecEvent::Stderr(bytes) => output(Stream::Stderr, &bytes),
                ExecEvent::Exit(exit) => return Ok(exit),
            }
        }
    }
}

/// Beside an image that is not made from it, a `requirements.txt` may be for that image, for the venv or for nothing: one that
/// nobody names is mentioned, not installed.
fn unused_requirements(workspace: &Workspace) -> Option<String> {
    const NAME: &str = "requirements.txt";
    let config = workspace.config();
    if !config.venv.requirements.is_empty() || !workspace.folder().join(NAME).as_path().is_file() {
        return None;
    }
    if let Image::Build(Build { dockerfile: Dockerfile::File(dockerfile), .. }) = &config.image
        && let Ok(text) = files::read(dockerfile.as_path(), files::SMALL)
        && String::from_utf8_lossy(&text).contains("requirements")
    {
        return None;
    }
    Some(format!("{NAME} is not installed; [venv] requirements = [\"{NAME}\"] in gpubay.toml does that"))
}

/// What the requirements and the choice of interpreter hang on, besides the container.
fn inputs(workspace: &Workspace) -> String {
    use sha2::{Digest, Sha256};
    let venv = &workspace.config().venv;
    let mut hash = Sha256::new();
    hash.update(format!("{:?} {:?} {}", venv.installer, venv.python, helper_executable().display()));
    for file in &venv.requirements {
        hash.update(file.to_string());
    }
    // What cannot be read is said when it is to be installed.
    hash.update(requirements::read(&venv.requirements).map_or_else(|error| error.to_string(), Requirements::digest));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Does what is missing of: venv, requirements, mirror, host env.
pub(super) async fn prepare(workspace: &Workspace, ground: &Ground, dev: &Dev, gpus: &[GpuDevice]) -> Result<Prepared> {
    if let Some(known) = record(workspace).filter(|record| is_current(workspace, ground, dev, record)) {
        return Ok(known.prepared());
    }
    refresh(workspace, ground, dev, gpus, Deletions::Ask).await
}

fn is_current(workspace: &Workspace, ground: &Ground, dev: &Dev, record: &Record) -> bool {
    record.container == dev.container.id
        && record.image == dev.container.image
        && record.stamp == dev.status.stamp
        && !dev.started
        && record.inputs == inputs(workspace)
        && record.report.as_ref().is_none_or(|report| {
            ground.python.host_env.as_ref() == Some(&report.path)
                // Some tool made a venv of its own over it, say.
                && record.env_stamp.is_some()
                && layout::stamp(&report.path, &workspace.venv_folder()) == record.env_stamp
                // A link that leads nowhere on the host.
                && workspace.venv_folder().join("bin/python").as_path().is_symlink()
                && report.roots.iter().all(|root| root.host.as_path().exists())
        })
}

/// Scans what is mirrored once more. `None`: something has changed, and everything is to be asked again.
pub(super) async fn rescan(
    workspace: &Workspace,
    ground: &Ground,
    dev: &Dev,
    deletions: Deletions,
) -> Result<Option<Prepared>> {
    let Some(known) = record(workspace).filter(|record| is_current(workspace, ground, dev, record)) else {
        return Ok(None);
    };
    let image = &dev.container.image;
    let mirrored =
        mirrored::sync(workspace, ground, &dev.container.id, image, &known.trees, &known.exclude, deletions).await?;
    if mirrored.changed {
        return Ok(None);
    }
    Ok(Some(known.prepared()))
}

/// As [`prepare`], asking everything again.
pub(super) async fn refresh(
    workspace: &Workspace,
    ground: &Ground,
    dev: &Dev,
    gpus: &[GpuDevice],
    deletions: Deletions,
) -> Result<Prepared> {
    let progress = &workspace.progress;
    let mut prepared =
        Prepared { warnings: ground.python.warning.clone().into_iter().collect(), ..Prepared::default() };
    let venv = &ground.python.venv;
    // The venv's own `bin` must not answer for the image's Python.
    let path = ground.image.var("PATH").unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let container = dev.container.id.as_str();
    let image_side = InDev {
        workspace,
        container,
        env: vec![("PATH".to_owned(), Some(path.to_owned())), ("VIRTUAL_ENV".to_owned(), None)],
    };
    let venv_side = InDev { workspace, container, env: Vec::new() };
    let client = Client::connect(&workspace.run_folder()).await?;
    let places = PLACES.iter().map(|place| (*place).to_owned()).collect();
    let found = client.find_python(FindPythonRequest { places }).await?;
    prepared.warnings.extend(found.closed.iter().map(|closed| probe::closed(closed, &dev.container.user)));
    let chosen = probe::choose(&image_side, workspace.config().venv.python.as_deref(), &found.found, venv).await?;
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(none) => {
            let no_python = if none.passed_over.is_empty() {
                progress.note("the image has no Python: the container works, and there is no .venv to make");
                "the image has no Python that the container's user finds, so there is no venv and nothing to complete from; \
                 install one in the Dockerfile, or name it with `python` under [venv]"
            } else {
                "no Python of the image runs, so there is no venv and nothing to complete from; mend that in the \
                 Dockerfile, or name another with `python` under [venv]"
            };
            prepared.warnings.extend(none.passed_over);
            prepared.warnings.push(no_python.to_owned());
            save(workspace, dev, gpus, &prepared, Seen::default());
            return Ok(prepared);
        }
    };
    prepared.warnings.extend(chosen.passed_over.iter().cloned());
    let packages: std::collections::BTreeMap<_, _> = chosen.probe.distributions.iter().cloned().collect();
    write_cache(&super::record::of_image(workspace, &ground.image), &packages);
    if let Some(choice) = chosen.choice() {
        progress.note(choice);
    }
    if let Some(unused) = unused_requirements(workspace) {
        progress.note(unused);
    }
    let made = create::create(&image_side, &chosen, venv, Some(&workspace.venv_folder())).await?;
    if let Made::Replaced { aside, version } = made {
        prepared.warnings.push(format!(
            "the image's Python is {} at {} now; the venv of another one ({}) was moved to {aside}",
            chosen.probe.version,
            chosen.python,
            version.as_deref().unwrap_or("of an unknown version"),
        ));
    }
    workspace.reach("venv.created")?;
    let shared = shared(workspace, ground);
    let python = format!("{venv}/bin/python");
    let before = probe::ask(&venv_side, &python).await?;
    let mounts = PathMap::new(shared.iter().map(|shared| shared.mapping.clone()).collect());
    let installed = install(
        &venv_side,
        &Install {
            venv,
            on_host: Some(&workspace.venv_folder()),
            probe: &before,
            image: &chosen.probe,
            requirements: &workspace.config().venv.requirements,
            installer: workspace.config().venv.installer,
            map: &mounts,
        },
        progress,
    )
    .await?;
    workspace.reach("venv.installed")?;
    // A Python takes its time to start; what nothing was installed into answers the same.
    let probe = match installed {
        Installed::Now(warnings) => {
            prepared.warnings.extend(warnings);
            probe::ask(&venv_side, &python).await?
        }
        Installed::Already | Installed::Nothing => before,
    };
    prepared.warnings.extend(roots::unseen(&probe));
    let roots = roots::roots(&probe, &shared);
    let stamped: Vec<ContainerPath> = roots.roots.iter().map(|root| root.container.clone()).collect();
    // Before the scan: what changes meanwhile makes the next look find another stamp.
    let client = Client::connect(&workspace.run_folder()).await?;
    let stamp = client.status(StatusRequest { mounts: Vec::new(), stamp: stamped.clone() }).await?.stamp;
    let mirrored = mirrored::sync(
        workspace,
        ground,
        &dev.container.id,
        &dev.container.image,
        &roots.trees(),
        &roots.exclude(&shared),
        deletions,
    )
    .await?;
    // Until the host env and the record name them.
    let _using = mirrored.using;
    prepared.changed |= mirrored.changed;
    prepared.mirror = Some(mirrored.report);
    let trees = mirrored.trees;
    let on_host = roots.on_host(|tree| trees.iter().find(|held| held.container == *tree).map(|held| held.host.clone()));
    let folders: Vec<HostPath> = on_host.iter().map(|mapping| mapping.host.clone()).collect();
    prepared.paths = layout::extra_paths(&folders);
    if let Some(path) = &ground.python.host_env {
        let mut scripts = layout::console_scripts(&workspace.venv_folder());
        let user_scripts = layout::user_scripts(&probe, &scripts);
        scripts.extend(user_scripts.keys().cloned());
        let env = HostEnv {
            scripts: user_scripts,
            schema: hostenv::SCHEMA,
            id: workspace.id().to_owned(),
            workspace: workspace.folder().clone(),
            path: path.clone(),
            container: dev.container.name.clone(),
            socket: Some(workspace.run_folder().join(gpubay_protocol::agent::SOCKET_NAME)),
            helper: HostPath::new(helper_executable()).map_err(|error| Error::new("internal", error.to_string()))?,
            python: ContainerPath::new(&python).map_err(|error| Error::new("internal", error.to_string()))?,
            venv: venv.clone(),
            version: probe.version.clone(),
            unmapped: roots.unmapped(&on_host),
            map: roots::map(&shared, path, venv, &on_host, &trees),
            cache: workspace.config().paths.cache.join("shim").join(&workspace.place),
        };
        let (ours, others) = if is_remembered(workspace, path) {
            (Vec::new(), Vec::new())
        } else {
            exposure::who_writes(workspace, path).await?
        };
        if !ours.is_empty() {
            prepared.warnings.push(format!(
                "{path} is not written, since the host would run what {} can write there: its mounts are older than this \
                 workspace; recreate it (`gpubay up --recreate` in its workspace) or stop it, and run `gpubay up` again",
                ours.join(", ")
            ));
            return Ok(prepared);
        }
        if !others.is_empty() {
            prepared.warnings.push(format!(
                "{} can write {path}, which tools on the host run; GPU Bay did not make it and leaves it alone",
                others.join(", ")
            ));
        }
        let uncovered = jobs_without_cover(workspace, venv, path).await?;
        if !uncovered.is_empty() {
            prepared.warnings.push(format!(
                "{path} is not made anew while the job {} runs: what was mounted over it there went with the folder that was \
                 deleted, and the host would run what the job can write; `gpubay up` makes it when the job has ended (or \
                 `gpubay down {}`)",
                uncovered.join(", "),
                uncovered[0],
            ));
            return Ok(prepared);
        }
        workspace.reach("hostenv.write")?;
        let home = home(workspace, &probe, &on_host)?;
        prepared.changed |= layout::write(&Layout {
            env: &env,
            home: home.as_ref(),
            folders: &folders,
            shim: embedded::SHIM,
            scripts: &scripts,
        })?;
        remember_host_env(workspace, path)?;
        let foreign = layout::foreign(path);
        if !foreign.is_empty() {
            let shown: Vec<&str> = foreign.iter().take(5).map(String::as_str).collect();
            prepared.warnings.push(format!(
                "some program of the host has installed into {path} ({}{}), which the container does not have; delete \
                 {path} and run `gpubay up`, which makes it anew",
                shown.join(", "),
                if foreign.len() > shown.len() { ", …" } else { "" },
            ));
        }
        prepared.host_env = Some(HostEnvReport {
            path: path.clone(),
            python: path.join("bin/python"),
            version: probe.version.clone(),
            roots: on_host
                .iter()
                .map(|Mapping { host, container }| {
                    let (files, bytes) = mirrored.counts.get(container).copied().unwrap_or_default();
                    RootReport { container: container.clone(), host: host.clone(), files, bytes }
                })
                .collect(),
        });
    }
    let seen = Seen { trees: roots.trees(), exclude: roots.exclude(&shared), roots: stamped, stamp };
    save(workspace, dev, gpus, &prepared, seen);
    Ok(prepared)
}

/// Running jobs of this workspace that would see the host env itself: deleting its folder took the mount over it away. Only
/// where there is none can that have happened.
async fn jobs_without_cover(workspace: &Workspace, venv: &ContainerPath, path: &HostPath) -> Result<Vec<String>> {
    if path.join(hostenv::FILE_NAME).as_path().exists() {
        return Ok(Vec::new());
    }
    let mut uncovered = Vec::new();
    let ours = [(labels::ID, workspace.id()), (labels::ROLE, Role::Job.as_str())];
    for job in workspace.engine.list(&ours).await?.into_iter().filter(|job| job.state == "running") {
        let Some(name) = job.labels.get(labels::JOB) else { continue };
        let covered = async {
            let client = Client::connect(&workspace.job_run_folder(name)).await.ok()?;
            client
                .status(StatusRequest { mounts: vec![venv.clone()], stamp: Vec::new() })
                .await
                .ok()?
                .mounted
                .first()
                .copied()
        };
        if covered.await != Some(true) {
            uncovered.push(name.clone());
        }
    }
    Ok(uncovered)
}

/// What the venv was made from, as host tools are to find it; `None` where the host has no copy of its
/// standard library.
fn home(workspace: &Workspace, probe: &Probe, on_host: &[Mapping]) -> Result<Option<HostPath>> {
    let stdlib = probe.paths.get("stdlib").cloned().flatten().and_then(|path| ContainerPath::new(path).ok());
    let stdlib = stdlib.and_then(|path| PathMap::new(on_host.to_vec()).to_host(&path));
    let Some(stdlib) = stdlib.filter(|path| path.is_dir()) else { return Ok(None) };
    let stdlib = HostPath::new(stdlib).map_err(|error| Error::new("internal", error.to_string()))?;
    let folder = workspace.config().paths.cache.join("homes").join(&workspace.place);
    Ok(Some(layout::make_home(&folder, &probe.version, &stdlib)?))
}

/// What a later look is compared with.
#[derive(Default)]
struct Seen {
    trees: Vec<ContainerPath>,
    exclude: Vec<ContainerPath>,
    roots: Vec<ContainerPath>,
    stamp: u64,
}

fn save(workspace: &Workspace, dev: &Dev, gpus: &[GpuDevice], prepared: &Prepared, seen: Seen) {
    let record = Record {
        schema: SCHEMA,
        helper: embedded::ID.to_owned(),
        container: dev.container.id.clone(),
        image: dev.container.image.clone(),
        inputs: inputs(workspace),
        trees: seen.trees,
        exclude: seen.exclude,
        roots: seen.roots,
        stamp: seen.stamp,
        gpus: gpus.to_vec(),
        report: prepared.host_env.clone(),
        env_stamp: prepared.host_env.as_ref().and_then(|report| layout::stamp(&report.path, &workspace.venv_folder())),
        paths: prepared.paths.clone(),
        warnings: prepared.warnings.clone(),
    };
    write_cache(&record_path(workspace), &record);
}

/// The folders that host and container share, and whose each is.
fn shared(workspace: &Workspace, ground: &Ground) -> Vec<Shared> {
    let of = |kind, mapping: &Mapping| Shared { kind, mapping: mapping.clone() };
    let mut shared: Vec<Shared> = exec::shared_folders(workspace)
        .mappings()
        .iter()
        .enumerate()
        .map(|(index, mapping)| of(if index == 0 { Kind::Workspace } else { Kind::Mounted }, mapping))
        .collect();
    let venv = Mapping { host: workspace.venv_folder(), container: ground.python.venv.clone() };
    shared.push(of(Kind::Venv, &venv));
    shared
}
