//! What the workflow tests share: real engines, real users, a workspace in a fresh home.
//!
//! `make test` starts the engines and sets the variables that [`lab`] reads; without them every
//! test fails with a sentence that says so. Nothing is skipped.

mod driver;
mod editor;
mod schema;

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use driver::{Driver, Machine};
pub use editor::Editor;

/// Where a first `up` can be interrupted, in its order: the program's own failpoints, until there is a venv in a container.
pub const STAGES_OF_THE_CONTAINER: [&str; 6] =
    ["image.build", "image.built", "container.created", "container.started", "venv.created", "venv.installed"];

/// From there on: mirror and host env.
pub const STAGES_OF_THE_MIRROR: [&str; 8] = [
    "mirror.helper",
    "mirror.scan",
    "mirror.plan",
    "mirror.stage",
    "mirror.seal",
    "mirror.apply",
    "mirror.applied",
    "hostenv.write",
];

/// Where an `up` can be interrupted that looks for a folder that the engine sees.
pub const STAGES_OF_THE_SWITCH: [&str; 3] = ["data.made", "data.probe", "data.chosen"];

/// The surroundings that `make test` provides.
#[derive(Debug)]
pub struct Lab {
    /// Name and socket.
    pub engines: Vec<(String, PathBuf)>,
    /// Mount namespaces of those engines that see files which the machine has not; who uses them sees these, too.
    pub mounts: Vec<(String, PathBuf)>,
    /// The engine's own tool, for looking at what we made from the outside.
    pub docker: PathBuf,
    /// An ordinary user of this machine.
    pub user: String,
    pub uid: u32,
    pub gid: u32,
    /// The program under test, where an ordinary user can run it.
    pub gpubay: PathBuf,
}

/// # Panics
/// With the next step, where the surroundings are not there.
pub fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let var = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests through `make test`"))
        };
        let paths = |name: &str| -> Vec<(String, PathBuf)> {
            let list = var(name);
            let pairs = list.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
                let (engine, path) = pair.split_once('=').unwrap_or_else(|| panic!("{name} is engine=path,…"));
                (engine.to_owned(), PathBuf::from(path.trim_start_matches("unix://")))
            });
            pairs.collect()
        };
        let user = var("GPUBAY_TEST_USER");
        let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        let entry = passwd.lines().find(|line| line.starts_with(&format!("{user}:"))).expect("the test user exists");
        let field = |n: usize| entry.split(':').nth(n).and_then(|id| id.parse().ok()).expect("a number");
        Lab {
            engines: paths("GPUBAY_TEST_ENGINES"),
            mounts: paths("GPUBAY_TEST_MOUNTS"),
            docker: PathBuf::from(var("GPUBAY_TEST_DOCKER")),
            uid: field(2),
            gid: field(3),
            user,
            gpubay: runnable_copy(Path::new(&var("GPUBAY_BIN"))),
        }
    })
}

/// What the hexadecimal part of `vscode-remote://attached-container+…/` says.
///
/// # Panics
/// Where `uri` is none, or has no object in it.
pub fn attach_target(uri: &str) -> Value {
    let hex = uri.strip_prefix("vscode-remote://attached-container+").and_then(|rest| rest.split('/').next());
    let hex = hex.unwrap_or_else(|| panic!("{uri}")).as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hexadecimal");
    let bytes: Vec<u8> = hex.chunks(2).map(byte).collect();
    serde_json::from_slice(&bytes).expect("an object")
}

