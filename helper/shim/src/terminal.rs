//! The host's terminal and signals. All of the crate's `unsafe` is here.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use gpubay_protocol::agent::{Exit, WindowSize};
use rustix::termios::{OptionalActions, Termios};

/// Signals that are told to the program inside.
const FORWARDED: &[i32] = &[
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// The terminal's size, where stdin, stdout and stderr all are this process's own terminal. With one
/// of them redirected a pseudo-terminal inside would send its bytes to the wrong place.
pub(crate) fn of_this_process() -> Option<WindowSize> {
    let (stdin, stdout, stderr) = (rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr());
    let all = [stdin, stdout, stderr].into_iter().all(rustix::termios::isatty);
    (all && in_foreground()).then(size).flatten()
}

/// A background process that touches the terminal is stopped by it.
pub(crate) fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

pub(crate) fn size() -> Option<WindowSize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

static COOKED: OnceLock<Termios> = OnceLock::new();

/// The terminal in raw mode; as it was when this is dropped, or when the process panics.
pub(crate) struct Raw(());

impl Raw {
    pub(crate) fn enter() -> io::Result<Self> {
        let cooked = rustix::termios::tcgetattr(rustix::stdio::stdin())?;
        let mut raw = cooked.clone();
        raw.make_raw();
        if COOKED.set(cooked).is_ok() {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                before(info);
            }));
        }
        rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(cooked) = COOKED.get() {
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, cooked);
    }
}

/// Signals as readable bytes instead of interruptions.
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Those that whoever started us had ignored (`nohup`) stay ignored.
    pub(crate) fn take() -> io::Result<Self> {
        // SAFETY: the sets are initialised by sigemptyset before use, and every pointer is to a live local.
        unsafe {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut set);
            for &signal in FORWARDED {
                let mut old = std::mem::zeroed::<libc::sigaction>();
                libc::sigaction(signal, std::ptr::null(), &raw mut old);
                if old.sa_sigaction != libc::SIG_IGN {
                    libc::sigaddset(&raw mut set, signal);
                }
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    pub(crate) fn next(&self) -> Option<i32> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        let n = rustix::io::read(&self.0, &mut info).ok()?;
        // The signal's number is the first field.
        (n == info.len()).then(|| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
    }
}

/// Stops this process as the shell expects of a job; returns when it goes on.
pub(crate) fn stop_self() {
    // SAFETY: raise has no preconditions.
    unsafe {
        libc::raise(libc::SIGSTOP);
    }
}

/// The exit code; where a signal ended the program, the same signal ends this process first, so that
/// whoever waits for us sees it.
pub(crate) fn end_like(exit: Exit) -> u8 {
    if let Exit::Signal(signal) = exit {
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        // SAFETY: plain calls on live locals; the default action is restored before the mask is opened.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, signal);
            libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
            if !matches!(signal, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) {
                libc::raise(signal);
            }
        }
    }
    exit.as_code()
}
