//! From an index to the manifest for a machine, and from that to the size of its layers.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Deserialize;

use super::http::Client;
use super::name::{Name, is_digest};
use super::{RegistryError, Size, login};

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

#[derive(Deserialize)]
struct Document {
    manifests: Option<Vec<Listed>>,
    layers: Option<Vec<Layer>>,
}

#[derive(Deserialize)]
struct Listed {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Layer {
    digest: String,
    size: u64,
}

pub(super) async fn size(name: &Name, architecture: &str) -> Result<Size, RegistryError> {
    let (client, base) = Client::new(&name.host)?;
    let mut authorization = None;
    let first = ask(&client, &base, name, &name.reference, &mut authorization).await?;
    let document = match first.manifests {
        None => first,
        Some(listed) => {
            let fits = |one: &&Listed| {
                one.platform.as_ref().is_some_and(|found| found.os == "linux" && found.architecture == architecture)
            };
            let host = name.host.clone();
            let other = RegistryError::Platform { host, architecture: architecture.to_owned() };
            let chosen = listed.iter().find(fits).ok_or(other)?;
            if !is_digest(&chosen.digest) {
                return Err(client.odd("with a digest that is none"));
            }
            ask(&client, &base, name, &chosen.digest, &mut authorization).await?
        }
    };
    let layers = document.layers.ok_or_else(|| client.odd("in a form that is not known"))?;
    // One that occurs twice travels once.
    let layers: BTreeMap<String, u64> = layers.into_iter().map(|layer| (layer.digest, layer.size)).collect();
    Ok(Size { compressed: layers.values().fold(0, |sum, size| sum.saturating_add(*size)), layers: layers.len() })
}

async fn ask(
    client: &Client,
    base: &url::Url,
    name: &Name,
    reference: &str,
    authorization: &mut Option<String>,
) -> Result<Document, RegistryError> {
    let url = base.join(&format!("v2/{}/manifests/{reference}", name.repository)).map_err(|_| RegistryError::Name)?;
    let mut answer = client.get(&url, ACCEPT, authorization.as_deref()).await?;
    if answer.status == StatusCode::UNAUTHORIZED && authorization.is_none() {
        *authorization = Some(login::authorize(client, name, &answer).await?);
        answer = client.get(&url, ACCEPT, authorization.as_deref()).await?;
    }
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body).map_err(|_| client.odd("with no manifest")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RegistryError::Login { host: name.host.clone() }),
        StatusCode::NOT_FOUND => Err(RegistryError::NotFound { host: name.host.clone() }),
        status => Err(client.odd(status.to_string())),
    }
}
