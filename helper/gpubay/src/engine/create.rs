//! From what a container should be to what the engine's API is told.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount as ApiMount, MountBindOptions, MountType, NetworkingConfig,
    PortBinding, ResourcesBlkioWeightDevice, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum, ThrottleDevice,
};

use crate::ContainerPath;
use crate::config::model::{Decimal, Device, EngineOptions, Health, Mount, MountSource, Port, Protocol, Restart};

/// Everything that is decided about a container before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSpec {
    pub name: String,
    /// A reference or an id that the engine has.
    pub image: String,
    pub labels: BTreeMap<String, String>,
    pub env: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `uid:gid`, or what the image's USER says when empty.
    pub user: String,
    pub workdir: ContainerPath,
    pub mounts: Vec<Mount>,
    pub ports: Vec<Port>,
    /// Supplementary groups by number or name.
    pub groups: Vec<String>,
    pub shm_size: Option<u64>,
    pub cpus: Option<Decimal>,
    pub memory: Option<u64>,
    pub network: String,
    pub restart: Restart,
    pub options: EngineOptions,
    pub gpu: GpuRequest,
    pub stdio: Stdio,
    /// The engine removes it when it has ended; its end is asked for and not waited for.
    pub removes_itself: bool,
}

/// How the engine is asked for GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuRequest {
    None,
    /// Full names of CDI devices.
    Cdi(Vec<String>),
    /// Through the NVIDIA runtime's hook: every device, or some by index or UUID.
    NvidiaAll,
    Nvidia(Vec<String>),
    /// Nothing that an engine would have to know of GPUs.
    Direct(Given),
}

/// A driver's device nodes and files, for an engine that has no way of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    pub devices: Vec<Device>,
    pub files: Vec<Mount>,
    /// The folder of the libraries inside, for the loader.
    pub library_path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Nobody will attach.
    Detached,
    /// Somebody attaches before the start; with a terminal or without.
    Attached { tty: bool },
}

