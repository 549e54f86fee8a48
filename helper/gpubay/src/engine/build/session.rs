//! One connection to the engine over which it calls us: for the context, secrets and credentials.
//!
//! The request `POST /session` turns its connection into one on which the engine is the client and
//! we are the gRPC server, as the engine's own tools do.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use super::auth::Credentials;
use super::error::BuildError;
use super::filesync::Files;
use super::http;
use super::secrets::Values;
use crate::engine::endpoint::Endpoint;

/// What the engine may call; it asks only for what is announced.
const METHODS: [&str; 4] = [
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
    "/grpc.health.v1.Health/Check",
];

/// A session that lives as long as this.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    _open: DropGuard,
}

/// Opens a session named `name`. Contexts sent under the same `key` are kept by the engine, which
/// then takes only what changed.
pub(super) async fn open(
    endpoint: &Endpoint,
    id: String,
    name: &str,
    key: &str,
    files: Files,
    secrets: Values,
) -> Result<Session, BuildError> {
    let request = METHODS
        .iter()
        .fold(hyper::Request::post("/session"), |request, method| {
            request.header("X-Docker-Expose-Session-Grpc-Method", *method)
        })
        .header(hyper::header::HOST, "engine")
        .header(hyper::header::CONNECTION, "Upgrade")
        .header(hyper::header::UPGRADE, "h2c")
        .header("X-Docker-Expose-Session-Uuid", &id)
        .header("X-Docker-Expose-Session-Name", name)
        .header("X-Docker-Expose-Session-Sharedkey", key);
    let upgraded = http::upgrade(endpoint, request).await?;
    let open = CancellationToken::new();
    let closed = Box::pin(open.clone().cancelled_owned());
    let connection = Connection { wire: TokioIo::new(upgraded), closed };
    tokio::spawn(serve(connection, open.clone(), files, secrets));
    Ok(Session { id, _open: open.drop_guard() })
}

/// Serves one connection to its end.
pub(super) async fn serve<I>(connection: I, open: CancellationToken, files: Files, secrets: Values)
where
    I: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static,
{
    let served = tonic::transport::Server::builder()
        .add_service(HealthServer::new(Healthy))
        .add_service(FileSyncServer::new(files))
        .add_service(SecretsServer::new(secrets))
        .add_service(AuthServer::new(Credentials::of_user()))
        .serve_with_incoming_shutdown(Once(Some(connection)), open.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "the build session ended");
    }
}

/// A single connection, and then none: not even the end of the stream, on which the server would
/// stop accepting calls.
struct Once<I>(Option<I>);

impl<I: Unpin> Stream for Once<I> {
    type Item = io::Result<I>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.take() {
            Some(connection) => Poll::Ready(Some(Ok(connection))),
            None => Poll::Pending,
        }
    }
}

/// The upgraded connection, as the gRPC server wants it.
///
/// It reads as ended once the session is closed: the server's own tasks would keep it open.
struct Connection {
    wire: TokioIo<hyper::upgrade::Upgraded>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.wire).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

/// Tells the engine, which asks every few seconds, that the session lives.
#[derive(Debug)]
struct Healthy;

#[tonic::async_trait]
impl Health for Healthy {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }
    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("only check is served"))
    }
    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only check is served"))
    }
}
