//! `direct`: an engine that knows nothing of GPUs gets the driver itself, its device nodes and its libraries.
//!
//! The driver is the lab's fake: harmless devices for nodes, made-up libraries. How they are found, given and found again
//! inside, engine, container and agent are real.

use gpubay_e2e::{Bench, Machine, Who};
use serde_json::{Value, json};

const LIBRARIES: &str = "/usr/local/nvidia/lib64";

fn bench(engine: &str, name: &str) -> (Bench, Machine) {
    let mut bench = Bench::new(engine, Who::Ordinary, name);
    let machine = Machine::of(&mut bench);
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    (bench, machine)
}

#[track_caller]
fn shell(bench: &Bench, command: &str) -> String {
    bench.run(&["exec", "--", "sh", "-c", command]).succeeded().stdout.trim().to_owned()
}

fn indices(report: &Value) -> Vec<u64> {
    let devices = report["gpu"]["devices"].as_array().expect("devices");
    devices.iter().map(|gpu| gpu["index"].as_u64().expect("one")).collect()
}

fn nodes(bench: &Bench) -> Vec<String> {
    shell(bench, "cd /dev; echo nvidia*").split(' ').map(str::to_owned).collect()
}

/// What every engine without a way of its own does.
fn a_day(engine: &str, configured: &str) {
    let (bench, _machine) = bench(engine, "day");
    bench.write("gpubay.toml", configured);
    let up = bench.json(&["up", "--gpus", "device=0"]);
    assert_eq!((&up["gpu"]["injection"], &up["gpu"]["isolation"]), (&json!("direct"), &json!("soft")), "{up:#}");
    assert!(up["gpu"]["reason"].as_str().is_some_and(|why| why.contains("driver 580.65.06")), "{up:#}");
    assert_eq!(indices(&up), [0]);
    assert_eq!(nodes(&bench), ["nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia1", "nvidiactl"], "all are inside");
    assert_eq!(shell(&bench, "nvidia-smi -L | wc -l"), "2");
    assert_eq!(shell(&bench, "echo $CUDA_VISIBLE_DEVICES"), Machine::uuid(0));
    let loader = shell(&bench, "echo $LD_LIBRARY_PATH");
    assert_eq!(loader, LIBRARIES);
    let libraries = shell(&bench, &format!("ls {LIBRARIES}"));
    for name in ["libcuda.so", "libcuda.so.1", "libcuda.so.580.65.06", "libnvidia-ml.so.1", "libnvidia-nvvm.so.4"] {
        assert!(libraries.lines().any(|line| line == name), "{name} is not in {libraries}");
    }
    let root = ["exec", "--root", "--", "sh", "-c", "echo x > /usr/local/nvidia/lib64/libcuda.so.1"];
    assert_ne!(bench.run(&root).code, Some(0), "the driver's files are the machine's");
    // Picked anew: nothing is recreated, and nothing differs.
    let other = bench.json(&["up", "--gpus", "device=1"]);
    assert_eq!((&other["container"]["id"], &other["drift"]), (&up["container"]["id"], &json!([])), "{other:#}");
    assert_eq!(indices(&other), [1]);
    // A job has the one that it asked for: the first GPU's node is the second.
    let job = bench.run(&["run", "--gpus", "device=0", "--", "sh", "-c", "echo /dev/nvidia?; nvidia-smi -L"]);
    let said = &job.succeeded().stdout;
    assert!(said.starts_with("/dev/nvidia1\nGPU 0: ") && said.lines().count() == 2, "{job:?}");
    // Stopped and started again, it is the same one.
    bench.run(&["stop"]).succeeded();
    let again = bench.up();
    assert_eq!((&again["container"]["id"], &again["drift"]), (&up["container"]["id"], &json!([])), "{again:#}");
    assert_eq!(shell(&bench, "nvidia-smi -L | wc -l"), "2");
    bench.run(&["down"]).succeeded();
    assert_eq!(bench.containers(), Vec::<String>::new());
}

#[test]
fn docker_without_a_toolkit_gets_the_driver_itself() {
    a_day("docker20", "");
}

#[test]
fn podman_that_heeds_no_request_gets_the_driver_itself() {
    a_day("podman", "");
}

#[test]
fn an_engine_with_cdi_gets_it_where_that_is_asked_for() {
    a_day("docker28", "[gpus]\ninjection = \"direct\"\n");
}

/// What a rootless Docker gets is not tried: runc binds a node there from the path that it has inside, which on this
/// machine has none.
#[test]
fn a_rootless_engine_gets_what_is_open_to_all() {
    let (bench, _machine) = bench("podman-rootless", "rootless");
    let up = bench.json(&["up", "--gpus", "all"]);
    assert_eq!((&up["gpu"]["injection"], indices(&up)), (&json!("direct"), vec![0, 1]), "{up:#}");
    assert_eq!(shell(&bench, "nvidia-smi -L | wc -l"), "2");
    bench.run(&["down"]).succeeded();
    for engine in ["podman-rootless", "docker28-rootless"] {
        let (bench, machine) = self::bench(engine, "closed");
        machine.node("nvidiactl", 0o660);
        bench.write("gpubay.toml", "[gpus]\ninjection = \"direct\"\n");
        let (code, ran) = bench.error(&["up"]);
        assert!(code == "gpu_no_permission" && ran.stdout.contains("rootless"), "{engine}: {ran:?}");
        assert_eq!(bench.containers(), Vec::<String>::new());
    }
}

