//! The image that the workspace wants: named, or built from its Dockerfile.
//!
//! Which build an image came from is no file of ours: it is a tag, `gpubay/<slug>-<id8>:<fingerprint>`.
//! The same Dockerfile and context lead to the same tag, and a tag that is missing means a build.

use std::collections::BTreeMap;

use super::build::Cache;
use super::fingerprint::{self, Base, FingerprintInput};
use super::user::{HostUser, ImageUsers, is_login};
use super::{Workspace, known};
use crate::config::model::{Build, Dockerfile, Image as ImageConfig};
use crate::engine::build::BuildRequest;
use crate::engine::build::dockerfile::{declared_args, parse};
use crate::engine::{EngineError, Image, UserMap};
use crate::error::{Error, Result};
use crate::files;
use crate::{ContainerPath, HostPath};

/// What is wanted and what of it is there.
#[derive(Debug)]
pub(super) struct Desired {
    /// What a container is created from.
    pub reference: String,
    /// `None`: it has to be built or pulled.
    pub found: Option<Image>,
    /// Build arguments with those that fill themselves; `None` where nothing is built.
    args: Option<BTreeMap<String, String>>,
}

/// Looks up the image for the configuration as it is now. Builds and pulls nothing. `users`: who the container's users are
/// on the engine's machine.
pub(super) async fn desired(workspace: &Workspace, users: UserMap) -> Result<Desired> {
    match &workspace.config().image {
        ImageConfig::From(reference) => {
            let found = workspace.engine.image(reference).await?;
            Ok(Desired { reference: reference.clone(), found, args: None })
        }
        ImageConfig::Build(build) => {
            let text = fingerprint::dockerfile_text(&build.dockerfile)?;
            let args = filled_args(&workspace.host.seen_by(users), build, &text);
            let mut bases = BTreeMap::new();
            for name in fingerprint::base_images(&parse(&text), &args, build.target.as_deref()) {
                if let Some(image) = workspace.engine.image(&name).await? {
                    bases.insert(name, Base { id: image.id, on_build: image.onbuild });
                }
            }
            let fingerprint = fingerprint::fingerprint(
                &FingerprintInput {
                    dockerfile: build.dockerfile.clone(),
                    context: build.context.clone(),
                    args: args.clone(),
                    target: build.target.clone(),
                    bases,
                    secret_ids: build.secrets.iter().map(|secret| secret.id.clone()).collect(),
                    always_exclude: workspace.never_in_context(),
                },
                &workspace.config().paths.cache.join("fingerprints").join(workspace.id8()),
            )?;
            let reference = format!("{}:{}", workspace.repository(), &fingerprint.as_str()[..16]);
            let found = workspace.engine.image(&reference).await?;
            Ok(Desired { reference, found, args: Some(args) })
        }
    }
}

/// Makes the wanted image be there.
///
/// # Errors
/// Of the build or the pull; a reference that is neither here nor in any registry names itself.
pub(super) async fn ensure(workspace: &Workspace, desired: Desired, cache: Cache) -> Result<(Image, String, bool)> {
    let made = make(workspace, desired, cache).await?;
    known::remember(workspace, Some(&made.1));
    Ok(made)
}

async fn make(workspace: &Workspace, desired: Desired, cache: Cache) -> Result<(Image, String, bool)> {
    if let Some(image) = desired.found {
        return Ok((image, desired.reference, false));
    }
    match (&workspace.config().image, desired.args) {
        (ImageConfig::Build(configured), Some(args)) => {
            let mut tags = vec![desired.reference.clone()];
            tags.extend(configured.tag.clone());
            workspace.reach("image.build")?;
            let request = BuildRequest {
                context: configured.context.clone(),
                dockerfile: configured.dockerfile.clone(),
                args,
                target: configured.target.clone(),
                labels: workspace.image_labels(),
                tags,
                secrets: configured.secrets.clone(),
                always_exclude: workspace.never_in_context(),
                no_cache: cache == Cache::Ignore,
            };
            let built = workspace.engine.build(request, &workspace.progress).await?;
            workspace.reach("image.built")?;
            let image = workspace.engine.image(&built.image_id).await?.ok_or_else(|| {
                Error::new("image_vanished", format!("the image {} vanished right after its build", built.image_id))
                    .with_hint("Run the command again; something on this machine removes images.")
            })?;
            Ok((image, desired.reference, true))
        }
        _ => {
            pull(workspace, &desired.reference).await?;
            let image = workspace.engine.image(&desired.reference).await?.ok_or_else(|| {
                Error::new("image_vanished", format!("the image {} vanished right after its pull", desired.reference))
            })?;
            Ok((image, desired.reference, false))
        }
    }
}

