//! What the driver tells of the GPUs, and whose the processes on them are.

use std::io::{BufRead, BufReader, Read};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use gpubay_e2e::{Bench, Driver, Editor, Ran, Terminal, Who, ended, eventually, output, send};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What nobody but its test waits for.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As nobody else's `sleep` on this machine.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    format!("{}{:03}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst))
}

/// `sleep SECONDS`, wherever it runs, as the machine counts. Not every engine can tell it.
fn sleeper(seconds: &str) -> u32 {
    let line = format!("sleep\0{seconds}\0");
    let is_it = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line.as_bytes());
    let mut found = None;
    eventually("it runs", || {
        let all = std::fs::read_dir("/proc").expect("processes").flatten();
        found = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_it);
        found.is_some()
    });
    found.expect("found")
}

fn holder(device: &Value, pid: u32) -> &Value {
    let holders = device["holders"].as_array().expect("holders");
    holders.iter().find(|holder| holder["pid"] == pid).unwrap_or_else(|| panic!("{pid} is not in {device:#}"))
}

#[test]
fn a_gpu_is_listed_with_what_it_does() {
    for who in [Who::Root, Who::Ordinary] {
        let mut bench = Bench::new("docker28", who, "figures");
        let driver = Driver::of(&mut bench, ["memory = 12288 / 24576\nutilization = 97\nmig = off", ""]);
        let report = bench.json(&["gpus"]);
        assert_eq!((&report["driver"], &report["cuda"]), (&json!("580.65.06"), &json!("13.0")), "{report:#}");
        assert_eq!((&report["problem"], &report["other_names"]), (&Value::Null, &json!(["nvidia.com/gpu=all"])));
        let device = &report["devices"][0];
        assert_eq!(device["memory"], json!({ "used": 12_u64 << 30, "total": 24_u64 << 30 }), "{device:#}");
        let figures = ["utilization", "temperature", "power", "power_limit"].map(|name| &device[name]);
        assert_eq!(figures, [&json!(97), &json!(31), &json!(22), &json!(300)]);
        assert_eq!((&device["uuid"], &device["select"]), (&json!(Driver::uuid(0)), &json!(Driver::uuid(0))));
        assert_eq!((&device["cdi"], &device["name"]), (&json!("nvidia.com/gpu=0"), &json!("GPU Bay Fake 24G")));

        let table = bench.run(&["gpus"]);
        let row = table.succeeded().stdout.lines().find(|line| line.starts_with('0')).expect("a row");
        assert!(row.contains("12 / 24 GiB   97 %  31 °C  22 / 300 W  "), "{table:?}");
        // The same without a folder, and on an engine that offers none. Other tests' containers come and go.
        let without_leases = |report: &Value| {
            let mut devices = report["devices"].clone();
            devices.as_array_mut().expect("devices").iter_mut().for_each(|device| device["leases"] = Value::Null);
            devices
        };
        assert_eq!(without_leases(&bench.json(&["gpus", "-C", "/nonexistent"])), without_leases(&report));
        let mut other = Bench::new("docker20", who, "none");
        other.env.clone_from(&bench.env);
        let none = other.json(&["gpus"]);
        assert_eq!((&none["injection"], none["devices"].as_array().map(Vec::len)), (&json!("none"), Some(2)));
        drop(driver);
    }
}

