//! One run: standard streams, terminal and signals between this process and the program inside, in
//! one loop that never waits for one of them alone.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use gpubay_protocol::agent::{ExecRequest, Exit, Failure, FromAgent, ToAgent};
use gpubay_protocol::frame;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::answer::Filter;
use crate::cache::Record;
use crate::dialog::{self, Dialog, Toward};
use crate::place::Place;
use crate::terminal::{self, Raw, Signals};

pub(crate) enum Output {
    AsItIs,
    /// Paths in JSON become host paths, until this turns out to be a dialog.
    Filtered(Box<Filter>),
    /// Of a language server.
    Dialog(Box<Dialog>),
}

/// What comes on stdin.
enum Input {
    /// Nothing yet: it may be an editor that talks to a language server.
    Open,
    AsItIs,
    Dialog(Box<Dialog>),
}

pub(crate) enum Ended {
    Exit {
        exit: Exit,
        record: Option<Record>,
    },
    Failed(Failure),
    /// The connection broke.
    Lost,
    /// Nobody reads our stdout any more.
    NobodyReads,
}

/// Bytes waiting for one side before the other is no longer read.
const ENOUGH: usize = 512 << 10;
/// A pipe that can be written takes this much without blocking.
const PIPE_STEP: usize = 4096;

struct Session {
    stream: UnixStream,
    to_agent: VecDeque<u8>,
    from_agent: Vec<u8>,
    out: VecDeque<u8>,
    err: VecDeque<u8>,
    place: Place,
    input: Input,
    output: Output,
    /// What was said as it came, for the cache; `None` once it is no plain question and answer.
    record: Option<Record>,
    stdin_open: bool,
    raw: Option<Raw>,
    interrupts: u32,
    ended: Option<Ended>,
}

pub(crate) fn run(stream: UnixStream, request: &ExecRequest, place: &Place, output: Output) -> io::Result<Ended> {
    let signals = Signals::take()?;
    stream.set_nonblocking(true)?;
    let record = matches!(output, Output::Filtered(_)).then(Record::default);
    let raw = request.tty.map(|_| Raw::enter()).transpose()?;
    let mut session = Session {
        stream,
        to_agent: VecDeque::new(),
        from_agent: Vec::new(),
        out: VecDeque::new(),
        err: VecDeque::new(),
        place: place.clone(),
        input: if request.tty.is_some() { Input::AsItIs } else { Input::Open },
        output,
        record,
        stdin_open: true,
        raw,
        interrupts: 0,
        ended: None,
    };
    session.say(&ToAgent::Exec(request.clone()))?;
    let ended = session.turn_until_end(&signals);
    drop(session.raw.take());
    ended
}

impl Session {
    fn say(&mut self, message: &ToAgent) -> io::Result<()> {
        self.to_agent.extend(frame::encode(message)?);
        Ok(())
    }

