//! Whether the engine sees our files: asked, not assumed. A socket may lead to an engine that looks at another file
//! system (a container beside this one, a virtual machine) or that may not read what this user can.
//!
//! A container that was made and not started shows it: in the folder that it shares with us there has to be the word
//! that we put there, and its workspace has to have changed in the same moment as ours.

use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gpubay_protocol::agent::RUN_DIR;

use super::Workspace;
use crate::config::model::{Mount, MountSource};
use crate::engine::{EngineError, Moment};
use crate::error::Error;
use crate::{ContainerPath, HostPath};

const CODE: &str = "engine_sees_other_files";
/// The file with the word, in the folder that is shared.
const NONCE: &str = ".nonce";
/// How often a workspace is looked at again that changes meanwhile.
const LOOKS: u32 = 5;

/// Looks through the mounts of a container that was not started yet, with which `run` is shared.
///
/// # Errors
/// `engine_sees_other_files`, with the folder, the reason and what to do.
pub(super) async fn check(workspace: &Workspace, container: &str, run: &HostPath) -> Result<(), Error> {
    let word = format!("{}-{container}", std::process::id());
    let nonce = run.join(NONCE);
    // A link that somebody put there is replaced, not followed.
    let _ = std::fs::remove_file(nonce.as_path());
    let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(nonce.as_path());
    written
        .and_then(|mut file| io::Write::write_all(&mut file, word.as_bytes()))
        .map_err(super::delivery::at(nonce.as_path()))?;
    let inside = ContainerPath::new(format!("{RUN_DIR}/{NONCE}")).expect("a constant path");
    let found = workspace.engine.file(container, &inside, 4096).await;
    let _ = std::fs::remove_file(nonce.as_path());
    if found?.as_deref() != Some(word.as_bytes()) {
        return Err(explain(workspace, run, "what it shows there is another folder").await);
    }
    let ours = |path: &HostPath| std::fs::metadata(path.as_path()).ok().map(|found| moment(&found));
    let root = workspace.folder();
    for _ in 0..LOOKS {
        let before = ours(root);
        let theirs = workspace.engine.modified(container, &workspace.config().container.workdir).await?;
        if before != ours(root) {
            continue;
        }
        if before.is_some() && theirs != before {
            return Err(explain(workspace, root, "what it shows there is another folder").await);
        }
        break;
    }
    Ok(())
}

fn moment(found: &std::fs::Metadata) -> Moment {
    Moment { second: (found.mtime().rem_euclid(60)) as u8, nanosecond: found.mtime_nsec() as u32 }
}

/// A refusal of the engine that means that it does not see a source of a mount which is there for us.
pub(super) async fn refusal(workspace: &Workspace, error: EngineError, mounts: &[Mount]) -> Error {
    let said = error.to_string();
    let cannot_see = ["bind source path does not exist", "invalid mount config for type \"bind\"", "statfs /"];
    if cannot_see.iter().any(|words| said.contains(words)) {
        // The longest: a folder's own path may begin another's.
        let sources = mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Host(path) => Some(path),
            MountSource::Volume(_) | MountSource::Tmpfs => None,
        });
        let named = sources.filter(|path| said.contains(&path.to_string()) && path.as_path().exists());
        if let Some(path) = named.max_by_key(|path| path.to_string().len()) {
            return explain(workspace, path, &said).await;
        }
    }
    error.into()
}

/// What can be found out about why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    /// This process is in a container itself.
    contained: bool,
    /// The engine is the one of a snap, which sees no hidden folders of a home.
    snap: bool,
    nfs: bool,
    /// Of the folders that lead there, one that is closed to others than its owner, and whose it is.
    closed: Option<PathBuf>,
    /// The engine runs as an ordinary user.
    rootless: bool,
    /// It said that it may not.
    denied: bool,
}

async fn explain(workspace: &Workspace, path: &HostPath, said: &str) -> Error {
    let info = workspace.engine.info().await.ok();
    let facts = Facts {
        contained: Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists(),
        snap: Path::new("/var/snap/docker").exists(),
        nfs: rustix::fs::statfs(path.as_path()).is_ok_and(|found| found.f_type == rustix::fs::NFS_SUPER_MAGIC),
        closed: path.as_path().ancestors().filter(|folder| is_closed(folder)).last().map(Path::to_owned),
        rootless: info.is_some_and(|info| info.rootless),
        denied: said.contains("permission denied"),
    };
    let (why, next) = facts.cause(path.as_path(), workspace.config().paths.data.as_path());
    Error::new(CODE, format!("the engine at {} does not see {path}: {said}{why}", workspace.engine.located().endpoint))
        .with_hint(next)
}

fn is_closed(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o001 == 0)
}

impl Facts {
    /// The reason, behind what is known, and the next step.
    fn cause(&self, path: &Path, data: &Path) -> (String, String) {
        let hidden = path.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."));
        if let Some(folder) = self.closed.as_ref().filter(|_| self.rootless && self.denied) {
            return (
                format!("; {} is closed to the user whose engine it is", folder.display()),
                format!(
                    "Use the engine of the user whose folder it is, or open the way: `chmod o+x {}`.",
                    folder.display()
                ),
            );
        }
        if self.contained {
            return (
                "; this command runs in a container itself, and the engine outside has other files at the same path"
                    .to_owned(),
                format!(
                    "Run it on the engine's machine, or give this container the workspace and {} (or what [paths] data \
                     names) as mounts, each at the same path as outside: `-v /home/me:/home/me`.",
                    data.display()
                ),
            );
        }
        if self.snap && hidden {
            return (
                "; Docker from a snap sees no hidden folders".to_owned(),
                "Name a folder without a dot in [paths] data (and cache) of your own config.toml, or install Docker's own \
                 packages."
                    .to_owned(),
            );
        }
        if self.nfs {
            return (
                "; it lies on NFS, where root of this machine may be nobody (root_squash)".to_owned(),
                "Name a local folder in [paths] data of your own config.toml; a workspace on NFS has to be readable to \
                 others, or needs a rootless engine of yours."
                    .to_owned(),
            );
        }
        (
            String::new(),
            "The engine may run elsewhere (a virtual machine, another machine's socket): share the folder with it at the same \
             path, or run gpubay there."
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_next_step() {
        let data = Path::new("/home/me/.local/share/gpubay");
        let closed = Some(PathBuf::from("/home/me"));
        for (facts, words, next) in [
            (
                Facts { contained: true, snap: true, ..Facts::default() },
                "runs in a container itself",
                "/home/me:/home/me",
            ),
            (Facts { snap: true, ..Facts::default() }, "hidden folders", "[paths] data"),
            (Facts { nfs: true, ..Facts::default() }, "root_squash", "local folder"),
            (
                Facts { closed: closed.clone(), rootless: true, denied: true, contained: true, ..Facts::default() },
                "is closed to",
                "chmod o+x /home/me",
            ),
            (Facts { closed, ..Facts::default() }, "", "elsewhere"),
        ] {
            let (why, hint) = facts.cause(data, data);
            assert!(why.contains(words) && hint.contains(next), "{facts:?}: {why} {hint}");
        }
        let (why, _) = Facts { snap: true, ..Facts::default() }.cause(Path::new("/home/me/ws"), data);
        assert_eq!(why, "");
    }
}
