//! A container as the `docker run` that makes the same one: the second reading of a [`CreateSpec`], beside the body
//! that the engine gets.

use std::collections::BTreeSet;

use super::create::container_port;
use super::{CreateSpec, GpuRequest, Stdio};
use crate::config::model::{Device, EngineOptions, Health, Mount, MountSource, Restart};

/// The command, and whose values it leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerRun {
    /// From `docker` on; for `execve`, not for a shell.
    pub argv: Vec<String>,
    /// As `env TOKEN` or `label team`.
    pub hidden: Vec<String>,
}

/// Stands for a value that is not shown, where the option cannot do without one.
const HIDDEN: &str = "HIDDEN";

/// Which values are shown.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    Shown,
    /// Not those of these variables, and nothing of the user's labels, of what a log driver is told, or of a
    /// health check: they may be secrets.
    Hidden(&'a BTreeSet<String>),
}

impl CreateSpec {
    /// The `docker run` that asks an engine for the same container. What is put into a container between its making and
    /// its start (names of users, owners of volumes) is no option, so it is not in here.
    pub fn docker_run(&self, values: Values<'_>) -> DockerRun {
        let mut run = Writer { argv: vec!["docker".to_owned(), "run".to_owned()], hidden: Vec::new(), values };
        // Every field is named, so that a new one cannot be forgotten here.
        let Self {
            name,
            image,
            labels,
            env,
            entrypoint,
            cmd,
            user,
            workdir,
            mounts,
            ports,
            groups,
            shm_size,
            cpus,
            memory,
            network,
            restart,
            options,
            gpu,
            stdio,
            removes_itself,
        } = self;
        match stdio {
            Stdio::Detached => run.flag("detach"),
            Stdio::Attached { tty } => {
                run.flag("interactive");
                run.flag_if("tty", *tty);
            }
        }
        run.flag_if("rm", *removes_itself);
        run.set("name", name);
        run.some("user", user);
        run.set("workdir", workdir);
        if let Some(first) = entrypoint.first() {
            run.set("entrypoint", first);
        }
        run.some("network", network);
        if *restart != Restart::No {
            run.set("restart", restart_policy(*restart));
        }
        for port in ports {
            let address = if port.address.is_ipv6() { format!("[{}]", port.address) } else { port.address.to_string() };
            run.set("publish", format!("{address}:{}:{}", port.host, container_port(port)));
        }
        run.each("group-add", groups);
        run.maybe("shm-size", shm_size.as_ref());
        run.maybe("cpus", cpus.as_ref().map(|cpus| &cpus.0));
        run.maybe("memory", memory.as_ref());
        for mount in mounts.iter().chain(gpu.given().into_iter().flat_map(|given| &given.files)) {
            run.set("mount", mount_option(mount));
        }
        match gpu {
            GpuRequest::None => {}
            GpuRequest::Direct(given) => {
                let named = |device: &&Device| options.devices.iter().all(|named| named.container != device.container);
                run.each("device", &given.devices.iter().filter(named).map(device_option).collect::<Vec<_>>());
            }
            GpuRequest::Cdi(names) => run.each("device", names),
            GpuRequest::NvidiaAll => run.set("gpus", "all"),
            GpuRequest::Nvidia(ids) => run.set("gpus", csv(&[format!("device={}", ids.join(","))])),
        }
        for (name, value) in env {
            run.env(name, value);
        }
        run.engine_options(options, labels);
        for (name, value) in labels {
            run.set("label", format!("{name}={value}"));
        }
        run.argv.push(image.clone());
        run.argv.extend(entrypoint.iter().skip(1).cloned());
        run.argv.extend(cmd.iter().cloned());
        DockerRun { argv: run.argv, hidden: run.hidden }
    }
}

struct Writer<'a> {
    argv: Vec<String>,
    hidden: Vec<String>,
    values: Values<'a>,
}

