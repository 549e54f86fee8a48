//! Who has lost the GPUs, noticed while it happens: the agents of the containers that run say so by themselves. Between
//! two changes nothing of ours wakes up here.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::owner::Event;
use crate::HostPath;
use crate::agent::{self, AgentError};
use crate::workspace::lost::Guarded;

/// A container that runs has an agent that serves, or will have one soon.
const READY: Duration = Duration::from_secs(2);
/// What lies at the socket's place is in a container's hands: it is asked, and listened to, now and then at most.
const AGAIN: Duration = Duration::from_secs(2);
/// An older agent does not know the question.
const TRIES: u32 = 3;

/// By the id of the container.
#[derive(Default)]
pub(super) struct Guard(BTreeMap<String, DropGuard>);

impl Guard {
    /// From now on these are listened to, and no others.
    pub(super) fn set(&mut self, folder: &Path, containers: Vec<Guarded>, events: &mpsc::UnboundedSender<Event>) {
        self.0.retain(|id, _| containers.iter().any(|container| container.id == *id));
        for container in containers {
            let Guarded { id, run, lost } = container;
            let (folder, events) = (folder.to_owned(), events.clone());
            self.0.entry(id).or_insert_with(|| {
                let tell = move || events.send(Event::Stale(folder.clone())).is_ok();
                let over = CancellationToken::new();
                let gone = over.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = gone.cancelled() => {}
                        () = follow(&run, lost, tell) => {}
                    }
                });
                over.drop_guard()
            });
        }
    }
}

/// `lost`: what is known of it already.
async fn follow(run: &HostPath, lost: bool, tell: impl Fn() -> bool) {
    let mut known = Some(lost);
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        if listen(run, &mut known, &mut tries, &tell).await.is_ok() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Until nobody is there to be told, or the agent has gone.
async fn listen(
    run: &HostPath,
    known: &mut Option<bool>,
    tries: &mut u32,
    tell: &impl Fn() -> bool,
) -> Result<(), AgentError> {
    let mut watch = agent::wait_ready(run, READY).await?.watch_gpus().await?;
    loop {
        let now = watch.next().await?;
        *tries = 0;
        // The first word is no news to who has just looked; each other one is a change.
        if known.take() != Some(now.is_amiss()) {
            if !tell() {
                return Ok(());
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
