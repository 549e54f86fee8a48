use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::ContainerPath;
use crate::config::model::{Decimal, Device, GpuSelection, Port, Protocol, Restart, Ulimit, User};
use crate::config::values::Places;

fn environment(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| "t0ken".to_owned())
}

fn layer_of(workspace: &Path, args: &[&str]) -> Result<Layer, (usize, BadValue)> {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let context = Context { places: Places { workspace, home: Path::new("/home/ada") }, env: &environment };
    let mut layer = Layer::default();
    apply(&args, context, &mut layer).map(|()| layer)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("data")).expect("made");
    std::fs::write(folder.path().join("vars"), "A=1\nTOKEN\n").expect("written");
    std::fs::write(folder.path().join("labels"), "# c\nteam=ml\nplain\n").expect("written");
    folder
}

type Check = fn(&Layer) -> bool;

/// Every option that is taken, with a value and what it must set.
fn table() -> Vec<(&'static str, &'static str, Check)> {
    fn pair(map: &std::collections::BTreeMap<String, String>, key: &str, value: &str) -> bool {
        map.get(key).is_some_and(|v| v == value)
    }
    vec![
        ("add-host", "db:10.0.0.1", |l| l.engine_options.extra_hosts == ["db:10.0.0.1"]),
        ("annotation", "a.b=c=d", |l| pair(&l.engine_options.annotations, "a.b", "c=d")),
        ("blkio-weight", "300", |l| l.engine_options.blkio_weight == Some(300)),
        ("blkio-weight-device", "/dev/sda:200", |l| {
            l.engine_options.blkio_weight_devices == [("/dev/sda".to_owned(), 200)]
        }),
        ("cap-add", "SYS_PTRACE", |l| l.engine_options.cap_add == ["SYS_PTRACE"]),
        ("cap-drop", "ALL", |l| l.engine_options.cap_drop == ["ALL"]),
        ("cgroup-parent", "/x", |l| l.engine_options.cgroup_parent.as_deref() == Some("/x")),
        ("cgroupns", "private", |l| l.engine_options.cgroupns.as_deref() == Some("private")),
        ("cpu-period", "50000", |l| l.engine_options.cpu_period == Some(50_000)),
        ("cpu-quota", "25000", |l| l.engine_options.cpu_quota == Some(25_000)),
        ("cpu-rt-period", "1000000", |l| l.engine_options.cpu_rt_period == Some(1_000_000)),
        ("cpu-rt-runtime", "950000", |l| l.engine_options.cpu_rt_runtime == Some(950_000)),
        ("cpu-shares", "512", |l| l.engine_options.cpu_shares == Some(512)),
        ("cpus", "1.5", |l| l.cpus == Some(Decimal("1.5".into()))),
        ("cpuset-cpus", "0-3", |l| l.engine_options.cpuset.as_deref() == Some("0-3")),
        ("cpuset-mems", "0,1", |l| l.engine_options.cpuset_mems.as_deref() == Some("0,1")),
        ("device", "/dev/fuse:/dev/f:rw", |l| {
            l.engine_options.devices
                == [Device { host: "/dev/fuse".into(), container: "/dev/f".into(), permissions: "rw".into() }]
        }),
        ("device-cgroup-rule", "c 195:* rwm", |l| l.engine_options.device_cgroup_rules == ["c 195:* rwm"]),
        ("device-read-bps", "/dev/sda:1m", |l| l.engine_options.device_read_bps == [("/dev/sda".to_owned(), 1 << 20)]),
        ("device-write-bps", "/dev/sda:1k", |l| l.engine_options.device_write_bps == [("/dev/sda".to_owned(), 1024)]),
        ("device-read-iops", "/dev/sda:100", |l| l.engine_options.device_read_iops == [("/dev/sda".to_owned(), 100)]),
        ("device-write-iops", "/dev/sda:9", |l| l.engine_options.device_write_iops == [("/dev/sda".to_owned(), 9)]),
        ("dns", "1.1.1.1", |l| l.engine_options.dns == ["1.1.1.1"]),
        ("dns-opt", "ndots:2", |l| l.engine_options.dns_option == ["ndots:2"]),
        ("dns-option", "ndots:2", |l| l.engine_options.dns_option == ["ndots:2"]),
        ("dns-search", "lab.example", |l| l.engine_options.dns_search == ["lab.example"]),
        ("domainname", "lab", |l| l.engine_options.domainname.as_deref() == Some("lab")),
        ("entrypoint", "", |l| l.entrypoint == Some(EntrypointUse::None)),
        ("env", "A=b=c", |l| pair(&l.env, "A", "b=c") && l.passed.is_empty()),
        ("env-file", "vars", |l| pair(&l.env, "A", "1") && pair(&l.env, "TOKEN", "t0ken") && l.env_files.len() == 1),
        ("expose", "3000/udp", |l| l.engine_options.expose == ["3000/udp"]),
        ("gpus", "\"device=0,GPU-1a\"", |l| l.select == Some(GpuSelection::Named(vec!["0".into(), "GPU-1a".into()]))),
        ("group-add", "video", |l| l.engine_options.group_add == ["video"]),
        ("health-cmd", "true $(x)", |l| {
            l.engine_options.health.as_ref().is_some_and(|h| h.test == ["CMD-SHELL", "true $(x)"])
        }),
        ("health-interval", "1m30s", |l| {
            l.engine_options.health.as_ref().and_then(|h| h.interval) == Some(90_000_000_000)
        }),
        ("health-retries", "3", |l| l.engine_options.health.as_ref().and_then(|h| h.retries) == Some(3)),
        ("health-start-interval", "5s", |l| {
            l.engine_options.health.as_ref().and_then(|h| h.start_interval) == Some(5_000_000_000)
        }),
        ("health-start-period", "0", |l| l.engine_options.health.as_ref().and_then(|h| h.start_period) == Some(0)),
        ("health-timeout", "500ms", |l| l.engine_options.health.as_ref().and_then(|h| h.timeout) == Some(500_000_000)),
        ("hostname", "node1", |l| l.engine_options.hostname.as_deref() == Some("node1")),
        ("init", "true", |l| l.engine_options.init == Some(true)),
        ("ip", "172.30.1.1", |l| l.engine_options.ip.as_deref() == Some("172.30.1.1")),
        ("ip6", "2001:db8::33", |l| l.engine_options.ip6.as_deref() == Some("2001:db8::33")),
        ("ipc", "host", |l| l.engine_options.ipc.as_deref() == Some("host")),
        ("label", "a=b=c", |l| pair(&l.engine_options.labels, "a", "b=c")),
        ("label-file", "labels", |l| {
            pair(&l.engine_options.labels, "team", "ml") && pair(&l.engine_options.labels, "plain", "")
        }),
        ("link", "db:alias", |l| l.engine_options.links == ["db:alias"]),
        ("link-local-ip", "169.254.1.1", |l| l.engine_options.link_local_ips == ["169.254.1.1"]),
        ("log-driver", "none", |l| l.engine_options.log_driver.as_deref() == Some("none")),
        ("log-opt", "max-size=1m", |l| pair(&l.engine_options.log_opts, "max-size", "1m")),
        ("mac-address", "92:d0:c6:0a:29:33", |l| l.engine_options.mac_address.as_deref() == Some("92:d0:c6:0a:29:33")),
        ("memory", "64g", |l| l.memory == Some(64 << 30)),
        ("memory-reservation", "1g", |l| l.engine_options.memory_reservation == Some(1 << 30)),
        ("memory-swap", "-1", |l| l.engine_options.memory_swap == Some(-1)),
        ("memory-swappiness", "10", |l| l.engine_options.memory_swappiness == Some(10)),
        ("mount", "type=bind,source=data,target=/data,readonly", |l| {
            l.mounts.len() == 1 && l.mounts[0].read_only && l.mounts[0].target.as_str() == "/data"
        }),
        ("name", "box-1", |l| l.engine_options.name.as_deref() == Some("box-1")),
        ("net", "none", |l| l.network.as_deref() == Some("none")),
        ("net-alias", "me", |l| l.engine_options.network_aliases == ["me"]),
        ("network", "host", |l| l.network.as_deref() == Some("host")),
        ("network-alias", "me", |l| l.engine_options.network_aliases == ["me"]),
        ("no-healthcheck", "true", |l| l.engine_options.health.as_ref().is_some_and(|h| h.test == ["NONE"])),
        ("oom-kill-disable", "true", |l| l.engine_options.oom_kill_disable),
        ("oom-score-adj", "-5", |l| l.engine_options.oom_score_adj == Some(-5)),
        ("pid", "host", |l| l.engine_options.pid.as_deref() == Some("host")),
        ("pids-limit", "-1", |l| l.engine_options.pids_limit == Some(-1)),
        ("platform", "linux/amd64", |l| l.engine_options.platform.as_deref() == Some("linux/amd64")),
        ("privileged", "true", |l| l.privileged == Some(true)),
        ("publish", "8080:80/udp", |l| {
            l.ports
                == [Port {
                    address: std::net::Ipv4Addr::LOCALHOST.into(),
                    host: 8080,
                    container: 80,
                    protocol: Protocol::Udp,
                }]
        }),
        ("publish-all", "true", |l| l.engine_options.publish_all),
        ("read-only", "true", |l| l.read_only == Some(true)),
        ("restart", "on-failure:3", |l| l.restart == Some(Restart::OnFailure { most: Some(3) })),
        ("runtime", "nvidia", |l| l.engine_options.runtime.as_deref() == Some("nvidia")),
        ("security-opt", "seccomp=unconfined", |l| l.engine_options.security_opt == ["seccomp=unconfined"]),
        ("shm-size", "512m", |l| l.shm_size == Some(512 << 20)),
        ("stop-signal", "SIGINT", |l| l.engine_options.stop_signal.as_deref() == Some("SIGINT")),
        ("stop-timeout", "30", |l| l.engine_options.stop_timeout == Some(30)),
        ("storage-opt", "size=10G", |l| pair(&l.engine_options.storage_opts, "size", "10G")),
        ("sysctl", "net.core.somaxconn=1024", |l| pair(&l.engine_options.sysctls, "net.core.somaxconn", "1024")),
        ("tmpfs", "/run:size=64m,mode=1777", |l| pair(&l.engine_options.tmpfs, "/run", "size=64m,mode=1777")),
        ("ulimit", "nofile=1024:2048", |l| {
            l.engine_options.ulimits == [Ulimit { name: "nofile".into(), soft: 1024, hard: 2048 }]
        }),
        ("user", "1000:100", |l| l.user == Some(User::Ids { uid: 1000, gid: 100 })),
        ("userns", "host", |l| l.engine_options.userns.as_deref() == Some("host")),
        ("uts", "host", |l| l.engine_options.uts.as_deref() == Some("host")),
        ("volume", "scratch:/scratch:ro", |l| {
            l.mounts.len() == 1 && l.mounts[0].source == MountSource::Volume("scratch".into()) && l.mounts[0].read_only
        }),
        ("volume-driver", "local", |l| l.engine_options.volume_driver.as_deref() == Some("local")),
        ("volumes-from", "other", |l| l.engine_options.volumes_from == ["other"]),
        ("workdir", "/app", |l| l.workdir.as_ref().map(ContainerPath::as_str) == Some("/app")),
    ]
}