impl Writer<'_> {
    fn flag(&mut self, name: &str) {
        self.argv.push(format!("--{name}"));
    }

    fn flag_if(&mut self, name: &str, set: bool) {
        if set {
            self.flag(name);
        }
    }

    /// With an equals sign: a value may begin with a dash.
    fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        self.argv.push(format!("--{name}={value}"));
    }

    fn some(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.set(name, value);
        }
    }

    fn maybe<T: std::fmt::Display>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    fn each<T: std::fmt::Display>(&mut self, name: &str, values: &[T]) {
        for value in values {
            self.set(name, value);
        }
    }

    fn hides(&mut self, kind: &str, name: &str) -> bool {
        let hides = matches!(self.values, Values::Hidden(_));
        if hides {
            self.hidden.push(format!("{kind} {name}"));
        }
        hides
    }

    fn env(&mut self, name: &str, value: &str) {
        let secret = matches!(self.values, Values::Hidden(names) if names.contains(name));
        if secret && self.hides("env", name) {
            // The tool takes the value of its own variable of that name.
            self.set("env", name);
        } else {
            self.set("env", format!("{name}={value}"));
        }
    }

    fn pair(&mut self, option: &str, name: &str, value: &str) {
        let value = if self.hides(option, name) { HIDDEN } else { value };
        self.set(option, format!("{name}={value}"));
    }

    /// `ours` are the labels that win over the user's.
    fn engine_options(&mut self, options: &EngineOptions, ours: &std::collections::BTreeMap<String, String>) {
        let EngineOptions {
            name: _,
            group_add: _,
            // In the environment.
            timezone: _,
            hostname,
            domainname,
            mac_address,
            ipc,
            pid,
            uts,
            userns,
            cgroupns,
            cgroup_parent,
            runtime,
            platform,
            dns,
            dns_search,
            dns_option,
            extra_hosts,
            network_aliases,
            cap_add,
            cap_drop,
            devices,
            device_cgroup_rules,
            security_opt,
            privileged,
            ulimits,
            sysctls,
            cpuset,
            cpuset_mems,
            cpu_shares,
            cpu_period,
            cpu_quota,
            memory_swap,
            memory_reservation,
            memory_swappiness,
            oom_kill_disable,
            oom_score_adj,
            pids_limit,
            blkio_weight,
            init,
            read_only,
            volumes_from,
            volume_driver,
            labels,
            annotations,
            stop_signal,
            stop_timeout,
            log_driver,
            log_opts,
            storage_opts,
            publish_all,
            expose,
            tmpfs,
            ip,
            ip6,
            link_local_ips,
            links,
            health,
            cpu_rt_period,
            cpu_rt_runtime,
            blkio_weight_devices,
            device_read_bps,
            device_write_bps,
            device_read_iops,
            device_write_iops,
        } = options;
        for (name, value) in [
            ("hostname", hostname),
            ("domainname", domainname),
            ("mac-address", mac_address),
            ("ip", ip),
            ("ip6", ip6),
            ("ipc", ipc),
            ("pid", pid),
            ("uts", uts),
            ("userns", userns),
            ("cgroupns", cgroupns),
            ("cgroup-parent", cgroup_parent),
            ("runtime", runtime),
            ("platform", platform),
            ("cpuset-cpus", cpuset),
            ("cpuset-mems", cpuset_mems),
            ("volume-driver", volume_driver),
            ("stop-signal", stop_signal),
            ("log-driver", log_driver),
        ] {
            self.maybe(name, value.as_ref());
        }
        for (name, value) in [
            ("cpu-shares", cpu_shares),
            ("cpu-period", cpu_period),
            ("cpu-quota", cpu_quota),
            ("cpu-rt-period", cpu_rt_period),
            ("cpu-rt-runtime", cpu_rt_runtime),
            ("memory-swap", memory_swap),
            ("memory-swappiness", memory_swappiness),
            ("oom-score-adj", oom_score_adj),
            ("pids-limit", pids_limit),
            ("stop-timeout", stop_timeout),
        ] {
            self.maybe(name, value.as_ref());
        }
        self.maybe("memory-reservation", memory_reservation.as_ref());
        self.maybe("blkio-weight", blkio_weight.as_ref());
        for (name, values) in [
            ("dns", dns),
            ("dns-search", dns_search),
            ("dns-option", dns_option),
            ("add-host", extra_hosts),
            ("network-alias", network_aliases),
            ("link-local-ip", link_local_ips),
            ("link", links),
            ("cap-add", cap_add),
            ("cap-drop", cap_drop),
            ("device-cgroup-rule", device_cgroup_rules),
            ("security-opt", security_opt),
            ("volumes-from", volumes_from),
            ("expose", expose),
        ] {
            self.each(name, values);
        }
        for device in devices {
            self.set("device", device_option(device));
        }
        for (name, limits) in [
            ("blkio-weight-device", blkio_weight_devices),
            ("device-read-bps", device_read_bps),
            ("device-write-bps", device_write_bps),
            ("device-read-iops", device_read_iops),
            ("device-write-iops", device_write_iops),
        ] {
            for (device, limit) in limits {
                self.set(name, format!("{device}:{limit}"));
            }
        }
        for limit in ulimits {
            self.set("ulimit", format!("{}={}:{}", limit.name, limit.soft, limit.hard));
        }
        for (name, pairs) in [("sysctl", sysctls), ("annotation", annotations), ("storage-opt", storage_opts)] {
            for (key, value) in pairs {
                self.set(name, format!("{key}={value}"));
            }
        }
        for (path, options) in tmpfs {
            self.set("tmpfs", format!("{path}:{options}"));
        }
        for (name, set) in [
            ("privileged", privileged),
            ("oom-kill-disable", oom_kill_disable),
            ("read-only", read_only),
            ("publish-all", publish_all),
        ] {
            self.flag_if(name, *set);
        }
        self.maybe("init", init.as_ref());
        for (name, value) in log_opts {
            self.pair("log-opt", name, value);
        }
        for (name, value) in labels.iter().filter(|(name, _)| !ours.contains_key(*name)) {
            self.pair("label", name, value);
        }
        if let Some(health) = health {
            self.health(health);
        }
    }

    fn health(&mut self, health: &Health) {
        let Health { test, interval, timeout, start_period, start_interval, retries } = health;
        match test.as_slice() {
            [kind] if kind == "NONE" => self.flag("no-healthcheck"),
            [kind, command] if kind == "CMD-SHELL" => {
                let hidden = self.hides("health-cmd", "");
                self.set("health-cmd", if hidden { HIDDEN } else { command.as_str() });
            }
            _ => {}
        }
        for (name, nanoseconds) in [
            ("health-interval", interval),
            ("health-timeout", timeout),
            ("health-start-period", start_period),
            ("health-start-interval", start_interval),
        ] {
            self.maybe(name, nanoseconds.map(|n| format!("{n}ns")).as_ref());
        }
        self.maybe("health-retries", retries.as_ref());
    }
}

