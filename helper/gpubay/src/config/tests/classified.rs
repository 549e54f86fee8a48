//! Each key that can be written is either a power, or known to be none. A new one fails here until somebody
//! has thought about which.

use std::collections::BTreeSet;

use super::*;

/// What makes the key ask, as lines of gpubay.toml; `None`: whatever it says stays in the folder, or concerns
/// nothing but the container itself.
type Class = Option<&'static str>;

const KEYS: &[(&str, Class)] = &[
    // Pulled and run as any image is; what it may do is what the other keys say.
    ("image.from", None),
    ("image.dockerfile", Some("[image]\ndockerfile = \"/etc/hostname\"")),
    ("image.context", Some("[image]\ncontext = \"/etc\"")),
    ("image.args", None),
    ("image.target", None),
    ("image.secrets", Some("[image]\nsecrets = [\"a=env:A\"]")),
    ("image.tag", Some("[image]\ntag = \"a:1\"")),
    ("container.workdir", None),
    ("container.mounts", Some("[container]\nmounts = [\"/etc:/e\"]")),
    ("container.user", Some("[container]\nuser = \"root\"")),
    ("container.entrypoint", None),
    ("container.shm_size", None),
    // Values; a variable of the user's is named only by `docker_args` and in an `env_file`.
    ("container.env", None),
    ("container.env_file", Some("[container]\nenv_file = \"/etc/hostname\"")),
    ("container.ports", Some("[container]\nports = [\"0.0.0.0:80\"]")),
    ("container.cache", None),
    // Volumes of the workspace's own.
    ("container.persist", None),
    ("container.cpus", None),
    ("container.memory", None),
    ("container.network", Some("[container]\nnetwork = \"host\"")),
    ("container.restart", Some("[container]\nrestart = \"always\"")),
    // A name that another container has is an error.
    ("container.name", None),
    ("container.hostname", None),
    ("container.ipc", Some("[container]\nipc = \"host\"")),
    ("container.dns", None),
    ("container.extra_hosts", None),
    ("container.cap_add", Some("[container]\ncap_add = [\"SYS_ADMIN\"]")),
    ("container.cap_drop", None),
    ("container.devices", Some("[container]\ndevices = [\"/dev/fuse\"]")),
    ("container.security_opt", Some("[container]\nsecurity_opt = [\"seccomp=unconfined\"]")),
    ("container.privileged", Some("[container]\nprivileged = true")),
    ("container.ulimits", None),
    ("container.cpuset", None),
    ("container.cpu_shares", None),
    ("container.group_add", Some("[container]\ngroup_add = [\"docker\"]")),
    ("container.init", None),
    ("container.read_only", None),
    ("container.volumes_from", Some("[container]\nvolumes_from = [\"a\"]")),
    ("container.labels", None),
    ("container.timezone", None),
    ("container.docker_args", Some("[container]\ndocker_args = [\"--privileged\"]")),
    ("gpus.use", Some("[gpus]\nuse = [\"vendor.com/net=all\"]")),
    ("gpus.required", None),
    ("gpus.isolation", None),
    ("gpus.injection", None),
    // One name directly under the workdir.
    ("venv.path", None),
    ("venv.requirements", Some("[venv]\nrequirements = [\"/etc/hostname\"]")),
    ("venv.installer", None),
    ("venv.python", None),
    ("jobs.command", None),
    ("jobs.env", None),
    ("jobs.workdir", None),
    ("jobs.snapshot", None),
    ("jobs.live", None),
    ("jobs.gpus", Some("[jobs.a]\ncommand = [\"x\"]\ngpus = [\"vendor.com/net=all\"]")),
    ("engine.host", Some("[engine]\nhost = \"ssh://gpu\"")),
    ("paths.data", Some("[paths]\ndata = \"x\"")),
    ("paths.cache", Some("[paths]\ncache = \"x\"")),
];

