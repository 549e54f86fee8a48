//! `prune`: what nothing needs any more, how much it frees, and taking it away.
//!
//! **Architecture Invariant:** only below the user's own data and cache folders, and on the engine only what carries
//! our labels with this user's identity. In doubt it stays, and why is said. What a survey listed is looked at again,
//! under the lock of its workspace, before it is taken away: another process may have begun to use it.

mod free;
mod survey;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use crate::HostPath;
use crate::config::{Bare, LoadRequest};
use crate::engine::{Engine, Surroundings, endpoint};
use crate::error::Result;
use crate::mirror::Unreferenced;
use crate::progress::Progress;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Host copies of container folders that no workspace uses.
    Mirrors,
    /// Virtual environments of workspaces that are gone.
    Venvs,
    /// Images that were built for a workspace, and replaced since or left by it.
    Images,
    /// What was remembered of workspaces and images that are gone, folders of jobs that are gone, and agents of earlier
    /// versions.
    Records,
    /// What was left behind when a process was killed: half-made mirrors, helper containers, folders for records.
    Leftovers,
    /// Volumes of workspaces that are gone: what the user kept in them, so only where they are asked for by name.
    Volumes,
}

impl Kind {
    /// What is meant where none is named.
    pub const USUAL: [Self; 5] = [Self::Mirrors, Self::Venvs, Self::Images, Self::Records, Self::Leftovers];
}

/// One thing that can go.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Item {
    pub kind: Kind,
    /// A path, or the name of an image or container.
    pub name: String,
    /// Why nothing needs it.
    pub because: String,
    /// What it frees, as far as can be known.
    pub bytes: u64,
    pub removed: bool,
    #[serde(skip)]
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Mirror(Unreferenced),
    Stage(String),
    /// Below the data or the cache folder: names from there, all of one workspace.
    Folder {
        root: HostPath,
        names: Vec<String>,
        name: String,
        id8: String,
        gone: bool,
    },
    Image {
        id: String,
        tags: Vec<String>,
        id8: String,
    },
    Container {
        id: String,
        id8: String,
    },
    Volume {
        id8: String,
    },
    /// An agent of another version, below a folder that is shared with containers.
    Agent {
        root: HostPath,
        name: String,
    },
    /// What was remembered of an image.
    OfImage(String),
}

/// The answer of `prune`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PruneReport {
    pub items: Vec<Item>,
    /// Of the items that were removed, or would be.
    pub bytes: u64,
    pub dry_run: bool,
    /// What was left although it may be of no use, a sentence each.
    pub kept: Vec<String>,
}

/// Where is looked.
#[derive(Debug)]
pub struct Prune {
    bare: Bare,
    engine: Option<Engine>,
    kinds: BTreeSet<Kind>,
    uid: u32,
    progress: Progress,
}

impl Prune {
    /// Of this user, on the engine that they chose; without one, what needs none. Empty `kinds` are
    /// [`Kind::USUAL`].
    ///
    /// # Errors
    /// Where the user's own configuration cannot be read.
    pub async fn open(request: &LoadRequest<'_>, kinds: &[Kind], progress: Progress) -> Result<(Self, Vec<String>)> {
        let bare = crate::config::bare(request)?;
        let located = endpoint::locate(bare.host.as_deref(), &Surroundings::of_process());
        let connected = match located {
            Ok(located) => Engine::connect(located).await,
            Err(error) => Err(error),
        };
        let mut kept = Vec::new();
        let engine = match connected {
            Ok(engine) => Some(engine),
            Err(error) => {
                kept.push(format!("images, venvs and containers, since the engine cannot be asked: {error}"));
                None
            }
        };
        let kinds = if kinds.is_empty() { Kind::USUAL.as_slice() } else { kinds };
        Ok((Self { bare, engine, kinds: kinds.iter().copied().collect(), uid: request.uid, progress }, kept))
    }
}

/// Bytes on the disk below a path, each file once; nothing is followed.
fn bytes_below(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut seen = BTreeSet::new();
    let mut total = 0;
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(found) = path.symlink_metadata() else { continue };
        if found.nlink() > 1 && !found.is_dir() && !seen.insert((found.dev(), found.ino())) {
            continue;
        }
        total += found.blocks() * 512;
        if found.is_dir()
            && let Ok(entries) = std::fs::read_dir(&path)
        {
            open.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    total
}
