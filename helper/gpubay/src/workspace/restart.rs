//! `restart`: the same dev container, stopped and started again.

use super::report::UpReport;
use super::stages::Stages;
use super::{Recreate, Workspace, dev, down, lock, up};
use crate::engine::{Container, ContainerState};
use crate::error::Result;

/// Stops the dev container and starts it again. Who has waited for somebody else that did just that meanwhile has what was
/// wanted.
///
/// # Errors
/// `work_running` while something of the user's runs in it, unless that is allowed; those of [`up::up`].
pub async fn restart(workspace: &Workspace, consent: Recreate) -> Result<UpReport> {
    let find = || async { dev::find(workspace, &workspace.dev_name()).await };
    let mut stages = Stages::start();
    let before = find().await?;
    let _lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
    stages.lap("lock");
    if !is_another_run(before.as_ref(), find().await?.as_ref()) {
        down::stop_under_lock(workspace, &[], consent).await?;
        stages.lap("stop");
    }
    up::under_lock(workspace, Recreate::WhenNothingIsLost, None, stages).await
}

/// Whether it runs, and began after `before` was looked at.
fn is_another_run(before: Option<&Container>, now: Option<&Container>) -> bool {
    let run = |found: &Container| (found.id.clone(), found.started_at.clone());
    now.is_some_and(|now| now.state == ContainerState::Running && before.map(run) != Some(run(now)))
}
