//! `gpubay init`, and `gpubay up` in what it made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use gpubay_e2e::{Bench, Ran, Terminal, Who};
use serde_json::{Value, json};

/// Every file of the workspace but the host env, with its text.
fn contents(bench: &Bench) -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).expect("read").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                if !entry.ends_with(".venv") {
                    walk(&entry, found);
                }
            } else {
                found.insert(entry.clone(), std::fs::read_to_string(&entry).expect("read"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&bench.workspace, &mut found);
    found
}

fn states<'a>(report: &'a Value, state: &str) -> Vec<&'a str> {
    let files = report["files"].as_array().expect("files");
    files.iter().filter(|file| file["state"] == state).map(|file| file["path"].as_str().expect("text")).collect()
}

#[track_caller]
fn python(bench: &Bench, code: &str) -> String {
    let output = bench.python(&["-c", code]).output().expect("started");
    Ran::of(&output, &["python", "-c", code]).succeeded().stdout.trim().to_owned()
}

/// What pip unpacked: the files of all distributions in the user's folder, by their own lists.
const WHEELS: &str = "import importlib.metadata as m, site; \
    files = [f.locate() for d in m.distributions(path=[site.getusersitepackages()]) for f in d.files or []]; \
    print(sum(f.stat().st_size for f in files if f.exists() and f.suffix != '.pyc'))";

/// In a folder from `init`, as an ordinary user: the user inside, packages that belong to it, completion outside, and
/// nothing that is asked or done twice. Without bytecode and caches the image is no more than 5 % above base and wheels.
fn a_fresh_folder_comes_up(engine: &str, base: &str, requirements: &str) {
    let bench = Bench::new(engine, Who::Ordinary, "fresh");
    let user = &gpubay_e2e::lab().user;
    let report = bench.json(&["init", "--base", base]);
    assert_eq!(states(&report, "written").len(), 6, "{report}");
    assert_eq!(report["base"]["image"], base, "{report}");
    bench.write("requirements.txt", requirements);
    // In the newer Debian with the line that brings bytecode.
    let fast = base.ends_with("trixie");
    if fast {
        let toml = std::fs::read_to_string(bench.workspace.join("gpubay.toml")).expect("read");
        bench.write("gpubay.toml", &toml.replace("# args = {", "args = {"));
    }
    // As with a strict umask: the user inside has to read it all the same.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(bench.workspace.join("requirements.txt"), mode).expect("changed");
    let before = contents(&bench);
    let again = bench.json(&["init"]);
    assert_eq!((states(&again, "written").len(), states(&again, "left").len()), (0, 6), "{again}");
    assert!(bench.run(&["init"]).succeeded().stdout.contains("nothing was written"));
    assert_eq!(contents(&bench), before);

    let up = bench.up();
    assert_eq!(up["container"]["created"], true);
    assert!(!up["warnings"].to_string().contains("requirements"), "{}", up["warnings"]);
    let script = "whoami; id -u; id -g; echo $TORCH_HOME $PYTHONDONTWRITEBYTECODE$PYTHONUNBUFFERED; \
        mkdir -p $TORCH_HOME && touch $TORCH_HOME/x && ls ~/.cache/torch/x";
    let inside = bench.run(&["exec", "--", "sh", "-c", script]);
    let home = format!("/home/{user}");
    let expected = format!("{user}\n{}\n{}\n{home}/.cache/torch 11\n{home}/.cache/torch/x\n", bench.uid(), bench.gid());
    assert_eq!(inside.succeeded().stdout, expected, "{base}");
    if !requirements.is_empty() {
        let code = "import os, einops; print(einops.__file__, os.stat(einops.__file__).st_uid, os.path.exists(einops.__cached__))";
        let version = up["host_env"]["version"].as_str().expect("a version").rsplit_once('.').expect("three parts").0;
        let file = format!("{home}/.local/lib/python{version}/site-packages/einops/__init__.py");
        assert_eq!(python(&bench, code), format!("{file} {} {}", bench.uid(), if fast { "True" } else { "False" }));
        let pth = bench.workspace.join(format!(".venv/lib/python{version}/site-packages/container.pth"));
        let pth = std::fs::read_to_string(pth).expect("container.pth");
        assert!(pth.lines().any(|folder| Path::new(folder).join("einops/__init__.py").is_file()), "{pth}");
    }
    // Engines count in ways of their own; this one counts layers.
    if engine == "docker28" && !requirements.is_empty() {
        let size = |image: &str| {
            let ran = bench.docker(&["image", "inspect", "--format", "{{.Size}}", image]);
            ran.succeeded().stdout.trim().parse::<f64>().expect("a number")
        };
        let image = size(up["image"]["id"].as_str().expect("an id"));
        let wheels: f64 = python(&bench, WHEELS).parse().expect("a number");
        let share = image / (size(base) + wheels);
        println!("{base}: image {image}, wheels {wheels}, {share:.4}");
        assert!(wheels > 30e3 && share <= 1.05, "{base}: the image has {share:.4} of base and wheels");
    }
    let second = bench.up();
    assert_eq!((&second["container"]["reused"], &second["drift"]), (&json!(true), &json!([])), "{second}");
    assert_eq!(contents(&bench), before);
}

