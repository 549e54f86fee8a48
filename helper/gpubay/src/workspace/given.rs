//! Which GPUs a container is to be given: what the engine offers, the driver tells and others hold, put together.

use gpubay_protocol::agent::DRIVER_LIBRARIES;

use super::leases::Asking;
use super::there::Reach;
use super::{Workspace, fit, labels, leases, there};
use crate::config::model::{GpuSelection, Gpus};
use crate::engine::{Container, ContainerState, EngineInfo, UserMap};
use crate::error::{Error, Result};
use crate::gpu::direct::{Kit, Obstacle};
use crate::gpu::lease::{Claims, Held};
use crate::gpu::{self, Lack, cuda::Machine, inventory::Inventory};

/// Where the GPUs' plan comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// The engine has just said what it offers: good for a new container.
    Asked,
    /// The labels of the container that runs. An engine takes 20 ms to say what it offers.
    Remembered,
}

/// What follows from what the engine offers.
pub(super) struct Offered {
    pub(super) gpu: gpu::Plan,
    /// The engine's, in bytes; 0 where it was not asked.
    pub(super) memory: u64,
    pub(super) users: UserMap,
    pub(super) offer: Offer,
    /// What programs with GPUs would meet, where that was asked.
    pub(super) machine: Option<Machine>,
}

/// What a container gets that is made now, or has that is there.
///
/// # Errors
/// Of [`gpu::decide_beside`], and the engine's own.
pub(super) async fn offered(
    workspace: &Workspace,
    gpus: &Gpus,
    existing: Option<&Container>,
    asking: Asking<'_>,
) -> Result<Offered> {
    let remembered = existing.filter(|container| container.state == ContainerState::Running).and_then(|container| {
        let label = |name| container.label(name);
        let users = UserMap::named(label(labels::USERS))?;
        let may_give = workspace.engine.heeds_gpu_requests() || gpu::direct::may_be_here();
        let gpu = gpu::remembered(gpus, may_give, made_with(container))?;
        Some(Offered { gpu, memory: 0, users, offer: Offer::Remembered, machine: None })
    });
    if let Some(offered) = remembered {
        return Ok(offered);
    }
    let claims = async {
        if gpus.select == GpuSelection::None { Ok(Claims::default()) } else { leases::claims(workspace, asking).await }
    };
    let (told, claims) = tokio::join!(told(workspace, gpus), claims);
    let Told { info, lack, driver, direct } = told?;
    if info.os != "linux" {
        return Err(Error::new("engine_os", format!("the engine runs {} containers", info.os))
            .with_hint("Switch it to Linux containers."));
    }
    let claims = claims?;
    if let Some(lack) = &lack
        && let Some(gpu) = gpu::half_updated(gpus, &info, lack)?
    {
        workspace.progress.warn(format!("work is done on the CPU: {}", gpu.reason));
        return Ok(Offered { gpu, memory: info.memory, users: info.users(), offer: Offer::Asked, machine: None });
    }
    let decide = |gpus: &Gpus| gpu::decide_beside(gpus, &info, driver.as_ref(), direct.as_ref(), &claims);
    let same = existing.and_then(|container| gpu::the_same(gpus, made_with(container)));
    // Where a driver does not answer for once, a stopped container in which the environment selects stays as it is.
    let asked = gpus.select != GpuSelection::None && driver.is_none();
    let untold = existing.filter(|container| asked && made_with(container).isolation == "soft");
    let untold = untold.and_then(|container| gpu::remembered(gpus, false, made_with(container)));
    let gpu = match (same.map(|same| decide(&same)), untold) {
        (Some(Ok(plan)), _) | (_, Some(plan)) => plan,
        _ => match decide(gpus) {
            Ok(plan) => plan,
            Err(error) => return Err(leases::with_memory(workspace, error.into()).await),
        },
    };
    let machine = fit::machine(workspace, &gpu, &info, driver.as_ref());
    Ok(Offered { gpu, memory: info.memory, users: info.users(), offer: Offer::Asked, machine })
}

/// Which GPUs would do for what is wanted, if nobody had them. `None`: none is needed.
pub(super) async fn would_do(workspace: &Workspace, gpus: &Gpus) -> Result<Option<Held>> {
    let Told { info, driver, direct, .. } = told(workspace, gpus).await?;
    Ok(gpu::would_do(gpus, &info, driver.as_ref(), direct.as_ref())?)
}

/// What the engine says of itself; where that can be asked, the driver of its machine, and what can be given without it.
struct Told {
    info: EngineInfo,
    /// Why the driver does not tell, where it was asked.
    lack: Option<Lack>,
    driver: Option<Inventory>,
    direct: Option<std::result::Result<Kit, Obstacle>>,
}

