//! `gpubay rm`

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::engine::ArgValueCandidates;

use super::args::Common;
use super::down::{consent, ended_waits, may_go_on};
use super::output::Output;
use super::{complete, reach};
use crate::error::Result;
use crate::workspace::Recreate;
use crate::workspace::down::{self as workflow, Remove};
use crate::workspace::report::RmReport;

/// Remove jobs that have ended, the stopped dev container, or what is in the virtual environment
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay rm lr-3                     a job that has ended\n  \
    gpubay rm --all                    all of this workspace that have ended\n  \
    gpubay rm --venv                   the next `gpubay up` makes it anew\n  \
    gpubay rm dev                      the dev container, when it is stopped\n\n\
    `gpubay down` removes all containers of a workspace, `gpubay prune` what nothing needs any more.")]
pub(super) struct Rm {
    /// Jobs by their name, or containers of this workspace by name or id; `dev` is the dev container
    #[arg(required_unless_present_any = ["all", "venv"])]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    #[arg(add = ArgValueCandidates::new(complete::removable))]
    names: Vec<String>,
    /// Every job of this workspace that has ended
    #[arg(long, short)]
    all: bool,
    /// What is in the virtual environment
    #[arg(long)]
    venv: bool,
    /// Also what still runs: with --all every job
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(common: &Common, command: &Rm, output: &Output) -> Result<()> {
    let workspace = reach(common, output).await?;
    let what =
        Remove { names: command.names.clone(), finished: command.all, running: command.force, venv: command.venv };
    let report = match workflow::rm(&workspace, &what, consent(command.force)).await {
        Err(error) if may_go_on(&error, output, &workspace.progress.cancel) => {
            workflow::rm(&workspace, &what, Recreate::Allowed).await?
        }
        other => other?,
    };
    output.result(&report, || text(&report, command.force));
    Ok(())
}

fn text(report: &RmReport, force: bool) -> String {
    let mut text = ended_waits(&report.waits);
    if !report.containers.is_empty() {
        text.push_str(&format!("removed {}\n", report.containers.join(", ")));
    }
    if let Some(venv) = &report.venv {
        text.push_str(&format!("emptied the virtual environment ({venv}); the next `gpubay up` makes it anew\n"));
    }
    if text.is_empty() {
        let why = if force { "this workspace has no job" } else { "no job of this workspace has ended" };
        text.push_str(&format!("nothing to do: {why}\n"));
    }
    text
}
