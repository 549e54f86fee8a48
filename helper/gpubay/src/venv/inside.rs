//! How this room runs programs in the container.

use async_trait::async_trait;
use gpubay_protocol::agent::Exit;

use super::VenvError;
use crate::error;

/// A program to run in the container, to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub argv: Vec<String>,
    /// On top of the container's environment; `None` removes the variable.
    pub env: Vec<(String, Option<String>)>,
    /// All of the program's stdin.
    pub stdin: Vec<u8>,
}

impl Run {
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), Some(value.to_owned())));
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What a program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    pub exit: Exit,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// More than any answer that this room asks for; what a hostile container sends beyond is dropped.
const MOST: usize = 8 << 20;

/// What takes a program's output as it comes.
pub type Output<'a> = dyn FnMut(Stream, &[u8]) + Send + 'a;

/// A container in which programs can be run, as the container's user.
#[async_trait]
pub trait Inside: Send + Sync {
    /// Runs it to its end and hands over its output as it comes.
    async fn run(&self, run: &Run, output: &mut Output<'_>) -> error::Result<Exit>;
}

/// Runs it and keeps what it says, at most 8 MiB of each stream.
pub async fn capture(inside: &dyn Inside, run: &Run) -> Result<Captured, VenvError> {
    let mut captured = Captured { exit: Exit::Code(0), stdout: Vec::new(), stderr: Vec::new() };
    let (out, err) = (&mut captured.stdout, &mut captured.stderr);
    let exit = inside
        .run(run, &mut |stream, bytes| {
            let to = match stream {
                Stream::Stdout => &mut *out,
                Stream::Stderr => &mut *err,
            };
            let room = MOST.saturating_sub(to.len());
            to.extend_from_slice(&bytes[..bytes.len().min(room)]);
        })
        .await
        .map_err(VenvError::Inside)?;
    captured.exit = exit;
    Ok(captured)
}

/// An external program's words for an error: its stderr, else its stdout, else how it ended.
pub(super) fn reason(captured: &Captured) -> String {
    [&captured.stderr, &captured.stdout]
        .into_iter()
        .map(|text| String::from_utf8_lossy(text).trim().to_owned())
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| format!("it ended with {}", captured.exit.as_code()))
}

/// A container for tests: the host's own processes.
#[cfg(test)]
pub(super) mod host {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::{Exit, Inside, Output, Run, Stream, async_trait, error};

    pub(in super::super) struct Host;

    #[async_trait]
    impl Inside for Host {
        async fn run(&self, run: &Run, output: &mut Output<'_>) -> error::Result<Exit> {
            let mut command = Command::new(&run.argv[0]);
            command.args(&run.argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            for (name, value) in &run.env {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            let mut child = command.spawn().map_err(|e| error::Error::new("not_started", e.to_string()))?;
            child.stdin.take().expect("piped").write_all(&run.stdin).expect("writes");
            let mut stderr = child.stderr.take().expect("piped");
            let errors = std::thread::spawn(move || {
                let mut bytes = Vec::new();
                stderr.read_to_end(&mut bytes).expect("reads");
                bytes
            });
            let mut bytes = Vec::new();
            child.stdout.take().expect("piped").read_to_end(&mut bytes).expect("reads");
            output(Stream::Stdout, &bytes);
            output(Stream::Stderr, &errors.join().expect("joins"));
            let status = child.wait().expect("waits");
            Ok(status.code().map_or(Exit::Signal(9), |code| Exit::Code(code as u8)))
        }
    }
}