#[test]
fn who_holds_a_gpu_is_found() {
    for engine in ["docker28", "docker28-rootless", "podman", "podman-rootless"] {
        let mut bench = Bench::new(engine, if engine == "podman" { Who::Root } else { Who::Ordinary }, "held");
        bench.write("Dockerfile", "FROM gpubay-lab/python\n");
        let (first, second) = (unique(), unique());
        bench.run(&["run", "--detach", "--gpus", "none", "--name", "train", "--", "sleep", &first]).succeeded();
        let job = sleeper(&first);
        let outside = Ends(bench.command("sleep").arg("1000").spawn().expect("started"));
        let foreign = bench.docker(&["run", "--detach", "--rm", "gpubay-lab/python", "sleep", &second]);
        let foreign = foreign.succeeded().stdout.trim().to_owned();
        let stranger = sleeper(&second);
        let name = bench.inspect(&foreign)["Name"].as_str().expect("a name").trim_start_matches('/').to_owned();
        let processes = format!(
            "process = {job} 2048\nprocess = {} 4096\ngraphics = {stranger} 100\nprocess = 4194303 1",
            outside.0.id()
        );
        let driver = Driver::of(&mut bench, ["", &processes]);
        let report = bench.json(&["gpus"]);
        bench.docker(&["rm", "-f", &foreign]).succeeded();
        let device = &report["devices"][1];
        assert_eq!(report["devices"][0]["holders"], json!([]), "{engine}");
        let found = holder(device, job);
        let folder = bench.workspace.canonicalize().expect("there");
        assert_eq!((&found["workspace"], &found["job"]), (&json!(folder), &json!("train")), "{engine}: {found:#}");
        assert_eq!((&found["program"], &found["memory"]), (&json!("sleep"), &json!(2_u64 << 30)));
        let user = if bench.who == Who::Root { "root" } else { gpubay_e2e::lab().user.as_str() };
        assert_eq!(found["user"], user, "{engine}: whoever it is inside");
        assert!(found["since"].as_str().is_some_and(|since| since.starts_with("20") && since.ends_with('Z')));
        let found = holder(device, outside.0.id());
        assert_eq!([&found["container"], &found["workspace"]], [&Value::Null; 2], "{engine}: {found:#}");
        assert_eq!(found["user"], user);
        let found = holder(device, stranger);
        assert_eq!((&found["container"], &found["workspace"]), (&json!(name), &Value::Null), "{engine}");
        // It ended a moment ago, or is none of this machine's.
        assert_eq!(holder(device, 4_194_303)["program"], Value::Null);
        let order: Vec<&Value> = device["holders"].as_array().expect("some").iter().map(|h| &h["pid"]).collect();
        assert_eq!(order[..2], [&json!(outside.0.id()), &json!(job)], "the one with the most memory first");

        let table = bench.run(&["gpus"]);
        assert!(table.succeeded().stdout.contains(&format!("{user}: job train of held, sleep ({job}), 2 GiB, for ")));
        drop(driver);
    }
}

#[test]
fn a_dev_container_and_another_engines_container_hold_gpus_too() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "dev");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.up();
    let (first, second) = (unique(), unique());
    let command = ["exec", "--", "sleep", &first];
    let _running = Ends(bench.gpubay(&command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started"));
    let inside = sleeper(&first);
    let other = Bench::new("docker20", Who::Root, "other");
    let foreign = other.docker(&["run", "--detach", "--rm", "gpubay-lab/python", "sleep", &second]);
    let foreign = foreign.succeeded().stdout.trim().to_owned();
    let stranger = sleeper(&second);
    let driver = Driver::of(&mut bench, [&format!("process = {inside} 9\nprocess = {stranger} 9"), ""]);
    let report = bench.json(&["gpus"]);
    other.docker(&["rm", "-f", &foreign]).succeeded();
    let found = holder(&report["devices"][0], inside);
    assert!(found["workspace"].is_string() && found["job"].is_null(), "{found:#}");
    // By the short id, as its own engine shows it.
    assert_eq!(holder(&report["devices"][0], stranger)["container"], foreign[..12]);
    drop(driver);
}

#[test]
fn who_has_the_memory_is_said_where_there_is_too_little() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "memory");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    let outside = Ends(bench.command("sleep").arg("1000").spawn().expect("started"));
    let more = format!("memory = 20000 / 24576\nprocess = {} 19456", outside.0.id());
    let _driver = Driver::of(&mut bench, [&more, ""]);
    let wish = "count=2,min_free=10g";
    let want =
        format!("memory is held: sleep ({}, {}) holds 19.0 GiB of GPU 0", outside.0.id(), gpubay_e2e::lab().user);
    // Before there is a container, and where one runs with all of them.
    for _ in 0..2 {
        let (code, ran) = bench.error(&["up", "--gpus", wish]);
        assert!(code == "gpu_too_few" && ran.stdout.contains(&want), "{ran:?}");
        assert!(ran.stdout.contains("is asked for, and 1 of 2 GPUs is like that: GPU 0 has "), "{ran:?}");
        bench.up();
    }
    let (code, ran) = bench.error(&["run", "--gpus", wish, "true"]);
    assert!(code == "gpu_too_few" && ran.stdout.contains(&want), "{ran:?}");
}

