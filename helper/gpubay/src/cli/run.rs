//! `gpubay run`

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::args::{Common, Run};
use super::exec::{OWN_FAILURE, working_directory};
use super::output::{Output, pass_on};
use super::{load, terminal};
use crate::config::parse_gpus;
use crate::engine::{Attached, Stdio};
use crate::error::{Error, Result};
use crate::workspace::Workspace;
use crate::workspace::jobs::{self, Job, RunOptions};

pub(super) async fn run(common: &Common, command: Run, output: &Output) -> u8 {
    let detach = command.detach;
    let ended = async {
        let workspace = {
            let loaded = load(common, None, output)?;
            Workspace::open(loaded, output.progress()).await?
        };
        let options = options(common, command, &workspace)?;
        let mut job = jobs::run(&workspace, &options).await?;
        match job.attached.take() {
            None => {
                output
                    .result(&serde_json::json!({ "job": job.name, "container": job.container, "id": job.id }), || {
                        format!("{}\n", job.name)
                    });
                Ok(0)
            }
            Some(attached) => watch(&workspace, &job, attached, options.stdio).await,
        }
    }
    .await;
    match ended {
        Ok(code) => code,
        Err(error) => {
            let code = output.error(&error);
            if detach { code } else { OWN_FAILURE }
        }
    }
}

fn options(common: &Common, command: Run, workspace: &Workspace) -> Result<RunOptions> {
    let config = workspace.config();
    let mut gpus = command.gpus.as_deref().map(parse_gpus).transpose()?;
    let mut argv = command.command;
    // One word that names a job of the configuration is that job.
    if let [name] = argv.as_slice()
        && let Some(job) = config.jobs.get(name)
    {
        gpus = gpus.or_else(|| job.gpus.clone());
        argv.clone_from(&job.command);
    }
    let stdio = if command.detach { Stdio::Detached } else { Stdio::Attached { tty: terminal::is_interactive() } };
    Ok(RunOptions {
        argv,
        name: command.name,
        gpus,
        stdio,
        cwd: working_directory(common),
        env: if matches!(stdio, Stdio::Attached { tty: true }) { terminal::environment() } else { Vec::new() },
    })
}

/// Follows a job in the foreground to its end, and takes its container away.
async fn watch(workspace: &Workspace, job: &Job, mut attached: Attached, stdio: Stdio) -> Result<u8> {
    let tty = matches!(stdio, Stdio::Attached { tty: true });
    let raw = tty.then(terminal::Raw::enter).flatten();
    if tty {
        let size = terminal::size();
        let _ = workspace.engine.resize(&job.id, size.rows, size.columns).await;
    }
    let mut input = terminal::input();
    let mut signals = terminal::signals();
    let mut input_open = true;
    loop {
        tokio::select! {
            chunk = attached.output.next() => {
                let Some(chunk) = chunk else { break };
                if pass_on(&chunk?).is_err() {
                    // Like a pipe whose reader has left.
                    workspace.engine.kill(&job.id, "SIGPIPE").await?;
                    break;
                }
            }
            piece = input.recv(), if input_open => {
                let sent = match piece {
                    Some(bytes) => attached.input.write_all(&bytes).await,
                    None => {
                        input_open = false;
                        attached.input.shutdown().await
                    }
                };
                input_open &= sent.is_ok();
            }
            Some(signal) = signals.recv() => {
                if signal == libc::SIGWINCH {
                    let size = terminal::size();
                    if tty {
                        let _ = workspace.engine.resize(&job.id, size.rows, size.columns).await;
                    }
                } else {
                    let _ = workspace.engine.kill(&job.id, &signal.to_string()).await;
                }
            }
        }
    }
    drop(raw);
    let code = jobs::wait(workspace, job).await?;
    jobs::remove(workspace, job).await?;
    u8::try_from(code).map_err(|_| Error::new("exit_code", format!("the job ended with the exit code {code}")))
}
