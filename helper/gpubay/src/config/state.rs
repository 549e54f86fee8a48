//! The few small facts that are kept between runs, outside of every workspace and for this user
//! alone: a machine id where the machine has none, which Dockerfile was chosen, what was approved.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ConfigError;
use super::identity::hex;
use super::parse::read_text;
use crate::HostPath;

/// The file with the machine's id, where the machine has none of its own.
pub const MACHINE_ID: &str = "machine-id";

/// A random id of 32 hexadecimal digits, made once.
pub(super) fn machine_id(data: &HostPath) -> Result<String, ConfigError> {
    let path = data.join(MACHINE_ID);
    let kept = || -> Result<Option<String>, ConfigError> {
        Ok(read_text(path.as_path())?.map(|t| t.trim().to_owned()).filter(|t| t.len() == 32))
    };
    if let Some(id) = kept()? {
        return Ok(id);
    }
    let failed = |source| ConfigError::State { what: "the machine id", path: path.to_string(), source };
    let mut random = [0u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut f| std::io::Read::read_exact(&mut f, &mut random))
        .map_err(failed)?;
    let id = hex(&random);
    let file = staged(path.as_path(), id.as_bytes()).map_err(failed)?;
    // Two first runs at once must agree: the one that comes second takes what the first wrote.
    match file.persist_noclobber(path.as_path()) {
        Ok(_) => Ok(id),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => match kept()? {
            Some(id) => Ok(id),
            None => std::fs::remove_file(path.as_path()).map_err(failed).and_then(|()| machine_id(data)),
        },
        Err(e) => Err(failed(e.error)),
    }
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ConfigError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|e| ConfigError::StateDamaged { path: path.display().to_string(), message: e.to_string() })
}

/// Whole or not at all, and for the user alone.
pub(super) fn write<T: Serialize>(what: &'static str, path: &Path, value: &T) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::State { what, path: path.display().to_string(), source };
    let text = serde_json::to_vec_pretty(value).map_err(|e| failed(e.into()))?;
    let file = staged(path, &text).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

fn staged(path: &Path, content: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let mut file = tempfile::NamedTempFile::new_in(&folder)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    Ok(file)
}
