//! Every key of `[container]`, as the engine's own `inspect` sees what became of it.

use std::collections::BTreeSet;
use std::process::Stdio;

use gpubay_e2e::{Bench, Ran, Who};
use serde_json::{Value, json};

/// An entrypoint, so that `entrypoint` has something to decide, and no Python, which no key here needs.
const DOCKERFILE: &str = "FROM gpubay-lab/busybox\nENTRYPOINT [\"/bin/env\", \"LEARNED=yes\"]\n";

/// A key, what `inspect` shows of it, and what it should.
type Row = (&'static str, Value, Value);

fn keys_of_the_schema(bench: &Bench) -> BTreeSet<String> {
    let ran = bench.run(&["schema"]);
    let schema = ran.succeeded().json();
    let properties = schema["$defs"]["Container"]["properties"].as_object().expect("the keys of [container]");
    properties.keys().cloned().collect()
}

/// Those of `list` that `wanted` names, so that what else is there does not matter.
fn among(list: &Value, wanted: &[&str]) -> Value {
    let has = |one: &&&str| list.as_array().is_some_and(|list| list.contains(&json!(one)));
    json!(wanted.iter().filter(has).collect::<Vec<_>>())
}

/// The mount on `target`: type, source or volume, writable.
fn mount(found: &Value, target: &str) -> Value {
    let mounts = found["Mounts"].as_array().expect("mounts");
    let mount = mounts.iter().find(|mount| mount["Destination"] == target);
    mount.map_or(Value::Null, |mount| {
        let source = if mount["Type"] == "bind" { &mount["Source"] } else { &mount["Name"] };
        json!([mount["Type"], source, mount["RW"]])
    })
}

/// Takes away what `Bench` does not know of.
struct Removed<'a> {
    bench: &'a Bench,
    container: String,
    volumes: Vec<String>,
}

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        for container in self.bench.containers() {
            self.bench.docker(&["rm", "-fv", &container]);
        }
        self.bench.docker(&["rm", "-fv", &self.container]);
        for volume in &self.volumes {
            self.bench.docker(&["volume", "rm", "-f", volume]);
        }
    }
}

/// `up` with every power that is asked for: the tests of consent are elsewhere.
#[track_caller]
fn up_allowed(bench: &Bench, powers: &[&str]) -> Value {
    let mut args = vec!["up"];
    for power in powers {
        args.extend(["--allow", power]);
    }
    bench.json(&args)
}

