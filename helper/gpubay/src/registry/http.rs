//! One question and its answer: bounded, and followed only to where it may lead.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::{Host, Url};

use super::RegistryError;

/// What registries themselves allow for a manifest.
const LIMIT: usize = 4 << 20;
const REDIRECTS: usize = 5;

pub(super) struct Client {
    http: Legacy<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Of the registry, for messages.
    host: String,
    home: Url,
    /// The registry is this machine: then plain HTTP and this machine's addresses are what the user asked for.
    local: bool,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The header by which a login is asked for.
    pub(super) wants: Vec<String>,
    pub(super) body: Bytes,
}

impl Client {
    /// For the registry at `host`, and the address that it has.
    pub(super) fn new(host: &str) -> Result<(Self, Url), RegistryError> {
        let bare = Url::parse(&format!("https://{host}/")).map_err(|_| RegistryError::Name)?;
        let local = is_local(&bare);
        // Engines, too, speak plain HTTP with this machine alone, unless told otherwise.
        let base = if local { Url::parse(&format!("http://{host}/")).map_err(|_| RegistryError::Name)? } else { bare };
        let unreachable =
            |error: std::io::Error| RegistryError::Unreachable { host: host.to_owned(), why: error.to_string() };
        let connector = HttpsConnectorBuilder::new().with_native_roots().map_err(unreachable)?;
        let connector = connector.https_or_http().enable_http1().build();
        let http = Legacy::builder(TokioExecutor::new()).build(connector);
        Ok((Self { http, host: host.to_owned(), home: base.clone(), local }, base))
    }

    pub(super) fn odd(&self, why: impl Into<String>) -> RegistryError {
        RegistryError::Answer { host: self.host.clone(), why: why.into() }
    }

    /// Asks, and follows redirections; `authorization` goes to the address itself and to no other.
    pub(super) async fn get(
        &self,
        url: &Url,
        accept: &str,
        authorization: Option<&str>,
    ) -> Result<Answer, RegistryError> {
        let mut at = url.clone();
        for _ in 0..=REDIRECTS {
            let mut request = Request::get(at.as_str()).header(ACCEPT, accept);
            if let Some(value) = authorization.filter(|_| at.origin() == url.origin()) {
                request = request.header(AUTHORIZATION, value);
            }
            let response = self.send(request, Bytes::new()).await?;
            if !response.status().is_redirection() {
                return self.read(response).await;
            }
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            let to = at.join(to).map_err(|_| self.odd("with a redirection that leads nowhere"))?;
            self.allowed(&to)?;
            at = to;
        }
        Err(self.odd(format!("with more than {REDIRECTS} redirections")))
    }

    /// Sends a form, which is not sent on.
    pub(super) async fn post(&self, url: &Url, form: String) -> Result<Answer, RegistryError> {
        let request = Request::post(url.as_str()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = self.send(request, Bytes::from(form)).await?;
        self.read(response).await
    }

    /// Nothing is asked in the open, and no registry sends us to this machine or to a bare address in its network.
    pub(super) fn allowed(&self, to: &Url) -> Result<(), RegistryError> {
        let local = is_local(to);
        let fine = match to.scheme() {
            "https" if local => self.local,
            "https" => matches!(to.host(), Some(Host::Domain(_))) || to.host() == self.home.host(),
            "http" => self.local && local,
            _ => false,
        };
        // A name and password in an address would be somebody else's.
        if fine && to.username().is_empty() && to.password().is_none() {
            return Ok(());
        }
        Err(self.odd(format!("with a reference to {}, which is not followed", to.origin().ascii_serialization())))
    }

    async fn send(
        &self,
        request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<Response<hyper::body::Incoming>, RegistryError> {
        let agent = concat!("gpubay/", env!("CARGO_PKG_VERSION"));
        let request =
            request.header(USER_AGENT, agent).body(Full::new(body)).map_err(|error| self.odd(error.to_string()))?;
        self.http.request(request).await.map_err(|error| {
            let mut why = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                why = error.to_string();
                cause = error.source();
            }
            RegistryError::Unreachable { host: self.host.clone(), why }
        })
    }

    async fn read(&self, response: Response<hyper::body::Incoming>) -> Result<Answer, RegistryError> {
        let status = response.status();
        let wants = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let wants = wants.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
        let body = Limited::new(response.into_body(), LIMIT).collect().await;
        let body = body.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                self.odd(format!("with more than {LIMIT} bytes"))
            } else {
                self.odd(format!("and broke off: {error}"))
            }
        })?;
        Ok(Answer { status, wants, body: body.to_bytes() })
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}
