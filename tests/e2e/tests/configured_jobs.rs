//! Jobs of `[jobs]`, the command that `run --print` shows of a job, and what is not frozen.

use std::os::unix::fs::{PermissionsExt, chown};

use gpubay_e2e::{Bench, Ran, Who, lab, output};
use serde_json::json;

const TRAIN: &str = r#"
[container]
env = { MODE = "of the container", TEAM = "vision" }
[jobs.train]
command = ["sh", "-c", "echo $MODE $TEAM $PWD $*; cat ../a.txt; echo made > ../made; echo kept > ../outputs/kept", "train"]
env = { MODE = "of-the-job", WANDB_KEY = "s3cret" }
workdir = "exp/one"
snapshot = true
live = ["outputs"]
[jobs.missing]
command = ["true"]
workdir = "nowhere"
[jobs.inside]
command = ["pwd"]
workdir = "/etc/ssl/.."
"#;

fn bench(name: &str) -> Bench {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, name);
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.write("exp/a.txt", "source\n");
    bench.write("exp/one/x", "");
    bench
}

#[test]
fn a_job_has_variables_a_folder_and_frozen_sources_of_its_own() {
    let bench = bench("configured");
    let text = TRAIN.replace("../outputs", "../../outputs");
    bench.write("gpubay.toml", &text);
    let ran = bench.run(&["run", "--name", "first", "train", "--", "-x", "1"]);
    assert_eq!(ran.succeeded().stdout, "of-the-job vision /workspace/exp/one -x 1\nsource\n");
    assert!(ran.stderr.contains("written into the snapshot") && ran.stderr.contains("exp/made"), "{ran:?}");
    assert!(!bench.workspace.join("exp/made").exists(), "the sources are frozen");
    assert_eq!(std::fs::read_to_string(bench.workspace.join("outputs/kept")).expect("live"), "kept\n");
    let record = bench.json(&["record", "first"]);
    assert_eq!((&record["configured"], &record["cwd"]), (&json!("train"), &json!("/workspace/exp/one")), "{record}");
    assert!(record["env"].to_string().contains("WANDB_KEY") && !record.to_string().contains("s3cret"), "{record}");
    // Once more it has today's variables of that job.
    bench.write("gpubay.toml", &text.replace("of-the-job", "of-today"));
    let again = bench.run(&["run", "--again", "first"]);
    assert!(again.succeeded().stdout.starts_with("of-today vision /workspace/exp/one -x 1\n"), "{again:?}");
    assert!(again.stderr.contains("env.MODE: another value"), "{again:?}");

    assert_eq!(bench.run(&["run", "inside"]).succeeded().stdout, "/etc\n");
    // An engine would make the folder, as root.
    let (code, ran) = bench.error(&["run", "missing"]);
    assert!(code == "no_workdir" && ran.stderr.contains("[jobs.missing] workdir"), "{ran:?}");
    assert!(!bench.workspace.join("nowhere").exists());
}

#[test]
fn an_option_behind_a_jobs_name_is_not_swallowed() {
    let bench = bench("behind");
    bench.write("gpubay.toml", "[jobs.train]\ncommand = [\"echo\", \"trained\"]\n");
    for (args, words) in [
        (vec!["train", "--gpus", "none"], "For GPU Bay write `gpubay run --gpus none train`"),
        (vec!["train", "--no-wait"], "for the job's own command `gpubay run train -- --no-wait`"),
        (vec!["--wait", "5s", "true"], "Did you mean --wait=5s? Write `gpubay run --wait=5s true`"),
    ] {
        let ran = bench.run(&[&["run"], &args[..]].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains(words), "{ran:?}");
        let (code, ran) = bench.error(&[&["run"], &args[..]].concat());
        assert_eq!((code.as_str(), ran.code), ("misplaced_option", Some(2)));
    }
    assert!(bench.containers().is_empty(), "nothing was done");
    // What is somebody else's goes through as it is.
    for (args, want) in [
        (vec!["train", "--", "--gpus", "1"], "trained --gpus 1\n"),
        (vec!["train", "--lr", "3"], "trained --lr 3\n"),
        (vec!["echo", "--gpus", "1", "--wait"], "--gpus 1 --wait\n"),
    ] {
        assert_eq!(bench.run(&[&["run"], &args[..]].concat()).succeeded().stdout, want);
    }
}

