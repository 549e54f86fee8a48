//! What happens to a container while work is under way in it, and work that is taken back: a sentence each
//! time, what was there is kept, and nothing half-made stays.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use gpubay_e2e::{Bench, Ran, STAGES_OF_THE_CONTAINER, STAGES_OF_THE_MIRROR, Who, ended, eventually, finish, output};

const PLAIN: &str = "FROM gpubay-lab/python\n";
/// Something is installed, so that a `sync` has to look and to copy.
const INSTALL: &str = "d=/usr/local/lib/python3.11/dist-packages/fresh; mkdir -p $d && date +%N > $d/stamp.py && echo x=1 > $d/__init__.py";

fn plain(who: Who, name: &str) -> Bench {
    let bench = Bench::on_cpu("docker28", who, name);
    bench.write("Dockerfile", PLAIN);
    bench
}

/// A `gpubay` that stands at a failpoint until it is let go.
struct Held {
    child: Child,
    file: PathBuf,
}

impl Held {
    fn at(bench: &Bench, place: &str, args: &[&str]) -> Self {
        let file = bench.outside().join("held");
        std::fs::write(&file, "").expect("made");
        bench.own(&file);
        std::fs::set_permissions(bench.outside(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("opened");
        std::fs::remove_file(&file).expect("away");
        let mut command = bench.gpubay(args);
        command.env("GPUBAY_FAILPOINT", format!("{place}:hold={}", file.display()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let held = Self { child: command.spawn().expect("started"), file };
        eventually("it stands there", || held.file.exists());
        held
    }

    fn go_on(self, what: &str) -> Ran {
        std::fs::remove_file(&self.file).expect("away");
        Ran::of(&finish(self.child), &[what])
    }
}

fn leftover_stages(cache: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(cache.join("gpubay/mirror")).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(".stage"))
        .collect()
}

fn mirrored(bench: &Bench) -> bool {
    let pth = std::fs::read_to_string(bench.workspace.join(".venv/lib/python3.11/site-packages/container.pth"));
    pth.expect("container.pth").lines().any(|root| Path::new(root).join("pip/__init__.py").is_file())
}

/// R10: the container that the image's packages are read from is not the dev container, and what became of it is said.
#[test]
fn a_helper_container_that_is_ended_during_a_mirror_is_said_to_be() {
    let bench = plain(Who::Ordinary, "helper");
    let folder = bench.workspace.canonicalize().expect("the workspace");
    let of_workspace = format!("label=gpubay.workspace={}", folder.display());
    let of_role = "label=gpubay.role=helper";
    // After its list is there: what it is asked for next, nobody answers.
    let held = Held::at(&bench, "mirror.plan", &["up", "--json"]);
    let listed = bench.docker(&["ps", "-q", "--no-trunc", "--filter", &of_workspace, "--filter", of_role]);
    let helper = listed.succeeded().stdout.trim().to_owned();
    bench.docker(&["kill", &helper]).succeeded();
    eventually("it is gone", || bench.docker(&["inspect", &helper]).code != Some(0));
    let ran = held.go_on("a helper that was killed");
    ran.failed("helper_ended").failed("the helper container that reads the image's packages was ended").failed("next:");
    assert!(!ran.stderr.contains("dev container"), "{}", ran.stderr);
    assert!(leftover_stages(&bench.home.join(".cache")).is_empty());
    assert_eq!(bench.containers().len(), 1, "the dev container stays");
    bench.up();
    assert!(mirrored(&bench));
}

/// R10: whatever is done to the container during a sync has a sentence of its own, and the old mirror stays.
#[test]
fn a_container_that_goes_away_during_a_sync_is_said_to_and_the_mirror_stays() {
    let bench = plain(Who::Ordinary, "gone");
    bench.write("gpubay.toml", "[container]\nmemory = \"64m\"\n");
    let name = bench.up()["container"]["name"].as_str().expect("a name").to_owned();
    let hog = "b = bytearray(1 << 30)\nfor i in range(0, len(b), 4096): b[i] = 1";
    // The kernel takes the largest: a container whose first process lives goes on.
    let cases: [(&str, &[&str], &str); 4] = [
        ("pause", &["pause", &name], "is paused"),
        ("stop", &["stop", "-t", "1", &name], "is not running: it ended with exit code"),
        ("kill", &["kill", &name], "is not running: it ended with exit code 137"),
        ("remove", &["rm", "-f", &name], "does not exist"),
    ];
    for (what, docker, sentence) in cases {
        bench.up();
        bench.run(&["exec", "--root", "--", "sh", "-c", INSTALL]).succeeded();
        bench.docker(&["exec", "-d", &name, "sleep", "1000"]).succeeded();
        let held = Held::at(&bench, "mirror.scan", &["sync"]);
        bench.docker(docker).succeeded();
        let ran = held.go_on(what);
        ran.failed(sentence).failed("what was mirrored before is kept").failed("next:");
        assert!(leftover_stages(&bench.home.join(".cache")).is_empty(), "{what}");
        assert!(mirrored(&bench), "{what}");
        if what == "pause" {
            // Nothing that is asked of it now hangs, and each says so.
            for args in [vec!["sync"], vec!["up"], vec!["exec", "--", "true"], vec!["exec", "--root", "--", "true"]] {
                bench.run(&args).failed("is paused").failed(&format!("docker unpause {name}"));
            }
            bench.write("t.py", "print(1)");
            let start = Instant::now();
            let ran = Ran::of(&output(&mut bench.python(&["t.py"])), &["python"]);
            assert!(start.elapsed() < Duration::from_secs(30));
            ran.failed(&format!("docker unpause {name}"));
            bench.run(&["down"]).failed("something still runs").failed("sleep 1000");
            bench.run(&["stop"]).failed("something still runs").failed("sleep 1000");
            bench.docker(&["unpause", &name]).succeeded();
        }
    }
    // One that is out of memory loses a program of its own, and the sync goes on.
    bench.up();
    bench.run(&["exec", "--root", "--", "sh", "-c", INSTALL]).succeeded();
    let held = Held::at(&bench, "mirror.scan", &["sync"]);
    assert_eq!(bench.run(&["exec", "--", "python3", "-c", hog]).code, Some(137));
    held.go_on("out of memory").succeeded();
    // A new name is no other container: it is found, kept, and said.
    bench.run(&["exec", "--root", "--", "sh", "-c", INSTALL]).succeeded();
    let held = Held::at(&bench, "mirror.scan", &["sync"]);
    let other = format!("{name}-renamed");
    bench.docker(&["rename", &name, &other]).succeeded();
    held.go_on("rename").succeeded();
    bench.run(&["exec", "--root", "--", "touch", "/opt/kept"]).succeeded();
    let report = bench.up();
    assert_eq!(report["container"]["name"], other.as_str(), "{report}");
    assert!(report["drift"].to_string().contains(&other), "{report}");
    assert_eq!(bench.containers().len(), 1);
    let recreated = bench.json(&["up", "--recreate"]);
    assert_eq!(recreated["container"]["name"], name.as_str(), "{recreated}");
    assert_eq!(bench.containers().len(), 1);
}

/// R10: what pip changes while it is looked at is neither half-mirrored nor missed.
#[test]
fn an_installation_during_a_sync_is_mirrored_by_the_next_one() {
    let bench = plain(Who::Ordinary, "meanwhile");
    bench.up();
    bench.run(&["exec", "--root", "--", "sh", "-c", INSTALL]).succeeded();
    // Between the list of files and their contents.
    let held = Held::at(&bench, "mirror.stage", &["sync"]);
    let site = "/usr/local/lib/python3.11/dist-packages";
    let change = format!(
        "rm -r {site}/fresh && mkdir {site}/other && echo longer than before > {site}/other/__init__.py && echo y=2 > {site}/fresh.py"
    );
    bench.run(&["exec", "--root", "--", "sh", "-c", &change]).succeeded();
    held.go_on("sync").succeeded();
    bench.run(&["sync"]).succeeded();
    let paths = bench.run(&["sync", "--print-paths"]);
    let root = paths.stdout.lines().map(Path::new).find(|root| root.join("fresh.py").exists()).expect("mirrored");
    assert!(root.join("other/__init__.py").exists() && !root.join("fresh").exists());
}

/// R13: Ctrl-C at each stage of `up`.
#[test]
fn ctrl_c_at_any_stage_of_up_leaves_nothing() {
    let bench = plain(Who::Ordinary, "taken-back");
    // Once the mirror is in place, it is the next stage that looks whether all this is still wanted.
    let stages =
        STAGES_OF_THE_CONTAINER.iter().chain(&STAGES_OF_THE_MIRROR).filter(|place| **place != "mirror.applied");
    for &place in stages {
        if place.starts_with("image") {
            let mark = bench.outside().display();
            bench.write("Dockerfile", &format!("{PLAIN}RUN echo {place}{mark} > /mark\n"));
        }
        // A cache of its own, so that every stage is gone through again.
        let cache = bench.outside().join(place);
        std::fs::create_dir(&cache).expect("made");
        bench.own(&cache);
        let mut command = bench.gpubay(&["up"]);
        command.env("GPUBAY_FAILPOINT", format!("{place}:interrupt")).env("XDG_CACHE_HOME", &cache);
        let ran = Ran::of(&output(&mut command), &[place]);
        assert_eq!(ran.code, Some(130), "{place}: {ran:?}");
        assert!(bench.containers().is_empty(), "{place} left a container");
        assert!(leftover_stages(&cache).is_empty(), "{place}");
        assert!(!bench.workspace.join(".venv").exists(), "{place} left a mount point");
        let run = std::fs::read_dir(bench.home.join(".local/share/gpubay/run")).into_iter().flatten().flatten();
        let helpers: Vec<_> = run.filter(|entry| entry.file_name().to_string_lossy().starts_with("helper")).collect();
        assert!(helpers.is_empty(), "{place} left {helpers:?}");
    }
    bench.up();
    let output = bench.python(&["-c", "print('alive')"]).output().expect("started");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alive\n");
}

/// R13: Ctrl-C in a `sync` and before a job has begun; what runs is left alone.
#[test]
fn ctrl_c_in_sync_and_run_leaves_what_was_there() {
    let bench = plain(Who::Ordinary, "half-way");
    let id = bench.up()["container"]["id"].clone();
    bench.run(&["exec", "--root", "--", "sh", "-c", INSTALL]).succeeded();
    for place in ["mirror.helper", "mirror.scan", "mirror.stage", "mirror.seal", "mirror.apply"] {
        let cache = bench.outside().join(place);
        std::fs::create_dir(&cache).expect("made");
        bench.own(&cache);
        let mut command = bench.gpubay(&["sync"]);
        command.env("GPUBAY_FAILPOINT", format!("{place}:interrupt")).env("XDG_CACHE_HOME", &cache);
        let ran = Ran::of(&output(&mut command), &[place]);
        assert_eq!(ran.code, Some(130), "{place}: {ran:?}");
        assert!(leftover_stages(&cache).is_empty(), "{place}");
        assert_eq!(bench.containers().len(), 1, "{place} left a helper");
    }
    for place in ["job.created", "job.started"] {
        let mut command = bench.gpubay(&["run", "--name", "taken", "--", "sleep", "1000"]);
        let ran = Ran::of(&output(command.env("GPUBAY_FAILPOINT", format!("{place}:interrupt"))), &[place]);
        assert_eq!(ran.code, Some(130), "{place}: {ran:?}");
        assert_eq!(bench.containers().len(), 1, "{place} left a job");
    }
    assert!(mirrored(&bench));
    let again = bench.up();
    assert_eq!(again["container"]["id"], id);
    bench.run(&["sync"]).succeeded();
}

/// A `run` looks into the image through a container of its own, which a `sync` must not take for a leftover.
#[test]
fn a_sync_waits_for_a_job_that_is_being_made() {
    let bench = plain(Who::Ordinary, "beside");
    bench.up();
    let held = Held::at(&bench, "job.planned", &["run", "--", "true"]);
    let mut sync = bench.gpubay(&["sync"]);
    let mut sync = sync.stderr(Stdio::piped()).spawn().expect("started");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(sync.stderr.take().expect("piped")));
    assert!(lines.any(|line| line.expect("text").contains("another gpubay is at work")), "it did not wait");
    held.go_on("run").succeeded();
    assert!(ended(&mut sync).success());
}

/// A recreate that was asked for is made, although nothing has changed.
#[test]
fn a_recreate_needs_no_drift() {
    let bench = plain(Who::Ordinary, "anew");
    let first = bench.up();
    bench.run(&["exec", "--root", "--", "touch", "/opt/x"]).succeeded();
    let second = bench.json(&["up", "--recreate"]);
    assert_ne!(second["container"]["id"], first["container"]["id"]);
    assert_eq!(bench.containers().len(), 1);
    assert_ne!(bench.run(&["exec", "--", "test", "-e", "/opt/x"]).code, Some(0));
}

/// A pause is no obstacle for who means it.
#[test]
fn a_paused_container_can_be_ended_on_purpose() {
    let bench = plain(Who::Ordinary, "paused");
    for command in ["stop", "down"] {
        let name = bench.up()["container"]["name"].as_str().expect("a name").to_owned();
        bench.docker(&["exec", "-d", &name, "sleep", "1000"]).succeeded();
        bench.docker(&["pause", &name]).succeeded();
        bench.run(&[command, "--force"]).succeeded();
    }
    assert!(bench.containers().is_empty());
}

/// X9: an engine opens what it mounts by its path, at the last moment, and a running dev container can write that path.
#[test]
fn a_live_folder_that_is_exchanged_while_the_job_starts_is_not_given_to_it() {
    let bench = plain(Who::Ordinary, "exchanged");
    bench.write("gpubay.toml", "[gpus]\nuse = \"none\"\n");
    bench.write("data/old", "");
    bench.up();
    let secret = bench.outside().join("secret");
    std::fs::create_dir(&secret).expect("made");
    bench.own(&secret);
    let (data, away) = (bench.workspace.join("data"), bench.workspace.join("away"));
    let run = ["run", "--json", "--snapshot", "--live", "data", "--name", "x"];
    for more in [&[][..], &["--detach"]] {
        let args = [&run[..], more, &["--", "touch", "data/canary"]].concat();
        let held = Held::at(&bench, "job.checked", &args);
        std::fs::rename(&data, &away).and_then(|()| std::os::unix::fs::symlink(&secret, &data)).expect("exchanged");
        let ran = held.go_on("run --snapshot");
        assert!(!secret.join("canary").exists(), "{ran:?}");
        ran.failed("mount_moved").failed("/workspace/data is not what it was on the host");
        std::fs::remove_file(&data).and_then(|()| std::fs::rename(&away, &data)).expect("put back");
        // Nothing of it is left, and beside the same dev container it works when nobody plays tricks.
        assert_eq!(bench.error(&["record", "x"]).0, "no_such_job");
    }
    bench.run(&[&run[..], &["--", "touch", "data/canary"]].concat()).succeeded();
    assert!(data.join("canary").exists());
}
