//! `gpubay exec` and `gpubay shell`

use std::io::Write;
use std::path::PathBuf;

use super::args::{Common, Exec, Shell};
use super::output::Output;
use super::{load, terminal};
use crate::agent::{ExecEvent, ExecEvents, ExecInput};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::workspace::exec::{As, ExecOptions, exec as start, shell as start_shell};

/// A failure of ours, not of the program; as `docker exec` has it.
pub(super) const OWN_FAILURE: u8 = 125;

pub(super) async fn exec(common: &Common, command: Exec, output: &Output) -> u8 {
    let who = if command.root { As::Root } else { As::User };
    let session = async {
        let workspace = open(common, output).await?;
        start(&workspace, command.command, &options(common, who)).await
    };
    finish(session.await, output).await
}

pub(super) async fn shell(common: &Common, command: &Shell, output: &Output) -> u8 {
    let who = if command.root { As::Root } else { As::User };
    let session = async {
        let workspace = open(common, output).await?;
        start_shell(&workspace, &options(common, who)).await
    };
    finish(session.await, output).await
}

/// Without our handling of Ctrl-C: signals belong to the program.
async fn open(common: &Common, output: &Output) -> Result<Workspace> {
    let loaded = load(common, None, output)?;
    Workspace::open(loaded, Progress::silent()).await
}

fn options(common: &Common, who: As) -> ExecOptions {
    let interactive = terminal::is_interactive();
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

async fn finish(session: Result<(ExecInput, ExecEvents)>, output: &Output) -> u8 {
    let ended = match session {
        Ok((input, events)) => pump(input, events).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            match error.code {
                "program_not_found" => 127,
                "program_not_executable" => 126,
                _ => OWN_FAILURE,
            }
        }
    }
}

/// Connects this process's streams, terminal and signals with the program's until it ends.
async fn pump(to: ExecInput, mut from: ExecEvents) -> Result<u8> {
    let interactive = terminal::is_interactive();
    let raw = interactive.then(terminal::Raw::enter).flatten();
    let mut input = terminal::input();
    let mut signals = terminal::signals();
    let mut input_open = true;
    let code = loop {
        tokio::select! {
            event = from.next() => match event? {
                ExecEvent::Stdout(bytes) => write_all(&mut std::io::stdout().lock(), &bytes)?,
                ExecEvent::Stderr(bytes) => write_all(&mut std::io::stderr().lock(), &bytes)?,
                ExecEvent::Exit(exit) => break exit.as_code(),
            },
            piece = input.recv(), if input_open => {
                // A program that is gone reads nothing more; its exit is about to arrive.
                input_open &= match piece {
                    Some(bytes) => to.stdin(&bytes).await,
                    None => {
                        to.eof().await;
                        false
                    }
                };
            }
            Some(signal) = signals.recv() => {
                if signal != libc::SIGWINCH {
                    to.signal(signal).await;
                } else if interactive {
                    to.resize(terminal::size()).await;
                }
            }
        }
    };
    drop(raw);
    Ok(code)
}

fn write_all(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes)
        .and_then(|()| to.flush())
        .map_err(|error| Error::new("output_closed", format!("write the program's output: {error}")))
}
