//! What containers are like: user, GPUs, images of all shapes, options, jobs, programs in them.

use gpubay_e2e::{Bench, Ran, Who, eventually, lab};
use serde_json::json;

fn with(engine: &str, who: Who, dockerfile: &str, toml: &str) -> Bench {
    let bench = Bench::on_cpu(engine, who, "shape");
    bench.write("Dockerfile", dockerfile);
    bench.write("gpubay.toml", toml);
    bench
}

#[test]
fn images_of_every_shape_bring_their_python() {
    for image in ["python", "conda", "venv", "nopip", "uid1000", "bare"] {
        let bench = with("docker28", Who::Ordinary, &format!("FROM gpubay-lab/{image}\n"), "");
        let report = bench.up();
        assert!(
            report["host_env"]["version"].as_str().is_some_and(|version| version.starts_with('3')),
            "{image}: {report}"
        );
        let output = bench.python(&["-c", "import os, json; print(os.getuid())"]).output().expect("started");
        let ran = Ran::of(&output, &[image]);
        assert_eq!(ran.succeeded().stdout, format!("{}\n", bench.uid()), "{image}");
    }
}

#[test]
fn an_image_without_python_works_and_says_so() {
    for engine in ["docker28", "docker20"] {
        let bench = with(engine, Who::Ordinary, "FROM gpubay-lab/busybox\n", "");
        let report = bench.up();
        assert_eq!(report["host_env"], serde_json::Value::Null);
        assert!(report["warnings"].to_string().contains("no Python"), "{report}");
        let ran = bench.run(&["exec", "--", "/bin/busybox", "id", "-u"]);
        assert_eq!(ran.succeeded().stdout, format!("{}\n", bench.uid()));
    }
}

#[test]
fn a_dataset_of_a_group_is_readable() {
    let bench = with("docker28", Who::Ordinary, "FROM gpubay-lab/python\n", "");
    let data = bench.workspace.join("data");
    std::fs::create_dir(&data).expect("made");
    std::fs::write(data.join("x"), "read").expect("written");
    let group = std::env::var("GPUBAY_TEST_GROUP").expect("GPUBAY_TEST_GROUP");
    let groups = std::fs::read_to_string("/etc/group").expect("/etc/group");
    let gid = groups.lines().find_map(|line| line.strip_prefix(&format!("{group}:x:"))).expect("the group");
    let gid = gid.split(':').next().and_then(|gid| gid.parse().ok()).expect("a number");
    std::os::unix::fs::chown(&data, Some(0), Some(gid)).expect("handed over");
    std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o750)).expect("closed");
    bench.up();
    let ran = bench.run(&["exec", "--", "cat", "data/x"]);
    assert_eq!(ran.succeeded().stdout, "read");
}

#[test]
fn the_images_own_user_keeps_its_packages() {
    let dockerfile = "FROM gpubay-lab/python\nARG USER_UID\nARG USER_GID\n\
        RUN groupadd -g ${USER_GID} app && useradd -m -u ${USER_UID} -g ${USER_GID} app\nUSER app\n\
        RUN python3 -m pip install --user --break-system-packages --no-cache-dir six==1.17.0\n";
    let bench = with("docker28", Who::Ordinary, dockerfile, "");
    bench.up();
    let ran = bench.run(&["exec", "--", "python", "-c", "import six, os; print(six.__file__, os.environ['HOME'])"]);
    assert!(ran.succeeded().stdout.starts_with("/home/app/.local/"), "{ran:?}");
    let pth = std::fs::read_to_string(bench.workspace.join(".venv/lib/python3.11/site-packages/container.pth"));
    let pth = pth.expect("container.pth");
    assert!(pth.lines().any(|root| std::path::Path::new(root).join("six.py").exists()), "{pth}");
}

