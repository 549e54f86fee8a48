//! Another folder in place of a data folder that the engine does not see.
//!
//! **Architecture Invariant:** a folder is made only where the user's own account may, closed to everybody else, and
//! what is made to be tried is written down before: whoever dies over it has the next one take it away again. A folder
//! that is there and was not made here is not used.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use super::remembered::{self, Remembered};
use super::{MOVED, Problem, is_about_a_source, unseen};
use crate::config::MACHINE_ID;
use crate::config::model::{Mount, MountSource};
use crate::engine::EngineError;
use crate::error::{Error, Result};
use crate::workspace::{Workspace, known, labels, python};
use crate::{ContainerPath, HostPath};

/// What the folder is called in a home or beside a workspace.
const NAME: &str = "gpubay-data";
/// The file that tells a folder of ours from one that somebody else has given that name.
const ABOUT: &str = "README.txt";
const ABOUT_BEGINS: &str = "GPU Bay keeps its data here";
/// Where a folder is mounted to be tried.
const PROBE: &str = "/gpubay-probe";

/// Finds another folder where it is ours that is not seen.
///
/// Returns the error that a workflow ends with: [`MOVED`] where planning anew helps.
pub(in crate::workspace) async fn settle(workspace: &Workspace, image: &str, problem: Problem) -> Error {
    let (path, error) = match problem {
        Problem::Unseen { path, error } => (path, error),
        Problem::Other(error) => return error,
    };
    let shared = workspace.shared();
    // A folder of the user's is what it is; and another machine has none of ours.
    if !path.as_path().starts_with(shared.as_path()) || !workspace.engine.is_local() {
        return error;
    }
    match switch(workspace, image, &shared, &error).await {
        Ok(Found::Folder) => Error::new(MOVED, "another folder is shared with the engine now"),
        Ok(Found::Nothing(tried)) => {
            let message = format!("{}\nNo other folder will do:{tried}", error.message);
            Error { message, ..error }
        }
        Err(error) => error,
    }
}

enum Found {
    Folder,
    /// What was tried, a line each.
    Nothing(String),
}

async fn switch(workspace: &Workspace, image: &str, shared: &HostPath, why: &Error) -> Result<Found> {
    let (state, place) = (&workspace.loaded.state, workspace.place.as_str());
    let data = &workspace.config().paths.data;
    let step = workspace.progress.step("Looking for a folder that the engine sees");
    clean_up(workspace).await?;
    // Without the workspace nothing helps, and nothing is made.
    if let Some(said) = not_seen(workspace, image, workspace.folder()).await? {
        return Err(super::explained(&workspace.engine, workspace.folder(), data, &said).await);
    }
    let mut tried = String::new();
    for Candidate { folder, because } in candidates(workspace, shared) {
        workspace.progress.check()?;
        let is_data = folder == *data;
        let fresh = match usable(workspace, folder.as_path(), is_data).await {
            Ok(there) => !there,
            Err(why) => {
                tried.push_str(&format!("\n  {folder}: {why}"));
                continue;
            }
        };
        if fresh {
            let trying = Remembered { data: data.clone(), folder: None, trying: Some(folder.clone()) };
            remembered::write(state, place, &trying);
        }
        let seen = async {
            if fresh {
                std::fs::DirBuilder::new()
                    .mode(0o700)
                    .create(folder.as_path())
                    .map_err(super::delivery::at(folder.as_path()))?;
            }
            workspace.reach("data.made")?;
            not_seen(workspace, image, &folder).await
        };
        let said = match seen.await {
            Ok(None) => {
                step.done();
                // Before it is so: whoever dies in between has it said again, not never.
                announce(workspace, shared, &folder, because, why);
                choose(workspace, &folder, is_data)?;
                workspace.reach("data.chosen")?;
                return Ok(Found::Folder);
            }
            Ok(Some(said)) => said,
            // That it cannot be made there is no reason to give up.
            Err(error) if error.code != "cancelled" && error.code != "failpoint" => error.message,
            Err(error) => {
                if fresh {
                    take_back(&folder);
                }
                remembered::forget(state, place);
                return Err(error);
            }
        };
        if fresh {
            take_back(&folder);
        }
        tried.push_str(&format!("\n  {folder}: {said}"));
    }
    remembered::forget(state, place);
    Ok(Found::Nothing(tried))
}

/// What a process left that died in the middle of this.
async fn clean_up(workspace: &Workspace) -> Result<()> {
    workspace.remove_stale_helpers().await?;
    let found = remembered::read(&workspace.loaded.state, &workspace.place);
    if let Some(folder) = found.and_then(|found| found.trying) {
        take_back(&folder);
    }
    Ok(())
}

/// Removes a folder that was made to be tried, unless something is in it by now.
fn take_back(folder: &HostPath) {
    if is_private(folder.as_path()) {
        super::forget_nonces(folder.as_path());
        let _ = std::fs::remove_dir(folder.as_path());
    }
}

