//! The command line's grammar, and its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

use super::attach::Attach;
use super::build::Build;
use super::doctor::Doctor;
use super::down::{Down, Stop};
use super::exec::{Exec, Shell};
use super::gpus::Gpus;
use super::init::Init;
use super::logs::Logs;
use super::output::{eprint, plain};
use super::prune::Prune;
use super::ps::Ps;
use super::record::Record;
use super::rm::Rm;
use super::run::Run;
use super::serve::Serve;
use super::show::{Completions, Man, Schema};
use super::sync::Sync;
use super::up::Up;
use crate::config::LoadRequest;
use crate::error::Result;
use crate::workspace::enclosing::enclosing;

/// Of every command.
pub(super) const EXIT_CODES: &str = "  \
    0    done\n  \
    1    it failed and said why\n  \
    2    a wrong command line: nothing was done\n  \
    130  cancelled";

/// Of those that run a program: [`runs_a_program`].
pub(super) const EXIT_CODES_OF_PROGRAMS: &str = "\
exec, shell and run end with the code of what they ran, or with\n  \
    125  gpubay itself failed (run --detach and run --print: 1)\n  \
    126  the program cannot be run\n  \
    127  the program is not there";

pub(super) fn runs_a_program(command: &str) -> bool {
    ["exec", "shell", "run"].contains(&command)
}

#[derive(Debug, Parser)]
#[command(
    name = "gpubay",
    version,
    about = "Puts an ML workspace into a GPU container and keeps the editor outside useful",
    long_about = "Puts an ML workspace into a GPU container and keeps the editor outside useful.\n\n\
        `gpubay up` in a folder with a Dockerfile (or a requirements.txt) builds and starts its container with GPUs, as \
        your user, and makes a .venv through which an editor on this machine completes, jumps and hovers through \
        everything that is installed in the container.",
    after_help = format!(
        "Examples:\n  gpubay up                          build and start, or reuse what runs\n  \
        .venv/bin/python train.py          run in the container, from here\n  \
        gpubay run --detach -- python train.py --seed 1\n  \
        gpubay ps\n  gpubay down\n\n\
        Exit codes:\n{EXIT_CODES}\n{EXIT_CODES_OF_PROGRAMS}"
    ),
    propagate_version = true,
    disable_help_subcommand = true
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// The workspace, exactly this folder; without it the current folder or the nearest one above that is a workspace
    #[arg(short = 'C', value_name = "DIR", global = true, value_hint = ValueHint::DirPath)]
    pub(super) directory: Option<PathBuf>,
    /// Print one JSON object on stdout; progress goes to stderr
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Say nothing but errors and what was asked for
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,
    /// Approve a power that the workspace's configuration asks for (repeatable)
    #[arg(long, value_name = "POWER", global = true)]
    pub(super) allow: Vec<String>,
}

impl Common {
    /// Of the workspace that is meant: the one of `-C`, else the one that the current folder belongs to.
    pub(super) fn request(&self, gpus: Option<&str>) -> Result<LoadRequest<'static>> {
        let mut request = self.request_here()?;
        request.overrides.gpus = gpus.map(str::to_owned);
        if self.directory.is_none()
            && let Some(above) = enclosing(&request)
        {
            if !self.quiet {
                said_once(&above);
            }
            request.workspace = above;
        }
        Ok(request)
    }

    /// Of the folder of `-C` or the current one, whatever is above it.
    pub(super) fn request_here(&self) -> Result<LoadRequest<'static>> {
        let directory = match &self.directory {
            Some(directory) => directory.clone(),
            None => std::env::current_dir().map_err(|error| {
                crate::error::Error::new("no_folder", format!("the current folder is gone: {error}"))
                    .with_hint("Change to a folder that exists, or name one with -C DIR.")
            })?,
        };
        LoadRequest::of_process(directory).ok_or_else(|| {
            crate::error::Error::new("no_home", "this user has no home folder")
                .with_hint("Set HOME to an absolute path.")
        })
    }
}

/// Which folder is meant is no guess of the user's when another one than the current is.
fn said_once(workspace: &std::path::Path) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| eprint(&plain(&format!("workspace: {}\n", workspace.display()))));
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Init(Init),
    Up(Up),
    Build(Build),
    Down(Down),
    Stop(Stop),
    Exec(Exec),
    Shell(Shell),
    Run(Run),
    Ps(Ps),
    Logs(Logs),
    Sync(Sync),
    Rm(Rm),
    Prune(Prune),
    Doctor(Doctor),
    Attach(Attach),
    Record(Record),
    Gpus(Gpus),
    Serve(Serve),
    Schema(Schema),
    Man(Man),
    Completions(Completions),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// What stands before a column of words or a redirection.
    fn example(line: &str) -> Option<Vec<&str>> {
        let line = line.strip_prefix("  ").filter(|line| line.starts_with("gpubay "))?;
        let command = line.split("   ").next()?.split(" > ").next()?;
        Some(command.split_whitespace().collect())
    }

    #[test]
    fn every_command_teaches_with_an_example_that_parses() {
        let mut root = Cli::command();
        root.build();
        let mut commands: Vec<clap::Command> = root.get_subcommands().cloned().collect();
        commands.push(Cli::command());
        assert!(commands.len() > 12);
        for mut command in commands {
            let help = command.render_long_help().to_string();
            let examples: Vec<Vec<&str>> = help.lines().filter_map(example).collect();
            let own = |words: &Vec<&str>| command.get_name() == "gpubay" || words.contains(&command.get_name());
            assert!(examples.iter().any(own), "no example of its own:\n{help}");
            for words in examples {
                Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            }
            assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
        }
    }

    #[test]
    fn the_help_names_the_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        for code in ["  0  ", "  1  ", "  2  ", "  130  ", "  125  ", "  126  ", "  127  "] {
            assert!(help.contains(code), "{code:?} in\n{help}");
        }
    }
}