    fn turn_until_end(&mut self, signals: &Signals) -> io::Result<Ended> {
        let stdin_is_terminal = rustix::termios::isatty(rustix::stdio::stdin());
        loop {
            if self.out.is_empty()
                && self.err.is_empty()
                && let Some(ended) = self.ended.take()
            {
                return Ok(ended);
            }
            let listens = self.ended.is_none();
            let wants_stdin = listens
                && self.stdin_open
                && self.to_agent.len() < ENOUGH
                && (!stdin_is_terminal || terminal::in_foreground());
            let room = self.out.len() < ENOUGH && self.err.len() < ENOUGH;
            let mut socket = PollFlags::empty();
            socket.set(PollFlags::IN, listens && room);
            socket.set(PollFlags::OUT, listens && !self.to_agent.is_empty());

            let ready = {
                let stream = self.stream.as_fd();
                let watched: [(BorrowedFd<'_>, PollFlags); 5] = [
                    (signals.fd(), PollFlags::IN),
                    (stream, socket),
                    (rustix::stdio::stdin(), if wants_stdin { PollFlags::IN } else { PollFlags::empty() }),
                    (rustix::stdio::stdout(), if self.out.is_empty() { PollFlags::empty() } else { PollFlags::OUT }),
                    (rustix::stdio::stderr(), if self.err.is_empty() { PollFlags::empty() } else { PollFlags::OUT }),
                ];
                // What is not wanted is not watched: a hang-up would be reported over and over.
                let mut chosen: Vec<(usize, PollFd<'_>)> = watched
                    .iter()
                    .enumerate()
                    .filter(|(_, (_, flags))| !flags.is_empty())
                    .map(|(n, (fd, flags))| (n, PollFd::from_borrowed_fd(*fd, *flags)))
                    .collect();
                let mut fds: Vec<PollFd<'_>> = chosen.iter().map(|(_, fd)| fd.clone()).collect();
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
                let mut ready = [PollFlags::empty(); 5];
                for ((n, _), fd) in chosen.drain(..).zip(&fds) {
                    ready[n] = fd.revents();
                }
                ready
            };
            if !ready[0].is_empty() {
                while let Some(signal) = signals.next() {
                    self.signal(signal)?;
                }
            }
            if !ready[1].is_empty() {
                self.exchange(ready[1])?;
            }
            if !ready[2].is_empty() {
                self.read_stdin()?;
            }
            if !ready[3].is_empty() && !flush(rustix::stdio::stdout(), &mut self.out)? {
                return Ok(Ended::NobodyReads);
            }
            if !ready[4].is_empty() && !flush(rustix::stdio::stderr(), &mut self.err)? {
                self.err.clear();
            }
        }
    }

    fn signal(&mut self, signal: i32) -> io::Result<()> {
        match signal {
            libc::SIGWINCH => {
                if self.raw.is_some()
                    && let Some(size) = terminal::size()
                {
                    self.say(&ToAgent::Resize(size))?;
                }
            }
            libc::SIGTSTP => {
                // The program's group has no shell above it and would ignore SIGTSTP.
                self.say(&ToAgent::Signal(libc::SIGSTOP))?;
                let _ = self.send();
                let had_terminal = self.raw.take().is_some();
                terminal::stop_self();
                if had_terminal && terminal::in_foreground() {
                    self.raw = Some(Raw::enter()?);
                }
                self.say(&ToAgent::Signal(libc::SIGCONT))?;
            }
            libc::SIGINT | libc::SIGTERM => {
                self.interrupts += 1;
                // Behind stdin that nobody reads a signal may never arrive; closing the connection always does.
                if self.interrupts > 1 && !self.to_agent.is_empty() {
                    self.ended = Some(Ended::Exit { exit: Exit::Signal(signal), record: None });
                }
                self.say(&ToAgent::Signal(signal))?;
            }
            other => self.say(&ToAgent::Signal(other))?,
        }
        Ok(())
    }

    fn read_stdin(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; 64 << 10];
        match rustix::io::read(rustix::stdio::stdin(), &mut bytes) {
            Ok(n) if n > 0 => {
                // A question needs no stdin: this is a dialog, whose bytes are nobody's but theirs.
                self.record = None;
                if let Output::Filtered(filter) = &mut self.output {
                    self.out.extend(filter.end());
                    self.output = Output::AsItIs;
                }
                bytes.truncate(n);
                let bytes = self.take_input(bytes);
                if bytes.is_empty() { Ok(()) } else { self.say(&ToAgent::Stdin(bytes)) }
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            // A stdin that cannot be read has ended, for the program too.
            Ok(_) | Err(_) => {
                self.stdin_open = false;
                let rest = match &mut self.input {
                    Input::Dialog(dialog) => dialog.end(),
                    Input::Open | Input::AsItIs => Vec::new(),
                };
                if !rest.is_empty() {
                    self.say(&ToAgent::Stdin(rest))?;
                }
                self.say(&ToAgent::StdinEof)
            }
        }
    }

    /// What of it can be passed on now.
    fn take_input(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if matches!(self.input, Input::Open) {
            self.input = if dialog::begins(&bytes) {
                self.output = Output::Dialog(Box::new(Dialog::new(&self.place, Toward::Host)));
                Input::Dialog(Box::new(Dialog::new(&self.place, Toward::Container)))
            } else {
                Input::AsItIs
            };
        }
        match &mut self.input {
            Input::Dialog(dialog) => dialog.push(&bytes),
            Input::AsItIs | Input::Open => bytes,
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.to_agent.is_empty() {
            let (head, _) = self.to_agent.as_slices();
            match rustix::net::send(&self.stream, head, rustix::net::SendFlags::NOSIGNAL) {
                Ok(n) => drop(self.to_agent.drain(..n)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                // What it said last is still to be read.
                Err(Errno::PIPE | Errno::CONNRESET) => self.to_agent.clear(),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn exchange(&mut self, ready: PollFlags) -> io::Result<()> {
        if ready.contains(PollFlags::OUT) {
            self.send()?;
        }
        if !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return Ok(());
        }
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.end(Ended::Lost),
            Ok(n) => {
                self.from_agent.extend_from_slice(&bytes[..n]);
                self.take_frames()?;
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => self.end(Ended::Lost),
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn take_frames(&mut self) -> io::Result<()> {
        let mut at = 0;
        while let Some(prefix) = self.from_agent.get(at..at + 4) {
            let length = frame::body_length([prefix[0], prefix[1], prefix[2], prefix[3]])?;
            let Some(body) = self.from_agent.get(at + 4..at + 4 + length) else { break };
            let message = frame::decode::<FromAgent>(body)?;
            at += 4 + length;
            self.hear(message)?;
        }
        self.from_agent.drain(..at);
        Ok(())
    }

    fn hear(&mut self, message: FromAgent) -> io::Result<()> {
        match message {
            FromAgent::Started { .. } => {}
            FromAgent::Stdout(bytes) => {
                keep(&mut self.record, |record| &mut record.stdout, &bytes);
                match &mut self.output {
                    Output::AsItIs => self.out.extend(bytes),
                    Output::Filtered(filter) => self.out.extend(filter.push(&bytes)),
                    Output::Dialog(dialog) => self.out.extend(dialog.push(&bytes)),
                }
            }
            FromAgent::Stderr(bytes) => {
                keep(&mut self.record, |record| &mut record.stderr, &bytes);
                self.err.extend(bytes);
            }
            FromAgent::Exit(exit) => {
                let record = self.record.take();
                self.end(Ended::Exit { exit, record });
            }
            FromAgent::Failed(failure) => self.end(Ended::Failed(failure)),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the agent answered another question")),
        }
        Ok(())
    }

    fn end(&mut self, ended: Ended) {
        match &mut self.output {
            Output::Filtered(filter) => self.out.extend(filter.end()),
            Output::Dialog(dialog) => self.out.extend(dialog.end()),
            Output::AsItIs => {}
        }
        self.ended.get_or_insert(ended);
    }
}

fn keep(record: &mut Option<Record>, part: impl Fn(&mut Record) -> &mut Vec<u8>, bytes: &[u8]) {
    if let Some(kept) = record {
        let part = part(kept);
        if part.len() + bytes.len() > crate::answer::MOST {
            *record = None;
        } else {
            part.extend_from_slice(bytes);
        }
    }
}

/// Writes a step; `false` where nobody reads any more.
fn flush(to: BorrowedFd<'_>, bytes: &mut VecDeque<u8>) -> io::Result<bool> {
    let (head, _) = bytes.as_slices();
    let step = &head[..head.len().min(PIPE_STEP)];
    match rustix::io::write(to, step) {
        Ok(n) => drop(bytes.drain(..n)),
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(Errno::PIPE | Errno::IO) => return Ok(false),
        Err(e) => return Err(e.into()),
    }
    Ok(true)
}