/// sympy is much Python and nothing else, where bytecode would weigh most.
#[test]
fn init_on_debians_python() {
    a_fresh_folder_comes_up("docker28", "gpubay-lab/python", "einops\nsympy\n");
}

/// A Python that refuses installs beside the package manager's (PEP 668).
#[test]
fn init_on_a_newer_debian() {
    a_fresh_folder_comes_up("docker28", "gpubay-lab/trixie", "einops\n");
}

#[test]
fn init_where_the_first_number_is_taken() {
    a_fresh_folder_comes_up("docker28", "gpubay-lab/uid1000", "einops\n");
}

/// A Python that is nowhere on PATH and has no pip.
#[test]
fn init_on_conda() {
    a_fresh_folder_comes_up("docker28", "gpubay-lab/conda", "");
}

/// No useradd, and busybox for all the rest.
#[test]
fn init_on_busybox() {
    a_fresh_folder_comes_up("docker28", "gpubay-lab/busybox", "");
}

#[test]
fn init_on_rootless_podman() {
    a_fresh_folder_comes_up("podman-rootless", "gpubay-lab/python", "einops\n");
}

/// Who is root outside is root inside, and sees what was installed.
#[test]
fn init_as_root_on_the_oldest_engine() {
    let bench = Bench::new("docker20", Who::Root, "fresh");
    bench.json(&["init", "--base", "gpubay-lab/uid1000"]);
    bench.write("requirements.txt", "einops\n");
    bench.up();
    let code = "import os, einops; print(os.getuid(), einops.__file__)";
    assert_eq!(python(&bench, code), "0 /root/.local/lib/python3.11/site-packages/einops/__init__.py");
    let script = "echo $TORCH_HOME; readlink -f $TORCH_HOME";
    assert_eq!(
        bench.run(&["exec", "--", "sh", "-c", script]).succeeded().stdout,
        "/home/root/.cache/torch\n/root/.cache/torch\n"
    );
}

/// The classic builder of the oldest engine reads the Dockerfile, and no name or number that the image knows stops it.
#[test]
fn no_taken_name_or_number_stops_the_classic_builder() {
    let bench = Bench::new("docker20", Who::Root, "taken");
    bench.json(&["init", "--base", "gpubay-lab/uid1000", "--name", "x"]);
    let tag = format!("gpubay-e2e-init:{}", std::process::id());
    let workspace = bench.workspace.to_str().expect("text");
    let file = bench.workspace.join("docker/x/Dockerfile");
    for (name, uid, gid, expected) in [
        // Ubuntu's placeholder has the number.
        ("ada", "1000", "1000", "ada 1000 1000 /home/ada"),
        // The group is one of the image's, and the number belongs to a user of the image who stays what it is.
        ("ada", "34", "100", "backup 34 100 /var/backups"),
        // The name is the placeholder's, with another number.
        ("ubuntu", "1234", "1234", "ubuntu 1234 1234 /home/ubuntu"),
        // The name of a group of the image.
        ("users", "1234", "1234", "users 1234 1234 /home/users"),
    ] {
        let args =
            [("USER_NAME", name), ("USER_UID", uid), ("USER_GID", gid)].map(|(key, value)| format!("{key}={value}"));
        let mut build = std::process::Command::new(&gpubay_e2e::lab().docker);
        build.env("DOCKER_BUILDKIT", "0").env("DOCKER_HOST", format!("unix://{}", bench.socket.display()));
        build.args(["build", "-q", "-t", &tag, "-f"]).arg(&file);
        build.args(args.iter().flat_map(|arg| ["--build-arg", arg])).arg(workspace);
        Ran::of(&gpubay_e2e::output(&mut build), &["build", name, uid]).succeeded();
        let script = "echo $(whoami) $(id -u) $(id -g) ~; touch ~/mine; mkdir -p $TORCH_HOME && [ $TORCH_HOME -ef ~/.cache/torch ]";
        let ran = bench.docker(&["run", "--rm", "--network", "none", &tag, "sh", "-c", script]);
        assert_eq!(ran.succeeded().stdout.trim(), expected);
    }
    bench.docker(&["rmi", "-f", &tag]).succeeded();
}

