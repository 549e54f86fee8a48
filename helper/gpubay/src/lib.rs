//! The core of GPU Bay: an ML workspace becomes a GPU container, and the editor outside knows
//! everything that is installed in it.
//!
//! `docs/architecture.md` has the map. In one line each:
//! [`config`] reads what the user wants, [`engine`] talks to Docker, [`agent`] to our program inside
//! a container, [`files`] reads what a stranger may have written, [`gpu`] decides how GPUs get in, [`venv`] and [`mirror`] bring the container's
//! Python to the host, [`workspace`] holds the workflows over all of them, [`scaffold`] writes a fresh workspace, [`registry`] tells how large an image is, [`cli`] prints, and [`server`] talks to
//! editors.

pub mod agent;
pub mod cli;
pub mod config;
pub mod editor;
pub mod engine;
pub mod error;
pub mod failpoint;
pub mod files;
pub mod gpu;
pub mod mirror;
pub mod programs;
pub mod progress;
pub mod quoting;
pub mod registry;
pub mod scaffold;
pub mod server;
pub mod venv;
pub mod workspace;

pub use gpubay_protocol::paths::{ContainerPath, HostPath, Mapping, PathMap};
