//! Engines that do not see our files, or other files at the same paths.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gpubay_e2e::{Bench, Ran, STAGES_OF_THE_SWITCH, Who, lab};
use serde_json::Value;

const IMAGE: &str = "[image]\nfrom = \"gpubay-lab/busybox\"\n";
const PYTHON: &str = "[image]\nfrom = \"gpubay-lab/python\"\n[gpus]\nuse = \"none\"\n";
const CODE: &str = "engine_sees_other_files";

/// A container with gpubay in it, and the socket of the engine that runs this container.
struct Beside<'a> {
    bench: &'a Bench,
    name: String,
    folder: String,
}

impl<'a> Beside<'a> {
    /// `mounts` are options of `docker run`; `home` and `folder` are paths inside.
    #[track_caller]
    fn start(bench: &'a Bench, mounts: &[&str], home: &str, folder: &str) -> Self {
        let stamp = bench.outside().file_name().expect("a name").to_string_lossy().into_owned();
        let made = std::fs::read_dir(bench.outside()).expect("listed").count();
        let name = format!("{stamp}-{made}");
        // So that the next one has another name.
        std::fs::write(bench.outside().join(&name), "").expect("written");
        let socket = format!("{}:/engine.sock", bench.socket.display());
        let program = format!("{}:/gpubay:ro", lab().gpubay.display());
        let mut args = vec!["run", "-d", "--name", &name, "-v", &socket, "-v", &program];
        let home = format!("HOME={home}");
        args.extend(["-e", "DOCKER_HOST=unix:///engine.sock", "-e", &home]);
        args.extend(mounts);
        args.extend(["gpubay-lab/python", "sleep", "infinity"]);
        let beside = Self { bench, name: name.clone(), folder: folder.to_owned() };
        bench.docker(&args).succeeded();
        beside
    }

    fn run_with(&self, env: &str, command: &[&str]) -> Ran {
        let args = ["exec", "-e", env, "-w", &self.folder, &self.name];
        self.bench.docker(&[&args[..], command].concat())
    }

    fn run(&self, command: &[&str]) -> Ran {
        self.run_with("NOTHING=", command)
    }

    fn gpubay(&self, args: &[&str]) -> Ran {
        self.run(&[&["/gpubay"][..], args].concat())
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.insert(1, "--json");
        let answer = self.gpubay(&all).succeeded().json();
        gpubay_e2e::as_published(args[0], &answer);
        answer
    }

    fn exists(&self, path: &Path) -> bool {
        self.run(&["test", "-e", &shown(path)]).code == Some(0)
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.bench.docker(&["rm", "-fv", &self.name]);
    }
}

