//! Registry credentials for the engine, from the user's own Docker configuration.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::Auth;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tonic::{Request, Response, Status};

use crate::registry::{HUB, host_of};

/// How long a credential helper may take: it may ask the user.
const HELPER_TIMEOUT: Duration = Duration::from_mins(1);
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Answers with what a user has logged in to.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    config: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: HashMap<String, Entry>,
    creds_store: String,
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

impl Credentials {
    pub(super) fn of_user() -> Self {
        let folder = std::env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker")));
        Self { config: folder.map(|folder| folder.join("config.json")) }
    }

    /// The `X-Registry-Config` of a classic build that starts from these images: what the user has logged in to,
    /// for their registries and no others.
    pub(super) async fn registry_config(&self, images: &[String]) -> String {
        let mut known = serde_json::Map::new();
        for host in images.iter().map(|image| host_of(image)) {
            let key = if host == HUB { HUB_KEY } else { host };
            if known.contains_key(key) {
                continue;
            }
            let CredentialsResponse { username, secret } = self.find(host).await;
            if secret.is_empty() {
                continue;
            }
            let entry = if username.is_empty() {
                serde_json::json!({ "identitytoken": secret, "serveraddress": key })
            } else {
                serde_json::json!({ "username": username, "password": secret, "serveraddress": key })
            };
            known.insert(key.to_owned(), entry);
        }
        URL_SAFE.encode(serde_json::Value::Object(known).to_string())
    }

    /// Empty where the user has none: the engine then asks anonymously.
    async fn find(&self, host: &str) -> CredentialsResponse {
        let key = if host == HUB { HUB_KEY } else { host };
        let config = self.config.as_ref().and_then(|path| std::fs::read(path).ok());
        let config: Config = config.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let helper = config.cred_helpers.get(key).unwrap_or(&config.creds_store);
        if !helper.is_empty()
            && let Some(found) = ask_helper(helper, key).await
        {
            return found;
        }
        let bare = |name: &str| {
            let name = name.trim_start_matches("https://").trim_start_matches("http://");
            name.split('/').next().unwrap_or("").to_owned()
        };
        let entry = config.auths.get(key).or_else(|| {
            config.auths.iter().find(|(name, _)| host != HUB && bare(name) == bare(key)).map(|(_, entry)| entry)
        });
        entry.map(Entry::answer).unwrap_or_default()
    }
}

impl Entry {
    fn answer(&self) -> CredentialsResponse {
        if !self.identitytoken.is_empty() {
            return CredentialsResponse { username: String::new(), secret: self.identitytoken.clone() };
        }
        let decoded = STANDARD.decode(&self.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (username, secret) = match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) => (user.to_owned(), password.trim_end_matches('\0').to_owned()),
            None => (self.username.clone(), self.password.clone()),
        };
        CredentialsResponse { username, secret }
    }
}

/// What the user has logged in to a registry with.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    Password {
        user: String,
        password: String,
    },
    /// For which the registry's place for tokens gives others.
    Token(String),
}

/// The user's login to the registry at `host`, from their own Docker configuration.
pub async fn login(host: &str) -> Option<Login> {
    let CredentialsResponse { username, secret } = Credentials::of_user().find(host).await;
    if secret.is_empty() {
        return None;
    }
    Some(if username.is_empty() { Login::Token(secret) } else { Login::Password { user: username, password: secret } })
}

/// The name becomes part of a program's name that is searched for, never a path.
fn helper_program(helper: &str) -> Option<String> {
    let plain = helper.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    plain.then(|| format!("docker-credential-{helper}"))
}

async fn ask_helper(helper: &str, key: &str) -> Option<CredentialsResponse> {
    let program = helper_program(helper)?;
    let run = async {
        let mut child = tokio::process::Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(key.as_bytes()).await.ok()?;
        let output = child.wait_with_output().await.ok()?;
        if !output.status.success() {
            return None;
        }
        let helped: Helped = serde_json::from_slice(&output.stdout).ok()?;
        let username = if helped.username == "<token>" { String::new() } else { helped.username };
        Some(CredentialsResponse { username, secret: helped.secret })
    };
    tokio::time::timeout(HELPER_TIMEOUT, run).await.ok().flatten()
}

#[tonic::async_trait]
impl Auth for Credentials {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        Ok(Response::new(self.find(&request.get_ref().host).await))
    }
    // Without these the engine fetches tokens itself, with the credentials above.
    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("the engine fetches its tokens"))
    }
    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the engine fetches its tokens"))
    }
    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the engine fetches its tokens"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_a_name() {
        assert_eq!(helper_program("ecr-login").as_deref(), Some("docker-credential-ecr-login"));
        for bad in ["../x", "a/b", "a b", "$(x)"] {
            assert_eq!(helper_program(bad), None);
        }
    }

    #[tokio::test]
    async fn credentials_come_from_the_users_configuration() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("config.json");
        let text = format!(
            r#"{{"auths":{{"{HUB_KEY}":{{"auth":"{}"}},"https://ghcr.io/v1":{{"identitytoken":"tok"}},"nvcr.io":{{"auth":"broken"}}}},
                "credHelpers":{{"evil":"../../bin/x"}}}}"#,
            STANDARD.encode("ada:pa:ss")
        );
        std::fs::write(&path, text).expect("a file");
        let credentials = Credentials { config: Some(path) };
        for (host, user, secret) in
            [(HUB, "ada", "pa:ss"), ("ghcr.io", "", "tok"), ("nvcr.io", "", ""), ("other", "", ""), ("evil", "", "")]
        {
            let found = credentials.find(host).await;
            assert_eq!((found.username.as_str(), found.secret.as_str()), (user, secret), "{host}");
        }
        let images = ["ubuntu:24.04", "docker.io/me/x", "ghcr.io/a/b@sha256:1", "other:5000/x"].map(str::to_owned);
        let header = credentials.registry_config(&images).await;
        let sent: serde_json::Value = serde_json::from_slice(&URL_SAFE.decode(header).expect("base64")).expect("JSON");
        assert_eq!(
            sent,
            serde_json::json!({
                HUB_KEY: { "username": "ada", "password": "pa:ss", "serveraddress": HUB_KEY },
                "ghcr.io": { "identitytoken": "tok", "serveraddress": "ghcr.io" },
            })
        );
        let header = credentials.registry_config(&["nvcr.io/nvidia/cuda".to_owned()]).await;
        assert_eq!(URL_SAFE.decode(header).expect("base64"), b"{}", "nothing of other registries");
    }
}
