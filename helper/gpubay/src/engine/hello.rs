//! The first words with an engine: whether it is there, what it is, the API that it speaks and how it builds.
//!
//! bollard asks `/version` for that, for which an engine starts two programs; `/_ping` says the same
//! in headers and costs it nothing.

use std::io;
use std::time::Duration;

use bollard::ClientVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::build::Builder;
use super::endpoint::Endpoint;
use super::info::Flavour;

/// An engine answers within milliseconds; one that is slower is asked in the usual way.
const PATIENCE: Duration = Duration::from_secs(5);
/// With SSH there is no telling the connection from the answer.
const PATIENCE_WITH_SSH: Duration = Duration::from_secs(20);
/// A header is a few hundred bytes.
const MOST: usize = 16 << 10;

/// What an engine says of itself before it is asked anything else.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hello {
    pub(super) api: ClientVersion,
    pub(super) flavour: Flavour,
    pub(super) heeds_gpu_requests: bool,
    pub(super) builder: Builder,
}

/// Asks the engine at `endpoint`; `None` where it says nothing in headers.
///
/// # Errors
/// When there is no connection: bollard hides why.
pub(super) async fn hello(endpoint: &Endpoint) -> io::Result<Option<Hello>> {
    let mut stream = endpoint.dial().await?;
    let asked = async {
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n").await?;
        let mut answer = Vec::new();
        // Not to the end: a proxy may keep the connection.
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") && answer.len() < MOST {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok::<_, io::Error>(answer)
    };
    let behind_ssh = matches!(endpoint, Endpoint::Ssh(_));
    let patience = if behind_ssh { PATIENCE_WITH_SSH } else { PATIENCE };
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(answer)) => Ok(told_in(&String::from_utf8_lossy(&answer))),
        Ok(Err(error)) if behind_ssh => Err(error),
        Err(_) if behind_ssh => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 20 s")),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

fn told_in(answer: &str) -> Option<Hello> {
    let mut lines = answer.lines();
    lines.next().filter(|status| status.starts_with("HTTP/1.") && status.contains(" 200 "))?;
    let headers: Vec<(&str, &str)> =
        lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':')).collect();
    let header = |wanted: &str| {
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let (major, minor) = header("api-version")?.split_once('.')?;
    let api = ClientVersion { major_version: major.parse().ok()?, minor_version: minor.parse().ok()? };
    let flavour = Flavour::from_headers(header);
    let builder = match (flavour, header("builder-version")) {
        (Flavour::Podman, _) => Builder::Podman,
        (Flavour::Docker, Some("1")) => Builder::Classic,
        (Flavour::Docker, Some("2")) => Builder::BuildKit,
        (Flavour::Docker, _) => Builder::Unsaid,
    };
    let heeds_gpu_requests = flavour.heeds_gpu_requests(header("libpod-api-version").unwrap_or(""));
    Some(Hello { api, flavour, heeds_gpu_requests, builder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_a_header_of_a_good_answer() {
        for (answer, expected) in [
            ("HTTP/1.0 200 OK\r\nApi-Version: 1.51\r\nServer: Docker\r\n\r\nOK", Some((1, 51))),
            ("HTTP/1.1 200 OK\r\napi-version:1.41\r\n\r\nOK", Some((1, 41))),
            ("HTTP/1.0 200 OK\r\n\r\nApi-Version: 1.51", None),
            ("HTTP/1.0 500 Internal Server Error\r\nApi-Version: 1.51\r\n\r\n", None),
            ("HTTP/1.0 200 OK\r\nApi-Version: new\r\n\r\n", None),
            ("HTTP/1.0 200 OK\r\nApi-Version: 1.\r\n\r\n", None),
            ("SSH-2.0-x\r\nApi-Version: 1.51\r\n", None),
            ("", None),
        ] {
            let found = told_in(answer).map(|told| (told.api.major_version, told.api.minor_version));
            assert_eq!(found, expected, "{answer:?}");
        }
    }

    #[test]
    fn the_other_headers_tell_what_it_is() {
        for (headers, flavour) in [
            ("Server: Docker/20.10.24 (linux)", Flavour::Docker),
            ("Builder-Version: 2\r\nServer: Docker/28.5.2 (linux)", Flavour::Docker),
            ("Builder-Version: \r\nLibpod-Api-Version: 4.3.1", Flavour::Podman),
        ] {
            let answer = format!("HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\n{headers}\r\n\r\nOK");
            assert_eq!(told_in(&answer).map(|told| told.flavour), Some(flavour), "{headers}");
        }
    }

    #[test]
    fn how_it_builds_is_a_header_too() {
        for (headers, builder) in [
            ("Api-Version: 1.41\r\nBuilder-Version: 1", Builder::Classic),
            ("Api-Version: 1.51\r\nBuilder-Version: 2", Builder::BuildKit),
            ("Api-Version: 1.41\r\nBuilder-Version: \r\nLibpod-Api-Version: 4.3.1", Builder::Podman),
            ("Api-Version: 1.41", Builder::Unsaid),
        ] {
            let told = told_in(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\nOK")).expect("told");
            assert_eq!(told.builder, builder, "{headers}");
        }
        for (variable, said, builder) in [
            (Some("0"), Builder::BuildKit, Builder::Classic),
            (Some("true"), Builder::Classic, Builder::BuildKit),
            (Some("0"), Builder::Podman, Builder::Podman),
            (Some(""), Builder::Unsaid, Builder::Unsaid),
            (None, Builder::Classic, Builder::Classic),
        ] {
            assert_eq!(said.wished(variable), builder, "{variable:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_an_error_and_a_strange_server_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("s");
        assert!(hello(&Endpoint::Unix(socket.clone())).await.is_err());
        let listener = tokio::net::UnixListener::bind(&socket).expect("bound");
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            stream.write_all(b"220 mail\r\n").await.expect("written");
        });
        assert_eq!(hello(&Endpoint::Unix(socket.clone())).await.expect("connected"), None);
        served.await.expect("served");
    }
}