/// Removes what we made of a folder that took a data folder's place, once nothing refers to it; with anything else in
/// it, it stays.
pub(in crate::workspace) fn leave(folder: &HostPath) {
    if !is_private(folder.as_path()) || !is_ours(folder.as_path()) {
        return;
    }
    for name in std::fs::read_dir(folder.join("agent").as_path()).into_iter().flatten().flatten() {
        let _ = crate::mirror::remove_below(folder, "agent", &name.file_name().to_string_lossy());
    }
    for empty in ["agent", "cover", "etc", "jobs", "run", "venvs"] {
        let _ = std::fs::remove_dir(folder.join(empty).as_path());
    }
    // Last, since it tells that the folder is ours.
    let left = |path: &HostPath| std::fs::read_dir(path.as_path()).map_or(0, Iterator::count);
    let ours = [ABOUT, MACHINE_ID].map(|name| folder.join(name));
    if left(folder) == ours.iter().filter(|file| file.as_path().exists()).count() {
        for file in &ours {
            let _ = std::fs::remove_file(file.as_path());
        }
        let _ = std::fs::remove_dir(folder.as_path());
    }
}

fn choose(workspace: &Workspace, folder: &HostPath, is_data: bool) -> Result<()> {
    let (state, place) = (&workspace.loaded.state, workspace.place.as_str());
    let data = workspace.config().paths.data.clone();
    if is_data {
        remembered::forget(state, place);
    } else {
        let about = format!(
            "{ABOUT_BEGINS} (virtual environments, sockets, records of jobs), since an engine does not see\n{data}.\n\
             `gpubay prune` frees what nothing needs any more. To have another folder, name it in\n\
             ~/.config/gpubay/config.toml:\n\n[paths]\ndata = \"/another/folder\"\n"
        );
        let file = folder.join(ABOUT);
        if !file.as_path().exists() {
            std::fs::write(file.as_path(), about).map_err(super::delivery::at(file.as_path()))?;
        }
        // Who names this folder in [paths] data stays who they are, also on a machine without an id of its own.
        let id = |folder: &HostPath| folder.join(MACHINE_ID);
        if !id(folder).as_path().exists() {
            let _ = std::fs::copy(id(state).as_path(), id(folder).as_path());
        }
        remembered::write(state, place, &Remembered { data, folder: Some(folder.clone()), trying: None });
    }
    workspace.share(folder.clone());
    known::remember(workspace, None);
    // What it says of the venv is of the other folder.
    python::forget(workspace);
    Ok(())
}

fn announce(workspace: &Workspace, before: &HostPath, folder: &HostPath, because: &str, why: &Error) {
    let mut text = format!(
        "{}; virtual environments and sockets lie in {folder} from now on ({because}). To have another folder, write \
         `[paths]` and `data = \"/another/folder\"` into {}",
        why.message,
        workspace.loaded.user_folder.join("config.toml"),
    );
    if before.join("venvs").join(&workspace.place).as_path().read_dir().is_ok_and(|mut there| there.next().is_some()) {
        text.push_str(&format!(". What was installed into the environment in {before} stays there; a new one is made"));
    }
    workspace.progress.note(text);
}

struct Candidate {
    folder: HostPath,
    because: &'static str,
}

/// In this order: what is configured, should it be seen again; the home, where the user finds it and no other user is,
/// one for all workspaces (Docker from a snap sees all but hidden folders there); beside the workspace, whose disk the
/// engine sees (a home on NFS, a container that was given the workspace's parent only); and /var/tmp, which is local
/// everywhere, and cleaned now and then.
fn candidates(workspace: &Workspace, shared: &HostPath) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |folder: PathBuf, because| {
        // By its real name: an engine may know nothing of the link.
        let Some((parent, name)) = folder.parent().zip(folder.file_name()) else { return };
        let Ok(parent) = parent.canonicalize() else { return };
        let Ok(folder) = HostPath::new(parent.join(name)) else { return };
        if folder != *shared && found.iter().all(|other| other.folder != folder) {
            found.push(Candidate { folder, because });
        }
    };
    let data = workspace.config().paths.data.as_path();
    if data.is_dir() {
        add(data.to_owned(), "as configured");
    }
    add(workspace.loaded.home.as_path().join(NAME), "a new folder in your home");
    if let Some(parent) = workspace.folder().as_path().parent() {
        add(parent.join(NAME), "a new folder beside the workspace");
    }
    let uid = workspace.host.uid;
    add(
        format!("/var/tmp/gpubay-{uid}").into(),
        "the machine may clear /var/tmp of what is old: then the next `gpubay up` makes the environment again",
    );
    found
}

