//! This process's streams, terminal and signals, connected with those of a program elsewhere.
//!
//! Nothing here waits for one side alone: what the program prints goes to a thread of its own, so that
//! a reader who does not read holds up neither signals nor input, and a program that does not read its
//! input holds up neither its own output nor signals.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use gpubay_protocol::agent::WindowSize;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::{Notify, mpsc};

use super::terminal;
use crate::engine::LogChunk;
use crate::error::Result;

/// What may wait for a slow reader before the program is held up in its turn, in bytes.
const ROOM: usize = 512 << 10;
/// What more is taken in at a time after a signal, so that the end of a program whose output nobody reads is
/// seen: more than pipes and sockets on the way hold.
const LAST_WORDS: usize = 8 << 20;
/// A program may say much between the signal's leaving here and its arrival: so often more is taken in, after
/// so long each time. One that ignores the signal is held up again then.
const MORE: u32 = 16;
const MORE_AFTER: Duration = Duration::from_millis(100);
/// After a signal and the program's end, a reader that takes nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a program's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Each stream to its own.
    AsItIs,
    /// Both to stderr, since stdout is for one JSON object.
    Stderr,
}

/// Passes output on in order, byte for byte, on a thread of its own.
#[derive(Debug)]
pub(super) struct Writer {
    queue: std::sync::mpsc::Sender<(BorrowedFd<'static>, bytes::Bytes)>,
    shared: Arc<Shared>,
    target: Target,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    nobody_reads: AtomicBool,
    changed: Notify,
}

impl Writer {
    pub(super) fn start(target: Target) -> Self {
        let (queue, pieces) = std::sync::mpsc::channel::<(BorrowedFd<'static>, bytes::Bytes)>();
        let shared = Arc::new(Shared::default());
        let thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for (to, piece) in pieces {
                if !write_all(to, &piece) && to_stdout(to) {
                    thread.nobody_reads.store(true, Ordering::SeqCst);
                }
                thread.waiting.fetch_sub(piece.len(), Ordering::SeqCst);
                thread.changed.notify_one();
            }
        });
        Self { queue, shared, target }
    }

    pub(super) fn push(&self, chunk: LogChunk) {
        let (to, bytes) = match (chunk, self.target) {
            (LogChunk::Stdout(bytes), Target::AsItIs) => (rustix::stdio::stdout(), bytes),
            (LogChunk::Stdout(bytes) | LogChunk::Stderr(bytes), _) => (rustix::stdio::stderr(), bytes),
        };
        self.shared.waiting.fetch_add(bytes.len(), Ordering::SeqCst);
        let _ = self.queue.send((to, bytes));
    }

    /// The reader of stdout has gone away.
    pub(super) fn nobody_reads(&self) -> bool {
        self.shared.nobody_reads.load(Ordering::SeqCst)
    }

    /// Waits until no more than `most` bytes wait, or nobody reads them.
    pub(super) async fn at_most(&self, most: usize) {
        while self.shared.waiting.load(Ordering::SeqCst) > most && !self.nobody_reads() {
            self.shared.changed.notified().await;
        }
    }

    /// Waits until there is room for more.
    pub(super) async fn room(&self) {
        self.at_most(ROOM).await;
    }

    /// Waits until all is written that anybody reads.
    pub(super) async fn drained(&self) {
        self.at_most(0).await;
    }

    async fn until_nobody_reads(&self) {
        while !self.nobody_reads() {
            self.shared.changed.notified().await;
        }
    }

    /// [`Self::drained`], but a reader that takes nothing for a while is given up.
    async fn drained_or_stuck(&self) {
        let mut before = usize::MAX;
        loop {
            let waiting = self.shared.waiting.load(Ordering::SeqCst);
            if waiting >= before {
                return;
            }
            before = waiting;
            if tokio::time::timeout(PATIENCE, self.drained()).await.is_ok() {
                return;
            }
        }
    }
}

fn to_stdout(fd: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd() == rustix::stdio::stdout().as_raw_fd()
}

/// Whether somebody took it. What we were given may be in non-blocking mode: it belongs to others too.
fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None);
            }
            Err(_) => return false,
        }
    }
    true
}

/// What reaches the program besides its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Signal(i32),
    Resize(WindowSize),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// `output` came to its end, and all of it that anybody reads is written.
    Program,
    /// The reader of our stdout has gone away, as `head` does; the program may still run.
    NobodyReads,
}

/// Connects both sides until `output` ends. `feed` hands our stdin on and may end before or never;
/// `steer` passes on signals and sizes, one after the other.
pub(super) async fn connect(
    output: impl Stream<Item = Result<LogChunk>>,
    feed: impl Future<Output = ()>,
    steer: impl AsyncFn(Control),
    mut signals: mpsc::Receiver<i32>,
    target: Target,
) -> Result<Ended> {
    let writer = Writer::start(target);
    let room = Cell::new(ROOM);
    let more = Cell::new(0);
    let urged = Notify::new();
    let hear = async {
        let mut output = std::pin::pin!(output);
        loop {
            tokio::select! {
                () = writer.at_most(room.get()) => {}
                // The room has grown.
                () = urged.notified() => continue,
                () = tokio::time::sleep(MORE_AFTER), if more.get() > 0 => {
                    more.set(more.get() - 1);
                    room.set(room.get() + LAST_WORDS);
                    continue;
                }
            }
            tokio::select! {
                chunk = output.next() => match chunk {
                    Some(chunk) => writer.push(chunk?),
                    None => break,
                },
                () = writer.until_nobody_reads() => return Ok(Ended::NobodyReads),
            }
        }
        if room.get() == ROOM {
            tokio::select! {
                () = writer.drained() => {}
                () = urged.notified() => writer.drained_or_stuck().await,
            }
        } else {
            writer.drained_or_stuck().await;
        }
        Ok(if writer.nobody_reads() { Ended::NobodyReads } else { Ended::Program })
    };
    let pass_on = async {
        while let Some(signal) = signals.recv().await {
            if signal == libc::SIGWINCH {
                steer(Control::Resize(terminal::size())).await;
            } else {
                room.set(room.get() + LAST_WORDS);
                more.set(MORE);
                urged.notify_one();
                steer(Control::Signal(signal)).await;
            }
        }
        std::future::pending::<()>().await;
    };
    let feed = async {
        feed.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = hear => ended,
        () = pass_on => unreachable!("it never ends"),
        () = feed => unreachable!("it never ends"),
    }
}
