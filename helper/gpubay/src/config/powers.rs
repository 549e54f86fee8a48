//! What a workspace's own file asks of the host beyond its folder. Whoever can write that file, a
//! container among them, could ask for anything; so each thing is named and approved once.

use std::path::Path;

use super::engine_host;
use super::layer::{Layer, Passed};
use super::model::{Dockerfile, GpuSelection, Image, Mount, MountSource, Port, Protocol, Restart, SecretSource, User};
use crate::HostPath;

/// One thing to approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    /// Stable, and what `--allow` takes: `mount:/home/ada/dataset:/dataset:ro`. Paths in it are
    /// resolved, so that a link that points elsewhere is another power.
    pub key: String,
    /// What it means, as a sentence for people.
    pub sentence: String,
    /// It can take over the machine or the user's account.
    pub grave: bool,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    /// Canonical.
    pub(super) workspace: &'a HostPath,
    /// Canonical.
    pub(super) home: &'a Path,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Names that begin like this are this workspace's own on an engine: `gpubay-<slug>-<id8>`.
    pub(super) own_name: &'a str,
}

struct List<'a> {
    powers: Vec<Power>,
    asker: Asker<'a>,
}

/// `own` is the workspace's layer; `user`'s counts only where it hands on to files of the workspace.
pub(super) fn of(
    own: &Layer,
    user: &Layer,
    image: &Image,
    requirements: Option<&HostPath>,
    asker: Asker<'_>,
) -> Vec<Power> {
    let mut list = List { powers: Vec::new(), asker };
    if let Some(host) = &own.host {
        list.grave(format!("engine:{}", engine_host::redact(host)), "uses this engine instead of your own choice");
    }
    list.folder("paths.data", own.data.as_ref(), "keeps GPU Bay's data in this folder");
    list.folder("paths.cache", own.cache_folder.as_ref(), "keeps and deletes GPU Bay's mirrors in this folder");
    files(own, user, image, requirements, &mut list);
    for mount in &own.mounts {
        list.mount(mount);
    }
    if let Some(tag) = &own.tag
        && !list.owns(tag.strip_prefix("gpubay/").map_or(String::new(), |name| format!("gpubay-{name}")).as_str())
    {
        list.add(format!("tag:{tag}"), "gives this name to the image, whatever image has it now");
    }
    variables(own, user, &mut list);
    for port in own.ports.iter().filter(|port| !port.address.is_loopback()) {
        list.add(port_key(port), "opens this port to the network, past the firewall of the machine");
    }
    options(own, &mut list);
    gpus(own, &mut list);
    let mut seen = std::collections::BTreeSet::new();
    list.powers.retain(|power| seen.insert(power.key.clone()));
    list.powers
}

fn files(own: &Layer, user: &Layer, image: &Image, requirements: Option<&HostPath>, list: &mut List<'_>) {
    if let Image::Build(build) = image {
        let named_by_user =
            |path: &HostPath| own.dockerfile.is_none() && user.dockerfile.as_ref().is_some_and(|user| user == path);
        if let Dockerfile::File(path) = &build.dockerfile
            && !named_by_user(path)
        {
            list.outside("dockerfile", path, "builds from this Dockerfile");
        }
    }
    if let Some(path) = &own.context {
        list.outside("context", path, "lets the build read this folder");
    }
    for path in own.requirements.iter().flatten().chain(requirements) {
        list.outside("requirements", path, "hands this file to the container");
    }
    for path in &own.env_files {
        list.outside("env_file", path, "hands the content of this file to the container");
    }
    for path in &own.label_files {
        list.outside("label_file", path, "writes the content of this file into labels");
    }
    for secret in &own.secrets {
        match &secret.source {
            SecretSource::Env(name) => {
                list.add(format!("secret:{}=env:{name}", secret.id), "gives this variable of yours to the build");
            }
            SecretSource::File(path) if !list.inside(path) => {
                list.add(format!("secret:{}=file:{path}", secret.id), "gives this file to the build");
            }
            SecretSource::File(_) => {}
        }
    }
}

/// A name without a value takes the value from the user's environment. A file in the workspace is
/// the workspace's word, whoever named the file.
fn variables(own: &Layer, user: &Layer, list: &mut List<'_>) {
    let from_files = user.passed.iter().filter(|(_, by)| matches!(by, Passed::File(path) if list.inside(path)));
    let names: Vec<String> = own.passed.keys().chain(from_files.map(|(name, _)| name)).cloned().collect();
    for name in names {
        list.add(format!("env:{name}"), "gives this variable of yours to the container");
    }
}

const UNATTENDED: &str = "lets the engine start the container again, without you";