/// What it means that an image holds a copy of the whole workspace; for when it has just been built.
pub(super) fn copy_of_the_workspace(workspace: &Workspace) -> Option<String> {
    let ImageConfig::Build(build) = &workspace.config().image else { return None };
    let Dockerfile::File(file) = &build.dockerfile else { return None };
    if &build.context != workspace.folder() {
        return None;
    }
    // One that names what comes in instead of what stays out was written with this in mind.
    let ignored = files::read(build.context.join(".dockerignore").as_path(), files::SMALL).unwrap_or_default();
    if String::from_utf8_lossy(&ignored).lines().any(|line| matches!(line.trim(), "*" | "**")) {
        return None;
    }
    let text = fingerprint::dockerfile_text(&build.dockerfile).ok()?;
    let args = filled_args(&workspace.host, build, &text);
    let (line, to) = fingerprint::whole_copies(&parse(&text), &args, build.target.as_deref()).pop()?;
    let name = file.as_path().strip_prefix(workspace.folder().as_path()).unwrap_or(file.as_path()).display();
    let mut said = format!(
        "{name}:{line} copies the whole workspace into the image, so that every edit asks for another build: let \
         .dockerignore leave out what no step of the build reads, or copy only what one does"
    );
    let workdir = &workspace.config().container.workdir;
    if to != workdir.as_str() {
        use std::fmt::Write;
        let _ = write!(
            said,
            "; {to} is a copy that does not follow your edits, the workspace itself is at {workdir} (workdir = \"{to}\" \
             under [container] mounts it over the copy)"
        );
    }
    Some(said)
}

async fn pull(workspace: &Workspace, reference: &str) -> Result<()> {
    workspace.engine.pull(reference, &workspace.progress).await.map_err(|error| match error {
        cancelled @ EngineError::Cancelled { .. } => Error::from(cancelled),
        other => {
            let error = Error::from(other);
            if wants_login(&error.message) {
                return Error::new(
                    "registry_login",
                    format!(
                        "the image {reference} is not on this engine, and its registry wants a login: {}",
                        error.message
                    ),
                )
                .with_hint(format!(
                    "GPU Bay pulls without your credentials: `docker login`, then `docker pull {reference}`, and run the \
                     command again. Check the name, too: some registries say the same of one that does not exist."
                ));
            }
            Error::new("base_not_found", format!("the image {reference} is not on this engine, and {}", error.message))
                .with_hint("Check the name in [image] from, and that the engine reaches its registry (`docker pull` shows the same).")
        }
    })
}

/// In the words of the engines and registries there are.
fn wants_login(message: &str) -> bool {
    let message = message.to_lowercase();
    [
        "unauthorized",
        "authentication required",
        "no basic auth credentials",
        "docker login",
        "access denied",
        "requested access to the resource is denied",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// The user's arguments, and the usual names for the numbers of `host`, as they are inside, where the Dockerfile declares
/// them.
pub(super) fn filled_args(host: &HostUser, build: &Build, text: &str) -> BTreeMap<String, String> {
    let mut args = build.args.clone();
    // Root's own numbers would make `useradd -u 0` fail; the common default is what such files expect.
    let fails = host.uid == 0 && makes_users(text);
    let number = |id: u32| if fails { "1000".to_owned() } else { id.to_string() };
    let name = if fails || !is_login(&host.name) { "dev".to_owned() } else { host.name.clone() };
    for declared in declared_args(text) {
        let value = match declared.as_str() {
            "USER_UID" | "UID" => number(host.uid),
            "USER_GID" | "GID" => number(host.gid),
            "USER_NAME" => name.clone(),
            _ => continue,
        };
        args.entry(declared).or_insert(value);
    }
    args
}

/// By a program that refuses a number which is taken.
fn makes_users(dockerfile: &str) -> bool {
    ["useradd", "usermod", "adduser", "groupadd", "groupmod", "addgroup"]
        .iter()
        .any(|program| dockerfile.contains(program))
}

/// The image's passwd and group files, read once an image from a container that never runs.
pub(super) async fn users(workspace: &Workspace, image: &Image) -> Result<ImageUsers> {
    if let Some(known) = known_users(workspace, image) {
        return Ok(known);
    }
    let container = workspace.helper_container(image).await?;
    let read = async |path: &str| {
        let path = ContainerPath::new(path).expect("a constant path");
        let bytes = workspace.engine.file(&container, &path, 1 << 20).await?;
        Ok::<_, EngineError>(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let passwd = read("/etc/passwd").await;
    let group = read("/etc/group").await;
    workspace.engine.remove(&container).await?;
    let users = ImageUsers { passwd: passwd?, group: group? };
    super::write_cache(&users_cache(workspace, image), &users);
    Ok(users)
}

/// As [`users`], where they were read before.
pub(super) fn known_users(workspace: &Workspace, image: &Image) -> Option<ImageUsers> {
    super::read_cache(&users_cache(workspace, image))
}

fn users_cache(workspace: &Workspace, image: &Image) -> HostPath {
    workspace.image_cache(image).join("users.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_wants_a_login_is_told_from_one_that_is_not_there() {
        for (message, wants) in [
            ("pull access denied for me/x, repository does not exist or may require 'docker login'", true),
            ("Head \"https://nvcr.io/v2/x/manifests/1\": unauthorized: authentication required", true),
            ("no basic auth credentials", true),
            ("denied: requested access to the resource is denied", true),
            ("dial tcp: lookup registry: no such host", false),
            ("manifest for python:9 not found: manifest unknown", false),
        ] {
            assert_eq!(wants_login(message), wants, "{message}");
        }
    }
}
