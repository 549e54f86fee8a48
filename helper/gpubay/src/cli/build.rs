//! `gpubay build`

use clap::Args;

use super::args::Common;
use super::output::Output;
use super::{open, unless_cancelled};
use crate::error::Result;
use crate::workspace::build as workflow;

/// Build the image, start nothing
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpubay build --no-cache")]
pub(super) struct Build {
    /// Run every step again
    #[arg(long)]
    no_cache: bool,
}

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
