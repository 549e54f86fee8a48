//! `docker_args`: the options of `docker run`, read into the same model as the keys of their own.
//!
//! Every option that the tool of Docker 28 has is in [`OPTIONS`]: taken, or refused with the reason.
//! An option that would be dropped in silence does not exist.

use std::net::IpAddr;

use super::env_file;
use super::error::BadValue;
use super::layer::{self, Context, Layer, Passed};
use super::model::{EntrypointUse, Health, Mount, MountSource};
use super::mounts;
use super::{gpu_values, values};

/// How an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `--flag` or `--flag=false`.
    Flag,
    /// `--option value` or `--option=value`.
    Value,
    /// Known, and not possible here, for this reason.
    Refused(&'static str),
}

use Form::{Flag, Refused, Value};

const KEPT: &str = "the container stays until `gpubay down`";
const OUR_STREAMS: &str = "GPU Bay attaches the terminal itself, in `gpubay exec`, `shell` and `run`";
const WINDOWS: &str = "it exists for Windows containers only";
const PULLS: &str = "nothing is pulled that `[image]` does not name";

/// Every option of `docker run`: its name, its letter, its form.
pub(super) const OPTIONS: &[(&str, Option<char>, Form)] = &[
    ("add-host", None, Value),
    ("annotation", None, Value),
    ("attach", Some('a'), Refused(OUR_STREAMS)),
    ("blkio-weight", None, Value),
    ("blkio-weight-device", None, Value),
    ("cap-add", None, Value),
    ("cap-drop", None, Value),
    ("cgroup-parent", None, Value),
    ("cgroupns", None, Value),
    ("cidfile", None, Refused("`gpubay ps --json` tells the id")),
    ("cpu-count", None, Refused(WINDOWS)),
    ("cpu-percent", None, Refused(WINDOWS)),
    ("cpu-period", None, Value),
    ("cpu-quota", None, Value),
    ("cpu-rt-period", None, Value),
    ("cpu-rt-runtime", None, Value),
    ("cpu-shares", Some('c'), Value),
    ("cpus", None, Value),
    ("cpuset-cpus", None, Value),
    ("cpuset-mems", None, Value),
    ("detach", Some('d'), Refused("the container always runs in the background")),
    ("detach-keys", None, Refused(OUR_STREAMS)),
    ("device", None, Value),
    ("device-cgroup-rule", None, Value),
    ("device-read-bps", None, Value),
    ("device-read-iops", None, Value),
    ("device-write-bps", None, Value),
    ("device-write-iops", None, Value),
    ("disable-content-trust", None, Refused(PULLS)),
    ("dns", None, Value),
    ("dns-opt", None, Value),
    ("dns-option", None, Value),
    ("dns-search", None, Value),
    ("domainname", None, Value),
    ("entrypoint", None, Value),
    ("env", Some('e'), Value),
    ("env-file", None, Value),
    ("expose", None, Value),
    ("gpus", None, Value),
    ("group-add", None, Value),
    ("health-cmd", None, Value),
    ("health-interval", None, Value),
    ("health-retries", None, Value),
    ("health-start-interval", None, Value),
    ("health-start-period", None, Value),
    ("health-timeout", None, Value),
    ("help", None, Refused("`docker run --help` shows it")),
    ("hostname", Some('h'), Value),
    ("init", None, Flag),
    ("interactive", Some('i'), Refused(OUR_STREAMS)),
    ("io-maxbandwidth", None, Refused(WINDOWS)),
    ("io-maxiops", None, Refused(WINDOWS)),
    ("ip", None, Value),
    ("ip6", None, Value),
    ("ipc", None, Value),
    ("isolation", None, Refused(WINDOWS)),
    ("kernel-memory", None, Refused("engines no longer know it")),
    ("label", Some('l'), Value),
    ("label-file", None, Value),
    ("link", None, Value),
    ("link-local-ip", None, Value),
    ("log-driver", None, Value),
    ("log-opt", None, Value),
    ("mac-address", None, Value),
    ("memory", Some('m'), Value),
    ("memory-reservation", None, Value),
    ("memory-swap", None, Value),
    ("memory-swappiness", None, Value),
    ("mount", None, Value),
    ("name", None, Value),
    ("net", None, Value),
    ("net-alias", None, Value),
    ("network", None, Value),
    ("network-alias", None, Value),
    ("no-healthcheck", None, Flag),
    ("oom-kill-disable", None, Flag),
    ("oom-score-adj", None, Value),
    ("pid", None, Value),
    ("pids-limit", None, Value),
    ("platform", None, Value),
    ("privileged", None, Flag),
    ("publish", Some('p'), Value),
    ("publish-all", Some('P'), Flag),
    ("pull", None, Refused(PULLS)),
    ("quiet", Some('q'), Refused(PULLS)),
    ("read-only", None, Flag),
    ("restart", None, Value),
    ("rm", None, Refused(KEPT)),
    ("runtime", None, Value),
    ("security-opt", None, Value),
    ("shm-size", None, Value),
    ("sig-proxy", None, Refused(OUR_STREAMS)),
    ("stop-signal", None, Value),
    ("stop-timeout", None, Value),
    ("storage-opt", None, Value),
    ("sysctl", None, Value),
    ("tmpfs", None, Value),
    ("tty", Some('t'), Refused(OUR_STREAMS)),
    ("ulimit", None, Value),
    (
        "use-api-socket",
        None,
        Refused("it gives the engine and its credentials away; mount the socket if you mean that"),
    ),
    ("user", Some('u'), Value),
    ("userns", None, Value),
    ("uts", None, Value),
    ("volume", Some('v'), Value),
    ("volume-driver", None, Value),
    ("volumes-from", None, Value),
    ("workdir", Some('w'), Value),
];

