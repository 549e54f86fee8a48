//! What a container printed.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, future, stream};

use super::{Engine, EngineError, Flavour, error::sort};

#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    pub follow: bool,
    /// The last lines only.
    pub tail: Option<u32>,
    pub timestamps: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChunk {
    Stdout(Bytes),
    Stderr(Bytes),
}

impl LogChunk {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::Stdout(bytes) | Self::Stderr(bytes) => bytes,
        }
    }

    fn without_first(self, count: usize) -> Self {
        match self {
            Self::Stdout(bytes) => Self::Stdout(bytes.slice(count..)),
            Self::Stderr(bytes) => Self::Stderr(bytes.slice(count..)),
        }
    }
}

impl Engine {
    pub fn logs(
        &self,
        name: &str,
        options: &LogOptions,
    ) -> impl Stream<Item = Result<LogChunk, EngineError>> + Send + use<> {
        let (engine, name, options) = (self.clone(), name.to_owned(), options.clone());
        let asked = async move {
            // Podman takes each part of a line that was written in parts for a line, and puts parts of two together.
            let Some(lines) = options.tail.filter(|_| engine.flavour == Flavour::Podman) else {
                return Ok(skipping(engine.said(&name, &options), 0));
            };
            let all = LogOptions { tail: None, ..options };
            let mut tail = Tail::of(lines);
            let mut past = std::pin::pin!(engine.said(&name, &LogOptions { follow: false, ..all.clone() }));
            while let Some(chunk) = past.next().await {
                tail.push(chunk?.bytes());
            }
            Ok(skipping(engine.said(&name, &all), tail.start()))
        };
        stream::once(asked).try_flatten()
    }

    /// As the engine tells it.
    fn said(
        &self,
        name: &str,
        options: &LogOptions,
    ) -> impl Stream<Item = Result<LogChunk, EngineError>> + Send + use<> {
        let tail = options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let query = LogsOptionsBuilder::default()
            .follow(options.follow)
            .stdout(true)
            .stderr(true)
            .timestamps(options.timestamps)
            .tail(&tail)
            .build();
        let doing = format!("read the log of {name}");
        self.docker.logs(name, Some(query)).map(move |item| item.map(chunk).map_err(|error| sort(&doing, error)))
    }
}

fn skipping<E>(
    chunks: impl Stream<Item = Result<LogChunk, E>>,
    mut skip: usize,
) -> impl Stream<Item = Result<LogChunk, E>> {
    let rest = move |chunk: LogChunk| {
        let here = skip.min(chunk.bytes().len());
        skip -= here;
        chunk.without_first(here)
    };
    chunks.map_ok(rest).try_filter(|chunk| future::ready(!chunk.bytes().is_empty()))
}

/// Finds where the last lines begin.
#[derive(Debug)]
struct Tail {
    lines: usize,
    /// Where the last lines end, one more than are wanted.
    ends: VecDeque<usize>,
    total: usize,
}

impl Tail {
    fn of(lines: u32) -> Self {
        Self { lines: usize::try_from(lines).unwrap_or(usize::MAX), ends: VecDeque::new(), total: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        for at in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at) {
            if self.ends.len() > self.lines {
                self.ends.pop_front();
            }
            self.ends.push_back(self.total + at + 1);
        }
        self.total += bytes.len();
    }

    fn start(mut self) -> usize {
        // The last line may lack its end.
        if self.ends.back().copied().unwrap_or(0) != self.total {
            self.ends.push_back(self.total);
        }
        self.ends.len().checked_sub(self.lines.saturating_add(1)).map_or(0, |at| self.ends[at])
    }
}

pub(super) fn chunk(output: LogOutput) -> LogChunk {
    match output {
        LogOutput::StdErr { message } => LogChunk::Stderr(message),
        LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
            LogChunk::Stdout(message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_however_they_came() {
        let tail = |lines, chunks: &[&str]| {
            let mut tail = Tail::of(lines);
            for chunk in chunks {
                tail.push(chunk.as_bytes());
            }
            chunks.concat()[tail.start()..].to_owned()
        };
        for (lines, chunks, want) in [
            (1, &["1\n", "2", "\n", "3", "\n"][..], "3\n"),
            (2, &["1\n", "2", "\n", "3", "\n"], "2\n3\n"),
            (1, &["1\n2\n3"], "3"),
            (2, &["1\n2\n3"], "2\n3"),
            (3, &["1\n2\n3"], "1\n2\n3"),
            (9, &["1\n", "2\n"], "1\n2\n"),
            (u32::MAX, &["1\n", "2\n"], "1\n2\n"),
            (0, &["1\n", "2"], ""),
            (0, &["1\n"], ""),
            (1, &["\n", "\n"], "\n"),
            (1, &[], ""),
        ] {
            assert_eq!(tail(lines, chunks), want, "{lines} of {chunks:?}");
        }
    }
}
