//! What lies in a workspace already, of the kinds that decide what is written.

use std::collections::VecDeque;
use std::path::Path;

use super::{dockerfile, relative};

/// What was found, as far as it was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Python code of the user's own.
    pub(super) python: bool,
    /// A Dockerfile that `gpubay init` did not write, relative to the workspace.
    pub(super) dockerfile: Option<String>,
}

/// Not in hidden folders, where environments are, and not forever.
pub(super) fn survey(root: &Path) -> Survey {
    const DEPTH: usize = 4;
    const ENTRIES: usize = 20_000;
    let mut survey = Survey::default();
    let mut folders = VecDeque::from([(root.to_path_buf(), 0)]);
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop_front() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            // Whoever has so many files does not begin.
            if seen > ENTRIES {
                survey.python = true;
                return survey;
            }
            let name = entry.file_name();
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() {
                let hidden = name.as_encoded_bytes().starts_with(b".");
                if hidden || depth == DEPTH || path.join("pyvenv.cfg").exists() {
                    continue;
                }
                // Where Dockerfiles are, before folders that are full of data.
                if name == "docker" {
                    folders.push_front((path, depth + 1));
                } else {
                    folders.push_back((path, depth + 1));
                }
                continue;
            }
            survey.python |= kind.is_file() && path.extension().is_some_and(|end| end == "py" || end == "ipynb");
            if survey.dockerfile.is_none() && names_a_dockerfile(&name.to_string_lossy()) && !ours(&path) {
                survey.dockerfile = Some(relative(&path, root));
            }
        }
    }
    survey
}

fn names_a_dockerfile(name: &str) -> bool {
    let name = name.to_lowercase();
    let known = matches!(name.as_str(), "dockerfile" | "containerfile");
    known || (name.starts_with("dockerfile.") && !name.ends_with(".dockerignore")) || name.ends_with(".dockerfile")
}

/// A Dockerfile that `gpubay init` wrote, and that copies what it wrote beside it.
pub(super) fn ours(path: &Path) -> bool {
    crate::files::read(path, crate::files::SMALL).is_ok_and(|text| text.starts_with(dockerfile::MARK.as_bytes()))
}
