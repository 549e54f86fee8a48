//! `gpubay record`

use std::io::IsTerminal;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Common;
use super::output::{Output, plain, print, print_bytes};
use super::{complete, reach};
use crate::error::Result;
use crate::quoting::command_line;
use crate::workspace::down;
use crate::workspace::record::{self, Kept};

/// Show what a job was made of: image, commit, packages, GPUs
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay record lr-3\n  gpubay record lr-3 --diff          what was not committed, as a patch\n  gpubay record --list\n\n\
    A record is kept when the job's container is gone. It never holds the value of a variable."
)]
pub(super) struct Record {
    /// The job; the latest one if left out
    #[arg(add = ArgValueCandidates::new(complete::records))]
    job: Option<String>,
    /// Every record of the workspace on this engine, oldest first
    #[arg(long, conflicts_with_all = ["job", "diff"])]
    list: bool,
    /// Print what differed from the commit, as `git diff` shows it
    #[arg(long)]
    diff: bool,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    records: Vec<Kept>,
}

/// With `--diff`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Difference {
    diff: String,
}

pub(super) async fn run(common: &Common, command: &Record, output: &Output) -> Result<()> {
    let workspace = reach(common, output).await?;
    down::note_ends(&workspace).await;
    if command.list {
        let records = record::all(&workspace);
        output.answer(&Listed { records: records.clone() }, || list(&records));
        return Ok(());
    }
    let kept = record::find(&workspace, command.job.as_deref())?;
    if !command.diff {
        output.answer(&kept, || text(&kept));
        return Ok(());
    }
    let diff = record::diff(&kept);
    if output.is_json() {
        output.answer(&Difference { diff: String::from_utf8_lossy(&diff).into_owned() }, String::new);
    } else if std::io::stdout().is_terminal() {
        // What a container could write into a file must not steer the terminal.
        print(&plain(&String::from_utf8_lossy(&diff)));
    } else {
        // A patch is for `git apply`, byte for byte.
        print_bytes(&diff);
    }
    if kept.record.git.as_ref().is_some_and(|git| git.diff_cut) {
        output.warn("the difference was longer than a megabyte, and only its beginning is recorded");
    }
    Ok(())
}

fn list(records: &[Kept]) -> String {
    if records.is_empty() {
        return "no records; `gpubay run -- COMMAND` makes one\n".to_owned();
    }
    let mut text = String::new();
    for Kept { record, .. } in records {
        let end = record.ended.as_ref().map_or_else(|| "-".to_owned(), |ended| ended.exit_code.to_string());
        let command = plain(&record.command.join(" ")).replace('\n', " ");
        text.push_str(&format!("{}  {}  {end}  {command}\n", record::date(record.started), record.job));
    }
    text
}

fn text(kept: &Kept) -> String {
    let record = &kept.record;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<9} {}\n", plain(value)));
    line("job", &record.job);
    line("command", &command_line(&record.command).replace(" \\\n  ", " "));
    line("folder", &record.cwd);
    let end = match &record.ended {
        Some(ended) => format!(", ended with {}", ended.exit_code),
        None => String::new(),
    };
    line("started", &format!("{}{end}", record::date(record.started)));
    line("image", &format!("{} ({})", record.image.id, record.image.reference));
    match &record.git {
        Some(git) => {
            let commit = git.commit.as_deref().unwrap_or("none yet");
            let branch = git.branch.as_deref().map(|branch| format!(" ({branch})")).unwrap_or_default();
            line("commit", &format!("{commit}{branch}"));
            if git.dirty {
                line("", &format!("with changes: gpubay record {} --diff", record.job));
            }
            if !git.untracked.is_empty() {
                line("", &format!("and files that git does not know: {}", git.untracked.join(", ")));
            }
            for problem in &git.problems {
                line("", problem);
            }
        }
        None => line("commit", "no repository"),
    }
    let devices: Vec<String> = record
        .gpus
        .devices
        .iter()
        .map(|device| {
            let parts = [device.name.as_deref(), device.uuid.as_deref()].into_iter().flatten().collect::<Vec<_>>();
            let what = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(" ")) };
            format!("GPU {}{what}", device.inside())
        })
        .collect();
    line("GPUs", &if devices.is_empty() { record.gpus.given.clone() } else { devices.join(", ") });
    if let Some(driver) = &record.gpus.driver {
        line("driver", driver);
    }
    let image = record.packages.image.as_ref().map(|image| format!(", {} in the image", image.len()));
    line("packages", &format!("{} in the venv{}", record.packages.venv.len(), image.unwrap_or_default()));
    line("record", &kept.folder.to_string());
    text
}
