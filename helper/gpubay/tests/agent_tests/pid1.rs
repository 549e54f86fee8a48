use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gpubay::HostPath;
use gpubay::agent::{CaptureLimits, Client, wait_ready};
use gpubay_protocol::agent::{Entrypoint, FindPythonRequest, SOCKET_NAME, StatusRequest};
use gpubay_protocol::paths::ContainerPath;

use super::{Agent, eventually, is_alive, program, sh, signal, text};

/// An executable script, and the option that makes it the ENTRYPOINT.
fn entrypoint(folder: &Path, script: &str) -> String {
    let path = folder.join("entrypoint.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    serde_json::json!([path.to_str().expect("text"), "an argument"]).to_string()
}

#[tokio::test]
async fn the_entrypoints_environment_is_everyones() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = entrypoint(
        folder.path(),
        "echo banner; export LEARNED=\"$1\n x=y\"; unset GONE; PATH=/opt/x/bin:$PATH; shift; exec \"$@\"",
    );
    let agent = Agent::with(&["--entrypoint-json", &json], &[("GONE", "x"), ("KEPT", "1")]);
    // Without waiting for it: an exec does that itself.
    let captured = agent.sh("echo \"$LEARNED|${GONE-none}|$KEPT|$PATH\"").await;
    let out = text(&captured.stdout);
    assert!(out.starts_with("an argument\n x=y|none|1|/opt/x/bin:"), "{out:?}");
    assert_eq!(agent.settled().await, Entrypoint::Learned { changed: 3 });

    // An engine's exec of ours sees the same through PID 1.
    let mut child = tokio::process::Command::new(program())
        .arg("stdio")
        .arg("--socket")
        .arg(agent.run_dir().join(SOCKET_NAME).as_path())
        .env_remove("KEPT")
        .env("HOME", "/own-home")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let (to, from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let client = Client::over_pair(from, to).await.expect("a handshake");
    let request = sh("echo $KEPT $LEARNED $HOME");
    let captured = client.capture(request, Vec::new(), CaptureLimits::default()).await.expect("runs");
    assert_eq!(text(&captured.stdout), "1 an argument x=y /own-home");
}

#[tokio::test]
async fn an_entrypoint_that_serves_is_ended_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let note = folder.path().join("pids");
    let json = entrypoint(folder.path(), &format!("sleep 100 & echo $$ $! > {}; wait", note.display()));
    let agent = Agent::with(&["--entrypoint-json", &json, "--entrypoint-timeout-ms", "300"], &[]);
    // The socket serves meanwhile.
    agent.status().await;
    match agent.settled().await {
        Entrypoint::TimedOut { after_ms } => assert!((300..5000).contains(&after_ms), "{after_ms}"),
        other => panic!("{other:?}"),
    }
    for pid in std::fs::read_to_string(note).expect("read").split_whitespace() {
        let pid = pid.parse().expect("a pid");
        eventually("its group is ended", || !is_alive(pid)).await;
    }
    assert_eq!(text(&agent.sh("echo works").await.stdout), "works");
}

#[tokio::test]
async fn an_entrypoint_that_fails_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    for (json, words) in [
        (entrypoint(folder.path(), "echo no licence >&2; exit 3"), vec!["code 3", "no licence"]),
        ("[\"/nonexistent/entry\"]".to_owned(), vec!["/nonexistent/entry", "not found"]),
    ] {
        let agent = Agent::with(&["--entrypoint-json", &json], &[("KEPT", "1")]);
        match agent.settled().await {
            Entrypoint::Failed { reason } => assert!(words.iter().all(|w| reason.contains(w)), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(text(&agent.sh("echo $KEPT").await.stdout), "1");
    }
}

#[tokio::test]
async fn a_daemon_that_the_entrypoint_starts_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let note = folder.path().join("pid");
    let json = entrypoint(folder.path(), &format!("sleep 100 & echo $! > {}; shift; exec \"$@\"", note.display()));
    let agent = Agent::with(&["--entrypoint-json", &json], &[]);
    assert_eq!(agent.settled().await, Entrypoint::Learned { changed: 0 });
    let daemon = text(&std::fs::read(note).expect("read")).parse().expect("a pid");
    assert!(is_alive(daemon));
    signal(daemon, libc::SIGKILL);
}

#[tokio::test]
async fn it_ends_at_once_when_idle_and_soon_when_not() {
    let agent = Agent::start();
    agent.client().await;
    let (code, took) = agent.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_millis(500), "{took:?}");

    let agent = Agent::start();
    let (_input, events) =
        agent.client().await.exec(sh("trap '' TERM; while :; do sleep 0.05; done")).await.expect("started");
    let pid = events.pid();
    let (code, took) = agent.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(4), "{took:?}");
    eventually("the program has ended", || !is_alive(pid)).await;
}

/// PID 1 of a namespace of its own, as in a container; needs the right to make one.
fn contained(arguments: &[&str]) -> Option<Command> {
    let can = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null()).status();
    can.is_ok_and(|status| status.success()).then(|| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(program()).args(arguments);
        command
    })
}

