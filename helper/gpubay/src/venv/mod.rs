//! The venv inside the container and the host env that makes it look normal on the host.
//!
//! - [`inside`]: how this room runs programs in the container; the agent's client implements it.
//! - [`probe`]: which interpreter the image has, and what it says of itself.
//! - [`create`]: the venv at the mounted folder, made from any image's Python.
//! - [`install`]: requirements, once, without replacing what the image brought ([`kept`]).
//! - [`requirements`]: the files that name them, read so that nothing in their place can block.
//! - [`roots`]: from `sys.path` to the folders that the venv, the workspace, a mount or the mirror
//!   serves (pure).
//! - [`hostenv`]: the `.venv` that host tools see, written so that nothing planted there is followed.

mod activate;
pub mod create;
pub mod hostenv;
pub mod inside;
pub mod install;
pub mod kept;
pub mod probe;
pub mod requirements;
pub mod roots;
mod within;

use crate::ContainerPath;
use crate::error::{Error, Explain, Shortage};

/// What can go wrong between finding a Python and having a venv with its requirements.
#[derive(Debug, thiserror::Error)]
pub enum VenvError {
    #[error("{python} could not be asked about itself: {reason}")]
    Probe { python: String, reason: String },
    #[error("`python` under [venv] names {python}, which does not run in the image: {reason}")]
    Wanted { python: String, reason: String, found: Vec<ContainerPath> },
    #[error("no venv could be made at {venv} with {python}: {reason}")]
    Create { venv: String, python: String, reason: String },
    #[error("{what} could not be moved aside: {source}")]
    Aside { what: String, source: std::io::Error },
    #[error("the requirements file {path} cannot be read: {source}")]
    Requirements { path: String, source: std::io::Error },
    #[error("the requirements file {path} lies in no folder that the container sees")]
    RequirementsOutside { path: String },
    #[error("the Python of the image has no pip, and no ensurepip to make one from")]
    NoPip,
    #[error("the image has no uv")]
    NoUv,
    #[error("{place} asks for {asked}, and the image brings {name} {version}, which is never replaced")]
    Conflict { place: String, asked: String, name: String, version: String },
    #[error("{installer} could not install {what}: {reason}")]
    Install { installer: &'static str, what: String, reason: String },
    #[error("{0}")]
    Inside(Error),
}

impl VenvError {
    /// The venv lies on the host: what the programs inside lack there the host lacks.
    fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::Create { reason, .. } | Self::Install { reason, .. } => Shortage::in_words(reason),
            Self::Aside { source, .. } | Self::Requirements { source, .. } => Shortage::of(source),
            _ => None,
        }
    }
}

impl Explain for VenvError {
    fn code(&self) -> &'static str {
        if let Some(shortage) = self.shortage() {
            return shortage.code();
        }
        match self {
            Self::Probe { .. } | Self::Wanted { .. } => "python_broken",
            Self::Create { .. } => "venv_failed",
            Self::Aside { .. } => "venv_not_moved",
            Self::Requirements { .. } => "requirements_unreadable",
            Self::RequirementsOutside { .. } => "requirements_outside",
            Self::NoPip => "no_pip",
            Self::NoUv => "no_uv",
            Self::Conflict { .. } => "conflicts_with_image",
            Self::Install { .. } => "install_failed",
            Self::Inside(error) => error.code,
        }
    }

    fn hint(&self) -> Option<String> {
        if let Some(shortage) = self.shortage() {
            return Some(shortage.hint("name another folder in [paths] data of your own config.toml"));
        }
        Some(match self {
            Self::Probe { .. } => {
                "Name another interpreter of the image with `python` under [venv] in gpubay.toml.".to_owned()
            }
            Self::Wanted { found, .. } if found.is_empty() => {
                "The image has no Python: install one in the Dockerfile, or correct the key in gpubay.toml.".to_owned()
            }
            Self::Wanted { found, .. } => {
                let found: Vec<&str> = found.iter().map(ContainerPath::as_str).collect();
                format!("The image has {}; correct the key in gpubay.toml, or leave it out.", found.join(", "))
            }
            Self::Create { .. } | Self::Aside { .. } => {
                "Look at the venv's folder under the data folder; it can be removed, and the next `gpubay up` makes it \
                 anew."
                    .to_owned()
            }
            Self::Requirements { .. } => "Correct `requirements` under [venv] in gpubay.toml.".to_owned(),
            Self::RequirementsOutside { .. } => "Move the file into the workspace, or mount its folder.".to_owned(),
            Self::NoPip => "Install pip in the image (Debian: python3-pip), or set `installer = \"uv\"`.".to_owned(),
            Self::NoUv => "Install uv in the image, or set `installer = \"pip\"` under [venv].".to_owned(),
            Self::Conflict { name, .. } => {
                format!("Take {name} out of the requirements, or install the version that you want in the Dockerfile.")
            }
            // pip's word for requirements that do not fit together; the lines before it name what we pinned.
            Self::Install { reason, .. } if reason.contains("ResolutionImpossible") => {
                "What the image brings is never replaced: ask for versions that fit it, or change it in the Dockerfile."
                    .to_owned()
            }
            Self::Install { .. } => {
                "Correct the requirements and run `gpubay up` again; what was installed stays.".to_owned()
            }
            Self::Inside(error) => return error.hint.clone(),
        })
    }
}
