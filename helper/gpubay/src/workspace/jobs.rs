//! `run`: jobs are containers of the same image and venv, each for one command.

use std::time::Duration;

use super::labels;
use super::leases::{self, Asking};
use super::queue::{self, Place};
use super::report::GpuDevice;
use super::spec::{Planned, Task, plan};
use super::{
    Role, Workspace, choice, delivery, dev, exec, exposure, lock, record, ticket, unique, up, visibility, waiting,
    watcher,
};
use crate::ContainerPath;
use crate::agent;
use crate::config;
use crate::config::model::{Config, GpuSelection, Gpus, Isolation, JobWorkdir, MountSource};
use crate::engine::{Attached, ContainerState, EngineError, Stdio};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::gpu;
use crate::gpu::lease::Kind;
use crate::quoting::printable;
use gpubay_protocol::agent::{MOUNT_MOVED, StatusRequest};

#[derive(Clone, Debug)]
pub struct RunOptions {
    pub argv: Vec<String>,
    /// `None`: a short one is made up.
    pub name: Option<String>,
    pub gpus: Option<GpuSelection>,
    /// Shared: beside jobs that have them already.
    pub lease: Kind,
    /// Where all that would do are taken.
    pub wait: Wait,
    pub stdio: Stdio,
    /// The caller's working directory; used where the container can see it.
    pub cwd: std::path::PathBuf,
    /// Of the caller's terminal.
    pub env: Vec<(String, String)>,
    /// The job of the configuration that it is, if it is one: its variables and folder count.
    pub configured: Option<String>,
    /// Work on a frozen copy of the sources; with folders that stay the workspace's own besides what git ignores.
    pub snapshot: Option<Vec<String>>,
    /// Run this one again: its image, its folder and its sources.
    pub again: Option<Box<record::Kept>>,
}

/// How long a job waits for its GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Not,
    AtMost(Duration),
    /// Until somebody cancels it.
    Always,
}

/// A job that has been made and, unless it is attached to, started.
#[derive(Debug)]
pub struct Job {
    pub id: String,
    /// The container's name.
    pub container: String,
    /// As `ps` and `logs` name it.
    pub name: String,
    pub attached: Option<Attached>,
    /// The name of the record of what it was made of.
    pub record: String,
    /// Its GPUs in the order in which CUDA counts them, as far as their places are known.
    pub gpus: Vec<GpuDevice>,
    /// Of one that is run again: what is not as it was.
    pub differences: Vec<super::Drift>,
}

impl RunOptions {
    /// A first word that names a job of the configuration is that job, and what follows are arguments for it. What was
    /// asked for besides counts more than what the configuration says of the job.
    #[must_use]
    pub fn as_configured(mut self, config: &Config) -> Self {
        if let Some(kept) = &self.again {
            self.configured = kept.record.configured.clone().filter(|name| config.jobs.contains_key(name));
            return self;
        }
        let Some((name, job)) = self.argv.first().and_then(|name| config.jobs.get_key_value(name)) else { return self };
        let more = &self.argv[1..];
        let more = more.strip_prefix(&["--".to_owned()]).unwrap_or(more);
        self.argv = job.command.iter().chain(more).cloned().collect();
        self.gpus = self.gpus.or_else(|| job.gpus.clone());
        if self.snapshot.is_some() || job.snapshot {
            let mut live = self.snapshot.unwrap_or_default();
            live.extend(job.live.iter().filter(|folder| !live.contains(folder)).cloned().collect::<Vec<_>>());
            self.snapshot = Some(live);
        }
        self.configured = Some(name.clone());
        self
    }

