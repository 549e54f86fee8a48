//! `prune` and `rm`: what nothing needs goes, and nothing else.

use std::path::{Path, PathBuf};

use gpubay_e2e::{Bench, Terminal, Who, eventually, kill};
use serde_json::Value;

const PLAIN: &str = "FROM gpubay-lab/python\n";

fn bench(name: &str) -> Bench {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, name);
    bench.write("Dockerfile", PLAIN);
    bench
}

#[track_caller]
fn prune(bench: &Bench, args: &[&str]) -> Value {
    let mut all = vec!["prune"];
    all.extend(args);
    bench.json(&all)
}

fn items<'a>(report: &'a Value, kind: &str) -> Vec<&'a str> {
    let items = report["items"].as_array().expect("items").iter().filter(|item| item["kind"] == kind);
    items.map(|item| item["name"].as_str().expect("a name")).collect()
}

#[track_caller]
fn keeps(report: &Value, words: &str) {
    let kept = report["kept"].as_array().expect("sentences");
    assert!(kept.iter().any(|line| line.as_str().is_some_and(|line| line.contains(words))), "{words:?}: {report:#}");
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Images that were built for this workspace.
fn images(bench: &Bench) -> Vec<String> {
    let filter = format!("label=gpubay.workspace={}", bench.workspace.display());
    let ran = bench.docker(&["images", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"]);
    ran.succeeded().stdout.lines().map(str::to_owned).collect()
}

struct Images<'a>(&'a Bench);

impl Drop for Images<'_> {
    fn drop(&mut self) {
        for image in images(self.0) {
            self.0.docker(&["rmi", "-f", &image]);
        }
    }
}

/// One workspace through its whole life.
#[test]
fn what_nothing_needs_is_freed_and_the_rest_stays() {
    let bench = bench("pruned");
    let _images = Images(&bench);
    let data = bench.home.join(".local/share/gpubay");
    let mirrors = bench.home.join(".cache/gpubay/mirror");
    bench.up();
    let base = folders(&mirrors.join("base"));
    assert_eq!(base.len(), 1);

    // The mirror's helper is removed by the engine, in its own time.
    bench.containers();
    // All of it is in use.
    let report = prune(&bench, &["--dry-run"]);
    assert_eq!((report["items"].as_array().map(Vec::len), &report["bytes"]), (Some(0), &0.into()), "{report:#}");

    // A stopped container needs its image and its venv as well; another image takes the place of the first.
    bench.run(&["stop"]).succeeded();
    bench.write("Dockerfile", &format!("{PLAIN}ENV ONE=1\nRUN echo 1 > /one\n"));
    bench.json(&["build"]);
    assert_eq!(items(&prune(&bench, &["--dry-run"]), "images"), [] as [&str; 0]);
    bench.run(&["up"]).succeeded();
    assert_eq!(images(&bench).len(), 2);
    // A name that somebody gave an image is a use of it.
    let old = images(&bench).into_iter().find(|tag| !image_env(&bench, tag).contains("ONE=1")).expect("the first");
    bench.docker(&["tag", &old, "gpubay-e2e/named:1"]).succeeded();
    assert_eq!(items(&prune(&bench, &["--dry-run"]), "images"), [] as [&str; 0]);
    bench.docker(&["rmi", "gpubay-e2e/named:1"]).succeeded();

    let dry = prune(&bench, &["--dry-run"]);
    assert_eq!(items(&dry, "images"), [old.as_str()], "{dry:#}");
    assert_eq!(items(&dry, "mirrors").len(), 1, "the mirror of the first image: {dry:#}");
    assert!(dry["bytes"].as_u64().is_some_and(|bytes| bytes > 100_000), "{dry:#}");
    assert_eq!((images(&bench).len(), folders(&mirrors.join("base")).len()), (2, 2));

    // Unasked nothing goes.
    let (code, _) = bench.error(&["prune"]);
    assert_eq!(code, "not_confirmed");
    let mut terminal = Terminal::start(&bench, &["prune", "mirrors"], &[]);
    let shown = terminal.read_until("[y/N]");
    assert!(shown.contains("no workspace uses it") && shown.contains("1 thing,"), "{shown}");
    terminal.write("n\n");
    let (said, ended) = terminal.end();
    assert!(said.contains("nothing was removed") && ended == Some(130), "{said} {ended:?}");
    assert_eq!(folders(&mirrors.join("base")).len(), 2);

    // Only what was asked for.
    let done = prune(&bench, &["images", "--yes"]);
    assert_eq!((items(&done, "images"), items(&done, "mirrors")), (vec![old.as_str()], vec![]), "{done:#}");
    assert_eq!((images(&bench).len(), folders(&mirrors.join("base")).len()), (1, 2));
    // So does what another version delivered, and what was remembered of the image.
    let (earlier, cached) = (data.join("agent/0123456789abcdef"), bench.home.join(".cache/gpubay/images"));
    std::fs::create_dir(&earlier).expect("made");
    std::fs::write(earlier.join("gpubay-agent"), "").expect("written");
    bench.own(&earlier);
    assert_eq!((folders(&data.join("agent")).len(), folders(&cached).len()), (2, 2));
    let done = prune(&bench, &["--yes"]);
    assert_eq!(done["items"][0]["removed"], true, "{done:#}");
    assert!(items(&done, "records").contains(&earlier.to_str().expect("text")), "{done:#}");
    assert!(!earlier.exists());
    assert_eq!((folders(&data.join("agent")).len(), folders(&cached).len()), (1, 1));
    assert!(!base[0].exists());
    // What is left works.
    assert_eq!(bench.up()["container"]["reused"], true);
    bench.run(&["down"]).succeeded();

    // With no container, and no folder, all of it goes; but not while a container of it is there.
    bench.run(&["up"]).succeeded();
    bench.run(&["run", "--detach", "--name", "gone", "--", "true"]).succeeded();
    bench.run(&["run", "--snapshot", "--", "touch", "model.pt"]).succeeded();
    std::fs::rename(&bench.workspace, bench.home.join("moved")).expect("moved");
    let here = |args: &[&str]| {
        let mut command = bench.gpubay(args);
        command.current_dir(&bench.home);
        gpubay_e2e::Ran::of(&gpubay_e2e::output(&mut command), args).succeeded().stdout.clone()
    };
    let dry: Value = serde_json::from_str(&here(&["prune", "--json", "--dry-run"])).expect("JSON");
    keeps(&dry, "uses: `gpubay -C ");
    assert_eq!((items(&dry, "venvs").len(), items(&dry, "images").len()), (0, 0), "{dry:#}");
    here(&["-C", bench.workspace.to_str().expect("text"), "down", "--force"]);
    let venvs = folders(&data.join("venvs"));
    assert_eq!(venvs.len(), 1);
    let done: Value = serde_json::from_str(&here(&["prune", "--json", "--yes"])).expect("JSON");
    assert_eq!(items(&done, "venvs"), [venvs[0].to_str().expect("text")], "{done:#}");
    assert_eq!(items(&done, "images").len(), 1, "{done:#}");
    // What a job wrote beside its frozen sources is nobody's to remove but the user's.
    let written = folders(&data.join("jobs"));
    keeps(&done, "wrote files beside their frozen sources");
    assert!(folders(&written[0]).iter().any(|record| record.join("snapshot/model.pt").exists()), "{done:#}");
    for record in folders(&written[0]) {
        let _ = std::fs::remove_file(record.join("snapshot/model.pt"));
    }
    // Neither are the volumes that it kept settings and tokens in; they are named, and go when they are asked for.
    keeps(&done, "`gpubay prune volumes` removes them");
    let volumes = |filter: &str| -> Vec<String> {
        let ran = bench.docker(&["volume", "ls", "--filter", filter, "--format", "{{.Name}}"]);
        ran.succeeded().stdout.lines().map(str::to_owned).collect()
    };
    let of_it = format!("label=gpubay.workspace={}", bench.workspace.display());
    let its = volumes(&of_it);
    assert!(its.len() > 1 && !its.iter().any(|name| name.starts_with("gpubay-cache")), "{its:?}");
    // Those of earlier versions tell it by their names only, and another workspace's is not touched.
    let id8 = its[0].split('-').nth(2).expect("gpubay-<slug>-<id8>-<what>");
    let (old, other) = (format!("gpubay-pruned-{id8}-old"), format!("gpubay-pruned-{}-old", "0".repeat(8)));
    let owner = format!("gpubay.owner={}", bench.uid());
    for name in [&old, &other] {
        bench.docker(&["volume", "create", "--label", &owner, name]).succeeded();
    }
    // One that a container has, whoever's it is.
    let user = format!("gpubay-e2e-user-{id8}");
    let mount = format!("{}:/kept", its[0]);
    bench.docker(&["create", "--name", &user, "-v", &mount, "gpubay-lab/busybox", "true"]).succeeded();
    let done: Value = serde_json::from_str(&here(&["prune", "--json", "--yes", "volumes"])).expect("JSON");
    bench.docker(&["rm", "-f", &user]).succeeded();
    let mut expected: Vec<&str> = its[1..].iter().map(String::as_str).chain([old.as_str()]).collect();
    expected.sort_unstable();
    assert_eq!(items(&done, "volumes"), expected, "{done:#}");
    keeps(&done, "which a container uses");
    here(&["prune", "--yes", "volumes"]);
    assert_eq!((volumes(&of_it), volumes(&format!("name={old}"))), (vec![], vec![]));
    bench.docker(&["volume", "rm", &other]).succeeded();
    let done: Value = serde_json::from_str(&here(&["prune", "--json", "--yes"])).expect("JSON");
    assert!(items(&done, "records").contains(&written[0].to_str().expect("text")), "{done:#}");
    for empty in ["venvs", "run", "host-envs", "jobs", "workspaces", "locks"] {
        assert_eq!(folders(&data.join(empty)), [] as [PathBuf; 0], "{done:#}");
    }
    assert_eq!(folders(&mirrors.join("base")), [] as [PathBuf; 0]);
    assert_eq!(images(&bench), [] as [String; 0]);
    assert!(here(&["prune"]).contains("nothing to remove"));
    // What the user has is where it was.
    assert!(bench.home.join("moved/Dockerfile").exists());
    std::fs::rename(bench.home.join("moved"), &bench.workspace).expect("moved back");
}

/// A workspace whose disk is not mounted is not gone.
#[test]
fn a_workspace_on_a_disk_that_is_not_there_keeps_everything() {
    let bench = bench("on-a-disk");
    let _images = Images(&bench);
    let mount = |what: &[&str]| {
        let mut command = std::process::Command::new(what[0]);
        assert!(command.args(&what[1..]).arg(&bench.workspace).status().expect("started").success());
    };
    mount(&["mount", "-t", "tmpfs", "-o", "mode=0777", "gpubay-e2e-disk"]);
    bench.write("Dockerfile", PLAIN);
    let inside = bench.workspace.join("ws");
    std::fs::create_dir(&inside).expect("made");
    bench.own(&inside);
    std::fs::copy(bench.workspace.join("Dockerfile"), inside.join("Dockerfile")).expect("copied");
    let at = inside.to_str().expect("text");
    let home = |args: &[&str]| {
        let mut command = bench.gpubay(args);
        command.current_dir(&bench.home);
        gpubay_e2e::Ran::of(&gpubay_e2e::output(&mut command), args)
    };
    let up = home(&["-C", at, "up"]);
    let down = home(&["-C", at, "down"]);
    mount(&["umount", "--lazy"]);
    up.succeeded();
    down.succeeded();
    assert!(!inside.exists());
    let done = home(&["prune", "--yes", "--json"]).succeeded().json();
    keeps(&done, "where nothing is mounted now");
    assert_eq!(done["items"].as_array().map(Vec::len), Some(0), "{done:#}");
    assert_eq!(folders(&bench.home.join(".local/share/gpubay/venvs")).len(), 1);
    assert_eq!(folders(&bench.home.join(".cache/gpubay/mirror/base")).len(), 1);
    bench.docker(&["rmi", "-f", &image_of(&bench, at)]);
}

fn image_of(bench: &Bench, folder: &str) -> String {
    let filter = format!("label=gpubay.workspace={folder}");
    let ran = bench.docker(&["images", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"]);
    ran.succeeded().stdout.lines().next().expect("an image").to_owned()
}

/// What an `up` of another process is about to use stays, and so do images of strangers.
#[test]
fn beside_an_up_of_another_process_and_beside_strangers() {
    let bench = bench("busy");
    let _images = Images(&bench);
    // Somebody else's label of our name, whose identity it cannot be.
    let stranger = bench.outside().join("stranger");
    std::fs::create_dir(&stranger).expect("made");
    std::fs::write(
        stranger.join("Dockerfile"),
        format!("{PLAIN}LABEL gpubay.id={} gpubay.workspace=/x\n", "0".repeat(64)),
    )
    .expect("written");
    let foreign = "gpubay-e2e/stranger:1";
    bench.docker(&["build", "-q", "-t", foreign, stranger.to_str().expect("text")]).succeeded();

    // Killed after the mirror was staged: that stage is a leftover.
    let mut dies = bench.gpubay(&["up"]).env("GPUBAY_FAILPOINT", "mirror.stage:abort").spawn().expect("started");
    dies.wait().expect("ended");
    let dry = prune(&bench, &["--dry-run"]);
    assert_eq!(items(&dry, "leftovers").iter().filter(|name| name.contains("/.stage-")).count(), 1, "{dry:#}");

    let shown = bench.json(&["ps", "--all"]);
    let rows = shown["containers"].as_array().expect("rows");
    assert!(rows.iter().all(|row| row["role"] != "helper"), "{shown:#}");
    let doctor = bench.run(&["doctor"]);
    assert!(doctor.stdout.contains("that a killed process left"), "{doctor:?}");

    // One that has made the mirror, and nothing that names it yet.
    let hold = bench.outside().join("hold");
    std::fs::create_dir(&hold).expect("made");
    bench.own(&hold);
    let held = hold.join("held");
    let mut works = bench
        .gpubay(&["up"])
        .env("GPUBAY_FAILPOINT", format!("hostenv.write:hold={}", held.display()))
        .spawn()
        .expect("started");
    eventually("the up is held", || held.exists());
    let done = prune(&bench, &["--yes"]);
    let base = folders(&bench.home.join(".cache/gpubay/mirror/base"));
    let held_there = held.exists();
    if held_there {
        std::fs::remove_file(&held).expect("let go");
    }
    let ended = works.wait().expect("ended");
    kill(&mut works);
    assert!(ended.success() && held_there, "{ended:?}");
    assert_eq!(base.len(), 1, "{done:#}");
    keeps(&done, "another gpubay is at work");
    assert!(!items(&done, "images").contains(&foreign), "{done:#}");
    bench.docker(&["inspect", foreign]).succeeded();
    bench.docker(&["rmi", foreign]).succeeded();
    assert_eq!(bench.up()["container"]["reused"], true);
}

#[test]
fn rm_takes_what_has_ended_and_a_venv_anew() {
    let bench = bench("removed");
    let up = bench.up();
    bench.run(&["run", "--detach", "--name", "short", "--", "sh", "-c", "exit 3"]).succeeded();
    bench.run(&["run", "--detach", "--name", "other", "--", "true"]).succeeded();
    bench.run(&["run", "--detach", "--name", "long", "--", "sleep", "1000"]).succeeded();
    for job in ["short", "other"] {
        bench.run(&["logs", "--follow", job]).succeeded();
    }
    let (code, ran) = bench.error(&["rm", "nobody"]);
    assert!(code == "no_such_container" && ran.stdout.contains("short"), "{ran:?}");
    assert_eq!(bench.run(&["rm"]).code, Some(2));
    let (code, _) = bench.error(&["rm", "short", "long"]);
    assert_eq!(code, "work_running");
    assert_eq!(bench.containers().len(), 4, "all or nothing");
    let removed = bench.json(&["rm", "short"]);
    assert_eq!(removed["containers"].as_array().map(Vec::len), Some(1), "{removed}");
    // How it ended outlives it.
    let kept = bench.json(&["record", "short"]);
    assert!(kept["ended"]["exit_code"] == 3 && kept["ended"]["at"].as_u64() >= kept["started"].as_u64(), "{kept:#}");
    // A job that is there still tells it as well, and one that runs has no end.
    let listed = bench.run(&["record", "--list"]).succeeded().stdout.clone();
    for end in ["  short  3  ", "  other  0  ", "  long  -  "] {
        assert!(listed.contains(end), "{end:?}: {listed}");
    }
    let removed = bench.json(&["rm", "--all"]);
    assert!(removed["containers"][0].as_str().is_some_and(|name| name.ends_with("-other")), "{removed}");
    assert_eq!(bench.containers().len(), 2);
    assert_eq!(bench.error(&["rm", "--venv"]).0, "work_running");
    let (code, ran) = bench.error(&["rm", "dev"]);
    assert!(code == "work_running" && ran.stdout.contains("gpubay stop"), "{ran:?}");
    assert!(!ran.stdout.contains("gpubay logs"), "{ran:?}");
    // With consent the jobs that run as well, and nothing but jobs.
    let removed = bench.json(&["rm", "--all", "--force"]);
    assert!(removed["containers"][0].as_str().is_some_and(|name| name.ends_with("-long")), "{removed}");
    assert_eq!(bench.containers().len(), 1);
    assert!(bench.json(&["record", "long"])["ended"]["exit_code"].as_i64() > Some(128));
    assert!(bench.run(&["rm", "--all", "--force"]).succeeded().stdout.contains("has no job"));

    // The venv, anew: with the container stopped, and kept.
    bench.run(&["exec", "--", "sh", "-c", "touch $VIRTUAL_ENV/mark"]).succeeded();
    bench.run(&["stop"]).succeeded();
    let emptied = bench.json(&["rm", "--venv"]);
    let venv = PathBuf::from(emptied["venv"].as_str().expect("a path"));
    assert_eq!(folders(&venv), [] as [PathBuf; 0]);
    let again = bench.up();
    assert_eq!(again["container"]["id"], up["container"]["id"]);
    assert!(venv.join("bin/python").is_symlink() && !venv.join("mark").exists());
    let ran = bench.python(&["-c", "import sys; print(sys.prefix)"]).output().expect("started");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "/workspace/.venv\n", "{ran:?}");
    bench.run(&["stop"]).succeeded();
    bench.json(&["rm", "dev"]);
    assert_eq!(bench.containers(), [] as [String; 0]);
}

fn image_env(bench: &Bench, tag: &str) -> String {
    bench.docker(&["inspect", "--format", "{{.Config.Env}}", tag]).succeeded().stdout.clone()
}
