//! `gpubay build`

use super::args::{Build, Common};
use super::output::Output;
use super::{open, unless_cancelled};
use crate::error::Result;
use crate::workspace::build as workflow;

pub(super) async fn run(common: &Common, command: &Build, output: &Output) -> Result<()> {
    let workspace = open(common, None, output).await?;
    let cache = if command.no_cache { workflow::Cache::Ignore } else { workflow::Cache::Use };
    let report = unless_cancelled(&workspace.progress, workflow::build(&workspace, cache)).await?;
    output.result(&report, || {
        let done = if report.image.built { "built" } else { "is up to date:" };
        format!("{done} {} ({})\n", report.image.reference, &report.image.id)
    });
    Ok(())
}