    fn job<'a>(&self, config: &'a Config) -> Option<&'a config::model::Job> {
        config.jobs.get(self.configured.as_ref()?)
    }

    /// Its own variables, and those of the call.
    pub(super) fn variables(&self, config: &Config) -> Vec<(String, String)> {
        let own = self.job(config).into_iter().flat_map(|job| job.env.clone());
        own.chain(self.env.iter().cloned()).collect()
    }

    /// Where it starts: as recorded, as configured, or the caller's folder inside.
    ///
    /// # Errors
    /// `no_workdir` for a folder of the workspace that is not there: an engine would make it, as root.
    pub(super) fn folder(&self, workspace: &Workspace) -> Result<ContainerPath> {
        if let Some(cwd) = self.again.as_ref().and_then(|kept| ContainerPath::new(&kept.record.cwd).ok()) {
            return Ok(cwd);
        }
        let workdir = &workspace.config().container.workdir;
        match self.job(workspace.config()).and_then(|job| job.workdir.as_ref()) {
            None => Ok(exec::inside(workspace, &self.cwd)),
            Some(JobWorkdir::Inside(path)) => Ok(path.clone()),
            Some(JobWorkdir::Below(path)) if workspace.folder().join(path).as_path().is_dir() => Ok(workdir
                .join(path)
                .map_err(|error| Error::new("no_workdir", format!("the job cannot start in {path:?}: {error}")))?),
            Some(JobWorkdir::Below(path)) => {
                let name = self.configured.as_deref().unwrap_or_default();
                Err(Error::new("no_workdir", format!("{path:?}, where the job starts, is no folder of the workspace"))
                    .with_hint(format!("Make it, or correct [jobs.{name}] workdir.")))
            }
        }
    }
}

/// The wish that counts for it.
pub(super) fn gpus_of(workspace: &Workspace, options: &RunOptions) -> Gpus {
    let gpus = workspace.config().gpus.clone();
    // What a job is not given it cannot disturb.
    let isolation = Isolation::Hard;
    Gpus { select: options.gpus.clone().unwrap_or_else(|| gpus.select.clone()), isolation, ..gpus }
}

pub(super) fn name_of(options: &RunOptions) -> Result<String> {
    let name =
        options.name.clone().unwrap_or_else(|| format!("{}-{}", stem(options.configured.as_deref()), &unique()[..6]));
    check_name(&name).map(|()| name)
}

/// What it is told apart by at a glance: the name that the configuration gives it, as far as that can name a container.
fn stem(configured: Option<&str>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = configured.unwrap_or_default().chars().map(plain).take(40).collect();
    match name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()) {
        "" => "job".to_owned(),
        name => name.to_owned(),
    }
}

/// Makes and starts a job. The image is built and the venv prepared where they are not yet.
///
/// # Errors
/// `job_exists` when the name is taken; those of `up` for what is prepared; GPUs that do not answer.
pub async fn run(workspace: &Workspace, options: &RunOptions) -> Result<Job> {
    let mut place = Place::new(name_of(options)?);
    tell_unwatched(workspace).await?;
    let job = queue::run_in_turn(workspace, options, &mut place).await;
    if let Some(ticket) = place.ticket.take() {
        ticket.give_back(workspace).await;
    }
    job
}

/// Says which jobs of this workspace go on with nobody who watches.
async fn tell_unwatched(workspace: &Workspace) -> Result<()> {
    let jobs = workspace.engine.list(&[(labels::ID, workspace.id()), (labels::ROLE, Role::Job.as_str())]).await?;
    for job in jobs.iter().filter(|job| watcher::is_unwatched(job)) {
        let name = printable(job.label(labels::JOB));
        workspace.progress.note(format!(
            "job {name} goes on although its terminal is gone: `gpubay logs -f {name}` shows it, `gpubay stop {name}` ends it"
        ));
    }
    Ok(())
}

