//! Who has which GPU: jobs alone, dev containers beside each other, and a queue for those who wait.
//!
//! The driver's library is the lab's fake; engine, CDI, containers and agents are real.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use gpubay_e2e::{Bench, Driver, Editor, Ran, Who, ended};
use serde_json::{Value, json};

/// One that the other tests start no job with GPUs on.
const ENGINE: &str = "docker28-containerd";
const SLEEPS: &[&str] = &["--", "sleep", "1000"];

fn bench(name: &str, who: Who) -> (Bench, Driver) {
    let mut bench = Bench::new(ENGINE, who, name);
    let driver = Driver::of(&mut bench, ["", ""]);
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.json(&["up", "--gpus", "device=0"]);
    (bench, driver)
}

fn job(bench: &Bench, name: &str, args: &[&str]) -> Value {
    bench.json(&[&["run", "--detach", "--name", name][..], args].concat())
}

/// In the foreground, with its output.
fn spawn(bench: &Bench, args: &[&str]) -> Child {
    let mut command = bench.gpubay(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
}

fn end(child: Child) -> Ran {
    Ran::of(&child.wait_with_output().expect("ended"), &["run"])
}

/// The names of those who wait, in their order.
fn waiting(bench: &Bench) -> Vec<String> {
    let report = bench.json(&["gpus"]);
    let name = |lease: &Value| lease["job"].as_str().expect("a job's").to_owned();
    report["waiting"].as_array().expect("a list").iter().map(name).collect()
}

#[track_caller]
fn until<T: std::fmt::Debug>(what: &str, mut ask: impl FnMut() -> Result<(), T>) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while let Err(seen) = ask() {
        assert!(Instant::now() < deadline, "{what} never came: {seen:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[track_caller]
fn until_waiting(bench: &Bench, names: &[&str]) {
    until("the queue", || {
        let found = waiting(bench);
        if found == names { Ok(()) } else { Err(found) }
    });
}

/// What a container was given: `nvidia.com/gpu=1`.
fn given(bench: &Bench, container: &str) -> String {
    bench.inspect(container)["Config"]["Labels"]["gpubay.gpus"].as_str().expect("a label").to_owned()
}

#[test]
fn a_second_job_waits_until_the_first_has_ended() {
    let (bench, _driver) = bench("queue", Who::Ordinary);
    // The workspace's own dev container has that GPU, and is in nobody's way.
    let first = job(&bench, "first", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    let gpu = &bench.json(&["gpus"])["devices"][0];
    let kinds: Vec<_> = gpu["leases"].as_array().expect("leases").iter().map(|lease| &lease["kind"]).collect();
    assert_eq!(kinds, ["exclusive", "shared"], "{gpu:#}");
    assert_eq!((&gpu["leases"][0]["job"], &gpu["leases"][1]["job"]), (&json!("first"), &Value::Null));

    let (code, ran) = bench.error(&["run", "--no-wait", "--gpus", "device=0", "--", "true"]);
    assert_eq!(code, "gpu_taken");
    let said = ran.json()["error"]["message"].as_str().expect("said").to_owned();
    assert!(said.contains("GPU 0 is held by job first of this workspace"), "{said}");
    let (code, ran) = bench.error(&["run", "--wait=1s", "--gpus", "device=0", "--", "true"]);
    assert_eq!(code, "gpu_taken");
    assert!(ran.json()["error"]["message"].as_str().is_some_and(|said| said.contains("waited for")), "{ran:?}");

    let echo = |name: &'static str| ["run", "--name", name, "--gpus", "device=0", "--", "echo", name];
    let second = spawn(&bench, &echo("second"));
    until_waiting(&bench, &["second"]);
    let third = spawn(&bench, &echo("third"));
    until_waiting(&bench, &["second", "third"]);
    // Another GPU is another queue; and whoever comes later waits behind those who wait.
    job(&bench, "elsewhere", &["--gpus", "device=1", "--", "true"]);
    // Beside who has it.
    let shared = bench.run(&["run", "--share", "--gpus", "device=0", "--", "echo", "shared"]);
    assert_eq!(shared.succeeded().stdout.trim(), "shared");
    until_waiting(&bench, &["second", "third"]);

    bench.docker(&["kill", first["id"].as_str().expect("an id")]).succeeded();
    for (child, name) in [(second, "second"), (third, "third")] {
        let ran = end(child);
        assert_eq!(ran.succeeded().stdout.trim(), name);
        assert!(ran.stderr.contains("waits") && ran.stderr.contains("is held by job first"), "{ran:?}");
    }
    until_waiting(&bench, &[]);
    assert_eq!(bench.docker(&["ps", "-aq", "--filter", "name=gpubay-waits-"]).succeeded().stdout.trim(), "");
}

#[test]
fn every_view_says_which_gpu_is_which_inside() {
    let (bench, _driver) = bench("inside", Who::Ordinary);
    let ran = bench.run(&[&["run", "--detach", "--name", "first", "--gpus", "device=1"][..], SLEEPS].concat());
    assert_eq!(ran.succeeded().stdout.trim(), "first");
    assert!(ran.stderr.contains("job first has GPU 1 = cuda:0 inside"), "{ran:?}");
    // All are in the dev container, and one is selected.
    let ps = bench.run(&["ps"]).succeeded().stdout.clone();
    for (name, gpus) in [("first", "1 = cuda:0"), ("gpubay-inside", "0 = cuda:0")] {
        let line = ps.lines().find(|line| line.starts_with(name)).expect("its line");
        assert!(line.contains(&format!(" {gpus}")), "{ps}");
    }
    bench.run(&["up", "--gpus", "none"]).succeeded();
    assert!(bench.run(&["ps"]).succeeded().stdout.contains(" none selected"), "soft, so that it is selected at once");
    let leases = bench.json(&["gpus"])["devices"][1]["leases"].clone();
    assert_eq!((&leases[0]["job"], &leases[0]["cuda"]), (&json!("first"), &json!(0)), "{leases:#}");
    let record = bench.run(&["record", "first"]).succeeded().stdout.clone();
    assert!(record.contains("GPU 1 = cuda:0"), "{record}");
}

#[test]
fn who_waits_is_seen_and_ended_by_its_name() {
    let (bench, _driver) = bench("seen", Who::Ordinary);
    job(&bench, "first", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    let wait = |name: &'static str| spawn(&bench, &["run", "--name", name, "--gpus", "device=0", "--", "echo", name]);
    let mut children = Vec::new();
    for (at, name) in ["second", "third", "fourth", "fifth"].into_iter().enumerate() {
        children.push(wait(name));
        until_waiting(&bench, &["second", "third", "fourth", "fifth"][..=at]);
    }
    for all in [&["ps"][..], &["ps", "--all"]] {
        let ps = bench.run(all).succeeded().stdout.clone();
        let line = ps.lines().find(|line| line.starts_with("third")).expect("its line");
        assert!(line.contains("job   waiting, 2nd for GPU 0") && line.contains("echo third"), "{ps}");
    }
    let row = bench.json(&["ps"])["containers"][3].clone();
    assert_eq!((&row["job"], &row["state"], &row["place"]), (&json!("third"), &json!("waiting"), &json!(2)), "{row:#}");
    let (code, ran) = bench.error(&["logs", "third"]);
    assert_eq!(code, "job_waits");
    let said = ran.json()["error"]["message"].as_str().expect("said").to_owned();
    assert!(said.contains("waiting, 2nd for GPU 0"), "{said}");
    // Its name is taken already.
    let (code, _) = bench.error(&["run", "--name", "third", "--gpus", "device=0", "--", "true"]);
    assert_eq!(code, "job_exists");

    // It is named, so that there is nothing to ask.
    let stopped = bench.run(&["stop", "third"]);
    assert_eq!(stopped.succeeded().stdout, "ended the wait of third\n");
    assert_eq!(bench.json(&["rm", "fourth"])["waits"], json!(["fourth"]));
    let fifth = children.pop().expect("four");
    for (child, name) in [children.pop(), children.pop()].into_iter().zip(["fourth", "third"]) {
        end(child.expect("one")).failed(&format!("the wait of job {name} was ended"));
    }
    until_waiting(&bench, &["second", "fifth"]);
    let (code, ran) = bench.error(&["down"]);
    assert_eq!(code, "work_running");
    let said = ran.json()["error"]["message"].as_str().expect("said").to_owned();
    assert!(said.contains("echo fifth, which waits for GPUs") && said.contains("sleep 1000"), "{said}");
    bench.run(&["rm", "--force", "first"]).succeeded();
    end(children.pop().expect("the second")).succeeded();
    end(fifth).succeeded();
    job(&bench, "sixth", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    let seventh = wait("seventh");
    until_waiting(&bench, &["seventh"]);
    let down = bench.run(&["down", "--force"]).succeeded().stdout.clone();
    assert!(down.contains("ended the wait of seventh"), "{down}");
    end(seventh).failed("the wait of job seventh was ended");
    until_waiting(&bench, &[]);
}

/// Between its turn and its start as well.
#[test]
fn a_wait_that_was_ended_starts_no_job() {
    let (bench, _driver) = bench("turned", Who::Ordinary);
    job(&bench, "first", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    let held = bench.outside().join("held");
    bench.own(bench.outside());
    let mut second = bench.gpubay(&["run", "--name", "second", "--gpus", "device=0", "--", "echo", "begun"]);
    second.env("GPUBAY_FAILPOINT", format!("job.checked:hold={}", held.display()));
    let second = second.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    until_waiting(&bench, &["second"]);
    bench.run(&["rm", "--force", "first"]).succeeded();
    until("its turn", || if held.exists() { Ok(()) } else { Err("not yet") });
    assert_eq!(bench.run(&["stop", "second"]).succeeded().stdout, "ended the wait of second\n");
    std::fs::remove_file(&held).expect("let go");
    let ran = end(second);
    assert_eq!(ran.failed("the wait of job second was ended").stdout, "");
    assert!(bench.json(&["ps"])["containers"].as_array().expect("rows").iter().all(|row| row["job"].is_null()));
}

#[test]
fn who_follows_a_job_that_waits_sees_it_begin() {
    let (bench, _driver) = bench("follows", Who::Ordinary);
    job(&bench, "first", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    let second = spawn(&bench, &["run", "--detach", "--name", "second", "--gpus", "device=0", "--", "echo", "begun"]);
    until_waiting(&bench, &["second"]);
    let follows = spawn(&bench, &["logs", "-f", "second"]);
    bench.run(&["rm", "--force", "first"]).succeeded();
    end(second).succeeded();
    assert_eq!(end(follows).succeeded().stdout, "begun\n");
}

#[test]
fn two_jobs_at_the_same_moment_get_two_gpus() {
    let (one, _driver) = bench("one", Who::Ordinary);
    let (two, _other) = bench("two", Who::Root);
    // Both have chosen and made their container before either looks at the other.
    let held = [one.outside().join("held"), two.outside().join("held")];
    one.own(one.outside());
    let start = |bench: &Bench, held: &std::path::Path| {
        let mut command =
            bench.gpubay(&["run", "--json", "--detach", "--name", "job", "--gpus", "1", "--", "sleep", "1000"]);
        command.env("GPUBAY_FAILPOINT", format!("job.created:hold={}", held.display()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
    };
    let jobs = [start(&one, &held[0]), start(&two, &held[1])];
    until("both", || if held.iter().all(|file| file.exists()) { Ok(()) } else { Err(()) });
    for file in held {
        std::fs::remove_file(file).expect("removed");
    }
    let got: Vec<String> = jobs
        .into_iter()
        .zip([&one, &two])
        .map(|(child, bench)| given(bench, end(child).succeeded().json()["id"].as_str().expect("an id")))
        .collect();
    assert_ne!(got[0], got[1]);
}

#[test]
fn who_dies_leaves_the_queue_and_what_it_held() {
    let (bench, _driver) = bench("dies", Who::Ordinary);
    let all = |name: &'static str| [&["run", "--name", name, "--gpus", "all"][..], SLEEPS].concat();
    // The command that watches it is killed: the job goes on, and so does its lease.
    let mut first = spawn(&bench, &all("first"));
    let alone = || {
        let gpus = bench.json(&["gpus"]);
        let held =
            |gpu: &Value| gpu["leases"].as_array().is_some_and(|all| all.iter().any(|one| one["kind"] == "exclusive"));
        if gpus["devices"].as_array().expect("devices").iter().all(held) { Ok(()) } else { Err(gpus) }
    };
    until("the first job's leases", alone);
    // It holds them from its container's making on.
    until("the first job", || {
        let row = bench.json(&["ps"])["containers"][1].clone();
        if row["state"] == "running" { Ok(()) } else { Err(row) }
    });
    first.kill().expect("killed");
    ended(&mut first);
    let mut second = spawn(&bench, &["run", "--name", "second", "--gpus", "1", "--", "echo", "second"]);
    until_waiting(&bench, &["second"]);
    let third = spawn(&bench, &["run", "--name", "third", "--gpus", "1", "--", "echo", "third"]);
    until_waiting(&bench, &["second", "third"]);
    second.kill().expect("killed");
    ended(&mut second);
    until_waiting(&bench, &["third"]);
    alone().expect("the job goes on without who watched it");
    // Everybody is told.
    let ps = bench.run(&["ps"]).succeeded().stdout.clone();
    assert!(ps.lines().any(|line| line.starts_with("first") && line.contains("its terminal is gone")), "{ps}");
    assert!(bench.run(&["gpus"]).succeeded().stdout.contains("its terminal is gone"));
    let next = bench.run(&["run", "--gpus", "none", "--", "true"]);
    assert!(next.succeeded().stderr.contains("`gpubay logs -f first`"), "{next:?}");
    let (_, ran) = bench.error(&["run", "--no-wait", "--gpus", "device=1", "--", "true"]);
    let said = ran.json()["error"]["message"].as_str().expect("said").to_owned();
    assert!(said.contains("job first of this workspace, whose terminal is gone"), "{said}");
    bench.run(&["rm", "--force", "first"]).succeeded();
    assert_eq!(end(third).succeeded().stdout.trim(), "third");
}

#[test]
fn what_was_left_before_it_started_holds_nothing() {
    let (bench, _driver) = bench("left", Who::Ordinary);
    let mut left = bench.gpubay(&["run", "--detach", "--name", "left", "--gpus", "all", "--", "true"]);
    let left = left.env("GPUBAY_FAILPOINT", "job.created:abort").status().expect("started");
    assert!(!left.success());
    // It may be about to start, for a while.
    let next = spawn(&bench, &["run", "--wait", "--gpus", "all", "--", "echo", "next"]);
    assert_eq!(end(next).succeeded().stdout.trim(), "next");
    // It can never start any more.
    assert_eq!(
        bench.docker(&["ps", "-aq", "--filter", "name=-left"]).succeeded().stdout.lines().count(),
        1,
        "the dev one"
    );
}

#[test]
fn what_was_left_at_the_ticket_is_taken_away() {
    let (bench, _driver) = bench("ticket", Who::Ordinary);
    job(&bench, "first", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    let kill = || {
        let mut left = bench.gpubay(&["run", "--name", "left", "--gpus", "device=0", "--", "true"]);
        let left = left.env("GPUBAY_FAILPOINT", "ticket.created:abort").status().expect("started");
        assert!(!left.success());
    };
    // The container that was to stand in the queue, its run folder, and the folder for the record.
    let dev = bench.json(&["ps"])["containers"][0]["name"].as_str().expect("a name").to_owned();
    let place = dev.rsplit('-').next().expect("the identity").to_owned();
    let below = |folder: &str| -> Vec<String> {
        let names = std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("one").file_name());
        names.map(|name| name.into_string().expect("text")).filter(|name| name.starts_with(&place)).collect()
    };
    let data = bench.home.join(".local/share/gpubay");
    let left = || {
        let tickets =
            bench.docker(&["ps", "-aq", "--filter", &format!("name=gpubay-waits-{place}")]).succeeded().stdout.clone();
        let waits =
            below(data.join("run").to_str().expect("text")).iter().filter(|name| name.contains(".waits-")).count();
        let jobs = below(data.join("jobs").to_str().expect("text"));
        let records = jobs.iter().flat_map(|place| std::fs::read_dir(data.join("jobs").join(place)).expect("listed"));
        let records =
            records.filter(|record| !record.as_ref().expect("one").path().join("record.json").exists()).count();
        (tickets.lines().count(), waits, records)
    };
    kill();
    assert_eq!(left(), (1, 1, 1));
    // It stands in nobody's way.
    until_waiting(&bench, &[]);
    bench.run(&["run", "--gpus", "none", "--", "true"]).succeeded();
    assert_eq!(left(), (0, 0, 0));
    kill();
    // Who waits keeps what is its own.
    let second = spawn(&bench, &["run", "--name", "second", "--gpus", "device=0", "--", "echo", "second"]);
    until_waiting(&bench, &["second"]);
    assert_eq!(left(), (1, 1, 1));
    bench.run(&["prune", "--yes"]).succeeded();
    bench.run(&["run", "--gpus", "none", "--", "true"]).succeeded();
    assert_eq!(left(), (1, 1, 1));
    bench.run(&["rm", "--force", "first"]).succeeded();
    assert_eq!(end(second).succeeded().stdout.trim(), "second");
    assert_eq!(left(), (0, 0, 0));
    job(&bench, "third", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    kill();
    let pruned = bench.run(&["prune", "--yes"]).succeeded().stdout.clone();
    assert!(pruned.contains("gpubay-waits-") && pruned.contains("about to start a job"), "{pruned}");
    assert_eq!((left().0, left().2), (0, 0));
}

/// Until the command has said it on stderr; the rest is read on.
fn until_said(child: &mut Child, words: &str) -> std::thread::JoinHandle<String> {
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut said = Vec::new();
    for line in lines.by_ref() {
        said.push(line);
        if said.last().is_some_and(|line| line.contains(words)) {
            return std::thread::spawn(move || lines.collect::<Vec<_>>().join("\n"));
        }
    }
    panic!("{words:?} was never said: {said:#?}");
}

#[test]
fn an_engine_that_does_not_answer_for_a_moment_ends_no_wait() {
    let mut bench = Bench::new(ENGINE, Who::Ordinary, "moment");
    // By an address that can be taken away: connections that there are go on.
    let (real, link) = (bench.socket.clone(), bench.outside().join("engine.sock"));
    let appear = || std::os::unix::fs::symlink(&real, &link).expect("linked");
    appear();
    bench.socket.clone_from(&link);
    let _driver = Driver::of(&mut bench, ["", ""]);
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.json(&["up", "--gpus", "device=0"]);
    job(&bench, "first", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    let mut second = spawn(&bench, &["run", "--name", "second", "--gpus", "device=0", "--", "echo", "second"]);
    until_waiting(&bench, &["second"]);
    std::fs::remove_file(&link).expect("removed");
    let rest = until_said(&mut second, "job second waits for the engine, too");
    appear();
    until_waiting(&bench, &["second"]);
    bench.run(&["rm", "--force", "first"]).succeeded();
    assert_eq!(end(second).succeeded().stdout.trim(), "second");
    let said = rest.join().expect("read");
    assert!(said.contains("the engine answers again"), "{said}");
}

#[test]
fn who_sleeps_before_the_start_loses_its_place() {
    let (bench, _driver) = bench("sleeps", Who::Ordinary);
    bench.own(bench.outside());
    let held = bench.outside().join("held");
    let mut slow =
        bench.gpubay(&["run", "--detach", "--name", "slow", "--no-wait", "--gpus", "device=1", "--", "true"]);
    slow.env("GPUBAY_FAILPOINT", format!("job.checked:hold={}", held.display()));
    let slow = slow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    until("the slow one's container", || if held.exists() { Ok(()) } else { Err(()) });
    let quick = spawn(&bench, &[&["run", "--name", "quick", "--gpus", "device=1"][..], SLEEPS].concat());
    // It runs, so the other container is gone for good.
    until("the other one's", || {
        let runs = bench.docker(&["ps", "-q", "--filter", "name=-quick"]).succeeded().stdout.clone();
        if runs.trim().is_empty() { Err(runs) } else { Ok(()) }
    });
    std::fs::remove_file(held).expect("removed");
    end(slow).failed("is held by job quick");
    let alone = bench.json(&["gpus"])["devices"][1]["leases"].clone();
    assert_eq!(alone.as_array().map(Vec::len), Some(1), "{alone:#}");
    bench.run(&["rm", "--force", "quick"]).succeeded();
    let _ = quick.wait_with_output();
}

#[test]
fn a_start_that_cannot_be_is_said() {
    let (bench, _driver) = bench("network", Who::Ordinary);
    let network = format!("gpubay-test-{}", std::process::id());
    bench.docker(&["network", "create", &network]).succeeded();
    bench.write("gpubay.toml", &format!("[container]\nnetwork = \"{network}\"\n"));
    let allow = format!("network:{network}");
    bench.json(&["up", "--recreate", "--allow", &allow]);
    bench.run(&["down", "--force"]).succeeded();
    bench.docker(&["network", "rm", &network]).succeeded();
    bench.run(&["run", "--gpus", "none", "--", "true"]).failed(&network);
}

#[test]
fn a_waiting_job_hinders_nothing_in_an_editor() {
    let (bench, _driver) = bench("editor", Who::Ordinary);
    job(&bench, "first", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    let mut editor = Editor::of(&bench);
    let run =
        |name: &str, gpus: &str| json!({ "folder": bench.workspace, "argv": ["true"], "name": name, "gpus": gpus });
    let second = editor.ask("gpubay/run", run("second", "device=0"));
    until_waiting(&bench, &["second"]);
    editor.request("gpubay/run", run("third", "device=1")).expect("it runs beside");
    // What it waits for can be taken away there, too.
    let first = json!({ "folder": bench.workspace, "names": ["first"], "consent": true });
    editor.request("gpubay/rm", first).expect("removed");
    assert_eq!(editor.answer(second).expect("it ran")["name"], "second");
    // Whoever closes the window leaves the queue.
    job(&bench, "fourth", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    editor.ask("gpubay/run", run("fifth", "device=0"));
    until_waiting(&bench, &["fifth"]);
    let prune = bench.run(&["prune", "--yes"]);
    assert!(!prune.succeeded().stdout.contains("gpubay-waits"), "it waits: {prune:?}");
    until_waiting(&bench, &["fifth"]);
    drop(editor);
    until_waiting(&bench, &[]);
}

#[test]
fn a_snapshot_is_of_the_moment_when_it_was_asked_for() {
    let (bench, _driver) = bench("frozen", Who::Ordinary);
    bench.write("words.txt", "then\n");
    job(&bench, "first", &[&["--gpus", "device=1"][..], SLEEPS].concat());
    let args = ["run", "--snapshot", "--name", "second", "--gpus", "device=1", "--", "cat", "words.txt"];
    let second = spawn(&bench, &args);
    until_waiting(&bench, &["second"]);
    bench.write("words.txt", "now\n");
    bench.run(&["rm", "--force", "first"]).succeeded();
    assert_eq!(end(second).succeeded().stdout.trim(), "then");
}

#[test]
fn what_others_have_counts_where_the_choice_is_ours() {
    let (one, _driver) = bench("others", Who::Ordinary);
    let (two, _other) = bench("choice", Who::Root);
    job(&one, "first", &[&["--gpus", "device=0"][..], SLEEPS].concat());
    let second = job(&two, "second", &[&["--gpus", "1"][..], SLEEPS].concat());
    assert_eq!(given(&two, second["id"].as_str().expect("an id")), "nvidia.com/gpu=1");
    // A dev container starts beside anybody.
    two.run(&["down", "--force"]).succeeded();
    let up = two.json(&["up"]);
    assert_eq!(up["gpu"]["devices"][0]["index"], 1, "the one that nobody has alone: {up:#}");
    let (code, ran) = two.error(&["run", "--no-wait", "--gpus", "2", "--", "true"]);
    assert_eq!(code, "gpu_taken");
    let said = ran.json()["error"]["message"].as_str().expect("said").to_owned();
    let user = &gpubay_e2e::lab().user;
    assert!(said.contains("job first of") && said.contains(&format!("({user})")), "who it is, too: {said}");
}
