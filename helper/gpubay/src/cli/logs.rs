//! `gpubay logs`

use std::io::Write;

use futures_util::StreamExt;

use super::args::{Common, Logs};
use super::open;
use super::output::Output;
use crate::engine::{LogChunk, LogOptions};
use crate::error::{Error, Result};
use crate::workspace::jobs;

pub(super) async fn run(common: &Common, command: &Logs, output: &Output) -> Result<()> {
    let workspace = open(common, None, output).await?;
    let options = LogOptions { follow: command.follow, tail: command.tail, timestamps: command.timestamps };
    let mut stream = std::pin::pin!(jobs::logs(&workspace, command.job.as_deref(), &options).await?);
    loop {
        let chunk = tokio::select! {
            chunk = stream.next() => chunk,
            () = workspace.progress.cancel.cancelled() => return Err(Error::new("cancelled", "cancelled")),
        };
        let Some(chunk) = chunk else { return Ok(()) };
        // What the job printed goes through byte for byte, each stream to its own.
        let written = match chunk? {
            LogChunk::Stdout(bytes) => {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush())
            }
            LogChunk::Stderr(bytes) => std::io::stderr().lock().write_all(&bytes),
        };
        if written.is_err() {
            // The reader has seen enough.
            return Ok(());
        }
    }
}
