//! Builds images: with the engine's `BuildKit`, or where it has none by the classic protocol (`classic`).
//!
//! `BuildKit` takes two connections: one on which the engine calls us (`session`) for the files of the context, for
//! secrets and for credentials, and one with the build request, whose answer tells the progress.
//! The context is never packed: the engine asks for the files that it has not seen.
//!
//! - `ignore`, `context`: which files count, and in which order;
//! - `filesync`, `secrets`, `auth`: what the engine may call;
//! - `status`: the engine's answer, read into steps;
//! - `dockerfile`, `reach`: our own reading of the Dockerfile, for lines, for fingerprints, and for what is sent;
//! - `tarball`, `steps`, `limits`: the classic protocol's context and answer, and what it cannot do.

mod auth;
mod classic;
pub mod context;
pub mod dockerfile;
pub mod error;
mod filesync;
mod http;
pub mod ignore;
mod limits;
pub mod reach;
mod secrets;
mod session;
mod status;
mod steps;
mod tarball;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::Docker;
use sha2::{Digest, Sha256};

pub use self::auth::{Login, login};
use self::context::ContextError;
pub use self::error::BuildError;
use self::filesync::{Files, Source};
use self::secrets::Values;
use self::session::Session;
use crate::HostPath;
use crate::config::model::{Dockerfile, Secret};
use crate::engine::endpoint::Endpoint;
use crate::engine::is_called;
use crate::progress::Progress;

/// What to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRequest {
    pub context: HostPath,
    /// It may lie outside the context.
    pub dockerfile: Dockerfile,
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Names for the image.
    pub tags: Vec<String>,
    pub secrets: Vec<Secret>,
    /// Paths relative to the context that are never sent, whatever `.dockerignore` says: our own.
    pub always_exclude: Vec<String>,
    pub no_cache: bool,
}

/// Who in the engine builds, as the engine says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Builder {
    BuildKit,
    /// Docker's own from before.
    Classic,
    /// Podman's, which speaks the classic protocol and knows more than Docker's.
    Podman,
    /// It does not say, as Docker 20.10 where nothing is set: `BuildKit` is asked for, and the classic one if there is none.
    #[default]
    Unsaid,
}

impl Builder {
    /// What `DOCKER_BUILDKIT` makes of it, which says the same to the engine's own tool.
    #[must_use]
    pub fn wished(self, variable: Option<&str>) -> Self {
        match (self, variable) {
            (Self::Podman, _) => Self::Podman,
            (_, Some("0" | "f" | "F" | "false" | "False" | "FALSE")) => Self::Classic,
            (_, Some("1" | "t" | "T" | "true" | "True" | "TRUE")) => Self::BuildKit,
            (said, _) => said,
        }
    }
}

/// A finished image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// `sha256:…`
    pub image_id: String,
}

/// Builds an image.
///
/// Cancelling `progress` stops the engine's work, too.
///
/// # Errors
/// [`BuildError`], with the failed step's line and output where a step failed.
pub(crate) async fn build(
    docker: &Docker,
    endpoint: &Endpoint,
    builder: Builder,
    request: BuildRequest,
    progress: &Progress,
) -> Result<Built, BuildError> {
    let text = dockerfile_text(&request.dockerfile)?;
    let values = Values::read(&request.secrets)?;
    let build_id = random_id();
    let work = async {
        match builder {
            Builder::Classic | Builder::Podman => {
                classic::run(builder, docker, endpoint, &request, &text, values.redactor(), progress).await
            }
            Builder::BuildKit | Builder::Unsaid => {
                warn_of_strangers(&text, &request.args, progress);
                match run(endpoint, &request, &text, &values, &build_id, progress).await {
                    Err(BuildError::NoBuildKit) if builder == Builder::Unsaid => {
                        classic::run(Builder::Classic, docker, endpoint, &request, &text, values.redactor(), progress)
                            .await
                    }
                    built => built,
                }
            }
        }
    };
    let built = tokio::select! {
        biased;
        () = progress.cancel.cancelled() => None,
        result = work => Some(result?),
    };
    let Some(image_id) = built else {
        // A closed connection is all that the classic builder needs.
        if matches!(builder, Builder::BuildKit | Builder::Unsaid) {
            cancel(endpoint, &build_id).await;
        }
        return Err(BuildError::Cancelled);
    };
    // The answer may name the image by its configuration or its manifest; ask for the one that the engine itself goes by.
    let name = request.tags.first().unwrap_or(&image_id);
    match docker.inspect_image(name).await {
        Ok(image) => Ok(Built { image_id: image.id.unwrap_or(image_id) }),
        Err(error) => Err(BuildError::Lost(error.to_string())),
    }
}

