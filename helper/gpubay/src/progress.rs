//! Long work tells how far it is and can be cancelled. The core only emits events; a front end
//! turns them into bars, lines or notifications.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use tokio_util::sync::CancellationToken;

use crate::HostPath;
use crate::workspace::report::HostEnvReport;

/// Bytes for people, in the decimal units that disks are sold by: `950 B`, `1.5 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    // In tenths of the unit, rounded.
    let tenths = |unit: usize| {
        let one = 100 * 1000_u128.pow(unit as u32);
        (u128::from(bytes) + one / 2) / one
    };
    let unit = (0..UNITS.len() - 1).find(|&unit| tenths(unit) < 9995).unwrap_or(UNITS.len() - 1);
    match tenths(unit) {
        tenths if tenths < 100 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        tenths => format!("{} {}", (tenths + 5) / 10, UNITS[unit]),
    }
}

/// How long something has gone on, for people: `59 s`, `12 min`, `2 h`, `3 days`.
pub fn long(took: time::Duration) -> String {
    let minutes = took.whole_minutes();
    match minutes {
        ..1 => format!("{} s", took.whole_seconds().max(0)),
        1..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// Names one step within a [`Progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StepId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Files,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepEnd {
    Done,
    /// It had been done before (the engine's build cache, an existing mirror).
    Cached,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Started {
        step: StepId,
        title: String,
    },
    /// `total` is absent while nobody knows it.
    Advanced {
        step: StepId,
        done: u64,
        total: Option<u64>,
        unit: Unit,
    },
    /// One line of an external program's output, without its newline, as it came (untrusted text).
    Output {
        step: StepId,
        line: String,
    },
    Ended {
        step: StepId,
        end: StepEnd,
    },
    /// Something the user should know although the work goes on.
    Warning(String),
    /// Something worth a line that is no warning.
    Note(String),
    /// What the workspace imports can be completed from, while the rest of the packages is still on its way: tools that show
    /// packages are to look now. That the rest has come is in the work's own answer.
    Packages(Arc<Packages>),
}

/// The container's packages as the host has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packages {
    pub host_env: HostEnvReport,
    /// For tools that take folders instead of an environment.
    pub paths: Vec<HostPath>,
}

/// The user has taken the work back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

impl crate::error::Explain for Cancelled {
    fn code(&self) -> &'static str {
        "cancelled"
    }
}

/// Where events go, and whether the work is still wanted. Cheap to clone.
#[derive(Clone)]
pub struct Progress {
    sink: Arc<dyn Fn(Event) + Send + Sync>,
    next: Arc<AtomicU64>,
    pub cancel: CancellationToken,
}

impl Progress {
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self { sink: Arc::new(sink), next: Arc::new(AtomicU64::new(0)), cancel: CancellationToken::new() }
    }

    /// Nobody listens.
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    /// For the places where work that was taken back ends.
    ///
    /// # Errors
    /// [`Cancelled`], once it is.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.cancel.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    pub fn emit(&self, event: Event) {
        (self.sink)(event);
    }

    pub fn warn(&self, text: impl Into<String>) {
        self.emit(Event::Warning(text.into()));
    }

    pub fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note(text.into()));
    }

    /// A step that ends as failed unless it is told otherwise before it is dropped.
    pub fn step(&self, title: impl Into<String>) -> Step {
        let id = StepId(self.next.fetch_add(1, Ordering::Relaxed));
        self.emit(Event::Started { step: id, title: title.into() });
        Step { id, progress: self.clone(), ended: false }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

/// A running step.
#[derive(Debug)]
pub struct Step {
    id: StepId,
    progress: Progress,
    ended: bool,
}

impl Step {
    pub fn advance(&self, done: u64, total: Option<u64>, unit: Unit) {
        self.progress.emit(Event::Advanced { step: self.id, done, total, unit });
    }

    pub fn output(&self, line: impl Into<String>) {
        self.progress.emit(Event::Output { step: self.id, line: line.into() });
    }

    pub fn end(mut self, end: StepEnd) {
        self.ended = true;
        self.progress.emit(Event::Ended { step: self.id, end });
    }

    pub fn done(self) {
        self.end(StepEnd::Done);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.progress.emit(Event::Ended { step: self.id, end: StepEnd::Failed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_960, "10 kB"),
            (999_400, "999 kB"),
            (999_600, "1.0 MB"),
            (1_500_000_000, "1.5 GB"),
            (43_210_000_000, "43 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn how_long_is_said_in_the_unit_that_fits() {
        for (seconds, text) in
            [(-3, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "119 min"), (7200, "2 h"), (200_000, "2 days")]
        {
            assert_eq!(long(time::Duration::seconds(seconds)), text);
        }
    }
}
