//! What a job was made of stays when its container is gone.

use gpubay_e2e::{Bench, Terminal, Who, eventually};
use serde_json::{Value, json};

fn git(bench: &Bench, args: &[&str]) -> String {
    let mut command = bench.command("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(args);
    let ran = gpubay_e2e::output(&mut command);
    assert!(ran.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("text").trim().to_owned()
}

fn record(bench: &Bench, job: &str) -> Value {
    bench.json(&["record", job])
}

/// A workspace in a repository with one commit and a change.
fn workspace(engine: &str, who: Who) -> (Bench, String) {
    let bench = Bench::on_cpu(engine, who, "records");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.write("gpubay.toml", "[container]\nenv = { API_TOKEN = \"hunter2\" }\n[gpus]\nuse = \"none\"\n");
    bench.write("train.sh", "echo one\n");
    bench.write(".gitignore", "*.log\n");
    git(&bench, &["init", "-q", "-b", "work"]);
    git(&bench, &["add", "."]);
    git(&bench, &["commit", "-q", "-m", "first"]);
    let commit = git(&bench, &["rev-parse", "HEAD"]);
    bench.write("train.sh", "echo two\n");
    (bench, commit)
}

#[test]
fn a_job_is_recorded_beyond_its_container() {
    for (engine, who) in [("docker28", Who::Ordinary), ("docker20", Who::Root)] {
        let (bench, commit) = workspace(engine, who);
        assert_eq!(bench.error(&["record"]).0, "no_such_job");
        bench.write("train.sh", "echo \u{1b}[31mtwo\n");
        bench.up();
        let ran = bench.run(&["run", "--name", "fore", "--", "sh", "-c", "exit 3"]);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        let fore = record(&bench, "fore");
        assert_eq!((&fore["ended"]["exit_code"], &fore["command"]), (&json!(3), &json!(["sh", "-c", "exit 3"])));

        bench.run(&["run", "--detach", "--name", "back", "--", "sh", "-c", "exit 4"]).succeeded();
        eventually("it ends", || bench.json(&["ps"])["containers"][1]["state"] == "exited");
        let row = bench.json(&["ps"])["containers"][1].clone();
        assert_eq!(row["commit"], format!("{commit}+"));
        let labels = bench.inspect(row["id"].as_str().expect("an id"))["Config"]["Labels"].clone();
        assert_eq!(labels["gpubay.record"], row["record"]);
        bench.run(&["down", "--force"]).succeeded();

        let kept = record(&bench, "back");
        assert_eq!(kept["ended"]["exit_code"], 4, "{kept}");
        assert_eq!(kept["git"]["commit"], commit);
        assert_eq!((&kept["git"]["branch"], &kept["git"]["dirty"]), (&json!("work"), &json!(true)));
        assert_eq!(kept["image"]["id"], labels["gpubay.image"]);
        assert_eq!(kept["gpus"]["given"], "none");
        assert!(kept["env"].as_array().expect("names").contains(&json!("API_TOKEN")), "{kept}");
        let diff = bench.run(&["record", "back", "--diff"]).succeeded().stdout.clone();
        assert_eq!(diff.trim(), git(&bench, &["diff"]), "on {engine}");
        let (shown, _) = Terminal::start(&bench, &["record", "back", "--diff"], &[]).end();
        assert!(shown.contains("+echo \u{fffd}[31mtwo"), "a terminal gets no escape sequence: {shown:?}");
        assert_eq!(bench.json(&["record", "--list"])["records"].as_array().map(Vec::len), Some(2));
        assert!(bench.run(&["record"]).succeeded().stdout.contains("ended with 4"), "the latest one");

        // No value of a variable is anywhere in it, and nobody else reads it.
        let folder = kept["folder"].as_str().expect("a path");
        let found = gpubay_e2e::output(bench.command("grep").args(["-r", "hunter2", folder]));
        assert_eq!(found.status.code(), Some(1), "{}", String::from_utf8_lossy(&found.stdout));
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(folder).expect("there"));
        assert_eq!(mode & 0o777, 0o700);
        // What did not start is not recorded.
        bench.run(&["run", "--name", "bad", "--gpus", "device=9", "--", "true"]).failed("GPU");
        assert_eq!(bench.error(&["record", "bad"]).0, "no_such_job");
    }
}

/// Says where it is, waits, and then reads and writes.
const TRAIN: &str = r#"
import json, os, pathlib, sys, time
outputs = pathlib.Path("outputs")
(outputs / "started").write_text("")
end = time.monotonic() + 60
while not (outputs / "go").exists() and time.monotonic() < end:
    time.sleep(0.02)
import late
pathlib.Path("model.pt").write_text("weights")
seen = {"conf": pathlib.Path("conf.txt").read_text(), "late": late.VALUE, "prefix": sys.prefix, "argv": sys.argv[1:]}
(outputs / "result.json").write_text(json.dumps(seen))
"#;

#[test]
fn editing_does_not_reach_a_job_with_a_snapshot() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "snapshot");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.write("gpubay.toml", "[gpus]\nuse = \"none\"\n");
    bench.write(".gitignore", "outputs/\n");
    bench.write("outputs/old", "");
    bench.write("train.py", TRAIN);
    bench.write("conf.txt", "frozen");
    bench.write("late.py", "VALUE = 1\n");
    git(&bench, &["init", "-q"]);
    bench.up();
    let file = |name: &str| bench.workspace.join(name);
    let args = ["run", "--json", "--snapshot", "--name", "first", "--", "python", "train.py", "--lr", "1"];
    let mut command = bench.gpubay(&args);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let child = child.expect("started");
    eventually("it runs", || file("outputs/started").exists());
    // In place, and as an editor that replaces a file.
    bench.write("conf.txt", "edited");
    bench.write("late.new", "VALUE = 2\n");
    std::fs::rename(file("late.new"), file("late.py")).expect("replaced");
    bench.write("outputs/go", "");
    let ran = gpubay_e2e::Ran::of(&gpubay_e2e::finish(child), &args);
    assert_eq!(ran.succeeded().json()["exit_code"], 0);
    let result = || -> Value {
        serde_json::from_slice(&std::fs::read(file("outputs/result.json")).expect("the output came out")).expect("JSON")
    };
    let want = json!({ "conf": "frozen", "late": 1, "prefix": "/workspace/.venv", "argv": ["--lr", "1"] });
    assert_eq!(result(), want);
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(file("outputs/result.json")).expect("there")),
        bench.uid()
    );
    // What it wrote elsewhere is kept, and said.
    assert!(ran.stderr.contains("model.pt") && !file("model.pt").exists(), "{ran:?}");
    let kept = record(&bench, "first");
    let snapshot = std::path::Path::new(kept["folder"].as_str().expect("a path")).join("snapshot");
    assert_eq!(std::fs::read_to_string(snapshot.join("model.pt")).expect("kept"), "weights");

    // Once more, after everything has changed: the same sources, and what differs is said.
    std::fs::remove_file(file("outputs/result.json")).expect("removed");
    bench.write("gpubay.toml", "[container]\nenv = { MODE = \"new\" }\n[gpus]\nuse = \"none\"\n");
    let again = bench.json(&["run", "--again", "first", "--name", "second"]);
    assert_eq!((&again["exit_code"], result()), (&json!(0), want));
    let differs: Vec<&str> =
        again["differences"].as_array().expect("a list").iter().filter_map(|one| one["option"].as_str()).collect();
    assert_eq!(differs, ["env.MODE"], "{again}");
    assert_ne!(record(&bench, "second")["folder"], kept["folder"]);

    // Taken back while it freezes: nothing is left. A folder outside of the workspace is none to keep live.
    let records = bench.home.join(".local/share/gpubay/jobs");
    let count = || {
        let places = records.read_dir().expect("there").map(|place| place.expect("a place").path());
        places.map(|place| place.read_dir().expect("there").count()).sum::<usize>()
    };
    assert_eq!(count(), 2);
    let mut command = bench.gpubay(&["run", "--snapshot", "--", "true"]);
    let ran = gpubay_e2e::output(command.env("GPUBAY_FAILPOINT", "job.frozen:interrupt"));
    assert_eq!((ran.status.code(), count()), (Some(130), 2));
    bench.run(&["run", "--snapshot", "--live", "../x", "--", "true"]).failed("no folder of the workspace");
    bench.run(&["run", "--snapshot", "--live", "new", "--", "touch", "new/file"]).succeeded();
    assert!(file("new/file").exists());
}

