//! What an image is built from, as one value: when it changes, the image is to be built again.
//!
//! It covers the Dockerfile, its arguments, the target, the images it starts from, the ids of its
//! secrets and those files of the context that a reachable instruction can read. Editing a file
//! that no instruction reads changes nothing.

mod cache;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::FileType;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::HostPath;
use crate::config::model::Dockerfile;
use crate::engine::build::context::{self, ContextError, Filter, Selection};
use crate::engine::build::dockerfile::{Parsed, parse};
use crate::engine::build::ignore;
use crate::engine::build::reach::{self, Extent};
pub use crate::engine::build::reach::{Base, base_images, every_from, froms, whole_copies};
use crate::error::Explain;
use crate::files;

/// Counts for nothing: its own bookkeeping changes without the sources.
const GIT: &str = ".git";

/// What an image is built from.
#[derive(Clone, Debug)]
pub struct FingerprintInput {
    pub dockerfile: Dockerfile,
    pub context: HostPath,
    /// With those that fill themselves.
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    /// The images that [`base_images`] names and that the engine has.
    pub bases: BTreeMap<String, Base>,
    pub secret_ids: Vec<String>,
    /// Paths relative to the context that never count: our own.
    pub always_exclude: Vec<String>,
}

/// Equal for equal sources; lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why there is no fingerprint.
#[derive(Debug, Error)]
pub enum FingerprintError {
    #[error("cannot read the Dockerfile {path}")]
    Dockerfile { path: HostPath, source: io::Error },
    #[error("cannot read {path}")]
    Ignore { path: String, source: io::Error },
    #[error("cannot read the build context {path}")]
    Context { path: HostPath, source: ContextError },
}

impl Explain for FingerprintError {
    fn code(&self) -> &'static str {
        match self {
            Self::Dockerfile { .. } => "no_dockerfile",
            Self::Ignore { .. } | Self::Context { .. } => "build_context",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Dockerfile { .. } => "Name an existing file in `[image] dockerfile`.".to_owned(),
            Self::Ignore { .. } => "Make the file readable.".to_owned(),
            Self::Context { .. } => {
                "Make it readable, or leave it out of the context with a line in .dockerignore.".to_owned()
            }
        })
    }
}

/// Reads a Dockerfile's text.
///
/// # Errors
/// [`FingerprintError::Dockerfile`].
pub fn dockerfile_text(dockerfile: &Dockerfile) -> Result<String, FingerprintError> {
    match dockerfile {
        Dockerfile::Generated { text, .. } => Ok(text.clone()),
        Dockerfile::File(path) => files::read_resolved(path, files::SMALL)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|error| FingerprintError::Dockerfile { path: path.clone(), source: error.into() }),
    }
}

/// Takes the fingerprint of what an image is built from.
///
/// `cache_file` keeps the hashes of files by their times, so that nothing but what changed is read
/// again; a missing, damaged or unwritable one costs only time.
///
/// # Errors
/// [`FingerprintError`] when something that counts cannot be read.
pub fn fingerprint(input: &FingerprintInput, cache_file: &HostPath) -> Result<Fingerprint, FingerprintError> {
    let text = dockerfile_text(&input.dockerfile)?;
    let parsed = parse(&text);
    let mut hash = Fields(Sha256::new());
    hash.field("gpubay image 1", "");
    hash.field("dockerfile", &text);
    hash.field("target", input.target.as_deref().unwrap_or(""));
    for (name, value) in &input.args {
        hash.field(name, value);
    }
    for (name, base) in &input.bases {
        hash.field(name, &base.id);
    }
    let mut secrets = input.secret_ids.clone();
    secrets.sort();
    for id in &secrets {
        hash.field("secret", id);
    }
    add_context(input, &parsed, cache_file, &mut hash)?;
    Ok(Fingerprint(hex(&hash.0.finalize())))
}

fn add_context(
    input: &FingerprintInput,
    parsed: &Parsed,
    cache_file: &HostPath,
    hash: &mut Fields,
) -> Result<(), FingerprintError> {
    let fail = |source| FingerprintError::Context { path: input.context.clone(), source };
    let wanted = reach::context_paths(parsed, &input.args, input.target.as_deref(), &input.bases, Extent::Needed);
    if wanted.is_empty() {
        return Ok(());
    }
    let mut never: Vec<String> = input.always_exclude.iter().map(|path| ignore::clean(path)).collect();
    never.push(GIT.to_owned());
    let selection = Selection {
        excludes: context::excludes(&input.dockerfile, &input.context)
            .map_err(|(path, source)| FingerprintError::Ignore { path: path.display().to_string(), source })?
            .patterns,
        follow: wanted,
        never,
        includes: Vec::new(),
    };
    let root = context::open_root(input.context.as_path()).map_err(fail)?;
    let filter = Filter::new(root.as_fd(), &selection).map_err(fail)?;
    let mut cache = cache::Cache::load(cache_file.as_path());
    context::walk(root.as_fd(), &filter, &mut |entry| {
        let kind = entry.kind();
        let content = match kind {
            FileType::RegularFile => cache.hash_of(root.as_fd(), entry)?,
            FileType::Symlink => entry.link()?,
            _ => String::new(),
        };
        // The group's and others' rights count in a build as the owner's do.
        hash.field(entry.path, &format!("{kind:?} {:o} {content}", entry.stat.st_mode & 0o7777));
        Ok(())
    })
    .map_err(fail)?;
    cache.save(cache_file.as_path());
    Ok(())
}

/// Hashes named values so that no two lists of them give the same bytes.
struct Fields(Sha256);

impl Fields {
    fn field(&mut self, name: &str, value: &str) {
        for text in [name, value] {
            self.0.update((text.len() as u64).to_le_bytes());
            self.0.update(text.as_bytes());
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests;
