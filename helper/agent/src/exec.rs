//! Runs a program for a client.
//!
//! Three threads: this one carries output, one reads the client's messages, one feeds the program's
//! input from a bounded queue, so that neither a program that does not read nor a client that does
//! not listen holds up the other direction.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gpubay_protocol::agent::{ExecRequest, FailureKind, FromAgent, STDIN_WINDOW, ToAgent, WindowSize};
use gpubay_protocol::frame::{self, CHUNK};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Winsize;

use crate::children::{self, Event, Running};
use crate::environment::{Environment, Unfit, Variables, find_program};
use crate::server::{Client, FromClient};

/// A program that left the pipe to somebody in the background has said all it had to after so much
/// silence; what comes later is lost, as when a terminal is closed.
const SILENCE: Duration = Duration::from_millis(150);

/// What one pipe may hold. A program's own last words are never more than that.
const PIPE: usize = 1 << 20;

/// How long somebody in the background may go on talking after the program's end.
const AFTERMATH: Duration = Duration::from_secs(1);

/// After a client that left: from SIGHUP to SIGTERM, and from there to SIGKILL.
const TO_TERM: Duration = Duration::from_secs(3);
const TO_KILL: Duration = Duration::from_secs(5);

pub(crate) fn exec(
    request: &ExecRequest,
    from: FromClient,
    client: Client,
    environment: &Environment,
) -> io::Result<()> {
    let variables = variables(request, environment);
    let mut program = match start(request, &variables) {
        Ok(program) => program,
        Err((kind, message)) => return client.fail(kind, message),
    };
    let client = Arc::new(client);
    client.send(&FromAgent::Started { pid: program.running.pid as u32 })?;
    let shared = Arc::new(Shared {
        running: program.running,
        input: Input { queue: Mutex::default(), changed: Condvar::new(), is_terminal: program.terminal.is_some() },
        terminal: program.terminal,
        gone: Event::new()?,
        over: Event::new()?,
        is_over: AtomicBool::new(false),
        reports_stdin: AtomicBool::new(false),
    });
    let feeder = program.stdin.take().map(|stdin| {
        let (shared, client) = (Arc::clone(&shared), Arc::clone(&client));
        std::thread::spawn(move || feed(&stdin, &shared, &client))
    });
    let listener = {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || listen(from, &shared))
    };
    let outcome = carry(program.outputs, &shared, &client);
    if outcome.is_err() && shared.running.exit().is_none() {
        end(&shared.running);
    }
    {
        // Under the lock, so that nobody looks before it and waits after it.
        let _queue = shared.input.queue.lock().expect("no holder panics");
        shared.is_over.store(true, Ordering::SeqCst);
    }
    shared.over.raise();
    shared.input.changed.notify_all();
    if let Some(feeder) = feeder {
        let _ = feeder.join();
    }
    if let (Ok(()), Some(exit)) = (&outcome, shared.running.exit()) {
        let _ = client.send(&FromAgent::Exit(exit));
    }
    // The listener may be in the middle of a read; on a pipe (`stdio`) the process ends instead.
    client.hang_up();
    if client.is_socket() {
        let _ = listener.join();
    }
    outcome
}

fn variables(request: &ExecRequest, environment: &Environment) -> Variables {
    let mut variables = environment.now().0;
    for (name, value) in &request.env {
        match value {
            Some(value) => variables.insert(name.into(), value.into()),
            None => variables.remove(std::ffi::OsStr::new(name)),
        };
    }
    variables
}

struct Program {
    running: Running,
    stdin: Option<OwnedFd>,
    outputs: Vec<Output>,
    terminal: Option<Arc<OwnedFd>>,
}

struct Output {
    from: OwnedFd,
    message: fn(Vec<u8>) -> FromAgent,
}

