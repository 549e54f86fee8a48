//! `gpubay/logs`: what a job or the dev container printed, as `gpubay/logLines`; it answers at the log's end.

use futures_util::StreamExt;

use super::super::method::{About, Call, Kind, Method, cancelled};
use super::super::wire::{Failure, LogsEnd, LogsParams};
use crate::engine::{LogChunk, LogOptions};
use crate::workspace::shown;

pub(in crate::server) struct Logs;

impl Method for Logs {
    const NAME: &'static str = "gpubay/logs";
    const KIND: Kind = Kind::Reads;
    type Params = LogsParams;
    type Answer = LogsEnd;

    async fn answer(call: Call, params: LogsParams) -> Result<LogsEnd, Failure> {
        let workspace = call.reach(&params.work.allow).await?;
        let options = LogOptions { follow: params.follow, tail: params.tail, timestamps: false };
        let (container, chunks) = shown::logs(&workspace, params.job.as_deref(), &options).await?;
        let mut chunks = std::pin::pin!(chunks);
        let mut text = Text::default();
        loop {
            let chunk = tokio::select! {
                biased;
                () = call.progress.cancel.cancelled() => return Err(cancelled().into()),
                chunk = chunks.next() => chunk,
            };
            let Some(chunk) = chunk else { break };
            let (LogChunk::Stdout(bytes) | LogChunk::Stderr(bytes)) = chunk?;
            call.out.log_lines(&params.subscription, &text.of(&bytes)).await;
        }
        call.out.log_lines(&params.subscription, &text.rest()).await;
        Ok(LogsEnd { container })
    }
}

/// Bytes as text, where a character may come in two pieces.
#[derive(Default)]
struct Text(Vec<u8>);

impl Text {
    fn of(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.0) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.0.len(),
        };
        let later = self.0.split_off(whole);
        String::from_utf8_lossy(&std::mem::replace(&mut self.0, later)).into_owned()
    }

    fn rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned()
    }
}

impl About for LogsParams {
    fn folder(&self) -> &str {
        &self.work.folder
    }

    // Its parts come as `gpubay/logLines`.
    fn token(&self) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_in_two_pieces_stays_one() {
        let mut text = Text::default();
        let bytes = "a한b".as_bytes();
        let said: String = bytes.iter().map(|byte| text.of(&[*byte])).collect();
        assert_eq!(said + &text.rest(), "a한b");
        assert_eq!(text.of(b"x\xffy"), "x\u{fffd}y");
        assert_eq!(text.of(b"\xe2\x82"), "");
        assert_eq!(text.rest(), "\u{fffd}");
    }
}
