//! Programs in the foreground: their streams, signals and ends; jobs, their logs and their list.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

use gpubay_e2e::{Bench, Who, ended, eventually, output, send};
use rustix::process::Signal;
use serde_json::{Value, json};

const ENGINES: [(&str, Who); 2] = [("docker28", Who::Ordinary), ("docker20", Who::Root)];

/// A dev container without Python, which nothing here needs.
fn up(engine: &str, who: Who) -> Bench {
    let bench = Bench::on_cpu(engine, who, "jobs");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.up();
    bench
}

fn spawn(bench: &Bench, args: &[&str]) -> Child {
    bench.gpubay(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
}

fn jobs(bench: &Bench) -> Vec<Value> {
    let rows = bench.json(&["ps"])["containers"].as_array().expect("rows").clone();
    rows.into_iter().filter(|row| row["role"] == "job").collect()
}

#[track_caller]
fn no_job_is_left(bench: &Bench) {
    assert_eq!(jobs(bench), Vec::<Value>::new());
}

/// Waits until nothing more fits into a pipe that nobody reads. Small pieces leave a little of each page unused.
#[track_caller]
fn fills_up(pipe: &ChildStdout) {
    let full = rustix::pipe::fcntl_getpipe_size(pipe).expect("a pipe") as u64 - 4096;
    eventually("nothing more fits", || rustix::io::ioctl_fionread(pipe).expect("asked") >= full);
}

#[test]
fn a_program_whose_reader_leaves_ends() {
    for (engine, who) in ENGINES {
        let bench = up(engine, who);
        for args in [["run", "--", "yes"], ["exec", "--", "yes"]] {
            let mut child = spawn(&bench, &args);
            let mut two = [0; 2];
            child.stdout.take().expect("piped").read_exact(&mut two).expect("output");
            assert_eq!(&two, b"y\n");
            assert_eq!(ended(&mut child).code(), Some(141), "{args:?} on {engine}");
        }
        no_job_is_left(&bench);
    }
}

#[test]
fn a_signal_ends_a_program_whose_output_nobody_reads() {
    for (engine, who) in ENGINES {
        let bench = up(engine, who);
        for (args, signal, code) in
            [(["run", "--", "yes"], Signal::TERM, 143), (["exec", "--", "yes"], Signal::INT, 130)]
        {
            let mut child = spawn(&bench, &args);
            let stdout = child.stdout.take().expect("piped");
            fills_up(&stdout);
            send(&child, signal);
            assert_eq!(ended(&mut child).code(), Some(code), "{args:?} on {engine}");
            drop(stdout);
        }
        no_job_is_left(&bench);
    }
}

#[test]
fn input_arrives_whole_and_so_does_output() {
    for (engine, who) in ENGINES {
        let bench = up(engine, who);
        let mut bytes = vec![0; 9 << 20];
        std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("read");
        let file = bench.outside().join("random");
        std::fs::write(&file, &bytes).expect("written");
        for how in ["run", "exec"] {
            // More than fits on the way in either direction, and `cat` ends only with its input.
            let mut cat = bench.gpubay(&[how, "--", "cat"]);
            let came = output(cat.stdin(std::fs::File::open(&file).expect("open")));
            assert!(came.stdout == bytes, "{how} on {engine}: {} bytes came back", came.stdout.len());
            // A program that reads none of it ends all the same.
            let mut deaf = bench.gpubay(&[how, "--", "sh", "-c", "exit 6"]);
            let code = output(deaf.stdin(std::fs::File::open(&file).expect("open"))).status.code();
            assert_eq!(code, Some(6), "{how} on {engine}");
            let ran = bench.run(&[how, "--", "sh", "-c", "seq 1 200000; echo bad >&2; exit 7"]);
            assert_eq!((ran.code, ran.stdout.lines().count()), (Some(7), 200_000), "{how} on {engine}: {}", ran.stderr);
            assert!(ran.stdout.ends_with("\n200000\n") && ran.stderr == "bad\n", "{how} on {engine}");
        }
        no_job_is_left(&bench);
    }
}

#[test]
fn a_cancelled_job_leaves_no_container() {
    for (engine, who) in ENGINES {
        let bench = up(engine, who);
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let mut child = spawn(&bench, &["run", "--", "sh", "-c", "echo ready; exec sleep 1000"]);
            let mut line = String::new();
            BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
            assert_eq!(line, "ready\n");
            send(&child, signal);
            assert_eq!(ended(&mut child).code(), Some(code), "{signal:?} on {engine}");
            no_job_is_left(&bench);
        }
        // Before it was started.
        for detach in [true, false] {
            let args = if detach { vec!["run", "--detach", "--", "true"] } else { vec!["run", "--", "true"] };
            let mut command = bench.gpubay(&args);
            command.env("GPUBAY_FAILPOINT", "job.created:wait").stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().expect("started");
            eventually("the job is made", || jobs(&bench).len() == 1);
            assert_eq!(jobs(&bench)[0]["state"], "created");
            send(&child, Signal::INT);
            assert_eq!(ended(&mut child).code(), Some(130), "{args:?} on {engine}");
            no_job_is_left(&bench);
        }
    }
}