#[test]
fn the_printed_command_makes_the_same_job() {
    let bench = bench("printed");
    bench.write(
        "gpubay.toml",
        &TRAIN
            .replace("snapshot = true", "")
            .replace("; cat ../a.txt; echo made > ../made; echo kept > ../outputs/kept", ""),
    );
    let early = bench.json(&["run", "--print", "--", "true"]);
    assert_eq!((&early["image"]["exists"], bench.containers().len()), (&json!(false), 0), "{early}");
    assert!(!bench.workspace.join(".venv").exists());
    let real = bench.run(&["run", "--name", "one", "train", "--", "-x", "it's"]);
    let shown = bench.run(&["run", "--print", "--name", "one", "train", "--", "-x", "it's"]);
    assert!(!shown.succeeded().stdout.contains("s3cret") && !shown.stdout.contains("vision"), "{shown:?}");
    assert!(shown.stderr.contains("env WANDB_KEY") && shown.stderr.contains("note: "), "{shown:?}");
    let printed = bench.json(&["run", "--print", "--show-values", "--name", "one", "train", "--", "-x", "it's"]);
    let notes = printed["notes"].to_string();
    assert!(!notes.contains("freezes") && notes.contains("mkdir -p "), "{notes}");
    let folder = notes.split("mkdir -p ").nth(1).and_then(|rest| rest.split('"').next()).expect("a folder");
    std::fs::create_dir_all(folder).expect("made");
    bench.own(std::path::Path::new(folder));
    let tool = lab().docker.parent().expect("a folder");
    let mut shell = std::process::Command::new("sh");
    shell.env("PATH", format!("{}:/usr/bin:/bin", tool.display()));
    shell.env("DOCKER_HOST", format!("unix://{}", bench.socket.display()));
    let command = printed["command"].as_str().expect("text");
    let ran = Ran::of(&output(shell.args(["-c", command]).stdin(std::process::Stdio::null())), &["docker"]);
    assert_eq!(ran.succeeded().stdout, real.succeeded().stdout);
    assert_eq!(ran.stdout, "of-the-job vision /workspace/exp/one -x it's\n");
    assert!(command.contains("--rm") && bench.run(&["run", "-d", "--print", "train"]).stdout.contains("--detach"));
    // What the command cannot do is said, and nothing that is wrong ends like a program.
    let frozen = bench.json(&["run", "--print", "--snapshot", "--", "true"]);
    assert!(frozen["notes"].to_string().contains("freezes"), "{frozen}");
    assert_eq!(bench.run(&["run", "--print", "missing"]).code, Some(1));
    assert_eq!(bench.run(&["run", "--print", "--again", "one"]).code, Some(2));
}

#[test]
fn what_cannot_be_frozen_is_said() {
    let bench = bench("unreadable");
    bench.write("secret.key", "canary\n");
    bench.write("closed/x", "canary\n");
    for name in ["secret.key", "closed"] {
        let path = bench.workspace.join(name);
        chown(&path, Some(0), Some(0)).expect("handed over");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).expect("closed");
    }
    let ran = bench.run(&["run", "--snapshot", "--", "ls"]);
    let said = "left out of the frozen sources, since it cannot be read: closed (Permission denied), secret.key (Permission denied)";
    assert!(ran.succeeded().stderr.contains(said) && !ran.stdout.contains("secret"), "{ran:?}");
    let record = bench.json(&["record"]);
    assert_eq!(record["snapshot"]["left_out"], json!(["closed", "secret.key"]), "{record}");
}