/// Reads `args` into `layer`. An error comes with the index of the argument.
pub(super) fn apply(args: &[String], context: Context<'_>, layer: &mut Layer) -> Result<(), (usize, BadValue)> {
    let mut next = 0;
    while let Some(arg) = args.get(next) {
        let here = next;
        next += 1;
        let following = || args.get(here + 1).map(String::as_str);
        let (settings, used) = read(arg, following).map_err(|bad| (here, bad))?;
        next += usize::from(used);
        for (name, value) in settings {
            set(name, &value, context, layer).map_err(|bad| (here, bad))?;
        }
    }
    Ok(())
}

type Settings = Vec<(&'static str, String)>;

/// One argument: what it sets, and whether it took the following one.
fn read<'a>(arg: &str, following: impl Fn() -> Option<&'a str>) -> Result<(Settings, bool), BadValue> {
    if let Some(long) = arg.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
        let Some((name, _, form)) = OPTIONS.iter().find(|(known, ..)| *known == name) else {
            let near = super::nearest(name, OPTIONS.iter().map(|(known, ..)| *known)).map(|near| format!("--{near}"));
            return Err(BadValue::UnknownOption { given: format!("--{name}"), near });
        };
        let option = || format!("--{name}");
        return match (form, value) {
            (Refused(why), _) => Err(BadValue::RefusedOption { option: option(), why }),
            (Flag, None) => Ok((vec![(name, "true".to_owned())], false)),
            (Flag, Some(value)) => match value {
                "true" | "1" => Ok((vec![(name, "true".to_owned())], false)),
                "false" | "0" => Ok((vec![(name, "false".to_owned())], false)),
                _ => Err(BadValue::OptionValue {
                    option: option(),
                    given: value.into(),
                    why: "it is true or false".into(),
                }),
            },
            (Value, Some(value)) => Ok((vec![(name, value.to_owned())], false)),
            (Value, None) => {
                let value = following().ok_or_else(|| BadValue::OptionWithoutValue(option()))?;
                Ok((vec![(name, value.to_owned())], true))
            }
        };
    }
    let Some(letters) = arg.strip_prefix('-').filter(|l| !l.is_empty()) else {
        return Err(BadValue::NotAnOption { given: arg.to_owned() });
    };
    let mut settings = Vec::new();
    for (at, letter) in letters.char_indices() {
        let option = format!("-{letter}");
        let Some((name, _, form)) = OPTIONS.iter().find(|(_, short, _)| *short == Some(letter)) else {
            let near = super::nearest(letters, OPTIONS.iter().map(|(known, ..)| *known));
            return Err(BadValue::UnknownOption { given: option, near: near.map(|near| format!("--{near}")) });
        };
        match form {
            Refused(why) => return Err(BadValue::RefusedOption { option, why }),
            Flag => settings.push((*name, "true".to_owned())),
            // The rest of the argument is the value, `-eA=b`, or else the next argument.
            Value => {
                let rest = &letters[at + letter.len_utf8()..];
                let rest = rest.strip_prefix('=').unwrap_or(rest);
                if !rest.is_empty() {
                    settings.push((*name, rest.to_owned()));
                    return Ok((settings, false));
                }
                let value = following().ok_or(BadValue::OptionWithoutValue(option))?;
                settings.push((*name, value.to_owned()));
                return Ok((settings, true));
            }
        }
    }
    Ok((settings, false))
}

