//! Reads what the engine says while it builds, and passes it on as steps.

use std::collections::{HashMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus};
use prost::Message as _;
use serde::Deserialize;

use super::secrets::Redactor;
use crate::progress::{Progress, Step, StepEnd, Unit};

/// Lines of a failing step that are kept for its error.
pub(super) const TAIL: usize = 30;
/// Bytes after which a line without an end is passed on.
pub(super) const LINE_LIMIT: usize = 16 * 1024;
/// Characters of a title, and of an instruction in an error.
const WIDTH: usize = 100;
/// Bytes of one message of the engine.
const MESSAGE_LIMIT: usize = 64 * 1024 * 1024;

/// One line of the engine's answer.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    id: String,
    aux: Option<serde_json::Value>,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    detail: Option<Detail>,
}

#[derive(Debug, Deserialize)]
struct Detail {
    #[serde(default)]
    message: String,
}

/// A step or an instruction as a line to read: one may have thousands of characters, and the Dockerfile has them all.
pub(super) fn one_line(text: &str) -> String {
    if text.chars().count() <= WIDTH && !text.contains('\n') {
        return text.to_owned();
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= WIDTH {
        return text;
    }
    let start: String = text.chars().take(WIDTH - 1).collect();
    format!("{}…", start.trim_end())
}

/// An engine's words with the command that they quote as [`one_line`]; the reason stands behind it.
pub(super) fn short_command(message: &str) -> String {
    for (open, close) in [
        ("process \"", "\" did not complete"),
        ("running [", "]: "),
        ("The command '", "' returned"),
        ("STEP \"", "\": "),
    ] {
        if let Some((before, rest)) = message.split_once(open)
            && let Some((command, after)) = rest.rsplit_once(close)
        {
            return format!("{before}{open}{}{close}{after}", one_line(command));
        }
    }
    message.to_owned()
}

/// Splits the engine's answer into its messages.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Takes more bytes and returns the messages that are complete.
    ///
    /// # Errors
    /// When a message is larger than any real one.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut whole = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend_from_slice(part);
            if part.ends_with(b"\n") {
                whole.push(std::mem::take(&mut self.0));
            } else if self.0.len() > MESSAGE_LIMIT {
                return Err("a message without an end".to_owned());
            }
        }
        Ok(whole)
    }

    /// What is left when the answer ends.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// What is known of a build so far.
pub(super) struct Build<'a> {
    progress: &'a Progress,
    redactor: Redactor,
    steps: HashMap<String, Known>,
    pub(super) image_id: Option<String>,
    /// The engine's own words for what ended the build.
    pub(super) error: Option<String>,
    /// The failed step: its name, its error and its last lines.
    pub(super) failed: Option<Failed>,
}

pub(super) struct Failed {
    pub(super) name: String,
    pub(super) error: String,
    digest: String,
}

#[derive(Default)]
struct Known {
    name: String,
    step: Option<Step>,
    /// How it ended, where that may not be the last word.
    waiting: Option<StepEnd>,
    /// Told as ended: what the engine repeats of it is not told again.
    ended: bool,
    /// Bytes by part: done and, where known, of how many.
    parts: HashMap<String, (u64, u64)>,
    partial: HashMap<i64, Vec<u8>>,
    tail: VecDeque<String>,
}

impl<'a> Build<'a> {
    pub(super) fn new(progress: &'a Progress, redactor: Redactor) -> Self {
        Self { progress, redactor, steps: HashMap::new(), image_id: None, error: None, failed: None }
    }

    /// Reads one message; what is none of ours or malformed is left alone.
    pub(super) fn message(&mut self, line: &[u8]) {
        let Ok(message) = serde_json::from_slice::<Message>(line) else { return };
        if let Some(error) =
            message.detail.map(|detail| detail.message).filter(|text| !text.is_empty()).or(message.error)
        {
            self.error = Some(self.redactor.apply(&error));
        }
        match (message.id.as_str(), message.aux) {
            ("moby.buildkit.trace", Some(serde_json::Value::String(text))) => {
                let status = STANDARD.decode(text).ok().and_then(|bytes| StatusResponse::decode(&bytes[..]).ok());
                if let Some(status) = status {
                    self.status(status);
                }
            }
            (_, Some(aux)) => {
                if let Some(id) = aux.get("ID").and_then(|id| id.as_str()) {
                    self.image_id = Some(id.to_owned());
                }
            }
            _ => {}
        }
    }

