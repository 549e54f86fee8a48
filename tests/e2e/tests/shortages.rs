//! R11: too little of something on this machine. Each time it is said of what, where, and what to do next; nothing
//! half-made stays, and the next `up` succeeds once there is enough.

use std::path::{Path, PathBuf};
use std::process::Command;

use gpubay_e2e::{Bench, Ran, Who};

const PLAIN: &str = "FROM gpubay-lab/python\n";

fn plain(who: Who, name: &str) -> Bench {
    let bench = Bench::new("docker28", who, name);
    bench.write("Dockerfile", PLAIN);
    bench
}

/// A small file system in memory, which the engine sees as well.
struct Disk(PathBuf);

impl Disk {
    fn over(folder: &Path, options: &str) -> Self {
        std::fs::create_dir_all(folder).expect("made");
        run("mount", &["-t", "tmpfs", "-o", &format!("mode=0777,{options}"), "none"], folder);
        Self(folder.to_owned())
    }

    fn change(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}")], &self.0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn run(program: &str, args: &[&str], last: &Path) {
    let done = Command::new(program).args(args).arg(last).status().expect("started");
    assert!(done.success(), "{program} {args:?} {}", last.display());
}

/// Where the user's own configuration puts data and cache.
fn paths(bench: &Bench, data: &Path, cache: &Path) {
    let folder = bench.home.join(".config/gpubay");
    std::fs::create_dir_all(&folder).expect("made");
    let text = format!("[paths]\ndata = \"{}\"\ncache = \"{}\"\n", data.display(), cache.display());
    std::fs::write(folder.join("config.toml"), text).expect("written");
}

/// `up` fails with this code, naming the place, and leaves no container.
#[track_caller]
fn fails(bench: &Bench, code: &str, place: &Path) -> String {
    let ran = bench.run(&["up", "--json"]);
    let error = ran.failed("\"outcome\":\"error\"").json()["error"].clone();
    assert_eq!(error["code"], code, "{error}");
    assert!(error["message"].as_str().is_some_and(|said| said.contains(&*place.to_string_lossy())), "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
    error.to_string()
}

fn stages(cache: &Path) -> usize {
    let entries = std::fs::read_dir(cache.join("mirror")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".stage")).count()
}

#[track_caller]
fn works(bench: &Bench) {
    bench.up();
    let output = bench.python(&["-c", "print(6*7)"]).output().expect("started");
    assert_eq!(Ran::of(&output, &["python"]).succeeded().stdout, "42\n");
    let pth = std::fs::read_to_string(bench.workspace.join(".venv/lib/python3.11/site-packages/container.pth"));
    assert!(pth.expect("container.pth").lines().any(|root| Path::new(root).join("pip/__init__.py").is_file()));
}

#[test]
fn a_full_cache_is_said_and_filled_once_there_is_room() {
    let bench = plain(Who::Ordinary, "cache");
    let disk = Disk::over(&bench.outside().join("disk"), "size=1m");
    let cache = disk.0.join("cache");
    paths(&bench, &bench.home.join("data"), &cache);
    // Known before anything is copied.
    assert!(fails(&bench, "disk_full", &cache).contains("are free"));
    assert_eq!(stages(&cache), 0);
    // Known only when it happens: there is room, and no file may be made.
    disk.change("size=300m,nr_inodes=400");
    fails(&bench, "disk_full", &cache);
    assert_eq!(stages(&cache), 0);
    disk.change("nr_inodes=0");
    disk.change("ro");
    fails(&bench, "read_only", &cache);
    disk.change("rw");
    works(&bench);
}

#[test]
fn a_full_data_folder_is_said_and_used_once_there_is_room() {
    let bench = plain(Who::Ordinary, "data");
    let disk = Disk::over(&bench.outside().join("disk"), "size=64k");
    let data = disk.0.join("data");
    paths(&bench, &data, &bench.home.join("cache"));
    fails(&bench, "disk_full", &data);
    // Room for the agent, and none for the venv inside.
    disk.change("size=64m,nr_inodes=24");
    fails(&bench, "disk_full", Path::new("/workspace/.venv"));
    disk.change("ro");
    fails(&bench, "read_only", &data);
    disk.change("rw,nr_inodes=0");
    works(&bench);
}

#[test]
fn a_full_workspace_is_said_and_used_once_there_is_room() {
    let bench = Bench::new("docker28", Who::Ordinary, "full");
    // The folder, the Dockerfile, and nothing else.
    let disk = Disk::over(&bench.workspace, "size=8m,nr_inodes=2");
    bench.write("Dockerfile", PLAIN);
    fails(&bench, "disk_full", &bench.workspace);
    assert!(bench.containers().is_empty());
    // `.venv` itself, and not what belongs into it.
    disk.change("nr_inodes=6");
    fails(&bench, "disk_full", &bench.workspace);
    disk.change("nr_inodes=0");
    works(&bench);
    bench.run(&["down"]).succeeded();
}

#[test]
fn too_few_open_files_are_said_and_enough_are_enough() {
    let bench = plain(Who::Ordinary, "files");
    bench.up();
    for (limit, enough) in [(6, false), (16, false), (127, false), (128, true)] {
        let cache = bench.outside().join(limit.to_string());
        std::fs::create_dir(&cache).expect("made");
        bench.own(&cache);
        let mut command = bench.command("prlimit");
        command.arg(format!("--nofile={limit}:{limit}")).arg(&gpubay_e2e::lab().gpubay).arg("sync");
        let ran = Ran::of(&command.env("XDG_CACHE_HOME", &cache).output().expect("started"), &["sync"]);
        assert_eq!(ran.code, Some(i32::from(!enough)), "{limit}: {ran:?}");
        if !enough {
            assert!(ran.stderr.contains("too many open files") && ran.stderr.contains("ulimit -n"), "{limit}: {ran:?}");
        }
        assert_eq!(stages(&cache.join("gpubay")), 0, "{limit}");
        assert_eq!(bench.containers().len(), 1, "{limit} left a helper");
    }
}

#[test]
fn a_mirror_that_was_deleted_is_made_anew() {
    let bench = plain(Who::Ordinary, "deleted");
    bench.up();
    for folder in [".cache/gpubay/mirror/base", ".cache/gpubay"] {
        std::fs::remove_dir_all(bench.home.join(folder)).expect("deleted");
        works(&bench);
    }
}
