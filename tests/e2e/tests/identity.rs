//! Whose container it is: one a workspace and engine, whatever it is called and wherever the workspace went.

use std::process::Command;

use gpubay_e2e::{Bench, Ran, Who, lab};

fn plain(name: &str) -> Bench {
    let bench = Bench::new("docker28", Who::Ordinary, name);
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench
}

/// `gpubay …` on the other engine.
struct Elsewhere<'a>(&'a Bench, String);

impl<'a> Elsewhere<'a> {
    fn new(bench: &'a Bench) -> Self {
        let (_, socket) = lab().engines.iter().find(|(name, _)| name == "docker20").expect("docker20");
        Self(bench, format!("unix://{}", socket.display()))
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command: Command = self.0.gpubay(args);
        Ran::of(&command.env("DOCKER_HOST", &self.1).output().expect("started"), args)
    }
}

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        self.run(&["down", "--force"]);
    }
}

#[test]
fn two_engines_hold_a_container_each_and_neither_disturbs_the_other() {
    let bench = plain("engines");
    let here = bench.up();
    let elsewhere = Elsewhere::new(&bench);
    let there = elsewhere.run(&["up", "--json"]);
    let there = there.succeeded().json();
    let name = |report: &serde_json::Value| report["container"]["id"].as_str().expect("an id")[..12].to_owned();
    let hostname = &["exec", "--", "cat", "/etc/hostname"];
    assert_eq!(bench.run(hostname).succeeded().stdout.trim(), name(&here));
    assert_eq!(elsewhere.run(hostname).succeeded().stdout.trim(), name(&there));
    // Each has a venv of its own, and the host env is that of the last `up`.
    bench.run(&["exec", "--", "sh", "-c", "touch .venv/mine"]).succeeded();
    elsewhere.run(&["exec", "--", "sh", "-c", "test ! -e .venv/mine"]).succeeded();
    let ask = ["-c", "print(open('/etc/hostname').read().strip())"];
    let answer = |bench: &Bench| {
        String::from_utf8_lossy(&bench.python(&ask).output().expect("started").stdout).trim().to_owned()
    };
    assert_eq!(answer(&bench), name(&there));
    assert_eq!(bench.up()["container"]["id"], here["container"]["id"], "not drift");
    assert_eq!(answer(&bench), name(&here));
}

#[test]
fn another_name_in_the_configuration_is_no_second_container() {
    let bench = plain("renamed");
    let first = bench.up();
    let labels = bench.inspect(first["container"]["id"].as_str().expect("an id"))["Config"]["Labels"].clone();
    let name = format!("{}-x", first["container"]["name"].as_str().expect("a name"));
    bench.write("gpubay.toml", &format!("[container]\nname = \"{name}\"\n"));
    let second = bench.up();
    assert_eq!(second["container"]["name"], name.as_str());
    assert_eq!(bench.containers().len(), 1);
    // A label alone makes nothing ours.
    bench.run(&["down"]).succeeded();
    let id = format!("gpubay.id={}", labels["gpubay.id"].as_str().expect("an identity"));
    bench
        .docker(&["create", "--name", &name, "--label", &id, "--label", "gpubay.role=dev", "gpubay-lab/python", "true"])
        .succeeded();
    let ran = bench.run(&["up"]);
    ran.failed("is not this workspace's");
    bench.docker(&["rm", &name]).succeeded();
}

#[test]
fn a_workspace_that_is_gone_leaves_nothing_that_cannot_be_taken_away() {
    let bench = plain("gone");
    let first = bench.up();
    let name = first["container"]["name"].as_str().expect("a name").to_owned();
    let old = bench.workspace.canonicalize().expect("there");
    let moved = bench.home.join("moved");
    std::fs::rename(&old, &moved).expect("moved");
    let elsewhere = |args: &[&str]| {
        let mut command: Command = bench.gpubay(args);
        Ran::of(&command.current_dir(&bench.home).output().expect("started"), args)
    };
    let listed = elsewhere(&["ps", "--all", "--json"]);
    let rows = listed.succeeded().json();
    let row = rows["containers"].as_array().expect("rows").iter().find(|row| row["name"] == name.as_str());
    assert_eq!(row.expect("listed")["workspace_exists"], false);
    let foreign = format!("{name}-foreign");
    bench.docker(&["create", "--name", &foreign, "gpubay-lab/python", "true"]).succeeded();
    elsewhere(&["down", &foreign]).failed("is not one of yours");
    bench.docker(&["rm", &foreign]).succeeded();
    elsewhere(&["down", "no-such-container"]).failed("there is no container");
    // By the folder that is no more, and by the name.
    let ran = elsewhere(&["-C", old.to_str().expect("text"), "down"]);
    assert!(ran.succeeded().stdout.contains("not here any more"), "{ran:?}");
    std::fs::rename(&moved, &old).expect("moved back");
    bench.up();
    std::fs::write(old.join("gpubay.toml"), "[broken").expect("written");
    elsewhere(&["down", &name]).succeeded();
    assert!(bench.containers().is_empty());
    elsewhere(&["-C", "/nonexistent/x", "down"]).failed("does not exist");
}
