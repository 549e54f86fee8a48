//! `gpubay ps`

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Common;
use super::output::{Output, columns, plain};
use super::reach;
use crate::error::Result;
use crate::workspace::elsewhere::Elsewhere;
use crate::workspace::report::{GpuDevice, Row};
use crate::workspace::shown::{self, Scope};

/// List the workspace's containers
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay ps\n  gpubay ps --all --json             of every workspace, for programs")]
pub(super) struct Ps {
    /// Those of all your workspaces on this engine
    #[arg(long, short)]
    all: bool,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    containers: Vec<Row>,
}

pub(super) async fn run(common: &Common, command: &Ps, output: &Output) -> Result<()> {
    let scope = if command.all { Scope::All } else { Scope::Workspace };
    let containers = match reach(common, output).await {
        Ok(workspace) => shown::ps(&workspace, scope).await?,
        // All of them are there wherever this is run.
        Err(error) if !command.all || !error.code.starts_with("no_") || error.code == "no_engine" => return Err(error),
        Err(_) => {
            let bare = crate::config::bare(&common.request(None)?)?;
            Elsewhere::open(bare, output.progress()).await?.ps().await?
        }
    };
    let report = Report { containers };
    output.answer(&report, || table(&report.containers, scope));
    Ok(())
}

/// `3 = cuda:0`: what is selected, of all that may be inside.
fn gpus(row: &Row) -> String {
    let given = row.gpus.replace("nvidia.com/gpu=", "");
    match row.devices.as_deref() {
        Some([]) if !matches!(given.as_str(), "" | "none") => "none selected".to_owned(),
        None | Some([]) => plain(&given),
        Some(devices) => devices.iter().map(GpuDevice::inside).collect::<Vec<_>>().join(", "),
    }
}

fn table(rows: &[Row], scope: Scope) -> String {
    if rows.is_empty() {
        return "no containers; `gpubay up` starts one\n".to_owned();
    }
    let mut cells =
        vec![vec!["NAME", "ROLE", "STATUS", "GPUS", "COMMAND"].into_iter().map(str::to_owned).collect::<Vec<_>>()];
    if scope == Scope::All {
        cells[0].push("WORKSPACE".to_owned());
    }
    for row in rows {
        let command = row.command.as_ref().map(|argv| argv.join(" ")).unwrap_or_default();
        let mut line = vec![
            row.job.clone().unwrap_or_else(|| row.name.clone()),
            row.role.clone(),
            match &row.lost_gpus {
                Some(lost) => format!("{}, GPUs lost ({})", row.status, lost.cause.in_short()),
                None if row.unwatched => format!("{}, its terminal is gone", row.status),
                None => row.status.clone(),
            },
            gpus(row),
            plain(&command).replace('\n', " "),
        ];
        if scope == Scope::All {
            let gone = if row.workspace_exists { "" } else { " (not here any more)" };
            line.push(format!("{}{gone}", plain(&row.workspace)));
        }
        cells.push(line);
    }
    let lost = rows.iter().filter_map(|row| {
        let name = row.job.as_ref().unwrap_or(&row.name);
        Some(format!("\n{}: {}\n", plain(name), row.lost_gpus.as_ref()?.describe().join("\n  ")))
    });
    columns(&cells) + &lost.collect::<String>()
}
