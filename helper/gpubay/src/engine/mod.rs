//! The only room that knows bollard: connect, build, create, exec, archive, events.
//!
//! **Architecture Invariant:** no type of bollard appears in a public signature of this room, and its
//! name in no other room. `tests/house.rs` checks the second half.

mod absent;
mod archive;
pub mod build;
mod cdi;
mod client;
mod command;
mod condition;
mod containers;
mod create;
pub mod endpoint;
mod error;
mod events;
mod exec;
mod fit;
mod hello;
mod holes;
mod images;
mod info;
pub mod labels;
mod logs;
mod options;
mod raw;
mod ssh;
mod tls;
mod volumes;

use std::time::Duration;

use bollard::{ClientVersion, Docker};

use crate::progress::Progress;

pub use archive::{Archive, Moment, Owner};
pub use command::{DockerRun, Values};
pub use condition::Condition;
pub use containers::{Attached, Container, ContainerState, Listed, MountPoint};
pub use create::{CreateSpec, Given, GpuRequest, Stdio};
pub use endpoint::{Endpoint, Located, Surroundings};
pub use error::EngineError;
pub use events::News;
pub use exec::ExecStream;
pub use holes::{Hole, in_short};
pub use images::{Image, OwnImage, is_called};
pub use info::{EngineInfo, Flavour, KEEP_ID, UserMap};
pub use logs::{LogChunk, LogOptions};

/// The API of Docker 20.10, the oldest engine that is tested.
const LEAST_API: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };
/// The newest API whose answers bollard's types know.
const NEWEST_API: ClientVersion = ClientVersion { major_version: 1, minor_version: 51 };

/// A connection to one engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
    located: Located,
    flavour: Flavour,
    /// A container gets the GPUs that its request names.
    heeds_gpu_requests: bool,
    builder: build::Builder,
}

impl Engine {
    /// Connects, and agrees on a version of the API.
    ///
    /// # Errors
    /// [`EngineError::NotThere`], [`EngineError::Permission`], [`EngineError::TooOld`].
    pub async fn connect(located: Located) -> Result<Self, EngineError> {
        // Long calls (a wait, a build's quiet minutes) are bounded by cancellation, not by this.
        const TIMEOUT: u64 = 24 * 3600;
        // What answers, and not as an engine.
        let not_there = |why: String| EngineError::NotThere {
            endpoint: located.endpoint.to_string(),
            because: located.because.clone(),
            absence: if located.endpoint.is_unix() { error::Absence::None } else { error::Absence::Remote },
            next: if located.endpoint.is_unix() {
                "Something else listens there, or the engine hangs: look at its log, and start it anew.".to_owned()
            } else {
                absent::remote(&std::io::ErrorKind::Other.into())
            },
            why,
        };
        let told = hello::hello(&located.endpoint).await.map_err(|error| absent::sort(&located, &error))?;
        let api = told.as_ref().map(|told| &told.api).filter(|api| **api < NEWEST_API).unwrap_or(&NEWEST_API);
        let docker = match &located.endpoint {
            Endpoint::Unix(path) => Docker::connect_with_unix(&format!("unix://{}", path.display()), TIMEOUT, api),
            elsewhere @ (Endpoint::Tcp { .. } | Endpoint::Ssh(_)) => client::over(elsewhere, TIMEOUT, api),
        }
        .map_err(|error| not_there(error.to_string()))?;
        let (docker, flavour, heeds_gpu_requests, builder) = match told {
            Some(told) => (docker, told.flavour, told.heeds_gpu_requests, told.builder),
            None => {
                let asked = async {
                    let docker = docker.negotiate_version().await?;
                    let version = docker.version().await?;
                    let flavour = Flavour::from_version(&version);
                    let heeds = flavour.heeds_gpu_requests(version.version.as_deref().unwrap_or(""));
                    let podman = flavour == Flavour::Podman;
                    Ok((docker, flavour, heeds, if podman { build::Builder::Podman } else { build::Builder::Unsaid }))
                };
                match tokio::time::timeout(Duration::from_secs(20), asked).await {
                    Ok(Ok(agreed)) => agreed,
                    Ok(Err(error)) => return Err(not_there(sort_text(error))),
                    Err(_) => return Err(not_there("no answer within 20 s".to_owned())),
                }
            }
        };
        let api = docker.client_version();
        if (api.major_version, api.minor_version) < (LEAST_API.major_version, LEAST_API.minor_version) {
            return Err(EngineError::TooOld {
                endpoint: located.endpoint.to_string(),
                api: format!("{}.{}", api.major_version, api.minor_version),
                needed: "1.41 (Docker 20.10)",
            });
        }
        Ok(Self { docker, located, flavour, heeds_gpu_requests, builder })
    }

    /// The same engine, building in another way than it says.
    #[must_use]
    pub fn building_with(self, builder: build::Builder) -> Self {
        Self { builder, ..self }
    }

    /// Builds an image.
    ///
    /// # Errors
    /// [`build::BuildError`], with the failed step's line and output where a step failed.
    pub async fn build(
        &self,
        request: build::BuildRequest,
        progress: &Progress,
    ) -> Result<build::Built, build::BuildError> {
        build::build(&self.docker, &self.located.endpoint, self.builder(), request, progress).await
    }

    /// Who in it builds, as it says and as `DOCKER_BUILDKIT` wishes.
    pub fn builder(&self) -> build::Builder {
        self.builder.wished(std::env::var("DOCKER_BUILDKIT").ok().as_deref())
    }

    pub fn located(&self) -> &Located {
        &self.located
    }

    /// Whether the engine shares this machine's file system, as far as its address tells.
    pub fn is_local(&self) -> bool {
        self.located.endpoint.is_unix()
    }
}

fn sort_text(error: bollard::errors::Error) -> String {
    sort("agree on an API version", error).to_string()
}

use error::sort;

#[cfg(test)]
mod tests;