fn set(name: &'static str, value: &str, context: Context<'_>, layer: &mut Layer) -> Result<(), BadValue> {
    let bad =
        |why: &str| BadValue::OptionValue { option: format!("--{name}"), given: value.to_owned(), why: why.to_owned() };
    let word = || values::word(value, "a value for this option");
    let number = |low: i64, high: i64| match value.parse::<i64>() {
        Ok(n) if (low..=high).contains(&n) => Ok(n),
        Ok(n) => Err(BadValue::Range { given: n, low, high }),
        Err(_) => Err(bad("it is a whole number")),
    };
    let pair = || match value.split_once('=') {
        Some((k, v)) if !k.is_empty() => Ok((k.to_owned(), v.to_owned())),
        _ => Err(bad("it is key=value")),
    };
    let ip = || value.parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_| bad("it is an IP address"));
    let throttle = |amount: fn(&str) -> Result<u64, BadValue>| match value.rsplit_once(':') {
        Some((device, rate)) if device.starts_with('/') => Ok((device.to_owned(), amount(rate)?)),
        _ => Err(bad("it is /dev/name:rate")),
    };
    let count = |text: &str| text.parse::<u64>().map_err(|_| BadValue::Size(text.to_owned()));
    let on = value == "true";
    let places = &context.places;
    let o = &mut layer.engine_options;
    match name {
        "add-host" => {
            layer::extra_host(value)?;
            // The API knows the form with a colon only.
            let entry = word()?;
            let equals = entry.find('=').filter(|at| entry.find(':').is_none_or(|colon| colon > *at));
            o.extra_hosts.push(if equals.is_some() { entry.replacen('=', ":", 1) } else { entry });
        }
        "annotation" => _ = pair().map(|(k, v)| o.annotations.insert(k, v))?,
        "blkio-weight" => {
            let weight = number(0, 1000)?;
            if (1..10).contains(&weight) {
                return Err(BadValue::Range { given: weight, low: 10, high: 1000 });
            }
            o.blkio_weight = Some(weight as u16);
        }
        "blkio-weight-device" => o.blkio_weight_devices.push(throttle(count)?),
        "cap-add" => o.cap_add.push(word()?),
        "cap-drop" => o.cap_drop.push(word()?),
        "cgroup-parent" => o.cgroup_parent = Some(word()?),
        "cgroupns" => match value {
            "host" | "private" => o.cgroupns = Some(value.to_owned()),
            _ => return Err(bad("it is host or private")),
        },
        "cpu-period" => o.cpu_period = Some(number(1000, 1_000_000)?),
        "cpu-quota" => o.cpu_quota = Some(number(1000, i64::MAX)?),
        "cpu-rt-period" => o.cpu_rt_period = Some(number(0, 1_000_000)?),
        "cpu-rt-runtime" => o.cpu_rt_runtime = Some(number(0, 1_000_000)?),
        "cpu-shares" => o.cpu_shares = Some(number(2, 262_144)?),
        "cpus" => layer.cpus = Some(values::cpus(value)?),
        "cpuset-cpus" => o.cpuset = Some(word()?),
        "cpuset-mems" => o.cpuset_mems = Some(word()?),
        "device" => {
            // A CDI name, which the engine's own tool takes here too, is a GPU of ours.
            if value.contains('=') {
                return Err(bad("CDI devices are named in [gpus] use"));
            }
            o.devices.push(values::device(value)?);
        }
        "device-cgroup-rule" => {
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(bad("it is a rule such as \"c 195:* rwm\""));
            }
            o.device_cgroup_rules.push(value.to_owned());
        }
        "device-read-bps" => o.device_read_bps.push(throttle(values::size)?),
        "device-write-bps" => o.device_write_bps.push(throttle(values::size)?),
        "device-read-iops" => o.device_read_iops.push(throttle(count)?),
        "device-write-iops" => o.device_write_iops.push(throttle(count)?),
        "dns" => o.dns.push(ip()?),
        "dns-option" | "dns-opt" => o.dns_option.push(word()?),
        "dns-search" => o.dns_search.push(word()?),
        "domainname" => o.domainname = Some(word()?),
        "entrypoint" if value.is_empty() => layer.entrypoint = Some(EntrypointUse::None),
        "entrypoint" => {
            return Err(bad("the agent is the first process; only an empty one, or `entrypoint = \"none\"`"));
        }
        "env" => {
            if let Some((name, value)) = value.split_once('=') {
                layer::set_env(layer, name, value)?;
            } else {
                values::env_name(value)?;
                layer::pass_env(layer, value, Passed::Option, context);
            }
        }
        "env-file" => layer::read_env_file(value, env_file::Form::DockerRun, context, layer)?,
        "expose" => {
            let (port, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
            for port in values::ports(&format!("{port}/{protocol}"))? {
                o.expose.push(format!("{}/{protocol}", port.container));
            }
        }
        "gpus" => layer.select = Some(gpu_values::gpus(value)?),
        "group-add" => o.group_add.push(word()?),
        "health-cmd" => health(layer).test = vec!["CMD-SHELL".to_owned(), value.to_owned()],
        "no-healthcheck" if on => health(layer).test = Health::none().test,
        "no-healthcheck" => {}
        "health-interval" => health(layer).interval = Some(duration(value).ok_or_else(|| bad(DURATION))?),
        "health-timeout" => health(layer).timeout = Some(duration(value).ok_or_else(|| bad(DURATION))?),
        "health-start-period" => health(layer).start_period = Some(duration(value).ok_or_else(|| bad(DURATION))?),
        "health-start-interval" => health(layer).start_interval = Some(duration(value).ok_or_else(|| bad(DURATION))?),
        "health-retries" => {
            let retries = number(0, 1_000_000)?;
            health(layer).retries = Some(retries);
        }
        "hostname" => o.hostname = Some(word()?),
        "init" => o.init = Some(on),
        "ip" => o.ip = Some(ip()?),
        "ip6" => o.ip6 = Some(ip()?),
        "link-local-ip" => o.link_local_ips.push(ip()?),
        "link" => o.links.push(word()?),
        "ipc" => o.ipc = Some(word()?),
        "label" => {
            let (key, value) = value.split_once('=').unwrap_or((value, ""));
            layer::label(key)?;
            o.labels.insert(key.to_owned(), value.to_owned());
        }
        "label-file" => {
            let (path, text) = layer::small_file("label-file", value, context)?;
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                layer::label(key)?;
                o.labels.insert(key.to_owned(), value.to_owned());
            }
            layer.label_files.push(path);
        }
        "log-driver" => o.log_driver = Some(word()?),
        "log-opt" => _ = pair().map(|(k, v)| o.log_opts.insert(k, v))?,
        "mac-address" => o.mac_address = Some(word()?),
        "memory" => layer.memory = Some(values::size(value)?),
        "memory-reservation" => o.memory_reservation = Some(values::size(value)?),
        "memory-swap" if value == "-1" => o.memory_swap = Some(-1),
        "memory-swap" => o.memory_swap = Some(values::size(value)? as i64),
        "memory-swappiness" => o.memory_swappiness = Some(number(0, 100)?),
        "mount" => match mounts::long(value, places)? {
            mounts::Long::Mount(mount) => layer.mounts.push(mount),
            mounts::Long::Tmpfs { target, options } => _ = o.tmpfs.insert(target.to_string(), options),
        },
        "name" => {
            values::name(value, "a name for a container")?;
            o.name = Some(value.to_owned());
        }
        "network" | "net" => layer.network = Some(word()?),
        "network-alias" | "net-alias" => o.network_aliases.push(word()?),
        "oom-kill-disable" => o.oom_kill_disable = on,
        "oom-score-adj" => o.oom_score_adj = Some(number(-1000, 1000)?),
        "pid" => o.pid = Some(word()?),
        "pids-limit" => o.pids_limit = Some(number(-1, i64::MAX)?),
        "platform" => o.platform = Some(word()?),
        "privileged" => layer.privileged = Some(on),
        "publish-all" => o.publish_all = on,
        "publish" => layer.ports.extend(values::ports(value)?),
        "read-only" => layer.read_only = Some(on),
        "restart" => layer.restart = Some(values::restart(value)?),
        "runtime" => o.runtime = Some(word()?),
        "security-opt" => o.security_opt.push(word()?),
        "shm-size" => layer.shm_size = Some(values::size(value)?),
        "stop-signal" => o.stop_signal = Some(word()?),
        "stop-timeout" => o.stop_timeout = Some(number(-1, 1_000_000)?),
        "storage-opt" => _ = pair().map(|(k, v)| o.storage_opts.insert(k, v))?,
        "sysctl" => _ = pair().map(|(k, v)| o.sysctls.insert(k, v))?,
        "tmpfs" => tmpfs(value, layer)?,
        "ulimit" => o.ulimits.push(values::ulimit(value)?),
        "user" => layer.user = Some(values::user(value)?),
        "userns" => o.userns = Some(word()?),
        "uts" => o.uts = Some(word()?),
        "volume" => layer.mounts.push(mounts::short(value, places)?),
        "volume-driver" => o.volume_driver = Some(word()?),
        "volumes-from" => o.volumes_from.push(word()?),
        "workdir" => layer.workdir = Some(layer::workdir(value, places)?),
        // A row of OPTIONS without an arm here: the table test visits every row.
        _ => return Err(bad("it is not supported")),
    }
    Ok(())
}

fn health(layer: &mut Layer) -> &mut Health {
    layer.engine_options.health.get_or_insert_default()
}

fn tmpfs(value: &str, layer: &mut Layer) -> Result<(), BadValue> {
    let bad = |why: String| BadValue::Mount { given: value.to_owned(), why };
    let (path, options) = value.split_once(':').unwrap_or((value, ""));
    let target = values::path_inside(path).map_err(bad)?;
    if target.as_str() == "/" {
        return Err(bad("the target cannot be the whole file system".into()));
    }
    if options.is_empty() {
        layer.mounts.push(Mount { source: MountSource::Tmpfs, target, read_only: false });
    } else {
        let plain = |c: char| c.is_ascii_alphanumeric() || "=,%-_".contains(c);
        if !options.chars().all(plain) {
            return Err(bad("an option contains a character that none has".into()));
        }
        layer.engine_options.tmpfs.insert(target.to_string(), options.to_owned());
    }
    Ok(())
}

const DURATION: &str = "it is a time such as 500ms, 30s or 1m30s";

/// As engines' own command lines take it: `500ms`, `30s`, `1h30m`. In nanoseconds.
pub(crate) fn duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[unit_end..];
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
#[path = "docker_args_tests.rs"]
mod tests;
