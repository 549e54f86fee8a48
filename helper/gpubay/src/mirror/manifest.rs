//! What a finished mirror says of itself: a small header, read always, and the list of its files,
//! read only when the container has changed.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::disk::Folder;
use super::plan::Kept;
use crate::ContainerPath;

/// Raised with every change of layout, contents or manifest; older mirrors are then made again.
pub(super) const FORMAT: u32 = 2;

pub(super) const HEADER: &str = "header.json";
pub(super) const MANIFEST: &str = "manifest";
pub(super) const TREE: &str = "tree";
/// Its presence says that everything in the mirror has reached the disk.
pub(super) const SYNCED: &str = "synced";

const HEADER_LIMIT: u64 = 1 << 20;
const MANIFEST_LIMIT: u64 = 2 << 30;

/// Where the files of a generation are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Files {
    /// In its own `tree` folder.
    Here,
    /// The container is again as its image: in the base.
    InBase,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: u32,
    /// Key of the base that it is, or goes back to.
    pub(super) base: String,
    pub(super) files_are: Files,
    /// Fingerprint of roots and exclusions: a digest means nothing without it.
    pub(super) scope: String,
    /// The scan's own digest.
    pub(super) digest: [u8; 32],
    pub(super) roots: Vec<RootCount>,
    pub(super) left_out: u32,
    pub(super) manifest_digest: [u8; 32],
    pub(super) manifest_bytes: u64,
    /// The boot in which it was written. A crash of the *machine* can lose what was not yet on the
    /// disk; waiting for the disk would make every first `up` slower instead.
    pub(super) boot: String,
    /// The first part of a base that is still being made: of what it lists it has all, and the image has more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) part: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RootCount {
    pub(super) path: ContainerPath,
    pub(super) files: u32,
    pub(super) bytes: u64,
    pub(super) missing: bool,
}

/// Empty where it cannot be known.
pub(super) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

pub(super) fn encode(kept: &[Kept]) -> (Vec<u8>, [u8; 32]) {
    let bytes = postcard::to_stdvec(kept).unwrap_or_default();
    let digest = Sha256::digest(&bytes).into();
    (bytes, digest)
}

/// The header of a mirror that is whole, as far as can be told without reading it all. `None` for
/// anything else: a mirror that cannot be believed is made again.
pub(super) fn header(generation: &Folder) -> Option<Header> {
    let header: Header = serde_json::from_slice(&generation.read(HEADER, HEADER_LIMIT).ok()?).ok()?;
    if header.format != FORMAT {
        return None;
    }
    let safe = generation.exists(SYNCED) || (!header.boot.is_empty() && header.boot == boot());
    if !safe {
        return None;
    }
    if header.files_are == Files::Here {
        let tree = generation.below(TREE.as_bytes()).ok()?;
        for root in &header.roots {
            tree.below(root.path.as_str().as_bytes()).ok()?;
        }
    }
    Some(header)
}

/// The list of files, or `None` where it is damaged.
pub(super) fn load(generation: &Folder, header: &Header) -> Option<Vec<Kept>> {
    let bytes = generation.read(MANIFEST, MANIFEST_LIMIT).ok()?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    if digest != header.manifest_digest || bytes.len() as u64 != header.manifest_bytes {
        return None;
    }
    postcard::from_bytes(&bytes).ok()
}