fn options(own: &Layer, list: &mut List<'_>) {
    let o = &own.engine_options;
    match own.user {
        Some(User::Root | User::Ids { uid: 0, .. }) => {
            list.grave("user:root".into(), "runs as root: files in the workspace and in mounts can become root's");
        }
        Some(User::Image) => {
            list.add("user:image".into(), "runs as the image's own user, which is often root");
        }
        Some(User::Ids { uid, gid }) if (uid, gid) != (list.asker.uid, list.asker.gid) => {
            list.add(format!("user:{uid}:{gid}"), "runs as another user of this machine");
        }
        _ => {}
    }
    if own.privileged == Some(true) {
        list.grave("privileged".into(), "is as powerful as root on this machine");
    }
    let other = |mode: &str| mode == "host" || mode.starts_with("container:");
    let spaces = [
        ("network", own.network.as_ref(), "shares the network, every local service included"),
        ("ipc", o.ipc.as_ref(), "shares memory with other processes"),
        ("pid", o.pid.as_ref(), "sees and, as the same user, controls other processes"),
        ("uts", o.uts.as_ref(), "can change the machine's name"),
        ("userns", o.userns.as_ref(), "leaves the separation of users"),
        ("cgroupns", o.cgroupns.as_ref(), "sees the machine's control groups"),
    ];
    for (name, mode, sentence) in spaces {
        if let Some(mode) = mode.filter(|mode| other(mode)) {
            list.grave(format!("{name}:{mode}"), sentence);
        }
    }
    let usual = ["bridge", "none", "default", "host"];
    if let Some(network) = own.network.as_ref().filter(|name| !usual.contains(&name.as_str()) && !other(name)) {
        list.add(format!("network:{network}"), "joins this network and reaches whatever is in it");
    }
    match own.restart {
        None | Some(Restart::No) => {}
        Some(Restart::Always) => list.add("restart:always".into(), UNATTENDED),
        Some(Restart::UnlessStopped) => list.add("restart:unless-stopped".into(), UNATTENDED),
        Some(Restart::OnFailure { .. }) => list.add("restart:on-failure".into(), UNATTENDED),
    }
    for device in &o.devices {
        let key = format!("device:{}:{}:{}", device.host, device.container, device.permissions);
        list.grave(key, "gives this device to the container");
    }
    let mut each = |name: &str, entries: &mut dyn Iterator<Item = String>, grave: bool, sentence: &str| {
        for entry in entries {
            list.push(format!("{name}:{entry}"), sentence, grave);
        }
    };
    let pairs = |map: &std::collections::BTreeMap<String, String>| -> Vec<String> {
        map.iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    let mut caps = o.cap_add.iter().map(|cap| {
        let cap = cap.to_ascii_uppercase();
        cap.strip_prefix("CAP_").map(str::to_owned).unwrap_or(cap)
    });
    each("cap_add", &mut caps, true, "adds this capability");
    each("device_cgroup_rule", &mut o.device_cgroup_rules.iter().cloned(), true, "opens devices by their numbers");
    each("security_opt", &mut o.security_opt.iter().cloned(), true, "changes how the container is confined");
    each("volumes_from", &mut o.volumes_from.iter().cloned(), true, "mounts what another container mounts");
    each("link", &mut o.links.iter().cloned(), false, "reads another container's variables and reaches it");
    each("group_add", &mut o.group_add.iter().cloned(), false, "runs with this group of the machine");
    each("sysctl", &mut pairs(&o.sysctls).into_iter(), false, "changes a kernel setting");
    each("annotation", &mut pairs(&o.annotations).into_iter(), true, "tells the engine's runtime what to do");
    each("runtime", &mut o.runtime.iter().cloned(), false, "runs under another runtime");
    each("cgroup_parent", &mut o.cgroup_parent.iter().cloned(), false, "leaves the engine's control group");
    each("volume_driver", &mut o.volume_driver.iter().cloned(), true, "lets another program provide volumes");
    let harmless = ["json-file", "local", "none"];
    let driver = o.log_driver.iter().filter(|driver| !harmless.contains(&driver.as_str()));
    each("log_driver", &mut driver.cloned(), false, "sends the output elsewhere");
    let adjusted = o.oom_score_adj.filter(|adj| *adj < 0).map(|adj| adj.to_string());
    each("oom_score_adj", &mut adjusted.into_iter(), false, "lets other programs die first when memory runs out");
    if o.oom_kill_disable {
        list.add("oom_kill_disable".into(), "lets other programs die first when memory runs out");
    }
    if o.publish_all {
        list.add("publish_all".into(), "opens every port of the image to the network");
    }
}

/// A CDI name can stand for any device or mount that the engine's specifications describe.
fn gpus(own: &Layer, list: &mut List<'_>) {
    let of_jobs = own.jobs.values().filter_map(|job| job.gpus.as_ref());
    for selection in own.select.iter().chain(of_jobs) {
        let GpuSelection::Named(names) = selection else { continue };
        for name in names.iter().filter(|name| name.contains('=') && !name.starts_with("nvidia.com/gpu=")) {
            list.grave(
                format!("cdi:{name}"),
                "gives this device to the container, and whatever its specification adds",
            );
        }
    }
}

fn port_key(port: &Port) -> String {
    let address = match port.address {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    };
    let ports =
        if port.host == port.container { port.host.to_string() } else { format!("{}:{}", port.host, port.container) };
    let protocol = if port.protocol == Protocol::Udp { "/udp" } else { "" };
    format!("port:{address}:{ports}{protocol}")
}

impl List<'_> {
    fn push(&mut self, key: String, sentence: &str, grave: bool) {
        self.powers.push(Power { key, sentence: sentence.to_owned(), grave });
    }

    fn add(&mut self, key: String, sentence: &str) {
        self.push(key, sentence, false);
    }

    fn grave(&mut self, key: String, sentence: &str) {
        self.push(key, sentence, true);
    }

    /// A name on the engine that no other workspace makes.
    fn owns(&self, name: &str) -> bool {
        name.strip_prefix(self.asker.own_name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':']))
    }

    /// Paths are canonical, so a link that leads outside is outside.
    fn inside(&self, path: &HostPath) -> bool {
        path.as_path().starts_with(self.asker.workspace.as_path())
    }

    fn outside(&mut self, name: &str, path: &HostPath, sentence: &str) {
        if !self.inside(path) {
            let grave = self.danger(path.as_path()).is_some();
            self.push(format!("{name}:{path}"), sentence, grave);
        }
    }

    /// Our own folders: even inside the workspace they are for the user to place.
    fn folder(&mut self, name: &str, path: Option<&HostPath>, sentence: &str) {
        if let Some(path) = path {
            self.grave(format!("{name}:{path}"), sentence);
        }
    }

    fn mount(&mut self, mount: &Mount) {
        let end = if mount.read_only { ":ro" } else { "" };
        let path = match &mount.source {
            MountSource::Tmpfs => return,
            // Named volumes are the engine's: whoever knows the name shares it.
            MountSource::Volume(name) if self.owns(name) => return,
            MountSource::Volume(name) => {
                let sentence = "mounts this volume, whoever else uses it";
                return self.add(format!("volume:{name}:{}{end}", mount.target), sentence);
            }
            MountSource::Host(path) if self.inside(path) => return,
            MountSource::Host(path) => path,
        };
        let danger = self.danger(path.as_path());
        let sentence = match (danger, mount.read_only) {
            (Some(why), _) => format!("mounts {path}, {why}"),
            (None, true) => format!("lets the container read {path}"),
            (None, false) => format!("lets the container read and change {path}"),
        };
        self.push(format!("mount:{path}:{}{end}", mount.target), &sentence, danger.is_some());
    }

    /// Why a path is more than data.
    fn danger(&self, path: &Path) -> Option<&'static str> {
        let home = self.asker.home;
        if path == Path::new("/") {
            return Some("the whole machine");
        }
        if home.starts_with(path) {
            return Some("which holds your whole home folder");
        }
        let secret = [
            ".ssh",
            ".gnupg",
            ".aws",
            ".azure",
            ".kube",
            ".docker",
            ".netrc",
            ".git-credentials",
            ".config",
            ".local",
            ".cache",
            ".bashrc",
            ".profile",
            ".bash_profile",
            ".zshrc",
            ".pypirc",
            ".npmrc",
        ];
        let below = |base: &Path| path.starts_with(base) || base.starts_with(path);
        if secret.iter().any(|name| path.starts_with(home.join(name))) {
            return Some("where your keys, tokens or startup files are");
        }
        if path.extension().is_some_and(|end| end == "sock") || is_socket(path) {
            return Some("a socket: whoever reaches an engine's is root on this machine");
        }
        let system =
            ["/etc", "/proc", "/sys", "/dev", "/boot", "/root", "/run", "/usr", "/bin", "/lib", "/sbin", "/var"];
        if home.starts_with("/root") && path.starts_with("/root") {
            return None;
        }
        // Temporary folders and what administrators put under /var for users are data.
        if path.starts_with("/var/tmp") || path.starts_with("/dev/shm") {
            return None;
        }
        system.iter().any(|base| below(Path::new(base))).then_some("which belongs to the system")
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|meta| meta.file_type().is_socket())
}
