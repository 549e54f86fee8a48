//! The terminal that the command was started from.

use std::io::{IsTerminal, Read};

use gpubay_protocol::agent::WindowSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

/// All three are a terminal: programs inside get one of their own. With stderr elsewhere they do not, since a
/// terminal would mix the two.
pub(super) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

pub(super) fn size() -> WindowSize {
    tcgetwinsize(std::io::stdout())
        .map(|size| WindowSize { rows: size.ws_row, columns: size.ws_col })
        .ok()
        .filter(|size| size.rows > 0 && size.columns > 0)
        .unwrap_or(WindowSize { rows: 24, columns: 80 })
}

/// What a terminal of the container must know of this one.
pub(super) fn environment() -> Vec<(String, String)> {
    ["TERM", "COLORTERM", "NO_COLOR"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}

/// Keys go through one by one and unchanged until this is dropped.
#[derive(Debug)]
pub(super) struct Raw(Termios);

impl Raw {
    /// `None` where stdin is no terminal.
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Standard input in pieces; the channel closes at its end. A thread of its own, since a read of a
/// terminal cannot be cancelled; few pieces wait, so that a slow program slows the source down.
pub(super) fn input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    if sender.blocking_send(buffer[..n].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// Signals that are passed on to the program instead of ending this one.
pub(super) fn signals() -> mpsc::Receiver<i32> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = mpsc::channel(8);
    for number in
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH]
    {
        let Ok(mut stream) = signal(SignalKind::from_raw(number)) else { continue };
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(number).await.is_err() {
                    return;
                }
            }
        });
    }
    receiver
}
