//! `gpubay down` and `gpubay stop`

use super::args::{Common, Down};
use super::open;
use super::output::Output;
use crate::error::Result;
use crate::workspace::report::DownReport;
use crate::workspace::{Recreate, down as workflow};

fn consent(command: &Down) -> Recreate {
    if command.force { Recreate::Allowed } else { Recreate::WhenNothingIsLost }
}

pub(super) async fn down(common: &Common, command: &Down, output: &Output) -> Result<()> {
    let workspace = open(common, None, output).await?;
    let report = workflow::down(&workspace, consent(command)).await?;
    output.result(&report, || text(&report, "removed"));
    Ok(())
}

pub(super) async fn stop(common: &Common, command: &Down, output: &Output) -> Result<()> {
    let workspace = open(common, None, output).await?;
    let report = workflow::stop(&workspace, consent(command)).await?;
    output.result(&report, || text(&report, "stopped"));
    Ok(())
}

fn text(report: &DownReport, done: &str) -> String {
    if report.containers.is_empty() {
        return "nothing to do: no container of this workspace runs\n".to_owned();
    }
    format!("{done} {}; kept {}\n", report.containers.join(", "), report.kept.join(", "))
}
