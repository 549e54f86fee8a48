//! The mirror: host copies of what a language tool needs from the container's import roots.
//!
//! scan -> [`plan`] (pure) -> [`stage`] -> apply (one rename). A mirror in place is never written
//! again: a base per image, shared by all workspaces, and for a container that went its own way a
//! generation of its own, made of hard links and what changed. Nothing that a container says decides a
//! path by itself, symbolic links do not exist here, and everything is written relative to open
//! descriptors.

mod disk;
mod error;
mod manifest;
mod plan;
mod pth;
mod source;
mod stage;
mod store;
mod sync;

#[cfg(test)]
mod tests;

pub use error::MirrorError;
pub use plan::Deletions;
pub use pth::rewrite_pth;
pub use source::{FileSink, Source, SourceError, Stopped};
pub use store::{BaseKey, Store, Unreferenced};
pub use sync::{Synced, Tree, ensure_base, find_base, sync_workspace};
