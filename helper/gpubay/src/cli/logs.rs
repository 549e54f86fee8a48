//! `gpubay logs`

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Common;
use super::output::{self, Output};
use super::streams::{Target, Writer};
use super::{complete, reach};
use crate::engine::{LogChunk, LogOptions};
use crate::error::Result;
use crate::workspace::shown;

/// Show what a job printed
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay logs -f lr-3\n  gpubay logs --tail 20              of the latest job")]
pub(super) struct Logs {
    /// Go on until it ends
    #[arg(long, short)]
    follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u32>,
    /// Begin each line with its time
    #[arg(long, short)]
    timestamps: bool,
    /// The job; the latest one if left out
    #[arg(add = ArgValueCandidates::new(complete::containers))]
    job: Option<String>,
}

/// With `--json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    /// The container's name.
    container: String,
    stdout: String,
    stderr: String,
}

pub(super) async fn run(common: &Common, command: &Logs, output: &Output) -> Result<()> {
    let workspace = reach(common, output).await?;
    let options = LogOptions { follow: command.follow, tail: command.tail, timestamps: command.timestamps };
    let read = async {
        let (job, stream) = shown::logs(&workspace, command.job.as_deref(), &options).await?;
        let mut stream = std::pin::pin!(stream);
        if output.is_json() {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            while let Some(chunk) = stream.next().await {
                match chunk? {
                    LogChunk::Stdout(bytes) => out.extend_from_slice(&bytes),
                    LogChunk::Stderr(bytes) => err.extend_from_slice(&bytes),
                }
            }
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let report = Report { container: job, stdout: text(&out), stderr: text(&err) };
            output.answer(&report, String::new);
            return Ok(());
        }
        let writer = Writer::start(Target::AsItIs);
        while let Some(chunk) = stream.next().await {
            writer.push(chunk?);
            writer.room().await;
            if writer.nobody_reads() {
                // The reader has seen enough.
                return Ok(());
            }
        }
        writer.drained().await;
        Ok(())
    };
    tokio::select! {
        done = read => done,
        () = workspace.progress.cancel.cancelled() => Err(output::ended()),
    }
}
