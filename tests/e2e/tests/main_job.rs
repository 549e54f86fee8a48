//! The main job, from a folder to an environment that the host knows, as root and as an ordinary user.

use gpubay_e2e::{Bench, Ran, Who};

const DOCKERFILE: &str =
    "FROM gpubay-lab/python\nRUN python3 -m pip install --break-system-packages --no-cache-dir six==1.17.0\n";

fn workspace(engine: &str, who: Who) -> Bench {
    let bench = Bench::new(engine, who, "model");
    bench.write("Dockerfile", DOCKERFILE);
    bench.write("requirements.txt", "einops==0.8.1\n");
    bench.write("gpubay.toml", "[venv]\nrequirements = [\"requirements.txt\"]\n");
    bench.write(
        "train.py",
        "import os, sys, six, einops\nprint(os.getuid(), sys.argv[1:])\nopen('out.txt', 'w').write('x')\nsys.exit(7)\n",
    );
    bench
}

fn main_job(engine: &str, who: Who) {
    let bench = workspace(engine, who);
    let report = bench.up();
    assert_eq!(report["outcome"], "success");
    assert_eq!(report["container"]["created"], true);
    assert_eq!(report["image"]["built"], true);
    assert!(report["host_env"]["version"].as_str().is_some_and(|version| version.starts_with("3.")), "{report}");
    assert_eq!(report["drift"], serde_json::json!([]));
    if engine == "docker20" {
        assert!(report["warnings"].to_string().contains("CVE-2024-23651"), "an engine with known holes: {report}");
    }

    // Rootless Docker has one number for the user in there: root's.
    let inside = if engine == "docker28-rootless" { 0 } else { bench.uid() };
    // The program of the host's .venv is the container's, and what it writes is the user's.
    let output = bench.python(&["train.py", "--x", "a b"]).output().expect("started");
    let ran = Ran::of(&output, &["train.py"]);
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert_eq!(ran.stdout, format!("{inside} ['--x', 'a b']\n"));
    let written = std::fs::metadata(bench.workspace.join("out.txt")).expect("written");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&written), bench.uid());

    // Packages of the venv and of the image are files on the host.
    let pth = std::fs::read_dir(bench.workspace.join(".venv/lib"))
        .expect("lib")
        .map(|entry| entry.expect("an entry").path().join("site-packages/container.pth"))
        .find_map(|path| std::fs::read_to_string(path).ok())
        .expect("container.pth");
    for package in ["six.py", "einops/__init__.py"] {
        assert!(
            pth.lines().any(|root| std::path::Path::new(root).join(package).is_file()),
            "{package} in none of:\n{pth}"
        );
    }

    let ran = bench.run(&["exec", "--", "python", "-c", "import einops, sys; print(sys.prefix)"]);
    assert_eq!(ran.succeeded().stdout, "/workspace/.venv\n");
    let job = bench.run(&["run", "--", "python", "-c", "import einops, six, os; print(os.getuid())"]);
    assert_eq!(job.succeeded().stdout, format!("{inside}\n"));
    bench.run(&["sync"]).succeeded();

    let again = bench.up();
    assert_eq!(again["container"]["reused"], true);
    assert_eq!(again["container"]["id"], report["container"]["id"]);
    assert_eq!(again["image"]["built"], false);
    assert_eq!(again["warnings"], serde_json::json!([]), "said where a container is made, not each time");

    bench.run(&["down"]).succeeded();
    assert!(bench.containers().is_empty());
    let third = bench.up();
    assert_eq!(third["container"]["created"], true);
    assert_eq!(third["image"]["built"], false);
}

#[test]
fn as_root_on_docker_28() {
    main_job("docker28", Who::Root);
}

#[test]
fn as_an_ordinary_user_on_docker_28() {
    main_job("docker28", Who::Ordinary);
}

#[test]
fn as_root_on_docker_20() {
    main_job("docker20", Who::Root);
}

#[test]
fn as_an_ordinary_user_on_docker_20() {
    main_job("docker20", Who::Ordinary);
}

/// An image store without a graph driver, as newer engines have it.
#[test]
fn as_an_ordinary_user_on_the_containerd_store() {
    main_job("docker28-containerd", Who::Ordinary);
}

#[test]
fn as_an_ordinary_user_on_rootless_docker() {
    main_job("docker28-rootless", Who::Ordinary);
}

#[test]
fn as_root_on_podman() {
    main_job("podman", Who::Root);
}

#[test]
fn as_an_ordinary_user_on_podman() {
    main_job("podman", Who::Ordinary);
}

#[test]
fn as_an_ordinary_user_on_rootless_podman() {
    main_job("podman-rootless", Who::Ordinary);
}

#[test]
fn as_an_ordinary_user_on_podman_5() {
    main_job("podman5", Who::Ordinary);
}

#[test]
fn as_an_ordinary_user_on_docker_26() {
    main_job("docker26", Who::Ordinary);
}
