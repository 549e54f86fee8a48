use std::time::{Duration, Instant};

use gpubay::agent::{AgentError, CaptureLimits, Client, ExecEvent, ExecEvents};
use gpubay::error::Explain;
use gpubay_protocol::agent::{Exit, FailureKind, WindowSize};
use gpubay_protocol::paths::ContainerPath;

use super::{Agent, count, eventually, exec, is_alive, program, sh, text};

async fn rest(events: &mut ExecEvents) -> (Vec<u8>, Exit) {
    let mut out = Vec::new();
    loop {
        match events.next().await.expect("an event") {
            ExecEvent::Stdout(bytes) => out.extend(bytes),
            ExecEvent::Stderr(_) => {}
            ExecEvent::Exit(exit) => return (out, exit),
        }
    }
}

/// Reads until the output so far holds `what`.
async fn until(events: &mut ExecEvents, what: &str) -> String {
    let mut out = String::new();
    while !out.contains(what) {
        match events.next().await.expect("an event") {
            ExecEvent::Stdout(bytes) => out.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} before {what:?} in {out:?}"),
        }
    }
    out
}

#[tokio::test]
async fn codes_signals_and_streams() {
    let agent = Agent::start();
    for (script, exit) in [
        ("true", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("exit 255", Exit::Code(255)),
        ("kill -9 $$", Exit::Signal(9)),
        ("kill -TERM $$", Exit::Signal(15)),
    ] {
        assert_eq!(agent.sh(script).await.exit, exit, "{script}");
    }
    let captured = agent.sh("echo out; echo err >&2").await;
    assert_eq!((text(&captured.stdout), text(&captured.stderr)), ("out", "err"));
}

#[tokio::test]
async fn refusals_say_why() {
    let agent = Agent::start();
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("no-interpreter");
    std::fs::write(&script, "#!/nonexistent/sh\n").expect("written");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    let mut nowhere = sh("true");
    nowhere.cwd = Some(ContainerPath::new("/nonexistent/folder").expect("a path"));
    let mut nul = sh("true");
    nul.env.push(("A\0".into(), Some("x".into())));
    for (request, kind, words) in [
        (exec(&["gpubay-no-such-program"]), FailureKind::NotFound, "gpubay-no-such-program"),
        (exec(&["/etc/passwd"]), FailureKind::NotExecutable, "/etc/passwd"),
        (exec(&["/etc"]), FailureKind::NotExecutable, "/etc"),
        (exec(&[script.to_str().expect("text")]), FailureKind::NotFound, "interpreter"),
        (exec(&[]), FailureKind::NotFound, "no program"),
        (nowhere, FailureKind::NoWorkingDirectory, "/nonexistent/folder"),
        (nul, FailureKind::System, "sh"),
    ] {
        match agent.client().await.exec(request).await {
            Err(AgentError::Refused(failure)) => {
                assert_eq!(failure.kind, kind, "{failure:?}");
                assert!(failure.message.contains(words), "{failure:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_environment_and_the_folder() {
    let agent = Agent::with(&["--no-entrypoint"], &[("KEPT", "a=b\nc"), ("REMOVED", "x"), ("EMPTY", "")]);
    let mut request = sh("echo \"$KEPT|${REMOVED-none}|${EMPTY-none}|$ADDED\"; pwd; tool");
    let folder = tempfile::tempdir().expect("a folder");
    let real = folder.path().canonicalize().expect("real");
    std::fs::write(real.join("tool"), "#!/bin/sh\necho tool\n").expect("written");
    std::fs::set_permissions(real.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    request.cwd = Some(ContainerPath::new(real.to_str().expect("text")).expect("a path"));
    request.env = vec![
        ("REMOVED".into(), None),
        ("ADDED".into(), Some("$(x) `y`".into())),
        ("PATH".into(), Some(format!("/bin:/usr/bin:{}", real.display()))),
    ];
    let captured = agent.client().await.capture(request, Vec::new(), CaptureLimits::default()).await.expect("runs");
    assert_eq!(text(&captured.stdout), format!("a=b\nc|none||$(x) `y`\n{}\ntool", real.display()));
}

#[tokio::test]
async fn bytes_come_back_as_they_went() {
    let agent = Agent::start();
    let mut state = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(9 << 20)
    .collect();
    let mut request = exec(&["cat"]);
    request.stdin = true;
    let limits = CaptureLimits { bytes: 10 << 20, time: Duration::from_mins(1) };
    let captured = agent.client().await.capture(request, bytes.clone(), limits).await.expect("runs");
    assert!(captured.stdout == bytes);
    assert_eq!(captured.exit, Exit::Code(0));
}

#[tokio::test]
async fn a_program_that_reads_nothing_holds_up_neither_output_nor_signals() {
    let agent = Agent::start();
    let mut request = sh(
        "trap 'echo caught; exit 7' USR1; head -c 3000000 /dev/zero | tr '\\0' x; echo ready; while :; do sleep 0.01; done",
    );
    request.stdin = true;
    let (input, mut events) = agent.client().await.exec(request).await.expect("started");
    let flood = tokio::spawn({
        let input = input.clone();
        async move { while input.stdin(&vec![b'z'; 100_000]).await {} }
    });
    until(&mut events, "ready").await;
    eventually("the window is full", || !flood.is_finished()).await;
    // The pipe takes 64 KiB, the window a mebibyte; more is never on its way.
    assert!(input.signal(libc::SIGUSR1).await);
    let (out, exit) = rest(&mut events).await;
    assert_eq!((text(&out), exit), ("caught", Exit::Code(7)));
    flood.await.expect("ended with the program");
}

#[tokio::test]
async fn a_program_that_closes_its_input_loses_nothing_else() {
    let agent = Agent::start();
    let mut request = sh("exec 0<&-; sleep 0.1; echo done; exit 4");
    request.stdin = true;
    let limits = CaptureLimits::default();
    let captured = agent.client().await.capture(request, vec![0; 5 << 20], limits).await.expect("runs");
    assert_eq!((text(&captured.stdout), captured.exit), ("done", Exit::Code(4)));
}

#[tokio::test]
async fn signals_reach_the_whole_group() {
    let agent = Agent::start();
    let (input, mut events) = agent.client().await.exec(sh("sleep 100 & echo $!; wait")).await.expect("started");
    let child: u32 = until(&mut events, "\n").await.trim().parse().expect("a pid");
    assert!(input.signal(libc::SIGTERM).await);
    let (_, exit) = rest(&mut events).await;
    assert_eq!(exit, Exit::Signal(15));
    eventually("the grandchild has ended", || !is_alive(child)).await;
}

#[tokio::test]
async fn terminals_have_a_size_and_change_it() {
    let agent = Agent::start();
    let mut request =
        sh("trap 'stty size' WINCH; tty; stty size; while :; do read x && echo got $x && break; done; exit 5");
    request.stdin = true;
    request.tty = Some(WindowSize { rows: 33, columns: 111 });
    let (input, mut events) = agent.client().await.exec(request).await.expect("started");
    let out = until(&mut events, "33 111").await;
    assert!(out.contains("/dev/pts/"), "{out:?}");
    assert!(input.resize(WindowSize { rows: 44, columns: 99 }).await);
    // dash acts on the trap once its read returns.
    assert!(input.stdin(b"hello\n").await);
    let (out, exit) = rest(&mut events).await;
    let out = String::from_utf8_lossy(&out).into_owned();
    assert!(out.contains("44 99") && out.contains("got hello"), "{out:?}");
    assert_eq!(exit, Exit::Code(5));
}

#[tokio::test]
async fn a_terminal_turns_control_c_into_a_signal_and_eof_into_an_end() {
    let agent = Agent::start();
    for eof in [false, true] {
        let mut request = exec(&["cat"]);
        request.stdin = true;
        request.tty = Some(WindowSize { rows: 24, columns: 80 });
        let (input, mut events) = agent.client().await.exec(request).await.expect("started");
        assert!(input.stdin(b"line\n").await);
        until(&mut events, "line\r\nline\r\n").await;
        assert!(if eof { input.eof().await } else { input.stdin(b"\x03").await });
        let (_, exit) = rest(&mut events).await;
        assert_eq!(exit, if eof { Exit::Code(0) } else { Exit::Signal(2) });
    }
}

#[tokio::test]
async fn a_background_process_with_the_pipe_does_not_hold_the_end() {
    let agent = Agent::start();
    let begun = Instant::now();
    let captured = agent.sh("sleep 300 & echo $!").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let child: u32 = text(&captured.stdout).parse().expect("a pid");
    assert!(is_alive(child), "what was put in the background stays");
    super::signal(child, libc::SIGKILL);
}

#[tokio::test]
async fn a_talkative_background_process_does_not_either() {
    let agent = Agent::start();
    let (_input, mut events) = agent.client().await.exec(sh("yes & echo")).await.expect("started");
    let (_, exit) = tokio::time::timeout(Duration::from_secs(20), rest(&mut events)).await.expect("ends");
    assert_eq!(exit, Exit::Code(0));
}

#[tokio::test]
async fn leaving_ends_the_program() {
    let agent = Agent::start();
    for script in ["echo $$; sleep 100", "trap '' HUP; echo $$; while :; do sleep 0.05; done"] {
        let (input, mut events) = agent.client().await.exec(sh(script)).await.expect("started");
        let pid: u32 = until(&mut events, "\n").await.trim().parse().expect("a pid");
        assert_eq!(events.pid(), pid);
        drop((input, events));
        eventually("the program has ended", || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn leaving_a_program_that_reads_nothing_ends_it_too() {
    let agent = Agent::start();
    let mut request = sh("echo $$; sleep 100");
    request.stdin = true;
    let (input, mut events) = agent.client().await.exec(request).await.expect("started");
    let pid: u32 = until(&mut events, "\n").await.trim().parse().expect("a pid");
    assert!(input.stdin(&vec![0; 1 << 20]).await);
    drop((input, events));
    eventually("the program has ended", || !is_alive(pid)).await;
}

#[tokio::test]
async fn limits_end_the_program() {
    let agent = Agent::start();
    let limits = CaptureLimits { bytes: 1000, time: Duration::from_mins(1) };
    let error = agent.client().await.capture(exec(&["yes"]), Vec::new(), limits).await.expect_err("too much");
    assert_eq!(error.code(), "too_much_output");
    let limits = CaptureLimits { bytes: 1000, time: Duration::from_millis(50) };
    let error = agent.client().await.capture(sh("sleep 100"), Vec::new(), limits).await.expect_err("too long");
    assert_eq!(error.code(), "program_timed_out");
}

#[tokio::test]
async fn a_thousand_execs_leave_nothing_behind() {
    let agent = Agent::start();
    let proc = |what: &str| count(&format!("/proc/{}/{what}", agent.pid())).expect("counted");
    agent.sh("true").await;
    eventually("the first exec is tidied up", || proc("task") == 2).await;
    let before = proc("fd");
    for _ in 0..50 {
        let batch: Vec<_> = (0..20)
            .map(|_| {
                let run_dir = agent.run_dir();
                tokio::spawn(async move {
                    let client = Client::connect(&run_dir).await.expect("connected");
                    client.capture(exec(&["true"]), Vec::new(), CaptureLimits::default()).await.expect("runs").exit
                })
            })
            .collect();
        for one in batch {
            assert_eq!(one.await.expect("joined"), Exit::Code(0));
        }
    }
    eventually("threads and descriptors are as before", || proc("task") == 2 && proc("fd") == before).await;
    let children = format!("/proc/{0}/task/{0}/children", agent.pid());
    assert_eq!(std::fs::read_to_string(children).expect("read"), "", "no zombie is left");
}

/// C6: what the image's environment would load into every program stays out of the agent.
#[tokio::test]
async fn ld_preload_reaches_the_program_and_not_the_agent() {
    let agent =
        Agent::with(&["--no-entrypoint"], &[("LD_PRELOAD", "/nonexistent/canary.so"), ("GLIBC_TUNABLES", "x=y")]);
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", agent.pid())).expect("read");
    assert!(!maps.contains("ld-linux") && !maps.contains("canary"), "{maps}");
    let captured = agent.sh("echo $LD_PRELOAD").await;
    assert_eq!(text(&captured.stdout), "/nonexistent/canary.so");
    assert!(text(&captured.stderr).contains("canary.so"), "the program's own linker complains");
}

#[tokio::test]
async fn the_same_over_stdio() {
    use tokio::process::Command;
    let mut child = Command::new(program())
        .args(["stdio", "--socket", "/nonexistent/agent.sock"])
        .env("ONLY_HERE", "yes")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let (to, from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let client = Client::over_pair(from, to).await.expect("a handshake");
    let mut request = sh("cat; echo $ONLY_HERE; exit 6");
    request.stdin = true;
    let captured = client.capture(request, b"in ".to_vec(), CaptureLimits::default()).await.expect("runs");
    assert_eq!((text(&captured.stdout), captured.exit), ("in yes", Exit::Code(6)));
    assert!(child.wait().await.expect("ended").success());
}

#[tokio::test]
async fn leaving_over_stdio_ends_the_program() {
    use tokio::process::Command;
    let mut child = Command::new(program())
        .args(["stdio", "--socket", "/nonexistent/agent.sock"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let (to, from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let client = Client::over_pair(from, to).await.expect("a handshake");
    let (input, mut events) = client.exec(sh("echo $$; sleep 100")).await.expect("started");
    let pid: u32 = until(&mut events, "\n").await.trim().parse().expect("a pid");
    drop((input, events));
    eventually("the program has ended", || !is_alive(pid)).await;
    child.wait().await.expect("the agent has ended");
}
