//! The mirror: host copies of what a language tool needs from the container's import roots.
//!
//! scan -> [`plan`] (pure) -> [`stage`] -> apply (one rename). A mirror in place is never written
//! again: a base per image, shared by all workspaces, and for a container that went its own way a
//! generation of its own, made of hard links and what changed. Nothing that a container says decides a
//! path by itself, symbolic links do not exist here, and everything is written relative to open
//! descriptors.

mod at;
mod base;
mod disk;
mod error;
mod link;
mod make;
mod manifest;
mod part;
mod plan;
mod pth;
mod source;
mod stage;
mod store;
mod sync;

#[cfg(test)]
mod tests;

/// Deletes `<root>/<below>/<name>` with everything in it and nothing else: no link on the way is followed, and none in it.
///
/// # Errors
/// With what could not be deleted; the rest is gone.
pub fn remove_below(root: &crate::HostPath, below: &str, name: &str) -> std::io::Result<()> {
    place_of(root, below, name)?.remove(name)
}

/// As [`remove_below`], but the folder itself stays, since it may be mounted.
///
/// # Errors
/// With what could not be deleted; the rest is gone.
pub fn empty_below(root: &crate::HostPath, below: &str, name: &str) -> std::io::Result<()> {
    match place_of(root, below, name)?.below(name.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        found => found?.clear(),
    }
}

fn place_of(root: &crate::HostPath, below: &str, name: &str) -> std::io::Result<disk::Folder> {
    let plain = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && !name.contains('/');
    if !plain {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it has no name of ours"));
    }
    disk::Folder::open(root.as_path())?.below(below.as_bytes())
}

pub use base::{Ahead, First, ensure_base, find_base};
pub use error::MirrorError;
pub use plan::Deletions;
pub use pth::rewrite_pth;
pub use source::{FileSink, Source, SourceError, Stopped};
pub use stage::Work;
pub use store::{BaseKey, Needed, Store, Unreferenced, Using};
pub use sync::{Synced, Tree, sync_workspace};