#[test]
fn every_option_sets_what_it_says_in_every_spelling() {
    let folder = folder();
    let rows = table();
    let taken: BTreeSet<&str> = rows.iter().map(|(name, ..)| *name).collect();
    let known: BTreeSet<&str> =
        OPTIONS.iter().filter(|(_, _, form)| !matches!(form, Refused(_))).map(|(name, ..)| *name).collect();
    assert_eq!(taken, known, "each option that is taken has a row here");
    for (name, value, holds) in rows {
        let (_, letter, form) = OPTIONS.iter().find(|(known, ..)| *known == name).expect("known");
        let mut spellings = vec![vec![format!("--{name}={value}")]];
        let short = letter.map(|letter| format!("-{letter}"));
        if *form == Flag {
            spellings.push(vec![format!("--{name}")]);
            spellings.extend(short.map(|short| vec![short]));
        } else {
            spellings.push(vec![format!("--{name}"), value.to_owned()]);
            if let Some(short) = short {
                spellings.push(vec![short.clone(), value.to_owned()]);
                spellings.push(vec![format!("{short}{value}")]);
                spellings.push(vec![format!("{short}={value}")]);
            }
        }
        for spelling in spellings {
            let args: Vec<&str> = spelling.iter().map(String::as_str).collect();
            let layer = layer_of(folder.path(), &args).unwrap_or_else(|(_, e)| panic!("{args:?}: {e}"));
            assert!(holds(&layer), "{args:?} gave {layer:?}");
        }
    }
}

