//! Messages over any stream.

use std::io;

use futures_util::StreamExt;
use gpubay_protocol::agent::{FailureKind, FromAgent, ToAgent};
use gpubay_protocol::frame;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, FramedRead};

use super::AgentError;

pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

struct Frames;

impl Decoder for Frames {
    type Item = FromAgent;
    type Error = io::Error;

    fn decode(&mut self, from: &mut BytesMut) -> io::Result<Option<FromAgent>> {
        let Some(prefix) = from.first_chunk::<4>() else { return Ok(None) };
        let length = frame::body_length(*prefix)?;
        let Some(body) = from.get(4..4 + length) else {
            from.reserve(4 + length - from.len());
            return Ok(None);
        };
        let message = frame::decode(body)?;
        from.advance(4 + length);
        Ok(Some(message))
    }
}

/// What the agent says, message by message.
pub(super) struct Incoming(FramedRead<Reader, Frames>);

impl Incoming {
    pub(super) fn new(stream: Reader) -> Self {
        Self(FramedRead::with_capacity(stream, Frames, frame::CHUNK + 64))
    }

    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<FromAgent, AgentError> {
        match self.0.next().await {
            Some(Ok(FromAgent::Failed(failure))) if failure.kind == FailureKind::Protocol => {
                Err(AgentError::Version { said: failure.message })
            }
            Some(Ok(FromAgent::Failed(failure))) => Err(AgentError::Refused(failure)),
            Some(Ok(message)) => Ok(message),
            Some(Err(e)) => Err(AgentError::from_stream(e)),
            None => Err(AgentError::Lost(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

pub(super) async fn send(to: &mut Writer, message: &ToAgent) -> Result<(), AgentError> {
    send_frames(to, &frame::encode(message).map_err(AgentError::Unsendable)?).await
}

pub(super) async fn send_frames(to: &mut Writer, frames: &[u8]) -> Result<(), AgentError> {
    to.write_all(frames).await.map_err(AgentError::Lost)?;
    to.flush().await.map_err(AgentError::Lost)
}

/// For a message that answers another question.
pub(super) fn unexpected(message: &FromAgent) -> AgentError {
    let name = format!("{message:?}");
    let name = name.split([' ', '(', '{']).next().unwrap_or_default();
    AgentError::Misbehaved(format!("it sent {name} where that is no answer"))
}