impl CreateSpec {
    pub(super) fn body(&self) -> ContainerCreateBody {
        let options = &self.options;
        let mut labels: HashMap<String, String> = options.labels.clone().into_iter().collect();
        labels.extend(self.labels.clone());
        let mut exposed: Vec<String> = options.expose.clone();
        exposed.extend(self.ports.iter().map(container_port));
        exposed.sort();
        exposed.dedup();
        let (tty, attached) = match self.stdio {
            Stdio::Detached => (false, false),
            Stdio::Attached { tty } => (tty, true),
        };
        ContainerCreateBody {
            hostname: options.hostname.clone(),
            domainname: options.domainname.clone(),
            user: some(&self.user),
            attach_stdin: Some(attached),
            attach_stdout: Some(attached),
            attach_stderr: Some(attached),
            open_stdin: Some(attached),
            stdin_once: Some(attached),
            tty: Some(tty),
            exposed_ports: list(&exposed),
            env: Some(self.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            entrypoint: list(&self.entrypoint),
            cmd: list(&self.cmd),
            image: Some(self.image.clone()),
            working_dir: Some(self.workdir.to_string()),
            labels: Some(labels),
            stop_signal: options.stop_signal.clone(),
            stop_timeout: options.stop_timeout,
            healthcheck: options.health.as_ref().map(health),
            host_config: Some(self.host_config()),
            networking_config: self.networking(),
            ..ContainerCreateBody::default()
        }
    }

    /// Those that it is configured with, and a driver's files.
    pub fn all_mounts(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().chain(self.gpu.given().into_iter().flat_map(|given| &given.files))
    }

    /// Whoever names a node of a driver's himself gets it as he says.
    pub(super) fn all_devices(&self) -> impl Iterator<Item = &Device> {
        let named = &self.options.devices;
        let given = self.gpu.given().into_iter().flat_map(|given| &given.devices);
        named.iter().chain(given.filter(|given| named.iter().all(|named| named.container != given.container)))
    }

    fn host_config(&self) -> HostConfig {
        let options = &self.options;
        HostConfig {
            mounts: Some(self.all_mounts().map(mount).collect()),
            port_bindings: (!self.ports.is_empty()).then(|| self.port_bindings()),
            publish_all_ports: options.publish_all.then_some(true),
            group_add: list(&self.groups),
            shm_size: self.shm_size.and_then(|bytes| i64::try_from(bytes).ok()),
            nano_cpus: self.cpus.as_ref().map(|cpus| (cpus.value() * 1e9).round() as i64),
            memory: self.memory.and_then(|bytes| i64::try_from(bytes).ok()),
            network_mode: some(&self.network),
            tmpfs: map(&options.tmpfs),
            links: list(&options.links),
            cpu_realtime_period: options.cpu_rt_period,
            cpu_realtime_runtime: options.cpu_rt_runtime,
            blkio_weight_device: some_list(options.blkio_weight_devices.iter().map(|(path, weight)| {
                ResourcesBlkioWeightDevice { path: Some(path.clone()), weight: usize::try_from(*weight).ok() }
            })),
            blkio_device_read_bps: throttles(&options.device_read_bps),
            blkio_device_write_bps: throttles(&options.device_write_bps),
            blkio_device_read_iops: throttles(&options.device_read_iops),
            blkio_device_write_iops: throttles(&options.device_write_iops),
            restart_policy: Some(restart(self.restart)),
            auto_remove: self.removes_itself.then_some(true),
            device_requests: device_requests(&self.gpu),
            ipc_mode: options.ipc.clone(),
            pid_mode: options.pid.clone(),
            uts_mode: options.uts.clone(),
            userns_mode: options.userns.clone(),
            cgroupns_mode: options.cgroupns.as_deref().and_then(|mode| match mode {
                "host" => Some(HostConfigCgroupnsModeEnum::HOST),
                "private" => Some(HostConfigCgroupnsModeEnum::PRIVATE),
                _ => None,
            }),
            cgroup_parent: options.cgroup_parent.clone(),
            runtime: options.runtime.clone(),
            dns: list(&options.dns),
            dns_search: list(&options.dns_search),
            dns_options: list(&options.dns_option),
            extra_hosts: list(&options.extra_hosts),
            cap_add: list(&options.cap_add),
            cap_drop: list(&options.cap_drop),
            devices: some_list(self.all_devices().map(|device| DeviceMapping {
                path_on_host: Some(device.host.clone()),
                path_in_container: Some(device.container.clone()),
                cgroup_permissions: Some(device.permissions.clone()),
            })),
            device_cgroup_rules: list(&options.device_cgroup_rules),
            security_opt: list(&options.security_opt),
            privileged: options.privileged.then_some(true),
            ulimits: (!options.ulimits.is_empty()).then(|| {
                let limit = |limit: &crate::config::model::Ulimit| ResourcesUlimits {
                    name: Some(limit.name.clone()),
                    soft: Some(limit.soft),
                    hard: Some(limit.hard),
                };
                options.ulimits.iter().map(limit).collect()
            }),
            sysctls: map(&options.sysctls),
            cpuset_cpus: options.cpuset.clone(),
            cpuset_mems: options.cpuset_mems.clone(),
            cpu_shares: options.cpu_shares,
            cpu_period: options.cpu_period,
            cpu_quota: options.cpu_quota,
            memory_swap: options.memory_swap,
            memory_reservation: options.memory_reservation.and_then(|bytes| i64::try_from(bytes).ok()),
            memory_swappiness: options.memory_swappiness,
            oom_kill_disable: options.oom_kill_disable.then_some(true),
            oom_score_adj: options.oom_score_adj,
            pids_limit: options.pids_limit,
            blkio_weight: options.blkio_weight,
            init: options.init,
            readonly_rootfs: options.read_only.then_some(true),
            volumes_from: list(&options.volumes_from),
            volume_driver: options.volume_driver.clone(),
            annotations: map(&options.annotations),
            log_config: options
                .log_driver
                .as_ref()
                .map(|driver| HostConfigLogConfig { typ: Some(driver.clone()), config: map(&options.log_opts) }),
            storage_opt: map(&options.storage_opts),
            ..HostConfig::default()
        }
    }

    fn port_bindings(&self) -> HashMap<String, Option<Vec<PortBinding>>> {
        let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
        for port in &self.ports {
            let binding =
                PortBinding { host_ip: Some(port.address.to_string()), host_port: Some(port.host.to_string()) };
            bindings.entry(container_port(port)).or_default().get_or_insert_default().push(binding);
        }
        bindings
    }

    fn networking(&self) -> Option<NetworkingConfig> {
        let options = &self.options;
        let addresses = options.ip.is_some() || options.ip6.is_some() || !options.link_local_ips.is_empty();
        if options.network_aliases.is_empty() && options.mac_address.is_none() && !addresses {
            return None;
        }
        let settings = EndpointSettings {
            ipam_config: addresses.then(|| EndpointIpamConfig {
                ipv4_address: options.ip.clone(),
                ipv6_address: options.ip6.clone(),
                link_local_ips: list(&options.link_local_ips),
            }),
            aliases: list(&options.network_aliases),
            mac_address: options.mac_address.clone(),
            ..EndpointSettings::default()
        };
        Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(self.network.clone(), settings)])) })
    }
}