/// The options of `docker_args`, likewise; those that are refused need no class.
const OPTIONS: &[(&str, Class)] = &[
    ("add-host", None),
    ("annotation", Some("a=b")),
    ("blkio-weight", None),
    ("blkio-weight-device", None),
    ("cap-add", Some("SYS_ADMIN")),
    ("cap-drop", None),
    ("cgroup-parent", Some("/x")),
    ("cgroupns", Some("host")),
    ("cpu-period", None),
    ("cpu-quota", None),
    ("cpu-rt-period", None),
    ("cpu-rt-runtime", None),
    ("cpu-shares", None),
    ("cpus", None),
    ("cpuset-cpus", None),
    ("cpuset-mems", None),
    ("device", Some("/dev/fuse")),
    ("device-cgroup-rule", Some("a *:* rwm")),
    ("device-read-bps", None),
    ("device-read-iops", None),
    ("device-write-bps", None),
    ("device-write-iops", None),
    ("dns", None),
    ("dns-opt", None),
    ("dns-option", None),
    ("dns-search", None),
    ("domainname", None),
    ("entrypoint", None),
    ("env", Some("TOKEN")),
    ("env-file", Some("/etc/hostname")),
    ("expose", None),
    ("gpus", Some("device=vendor.com/net=all")),
    ("group-add", Some("docker")),
    ("health-cmd", None),
    ("health-interval", None),
    ("health-retries", None),
    ("health-start-interval", None),
    ("health-start-period", None),
    ("health-timeout", None),
    ("hostname", None),
    ("init", None),
    ("ip", None),
    ("ip6", None),
    ("ipc", Some("host")),
    ("label", None),
    ("label-file", Some("/etc/hostname")),
    ("link", Some("db")),
    ("link-local-ip", None),
    ("log-driver", Some("syslog")),
    // Of the engine's own drivers, which write where the engine says; another driver asks.
    ("log-opt", None),
    ("mac-address", None),
    ("memory", None),
    ("memory-reservation", None),
    ("memory-swap", None),
    ("memory-swappiness", None),
    ("mount", Some("type=bind,src=/etc,dst=/e")),
    ("name", None),
    ("net", Some("host")),
    ("net-alias", None),
    ("network", Some("db")),
    ("network-alias", None),
    ("no-healthcheck", None),
    ("oom-kill-disable", Some("true")),
    ("oom-score-adj", Some("-9")),
    ("pid", Some("host")),
    ("pids-limit", None),
    ("platform", None),
    ("privileged", Some("true")),
    ("publish", Some("0.0.0.0:80:80")),
    ("publish-all", Some("true")),
    ("read-only", None),
    ("restart", Some("always")),
    ("runtime", Some("x")),
    ("security-opt", Some("apparmor=unconfined")),
    ("shm-size", None),
    ("stop-signal", None),
    ("stop-timeout", None),
    ("storage-opt", None),
    ("sysctl", Some("a.b=1")),
    ("tmpfs", None),
    ("ulimit", None),
    ("user", Some("root")),
    ("userns", Some("host")),
    ("uts", Some("host")),
    ("volume", Some("/etc:/e")),
    ("volume-driver", Some("x")),
    ("volumes-from", Some("a")),
    ("workdir", None),
];

#[test]
fn every_key_is_a_power_or_known_to_be_none() {
    let schema: serde_json::Value = serde_json::from_str(&schema::json()).expect("JSON");
    let mut written = BTreeSet::new();
    for (section, kind) in [
        ("image", "Image"),
        ("container", "Container"),
        ("gpus", "Gpus"),
        ("venv", "Venv"),
        ("jobs", "Job"),
        ("engine", "Engine"),
        ("paths", "Paths"),
    ] {
        let properties = schema["$defs"][kind]["properties"].as_object().expect("properties");
        written.extend(properties.keys().map(|key| format!("{section}.{key}")));
    }
    let sections = schema["properties"].as_object().expect("properties").len();
    assert_eq!(sections, 7, "a section is new");
    let classified: BTreeSet<String> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(written, classified, "is it a power? then it belongs into config/powers.rs, too");
    for (key, class) in KEYS {
        let Some(text) = class else { continue };
        let powers = Lab::with(&format!("{text}\n")).loaded().powers;
        assert!(!powers.is_empty(), "{key} asks for nothing: {text}");
    }
}

#[test]
fn every_option_of_docker_run_is_a_power_or_known_to_be_none() {
    let taken: BTreeSet<&str> = docker_args::OPTIONS
        .iter()
        .filter(|(_, _, form)| !matches!(form, docker_args::Form::Refused(_)))
        .map(|(name, ..)| *name)
        .collect();
    let classified: BTreeSet<&str> = OPTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(taken, classified, "is it a power? then it belongs into config/powers.rs, too");
    for (name, class) in OPTIONS {
        let Some(value) = class else { continue };
        let powers = Lab::with(&format!("[container]\ndocker_args = [\"--{name}={value}\"]\n")).loaded().powers;
        assert!(!powers.is_empty(), "--{name}={value} asks for nothing");
    }
}
