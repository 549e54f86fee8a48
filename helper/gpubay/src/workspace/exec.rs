//! `exec` and `shell`: a program in the running dev container, through the agent, so that signals,
//! the terminal's size and the exit code arrive.

use std::time::Duration;

use gpubay_protocol::agent::{AGENT_PATH, ExecRequest, FailureKind, WindowSize};

use super::{Workspace, dev, lock, python};
use crate::agent::{AgentError, Client, ExecEvents, ExecInput};
use crate::engine::Container;
use crate::error::{Error, Result};
use crate::{ContainerPath, PathMap};

/// So often it is looked what became of a container that somebody works on: a build may go before the next one.
const LOOKS: usize = 50;
/// Who works on it need not take it away.
const LOOKS_AT_ONE_THAT_RUNS: usize = 10;

/// Whose program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// The container's own user.
    User,
    Root,
}

#[derive(Clone, Debug)]
pub struct ExecOptions {
    pub who: As,
    pub tty: Option<WindowSize>,
    pub stdin: bool,
    /// The caller's working directory; used where the container can see it.
    pub cwd: std::path::PathBuf,
    /// `TERM` and its like, from the caller's terminal.
    pub env: Vec<(String, String)>,
}

/// A program that was started in the dev container.
#[derive(Debug)]
pub struct Started {
    pub input: ExecInput,
    pub events: ExecEvents,
    /// Which container that is.
    pub container: String,
}

/// Starts `argv`.
///
/// # Errors
/// `not_running` when there is no running dev container; `program_not_found` and
/// `program_not_executable` for the program itself.
pub async fn exec(workspace: &Workspace, argv: Vec<String>, options: &ExecOptions) -> Result<Started> {
    let container = running(workspace).await?.id;
    let (input, events) = start(workspace, &container, argv, options).await?;
    Ok(Started { input, events, container })
}

