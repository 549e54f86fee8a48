//! `gpubay up`

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::args::Common;
use super::output::{Output, plain, seconds};
use super::print::{self, Printing};
use super::{complete, open, selected_by, unless_cancelled, values};
use crate::error::Result;
use crate::workspace::LOST_GPUS;
use crate::workspace::print::dev;
use crate::workspace::report::UpReport;
use crate::workspace::{Recreate, up};

/// Build and start the dev container and prepare .venv; what is there is reused
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay -C ~/src/model up --gpus 2\n  gpubay up --print                  the same container as a `docker run`"
)]
pub(super) struct Up {
    /// Replace a running container whose configuration changed or whose GPUs are lost, although something in it is lost
    #[arg(long)]
    recreate: bool,
    /// GPUs instead of [gpus] use: auto, all, none, a count such as 2, device=1, a list of indices and UUIDs, or
    /// `count=2,min_free=20g,name=H100`; they stay until another --gpus or a `down`
    #[arg(long, value_name = "GPUS", allow_negative_numbers = true, value_parser = values::gpus, add = ArgValueCandidates::new(complete::gpus))]
    gpus: Option<String>,
    #[command(flatten)]
    printing: Printing,
}

pub(super) async fn run(common: &Common, command: Up, output: &Output) -> Result<()> {
    let workspace = open(common, command.gpus.as_deref(), output).await?;
    if let Some(secrets) = command.printing.secrets() {
        let report = unless_cancelled(&workspace.progress, dev(&workspace, secrets))
            .await
            .map_err(|error| if command.gpus.is_some() { selected_by(error, "--gpus") } else { error })?;
        print::print(&report, output);
        return Ok(());
    }
    let recreate = if command.recreate { Recreate::Allowed } else { Recreate::WhenNothingIsLost };
    let report = unless_cancelled(&workspace.progress, up::up(&workspace, recreate))
        .await
        .map_err(|error| if command.gpus.is_some() { selected_by(error, "--gpus") } else { error })?;
    output.result(&report, || text(&report, output));
    Ok(())
}

fn text(report: &UpReport, output: &Output) -> String {
    let mut text = String::new();
    let what = match (report.container.created, report.container.started) {
        (true, _) => "started",
        (false, true) => "started again",
        (false, false) => "runs already",
    };
    let total = Duration::from_millis(report.timings_ms.get("total").copied().unwrap_or(0));
    let _ = writeln!(text, "{} {what} ({})", output.paint(&report.container.name, "1"), seconds(total));
    let devices: Vec<String> = report
        .gpu
        .devices
        .iter()
        .map(|device| {
            let slice = device.slice.map(|slice| format!(":{slice}")).unwrap_or_default();
            let inside = device.cuda.map(|cuda| format!(" (cuda:{cuda} inside)")).unwrap_or_default();
            let called = device.name.as_ref().or(device.uuid.as_ref()).map(|name| format!(" {}", plain(name)));
            format!("GPU {}{slice}{}{inside}", device.index, called.unwrap_or_default())
        })
        .collect();
    let soft = report.gpu.visible.is_some() && report.gpu.isolation == "soft";
    if devices.is_empty() && soft {
        let _ =
            writeln!(text, "  CPU     none of the container's GPUs is selected: `gpubay up --gpus auto` selects one");
    } else if devices.is_empty() {
        let _ = writeln!(text, "  CPU     {}", plain(&report.gpu.reason));
    } else {
        let _ = writeln!(
            text,
            "  GPU     {} ({}: {})",
            devices.join(", "),
            report.gpu.injection,
            plain(&report.gpu.reason)
        );
    }
    if let Some(env) = &report.host_env {
        let _ = writeln!(text, "  Python  {} at {}", env.version, env.python);
    }
    for (port, addresses) in &report.container.ports {
        if !addresses.is_empty() {
            let _ = writeln!(text, "  port    {port} at {}", addresses.join(", "));
        }
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "  {} {}", output.paint("note", "33"), plain(warning));
    }
    let (lost, drift): (Vec<_>, Vec<_>) = report.drift.iter().partition(|drift| drift.option == LOST_GPUS);
    if let Some(gpus) = report.gpu.lost.as_ref().filter(|_| !lost.is_empty()) {
        let lines = gpus.describe().join("\n    ");
        let _ = writeln!(
            text,
            "  {}    {}",
            output.paint("lost", "31"),
            plain(&lines).replacen("its GPUs are lost: ", "GPUs: ", 1)
        );
    }
    if !drift.is_empty() {
        let _ =
            writeln!(text, "  {} it runs on, but it is not what the configuration says:", output.paint("drift", "33"));
        for line in drift {
            let _ = writeln!(text, "    - {}", plain(&line.text));
        }
    }
    if !report.drift.is_empty() {
        if report.stakes.is_empty() {
            let _ = writeln!(text, "    `gpubay up --recreate` replaces it.");
        } else {
            let _ = writeln!(text, "    `gpubay up --recreate` replaces it, and these would be lost:");
        }
        for line in report.stakes.describe() {
            let _ = writeln!(text, "      - {}", plain(&line));
        }
    }
    if let Some(chosen) = &report.gpu.chosen {
        let _ = writeln!(
            text,
            "  {} the GPUs are those of `--gpus {}`, until another `--gpus` or a `gpubay down`",
            output.paint("note", "33"),
            plain(chosen)
        );
    }
    text
}
