mod connecting;
mod execs;
mod pid1;
mod scans;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gpubay::HostPath;
use gpubay::agent::{CaptureLimits, Captured, Client, embedded, wait_ready};
use gpubay_protocol::agent::{AGENT_NAME, Entrypoint, ExecRequest, SOCKET_NAME, Status, StatusRequest};

/// The embedded program as a file.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        use std::os::unix::fs::PermissionsExt;
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("agent-{}.d", embedded::ID));
        let path = folder.join(AGENT_NAME);
        if !path.is_file() {
            std::fs::create_dir_all(&folder).expect("made");
            // Several test processes may do this at once; a file that is open for writing cannot be run.
            let own = path.with_extension(std::process::id().to_string());
            std::fs::write(&own, embedded::PROGRAM).expect("written");
            std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755)).expect("set");
            std::fs::rename(&own, &path).expect("renamed");
        }
        path
    })
}

/// `gpubay-agent init` with a run folder of its own, ended with it.
pub(crate) struct Agent {
    child: Child,
    folder: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::with(&["--no-entrypoint"], &[])
    }

    pub(crate) fn with(options: &[&str], env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program());
        command.arg("init").arg("--socket").arg(folder.path().join(SOCKET_NAME)).args(options);
        command.envs(env.iter().copied()).stdin(Stdio::null());
        Self { child: command.spawn().expect("started"), folder }
    }

    pub(crate) fn run_dir(&self) -> HostPath {
        HostPath::new(self.folder.path()).expect("absolute")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn client(&self) -> Client {
        wait_ready(&self.run_dir(), Duration::from_secs(30)).await.expect("the agent serves")
    }

    pub(crate) async fn sh(&self, script: &str) -> Captured {
        let limits = CaptureLimits { bytes: 64 << 20, time: Duration::from_mins(1) };
        self.client().await.capture(sh(script), Vec::new(), limits).await.expect("it runs")
    }

    pub(crate) async fn status(&self) -> Status {
        let request = StatusRequest { mounts: Vec::new(), stamp: Vec::new() };
        self.client().await.status(request).await.expect("a status")
    }

    pub(crate) async fn settled(&self) -> Entrypoint {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let entrypoint = self.status().await.entrypoint;
            if entrypoint != Entrypoint::Running {
                return entrypoint;
            }
            assert!(Instant::now() < deadline, "the ENTRYPOINT still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its exit code after SIGTERM, and how long it took.
    pub(crate) fn stop(mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        signal(self.pid(), libc::SIGTERM);
        let status = self.child.wait().expect("waited");
        (status.code(), begun.elapsed())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.pid(), libc::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

pub(crate) fn signal(pid: u32, signal: i32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
    let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal");
    rustix::process::kill_process(pid, signal).expect("signalled");
}

pub(crate) fn exec(argv: &[&str]) -> ExecRequest {
    ExecRequest {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        cwd: None,
        tty: None,
        stdin: false,
    }
}

pub(crate) fn sh(script: &str) -> ExecRequest {
    exec(&["sh", "-c", script])
}

/// Until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn is_alive(pid: u32) -> bool {
    // A zombie has ended.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text").trim()
}

/// Number of entries of a folder of `/proc`.
pub(crate) fn count(folder: &str) -> io::Result<usize> {
    Ok(std::fs::read_dir(folder)?.count())
}
