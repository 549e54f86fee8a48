//! Which workspace a folder belongs to, where nobody names one: itself, or the nearest folder above that is one.
//!
//! A folder above decides what is built and run as this user, so it must be the user's own: nothing that others can write,
//! nothing of somebody else's, nothing beyond the user's home or on another file system.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::known;
use crate::HostPath;
use crate::config::{self, FILE_NAME, LoadRequest};

/// The folder above `request.workspace` whose workspace it belongs to; `None` where it is one itself, or no other is above.
pub fn enclosing(request: &LoadRequest<'_>) -> Option<PathBuf> {
    let start = request.workspace.canonicalize().ok()?;
    let home = request.home.canonicalize().unwrap_or_else(|_| request.home.clone());
    let bare = config::bare(request).ok();
    let is_known = |folder: &Path| {
        let folder = HostPath::new(folder.to_owned()).ok();
        bare.as_ref().zip(folder).is_some_and(|(bare, folder)| known::is_known(bare, &folder))
    };
    let found = nearest(&start, &home, request.uid, &is_known)?;
    (found != start).then_some(found)
}

fn nearest(start: &Path, home: &Path, uid: u32, is_known: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let device = start.metadata().ok()?.dev();
    let has_file = |folder: &Path| is_own(&folder.join(FILE_NAME), uid);
    // What could be a workspace without any configuration is taken in only by a folder that says so.
    let own = makes_an_image(start);
    for folder in start.ancestors() {
        let Ok(found) = folder.metadata() else { return None };
        let writable_by_all = found.mode() & 0o002 != 0;
        if found.dev() != device || found.uid() != uid || writable_by_all || folder.parent().is_none() {
            return None;
        }
        let (file, is_start) = (has_file(folder), folder == start);
        // What is in a home is not a part of it, as it is in a project's folder.
        let takes = |because: bool| because && (is_start || !own || names(folder, start));
        if takes(is_known(folder)) || if folder == home { takes(file) } else { file } {
            return Some(folder.to_owned());
        }
        if folder == home {
            return None;
        }
    }
    None
}

/// Whether it is there and of this user, whatever it leads to: reading it decides that.
fn is_own(file: &Path, uid: u32) -> bool {
    file.symlink_metadata().is_ok_and(|found| found.uid() == uid)
}

fn makes_an_image(folder: &Path) -> bool {
    let dockerfiles = HostPath::new(folder.to_owned()).map(|folder| config::candidates(&folder)).unwrap_or_default();
    !dockerfiles.is_empty() || folder.join("requirements.txt").is_file()
}

/// Whether the Dockerfile of `below` is one that `folder` finds by itself.
fn names(folder: &Path, below: &Path) -> bool {
    let Ok(folder) = HostPath::new(folder.to_owned()) else { return false };
    config::candidates(&folder).iter().any(|path| folder.as_path().join(path).parent() == Some(below))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Place {
        root: tempfile::TempDir,
        home: PathBuf,
        uid: u32,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a folder");
            let home = root.path().canonicalize().expect("there").join("home");
            std::fs::create_dir(&home).expect("made");
            let uid = rustix::process::getuid().as_raw();
            Self { root, home, uid }
        }

        fn folder(&self, path: &str) -> PathBuf {
            let folder = self.home.join(path);
            std::fs::create_dir_all(&folder).expect("made");
            folder
        }

        fn file(&self, path: &str) {
            let file = self.home.join(path);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(file, "").expect("written");
        }

        fn of(&self, start: &str, known: &[&str]) -> Option<String> {
            let known: Vec<PathBuf> = known.iter().map(|path| self.folder(path)).collect();
            let is_known = |folder: &Path| known.iter().any(|known| known == folder);
            let found = nearest(&self.folder(start), &self.home, self.uid, &is_known)?;
            Some(found.strip_prefix(&self.home).expect("in the home").to_str().expect("text").to_owned())
        }
    }

    #[test]
    fn the_nearest_folder_with_a_file_or_that_is_known() {
        let place = Place::new();
        place.file("a/gpubay.toml");
        place.file("a/b/c/gpubay.toml");
        for (start, known, want) in [
            ("a", &[][..], Some("a")),
            ("a/b", &[], Some("a")),
            ("a/b/c", &[], Some("a/b/c")),
            ("a/b/c/d/e", &[], Some("a/b/c")),
            ("a/b/x", &["a/b"], Some("a/b")),
            ("z/y", &["z"], Some("z")),
            ("z/y", &[], None),
        ] {
            assert_eq!(place.of(start, known).as_deref(), want, "{start} {known:?}");
        }
    }

    #[test]
    fn what_could_be_a_workspace_itself_belongs_to_one_that_says_so() {
        let place = Place::new();
        place.file("plain/Dockerfile");
        place.file("plain/sub/Dockerfile");
        place.file("plain/docker/one/x");
        place.file("said/gpubay.toml");
        place.file("said/docker/nvc/Dockerfile");
        place.file("several/docker/a/Dockerfile");
        place.file("several/docker/b/Dockerfile");
        // A Dockerfile that the workspace above names by its place is that one's.
        assert_eq!(place.of("said/docker/nvc", &[]).as_deref(), Some("said"));
        assert_eq!(place.of("several/docker/a", &["several"]).as_deref(), Some("several"));
        assert_eq!(place.of("plain/sub", &["plain"]), None);
        assert_eq!(place.of("plain/docker/one", &["plain"]).as_deref(), Some("plain"));
    }

    #[test]
    fn a_home_takes_only_what_is_nothing_by_itself_and_nothing_is_above_it() {
        let place = Place::new();
        place.file("gpubay.toml");
        place.file("project/Dockerfile");
        std::fs::write(place.root.path().join("gpubay.toml"), "").expect("written");
        assert_eq!(place.of("folder", &[]).as_deref(), Some(""));
        assert_eq!(place.of("project", &[]), None);
        std::fs::remove_file(place.home.join("gpubay.toml")).expect("removed");
        assert_eq!(place.of("folder", &[]), None);
    }

    /// As `/tmp` is: whoever can write there must not decide what others run.
    #[test]
    fn a_folder_that_others_can_write_says_nothing() {
        let place = Place::new();
        place.file("open/gpubay.toml");
        place.folder("open/mine");
        std::fs::set_permissions(place.home.join("open"), Permissions::from_mode(0o1777)).expect("opened");
        assert_eq!(place.of("open/mine", &["open"]), None);
        std::fs::set_permissions(place.home.join("open"), Permissions::from_mode(0o775)).expect("closed");
        assert_eq!(place.of("open/mine", &[]).as_deref(), Some("open"));
    }

    #[test]
    fn a_folder_or_file_of_somebody_else_says_nothing() {
        let mut place = Place::new();
        place.file("theirs/gpubay.toml");
        place.folder("theirs/mine");
        assert_eq!(place.of("theirs/mine", &[]).as_deref(), Some("theirs"));
        place.uid += 1;
        assert_eq!(place.of("theirs/mine", &["theirs"]), None);
        assert!(!is_own(&place.home.join("theirs/gpubay.toml"), place.uid));
        assert!(is_own(&place.home.join("theirs/gpubay.toml"), place.uid - 1));
    }
}
