//! Places where a test makes the work stop: `GPUBAY_FAILPOINT=mirror.stage:abort gpubay up`.
//!
//! Each stage of a workflow names itself with [`hit`]. Without the variable that costs one atomic
//! load. `abort` ends the process at once, as `kill -9` does; `error` makes the stage fail; `wait`
//! stays there until the process is killed; `panic` is a bug at this very place, `interrupt` a Ctrl-C;
//! `hold=/a/file` makes that file and goes on when it is gone. A name without a way means `error`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// The variable that names the place and the way.
pub const VARIABLE: &str = "GPUBAY_FAILPOINT";

/// The named place was asked to fail.
#[derive(Debug, PartialEq, Eq)]
pub struct Injected(pub &'static str);

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped at the failpoint {} ({VARIABLE} is set)", self.0)
    }
}

impl std::error::Error for Injected {}

impl crate::error::Explain for Injected {
    fn code(&self) -> &'static str {
        "failpoint"
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Abort,
    Error,
    Panic,
    Wait,
    Interrupt,
    Hold(PathBuf),
}

/// A test that forgot its process must not keep it for ever.
const PATIENCE: Duration = Duration::from_mins(1);

const UNKNOWN: u8 = 0;
const UNSET: u8 = 1;
const SET: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
static ASKED: OnceLock<Option<(String, Way)>> = OnceLock::new();
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Says that a Ctrl-C has arrived and the work is told: what [`Way::Interrupt`] waits for.
pub fn note_interrupt() {
    INTERRUPTED.store(true, Ordering::Release);
}

/// Says that the work has come to `place`.
///
/// # Errors
/// [`Injected`] when the variable asks this place to fail.
pub fn hit(place: &'static str) -> Result<(), Injected> {
    if STATE.load(Ordering::Relaxed) == UNSET { Ok(()) } else { look(place) }
}

/// [`hit`] where the work can be cancelled: waiting there is a future that can be dropped.
///
/// # Errors
/// [`Injected`] when the variable asks this place to fail.
pub async fn reach(place: &'static str) -> Result<(), Injected> {
    let asked = ASKED.get_or_init(|| std::env::var(VARIABLE).ok().as_deref().and_then(parse));
    match asked {
        Some((name, Way::Wait)) if name == place => std::future::pending::<()>().await,
        Some((name, Way::Hold(file))) if name == place => {
            if first() && std::fs::write(file, "").is_ok() {
                let end = Instant::now() + PATIENCE;
                while file.exists() && Instant::now() < end {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            return Ok(());
        }
        _ => {}
    }
    hit(place)
}

#[cold]
fn look(place: &'static str) -> Result<(), Injected> {
    let asked = ASKED.get_or_init(|| std::env::var(VARIABLE).ok().as_deref().and_then(parse));
    STATE.store(if asked.is_some() { SET } else { UNSET }, Ordering::Relaxed);
    match asked {
        Some((name, way)) if name == place => match way {
            Way::Abort => std::process::abort(),
            Way::Error => Err(Injected(place)),
            Way::Panic => panic!("a bug at the failpoint {place} ({VARIABLE} is set)"),
            Way::Wait => loop {
                std::thread::park();
            },
            Way::Interrupt => {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT);
                until(|| INTERRUPTED.load(Ordering::Acquire));
                Ok(())
            }
            Way::Hold(file) => {
                hold(file);
                Ok(())
            }
        },
        _ => Ok(()),
    }
}

fn hold(file: &Path) {
    if first() && std::fs::write(file, "").is_ok() {
        until(|| !file.exists());
    }
}

/// Some places are come to twice.
fn first() -> bool {
    static HELD: AtomicBool = AtomicBool::new(false);
    !HELD.swap(true, Ordering::Relaxed)
}

fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn parse(text: &str) -> Option<(String, Way)> {
    let (name, way) = match text.split_once(':') {
        None => (text, Way::Error),
        Some((name, "abort")) => (name, Way::Abort),
        Some((name, "error")) => (name, Way::Error),
        Some((name, "panic")) => (name, Way::Panic),
        Some((name, "wait")) => (name, Way::Wait),
        Some((name, "interrupt")) => (name, Way::Interrupt),
        Some((name, way)) => (name, Way::Hold(way.strip_prefix("hold=").filter(|file| file.starts_with('/'))?.into())),
    };
    (!name.is_empty()).then(|| (name.to_owned(), way))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_a_place_and_a_way() {
        for (text, want) in [
            ("mirror.stage", Some(("mirror.stage", Way::Error))),
            ("mirror.stage:abort", Some(("mirror.stage", Way::Abort))),
            ("build:wait", Some(("build", Way::Wait))),
            ("build:error", Some(("build", Way::Error))),
            ("build:panic", Some(("build", Way::Panic))),
            ("build:interrupt", Some(("build", Way::Interrupt))),
            ("build:hold=/a:b", Some(("build", Way::Hold("/a:b".into())))),
            ("build:hold=a", None),
            ("build:explode", None),
            (":abort", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want.map(|(name, way)| (name.to_owned(), way)), "{text:?}");
        }
    }

    #[test]
    fn nothing_happens_unasked() {
        assert_eq!(hit("a place that nobody names"), Ok(()));
    }
}