/// The loader of an ordinary image finds them, whatever its image, its ENTRYPOINT or its caller say of folders.
#[test]
fn a_python_that_nobody_prepared_finds_them() {
    let (bench, _machine) = bench("docker20", "python");
    let script = "import ctypes; print(ctypes.CDLL('libcuda.so.1').gpubay_fake_cuda())";
    let own = "[container]\nread_only = true\n[jobs.own]\ncommand = [\"sh\", \"-c\", \"echo $LD_LIBRARY_PATH\"]\nenv = { LD_LIBRARY_PATH = \"/opt/job\" }\n";
    bench.write("gpubay.toml", own);
    bench.write("entry.sh", "#!/bin/sh\nexport LD_LIBRARY_PATH=/opt/entry\nexec \"$@\"\n");
    bench.write(
        "Dockerfile",
        "FROM gpubay-lab/python\nENV LD_LIBRARY_PATH=/opt/own NVIDIA_VISIBLE_DEVICES=all\nCOPY entry.sh /entry.sh\n\
         ENTRYPOINT [\"sh\", \"/entry.sh\"]\n",
    );
    bench.up();
    let found = bench.run(&["exec", "--", "python", "-c", script]);
    assert_eq!(found.succeeded().stdout.trim(), "58065");
    assert_eq!(shell(&bench, "echo $LD_LIBRARY_PATH"), format!("/opt/entry:{LIBRARIES}"));
    assert_eq!(shell(&bench, "echo $NVIDIA_VISIBLE_DEVICES"), "void");
    // As the engine's own tool starts it: the image's folder, and the driver's.
    let container = bench.up()["container"]["id"].as_str().expect("an id").to_owned();
    let env = bench.docker(&["exec", &container, "sh", "-c", "echo $LD_LIBRARY_PATH"]);
    assert_eq!(env.succeeded().stdout.trim(), format!("/opt/own:{LIBRARIES}"));
    let job = bench.run(&["run", "--", "python", "-c", script]);
    assert_eq!(job.succeeded().stdout.trim(), "58065");
    bench.write("Dockerfile", "FROM gpubay-lab/python\nENV LD_LIBRARY_PATH=/opt/own\n");
    let job = bench.run(&["run", "own"]);
    assert_eq!(job.succeeded().stdout.trim(), format!("/opt/job:{LIBRARIES}"));
}

#[test]
fn a_driver_that_cannot_be_given_is_said_before_there_is_a_container() {
    let (bench, machine) = bench("docker20", "broken");
    let gone = |name: &str| std::fs::remove_file(machine.path(name)).expect("removed");
    let said = |code: &str, words: &str| {
        bench.write("gpubay.toml", "[gpus]\ninjection = \"direct\"\n");
        let (found, ran) = bench.error(&["up"]);
        assert!(found == code && ran.stdout.contains(words), "{code} {words}: {ran:?}");
        bench.write("gpubay.toml", "[gpus]\nrequired = true\n");
        let (found, ran) = bench.error(&["up"]);
        assert!(found == "gpu_required" && ran.stdout.contains(words), "{words}: {ran:?}");
        assert_eq!(bench.containers(), Vec::<String>::new());
    };
    machine.node("nvidia-uvm", 0o600);
    said("gpu_no_permission", "may not open /dev/nvidia-uvm");
    gone("dev/nvidia-uvm");
    said("gpu_no_nodes", "there is no /dev/nvidia-uvm");
    machine.node("nvidia-uvm", 0o666);
    machine.kernel("590.10");
    said("gpu_driver_mismatch", "the driver in the kernel is 590.10, and its libraries are 580.65.06");
    // That is a problem, and no success.
    let doctor = bench.run(&["doctor", "--json"]).json();
    let finding = doctor["findings"].as_array().expect("findings").iter().find(|one| one["check"] == "gpu");
    let finding = finding.expect("of GPUs");
    assert!(finding["text"].as_str().is_some_and(|text| text.contains("its older part still runs")), "{finding}");
    assert!(finding["text"].as_str().is_some_and(|text| text.contains("Reboot")), "{finding}");
    machine.kernel("580.65.06");
    std::fs::remove_file(machine.library("libcuda.so.580.65.06")).expect("removed");
    said("gpu_no_library", "no libcuda.so.1 of the driver 580.65.06");
    // Who can do without works on the CPU, and is told why.
    bench.write("gpubay.toml", "");
    let up = bench.up();
    assert_eq!(up["gpu"]["injection"], "none");
    assert!(up["gpu"]["reason"].as_str().is_some_and(|why| why.contains("nor can they be given directly")), "{up:#}");
}

