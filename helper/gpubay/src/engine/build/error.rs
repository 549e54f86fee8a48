//! Why a build failed.

use thiserror::Error;

use super::Builder;
use super::context::ContextError;
use crate::HostPath;
use crate::error::{Explain, SourceLine};

/// Why an image could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A step of the Dockerfile failed. `line` counts from 1; `output` holds the step's last lines.
    #[error("{}: `{instruction}` failed{}{}", place(dockerfile, *line), exit(*exit_code), tail(output))]
    Step { dockerfile: String, line: Option<usize>, instruction: String, exit_code: Option<i64>, output: Vec<String> },
    /// The Dockerfile cannot be read as one.
    #[error("{}: {message}", place(dockerfile, *line))]
    Syntax { dockerfile: String, line: Option<usize>, message: String },
    #[error("{dockerfile} has no stage {target:?}")]
    UnknownTarget { dockerfile: String, target: String },
    /// `line` is that of the `FROM` that names it, where one does.
    #[error("{}the image {image} is not on the engine and could not be pulled: {}", before(dockerfile, *line), why(message))]
    Base { dockerfile: String, line: Option<usize>, image: String, message: String },
    #[error("the build secret {id:?} has no value: {why}")]
    Secret { id: String, why: String },
    #[error("the build context {0} is no readable folder")]
    ContextMissing(HostPath),
    #[error("cannot read the Dockerfile {path}")]
    Dockerfile { path: HostPath, source: std::io::Error },
    #[error("the build context could not be sent")]
    Context(#[from] ContextError),
    #[error("the disk of the engine is full: {0}")]
    DiskFull(String),
    #[error("the engine builds without BuildKit")]
    NoBuildKit,
    /// Found before the build.
    #[error("{}: {what} needs BuildKit, and {} builds without it", place(dockerfile, *line), who(*builder))]
    NeedsBuildKit { dockerfile: String, line: Option<usize>, what: String, builder: Builder },
    #[error("cannot reach the engine: {0}")]
    Unreachable(String),
    /// The connection or the answer ended before the build did.
    #[error("the engine went away during the build: {0}")]
    Lost(String),
    #[error("the build was cancelled")]
    Cancelled,
    /// Anything else, in the engine's own words.
    #[error("the engine could not build the image: {0}")]
    Engine(String),
}

fn place(dockerfile: &str, line: Option<usize>) -> String {
    line.map_or_else(|| dockerfile.to_owned(), |line| format!("{dockerfile}:{line}"))
}

fn before(dockerfile: &str, line: Option<usize>) -> String {
    line.map(|line| format!("{}: ", place(dockerfile, Some(line)))).unwrap_or_default()
}

fn who(builder: Builder) -> &'static str {
    if builder == Builder::Podman { "Podman" } else { "this engine" }
}

/// The builder tells the whole way down to the cause, with the name and its address again and again: what is left is why.
fn why(message: &str) -> &str {
    let said = message.split_once("failed to resolve source metadata for ").and_then(|(_, rest)| rest.split_once(": "));
    let said = said.map_or(message, |(_, why)| why);
    let asked = said.strip_prefix("failed to do request: ").and_then(|rest| rest.split_once("\": "));
    asked.map_or(said, |(_, why)| why)
}

fn exit(code: Option<i64>) -> String {
    code.map_or_else(String::new, |code| format!(" with exit code {code}"))
}

fn tail(output: &[String]) -> String {
    output.iter().flat_map(|line| ["\n    ", line]).collect()
}

impl Explain for BuildError {
    fn code(&self) -> &'static str {
        match self {
            Self::Step { .. } => "build_step_failed",
            Self::Syntax { .. } => "dockerfile_syntax",
            Self::UnknownTarget { .. } => "unknown_target",
            Self::Base { .. } => "base_image",
            Self::Secret { .. } => "build_secret",
            Self::ContextMissing(_) => "no_context",
            Self::Dockerfile { .. } => "no_dockerfile",
            Self::Context(_) => "build_context",
            Self::DiskFull(_) => "disk_full",
            Self::NoBuildKit => "no_buildkit",
            Self::NeedsBuildKit { .. } => "needs_buildkit",
            Self::Unreachable(_) => "no_engine",
            Self::Lost(_) => "engine_lost",
            Self::Cancelled => "cancelled",
            Self::Engine(_) => "build_failed",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Step { .. } => "Correct that instruction or what it needs, and run the command again.".to_owned(),
            Self::Base { image, .. } => format!(
                "Check the name {image:?}, log in to its registry with `docker login`, or load the image by other means where the registry cannot be reached."
            ),
            Self::UnknownTarget { .. } => "Name a stage of the Dockerfile in `[image] target`.".to_owned(),
            Self::Secret { .. } => "Set the variable or write the file that `[image] secrets` names.".to_owned(),
            Self::ContextMissing(_) => "Name an existing folder in `[image] context`.".to_owned(),
            Self::Context(ContextError::Name(_) | ContextError::Read { .. }) => {
                "Make the file readable, or leave it out of the context with a line in .dockerignore.".to_owned()
            }
            Self::Context(ContextError::Pattern(_)) => "Correct the line in .dockerignore.".to_owned(),
            Self::DiskFull(_) => "Free space, for example with `docker builder prune`.".to_owned(),
            Self::NoBuildKit => "Use Docker 20.10 or newer.".to_owned(),
            Self::NeedsBuildKit { builder: Builder::Podman, .. } => {
                "Write the Dockerfile (and [image] secrets) without it, or use an engine of Docker's.".to_owned()
            }
            Self::NeedsBuildKit { .. } => {
                "Turn BuildKit on (unset DOCKER_BUILDKIT, or set \"features\": {\"buildkit\": true} \
                 in the engine's daemon.json), or write the Dockerfile (and [image] secrets) without it."
                    .to_owned()
            }
            Self::Unreachable(_) | Self::Lost(_) => "Check that the engine runs, and run the command again.".to_owned(),
            _ => return None,
        })
    }

    fn place(&self) -> Option<SourceLine> {
        let (Self::Step { dockerfile, line, .. }
        | Self::Syntax { dockerfile, line, .. }
        | Self::Base { dockerfile, line, .. }
        | Self::NeedsBuildKit { dockerfile, line, .. }) = self
        else {
            return None;
        };
        Some(SourceLine { file: dockerfile.clone(), line: u32::try_from((*line)?).ok()?, column: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_base_could_not_be_pulled_is_said_once() {
        for (message, said) in [
            (
                "nvcr.io/a:1: failed to resolve source metadata for nvcr.io/a:1: failed to do request: Head \
                 \"https://nvcr.io/v2/a/manifests/1\": dial tcp: lookup nvcr.io: no such host",
                "dial tcp: lookup nvcr.io: no such host",
            ),
            (
                "a:1: failed to resolve source metadata for docker.io/library/a:1: docker.io/library/a:1: not found",
                "docker.io/library/a:1: not found",
            ),
            ("manifest unknown", "manifest unknown"),
        ] {
            assert_eq!(why(message), said);
        }
    }
}
