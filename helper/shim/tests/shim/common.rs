//! An agent for tests that really runs processes, on this machine instead of in a container.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use gpubay_protocol::agent::{ExecRequest, Exit, Failure, FailureKind, FromAgent, PROTOCOL, ToAgent, WindowSize};
use gpubay_protocol::frame;
use gpubay_protocol::hostenv::{self, HostEnv};
use gpubay_protocol::paths::{ContainerPath, HostPath, PathMap};

pub(crate) struct World {
    pub(crate) temp: tempfile::TempDir,
    /// What the shim asked for, in order.
    pub(crate) asked: Arc<Mutex<Vec<ExecRequest>>>,
    resized: Arc<Mutex<Vec<WindowSize>>>,
}

impl World {
    /// A workspace with a host env whose "container" has the folder `inside` at the workspace's place.
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path().canonicalize().expect("resolves");
        std::fs::create_dir_all(root.join("ws/.venv/bin")).expect("makes");
        std::fs::create_dir_all(root.join("inside/.venv/bin")).expect("makes");
        std::fs::create_dir_all(root.join("run")).expect("makes");
        std::os::unix::fs::symlink("/usr/bin/python3", root.join("inside/.venv/bin/python")).expect("links");
        std::fs::copy(env!("CARGO_BIN_EXE_gpubay-shim"), root.join("ws/.venv/bin/python")).expect("copies");
        let world = Self { temp, asked: Arc::default(), resized: Arc::default() };
        world.write_env(&world.env());
        world
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temp.path().canonicalize().expect("resolves")
    }

    pub(crate) fn env(&self) -> HostEnv {
        let host = |path: &str| HostPath::new(self.root().join(path)).expect("absolute");
        let inside =
            |path: &str| ContainerPath::new(self.root().join(path).to_str().expect("UTF-8")).expect("a container path");
        let mut map = PathMap::default();
        map.push(host("ws"), inside("inside"));
        HostEnv {
            schema: hostenv::SCHEMA,
            id: "0".repeat(64),
            workspace: host("ws"),
            path: host("ws/.venv"),
            container: "gpubay-ws-00000000".into(),
            socket: Some(host("run/agent.sock")),
            helper: host("no-helper"),
            python: inside("inside/.venv/bin/python"),
            venv: inside("inside/.venv"),
            version: "3.11.99".into(),
            unmapped: vec![],
            map,
            scripts: [].into(),
            cache: host("cache"),
        }
    }

    pub(crate) fn write_env(&self, env: &HostEnv) {
        let text = serde_json::to_vec(env).expect("encodes");
        std::fs::write(self.root().join("ws/.venv").join(hostenv::FILE_NAME), text).expect("writes");
    }

    pub(crate) fn serve(&self) {
        let listener = UnixListener::bind(self.root().join("run/agent.sock")).expect("binds");
        let asked = Arc::clone(&self.asked);
        let resized = Arc::clone(&self.resized);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = Arc::clone(&asked);
                let resized = Arc::clone(&resized);
                std::thread::spawn(move || converse(stream, &asked, &resized));
            }
        });
    }

    /// The sizes that a terminal was given.
    pub(crate) fn resized(&self) -> Vec<WindowSize> {
        self.resized.lock().expect("lock").clone()
    }

    pub(crate) fn stop(&self) {
        std::fs::remove_file(self.root().join("run/agent.sock")).expect("removes");
    }

    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(self.root().join("ws/.venv/bin/python"));
        command.current_dir(self.root().join("ws"));
        command
    }
}

fn converse(mut stream: UnixStream, asked: &Mutex<Vec<ExecRequest>>, resized: &Arc<Mutex<Vec<WindowSize>>>) {
    let Ok(Some(ToAgent::Hello { .. })) = frame::read(&mut stream) else { return };
    let welcome = FromAgent::Welcome { protocol: PROTOCOL, version: "test".into() };
    frame::write(&mut stream, &welcome).expect("writes");
    let Ok(Some(ToAgent::Exec(request))) = frame::read(&mut stream) else { return };
    asked.lock().expect("lock").push(request.clone());
    let mut command = Command::new(&request.argv[0]);
    command.args(&request.argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The program leads its own group, as under the real agent.
    command.process_group(0).env_remove("PYTHONPATH");
    for (name, value) in &request.env {
        command.env(name, value.as_deref().unwrap_or_default());
    }
    if let Some(cwd) = &request.cwd {
        command.current_dir(Path::new(cwd.as_str()));
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            let failure = Failure { kind: FailureKind::NotFound, message: format!("{}: {e}", request.argv[0]) };
            let _ = frame::write(&mut stream, &FromAgent::Failed(failure));
            return;
        }
    };
    let pid = child.id();
    let to = Arc::new(Mutex::new(stream.try_clone().expect("clones")));
    frame::write(&mut *to.lock().expect("lock"), &FromAgent::Started { pid }).expect("writes");
    let out = pump(child.stdout.take().expect("piped"), &to, FromAgent::Stdout);
    let err = pump(child.stderr.take().expect("piped"), &to, FromAgent::Stderr);
    let mut stdin = child.stdin.take();
    let resized = Arc::clone(resized);
    std::thread::spawn(move || {
        loop {
            match frame::read::<ToAgent>(&mut stream) {
                Ok(Some(ToAgent::Stdin(bytes))) => {
                    if let Some(to) = &mut stdin {
                        let _ = to.write_all(&bytes);
                    }
                }
                Ok(Some(ToAgent::StdinEof)) => stdin = None,
                Ok(Some(ToAgent::Signal(signal))) => kill(pid, signal),
                Ok(Some(ToAgent::Resize(size))) => resized.lock().expect("lock").push(size),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return kill(pid, 9),
            }
        }
    });
    out.join().expect("joins");
    err.join().expect("joins");
    let status = child.wait().expect("waits");
    let exit = status.code().map_or_else(|| Exit::Signal(status.signal().unwrap_or(9)), |code| Exit::Code(code as u8));
    let _ = frame::write(&mut *to.lock().expect("lock"), &FromAgent::Exit(exit));
}

fn kill(pid: u32, signal: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32)
        && let Some(signal) = rustix::process::Signal::from_named_raw(signal)
    {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

fn pump(
    mut from: impl Read + Send + 'static,
    to: &Arc<Mutex<UnixStream>>,
    message: fn(Vec<u8>) -> FromAgent,
) -> std::thread::JoinHandle<()> {
    let to = Arc::clone(to);
    std::thread::spawn(move || {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n) = from.read(&mut bytes) {
            if n == 0 || frame::write(&mut *to.lock().expect("lock"), &message(bytes[..n].to_vec())).is_err() {
                break;
            }
        }
    })
}
