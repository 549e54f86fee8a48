//! Connecting, the handshake, and the requests that have one answer.

use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gpubay_protocol::agent::{
    FindPythonRequest, FromAgent, GpuGuard, GpuReport, PROTOCOL, Pythons, SOCKET_NAME, Smi, Status, StatusRequest,
    ToAgent,
};
use gpubay_protocol::paths::HostPath;
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::AgentError;
use super::wire::{Incoming, Reader, Writer, send, unexpected};

/// An agent answers within milliseconds; who does not in this time is none.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Some answers wait for the image's ENTRYPOINT and for `nvidia-smi`, ten seconds each.
const ANSWER: Duration = Duration::from_mins(1);

/// Between two attempts of [`wait_ready`].
const RETRY: Duration = Duration::from_millis(2);

/// One conversation with an agent, after the handshake.
pub struct Client {
    pub(super) from: Incoming,
    pub(super) to: Writer,
    version: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Client {
    /// Through the run folder that is mounted in the container. What has the socket's name there is
    /// in the container's hands, so it is looked at before it is used, and links are not followed.
    pub async fn connect(run_dir: &HostPath) -> Result<Self, AgentError> {
        let stream = connect(run_dir).await?;
        let (from, to) = stream.into_split();
        Self::handshake(Box::new(from), Box::new(to)).await
    }

    /// Over a stream that leads to `gpubay-agent stdio` or to the agent's socket.
    pub async fn over<S>(stream: S) -> Result<Self, AgentError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (from, to) = tokio::io::split(stream);
        Self::handshake(Box::new(from), Box::new(to)).await
    }

    /// As [`Client::over`], for two streams.
    pub async fn over_pair<R, W>(from: R, to: W) -> Result<Self, AgentError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        Self::handshake(Box::new(from), Box::new(to)).await
    }

    async fn handshake(from: Reader, mut to: Writer) -> Result<Self, AgentError> {
        let mut from = Incoming::new(from);
        let greeting = async {
            send(&mut to, &ToAgent::Hello { protocol: PROTOCOL }).await?;
            from.next().await
        };
        match timeout(HANDSHAKE, greeting).await {
            Err(_) => Err(AgentError::Unanswered { after: HANDSHAKE }),
            Ok(Ok(FromAgent::Welcome { protocol: PROTOCOL, version })) => Ok(Self { from, to, version }),
            Ok(Ok(FromAgent::Welcome { protocol, version })) => {
                Err(AgentError::Version { said: format!("agent {version} speaks version {protocol}") })
            }
            Ok(Ok(other)) => Err(unexpected(&other)),
            Ok(Err(e)) => Err(e),
        }
    }

    /// Of the agent's crate. Untrusted text.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub async fn status(self, request: StatusRequest) -> Result<Status, AgentError> {
        let asked = request.mounts.len();
        match self.ask(ToAgent::Status(request)).await? {
            FromAgent::Status(status) if status.mounted.len() == asked => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// The interpreters that the image has, the preferred one first.
    pub async fn find_python(self, request: FindPythonRequest) -> Result<Pythons, AgentError> {
        match self.ask(ToAgent::FindPython(request)).await? {
            FromAgent::Pythons(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    pub async fn gpus(self) -> Result<GpuReport, AgentError> {
        match self.ask(ToAgent::Gpus).await? {
            FromAgent::Gpus(report) => Ok(report),
            other => Err(unexpected(&other)),
        }
    }

    /// How the ways to the GPUs are, now and whenever that changes.
    pub async fn watch_gpus(mut self) -> Result<GpuWatch, AgentError> {
        send(&mut self.to, &ToAgent::WatchGpus).await?;
        Ok(GpuWatch { from: self.from, _to: self.to })
    }

    /// What `nvidia-smi` prints there, each time that it is asked.
    pub fn smi(self) -> SmiLine {
        SmiLine { from: self.from, to: self.to }
    }

    async fn ask(mut self, request: ToAgent) -> Result<FromAgent, AgentError> {
        let answer = async {
            send(&mut self.to, &request).await?;
            self.from.next().await
        };
        timeout(ANSWER, answer).await.unwrap_or(Err(AgentError::Unanswered { after: ANSWER }))
    }
}

/// A conversation in which one question is asked again and again.
pub struct SmiLine {
    from: Incoming,
    to: Writer,
}

impl std::fmt::Debug for SmiLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmiLine").finish_non_exhaustive()
    }
}

impl SmiLine {
    /// Whoever drops the future has to drop the conversation, too.
    pub async fn ask(&mut self) -> Result<Smi, AgentError> {
        let answer = async {
            send(&mut self.to, &ToAgent::Smi).await?;
            self.from.next().await
        };
        match timeout(ANSWER, answer).await {
            Ok(Ok(FromAgent::Smi(said))) => Ok(said),
            Ok(Ok(other)) => Err(unexpected(&other)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(AgentError::Unanswered { after: ANSWER }),
        }
    }
}

/// A conversation that goes on until it is dropped.
pub struct GpuWatch {
    from: Incoming,
    _to: Writer,
}

impl std::fmt::Debug for GpuWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GpuWatch").finish_non_exhaustive()
    }
}

