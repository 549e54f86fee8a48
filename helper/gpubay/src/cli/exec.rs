//! `gpubay exec` and `gpubay shell`

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Common;
use super::output::Output;
use super::streams::{self, Control, Target};
use super::{load_to_reach, terminal};
use crate::agent::{ExecEvent, ExecEvents, ExecInput};
use crate::engine::LogChunk;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::workspace::exec::{As, ExecOptions, Started, ended_with, exec as start, lost_venv, shell as start_shell};
use crate::workspace::{Workspace, sync};

/// Run a command in the dev container
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay exec -- nvidia-smi\n  gpubay exec --root -- apt-get update\n\n\
    It ends with the code of the command, or with 125, 126 or 127: see `gpubay --help`.\n\
    With --json the command prints to stderr, and the object on stdout has its exit_code.")]
pub(super) struct Exec {
    /// As root instead of your user
    #[arg(long)]
    root: bool,
    /// In a task of an editor: what fails at once is not taken for what could not be launched
    #[arg(long, hide = true)]
    in_editor: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

/// Open the image's own shell in the dev container
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay shell\n  gpubay shell --root                for apt-get and its like")]
pub(super) struct Shell {
    /// As root instead of your user
    #[arg(long)]
    root: bool,
    /// In a terminal of an editor: a shell that goes with its container has not failed
    #[arg(long, hide = true)]
    in_editor: bool,
}

/// With `--json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    /// Of the program; 128 and the signal's number where a signal ended it.
    exit_code: u8,
}

/// A failure of ours, not of the program; as `docker exec` has it.
pub(super) const OWN_FAILURE: u8 = 125;
/// What a shell shows of a program that wrote into a pipe without a reader.
pub(super) const NOBODY_READS: u8 = 128 + libc::SIGPIPE as u8;

/// What a shell shows of a program that SIGHUP, SIGKILL or SIGTERM has ended.
const ENDED_BY_OTHERS: [u8; 3] = [128 + libc::SIGHUP as u8, 128 + libc::SIGKILL as u8, 128 + libc::SIGTERM as u8];

/// VS Code says of a task that fails within half a second that it «failed to launch», whatever that printed.
const LAUNCHED: Duration = Duration::from_secs(1);

pub(super) async fn exec(common: &Common, command: Exec, output: &Output) -> u8 {
    let began = Instant::now();
    let Exec { root, in_editor, command } = command;
    let who = if root { As::Root } else { As::User };
    let session = async {
        let workspace = open(common, output).await?;
        let started = start(&workspace, command, &options(common, who, output)).await?;
        Ok((workspace, started))
    };
    let code = finish(session.await, output, false).await;
    if in_editor && code != 0 {
        tokio::time::sleep_until((began + LAUNCHED).into()).await;
    }
    code
}

pub(super) async fn shell(common: &Common, command: &Shell, output: &Output) -> u8 {
    let who = if command.root { As::Root } else { As::User };
    let session = async {
        let workspace = open(common, output).await?;
        let started = start_shell(&workspace, &options(common, who, output)).await?;
        Ok((workspace, started))
    };
    finish(session.await, output, command.in_editor).await
}

/// Without our handling of Ctrl-C: signals belong to the program.
async fn open(common: &Common, output: &Output) -> Result<Workspace> {
    let loaded = load_to_reach(common, output)?;
    let workspace = Workspace::open(loaded, Progress::silent()).await?;
    if let Some(lost) = lost_venv(&workspace) {
        output.warn(&lost);
    }
    Ok(workspace)
}

fn options(common: &Common, who: As, output: &Output) -> ExecOptions {
    let interactive = terminal::is_interactive() && !output.is_json();
    ExecOptions {
        who,
        tty: interactive.then(terminal::size),
        stdin: true,
        cwd: working_directory(common),
        env: if interactive { terminal::environment() } else { Vec::new() },
    }
}

/// With `-C` the workspace itself is meant, wherever the command was typed.
pub(super) fn working_directory(common: &Common) -> PathBuf {
    let current = std::env::current_dir().and_then(|path| path.canonicalize()).unwrap_or_default();
    match &common.directory {
        Some(directory) => directory.canonicalize().unwrap_or(current),
        None => current,
    }
}

/// `may_vanish`: that the container goes is no failure.
async fn finish(session: Result<(Workspace, Started)>, output: &Output, may_vanish: bool) -> u8 {
    let ended = match session {
        Ok((workspace, Started { input, events, container })) => {
            let ended = pump(input, events, output.target()).await;
            sync::programs(&workspace).await;
            match ended {
                Err(error) if error.code == "agent_lost" && !may_vanish => {
                    Err(ended_with(&workspace, &container).await.unwrap_or(error))
                }
                // Its container's end is told to a program like that.
                Ok(code) if ENDED_BY_OTHERS.contains(&code) && !may_vanish => {
                    if let Some(why) = ended_with(&workspace, &container).await {
                        output.note(&why.message);
                    }
                    Ok(code)
                }
                ended => ended,
            }
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok(code) => {
            if output.is_json() {
                output.result(&Report { exit_code: code }, String::new);
            }
            code
        }
        Err(error) => {
            output.error(&error);
            match error.code {
                "agent_lost" if may_vanish => 0,
                "program_not_found" => 127,
                "program_not_executable" => 126,
                _ => OWN_FAILURE,
            }
        }
    }
}

/// Connects this process's streams, terminal and signals with the program's until it ends.
async fn pump(to: ExecInput, from: ExecEvents, target: Target) -> Result<u8> {
    let signals = terminal::signals();
    let raw = (terminal::is_interactive() && target == Target::AsItIs).then(terminal::Raw::enter).flatten();
    let code = Cell::new(None);
    let output = stream::try_unfold(from, async |mut from| {
        let chunk = match from.next().await? {
            ExecEvent::Stdout(bytes) => LogChunk::Stdout(bytes.into()),
            ExecEvent::Stderr(bytes) => LogChunk::Stderr(bytes.into()),
            ExecEvent::Exit(exit) => {
                code.set(Some(exit.as_code()));
                return Ok(None);
            }
        };
        Ok::<_, Error>(Some((chunk, from)))
    });
    let feed = async {
        let mut input = terminal::input();
        while let Some(bytes) = input.recv().await {
            // A program that is gone reads nothing more; its exit is about to arrive.
            if !to.stdin(&bytes).await {
                return;
            }
        }
        to.eof().await;
    };
    let steer = async |control| match control {
        Control::Signal(signal) => drop(to.signal(signal).await),
        Control::Resize(size) if raw.is_some() => drop(to.resize(size).await),
        Control::Resize(_) => {}
    };
    // Where nobody reads, letting go of the connection ends the program.
    streams::connect(output, feed, steer, signals, target).await?;
    Ok(code.get().unwrap_or(NOBODY_READS))
}