#[test]
fn what_is_wrong_with_a_driver_is_said_with_the_next_step() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "lack");
    let driver = Driver::of(&mut bench, ["", ""]);
    for (error, said, next) in [
        ("DRIVER_NOT_LOADED", "installed and not loaded", "modprobe"),
        ("LIB_RM_VERSION_MISMATCH", "was updated", "Reboot"),
        ("NO_PERMISSION", "does not answer this user", "/dev/nvidiactl"),
        ("UNKNOWN", "an internal driver error", "dmesg"),
    ] {
        for when in ["init", "every"] {
            driver.tells(&format!("{when} = {error}\n{}{}", Driver::gpu(0, ""), Driver::gpu(1, "")));
            let report = bench.json(&["gpus"]);
            let problem = report["problem"].as_str().unwrap_or_else(|| panic!("{when} {error}: {report:#}"));
            assert!(problem.contains(said) && problem.contains(next), "{when} {error}: {problem}");
            assert_eq!(report["devices"].as_array().map(Vec::len), Some(2), "the engine's are listed all the same");
            assert!(bench.run(&["gpus"]).succeeded().stdout.contains(said));
        }
    }
    // Also by who looks for what is in the way.
    let doctor = bench.run(&["doctor", "--json"]).json();
    let line = doctor["findings"].as_array().expect("lines").iter().find(|line| line["check"] == "driver");
    assert!(line.is_some_and(|line| line["verdict"] == "warning" && line["next"].is_string()), "{doctor:#}");
    driver.tells("");
    assert!(bench.json(&["gpus"])["problem"].as_str().is_some_and(|problem| problem.contains("has no GPU")));
    // A library of another machine.
    std::fs::write(bench.outside().join("libnvidia-ml.so.1"), "no library").expect("written");
    bench.env[0].1 = bench.outside().to_owned();
    let problem = bench.json(&["gpus"])["problem"].clone();
    assert!(problem.as_str().is_some_and(|problem| problem.contains("cannot be loaded")), "{problem}");
    bench.env.clear();
    let problem = bench.json(&["gpus"])["problem"].clone();
    assert!(problem.as_str().is_some_and(|problem| problem.contains("no NVIDIA driver")), "{problem}");
}

