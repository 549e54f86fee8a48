//! `down` and `stop`: the end of a workspace's containers, never of its data.

use super::labels;
use super::report::DownReport;
use super::{Recreate, Workspace, dev, lock};
use crate::agent;
use crate::engine::Listed;
use crate::error::{Error, Result};
use gpubay_protocol::agent::StatusRequest;

/// Removes dev container and jobs; keeps venv, mirror, caches and volumes.
///
/// # Errors
/// `work_running` while something of the user's runs in one of them, unless that is allowed.
pub async fn down(workspace: &Workspace, consent: Recreate) -> Result<DownReport> {
    let _lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
    let containers = of_workspace(workspace).await?;
    if consent == Recreate::WhenNothingIsLost {
        let mut running = Vec::new();
        for container in containers.iter().filter(|container| container.state == "running") {
            running.extend(work_in(workspace, container).await);
        }
        if !running.is_empty() {
            return Err(Error::new("work_running", format!("something still runs:\n  {}", running.join("\n  ")))
                .with_hint("Wait for it, or end it with everything else: `gpubay down --force`."));
        }
    }
    let mut removed = Vec::new();
    for container in containers {
        let step = workspace.progress.step(format!("Removing {}", container.name));
        if container.state == "running" {
            workspace.engine.stop(&container.id, 10).await?;
        }
        workspace.engine.remove(&container.id).await?;
        step.done();
        removed.push(container.name);
    }
    let kept = vec![
        format!("the venv ({})", workspace.venv_folder()),
        "mirror, caches and volumes".to_owned(),
        "the image".to_owned(),
    ];
    Ok(DownReport { containers: removed, kept })
}

/// Stops the dev container and keeps it.
///
/// # Errors
/// `work_running` while something of the user's runs in it, unless that is allowed.
pub async fn stop(workspace: &Workspace, consent: Recreate) -> Result<DownReport> {
    let _lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
    let name = workspace.dev_name();
    let found = of_workspace(workspace).await?.into_iter().find(|container| {
        container.name == name && container.labels.get(labels::ROLE).is_some_and(|role| role == "dev")
    });
    let Some(container) = found.filter(|container| container.state == "running") else {
        return Ok(DownReport { containers: Vec::new(), kept: Vec::new() });
    };
    if consent == Recreate::WhenNothingIsLost {
        let running = work_in(workspace, &container).await;
        if !running.is_empty() {
            return Err(Error::new("work_running", format!("something still runs:\n  {}", running.join("\n  ")))
                .with_hint("Wait for it, or end it with the container: `gpubay stop --force`."));
        }
    }
    let step = workspace.progress.step(format!("Stopping {name}"));
    workspace.engine.stop(&container.id, 10).await?;
    step.done();
    Ok(DownReport { containers: vec![name], kept: vec!["the container with its files".to_owned()] })
}

/// Every container that carries this workspace's identity; helpers of a sync that is under way are not ours to end.
pub(super) async fn of_workspace(workspace: &Workspace) -> Result<Vec<Listed>> {
    let mut found = workspace.engine.list(&[(labels::ID, workspace.id())]).await?;
    found.retain(|container| container.labels.get(labels::ROLE).is_none_or(|role| role != "helper"));
    found.sort_by_key(|container| container.created);
    Ok(found)
}

async fn work_in(workspace: &Workspace, container: &Listed) -> Vec<String> {
    let role = container.labels.get(labels::ROLE).map_or("", String::as_str);
    if role == "job" {
        let command = container.labels.get(labels::COMMAND).cloned().unwrap_or_default();
        return vec![format!("job {}: {command}", container.name)];
    }
    let Ok(client) = agent::Client::connect(&workspace.run_folder()).await else { return Vec::new() };
    let request = StatusRequest { mounts: Vec::new(), stamp: Vec::new() };
    let Ok(status) = client.status(request).await else { return Vec::new() };
    let stakes = dev::Stakes { processes: status.processes, files: Vec::new() };
    stakes.describe().into_iter().map(|line| format!("{}: {line}", container.name)).collect()
}
