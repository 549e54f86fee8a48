//! Waiting for what happens in a container: its agent answers, or something says why it never will.

use std::time::Duration;

use gpubay_protocol::agent::{Status, StatusRequest};

use super::Workspace;
use super::dev::{Wanted, hindrance};
use crate::agent;
use crate::error::{Error, Result};

/// How long an agent may take to answer after the engine has started its container.
const AGENT_PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the agent answers, or says why it never will.
pub(super) async fn ready(workspace: &Workspace, wanted: &Wanted<'_>, name: &str) -> Result<Status> {
    let cancel = workspace.progress.cancel.clone();
    let answered = tokio::select! {
        answered = agent::wait_ready(&wanted.places.run, AGENT_PATIENCE) => answered,
        ended = workspace.engine.wait(name) => return Err(ended_early(workspace, name, ended.ok()).await),
        () = cancel.cancelled() => return Err(Error::new("cancelled", "cancelled while the container started")),
    };
    let client = answered.map_err(|error| Error::from(error).context(format!("reach the agent in {name}")))?;
    Ok(client.status(request(wanted)).await?)
}

pub(super) async fn ask(wanted: &Wanted<'_>) -> Result<Status> {
    let client = agent::Client::connect(&wanted.places.run).await?;
    Ok(client.status(request(wanted)).await?)
}

fn request(wanted: &Wanted<'_>) -> StatusRequest {
    StatusRequest { mounts: vec![wanted.venv.clone()], stamp: wanted.stamp.to_vec() }
}

async fn ended_early(workspace: &Workspace, name: &str, code: Option<i64>) -> Error {
    let said = log_tail(workspace, name).await;
    let code = code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
    Error::new("container_ended", format!("the container {name} ended at once with exit code {code}{said}"))
        .with_hint("An image for another kind of processor, or a seccomp or security option, can be the cause.")
}

/// The last lines of a container's log, for an error message.
pub(super) async fn log_tail(workspace: &Workspace, name: &str) -> String {
    use crate::engine::{LogChunk, LogOptions};
    use futures_util::StreamExt;
    // Ten lines may be of any length.
    const MOST: usize = 8 << 10;
    let options = LogOptions { tail: Some(10), ..LogOptions::default() };
    let mut stream = std::pin::pin!(workspace.engine.logs(name, &options));
    let mut text = Vec::new();
    while text.len() < MOST
        && let Some(Ok(LogChunk::Stdout(bytes) | LogChunk::Stderr(bytes))) = stream.next().await
    {
        text.extend_from_slice(&bytes[..bytes.len().min(MOST - text.len())]);
    }
    let text = String::from_utf8_lossy(&text);
    if text.trim().is_empty() { String::new() } else { format!("; it said: {}", text.trim()) }
}

/// Says, as soon as it is so, why the container `id` can be worked in no longer: while it is paused its agent
/// says nothing, and keeps the connection. It is looked at now and then; an end of its own breaks the connection.
pub(super) async fn trouble(workspace: &Workspace, id: &str) -> Error {
    const NOW_AND_THEN: Duration = Duration::from_millis(500);
    loop {
        tokio::time::sleep(NOW_AND_THEN).await;
        // An engine that does not answer is no news of the container.
        if let Ok(found) = workspace.engine.container(id).await
            && let Some(error) = hindrance(&workspace.dev_name(), found.as_ref())
        {
            return error;
        }
    }
}

/// What became of the container where a conversation with its agent failed.
pub(super) async fn explain(workspace: &Workspace, id: &str, error: Error) -> Error {
    if !error.code.starts_with("agent_") && error.code != "mirror_source" {
        return error;
    }
    // The engine notes an end a moment after the connection broke.
    match tokio::time::timeout(Duration::from_secs(2), trouble(workspace, id)).await {
        Ok(why) => Error { message: format!("{}; what was mirrored before is kept", why.message), ..why },
        Err(_) => error,
    }
}