#[test]
fn what_is_wrong_with_one_gpu_is_said_of_that_one() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "ill");
    let driver = Driver::of(&mut bench, ["", ""]);
    for (more, said) in [
        ("error = GPU_IS_LOST", "it is lost"),
        ("error handle = GPU_IS_LOST", "it is lost"),
        ("error memory = UNKNOWN", "unknown error"),
        ("error temperature = GPU_IS_LOST", "it is lost"),
        ("error utilization = RESET_REQUIRED", "nvidia-smi --gpu-reset -i 1"),
        ("error handle = NO_PERMISSION", "/dev/nvidia1"),
        ("error uuid = INVALID_ARGUMENT", "being changed"),
        ("mig = on", "has no slice"),
    ] {
        driver.tells(&format!("{}{}", Driver::gpu(0, ""), Driver::gpu(1, more)));
        let report = bench.json(&["gpus"]);
        let [well, ill] = [&report["devices"][0], &report["devices"][1]];
        assert_eq!((&well["trouble"], &well["temperature"]), (&Value::Null, &json!(31)), "{more}");
        assert_eq!(ill["cdi"], "nvidia.com/gpu=1", "{more}: {report:#}");
        assert!(ill["trouble"].as_str().is_some_and(|trouble| trouble.contains(said)), "{more}: {ill:#}");
        let table = bench.run(&["gpus"]);
        assert!(table.succeeded().stdout.contains("\nGPU 1: ") && table.stdout.contains(said), "{table:?}");
    }
    // With none that could be used, that is not well.
    let lost = "error = GPU_IS_LOST";
    driver.tells(&format!("{}{}", Driver::gpu(0, lost), Driver::gpu(1, lost)));
    let doctor = bench.run(&["doctor", "--json"]).json();
    let line =
        doctor["findings"].as_array().expect("lines").iter().find(|line| line["check"] == "gpu").expect("of GPUs");
    assert!(
        line["verdict"] == "warning" && line["text"].as_str().is_some_and(|text| text.contains("none of the GPUs")),
        "{line}"
    );
    // One that the engine's specification has, and the driver has not.
    driver.tells(&Driver::gpu(0, ""));
    let doctor = bench.run(&["doctor", "--json"]).json();
    let mut lines = doctor["findings"].as_array().expect("lines").iter().filter(|line| line["check"] == "gpu");
    assert!(
        lines.any(|line| line["text"].as_str().is_some_and(|text| text.contains("GPU 1: the driver has no such"))),
        "{doctor:#}"
    );
    // What some GPUs do not tell is no trouble.
    let little = ["utilization", "temperature", "power", "limit", "memory", "processes"];
    let little: Vec<String> = little.iter().map(|name| format!("error {name} = NOT_SUPPORTED")).collect();
    driver.tells(&format!("{}{}", Driver::gpu(0, ""), Driver::gpu(1, &little.join("\n"))));
    let device = bench.json(&["gpus"])["devices"][1].clone();
    for name in ["trouble", "memory", "utilization", "temperature", "power"] {
        assert_eq!(device[name], Value::Null, "{device:#}");
    }
}

#[test]
fn a_divided_gpu_is_listed_by_its_slices() {
    let mut bench = Bench::new("docker20", Who::Ordinary, "slices");
    let outside = Ends(bench.command("sleep").arg("1000").spawn().expect("started"));
    let slices = format!(
        "mig = on\n\
         [slice]\nuuid = MIG-a\nname = NVIDIA H100 MIG 1g.10gb\nmemory = 12 / 9856\nprocess = {} 10\n\
         [slice]\nindex = 3\nuuid = MIG-b\nname = NVIDIA H100\nmemory = 12 / 20096\nslices = 1 / 2\n\
         [slice]\nuuid = MIG-c\nerror = INVALID_ARGUMENT",
        outside.0.id()
    );
    let driver = Driver::of(&mut bench, ["mig = off, on", &slices]);
    let report = bench.json(&["gpus"]);
    let listed: Vec<[&Value; 4]> = report["devices"]
        .as_array()
        .expect("devices")
        .iter()
        .map(|device| [&device["select"], &device["index"], &device["slice"], &device["profile"]])
        .collect();
    let whole = Driver::uuid(0);
    assert_eq!(
        json!(listed),
        json!([[whole, 0, null, null], ["MIG-a", 1, 0, "1g.10gb"], ["MIG-b", 1, 3, "1c.2g.20gb"]]),
        "{report:#}"
    );
    let slice = &report["devices"][1];
    assert_eq!(slice["memory"], json!({ "used": 12_u64 << 20, "total": 9856_u64 << 20 }));
    assert_eq!(holder(slice, outside.0.id())["memory"], 10 << 20);
    assert_eq!((&slice["utilization"], &slice["trouble"]), (&Value::Null, &Value::Null));
    let problem = report["problem"].as_str().expect("a switch is under way");
    assert!(problem.starts_with("GPU 0 is to be divided (MIG). That waits for a reset: "), "{problem}");
    assert!(bench.run(&["gpus"]).succeeded().stdout.contains("\n1:3  GPU Bay Fake 24G 1c.2g.20gb  "));
    drop(driver);
}

