//! `gpubay logs`

use futures_util::StreamExt;

use super::args::{Common, Logs};
use super::open;
use super::output::{Output, pass_on};
use crate::engine::LogOptions;
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
        if pass_on(&chunk?).is_err() {
            // The reader has seen enough.
            return Ok(());
        }
    }
}
