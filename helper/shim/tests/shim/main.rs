//! The shim's executable against an agent that really runs processes.

mod common;
mod terminal;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use common::World;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn arguments_streams_and_exit_codes_go_through() {
    let world = World::new();
    world.serve();
    std::fs::write(
        world.root().join("inside/t.py"),
        "import sys\nprint(sys.argv[1:]); print('e', file=sys.stderr); sys.exit(int(sys.argv[1]))\n",
    )
    .expect("writes");
    let out = world.python().args(["t.py", "7", "a b", "$(x)"]).output().expect("runs");
    assert_eq!(out.status.code(), Some(7));
    assert_eq!(text(&out.stdout), "['7', 'a b', '$(x)']\n");
    assert_eq!(text(&out.stderr), "e\n");
}

#[test]
fn random_bytes_pass_unchanged_both_ways() {
    let world = World::new();
    world.serve();
    std::fs::write(
        world.root().join("inside/cat.py"),
        "import sys, shutil\nshutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)\n",
    )
    .expect("writes");
    let mut bytes = vec![0; 3 << 20];
    std::fs::File::open("/dev/urandom").expect("opens").read_exact(&mut bytes).expect("reads");
    bytes.extend(format!("\n[\"{}/inside\"]\n", world.root().display()).bytes());
    for code in [vec!["cat.py"], vec!["-c", "import cat"]] {
        let mut child = world.python().args(code).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut stdin = child.stdin.take().expect("piped");
        let sent = bytes.clone();
        let writer = std::thread::spawn(move || stdin.write_all(&sent));
        let mut got = Vec::new();
        child.stdout.take().expect("piped").read_to_end(&mut got).expect("reads");
        writer.join().expect("joins").expect("writes");
        assert!(child.wait().expect("waits").success());
        assert!(got == bytes, "{} of {} bytes", got.len(), bytes.len());
    }
}

#[test]
fn a_script_of_the_workspace_is_never_rewritten_and_a_question_is() {
    let world = World::new();
    world.serve();
    let inside = world.root().join("inside");
    let line = format!("print('[\"{}\"]')", inside.display());
    std::fs::write(inside.join("t.py"), &line).expect("writes");
    let run = |arguments: &[&str]| {
        let out = world.python().args(arguments).stdin(Stdio::null()).output().expect("runs");
        text(&out.stdout)
    };
    assert_eq!(run(&["t.py"]), format!("[\"{}\"]\n", inside.display()));
    assert_eq!(run(&["-c", &line]), format!("[\"{}\"]\n", world.root().join("ws").display()));
}

#[test]
fn a_stopped_container_answers_tools_from_memory_and_says_so_to_runs() {
    let world = World::new();
    world.serve();
    let ask = ["-c", "import json, sys; print(json.dumps({'v': sys.version_info[0], 'x': sys.executable}))"];
    let first = world.python().args(ask).stdin(Stdio::null()).output().expect("runs");
    let want = format!("{{\"v\": 3, \"x\": \"{}/ws/.venv/bin/python\"}}\n", world.root().display());
    assert_eq!(text(&first.stdout), want);
    // Not what tools ask for: to say it again without doing it would be a lie.
    let deed = ["-c", "print('written')"];
    assert_eq!(text(&world.python().args(deed).stdin(Stdio::null()).output().expect("runs").stdout), "written\n");
    world.stop();
    let second = world.python().args(ask).stdin(Stdio::null()).output().expect("runs");
    assert_eq!((text(&second.stdout), second.status.code()), (want, Some(0)));
    for arguments in [vec!["train.py"], vec!["-c", "another"], deed.to_vec()] {
        let out = world.python().args(arguments).output().expect("runs");
        assert_eq!(out.status.code(), Some(125));
        let said = text(&out.stderr);
        assert!(said.contains("gpubay-ws-00000000 is not running") && said.contains(" up"), "{said}");
    }
    let out = world.python().arg("--version").output().expect("runs");
    assert_eq!(text(&out.stdout), "Python 3.11.99\n");
}

