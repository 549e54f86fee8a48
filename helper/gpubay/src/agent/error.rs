//! What can go wrong between us and an agent.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use gpubay_protocol::agent::{Failure, FailureKind, PROTOCOL};

use crate::error::{Explain, Shortage};

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody serves the socket (yet, or any more).
    #[error("no agent answers on {}: {cause}", .socket.display())]
    Unreachable { socket: PathBuf, cause: io::Error },
    /// Something else has the socket's name, a link for example.
    #[error("{} is not the agent's socket", .socket.display())]
    NotASocket { socket: PathBuf },
    #[error("the agent in the container speaks another version of the protocol than {PROTOCOL}: {said}")]
    Version { said: String },
    #[error("the agent did not answer within {} s", .after.as_secs_f32())]
    Unanswered { after: Duration },
    /// The agent could not do what was asked.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// Its answer fits no question of ours: not our agent, or one that was tampered with.
    #[error("the agent's answer makes no sense: {0}")]
    Misbehaved(String),
    #[error("the connection to the agent broke: {0}")]
    Lost(#[source] io::Error),
    /// A request that is too large (arguments and environment of a program, say).
    #[error("the request cannot be sent: {0}")]
    Unsendable(#[source] io::Error),
    #[error("{program} wrote more than {limit} bytes")]
    TooMuchOutput { program: String, limit: usize },
    #[error("{program} did not end within {} s", .after.as_secs_f32())]
    TimedOut { program: String, after: Duration },
}

impl Explain for AgentError {
    fn code(&self) -> &'static str {
        if let Some(shortage) = self.shortage() {
            return shortage.code();
        }
        match self {
            Self::Unreachable { .. } => "agent_unreachable",
            Self::NotASocket { .. } => "agent_replaced",
            Self::Version { .. } => "agent_version",
            Self::Unanswered { .. } => "agent_silent",
            Self::Refused(failure) => match failure.kind {
                FailureKind::Protocol => "agent_version",
                FailureKind::NotFound => "program_not_found",
                FailureKind::NotExecutable => "program_not_executable",
                FailureKind::NoWorkingDirectory => "no_working_directory",
                FailureKind::TooMuch => "too_much",
                FailureKind::System => "agent_refused",
            },
            Self::Misbehaved(_) => "agent_misbehaved",
            Self::Lost(_) => "agent_lost",
            Self::Unsendable(_) => "request_too_large",
            Self::TooMuchOutput { .. } => "too_much_output",
            Self::TimedOut { .. } => "program_timed_out",
        }
    }

    fn hint(&self) -> Option<String> {
        if let Some(shortage) = self.shortage() {
            return Some(shortage.hint(""));
        }
        let hint = match self {
            Self::Unreachable { .. } | Self::Lost(_) => {
                "See with `gpubay ps` whether the container still runs; `gpubay up` starts it again."
            }
            Self::NotASocket { .. } | Self::Misbehaved(_) | Self::Unanswered { .. } => {
                "Another program may have taken the agent's place in the container; look at what runs there, then `gpubay up --recreate`."
            }
            Self::Version { .. } => {
                "The container was started by another version of gpubay; `gpubay up --recreate` puts the present one in."
            }
            Self::Refused(failure) => match failure.kind {
                FailureKind::Protocol => {
                    "The container was started by another version of gpubay; `gpubay up --recreate` puts the present one in."
                }
                FailureKind::NotFound => "Check the name, and that the image or the venv has the program.",
                FailureKind::NoWorkingDirectory => "Check `container.workdir` in gpubay.toml.",
                _ => return None,
            },
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl AgentError {
    /// This process may open no more files: no fault of the agent's.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::Unreachable { cause, .. } | Self::Lost(cause) => {
                Shortage::of(cause).filter(|lack| *lack == Shortage::OpenFiles)
            }
            _ => None,
        }
    }

    /// An unreadable message is the agent's doing, anything else the connection's.
    pub(super) fn from_stream(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData { Self::Misbehaved(error.to_string()) } else { Self::Lost(error) }
    }
}
