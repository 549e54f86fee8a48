//! What goes wrong: bad input, lost races, kills at every stage. Each time the message is its own,
//! nothing is lost, and the next `up` succeeds.

use std::os::unix::fs::PermissionsExt;

use gpubay_e2e::{Bench, Driver, STAGES_OF_THE_CONTAINER, STAGES_OF_THE_MIRROR, Who, eventually};

const PLAIN: &str = "FROM gpubay-lab/python\n";

fn plain(who: Who, name: &str) -> Bench {
    let bench = Bench::on_cpu("docker28", who, name);
    bench.write("Dockerfile", PLAIN);
    bench
}

#[test]
fn each_bad_input_has_its_own_code_and_leaves_nothing() {
    for (toml, dockerfile, code) in [
        ("[container]\nworkdirr = \"/x\"\n", Some(PLAIN), "unknown_key"),
        ("[container]\nmemory = true\n", Some(PLAIN), "wrong_type"),
        ("[container\n", Some(PLAIN), "config_syntax"),
        ("", None, "no_dockerfile"),
        ("[container]\nmounts = [\"./nowhere:/data\"]\n", Some(PLAIN), "missing_mount_source"),
        ("", Some("FROM gpubay-lab/python\nRUN exit 7\n"), "build_step_failed"),
        ("", Some("FROM gpubay-lab/python\nRUNN true\n"), "dockerfile_syntax"),
        ("[gpus]\nuse = [\"9\"]\n", Some(PLAIN), "gpu_unknown"),
        ("[gpus]\nuse = 7\n", Some(PLAIN), "gpu_too_many"),
        ("[container]\nprivileged = true\n", Some(PLAIN), "needs_consent"),
    ] {
        let bench = Bench::on_cpu("docker28", Who::Ordinary, "bad");
        bench.write("gpubay.toml", toml);
        if let Some(dockerfile) = dockerfile {
            bench.write("Dockerfile", dockerfile);
        }
        assert_eq!(bench.error(&["up"]).0, code, "{toml}{dockerfile:?}");
        assert!(bench.containers().is_empty(), "{code} left a container");
    }
}

/// A specification that is older than the machine: a third GPU has come, and the second was divided since.
#[test]
fn each_selection_that_cannot_be_had_has_its_own_words_and_leaves_nothing() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "unhad");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    let driver = Driver::of(&mut bench, ["", ""]);
    let divided =
        format!("{}[slice]\nuuid = MIG-a\nname = Fake MIG 1g.10gb\nmemory = 1 / 9856\n", Driver::gpu(1, "mig = on"));
    driver.tells(&[Driver::gpu(0, ""), divided, Driver::gpu(2, "")].concat());
    let third = Driver::uuid(2);
    let foreign = "GPU-99999999-2222-3333-4444-000000000000";
    let mut said = std::collections::BTreeSet::new();
    for (typed, code, words) in [
        ("-1", 2, "-1 GPUs cannot be had"),
        ("0", 2, "0 GPUs are none"),
        ("2000", 2, "more than any machine has"),
        ("\"device=1,2", 2, "its quotes are not balanced"),
        ("device=1,count=2", 2, "two forms"),
        ("device=9", 125, "there is no GPU 9"),
        (foreign, 125, "no GPU here has the UUID GPU-9999"),
        ("MIG-zz", 125, "no MIG slice here has the UUID MIG-zz"),
        ("nvidia.com/gpu=gone", 125, "the engine has no CDI device nvidia.com/gpu=gone"),
        ("device=1", 125, "it is divided by now (MIG)"),
        ("MIG-a", 125, "before GPU 1 was divided like that"),
        ("device=2", 125, "its CDI specification has none for it"),
        (&third, 125, "its CDI specification has none for it"),
        ("5", 125, "5 GPUs are asked for"),
    ] {
        let ran = bench.run(&["run", "--gpus", typed, "true"]);
        assert!(ran.code == Some(code) && ran.stderr.contains(words), "{typed}: {ran:?}");
        said.insert(ran.stderr);
    }
    assert_eq!(said.len(), 14);
    // What is typed does not hide what is wrong in the file, in which it is the same mistake.
    for (wrong, words) in [
        ("use = -1", "gpubay.toml:2:7: gpus.use: -1 GPUs cannot be had"),
        ("use = { count = 0 }", "gpubay.toml:2:7: gpus.use: 0 GPUs are none"),
        ("use = \"\\\"device=1,2\"", "its quotes are not balanced"),
        ("required = true\nuse = \"none\"", "gpubay.toml:2:12: gpus.required"),
    ] {
        bench.write("gpubay.toml", &format!("[gpus]\n{wrong}\n"));
        bench.run(&["run", "--gpus", "device=0", "true"]).failed(words);
        bench.run(&["up", "--gpus", "device=0"]).failed(words);
    }
    assert!(bench.containers().is_empty(), "one was left");
}

