//! What an engine can answer, in this project's terms.

use std::path::PathBuf;

use crate::error::{Explain, Shortage};

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("engine address {address:?} (from {said_by}): {why}")]
    Address { address: String, said_by: String, why: String },
    #[error("docker context {name:?}: {why}")]
    Context { name: String, why: String },
    #[error("{} {endpoint} ({because}){}: {why}", absence.before(), absence.behind())]
    NotThere { endpoint: String, because: String, why: String, absence: Absence, next: String },
    /// This process may open no more files: no fault of the engine's.
    #[error("{doing}: too many open files")]
    OpenFiles { doing: String },
    #[error("permission denied on the engine's socket {}", .socket.display())]
    Permission { socket: PathBuf, next: String },
    #[error("the engine at {endpoint} speaks API {api}, and {needed} is the least that works")]
    TooOld { endpoint: String, api: String, needed: &'static str },
    #[error("{doing}: the engine has no {what}")]
    NotFound { doing: String, what: String },
    #[error("{doing}: {message}")]
    Conflict { doing: String, message: String },
    #[error("{doing}: the engine's disk is full: {message}")]
    DiskFull { doing: String, message: String },
    #[error("{doing}: port {port} of the host is in use: {message}")]
    PortInUse { doing: String, port: u16, message: String },
    /// It is the engine that found out: the request named what its GPUs' runtime does not have.
    #[error("{doing}: the GPUs cannot be had: {message}")]
    Gpus { doing: String, message: String },
    #[error("{doing}: {message}")]
    Refused { doing: String, status: u16, message: String },
    #[error("{doing}: lost the connection to the engine: {message}")]
    Lost { doing: String, message: String },
    #[error("{doing}: cancelled")]
    Cancelled { doing: String },
}

/// In what way an engine is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nothing at that place, and nothing that would listen there.
    None,
    /// It is here, and does not run.
    Stopped,
    /// Another machine does not answer.
    Remote,
}

impl Absence {
    fn before(self) -> &'static str {
        match self {
            Self::None => "no container engine at",
            Self::Stopped => "the engine at",
            Self::Remote => "cannot reach the engine at",
        }
    }

    fn behind(self) -> &'static str {
        if self == Self::Stopped { " does not run" } else { "" }
    }
}

impl Explain for EngineError {
    fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "engine_address",
            Self::Context { .. } => "engine_context",
            Self::NotThere { absence: Absence::None, .. } => "no_engine",
            Self::NotThere { absence: Absence::Stopped, .. } => "engine_stopped",
            Self::NotThere { absence: Absence::Remote, .. } => "engine_unreachable",
            Self::OpenFiles { .. } => Shortage::OpenFiles.code(),
            Self::Permission { .. } => "engine_permission",
            Self::TooOld { .. } => "engine_too_old",
            Self::NotFound { .. } => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::DiskFull { .. } => "disk_full",
            Self::PortInUse { .. } => "port_in_use",
            Self::Gpus { .. } => "gpu_refused",
            Self::Refused { .. } => "engine_refused",
            Self::Lost { .. } => "engine_lost",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotThere { next, .. } | Self::Permission { next, .. } => next.clone(),
            Self::OpenFiles { .. } => Shortage::OpenFiles.hint(""),
            Self::TooOld { .. } => "Update the engine: Docker 20.10, Podman 4.3 or newer.".to_owned(),
            Self::DiskFull { .. } => {
                "Free some room where the engine keeps its data (`docker system df` shows what takes it).".to_owned()
            }
            Self::PortInUse { port, .. } => {
                format!("Stop what listens on port {port}, or write another one in [container] ports.")
            }
            Self::Gpus { .. } => {
                "Compare [gpus] use with what `nvidia-smi -L` shows on the engine's machine, and after an update of the \
                 driver restart that machine; [gpus] use = \"none\" works on the CPU."
                    .to_owned()
            }
            Self::Lost { .. } => "Look whether the engine still runs, then run the command again.".to_owned(),
            Self::Context { .. } => "`docker context ls` shows the contexts there are.".to_owned(),
            // Packages of distributions leave it out.
            Self::Refused { message, .. } if message.contains("docker-init") => {
                "The engine lacks the program that [container] init = true asks for: leave init out, since GPU Bay's agent \
                 ends what is left of processes and passes signals on as well."
                    .to_owned()
            }
            Self::Address { .. }
            | Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Refused { .. }
            | Self::Cancelled { .. } => return None,
        })
    }
}

/// Sorts what bollard says into our kinds. `doing` fits «failed to …».
pub(super) fn sort(doing: &str, error: bollard::errors::Error) -> EngineError {
    use bollard::errors::Error as B;
    let doing = doing.to_owned();
    match error {
        B::DockerResponseServerError { status_code: status, message } => {
            let message = message.trim().to_owned();
            if message.contains("no space left on device") {
                return EngineError::DiskFull { doing, message };
            }
            if GPU_REFUSALS.iter().any(|words| message.contains(words)) {
                return EngineError::Gpus { doing, message };
            }
            if let Some(port) = port_in_use(&message) {
                return EngineError::PortInUse { doing, port, message };
            }
            match status {
                // Podman, of one that went away while it was looked at.
                500 if message.contains("no such container") => EngineError::NotFound { doing, what: message },
                404 => EngineError::NotFound { doing, what: message.trim_start_matches("No such ").to_owned() },
                409 => EngineError::Conflict { doing, message },
                // Podman, of a container's name.
                500 if message.contains("that name is already in use") => EngineError::Conflict { doing, message },
                _ => EngineError::Refused { doing, status, message },
            }
        }
        B::DockerStreamError { error } | B::DockerContainerWaitError { error, .. } => {
            EngineError::Refused { doing, status: 200, message: error }
        }
        other => {
            let message = whole(&other);
            match Shortage::in_words(&message) {
                Some(Shortage::OpenFiles) => EngineError::OpenFiles { doing },
                _ => EngineError::Lost { doing, message },
            }
        }
    }
}

/// Of the engine itself, of its CDI and of NVIDIA's runtime.
const GPU_REFUSALS: &[&str] = &[
    "could not select device driver",
    "unresolvable CDI devices",
    "CDI device injection failed",
    "nvidia-container-cli:",
];

/// Docker's own words, in every version since 20.10: `… Bind for 127.0.0.1:6006 failed: port is
/// already allocated` or `listen tcp4 127.0.0.1:6006: bind: address already in use`.
fn port_in_use(message: &str) -> Option<u16> {
    if !message.contains("port is already allocated") && !message.contains("address already in use") {
        return None;
    }
    message
        .split_whitespace()
        // The first number after a colon: the engine's newer sentence goes on with the container's address.
        .find_map(|word| word.split(':').skip(1).find_map(|part| part.parse().ok()))
}

fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_found_in_both_of_dockers_sentences() {
        for message in [
            "driver failed programming external connectivity on endpoint x (abc): Bind for 127.0.0.1:6006 failed: port is already allocated",
            "failed to set up container networking: driver failed: failed to bind host port for 127.0.0.1:6006:172.17.0.2:6006/tcp: address already in use",
            "Error starting userland proxy: listen tcp4 127.0.0.1:6006: bind: address already in use",
        ] {
            assert!(port_in_use(message).is_some(), "{message}");
        }
        assert_eq!(port_in_use("listen tcp4 127.0.0.1:6006: bind: address already in use"), Some(6006));
        assert_eq!(port_in_use("no such image: a:1"), None);
    }
}