fn ordinary_keys(bench: &Bench, unique: &str, open_port: u16) -> Vec<Row> {
    let data = bench.outside().join("data").canonicalize().expect("there");
    let data = data.to_str().expect("text");
    let (other, volume) = (format!("other-{unique}"), format!("volume-{unique}"));
    let uid = bench.uid();
    let port = open_port + 100;
    bench.write("vars.env", "FROM_FILE=1\nBOTH=file\n");
    bench.write(
        "gpubay.toml",
        &format!(
            r#"
[container]
workdir = "/app"
mounts = ["{data}:/data:ro", "{volume}:/scratch"]
user = "host"
entrypoint = "none"
shm_size = "48m"
env = {{ BOTH = "env", WEIRD = "b=c $(x) 'q'", EMPTY = "" }}
env_file = "vars.env"
ports = ["{port}", "0.0.0.0:{open_port}:7/udp"]
cache = "workspace"
persist = ["~/.kept"]
cpus = 0.5
memory = "96m"
network = "bridge"
restart = "on-failure:3"
name = "named-{unique}"
hostname = "box"
ipc = "shareable"
dns = ["9.9.9.9"]
extra_hosts = ["registry:10.0.0.1"]
cap_add = ["SYS_PTRACE"]
cap_drop = ["NET_RAW"]
devices = ["/dev/null:/dev/extra:rw"]
security_opt = ["no-new-privileges"]
ulimits = ["nofile=1000:2000", "memlock=4096"]
cpuset = "0"
cpu_shares = 512
group_add = ["4242"]
init = false
volumes_from = ["{other}"]
labels = {{ team = "vision" }}
timezone = "Europe/Berlin"
docker_args = ["--pids-limit=200", "--tmpfs", "/quick:size=1m", "--stop-timeout=7", "--ulimit", "core=0"]
"#
        ),
    );
    let mount_power = format!("mount:{data}:/data:ro");
    let volume_power = format!("volume:{volume}:/scratch");
    let volumes_power = format!("volumes_from:{other}");
    let port_power = format!("port:0.0.0.0:{open_port}:7/udp");
    let powers = [
        mount_power.as_str(),
        volume_power.as_str(),
        volumes_power.as_str(),
        "restart:on-failure",
        port_power.as_str(),
        "cap_add:SYS_PTRACE",
        "device:/dev/null:/dev/extra:rw",
        "security_opt:no-new-privileges",
        "group_add:4242",
    ];
    let report = up_allowed(bench, &powers);
    let name = format!("named-{unique}");
    let found = bench.inspect(&name);
    let (config, host) = (&found["Config"], &found["HostConfig"]);
    let id8 = &config["Labels"]["gpubay.id"].as_str().expect("an identity")[..8];
    let own = |suffix: &str| format!("gpubay-options-{id8}-{suffix}");
    let mut variables = config["Env"].as_array().expect("variables").iter();
    let home = variables.find_map(|variable| variable.as_str()?.strip_prefix("HOME=")).expect("a home").to_owned();
    let limits = host["Ulimits"].as_array().expect("limits");
    let limit = |name: &str| {
        let limit = limits.iter().find(|limit| limit["Name"] == name).expect("the limit");
        json!([limit["Soft"], limit["Hard"]])
    };
    let folder = bench.workspace.canonicalize().expect("there");
    let bindings = &host["PortBindings"];
    let rows = vec![
        ("workdir", config["WorkingDir"].clone(), json!("/app")),
        ("workdir", mount(&found, "/app"), json!(["bind", folder, true])),
        ("mounts", mount(&found, "/data"), json!(["bind", data, false])),
        ("mounts", mount(&found, "/scratch"), json!(["volume", volume, true])),
        ("user", config["User"].clone(), json!(format!("{uid}:{}", bench.gid()))),
        ("entrypoint", json!(config["Cmd"].to_string().contains("entrypoint")), json!(false)),
        ("shm_size", host["ShmSize"].clone(), json!(48 << 20)),
        ("env", among(&config["Env"], &["WEIRD=b=c $(x) 'q'", "EMPTY="]), json!(["WEIRD=b=c $(x) 'q'", "EMPTY="])),
        ("env_file", among(&config["Env"], &["FROM_FILE=1", "BOTH=env"]), json!(["FROM_FILE=1", "BOTH=env"])),
        ("ports", bindings[format!("{port}/tcp")][0]["HostIp"].clone(), json!("127.0.0.1")),
        ("ports", bindings["7/udp"][0]["HostIp"].clone(), json!("0.0.0.0")),
        ("cache", mount(&found, &format!("{home}/.cache")), json!(["volume", own("cache"), true])),
        ("persist", mount(&found, &format!("{home}/.kept")), json!(["volume", own("kept"), true])),
        ("persist", mount(&found, &format!("{home}/.config")), Value::Null),
        ("cpus", host["NanoCpus"].clone(), json!(500_000_000)),
        ("memory", host["Memory"].clone(), json!(96 << 20)),
        ("network", host["NetworkMode"].clone(), json!("bridge")),
        ("restart", host["RestartPolicy"].clone(), json!({ "Name": "on-failure", "MaximumRetryCount": 3 })),
        ("name", report["container"]["name"].clone(), json!(name)),
        ("hostname", config["Hostname"].clone(), json!("box")),
        ("ipc", host["IpcMode"].clone(), json!("shareable")),
        ("dns", host["Dns"].clone(), json!(["9.9.9.9"])),
        ("extra_hosts", host["ExtraHosts"].clone(), json!(["registry:10.0.0.1"])),
        ("cap_add", json!(host["CapAdd"].to_string().replace("CAP_", "")), json!("[\"SYS_PTRACE\"]")),
        ("cap_drop", json!(host["CapDrop"].to_string().replace("CAP_", "")), json!("[\"NET_RAW\"]")),
        (
            "devices",
            host["Devices"].clone(),
            json!([{ "PathOnHost": "/dev/null", "PathInContainer": "/dev/extra", "CgroupPermissions": "rw" }]),
        ),
        ("security_opt", host["SecurityOpt"].clone(), json!(["no-new-privileges"])),
        ("ulimits", limit("nofile"), json!([1000, 2000])),
        ("ulimits", limit("memlock"), json!([4096, 4096])),
        ("cpuset", host["CpusetCpus"].clone(), json!("0")),
        ("cpu_shares", host["CpuShares"].clone(), json!(512)),
        ("group_add", among(&host["GroupAdd"], &["4242"]), json!(["4242"])),
        ("init", host["Init"].clone(), json!(false)),
        ("volumes_from", host["VolumesFrom"].clone(), json!([other])),
        ("volumes_from", json!(mount(&found, "/from")[0]), json!("volume")),
        ("labels", config["Labels"]["team"].clone(), json!("vision")),
        ("timezone", among(&config["Env"], &["TZ=Europe/Berlin"]), json!(["TZ=Europe/Berlin"])),
        ("docker_args", host["PidsLimit"].clone(), json!(200)),
        ("docker_args", host["Tmpfs"]["/quick"].clone(), json!("size=1m")),
        ("docker_args", config["StopTimeout"].clone(), json!(7)),
        ("docker_args", limit("core"), json!([0, 0])),
    ];
    a_job_has_the_same(bench, &found);
    the_printed_command_makes_the_same(bench, &found);
    rows
}

