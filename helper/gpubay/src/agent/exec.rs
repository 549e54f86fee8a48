//! Running programs in the container.

use std::sync::Arc;
use std::time::Duration;

use gpubay_protocol::agent::{ExecRequest, Exit, FromAgent, STDIN_WINDOW, ToAgent, WindowSize};
use gpubay_protocol::frame;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::wire::{Incoming, Writer, send_frames, unexpected};
use super::{AgentError, Client};

/// How much input one message carries, in bytes.
const PIECE: usize = 128 << 10;

/// The way to a running program. Its futures may be dropped at any point.
#[derive(Clone, Debug)]
pub struct ExecInput {
    frames: mpsc::Sender<Vec<u8>>,
    /// What may still be on its way, so that a program which does not read never holds up a signal.
    window: Arc<Semaphore>,
}

impl ExecInput {
    /// Waits until the program has read most of what was sent before. `false`: it is gone.
    pub async fn stdin(&self, bytes: &[u8]) -> bool {
        for piece in bytes.chunks(PIECE) {
            let Ok(permits) = self.window.acquire_many(piece.len() as u32).await else { return false };
            permits.forget();
            let mut frame = Vec::with_capacity(piece.len() + 16);
            let encoded = frame::append_data(&mut frame, ToAgent::Stdin, piece);
            if encoded.is_err() || self.frames.send(frame).await.is_err() {
                return false;
            }
        }
        true
    }

    pub async fn eof(&self) -> bool {
        self.send(&ToAgent::StdinEof).await
    }

    pub async fn resize(&self, size: WindowSize) -> bool {
        self.send(&ToAgent::Resize(size)).await
    }

    /// For the program's whole process group, by Linux's number.
    pub async fn signal(&self, signal: i32) -> bool {
        self.send(&ToAgent::Signal(signal)).await
    }

    async fn send(&self, message: &ToAgent) -> bool {
        match frame::encode(message) {
            Ok(frame) => self.frames.send(frame).await.is_ok(),
            Err(_) => false,
        }
    }
}

#[derive(Debug)]
pub enum ExecEvent {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The last one.
    Exit(Exit),
}

/// What comes from a running program. Dropping it ends the program: SIGHUP, later harder.
pub struct ExecEvents {
    from: Incoming,
    /// Keeps the connection open, whoever else has let go of it.
    input: ExecInput,
    pid: u32,
}

impl std::fmt::Debug for ExecEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecEvents").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl ExecEvents {
    /// Inside the container.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<ExecEvent, AgentError> {
        loop {
            return match self.from.next().await? {
                FromAgent::Stdout(bytes) => Ok(ExecEvent::Stdout(bytes)),
                FromAgent::Stderr(bytes) => Ok(ExecEvent::Stderr(bytes)),
                FromAgent::Exit(exit) => {
                    self.input.window.close();
                    Ok(ExecEvent::Exit(exit))
                }
                FromAgent::StdinTaken { bytes } => {
                    let free = self.input.window.available_permits();
                    if bytes as usize > STDIN_WINDOW - free.min(STDIN_WINDOW) {
                        return Err(AgentError::Misbehaved("it took more input than there was".into()));
                    }
                    self.input.window.add_permits(bytes as usize);
                    continue;
                }
                other => Err(unexpected(&other)),
            };
        }
    }
}

/// A program's whole output, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Exit,
}

#[derive(Clone, Copy, Debug)]
pub struct CaptureLimits {
    /// Of stdout and stderr together.
    pub bytes: usize,
    pub time: Duration,
}

impl Default for CaptureLimits {
    fn default() -> Self {
        Self { bytes: 16 << 20, time: Duration::from_mins(1) }
    }
}

impl Client {
    /// Starts a program and leaves it to the caller.
    pub async fn exec(mut self, request: ExecRequest) -> Result<(ExecInput, ExecEvents), AgentError> {
        // Both at once: a short program has ended before a second message could come.
        let mut frames = frame::encode(&ToAgent::Exec(request)).map_err(AgentError::Unsendable)?;
        frames.extend(frame::encode(&ToAgent::ReportStdin).map_err(AgentError::Unsendable)?);
        send_frames(&mut self.to, &frames).await?;
        let pid = match self.from.next().await? {
            FromAgent::Started { pid } => pid,
            other => return Err(unexpected(&other)),
        };
        let (frames, queue) = mpsc::channel(16);
        tokio::spawn(write(self.to, queue));
        let input = ExecInput { frames, window: Arc::new(Semaphore::new(STDIN_WINDOW)) };
        Ok((input.clone(), ExecEvents { from: self.from, input, pid }))
    }

    /// Runs a program to its end, giving it `stdin` (where the request says that it has one). Beyond
    /// the limits the program is ended.
    pub async fn capture(
        self,
        request: ExecRequest,
        stdin: Vec<u8>,
        limits: CaptureLimits,
    ) -> Result<Captured, AgentError> {
        let program = request.argv.first().cloned().unwrap_or_default();
        let whole = async {
            let (input, mut events) = self.exec(request).await?;
            let feed = async {
                let _ = input.stdin(&stdin).await && input.eof().await;
            };
            tokio::pin!(feed);
            let mut is_fed = false;
            let (mut out, mut err) = (Vec::new(), Vec::new());
            loop {
                let event = tokio::select! {
                    event = events.next() => event?,
                    () = &mut feed, if !is_fed => {
                        is_fed = true;
                        continue;
                    }
                };
                match event {
                    ExecEvent::Stdout(bytes) => out.extend_from_slice(&bytes),
                    ExecEvent::Stderr(bytes) => err.extend_from_slice(&bytes),
                    ExecEvent::Exit(exit) => return Ok(Captured { stdout: out, stderr: err, exit }),
                }
                if out.len() + err.len() > limits.bytes {
                    return Err(AgentError::TooMuchOutput { program: program.clone(), limit: limits.bytes });
                }
            }
        };
        let ended = timeout(limits.time, whole).await;
        ended.unwrap_or_else(|_| Err(AgentError::TimedOut { program: program.clone(), after: limits.time }))
    }
}

/// Owns the writing half, so that no half of a frame is left behind by a dropped future.
async fn write(mut to: Writer, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = queue.recv().await {
        // A broken connection is told by the reading half.
        if to.write_all(&frame).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}
