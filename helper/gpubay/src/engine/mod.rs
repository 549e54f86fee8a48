//! The only room that knows bollard: connect, build, create, exec, archive, events.