/// Whether the folder is there and can be used; an error where it cannot be, or must not be made.
async fn usable(workspace: &Workspace, folder: &Path, is_data: bool) -> Result<bool, String> {
    if is_data {
        return Ok(true);
    }
    let parent = folder.parent().unwrap_or(Path::new("/"));
    is_safe_to_make_in(parent)?;
    // Its programs are run inside of containers, and its sockets are the way into them: a container that has this
    // folder already would have both.
    let owner = workspace.host.uid.to_string();
    let ours = workspace.engine.list(&[(labels::ID, ""), (labels::OWNER, &owner)]).await;
    for container in ours.map_err(|error| error.to_string())? {
        let mut sources = container.mounts.iter().filter_map(|mount| mount.source.as_deref());
        if sources.any(|source| folder.starts_with(source)) {
            return Err(format!("the container {} mounts what it lies in", container.name));
        }
    }
    if folder.starts_with(workspace.folder().as_path()) {
        return Err("it lies in the workspace".to_owned());
    }
    match folder.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.to_string()),
        Ok(_) if !is_private(folder) => Err("it is there, and not a folder that only you may enter".to_owned()),
        Ok(_) if is_ours(folder) => Ok(true),
        Ok(_) => Err("it is there, and GPU Bay has not made it".to_owned()),
    }
}

/// A real folder of this user's, closed to everybody else.
pub(super) fn is_private(folder: &Path) -> bool {
    let own = rustix::process::getuid().as_raw();
    folder.symlink_metadata().is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o777 == 0o700)
}

fn is_ours(folder: &Path) -> bool {
    crate::files::read(&folder.join(ABOUT), crate::files::SMALL)
        .is_ok_and(|text| text.starts_with(ABOUT_BEGINS.as_bytes()))
}

/// Where nobody else can put another folder in the place of one that is made there, and programs may run.
fn is_safe_to_make_in(parent: &Path) -> Result<(), String> {
    let found = parent.metadata().map_err(|error| error.to_string())?;
    let own = rustix::process::getuid().as_raw();
    let sticky = found.mode() & 0o1000 != 0;
    if ![0, own].contains(&found.uid()) || found.mode() & 0o022 != 0 && !sticky {
        return Err(format!("others may rename what is in {}", parent.display()));
    }
    let flags = rustix::fs::statvfs(parent).map_err(|error| error.to_string())?.f_flag;
    if flags.contains(StatVfsMountFlags::NOEXEC) {
        return Err("no program runs from that file system (noexec)".to_owned());
    }
    Ok(())
}

/// What the engine says of a folder that it does not see, tried with a container that never runs.
async fn not_seen(workspace: &Workspace, image: &str, folder: &HostPath) -> Result<Option<String>> {
    let inside = ContainerPath::new(PROBE).expect("a constant path");
    let mut spec = workspace.helper_spec(image);
    spec.mounts = vec![Mount { source: MountSource::Host(folder.clone()), target: inside.clone(), read_only: true }];
    let id = match workspace.engine.create(&spec).await {
        Ok(id) => id,
        Err(EngineError::Refused { message, .. }) if is_about_a_source(&message) => return Ok(Some(message)),
        Err(error) => return Err(error.into()),
    };
    let asked = async {
        workspace.reach("data.probe")?;
        if folder == workspace.folder() {
            return super::same_moment(&workspace.engine, &id, folder, &inside).await;
        }
        unseen(&workspace.engine, &id, folder, &inside).await
    }
    .await;
    workspace.engine.remove(&id).await?;
    Ok(asked?.map(|said| said.unwrap_or_else(|| super::ANOTHER.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_a_closed_folder_of_this_user_is_one_to_use() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("gpubay-data");
        assert!(!is_private(&folder));
        std::fs::create_dir(&folder).expect("made");
        let mode = |mode| std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).expect("set");
        mode(0o755);
        assert!(!is_private(&folder));
        mode(0o700);
        assert!(is_private(&folder) && !is_ours(&folder));
        std::fs::write(folder.join(ABOUT), "GPU Bay, a clone of its sources\n").expect("written");
        assert!(!is_ours(&folder));
        std::fs::write(folder.join(ABOUT), format!("{ABOUT_BEGINS} (…)\n")).expect("written");
        assert!(is_ours(&folder));
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).expect("linked");
        assert!(!is_private(&link));
    }

    #[test]
    fn no_folder_is_made_where_somebody_else_could_exchange_it() {
        let place = tempfile::tempdir().expect("a folder");
        let mode = |mode| std::fs::set_permissions(place.path(), PermissionsExt::from_mode(mode)).expect("set");
        for (bits, safe) in [(0o755, true), (0o775, false), (0o777, false), (0o1777, true)] {
            mode(bits);
            assert_eq!(is_safe_to_make_in(place.path()).is_ok(), safe, "{bits:o}");
        }
    }

    #[test]
    fn a_folder_that_was_tried_goes_again_unless_something_is_in_it() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = HostPath::new(place.path().join("tried")).expect("absolute");
        std::fs::DirBuilder::new().mode(0o700).create(folder.as_path()).expect("made");
        std::fs::write(folder.join(".nonce-1").as_path(), "").expect("written");
        std::fs::write(folder.join("of-the-user").as_path(), "").expect("written");
        take_back(&folder);
        assert!(folder.join("of-the-user").as_path().exists());
        std::fs::remove_file(folder.join("of-the-user").as_path()).expect("removed");
        take_back(&folder);
        assert!(!folder.as_path().exists());
    }
}