/// What became of the container that a program ran in, where that ended with it. `None`: it runs on.
pub async fn ended_with(workspace: &Workspace, container: &str) -> Option<Error> {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
    let name = workspace.dev_name();
    let said = |what: &str, next: &str| {
        let what = format!("the dev container {name} {what} while this ran, and the program ended with it");
        Some(Error::new("agent_lost", what).with_hint(next))
    };
    // Who takes it away holds the lock until that is done, and so does who makes the next one.
    for look in 0..LOOKS {
        let at_work = somebody_is_at_work(workspace);
        let found = workspace.engine.container(container).await.ok()?;
        let runs = found.as_ref().is_some_and(|found| dev::hindrance(&name, Some(found)).is_none());
        if runs && look > LOOKS_AT_ONE_THAT_RUNS {
            return None;
        }
        if !at_work {
            return match (found, dev::find(workspace, &name).await.ok()?) {
                _ if runs => None,
                (_, Some(next)) if next.id != container => said(
                    "was replaced",
                    "`gpubay up --recreate`, or the editor, made it anew; run the command again in that one.",
                ),
                (Some(found), _) => {
                    let why = dev::hindrance(&name, Some(&found))?;
                    let message = format!("{}, and so did what ran in it", why.message);
                    Some(Error { code: "agent_lost", message, ..why })
                }
                (None, _) => said("was removed", "Make it again with `gpubay up`."),
            };
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    said("was taken away", "Another gpubay is at work on this workspace (an `up --recreate`, say): wait for its end.")
}

/// Starts the image's own shell: the user's from its passwd file, or the first that is there.
///
/// # Errors
/// `no_shell` when the image has none.
pub async fn shell(workspace: &Workspace, options: &ExecOptions) -> Result<Started> {
    let container = running(workspace).await?;
    // Nobody chose a plain `sh`: it is what an entry says that names no other, and it has neither completion nor history.
    let named = shell_of_user(workspace, &container, options.who).await.filter(|shell| shell != "/bin/sh");
    let candidates =
        named.into_iter().chain(["/bin/bash", "/bin/zsh", "/bin/sh", "/bin/ash", "/busybox/sh"].map(str::to_owned));
    for shell in candidates {
        match start(workspace, &container.id, vec![shell], options).await {
            Err(AgentError::Refused(failure))
                if matches!(failure.kind, FailureKind::NotFound | FailureKind::NotExecutable) => {}
            other => {
                let (input, events) = other?;
                return Ok(Started { input, events, container: container.id });
            }
        }
    }
    Err(Error::new("no_shell", "the image has no shell")
        .with_hint("Run a program of it instead: `gpubay exec -- COMMAND`."))
}

/// The dev container, in which something can be done.
///
/// # Errors
/// `not_running` and `container_paused`, with the next step.
pub(super) async fn running(workspace: &Workspace) -> Result<Container> {
    let name = workspace.dev_name();
    let found = dev::find(workspace, &name).await?;
    match dev::hindrance(&name, found.as_ref()) {
        Some(error) if error.code == "not_running" && somebody_is_at_work(workspace) => {
            Err(error
                .with_hint("Another gpubay is at work on this workspace (an `up --recreate`, say): wait for its end."))
        }
        Some(error) => Err(error),
        None => found.ok_or_else(|| Error::new("not_running", format!("the dev container {name} does not exist"))),
    }
}

fn somebody_is_at_work(workspace: &Workspace) -> bool {
    matches!(lock::try_hold(&workspace.config().paths.data, workspace.id8()), Ok(None))
}

/// What a program would not find although it was there: deleting the host env detaches the venv that is mounted over it.
pub fn lost_venv(workspace: &Workspace) -> Option<String> {
    let env = python::record(workspace)?.report?.path;
    let gone = !env.join(gpubay_protocol::hostenv::FILE_NAME).as_path().exists();
    gone.then(|| {
        format!("{env} was deleted, and with it went the venv that is mounted there: `gpubay up` brings both back")
    })
}

async fn start(
    workspace: &Workspace,
    container: &str,
    argv: Vec<String>,
    options: &ExecOptions,
) -> Result<(ExecInput, ExecEvents), AgentError> {
    let request = ExecRequest {
        argv,
        env: options.env.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect(),
        cwd: Some(inside(workspace, &options.cwd)),
        tty: options.tty,
        stdin: options.stdin,
    };
    let client = match options.who {
        As::User => Client::connect(&workspace.run_folder()).await?,
        As::Root => {
            let stream = workspace
                .engine
                .exec_stream(container, &[AGENT_PATH, "stdio"], Some("0:0"))
                .await
                .map_err(|error| AgentError::Lost(std::io::Error::other(error.to_string())))?;
            Client::over(stream).await?
        }
    };
    client.exec(request).await
}

/// The container's name for a folder of the host; the workdir for one that it cannot see.
pub(super) fn inside(workspace: &Workspace, cwd: &std::path::Path) -> ContainerPath {
    shared_folders(workspace).to_container(cwd).unwrap_or_else(|| workspace.config().container.workdir.clone())
}

/// The workspace and the folders that the configuration mounts.
pub(super) fn shared_folders(workspace: &Workspace) -> PathMap {
    use crate::config::model::MountSource;
    let mut map = PathMap::default();
    map.push(workspace.folder().clone(), workspace.config().container.workdir.clone());
    for mount in &workspace.config().container.mounts {
        if let MountSource::Host(source) = &mount.source {
            map.push(source.clone(), mount.target.clone());
        }
    }
    map
}

async fn shell_of_user(workspace: &Workspace, container: &Container, who: As) -> Option<String> {
    let path = ContainerPath::new("/etc/passwd").ok()?;
    let bytes = workspace.engine.file(&container.id, &path, 1 << 20).await.ok()??;
    let passwd = String::from_utf8_lossy(&bytes);
    let uid = match who {
        As::Root => "0".to_owned(),
        As::User => container.user.split(':').next()?.to_owned(),
    };
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    let shell = line.split(':').nth(6)?;
    (shell.starts_with('/') && !shell.ends_with("nologin") && !shell.ends_with("false")).then(|| shell.to_owned())
}
