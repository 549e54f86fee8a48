//! `sync`: the host's picture of the container's Python, brought up to date.

use super::report::SyncReport;
use super::stages::Stages;
use super::up;
use super::{Recreate, Workspace, exec, lock, python, waiting};
use crate::error::Result;
use crate::venv::hostenv;

/// What to do when most of a mirrored folder has vanished from the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletions {
    /// Halt, and keep what was mirrored.
    Ask,
    /// The user has said that it is meant.
    Allowed,
}

/// Compares every import root with its mirror and copies what changed.
///
/// # Errors
/// `not_running` without a running dev container; `mirror_halted` for suspicious deletions.
pub async fn sync(workspace: &Workspace, deletions: Deletions) -> Result<SyncReport> {
    let mut stages = Stages::start();
    let _lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
    let running = exec::running(workspace).await?;
    let (ground, dev) = up::reach(workspace, Some(running), Recreate::WhenNothingIsLost, &mut stages).await?;
    let gpus = python::record(workspace).map(|record| record.gpus).unwrap_or_default();
    let synced = async {
        match python::rescan(workspace, &ground, &dev, deletions).await? {
            Some(unchanged) => Ok(unchanged),
            None => {
                let mut prepared = python::refresh(workspace, &ground, &dev, &gpus, deletions).await?;
                prepared.changed = true;
                Ok(prepared)
            }
        }
    };
    let prepared = match synced.await {
        Ok(prepared) => prepared,
        Err(error) => return Err(waiting::explain(workspace, &dev.container.id, error).await),
    };
    stages.lap("python");
    let mut warnings = workspace.loaded.warnings.clone();
    warnings.extend(prepared.warnings);
    Ok(SyncReport {
        changed: prepared.changed,
        host_env: prepared.host_env,
        paths: prepared.paths,
        timings_ms: stages.end(),
        warnings,
    })
}

/// What was just installed into the venv, in an `exec` say, can be called on the host at once. Asks neither engine nor
/// container; whatever is in the way is left to the next `up`.
pub async fn programs(workspace: &Workspace) {
    let Some(path) = python::record(workspace).and_then(|record| record.report).map(|report| report.path) else {
        return;
    };
    let venv = workspace.venv_folder();
    let added = tokio::task::spawn_blocking(move || {
        if let Err(error) = hostenv::add_scripts(&path, &venv) {
            tracing::debug!(%path, %error, "the host env did not get its new programs");
        }
    });
    if let Err(error) = added.await {
        tracing::debug!(%error, "the host env did not get its new programs");
    }
}
