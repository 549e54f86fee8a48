//! Where the engine is: `[engine] host`, `DOCKER_HOST`, the current docker context, the local socket.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::EngineError;
use super::ssh::Ssh;
use super::tls;

/// Of a connection to another machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// How to reach an engine's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    /// `host:port`, with the folder of `ca.pem`, `cert.pem` and `key.pem` where TLS is used.
    Tcp {
        address: String,
        tls: Option<PathBuf>,
    },
    Ssh(Ssh),
}

/// A byte stream to an engine.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Endpoint {
    pub(crate) async fn dial(&self) -> io::Result<Box<dyn Wire>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp { address, tls: certificates } => {
                let dial = async {
                    let stream = TcpStream::connect(address).await?;
                    Ok::<Box<dyn Wire>, io::Error>(match certificates {
                        Some(folder) => Box::new(tls::connect(stream, address, folder).await?),
                        None => Box::new(stream),
                    })
                };
                // A machine that is not there says nothing for minutes.
                let dialled = tokio::time::timeout(PATIENCE, dial).await;
                dialled.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s"))??
            }
            Self::Ssh(ssh) => Box::new(ssh.dial(runtime_dir().as_deref())?),
        })
    }
}

/// Who said so, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    pub endpoint: Endpoint,
    pub because: String,
    /// The docker context that it comes from.
    pub context: Option<String>,
}

/// What finding the engine may look at besides its argument.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub docker_host: Option<String>,
    pub docker_context: Option<String>,
    pub docker_cert_path: Option<PathBuf>,
    pub docker_tls_verify: bool,
    /// `DOCKER_CONFIG`, or `~/.docker`.
    pub docker_config: PathBuf,
    /// `XDG_RUNTIME_DIR`, where rootless engines listen; without it (`su`, `cron`) the usual place of it.
    pub runtime_dir: Option<PathBuf>,
    /// `/var/run`, where the machine's engines listen.
    pub system_dir: PathBuf,
}

fn runtime_dir() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()).map(PathBuf::from).or_else(|| {
        let usual = PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
        usual.is_dir().then_some(usual)
    })
}

impl Surroundings {
    /// As this process finds them.
    pub fn of_process() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME").unwrap_or_else(|| PathBuf::from("/"));
        Self {
            docker_host: text("DOCKER_HOST"),
            docker_context: text("DOCKER_CONTEXT"),
            docker_cert_path: path("DOCKER_CERT_PATH"),
            docker_tls_verify: text("DOCKER_TLS_VERIFY").is_some(),
            docker_config: path("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker")),
            runtime_dir: runtime_dir(),
            system_dir: PathBuf::from("/var/run"),
        }
    }

    /// Where engines listen that nobody moved, and how that is said; the first that is there is the one.
    pub(super) fn sockets(&self) -> Vec<(PathBuf, &'static str)> {
        let own = |name: &str| self.runtime_dir.as_ref().map(|dir| dir.join(name));
        [
            (Some(self.system_dir.join("docker.sock")), "the default socket"),
            (own("docker.sock"), "the rootless engine's socket"),
            (own("podman/podman.sock"), "your Podman's socket"),
            (Some(self.system_dir.join("podman/podman.sock")), "the machine's Podman's socket"),
        ]
        .into_iter()
        .filter_map(|(path, said)| Some((path?, said)))
        .collect()
    }
}

impl Endpoint {
    /// On this machine, as far as an address tells.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Tells this engine from the others that the same folder may be used with: 6 hexadecimal digits. A socket
    /// under two names is one engine.
    pub fn key(&self) -> String {
        let address = match self {
            Self::Unix(path) => Self::Unix(path.canonicalize().unwrap_or_else(|_| path.clone())).to_string(),
            Self::Tcp { .. } | Self::Ssh(_) => self.to_string(),
        };
        Sha256::digest(address).iter().take(3).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { address, .. } => write!(f, "tcp://{address}"),
            Self::Ssh(ssh) => ssh.fmt(f),
        }
    }
}

