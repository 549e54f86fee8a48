//! `gpubay down` and `gpubay stop`

use super::args::{Common, Down};
use super::output::{Output, plain};
use super::reach;
use crate::error::{Error, Result};
use crate::workspace::report::DownReport;
use crate::workspace::{Recreate, down as workflow};

fn consent(command: &Down) -> Recreate {
    if command.force { Recreate::Allowed } else { Recreate::WhenNothingIsLost }
}

pub(super) async fn down(common: &Common, command: &Down, output: &Output) -> Result<()> {
    let workspace = reach(common, output).await?;
    let report = match workflow::down(&workspace, consent(command)).await {
        Err(error) if may_go_on(&error, output) => workflow::down(&workspace, Recreate::Allowed).await?,
        other => other?,
    };
    output.result(&report, || text(&report, "removed"));
    Ok(())
}

pub(super) async fn stop(common: &Common, command: &Down, output: &Output) -> Result<()> {
    let workspace = reach(common, output).await?;
    let report = match workflow::stop(&workspace, consent(command)).await {
        Err(error) if may_go_on(&error, output) => workflow::stop(&workspace, Recreate::Allowed).await?,
        other => other?,
    };
    output.result(&report, || text(&report, "stopped"));
    Ok(())
}

/// Where something would be killed, and somebody is there to be asked.
fn may_go_on(error: &Error, output: &Output) -> bool {
    error.code == workflow::WORK_RUNNING && output.confirm(&format!("{}\nEnd it?", error.message)) == Some(true)
}

fn text(report: &DownReport, done: &str) -> String {
    if report.containers.is_empty() {
        return "nothing to do: no container of this workspace runs\n".to_owned();
    }
    let mut text = format!("{done} {}; kept {}\n", report.containers.join(", "), report.kept.join(", "));
    for (name, losses) in &report.lost {
        for line in losses.describe() {
            text.push_str(&format!("  lost with {}: {}\n", plain(name), plain(&line)));
        }
    }
    text
}