pub(super) fn container_port(port: &Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}/{protocol}", port.container)
}

/// A bind mount through `Mounts`: unlike `Binds`, a missing source is an error there instead of a
/// new folder that belongs to root.
fn mount(mount: &Mount) -> ApiMount {
    let (typ, source) = match &mount.source {
        MountSource::Host(path) => (MountType::BIND, Some(path.to_string())),
        MountSource::Volume(name) => (MountType::VOLUME, Some(name.clone())),
        MountSource::Tmpfs => (MountType::TMPFS, None),
    };
    ApiMount {
        target: Some(mount.target.to_string()),
        source,
        typ: Some(typ),
        read_only: Some(mount.read_only),
        bind_options: (typ == MountType::BIND).then(MountBindOptions::default),
        ..ApiMount::default()
    }
}

impl GpuRequest {
    pub fn given(&self) -> Option<&Given> {
        if let Self::Direct(given) = self { Some(given) } else { None }
    }
}

fn device_requests(gpu: &GpuRequest) -> Option<Vec<DeviceRequest>> {
    let request = match gpu {
        GpuRequest::None | GpuRequest::Direct(_) => return None,
        GpuRequest::Cdi(names) => DeviceRequest {
            driver: Some("cdi".to_owned()),
            device_ids: Some(names.clone()),
            ..DeviceRequest::default()
        },
        GpuRequest::NvidiaAll => {
            DeviceRequest { count: Some(-1), capabilities: Some(gpu_capability()), ..DeviceRequest::default() }
        }
        GpuRequest::Nvidia(ids) => DeviceRequest {
            device_ids: Some(ids.clone()),
            capabilities: Some(gpu_capability()),
            ..DeviceRequest::default()
        },
    };
    Some(vec![request])
}

fn gpu_capability() -> Vec<Vec<String>> {
    vec![vec!["gpu".to_owned()]]
}

fn throttles(limits: &[(String, u64)]) -> Option<Vec<ThrottleDevice>> {
    some_list(
        limits.iter().map(|(path, rate)| ThrottleDevice { path: Some(path.clone()), rate: i64::try_from(*rate).ok() }),
    )
}

fn health(health: &Health) -> HealthConfig {
    HealthConfig {
        test: list(&health.test),
        interval: health.interval,
        timeout: health.timeout,
        retries: health.retries,
        start_period: health.start_period,
        start_interval: health.start_interval,
    }
}

fn some_list<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<T> = items.collect();
    (!items.is_empty()).then_some(items)
}

fn restart(restart: Restart) -> RestartPolicy {
    let (name, most) = match restart {
        Restart::No => (RestartPolicyNameEnum::NO, None),
        Restart::Always => (RestartPolicyNameEnum::ALWAYS, None),
        Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        Restart::OnFailure { most } => (RestartPolicyNameEnum::ON_FAILURE, most.map(i64::from)),
    };
    RestartPolicy { name: Some(name), maximum_retry_count: most }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn list(items: &[String]) -> Option<Vec<String>> {
    (!items.is_empty()).then(|| items.to_vec())
}

fn map(items: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!items.is_empty()).then(|| items.clone().into_iter().collect())
}
