//! The command line's grammar, and its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::LoadRequest;
use crate::error::Result;

#[derive(Debug, Parser)]
#[command(
    name = "gpubay",
    version,
    about = "Puts an ML workspace into a GPU container and keeps the editor outside useful",
    long_about = "Puts an ML workspace into a GPU container and keeps the editor outside useful.\n\n\
        `gpubay up` in a folder with a Dockerfile (or a requirements.txt) builds and starts its container with GPUs, as \
        your user, and makes a .venv through which an editor on this machine completes, jumps and hovers through \
        everything that is installed in the container.",
    after_help = "Examples:\n  gpubay up                          build and start, or reuse what runs\n  \
        .venv/bin/python train.py          run in the container, from here\n  \
        gpubay run --detach -- python train.py --seed 1\n  \
        gpubay ps\n  gpubay down\n\n\
        Exit codes:\n  \
        0    done\n  \
        1    it failed and said why\n  \
        2    a wrong command line\n  \
        130  cancelled\n\
exec, shell and run end with the code of what they ran, or with\n  \
        125  gpubay itself failed\n  \
        126  the program cannot be run\n  \
        127  the program is not there",
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
    /// The workspace, instead of the current folder
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub(super) directory: Option<PathBuf>,
    /// Print one JSON object on stdout; progress goes to stderr
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Say nothing but errors
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,
    /// Approve a power that the workspace's configuration asks for (repeatable)
    #[arg(long, value_name = "POWER", global = true)]
    pub(super) allow: Vec<String>,
}

impl Common {
    pub(super) fn request(&self, gpus: Option<&str>) -> Result<LoadRequest<'static>> {
        let directory = match &self.directory {
            Some(directory) => directory.clone(),
            None => std::env::current_dir().map_err(|error| {
                crate::error::Error::new("no_folder", format!("the current folder is gone: {error}"))
                    .with_hint("Change to a folder that exists, or name one with -C DIR.")
            })?,
        };
        let mut request = LoadRequest::of_process(directory).ok_or_else(|| {
            crate::error::Error::new("no_home", "this user has no home folder")
                .with_hint("Set HOME to an absolute path.")
        })?;
        request.overrides.gpus = gpus.map(str::to_owned);
        Ok(request)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Up(Up),
    Build(Build),
    /// Remove dev container and jobs; venv, mirror, caches and image stay
    #[command(
        after_help = "Examples:\n  gpubay down\n  gpubay -C ~/src/old down          also where the folder is gone\n  gpubay down gpubay-old-1a2b3c4d    one that `gpubay ps --all` lists"
    )]
    Down(Down),
    /// Stop the dev container and keep it with its files; `gpubay up` starts it again
    #[command(after_help = "Example:\n  gpubay stop")]
    Stop(Stop),
    Exec(Exec),
    Shell(Shell),
    Run(Run),
    Ps(Ps),
    Logs(Logs),
    Sync(Sync),
    /// Print the JSON schema of gpubay.toml, for editors that complete and check it
    #[command(after_help = "Example:\n  gpubay schema > gpubay.schema.json")]
    Schema,
    /// Print a completion script for your shell
    #[command(after_help = "Example:\n  gpubay completions bash > ~/.local/share/bash-completion/completions/gpubay")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Build and start the dev container and prepare .venv; what is there is reused
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpubay -C ~/src/model up --gpus 2")]
pub(super) struct Up {
    /// Replace a running container whose configuration changed, although something in it is lost
    #[arg(long)]
    pub(super) recreate: bool,
    /// GPUs instead of [gpus] use: auto, all, none, a count, or a list of indices and UUIDs; they stay until another
    /// --gpus, a --recreate or a `down`
    #[arg(long, value_name = "GPUS")]
    pub(super) gpus: Option<String>,
}

/// Build the image, start nothing
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpubay build --no-cache")]
pub(super) struct Build {
    /// Run every step again
    #[arg(long)]
    pub(super) no_cache: bool,
}

#[derive(Debug, Args)]
pub(super) struct Down {
    /// Also when something of yours still runs
    #[arg(long)]
    pub(super) force: bool,
    /// These instead: jobs of the workspace by their name, any container by its name or id
    pub(super) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Stop {
    /// Also when something of yours still runs
    #[arg(long)]
    pub(super) force: bool,
}

/// Run a command in the dev container
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay exec -- nvidia-smi\n  gpubay exec --root -- apt-get update\n\n\
    It ends with the code of the command, or with 125, 126 or 127: see `gpubay --help`.\n\
    With --json the command prints to stderr, and the object on stdout has its exit_code.")]
pub(super) struct Exec {
    /// As root instead of your user
    #[arg(long)]
    pub(super) root: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    pub(super) command: Vec<String>,
}

/// Open the image's own shell in the dev container
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay shell\n  gpubay shell --root                for apt-get and its like")]
pub(super) struct Shell {
    /// As root instead of your user
    #[arg(long)]
    pub(super) root: bool,
}

/// Run a job: a container of its own from the same image and venv
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay run -- python train.py\n  gpubay run --detach --name lr-3 --gpus 1 -- python train.py --lr 1e-3\n  gpubay run train                   the job of [jobs.train]\n  gpubay run train -- --lr 1e-3      the same, with more arguments\n\n\
    In the foreground it ends with the code of the command, like `gpubay exec`, and leaves no container."
)]
pub(super) struct Run {
    /// Return at once; `gpubay logs` and `gpubay ps` follow it
    #[arg(long, short)]
    pub(super) detach: bool,
    /// A name for it
    #[arg(long)]
    pub(super) name: Option<String>,
    /// GPUs instead of the configuration's: auto, all, none, a count, or a list of indices and UUIDs
    #[arg(long, value_name = "GPUS")]
    pub(super) gpus: Option<String>,
    /// The command and its arguments, or the name of a job in gpubay.toml
    #[arg(required = true, trailing_var_arg = true)]
    pub(super) command: Vec<String>,
}

/// List the workspace's containers
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay ps\n  gpubay ps --all --json             of every workspace, for programs")]
pub(super) struct Ps {
    /// Those of all your workspaces on this engine
    #[arg(long, short)]
    pub(super) all: bool,
}

/// Show what a job printed
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay logs -f lr-3\n  gpubay logs --tail 20              of the latest job")]
pub(super) struct Logs {
    /// Go on until it ends
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    pub(super) tail: Option<u32>,
    /// Begin each line with its time
    #[arg(long, short)]
    pub(super) timestamps: bool,
    /// The job; the latest one if left out
    pub(super) job: Option<String>,
}

/// Bring the host's picture of the container's Python up to date
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay sync                        after an apt-get install in the container\n  gpubay sync --print-paths"
)]
pub(super) struct Sync {
    /// Print the folders for tools that take extra import paths, one a line
    #[arg(long)]
    pub(super) print_paths: bool,
    /// Go on although most of a mirrored folder has vanished from the container
    #[arg(long)]
    pub(super) allow_deletions: bool,
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