fn start(request: &ExecRequest, variables: &Variables) -> Result<Program, (FailureKind, String)> {
    let system = |e: io::Error| (FailureKind::System, e.to_string());
    let Some(name) = request.argv.first() else { return Err((FailureKind::NotFound, "no program is named".into())) };
    let cwd = match &request.cwd {
        Some(cwd) => PathBuf::from(cwd.as_str()),
        None => std::env::current_dir().unwrap_or_else(|_| "/".into()),
    };
    let enter = rustix::fs::access(&cwd, rustix::fs::Access::EXEC_OK).map_err(io::Error::from);
    let is_folder = std::fs::metadata(&cwd)
        .and_then(|m| if m.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) });
    if let Err(e) = is_folder.and(enter) {
        return Err((FailureKind::NoWorkingDirectory, format!("{}: {e}", cwd.display())));
    }
    if request.argv.iter().any(|arg| arg.contains('\0'))
        || request.env.iter().any(|(name, value)| {
            name.is_empty() || name.contains(['\0', '=']) || value.as_ref().is_some_and(|value| value.contains('\0'))
        })
    {
        return Err((FailureKind::System, format!("{name:?}: an argument or a variable cannot be passed on")));
    }
    let program = find_program(name.as_ref(), variables, &cwd).map_err(|why| match why {
        Unfit::NotFound => (FailureKind::NotFound, format!("{name}: not found")),
        Unfit::NotExecutable => (FailureKind::NotExecutable, format!("{name}: not executable")),
    })?;
    let mut command = Command::new(program);
    command.arg0(name).args(&request.argv[1..]).env_clear().envs(variables).current_dir(cwd);
    let (stdin, outputs, terminal) = match request.tty {
        Some(size) => terminal(&mut command, size).map_err(system)?,
        None => pipes(&mut command, request.stdin).map_err(system)?,
    };
    let has_terminal = terminal.is_some();
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() < 0 || (has_terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0) {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let (running, _) = children::spawn(&mut command).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT) => (FailureKind::NotFound, format!("{name}: its interpreter was not found")),
        Some(libc::EACCES | libc::ENOEXEC) => (FailureKind::NotExecutable, format!("{name}: {e}")),
        _ => (FailureKind::System, format!("{name}: {e}")),
    })?;
    // `command` goes here, and with it our copies of the program's ends.
    Ok(Program { running, stdin, outputs, terminal })
}

type Ends = (Option<OwnedFd>, Vec<Output>, Option<Arc<OwnedFd>>);

fn pipes(command: &mut Command, with_stdin: bool) -> io::Result<Ends> {
    let mut stdin = None;
    if with_stdin {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let _ = rustix::pipe::fcntl_setpipe_size(&ours, CHUNK);
        command.stdin(theirs);
        stdin = Some(ours);
    } else {
        command.stdin(Stdio::null());
    }
    let mut outputs = Vec::new();
    for message in [FromAgent::Stdout as fn(Vec<u8>) -> FromAgent, FromAgent::Stderr] {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        if outputs.is_empty() {
            // Larger is only faster, and may be refused: there is a limit for each user.
            let _ = rustix::pipe::fcntl_setpipe_size(&ours, PIPE);
            command.stdout(theirs);
        } else {
            command.stderr(theirs);
        }
        outputs.push(Output { from: ours, message });
    }
    Ok((stdin, outputs, None))
}

fn terminal(command: &mut Command, size: WindowSize) -> io::Result<Ends> {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let theirs = if let Ok(theirs) = ioctl_tiocgptpeer(&master, flags) {
        theirs
    } else {
        use rustix::fs::{Mode, OFlags};
        let name = ptsname(&master, Vec::new())?;
        rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?
    };
    resize(&master, size);
    rustix::io::ioctl_fionbio(&master, true)?;
    command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
    let output = Output { from: master.try_clone()?, message: FromAgent::Stdout };
    let stdin = master.try_clone()?;
    Ok((Some(stdin), vec![output], Some(Arc::new(master))))
}

fn resize(terminal: impl AsFd, size: WindowSize) {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // The kernel tells the foreground group; a terminal that is gone needs no size.
    let _ = rustix::termios::tcsetwinsize(terminal, size);
}

struct Shared {
    running: Running,
    input: Input,
    terminal: Option<Arc<OwnedFd>>,
    /// The client left.
    gone: Event,
    /// The program's output is all sent: nobody needs input any more.
    over: Event,
    is_over: AtomicBool,
    /// The client keeps to the window and wants to hear of it.
    reports_stdin: AtomicBool,
}

struct Input {
    queue: Mutex<Queue>,
    changed: Condvar,
    is_terminal: bool,
}

#[derive(Default)]
struct Queue {
    bytes: usize,
    chunks: VecDeque<Vec<u8>>,
    ended: bool,
    /// The program has closed its end; what comes is dropped, as in a shell's pipeline.
    refused: bool,
}

/// Reads the client's messages until it leaves.
fn listen(mut from: FromClient, shared: &Shared) {
    while let Ok(Some(message)) = frame::read(&mut from) {
        match message {
            ToAgent::Stdin(bytes) if !bytes.is_empty() => {
                let mut queue = shared.input.queue.lock().expect("no holder panics");
                while queue.bytes > 0
                    && queue.bytes + bytes.len() > STDIN_WINDOW
                    && !queue.refused
                    && !shared.is_over.load(Ordering::SeqCst)
                {
                    // A client that keeps to the window never gets here; of any other we still want
                    // to know when it leaves.
                    let waited = shared.input.changed.wait_timeout(queue, Duration::from_millis(200));
                    queue = waited.expect("no holder panics").0;
                    if has_left(from.get_ref()) {
                        shared.gone.raise();
                        return;
                    }
                }
                if !queue.refused {
                    queue.bytes += bytes.len();
                    queue.chunks.push_back(bytes);
                    shared.input.changed.notify_all();
                }
            }
            ToAgent::Stdin(_) => {}
            ToAgent::StdinEof => {
                shared.input.queue.lock().expect("no holder panics").ended = true;
                shared.input.changed.notify_all();
            }
            ToAgent::Resize(size) => {
                if let Some(terminal) = &shared.terminal {
                    resize(terminal, size);
                }
            }
            ToAgent::ReportStdin => shared.reports_stdin.store(true, Ordering::SeqCst),
            ToAgent::Signal(signal) => shared.running.signal(signal),
            _ => break,
        }
    }
    shared.gone.raise();
}

