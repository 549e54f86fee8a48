//! The login that a registry asks for: a token from its own place for tokens, or a password with each question.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::RegistryError;
use super::http::{Answer, Client};
use super::name::Name;
use crate::engine::build::Login;

/// One way to log in, as a `WWW-Authenticate` header offers it.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Token {
    token: String,
    access_token: String,
}

/// The value of the header that the registry's refusal asks for.
pub(super) async fn authorize(client: &Client, name: &Name, refusal: &Answer) -> Result<String, RegistryError> {
    let wanted = RegistryError::Login { host: name.host.clone() };
    let challenge = refusal.wants.iter().find_map(|header| parse(header)).ok_or_else(|| wanted.clone())?;
    let login = crate::engine::build::login(&name.host).await;
    match (challenge, login) {
        (Challenge::Basic, Some(Login::Password { user, password })) => Ok(basic(&user, &password)),
        (Challenge::Basic, _) => Err(wanted),
        (Challenge::Bearer { realm, service }, login) => {
            let realm = Url::parse(&realm).map_err(|_| client.odd("with a place for tokens that is none"))?;
            client.allowed(&realm)?;
            let answer = ask(client, name, realm, service, login).await?;
            if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                return Err(wanted);
            }
            if !answer.status.is_success() {
                return Err(client.odd(format!("{} when asked for a token", answer.status)));
            }
            let token: Token =
                serde_json::from_slice(&answer.body).map_err(|_| client.odd("with a token that is none"))?;
            let token = if token.token.is_empty() { token.access_token } else { token.token };
            let visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
            if visible { Ok(format!("Bearer {token}")) } else { Err(client.odd("with a token that is none")) }
        }
    }
}

async fn ask(
    client: &Client,
    name: &Name,
    mut realm: Url,
    service: Option<String>,
    login: Option<Login>,
) -> Result<Answer, RegistryError> {
    // What we want, and not what the header says.
    let scope = format!("repository:{}:pull", name.repository);
    let mut pairs = vec![("scope", scope)];
    pairs.extend(service.map(|service| ("service", service)));
    match login {
        Some(Login::Token(token)) => {
            let form = {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token").append_pair("client_id", "gpubay");
                form.extend_pairs(&pairs).append_pair("refresh_token", &token);
                form.finish()
            };
            client.post(&realm, form).await
        }
        other => {
            realm.query_pairs_mut().extend_pairs(&pairs);
            let authorization = match other {
                Some(Login::Password { user, password }) => Some(basic(&user, &password)),
                _ => None,
            };
            client.get(&realm, "application/json", authorization.as_deref()).await
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// `Bearer realm="https://…",service="…",scope="…"`
fn parse(header: &str) -> Option<Challenge> {
    let (scheme, mut rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    while let Some((key, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_once(',').unwrap_or((value, "")),
        };
        match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            _ => {}
        }
        rest = after;
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (header, expected) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"a,b:pull\"",
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            ("bearer service=s, realm=\"https://x/y?a=b\"", bearer("https://x/y?a=b", Some("s"))),
            ("Bearer realm=\"https://x", None),
            ("Bearer", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }
}
