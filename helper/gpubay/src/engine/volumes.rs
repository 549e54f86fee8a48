//! Named volumes.

use std::collections::HashMap;

use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder};

use super::{Engine, EngineError, error::sort};

/// A line of a list of volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnVolume {
    pub name: String,
    pub labels: HashMap<String, String>,
}

impl Engine {
    pub async fn volume_exists(&self, name: &str) -> Result<bool, EngineError> {
        match self.docker.inspect_volume(name).await.map_err(|error| sort(&format!("inspect volume {name}"), error)) {
            Ok(_) => Ok(true),
            Err(EngineError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The folder or device of the engine's machine that a volume is by its driver's options (`o=bind`,
    /// `device=/…`); `None` for a volume of the engine's own, and for one that does not exist.
    pub async fn volume_device(&self, name: &str) -> Result<Option<String>, EngineError> {
        let doing = format!("inspect volume {name}");
        let volume = match self.docker.inspect_volume(name).await.map_err(|error| sort(&doing, error)) {
            Ok(volume) => volume,
            Err(EngineError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        // A file system of the network names no path of this machine.
        Ok(volume.options.get("device").filter(|device| device.starts_with('/')).cloned())
    }

    /// The volumes with this label, sorted by their names.
    pub async fn volumes_with(&self, label: &str, value: &str) -> Result<Vec<OwnVolume>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{label}={value}")])]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let found = self.docker.list_volumes(Some(options)).await.map_err(|error| sort("list volumes", error))?;
        let own = |volume: Volume| OwnVolume { name: volume.name, labels: volume.labels };
        let mut volumes: Vec<OwnVolume> = found.volumes.unwrap_or_default().into_iter().map(own).collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// With what is in it; never against a container that has it.
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveVolumeOptionsBuilder::default().force(false).build();
        let doing = format!("remove volume {name}");
        match self.docker.remove_volume(name, Some(options)).await.map_err(|error| sort(&doing, error)) {
            Ok(()) | Err(EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a volume; one that is already there is left as it is.
    pub async fn create_volume(&self, name: &str, labels: HashMap<String, String>) -> Result<(), EngineError> {
        let request =
            VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(labels), ..VolumeCreateRequest::default() };
        let doing = format!("create volume {name}");
        self.docker.create_volume(request).await.map(drop).map_err(|error| sort(&doing, error))
    }
}
