//! Zero configuration: which Dockerfile a folder means when nothing names one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::identity::Identity;
use super::state;
use crate::HostPath;

/// What a folder without configuration holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Dockerfile(HostPath),
    Requirements(HostPath),
    Nothing,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// Relative to the workspace.
    dockerfile: String,
}

/// The Dockerfiles that could be meant, relative to the workspace, in order: `Dockerfile` alone, or
/// every `docker/*/Dockerfile`.
pub fn candidates(workspace: &HostPath) -> Vec<String> {
    let root = workspace.as_path();
    if root.join("Dockerfile").is_file() {
        return vec!["Dockerfile".to_owned()];
    }
    let Ok(folder) = std::fs::read_dir(root.join("docker")) else { return Vec::new() };
    let mut found: Vec<String> = folder
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .map(|name| format!("docker/{name}/Dockerfile"))
        .filter(|path| root.join(path).is_file())
        .collect();
    found.sort();
    found
}

/// Remembers which of [`candidates`] the user chose, outside of the workspace.
pub fn remember_choice(data: &HostPath, identity: &Identity, dockerfile: &str) -> Result<(), ConfigError> {
    let choice = Choice { dockerfile: dockerfile.to_owned() };
    state::write("the choice of a Dockerfile", &choice_path(data, identity), &choice)
}

fn choice_path(data: &HostPath, identity: &Identity) -> PathBuf {
    data.as_path().join("choices").join(format!("{}.json", identity.id))
}

pub(super) fn discover(workspace: &HostPath, data: &HostPath, identity: &Identity) -> Result<Found, ConfigError> {
    let mut candidates = candidates(workspace);
    if candidates.len() > 1 {
        let chosen = state::read::<Choice>(&choice_path(data, identity))?.map(|choice| choice.dockerfile);
        // A choice that is gone is no choice: ask again.
        match chosen.filter(|chosen| candidates.contains(chosen)) {
            Some(chosen) => candidates = vec![chosen],
            None => return Err(ConfigError::AmbiguousDockerfile { candidates }),
        }
    }
    if let Some(one) = candidates.first() {
        return canonical(&workspace.as_path().join(one)).map(Found::Dockerfile);
    }
    let requirements = workspace.as_path().join("requirements.txt");
    if requirements.is_file() { canonical(&requirements).map(Found::Requirements) } else { Ok(Found::Nothing) }
}

fn canonical(path: &Path) -> Result<HostPath, ConfigError> {
    let file = path.display().to_string();
    let real = path.canonicalize().map_err(|source| ConfigError::Unreadable { file: file.clone(), source })?;
    HostPath::new(real).map_err(|_| ConfigError::Relative(file))
}