impl GpuWatch {
    /// The first answer comes at once, the next with a change. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<GpuGuard, AgentError> {
        match self.from.next().await? {
            FromAgent::Guarded(guard) => Ok(credible(guard)),
            other => Err(unexpected(&other)),
        }
    }
}

/// Names of nodes and versions, and nothing else that a hostile program might have to say.
fn credible(mut guard: GpuGuard) -> GpuGuard {
    /// More than any machine has.
    const MOST: usize = 300;
    let plain = |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-./".contains(&b));
    let is_node = |text: &str| text.starts_with("/dev/") && plain(text);
    let is_version = |text: &String| text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && plain(text);
    guard.refused.retain(|refused| is_node(&refused.node));
    guard.refused.truncate(MOST);
    guard.slices_gone.retain(|node| is_node(node));
    guard.slices_gone.truncate(MOST);
    GpuGuard {
        driver_then: guard.driver_then.filter(is_version),
        driver_now: guard.driver_now.filter(is_version),
        library: guard.library.filter(is_version),
        ..guard
    }
}

async fn connect(run_dir: &HostPath) -> Result<UnixStream, AgentError> {
    let socket: PathBuf = run_dir.as_path().join(SOCKET_NAME);
    let unreachable = |cause: io::Error| AgentError::Unreachable { socket: socket.clone(), cause };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder =
        open(run_dir.as_path(), flags | OFlags::DIRECTORY, Mode::empty()).map_err(|e| unreachable(e.into()))?;
    let found = openat(&folder, SOCKET_NAME, flags, Mode::empty()).map_err(|e| unreachable(e.into()))?;
    let stat = fstat(&found).map_err(|e| unreachable(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(AgentError::NotASocket { socket });
    }
    // The very file that was looked at, and short, whatever the length of its own path.
    let by_descriptor = format!("/proc/self/fd/{}", found.as_raw_fd());
    UnixStream::connect(by_descriptor).await.map_err(unreachable)
}

/// Waits for a container's agent to serve.
///
/// # Errors
/// Those of [`Client::connect`]; of an agent that does not serve only after `at_most`.
pub async fn wait_ready(run_dir: &HostPath, at_most: Duration) -> Result<Client, AgentError> {
    let deadline = Instant::now() + at_most;
    loop {
        match Client::connect(run_dir).await {
            // PID 1 makes a new socket where an old one lies, and may be seen in between.
            Err(error @ (AgentError::Unreachable { .. } | AgentError::Lost(_)))
                if error.shortage().is_none() && Instant::now() < deadline =>
            {
                tokio::time::sleep(RETRY).await;
            }
            outcome => return outcome,
        }
    }
}
