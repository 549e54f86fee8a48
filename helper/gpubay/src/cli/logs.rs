//! `gpubay logs`

use futures_util::StreamExt;

use super::args::{Common, Logs};
use super::output::Output;
use super::reach;
use super::streams::{Target, Writer};
use crate::engine::{LogChunk, LogOptions};
use crate::error::{Error, Result};
use crate::workspace::jobs;

pub(super) async fn run(common: &Common, command: &Logs, output: &Output) -> Result<()> {
    let workspace = reach(common, output).await?;
    let options = LogOptions { follow: command.follow, tail: command.tail, timestamps: command.timestamps };
    let read = async {
        let (job, stream) = jobs::logs(&workspace, command.job.as_deref(), &options).await?;
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
            let report = serde_json::json!({ "container": job, "stdout": text(&out), "stderr": text(&err) });
            output.result(&report, String::new);
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
        () = workspace.progress.cancel.cancelled() => Err(Error::new("cancelled", "cancelled")),
    }
}