async fn told(workspace: &Workspace, gpus: &Gpus) -> Result<Told> {
    let driver = async {
        // The CPU needs no driver, and a sick one makes everybody wait.
        if gpus.select == GpuSelection::None { None } else { Some(gpu::inventory_of(&workspace.engine).await) }
    };
    let (info, driver) = tokio::join!(workspace.engine.info(), driver);
    let info = info?;
    let (driver, lack) = match driver {
        Some(told) => match there::settle(workspace, &info, told, Reach::Through).await {
            Ok(driver) => (Some(driver), None),
            Err(lack) => (None, Some(lack)),
        },
        None => (None, None),
    };
    let direct = directly(workspace, gpus, &info, driver.as_ref()).await;
    Ok(Told { info, lack, driver, direct })
}

/// The driver of the engine's machine, where it can be asked.
pub(super) async fn told_of(workspace: &Workspace) -> Option<Inventory> {
    let told = gpu::inventory_of(&workspace.engine).await;
    let info = workspace.engine.info().await.ok()?;
    there::settle(workspace, &info, told, Reach::Through).await.ok()
}

/// What can be given without the engine's help. `told`: by the driver of its machine.
pub(super) async fn directly(
    workspace: &Workspace,
    gpus: &Gpus,
    info: &EngineInfo,
    told: Option<&Inventory>,
) -> Option<std::result::Result<Kit, Obstacle>> {
    let opener = workspace.host.opener(&workspace.config().container.user, info.rootless);
    gpu::direct::look(&workspace.engine, gpus, info, told, opener).await
}

/// From a container's labels.
pub(super) fn made_with(container: &Container) -> gpu::Made<'_> {
    gpu::Made {
        injection: container.label(labels::INJECTION),
        gpus: container.label(labels::GPUS),
        reason: container.label(labels::REASON),
        isolation: container.label(labels::ISOLATION),
        devices: container.label(labels::DEVICES),
        visible: container.labels.get(labels::VISIBLE).map(String::as_str),
        driver: container.labels.get(labels::DRIVER).map(String::as_str),
    }
}

/// A container that was given the files of a driver cannot start without them, and an engine says only that some path is gone.
pub(super) fn has_its_driver(found: &Container) -> Result<()> {
    let version = found.label(labels::DRIVER);
    let gone = |mount: &&crate::engine::MountPoint| {
        // What the user mounts there is another matter.
        let below = mount.target.strip_prefix(DRIVER_LIBRARIES).is_some_and(|rest| rest.starts_with('/'));
        let ours = |source: &String| source.ends_with(&format!(".so.{version}"));
        let source = mount.source.as_ref().filter(|source| below && ours(source));
        source.is_some_and(|source| !std::path::Path::new(source).exists())
    };
    let Some(gone) = found.mounts.iter().find(gone).filter(|_| !version.is_empty()) else { return Ok(()) };
    let source = gone.source.as_deref().unwrap_or_default();
    Err(Error::new(
        "gpu_driver_gone",
        format!("{} was made with the NVIDIA driver {version}, of which {source} is not there any more", found.name),
    )
    .with_hint(
        "The driver was updated or removed. `gpubay up --recreate` makes the container anew with the driver that is there now; \
         `docker cp` brings out what you still need of it.",
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::MountPoint;

    #[test]
    fn a_driver_is_missed_only_by_who_was_given_it() {
        let container = |version: &str, source: &str, target: &str| Container {
            id: "0".to_owned(),
            name: "gpubay-x".to_owned(),
            image: String::new(),
            labels: BTreeMap::from([(labels::DRIVER.to_owned(), version.to_owned())]),
            state: ContainerState::Exited { code: 0, out_of_memory: false },
            user: String::new(),
            created: 0,
            started_at: String::new(),
            finished: None,
            env: Vec::new(),
            ports: BTreeMap::new(),
            mounts: vec![MountPoint {
                source: Some(source.to_owned()),
                target: target.to_owned(),
                ..MountPoint::default()
            }],
        };
        let library = format!("{DRIVER_LIBRARIES}/libcuda.so.1");
        let gone = "/nonexistent/libcuda.so.580.65.06";
        let error = has_its_driver(&container("580.65.06", gone, &library)).expect_err("it is gone");
        assert!(error.code == "gpu_driver_gone" && error.message.contains(gone), "{error:?}");
        for (version, source, target) in [
            // Of the engine, or of the user.
            ("", gone, library.as_str()),
            ("580.65.06", "/nonexistent/own.so", library.as_str()),
            ("580.65.06", gone, "/usr/local/nvidia/lib64-of-mine/libcuda.so.1"),
            ("580.65.06", gone, "/data"),
        ] {
            assert!(has_its_driver(&container(version, source, target)).is_ok(), "{version} {source} {target}");
        }
    }
}
