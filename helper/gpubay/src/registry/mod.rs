//! What an image's registry tells of it before anything is pulled: how many bytes a pull brings.
//!
//! A small client of what registries speak (OCI distribution): manifests, and the login that they ask for. It follows no
//! answer anywhere that the user's question did not lead to, reads little of each, and is given up after a few seconds:
//! the size is a help, and nothing depends on it.

pub mod brings;
mod http;
pub mod life;
mod login;
mod manifest;
mod name;

use std::time::Duration;

use crate::error::Explain;
use crate::progress::CancellationToken;

pub use name::{HUB, Name, host_of};

/// For all questions together.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the size is not known. Each is a sentence's end, after «the size of … is not known: ».
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("this is no name of an image")]
    Name,
    #[error("{host} cannot be reached ({why})")]
    Unreachable { host: String, why: String },
    #[error("{host} did not answer within {} s", PATIENCE.as_secs())]
    Slow { host: String },
    #[error("{host} wants a login (`docker login {host}`), or has no such image")]
    Login { host: String },
    #[error("{host} has no such image")]
    NotFound { host: String },
    #[error("{host} has it for other machines only, not for linux/{architecture}")]
    Platform { host: String, architecture: String },
    #[error("{host} answered {why}")]
    Answer { host: String, why: String },
    #[error("cancelled")]
    Cancelled,
}

impl Explain for RegistryError {
    fn code(&self) -> &'static str {
        match self {
            Self::Name => "bad_value",
            Self::Unreachable { .. } => "registry_unreachable",
            Self::Slow { .. } => "registry_slow",
            Self::Login { .. } => "registry_login",
            Self::NotFound { .. } => "base_not_found",
            Self::Platform { .. } => "base_platform",
            Self::Answer { .. } => "registry_answer",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What would be transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Of all layers, as they travel; unpacked they take two to three times as much.
    pub compressed: u64,
    pub layers: usize,
}

/// Asks the registry of `image` how large it is for `architecture` (`amd64`), with the logins that the user has.
///
/// # Errors
/// [`RegistryError`], after [`PATIENCE`] at the latest.
pub async fn size(image: &str, architecture: &str, cancel: &CancellationToken) -> Result<Size, RegistryError> {
    size_within(PATIENCE, image, architecture, cancel).await
}

async fn size_within(
    patience: Duration,
    image: &str,
    architecture: &str,
    cancel: &CancellationToken,
) -> Result<Size, RegistryError> {
    let name = Name::parse(image).ok_or(RegistryError::Name)?;
    let host = name.host.clone();
    tokio::select! {
        answer = tokio::time::timeout(patience, manifest::size(&name, architecture)) => {
            answer.unwrap_or(Err(RegistryError::Slow { host }))
        }
        () = cancel.cancelled() => Err(RegistryError::Cancelled),
    }
}

#[cfg(test)]
mod tests;