/// A job is made from the same options, but publishes no port and is not started again.
fn a_job_has_the_same(bench: &Bench, dev: &Value) {
    bench.run(&["run", "--detach", "--name", "same", "--", "sleep", "1000"]).succeeded();
    let rows = bench.json(&["ps"]);
    let rows = rows["containers"].as_array().expect("rows").clone();
    let id = rows.iter().find(|row| row["job"] == "same").and_then(|row| row["id"].as_str()).expect("the job");
    let job = bench.inspect(id);
    for (key, value) in dev["HostConfig"].as_object().expect("options") {
        let got = &job["HostConfig"][key];
        match key.as_str() {
            "PortBindings" => assert!(got.as_object().is_none_or(serde_json::Map::is_empty), "{got}"),
            "RestartPolicy" => assert_eq!(got["Name"], "no"),
            // Its run folder is its own.
            "Mounts" => assert_eq!(got.as_array().map(Vec::len), value.as_array().map(Vec::len)),
            _ => assert_eq!(got, value, "{key}"),
        }
    }
}

/// The same whichever way it is written: unset and empty, a list in another order, a capability with its prefix.
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(list) if !list.is_empty() => {
            let mut list: Vec<Value> = list.iter().map(normal).collect();
            list.sort_by_key(Value::to_string);
            Value::Array(list)
        }
        Value::Object(map) if !map.is_empty() => {
            let entries = map.iter().map(|(key, value)| (key.clone(), normal(value)));
            entries.filter(|(_, value)| !value.is_null()).collect()
        }
        Value::Array(_) | Value::Object(_) => Value::Null,
        Value::String(text) => json!(text.strip_prefix("CAP_").unwrap_or(text)),
        other => other.clone(),
    }
}

