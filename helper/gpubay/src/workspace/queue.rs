//! A job that waits for its GPUs: it stands in a queue with those of everybody who shares the engine, and tries again when
//! something has changed.

use std::time::{Duration, Instant};

use super::jobs::{self, Job, RunOptions, Wait};
use super::leases::{self, Asking};
use super::record::{self, Frozen};
use super::ticket::{self, Patience, Ticket, Waiter};
use super::{Workspace, given, host_env, labels, lock, up, visibility};
use crate::config::model::{GpuSelection, Gpus};
use crate::engine::ContainerState;
use crate::error::{Error, Result};
use crate::progress::{Step, long};

/// How often somebody else may be given the same GPU at the same moment.
const RACES: u32 = 20;
/// Who was first has started by then, and is seen.
const BETWEEN_RACES: Duration = Duration::from_millis(300);

/// What a job keeps from one attempt to the next.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) ticket: Option<Ticket>,
    /// Where its record will be, and its sources as they were when it was asked for.
    pub(super) folder: Option<(record::Folder, Option<Frozen>)>,
    seen: Option<ticket::Seen>,
    /// How many were before it when that was told.
    told: Option<usize>,
    step: Option<Step>,
    began: Instant,
    /// It has stood in the queue.
    waited: bool,
    pub(super) patience: Patience,
}

impl Place {
    /// Makes the record's folder and freezes the sources where that is asked for and not done yet.
    pub(super) async fn settle(&mut self, workspace: &Workspace, options: &RunOptions) -> Result<()> {
        if self.folder.is_none() {
            let folder = record::Folder::make(workspace, &self.name)?;
            let again = options.again.as_deref();
            let frozen = match &options.snapshot {
                Some(live) => Some(folder.freeze(workspace, host_env::names(workspace), live, again).await?),
                None => None,
            };
            self.folder = Some((folder, frozen));
        }
        Ok(())
    }

    pub(super) fn new(name: String) -> Self {
        let (began, patience) = (Instant::now(), Patience::default());
        Self { name, ticket: None, folder: None, seen: None, told: None, step: None, began, waited: false, patience }
    }
}

pub(super) async fn run_in_turn(workspace: &Workspace, options: &RunOptions, place: &mut Place) -> Result<Job> {
    let (mut moved, mut races) = (false, 0);
    loop {
        let attempt = match jobs::run_once(workspace, options, place).await {
            Err(error) if error.code == leases::TAKEN && options.wait != Wait::Not => {
                stand_in_line(workspace, options, place, error).await.map(|()| None)
            }
            other => other.map(Some),
        };
        match attempt {
            Ok(None) => {}
            Ok(Some(job)) => {
                if let Some(step) = place.step.take() {
                    step.done();
                }
                return Ok(job);
            }
            // The venv is to be made there, too.
            Err(error) if error.code == visibility::MOVED && !moved => moved = true,
            Err(error) if error.code == leases::RACED && races < RACES => {
                races += 1;
                tokio::time::sleep(BETWEEN_RACES).await;
            }
            Err(error) if error.code == leases::TAKEN && options.wait == Wait::Not => {
                return Err(leases::with_idle(workspace, error).await);
            }
            Err(error) if error.code == ticket::GONE => {
                workspace.progress.note(format!("{}; it goes to the queue's end", error.message));
                (place.ticket, place.seen, place.told) = (None, None, None);
            }
            Err(error) if place.waited && ticket::passes(&error) => again(workspace, place, error).await?,
            Err(error) => return Err(error),
        }
    }
}

/// What a job waits for is worth more than one answer of the engine.
async fn again(workspace: &Workspace, place: &mut Place, error: Error) -> Result<()> {
    let Error { code, message, .. } = &error;
    let failed = Error::new(code, message.clone());
    place.patience.after(workspace, &place.name, error).await?;
    let name = format!("{}-{}", workspace.base_name(), place.name);
    // It may have got as far as that.
    match workspace.engine.container(&name).await {
        Ok(Some(found)) if found.state == ContainerState::Created && found.label(labels::ID) == workspace.id() => {
            Ok(workspace.engine.remove_unstarted(&found.id).await?)
        }
        Ok(Some(_)) => {
            Err(failed.with_hint(format!("The job itself may have begun: `gpubay logs {}` shows it.", place.name)))
        }
        // The next attempt tells, where it cannot be asked.
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Stands in the queue until it is worth to try again.
async fn stand_in_line(workspace: &Workspace, options: &RunOptions, place: &mut Place, taken: Error) -> Result<()> {
    let limit = match options.wait {
        Wait::AtMost(limit) => Some(limit),
        Wait::Not | Wait::Always => None,
    };
    let name = place.name.clone();
    if place.ticket.is_none() {
        // Until the ticket is there: what is found half made by who has the lock was left behind.
        let lock = lock::hold(&workspace.config().paths.data, workspace.id8(), &workspace.progress).await?;
        place.settle(workspace, options).await?;
        // Before it waits for hours, and finds its name taken then.
        jobs::refuse_taken(workspace, &name).await?;
        let selection = jobs::gpus_of(workspace, options);
        let Some(wanted) = given::would_do(workspace, &selection).await? else { return Ok(()) };
        // The image, and our program where the engine sees it.
        let asked = selection.select.typed();
        let cpu = Gpus { select: GpuSelection::None, ..selection };
        let ground = up::ground(workspace, &cpu, None).await?;
        let waiter = Waiter { name: &name, argv: &options.argv, asked: &asked, wanted };
        let ticket = Ticket::take(workspace, &waiter, &ground.image.id, &ground.places.agent).await?;
        drop(lock);
        place.ticket = Some(ticket);
        place.waited = true;
        place.step = Some(workspace.progress.step("Waiting for GPUs"));
    }
    let Some(ticket) = &place.ticket else { return Ok(()) };
    let last = &mut place.told;
    let mut told = |before: usize| {
        if *last != Some(before) {
            *last = Some(before);
            let queue = match before {
                0 => "next in the queue".to_owned(),
                1 => "one waits before it".to_owned(),
                more => format!("{more} wait before it"),
            };
            workspace.progress.note(format!("job {name} waits, {queue}: {}", taken.message));
        }
    };
    let memory =
        matches!(&jobs::gpus_of(workspace, options).select, GpuSelection::Count(wish) if wish.min_free.is_some());
    let turn = ticket.turn(workspace, memory, &mut place.seen, &mut place.patience, &mut told);
    let left = limit.map(|limit| limit.saturating_sub(place.began.elapsed()));
    match left {
        None => turn.await,
        Some(left) => match tokio::time::timeout(left, turn).await {
            Ok(turn) => turn,
            Err(_) => {
                let waited = long(time::Duration::seconds(place.began.elapsed().as_secs() as i64));
                // As it is now, not as it was.
                let asking = Asking { kind: options.lease, ticket: Some(ticket) };
                let now = given::offered(workspace, &jobs::gpus_of(workspace, options), None, asking).await;
                let taken = now.err().filter(|error| error.code == leases::TAKEN).unwrap_or(taken);
                let message = format!("{} (waited for {waited})", taken.message);
                let error = Error { message, ..taken }.with_hint(
                    "Give it more time with --wait=TIME, or let it share with --share; `gpubay gpus` shows who waits, too.",
                );
                Err(leases::with_idle(workspace, error).await)
            }
        },
    }
}
