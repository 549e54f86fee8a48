//! What a job was made of stays when its container is gone.

use gpubay_e2e::{Bench, Who, eventually};
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
    let bench = Bench::new(engine, who, "records");
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
