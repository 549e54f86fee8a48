//! A container that runs loses its GPUs: noticed, said, and mended.
//!
//! The driver's library is the lab's fake, and what stands for the GPUs' device nodes is `/dev/full`. Engine, container,
//! control group and agent are real, and the permission is really taken away (tests/lab/deny).

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gpubay_e2e::{Bench, Driver, Editor, Who, ended};
use serde_json::{Value, json};

/// What is promised: within that it is noticed.
const SOON: Duration = Duration::from_secs(5);
const NODE_OPENS: &[&str] = &["exec", "--", "sh", "-c", ": < /dev/nvidia0"];

/// With two GPUs, whose nodes are there, too.
fn bench(name: &str, image: &str) -> (Bench, Driver) {
    let mut bench = Bench::new("docker28", Who::Ordinary, name);
    let driver = Driver::of(&mut bench, ["utilization = 90", "utilization = 0"]);
    bench.write("Dockerfile", &format!("FROM gpubay-lab/{image}\n"));
    // The user's own file: what a workspace asks for would have to be approved.
    let config = bench.home.join(".config/gpubay");
    std::fs::create_dir_all(&config).expect("made");
    let text = "[container]\ndevices = [\"/dev/full:/dev/nvidia0\", \"/dev/full:/dev/nvidiactl\"]\n";
    std::fs::write(config.join("config.toml"), text).expect("written");
    for made in [bench.home.join(".config"), config.clone(), config.join("config.toml")] {
        bench.own(&made);
    }
    (bench, driver)
}

/// As a `systemctl daemon-reload` does to devices that systemd was not told of.
fn take_away(bench: &Bench, container: &Value) {
    let pid = bench.inspect(container.as_str().expect("an id"))["State"]["Pid"].to_string();
    let deny = concat!(env!("CARGO_MANIFEST_DIR"), "/../lab/deny");
    let done = Command::new(deny).args([pid.as_str(), "1:7"]).output().expect("it runs");
    assert!(done.status.success(), "{done:?}");
}

