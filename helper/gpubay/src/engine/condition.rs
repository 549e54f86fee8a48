//! How an engine is, beyond what a workflow asks of it: for `doctor`, which says what may be in the way.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::build::Builder;
use super::{Engine, EngineError, error::sort};

/// What an engine tells of itself and of the machine that it runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The version of the API that is spoken with it.
    pub api: String,
    /// Its machine's name.
    pub machine: String,
    /// Where it keeps images and containers, on its machine.
    pub root: Option<String>,
    /// Of its machine, as images name it: `amd64`.
    pub architecture: String,
    /// Its clock when it answered, in seconds since the Unix epoch.
    pub clock: Option<i64>,
    /// Containers' users are other users of its machine (`userns-remap`).
    pub remaps_users: bool,
    /// `systemd` or `cgroupfs`
    pub cgroup_driver: String,
    /// Who in it builds.
    pub builder: Builder,
    /// Where it reads specifications of CDI devices, on its machine.
    pub cdi_folders: Vec<String>,
    /// In its own words.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Asks for all of it.
    pub async fn condition(&self) -> Result<Condition, EngineError> {
        let info = self.docker.info().await.map_err(|error| sort("ask the engine how it is", error))?;
        let api = self.docker.client_version();
        let clock = info.system_time.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok());
        let security = info.security_options.unwrap_or_default();
        Ok(Condition {
            api: format!("{}.{}", api.major_version, api.minor_version),
            machine: info.name.unwrap_or_default(),
            root: info.docker_root_dir.filter(|root| root.starts_with('/')),
            architecture: architecture(info.architecture.as_deref().unwrap_or_default()).to_owned(),
            clock: clock.map(OffsetDateTime::unix_timestamp),
            remaps_users: security.iter().any(|option| option.contains("name=userns")),
            cgroup_driver: info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default(),
            builder: self.builder(),
            cdi_folders: info.cdi_spec_dirs.unwrap_or_default(),
            warnings: info.warnings.unwrap_or_default(),
        })
    }
}

/// An engine names its machine as Linux does, and an image as Go does.
fn architecture(machine: &str) -> &str {
    match machine {
        "" | "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