/// Decides where the engine is, without contacting it.
///
/// # Errors
/// [`EngineError::Address`] for an address that is none, [`EngineError::Context`] for a docker
/// context that does not exist or cannot be read.
pub fn locate(configured: Option<&str>, around: &Surroundings) -> Result<Located, EngineError> {
    if let Some(host) = configured {
        return parse(host, around, "[engine] host");
    }
    if let Some(host) = &around.docker_host {
        return parse(host, around, "DOCKER_HOST");
    }
    let (context, said_by) = match &around.docker_context {
        Some(name) => (Some(name.clone()), "DOCKER_CONTEXT"),
        None => (current_context(&around.docker_config)?, "the current docker context"),
    };
    if let Some(name) = context.filter(|name| name != "default") {
        return from_context(&name, said_by, around);
    }
    let sockets = around.sockets();
    let there = sockets.iter().position(|(path, _)| path.exists()).unwrap_or(0);
    let (path, because) = sockets.into_iter().nth(there).expect("the default one is always listed");
    Ok(Located { endpoint: Endpoint::Unix(path), because: because.to_owned(), context: None })
}

fn parse(host: &str, around: &Surroundings, said_by: &str) -> Result<Located, EngineError> {
    let refuse =
        |why: &str| EngineError::Address { address: redact(host), said_by: said_by.to_owned(), why: why.to_owned() };
    let endpoint = match host.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Endpoint::Unix(PathBuf::from(path)),
        Some(("unix", _)) => return Err(refuse("the path of a unix socket is absolute: unix:///run/docker.sock")),
        Some(("tcp" | "http" | "https", address)) => {
            if address.is_empty() || address.contains('@') {
                return Err(refuse("it takes the form tcp://host:port"));
            }
            let tls = (around.docker_tls_verify || host.starts_with("https"))
                .then(|| around.docker_cert_path.clone().unwrap_or_else(|| around.docker_config.clone()));
            Endpoint::Tcp { address: address.trim_end_matches('/').to_owned(), tls }
        }
        Some(("ssh", address)) => Endpoint::Ssh(Ssh::parse(address).map_err(refuse)?),
        _ => return Err(refuse("it takes the form unix:///path, tcp://host:port or ssh://user@host")),
    };
    Ok(Located { endpoint, because: said_by.to_owned(), context: None })
}