/// Something of the user's that runs there.
fn work(bench: &Bench) -> Child {
    let mut command = bench.gpubay(&["exec", "--", "sh", "-c", "echo; exec sleep 1000"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
    let mut byte = [0];
    std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut byte).expect("it runs");
    child
}

#[test]
fn it_is_noticed_said_and_mended_with_consent() {
    let (bench, _driver) = bench("lost", "python");
    let up = bench.up();
    assert_eq!((&up["gpu"]["isolation"], &up["gpu"]["lost"]), (&json!("soft"), &Value::Null), "{up:#}");
    bench.json(&["up", "--gpus", "device=0"]);
    bench.run(&["exec", "--", "sh", "-c", "touch mine .venv/mine"]).succeeded();
    let mut busy = work(&bench);
    let mut editor = Editor::of(&bench);
    let well = editor.state("that all is well", |state| state["phase"] == "running");
    assert_eq!(well["gpu"]["lost"], Value::Null, "{well:#}");
    bench.run(NODE_OPENS).succeeded();

    take_away(&bench, &up["container"]["id"]);
    let begun = Instant::now();
    let state = editor.state("the loss", |state| !state["gpu"]["lost"].is_null());
    assert!(begun.elapsed() < SOON, "noticed after {:?}", begun.elapsed());
    let lost = &state["gpu"]["lost"];
    assert_eq!((&state["phase"], &lost["cause"]), (&json!("drifted"), &json!("device_rules")), "{state:#}");
    for part in ["/dev/nvidia0, /dev/nvidiactl may not be opened any more", "docker update"] {
        assert!(lost["text"].as_str().is_some_and(|text| text.contains(part)), "{lost:#}");
    }
    assert_eq!(lost["evidence"][0], "/dev/nvidia0: Operation not permitted (os error 1)");
    assert_eq!(state["drift"][0]["option"], "lost_gpus", "{state:#}");
    bench.run(NODE_OPENS).failed("Operation not permitted");

    // `ps` asks for itself.
    let rows = bench.json(&["ps"]);
    assert_eq!(rows["containers"][0]["lost_gpus"], *lost, "{rows:#}");
    let table = bench.run(&["ps"]);
    let table = &table.succeeded().stdout;
    for part in [", GPUs lost (device rules)", ": its GPUs are lost: /dev/nvidia0", "up --recreate"] {
        assert!(table.contains(part), "{part}: {table}");
    }

    // What its own program says is one more witness.
    let smi = "printf '#!/bin/sh\\necho \"Failed to initialize NVML: Unknown Error\"; exit 255' > .venv/bin/nvidia-smi";
    bench.run(&["exec", "--", "sh", "-c", &format!("{smi} && chmod +x .venv/bin/nvidia-smi")]).succeeded();
    let said = &bench.json(&["ps"])["containers"][0]["lost_gpus"]["evidence"];
    let words = "it says inside: nvidia-smi: Failed to initialize NVML: Unknown Error";
    assert_eq!(said.as_array().and_then(|said| said.last()), Some(&json!(words)));
    bench.run(&["exec", "--", "rm", ".venv/bin/nvidia-smi"]).succeeded();

    // Nothing that runs is ended unasked.
    let kept = bench.json(&["up"]);
    assert_eq!((&kept["container"]["id"], &kept["gpu"]["lost"]["cause"]), (&up["container"]["id"], &lost["cause"]));
    assert!(kept["stakes"]["processes"].as_array().is_some_and(|runs| !runs.is_empty()), "{kept:#}");
    let said = bench.run(&["up"]);
    let said = &said.succeeded().stdout;
    assert!(said.contains("lost    GPUs: ") && said.contains("`gpubay up --recreate` replaces it"), "{said}");
    assert!(!said.contains("what the configuration says"), "nobody changed that: {said}");
    assert!(busy.try_wait().expect("asked").is_none());

    let mended = bench.json(&["up", "--recreate"]);
    ended(&mut busy);
    assert_ne!(mended["container"]["id"], up["container"]["id"]);
    assert_eq!((&mended["gpu"]["lost"], &mended["drift"]), (&Value::Null, &json!([])), "{mended:#}");
    let same = (&mended["gpu"]["chosen"], &mended["gpu"]["visible"]);
    assert_eq!(same, (&json!("device=0"), &json!([Driver::uuid(0)])), "the selection stays: {mended:#}");
    bench.run(NODE_OPENS).succeeded();
    bench.run(&["exec", "--", "ls", "mine", ".venv/mine", ".venv/bin/python"]).succeeded();
    let state = editor.state("the repair", |state| {
        state["container"]["id"] == mended["container"]["id"] && state["phase"] == "running"
    });
    assert_eq!(state["gpu"]["lost"], Value::Null, "{state:#}");

    // The next one is noticed as well.
    take_away(&bench, &mended["container"]["id"]);
    let begun = Instant::now();
    editor.state("the next loss", |state| !state["gpu"]["lost"].is_null());
    assert!(begun.elapsed() < SOON, "noticed after {:?}", begun.elapsed());
}

#[test]
fn where_nothing_runs_a_restart_brings_them_back_and_files_stay() {
    let (bench, _driver) = bench("regained", "busybox");
    let up = bench.up();
    bench.run(&["exec", "--", "sh", "-c", "echo mine > ~/mine"]).succeeded();
    take_away(&bench, &up["container"]["id"]);
    let again = bench.json(&["up"]);
    let container = &again["container"];
    assert_eq!((&container["id"], &container["started"]), (&up["container"]["id"], &json!(true)), "{again:#}");
    assert_eq!((&again["gpu"]["lost"], &again["drift"]), (&Value::Null, &json!([])), "{again:#}");
    bench.run(NODE_OPENS).succeeded();
    bench.run(&["exec", "--", "sh", "-c", "cat ~/mine"]).succeeded();
}

#[test]
fn what_was_selected_without_a_word_stays_selected() {
    let (bench, driver) = bench("unsaid", "busybox");
    let up = bench.up();
    assert_eq!(up["gpu"]["visible"], json!([Driver::uuid(1)]), "the idle one");
    driver.tells(&[Driver::gpu(0, "utilization = 0"), Driver::gpu(1, "utilization = 90")].concat());
    take_away(&bench, &up["container"]["id"]);
    let mended = bench.json(&["up", "--recreate"]);
    assert_ne!(mended["container"]["id"], up["container"]["id"]);
    assert_eq!(mended["gpu"]["visible"], json!([Driver::uuid(1)]), "{mended:#}");
}

/// The version is read where the kernel tells it: in a folder that is mounted over that place.
#[test]
fn a_driver_that_is_updated_under_a_running_container_is_noticed() {
    let (bench, driver) = bench("updated", "busybox");
    let module = bench.outside().join("module");
    std::fs::create_dir_all(module.join("nvidia")).expect("made");
    let runs = |version: &str| std::fs::write(module.join("nvidia/version"), format!("{version}\n")).expect("written");
    runs("580.65.06");
    let config = bench.home.join(".config/gpubay/config.toml");
    let text = std::fs::read_to_string(&config).expect("written");
    std::fs::write(&config, format!("{text}mounts = [\"{}:/sys/module:ro\"]\n", module.display())).expect("written");
    bench.up();
    let mut editor = Editor::of(&bench);
    editor.state("that all is well", |state| state["phase"] == "running" && state["gpu"]["lost"].is_null());
    runs("590.10");
    driver.tells("init = LIB_RM_VERSION_MISMATCH");
    let begun = Instant::now();
    let state = editor.state("the loss", |state| !state["gpu"]["lost"].is_null());
    assert!(begun.elapsed() < SOON, "noticed after {:?}", begun.elapsed());
    let lost = &state["gpu"]["lost"];
    assert_eq!(lost["cause"], "driver_update", "{lost:#}");
    assert!(lost["text"].as_str().is_some_and(|text| text.contains("updated from 580.65.06 to 590.10")), "{lost:#}");
    assert_eq!(bench.json(&["ps"])["containers"][0]["lost_gpus"]["cause"], "driver_update");
    runs("580.65.06");
    driver.tells(&[Driver::gpu(0, ""), Driver::gpu(1, "")].concat());
    let well = bench.json(&["ps"])["containers"][0]["lost_gpus"].clone();
    assert_eq!(well, Value::Null, "it is the one again with which the container began");
}

/// As in a window that is attached to the container.
#[test]
fn a_window_inside_notices_it_as_well() {
    let (bench, _driver) = bench("lostwithin", "python");
    let up = bench.up();
    std::fs::copy(&gpubay_e2e::lab().gpubay, bench.workspace.join("helper")).expect("copied");
    bench.own(&bench.workspace.join("helper"));
    let mut editor = Editor::start(&mut bench.gpubay(&["exec", "--", "/workspace/helper", "serve"]));
    let mut options = Editor::options(&[std::path::Path::new("/workspace")], true);
    options["processId"] = Value::Null;
    editor.request("initialize", options).expect("initialized");
    editor.notify("initialized", json!({}));
    editor.state("that all is well", |state| state["gpu"]["lost"].is_null() && state["phase"] == "running");
    take_away(&bench, &up["container"]["id"]);
    let begun = Instant::now();
    let state = editor.state("the loss", |state| !state["gpu"]["lost"].is_null());
    assert!(begun.elapsed() < SOON, "noticed after {:?}", begun.elapsed());
    let next = &state["gpu"]["lost"]["next"];
    assert!(next.as_str().is_some_and(|next| next.contains("in the window of the folder outside")), "{state:#}");
}

#[test]
fn a_job_loses_them_as_well() {
    let (bench, _driver) = bench("lostjob", "busybox");
    bench.up();
    let mut editor = Editor::of(&bench);
    bench.json(&["run", "--detach", "--name", "long", "--gpus", "1", "--", "sleep", "1000"]);
    let state = editor.state("the job", |state| state["jobs"][0]["state"] == "running" && state["work"].is_null());
    let job = state["jobs"][0]["id"].clone();
    assert_eq!(state["jobs"][0]["lost_gpus"], Value::Null, "{state:#}");
    // Another way to lose one: the node itself is closed.
    bench.docker(&["exec", "--user", "0", job.as_str().expect("an id"), "chmod", "0", "/dev/nvidia0"]).succeeded();
    let begun = Instant::now();
    let state = editor.state("the loss", |state| !state["jobs"][0]["lost_gpus"].is_null());
    assert!(begun.elapsed() < SOON, "noticed after {:?}", begun.elapsed());
    let lost = &state["jobs"][0]["lost_gpus"];
    assert_eq!((&lost["cause"], &state["gpu"]["lost"]), (&json!("nodes"), &Value::Null), "its own alone: {state:#}");
    assert!(lost["text"].as_str().is_some_and(|text| text.contains("/dev/nvidia0 is closed to its user")), "{lost:#}");
    assert!(lost["next"].as_str().is_some_and(|next| next.contains("gpubay run --again long")), "{lost:#}");
    let table = bench.run(&["ps"]);
    assert!(table.succeeded().stdout.contains("\nlong: its GPUs are lost"), "{table:?}");
    bench.docker(&["exec", "--user", "0", job.as_str().expect("an id"), "chmod", "666", "/dev/nvidia0"]).succeeded();
    editor.state("that it is well again", |state| state["jobs"][0]["lost_gpus"].is_null());
    bench.run(&["rm", "--force", "long"]).succeeded();
}
