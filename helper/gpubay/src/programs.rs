//! Programs of this machine that we run for the user: found on `PATH`, never in a folder that a container writes; and
//! whether we are such a program in a container ourselves.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The first program of that name on the `PATH` given. What lies in `workspace` is left out: a container can write
/// there, and what it wrote must not be run here. So is a relative entry.
pub fn find(name: &str, path: &OsStr, workspace: &Path) -> Option<PathBuf> {
    let runs = |program: &Path| {
        std::fs::metadata(program).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .filter(|program| runs(program))
        .find(|program| program.canonicalize().is_ok_and(|real| !real.starts_with(workspace)))
}

/// Whether this process runs in a container that we made: its agent's folder is there.
pub fn in_a_container_of_ours() -> bool {
    Path::new(gpubay_protocol::agent::AGENT_PATH).exists() && Path::new(gpubay_protocol::agent::RUN_DIR).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_from_outside_of_the_workspace_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("canonical");
        let workspace = root.join("ws");
        for (place, mode) in [("ws", 0o755), ("dull", 0o644), ("bin", 0o755)] {
            std::fs::create_dir(root.join(place)).expect("made");
            std::fs::write(root.join(place).join("tool"), "").expect("written");
            std::fs::set_permissions(root.join(place).join("tool"), PermissionsExt::from_mode(mode)).expect("set");
        }
        std::fs::create_dir(root.join("linked")).expect("made");
        std::os::unix::fs::symlink(workspace.join("tool"), root.join("linked/tool")).expect("linked");
        let path = |places: &[&str]| std::env::join_paths(places.iter().map(|place| root.join(place))).expect("a PATH");
        let found = find("tool", &path(&["ws", "linked", "dull", "bin"]), &workspace);
        assert_eq!(found, Some(root.join("bin/tool")));
        assert_eq!(find("tool", &path(&["ws", "dull", "linked"]), &workspace), None);
        assert_eq!(find("sh", OsStr::new("bin:.:"), &workspace), None);
    }
}