#[test]
fn a_job_runs_again_without_its_container_and_says_what_differs() {
    let (bench, _) = workspace("docker20", Who::Ordinary);
    bench.up();
    bench.run(&["run", "--name", "one", "--", "cat", "train.sh", "Dockerfile"]).succeeded();
    let first = record(&bench, "one");
    let same = bench.run(&["run", "--again", "one"]);
    assert_eq!((same.succeeded().stdout.as_str(), same.stderr.as_str()), ("echo two\nFROM gpubay-lab/busybox\n", ""));
    // Another image by now; the recorded one is still there, and used. Sources are the workspace's.
    bench.run(&["down"]).succeeded();
    bench.write("train.sh", "echo three\n");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\nENV NEW=1\n");
    bench.up();
    let again = bench.json(&["run", "--again", "one", "--name", "two"]);
    let options = |report: &Value| -> Vec<String> {
        let list = report["differences"].as_array().expect("a list").clone();
        list.iter().filter_map(|one| one["option"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(options(&again), ["changes"], "{again}");
    assert_eq!(record(&bench, "two")["image"]["id"], first["image"]["id"]);
    // Gone: what is built now takes its place, and that is said.
    bench.run(&["down"]).succeeded();
    let id = first["image"]["id"].as_str().expect("an id");
    bench.docker(&["rmi", "-f", id]).succeeded();
    let again = bench.json(&["run", "--again", "one", "--name", "three"]);
    assert!(options(&again).contains(&"image".to_owned()), "{again}");
    assert_ne!(record(&bench, "three")["image"]["id"], first["image"]["id"]);
    assert_eq!(bench.error(&["run", "--again", "nobody"]).0, "no_such_job");
}