#[test]
fn a_failing_step_is_shown_with_its_line_and_output() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "failing");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n\nRUN echo the-reason >&2; exit 7\n");
    let ran = bench.run(&["up"]);
    ran.failed("Dockerfile:3");
    ran.failed("the-reason");
}

#[test]
fn consent_names_the_arguments_and_is_remembered() {
    let bench = plain(Who::Ordinary, "consent");
    let outside = bench.outside().join("data");
    std::fs::create_dir(&outside).expect("made");
    bench.write("gpubay.toml", &format!("[container]\nmounts = [\"{}:/data\"]\n", outside.display()));
    let refused = bench.run(&["up"]);
    refused.failed("--allow");
    let argument = format!("mount:{}:/data", outside.canonicalize().expect("there").display());
    assert!(refused.stderr.contains(&argument), "{}", refused.stderr);
    bench.run(&["up", "--allow", &argument]).succeeded();
    bench.run(&["up"]).succeeded();
    bench.write("gpubay.toml", &format!("[container]\nmounts = [\"{}:/other\"]\n", outside.display()));
    bench.run(&["up"]).failed("--allow");
}

#[test]
fn a_strange_path_is_only_a_path() {
    for name in ["my $(touch x) ws", "it's \"quoted\"", "模型 naïve", "-rf"] {
        let bench = plain(Who::Ordinary, name);
        bench.write("t.py", "import os; print(os.getcwd())");
        bench.up();
        let output = bench.python(&["t.py"]).output().expect("started");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "/workspace\n", "{name}");
        bench.run(&["down"]).succeeded();
    }
}

#[test]
fn a_foreign_container_of_the_same_name_is_left_alone() {
    let bench = plain(Who::Root, "foreign");
    let report = bench.up();
    let name = report["container"]["name"].as_str().expect("a name").to_owned();
    bench.run(&["down"]).succeeded();
    bench.docker(&["create", "--name", &name, "gpubay-lab/python", "true"]).succeeded();
    let before = bench.inspect(&name)["Id"].clone();
    assert_eq!(bench.error(&["up"]).0, "foreign_container");
    assert_eq!(bench.inspect(&name)["Id"], before);
    bench.docker(&["rm", &name]).succeeded();
}