/// Verdict and text of `doctor`'s line.
#[track_caller]
fn doctor(beside: &Beside<'_>) -> (String, String) {
    let report = beside.gpubay(&["doctor", "--json"]).json();
    gpubay_e2e::as_published("doctor", &report);
    let line = report["findings"].as_array().expect("lines").iter().find(|line| line["check"] == "visibility");
    let line = line.unwrap_or_else(|| panic!("no such line: {report:#}"));
    let text = |key: &str| line[key].as_str().expect("text").to_owned();
    (text("verdict"), text("text"))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// `-v` of a folder at the same path as outside.
fn same(path: &Path) -> String {
    format!("{0}:{0}", path.display())
}

/// What a container of the workspace mounts from the host.
fn sources(bench: &Bench) -> Vec<String> {
    let of = |id: &String| bench.inspect(id)["Mounts"].as_array().expect("mounts").clone();
    let mounts = bench.containers().iter().flat_map(of).collect::<Vec<_>>();
    mounts.iter().filter_map(|mount| Some(mount["Source"].as_str()?.to_owned())).collect()
}

#[test]
fn from_a_container_beside_it_the_engine_sees_only_what_lies_at_the_same_path() {
    let bench = Bench::on_cpu("docker28", Who::Root, "beside");
    bench.write("gpubay.toml", IMAGE);
    let (home, workspace) = (shown(&bench.home), shown(&bench.workspace));
    // The engine has nothing at the path of the data folder or of the workspace.
    let elsewhere = format!("{workspace}:/only-inside");
    let beside = Beside::start(&bench, &["-v", &elsewhere], "/only-inside/home", "/only-inside");
    let error = beside.gpubay(&["up", "--json"]).failed(CODE).json()["error"].clone();
    assert!(error["message"].as_str().is_some_and(|said| said.contains("runs in a container itself")), "{error}");
    assert!(error["message"].as_str().is_some_and(|said| said.contains("does not see /only-inside:")), "{error}");
    assert!(error["hint"].as_str().is_some_and(|next| next.contains("/home/me:/home/me")), "{error}");
    let (verdict, text) = doctor(&beside);
    assert!(verdict == "problem" && text.contains("does not see /only-inside:"), "{verdict}: {text}");
    // Where the workspace is not seen, no folder is made for anything.
    assert!(!beside.exists(Path::new("/only-inside/home/gpubay-data")));
    drop(beside);

    // At the same paths it works.
    let beside = Beside::start(&bench, &["-v", &same(&bench.home)], &home, &workspace);
    assert_eq!(beside.json(&["up"])["container"]["created"], true);
    let made = bench.containers();
    assert_eq!(made.len(), 1);
    assert!(!bench.home.join("gpubay-data").exists());
    bench.docker(&["rm", "-fv", &made[0]]).succeeded();
    drop(beside);

    // It has folders at these paths, and they are others: the file that we put into ours is not in its.
    let own = same(&bench.workspace);
    let mounts = ["--tmpfs", &format!("{home}:exec"), "--tmpfs", "/var/tmp", "-v", &own];
    let beside = Beside::start(&bench, &mounts, &home, &workspace);
    let error = beside.gpubay(&["up", "--json"]).failed(CODE).json()["error"].clone();
    let said = error["message"].as_str().expect("a message");
    for tried in [format!("\n  {home}/gpubay-data: "), "\n  /var/tmp/gpubay-0: no program runs".to_owned()] {
        assert!(said.contains(&tried), "{said}");
    }
    // What was made to be tried is gone.
    for folder in [bench.home.join("gpubay-data"), "/var/tmp/gpubay-0".into()] {
        assert!(!beside.exists(&folder), "{folder:?}");
    }
    drop(beside);

    // The data folder is shared, and the workspace is another folder of that name.
    let settings = bench.home.join(".config/gpubay");
    std::fs::create_dir_all(&settings).expect("made");
    std::fs::write(settings.join("config.toml"), IMAGE).expect("written");
    let mounts = ["-v", &same(&bench.home), "--tmpfs", &workspace];
    let beside = Beside::start(&bench, &mounts, &home, &workspace);
    let ran = beside.gpubay(&["up", "--json"]);
    assert!(ran.failed(CODE).stdout.contains(&format!("does not see {workspace}:")), "{ran:?}");
    assert!(bench.containers().is_empty(), "nothing is left of them");
    assert!(!bench.home.join("gpubay-data").exists());
}

/// As an engine from a snap, which sees no hidden folders of a home.
#[test]
fn another_folder_takes_the_place_of_a_data_folder_that_the_engine_does_not_see() {
    let bench = Bench::on_cpu("docker28", Who::Root, "unseen");
    bench.write("gpubay.toml", PYTHON);
    bench.write("train.py", "import sys; print('trained by', sys.version_info[0])\n");
    let (home, hidden, data) = (&bench.home, bench.home.join(".local"), bench.home.join("gpubay-data"));
    let mounts = ["-v", &same(home), "--tmpfs", &shown(&hidden)];
    let beside = Beside::start(&bench, &mounts, &shown(home), &shown(&bench.workspace));

    // The whole main job.
    let ran = beside.gpubay(&["up"]);
    let said = &ran.succeeded().stderr;
    let from_now = format!("lie in {} from now on (a new folder in your home)", data.display());
    for words in [from_now.as_str(), "data = \"/another/folder\"", ".config/gpubay/config.toml"] {
        assert!(said.contains(words), "{words:?}: {said}");
    }
    assert!(sources(&bench).iter().any(|source| source.starts_with(&shown(&data))), "{:?}", sources(&bench));
    assert!(!sources(&bench).iter().any(|source| source.starts_with(&shown(&hidden))), "{:?}", sources(&bench));
    let closed = data.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!(closed, 0o700);
    beside.gpubay(&["exec", "--", "python", "-c", "import sys; assert sys.prefix == '/workspace/.venv'"]).succeeded();
    let ran = beside.run(&[".venv/bin/python", "train.py"]);
    assert_eq!(ran.succeeded().stdout, "trained by 3\n");
    let ran = beside.gpubay(&["run", "--", "python", "train.py"]);
    assert_eq!(ran.succeeded().stdout, "trained by 3\n");
    beside.gpubay(&["run", "--snapshot", "--", "python", "train.py"]).succeeded();
    beside.json(&["sync"]);

    let (verdict, text) = doctor(&beside);
    let expected =
        format!("does not see {}; {} takes its place", hidden.join("share/gpubay").display(), data.display());
    assert!(verdict == "ok" && text.contains(&expected), "{verdict}: {text}");

    // It is remembered, and nothing is tried again.
    let quiet = |args: &[&str]| {
        let ran = beside.gpubay(args);
        let said = &ran.succeeded().stderr;
        assert!(!said.contains("gpubay-data") && !said.contains("Looking for a folder"), "{said}");
    };
    let created = bench.containers();
    assert_eq!(beside.json(&["up"])["container"]["reused"], true);
    quiet(&["up"]);
    assert_eq!(bench.containers(), created);
    beside.gpubay(&["stop"]).succeeded();
    quiet(&["up"]);
    beside.gpubay(&["down"]).succeeded();
    quiet(&["up"]);

    // Named by hand, it is the same folder, and nothing is said.
    let settings = home.join(".config/gpubay");
    std::fs::create_dir_all(&settings).expect("made");
    std::fs::write(settings.join("config.toml"), "[paths]\ndata = \"~/gpubay-data\"\n").expect("written");
    quiet(&["up"]);
    quiet(&["down"]);
    assert!(bench.containers().is_empty());
}

#[test]
fn a_folder_beside_the_workspace_is_seen_where_the_home_is_not() {
    let mut bench = Bench::on_cpu("docker28", Who::Root, "ws");
    let workspace = bench.outside().join("src/ws");
    std::fs::create_dir_all(&workspace).expect("made");
    std::fs::write(workspace.join("gpubay.toml"), PYTHON).expect("written");
    let src = bench.outside().join("src");
    bench.workspace = workspace;
    let beside = Beside::start(&bench, &["-v", &same(&src)], "/root", &shown(&bench.workspace));
    // Killed anywhere in between, nothing stays but what the next one takes up or away.
    for stage in STAGES_OF_THE_SWITCH {
        let env = format!("GPUBAY_FAILPOINT={stage}:abort");
        assert_ne!(beside.run_with(&env, &["/gpubay", "up"]).code, Some(0), "{stage}");
    }
    let ran = beside.gpubay(&["up"]);
    ran.succeeded();
    assert!(src.join("gpubay-data/README.txt").exists(), "{ran:?}");
    for folder in ["/root/gpubay-data", "/var/tmp/gpubay-0"] {
        assert!(!beside.exists(Path::new(folder)), "{folder}");
    }
    assert_eq!(bench.containers().len(), 1, "no helper is left");
    beside.gpubay(&["down"]).succeeded();

    // Another workspace uses it, too, and no container is shown what lies in it.
    let other = src.join("other");
    std::fs::create_dir(&other).expect("made");
    let mount = format!("{PYTHON}[container]\nmounts = [\"{}:/src\"]\n", src.display());
    std::fs::write(other.join("gpubay.toml"), mount).expect("written");
    let (folder, allow) = (shown(&other), format!("mount:{}:/src", src.display()));
    beside.gpubay(&["-C", &folder, "up", "--allow", &allow]).succeeded();
    let ran = beside.gpubay(&["-C", &folder, "exec", "--", "ls", "-A", "/src/gpubay-data"]);
    assert_eq!(ran.succeeded().stdout, "");
    assert!(std::fs::read_dir(src.join("gpubay-data/venvs")).expect("listed").count() == 2);
    beside.gpubay(&["-C", &folder, "down"]).succeeded();

    // When nothing needs it any more, it goes, and the record of it.
    for folder in [&other, &bench.workspace] {
        std::fs::rename(folder, folder.with_extension("moved")).expect("moved");
    }
    let away = Beside { bench: &bench, name: beside.name.clone(), folder: "/root".to_owned() };
    for kinds in [&["prune", "--yes", "venvs"][..], &["prune", "--yes"], &["prune", "--yes", "volumes"]] {
        assert!(src.join("gpubay-data/README.txt").exists());
        away.gpubay(kinds).succeeded();
    }
    std::mem::forget(away);
    assert!(!src.join("gpubay-data").exists(), "{:?}", std::fs::read_dir(src.join("gpubay-data")));
    std::fs::rename(bench.workspace.with_extension("moved"), &bench.workspace).expect("moved back");

    // What the user has there under that name stays as it is.
    std::fs::create_dir(src.join("gpubay-data")).expect("made");
    for (mode, why) in [(0o755, "not a folder that only you may enter"), (0o700, "GPU Bay has not made it")] {
        std::fs::set_permissions(src.join("gpubay-data"), PermissionsExt::from_mode(mode)).expect("set");
        beside.gpubay(&["up"]).failed(why);
        assert_eq!(std::fs::read_dir(src.join("gpubay-data")).expect("listed").count(), 0);
    }
}

/// A job and a container that is started again come to the engine from a side from which it does not see the folder
/// that they were made with.
#[test]
fn jobs_and_containers_that_start_again_are_looked_through_too() {
    let bench = Bench::on_cpu("docker28", Who::Root, "again");
    bench.write("gpubay.toml", PYTHON);
    let (home, workspace) = (shown(&bench.home), shown(&bench.workspace));
    let hidden = format!("{home}/.local:exec");
    let seeing = Beside::start(&bench, &["-v", &same(&bench.home)], &home, &workspace);
    seeing.json(&["up"]);
    seeing.gpubay(&["stop"]).succeeded();
    let blind = Beside::start(&bench, &["-v", &same(&bench.home), "--tmpfs", &hidden], &home, &workspace);
    // The machine's id is made where it has none, and the identity comes from it.
    let file = bench.home.join(".local/share/gpubay/machine-id");
    if let Ok(text) = std::fs::read_to_string(&file) {
        let write = format!("mkdir -p {home}/.local/share/gpubay && printf %s '{text}' > {}", file.display());
        blind.run(&["sh", "-c", &write]).succeeded();
    }
    let (verdict, text) = doctor(&blind);
    assert!(verdict == "warning" && text.contains("looks for a folder that it sees"), "{verdict}: {text}");
    let ran = blind.gpubay(&["up"]);
    ran.failed("does not see").failed("gpubay up --recreate");
    let state = bench.inspect(&bench.containers()[0])["State"]["Status"].clone();
    assert_eq!(state, "exited");
    blind.gpubay(&["up", "--recreate"]).succeeded();
    blind.gpubay(&["down"]).succeeded();
    std::fs::remove_dir_all(bench.home.join("gpubay-data")).expect("removed");

    seeing.json(&["up"]);
    seeing.gpubay(&["down"]).succeeded();
    let ran = blind.gpubay(&["run", "--", "python", "-c", "import sys; print(sys.prefix)"]);
    assert_eq!(ran.succeeded().stdout, "/workspace/.venv\n");
    assert!(ran.stderr.contains("from now on"), "{ran:?}");
    blind.gpubay(&["down"]).succeeded();
    std::fs::remove_dir_all(bench.home.join("gpubay-data")).expect("removed");

    // A container that mounts the home would have the new folder with all that lies in it.
    let other = bench.home.join("other");
    std::fs::create_dir(&other).expect("made");
    std::fs::write(other.join("gpubay.toml"), format!("{IMAGE}[container]\nmounts = [\"{home}:/home-of-host\"]\n"))
        .expect("written");
    let allow = format!("mount:{home}:/home-of-host");
    seeing.gpubay(&["-C", &shown(&other), "up", "--allow", &allow]).succeeded();
    let ran = blind.gpubay(&["up"]);
    ran.failed("mounts what it lies in");
    assert!(!bench.home.join("gpubay-data").exists(), "{ran:?}");
    seeing.gpubay(&["-C", &shown(&other), "down"]).succeeded();

    // A workspace that is another one is no place for a job.
    let mounts = ["-v", &same(&bench.home), "--tmpfs", &workspace];
    let astray = Beside::start(&bench, &mounts, &home, &workspace);
    astray.run(&["sh", "-c", &format!("printf '{}' > gpubay.toml", PYTHON.replace('\n', "\\n"))]).succeeded();
    let ran = astray.gpubay(&["run", "--detach", "--", "touch", "/workspace/canary"]);
    ran.failed(&format!("does not see {workspace}:"));
    assert!(!bench.workspace.join("canary").exists());
}

#[test]
fn a_rootless_engine_cannot_enter_a_closed_home() {
    let bench = Bench::on_cpu("docker28-rootless", Who::Root, "closed");
    bench.write("gpubay.toml", IMAGE);
    std::fs::set_permissions(&bench.home, PermissionsExt::from_mode(0o700)).expect("closed");
    let (code, ran) = bench.error(&["up"]);
    assert_eq!(code, CODE, "{ran:?}");
    let error = &ran.json()["error"];
    let closed = format!("{} is closed to the user", bench.home.display());
    assert!(error["message"].as_str().is_some_and(|said| said.contains(&closed)), "{error}");
    assert!(bench.containers().is_empty());
}
