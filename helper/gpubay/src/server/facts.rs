//! What help with our own files knows of a folder besides their texts.

use std::path::Path;

use super::language::{Built, Facts, KnownGpu};
use super::method::request;
use crate::HostPath;
use crate::config;
use crate::config::model::{Dockerfile, Image};
use crate::gpu::Listed;
use crate::progress::Progress;
use crate::workspace::gpus::{OfferedGpu, Reach};
use crate::workspace::{Workspace, fit};

fn known_gpu(gpu: OfferedGpu) -> KnownGpu {
    let title = match (gpu.index, gpu.slice) {
        (Some(index), Some(slice)) => format!("GPU {index}, slice {slice}"),
        (Some(index), None) => format!("GPU {index}"),
        (None, _) => gpu.select.clone(),
    };
    let model = gpu.name.or_else(|| gpu.cdi.clone()).unwrap_or_default();
    let about = gpu.profile.map_or_else(|| model.clone(), |profile| format!("{model} {profile}"));
    let listed = Listed { index: gpu.index, slice: gpu.slice, uuid: gpu.uuid, cdi: gpu.cdi };
    KnownGpu { listed, select: gpu.select, title, about }
}

/// What can stand in a folder's values: what the engine has, as far as it answers.
pub(super) async fn facts(folder: &Path) -> Facts {
    let dockerfiles = HostPath::new(folder).map(|folder| config::candidates(&folder)).unwrap_or_default();
    let asked = async {
        let (loaded, _) = config::load_to_reach(&request(folder.to_owned(), None).ok()?).ok()?;
        config::consent::require_to_reach(&loaded, &[], None).ok()?;
        let workspace = Workspace::open(loaded, Progress::silent()).await.ok()?;
        let gpus = crate::workspace::gpus::gpus(&workspace, Reach::Here).await.ok();
        let all_gpus = gpus.as_ref().is_some_and(|report| report.complete);
        let gpus = gpus.map(|report| report.devices).unwrap_or_default().into_iter().map(known_gpu).collect();
        let machine = match workspace.engine.info().await {
            Ok(info) => fit::machine_of(&workspace, &info, Reach::Here).await,
            Err(_) => None,
        };
        let other = Built { machine, ..Built::default() };
        let own = match &workspace.config().image {
            Image::Build(build) => match &build.dockerfile {
                Dockerfile::File(path) => {
                    let (args, target) = (build.args.clone(), build.target.clone());
                    Some((path.as_path().to_owned(), Built { args, target, ..other.clone() }))
                }
                Dockerfile::Generated { .. } => None,
            },
            Image::From(_) => None,
        };
        let images = workspace.engine.image_names().await.ok();
        Some(Facts { gpus, all_gpus, images, own, other, ..Facts::default() })
    };
    let known = asked.await.unwrap_or_default();
    Facts { dockerfiles, ..known }
}
