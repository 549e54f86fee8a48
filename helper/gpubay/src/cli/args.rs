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
        gpubay ps\n  gpubay down",
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
    /// Print the JSON schema of gpubay.toml
    Schema,
    /// Print a completion script for your shell
    Completions {
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
    /// These containers by name or id, of whichever workspace, instead of the workspace's
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
#[command(after_help = "Examples:\n  gpubay exec -- nvidia-smi\n  gpubay exec --root -- apt-get update")]
pub(super) struct Exec {
    /// As root instead of your user
    #[arg(long)]
    pub(super) root: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
}

/// Open the image's own shell in the dev container
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpubay shell --root")]
pub(super) struct Shell {
    /// As root instead of your user
    #[arg(long)]
    pub(super) root: bool,
}

/// Run a job: a container of its own from the same image and venv
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay run -- python train.py\n  gpubay run --detach --name lr-3 --gpus 1 -- python train.py --lr 1e-3\n  gpubay run train                   the job of [jobs.train]"
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
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
}

/// List the workspace's containers
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpubay ps --all")]
pub(super) struct Ps {
    /// Those of all your workspaces on this engine
    #[arg(long, short)]
    pub(super) all: bool,
}

/// Show what a job printed
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpubay logs -f lr-3")]
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
#[command(after_help = "Example:\n  gpubay sync --print-paths")]
pub(super) struct Sync {
    /// Print the folders for tools that take extra import paths, one a line
    #[arg(long)]
    pub(super) print_paths: bool,
    /// Go on although most of a mirrored folder has vanished from the container
    #[arg(long)]
    pub(super) allow_deletions: bool,
}
