//! The shim on a pseudo-terminal: raw mode while the program runs, restored however it ends.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::common::World;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

struct Terminal {
    ours: OwnedFd,
    theirs: std::fs::File,
}

impl Terminal {
    fn open() -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("opens");
        grantpt(&ours).expect("grants");
        unlockpt(&ours).expect("unlocks");
        let name = ptsname(&ours, Vec::new()).expect("has a name").into_string().expect("UTF-8");
        let theirs = std::fs::OpenOptions::new().read(true).write(true).open(name).expect("opens");
        Self { ours, theirs }
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.ours, size).expect("resizes");
    }

    /// `setsid --ctty` makes the terminal the shim's own, with it in the foreground.
    fn start(&self, world: &World, arguments: &[&str]) -> Child {
        let mut command = std::process::Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(world.root().join("ws/.venv/bin/python")).args(arguments);
        let end = || Stdio::from(self.theirs.try_clone().expect("clones"));
        command.current_dir(world.root().join("ws")).stdin(end()).stdout(end()).stderr(end());
        command.spawn().expect("starts")
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.theirs).expect("asks").local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn read_until(&self, wanted: &str) -> String {
        let mut got = String::new();
        let mut bytes = [0; 4096];
        while !got.contains(wanted) {
            let mut fds = [rustix::event::PollFd::new(&self.ours, rustix::event::PollFlags::IN)];
            let patience = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
            assert!(
                rustix::event::poll(&mut fds, Some(&patience)).expect("polls") > 0,
                "waits for {wanted:?}: {got:?}"
            );
            let n = rustix::io::read(self.ours.as_fd(), &mut bytes).expect("reads");
            got.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        got
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Prints what it reads, byte by byte, until `q`.
const ECHO: &str = "import os, sys\nprint('up', flush=True)\nwhile True:\n    b = os.read(0, 1)\n    print(b, flush=True)\n    \
                    if b == b'q': sys.exit(3)\n";

#[test]
fn the_terminal_is_raw_while_it_runs_and_restored_after() {
    let world = World::new();
    world.serve();
    std::fs::write(world.root().join("inside/t.py"), ECHO).expect("writes");
    let terminal = Terminal::open();
    terminal.resize(33, 101);
    assert!(!terminal.is_raw());
    let mut child = terminal.start(&world, &["t.py"]);
    terminal.read_until("up");
    assert!(terminal.is_raw());
    // Ctrl-C is a byte for the program's terminal inside, not a signal here.
    rustix::io::write(&terminal.ours, b"\x03").expect("types");
    terminal.read_until("b'\\x03'");
    terminal.resize(44, 120);
    eventually("the resize is told", || world.resized().iter().any(|size| (size.rows, size.columns) == (44, 120)));
    rustix::io::write(&terminal.ours, b"q").expect("types");
    assert_eq!(child.wait().expect("waits").code(), Some(3));
    assert!(!terminal.is_raw());
    let size = world.asked.lock().expect("lock")[0].tty.expect("a terminal");
    assert_eq!((size.rows, size.columns), (33, 101));
}

#[test]
fn the_terminal_is_restored_when_a_signal_ends_it() {
    let world = World::new();
    world.serve();
    std::fs::write(world.root().join("inside/t.py"), ECHO).expect("writes");
    for signal in ["TERM", "HUP", "INT"] {
        let terminal = Terminal::open();
        let mut child = terminal.start(&world, &["t.py"]);
        terminal.read_until("up");
        assert!(terminal.is_raw());
        let group = rustix::termios::tcgetpgrp(&terminal.ours).expect("a group");
        let number = match signal {
            "TERM" => rustix::process::Signal::TERM,
            "HUP" => rustix::process::Signal::HUP,
            _ => rustix::process::Signal::INT,
        };
        rustix::process::kill_process(group, number).expect("signals");
        assert!(!child.wait().expect("waits").success(), "{signal}");
        assert!(!terminal.is_raw(), "{signal}");
    }
}

#[test]
fn with_stderr_elsewhere_there_is_no_terminal_inside() {
    let world = World::new();
    world.serve();
    let terminal = Terminal::open();
    let end = || Stdio::from(terminal.theirs.try_clone().expect("clones"));
    let mut command = world.python();
    std::fs::write(world.root().join("inside/e.py"), "import sys; print('apart', file=sys.stderr)\n").expect("writes");
    command.arg("e.py").stdin(end()).stdout(end()).stderr(Stdio::piped());
    let out = command.spawn().expect("starts").wait_with_output().expect("waits");
    assert_eq!(out.stderr, b"apart\n");
    assert!(world.asked.lock().expect("lock")[0].tty.is_none());
}