fn has_left(from: &File) -> bool {
    let mut fds = [PollFd::new(from, PollFlags::RDHUP)];
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}

/// Writes the queue into the program until its end, or that of either side.
fn feed(stdin: &OwnedFd, shared: &Shared, client: &Client) {
    loop {
        let chunk = {
            let mut queue = shared.input.queue.lock().expect("no holder panics");
            loop {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                if let Some(chunk) = queue.chunks.pop_front() {
                    break chunk;
                }
                if queue.ended {
                    if !shared.input.is_terminal {
                        return; // Closing our end is the end of the program's input.
                    }
                    queue.ended = false;
                    drop(queue);
                    // A terminal has no end; its end-of-file character means the same.
                    write_all(stdin, &[4], shared);
                    queue = shared.input.queue.lock().expect("no holder panics");
                    continue;
                }
                queue = shared.input.changed.wait(queue).expect("no holder panics");
            }
        };
        let written = write_all(stdin, &chunk, shared);
        let mut queue = shared.input.queue.lock().expect("no holder panics");
        queue.bytes -= chunk.len();
        if !written {
            *queue = Queue { refused: true, ..Queue::default() };
        }
        shared.input.changed.notify_all();
        drop(queue);
        if shared.reports_stdin.load(Ordering::SeqCst) {
            let _ = client.send(&FromAgent::StdinTaken { bytes: chunk.len() as u32 });
        }
        if !written {
            return;
        }
    }
}

/// Whether the program took it all.
fn write_all(stdin: &OwnedFd, mut bytes: &[u8], shared: &Shared) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(stdin, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut fds = [PollFd::new(stdin, PollFlags::OUT), PollFd::new(&shared.over, PollFlags::IN)];
                let _ = poll(&mut fds, None);
                if !fds[1].revents().is_empty() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

/// Sends the output until the program has ended and all it said is sent. An error is a client that
/// has left.
fn carry(mut outputs: Vec<Output>, shared: &Shared, client: &Client) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut frame = Vec::with_capacity(CHUNK + 16);
    let mut ended: Option<Instant> = None;
    let mut after_end = 0;
    loop {
        if ended.is_none() && shared.running.exit().is_some() {
            ended = Some(Instant::now());
        }
        if let Some(ended) = ended
            && (outputs.is_empty() || (after_end > 2 * PIPE && ended.elapsed() > AFTERMATH))
        {
            return Ok(());
        }
        let timeout = ended.map(|_| Timespec { tv_sec: 0, tv_nsec: SILENCE.as_nanos() as i64 });
        let mut fds = vec![PollFd::new(&shared.gone, PollFlags::IN)];
        fds.extend(outputs.iter().map(|output| PollFd::new(&output.from, PollFlags::IN)));
        if ended.is_none() {
            let event: BorrowedFd<'_> = shared.running.event();
            fds.push(PollFd::from_borrowed_fd(event, PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if ended.is_some() => return Ok(()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[0] {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut index = 0;
        let mut failure = None;
        outputs.retain(|output| {
            index += 1;
            if !ready[index] || failure.is_some() {
                return true;
            }
            match rustix::io::read(&output.from, &mut buffer[..]) {
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => true,
                // A terminal whose last user is gone answers with an error.
                Ok(0) | Err(_) => false,
                Ok(got) => {
                    if ended.is_some() {
                        after_end += got;
                    }
                    frame.clear();
                    let sent = frame::append_data(&mut frame, output.message, &buffer[..got]);
                    failure = sent.and_then(|()| client.send_frames(&frame)).err();
                    true
                }
            }
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
}

/// Ends a program that nobody listens to any more.
fn end(running: &Running) {
    running.signal(libc::SIGHUP);
    running.signal(libc::SIGCONT);
    if running.wait(TO_TERM).is_some() {
        return;
    }
    running.signal(libc::SIGTERM);
    if running.wait(TO_KILL).is_none() {
        running.signal(libc::SIGKILL);
        running.wait(Duration::from_mins(1));
    }
}
