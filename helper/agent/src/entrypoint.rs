//! Runs the image's ENTRYPOINT once, with `gpubay-agent print-env` as its command, and keeps the
//! environment that arrives there: what a program would have seen in a container that was started
//! through it. It speaks over a descriptor of its own, since stdout belongs to the ENTRYPOINT.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gpubay_protocol::agent::{Entrypoint, Exit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::children::{self, Running};
use crate::environment::{self, Environment, Variables};

/// High enough that no script uses it by its number.
const REPORT_FD: i32 = 198;

/// Between the end of a failed ENTRYPOINT and the end of what it says.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The `print-env` role: our environment, each variable ended by NUL, then one more NUL.
pub(crate) fn print_env(fd: i32) -> i32 {
    if fd < 3 {
        return 2;
    }
    // SAFETY: the descriptor was made for this process alone; a wrong number fails in write.
    let mut to = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let mut bytes = environment::to_bytes(&Environment::own());
    bytes.push(0);
    i32::from(to.write_all(&bytes).is_err())
}

/// Settles `environment`, whatever happens.
pub(crate) fn learn(environment: &Environment, argv: &[OsString], timeout: Duration) {
    let begun = Instant::now();
    match run(&Environment::own(), argv, begun + timeout) {
        Ok(Outcome::Left(left)) => environment.settle(Some(left), |changed| Entrypoint::Learned { changed }),
        Ok(Outcome::TimedOut) => {
            let after_ms = begun.elapsed().as_millis() as u64;
            crate::complain(&format!("the ENTRYPOINT did not hand over to its command within {after_ms} ms"));
            environment.settle(None, |_| Entrypoint::TimedOut { after_ms });
        }
        Err(reason) => {
            crate::complain(&format!("failed to run the ENTRYPOINT: {reason}"));
            environment.settle(None, |_| Entrypoint::Failed { reason });
        }
    }
}

enum Outcome {
    Left(Variables),
    TimedOut,
}

fn run(variables: &Variables, argv: &[OsString], deadline: Instant) -> Result<Outcome, String> {
    let name = argv.first().ok_or("it is empty")?;
    let shown = name.display();
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let program = environment::find_program(name, variables, &cwd).map_err(|why| match why {
        environment::Unfit::NotFound => format!("{shown} was not found"),
        environment::Unfit::NotExecutable => format!("{shown} is not executable"),
    })?;
    // Through /proc/self/exe itself, each process would run its own image.
    let us =
        std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| Path::new(gpubay_protocol::agent::AGENT_PATH).into());
    let (mut report, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| format!("no pipe: {e}"))?;
    let mut command = Command::new(program);
    command.arg0(name).args(&argv[1..]).arg(us).arg("print-env").arg(REPORT_FD.to_string());
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let fd = theirs.as_raw_fd();
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::setpgid(0, 0);
            if libc::dup2(fd, REPORT_FD) < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    let (running, mut child) = children::spawn(&mut command).map_err(|e| format!("{shown}: {e}"))?;
    drop(theirs);
    let words = child.stderr.take().map(pass_on);
    match read_report(&mut report, &running, deadline) {
        Some(Report::Whole(bytes)) => Ok(Outcome::Left(environment::from_bytes(&bytes))),
        Some(Report::Ended(exit)) => {
            let how = match exit {
                Exit::Code(code) => format!("{shown} ended with code {code} instead of running its command"),
                Exit::Signal(signal) => format!("{shown} was ended by signal {signal}"),
            };
            std::thread::sleep(LAST_WORDS);
            let said = words.map(|w| String::from_utf8_lossy(&w.lock().expect("no holder panics")).trim().to_owned());
            Err(said.filter(|said| !said.is_empty()).map_or(how.clone(), |said| format!("{how}: {said}")))
        }
        None => {
            running.signal(libc::SIGKILL);
            Ok(Outcome::TimedOut)
        }
    }
}

enum Report {
    Whole(Vec<u8>),
    Ended(Exit),
}

fn read_report(from: &mut OwnedFd, running: &Running, deadline: Instant) -> Option<Report> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let event = running.event();
        let mut fds = [PollFd::new(&*from, PollFlags::IN), PollFd::from_borrowed_fd(event, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).is_err() {
            continue;
        }
        // What it reported counts, even where it has ended meanwhile.
        if !fds[0].revents().is_empty() {
            let got = rustix::io::read(&*from, &mut chunk).unwrap_or(0);
            bytes.extend_from_slice(&chunk[..got]);
            if bytes.ends_with(b"\0\0") || bytes == b"\0" {
                return Some(Report::Whole(bytes));
            }
            if got == 0 {
                // Nobody can report any more; the end of it is near or the time is up.
                return running.wait(deadline.saturating_duration_since(Instant::now())).map(Report::Ended);
            }
        } else if let Some(exit) = running.exit() {
            return Some(Report::Ended(exit));
        }
    }
}

/// Copies what it says to our own stderr, the container's log, and keeps the last of it.
fn pass_on(mut from: ChildStderr) -> Arc<Mutex<Vec<u8>>> {
    const KEPT: usize = 2000;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let ours = Arc::clone(&kept);
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(got @ 1..) = from.read(&mut chunk) {
            let _ = std::io::stderr().write_all(&chunk[..got]);
            let mut kept = ours.lock().expect("no holder panics");
            kept.extend_from_slice(&chunk[..got]);
            let over = kept.len().saturating_sub(KEPT);
            kept.drain(..over);
        }
    });
    kept
}
