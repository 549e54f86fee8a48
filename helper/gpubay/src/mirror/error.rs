//! Why a mirror could not be made or brought up to date.

use std::io;

use gpubay_protocol::agent::FailureKind;

use super::source::SourceError;
use crate::ContainerPath;
use crate::error::{Explain, Shortage};
use crate::failpoint::Injected;

#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The container's answer breaks the agreement: no honest agent sends that.
    #[error("the container's list of files is not acceptable: {0}")]
    Refused(String),
    /// What was asked for cannot be mirrored: an error of the caller, or an odd image.
    #[error("the folder {root} cannot be mirrored: {why}")]
    Root { root: ContainerPath, why: &'static str },
    #[error("the container's Python has too much to mirror: {0}")]
    TooMuch(String),
    /// The old mirror stays in place.
    #[error("{removed} of {of} mirrored files are gone from the container")]
    Halted { removed: usize, of: usize },
    /// The old mirror stays in place.
    #[error("the folder {root}, of which {files} files are mirrored, is empty or missing in the container")]
    Emptied { root: ContainerPath, files: usize },
    #[error("the container stopped answering")]
    Source(#[from] SourceError),
    #[error("{doing} in {place}")]
    Disk {
        doing: &'static str,
        place: String,
        #[source]
        source: io::Error,
    },
    #[error("the mirror needs {needed} bytes in {place} and {free} are free")]
    NoSpace { needed: u64, free: u64, place: String },
    #[error("{name:?} is no name of a workspace")]
    Workspace { name: String },
    #[error("another gpubay is at work on a mirror")]
    InUse,
    #[error("cancelled")]
    Cancelled,
    #[error("the mirror's own work ended unexpectedly: {0}")]
    Task(String),
    #[error(transparent)]
    Injected(#[from] Injected),
}

impl Explain for MirrorError {
    fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "mirror_refused",
            Self::Root { .. } => "mirror_root",
            Self::TooMuch(_) => "mirror_too_large",
            Self::Source(SourceError::Failed(f)) if f.kind == FailureKind::TooMuch => "mirror_too_large",
            Self::Halted { .. } | Self::Emptied { .. } => "mirror_halted",
            Self::Source(_) => "mirror_source",
            Self::InUse => "mirror_in_use",
            Self::NoSpace { .. } => Shortage::Disk.code(),
            Self::Disk { source, .. } => Shortage::of(source).map_or("mirror_disk", Shortage::code),
            Self::Workspace { .. } | Self::Task(_) => "internal",
            Self::Cancelled => "cancelled",
            Self::Injected(_) => "failpoint",
        }
    }

    fn hint(&self) -> Option<String> {
        let shortage = match self {
            Self::NoSpace { .. } => Some(Shortage::Disk),
            Self::Disk { source, .. } => Shortage::of(source),
            _ => None,
        };
        if let Some(shortage) = shortage {
            return Some(shortage.hint("name a folder on a larger disk in [paths] cache of your own config.toml"));
        }
        let hint = match self.code() {
            "mirror_halted" => {
                "The old mirror is kept. If the packages were removed on purpose, run `gpubay sync --allow-deletions`."
            }
            "mirror_too_large" => "Look for a dataset or a build folder among the Python import folders.",
            "mirror_source" => "See whether the container still runs (`gpubay ps`), then run `gpubay sync` again.",
            "mirror_refused" => "Something in the container answers in our agent's place; recreate the container.",
            "mirror_disk" => "Check that the folder belongs to you and can be written.",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Says what was done where, for the errors of the operating system.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str, place: impl ToString) -> Result<T, MirrorError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str, place: impl ToString) -> Result<T, MirrorError> {
        self.map_err(|error| MirrorError::Disk { doing, place: place.to_string(), source: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_refusals_have_codes_and_next_steps() {
        for (errno, code) in [
            (rustix::io::Errno::NOSPC, "disk_full"),
            (rustix::io::Errno::DQUOT, "disk_full"),
            (rustix::io::Errno::ROFS, "read_only"),
            (rustix::io::Errno::MFILE, "too_many_open_files"),
            (rustix::io::Errno::ACCESS, "mirror_disk"),
        ] {
            let error = Err::<(), _>(errno).doing("write a file", "/cache").expect_err("an error");
            assert_eq!(error.code(), code);
            assert!(error.hint().is_some(), "{code}");
            assert_eq!(error.to_string(), "write a file in /cache");
        }
    }
}
