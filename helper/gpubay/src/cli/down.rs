//! `gpubay down` and `gpubay stop`

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::engine::ArgValueCandidates;

use super::args::Common;
use super::output::Output;
use super::{complete, questions, reach};
use crate::error::{Error, Result};
use crate::progress::CancellationToken;
use crate::workspace::elsewhere::Elsewhere;
use crate::workspace::report::DownReport;
use crate::workspace::{Recreate, down as workflow};

/// Remove dev container and jobs; venv, mirror, caches and image stay
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay down\n  gpubay -C ~/src/old down          also where the folder is gone\n  gpubay down gpubay-old-1a2b3c4d    one that `gpubay ps --all` lists"
)]
pub(super) struct Down {
    /// Also when something of yours still runs
    #[arg(long)]
    force: bool,
    /// These instead: jobs of the workspace by their name, any container by its name or id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    #[arg(add = ArgValueCandidates::new(complete::containers))]
    containers: Vec<String>,
}

/// Stop the dev container and keep it with its files; `gpubay up` starts it again
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay stop\n  gpubay stop --force train         a job: its log and its container stay; one that waits for GPUs waits no longer"
)]
pub(super) struct Stop {
    /// Also when something of yours still runs
    #[arg(long)]
    force: bool,
    /// These instead: jobs by their name, any container of the workspace by its name or id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    #[arg(add = ArgValueCandidates::new(complete::containers))]
    containers: Vec<String>,
}

pub(super) fn consent(force: bool) -> Recreate {
    if force { Recreate::Allowed } else { Recreate::WhenNothingIsLost }
}

pub(super) async fn down(common: &Common, command: &Down, output: &Output) -> Result<()> {
    if !command.containers.is_empty() {
        let report = elsewhere(common, command, output).await?;
        output.result(&report, || text(&report, "removed"));
        return Ok(());
    }
    let workspace = match reach(common, output).await {
        Ok(workspace) => workspace,
        Err(error) if error.code == "cancelled" => return Err(error),
        // Moved or deleted: what it left on the engine can still be taken away.
        Err(error) => match elsewhere(common, command, output).await {
            Ok(report) if !report.containers.is_empty() || !report.waits.is_empty() => {
                output.result(&report, || text(&report, "removed"));
                return Ok(());
            }
            Err(other) if other.code == workflow::WORK_RUNNING => return Err(other),
            _ => return Err(error),
        },
    };
    let report = match workflow::down(&workspace, consent(command.force)).await {
        Err(error) if may_go_on(&error, output, &workspace.progress.cancel) => {
            workflow::down(&workspace, Recreate::Allowed).await?
        }
        other => other?,
    };
    output.result(&report, || text(&report, "removed"));
    Ok(())
}

/// Without the workspace's own configuration.
async fn elsewhere(common: &Common, command: &Down, output: &Output) -> Result<DownReport> {
    let bare = crate::config::bare(&common.request(None)?)?;
    let progress = output.progress();
    // Nothing catches Ctrl-C here.
    let cancel = progress.cancel.clone();
    let elsewhere = Elsewhere::open(bare, progress).await?;
    match elsewhere.down(&command.containers, consent(command.force)).await {
        Err(error) if may_go_on(&error, output, &cancel) => {
            elsewhere.down(&command.containers, Recreate::Allowed).await
        }
        other => other,
    }
}

pub(super) async fn stop(common: &Common, command: &Stop, output: &Output) -> Result<()> {
    let workspace = reach(common, output).await?;
    let report = match workflow::stop(&workspace, &command.containers, consent(command.force)).await {
        Err(error) if may_go_on(&error, output, &workspace.progress.cancel) => {
            workflow::stop(&workspace, &command.containers, Recreate::Allowed).await?
        }
        other => other?,
    };
    output.result(&report, || text(&report, "stopped"));
    Ok(())
}

/// Where something would be killed, and somebody is there to be asked.
pub(super) fn may_go_on(error: &Error, output: &Output, cancel: &CancellationToken) -> bool {
    error.code == workflow::WORK_RUNNING && questions::yes(output, &format!("{}\nEnd it?", error.message), cancel)
}

fn text(report: &DownReport, done: &str) -> String {
    let mut text = ended_waits(&report.waits);
    if !report.containers.is_empty() {
        text.push_str(&format!("{done} {}; kept {}\n", report.containers.join(", "), report.kept.join(", ")));
    }
    if text.is_empty() { "nothing to do: no container of this workspace runs\n".to_owned() } else { text }
}

/// Of jobs that stood in the queue for GPUs.
pub(super) fn ended_waits(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("ended the wait of {}\n", names.join(", ")) }
}
