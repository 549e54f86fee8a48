//! What an interpreter answered to tools, for when its container does not run.
//!
//! Answers are kept as the container gave them: the map to host paths may change meanwhile.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gpubay_protocol::frame;
use serde::{Deserialize, Serialize};

use crate::place::Place;
use crate::plan::Plan;

/// Tools ask some ten different questions.
const MOST_FILES: usize = 64;
const MOST_FILE: u64 = frame::MAX_FRAME as u64 + 4;
const SUFFIX: &str = ".answer";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(default)]
    pub(crate) stdout: Vec<u8>,
    #[serde(default)]
    pub(crate) stderr: Vec<u8>,
}

impl Record {
    /// Whether a tool asked: they all want a JSON list or object. What another program prints is what it did just then,
    /// and saying it again later would be a lie.
    pub(crate) fn is_an_answer(&self) -> bool {
        let is_json = |line: &[u8]| {
            let line = line.trim_ascii();
            line.first().is_some_and(|first| matches!(first, b'[' | b'{'))
                && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
        };
        self.stdout.split(|byte| *byte == b'\n').any(is_json)
    }
}

/// Everything that the answer depends on; compared in full, so that a hash is only a file's name.
#[derive(Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Question {
    environment: String,
    version: String,
    argv: Vec<String>,
    env: Vec<(String, Option<String>)>,
    cwd: Option<String>,
}

fn question(place: &Place, plan: &Plan) -> Question {
    // What only changes how an answer looks is no part of it: editors differ from terminals in these.
    let env = plan.env.iter().filter(|(name, _)| name.starts_with("PYTHON")).cloned().collect();
    Question {
        environment: place.env.id.clone(),
        version: place.env.version.clone(),
        argv: plan.question.clone().unwrap_or_else(|| plan.argv.clone()),
        env,
        cwd: plan.cwd.as_ref().map(ToString::to_string),
    }
}

fn file(place: &Place, question: &Question) -> PathBuf {
    let mut hash = DefaultHasher::new();
    question.hash(&mut hash);
    place.env.cache.as_path().join(format!("{:016x}{SUFFIX}", hash.finish()))
}

pub(crate) fn look_up(place: &Place, plan: &Plan) -> Option<Record> {
    let question = question(place, plan);
    let path = file(place, &question);
    if std::fs::symlink_metadata(&path).ok().is_none_or(|m| !m.is_file() || m.len() > MOST_FILE) {
        return None;
    }
    let mut file = std::fs::File::open(path).ok()?;
    let (asked, record) = frame::read::<(Question, Record)>(&mut file).ok()??;
    (asked == question).then_some(record)
}

/// Keeps an answer. That it cannot be kept is no reason to fail the question.
pub(crate) fn store(place: &Place, plan: &Plan, record: &Record) {
    if look_up(place, plan).as_ref() == Some(record) {
        return;
    }
    let question = question(place, plan);
    let path = file(place, &question);
    let Ok(bytes) = frame::encode(&(question, record)) else { return };
    let folder = place.env.cache.as_path();
    let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let temporary = folder.join(format!(".new-{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(&bytes))
        .and_then(|()| std::fs::rename(&temporary, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    forget_oldest(folder);
}

fn forget_oldest(folder: &Path) {
    let Ok(list) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<(SystemTime, PathBuf)> = list
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(SUFFIX))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(MOST_FILES);
    for (_, path) in files.into_iter().take(surplus) {
        let _ = std::fs::remove_file(path);
    }
}