/// What an option sets, a container has, and the `docker run` that is printed of it says again.
#[test]
fn every_option_is_in_the_printed_command() {
    use crate::config::model::EngineOptions;
    use crate::engine::{CreateSpec, GpuRequest, Stdio, Values};
    let folder = folder();
    for (name, value, _) in table() {
        // They decide about other things than one option of the command, or become variables and labels.
        if ["entrypoint", "gpus", "name", "user", "env-file", "label-file"].contains(&name) {
            continue;
        }
        let option = format!("--{name}={value}");
        let layer = layer_of(folder.path(), &[&option]).expect("taken");
        let spec = CreateSpec {
            name: String::new(),
            image: "image".to_owned(),
            labels: std::collections::BTreeMap::new(),
            env: layer.env.clone(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            user: String::new(),
            workdir: layer.workdir.clone().unwrap_or_else(|| ContainerPath::new("/w").expect("absolute")),
            mounts: layer.mounts.clone(),
            ports: layer.ports.clone(),
            groups: layer.engine_options.group_add.clone(),
            shm_size: layer.shm_size,
            cpus: layer.cpus.clone(),
            memory: layer.memory,
            network: layer.network.clone().unwrap_or_default(),
            restart: layer.restart.unwrap_or(Restart::No),
            options: EngineOptions {
                privileged: layer.privileged == Some(true),
                read_only: layer.read_only == Some(true),
                ..layer.engine_options.clone()
            },
            gpu: GpuRequest::None,
            stdio: Stdio::Detached,
            removes_itself: false,
        };
        let printed = spec.docker_run(Values::Shown).argv;
        let read: Vec<&str> = printed[2..printed.len() - 1]
            .iter()
            .map(String::as_str)
            .filter(|argument| !["--detach", "--name=", "--workdir=/w"].contains(argument))
            .collect();
        assert!(!read.is_empty(), "{option} is not in {printed:?}");
        let again = layer_of(folder.path(), &read).unwrap_or_else(|(_, e)| panic!("{read:?}: {e}"));
        assert_eq!(format!("{again:?}"), format!("{layer:?}"), "{option} became {read:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let folder = folder();
    for (name, letter, form) in OPTIONS {
        let Refused(reason) = form else { continue };
        let mut spellings = vec![format!("--{name}"), format!("--{name}=x")];
        spellings.extend(letter.map(|letter| format!("-{letter}")));
        for spelling in spellings {
            match layer_of(folder.path(), &["--init", &spelling]) {
                Err((1, BadValue::RefusedOption { why, .. })) => assert_eq!(&why, reason),
                other => panic!("{spelling}: {other:?}"),
            }
        }
    }
    assert!(matches!(layer_of(folder.path(), &["-it"]), Err((0, BadValue::RefusedOption { .. }))));
}

#[test]
fn an_unknown_option_suggests_the_known_one() {
    let folder = folder();
    for (given, near) in [("--shm-sise=1g", Some("--shm-size")), ("--volumes", Some("--volume")), ("--zzzzzz", None)] {
        match layer_of(folder.path(), &["--init", given]) {
            Err((1, BadValue::UnknownOption { near: found, .. })) => assert_eq!(found.as_deref(), near, "{given}"),
            other => panic!("{given}: {other:?}"),
        }
    }
}

#[test]
fn nonsense_is_told_with_its_place() {
    let folder = folder();
    for (args, index) in [
        (&["--name"][..], 0),
        (&["--init", "-e"], 1),
        (&["python"], 0),
        (&["--init", "image:tag"], 1),
        (&["-"], 0),
        (&["--"], 0),
        (&["--init=maybe"], 0),
        (&["--memory", "50%"], 0),
        (&["-p", "70000"], 0),
        (&["--cpus", "0"], 0),
        (&["--cpus=-1"], 0),
        (&["--entrypoint", "bash"], 0),
        (&["--device", "nvidia.com/gpu=0"], 0),
        (&["--label", "gpubay.id=x"], 0),
        (&["--label=devcontainer.metadata=[]"], 0),
        (&["--name", "a b"], 0),
        (&["--name", "-rf"], 0),
        (&["--blkio-weight", "5"], 0),
        (&["-e", "=x"], 0),
        (&["--network", ""], 0),
        (&["--mount", "type=volume,source=v,target=/v,volume-opt=o=bind,volume-opt=device=/"], 0),
        (&["--mount", "type=bind,source=absent,target=/v"], 0),
        (&["--mount", "type=bind,source=data"], 0),
        (&["--health-interval", "soon"], 0),
        (&["--tmpfs", "run"], 0),
        (&["-v", "data:/a:rp"], 0),
    ] {
        match layer_of(folder.path(), args) {
            Err((at, _)) => assert_eq!(at, index, "{args:?}"),
            Ok(layer) => panic!("{args:?} gave {layer:?}"),
        }
    }
}

#[test]
fn only_named_variables_come_from_outside() {
    let folder = folder();
    let layer = layer_of(folder.path(), &["-e", "TOKEN", "-e", "UNSET"]).expect("taken");
    assert_eq!(layer.env.get("TOKEN").map(String::as_str), Some("t0ken"));
    assert!(!layer.env.contains_key("UNSET"));
    assert_eq!(layer.passed.keys().collect::<Vec<_>>(), ["TOKEN", "UNSET"]);
    let layer = layer_of(folder.path(), &["-e", "TOKEN", "-e", "TOKEN=mine"]).expect("taken");
    assert_eq!(layer.env.get("TOKEN").map(String::as_str), Some("mine"));
    assert!(layer.passed.is_empty());
}
