//! `doctor` on real engines, without one, and on machines that are in a bad way.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use gpubay_e2e::{Bench, Ran, Who, as_published, output};
use serde_json::Value;

#[track_caller]
fn doctor(bench: &Bench, args: &[&str], host: Option<&str>) -> (Ran, Value) {
    let mut command = bench.gpubay(&["doctor", "--json"]);
    command.args(args);
    if let Some(host) = host {
        command.env("DOCKER_HOST", host);
    }
    let ran = Ran::of(&output(&mut command), &["doctor"]);
    let report = ran.json();
    as_published("doctor", &report);
    let problems = report["problems"].as_u64().expect("counted");
    let (outcome, code) = if problems == 0 { ("success", 0) } else { ("error", 1) };
    assert_eq!((report["outcome"].as_str(), ran.code), (Some(outcome), Some(code)), "{report:#}");
    assert_eq!(report["error"]["code"].as_str(), (problems > 0).then_some("problems"), "{report:#}");
    for line in findings(&report) {
        assert!(line["verdict"] == "ok" || line["next"].as_str().is_some_and(|next| !next.is_empty()), "{line}");
    }
    (ran, report)
}

fn findings(report: &Value) -> &Vec<Value> {
    report["findings"].as_array().expect("lines")
}

#[track_caller]
fn says(report: &Value, check: &str, verdict: &str, words: &str) {
    let is_it = |line: &Value| {
        line["check"] == check && line["verdict"] == verdict && line["text"].as_str().is_some_and(|t| t.contains(words))
    };
    assert!(findings(report).iter().any(is_it), "no {verdict} {words:?} of {check}: {report:#}");
}

fn mount(folder: &Path, options: &str) -> impl Drop {
    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
        }
    }
    std::fs::create_dir_all(folder).expect("made");
    let mut command = std::process::Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "none"]).arg(folder);
    assert!(command.status().expect("started").success());
    Mounted(folder.to_owned())
}

#[test]
fn engines_that_can_be_used() {
    for (engine, driver, hole) in [
        ("docker28", "overlay2", None),
        ("docker20", "overlay2", Some("CVE-2024-23651")),
        ("docker28-containerd", "overlayfs", None),
    ] {
        let bench = Bench::new(engine, Who::Ordinary, "doctored");
        let (_, report) = doctor(&bench, &[], None);
        says(&report, "configuration", "ok", "is no workspace");
        says(&report, "engine", "ok", "(DOCKER_HOST)");
        says(&report, "permissions", "ok", "may use");
        says(&report, "api", "ok", "version 1.");
        says(&report, "storage", "ok", driver);
        says(&report, "builder", "ok", "BuildKit");
        says(&report, "clock", "ok", "agrees");
        says(&report, "disk", report_of(&report, "free for the engine's"), "free for the engine's images in /");
        if let Some(hole) = hole {
            says(&report, "holes", "warning", hole);
        }
        // Nothing of ours is made by asking.
        assert!(!bench.home.join(".local/share/gpubay/run").exists() && !bench.home.join(".cache/gpubay").exists());
    }
    let bench = Bench::new("docker28", Who::Ordinary, "with-gpus");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    let (_, report) = doctor(&bench, &[], None);
    says(&report, "configuration", "ok", "needs none");
    says(&report, "gpu", "ok", "cdi: ");
    says(&report, "workspace", "ok", "with-gpus");
    says(&report, "visibility", "ok", &format!("the engine sees {}", bench.workspace.display()));
    assert!(bench.containers().is_empty(), "what was asked with is gone");
    let text = bench.run(&["doctor"]);
    assert!(text.stdout.contains("ok       gpu ") && !text.stdout.contains('\u{1b}'), "{text:?}");
}

/// How much is free on the machine of the test is its own affair.
fn report_of<'a>(report: &'a Value, words: &str) -> &'a str {
    let line = findings(report).iter().find(|line| line["text"].as_str().is_some_and(|text| text.contains(words)));
    line.and_then(|line| line["verdict"].as_str()).expect("a line")
}

#[test]
fn without_an_engine_the_rest_is_said() {
    let bench = Bench::new("docker28", Who::Ordinary, "alone");
    let (ran, report) = doctor(&bench, &[], Some("unix:///nonexistent/d.sock"));
    says(&report, "engine", "problem", "unix:///nonexistent/d.sock");
    says(&report, "data", "ok", "made when it is needed");
    assert!(ran.stderr.contains("error: 1 problem"), "{ran:?}");

    let closed = bench.outside().join("closed.sock");
    let _listener = UnixListener::bind(&closed).expect("bound");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o600)).expect("closed");
    let (_, report) = doctor(&bench, &[], Some(&format!("unix://{}", closed.display())));
    says(&report, "permissions", "problem", "closed.sock");

    let old = bench.outside().join("old.sock");
    let listener = UnixListener::bind(&old).expect("bound");
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o666)).expect("opened");
    // One answer; whoever asks more is not heard.
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nApi-Version: 1.24\r\n\r\nOK");
    });
    let (_, report) = doctor(&bench, &[], Some(&format!("unix://{}", old.display())));
    says(&report, "api", "problem", "1.24");

    // Not even a folder.
    let (_, report) = doctor(&bench, &["-C", "/nonexistent"], None);
    says(&report, "configuration", "problem", "/nonexistent does not exist");
    says(&report, "engine", "ok", "DOCKER_HOST");
}

#[test]
fn what_a_workspace_and_its_folders_have() {
    let bench = Bench::new("docker28", Who::Ordinary, "ill");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.write("gpubay.toml", "[container]\nmemroy = \"8g\"\n");
    let (_, report) = doctor(&bench, &[], None);
    says(&report, "configuration", "problem", "memroy");
    says(&report, "engine", "ok", "DOCKER_HOST");

    // Another engine is not spoken to unasked; that of the user is.
    bench.write("gpubay.toml", "[engine]\nhost = \"unix:///nonexistent/other.sock\"\n");
    let (_, report) = doctor(&bench, &[], None);
    says(&report, "configuration", "warning", "asks for more than its own folder");
    says(&report, "engine", "ok", "DOCKER_HOST");
    let (_, report) = doctor(&bench, &["--allow", "engine:unix:///nonexistent/other.sock"], None);
    says(&report, "engine", "problem", "/nonexistent/other.sock");

    bench.write("gpubay.toml", "[gpus]\nuse = [\"99\"]\n");
    let data = bench.outside().join("data");
    let _mounted = mount(&data, "mode=0755,noexec,size=4m");
    bench.own(&data);
    let config = bench.home.join(".config/gpubay");
    std::fs::create_dir_all(&config).expect("made");
    let cache = bench.outside().join("cache");
    std::fs::create_dir(&cache).expect("made");
    let text = format!("[paths]\ndata = \"{}\"\ncache = \"{}\"\n", data.display(), cache.display());
    std::fs::write(config.join("config.toml"), text).expect("written");
    let (_, report) = doctor(&bench, &[], None);
    says(&report, "gpu", "problem", "there is no GPU 99");
    says(&report, "data", "problem", "runs no programs");
    says(&report, "disk", "problem", "free for venvs");
    says(&report, "cache", "problem", "cannot be written by this user");
    let left: Vec<_> = std::fs::read_dir(&data).expect("listed").map(|entry| entry.expect("one").file_name()).collect();
    assert!(left.iter().all(|name| name == "machine-id"), "what was tried there is gone: {left:?}");
}