#[test]
fn every_ctrl_c_reaches_the_job() {
    let bench = up("docker28", Who::Ordinary);
    let script = "trap 'n=$((n+1)); echo got$n; [ $n = 2 ] && exit 5' INT; echo got; while :; do sleep 0.05; done";
    for how in ["run", "exec"] {
        let mut child = spawn(&bench, &[how, "--", "sh", "-c", script]);
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut next = || lines.next().expect("a line").expect("text");
        assert_eq!(next(), "got");
        send(&child, Signal::INT);
        assert_eq!(next(), "got1");
        send(&child, Signal::INT);
        assert_eq!(next(), "got2");
        assert_eq!(ended(&mut child).code(), Some(5), "{how}");
    }
    no_job_is_left(&bench);
}

#[test]
fn several_jobs_at_once_have_their_own_ends() {
    let bench = up("docker28", Who::Ordinary);
    let script =
        "echo $0; while [ $(ls started.* 2>/dev/null | wc -l) -lt 3 ]; do touch started.$0; sleep 0.05; done; exit $0";
    let mut children: Vec<(i32, Child)> =
        (11..14).map(|code| (code, spawn(&bench, &["run", "--", "sh", "-c", script, &code.to_string()]))).collect();
    for (code, child) in &mut children {
        assert_eq!(ended(child).code(), Some(*code));
        let mut said = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
        assert_eq!(said, format!("{code}\n"));
    }
    no_job_is_left(&bench);
}

#[test]
fn a_name_of_no_job_and_gpus_of_no_engine_are_told_where_they_came_from() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "jobs");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.write("gpubay.toml", "[jobs.train]\ncommand = [\"true\"]\ngpus = 9\n[jobs.eval]\ncommand = [\"true\"]\n");
    bench.up();
    let ran = bench.run(&["run", "nojob"]);
    assert_eq!(ran.code, Some(127));
    assert!(ran.stderr.contains("[jobs] has: eval, train") && ran.stderr.contains("nojob"), "{ran:?}");
    let more = bench.run(&["run", "trian", "--", "--lr", "1e-3"]);
    assert!(more.code == Some(127) && more.stderr.contains("[jobs] has: eval, train"), "{more:?}");
    // That one's own end is not a name's.
    let other = bench.run(&["run", "--", "sh", "-c", "exit 127"]);
    assert!(other.code == Some(127) && other.stderr.is_empty(), "{other:?}");
    for (args, place) in [
        (
            vec!["run", "--gpus", "9", "--", "true"],
            "Change --gpus to what is there. A number is a count: GPU 9 alone is device=9",
        ),
        (vec!["run", "--gpus", "device=9", "eval"], "Change --gpus to what is there"),
        (vec!["run", "train"], "Change [jobs.train] gpus to what is there"),
        (vec!["up", "--gpus", "9", "--recreate"], "Change --gpus to what is there"),
    ] {
        bench.run(&args).failed(place);
    }
    no_job_is_left(&bench);
    bench.run(&["down"]).succeeded();
    bench.run(&["up", "--gpus", "9"]).failed("Change --gpus to what is there");
}

#[test]
fn a_detached_job_without_a_program_or_gpus_is_said_at_once() {
    for (engine, who) in ENGINES {
        let bench = up(engine, who);
        bench.write("plain", "");
        for (program, code) in [("nosuchprog", 127), ("/workspace/plain", 126)] {
            let ran = bench.run(&["run", "--detach", "--name", "none", "--", program]);
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{program} on {engine}: {ran:?}");
            assert!(ran.stderr.contains(program), "{ran:?}");
            no_job_is_left(&bench);
        }
        // A program that ends so by itself is a job that has ended.
        bench.run(&["run", "--detach", "--name", "own", "--", "sh", "-c", "exit 127"]).succeeded();
        bench.run(&["run", "--detach", "--name", "quick", "--", "true"]).succeeded();
        assert_eq!(jobs(&bench).len(), 2);
        bench.run(&["down", "--force"]).succeeded();
    }
    // An engine that knows no GPUs: asked for by number, that is said; by default it is not.
    let bench = up("docker20", Who::Ordinary);
    let ran = bench.run(&["run", "--gpus", "2", "--", "true"]);
    assert!(ran.succeeded().stderr.contains("runs on the CPU"), "{ran:?}");
    assert_eq!(bench.run(&["run", "--", "true"]).succeeded().stderr, "");
    assert_eq!(bench.run(&["run", "--gpus", "none", "--", "true"]).succeeded().stderr, "");
}

