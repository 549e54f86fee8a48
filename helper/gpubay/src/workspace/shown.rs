//! `ps` and `logs`: what there is of a workspace, and what it printed.

use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};

use super::report::Row;
use super::ticket::{self, InLine, WAITING};
use super::{Role, Workspace, choice, down, labels, lost, watcher};
use crate::engine::{ContainerState, Engine, EngineError, Listed, LogChunk, LogOptions};
use crate::error::{Error, Result};
use crate::quoting::printable;

/// Whose containers are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Workspace,
    /// Every workspace of this user on this engine.
    All,
}

/// The containers that there are, oldest first.
pub async fn ps(workspace: &Workspace, scope: Scope) -> Result<Vec<Row>> {
    let found = match scope {
        Scope::Workspace => down::with_waiting(workspace).await?,
        Scope::All => {
            let uid = workspace.host.uid.to_string();
            let mut found = workspace.engine.list(&[(labels::ID, ""), (labels::OWNER, &uid)]).await?;
            down::without_helpers(&mut found);
            down::oldest_first(&mut found);
            found
        }
    };
    rows(&workspace.engine, found).await
}

/// With the exit codes of those that have ended, and the places of those that wait.
pub(super) async fn rows(engine: &Engine, found: Vec<Listed>) -> Result<Vec<Row>> {
    let line = if found.iter().any(ticket::waits) { ticket::all(engine).await? } else { Vec::new() };
    let lost = found.iter().map(|container| async {
        if container.state == "running" { lost::of(engine, container.into()).await } else { None }
    });
    let lost = futures_util::future::join_all(lost).await;
    let mut rows = Vec::new();
    for (container, lost_gpus) in found.into_iter().zip(lost) {
        if ticket::is_ticket(&container) {
            // It may have left the queue meanwhile.
            if let Some(waits) = line.iter().find(|line| line.by.id == container.id) {
                rows.push(waiting(waits));
            }
            continue;
        }
        let exit_code = if container.state == "exited" {
            match engine.container(&container.id).await?.map(|found| found.state) {
                Some(ContainerState::Exited { code, .. }) => Some(code),
                _ => None,
            }
        } else {
            None
        };
        let choice = choice::of_listed(&container, engine.is_local());
        let devices = choice::told(&container.labels, choice.as_ref());
        rows.push(Row { devices, lost_gpus, ..row(container, exit_code) });
    }
    Ok(rows)
}

/// What stands in the queue is the job, to who looks.
fn waiting(line: &InLine) -> Row {
    Row {
        role: Role::Job.as_str().to_owned(),
        state: WAITING.to_owned(),
        status: line.status(),
        place: Some(line.place),
        // What it waits for it does not have.
        gpus: String::new(),
        devices: Some(Vec::new()),
        ..row(line.by.clone(), None)
    }
}

fn row(container: Listed, exit_code: Option<i64>) -> Row {
    let label = |name: &str| container.labels.get(name).cloned();
    let workspace = label(labels::WORKSPACE).unwrap_or_default();
    let unwatched = watcher::is_unwatched(&container);
    Row {
        role: label(labels::ROLE).unwrap_or_default(),
        job: label(labels::JOB),
        command: label(labels::COMMAND).and_then(|text| serde_json::from_str(&text).ok()),
        workspace_exists: std::path::Path::new(&workspace).exists(),
        workspace,
        gpus: label(labels::GPUS).unwrap_or_default(),
        devices: None,
        lost_gpus: None,
        record: label(labels::RECORD),
        commit: label(labels::COMMIT),
        id: container.id,
        name: container.name,
        state: container.state,
        status: container.status,
        exit_code,
        unwatched,
        place: None,
        created: container.created,
    }
}

fn is_named(container: &Listed, name: &str) -> bool {
    container.label(labels::JOB) == name || container.name == name || container.id.starts_with(name) && name.len() >= 8
}

/// The containers that there are, once the one that is meant is no longer waited for.
async fn begun(workspace: &Workspace, name: Option<&str>, follow: bool) -> Result<Vec<Listed>> {
    const NOW_AND_THEN: Duration = Duration::from_secs(1);
    let mut told = None;
    loop {
        // In this order: who leaves the queue to run has its container by then.
        let line = ticket::of_workspace(workspace).await?;
        let found = down::of_workspace(workspace).await?;
        let waits = match name {
            Some(name) => line.iter().rev().find(|line| is_named(&line.by, name)),
            None if found.iter().any(|container| container.labels.contains_key(labels::JOB)) => None,
            None => line.last(),
        };
        let Some(waits) = waits else { return Ok(found) };
        let (job, status) = (printable(waits.by.label(labels::JOB)), waits.status());
        if !follow {
            return Err(Error::new("job_waits", format!("job {job} has printed nothing yet: it is {status}"))
                .with_hint(format!(
                    "`gpubay logs -f {job}` shows what it prints once it runs, `gpubay stop {job}` ends its wait, \
                     `gpubay gpus` says who has the GPUs."
                )));
        }
        if told.as_ref() != Some(&status) {
            workspace.progress.note(format!("job {job} has printed nothing yet: it is {status}"));
            told = Some(status);
        }
        tokio::select! {
            () = tokio::time::sleep(NOW_AND_THEN) => {}
            () = workspace.progress.cancel.cancelled() => return Err(Error::new("cancelled", "cancelled while the job waits")),
        }
    }
}

/// The log of a job, or of the dev container where `name` is `None` and there is no job, and the container's name.
///
/// Who follows one that waits is shown it once it runs.
///
/// # Errors
/// `no_such_job` naming the jobs there are, `job_waits`.
pub async fn logs(
    workspace: &Workspace,
    name: Option<&str>,
    options: &LogOptions,
) -> Result<(String, impl Stream<Item = Result<LogChunk, EngineError>> + use<>)> {
    let found = begun(workspace, name, options.follow).await?;
    let jobs: Vec<&Listed> = found.iter().filter(|container| container.labels.contains_key(labels::JOB)).collect();
    let chosen = match name {
        Some(name) => found.iter().find(|container| is_named(container, name)),
        None => jobs.last().copied().or(found.last()),
    };
    let Some(container) = chosen else {
        let names: Vec<&str> =
            jobs.iter().filter_map(|container| container.labels.get(labels::JOB)).map(String::as_str).collect();
        let there =
            if names.is_empty() { "there are none".to_owned() } else { format!("there are: {}", names.join(", ")) };
        let asked =
            name.map_or_else(|| "no container of this workspace".to_owned(), |name| format!("no job named {name}"));
        return Err(Error::new("no_such_job", format!("{asked}; {there}"))
            .with_hint("`gpubay ps` lists them; `gpubay run --detach -- COMMAND` starts one."));
    };
    let logs = workspace.engine.logs(&container.id, options);
    // The output ends a moment before the engine has noted the end: whoever follows to the end may rely on it.
    let (engine, id, follow) = (workspace.engine.clone(), container.id.clone(), options.follow);
    let end = stream::once(async move { if follow { engine.wait(&id).await.err() } else { None } });
    let end = end.filter_map(async |failed| match failed {
        // Removed meanwhile: it has ended.
        None | Some(EngineError::NotFound { .. }) => None,
        Some(error) => Some(Err(error)),
    });
    Ok((container.name.clone(), logs.chain(end)))
}
