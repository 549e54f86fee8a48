//! Which engine is meant, and what is said where there is none to be had.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gpubay_e2e::{Bench, Ran, Who, lab, output};

const IMAGE: &str = "[image]\nfrom = \"gpubay-lab/busybox\"\n";

fn bench(engine: &str) -> Bench {
    let bench = Bench::new(engine, Who::Ordinary, "found");
    bench.write("gpubay.toml", IMAGE);
    bench
}

/// The engine that is found where nothing names one but `vars`.
#[track_caller]
fn found(bench: &Bench, vars: &[(&str, &str)]) -> String {
    let mut command = bench.gpubay(&["doctor", "--json"]);
    command.env_remove("DOCKER_HOST").envs(vars.iter().copied());
    engine_line(&Ran::of(&output(&mut command), &["doctor"]))
}

#[track_caller]
fn engine_line(ran: &Ran) -> String {
    let report = ran.json();
    let lines = report["findings"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["check"] == "engine").expect("a line");
    format!("{}: {}", line["verdict"].as_str().expect("a verdict"), line["text"].as_str().expect("a text"))
}

/// Contexts as the engine's own tool writes them, and the container lands on the engine that they name.
#[test]
fn a_docker_context_names_the_engine() {
    let bench = bench("docker20");
    let host = format!("host=unix://{}", bench.socket.display());
    let docker = |args: &[&str]| {
        let mut command = bench.command(&lab().docker);
        Ran::of(&output(command.args(args).env_remove("DOCKER_HOST")), args).succeeded();
    };
    docker(&["context", "create", "lab", "--docker", &host]);
    docker(&["context", "create", "gone", "--docker", "host=unix:///nonexistent/d.sock"]);
    let line = found(&bench, &[("DOCKER_CONTEXT", "lab")]);
    assert!(line.starts_with("ok") && line.contains("DOCKER_CONTEXT (lab)"), "{line}");

    docker(&["context", "use", "lab"]);
    let ran = Ran::of(&output(bench.gpubay(&["up", "--json"]).env_remove("DOCKER_HOST")), &["up"]);
    assert_eq!(ran.succeeded().json()["container"]["created"], true);
    assert_eq!(bench.containers().len(), 1, "on that engine");

    // The nearer word wins.
    let line = found(&bench, &[("DOCKER_CONTEXT", "gone")]);
    assert!(line.starts_with("problem") && line.contains("/nonexistent/d.sock"), "{line}");
    let named = format!("unix://{}", bench.socket.display());
    let line = found(&bench, &[("DOCKER_CONTEXT", "gone"), ("DOCKER_HOST", &named)]);
    assert!(line.starts_with("ok") && line.contains("DOCKER_HOST"), "{line}");
    let ran =
        Ran::of(&output(bench.gpubay(&["ps", "--json"]).env_remove("DOCKER_HOST").env("DOCKER_CONTEXT", "typo")), &[]);
    assert_eq!(ran.failed("docker context ls").json()["error"]["code"], "engine_context");
}

