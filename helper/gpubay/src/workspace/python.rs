//! The container's Python on the host: venv, requirements, mirror, host env.
//!
//! Each part looks first whether it has been done, so the whole may be run at any time and goes on
//! where an earlier one was cut off.

use async_trait::async_trait;
use gpubay_protocol::agent::{Exit, FindPythonRequest, StatusRequest};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::dev::Dev;
use super::published::Publishing;
use super::report::{GpuDevice, HostEnvReport, MirrorReport};
use super::sync::Deletions;
use super::up::Ground;
use super::{Workspace, exec, helper_executable, mirrored, read_cache, waiting, write_cache};
use crate::agent::{Client, embedded};
use crate::config::model::{Build, Dockerfile, Image};
use crate::error::{Error, Result};
use crate::mirror;
use crate::venv::create::{self, Made};
use crate::venv::hostenv as layout;
use crate::venv::inside::{Inside, Output, Run, Stream};
use crate::venv::install::{Install, Installed, install};
use crate::venv::probe::{self, PLACES};
use crate::venv::requirements::{self, Requirements};
use crate::venv::roots::{self, Kind, Shared};
use crate::{ContainerPath, HostPath, Mapping, PathMap, files};

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
        let mut trouble = std::pin::pin!(waiting::trouble(self.workspace, self.container));
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
    let wanted = mirrored::Wanted { roots: &known.trees, exclude: &known.exclude, near: &[], first: None };
    let mirrored = mirrored::sync(workspace, ground, &dev.container.id, image, wanted, deletions).await?;
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
    let step = progress.step("Preparing the container's Python");
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
            step.done();
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
    let replacing = |was: &str| {
        progress.note(format!(
            "the venv is one of Python {was}, and the container's Python is {} at {} now: it is moved aside with what was \
             installed into it, and made anew",
            chosen.probe.version, chosen.python
        ));
    };
    let made = create::create(&image_side, &chosen, venv, Some(&workspace.venv_folder()), &replacing).await?;
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
    step.done();
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
    let publishing = Publishing {
        workspace,
        ground,
        dev,
        probe: &probe,
        image: &chosen.probe,
        python: &python,
        roots: &roots,
        shared: &shared,
    };
    let (ready, first) = oneshot::channel::<mirror::Synced>();
    // What the workspace imports is of use while all the rest is still on its way.
    let imported = async {
        let part = first.await.ok()?;
        let (trees, counts) = mirrored::mapped(part);
        match publishing.write(&trees, &counts).await {
            Ok(published) => {
                published.announce(progress);
                Some(published)
            }
            Err(error) => {
                // If it lasts, the whole will meet it, too.
                tracing::debug!(%error, "what is imported was not shown first");
                None
            }
        }
    };
    let (trees, exclude) = (roots.trees(), roots.exclude(&shared));
    let near = mirrored_paths(&workspace.config().paths.cache, workspace.id8());
    // Where the tools outside have packages already, the older ones are of more use than a part of the new ones.
    let mirrors = workspace.config().paths.cache.join("mirror");
    let is_first = !near.iter().any(|path| path.as_path().starts_with(mirrors.as_path()) && path.as_path().exists());
    let wanted = mirrored::Wanted { roots: &trees, exclude: &exclude, near: &near, first: is_first.then_some(ready) };
    let sync = mirrored::sync(workspace, ground, &dev.container.id, &dev.container.image, wanted, deletions);
    let (mirrored, early) = tokio::join!(sync, imported);
    let mirrored = mirrored?;
    // Until the host env and the record name them.
    let _using = mirrored.using;
    prepared.changed |= mirrored.changed;
    prepared.mirror = Some(mirrored.report);
    if let Some(early) = early {
        prepared.warnings.extend(early.warnings);
        prepared.changed |= early.changed;
    }
    let published = publishing.write(&mirrored.trees, &mirrored.counts).await?;
    prepared.warnings.extend(
        published.warnings.into_iter().filter(|warning| !prepared.warnings.contains(warning)).collect::<Vec<_>>(),
    );
    prepared.changed |= published.changed;
    prepared.paths = published.paths;
    prepared.host_env = published.host_env;
    if published.held_back {
        return Ok(prepared);
    }
    let seen = Seen { trees: roots.trees(), exclude: roots.exclude(&shared), roots: stamped, stamp };
    save(workspace, dev, gpus, &prepared, seen);
    Ok(prepared)
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
