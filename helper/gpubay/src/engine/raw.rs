//! Answers of Podman that bollard's types do not take as they come: a container has states there that Docker does not
//! know, mostly while it ends, and the engine says more of itself. They are read by ourselves, and put into Docker's
//! words.

use bollard::models::{ContainerInspectResponse, ContainerSummary, SystemInfo};
use gpubay_protocol::percent;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Engine, EngineError, Flavour};

/// How often a list is asked for that a container's end spoils, and how long between.
const TRIES: u32 = 20;
const MOMENT: std::time::Duration = std::time::Duration::from_millis(25);

impl Engine {
    /// Whether these answers are to be read here.
    pub(super) fn is_read_raw(&self) -> bool {
        self.flavour == Flavour::Podman
    }

    pub(super) async fn summaries(&self, filters: &str, doing: &str) -> Result<Vec<ContainerSummary>, EngineError> {
        let query = format!("/containers/json?all=true&filters={}", percent::component(filters));
        let mut tries = 1;
        let mut answer = loop {
            match self.get(&query, doing).await {
                // One of any workspace went away between its being found and its being looked at.
                Err(EngineError::NotFound { .. }) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(MOMENT).await;
                }
                answer => break answer?,
            }
        };
        for container in answer.as_array_mut().into_iter().flatten() {
            in_dockers_words(&mut container["State"]);
        }
        typed(answer, doing)
    }

    pub(super) async fn inspection(&self, name: &str, doing: &str) -> Result<ContainerInspectResponse, EngineError> {
        let mut answer = self.get(&format!("/containers/{}/json", percent::component(name)), doing).await?;
        if answer["State"].is_object() {
            in_dockers_words(&mut answer["State"]["Status"]);
        }
        typed(answer, doing)
    }

    /// With whether it is rootless.
    pub(super) async fn description(&self, doing: &str) -> Result<(SystemInfo, bool), EngineError> {
        let answer = self.get("/info", doing).await?;
        let rootless = answer["Rootless"] == Value::Bool(true);
        Ok((typed(answer, doing)?, rootless))
    }

    async fn get(&self, path: &str, doing: &str) -> Result<Value, EngineError> {
        let lost = |message: String| EngineError::Lost { doing: doing.to_owned(), message };
        let api = self.docker.client_version();
        let path = format!("/v{}.{}{path}", api.major_version, api.minor_version);
        let wire = self.located.endpoint.dial().await.map_err(|error| lost(error.to_string()))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(wire)).await.map_err(|error| lost(error.to_string()))?;
        let connection = tokio::spawn(connection);
        let request = Request::get(path).header(hyper::header::HOST, "engine").body(Empty::<bytes::Bytes>::new());
        let answered = async {
            let answer = sender.send_request(request.map_err(|error| error.to_string())?).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok((status, body))
        };
        let answered = answered.await;
        connection.abort();
        let (status, body) = answered.map_err(lost)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| lost(error.to_string()));
        }
        let json = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let said = json["message"].as_str().map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
        let refusal = bollard::errors::Error::DockerResponseServerError { status_code: status.as_u16(), message: said };
        Err(super::error::sort(doing, refusal))
    }
}

fn typed<T: DeserializeOwned>(value: Value, doing: &str) -> Result<T, EngineError> {
    serde_json::from_value(value)
        .map_err(|error| EngineError::Lost { doing: doing.to_owned(), message: error.to_string() })
}

fn in_dockers_words(state: &mut Value) {
    let word = match state.as_str() {
        // Made, and with an attached client already waiting.
        Some("configured" | "initialized") => "created",
        // Its process has ended, and what it leaves is not yet cleared away.
        Some("stopped") => "exited",
        _ => return,
    };
    *state = Value::String(word.to_owned());
}

/// An image's name without what Podman puts before one that names no registry; the name is taken either way.
pub(super) fn short_name(name: &str) -> &str {
    ["docker.io/library/", "docker.io/", "localhost/"]
        .into_iter()
        .find_map(|registry| name.strip_prefix(registry))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_docker_says() {
        for (long, short) in [
            ("docker.io/gpubay/ws-0123abcd:1f", "gpubay/ws-0123abcd:1f"),
            ("localhost/gpubay/ws-0123abcd:1f", "gpubay/ws-0123abcd:1f"),
            ("docker.io/library/debian:12", "debian:12"),
            ("quay.io/gpubay/ws-0123abcd:1f", "quay.io/gpubay/ws-0123abcd:1f"),
            ("localhost:5000/gpubay/x:1", "localhost:5000/gpubay/x:1"),
        ] {
            assert_eq!(short_name(long), short);
        }
    }
}
