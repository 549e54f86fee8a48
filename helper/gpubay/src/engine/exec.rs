//! A program of ours inside a running container, with its standard streams as one connection: the
//! way to the agent where no socket leads to it, and the only way to be another user.

use std::pin::Pin;
use std::task::{Context, Poll};

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::AttachContainerOptionsBuilder;
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Engine, EngineError, error::sort};

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// Reads the program's stdout and writes its stdin. What it says on stderr becomes the error of
/// the next read.
pub struct ExecStream {
    output: Output,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    rest: Bytes,
}

impl std::fmt::Debug for ExecStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecStream").finish_non_exhaustive()
    }
}

impl AsyncRead for ExecStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        loop {
            if !self.rest.is_empty() {
                let take = self.rest.len().min(to.remaining());
                to.put_slice(&self.rest[..take]);
                self.rest.advance(take);
                return Poll::Ready(Ok(()));
            }
            match std::task::ready!(self.output.poll_next_unpin(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(LogOutput::StdOut { message })) => self.rest = message,
                Some(Ok(other)) => {
                    let said = String::from_utf8_lossy(other.as_ref()).trim().to_owned();
                    return Poll::Ready(Err(std::io::Error::other(said)));
                }
                Some(Err(error)) => return Poll::Ready(Err(std::io::Error::other(error))),
            }
        }
    }
}

impl AsyncWrite for ExecStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.input.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.input.as_mut().poll_shutdown(cx)
    }
}

impl Engine {
    /// The standard streams of a container that was made with them, before its start: what it says on stderr is an error here.
    pub async fn attach_stream(&self, name: &str) -> Result<ExecStream, EngineError> {
        let options =
            AttachContainerOptionsBuilder::default().stdin(true).stdout(true).stderr(true).stream(true).build();
        let doing = format!("attach to container {name}");
        let attached = self.docker.attach_container(name, Some(options)).await.map_err(|error| sort(&doing, error))?;
        Ok(ExecStream { output: attached.output, input: attached.input, rest: Bytes::new() })
    }

    /// Starts `argv` in a running container, as `user` (`0:0`) or as the container's own.
    pub async fn exec_stream(
        &self,
        container: &str,
        argv: &[&str],
        user: Option<&str>,
    ) -> Result<ExecStream, EngineError> {
        let doing = format!("run {} in {container}", argv.first().unwrap_or(&""));
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(argv.to_vec()),
            user,
            ..CreateExecOptions::default()
        };
        let exec = self.docker.create_exec(container, options).await.map_err(|error| sort(&doing, error))?;
        let start = StartExecOptions { detach: false, tty: false, output_capacity: Some(256 << 10) };
        match self.docker.start_exec(&exec.id, Some(start)).await.map_err(|error| sort(&doing, error))? {
            StartExecResults::Attached { output, input } => Ok(ExecStream { output, input, rest: Bytes::new() }),
            StartExecResults::Detached => {
                Err(EngineError::Refused { doing, status: 200, message: "the engine did not attach".to_owned() })
            }
        }
    }
}
