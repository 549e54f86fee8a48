//! The helper container: a fresh one of the image, in which nothing but our agent runs and the image's packages are read.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use gpubay_protocol::agent::{AGENT_DIR, Entry, RUN_DIR, ScanRequest, Scanned};
use tokio::sync::oneshot;

use super::mirrored::{Conversation, Whose};
use super::up::Ground;
use super::{Workspace, delivery, unique, visibility};
use crate::agent;
use crate::config::model::{Mount, MountSource};
use crate::engine::ContainerState;
use crate::error::{Error, Result};
use crate::mirror::{self, Ahead, BaseKey, FileSink, MirrorError, Source, SourceError, Store, Work};
use crate::{ContainerPath, HostPath};

/// Fills the image's mirror from a fresh container: no network, no workspace, nothing of the user's. The mirror's work begins
/// while the container starts.
pub(super) async fn make_base(
    workspace: &Workspace,
    ground: &Ground,
    image: &str,
    store: &Store,
    key: &BaseKey,
    request: &ScanRequest,
    ahead: Ahead,
) -> Result<Work> {
    let run = workspace.shared().join("run").join(format!("helper-{}", unique()));
    std::fs::create_dir_all(run.as_path()).map_err(delivery::at(run.as_path()))?;
    let container = OnceLock::new();
    let (ready, started) = oneshot::channel();
    // Goes on to its end whatever becomes of the mirror: what it has created is to be known.
    let start = async {
        let started = start(workspace, ground, image, &run, &container).await;
        if started.is_ok() {
            // The mirror may have failed meanwhile.
            let _ = ready.send(());
        }
        started
    };
    let mut source = Starting { workspace, container: &container, run: &run, started, conversation: None };
    let mirror = mirror::ensure_base(store, key, request, &mut source, &workspace.progress, ahead);
    let (started, made) = tokio::join!(start, mirror);
    let made = match (started, made) {
        (_, Err(error @ MirrorError::Cancelled)) => Err(error.into()),
        // Then the mirror has only heard that there is no container.
        (Err(error), _) => Err(error),
        (Ok(()), made) => made.map_err(Error::from),
    };
    let ended = match container.get() {
        Some(id) => end(workspace, id, made).await,
        None => made,
    };
    let _ = std::fs::remove_dir_all(run.as_path());
    Ok(ended?.work)
}

/// Creates and starts it, and waits for its agent. Its id is in `container` from the moment on that there is one.
async fn start(
    workspace: &Workspace,
    ground: &Ground,
    image: &str,
    run: &HostPath,
    container: &OnceLock<String>,
) -> Result<()> {
    let inside = |path: &str| ContainerPath::new(path).expect("a constant path");
    let bind = |source: &HostPath, target: &str, read_only| Mount {
        source: MountSource::Host(source.clone()),
        target: inside(target),
        read_only,
    };
    let mut spec = workspace.helper_spec(image);
    spec.mounts = vec![bind(&ground.places.agent, &format!("{AGENT_DIR}/bin"), true), bind(run, RUN_DIR, false)];
    let id = workspace.engine.create(&spec).await?;
    let id = container.get_or_init(|| id);
    workspace.reach("mirror.helper")?;
    visibility::check(workspace, id, run, None).await.map_err(visibility::Problem::into_error)?;
    workspace.engine.start(id).await?;
    tokio::select! {
        ready = agent::wait_ready(run, Duration::from_secs(30)) => drop(ready?),
        why = trouble(workspace, id) => return Err(why),
        () = workspace.progress.cancel.cancelled() => return Err(MirrorError::Cancelled.into()),
    }
    tracing::debug!("the helper container's agent answers");
    Ok(())
}

async fn end<T>(workspace: &Workspace, id: &str, made: Result<T>) -> Result<T> {
    let made = match made {
        Err(error) => Err(explain(workspace, id, error).await),
        made => made,
    };
    // Before an engine takes a container's file system away, it lets the disk have all that was written meanwhile:
    // the whole mirror, which takes as long again as to write it. That may happen while we go on.
    if made.is_err() || workspace.engine.kill(id, "SIGTERM").await.is_err() {
        workspace.engine.remove(id).await?;
    }
    tracing::debug!("the helper container is told to end");
    made
}

/// Says, as soon as it is so, why the helper container `id` can be read from no longer.
pub(super) async fn trouble(workspace: &Workspace, id: &str) -> Error {
    const NOW_AND_THEN: Duration = Duration::from_millis(500);
    loop {
        tokio::time::sleep(NOW_AND_THEN).await;
        // An engine that does not answer is no news of the container.
        if let Ok(found) = workspace.engine.container(id).await
            && let Some(error) = hindrance(found.as_ref().map(|found| &found.state))
        {
            return error;
        }
    }
}

/// Such a container removes itself when it ends, so that mostly there is none left to tell why.
fn hindrance(state: Option<&ContainerState>) -> Option<Error> {
    let what = match state {
        Some(ContainerState::Running | ContainerState::Created | ContainerState::Restarting) => return None,
        Some(ContainerState::Paused) => "was paused",
        Some(ContainerState::Exited { out_of_memory: true, .. }) => {
            "was ended by the kernel, since memory was used up,"
        }
        Some(ContainerState::Exited { .. } | ContainerState::Dead) | None => "was ended",
    };
    let message = format!("the helper container that reads the image's packages {what} before it was done");
    Some(Error::new("helper_ended", message).with_hint(
        "Run `gpubay up` again, which makes another. It is ended by a kernel that is out of memory (`dmesg`), with the engine, or \
         by somebody's `docker kill`.",
    ))
}

/// What became of the container where the conversation with its agent failed.
async fn explain(workspace: &Workspace, id: &str, error: Error) -> Error {
    if !error.code.starts_with("agent_") && error.code != "mirror_source" {
        return error;
    }
    // The engine notes an end a moment after the connection broke.
    tokio::time::timeout(Duration::from_secs(2), trouble(workspace, id)).await.unwrap_or(error)
}

/// The mirror's source that is there once the container has started.
struct Starting<'a> {
    workspace: &'a Workspace,
    container: &'a OnceLock<String>,
    run: &'a HostPath,
    started: oneshot::Receiver<()>,
    conversation: Option<Conversation<'a>>,
}

#[async_trait]
impl Source for Starting<'_> {
    async fn scan(&mut self, request: ScanRequest) -> std::result::Result<(Vec<Entry>, Scanned), SourceError> {
        let none = || SourceError::Lost("the helper container did not start".to_owned());
        let conversation = match &mut self.conversation {
            Some(conversation) => conversation,
            none_yet => {
                (&mut self.started).await.map_err(|_| none())?;
                let id = self.container.get().ok_or_else(none)?;
                none_yet.insert(Conversation::new(self.workspace, Whose::Helper, id, self.run.clone()))
            }
        };
        conversation.scan(request).await
    }

    async fn fetch(&mut self, indices: &[u32], sink: &mut dyn FileSink) -> std::result::Result<(), SourceError> {
        match &mut self.conversation {
            Some(conversation) => conversation.fetch(indices, sink).await,
            None => Err(SourceError::Lost("files are asked for before their list".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_of_the_helper_is_told_as_that() {
        assert!(hindrance(Some(&ContainerState::Running)).is_none());
        for state in
            [None, Some(ContainerState::Exited { code: 137, out_of_memory: true }), Some(ContainerState::Paused)]
        {
            let error = hindrance(state.as_ref()).expect("a hindrance");
            assert_eq!(error.code, "helper_ended");
            assert!(error.message.starts_with("the helper container") && error.hint.is_some(), "{error:?}");
        }
    }
}
