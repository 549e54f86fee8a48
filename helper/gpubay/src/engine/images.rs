//! Images: look, tag, pull.

use std::collections::{BTreeMap, HashMap};

use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt;

use super::{Engine, EngineError, Flavour, error::sort, raw};
use crate::progress::{Progress, Unit};

/// What an image says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`
    pub id: String,
    /// `NAME=value`, as the image has them; a value may hold `=` and newlines.
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// As the Dockerfile's USER; empty for root.
    pub user: String,
    pub workdir: String,
    pub labels: BTreeMap<String, String>,
    /// `6006/tcp`
    pub exposed: Vec<String>,
    /// ONBUILD instructions, run where another image is built from this one.
    pub onbuild: Vec<String>,
    /// In bytes.
    pub size: u64,
    /// Digests of the layers' contents, the lowest first; empty where the engine does not tell.
    pub layers: Vec<String>,
    /// As registries name it: `repository@sha256:…`; none for an image that was built here.
    pub digests: Vec<String>,
}

/// A line of a list of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnImage {
    /// `sha256:…`
    pub id: String,
    /// As they were given when the image was made: without a registry where that was none.
    pub tags: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// In bytes, without what other images share where the engine tells.
    pub own_bytes: u64,
}

impl Image {
    /// Names the image's files: images that differ only in their settings and labels, as those that two workspaces build from
    /// one Dockerfile, have the same.
    pub fn files(&self) -> String {
        if self.layers.is_empty() { self.id.clone() } else { self.layers.join(" ") }
    }

    /// The value of an environment variable of the image.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .rev()
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
    }
}

/// Whether an engine or a builder, which write a name out (`docker.io/library/busybox:latest`), mean by it the image that
/// somebody calls `written`.
pub fn is_called(image: &str, written: &str) -> bool {
    let short = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
    let (image, written) = (short(image), short(written));
    image.strip_suffix(&written).is_some_and(|registry| registry.is_empty() || registry.ends_with('/'))
}

impl Engine {
    /// Names of the images that there are, of those that have one.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn image_names(&self) -> Result<Vec<String>, EngineError> {
        let found = self.docker.list_images(None::<bollard::query_parameters::ListImagesOptions>).await;
        let found = found.map_err(|error| sort("list images", error))?;
        let mut names: Vec<String> = found.into_iter().flat_map(|image| image.repo_tags).collect();
        names.retain(|name| !name.contains("<none>"));
        names.sort();
        Ok(names)
    }

    /// `None` when the engine has no image of that name. Never pulls.
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        match self
            .docker
            .inspect_image(reference)
            .await
            .map_err(|error| sort(&format!("inspect image {reference}"), error))
        {
            Ok(found) => {
                let config = found.config.unwrap_or_default();
                Ok(Some(Image {
                    id: found.id.unwrap_or_default(),
                    env: config.env.unwrap_or_default(),
                    entrypoint: config.entrypoint.unwrap_or_default(),
                    cmd: config.cmd.unwrap_or_default(),
                    user: config.user.unwrap_or_default(),
                    workdir: config.working_dir.unwrap_or_default(),
                    labels: config.labels.unwrap_or_default().into_iter().collect(),
                    exposed: config.exposed_ports.unwrap_or_default(),
                    onbuild: config.on_build.unwrap_or_default(),
                    digests: found.repo_digests.unwrap_or_default(),
                    layers: found.root_fs.and_then(|files| files.layers).unwrap_or_default(),
                    size: found.size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
                }))
            }
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Images that carry this label, parents of others left out.
    pub async fn images_with(&self, label: &str) -> Result<Vec<OwnImage>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        self.listed(ListImagesOptionsBuilder::default().filters(&filters).shared_size(true)).await
    }

    /// All images, parents of others left out; what they share counts for each.
    pub async fn images(&self) -> Result<Vec<OwnImage>, EngineError> {
        self.listed(ListImagesOptionsBuilder::default()).await
    }

    async fn listed(&self, options: ListImagesOptionsBuilder) -> Result<Vec<OwnImage>, EngineError> {
        let found = self.docker.list_images(Some(options.build())).await.map_err(|error| sort("list images", error))?;
        let own = |image: bollard::models::ImageSummary| OwnImage {
            id: image.id,
            tags: image
                .repo_tags
                .into_iter()
                .filter(|tag| tag != "<none>:<none>")
                .map(|tag| if self.flavour == Flavour::Podman { raw::short_name(&tag).to_owned() } else { tag })
                .collect(),
            labels: image.labels.into_iter().collect(),
            own_bytes: u64::try_from(image.size - image.shared_size.max(0)).unwrap_or(0),
        };
        Ok(found.into_iter().map(own).collect())
    }

    /// Ids (`sha256:…`) of all images, parents of others left out.
    pub async fn image_ids(&self) -> Result<Vec<String>, EngineError> {
        let options = ListImagesOptionsBuilder::default().build();
        let found = self.docker.list_images(Some(options)).await.map_err(|error| sort("list images", error))?;
        Ok(found.into_iter().map(|image| image.id).collect())
    }

    /// Takes a name from an image, and with its last one the image; never against a container's need of it.
    pub async fn remove_image(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveImageOptionsBuilder::default().force(false).build();
        let doing = format!("remove image {name}");
        match self.docker.remove_image(name, Some(options), None).await.map_err(|error| sort(&doing, error)) {
            Ok(_) | Err(EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// [`EngineError::NotFound`] when there is no `source`.
    pub async fn tag(&self, source: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        let doing = format!("tag {source} as {repository}:{tag}");
        self.docker.tag_image(source, Some(options)).await.map_err(|error| sort(&doing, error))
    }

    /// Fetches an image from its registry; only ever called for an image that the user named.
    pub async fn pull(&self, reference: &str, progress: &Progress) -> Result<(), EngineError> {
        let doing = format!("pull {reference}");
        let step = progress.step(format!("Pulling {reference}"));
        let options = CreateImageOptionsBuilder::default().from_image(reference).build();
        let mut layers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut stream = std::pin::pin!(self.docker.create_image(Some(options), None, None));
        loop {
            let item = tokio::select! {
                item = stream.next() => item,
                () = progress.cancel.cancelled() => return Err(EngineError::Cancelled { doing }),
            };
            let Some(item) = item else { break };
            let item = item.map_err(|error| sort(&doing, error))?;
            if let Some(error) = item.error_detail.and_then(|detail| detail.message) {
                return Err(EngineError::Refused { doing, status: 200, message: error });
            }
            let detail = item.progress_detail.unwrap_or_default();
            if let (Some(id), Some(now), Some(total)) = (item.id, detail.current, detail.total) {
                layers.insert(id, (u64::try_from(now).unwrap_or(0), u64::try_from(total).unwrap_or(0)));
                let (now, total) = layers.values().fold((0, 0), |(a, b), (now, total)| (a + now, b + total));
                step.advance(now, Some(total), Unit::Bytes);
            }
        }
        step.done();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_called;

    #[test]
    fn a_name_that_is_written_out_is_the_same() {
        for (image, written) in [
            ("busybox:latest", "busybox"),
            ("docker.io/library/busybox:latest", "busybox"),
            ("docker.io/library/python:3.6", "python:3.6"),
            ("localhost/me/base:1", "me/base:1"),
            ("busybox", "busybox:latest"),
        ] {
            assert!(is_called(image, written), "{image}, {written}");
        }
        for (image, written) in [("mybusybox:latest", "busybox"), ("python:3.6", "python"), ("base:1", "me/base:1")] {
            assert!(!is_called(image, written), "{image}, {written}");
        }
    }
}
