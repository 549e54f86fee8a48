//! What the engine offers, with and without a workspace.

use gpubay_e2e::{Bench, Who};

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
    // The same without a folder.
    assert_eq!(bench.json(&["gpus", "-C", "/nonexistent"])["devices"], report["devices"]);

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