fn restart_policy(restart: Restart) -> String {
    match restart {
        Restart::No => "no".to_owned(),
        Restart::Always => "always".to_owned(),
        Restart::UnlessStopped => "unless-stopped".to_owned(),
        Restart::OnFailure { most: None } => "on-failure".to_owned(),
        Restart::OnFailure { most: Some(most) } => format!("on-failure:{most}"),
    }
}

fn device_option(device: &Device) -> String {
    format!("{}:{}:{}", device.host, device.container, device.permissions)
}

fn mount_option(mount: &Mount) -> String {
    let (kind, source) = match &mount.source {
        MountSource::Host(path) => ("bind", Some(path.to_string())),
        MountSource::Volume(name) => ("volume", Some(name.clone())),
        MountSource::Tmpfs => ("tmpfs", None),
    };
    let mut fields = vec![format!("type={kind}")];
    fields.extend(source.map(|source| format!("source={source}")));
    fields.push(format!("target={}", mount.target));
    if mount.read_only {
        fields.push("readonly".to_owned());
    }
    csv(&fields)
}

/// As the tool reads the values of `--mount` and `--gpus`: a line of comma-separated values.
fn csv(fields: &[String]) -> String {
    let field = |field: &String| {
        if field.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field.clone()
        }
    };
    fields.iter().map(field).collect::<Vec<_>>().join(",")
}