/// It is run as it was printed, and what it makes is the workspace's container to every key.
#[track_caller]
fn the_printed_command_makes_the_same(bench: &Bench, dev: &Value) {
    let hidden = bench.run(&["up", "--print"]);
    let shown = &hidden.succeeded().stdout;
    assert!(shown.contains("--env=WEIRD \\") && shown.contains("--label=team=HIDDEN"), "{shown}");
    assert!(!shown.contains("b=c") && !shown.contains("vision") && hidden.stderr.contains("env WEIRD"), "{hidden:?}");
    let printed = bench.json(&["up", "--print", "--show-values"]);
    assert_eq!((&printed["hidden"], &printed["image"]["exists"]), (&json!([]), &json!(true)));
    bench.run(&["down", "--force"]).succeeded();
    assert_eq!(bench.containers(), Vec::<String>::new());
    let tool = gpubay_e2e::lab().docker.parent().expect("a folder");
    let mut shell = std::process::Command::new("sh");
    shell.env("PATH", format!("{}:/usr/bin:/bin", tool.display()));
    shell.env("DOCKER_HOST", format!("unix://{}", bench.socket.display()));
    let ran = Ran::of(&gpubay_e2e::output(shell.args(["-c", printed["command"].as_str().expect("text")])), &["docker"]);
    let made = bench.inspect(ran.succeeded().stdout.trim());
    let mut differences = Vec::new();
    for part in ["Config", "HostConfig"] {
        let keys = |found: &Value| found[part].as_object().expect("options").keys().cloned().collect::<BTreeSet<_>>();
        for key in keys(dev).union(&keys(&made)) {
            let (ours, theirs) = (&dev[part][key.as_str()], &made[part][key.as_str()]);
            if normal(ours) != normal(theirs) {
                differences.push(format!("{part}.{key}: {ours} and {theirs}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // Nothing to tell it from one of ours.
    let report = bench.up();
    assert_eq!((&report["container"]["reused"], &report["drift"]), (&json!(true), &json!([])), "{report}");
}

fn keys_with_a_second_meaning(bench: &Bench) -> Vec<Row> {
    bench.write(
        "gpubay.toml",
        r#"
[container]
workdir = "host"
user = "root"
entrypoint = "image"
cache = false
persist = []
network = "none"
read_only = true
docker_args = ["--tmpfs", "/tmp"]
"#,
    );
    let report = up_allowed(bench, &["user:root"]);
    let found = bench.inspect(report["container"]["id"].as_str().expect("an id"));
    let (config, host) = (&found["Config"], &found["HostConfig"]);
    let volumes = found["Mounts"].as_array().expect("mounts").iter().filter(|mount| mount["Type"] == "volume");
    let none = json!(volumes.count());
    // What the entrypoint leaves, a root that cannot be written, and /tmp as docker_args give it.
    let script = "echo $LEARNED; touch /tmp/x && echo tmp; touch /x || true";
    let ran = bench.run(&["exec", "--", "/bin/sh", "-c", script]);
    let ran: &Ran = ran.succeeded();
    assert!(ran.stderr.contains("Read-only"), "{ran:?}");
    vec![
        ("workdir", config["WorkingDir"].clone(), json!(bench.workspace.canonicalize().expect("there"))),
        ("user", config["User"].clone(), json!("0:0")),
        ("entrypoint", json!(ran.stdout), json!("yes\ntmp\n")),
        ("cache", none.clone(), json!(0)),
        ("persist", none, json!(0)),
        ("network", host["NetworkMode"].clone(), json!("none")),
        ("read_only", host["ReadonlyRootfs"].clone(), json!(true)),
    ]
}

/// Not every machine that runs tests lets a privileged container start, so it is looked at before.
fn the_privileged_key(bench: &Bench) -> Row {
    bench.write("gpubay.toml", "[container]\nprivileged = true\n");
    let mut command = bench.gpubay(&["up", "--allow", "privileged"]);
    command.env("GPUBAY_FAILPOINT", "container.created:abort").stderr(Stdio::null());
    assert!(!command.status().expect("started").success());
    let containers = bench.containers();
    let [id] = containers.as_slice() else { panic!("{containers:?}") };
    ("privileged", bench.inspect(id)["HostConfig"]["Privileged"].clone(), json!(true))
}

/// Tests that run at once need ports of their own: an open one is not moved when it is taken, and a moved one is
/// another than the printed one.
fn every_key(engine: &str, who: Who, open_port: u16) {
    let bench = Bench::new(engine, who, "options");
    if engine == "docker28" {
        bench.prefer("[\"0\"]");
    }
    bench.write("Dockerfile", DOCKERFILE);
    let data = bench.outside().join("data");
    std::fs::create_dir(&data).expect("made");
    bench.own(&data);
    let unique = bench.outside().file_name().expect("a name").to_string_lossy().trim_start_matches('.').to_owned();
    let (other, volume) = (format!("other-{unique}"), format!("volume-{unique}"));
    let _removed = Removed { bench: &bench, container: other.clone(), volumes: vec![volume] };
    bench.docker(&["create", "--name", &other, "-v", "/from", "gpubay-lab/busybox", "true"]).succeeded();

    let mut rows = ordinary_keys(&bench, &unique, open_port);
    bench.run(&["down", "--force"]).succeeded();
    rows.extend(keys_with_a_second_meaning(&bench));
    bench.run(&["down", "--force"]).succeeded();
    rows.push(the_privileged_key(&bench));
    for (key, got, want) in &rows {
        assert_eq!(got, want, "{key} on {engine}");
    }
    let tested: BTreeSet<String> = rows.iter().map(|(key, ..)| (*key).to_owned()).collect();
    assert_eq!(tested, keys_of_the_schema(&bench), "each key of [container] has a row here");
}

#[test]
fn printing_makes_nothing_and_says_what_is_not_there_yet() {
    let bench = Bench::new("docker28", Who::Ordinary, "print");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\nUSER 12:13\n");
    let printed = bench.json(&["up", "--print"]);
    assert_eq!(printed["image"]["exists"], false, "{printed}");
    let reference = printed["image"]["reference"].as_str().expect("a name");
    assert!(printed["argv"].as_array().expect("a list").contains(&json!(reference)), "{printed}");
    assert!(printed["notes"].to_string().contains("gpubay build"), "{printed}");
    assert_eq!(bench.containers(), Vec::<String>::new());
    let made: Vec<_> = bench.home.read_dir().expect("read").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(made, ["print"]);
    let made: Vec<_> = bench.workspace.read_dir().expect("read").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(made, ["Dockerfile"]);
    assert_ne!(bench.docker(&["image", "inspect", reference]).code, Some(0));
    bench.run(&["up", "--show-values"]).failed("--print");
    // With an image that was never looked into.
    bench.run(&["build"]).succeeded();
    let printed = bench.json(&["up", "--print"]);
    assert_eq!(printed["image"]["exists"], true, "{printed}");
    assert_eq!(bench.containers(), Vec::<String>::new());
    assert!(!bench.workspace.join(".venv").exists());
}

#[test]
fn every_key_of_container_reaches_docker_28() {
    every_key("docker28", Who::Ordinary, 16107);
}

#[test]
fn every_key_of_container_reaches_docker_28_from_root() {
    every_key("docker28", Who::Root, 16108);
}

#[test]
fn every_key_of_container_reaches_docker_20() {
    every_key("docker20", Who::Ordinary, 16109);
}

#[test]
fn every_key_of_container_reaches_docker_20_from_root() {
    every_key("docker20", Who::Root, 16110);
}
