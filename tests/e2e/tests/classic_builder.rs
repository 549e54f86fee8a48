//! Engines that build without `BuildKit`, as users of Docker 20.10 who turned it off have them.

use gpubay_e2e::{Bench, Ran, Who, output};

#[test]
fn a_workspace_is_built_without_buildkit() {
    let bench = Bench::new("docker20", Who::Ordinary, "model");
    let run = |args: &[&str]| Ran::of(&output(bench.gpubay(args).env("DOCKER_BUILDKIT", "0")), args);
    bench.write(
        "docker/dev/Dockerfile",
        "# syntax=docker/dockerfile:1\nFROM gpubay-lab/python\nCOPY . /seen\nRUN ls -A /seen >/listed\n",
    );
    bench.write("train.py", "");
    bench.write("data/large", "");
    bench.write(".dockerignore", "data\n");

    let report = run(&["up", "--json"]).succeeded().json();
    assert_eq!(report["image"]["built"], true, "{report}");
    let seen = run(&["exec", "--", "cat", "/listed"]);
    assert_eq!(seen.succeeded().stdout, ".dockerignore\ndocker\ntrain.py\n");
    let again = run(&["up", "--json"]).succeeded().json();
    assert_eq!((&again["image"]["built"], &again["container"]["reused"]), (&false.into(), &true.into()), "{again}");

    // What fails, and what cannot be done there, is told with the Dockerfile's line.
    bench.write("docker/dev/Dockerfile", "FROM gpubay-lab/python\n\nRUN echo the reason && exit 7\n");
    let failed = run(&["build", "--json"]);
    assert_eq!(failed.json()["error"]["code"], "build_step_failed", "{failed:?}");
    let message = failed.json()["error"]["message"].to_string();
    for part in ["docker/dev/Dockerfile:3:", "exit code 7", "the reason"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    bench.write("docker/dev/Dockerfile", "FROM gpubay-lab/python\nRUN --mount=type=cache,target=/c true\n");
    let refused = run(&["build", "--json"]);
    assert_eq!(refused.json()["error"]["code"], "needs_buildkit", "{refused:?}");
    assert!(refused.json()["error"]["message"].to_string().contains("docker/dev/Dockerfile:2: `RUN --mount`"));
    assert!(refused.json()["error"]["hint"].to_string().contains("DOCKER_BUILDKIT"), "{refused:?}");
}