/// A machine of its own: nothing in /run, and only these programs.
struct Machine {
    bench: Bench,
    /// The engine's socket, reached through a mount.
    engine: PathBuf,
    own: PathBuf,
    programs: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let bench = bench("docker28");
        let folder = |name: &str| {
            let path = bench.outside().join(name);
            std::fs::create_dir(&path).expect("made");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("opened");
            bench.own(&path);
            path
        };
        let (own, programs, machine) = (folder("own"), folder("programs"), folder("run"));
        std::fs::write(machine.join("engine"), "").expect("made");
        Self { engine: machine.join("engine"), own, programs, bench }
    }

    fn program(&self, name: &str) {
        let path = self.programs.join(name);
        std::fs::write(&path, "").expect("made");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("made a program");
    }

    /// `gpubay …` there, with `setup` done as root first. In it, `$1` is the engine's socket.
    fn run(&self, setup: &str, args: &[&str], vars: &[(&str, &str)]) -> Ran {
        let script = format!(
            "mount --bind \"$0\" \"$1\"; mount -t tmpfs none /run; {setup}; shift; exec setpriv --reuid {} --regid {} \
             --init-groups -- env -i \"$@\"",
            self.bench.uid(),
            self.bench.gid()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", &script]);
        command.arg(&self.bench.socket).arg(&self.engine);
        let var = |name: &str, path: &Path| format!("{name}={}", path.display());
        command.args([var("PATH", &self.programs), var("HOME", &self.bench.home), var("XDG_RUNTIME_DIR", &self.own)]);
        command.args(vars.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(&lab().gpubay).args(args).current_dir(&self.bench.workspace).stdin(Stdio::null());
        Ran::of(&output(&mut command), args)
    }

    /// The error's code, message and next step.
    #[track_caller]
    fn error(&self, setup: &str, vars: &[(&str, &str)]) -> (String, String, String) {
        let ran = self.run(setup, &["ps", "--json"], vars);
        let error = &ran.failed("error").json()["error"];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (text("code"), text("message"), text("hint"))
    }
}

#[test]
fn without_a_word_it_is_the_local_socket() {
    let machine = Machine::new();
    let found = |setup: &str| engine_line(&machine.run(setup, &["doctor", "--json"], &[]));
    let line = found("mkdir -p /run/podman; ln -s \"$1\" /run/podman/podman.sock");
    assert!(line.starts_with("ok") && line.contains("the machine's Podman's socket"), "{line}");
    std::fs::create_dir(machine.own.join("podman")).expect("made");
    symlink(&machine.engine, machine.own.join("podman/podman.sock")).expect("linked");
    let line = found(":");
    assert!(line.starts_with("ok") && line.contains("your Podman's socket"), "{line}");
    symlink(&machine.engine, machine.own.join("docker.sock")).expect("linked");
    let line = found(":");
    assert!(line.starts_with("ok") && line.contains("the rootless engine's socket"), "{line}");
    let line = found("ln -s \"$1\" /run/docker.sock");
    assert!(line.starts_with("ok") && line.contains("the default socket"), "{line}");
}

#[test]
fn each_way_to_be_without_an_engine_has_its_next_step() {
    let machine = Machine::new();
    let (code, message, hint) = machine.error(":", &[]);
    assert_eq!(code, "no_engine", "{message}");
    assert!(hint.contains("Install Docker or Podman"), "{hint}");
    machine.program("dockerd");
    let (code, message, hint) = machine.error(":", &[]);
    assert_eq!(code, "engine_stopped", "{message}");
    assert!(message.contains("does not run") && hint.contains("sudo systemctl start docker"), "{message} {hint}");

    // A socket file that the last engine left, where a rootless one listens.
    drop(UnixListener::bind(machine.own.join("docker.sock")).expect("bound"));
    std::fs::set_permissions(machine.own.join("docker.sock"), PermissionsExt::from_mode(0o666)).expect("opened");
    let (code, message, hint) = machine.error(":", &[]);
    assert_eq!(code, "engine_stopped", "{message}");
    assert!(hint.contains("systemctl --user start docker"), "{hint}");
    std::fs::remove_file(machine.own.join("docker.sock")).expect("removed");

    // Somebody else's engine, and one's own beside it, which is named and not taken unasked.
    let closed = machine.bench.outside().join("docker.sock");
    let _listener = UnixListener::bind(&closed).expect("bound");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o660)).expect("closed");
    chown(&closed, Some(0), Some(1)).expect("handed over");
    let setup = format!("ln -s {} /run/docker.sock", closed.display());
    let (code, message, hint) = machine.error(&setup, &[]);
    assert_eq!(code, "engine_permission", "{message}");
    assert!(hint.contains("sudo usermod -aG daemon $USER") && !hint.contains("DOCKER_HOST"), "{hint}");
    symlink(&machine.engine, machine.own.join("docker.sock")).expect("linked");
    let (code, _, hint) = machine.error(&setup, &[]);
    assert_eq!(code, "engine_permission");
    assert!(
        hint.contains(&format!("export DOCKER_HOST=unix://{}", machine.own.join("docker.sock").display())),
        "{hint}"
    );

    let (code, message, hint) = machine.error(":", &[("DOCKER_HOST", "tcp://127.0.0.1:1")]);
    assert_eq!(code, "engine_unreachable", "{message}");
    assert!(message.contains("tcp://127.0.0.1:1") && hint.contains("on that machine"), "{message} {hint}");
    let (code, message, _) = machine.error(":", &[("DOCKER_HOST", "ftp://gpu-server")]);
    assert_eq!(code, "engine_address", "{message}");
}
