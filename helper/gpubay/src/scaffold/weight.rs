//! How much a base brings and how much room there is, said before anything is pulled. Nothing here is pulled, and nothing
//! fails: what cannot be known is a sentence.

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::Base;
use crate::engine::{Engine, EngineError};
use crate::progress::Progress;
use crate::registry;
use crate::workspace::doctor::disk;

/// What is known of the images that a Dockerfile starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Weight {
    pub images: Vec<ImageWeight>,
    /// Whether an engine was asked; otherwise what it holds is not known.
    pub engine: bool,
    /// Where the engine keeps images, in bytes; absent for an engine elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ImageWeight {
    pub image: String,
    /// What the engine holds of it already: then nothing is pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub present_bytes: Option<u64>,
    /// What a pull would transfer, compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed_bytes: Option<u64>,
    /// Why the size is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// Layers unpacked are two to three times what they are on the way.
const UNPACKED: u64 = 3;

impl Weight {
    /// Whether it may not fit.
    pub fn is_tight(&self) -> bool {
        let pulled = self.images.iter().filter_map(|image| image.compressed_bytes).fold(0_u64, u64::saturating_add);
        self.free_bytes.is_some_and(|free| pulled.saturating_mul(UNPACKED) > free)
    }
}

/// Asks the engine, if there is one, and for what it lacks the registries of the images, unless `offline`.
pub async fn weigh(base: &Base, engine: Option<&Engine>, offline: bool, progress: &Progress) -> Weight {
    let condition = match engine {
        Some(engine) => soon(engine.condition()).await,
        None => None,
    };
    let architecture = condition.as_ref().map_or("amd64", |condition| condition.architecture.as_str());
    let root = condition.as_ref().and_then(|condition| condition.root.as_deref());
    let local = engine.is_some_and(Engine::is_local);
    let free_bytes = root.filter(|_| local).and_then(|root| disk(Path::new(root)).ok()).map(|disk| disk.free);
    let also = if let Base::Preset(preset) = base { preset.also() } else { None };
    let names: Vec<&str> = [base.image()].into_iter().chain(also).collect();
    let ask = names.into_iter().map(|name| image(name, architecture, engine, offline, progress));
    let images = futures_util::future::join_all(ask).await;
    Weight { images, engine: engine.is_some(), free_bytes }
}

/// An engine that stopped answering is like none.
async fn soon<T>(answer: impl Future<Output = Result<T, EngineError>>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(5), answer).await.ok()?.ok()
}

async fn image(
    name: &str,
    architecture: &str,
    engine: Option<&Engine>,
    offline: bool,
    progress: &Progress,
) -> ImageWeight {
    let mut weight = ImageWeight { image: name.to_owned(), present_bytes: None, compressed_bytes: None, unknown: None };
    if let Some(engine) = engine {
        weight.present_bytes = soon(engine.image(name)).await.flatten().map(|image| image.size);
    }
    if weight.present_bytes.is_some() {
        return weight;
    }
    if offline {
        weight.unknown = Some("its registry was not asked (--offline)".to_owned());
        return weight;
    }
    let step = progress.step(format!("Asking how large {name} is"));
    let answer = registry::size(name, architecture, &progress.cancel).await;
    step.done();
    match answer {
        Ok(size) => weight.compressed_bytes = Some(size.compressed),
        Err(error) => weight.unknown = Some(error.to_string()),
    }
    weight
}