#[test]
fn ms_pythons_scripts_work_from_the_host() {
    let world = World::new();
    world.serve();
    let tools = world.root().join("tools");
    std::fs::create_dir(&tools).expect("makes");
    let (markers, info) = (tools.join("markers.py"), tools.join("info.py"));
    // What theirs do: one prints marks around another script that it runs by path.
    std::fs::write(
        &markers,
        "import runpy, sys\nprint('>>>')\ntry:\n    module = sys.argv[1]\n    sys.argv = sys.argv[1:]\n    \
         runpy.run_path(module, run_name='__main__')\nfinally:\n    print('<<<')\n",
    )
    .expect("writes");
    std::fs::write(
        &info,
        "import json, sys\nif __name__ == '__main__':\n    print(json.dumps({'exe': sys.executable, 'argv': sys.argv, \
         'file': __file__}))\n",
    )
    .expect("writes");
    let exe = world.root().join("ws/.venv/bin/python");
    let answer =
        format!("{{\"exe\": \"{}\", \"argv\": [\"{i}\"], \"file\": \"{i}\"}}\n", exe.display(), i = info.display());
    let out = world.python().arg("-I").arg(&info).current_dir("/").stdin(Stdio::null()).output().expect("runs");
    assert_eq!(text(&out.stdout), answer, "{}", text(&out.stderr));
    let out = world.python().arg(&markers).arg(&info).current_dir("/").stdin(Stdio::null()).output().expect("runs");
    assert_eq!(text(&out.stdout), format!(">>>\n{answer}<<<\n"), "{}", text(&out.stderr));
}

#[test]
fn signals_reach_the_program_and_its_death_is_ours() {
    let world = World::new();
    world.serve();
    let inside = world.root().join("inside");
    std::fs::write(
        inside.join("t.py"),
        "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: print('usr1', flush=True))\nprint('up', flush=True)\n\
         while True: time.sleep(0.05)\n",
    )
    .expect("writes");
    let mut child = world.python().arg("t.py").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a pid");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("reads");
    assert_eq!(next(), "up");
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).expect("signals");
    assert_eq!(next(), "usr1");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signals");
    assert_eq!(child.wait().expect("waits").signal(), Some(15));
}

#[test]
fn a_reader_that_went_away_ends_the_run() {
    let world = World::new();
    world.serve();
    std::fs::write(world.root().join("inside/y.py"), "while True: print('y')\n").expect("writes");
    let mut child = world.python().arg("y.py").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut first = [0; 2];
    child.stdout.take().expect("piped").read_exact(&mut first).expect("reads");
    assert_eq!(child.wait().expect("waits").signal(), Some(13));
}

#[test]
fn what_has_the_sockets_name_is_checked() {
    let world = World::new();
    let socket = world.root().join("run/agent.sock");
    let canary = world.root().join("canary.sock");
    let listener = std::os::unix::net::UnixListener::bind(&canary).expect("binds");
    listener.set_nonblocking(true).expect("sets");
    std::os::unix::fs::symlink(&canary, &socket).expect("links");
    let out = world.python().args(["-c", "1"]).output().expect("runs");
    assert_eq!(out.status.code(), Some(125));
    assert!(listener.accept().is_err(), "the link was followed");
    std::fs::remove_file(&socket).expect("removes");
    assert!(Command::new("mkfifo").arg(&socket).status().expect("runs").success());
    let out = world.python().args(["-c", "1"]).output().expect("runs");
    assert!(text(&out.stderr).contains("is not a socket"), "{}", text(&out.stderr));
}

#[test]
fn a_copied_workspace_does_not_run_the_other_ones_code() {
    let world = World::new();
    world.serve();
    let copy = world.root().join("copy");
    assert!(Command::new("cp").arg("-r").arg(world.root().join("ws")).arg(&copy).status().expect("runs").success());
    let out = Command::new(copy.join(".venv/bin/python")).args(["-c", "1"]).output().expect("runs");
    assert!(text(&out.stderr).contains("was made for"), "{}", text(&out.stderr));
    let link = world.root().join("elsewhere");
    std::os::unix::fs::symlink(world.root().join("ws/.venv/bin/python"), &link).expect("links");
    let out = Command::new(&link).args(["-c", "print(1)"]).stdin(Stdio::null()).output().expect("runs");
    assert_eq!(text(&out.stdout), "1\n", "{}", text(&out.stderr));
}

/// jedi and debugpy talk with a script of theirs: an answer that is held back until the end never ends.
#[test]
fn a_dialog_is_not_held_back() {
    let world = World::new();
    world.serve();
    let code = "import sys\nfor line in sys.stdin:\n    sys.stdout.write('[\"' + line.strip()); sys.stdout.flush()\n";
    let mut child =
        world.python().args(["-c", code]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    for _ in 0..3 {
        stdin.write_all(b"ping\n").expect("writes");
        let mut answer = [0; 6];
        let mut fds = [rustix::event::PollFd::new(&stdout, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1), "the answer is held back");
        stdout.read_exact(&mut answer).expect("reads");
        assert_eq!(&answer, b"[\"ping");
    }
    drop(stdin);
    assert!(child.wait().expect("waits").success());
}