#[test]
fn gpus_come_through_cdi_and_are_checked_inside() {
    let bench = with("docker28", Who::Ordinary, "FROM gpubay-lab/python\n", "[gpus]\nuse = \"auto\"\n");
    let report = bench.up();
    assert_eq!(report["gpu"]["injection"], "cdi");
    assert_eq!(report["gpu"]["devices"].as_array().map(Vec::len), Some(1), "{report}");
    let given = &bench.inspect(report["container"]["id"].as_str().expect("an id"))["Config"]["Labels"]["gpubay.gpus"];
    // The other one, where another test's container has the first.
    assert!(["nvidia.com/gpu=0", "nvidia.com/gpu=1"].contains(&given.as_str().expect("a label")), "{given}");
    let two = bench.json(&["up", "--gpus", "2"]);
    assert_eq!(two["gpu"]["devices"].as_array().map(Vec::len), Some(2), "{two}");
    let job =
        bench.run(&["run", "--gpus", "device=0", "--", "nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]);
    assert_eq!(job.succeeded().stdout.trim(), "0", "its index");
}

#[test]
fn without_gpus_it_is_the_cpu_and_why() {
    let bench = with("docker20", Who::Ordinary, "FROM gpubay-lab/python\n", "[gpus]\nuse = \"auto\"\n");
    let report = bench.up();
    assert_eq!(report["gpu"]["injection"], "none");
    assert!(report["gpu"]["reason"].as_str().is_some_and(|reason| reason.contains("no CDI device")), "{report}");
    bench.write("gpubay.toml", "[gpus]\nuse = \"auto\"\nrequired = true\n");
    bench.run(&["down"]).succeeded();
    bench.run(&["up"]).failed("a GPU is required");
    assert!(bench.containers().is_empty());
}

#[test]
fn a_taken_port_moves_to_the_next_one() {
    let taken = std::net::TcpListener::bind("127.0.0.1:26006").expect("free");
    let bench = with("docker28", Who::Ordinary, "FROM gpubay-lab/python\n", "[container]\nports = [\"26006\"]\n");
    let report = bench.up();
    let address = report["container"]["ports"]["26006/tcp"][0].as_str().expect("an address").to_owned();
    assert!(address.starts_with("127.0.0.1:") && address != "127.0.0.1:26006", "{address}");
    drop(taken);
    assert_eq!(bench.up()["drift"], json!([]), "a moved port is no drift");
}

#[test]
fn the_entrypoints_environment_is_learned() {
    let dockerfile = "FROM gpubay-lab/python\n\
        RUN printf '#!/bin/sh\\nexport FROM_ENTRYPOINT=\"a b\"\\nexec \"$@\"\\n' > /entry && chmod +x /entry\n\
        ENTRYPOINT [\"/entry\"]\n";
    let bench = with("docker28", Who::Ordinary, dockerfile, "");
    bench.up();
    for args in [["exec", "--", "printenv", "FROM_ENTRYPOINT"], ["run", "--", "printenv", "FROM_ENTRYPOINT"]] {
        assert_eq!(bench.run(&args).succeeded().stdout, "a b\n");
    }
}

#[test]
fn programs_inside_end_as_they_end() {
    for engine in ["docker28", "docker20"] {
        let bench = with(engine, Who::Ordinary, "FROM gpubay-lab/python\n", "");
        bench.run(&["exec", "--", "true"]).failed("does not exist");
        bench.up();
        for (args, code) in [
            (vec!["exec", "--", "sh", "-c", "exit 7"], 7),
            (vec!["exec", "--", "sh", "-c", "kill -9 $$"], 137),
            (vec!["exec", "--", "no-such-program"], 127),
            (vec!["exec", "--", "/etc/passwd"], 126),
            (vec!["run", "--", "sh", "-c", "exit 9"], 9),
        ] {
            assert_eq!(bench.run(&args).code, Some(code), "{args:?} on {engine}");
        }
        let root = bench.run(&["exec", "--root", "--", "id", "-u"]);
        assert_eq!(root.succeeded().stdout, "0\n");
        // Ctrl-C reaches the program, which decides what it means. Python runs handlers between two of its own steps:
        // of a signal that comes just before it sleeps it hears only afterwards, so it sleeps little at a time.
        let script = "import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(42))\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)";
        for mut command in [bench.gpubay(&["exec", "--", "python3", "-c", script]), bench.python(&["-c", script])] {
            command.stdout(std::process::Stdio::piped());
            let mut child = command.spawn().expect("started");
            let mut line = String::new();
            let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
            std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
            assert_eq!(line, "ready\n");
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
                .expect("sent");
            assert_eq!(child.wait().expect("ended").code(), Some(42));
        }
    }
}

#[test]
fn random_bytes_go_through_the_shim_unchanged() {
    let bench = with("docker28", Who::Ordinary, "FROM gpubay-lab/python\n", "");
    bench.up();
    bench.write("cat.py", "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)");
    let mut bytes = vec![0; 3 << 20];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").expect("open"), &mut bytes).expect("read");
    let file = bench.outside().join("random");
    std::fs::write(&file, &bytes).expect("written");
    let mut command = bench.python(&["cat.py"]);
    command.stdin(std::fs::File::open(&file).expect("open"));
    let output = command.output().expect("started");
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
}

#[test]
fn a_stopped_container_answers_tools_and_tells_people() {
    let bench = with("docker28", Who::Ordinary, "FROM gpubay-lab/python\n", "");
    bench.up();
    let query = "import sys, json; print(json.dumps(sys.path))";
    let before = bench.python(&["-c", query]).output().expect("started");
    assert!(before.status.success());
    bench.run(&["stop"]).succeeded();
    let after = bench.python(&["-c", query]).output().expect("started");
    assert_eq!(after.stdout, before.stdout, "{}", String::from_utf8_lossy(&after.stderr));
    bench.write("t.py", "print(1)");
    let run = bench.python(&["t.py"]).output().expect("started");
    assert_eq!(run.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&run.stderr).contains("start it with: gpubay"), "{run:?}");
}

#[test]
fn jobs_are_containers_of_their_own() {
    let bench = with(
        "docker28",
        Who::Ordinary,
        "FROM gpubay-lab/python\n",
        "[jobs.count]\ncommand = [\"sh\", \"-c\", \"echo counted $*; exit 3\", \"sh\"]\n",
    );
    bench.up();
    for name in ["one", "two"] {
        let ran =
            bench.run(&["run", "--detach", "--name", name, "--", "sh", "-c", "echo out; echo err >&2; sleep 1000"]);
        assert_eq!(ran.succeeded().stdout.trim(), name);
    }
    let rows = bench.json(&["ps"])["containers"].clone();
    let running = rows.as_array().expect("rows").iter().filter(|row| row["role"] == "job" && row["state"] == "running");
    assert_eq!(running.count(), 2, "{rows}");
    bench.run(&["run", "--detach", "--name", "one", "--", "true"]).failed("there is a job named one already");
    eventually("its log", || bench.run(&["logs", "one"]).stdout == "out\n");
    assert_eq!(bench.run(&["logs", "one"]).stderr, "err\n");
    for (args, said) in
        [(vec!["run", "count"], "counted\n"), (vec!["run", "count", "--", "--lr", "3"], "counted --lr 3\n")]
    {
        let named = bench.run(&args);
        assert_eq!((named.code, named.stdout.as_str()), (Some(3), said));
    }
    bench.run(&["down", "--force", "two"]).succeeded();
    // Work is never ended unasked.
    bench.run(&["down"]).failed("something still runs");
    assert_eq!(bench.containers().len(), 2);
    bench.run(&["down", "--force"]).succeeded();
    assert!(bench.containers().is_empty());
}

#[test]
fn what_runs_is_not_replaced_unasked() {
    let bench = with("docker28", Who::Ordinary, "FROM gpubay-lab/python\n", "");
    let first = bench.up();
    let mut busy = bench.gpubay(&["exec", "--", "sh", "-c", "echo busy; exec sleep 1000"]);
    let mut child = busy.stdout(std::process::Stdio::piped()).spawn().expect("started");
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
    bench.write("gpubay.toml", "[container]\nenv = { NEW = \"1\" }\n");
    let drifted = bench.up();
    assert_eq!(drifted["container"]["id"], first["container"]["id"]);
    assert!(drifted["stakes"]["processes"].to_string().contains("sleep 1000"), "{drifted}");
    gpubay_e2e::kill(&mut child);
    let recreated = bench.json(&["up", "--recreate"]);
    assert_ne!(recreated["container"]["id"], first["container"]["id"]);
    assert_eq!(bench.run(&["exec", "--", "printenv", "NEW"]).succeeded().stdout, "1\n");
}

#[test]
fn sync_follows_what_is_installed_in_the_image() {
    let bench = with("docker28", Who::Ordinary, "FROM gpubay-lab/python\n", "");
    bench.up();
    let site = "/usr/local/lib/python3.11/dist-packages";
    let install = format!("mkdir -p {site}/fresh && echo x=1 > {site}/fresh/__init__.py");
    bench.run(&["exec", "--root", "--", "sh", "-c", &install]).succeeded();
    assert_eq!(bench.json(&["sync"])["changed"], true);
    let has = |bench: &Bench| {
        let ran = bench.run(&["sync", "--print-paths"]);
        ran.succeeded().stdout.lines().any(|path| std::path::Path::new(path).join("fresh/__init__.py").exists())
    };
    assert!(has(&bench));
    assert_eq!(bench.json(&["sync"])["changed"], false);
    bench.run(&["exec", "--root", "--", "rm", "-r", &format!("{site}/fresh")]).succeeded();
    bench.run(&["sync"]).succeeded();
    assert!(!has(&bench));
}

#[test]
fn a_read_only_root_still_has_a_user_and_a_home() {
    let bench = with("docker28", Who::Ordinary, "FROM gpubay-lab/python\n", "[container]\nread_only = true\n");
    let report = bench.up();
    assert!(report["host_env"]["version"].is_string(), "{report}");
    let ran =
        bench.run(&["exec", "--", "sh", "-c", "id -un && touch ~/x ~/.cache/y ~/.config/z && echo written; touch /x"]);
    assert_eq!(ran.stdout, format!("{}\nwritten\n", lab().user), "{ran:?}");
    assert!(ran.stderr.contains("Read-only"), "{ran:?}");
}

#[test]
fn the_test_user_is_ordinary() {
    assert_ne!(lab().uid, 0);
}

/// An image has the workspace's identity, since it was built for it, and may have labels of any kind.
#[test]
fn what_an_image_says_of_itself_decides_nothing() {
    let dockerfile =
        "FROM gpubay-lab/busybox\nLABEL gpubay.job=\"train/../../../../..\" gpubay.chosen=all gpubay.role=job\n";
    let bench = with("docker28", Who::Ordinary, dockerfile, "[gpus]\nuse = \"none\"\n");
    let report = bench.up();
    assert_eq!(report["gpu"]["chosen"], serde_json::Value::Null, "{report}");
    bench.run(&["run", "--detach", "--name", "train", "--", "/bin/true"]).succeeded();
    // Somebody's own container of that image is nobody's but theirs.
    let image = report["image"]["reference"].as_str().expect("an image");
    let own = format!("gpubay-e2e-own-{}", std::process::id());
    bench.docker(&["run", "--detach", "--name", &own, image, "/bin/true"]).succeeded();
    bench.run(&["stop"]).succeeded();
    eventually("the job ends", || bench.json(&["ps"])["containers"].to_string().contains("\"exit_code\":0"));
    let removed = bench.json(&["rm", "--all"])["containers"].clone();
    assert_eq!(removed.as_array().map(Vec::len), Some(1), "only the job: {removed}");
    assert!(bench.home.join("shape/Dockerfile").exists());
    let left = bench.json(&["ps"])["containers"].clone();
    assert_eq!((left.as_array().map(Vec::len), &left[0]["role"]), (Some(1), &json!("dev")), "{left}");
    bench.run(&["down"]).succeeded();
    let theirs = bench.docker(&["inspect", "--format", "{{.State.Status}}", &own]);
    bench.docker(&["rm", "--force", &own]).succeeded();
    assert_eq!(theirs.succeeded().stdout, "exited\n");
}