#[test]
fn a_gpu_that_is_not_there_or_closed_is_said_and_the_other_one_serves() {
    let (bench, machine) = bench("podman", "closed");
    let (code, ran) = bench.error(&["up", "--gpus", "device=9"]);
    assert_eq!(code, "gpu_unknown", "{ran:?}");
    let (code, ran) = bench.error(&["up", "--gpus", "3"]);
    assert_eq!(code, "gpu_too_many", "{ran:?}");
    machine.node("nvidia1", 0o600);
    let (code, ran) = bench.error(&["up", "--gpus", "device=0"]);
    assert!(code == "gpu_trouble" && ran.stdout.contains("may not open /dev/nvidia1"), "{ran:?}");
    assert_eq!(bench.containers(), Vec::<String>::new());
    let up = bench.up();
    assert_eq!((indices(&up), nodes(&bench).contains(&"nvidia1".to_owned())), (vec![1], false), "{up:#}");
    let gpus = bench.json(&["gpus"]);
    assert_eq!((&gpus["injection"], gpus["devices"].as_array().map(Vec::len)), (&json!("direct"), Some(2)), "{gpus:#}");
    let trouble = gpus["devices"][0]["trouble"].as_str().expect("closed");
    assert!(trouble.contains("may not open /dev/nvidia1") && gpus["devices"][1]["trouble"].is_null(), "{gpus:#}");
    let doctor = bench.json(&["doctor"]);
    let line =
        doctor["findings"].as_array().expect("lines").iter().find(|line| line["check"] == "nodes").expect("said");
    assert!(line["text"].as_str().is_some_and(|text| text.contains("may not open /dev/nvidia1")), "{line}");
    assert!(line["next"].as_str().is_some_and(|next| next.contains("NVreg_DeviceFileMode")), "{line}");
    // Where the driver's library does not answer, its nodes are there all the same.
    machine.driver.tells("init = DRIVER_NOT_LOADED\n");
    let gpus = bench.json(&["gpus"]);
    let listed = gpus["devices"].as_array().expect("devices");
    let named: Vec<_> = listed.iter().map(|gpu| gpu["select"].as_str().expect("a name")).collect();
    assert_eq!(named, ["device=0", "device=1"], "{gpus:#}");
}

/// Nothing is mounted over what the user mounts, and nothing is made in a folder of theirs.
#[test]
fn a_mount_where_the_driver_goes_is_an_error() {
    let (bench, _machine) = bench("docker20", "mounted");
    bench.write("own/keep", "");
    for target in ["/usr/local/nvidia", "/usr/bin/nvidia-smi", "/usr/local"] {
        bench.write("gpubay.toml", &format!("[container]\nmounts = [\"./own:{target}\"]\n"));
        let (code, ran) = bench.error(&["up"]);
        assert!(code == "gpu_mount_in_the_way" && ran.stdout.contains(target), "{target}: {ran:?}");
        assert_eq!(bench.containers(), Vec::<String>::new());
    }
    assert_eq!(std::fs::read_dir(bench.workspace.join("own")).expect("listed").count(), 1);
}

#[test]
fn a_driver_that_was_updated_makes_the_container_anew_or_says_what_is_in_the_way() {
    let (bench, machine) = bench("docker20", "updated");
    let first = bench.up();
    bench.run(&["stop"]).succeeded();
    machine.updated("580.65.06", "590.10");
    machine.kernel("590.10");
    let second = bench.up();
    assert_ne!(first["container"]["id"], second["container"]["id"], "nothing was lost by that: {second:#}");
    assert!(shell(&bench, &format!("ls {LIBRARIES}")).contains("libcuda.so.590.10"));
    // Something of the user's is in it.
    shell(&bench, "echo mine > ~/mine");
    bench.run(&["stop"]).succeeded();
    machine.updated("590.10", "595.20");
    machine.kernel("595.20");
    let (code, ran) = bench.error(&["up"]);
    assert!(code == "gpu_driver_gone" && ran.stdout.contains("590.10") && ran.stdout.contains("--recreate"), "{ran:?}");
    let third = bench.json(&["up", "--recreate"]);
    assert_ne!(third["container"]["id"], second["container"]["id"]);
    let doctor = bench.json(&["doctor"]);
    let findings = doctor["findings"].as_array().expect("findings");
    assert!(
        findings.iter().any(|one| one["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("direct: this machine's driver 595.20"))),
        "{doctor:#}"
    );
}

#[test]
fn the_same_container_by_hand() {
    let (bench, _machine) = bench("docker20", "printed");
    let printed = bench.run(&["up", "--print", "--gpus", "device=0"]);
    let said = &printed.succeeded().stdout;
    for word in
        ["--device=", "/dev/nvidia1:rw", "target=/usr/local/nvidia/lib64/libcuda.so.1,readonly", "LD_LIBRARY_PATH"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(bench.containers(), Vec::<String>::new());
}
