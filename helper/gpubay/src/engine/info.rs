//! What the engine is and what it offers.

use std::collections::BTreeSet;

use super::{Engine, EngineError, error::sort};

/// An engine's own description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    pub version: String,
    /// CDI devices by their full names (`nvidia.com/gpu=0`), sorted.
    pub cdi_devices: Vec<String>,
    /// Names of OCI runtimes (`runc`, `nvidia`), sorted.
    pub runtimes: Vec<String>,
    /// In bytes; 0 where the engine does not say.
    pub memory: u64,
    pub rootless: bool,
    /// `linux`, unless the engine runs Windows containers.
    pub os: String,
    pub storage_driver: String,
}

impl Engine {
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        let info = self.docker.info().await.map_err(|error| sort("ask the engine what it offers", error))?;
        let cdi: BTreeSet<String> = info
            .discovered_devices
            .unwrap_or_default()
            .into_iter()
            .filter(|device| device.source.as_deref() == Some("cdi"))
            .filter_map(|device| device.id)
            .collect();
        let runtimes: BTreeSet<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        let security = info.security_options.unwrap_or_default();
        Ok(EngineInfo {
            version: info.server_version.unwrap_or_default(),
            cdi_devices: cdi.into_iter().collect(),
            runtimes: runtimes.into_iter().collect(),
            memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            rootless: security.iter().any(|option| option.contains("rootless")),
            os: info.os_type.unwrap_or_else(|| "linux".to_owned()),
            storage_driver: info.driver.unwrap_or_default(),
        })
    }
}