/// An object that a command printed, against its schema in `docs/schema`.
#[track_caller]
pub fn as_published(command: &str, answer: &Value) {
    let file = format!("{}/../../docs/schema/{command}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let schema = serde_json::from_str(&text).expect("JSON");
    let faults = schema::faults(&schema, answer);
    assert!(faults.is_empty(), "{command} does not print what {file} says: {faults:#?}\n{answer:#}");
}

/// The build's folder may be closed to others.
fn runnable_copy(built: &Path) -> PathBuf {
    let stamp = std::fs::metadata(built).and_then(|found| found.modified()).expect("GPUBAY_BIN is built");
    let stamp = stamp.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    let folder = std::env::temp_dir().join(format!("gpubay-e2e-{stamp}"));
    let copy = folder.join("gpubay");
    if !copy.exists() {
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("opened");
        let aside = folder.join(format!("gpubay.{}", std::process::id()));
        std::fs::copy(built, &aside).expect("copied");
        std::fs::set_permissions(&aside, PermissionsExt::from_mode(0o755)).expect("opened");
        std::fs::rename(&aside, &copy).expect("renamed");
    }
    copy
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Root,
    Ordinary,
}

/// A user with a home of their own and a workspace, on one engine.
#[derive(Debug)]
pub struct Bench {
    pub engine: String,
    pub socket: PathBuf,
    pub who: Who,
    pub home: PathBuf,
    pub workspace: PathBuf,
    /// More for the environment of the user's commands.
    pub env: Vec<(String, PathBuf)>,
    root: TempDir,
}

impl Bench {
    /// The workspace's folder is `name` in the user's home.
    pub fn new(engine: &str, who: Who, name: &str) -> Self {
        let lab = lab();
        let (engine, socket) = lab
            .engines
            .iter()
            .find(|(known, _)| known == engine)
            .unwrap_or_else(|| panic!("no engine {engine} in GPUBAY_TEST_ENGINES"))
            .clone();
        let root = tempfile::Builder::new().prefix("gpubay-e2e-").tempdir().expect("a folder");
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).expect("opened");
        let home = root.path().join("home");
        let workspace = home.join(name);
        std::fs::create_dir_all(&workspace).expect("made");
        let bench = Self { engine, socket, who, home, workspace, env: Vec::new(), root };
        bench.own(&bench.home.clone());
        bench.own(&bench.workspace.clone());
        bench
    }

    /// The same for tests that are not about GPUs: what they start asks for none, so that it waits for nobody who has them.
    pub fn on_cpu(engine: &str, who: Who, name: &str) -> Self {
        let bench = Self::new(engine, who, name);
        bench.prefer("\"none\"");
        bench
    }

    /// What the user's own configuration says of GPUs: `auto` looks at what other tests have.
    pub fn prefer(&self, gpus: &str) {
        let folder = self.home.join(".config/gpubay");
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("config.toml"), format!("[gpus]\nuse = {gpus}\n")).expect("written");
        for path in [self.home.join(".config"), folder.clone(), folder.join("config.toml")] {
            self.own(&path);
        }
    }

    /// A folder of this test that lies outside of the home.
    pub fn outside(&self) -> &Path {
        self.root.path()
    }

    pub fn uid(&self) -> u32 {
        if self.who == Who::Root { 0 } else { lab().uid }
    }

    pub fn gid(&self) -> u32 {
        if self.who == Who::Root { 0 } else { lab().gid }
    }

    /// Hands a path to the user.
    pub fn own(&self, path: &Path) {
        chown(path, Some(self.uid()), Some(self.gid())).expect("handed over");
    }

    /// Writes a file of the workspace, as the user.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.workspace.join(path);
        let mut parent = path.parent().expect("below the workspace").to_owned();
        let mut made = Vec::new();
        while !parent.exists() {
            made.push(parent.clone());
            parent = parent.parent().expect("a parent").to_owned();
        }
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(&path, text).expect("written");
        for folder in made {
            self.own(&folder);
        }
        self.own(&path);
    }

    /// A command as the user, with nothing of this process's environment but what a login gives.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if let Some((_, mounts)) = lab().mounts.iter().find(|(engine, _)| *engine == self.engine) {
            // Whoever enters it stands in its root.
            let mount = format!("--mount={}", mounts.display());
            words.extend(["nsenter", &mount, "--", "env", "--chdir"].map(OsString::from));
            words.push(self.workspace.clone().into_os_string());
        }
        if self.who == Who::Ordinary {
            let gid = self.gid().to_string();
            let as_user = ["setpriv", "--reuid", &lab().user, "--regid", &gid, "--init-groups", "--"];
            words.extend(as_user.map(OsString::from));
        }
        words.push(program.as_ref().to_owned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.home)
            .env("USER", if self.who == Who::Root { "root" } else { &lab().user })
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env("GPUBAY_LOG", std::env::var("GPUBAY_LOG").unwrap_or_default())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.workspace)
            .stdin(Stdio::null());
        command
    }

    /// `gpubay …` in the workspace.
    pub fn gpubay(&self, args: &[&str]) -> Command {
        let mut command = self.command(&lab().gpubay);
        command.args(args);
        command
    }

    /// Runs it to its end; its output is in the message of a failed test.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&output(&mut self.gpubay(args)), args)
    }

    /// `--json`, successful.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.insert(1, "--json");
        let ran = self.run(&all);
        let answer = ran.succeeded().json();
        as_published(args[0], &answer);
        answer
    }

    /// `--json`, unsuccessful: the error's code, and what was printed.
    #[track_caller]
    pub fn error(&self, args: &[&str]) -> (String, Ran) {
        let mut all = args.to_vec();
        all.insert(1, "--json");
        let ran = self.run(&all);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        let report = ran.json();
        as_published(args[0], &report);
        assert_eq!(report["outcome"], "error", "{args:?}: {report}");
        assert!(report["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{report}");
        (report["error"]["code"].as_str().expect("a code").to_owned(), ran)
    }

    #[track_caller]
    pub fn up(&self) -> Value {
        self.json(&["up"])
    }

    /// The `.venv/bin/python` of the host.
    pub fn python(&self, args: &[&str]) -> Command {
        let mut command = self.command(self.workspace.join(".venv/bin/python"));
        command.args(args);
        command
    }

    /// The engine's own tool.
    pub fn docker(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(&lab().docker);
        command.args(args).env("DOCKER_HOST", format!("unix://{}", self.socket.display())).stdin(Stdio::null());
        Ran::of(&command.output().expect("started"), args)
    }

    /// `docker inspect` of a container.
    #[track_caller]
    pub fn inspect(&self, container: &str) -> Value {
        let ran = self.docker(&["inspect", container]);
        ran.succeeded().json()[0].clone()
    }

    /// Containers that carry the workspace's label, of any role.
    pub fn containers(&self) -> Vec<String> {
        let folder = self.workspace.canonicalize().expect("the workspace");
        let filter = format!("label=gpubay.workspace={}", folder.display());
        let format = "{{.ID}} {{.Label \"gpubay.role\"}}";
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let ran = self.docker(&["ps", "-a", "--filter", &filter, "--format", format]);
            let listed: Vec<(&str, &str)> =
                ran.succeeded().stdout.lines().filter_map(|line| line.split_once(' ')).collect();
            // A helper that was told to end is removed by the engine, in its own time.
            if listed.iter().all(|(_, role)| *role != "helper") || Instant::now() > deadline {
                return listed.into_iter().map(|(id, _)| id.to_owned()).collect();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for container in self.containers() {
            self.docker(&["rm", "-fv", &container]);
        }
    }
}

/// A pseudo-terminal with a command of the user's on it.
#[derive(Debug)]
pub struct Terminal {
    ours: OwnedFd,
    pub child: Child,
    /// What was read and not yet asked for.
    read: String,
}

impl Terminal {
    /// `setsid --ctty` makes the terminal the command's own.
    #[track_caller]
    pub fn start(bench: &Bench, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_program(bench, &lab().gpubay, args, env)
    }

    /// Another program than ours.
    #[track_caller]
    pub fn start_program(bench: &Bench, program: impl AsRef<OsStr>, args: &[&str], env: &[(&str, &str)]) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("opened");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("named").into_string().expect("text");
        let theirs = std::fs::OpenOptions::new().read(true).write(true).open(name).expect("opened");
        // Before anybody can ask for it.
        rustix::termios::tcsetwinsize(&ours, size(30, 100)).expect("sized");
        let mut command = bench.command("setsid");
        command.args(["--ctty", "--wait"]).arg(program).args(args).env("TERM", "xterm");
        command.envs(env.iter().copied());
        let end = || Stdio::from(theirs.try_clone().expect("cloned"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("started");
        Self { ours, child, read: String::new() }
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        rustix::termios::tcsetwinsize(&self.ours, size(rows, columns)).expect("resized");
    }

    pub fn write(&self, text: &str) {
        rustix::io::write(&self.ours, text.as_bytes()).expect("typed");
    }

    /// Reads until `wanted` has come, and returns all up to it.
    #[track_caller]
    pub fn read_until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.read.find(wanted) {
                let rest = self.read.split_off(at + wanted.len());
                return std::mem::replace(&mut self.read, rest);
            }
            assert!(self.read_more(), "{wanted:?} never came: {:?}", self.read);
        }
    }

    /// All that comes until nobody has the terminal any more, and how the command ended.
    #[track_caller]
    pub fn end(mut self) -> (String, Option<i32>) {
        while self.read_more() {}
        (std::mem::take(&mut self.read), ended(&mut self.child).code())
    }

    #[track_caller]
    fn read_more(&mut self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&self.ours, PollFlags::IN)], Some(&patience)).expect("waited");
        assert!(ready > 0, "nothing more comes: {:?}", self.read);
        let mut bytes = [0; 4096];
        match rustix::io::read(&self.ours, &mut bytes) {
            Ok(n) if n > 0 => {
                self.read.push_str(&String::from_utf8_lossy(&bytes[..n]));
                true
            }
            // A terminal whose last user is gone answers with an error.
            _ => false,
        }
    }
}

