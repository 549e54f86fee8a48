//! Named volumes.

use std::collections::HashMap;

use bollard::models::VolumeCreateRequest;

use super::{Engine, EngineError, error::sort};

impl Engine {
    pub async fn volume_exists(&self, name: &str) -> Result<bool, EngineError> {
        match self.docker.inspect_volume(name).await.map_err(|error| sort(&format!("inspect volume {name}"), error)) {
            Ok(_) => Ok(true),
            Err(EngineError::NotFound { .. }) => Ok(false),
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