async fn run(
    endpoint: &Endpoint,
    request: &BuildRequest,
    text: &str,
    values: &Values,
    build_id: &str,
    progress: &Progress,
) -> Result<String, BuildError> {
    let failure = Arc::new(Mutex::new(None));
    let (sources, filename) = sources(request, text)?;
    let files = Files { sources: Arc::new(sources), failure: Arc::clone(&failure) };
    let key = hex(&Sha256::digest(request.context.to_string().as_bytes()));
    let session = session::open(endpoint, random_id(), "gpubay", &key, files, values.clone()).await?;
    let query = query(request, &filename, &session, build_id);
    let mut answer = http::send(endpoint, &format!("/build{query}")).await.map_err(|error| match error {
        // What is wrong may be told before the answer begins, too.
        BuildError::Engine(message) => explain(values.redactor().apply(&message), None, Vec::new(), request, text),
        other => other,
    })?;
    let mut build = status::Build::new(progress, values.redactor());
    let read = answer.lines(|line| build.message(line)).await;
    build.settle_all();
    drop(session);
    if let Some(message) = build.error.take() {
        if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error.into());
        }
        let tail = build.tail();
        return Err(explain(message, build.failed.as_ref(), tail, request, text));
    }
    read?;
    match build.image_id {
        Some(image_id) => Ok(image_id),
        None => Err(BuildError::Lost("its answer ended before the image was named".to_owned())),
    }
}

/// The folders that the engine may read, and the Dockerfile's name in its own.
fn sources(request: &BuildRequest, text: &str) -> Result<(HashMap<String, Source>, String), BuildError> {
    let root = context::open_root(request.context.as_path())
        .map_err(|_| BuildError::ContextMissing(request.context.clone()))?;
    let never = request.always_exclude.iter().map(|path| ignore::clean(path)).collect();
    let (dockerfile, filename) = match &request.dockerfile {
        Dockerfile::File(path) => {
            let name = path.as_path().file_name().and_then(|name| name.to_str());
            let (Some(folder), Some(name)) = (path.as_path().parent(), name) else {
                return Err(no_dockerfile(path, std::io::ErrorKind::InvalidFilename.into()));
            };
            // These two, and nothing else of the folder that they happen to lie in.
            let mut files = BTreeMap::from([(name.to_owned(), text.to_owned().into_bytes())]);
            let ignore = format!("{name}.dockerignore");
            match crate::files::read(&folder.join(&ignore), crate::files::SMALL) {
                Ok(bytes) => _ = files.insert(ignore, bytes),
                Err(crate::files::FileError::Missing) => {}
                Err(error) => {
                    let path = folder.join(&ignore);
                    return Err(ContextError::Read { path, source: error.into() }.into());
                }
            }
            (Source::Files(Arc::new(files)), name.to_owned())
        }
        Dockerfile::Generated { .. } => {
            let name = "Dockerfile".to_owned();
            let files = BTreeMap::from([(name.clone(), text.to_owned().into_bytes())]);
            (Source::Files(Arc::new(files)), name)
        }
    };
    let context = Source::Folder { root: Arc::new(root), never };
    Ok((HashMap::from([("context".to_owned(), context), ("dockerfile".to_owned(), dockerfile)]), filename))
}

fn no_dockerfile(path: &HostPath, source: std::io::Error) -> BuildError {
    BuildError::Dockerfile { path: path.clone(), source }
}

fn dockerfile_text(dockerfile: &Dockerfile) -> Result<String, BuildError> {
    match dockerfile {
        Dockerfile::Generated { text, .. } => Ok(text.clone()),
        Dockerfile::File(path) => crate::files::read_resolved(path, crate::files::SMALL)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|error| no_dockerfile(path, error.into())),
    }
}

fn query(request: &BuildRequest, filename: &str, session: &Session, build_id: &str) -> String {
    let mut query = String::new();
    let json = |map: &BTreeMap<String, String>| serde_json::to_string(map).unwrap_or_default();
    for (key, value) in [
        ("version", "2"),
        ("remote", "client-session"),
        ("session", &session.id),
        ("buildid", build_id),
        ("dockerfile", filename),
        ("buildargs", &json(&request.args)),
        ("labels", &json(&request.labels)),
        ("rm", "1"),
    ] {
        http::pair(&mut query, key, value);
    }
    for tag in &request.tags {
        http::pair(&mut query, "t", tag);
    }
    if let Some(target) = &request.target {
        http::pair(&mut query, "target", target);
    }
    if request.no_cache {
        http::pair(&mut query, "nocache", "1");
    }
    query
}