#[test]
fn half_an_update_of_the_driver_is_said_by_who_wants_a_gpu() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "half");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    let driver = Driver::of(&mut bench, ["", ""]);
    driver.tells("init = LIB_RM_VERSION_MISMATCH");
    for args in [&["up", "--gpus", "1"][..], &["up", "--gpus", "device=0"], &["run", "--gpus", "1", "--", "true"]] {
        let (code, ran) = bench.error(args);
        assert_eq!(code, "gpu_driver_mismatch", "{args:?}");
        let error = &ran.json()["error"];
        assert!(
            error["message"].as_str().is_some_and(|said| said.contains("was updated, and its older part")),
            "{error}"
        );
        assert!(error["hint"].as_str().is_some_and(|next| next.starts_with("Reboot")), "{error}");
        assert_eq!(bench.containers(), Vec::<String>::new(), "{args:?}");
    }
    // Who can do without works on the CPU, and is told why.
    let up = bench.up();
    assert_eq!(up["gpu"]["injection"], "none", "{up:#}");
    assert!(up["gpu"]["reason"].as_str().is_some_and(|why| why.contains("was updated")), "{up:#}");
    let ran = bench.run(&["run", "--", "true"]);
    assert!(ran.succeeded().stderr.contains("work is done on the CPU: the NVIDIA driver was updated"), "{ran:?}");
    // Also where only the container's own program says it.
    driver.tells(&format!("{}{}", Driver::gpu(0, ""), Driver::gpu(1, "")));
    let says = |words: &str| {
        let program = format!(
            "printf '#!/bin/sh\\necho \"Failed to initialize NVML: {words}\"; exit 4\\n' > /usr/local/bin/nvidia-smi"
        );
        bench.write(
            "Dockerfile",
            &format!("FROM gpubay-lab/python\nRUN {program} && chmod +x /usr/local/bin/nvidia-smi\n"),
        );
        bench.run(&["down", "--force"]).succeeded();
        bench.error(&["up"])
    };
    assert_eq!(says("Driver/library version mismatch").0, "gpu_driver_mismatch");
    // Nodes that its user may not open.
    let (code, ran) = says("Insufficient Permissions");
    assert_eq!(code, "gpu_no_permission");
    let hint = ran.json()["error"]["hint"].clone();
    assert!(hint.as_str().is_some_and(|hint| hint.contains("ls -l /dev/nvidia*")), "{hint}");
    assert!(ran.stdout.contains("its user may not open them"), "{ran:?}");
}

/// An engine's socket under an address, as if it were another machine's.
fn relayed(bench: &Bench) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound").to_string();
    let socket = bench.socket.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let there = UnixStream::connect(&socket).expect("the engine");
            let here = stream.expect("a connection");
            let (mut from, mut to) = (here.try_clone().expect("cloned"), there.try_clone().expect("cloned"));
            std::thread::spawn(move || (std::io::copy(&mut from, &mut to).ok(), to.shutdown(Shutdown::Write)));
            let (mut from, mut to) = (there, here);
            std::thread::spawn(move || (std::io::copy(&mut from, &mut to).ok(), to.shutdown(Shutdown::Write)));
        }
    });
    address
}