#[tokio::test]
async fn as_pid_1_it_reaps_orphans_and_lists_processes() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join(SOCKET_NAME);
    let Some(mut command) = contained(&["init", "--socket", socket.to_str().expect("text")]) else {
        return; // Without that right it is the end-to-end tests in containers that show it.
    };
    let mut child = command.spawn().expect("started");
    let run_dir = HostPath::new(folder.path()).expect("absolute");
    let run = |script: &'static str| {
        let run_dir = run_dir.clone();
        async move {
            let client = wait_ready(&run_dir, Duration::from_secs(30)).await.expect("serves");
            client.capture(sh(script), Vec::new(), CaptureLimits::default()).await.expect("runs")
        }
    };
    // Each sleep is orphaned at once and ends soon after.
    run("for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.05 >/dev/null 2>&1 &) ; done").await;
    let kept = run("(sleep 300 >/dev/null 2>&1 & echo $!)").await;
    let kept: u32 = text(&kept.stdout).parse().expect("a pid");
    let begun = std::time::Instant::now();
    loop {
        let client = Client::connect(&run_dir).await.expect("connected");
        let request = StatusRequest {
            mounts: [ContainerPath::new("/proc"), ContainerPath::new("/etc")].map(|p| p.expect("a path")).to_vec(),
            stamp: Vec::new(),
        };
        let status = client.status(request).await.expect("a status");
        assert_eq!(status.mounted, [true, false]);
        // Zombies are in /proc too, so the list is complete only when all are reaped.
        if let [one] = status.processes.as_slice() {
            assert_eq!((one.pid, one.argv.as_slice()), (kept, ["sleep".to_owned(), "300".to_owned()].as_slice()));
            assert_eq!(one.uid, rustix::process::geteuid().as_raw());
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", status.processes);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // SIGTERM from outside the namespace, as an engine sends it.
    let pid1 = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).expect("read");
    signal(text(pid1.as_bytes()).parse().expect("a pid"), libc::SIGTERM);
    let begun = std::time::Instant::now();
    child.wait().expect("ended");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_job_ends_as_its_command_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = entrypoint(folder.path(), "export LEARNED=yes; shift; exec \"$@\"");
    let socket: PathBuf = folder.path().join(SOCKET_NAME);
    let job = |script: &str| {
        let mut command = Command::new(program());
        command.args(["job", "--entrypoint-json", &json, "--socket"]).arg(&socket);
        command.args(["--", "sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    };
    let output = job("cat; echo $LEARNED; exit 9").stdin(Stdio::null()).output().expect("ran");
    assert_eq!((text(&output.stdout), output.status.code()), ("yes", Some(9)));
    assert_eq!(job("kill -9 $$").output().expect("ran").status.code(), Some(137));
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGHUP] {
        let mut child =
            job("trap 'exit 40' TERM INT USR1 HUP; echo ready; while :; do sleep 0.01; done").spawn().expect("started");
        let mut ready = [0; 6];
        child.stdout.as_mut().expect("piped").read_exact(&mut ready).expect("ready");
        signal(child.id(), number);
        assert_eq!(child.wait().expect("ended").code(), Some(40), "signal {number}");
    }
    let output =
        Command::new(program()).args(["job", "--socket"]).arg(&socket).args(["--", "no-such-program"]).output();
    let output = output.expect("ran");
    assert_eq!(output.status.code(), Some(127));
    assert!(text(&output.stderr).contains("no-such-program: not found"));
}

#[tokio::test]
async fn pythons_and_gpus_are_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let smi = folder.path().join("nvidia-smi");
    std::fs::write(&smi, "#!/bin/sh\necho '0, GPU-1, NVIDIA H100'\necho '1, GPU-2, NVIDIA H100'\n").expect("written");
    let python = folder.path().join("python3");
    std::fs::write(&python, "#!/bin/sh\n").expect("written");
    for path in [&smi, &python] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("set");
    }
    let search = format!("{}:/usr/bin:/bin", folder.path().display());
    let agent = Agent::with(&["--no-entrypoint"], &[("PATH", &search)]);
    let report = agent.client().await.gpus().await.expect("a report");
    assert_eq!((report.asked.as_str(), report.devices.len(), &report.problem), ("nvidia-smi", 2, &None));
    assert_eq!(report.devices[1].uuid.as_deref(), Some("GPU-2"));
    std::fs::write(&smi, "#!/bin/sh\necho 'NVML: Unknown Error'\nexit 255\n").expect("written");
    let report = agent.client().await.gpus().await.expect("a report");
    assert!(report.problem.is_some_and(|problem| problem.contains("Unknown Error")));
    let found = agent.client().await.find_python(FindPythonRequest { places: Vec::new() }).await.expect("a list");
    assert_eq!(found.found[0].as_str(), python.to_str().expect("text"));
}

#[tokio::test]
async fn one_conversation_too_many_is_turned_away() {
    let agent = Agent::start();
    let mut held = Vec::new();
    for _ in 0..256 {
        held.push(agent.client().await);
    }
    let refused = Client::connect(&agent.run_dir()).await;
    assert!(refused.is_err(), "{refused:?}");
    held.clear();
    agent.client().await;
}
