//! Requests to the engine that bollard does not carry: an upgraded session, and a build that joins
//! it without a second session of bollard's own, an answer that may take hours to begin.

use bytes::Bytes;
use gpubay_protocol::percent;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio_stream::{Stream, StreamExt as _};

use super::error::BuildError;
use super::status::Lines;
use crate::engine::endpoint::Endpoint;

/// Bytes of an error's answer that are read.
const ERROR_LIMIT: usize = 64 * 1024;

/// A response and the connection it comes on, which ends with it: that is how the engine learns
/// that nobody waits any more.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    connection: JoinHandle<()>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Answer {
    /// Hands over each line as it comes, and at the end what is left. Where the answer breaks off, the error counts after
    /// what the lines have said.
    pub(super) async fn lines(&mut self, mut on: impl FnMut(&[u8])) -> Result<(), BuildError> {
        let mut lines = Lines::default();
        let mut cut = Ok(());
        while let Some(frame) = self.response.body_mut().frame().await {
            match frame {
                Ok(frame) => {
                    let Ok(data) = frame.into_data() else { continue };
                    lines.feed(&data).map_err(BuildError::Lost)?.iter().for_each(|line| on(line));
                }
                Err(error) => {
                    cut = Err(lost(&error));
                    break;
                }
            }
        }
        on(&lines.rest());
        cut
    }
}

/// What a request carries.
type Body = UnsyncBoxBody<Bytes, std::io::Error>;

fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

async fn connect(endpoint: &Endpoint) -> Result<(SendRequest<Body>, JoinHandle<()>), BuildError> {
    let wire = endpoint.dial().await.map_err(|error| BuildError::Unreachable(error.to_string()))?;
    let (sender, connection) = http1::handshake(TokioIo::new(wire)).await.map_err(|error| lost(&error))?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to the engine ended");
        }
    });
    Ok((sender, task))
}

pub(super) fn lost(error: &hyper::Error) -> BuildError {
    BuildError::Lost(error.to_string())
}

/// Sends a request with an empty body; anything but success is an error with the engine's words.
pub(super) async fn send(endpoint: &Endpoint, path: &str) -> Result<Answer, BuildError> {
    post(endpoint, Request::post(path), nothing()).await
}

/// Sends a request whose body comes in pieces, of which none waits in memory for long. An error among them breaks
/// the connection, so that the engine does not take a part for the whole.
pub(super) async fn stream(
    endpoint: &Endpoint,
    path: &str,
    headers: &[(&str, String)],
    pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Result<Answer, BuildError> {
    let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, value));
    post(endpoint, request, StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()).await
}

async fn post(endpoint: &Endpoint, request: hyper::http::request::Builder, body: Body) -> Result<Answer, BuildError> {
    let (mut sender, connection) = connect(endpoint).await?;
    let request = request
        .header(hyper::header::HOST, "engine")
        .header(hyper::header::CONTENT_TYPE, "application/x-tar")
        .body(body)
        .map_err(|error| BuildError::Engine(error.to_string()))?;
    let response = sender.send_request(request).await;
    let answer = Answer { response: response.map_err(|error| lost(&error))?, connection };
    if answer.response.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
}

/// Sends a request whose connection becomes ours.
pub(super) async fn upgrade(
    endpoint: &Endpoint,
    request: hyper::http::request::Builder,
) -> Result<hyper::upgrade::Upgraded, BuildError> {
    let (mut sender, connection) = connect(endpoint).await?;
    let request = request.body(nothing()).map_err(|error| BuildError::Engine(error.to_string()))?;
    let mut response = sender.send_request(request).await.map_err(|error| lost(&error))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return hyper::upgrade::on(&mut response).await.map_err(|error| lost(&error));
    }
    if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED) {
        return Err(BuildError::NoBuildKit);
    }
    Err(refusal(Answer { response, connection }).await)
}

async fn refusal(mut answer: Answer) -> BuildError {
    let status = answer.response.status();
    let body = Limited::new(answer.response.body_mut(), ERROR_LIMIT).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let message = serde_json::from_slice::<serde_json::Value>(&body)
        .ok()
        .and_then(|json| Some(json.get("message")?.as_str()?.to_owned()))
        .unwrap_or_else(|| String::from_utf8_lossy(&body).trim().to_owned());
    BuildError::Engine(if message.is_empty() { format!("HTTP status {status}") } else { message })
}

/// Appends a pair to a query, escaped.
pub(super) fn pair(query: &mut String, key: &str, value: &str) {
    query.push(if query.is_empty() { '?' } else { '&' });
    query.push_str(&format!("{}={}", percent::component(key), percent::component(value)));
}
