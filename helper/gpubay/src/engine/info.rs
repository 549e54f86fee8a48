//! What the engine is and what it offers.
//!
//! What differs between engines comes out of this room as facts that the others ask for, named after
//! what they mean and not after whose engine has them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Engine, EngineError, cdi, error::sort};

/// Whose program the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Docker,
    Podman,
}

impl std::fmt::Display for Flavour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
        })
    }
}

impl Flavour {
    /// From the headers of `/_ping`, by their names in lower case.
    pub(super) fn from_headers<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        if header("libpod-api-version").is_some() { Self::Podman } else { Self::Docker }
    }

    /// From `/version`, where no header was seen.
    pub(super) fn from_version(version: &bollard::models::SystemVersion) -> Self {
        let podman = version.components.iter().flatten().any(|component| component.name.starts_with("Podman"));
        if podman { Self::Podman } else { Self::Docker }
    }

    /// Podman's Docker-compatible API drops them before 5.4.
    pub(super) fn heeds_gpu_requests(self, version: &str) -> bool {
        self == Self::Docker || release(version) >= (5, 4)
    }
}

/// The first two numbers of a version; 0 where there is none.
pub(super) fn release(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Who the users inside a container are on the engine's machine, where what they write lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserMap {
    /// The same numbers.
    Same,
    /// Number 0 is the user who runs the engine; the others are numbers set aside for that user.
    RootIsUser,
    /// The same, unless a container's [`userns`](crate::config::model::EngineOptions::userns) is [`KEEP_ID`]: in
    /// that one the user who runs the engine has the number that they have outside.
    Kept,
}

/// The user namespace in which the user keeps their number, where [`UserMap::Kept`] says that there is one.
pub const KEEP_ID: &str = "keep-id";

impl UserMap {
    const ALL: [Self; 3] = [Self::Same, Self::RootIsUser, Self::Kept];

    /// For a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::RootIsUser => "root-is-user",
            Self::Kept => "kept",
        }
    }

    /// What [`UserMap::as_str`] gave.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|map| map.as_str() == name)
    }
}

/// An engine's own description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    pub flavour: Flavour,
    pub version: String,
    /// CDI devices by their full names (`nvidia.com/gpu=0`), sorted.
    pub cdi_devices: Vec<String>,
    /// Names of OCI runtimes (`runc`, `nvidia`), sorted.
    pub runtimes: Vec<String>,
    /// Whether a container gets the GPUs that its request names. One that does not makes it without any.
    pub heeds_gpu_requests: bool,
    /// In bytes; 0 where the engine does not say.
    pub memory: u64,
    pub rootless: bool,
    /// `linux`, unless the engine runs Windows containers.
    pub os: String,
    pub storage_driver: String,
    /// Names of the log drivers, sorted.
    pub log_drivers: Vec<String>,
    /// The name of its machine.
    pub machine: String,
}

impl EngineInfo {
    pub fn users(&self) -> UserMap {
        match (self.rootless, self.flavour) {
            (false, _) => UserMap::Same,
            (true, Flavour::Docker) => UserMap::RootIsUser,
            (true, Flavour::Podman) => UserMap::Kept,
        }
    }

    /// Its storage driver is one that newer releases do not have. What Podman calls overlay is its usual one.
    pub fn storage_is_outdated(&self) -> bool {
        match self.storage_driver.as_str() {
            "aufs" | "devicemapper" => true,
            "overlay" => self.flavour == Flavour::Docker,
            _ => false,
        }
    }

    /// `Podman 4.3.1`
    pub fn name(&self) -> String {
        format!("{} {}", self.flavour, self.version)
    }
}

impl Engine {
    /// Whose program it is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Whether a container gets the GPUs that its request names, which is known without asking for [`EngineInfo`]: some
    /// engines take a fifth of a second for that.
    pub fn heeds_gpu_requests(&self) -> bool {
        self.heeds_gpu_requests
    }

    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        let doing = "ask the engine what it offers";
        // Podman 4.3 does not list it among the security options.
        let (info, rootless) = if self.is_read_raw() {
            self.description(doing).await?
        } else {
            (self.docker.info().await.map_err(|error| sort(doing, error))?, false)
        };
        let runtimes: BTreeSet<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        let security = info.security_options.unwrap_or_default();
        let version = info.server_version.unwrap_or_default();
        let rootless = rootless || security.iter().any(|option| option.contains("rootless"));
        let machine = info.name.unwrap_or_default();
        let cdi_devices = match (info.discovered_devices, self.flavour()) {
            (Some(told), Flavour::Docker) => {
                let told = told.into_iter().filter(|device| device.source.as_deref() == Some("cdi"));
                told.filter_map(|device| device.id).collect::<BTreeSet<String>>().into_iter().collect()
            }
            // None where the feature is off.
            (None, Flavour::Docker) if release(&version) < (28, 2) => {
                let folders = info.cdi_spec_dirs.unwrap_or_default();
                self.specified(&machine, move || folders.into_iter().map(PathBuf::from).collect()).await
            }
            (None, Flavour::Docker) => Vec::new(),
            (_, Flavour::Podman) => {
                let version = version.clone();
                // A rootless one is that of the user who asks.
                let home = rootless.then(std::env::home_dir).flatten();
                self.specified(&machine, move || cdi::podmans_folders(&version, home.as_deref())).await
            }
        };
        let drivers: BTreeSet<String> =
            info.plugins.and_then(|plugins| plugins.log).unwrap_or_default().into_iter().collect();
        Ok(EngineInfo {
            flavour: self.flavour(),
            heeds_gpu_requests: self.heeds_gpu_requests(),
            version,
            cdi_devices,
            runtimes: runtimes.into_iter().collect(),
            memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            rootless,
            os: info.os_type.unwrap_or_else(|| "linux".to_owned()),
            storage_driver: info.driver.unwrap_or_default(),
            log_drivers: drivers.into_iter().collect(),
            machine,
        })
    }

    /// Whether it is this machine's, which calls itself `machine` where that is known: a socket may be another machine's, or
    /// that of one inside of this one.
    pub(crate) fn is_on_this_machine(&self, machine: Option<&str>) -> bool {
        let own = rustix::system::uname();
        self.is_local() && machine.is_none_or(|machine| machine.as_bytes() == own.nodename().to_bytes())
    }

    /// CDI devices by specifications of this machine, where that is the engine's and a container gets what it asks for.
    async fn specified(&self, machine: &str, folders: impl FnOnce() -> Vec<PathBuf> + Send + 'static) -> Vec<String> {
        if !self.heeds_gpu_requests() || !self.is_on_this_machine(Some(machine)) {
            return Vec::new();
        }
        tokio::task::spawn_blocking(move || cdi::devices(&folders())).await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_engines_heed_gpu_requests() {
        for (flavour, version, heeds) in [
            (Flavour::Docker, "20.10.24+dfsg1", true),
            (Flavour::Podman, "4.3.1", false),
            (Flavour::Podman, "5.3.2", false),
            (Flavour::Podman, "5.4.0-rc1", true),
            (Flavour::Podman, "6.0.0", true),
            (Flavour::Podman, "unknown", false),
        ] {
            assert_eq!(flavour.heeds_gpu_requests(version), heeds, "{flavour} {version}");
        }
    }
}
