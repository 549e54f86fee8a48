//! Reads what a builder that speaks the classic protocol says, and passes it on as steps. It is text for people:
//! `Step 2/4 : RUN make` (Docker) or `[1/2] STEP 2/4: RUN make` (Podman), then what the step prints.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;

use super::dockerfile::{Instruction, Parsed};
use super::secrets::Redactor;
use super::status::{LINE_LIMIT, TAIL, one_line};
use crate::progress::{Progress, Step, StepEnd, Unit};

/// One message of the answer.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    id: String,
    #[serde(rename = "progressDetail")]
    progress: Option<Pulled>,
    aux: Option<serde_json::Value>,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    detail: Option<Detail>,
}

#[derive(Debug, Deserialize)]
struct Pulled {
    current: Option<u64>,
    total: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Detail {
    code: Option<i64>,
    #[serde(default)]
    message: String,
}

/// What is known of a build so far.
pub(super) struct Steps<'a> {
    progress: &'a Progress,
    redactor: Redactor,
    current: Option<Current>,
    partial: String,
    pub(super) image_id: Option<String>,
    /// The engine's own words for what ended the build.
    pub(super) error: Option<String>,
    pub(super) exit_code: Option<i64>,
}

/// The step that runs, or the last one.
pub(super) struct Current {
    at: At,
    step: Option<Step>,
    cached: bool,
    layers: HashMap<String, (u64, u64)>,
    pub(super) tail: VecDeque<String>,
}

/// Where in the Dockerfile a step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At {
    /// From 1, among those that are built; without it `number` counts through all stages.
    stage: Option<usize>,
    number: usize,
    of: usize,
    /// The instruction as the engine repeats it.
    pub(super) text: String,
}

impl<'a> Steps<'a> {
    pub(super) fn new(progress: &'a Progress, redactor: Redactor) -> Self {
        let partial = String::new();
        Self { progress, redactor, current: None, partial, image_id: None, error: None, exit_code: None }
    }

    /// Reads one message; what is malformed is left alone.
    pub(super) fn message(&mut self, line: &[u8]) {
        let Ok(message) = serde_json::from_slice::<Message>(line) else { return };
        self.text(&message.stream);
        if let Some(id) = message.aux.as_ref().and_then(|aux| aux.get("ID")?.as_str()) {
            self.image_id = Some(id.to_owned());
        }
        if !message.status.is_empty()
            && let (Some(current), Some(Pulled { current: Some(now), total: Some(total) })) =
                (&mut self.current, message.progress)
        {
            current.layers.insert(message.id, (now, total));
            let (now, total) = current.layers.values().fold((0, 0), |(a, b), (now, total)| (a + now, b + total));
            if let Some(step) = &current.step {
                step.advance(now, Some(total), Unit::Bytes);
            }
        }
        let (code, text) = message.detail.map_or((None, String::new()), |detail| (detail.code, detail.message));
        let text = if text.is_empty() { message.error.unwrap_or_default() } else { text };
        if !text.is_empty() {
            self.flush();
            self.exit_code = code.filter(|code| *code != 0);
            self.error = Some(self.redactor.apply(&text));
        }
    }

    /// The answer is at its end.
    pub(super) fn end(&mut self) {
        self.flush();
        let failed = self.error.is_some() || self.image_id.is_none();
        if let Some(step) = self.current.as_mut().and_then(|current| current.step.take())
            && !failed
        {
            step.end(if self.current.as_ref().is_some_and(|one| one.cached) { StepEnd::Cached } else { StepEnd::Done });
        }
    }

    /// The step that was under way when the answer ended.
    pub(super) fn last(&mut self) -> Option<Current> {
        self.current.take()
    }

