//! The agent and the shim in one file: most of either is what both need, and everybody downloads it.
//!
//! Which one it is, its file's name says, as the kernel knows it. No host env has a program of the agent's name.

use std::path::PathBuf;
use std::process::ExitCode;

use gpubay_protocol::agent::AGENT_NAME;

fn main() -> ExitCode {
    let called = || std::env::args_os().next().map(PathBuf::from);
    let executable = std::env::current_exe().ok().or_else(called);
    if executable.is_some_and(|path| path.file_name().is_some_and(|name| name == AGENT_NAME)) {
        std::process::exit(gpubay_agent::main())
    }
    gpubay_shim::main()
}