/// On a terminal: what it is built on, which folders it sees; then `up` asks for those mounts, once.
#[test]
fn init_asks_on_a_terminal_and_up_asks_no_second_time() {
    let bench = Bench::new("docker28", Who::Ordinary, "asked");
    for folder in ["dataset", ".cache/huggingface/hub"] {
        std::fs::create_dir_all(bench.home.join(folder)).expect("made");
    }
    // Who gives no answer has not said yes to what is usual, and who cancels is not asked on.
    let mut terminal = Terminal::start(&bench, &["init"], &[]);
    terminal.read_until("any other image [");
    terminal.write("99\n");
    terminal.read_until("99 is no number of the list");
    terminal.read_until("any other image [");
    terminal.write("\u{4}");
    let (text, code) = terminal.end();
    assert!(code == Some(1) && text.contains("nothing was written"), "{code:?} {text}");
    for (typed, expected, said) in [("\u{3}", 130, "cancelled"), ("\u{4}", 1, "nothing was written")] {
        let mut terminal = Terminal::start(&bench, &["init", "--offline"], &[]);
        terminal.read_until("any other image [");
        terminal.write("busybox\n");
        terminal.read_until("at /dataset? [y/N] ");
        terminal.write(typed);
        let (text, code) = terminal.end();
        assert!(code == Some(expected) && text.contains(said) && !text.contains("Mount "), "{code:?} {text}");
    }
    assert!(contents(&bench).is_empty());
    let mut terminal = Terminal::start(&bench, &["init"], &[]);
    let text = terminal.read_until("any other image [");
    assert!(text.contains("1  ngc-pytorch") && text.contains("4  python"), "{text}");
    terminal.write("gpubay-lab/busybox\n");
    terminal.read_until("Mount ~/dataset (your data sets) at /dataset? [y/N] ");
    terminal.write("y\n");
    terminal.read_until("at /models/huggingface? [y/N] ");
    terminal.write("\n");
    let (text, code) = terminal.end();
    assert!(
        code == Some(0) && text.contains("~/.cache/huggingface/hub (models of the Hugging Face hub) is not mounted"),
        "{text}"
    );
    assert!(bench.workspace.join("docker/busybox/Dockerfile").is_file());

    bench.run(&["up"]).failed("--allow mount:");
    let mut terminal = Terminal::start(&bench, &["up"], &[]);
    terminal.read_until("Allow this from now on? [y/N] ");
    terminal.write("y\n");
    assert_eq!(terminal.end().1, Some(0));
    let (text, code) = Terminal::start(&bench, &["up"], &[]).end();
    assert!(code == Some(0) && !text.contains("[y/N]"), "{text}");
    assert_eq!(bench.run(&["exec", "--", "ls", "/dataset", "/models"]).code, Some(1));
}

/// Without a word of the user's the base follows from the GPUs: the engine's where one answers, else the driver's files.
#[test]
fn the_default_base_follows_from_the_gpus() {
    let preset = |engine: &str, host: Option<&str>| {
        let bench = Bench::new(engine, Who::Ordinary, "default");
        let mut command = bench.gpubay(&["init", "--json", "--dry-run", "--offline"]);
        if let Some(host) = host {
            command.env("DOCKER_HOST", host);
        }
        let report = Ran::of(&gpubay_e2e::output(&mut command), &["init"]).succeeded().json();
        assert_eq!(report["base"]["engine"], host.is_none(), "{report}");
        assert_eq!(states(&report, "planned").len(), 6, "{report}");
        assert!(report["files"][0]["text"].as_str().is_some_and(|text| text.contains("FROM ")), "{report}");
        assert!(contents(&bench).is_empty());
        report["base"]["preset"].as_str().expect("a preset").to_owned()
    };
    let driver = Path::new("/proc/driver/nvidia/version").exists();
    let by_files = if driver { "ngc-pytorch" } else { "python" };
    assert_eq!(preset("docker28", None), "ngc-pytorch");
    assert_eq!(preset("docker28", Some("unix:///nowhere.sock")), by_files);
    assert_eq!(preset("docker20", None), by_files);
}