    /// The last lines of the failed step.
    pub(super) fn tail(&mut self) -> Vec<String> {
        let Some(known) = self.failed.as_ref().and_then(|failed| self.steps.get_mut(&failed.digest)) else {
            return Vec::new();
        };
        std::mem::take(&mut known.tail).into()
    }

    fn status(&mut self, status: StatusResponse) {
        for vertex in &status.vertexes {
            self.started(vertex);
            if vertex.started.is_some() {
                for input in &vertex.inputs {
                    self.settle(input);
                }
            }
        }
        for part in status.statuses {
            self.advanced(part);
        }
        for log in status.logs {
            self.logged(&log);
        }
        for warning in status.warnings {
            let text = String::from_utf8_lossy(&warning.short).into_owned();
            self.progress.warn(self.redactor.apply(&text));
        }
        // An end comes in one message with the last lines, which belong before it.
        for vertex in &status.vertexes {
            self.ended(vertex);
        }
    }

    fn started(&mut self, vertex: &Vertex) {
        let known = self.steps.entry(vertex.digest.clone()).or_default();
        known.name = self.redactor.apply(&vertex.name);
        if vertex.started.is_some() {
            known.waiting = None;
        }
        if known.step.is_none() && vertex.started.is_some() && !known.ended {
            known.step = Some(self.progress.step(one_line(&known.name)));
        }
    }

    fn ended(&mut self, vertex: &Vertex) {
        let Some(known) = self.steps.get_mut(&vertex.digest) else { return };
        if !vertex.error.is_empty() && self.failed.is_none() && !vertex.error.contains("context canceled") {
            let error = self.redactor.apply(&vertex.error);
            self.failed = Some(Failed { name: known.name.clone(), error, digest: vertex.digest.clone() });
        }
        if vertex.completed.is_none() && vertex.error.is_empty() {
            return;
        }
        known.flush(&self.redactor);
        known.waiting = Some(match (vertex.error.is_empty(), vertex.cached) {
            (false, _) => StepEnd::Failed,
            (true, true) => StepEnd::Cached,
            (true, false) => StepEnd::Done,
        });
        // The engine looks at sources first, says that this is done, and then does them, and their
        // bytes may come after their end: they end when something takes them up.
        if !(known.name.starts_with("[internal]") || known.name.contains("] FROM ")) {
            self.settle(&vertex.digest);
        }
    }

    fn settle(&mut self, digest: &str) {
        let Some(known) = self.steps.get_mut(digest) else { return };
        if let Some(end) = known.waiting.take()
            && let Some(step) = known.step.take()
        {
            known.ended = true;
            step.end(end);
        }
    }

    /// The answer is at its end: so are all steps that said so.
    pub(super) fn settle_all(&mut self) {
        let mut digests: Vec<String> = self.steps.keys().cloned().collect();
        digests.sort();
        for digest in digests {
            self.settle(&digest);
        }
    }

    fn advanced(&mut self, part: VertexStatus) {
        let Some(known) = self.steps.get_mut(&part.vertex) else { return };
        let now = (part.current.max(0) as u64, part.total.max(0) as u64);
        if known.parts.insert(part.id, now) == Some(now) || now == (0, 0) {
            return;
        }
        let done = known.parts.values().map(|(done, _)| done).sum();
        let total: u64 = known.parts.values().map(|(done, total)| done.max(total)).sum();
        let all_known = known.parts.values().all(|(_, total)| *total > 0);
        if let Some(step) = &known.step {
            step.advance(done, all_known.then_some(total), Unit::Bytes);
        }
    }

    fn logged(&mut self, log: &VertexLog) {
        let Some(known) = self.steps.get_mut(&log.vertex) else { return };
        for part in log.msg.split_inclusive(|byte| *byte == b'\n') {
            let line = known.partial.entry(log.stream).or_default();
            line.extend_from_slice(part);
            if part.ends_with(b"\n") || line.len() > LINE_LIMIT {
                let line = std::mem::take(line);
                known.line(&line, &self.redactor);
            }
        }
    }
}

impl Known {
    fn line(&mut self, bytes: &[u8], redactor: &Redactor) {
        let text = String::from_utf8_lossy(bytes);
        // A program that draws over its own line means the last of what it drew.
        let text = text.trim_end_matches(['\n', '\r']).rsplit('\r').next().unwrap_or("");
        let text = redactor.apply(text);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text.clone());
        if let Some(step) = &self.step {
            step.output(text);
        }
    }

    fn flush(&mut self, redactor: &Redactor) {
        for (_, line) in std::mem::take(&mut self.partial) {
            if !line.is_empty() {
                self.line(&line, redactor);
            }
        }
    }
}
