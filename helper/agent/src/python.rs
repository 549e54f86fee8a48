//! Which Python interpreters the image has.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use gpubay_protocol::agent::{Closed, FindPythonRequest, Pythons};
use gpubay_protocol::paths::ContainerPath;

use crate::environment::{Variables, is_program, search_path};

/// In the order of preference: `PATH` first, then the places; one interpreter under its first name.
pub(crate) fn find(request: &FindPythonRequest, variables: &Variables) -> Pythons {
    let places = request.places.iter().flat_map(|place| expand(place));
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for folder in search_path(variables).chain(places) {
        for path in interpreters(&folder) {
            // A venv's python resolves to the base interpreter's file and yet is another Python.
            let venv = folder.parent().filter(|root| root.join("pyvenv.cfg").is_file()).map(Path::to_path_buf);
            let Ok(real) = std::fs::canonicalize(&path) else { continue };
            let Some(name) = path.to_str().and_then(|path| ContainerPath::new(path).ok()) else { continue };
            if seen.insert((real, venv)) {
                found.push(name);
            }
        }
    }
    Pythons { found, closed: search_path(variables).filter_map(|folder| closed(&folder)).collect() }
}

/// Images made for root name folders in `PATH` that nobody else may enter: what lies there is not found, and nothing says why.
fn closed(folder: &Path) -> Option<Closed> {
    let refused = |path: &Path| match rustix::fs::access(path, rustix::fs::Access::EXEC_OK) {
        Err(rustix::io::Errno::ACCESS) => true,
        // Root may enter everything, and a folder that is not there is no riddle.
        _ => false,
    };
    if !folder.is_absolute() || !refused(folder) {
        return None;
    }
    let name = |path: &Path| path.to_str().and_then(|path| ContainerPath::new(path).ok());
    let mut way: Vec<&Path> = folder.ancestors().collect();
    way.reverse();
    let barrier = way.into_iter().find(|above| refused(above)).unwrap_or(folder);
    Some(Closed { folder: name(folder)?, barrier: name(barrier)? })
}

/// `python3`, `python`, then `python3.X` with the newest first.
fn interpreters(folder: &Path) -> Vec<PathBuf> {
    if !folder.is_absolute() {
        return Vec::new();
    }
    let mut versions: Vec<u32> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix("python3.")?.to_owned();
            version.bytes().all(|b| b.is_ascii_digit()).then(|| version.parse().ok())?
        })
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    ["python3".to_owned(), "python".to_owned()]
        .into_iter()
        .chain(versions.into_iter().map(|minor| format!("python3.{minor}")))
        .map(|name| folder.join(name))
        .filter(|path| is_program(path))
        .collect()
}

/// A place with `*` as one whole component stands for every folder there, sorted by name.
fn expand(place: &str) -> Vec<PathBuf> {
    let Some((before, after)) = place.split_once("/*/") else { return vec![PathBuf::from(place)] };
    let mut folders: Vec<PathBuf> = std::fs::read_dir(if before.is_empty() { "/" } else { before })
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join(after))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn program(path: &Path) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, "").expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("set");
    }

    #[test]
    fn path_order_then_places_each_once() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        program(&at("bin/python3.9"));
        program(&at("bin/python3.12"));
        symlink("python3.12", at("bin/python3")).expect("linked");
        symlink("/nonexistent", at("bin/python")).expect("linked");
        program(&at("envs/b/bin/python"));
        program(&at("envs/a/bin/python3"));
        std::fs::create_dir_all(at("envs/c/bin/python3")).expect("made");
        std::fs::create_dir_all(at("envs/d/bin")).expect("made");
        std::fs::write(at("envs/d/bin/python3"), "not executable").expect("written");
        std::fs::create_dir_all(at("venv/bin")).expect("made");
        std::fs::write(at("venv/pyvenv.cfg"), "").expect("written");
        symlink(at("bin/python3.12"), at("venv/bin/python")).expect("linked");
        let variables = Variables::from([("PATH".into(), at("bin").into())]);
        let request = FindPythonRequest {
            places: vec![format!("{}/envs/*/bin", root.path().display()), at("venv/bin").display().to_string()],
        };
        let found: Vec<String> = find(&request, &variables)
            .found
            .into_iter()
            .map(|p| p.as_str().strip_prefix(root.path().to_str().expect("text")).expect("below").to_owned())
            .collect();
        assert_eq!(
            found,
            ["/bin/python3", "/bin/python3.9", "/envs/a/bin/python3", "/envs/b/bin/python", "/venv/bin/python"]
        );
    }
}
