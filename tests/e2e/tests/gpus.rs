//! What the engine offers, with and without a workspace.

use gpubay_e2e::{Bench, Driver, Who};
use serde_json::Value;

#[test]
fn what_the_engine_offers_is_listed() {
    let bench = Bench::new("docker28", Who::Ordinary, "offered");
    let report = bench.json(&["gpus"]);
    assert_eq!((&report["injection"], &report["complete"]), (&"cdi".into(), &true.into()), "{report:#}");
    let devices = report["devices"].as_array().expect("devices");
    assert!(devices.len() > 1, "{report:#}");
    for (index, device) in devices.iter().enumerate() {
        assert_eq!((&device["index"], &device["cdi"]), (&index.into(), &format!("nvidia.com/gpu={index}").into()));
    }
    let table = bench.run(&["gpus"]);
    let lines: Vec<&str> = table.succeeded().stdout.lines().collect();
    assert!(lines[0].starts_with("cdi: ") && lines[1].starts_with("GPU  NAME"), "{table:?}");
    assert!(lines[2].starts_with("0    -") && lines[2].ends_with("nvidia.com/gpu=0"), "{table:?}");
    // The same without a folder. Who has them changes: other tests share the engine.
    let lasting = |report: &Value| {
        let mut devices = report["devices"].clone();
        for device in devices.as_array_mut().expect("devices") {
            device.as_object_mut().expect("a device").remove("leases");
        }
        devices
    };
    assert_eq!(lasting(&bench.json(&["gpus", "-C", "/nonexistent"])), lasting(&report));

    let none = Bench::new("docker20", Who::Ordinary, "nothing");
    let report = none.json(&["gpus"]);
    assert_eq!((&report["injection"], report["devices"].as_array().map(Vec::len)), (&"none".into(), Some(0)));

    // What is listed can be asked for, in the ways that people know.
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    for form in ["[\"1\"]", "device=1", "\"device=1\"", "nvidia.com/gpu=1", "1,"] {
        let ran = bench.run(&["run", "--gpus", form, "--", "true"]);
        if form == "1," {
            assert_ne!(ran.code, Some(0), "a list with an empty name: {ran:?}");
        } else {
            ran.succeeded();
        }
    }
    let (_, ran) = bench.error(&["run", "--gpus", "[\"1\"", "--", "true"]);
    assert!(ran.stdout.contains("not well-formed"), "{ran:?}");
}

#[test]
fn a_way_that_was_forced_and_is_not_there_hides_nothing() {
    for (engine, forced, why) in [
        ("docker28", "nvidia-runtime", "the engine has no runtime of that name"),
        ("docker20", "cdi", "has discovered no nvidia.com/gpu device"),
        ("docker20", "direct", "injection \"direct\" is asked for, and "),
    ] {
        let mut bench = Bench::new(engine, Who::Ordinary, "forced");
        let _driver = Driver::of(&mut bench, ["", ""]);
        bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
        bench.write("gpubay.toml", &format!("[gpus]\ninjection = \"{forced}\"\n"));
        let report = bench.json(&["gpus"]);
        assert_eq!((&report["injection"], report["devices"].as_array().map(Vec::len)), (&"none".into(), Some(2)));
        let table = bench.run(&["gpus"]);
        let first = table.succeeded().stdout.lines().next().expect("a line");
        assert!(first.starts_with("none: injection ") && first.contains(why), "{table:?}");
        assert!(table.stdout.contains("\n1    GPU Bay Fake 24G"), "{table:?}");
        // Who would be given some is told.
        bench.run(&["run", "true"]).failed(why);
        assert!(bench.containers().is_empty());
    }
}

/// A Docker that knows CDI and lists no device says where their specifications are.
#[test]
fn devices_that_docker_26_does_not_list_are_known() {
    let bench = Bench::new("docker26", Who::Ordinary, "older");
    let report = bench.json(&["gpus"]);
    let names: Vec<&str> =
        report["devices"].as_array().expect("devices").iter().filter_map(|gpu| gpu["cdi"].as_str()).collect();
    assert_eq!((&report["injection"], names), (&"cdi".into(), vec!["nvidia.com/gpu=0", "nvidia.com/gpu=1"]));
    bench.write("gpubay.toml", "[image]\nfrom = \"gpubay-lab/python\"\n");
    let (code, ran) = bench.error(&["up", "--gpus", "device=7"]);
    assert_eq!((code.as_str(), bench.containers()), ("gpu_unknown", Vec::new()), "{ran:?}");
    let ran = bench.run(&["run", "--gpus", "device=1", "--", "nvidia-smi", "-L"]);
    assert_eq!(ran.succeeded().stdout.matches("GPU-").count(), 1, "{ran:?}");
}
