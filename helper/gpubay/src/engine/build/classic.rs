//! Builds where there is no `BuildKit`: Docker's classic builder, and Podman's API, which speaks the same protocol.
//!
//! One request carries the whole context and brings the answer. When its connection closes, the engine ends the step
//! that runs and removes its container.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bollard::Docker;
use tokio_stream::wrappers::ReceiverStream;

use super::auth::Credentials;
use super::context::{self, ContextError};
use super::dockerfile::{self, Parsed};
use super::error::BuildError;
use super::reach::{self, Base, Extent};
use super::secrets::Redactor;
use super::{BuildRequest, Builder, explain, http, limits, named, status, steps, tarball};
use crate::config::model::Dockerfile;
use crate::engine::endpoint::Endpoint;
use crate::progress::{Progress, StepEnd, Unit};

/// Between two words about how much was sent.
const TOLD_EVERY: u64 = 256 << 10;

/// Builds, and returns what the engine calls the image.
///
/// # Errors
/// [`BuildError`]; [`BuildError::NeedsBuildKit`] before anything is sent.
pub(super) async fn run(
    builder: Builder,
    docker: &Docker,
    endpoint: &Endpoint,
    request: &BuildRequest,
    text: &str,
    redactor: Redactor,
    progress: &Progress,
) -> Result<String, BuildError> {
    let parsed = dockerfile::parse(text);
    let place = named(&request.dockerfile);
    limits::check(builder, &parsed, request, &place, progress)?;
    let bases = reach::images(&parsed, &request.args, request.target.as_deref(), Extent::UpToTarget);
    let (step, tarball) = {
        let step = progress.step("Sending the build context");
        let follow = wanted(docker, request, &parsed, &bases).await;
        (step, list(request, text, follow).await?)
    };
    let credentials = Credentials::of_user().registry_config(&bases).await;
    let path = format!("/build{}", query(builder, request, &tarball.dockerfile));
    let (total, said) = (tarball.total, AtomicU64::new(0));
    let step = Arc::new(std::sync::Mutex::new(Some(step)));
    let told = Arc::clone(&step);
    let (pieces, sending) = tarball::send(tarball, move |done| {
        if done < said.load(Ordering::Relaxed) + TOLD_EVERY && done < total {
            return;
        }
        said.store(done, Ordering::Relaxed);
        if let Some(step) = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_ref() {
            step.advance(done, Some(total), Unit::Bytes);
        }
    });
    let answer =
        http::stream(endpoint, &path, &[("X-Registry-Config", credentials)], ReceiverStream::new(pieces)).await;
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            // The sender ends with its queue, which the request took along.
            if let Ok(Some(failure)) = sending.await {
                return Err(failure.into());
            }
            return Err(match error {
                // What is wrong may be told before the answer begins, too.
                BuildError::Engine(message) => explain(redactor.apply(&message), None, Vec::new(), request, text),
                other => other,
            });
        }
    };
    let mut sent = Some(step);
    let mut build = steps::Steps::new(progress, redactor);
    let read = answer.lines(|line| {
        // The engine answers once it has the whole context.
        if let Some(step) = sent.take().and_then(|step| step.lock().ok().and_then(|mut step| step.take())) {
            step.end(StepEnd::Done);
        }
        build.message(line);
    });
    let read = read.await;
    build.end();
    if let Some(message) = build.error.take() {
        return Err(failure(message, &mut build, request, &parsed, text));
    }
    read?;
    build.image_id.ok_or_else(|| BuildError::Lost("its answer ended before the image was named".to_owned()))
}

/// The paths of the context that can be read. Where a base is not there yet, nobody knows what its `ONBUILD` reads.
async fn wanted(docker: &Docker, request: &BuildRequest, parsed: &Parsed, bases: &[String]) -> Vec<String> {
    let mut known = BTreeMap::new();
    for name in bases {
        let Ok(image) = docker.inspect_image(name).await else { return vec![reach::EVERYTHING.to_owned()] };
        let on_build = image.config.and_then(|config| config.on_build).unwrap_or_default();
        known.insert(name.clone(), Base { id: String::new(), on_build });
    }
    reach::context_paths(parsed, &request.args, request.target.as_deref(), &known, Extent::UpToTarget)
}

async fn list(request: &BuildRequest, text: &str, follow: Vec<String>) -> Result<tarball::Tarball, BuildError> {
    let root = context::open_root(request.context.as_path())
        .map_err(|_| BuildError::ContextMissing(request.context.clone()))?;
    let excludes = context::excludes(&request.dockerfile, &request.context)
        .map_err(|(path, source)| ContextError::Read { path, source })?;
    let never: Vec<String> = request.always_exclude.iter().map(|path| super::ignore::clean(path)).collect();
    let inside = match &request.dockerfile {
        Dockerfile::File(path) => path.as_path().strip_prefix(request.context.as_path()).ok(),
        Dockerfile::Generated { .. } => None,
    };
    let inside = inside.and_then(|path| path.to_str()).map(str::to_owned);
    let text = text.to_owned();
    let listing = tokio::task::spawn_blocking(move || {
        tarball::list(Arc::new(root), excludes, follow, &never, inside.as_deref(), &text)
    });
    match listing.await {
        Ok(listed) => Ok(listed?),
        Err(error) => Err(BuildError::Lost(error.to_string())),
    }
}

fn query(builder: Builder, request: &BuildRequest, dockerfile: &str) -> String {
    let mut query = String::new();
    let json = |map: &BTreeMap<String, String>| serde_json::to_string(map).unwrap_or_default();
    for (key, value) in [
        ("version", "1"),
        ("dockerfile", dockerfile),
        ("buildargs", &json(&request.args)),
        ("labels", &json(&request.labels)),
        // No container of a step outlives it, however it ends.
        ("rm", "1"),
        ("forcerm", "1"),
    ] {
        http::pair(&mut query, key, value);
    }
    if builder == Builder::Podman {
        // Its answers to a build would not be cached otherwise.
        http::pair(&mut query, "layers", "1");
    }
    for tag in request.tags.iter().collect::<BTreeSet<_>>() {
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

/// Finds out from the engine's words and the step that ran what went wrong.
fn failure(
    message: String,
    build: &mut steps::Steps<'_>,
    request: &BuildRequest,
    parsed: &Parsed,
    text: &str,
) -> BuildError {
    let exit_code = build.exit_code;
    let explained = explain(message, None, Vec::new(), request, text);
    let (BuildError::Engine(message), Some(step)) = (&explained, build.last()) else { return explained };
    if let Some(image) = step.base() {
        return super::base(image.to_owned(), message.clone(), request, parsed);
    }
    let line = step.instruction(parsed).map(|one| one.line);
    if message.contains("Unknown instruction:") {
        let instruction = step.text().split_whitespace().next().unwrap_or_default();
        let message = format!("unknown instruction: {instruction}");
        return BuildError::Syntax { dockerfile: named(&request.dockerfile), line, message };
    }
    let exit_code = exit_code.or_else(|| super::number_behind(message, "exit status "));
    if message.contains("Unknown instruction: ") {
        let message = format!("unknown instruction: {}", status::one_line(step.text()));
        return BuildError::Syntax { dockerfile: named(&request.dockerfile), line, message };
    }
    let instruction = status::one_line(step.text());
    let mut output: Vec<String> = step.tail.into();
    // Docker repeats the whole command when it says with what code it ended; other words are the reason.
    if output.is_empty() || exit_code.is_none() {
        output.push(status::short_command(message));
    }
    BuildError::Step { dockerfile: named(&request.dockerfile), line, instruction, exit_code, output }
}