    fn text(&mut self, text: &str) {
        // What the engine itself says begins a message, whatever a program before it left without an end.
        if is_engines(text) {
            self.flush();
        }
        for part in text.split_inclusive('\n') {
            self.partial.push_str(part);
            if part.ends_with('\n') || self.partial.len() > LINE_LIMIT {
                self.flush();
            } else if at(&self.partial).is_some() && self.partial == text {
                // It comes without the end of its line, which is a message of its own.
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.partial);
        // A program that draws over its own line means the last of what it drew; Docker colours what came on stderr.
        let line = line.trim_end_matches(['\n', '\r']).rsplit('\r').next().unwrap_or("");
        let line = line.trim_start_matches("\u{1b}[0m").trim_start_matches("\u{1b}[91m").trim_end_matches("\u{1b}[0m");
        if line.is_empty() {
            return;
        }
        if let Some(at) = at(line)
            && self.current.as_ref().is_none_or(|now| now.at.before(&at))
        {
            return self.begin(at);
        }
        // A program inside may print the like; the engine's own comes last.
        if let Some(id) = line.strip_prefix("Successfully built ").map(str::trim)
            && (12..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            self.image_id = Some(id.to_owned());
        }
        if line.trim_start().strip_prefix("---> [Warning] ").is_some_and(|text| {
            self.progress.warn(self.redactor.apply(text));
            true
        }) {
            return;
        }
        let Some(current) = &mut self.current else { return };
        if line.contains("--> Using cache") {
            current.cached = true;
        }
        if is_engines(line) {
            return;
        }
        let line = self.redactor.apply(line);
        if current.tail.len() == TAIL {
            current.tail.pop_front();
        }
        current.tail.push_back(line.clone());
        if let Some(step) = &current.step {
            step.output(line);
        }
    }

    fn begin(&mut self, at: At) {
        if let Some(mut before) = self.current.take()
            && let Some(step) = before.step.take()
        {
            step.end(if before.cached { StepEnd::Cached } else { StepEnd::Done });
        }
        let stage = at.stage.map(|stage| format!("{stage}: ")).unwrap_or_default();
        let title = self.redactor.apply(&format!("[{stage}{}/{}] {}", at.number, at.of, at.text));
        let step = Some(self.progress.step(one_line(&title)));
        self.current = Some(Current { at, step, cached: false, layers: HashMap::new(), tail: VecDeque::new() });
    }
}

impl Current {
    /// The instruction that the step is, where it can be told.
    pub(super) fn instruction<'a>(&self, parsed: &'a Parsed) -> Option<&'a Instruction> {
        self.at.instruction(parsed)
    }

    pub(super) fn text(&self) -> &str {
        &self.at.text
    }

    /// The image that a failed `FROM` names.
    pub(super) fn base(&self) -> Option<&str> {
        let mut words = self.at.text.split_whitespace();
        words.next().filter(|keyword| keyword.eq_ignore_ascii_case("from"))?;
        words.find(|word| !word.starts_with("--"))
    }
}

impl At {
    /// Whether `next` can come after it: a program inside may print the like.
    fn before(&self, next: &Self) -> bool {
        if next.stage.is_some() {
            next.stage != self.stage || next.number > self.number
        } else {
            next.number == self.number + 1
        }
    }

    fn instruction<'a>(&self, parsed: &'a Parsed) -> Option<&'a Instruction> {
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = squeeze(&self.text);
        // Flags are not among what we keep of the text.
        let same = |one: &&Instruction| {
            let keyword = text.split(' ').next().unwrap_or("");
            !one.onbuild && one.keyword.eq_ignore_ascii_case(keyword) && text.ends_with(&squeeze(&one.rest))
        };
        let counted: Vec<Option<&Instruction>> = match self.stage {
            None => {
                let stages = parsed.stages.iter().flat_map(|stage| {
                    // `FROM` counts, and is not among the instructions.
                    std::iter::once(None).chain(stage.instructions.iter().map(Some))
                });
                parsed.globals.iter().map(Some).chain(stages).collect()
            }
            Some(stage) => {
                let stage = parsed.stages.get(stage.checked_sub(1)?)?;
                std::iter::once(None).chain(stage.instructions.iter().map(Some)).collect()
            }
        };
        counted
            .get(self.number.checked_sub(1)?)
            .copied()
            .flatten()
            .filter(same)
            .or_else(|| parsed.stages.iter().flat_map(|stage| &stage.instructions).find(same))
    }
}

/// `Step 2/4 : RUN make` or `[1/2] STEP 2/4: RUN make`.
fn at(line: &str) -> Option<At> {
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let (stage, rest) = match line.strip_prefix('[').and_then(|line| line.split_once("] ")) {
        Some((stage, rest)) => (Some(number(stage.split_once('/')?.0)?), rest),
        None => (None, line),
    };
    let (rest, podman) = match (rest.strip_prefix("Step "), rest.strip_prefix("STEP ")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return None,
    };
    let (count, text) = rest.split_once(if podman { ": " } else { " : " })?;
    let (now, of) = count.split_once('/')?;
    // Podman leaves the stage out where there is one.
    let stage = stage.or(podman.then_some(1));
    Some(At { stage, number: number(now)?, of: number(of)?, text: text.trim().to_owned() })
}

/// Said by the builder about itself.
fn is_engines(text: &str) -> bool {
    let start = text.trim_start();
    ["---> ", "--> ", "Removing intermediate container ", "Successfully built ", "Successfully tagged ", "COMMIT "]
        .iter()
        .any(|words| start.starts_with(words))
        || start.starts_with("Step ") && at(start).is_some()
        || start.starts_with("STEP ") && at(start).is_some()
        // The image's id at the end of Podman's answer.
        || start.trim_end().len() == 64 && start.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
