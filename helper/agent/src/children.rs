//! Every process that the agent starts, and the signals that reach the agent.
//!
//! One thread, the first, owns `waitpid`: as PID 1 it reaps whatever is orphaned in the container.
//! Spawning holds the table's lock from fork to entry, and reaping holds it too, so no child can be
//! reaped before it is known, and no pid is signalled after it was reaped.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, OnceLock};

use gpubay_protocol::agent::Exit;
use rustix::event::{EventfdFlags, eventfd};

/// A child of ours, until somebody asked how it ended.
pub(crate) struct Running {
    pub(crate) pid: i32,
    ended: Arc<Ended>,
}

struct Ended {
    exit: OnceLock<Exit>,
    /// Readable from then on.
    event: Event,
}

/// Something that happens once, for poll.
pub(crate) struct Event(OwnedFd);

impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn raise(&self) {
        // Fails only where the counter is full, and then it is raised.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

static TABLE: Mutex<Option<HashMap<i32, Arc<Ended>>>> = Mutex::new(None);

/// Starts a program, with no signal blocked; it must lead a process group of its own for
/// [`Running::signal`].
pub(crate) fn spawn(command: &mut Command) -> io::Result<(Running, Child)> {
    // SAFETY: only async-signal-safe calls between fork and exec, on memory of its own.
    unsafe {
        command.pre_exec(|| {
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            Ok(())
        });
    }
    let ended = Arc::new(Ended { exit: OnceLock::new(), event: Event::new()? });
    let mut table = TABLE.lock().expect("no holder panics");
    let child = command.spawn()?;
    let pid = child.id() as i32;
    table.get_or_insert_default().insert(pid, Arc::clone(&ended));
    Ok((Running { pid, ended }, child))
}

impl Running {
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.ended.exit.get().copied()
    }

    /// Readable once [`Self::exit`] has an answer.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.ended.event.as_fd()
    }

    /// Waits for the end, at most so long.
    pub(crate) fn wait(&self, at_most: std::time::Duration) -> Option<Exit> {
        wait_readable(self.event(), at_most);
        self.exit()
    }

    /// Signals the process group, while its leader is not reaped.
    pub(crate) fn signal(&self, signal: i32) {
        let table = TABLE.lock().expect("no holder panics");
        if table.as_ref().is_some_and(|table| table.contains_key(&self.pid)) && (1..=64).contains(&signal) {
            // SAFETY: no memory is involved.
            unsafe { libc::kill(-self.pid, signal) };
        }
    }
}

pub(crate) fn wait_readable(fd: BorrowedFd<'_>, at_most: std::time::Duration) {
    let deadline = std::time::Instant::now() + at_most;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let timeout = rustix::event::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}

/// Whether any child is left, ours or adopted.
#[derive(PartialEq, Eq)]
pub(crate) enum Left {
    Some,
    None,
}

/// Reaps all that have ended.
pub(crate) fn reap() -> Left {
    let mut table = TABLE.lock().expect("no holder panics");
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid == 0 {
            return Left::Some;
        }
        if pid < 0 {
            return Left::None;
        }
        if let Some(ended) = table.as_mut().and_then(|table| table.remove(&pid)) {
            let exit = if libc::WIFSIGNALED(status) {
                Exit::Signal(libc::WTERMSIG(status))
            } else {
                Exit::Code(libc::WEXITSTATUS(status) as u8)
            };
            let _ = ended.exit.set(exit);
            ended.event.raise();
        }
    }
}

/// Signals everything that a stop must end: as PID 1 the whole container, else our own groups.
pub(crate) fn signal_all(signal: i32) {
    let table = TABLE.lock().expect("no holder panics");
    if std::process::id() == 1 {
        // SAFETY: no memory is involved; -1 leaves out the caller.
        unsafe { libc::kill(-1, signal) };
        return;
    }
    for pid in table.iter().flatten().map(|(pid, _)| *pid) {
        // SAFETY: no memory is involved.
        unsafe { libc::kill(-pid, signal) };
    }
}

/// The signals that the agent takes itself, blocked so that none is lost before it is taken.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// To be called before the first thread.
    pub(crate) fn block(signals: &[i32]) -> Self {
        // SAFETY: the set is initialised by sigemptyset before it is read.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                libc::sigaddset(&raw mut set, *signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            Self(set)
        }
    }

    /// The next one, or `None` when it does not come in time.
    pub(crate) fn next(&self, at_most: std::time::Duration) -> Option<i32> {
        let timeout = libc::timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: at_most.subsec_nanos().into() };
        // SAFETY: both outlive the call; no siginfo is asked for.
        let signal = unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const timeout) };
        (signal > 0).then_some(signal)
    }
}
