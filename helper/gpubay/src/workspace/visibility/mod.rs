//! Whether the engine sees our files: asked, not assumed. A socket may lead to an engine that looks at another file
//! system (a container beside this one, a virtual machine) or that may not read what this user can.
//!
//! A container that is made and does not run yet shows it: in the folder that it shares with us there has to be the
//! file that we put there, and its workspace has to have changed in the same moment as ours. Whoever is about to start
//! a container asks [`check`]; where our data folder is what is not seen, [`settle`] finds another one.

mod examine;
mod remembered;
mod switch;

use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gpubay_protocol::agent::RUN_DIR;

use super::{Workspace, delivery, unique};
use crate::config::model::MountSource;
use crate::engine::{CreateSpec, Engine, EngineError, Moment};
use crate::error::Error;
use crate::{ContainerPath, HostPath};

pub(super) use examine::{Sight, Subject, examine};
pub(super) use remembered::{all, forget_all, shared};
pub(super) use switch::{leave, settle};

const CODE: &str = "engine_sees_other_files";
/// The code of the error that says: another folder is shared with the engine by now, so plan anew.
pub(super) const MOVED: &str = "shared_folder_moved";
/// What the names of the files begin with that are looked for from the other side.
const NONCE: &str = ".nonce-";
const ANOTHER: &str = "what it shows there is another folder";
/// How often a workspace is looked at again that changes meanwhile.
const LOOKS: u32 = 5;

/// Why a container must not start.
#[derive(Debug)]
pub(super) enum Problem {
    /// The engine does not see `path`, or sees another one there.
    Unseen {
        path: HostPath,
        error: Error,
    },
    Other(Error),
}

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Problem {
    /// For those who cannot plan anew.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Unseen { error, .. } | Self::Other(error) => error,
        }
    }
}

/// Looks through the mounts of a container that does not run, with which `run` is shared and, if it has one, a folder
/// of sources: where it lies here, and there.
pub(super) async fn check(
    workspace: &Workspace,
    container: &str,
    run: &HostPath,
    sources: Option<(&HostPath, &ContainerPath)>,
) -> Result<(), Problem> {
    let inside = ContainerPath::new(RUN_DIR).expect("a constant path");
    if let Some(said) = unseen(&workspace.engine, container, run, &inside).await? {
        return Err(explain(workspace, run, said.as_deref().unwrap_or(ANOTHER)).await);
    }
    let Some((root, inside)) = sources else { return Ok(()) };
    match same_moment(&workspace.engine, container, root, inside).await? {
        None => Ok(()),
        Some(said) => Err(explain(workspace, root, said.as_deref().unwrap_or(ANOTHER)).await),
    }
}

/// Whether what the container shows there changed in the same moment as ours: `None`, or that it did not, and what the
/// engine said. Nothing is written into a folder of the user's.
async fn same_moment(
    engine: &Engine,
    container: &str,
    root: &HostPath,
    inside: &ContainerPath,
) -> Result<Option<Option<String>>, Error> {
    let ours = || std::fs::metadata(root.as_path()).ok().map(|found| moment(&found));
    for _ in 0..LOOKS {
        let before = ours();
        let theirs = match engine.modified(container, inside).await {
            Err(EngineError::Refused { message, .. }) => return Ok(Some(Some(message))),
            other => other?,
        };
        if before != ours() {
            continue;
        }
        if before.is_some() && theirs != before {
            return Ok(Some(None));
        }
        break;
    }
    Ok(None)
}

/// Whether the container sees a file that is put into `folder`: `None`, or that it does not, and what the engine said.
async fn unseen(
    engine: &Engine,
    container: &str,
    folder: &HostPath,
    inside: &ContainerPath,
) -> Result<Option<Option<String>>, Error> {
    forget_nonces(folder.as_path());
    let name = format!("{NONCE}{}", unique());
    let nonce = folder.join(&name);
    let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(nonce.as_path());
    written.map_err(delivery::at(nonce.as_path()))?;
    // No file is fetched: that takes Podman four times as long.
    let found = engine.modified(container, &inside.join(&name).expect("a plain name")).await;
    let _ = std::fs::remove_file(nonce.as_path());
    match found {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(Some(None)),
        Err(EngineError::Refused { message, .. }) => Ok(Some(Some(message))),
        Err(error) => Err(error.into()),
    }
}

/// What a process left that was killed. Nobody else asks about this folder now.
fn forget_nonces(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(NONCE.as_bytes()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn moment(found: &std::fs::Metadata) -> Moment {
    Moment { second: (found.mtime().rem_euclid(60)) as u8, nanosecond: found.mtime_nsec() as u32 }
}

/// Whether the engine's refusal says that it does not see a source of a mount; the source is there for us.
fn is_about_a_source(said: &str) -> bool {
    let cannot_see = ["bind source path does not exist", "invalid mount config for type \"bind\"", "statfs /"];
    cannot_see.iter().any(|words| said.contains(words))
}

/// A refusal of the engine that means that it does not see a source of a mount which is there for us.
pub(super) async fn refusal(workspace: &Workspace, error: EngineError, spec: &CreateSpec) -> Problem {
    let said = error.to_string();
    if matches!(error, EngineError::Refused { .. }) && is_about_a_source(&said) {
        // The longest: a folder's own path may begin another's.
        let sources = spec.all_mounts().filter_map(|mount| match &mount.source {
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

async fn explain(workspace: &Workspace, path: &HostPath, said: &str) -> Problem {
    let error = explained(&workspace.engine, path, &workspace.config().paths.data, said).await;
    Problem::Unseen { path: path.clone(), error }
}

async fn explained(engine: &Engine, path: &HostPath, data: &HostPath, said: &str) -> Error {
    let info = engine.info().await.ok();
    let facts = Facts {
        contained: Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists(),
        snap: Path::new("/var/snap/docker").exists(),
        nfs: rustix::fs::statfs(path.as_path()).is_ok_and(|found| found.f_type == rustix::fs::NFS_SUPER_MAGIC),
        closed: path.as_path().ancestors().filter(|folder| is_closed(folder)).last().map(Path::to_owned),
        rootless: info.is_some_and(|info| info.rootless),
        denied: said.contains("permission denied"),
    };
    let (why, next) = facts.cause(path.as_path(), data.as_path());
    Error::new(CODE, format!("the engine at {} does not see {path}: {said}{why}", engine.located().endpoint))
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
