//! The helper's end of the conversation with the agent inside a container.
//!
//! [`Client::connect`] goes through a mounted run folder, [`Client::over`] through any stream, such
//! as an engine's exec of `gpubay-agent stdio`. A client is one conversation: each request consumes
//! it. What an agent says is checked before anybody sees it, since a hostile program in the
//! container can take its place.

mod client;
pub mod embedded;
mod error;
mod exec;
mod scan;
mod wire;

pub use client::{Client, GpuWatch, SmiLine, wait_ready};
pub use error::AgentError;
pub use exec::{CaptureLimits, Captured, ExecEvent, ExecEvents, ExecInput};
pub use scan::{Fetching, FileEvent, Scanner};
