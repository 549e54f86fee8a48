//! `down` and `stop`: the end of a workspace's containers, never of its data.

use std::collections::BTreeMap;

use super::labels::{self, Role};
use super::report::{DownReport, RmReport};
use super::stakes::{self, Losses};
use super::{Recreate, Workspace, lock, record, ticket};
use crate::HostPath;
use crate::engine::{ContainerState, Engine, Listed};
use crate::error::{Error, Result};
use crate::mirror;
use crate::progress::Progress;
use crate::quoting::printable;
use gpubay_protocol::agent::RUN_DIR;

/// The code of the error that says: something of the user's would be killed.
pub const WORK_RUNNING: &str = "work_running";

/// Removes dev container and jobs; keeps venv, mirror, caches and volumes.
///
/// # Errors
/// `work_running` while something of the user's runs in one of them, unless that is allowed.
pub async fn down(workspace: &Workspace, consent: Recreate) -> Result<DownReport> {
    let _lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
    let containers = with_waiting(workspace).await?;
    let lost = losses(&workspace.engine, &containers).await?;
    let data = |_: &str| workspace.shared();
    let Removed { containers: removed, waits } =
        remove(&workspace.engine, &workspace.progress, containers, &lost, consent, &data).await?;
    let kept = vec![
        format!("the venv ({})", workspace.venv_folder()),
        "mirror, caches and volumes".to_owned(),
        "the image".to_owned(),
    ];
    Ok(DownReport { containers: removed, waits, kept, lost })
}

/// Where the records of a workspace lie, by the first 8 digits of its identity.
pub(super) type DataOf<'a> = &'a (dyn Fn(&str) -> HostPath + Sync);

/// Notes in the record of a job how it ended, if nobody has watched that: with its container it would be forgotten.
async fn note_end(engine: &Engine, container: &Listed, data: DataOf<'_>) {
    let label = |name: &str| container.labels.get(name).map(String::as_str);
    if let (Some(record), Some(id8)) = (label(labels::RECORD), label(labels::ID).and_then(|id| id.get(..8)))
        && let Some(folder) =
            record::folder_of(&data(id8), &format!("{id8}-{}", engine.located().endpoint.key()), record)
        && record::is_open(&folder)
        && let Ok(Some(found)) = engine.container(&container.id).await
        && let ContainerState::Exited { code, .. } = found.state
    {
        record::ended(&folder, found.finished, code);
    }
}

/// Notes of all jobs that have ended by now how they ended, so that their records tell it.
pub async fn note_ends(workspace: &Workspace) {
    match of_workspace(workspace).await {
        Ok(containers) => {
            for container in containers.iter().filter(|container| !is_alive(container)) {
                note_end(&workspace.engine, container, &|_| workspace.shared()).await;
            }
        }
        Err(error) => tracing::debug!(%error, "how jobs ended is not known"),
    }
}

/// What was taken away.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Names of containers.
    pub(super) containers: Vec<String>,
    /// Jobs that waited.
    pub(super) waits: Vec<String>,
}

/// Says what is lost, asks where something would be killed, and removes.
pub(super) async fn remove(
    engine: &Engine,
    progress: &Progress,
    containers: Vec<Listed>,
    lost: &BTreeMap<String, Losses>,
    consent: Recreate,
    data: DataOf<'_>,
) -> Result<Removed> {
    ask_before_killing(lost, consent, "Wait for it, or end it with everything else: `gpubay down --force`.")?;
    for (name, losses) in lost {
        for line in losses.describe() {
            progress.note(format!("lost with {name}: {line}"));
        }
    }
    let mut removed = Removed::default();
    let (tickets, containers): (Vec<_>, Vec<_>) = containers.into_iter().partition(ticket::is_ticket);
    // First: the end of another job would let one begin.
    for ticket in tickets {
        removed.waits.push(end_wait(engine, progress, &ticket).await?);
    }
    for container in containers {
        let step = progress.step(format!("Removing {}", container.name));
        if is_alive(&container) {
            engine.stop(&container.id, 10).await?;
        }
        note_end(engine, &container, data).await;
        engine.remove(&container.id).await?;
        step.done();
        removed.containers.push(container.name);
    }
    Ok(removed)
}

