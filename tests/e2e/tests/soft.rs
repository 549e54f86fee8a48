//! Soft isolation: all GPUs are in the dev container, and the environment selects for whatever starts next.
//!
//! The driver's library is the lab's fake; engine, CDI, container and agent are real.

use std::io::Read;
use std::process::{Child, Stdio};

use gpubay_e2e::{Bench, Driver, Editor, Who, ended};
use serde_json::{Value, json};

const SHOW: &[&str] = &["exec", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER"];

fn bench(engine: &str, name: &str) -> (Bench, Driver) {
    let mut bench = Bench::new(engine, Who::Ordinary, name);
    let driver = Driver::of(&mut bench, ["utilization = 90", "utilization = 0"]);
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    (bench, driver)
}

fn selected(bench: &Bench) -> String {
    let shown = bench.run(SHOW);
    let shown = shown.succeeded().stdout.trim().to_owned();
    shown.strip_suffix("PCI_BUS_ID").unwrap_or_else(|| panic!("counted as the driver does: {shown}")).trim().to_owned()
}

fn indices(report: &Value) -> Vec<u64> {
    report["gpu"]["devices"]
        .as_array()
        .expect("devices")
        .iter()
        .map(|gpu| gpu["index"].as_u64().expect("one"))
        .collect()
}

/// Runs until it is killed, and has said what it was given.
fn runs(bench: &Bench) -> (Child, String) {
    let mut child = bench.gpubay(&["exec", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES; sleep 1000"]);
    let mut child = child.stdout(Stdio::piped()).spawn().expect("started");
    let (mut said, mut byte) = (Vec::new(), [0]);
    let out = child.stdout.as_mut().expect("piped");
    while byte != *b"\n" {
        out.read_exact(&mut byte).expect("it says something");
        said.push(byte[0]);
    }
    (child, String::from_utf8_lossy(&said).trim().to_owned())
}

#[test]
fn another_gpu_is_an_environment_for_what_starts_next() {
    let (bench, _driver) = bench("docker28", "soft");
    let up = bench.up();
    assert_eq!((&up["gpu"]["isolation"], indices(&up)), (&json!("soft"), vec![1]), "the idle one: {up:#}");
    assert_eq!(up["gpu"]["devices"][0]["cuda"], 0);
    let smi = bench.run(&["exec", "--", "nvidia-smi", "-L"]);
    assert_eq!(smi.succeeded().stdout.lines().count(), 2, "both are inside: {smi:?}");
    assert_eq!(selected(&bench), Driver::uuid(1));

    // What runs goes on with what it has, and nothing is recreated.
    let (mut busy, had) = runs(&bench);
    let other = bench.json(&["up", "--gpus", "device=0"]);
    assert_eq!((&other["container"]["id"], &other["drift"]), (&up["container"]["id"], &json!([])), "{other:#}");
    assert_eq!((indices(&other), &other["gpu"]["chosen"]), (vec![0], &json!("device=0")));
    assert_eq!(selected(&bench), Driver::uuid(0));
    assert_eq!(had, Driver::uuid(1));
    assert!(busy.try_wait().expect("asked").is_none(), "it runs on");

    // The order that was asked for is the one that counts inside.
    let both = bench.json(&["up", "--gpus", "\"device=1,0\""]);
    assert_eq!(indices(&both), [1, 0]);
    assert_eq!(selected(&bench), format!("{},{}", Driver::uuid(1), Driver::uuid(0)));
    // Nothing selected hides all of them; a plain `up` changes nothing.
    bench.json(&["up", "--gpus", "none"]);
    assert_eq!(selected(&bench), "");
    assert_eq!(indices(&bench.up()), [0_u64; 0]);
    let printed = bench.json(&["up", "--print"]);
    assert!(printed["notes"].to_string().contains("those of the last `gpubay up --gpus none`"), "{printed:#}");
    let (code, ran) = bench.error(&["up", "--gpus", "device=9"]);
    assert_eq!(code, "gpu_unknown", "{ran:?}");
    assert_eq!(selected(&bench), "");
    // Root's programs, too.
    bench.json(&["up", "--gpus", "1"]);
    let root = bench.run(&["exec", "--root", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]);
    assert_eq!(root.succeeded().stdout.trim(), Driver::uuid(1));

    // A stop and a start keep it; a container that is made anew begins with what was asked for.
    bench.json(&["up", "--gpus", "device=0"]);
    bench.run(&["stop", "--force"]).succeeded();
    ended(&mut busy);
    assert_eq!(indices(&bench.up()), [0]);
    assert_eq!(selected(&bench), Driver::uuid(0));
    bench.write("gpubay.toml", "[container]\nenv = { A = \"1\" }\n");
    let anew = bench.up();
    assert_ne!(anew["container"]["id"], up["container"]["id"], "nothing was lost by that");
    assert_eq!((indices(&anew), selected(&bench)), (vec![0], Driver::uuid(0)));
    // A recreate that was asked for is about something else; a `down` forgets.
    let recreated = bench.json(&["up", "--recreate"]);
    assert_ne!(recreated["container"]["id"], anew["container"]["id"]);
    assert_eq!((indices(&recreated), &recreated["gpu"]["chosen"]), (vec![0], &json!("device=0")));
    assert_eq!(selected(&bench), Driver::uuid(0));
    bench.run(&["down"]).succeeded();
    assert_eq!(indices(&bench.up()), [1]);
}

#[test]
fn what_the_configuration_selects_is_selected_by_the_next_up() {
    let (bench, _driver) = bench("docker28", "configured");
    bench.write("gpubay.toml", "[gpus]\nuse = [\"0\"]\n");
    let up = bench.up();
    assert_eq!(indices(&up), [0]);
    bench.write("gpubay.toml", "[gpus]\nuse = { count = 1, min_free = \"20g\" }\n");
    let next = bench.up();
    assert_eq!((&next["container"]["id"], indices(&next)), (&up["container"]["id"], vec![1]), "{next:#}");
    // Hard isolation is another container: only the selected ones are in it, and it says which they are outside.
    bench.write("gpubay.toml", "[gpus]\nuse = [\"1\"]\nisolation = \"hard\"\n");
    let hard = bench.up();
    assert_ne!(hard["container"]["id"], up["container"]["id"]);
    assert_eq!((&hard["gpu"]["isolation"], indices(&hard)), (&json!("hard"), vec![1]), "{hard:#}");
    assert_eq!(hard["gpu"]["devices"][0]["cuda"], 0);
    assert_eq!(bench.run(&["exec", "--", "nvidia-smi", "-L"]).succeeded().stdout.lines().count(), 1);
    // Jobs are hard, whatever the dev container is.
    bench.write("gpubay.toml", "");
    let job = bench.run(&["run", "--gpus", "device=0", "--", "nvidia-smi", "-L"]);
    assert_eq!(job.succeeded().stdout.lines().count(), 1, "{job:?}");
}

#[test]
fn without_a_driver_to_ask_only_the_selected_ones_are_inside() {
    let bench = Bench::new("docker28", Who::Ordinary, "unasked");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    let up = bench.json(&["up", "--gpus", "device=1"]);
    assert_eq!((&up["gpu"]["isolation"], indices(&up)), (&json!("hard"), vec![1]), "as the engine counts: {up:#}");
    assert!(up["gpu"]["reason"].as_str().is_some_and(|why| why.contains("UUIDs are not known")), "{up:#}");
}

/// The run folder is in the container's hands: what lies there selects GPUs of that container, and nothing else.
#[test]
fn what_a_container_writes_there_is_believed_as_far_as_it_goes() {
    let (bench, _driver) = bench("docker28", "hostile");
    bench.up();
    bench.json(&["up", "--gpus", "device=0"]);
    let canary = bench.outside().join("canary");
    std::fs::write(&canary, "safe").expect("written");
    for put in [
        "printf 'GPU-99\\nasked\\nauto\\n' > gpus",
        "printf 'x\\033[31m,$(id)\\nasked\\ndevice=0\\n' > gpus",
        "printf '\\nasked\\n--gpus\\n' > gpus",
        "rm gpus; mkfifo gpus",
        "rm gpus; ln -s /etc/passwd gpus",
        "rm gpus; head -c 100000 /dev/zero > gpus",
    ] {
        bench.run(&["exec", "--", "sh", "-c", &format!("cd /.gpubay/run && {put}")]).succeeded();
        let up = bench.up();
        assert_eq!(
            (indices(&up), &up["gpu"]["chosen"]),
            (vec![1], &Value::Null),
            "as it was made, after {put}: {up:#}"
        );
        // What is asked for now takes its place, and is written nowhere else.
        let up = bench.json(&["up", "--gpus", "device=0"]);
        assert_eq!((indices(&up), selected(&bench)), (vec![0], Driver::uuid(0)), "after {put}");
    }
    let link = format!("cd /.gpubay/run && rm gpus && ln -s {} gpus", canary.display());
    bench.run(&["exec", "--", "sh", "-c", &link]).succeeded();
    bench.json(&["up", "--gpus", "device=0"]);
    assert_eq!(std::fs::read_to_string(&canary).expect("there"), "safe");
    bench.run(&["exec", "--", "sh", "-c", "cd /.gpubay/run && rm gpus && mkdir -p gpus/x"]).succeeded();
    let (code, ran) = bench.error(&["up", "--gpus", "device=1"]);
    assert_eq!(code, "gpu_choice", "{ran:?}");
    assert_eq!(indices(&bench.json(&["up", "--recreate"])), [1], "what is in the way goes with the container");
    // No program is kept from starting by it, root's least of all.
    let nul = "cd /.gpubay/run && printf 'GPU-1\\0x\\nasked\\nauto\\n\\n' > gpus";
    bench.run(&["exec", "--", "sh", "-c", nul]).succeeded();
    bench.run(&["exec", "--root", "--", "true"]).succeeded();
}

/// It cannot take by that what its user did not give to the next container.
#[test]
fn what_a_container_writes_there_opens_no_hard_container() {
    let (bench, _driver) = bench("docker28", "narrowed");
    bench.write("gpubay.toml", "[gpus]\nuse = [\"0\"]\n");
    bench.up();
    let both = format!("{},{}", Driver::uuid(0), Driver::uuid(1));
    let forged = format!("printf '{both}\\nasked\\nall\\n\\n' > /.gpubay/run/gpus");
    bench.run(&["exec", "--", "sh", "-c", &forged]).succeeded();
    bench.write("gpubay.toml", "[gpus]\nuse = [\"0\"]\nisolation = \"hard\"\n");
    let hard = bench.up();
    assert_eq!(
        (&hard["gpu"]["isolation"], indices(&hard), &hard["gpu"]["chosen"]),
        (&json!("hard"), vec![0], &Value::Null)
    );
    assert_eq!(bench.run(&["exec", "--", "nvidia-smi", "-L"]).succeeded().stdout.lines().count(), 1);
}

#[test]
fn a_container_that_is_kept_is_measured_by_what_it_was_made_with() {
    let (bench, driver) = bench("docker28", "kept");
    let up = bench.up();
    bench.run(&["exec", "--", "sh", "-c", "echo mine > ~/mine"]).succeeded();
    bench.run(&["stop"]).succeeded();
    bench.write("gpubay.toml", "[gpus]\nuse = [\"0\"]\nisolation = \"hard\"\n");
    let kept = bench.up();
    assert_eq!(kept["container"]["id"], up["container"]["id"]);
    assert!(kept["drift"].as_array().is_some_and(|drift| !drift.is_empty()), "{kept:#}");
    // Nor does a driver that stops answering keep it from starting.
    bench.run(&["stop"]).succeeded();
    bench.write("gpubay.toml", "");
    driver.tells("init = DRIVER_NOT_LOADED\n");
    assert_eq!(bench.up()["container"]["id"], up["container"]["id"]);
}

#[test]
fn an_editor_selects_and_is_told() {
    let (bench, _driver) = bench("docker28", "selected");
    let mut editor = Editor::of(&bench);
    let here = |gpus: &str| json!({ "folder": bench.workspace, "gpus": gpus });
    let up = editor.request("gpubay/up", json!({ "folder": bench.workspace })).expect("it runs");
    let (mut busy, _) = runs(&bench);
    let report = editor.request("gpubay/selectGpus", here("device=0")).expect("selected");
    assert_eq!((&report["gpu"]["devices"][0]["index"], &report["drift"]), (&json!(0), &json!([])), "{report}");
    let state = editor.state("the selection", |state| state["gpu"]["chosen"] == "device=0" && state["work"].is_null());
    assert_eq!(state["gpu"]["visible"], json!([Driver::uuid(0)]), "{state}");
    assert_eq!(state["container"]["id"], up["container"]["id"]);
    assert_eq!((&state["phase"], &state["gpu"]["devices"][0]["index"]), (&json!("running"), &json!(0)));
    // A command line selects as well.
    bench.json(&["up", "--gpus", "all"]);
    let state = editor.state("the other selection", |state| state["gpu"]["chosen"] == "all");
    assert_eq!(state["gpu"]["devices"].as_array().map(Vec::len), Some(2), "{state}");
    assert!(busy.try_wait().expect("asked").is_none(), "what runs goes on");
    editor.request("gpubay/down", json!({ "folder": bench.workspace, "consent": true })).expect("removed");
    ended(&mut busy);
}

/// As in a window that is attached to the container.
#[test]
fn a_window_inside_selects_among_what_is_inside() {
    let (bench, _driver) = bench("docker28", "within");
    // Its system is one that the helper runs on.
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.up();
    std::fs::copy(&gpubay_e2e::lab().gpubay, bench.workspace.join("helper")).expect("copied");
    bench.own(&bench.workspace.join("helper"));
    let mut editor = Editor::start(&mut bench.gpubay(&["exec", "--", "/workspace/helper", "serve"]));
    let mut options = Editor::options(&[std::path::Path::new("/workspace")], true);
    options["processId"] = Value::Null;
    editor.request("initialize", options).expect("initialized");
    editor.notify("initialized", json!({}));
    let state = editor.state("what is selected", |state| state["gpu"]["visible"] == json!([Driver::uuid(1)]));
    assert_eq!((&state["gpu"]["isolation"], indices(&state)), (&json!("soft"), vec![1]), "{state}");
    let here = |gpus: &str| json!({ "folder": "/workspace", "gpus": gpus });
    let report = editor.request("gpubay/selectGpus", here("device=0")).expect("selected");
    assert_eq!(indices(&report), [0]);
    editor.state("the selection", |state| state["gpu"]["visible"] == json!([Driver::uuid(0)]));
    assert_eq!(selected(&bench), Driver::uuid(0));
    assert_eq!(editor.failure("gpubay/selectGpus", here("device=9")).0, "gpu_unknown");
    // What is selected outside is told in there.
    bench.json(&["up", "--gpus", "all"]);
    editor.state("the other selection", |state| state["gpu"]["devices"].as_array().map(Vec::len) == Some(2));
}
