//! The only room that knows bollard: connect, build, create, exec, archive, events.

pub mod build;
pub mod endpoint;