/// Takes a job out of the queue, and returns its name. Who waits for it is told by the engine.
async fn end_wait(engine: &Engine, progress: &Progress, ticket: &Listed) -> Result<String> {
    let name = printable(ticket.label(labels::JOB));
    let step = progress.step(format!("Ending the wait of job {name}"));
    // Nothing runs in it that could be asked to end.
    engine.remove(&ticket.id).await?;
    step.done();
    Ok(name)
}

/// What `rm` takes away.
#[derive(Clone, Debug, Default)]
pub struct Remove {
    /// Jobs by name, or any container of the workspace by name or id; `dev` is the dev container.
    pub names: Vec<String>,
    /// Every job that has ended.
    pub finished: bool,
    /// With [`Remove::finished`]: those that run as well.
    pub running: bool,
    /// What is in the virtual environment: the next `up` makes it anew.
    pub venv: bool,
}

/// Removes what has ended, and only what is named; with consent also what runs.
///
/// # Errors
/// `no_such_container` for a name, `work_running` for what has not ended.
pub async fn rm(workspace: &Workspace, what: &Remove, consent: Recreate) -> Result<RmReport> {
    let _lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
    let all = with_waiting(workspace).await?;
    all_known(&all, &what.names)?;
    let uses_venv = all.iter().any(|container| is_alive(container) && !ticket::is_ticket(container));
    let is_job = |container: &Listed| label(container, labels::ROLE) == Role::Job.as_str();
    let listed_job = |container: &Listed| {
        (is_job(container) || ticket::is_ticket(container)) && (what.running || !is_alive(container))
    };
    let chosen: Vec<Listed> = all
        .into_iter()
        .filter(|container| {
            what.names.iter().any(|name| named(container, name)) || what.finished && listed_job(container)
        })
        .collect();
    // A wait is not work: who names it means its end.
    let alive: Vec<&Listed> =
        chosen.iter().filter(|container| is_alive(container) && !ticket::is_ticket(container)).collect();
    if consent != Recreate::Allowed {
        if !alive.is_empty() {
            let names: Vec<&str> = alive.iter().map(|container| container.name.as_str()).collect();
            // A dev container never ends by itself.
            let hint = if alive.iter().all(|container| is_job(container)) {
                "Wait for its end (`gpubay logs -f`), or add --force."
            } else {
                "`gpubay stop` stops the dev container, `gpubay down` removes it with the jobs; or add --force."
            };
            return Err(Error::new(WORK_RUNNING, format!("it has not ended: {}", names.join(", "))).with_hint(hint));
        }
        if what.venv && uses_venv {
            return Err(Error::new(
                WORK_RUNNING,
                "a container of this workspace runs, and uses the virtual environment",
            )
            .with_hint("`gpubay stop` (or `gpubay down`) first, or add --force."));
        }
    }
    let lost = losses(&workspace.engine, &chosen).await?;
    let jobs: Vec<String> =
        chosen.iter().filter(|container| is_job(container)).map(|job| label(job, labels::JOB)).collect();
    let data = |_: &str| workspace.shared();
    let removed = remove(&workspace.engine, &workspace.progress, chosen, &lost, Recreate::Allowed, &data).await?;
    for job in jobs {
        // A label is text that anybody with the engine can write; this takes plain names only.
        let name = format!("{}-{job}", workspace.place);
        if let Err(error) = mirror::remove_below(&workspace.shared(), "run", &name) {
            tracing::debug!(%error, job, "its run folder stays");
        }
    }
    let venv = if what.venv { Some(empty_venv(workspace).await?) } else { None };
    Ok(RmReport { containers: removed.containers, waits: removed.waits, venv, lost })
}

fn label(container: &Listed, name: &str) -> String {
    container.labels.get(name).cloned().unwrap_or_default()
}

/// Whether somebody may mean this container by that name.
fn named(container: &Listed, name: &str) -> bool {
    container.name == name
        || label(container, labels::JOB) == name
        || name == "dev" && label(container, labels::ROLE) == "dev"
        || name.len() >= SHORTEST_ID && container.id.starts_with(name)
}