/// Whatever stands before an `@` may be a password.
fn redact(host: &str) -> String {
    match (host.split_once("://"), host.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => host.to_owned(),
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

#[derive(Deserialize)]
struct ContextMeta {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Endpoints")]
    endpoints: std::collections::HashMap<String, ContextEndpoint>,
}

#[derive(Deserialize)]
struct ContextEndpoint {
    #[serde(rename = "Host")]
    host: Option<String>,
}

fn current_context(config: &Path) -> Result<Option<String>, EngineError> {
    let path = config.join("config.json");
    // Without a configuration (or a readable one) the engine's own tool uses the default, too.
    let Ok(text) = std::fs::read(&path) else { return Ok(None) };
    let config: DockerConfig = serde_json::from_slice(&text)
        .map_err(|error| EngineError::Context { name: path.display().to_string(), why: error.to_string() })?;
    Ok(config.current_context)
}

fn from_context(name: &str, said_by: &str, around: &Surroundings) -> Result<Located, EngineError> {
    let unknown = |why: String| EngineError::Context { name: name.to_owned(), why };
    let contexts = around.docker_config.join("contexts/meta");
    let folders = std::fs::read_dir(&contexts).map_err(|error| unknown(format!("{}: {error}", contexts.display())))?;
    for folder in folders.flatten() {
        let Ok(text) = std::fs::read(folder.path().join("meta.json")) else { continue };
        let Ok(meta) = serde_json::from_slice::<ContextMeta>(&text) else { continue };
        if meta.name != name {
            continue;
        }
        let host = meta.endpoints.get("docker").and_then(|endpoint| endpoint.host.clone());
        let host = host.ok_or_else(|| unknown("it names no docker endpoint".to_owned()))?;
        let mut located = parse(&host, around, said_by)?;
        if let Endpoint::Tcp { tls, .. } = &mut located.endpoint {
            let folder = around.docker_config.join("contexts/tls").join(folder.file_name()).join("docker");
            *tls = folder.is_dir().then_some(folder);
        }
        located.because = format!("{said_by} ({name})");
        located.context = Some(name.to_owned());
        return Ok(located);
    }
    Err(unknown(format!("no context of that name in {}", contexts.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(config: &Path) -> Surroundings {
        Surroundings {
            docker_host: None,
            docker_context: None,
            docker_cert_path: None,
            docker_tls_verify: false,
            docker_config: config.to_owned(),
            runtime_dir: None,
            system_dir: PathBuf::from("/nonexistent"),
        }
    }

    #[test]
    fn the_nearest_word_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut around = nothing(folder.path());
        let unix = |path: &str| Endpoint::Unix(PathBuf::from(path));
        assert_eq!(locate(None, &around).expect("found").endpoint, unix("/nonexistent/docker.sock"));

        let meta = folder.path().join("contexts/meta/0a");
        std::fs::create_dir_all(&meta).expect("made");
        std::fs::write(
            meta.join("meta.json"),
            r#"{"Name":"lab","Endpoints":{"docker":{"Host":"unix:///run/lab.sock"}}}"#,
        )
        .expect("written");
        std::fs::write(folder.path().join("config.json"), r#"{"currentContext":"lab"}"#).expect("written");
        let located = locate(None, &around).expect("found");
        assert_eq!(located.endpoint, unix("/run/lab.sock"));
        assert_eq!(located.because, "the current docker context (lab)");
        assert_eq!(located.context.as_deref(), Some("lab"));

        around.docker_host = Some("unix:///run/env.sock".to_owned());
        assert_eq!(locate(None, &around).expect("found").endpoint, unix("/run/env.sock"));
        assert_eq!(locate(Some("unix:///run/own.sock"), &around).expect("found").endpoint, unix("/run/own.sock"));
    }

    #[test]
    fn without_a_word_it_is_the_first_socket_that_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("own");
        let system = folder.path().join("run");
        let around =
            Surroundings { runtime_dir: Some(own.clone()), system_dir: system.clone(), ..nothing(folder.path()) };
        let found = || locate(None, &around).expect("found");
        assert_eq!(found().endpoint, Endpoint::Unix(system.join("docker.sock")), "named where there is none");
        for (socket, because) in [
            (system.join("podman/podman.sock"), "the machine's Podman's socket"),
            (own.join("podman/podman.sock"), "your Podman's socket"),
            (own.join("docker.sock"), "the rootless engine's socket"),
            (system.join("docker.sock"), "the default socket"),
        ] {
            std::fs::create_dir_all(socket.parent().expect("a parent")).expect("made");
            std::fs::write(&socket, "").expect("made");
            let located = found();
            assert_eq!((located.endpoint, located.because.as_str()), (Endpoint::Unix(socket), because));
        }
    }

    #[test]
    fn bad_addresses_say_what_they_should_be() {
        let around = nothing(Path::new("/nonexistent"));
        for bad in
            ["", "docker", "unix://relative", "tcp://", "ftp://x", "ssh://-oProxyCommand=x", "tcp://me:pw@host:1"]
        {
            let error = locate(Some(bad), &around).expect_err(bad);
            assert!(matches!(error, EngineError::Address { .. }), "{bad}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
        let missing = Surroundings { docker_context: Some("gone".to_owned()), ..around };
        assert!(matches!(locate(None, &missing), Err(EngineError::Context { .. })));
    }
}
