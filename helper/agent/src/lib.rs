//! The static program of GPU Bay inside containers.
//!
//! - `init`: PID 1 of a dev container. `job -- ARGV…`: PID 1 of a job.
//! - `stdio`: one conversation over stdin and stdout, for an engine's exec.
//! - `print-env FD`: what the image's ENTRYPOINT is given to run, so that it tells its environment.
//!
//! [`children`] owns every process and the signals, [`server`] the conversations; the other modules
//! answer one request each.

mod beneath;
mod children;
mod entrypoint;
mod environment;
mod exec;
mod fetch;
mod gpus;
mod guard;
mod mounts;
mod options;
mod python;
mod roles;
mod scan;
mod server;
mod status;

use options::Role;

/// One role, from its beginning to its end. Answers with the exit code.
#[must_use]
pub fn main() -> i32 {
    match options::parse(std::env::args_os().skip(1)) {
        Ok(Role::PrintEnv(fd)) => entrypoint::print_env(fd),
        Ok(Role::Init(options)) => roles::init(options),
        Ok(Role::Job(options, argv)) => roles::job(options, argv),
        Ok(Role::Stdio(options)) => roles::stdio(options),
        Ok(Role::Version) => {
            println!("gpubay-agent {}", env!("CARGO_PKG_VERSION"));
            0
        }
        Err(why) => {
            complain(&why);
            2
        }
    }
}

/// The container's log is where an agent's own words go.
fn complain(what: &str) {
    eprintln!("gpubay-agent: {what}");
}
