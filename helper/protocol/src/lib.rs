//! The wire types of GPU Bay, shared by the helper, the agent and the shim.
//!
//! - [`paths`]: host paths and container paths are different types, and [`paths::PathMap`] is the
//!   only place that turns one into the other.
//! - [`frame`]: how a message travels: a length, then its postcard encoding.
//! - [`agent`]: what the helper and the shim say to the agent inside a container, and its answers.
//! - [`contents`]: which files of an import root a language tool needs, and in which form.
//! - [`hostenv`]: the file that tells the shim where its container is.
//! - [`percent`]: text in an address.
//! - [`mountinfo`]: what the kernel says of mounts, to know which folder a path really is.

pub mod agent;
pub mod contents;
pub mod frame;
pub mod hostenv;
pub mod mountinfo;
pub mod paths;
pub mod percent;
