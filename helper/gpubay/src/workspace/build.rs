//! `build`: the image alone.

use super::report::{BuildReport, ImageReport};
use super::stages::Stages;
use super::there::Reach;
use super::{Workspace, fit, image, lock};
use crate::engine;
use crate::error::Result;

/// Whether the engine's build cache counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// An image that is there is not built.
    Use,
    /// An image that is there is built once more, each step from the cache where that is right.
    Anew,
    Ignore,
}

/// Builds (or pulls) the image that the configuration wants; with [`Cache::Use`] one that is there is kept.
pub async fn build(workspace: &Workspace, cache: Cache) -> Result<BuildReport> {
    let mut stages = Stages::start();
    let _lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
    let info = workspace.engine.info().await?;
    let mut desired = image::desired(workspace, info.users()).await?;
    if cache != Cache::Use {
        desired.found = None;
    }
    // Before the build: it is the build that a hole is open to.
    let mut warnings = workspace.loaded.warnings.clone();
    if desired.found.is_none()
        && let Some(holes) = engine::in_short(&workspace.engine.holes().await)
    {
        workspace.progress.warn(holes.clone());
        warnings.push(holes);
    }
    if desired.found.is_none() {
        let machine = fit::machine_of(workspace, &info, Reach::Through).await;
        warnings.extend(fit::said(workspace, &desired.reference, None, machine.as_ref()).await);
    }
    let (image, reference, built) = image::ensure(workspace, desired, cache).await?;
    stages.lap("image");
    Ok(BuildReport { image: ImageReport { id: image.id, reference, built }, timings_ms: stages.end(), warnings })
}