#[test]
fn the_driver_of_another_machine_is_asked_there() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "elsewhere");
    // What is here says nothing of the GPUs there.
    let driver = Driver::of(&mut bench, ["memory = 12288 / 24576\nutilization = 97", ""]);
    let address = relayed(&bench);
    let there = |args: &[&str]| {
        let mut command = bench.gpubay(args);
        command.env("DOCKER_HOST", format!("tcp://{address}"));
        command
    };
    for args in [vec!["gpus", "--json"], vec!["gpus", "--json", "-C", "/nonexistent"]] {
        let ran = Ran::of(&output(&mut there(&args)), &args);
        let report = ran.succeeded().json();
        assert_eq!((&report["driver"], &report["cuda"]), (&json!("580.65.06"), &json!("13.0")), "{report:#}");
        assert_eq!(report["problem"], Value::Null);
        let device = &report["devices"][1];
        assert_eq!(device["memory"], json!({ "used": 640_u64 << 20, "total": 24_u64 << 30 }), "{device:#}");
        let figures = ["utilization", "temperature", "power", "power_limit"].map(|name| &device[name]);
        assert_eq!(figures, [&json!(11), &json!(41), &json!(33), &json!(300)]);
        assert_eq!((&device["uuid"], &device["cdi"]), (&json!(Driver::uuid(1)), &json!("nvidia.com/gpu=1")));
        assert_eq!(device["holders"], json!([]), "processes there are none of this machine's");
    }
    assert_eq!(bench.containers(), Vec::<String>::new());

    // Its UUIDs are known, so that the environment can select; and what is selected is judged by what is there.
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    let args = ["up", "--json", "--gpus", "count=2,min_free=20g"];
    let report = Ran::of(&output(&mut there(&args)), &args).succeeded().json();
    assert_eq!(
        (&report["gpu"]["isolation"], &report["gpu"]["injection"]),
        (&json!("soft"), &json!("cdi")),
        "{report:#}"
    );
    let args = ["run", "--json", "--gpus", "min_free=30g", "--", "true"];
    Ran::of(&output(&mut there(&args)), &args).failed("gpu_too_few");
    let doctor = Ran::of(&output(&mut there(&["doctor", "--json"])), &["doctor"]).json();
    let line = doctor["findings"].as_array().expect("lines").iter().find(|line| line["check"] == "driver");
    assert_eq!(line.expect("a line")["text"], "580.65.06, CUDA up to 13.0, 2 GPUs", "{doctor:#}");
    bench.run(&["down", "--force"]).succeeded();

    // One container for as long as somebody looks, whatever else is done meanwhile, and none when they are killed.
    let mut looks = Ends(there(&["gpus", "--watch", "--json"]).stdout(Stdio::piped()).spawn().expect("started"));
    let mut lines = BufReader::new(looks.0.stdout.take().expect("piped")).lines();
    lines.next().expect("a line").expect("text");
    let helpers = || {
        let folder = bench.workspace.canonicalize().expect("there");
        let filter = format!("label=gpubay.workspace={}", folder.display());
        let listed = bench.docker(&["ps", "-a", "--filter", &filter, "--filter", "label=gpubay.role=helper", "-q"]);
        listed.succeeded().stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let first = helpers();
    assert_eq!(first.len(), 1, "{first:?}");
    let args = ["up", "--gpus", "none"];
    Ran::of(&output(&mut there(&args)), &args).succeeded();
    let left = bench.json(&["prune", "--dry-run"]);
    assert!(!left.to_string().contains("gpubay-helper"), "{left:#}");
    assert_eq!(helpers(), first);
    let made = bench.inspect(&first[0]);
    let host = &made["HostConfig"];
    assert_eq!((&host["NetworkMode"], &host["CapDrop"]), (&json!("none"), &json!(["ALL"])), "{host:#}");
    assert_eq!((made["Mounts"].as_array().map(Vec::len), &host["PidMode"]), (Some(0), &json!("")));
    gpubay_e2e::kill(&mut looks.0);
    eventually("its container goes with who looked", || helpers().is_empty());

    let bare = Bench::new("docker20", Who::Ordinary, "nothing");
    let mut command = bare.gpubay(&["gpus", "--json"]);
    command.env("DOCKER_HOST", format!("tcp://{}", relayed(&bare)));
    let report = Ran::of(&output(&mut command), &["gpus"]).succeeded().json();
    let problem = report["problem"].as_str().expect("said");
    assert!(problem.contains("another machine's") && problem.contains("offers no GPU"), "{problem}");
    drop(driver);
}