/// # Errors
/// `no_such_container` for a name that none of them has.
fn all_known(all: &[Listed], names: &[String]) -> Result<()> {
    let Some(unknown) = names.iter().find(|name| !all.iter().any(|container| named(container, name))) else {
        return Ok(());
    };
    let there: Vec<String> =
        all.iter().map(|container| container.labels.get(labels::JOB).unwrap_or(&container.name).clone()).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    Err(Error::new("no_such_container", format!("this workspace has no container {unknown}; it has: {there}"))
        .with_hint("`gpubay ps` lists them, `gpubay down NAME` removes one of another workspace."))
}

/// The folder stays: containers that are stopped mount it.
async fn empty_venv(workspace: &Workspace) -> Result<HostPath> {
    let folder = workspace.venv_folder();
    let step = workspace.progress.step("Removing the virtual environment");
    let (data, place) = (workspace.shared(), workspace.place.clone());
    if folder.as_path().exists() {
        let emptied = tokio::task::spawn_blocking(move || mirror::empty_below(&data, "venvs", &place)).await;
        emptied.map_err(|error| Error::new("internal", error.to_string()))?.map_err(|error| {
            Error::new("venv_not_removed", format!("{folder} cannot be emptied: {error}"))
                .with_hint(format!("A container's root may have written there: `sudo rm -r {folder}`."))
        })?;
    }
    // A job that comes before the next `up` would start on nothing.
    super::python::forget(workspace);
    step.done();
    Ok(folder)
}

/// How much of an id names a container.
pub(super) const SHORTEST_ID: usize = 8;

/// Stops the dev container, or the containers of those names, and keeps them.
///
/// # Errors
/// `work_running` while something of the user's runs in them, unless that is allowed; `no_such_container` for a name.
pub async fn stop(workspace: &Workspace, names: &[String], consent: Recreate) -> Result<DownReport> {
    let _lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
    stop_under_lock(workspace, names, consent).await
}

/// [`stop`] for who has the workspace's lock.
pub(super) async fn stop_under_lock(workspace: &Workspace, names: &[String], consent: Recreate) -> Result<DownReport> {
    let mut found = with_waiting(workspace).await?;
    all_known(&found, names)?;
    let meant = |container: &Listed| match names {
        [] => label(container, labels::ROLE) == "dev",
        names => names.iter().any(|name| named(container, name)),
    };
    found.retain(|container| meant(container) && is_alive(container));
    if found.is_empty() {
        let (containers, waits, kept) = (Vec::new(), Vec::new(), Vec::new());
        return Ok(DownReport { containers, waits, kept, lost: BTreeMap::new() });
    }
    let (tickets, found): (Vec<_>, Vec<_>) = found.into_iter().partition(ticket::is_ticket);
    let mut lost = losses(&workspace.engine, &found).await?;
    // Only what runs: a stopped container keeps its files.
    for losses in lost.values_mut() {
        *losses = Losses { processes: std::mem::take(&mut losses.processes), ..Losses::default() };
    }
    lost.retain(|_, losses| !losses.is_empty());
    let command: String = names.iter().map(|name| format!(" {name}")).collect();
    let hint = format!("Wait for it, or end it with the container: `gpubay stop --force{command}`.");
    ask_before_killing(&lost, consent, &hint)?;
    for (name, losses) in &lost {
        for line in losses.describe() {
            workspace.progress.note(format!("ended with {name}: {line}"));
        }
    }
    let (mut stopped, mut waits) = (Vec::new(), Vec::new());
    for ticket in tickets {
        waits.push(end_wait(&workspace.engine, &workspace.progress, &ticket).await?);
    }
    for container in found {
        let step = workspace.progress.step(format!("Stopping {}", container.name));
        workspace.engine.stop(&container.id, 10).await?;
        note_end(&workspace.engine, &container, &|_| workspace.shared()).await;
        step.done();
        stopped.push(container.name);
    }
    let kept = match stopped.len() {
        0 => None,
        1 => Some("the container with its files"),
        _ => Some("the containers with their files"),
    };
    Ok(DownReport { containers: stopped, waits, kept: kept.map(str::to_owned).into_iter().collect(), lost })
}

