//! A configuration that is broken by now locks nobody out of what runs.

use gpubay_e2e::{Bench, Who};
use serde_json::json;

fn locks_nobody_out(engine: &str, who: Who) {
    let bench = Bench::on_cpu(engine, who, "broken");
    let dockerfile = "FROM gpubay-lab/busybox\n";
    bench.write("Dockerfile", dockerfile);
    let data = bench.workspace.join("data");
    for (toml, dockerfile, words) in [
        ("[container]\nmounts = [\"./data:/data\"]\n", Some(dockerfile), "data, the source of the mount on /data"),
        ("[container]\nmemory = 64gb gb\n", Some(dockerfile), "gpubay.toml:2:"),
        ("", None, "has no Dockerfile"),
        // Powers that are new matter only to what uses them.
        ("[container]\nprivileged = true\n", Some(dockerfile), ""),
    ] {
        std::fs::create_dir_all(&data).expect("made");
        bench.own(&data);
        bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
        bench.write("gpubay.toml", "");
        let id = bench.up()["container"]["id"].clone();
        bench.run(&["run", "--detach", "--name", "one", "--", "echo", "said"]).succeeded();

        std::fs::remove_dir(&data).expect("removed");
        bench.write("gpubay.toml", toml);
        if dockerfile.is_none() {
            std::fs::remove_file(bench.workspace.join("Dockerfile")).expect("removed");
        }
        bench.run(&["up"]).failed(if words.is_empty() { "--allow" } else { words });
        let rows = bench.json(&["ps"])["containers"].clone();
        assert_eq!((rows.as_array().map(Vec::len), &rows[0]["id"]), (Some(2), &id), "{toml}");
        for (args, said) in [
            (vec!["logs", "-f", "one"], "said\n"),
            (vec!["exec", "--", "echo", "inside"], "inside\n"),
            (vec!["stop"], "stopped gpubay-broken-"),
            (vec!["down"], "removed gpubay-broken-"),
        ] {
            let ran = bench.run(&args);
            assert!(ran.succeeded().stdout.starts_with(said), "{ran:?}");
            // That there is nothing to build any more is no matter of what runs.
            let words = if dockerfile.is_some() { words } else { "" };
            assert!(ran.stderr.contains(words), "{args:?} warns: {ran:?}");
            assert_eq!(ran.stderr.contains("warning:"), !words.is_empty(), "{ran:?}");
        }
        assert_eq!(json!(bench.containers()), json!([]), "{toml}");
    }
}

#[test]
fn a_broken_configuration_locks_nobody_out() {
    locks_nobody_out("docker28", Who::Ordinary);
}

#[test]
fn a_broken_configuration_locks_root_out_of_nothing() {
    locks_nobody_out("docker20", Who::Root);
}