/// One attempt.
pub(super) async fn run_once(workspace: &Workspace, options: &RunOptions, place: &mut Place) -> Result<Job> {
    if !up::is_prepared(workspace) {
        up::up(workspace, super::Recreate::WhenNothingIsLost).await?;
    } else if crate::venv::install::is_stale(&workspace.venv_folder(), &workspace.config().venv.requirements) {
        let what = "the requirements are not those that were installed: the job starts with the packages of the last `gpubay up`";
        workspace.progress.warn(what.to_owned());
    }
    let name = place.name.clone();
    let cwd = options.folder(workspace)?;
    let env = options.variables(workspace.config());
    let selection = gpus_of(workspace, options);
    // While the image is made or looked into: a helper container that exists under a free lock was left behind.
    let lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
    if place.folder.is_none() {
        ticket::sweep(workspace).await?;
        record::sweep(workspace);
    }
    let facts = tokio::task::spawn_blocking(record::Facts::gather(workspace));
    let again = options.again.as_deref();
    let asking = Asking { kind: options.lease, ticket: place.ticket.as_ref() };
    let image = again.map(|kept| kept.record.image.id.as_str());
    let (ground, facts) = tokio::join!(up::ground_of(workspace, &selection, None, image, asking), facts);
    let (mut ground, facts) = (ground?, facts.unwrap_or_default());
    workspace.reach("job.planned")?;
    let asked = options.gpus.as_ref().filter(|gpus| matches!(gpus, GpuSelection::All | GpuSelection::Count(_)));
    if let Some(asked) = asked.filter(|_| ground.gpu.promised == gpu::Promise::Nothing) {
        let (asked, why) = (asked.typed(), &ground.gpu.reason);
        workspace.progress.warn(format!("GPUs asked for: {asked}; the job runs on the CPU, since {why}"));
    }
    ground.places.run = workspace.job_run_folder(&name);
    let mode = std::fs::metadata(workspace.run_folder().as_path()).map(|found| found.permissions());
    std::fs::create_dir_all(ground.places.run.as_path())
        .and_then(|()| mode.map_or(Ok(()), |mode| std::fs::set_permissions(ground.places.run.as_path(), mode)))
        .map_err(delivery::at(ground.places.run.as_path()))?;
    place.settle(workspace, options).await?;
    let Some((folder, frozen)) = &place.folder else { return Err(Error::new("internal", "a job without a record")) };
    let frozen = frozen.as_ref();
    let task = Task::Job { name: &name, argv: &options.argv, cwd: Some(&cwd), env: &env, stdio: options.stdio, frozen };
    let mut planned = plan(&ground.inputs(workspace), &task);
    planned.spec.labels.extend(folder.labels(&ground, &facts));
    planned.spec.labels.insert(labels::LEASE.to_owned(), leases::written(options.lease).to_owned());
    if matches!(options.stdio, Stdio::Attached { .. }) {
        let watched = watcher::this_process().map(|process| (labels::WATCHED.to_owned(), process));
        planned.spec.labels.extend(watched);
    }
    dev::prepare_mount_points(&planned)?;
    exposure::refuse_volumes_that_are_folders(workspace, &planned.spec.mounts).await?;
    let id = create(workspace, &planned, &ground, &name).await?;
    drop(lock);
    let start = async {
        failpoint::reach("job.created").await?;
        if options.lease == Kind::Exclusive
            && let Some(held) = ground.gpu.held()
        {
            leases::confirm(workspace, &id, &held).await?;
        }
        let attached = match options.stdio {
            Stdio::Attached { .. } => Some(workspace.engine.attach(&id).await?),
            Stdio::Detached => None,
        };
        exposure::sources_are_as_they_were(&planned.spec.mounts)?;
        failpoint::reach("job.checked").await?;
        let about = record::About {
            name: &name,
            argv: &options.argv,
            configured: options.configured.as_deref(),
            gpus: &selection,
            env: &options.env,
            frozen,
        };
        let (mut record, diff) = folder.record(workspace, &ground, &planned, &about, facts)?;
        let differences = again.map_or_else(Vec::new, |kept| record::differences(kept, &record, &diff, frozen));
        for difference in &differences {
            workspace.progress.note(format!("not as it was: {}", difference.text));
        }
        if let Some(ticket) = &place.ticket {
            ticket.stands(workspace, &place.patience).await?;
        }
        if let Err(error) = workspace.engine.start(&id).await {
            // Who waited for its GPU took it for one that was left behind, and has removed it or is about to.
            let gone = match workspace.engine.container(&id).await? {
                None => true,
                Some(found) => found.state == ContainerState::Dead,
            };
            return Err(if gone { leases::raced() } else { error.into() });
        }
        workspace.reach("job.started")?;
        let told = choice::told(&planned.spec.labels, None);
        let mut gpus = told.clone().unwrap_or_default();
        if ground.gpu.promised != gpu::Promise::Nothing {
            tokio::select! {
                checked = up::check_gpus(&ground.gpu, &ground.places.run) => match checked {
                    Ok(devices) => {
                        record.gpus.devices = choice::devices(&planned.spec.labels, &devices, None);
                        // By its UUID alone nobody knows its place.
                        if told.is_some() || ground.gpu.label == "all" {
                            gpus.clone_from(&record.gpus.devices);
                        }
                        folder.write(&record)?;
                    }
                    Err(error) => {
                        if !ends_soon(workspace, &id, &error, attached.is_some()).await {
                            return Err(error);
                        }
                    }
                },
                _ = workspace.engine.wait(&id) => {}
            }
        }
        if frozen.is_some_and(|frozen| !frozen.snapshot.live.is_empty()) {
            mounts_are_right(workspace, &id, &ground.places.run).await?;
        }
        if attached.is_none() {
            begins(workspace, &id, &options.argv, &ground.places.run).await?;
        }
        Ok::<_, Error>((attached, differences, gpus))
    };
    let started = tokio::select! {
        started = start => started,
        () = workspace.progress.cancel.cancelled() => Err(Error::new("cancelled", "cancelled while the job started")),
    };
    match started {
        Ok((attached, differences, gpus)) => {
            let record = folder.name.clone();
            if let Some((folder, _)) = place.folder.take() {
                folder.keep();
            }
            Ok(Job { id, container: planned.spec.name, name, attached, record, gpus, differences })
        }
        Err(error) => {
            workspace.engine.remove(&id).await?;
            let _ = std::fs::remove_dir_all(ground.places.run.as_path());
            Err(error)
        }
    }
}

