//! Which folder is shared with the engine in place of the data folder: one small file for each workspace and engine,
//! in the user's own state. Without it the data folder is tried, and the next one found again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::HostPath;
use crate::workspace::write_cache;

/// Below the state; the files are named after workspace and engine, as the folders of what they share are.
const FOLDER: &str = "visible";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// What is configured, which the engine does not see. With another one all of this is void.
    pub(super) data: HostPath,
    /// What is used in its place.
    pub(super) folder: Option<HostPath>,
    /// A folder that was about to be made to be tried: taken away again where a process died over it.
    #[serde(default)]
    pub(super) trying: Option<HostPath>,
}

pub(super) fn file(state: &HostPath, place: &str) -> HostPath {
    state.join(FOLDER).join(place)
}

pub(super) fn read(state: &HostPath, place: &str) -> Option<Remembered> {
    read_file(file(state, place).as_path())
}

fn read_file(path: &Path) -> Option<Remembered> {
    serde_json::from_slice(&crate::files::read(path, crate::files::SMALL).ok()?).ok()
}

pub(super) fn write(state: &HostPath, place: &str, remembered: &Remembered) {
    write_cache(&file(state, place), remembered);
}

/// Of a workspace that is gone, on every engine.
pub(in crate::workspace) fn forget_all(state: &HostPath, id8: &str) {
    for entry in std::fs::read_dir(state.join(FOLDER).as_path()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&format!("{id8}-")) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

pub(super) fn forget(state: &HostPath, place: &str) {
    let _ = std::fs::remove_file(file(state, place).as_path());
}

/// What workspace and engine share: the data folder, unless another one was found to be seen.
pub(in crate::workspace) fn shared(state: &HostPath, place: &str, data: &HostPath) -> HostPath {
    let found = read(state, place).filter(|found| found.data == *data).and_then(|found| found.folder);
    // Somebody else's folder at that path is not ours to use.
    found.filter(|folder| super::switch::is_private(folder.as_path())).unwrap_or_else(|| data.clone())
}

/// All folders that are used in place of a data folder, whichever workspace it is.
pub(in crate::workspace) fn all(state: &HostPath) -> Vec<HostPath> {
    let Ok(entries) = std::fs::read_dir(state.join(FOLDER).as_path()) else { return Vec::new() };
    let mut folders: Vec<HostPath> = entries.flatten().filter_map(|entry| read_file(&entry.path())?.folder).collect();
    folders.retain(|folder| super::switch::is_private(folder.as_path()));
    folders.sort_by(|a, b| a.as_path().cmp(b.as_path()));
    folders.dedup();
    folders
}
