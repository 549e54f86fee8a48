//! The three ways in which the agent runs.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use gpubay_protocol::agent::{Entrypoint, Exit, MOUNT_MOVED};

use crate::children::{self, Left, Signals};
use crate::environment::{self, Environment};
use crate::options::Options;
use crate::{complain, entrypoint, guard, mounts, server};

/// How long programs have between SIGTERM and SIGKILL when the container stops.
const GRACE: Duration = Duration::from_millis(1500);

/// How long PID 1 may take to say what it knows already.
const PID_1_ANSWERS: Duration = Duration::from_millis(200);

/// Signals that a job's command gets as if it were PID 1 itself.
const FORWARDED: &[i32] = &[
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTERM,
    libc::SIGINT,
];

/// PID 1 of a dev container: serves until it is told to end.
pub(crate) fn init(options: Options) -> i32 {
    let signals = Signals::block(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT]);
    guard::begin();
    let environment = environment_of(&options);
    if let Err(why) = server::listen(&options.socket, environment.clone()) {
        complain(&why);
        return 1;
    }
    std::thread::spawn(move || {
        if !options.entrypoint.is_empty() {
            entrypoint::learn(&environment, &options.entrypoint, options.entrypoint_timeout);
        }
    });
    loop {
        match signals.next(Duration::from_hours(1)) {
            Some(libc::SIGTERM | libc::SIGINT) => {
                end_all(&signals);
                return 0;
            }
            // Whatever woke us: a coalesced SIGCHLD stands for any number of ends.
            _ => drop(children::reap()),
        }
    }
}

/// SIGTERM to all, and SIGKILL to what is left. Idle, that is at once.
fn end_all(signals: &Signals) {
    if children::reap() == Left::None {
        return;
    }
    let deadline = Instant::now() + GRACE;
    children::signal_all(libc::SIGTERM);
    // A stopped program could not act on it.
    children::signal_all(libc::SIGCONT);
    while children::reap() == Left::Some {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            children::signal_all(libc::SIGKILL);
            return;
        }
        signals.next(left);
    }
}

/// PID 1 of a job: one command to its end, and its exit code.
pub(crate) fn job(options: Options, argv: Vec<OsString>) -> i32 {
    let mut taken = FORWARDED.to_vec();
    taken.push(libc::SIGCHLD);
    let signals = Signals::block(&taken);
    // Before anything else can run here.
    if let Err(why) = mounts::check(&options.seen) {
        complain(&why);
        return MOUNT_MOVED;
    }
    guard::begin();
    let environment = environment_of(&options);
    // A job is worth running where nobody can watch it (a lost run folder, say).
    if let Err(why) = server::listen(&options.socket, environment.clone()) {
        complain(&why);
    }
    std::thread::spawn(move || {
        if !options.entrypoint.is_empty() {
            entrypoint::learn(&environment, &options.entrypoint, options.entrypoint_timeout);
        }
        std::process::exit(run_job(&environment, &argv));
    });
    loop {
        match signals.next(Duration::from_hours(1)) {
            Some(libc::SIGCHLD) | None => drop(children::reap()),
            Some(signal) => match *JOB.lock().expect("no holder panics") {
                0 if matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) => {
                    children::signal_all(libc::SIGKILL);
                    return 128 + signal;
                }
                0 => {}
                // SAFETY: no memory is involved; the job's end ends us, so its group is still its own.
                job => drop(unsafe { libc::kill(-job, signal) }),
            },
        }
    }
}

/// The job's process group, once it runs; held while it starts, so that a signal comes before or after.
static JOB: Mutex<i32> = Mutex::new(0);

fn run_job(environment: &Environment, argv: &[OsString]) -> i32 {
    let (variables, _) = environment.known();
    let shown = argv[0].display();
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let program = match environment::find_program(&argv[0], &variables, &cwd) {
        Ok(program) => program,
        Err(environment::Unfit::NotFound) => {
            complain(&format!("{shown}: not found"));
            return 127;
        }
        Err(environment::Unfit::NotExecutable) => {
            complain(&format!("{shown}: not executable"));
            return 126;
        }
    };
    let mut command = Command::new(program);
    command.arg0(&argv[0]).args(&argv[1..]).env_clear().envs(variables.iter());
    command.stdin(Stdio::inherit());
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setpgid(0, 0);
            if libc::isatty(0) == 1 {
                // Taking the terminal from the background would stop us.
                libc::signal(libc::SIGTTOU, libc::SIG_IGN);
                libc::tcsetpgrp(0, libc::getpid());
                libc::signal(libc::SIGTTOU, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    let mut job = JOB.lock().expect("no holder panics");
    let running = match children::spawn(&mut command) {
        Ok((running, _)) => running,
        Err(e) => {
            complain(&format!("{shown}: {e}"));
            return 126;
        }
    };
    *job = running.pid;
    drop(job);
    loop {
        if let Some(exit) = running.wait(Duration::from_hours(1)) {
            return exit.as_code().into();
        }
    }
}

/// This is root, and the container is another user's.
fn root_among_others() -> bool {
    let init = std::fs::read_to_string("/proc/1/status").unwrap_or_default();
    let owner = init.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    rustix::process::geteuid().is_root() && owner != Some("0")
}

/// One conversation over stdin and stdout.
pub(crate) fn stdio(options: Options) -> i32 {
    let signals = Signals::block(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP]);
    let streams = std::io::stdin().as_fd().try_clone_to_owned().and_then(|from| {
        let to: OwnedFd = std::io::stdout().as_fd().try_clone_to_owned()?;
        Ok((from, to))
    });
    let (from, to) = match streams {
        Ok(streams) => streams,
        Err(e) => {
            complain(&format!("no stdin and stdout to talk over: {e}"));
            return 1;
        }
    };
    std::thread::spawn(move || {
        if root_among_others() {
            // PID 1 and its socket are the user's: root takes no word from there.
            let own = environment::for_root(Environment::own());
            server::converse(from, to, &Environment::new(own, Entrypoint::NotRun));
            std::process::exit(0);
        }
        let environment = Environment::new(Environment::own(), Entrypoint::Running);
        let learning = environment.clone();
        std::thread::spawn(move || match server::environment_of_init(&options.socket) {
            Some((variables, fate)) => learning.settle(Some(variables), |_| fate),
            None => learning.settle(None, |_| Entrypoint::NotRun),
        });
        // PID 1 answers at once, except while the ENTRYPOINT runs: then that is the true status.
        environment.wait(PID_1_ANSWERS);
        server::converse(from, to, &environment);
        std::process::exit(0);
    });
    loop {
        match signals.next(Duration::from_hours(1)) {
            Some(signal @ (libc::SIGTERM | libc::SIGINT | libc::SIGHUP)) => {
                end_all(&signals);
                return Exit::Signal(signal).as_code().into();
            }
            _ => drop(children::reap()),
        }
    }
}

fn environment_of(options: &Options) -> Environment {
    let entrypoint = if options.entrypoint.is_empty() { Entrypoint::NotRun } else { Entrypoint::Running };
    Environment::new(Environment::own(), entrypoint)
}