#[test]
fn a_watch_tells_what_changes_and_nothing_else() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "watch");
    let driver = Driver::of(&mut bench, ["", ""]);
    let mut child = bench.gpubay(&["gpus", "--watch", "--json"]);
    let mut child = Ends(child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started"));
    let mut lines = BufReader::new(child.0.stdout.take().expect("piped")).lines();
    let mut next =
        || -> Value { serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("an object") };
    let first = next();
    gpubay_e2e::as_published("gpus", &first);
    assert_eq!(first["devices"][1]["memory"]["used"], 576_u64 << 20);
    driver.tells(&format!("{}{}", Driver::gpu(0, ""), Driver::gpu(1, "memory = 9000 / 24576\nutilization = 80")));
    // Other tests' containers come and go, and are told.
    let mut until = |wanted: &dyn Fn(&Value) -> bool| while !wanted(&next()) {};
    until(&|told| told["devices"][1]["memory"]["used"] == 9000_u64 << 20);
    // The driver is updated under it, and comes back.
    driver.tells("init = LIB_RM_VERSION_MISMATCH\nevery = LIB_RM_VERSION_MISMATCH");
    until(&|told| told["problem"].as_str().is_some_and(|problem| problem.contains("was updated")));
    driver.tells(&format!("{}{}", Driver::gpu(0, ""), Driver::gpu(1, "")));
    until(&|told| told["problem"].is_null());
    send(&child.0, Signal::INT);
    assert_eq!(ended(&mut child.0).code(), Some(130));
    until(&|told| told["error"]["code"] == "cancelled");

    // Who ends it knows it.
    let mut child = bench.gpubay(&["gpus", "--watch"]);
    let mut child = Ends(child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started"));
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    send(&child.0, Signal::INT);
    assert_eq!(ended(&mut child.0).code(), Some(130));
    let mut said = String::new();
    child.0.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(said, "");

    // Who reads no more ends it, too.
    let mut child = bench.gpubay(&["gpus", "--watch", "--json"]);
    let mut child = Ends(child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started"));
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert_eq!(ended(&mut child.0).code(), Some(0));

    let mut terminal = Terminal::start(&bench, &["gpus", "--watch"], &[]);
    assert!(terminal.read_until("HELD BY").contains("\x1b[H\x1b[2J"));
    driver.tells(&format!("{}{}", Driver::gpu(0, "utilization = 55"), Driver::gpu(1, "")));
    terminal.read_until("55 %");
    terminal.write("\x03");
    assert_eq!(terminal.end().1, Some(130));
}

#[test]
fn an_editor_is_told_of_gpus_as_long_as_it_looks() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "looks");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    let driver = Driver::of(&mut bench, ["", ""]);
    let mut editor = Editor::of(&bench);
    let folder = bench.workspace.to_str().expect("text").to_owned();
    let watch = |editor: &mut Editor, watch: bool| {
        editor.request("gpubay/watchGpus", json!({ "folder": folder, "watch": watch })).expect("answered")
    };
    let gpus = |editor: &mut Editor, what: &str| {
        let told = editor.wait(what, |message| message["method"] == "gpubay/gpus");
        assert_eq!(told["params"]["folder"], folder);
        told["params"]["report"].clone()
    };
    assert_eq!(watch(&mut editor, true), Value::Null);
    let first = gpus(&mut editor, "how they are now");
    assert_eq!(first["devices"][0]["memory"]["used"], 576_u64 << 20);
    // Who asks again is told again.
    watch(&mut editor, true);
    assert_eq!(gpus(&mut editor, "the same"), first);
    driver.tells(&format!("{}{}", Driver::gpu(0, "memory = 8000 / 24576"), Driver::gpu(1, "")));
    assert_eq!(gpus(&mut editor, "what changed")["devices"][0]["memory"]["used"], 8000_u64 << 20);

    // While somebody looks the driver's library is in use, and not a moment longer.
    let mapped = |editor: &Editor| {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", editor.child.id())).expect("its memory");
        maps.contains("libnvidia-ml")
    };
    assert!(mapped(&editor));
    watch(&mut editor, false);
    eventually("the library is let go", || !mapped(&editor));
    assert_eq!(editor.told("gpubay/gpus"), Vec::<Value>::new());
    // What was asked last counts, however close it comes.
    let asked: Vec<i64> = [true, false]
        .repeat(10)
        .into_iter()
        .map(|watch| editor.ask("gpubay/watchGpus", json!({ "folder": folder, "watch": watch })))
        .collect();
    for id in asked {
        editor.answer(id).expect("answered");
    }
    eventually("the library is let go", || !mapped(&editor));
    editor.forget();
    let (code, _) = editor.failure("gpubay/watchGpus", json!({ "folder": "/nonexistent", "watch": true }));
    assert_eq!(code, "unknown_folder");
    // A window that is not trusted any more asks nobody.
    watch(&mut editor, true);
    gpus(&mut editor, "again");
    editor.notify("gpubay/trust", json!({ "trusted": false }));
    eventually("the library is let go", || !mapped(&editor));
}