/// What goes with each container: of a job, its command while it runs.
pub(super) async fn losses(engine: &Engine, containers: &[Listed]) -> Result<BTreeMap<String, Losses>> {
    let mut lost = BTreeMap::new();
    for container in containers {
        let label = |name: &str| container.labels.get(name).map(String::as_str).unwrap_or_default();
        let command = || serde_json::from_str::<Vec<String>>(label(labels::COMMAND)).unwrap_or_default();
        let losses = if ticket::is_ticket(container) {
            let waits = format!("{}, which waits for GPUs", command().join(" "));
            Losses { processes: vec![waits], ..Losses::default() }
        } else if label(labels::ROLE) == "job" {
            let command = command();
            let running = is_alive(container);
            Losses { processes: running.then(|| command.join(" ")).into_iter().collect(), ..Losses::default() }
        } else {
            let Some(found) = engine.container(&container.id).await? else { continue };
            // Its socket lies where it was made to lie, whatever the configuration says by now.
            let run = found.mounts.iter().find(|mount| mount.target == RUN_DIR);
            let run = run.and_then(|mount| HostPath::new(mount.source.clone()?).ok());
            let nowhere = || HostPath::new("/nonexistent").expect("absolute");
            stakes::of(engine, &found, None, &run.unwrap_or_else(nowhere)).await?.losses()
        };
        if !losses.is_empty() {
            lost.insert(container.name.clone(), losses);
        }
    }
    Ok(lost)
}

/// A file that is lost is said; a process that would be killed is asked about.
fn ask_before_killing(lost: &BTreeMap<String, Losses>, consent: Recreate, hint: &str) -> Result<()> {
    if consent == Recreate::Allowed || lost.values().all(|losses| losses.processes.is_empty()) {
        return Ok(());
    }
    let lines: Vec<String> = lost
        .iter()
        .flat_map(|(name, losses)| losses.describe().into_iter().map(move |line| format!("\n  {name}: {line}")))
        .collect();
    Err(Error::new(WORK_RUNNING, format!("something still runs:{}", lines.concat())).with_hint(hint))
}

/// The dev container and the jobs of this workspace; helpers of a sync that is under way are not ours to end. An image of
/// ours carries the identity too, and so does what the user starts from it by hand.
pub(super) async fn of_workspace(workspace: &Workspace) -> Result<Vec<Listed>> {
    let owner = workspace.host.uid.to_string();
    let mut found = workspace.engine.list(&[(labels::ID, workspace.id()), (labels::OWNER, &owner)]).await?;
    let role =
        |container: &Listed| container.labels.get(labels::ROLE).map(String::as_str).unwrap_or_default().to_owned();
    found.retain(|container| [Role::Dev, Role::Job].iter().any(|ours| role(container) == ours.as_str()));
    oldest_first(&mut found);
    Ok(found)
}

/// With what stands in the queue for its jobs.
pub(super) async fn with_waiting(workspace: &Workspace) -> Result<Vec<Listed>> {
    let mut found = of_workspace(workspace).await?;
    found.extend(ticket::of_workspace(workspace).await?.into_iter().map(|line| line.by));
    found.sort_by_key(|container| container.created);
    Ok(found)
}

/// Those come and go within seconds, and are nobody's to see or end; but what waits for a job is the job.
pub(super) fn without_helpers(found: &mut Vec<Listed>) {
    found.retain(|container| container.label(labels::ROLE) != "helper" || ticket::waits(container));
}

/// The engine lists the newest first, to the nanosecond, but says when only in seconds: its order decides
/// between those of one second.
pub(super) fn oldest_first(found: &mut [Listed]) {
    found.reverse();
    found.sort_by_key(|container| container.created);
}

/// Something of it may go on: it runs, or waits for its `unpause`.
fn is_alive(container: &Listed) -> bool {
    matches!(container.state.as_str(), "running" | "paused" | "stopping")
}