#[test]
fn logs_follow_a_job_to_its_end() {
    for (engine, who) in ENGINES {
        let bench = up(engine, who);
        let script = "echo first; while [ ! -e go ]; do sleep 0.05; done; echo second; echo err >&2; exit 4";
        bench.run(&["run", "--detach", "--name", "slow", "--", "sh", "-c", script]).succeeded();
        let mut child = spawn(&bench, &["logs", "--follow", "slow"]);
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "first");
        bench.write("go", "");
        assert_eq!(lines.next().expect("a line").expect("text"), "second");
        assert!(ended(&mut child).success());
        // Whoever has followed to the end may rely on it.
        assert_eq!(jobs(&bench)[0]["exit_code"], 4, "on {engine}");
        for args in [vec!["logs", "slow"], vec!["logs", "-f"]] {
            let ran = bench.run(&args);
            assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("first\nsecond\n", "err\n"), "{args:?}");
        }
        let last = bench.run(&["logs", "--tail", "1", "slow"]);
        assert_eq!(format!("{}{}", last.stdout, last.stderr).lines().count(), 1, "{last:?}");
        // A reader who does not read holds up no Ctrl-C.
        bench
            .run(&["run", "--detach", "--name", "loud", "--", "sh", "-c", "seq 1 500000; exec sleep 1000"])
            .succeeded();
        let mut child = spawn(&bench, &["logs", "-f", "loud"]);
        let stdout = child.stdout.take().expect("piped");
        fills_up(&stdout);
        send(&child, Signal::INT);
        assert_eq!(ended(&mut child).code(), Some(130));
        bench.run(&["down", "--force"]).succeeded();
    }
}

#[test]
fn jobs_are_listed_in_the_order_of_their_making() {
    let bench = up("docker28", Who::Ordinary);
    // Within one second, and not in the order of their names.
    let names = ["d", "b", "c", "a"];
    for name in names {
        bench.run(&["run", "--detach", "--name", name, "--", "echo", name]).succeeded();
    }
    let listed: Vec<Value> = jobs(&bench).iter().map(|row| row["job"].clone()).collect();
    assert_eq!(json!(listed), json!(names));
    eventually("the latest one's log", || bench.run(&["logs", "-f"]).stdout == "a\n");
    let table = bench.run(&["ps"]).succeeded().stdout.clone();
    assert_eq!(table.lines().next().map(|line| line.split_whitespace().next()), Some(Some("NAME")), "{table}");
}

/// One object on stdout and nothing else, with this code.
#[track_caller]
fn fails_with(bench: &Bench, args: &[&str], code: &str) {
    let (said, ran) = bench.error(args);
    assert_eq!(said, code, "{args:?}: {ran:?}");
    assert!(ran.stderr.starts_with("error: "), "{ran:?}");
}

#[test]
fn every_command_answers_in_one_object() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "jobs");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    fails_with(&bench, &["exec", "--", "true"], "not_running");
    fails_with(&bench, &["logs"], "no_such_job");
    assert_eq!(bench.json(&["ps"])["containers"], json!([]));
    assert_eq!(bench.json(&["stop"])["containers"], json!([]));
    assert_eq!(bench.json(&["down"])["containers"], json!([]));
    let dev = bench.up()["container"]["name"].clone();
    fails_with(&bench, &["exec", "--", "no-such-program"], "program_not_found");
    fails_with(&bench, &["run", "--gpus", "9", "--", "true"], "gpu_too_many");
    fails_with(&bench, &["run", "--name=-x", "--", "true"], "usage");
    fails_with(&bench, &["logs", "nobody"], "no_such_job");

    // What a program prints goes to stderr then, since stdout is for the object.
    let script = "echo out; echo err >&2; exit 3";
    for how in ["run", "exec"] {
        let ran = bench.run(&[how, "--json", "--", "sh", "-c", script]);
        // They came in two streams, so in either order.
        assert!(ran.code == Some(3) && ["out\nerr\n", "err\nout\n"].contains(&ran.stderr.as_str()), "{ran:?}");
        assert_eq!((&ran.json()["outcome"], &ran.json()["exit_code"]), (&json!("success"), &json!(3)), "{how}");
    }
    let started = bench.json(&["run", "--detach", "--name", "quiet", "--", "true"]);
    assert_eq!(started["job"], "quiet");
    let log = bench.json(&["logs", "--follow", "quiet"]);
    assert_eq!((&log["stdout"], &log["stderr"]), (&json!(""), &json!("")), "an empty log is an object, too");
    bench.run(&["run", "--detach", "--name", "busy", "--", "sh", "-c", "echo a; echo b >&2; exec sleep 1000"]);
    fails_with(&bench, &["run", "--detach", "--name", "busy", "--", "true"], "job_exists");
    eventually("its log", || {
        let log = bench.json(&["logs", "busy"]);
        (&log["stdout"], &log["stderr"]) == (&json!("a\n"), &json!("b\n"))
    });
    fails_with(&bench, &["down"], "work_running");
    let mut inside = spawn(&bench, &["exec", "--", "sh", "-c", "echo in; exec sleep 1000"]);
    let mut line = String::new();
    BufReader::new(inside.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    fails_with(&bench, &["stop"], "work_running");
    let removed = bench.json(&["down", "--force"])["containers"].clone();
    let removed: Vec<&str> = removed.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(removed.len(), 3, "{removed:?}");
    assert!(removed.contains(&dev.as_str().expect("a name")) && removed.iter().any(|name| name.ends_with("-busy")));
    assert!(!ended(&mut inside).success());
}