#[test]
fn an_environment_of_somebody_else_is_never_touched() {
    let bench = plain(Who::Ordinary, "taken");
    bench.write(".venv/pyvenv.cfg", "home = /usr/bin\n");
    let report = bench.up();
    assert!(report["host_env"]["path"].as_str().is_some_and(|path| path.ends_with("/.venv-gpubay")), "{report}");
    let names: Vec<_> = std::fs::read_dir(bench.workspace.join(".venv")).expect("there").collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn a_deleted_environment_comes_back() {
    let bench = plain(Who::Ordinary, "deleted");
    bench.up();
    std::fs::remove_dir_all(bench.workspace.join(".venv")).expect("removed");
    let report = bench.up();
    assert_eq!(report["outcome"], "success");
    let output = bench.python(&["-c", "print(6*7)"]).output().expect("started");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n");
    // What the host runs is not what the container can write.
    let inside = bench.run(&[
        "exec",
        "--",
        "python3",
        "-c",
        "import os; print(os.path.exists('/workspace/.venv/gpubay-env.json'))",
    ]);
    assert_eq!(inside.succeeded().stdout, "False\n");
}

#[test]
fn a_read_only_workspace_still_gets_its_container() {
    let bench = plain(Who::Ordinary, "readonly");
    std::fs::set_permissions(&bench.workspace, PermissionsExt::from_mode(0o555)).expect("closed");
    let report = bench.up();
    assert_eq!(report["host_env"], serde_json::Value::Null);
    assert!(report["warnings"].to_string().contains("read-only"), "{report}");
    bench.run(&["exec", "--", "python3", "-c", "import sys; print(sys.prefix)"]).succeeded();
    std::fs::set_permissions(&bench.workspace, PermissionsExt::from_mode(0o755)).expect("opened");
}

#[test]
fn two_at_once_make_one_container() {
    let bench = plain(Who::Ordinary, "twice");
    let children: Vec<_> = (0..2)
        .map(|_| {
            let mut command = bench.gpubay(&["up", "--json"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().expect("started")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(bench.containers().len(), 1);
}

// Two tests: many containers are made, and each test has its time.
#[test]
fn a_kill_at_any_stage_of_the_container_leaves_nothing_that_the_next_up_cannot_use() {
    killed_at(&STAGES_OF_THE_CONTAINER);
}

#[test]
fn a_kill_at_any_stage_of_the_mirror_leaves_nothing_that_the_next_up_cannot_use() {
    killed_at(&STAGES_OF_THE_MIRROR);
}

fn killed_at(places: &[&str]) {
    for place in places {
        let bench = Bench::on_cpu("docker28", Who::Ordinary, "killed");
        // A layer of its own makes an image of its own, and so a mirror of its own.
        bench.write(
            "Dockerfile",
            &format!("FROM gpubay-lab/python\nRUN echo {place}{} > /mark\n", bench.outside().display()),
        );
        let ran = bench.gpubay(&["up"]).env("GPUBAY_FAILPOINT", format!("{place}:abort")).output().expect("started");
        assert!(!ran.status.success(), "{place} was not reached: {}", String::from_utf8_lossy(&ran.stderr));
        let report = bench.up();
        assert_eq!(report["outcome"], "success", "{place}");
        assert_eq!(bench.containers().len(), 1, "{place} left a container behind");
        let output = bench.python(&["-c", "print('alive')"]).output().expect("started");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "alive\n", "{place}");
        let stages = std::fs::read_dir(bench.home.join(".cache/gpubay/mirror")).expect("the mirrors");
        let left: Vec<_> =
            stages.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(".stage")).collect();
        assert!(left.is_empty(), "{place} left {left:?}");
    }
}

#[test]
fn an_error_after_the_container_was_made_takes_it_away_again() {
    let bench = plain(Who::Ordinary, "undone");
    let ran = bench.gpubay(&["up"]).env("GPUBAY_FAILPOINT", "container.started:error").output().expect("started");
    assert!(!ran.status.success());
    assert!(bench.containers().is_empty());
}

#[test]
fn ctrl_c_during_a_build_ends_it() {
    let bench = Bench::on_cpu("docker28", Who::Root, "cancelled");
    let mark = bench.outside().file_name().expect("a name").to_string_lossy().into_owned();
    bench.write("Dockerfile", &format!("FROM gpubay-lab/python\nRUN echo begun-{mark} && sleep 1000\n"));
    let mut command = bench.gpubay(&["up"]);
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().expect("piped")));
    assert!(lines.any(|line| line.expect("text").trim() == format!("begun-{mark}")), "the step never began");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("interrupted");
    drop(lines);
    assert_eq!(child.wait().expect("ended").code(), Some(130));
    assert!(bench.containers().is_empty());
    eventually("the step ends with its build", || {
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        !processes.into_iter().any(|entry| {
            std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
                let text = String::from_utf8_lossy(&line);
                text.contains(&format!("begun-{mark}")) && text.contains("sleep")
            })
        })
    });
}

#[test]
fn ctrl_c_during_an_installation_takes_the_new_container_away() {
    let bench = plain(Who::Ordinary, "interrupted");
    bench.write("slow/setup.py", "import time\nopen('/workspace/begun', 'w').close()\ntime.sleep(1000)\n");
    bench.write("requirements.txt", "/workspace/slow\n");
    bench.write(
        "gpubay.toml",
        "[venv]\nrequirements = [\"requirements.txt\"]\n[container]\nenv = { PIP_NO_BUILD_ISOLATION = \"false\" }\n",
    );
    let mut child = bench.gpubay(&["up"]).stderr(std::process::Stdio::null()).spawn().expect("started");
    eventually("the installation begins", || bench.workspace.join("begun").exists());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .expect("sent");
    assert_eq!(child.wait().expect("ended").code(), Some(130));
    assert!(bench.containers().is_empty());
    bench.write(
        "slow/setup.py",
        "import os\nfrom setuptools import setup\nopen('/workspace/bar', 'w').write(os.environ['PIP_PROGRESS_BAR'])\n\
         setup(name='slow', py_modules=[])\n",
    );
    bench.up();
    // Its bars would be lines of a log.
    assert_eq!(std::fs::read_to_string(bench.workspace.join("bar")).expect("told"), "off");
}