/// A Dockerfile of the user's own builds after `init` as it did before, and the new one beside it sends no more than it needs.
fn both_dockerfiles_build(engine: &str, buildkit: &str) {
    let bench = Bench::new(engine, Who::Ordinary, "own");
    let build = |file: &str| {
        bench.write("gpubay.toml", &format!("[image]\ndockerfile = \"{file}\"\n"));
        let mut command = bench.gpubay(&["build", "--json"]);
        Ran::of(&gpubay_e2e::output(command.env("DOCKER_BUILDKIT", buildkit)), &["build", file])
    };
    let own = "docker/train/Dockerfile";
    bench.write("data.txt", "");
    bench.write(own, "FROM gpubay-lab/busybox\nCOPY data.txt /\n");
    let said = bench.run(&["init", "--base", "gpubay-lab/busybox", "--name", "dev"]);
    let used = "takes docker/dev/Dockerfile from now on, and no longer docker/train/Dockerfile";
    assert!(said.succeeded().stdout.contains(used), "{said:?}");
    build(own).succeeded();
    build("docker/dev/Dockerfile").succeeded();
    // Of its long instruction a line is told, and where it stands.
    let new = std::fs::read_to_string(bench.workspace.join("docker/dev/Dockerfile")).expect("read");
    let lines = new.lines().count();
    bench.write("docker/dev/Dockerfile", &format!("{new}RUN {}exit 7\n", "true  && ".repeat(100)));
    let mut command = bench.gpubay(&["build"]);
    let ran = Ran::of(&gpubay_e2e::output(command.env("DOCKER_BUILDKIT", buildkit)), &["build"]);
    ran.failed(&format!("docker/dev/Dockerfile:{}: `RUN true && true", lines + 1));
    assert!(
        ran.stderr.contains('…')
            && ran.stderr.lines().filter(|line| !line.starts_with("warning: ")).all(|line| line.chars().count() < 200),
        "{ran:?}"
    );
    bench.write("docker/dev/Dockerfile", &new);
    // What the new one does not name stays out of its build.
    bench.write("docker/dev/Dockerfile", &format!("{new}COPY data.txt /\n"));
    build("docker/dev/Dockerfile").failed("data.txt");
}

#[test]
fn init_beside_a_dockerfile_on_buildkit() {
    both_dockerfiles_build("docker28", "1");
}

#[test]
fn init_beside_a_dockerfile_on_the_classic_builder() {
    both_dockerfiles_build("docker20", "0");
}

#[test]
fn init_beside_a_dockerfile_on_podman() {
    both_dockerfiles_build("podman-rootless", "1");
}

/// What was asked and is not done is said, and a second base of one name is not taken to be the first.
#[test]
fn a_second_base_of_the_same_name_is_not_done_and_said() {
    let bench = Bench::new("docker28", Who::Ordinary, "twice");
    bench.run(&["init", "--offline", "--base", "one/b"]).succeeded();
    let ran = bench.run(&["init", "--offline", "--base", "two/b", "--style", "ruff"]);
    let said = &ran.succeeded().stdout;
    assert!(said.contains("not done: docker/b/Dockerfile exists and is left, so nothing is built on two/b"), "{said}");
    assert!(said.contains("the style is not ruff") && !said.contains("is complete"), "{said}");
}

/// Where no engine is reached nothing is said of what it holds.
#[test]
fn init_without_an_engine_says_so() {
    let bench = Bench::new("docker28", Who::Ordinary, "alone");
    let args = ["init", "--offline", "--base", "a/b"];
    let ran = Ran::of(&gpubay_e2e::output(bench.gpubay(&args).env("DOCKER_HOST", "unix:///nowhere.sock")), &args);
    let said = &ran.succeeded().stdout;
    assert!(said.contains("no engine was reached") && !said.contains("is not on the engine"), "{said}");
}

/// Ctrl-C while a registry keeps silent: nothing is written, and the exit code says so.
#[test]
fn a_cancelled_init_writes_nothing() {
    let bench = Bench::new("docker28", Who::Ordinary, "cancelled");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let base = format!("{}/base", silent.local_addr().expect("an address"));
    let child = bench.gpubay(&["init", "--base", &base]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("started");
    // It has asked, and waits.
    let _held = silent.accept().expect("asked");
    gpubay_e2e::send(&child, rustix::process::Signal::INT);
    let ran = Ran::of(&gpubay_e2e::finish(child), &["init"]);
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(contents(&bench).is_empty());
}

/// What is wrong stops before anything is written.
#[test]
fn a_wrong_wish_writes_nothing() {
    let bench = Bench::new("docker28", Who::Ordinary, "wrong");
    for (args, code) in [
        (&["init", "--name", "../x"][..], "usage"),
        (&["init", "--base", "a\nRUN b"], "usage"),
        (&["init", "--base", "My/Image:tag"], "usage"),
    ] {
        assert_eq!(bench.error(args).0, code);
    }
    assert_eq!(bench.run(&["init", "--preset", "nothing"]).code, Some(2));
    assert_eq!(bench.run(&["init", "--preset", "cuda", "--base", "x"]).code, Some(2));
    bench.write("gpubay.toml", "[image\n");
    bench.run(&["init"]).failed("gpubay.toml");
    assert_eq!(contents(&bench).len(), 1);
}
