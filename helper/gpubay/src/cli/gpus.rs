//! `gpubay gpus`

use clap::Args;

use super::args::Common;
use super::output::{Output, columns, plain};
use super::reach;
use crate::error::Result;
use crate::workspace::elsewhere::Elsewhere;
use crate::workspace::gpus::{GpusReport, elsewhere, gpus};

/// List the GPUs that the engine offers, and how they get into a container
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay gpus\n  gpubay gpus --json                 also outside of a workspace")]
pub(super) struct Gpus {}

pub(super) async fn run(common: &Common, output: &Output) -> Result<()> {
    let report = match reach(common, output).await {
        Ok(workspace) => gpus(&workspace).await?,
        Err(error) if error.code != "no_workspace" => return Err(error),
        Err(_) => {
            let bare = crate::config::bare(&common.request(None)?)?;
            elsewhere(&Elsewhere::open(bare, output.progress()).await?).await?
        }
    };
    output.answer(&report, || text(&report));
    Ok(())
}

fn text(report: &GpusReport) -> String {
    let mut text = format!("{}: {}\n", report.injection, plain(&report.reason));
    if !report.devices.is_empty() {
        let mut cells = vec![["GPU", "SLICE", "UUID", "NAME", "CDI"].map(str::to_owned).to_vec()];
        for device in &report.devices {
            let shown = |value: Option<String>| plain(&value.unwrap_or_else(|| "-".to_owned()));
            cells.push(vec![
                shown(device.index.map(|index| index.to_string())),
                shown(device.slice.map(|slice| slice.to_string())),
                shown(device.uuid.clone()),
                shown(device.name.clone()),
                shown(device.cdi.clone()),
            ]);
        }
        text.push_str(&columns(&cells));
    } else if !report.complete {
        text.push_str("how many there are is seen in a container: `gpubay run --gpus all -- nvidia-smi -L`\n");
    }
    if !report.other_names.is_empty() {
        text.push_str(&format!("also: {}\n", plain(&report.other_names.join(", "))));
    }
    text
}