#[test]
fn no_engine_and_no_permission_are_different_sentences() {
    let bench = plain(Who::Ordinary, "nobody");
    let ran = bench.gpubay(&["up"]).env("DOCKER_HOST", "unix:///nonexistent/d.sock").output().expect("started");
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(text.contains("no container engine at unix:///nonexistent/d.sock") && text.contains("next:"), "{text}");
    let closed = bench.outside().join("closed.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&closed).expect("bound");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o600)).expect("closed");
    let host = format!("unix://{}", closed.display());
    let ran = bench.gpubay(&["up"]).env("DOCKER_HOST", host).output().expect("started");
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(text.contains("permission denied"), "{text}");
}

/// R17: device nodes are there, and nothing works. Said with the driver's words, and nothing stays.
#[test]
fn a_driver_that_does_not_fit_leaves_no_container() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "mismatch");
    let smi = "#!/bin/sh\\necho Failed to initialize NVML: Driver/library version mismatch\\nexit 18\\n";
    // Found before the one that the engine injects.
    bench.write(
        "Dockerfile",
        &format!("{PLAIN}RUN printf '{smi}' > /usr/local/bin/nvidia-smi && chmod +x /usr/local/bin/nvidia-smi\n"),
    );
    // A device node that can be opened, as the real ones can.
    let folder = bench.home.join(".config/gpubay");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("config.toml"), "[container]\ndevices = [\"/dev/null:/dev/nvidia0\"]\n")
        .expect("written");
    let ran = bench.run(&["up", "--json"]);
    let error = ran.failed("gpu_driver_mismatch").json()["error"].clone();
    assert!(error["message"].as_str().is_some_and(|said| said.contains("was updated")), "{error}");
    assert!(bench.containers().is_empty());
    assert!(!bench.workspace.join(".venv").exists());
    let cpu = bench.json(&["up", "--gpus", "none"]);
    assert_eq!(cpu["gpu"]["injection"], "none", "{cpu}");
    // One that ends before it was looked at needed none.
    bench.run(&["run", "--gpus", "2", "--", "sleep", "1000"]).failed("driver was updated");
    assert_eq!(bench.containers().len(), 1);
}

/// R15: what a value holds is nobody's business, on none of the ways to a program.
#[test]
fn values_of_the_environment_arrive_as_they_are() {
    for engine in ["docker28", "docker20"] {
        let bench = Bench::on_cpu(engine, Who::Ordinary, "values");
        bench.write(
            "Dockerfile",
            &format!("{PLAIN}ARG LINES\nENV EQUALS=b=c=\nENV EMPTY=\nENV LINES=$LINES\nENV ODD=\"\\$(x) '\\\\ ü\"\n"),
        );
        bench.write(
            "gpubay.toml",
            "[image]\nargs = { LINES = \"a\\nb=c\\n\" }\n[container]\nenv = { OWN = \"x=\\ny\", NONE = \"\" }\n",
        );
        bench.up();
        let names = "EQUALS EMPTY LINES ODD OWN NONE";
        let script = format!("import json, os; print(json.dumps([os.environ.get(n) for n in '{names}'.split()]))");
        let want = serde_json::json!(["b=c=", "", "a\nb=c\n", "$(x) '\\ ü", "x=\ny", ""]);
        let shim = bench.python(&["-c", &script]).output().expect("started");
        for (way, ran) in [
            ("exec", bench.run(&["exec", "--", "python3", "-c", &script])),
            ("exec --root", bench.run(&["exec", "--root", "--", "python3", "-c", &script])),
            ("run", bench.run(&["run", "--", "python3", "-c", &script])),
            ("shim", gpubay_e2e::Ran::of(&shim, &["shim"])),
        ] {
            assert_eq!(ran.succeeded().json(), want, "{way} on {engine}");
        }
    }
}
