//! `gpubay sync`

use std::time::Duration;

use clap::Args;

use super::args::Common;
use super::output::{Output, plain, print, seconds};
use super::{open, unless_cancelled};
use crate::error::Result;
use crate::workspace::sync as workflow;

/// Bring the host's picture of the container's Python up to date
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay sync                        after an apt-get install in the container\n  gpubay sync --print-paths"
)]
pub(super) struct Sync {
    /// Print the folders for tools that take extra import paths, one a line
    #[arg(long)]
    print_paths: bool,
    /// Go on although most of a mirrored folder has vanished from the container
    #[arg(long)]
    allow_deletions: bool,
}

pub(super) async fn run(common: &Common, command: &Sync, output: &Output) -> Result<()> {
    let workspace = open(common, None, output).await?;
    let deletions = if command.allow_deletions { workflow::Deletions::Allowed } else { workflow::Deletions::Ask };
    let report = unless_cancelled(&workspace.progress, workflow::sync(&workspace, deletions)).await?;
    if command.print_paths && !output.is_json() {
        print(&report.paths.iter().map(|path| format!("{path}\n")).collect::<String>());
        return Ok(());
    }
    output.result(&report, || {
        let total = Duration::from_millis(report.timings_ms.get("total").copied().unwrap_or(0));
        let what = if report.changed { "brought up to date" } else { "nothing has changed" };
        let warnings: String = report.warnings.iter().map(|line| format!("  note {}\n", plain(line))).collect();
        format!("{what} ({})\n{warnings}", seconds(total))
    });
    Ok(())
}
