//! A GPU that is divided (MIG): each of its slices is a device of its own, for a container, for leases and for the guard.
//!
//! The driver's library is the lab's fake, and what stands for NVIDIA's container toolkit (tests/lab/gpu.py); engine, CDI, Docker's
//! own handling of `--gpus`, containers and agents are real.

use gpubay_e2e::{Bench, Driver, Editor, Who};
use serde_json::{Value, json};

/// Its first GPU is divided.
const ENGINE: &str = "docker28-divided";
const PROFILES: [&str; 3] = ["1g.10gb", "1g.10gb", "2g.20gb"];
const LIST: [&str; 3] = ["--", "nvidia-smi", "-L"];

fn slice(place: usize) -> String {
    format!("MIG-11111111-2222-3333-4444-{place:012}")
}

/// What the driver tells: the first GPU with these of its slices.
fn divided(places: &[usize]) -> String {
    let one = |place: &usize| {
        let (uuid, profile) = (slice(*place), PROFILES[*place]);
        format!("[slice]\nindex = {place}\nuuid = {uuid}\nname = GPU Bay Fake 24G MIG {profile}\nmemory = 12 / 9856\n")
    };
    let slices: String = places.iter().map(one).collect();
    format!("{}{}", Driver::gpu(0, &format!("mig = on\n{slices}")), Driver::gpu(1, "mig = off"))
}

fn bench(name: &str) -> (Bench, Driver) {
    let mut bench = Bench::new(ENGINE, Who::Ordinary, name);
    let driver = Driver::of(&mut bench, ["", ""]);
    driver.tells(&divided(&[0, 1, 2]));
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    (bench, driver)
}

/// What a job with these GPUs sees: whole ones and slices, by their UUIDs.
fn seen(bench: &Bench, gpus: &str) -> Vec<String> {
    let ran = bench.run(&[&["run", "--gpus", gpus][..], &LIST].concat());
    let uuid = |line: &str| Some(line.split("(UUID: ").nth(1)?.trim_end_matches(')').to_owned());
    ran.succeeded().stdout.lines().filter_map(uuid).collect()
}

/// What the engine was asked for.
fn requested(bench: &Bench, container: &Value) -> Value {
    bench.inspect(container.as_str().expect("an id"))["HostConfig"]["DeviceRequests"].clone()
}

fn job(bench: &Bench, name: &str, gpus: &str) -> Value {
    bench.json(&["run", "--detach", "--name", name, "--gpus", gpus, "--", "sleep", "1000"])
}

#[test]
fn a_slice_is_given_by_every_name_and_no_other_is_inside() {
    let (bench, _driver) = bench("slice");
    for way in ["", "[gpus]\ninjection = \"nvidia-runtime\"\n"] {
        bench.write("gpubay.toml", way);
        for (gpus, place) in [
            ("mig=2g.20gb", 2),
            (slice(1).as_str(), 1),
            ("device=0:2", 2),
            (format!("[\"{}\"]", slice(0)).as_str(), 0),
            // A slice of it is all that there is of a divided GPU.
            ("count=1,mig=1g.10gb", 0),
        ] {
            assert_eq!(seen(&bench, gpus), [Driver::uuid(0), slice(place)], "{way}{gpus}");
        }
        assert_eq!(seen(&bench, "device=1"), [Driver::uuid(1)], "{way}");
        let all = [Driver::uuid(0), slice(0), slice(1), slice(2), Driver::uuid(1)];
        assert_eq!(seen(&bench, "all"), all, "{way}");
        let (code, ran) = bench.error(&[&["run", "--gpus", "mig=7g.80gb"][..], &LIST].concat());
        assert_eq!(code, "gpu_too_few");
        assert!(ran.stdout.contains("7g.80gb"), "{ran:?}");
        // Divided, it cannot be had as a whole.
        let (code, ran) = bench.error(&[&["run", "--gpus", Driver::uuid(0).as_str()][..], &LIST].concat());
        assert!(code == "gpu_trouble" && ran.stdout.contains("only its slices"), "{way}{ran:?}");
        let rows = bench.json(&["ps"])["containers"].clone();
        assert!(rows.as_array().expect("rows").iter().all(|row| row["job"].is_null()), "{rows:#}");
    }
    // As it is asked of the engine.
    let asked = requested(&bench, &job(&bench, "runtime", "mig=2g.20gb")["id"]);
    assert_eq!(
        (&asked[0]["DeviceIDs"], &asked[0]["Capabilities"]),
        (&json!([slice(2)]), &json!([["gpu"]])),
        "{asked:#}"
    );
    bench.run(&["rm", "--force", "runtime"]).succeeded();
    bench.write("gpubay.toml", "");
    let asked = requested(&bench, &job(&bench, "cdi", "mig=2g.20gb")["id"]);
    assert_eq!(
        (&asked[0]["Driver"], &asked[0]["DeviceIDs"]),
        (&json!("cdi"), &json!(["nvidia.com/gpu=0:2"])),
        "{asked:#}"
    );
}