/// Tells the engine to stop; when it cannot be told, the closed connection tells it.
async fn cancel(endpoint: &Endpoint, build_id: &str) {
    let mut query = String::new();
    http::pair(&mut query, "id", build_id);
    let path = format!("/build/cancel{query}");
    let told = http::send(endpoint, &path);
    if !matches!(tokio::time::timeout(std::time::Duration::from_secs(5), told).await, Ok(Ok(_))) {
        tracing::debug!("the engine could not be told to stop the build");
    }
}

/// Warns of a `# syntax=` that makes the engine run a stranger's image to read the Dockerfile.
fn warn_of_strangers(text: &str, args: &BTreeMap<String, String>, progress: &Progress) {
    let syntax = args.get("BUILDKIT_SYNTAX").cloned().or_else(|| dockerfile::parse(text).syntax);
    let Some(syntax) = syntax else { return };
    if !is_dockers_own(&syntax) {
        progress.warn(format!("the Dockerfile is read by the image {syntax:?}, which its `# syntax=` line names"));
    }
}

/// Whether a `# syntax=` names the image that Dockerfiles are written for.
fn is_dockers_own(syntax: &str) -> bool {
    ["docker/dockerfile", "docker.io/docker/dockerfile"]
        .iter()
        .any(|own| syntax.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@'])))
}

fn random_id() -> String {
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    debug_assert_eq!(filled, Ok(bytes.len()));
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What messages call a Dockerfile.
fn named(dockerfile: &Dockerfile) -> String {
    match dockerfile {
        Dockerfile::File(path) => path.to_string(),
        Dockerfile::Generated { because, .. } => because.clone(),
    }
}

/// Finds out from the engine's words what went wrong.
fn explain(
    message: String,
    failed: Option<&status::Failed>,
    output: Vec<String>,
    request: &BuildRequest,
    text: &str,
) -> BuildError {
    let dockerfile = named(&request.dockerfile);
    let has = |needle: &str| message.contains(needle);
    let parsed = dockerfile::parse(text);
    if has("no space left on device") || has("disk quota exceeded") {
        return BuildError::DiskFull(status::short_command(&message));
    }
    if let Some(at) = message.find("dockerfile parse error") {
        let message = &message[at..];
        let line = number_behind(message, "line ");
        let message = message.split_once(": ").map_or(message, |(_, rest)| rest).to_owned();
        return BuildError::Syntax { dockerfile, line: line.map(|line| line as usize), message };
    }
    if let Some(target) = &request.target
        && (has("target stage") && has("could not be found")
            || has("failed to reach build target")
            || has("was not found in the provided Dockerfile"))
    {
        return BuildError::UnknownTarget { dockerfile, target: target.clone() };
    }
    if let Some(failed) = failed {
        let command = ["did not complete successfully", "executor failed running", "failed to solve: exit code"]
            .iter()
            .any(|words| failed.error.contains(words));
        let found = dockerfile::locate(&parsed, &failed.name, request.target.as_deref());
        if command || found.is_some() {
            let instruction = failed.name.split_once("] ").map_or(failed.name.as_str(), |(_, text)| text);
            let instruction = status::one_line(instruction);
            let line = found.map(|one| one.line);
            let exit_code = number_behind(&failed.error, "exit code: ");
            let output = if output.is_empty() { vec![status::short_command(&failed.error)] } else { output };
            return BuildError::Step { dockerfile, line, instruction, exit_code, output };
        }
    }
    let named =
        failed.and_then(|failed| failed.name.split_once("load metadata for ")).map(|(_, image)| image.to_owned());
    let syntax = failed.and_then(|failed| failed.name.split_once("docker-image://")).map(|(_, image)| image.to_owned());
    if let Some(image) = named.or(syntax).or_else(|| word_behind(&message, "failed to resolve source metadata for ")) {
        return base(image, message, request, &parsed);
    }
    BuildError::Engine(message)
}

/// A base image that could not be pulled, with the line that names it: builders write a name out.
fn base(image: String, message: String, request: &BuildRequest, parsed: &dockerfile::Parsed) -> BuildError {
    let written = matches!(request.dockerfile, Dockerfile::File(_));
    let from =
        reach::every_from(parsed, &request.args).into_iter().find(|(_, name)| written && is_called(&image, name));
    BuildError::Base { dockerfile: named(&request.dockerfile), line: from.map(|(line, _)| line), image, message }
}

fn number_behind(text: &str, words: &str) -> Option<i64> {
    let (_, rest) = text.split_once(words)?;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

fn word_behind(text: &str, words: &str) -> Option<String> {
    let (_, rest) = text.split_once(words)?;
    Some(rest.split([' ', '\n']).next()?.trim_end_matches(':').to_owned())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