fn size(rows: u16, columns: u16) -> rustix::termios::Winsize {
    rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    what: String,
}

impl Ran {
    pub fn of(output: &Output, what: &[&str]) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            what: what.join(" "),
        }
    }

    #[track_caller]
    pub fn succeeded(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}:\n{}\n{}", self.what, self.stdout, self.stderr);
        self
    }

    /// It failed with this error code in its JSON, or said `text` on stderr.
    #[track_caller]
    pub fn failed(&self, text: &str) -> &Self {
        assert_ne!(self.code, Some(0), "{} succeeded:\n{}", self.what, self.stdout);
        assert!(
            self.stderr.contains(text) || self.stdout.contains(text),
            "{} does not say {text:?}:\n{}\n{}",
            self.what,
            self.stdout,
            self.stderr
        );
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{}: {error}:\n{}", self.what, self.stdout))
    }
}

/// Waits for a condition, since a test must not wait for time.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_mins(1), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a child's end; one that goes on for too long fails the test and does not outlive it.
#[track_caller]
pub fn ended(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("waited") {
            return status;
        }
        if start.elapsed() > Duration::from_mins(1) {
            kill(child);
            panic!("it never ended");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a command prints until its end; one that goes on for minutes is killed, and its test fails by that.
pub fn output(command: &mut Command) -> Output {
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started"))
}

/// As [`output`], of a child whose streams are pipes.
pub fn finish(child: Child) -> Output {
    let pid = rustix::process::Pid::from_child(&child);
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if wait.recv_timeout(Duration::from_mins(4)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let output = child.wait_with_output().expect("waited");
    drop(done);
    watch.join().expect("watched");
    output
}

pub fn send(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("sent");
}

/// Ends a child for good, as a power cut would.
pub fn kill(child: &mut Child) {
    child.kill().expect("killed");
    child.wait().expect("reaped");
}