/// A container that the engine fills with what we see.
async fn create(workspace: &Workspace, planned: &Planned, ground: &up::Ground, name: &str) -> Result<String> {
    let run = &ground.places.run;
    let workdir = &workspace.config().container.workdir;
    let sources = planned.spec.mounts.iter().find_map(|mount| match &mount.source {
        MountSource::Host(source) if mount.target == *workdir => Some((source, workdir)),
        _ => None,
    });
    let problem = match dev::create(workspace, planned, &ground.user).await {
        Ok(id) => match visibility::check(workspace, &id, run, sources).await {
            Ok(()) => return Ok(id),
            Err(problem) => {
                workspace.engine.remove(&id).await?;
                problem
            }
        },
        // Its run folder is the other job's.
        Err(EngineError::Conflict { .. }) => return Err(taken(name)),
        Err(error) => visibility::refusal(workspace, error, &planned.spec).await,
    };
    let _ = std::fs::remove_dir_all(run.as_path());
    Err(visibility::settle(workspace, &planned.spec.image, problem).await)
}

fn taken(name: &str) -> Error {
    Error::new("job_exists", format!("there is a job named {name} already"))
        .with_hint(format!("Give this one another name with --name, or remove the old one: gpubay rm {name}"))
}

/// # Errors
/// `job_exists` where there is one of that name.
pub(super) async fn refuse_taken(workspace: &Workspace, name: &str) -> Result<()> {
    if workspace.engine.container(&format!("{}-{name}", workspace.base_name())).await?.is_some() {
        return Err(taken(name));
    }
    if ticket::of_workspace(workspace).await?.iter().any(|line| line.by.label(labels::JOB) == name) {
        return Err(Error::new("job_exists", format!("a job named {name} waits already"))
            .with_hint(format!("Give this one another name with --name, or end that wait: gpubay stop {name}")));
    }
    Ok(())
}

/// Before anything else runs, the agent compares what is live with what was held open here. Later it would be the
/// job's own exit code that says it.
async fn mounts_are_right(workspace: &Workspace, id: &str, run: &crate::HostPath) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let first = async {
        tokio::select! {
            Ok(_) = agent::wait_ready(run, PATIENCE) => None,
            code = workspace.engine.wait(id) => code.ok(),
        }
    };
    let code = tokio::time::timeout(PATIENCE, first).await.ok().flatten();
    if code != Some(MOUNT_MOVED.into()) {
        return Ok(());
    }
    // A program may end with this code itself.
    let said = waiting::log_tail(workspace, id).await;
    let Some(why) = said.lines().find_map(|line| line.split_once("gpubay-agent: ").map(|(_, why)| why.trim())) else {
        return Ok(());
    };
    Err(Error::new("mount_moved", format!("nothing of the job has run: {why}")).with_hint(
        "Something put another thing in its place while the job started, maybe a program in a container that can write \
         the workspace; look at it on the host, and run the command again.",
    ))
}