#[test]
fn each_slice_is_leased_by_itself() {
    let (bench, _driver) = bench("leased");
    for (name, place) in [("first", 0), ("second", 1)] {
        let made = job(&bench, name, "mig=1g.10gb");
        let devices = &bench.inspect(made["id"].as_str().expect("an id"))["Config"]["Labels"]["gpubay.devices"];
        assert_eq!(*devices, json!(format!("0:{place}={}", slice(place))), "{name}");
    }
    let (code, ran) = bench.error(&["run", "--no-wait", "--gpus", "mig=1g.10gb", "--", "true"]);
    assert_eq!(code, "gpu_taken");
    assert!(ran.stdout.contains("0:0") && ran.stdout.contains("0:1"), "{ran:?}");
    // The third slice of that GPU is nobody's.
    assert_eq!(seen(&bench, "mig=2g.20gb"), [Driver::uuid(0), slice(2)]);
    let report = bench.json(&["gpus"]);
    let held = |device: &Value| {
        let jobs: Vec<&Value> =
            device["leases"].as_array().expect("leases").iter().map(|lease| &lease["job"]).collect();
        let jobs: Vec<&Value> = jobs.into_iter().filter(|job| job.is_string()).collect();
        json!([device["index"], device["slice"], device["profile"], jobs])
    };
    let listed: Vec<Value> = report["devices"].as_array().expect("devices").iter().map(held).collect();
    assert_eq!(
        json!(listed),
        json!([
            [0, 0, "1g.10gb", ["first"]],
            [0, 1, "1g.10gb", ["second"]],
            [0, 2, "2g.20gb", []],
            [1, null, null, []]
        ])
    );
}

#[test]
fn a_dev_container_selects_a_slice_and_is_told_when_it_is_gone() {
    let (bench, driver) = bench("soft");
    // Nodes as a real GPU has them, for the guard.
    let config = bench.home.join(".config/gpubay");
    std::fs::create_dir_all(&config).expect("made");
    std::fs::write(config.join("config.toml"), "[container]\ndevices = [\"/dev/full:/dev/nvidia0\"]\n")
        .expect("written");
    for made in [bench.home.join(".config"), config.clone(), config.join("config.toml")] {
        bench.own(&made);
    }
    let up = bench.json(&["up", "--gpus", "mig=1g.10gb"]);
    assert_eq!((&up["gpu"]["isolation"], &up["gpu"]["visible"]), (&json!("soft"), &json!([slice(0)])), "{up:#}");
    let shown = bench.run(&["exec", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]);
    assert_eq!(shown.succeeded().stdout.trim(), slice(0));
    let other = bench.json(&["up", "--gpus", "mig=2g.20gb"]);
    assert_eq!((&other["gpu"]["visible"], &other["container"]["id"]), (&json!([slice(2)]), &up["container"]["id"]));

    let lost = || bench.json(&["ps"])["containers"][0]["lost_gpus"].clone();
    assert_eq!(lost(), Value::Null);
    // Somebody takes away another slice, then the one that is selected.
    driver.tells(&divided(&[0, 2]));
    assert_eq!(lost(), Value::Null);
    let mut editor = Editor::of(&bench);
    editor.state("that all is well", |state| state["phase"] == "running");
    driver.tells(&divided(&[0, 1]));
    let told = lost();
    assert_eq!(told["cause"], "mig_change", "{told:#}");
    assert!(told["text"].as_str().is_some_and(|text| text.contains(&slice(2))), "{told:#}");
    let state = editor.state("the loss", |state| !state["gpu"]["lost"].is_null());
    assert_eq!(state["gpu"]["lost"]["cause"], "mig_change", "{state:#}");
    // There is no other like it to go on with.
    let (code, _) = bench.error(&["up"]);
    assert_eq!(code, "gpu_too_few");
    let again = bench.json(&["up", "--gpus", "mig=1g.10gb"]);
    assert_eq!((&again["gpu"]["visible"], &again["drift"]), (&json!([slice(0)]), &json!([])), "{again:#}");
    assert_eq!(lost(), Value::Null, "what is selected now is there");
    // The whole GPU again: nothing that was inside is there any more.
    driver.tells(&format!("{}{}", Driver::gpu(0, "mig = off"), Driver::gpu(1, "mig = off")));
    assert_eq!(lost()["cause"], "mig_change");
}

#[test]
fn with_the_nvidia_runtime_a_container_tells_which_gpus_there_are() {
    let mut bench = Bench::new(ENGINE, Who::Ordinary, "runtime");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.write("gpubay.toml", "[gpus]\ninjection = \"nvidia-runtime\"\n");
    // This machine has no driver's library that could be asked.
    bench.env.clear();
    let report = bench.json(&["gpus"]);
    assert_eq!((&report["injection"], &report["complete"]), (&json!("nvidia-runtime"), &json!(true)), "{report:#}");
    let places: Vec<Value> =
        report["devices"].as_array().expect("devices").iter().map(|d| json!([d["index"], d["slice"]])).collect();
    assert_eq!(json!(places), json!([[0, 0], [0, 1], [0, 2], [1, null]]));
    // So two jobs do not wait for the first one.
    let mut given = Vec::new();
    for name in ["one", "two"] {
        let asked = requested(&bench, &job(&bench, name, "1")["id"]);
        given.push(asked[0]["DeviceIDs"][0].as_str().expect("a UUID").to_owned());
    }
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 2, "{given:?}");
    assert!(given.iter().all(|uuid| uuid.starts_with("MIG-") || uuid.starts_with("GPU-")), "{given:?}");
    let up = bench.up();
    assert_eq!(up["gpu"]["isolation"], "soft", "{up:#}");
}
