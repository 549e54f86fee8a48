//! Which distributions there are, by the names of their folders: nothing of them is opened.

use std::collections::BTreeMap;
use std::path::Path;

use crate::HostPath;
use crate::engine::Image;
use crate::workspace::Workspace;

const MOST: usize = 20_000;

/// Where the image's distributions are remembered once its Python was asked.
pub(in crate::workspace) fn of_image(workspace: &Workspace, image: &Image) -> HostPath {
    workspace.image_cache(image).join("packages.json")
}

/// Of the venv whose host side this is. A container wrote it.
pub(super) fn of_venv(venv: &Path) -> BTreeMap<String, String> {
    let below = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().take(MOST);
    let mut found = BTreeMap::new();
    for python in below(&venv.join("lib")) {
        for entry in below(&python.path().join("site-packages")) {
            let name = entry.file_name();
            let plain = |text: &&str| !text.chars().any(char::is_control) && text.len() < 300;
            let Some(stem) = name.to_str().filter(plain).and_then(|name| name.strip_suffix(".dist-info")) else {
                continue;
            };
            if let Some((name, version)) = stem.split_once('-') {
                found.insert(name.to_owned(), version.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_are_enough() {
        let venv = tempfile::tempdir().expect("a folder");
        let site = venv.path().join("lib/python3.12/site-packages");
        for name in ["torch-2.9.0+cu126.dist-info", "numpy", "odd.dist-info", "a_b-1.dist-info"] {
            std::fs::create_dir_all(site.join(name)).expect("made");
        }
        let found: Vec<(String, String)> = of_venv(venv.path()).into_iter().collect();
        let want = [("a_b", "1"), ("torch", "2.9.0+cu126")].map(|(name, version)| (name.into(), version.into()));
        assert_eq!(found, want);
        assert_eq!(of_venv(Path::new("/nonexistent")), BTreeMap::new());
    }
}