/// Whoever does not watch a job is told at once that it has no program: the agent looks for it before anything else runs.
/// Until it has found it, nothing but the agent is in the container.
async fn begins(workspace: &Workspace, id: &str, argv: &[String], run: &crate::HostPath) -> Result<()> {
    // An ENTRYPOINT may take its time before the program is looked for.
    const PATIENCE: Duration = Duration::from_secs(3);
    let runs = async {
        let nothing = StatusRequest { mounts: Vec::new(), stamp: Vec::new() };
        let ask = async || agent::wait_ready(run, PATIENCE).await.ok()?.status(nothing.clone()).await.ok();
        // An agent that is gone leaves the word to the engine.
        while let Some(status) = ask().await {
            if !status.processes.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await;
    };
    let first = async {
        tokio::select! {
            () = runs => None,
            code = workspace.engine.wait(id) => code.ok(),
        }
    };
    let code = tokio::time::timeout(PATIENCE, first).await.ok().flatten();
    let (code, what) = match code {
        Some(127) => ("program_not_found", "not found"),
        Some(126) => ("program_not_executable", "not executable"),
        _ => return Ok(()),
    };
    // A program may end with these codes itself.
    let said = waiting::log_tail(workspace, id).await;
    if !said.contains("gpubay-agent: ") {
        return Ok(());
    }
    let program = argv.first().map_or("", String::as_str);
    Err(Error::new(code, format!("the job's program {program} is {what} in the container"))
        .with_hint("Look for it with `gpubay exec -- ls`, or install it in the image or the venv."))
}

/// A job that ends takes its agent with it, a moment before the engine has noted the end; its exit code
/// says the rest. GPUs that an agent reported as missing are another matter.
///
/// An engine notes no end as long as output waits that nobody takes: who is `attached` takes it next, and sees the end.
async fn ends_soon(workspace: &Workspace, id: &str, error: &Error, attached: bool) -> bool {
    const MOMENT: Duration = Duration::from_secs(5);
    if attached && ["agent_lost", "agent_unreachable"].contains(&error.code) {
        return true;
    }
    error.code.starts_with("agent_") && tokio::time::timeout(MOMENT, workspace.engine.wait(id)).await.is_ok()
}

/// # Errors
/// `bad_job_name`
pub fn check_name(name: &str) -> Result<()> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    // `rm dev` means the dev container.
    if plain && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 60 && name != "dev" {
        return Ok(());
    }
    Err(Error::new("bad_job_name", format!("{name:?} cannot name a job"))
        .with_hint("Use letters, digits, `-`, `_` and `.`, with a letter or digit first; `dev` is the dev container."))
}

/// Waits for a job's end and returns its exit code.
pub async fn wait(workspace: &Workspace, job: &Job) -> Result<i64> {
    let code = workspace.engine.wait(&job.id).await?;
    record::ended(&record::records(workspace).join(&job.record), Some(record::now()), code);
    Ok(code)
}

/// Takes away a job that has ended and was watched to its end.
pub async fn remove(workspace: &Workspace, job: &Job) -> Result<()> {
    workspace.engine.remove(&job.id).await?;
    let _ = std::fs::remove_dir_all(workspace.job_run_folder(&job.name).as_path());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_the_configuration_is_known_by_its_name() {
        for (configured, stem_of_it) in
            [(None, "job"), (Some("train"), "train"), (Some("größe 2"), "gr--e-2"), (Some("--"), "job")]
        {
            let stem = stem(configured);
            assert_eq!(stem, stem_of_it);
            assert!(check_name(&format!("{stem}-12ab34")).is_ok());
        }
    }
}
