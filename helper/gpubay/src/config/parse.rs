//! From text to [`File`], with errors that say where.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};
use super::file::File;
use crate::HostPath;
use crate::files::{self, FileError};
use crate::quoting::printable;

/// One step on the way to a value: `container` `mounts` `2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// As a person writes it: `container.mounts[2]`.
pub(super) fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                let dot = if text.is_empty() { "" } else { "." };
                let _ = if plain { write!(text, "{dot}{key}") } else { write!(text, "{dot}{key:?}") };
            }
            Step::Index(index) => {
                let _ = write!(text, "[{index}]");
            }
        }
    }
    text
}

/// Reads a small text file; nothing but an ordinary file is read, and nothing is waited for.
///
/// `Ok(None)`: there is none.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, ConfigError> {
    match files::open(path) {
        Ok(opened) => text_of(path, opened).map(Some),
        Err(FileError::Missing) => Ok(None),
        Err(error) => Err(unread(path, error)),
    }
}

/// The text of an open file; `path` is for the messages only.
pub(super) fn text_of(path: &Path, opened: files::Opened) -> Result<String, ConfigError> {
    let bytes = opened.read(files::SMALL).map_err(|error| unread(path, error))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| ConfigError::NotUtf8 { file: shown(path), at: e.utf8_error().valid_up_to() })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

pub(super) fn unread(path: &Path, error: FileError) -> ConfigError {
    let file = shown(path);
    match error {
        FileError::NotAFile(what) => ConfigError::NotAFile { file, what },
        FileError::TooLarge(limit) => ConfigError::TooLarge { file, limit },
        other => ConfigError::Unreadable { file, source: other.into() },
    }
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

/// `file` is for the messages only.
pub fn parse(text: &str, file: &HostPath) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|e| explain(&e, text, file))
}

fn explain(error: &toml::de::Error, text: &str, file: &HostPath) -> ConfigError {
    let span = error.span().unwrap_or(0..0);
    let place = Box::new(Place::new(file, text, &span));
    let message = error.message();
    // The text parses as TOML, so what failed is the meaning: say which key.
    let Ok(tree) = DeTable::parse(text) else {
        return ConfigError::Syntax { place, message: printable(message) };
    };
    let (path, found) = at_span(tree.get_ref(), &span);
    if let Some((given, known)) = unknown(message, "unknown field ") {
        let near = super::nearest(&given, known.iter().map(String::as_str));
        return ConfigError::UnknownKey { place, key: printable(&given), near, known };
    }
    let key = printable(&dotted(&path));
    if let Some((given, known)) = unknown(message, "unknown variant ") {
        let near = super::nearest(&given, known.iter().map(String::as_str));
        return ConfigError::UnknownChoice { place, key, given: printable(&given), near, known };
    }
    if let Some((got, expected)) = message.strip_prefix("invalid type: ").and_then(|m| m.rsplit_once(", expected ")) {
        let message = printable(&format!("expected {}, got {}", in_words(expected), got_in_words(got)));
        let write = found.filter(|_| expected == "a sequence").and_then(|value| as_list(&path, value));
        return ConfigError::WrongType { place, key, message, write };
    }
    let message = if message.starts_with("missing field") || message.starts_with("invalid") {
        printable(message)
    } else {
        // What an untagged type expects; serde does not say what it got.
        let got = found.map_or("nothing", type_name);
        format!("expected {message}, got {got}")
    };
    ConfigError::WrongType { place, key, message, write: None }
}

/// What TOML calls serde's types.
fn in_words(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a map" => "a table",
        "a string" => "a text",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        other => other.strip_prefix("struct ").map_or(other, |_| "a table"),
    }
}

/// «string "x"», «integer `3`», «map» in the same words.
fn got_in_words(got: &str) -> String {
    let (kind, value) = got
        .split_once(' ')
        .map_or((got, String::new()), |(kind, value)| (kind, format!(" {}", value.trim_matches('`'))));
    let words = match kind {
        "string" => "the text",
        "integer" => "the whole number",
        "float" | "floating" => return format!("the number{}", value.replace(" point", "").replace('`', "")),
        "boolean" => return value.trim().to_owned(),
        "sequence" => "a list",
        "map" => "a table",
        _ => return got.to_owned(),
    };
    format!("{words}{value}")
}

/// A text where a list belongs, as that list: the words of a command, and one entry of anything else.
fn as_list(path: &[Step], value: &DeValue<'_>) -> Option<String> {
    let (Some(Step::Key(key)), DeValue::String(text)) = (path.last(), value) else { return None };
    let words: Vec<&str> = if key == "command" { text.split_whitespace().collect() } else { vec![text.as_ref()] };
    let plain = words.iter().all(|word| !word.contains(['"', '\'', '\\']) && printable(word) == **word);
    let list: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    (plain && !list.is_empty()).then(|| format!("{key} = [{}]", list.join(", ")))
}

/// serde's «unknown field `x`, expected one of `a`, `b`».
fn unknown(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix(prefix)?;
    let (given, known) = rest.rsplit_once(", ").map_or((rest, ""), |_| match rest.find("`, expected ") {
        Some(at) => rest.split_at(at + 1),
        None => (rest.split("`, ").next().unwrap_or(rest), ""),
    });
    let known = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((given.trim_matches('`').to_owned(), known))
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The innermost key whose value covers `span`.
fn at_span<'a, 'i>(table: &'a DeTable<'i>, span: &Range<usize>) -> (Vec<Step>, Option<&'a DeValue<'i>>) {
    let mut path = Vec::new();
    let mut found = None;
    let mut here = table.iter().map(|(k, v)| (Step::Key(k.get_ref().to_string()), k.span(), v)).collect::<Vec<_>>();
    while let Some((step, _, value)) = here.into_iter().find(|(_, key, value)| covers(key, value, span)) {
        path.push(step);
        found = Some(value.get_ref());
        here = match value.get_ref() {
            DeValue::Table(table) => {
                table.iter().map(|(k, v)| (Step::Key(k.get_ref().to_string()), k.span(), v)).collect()
            }
            DeValue::Array(list) => list.iter().enumerate().map(|(i, v)| (Step::Index(i), v.span(), v)).collect(),
            _ => break,
        };
    }
    (path, found)
}

/// A table under a `[header]` spans its header only, so its values are asked as well.
fn covers(key: &Range<usize>, value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let holds = |outer: &Range<usize>| outer.start <= span.start && span.end <= outer.end && !outer.is_empty();
    if holds(&value.span()) || holds(key) {
        return true;
    }
    match value.get_ref() {
        DeValue::Table(table) => table.iter().any(|(k, v)| covers(&k.span(), v, span)),
        DeValue::Array(list) => list.iter().any(|v| covers(&v.span(), v, span)),
        _ => false,
    }
}

/// Where the value at `path` stands; for errors only, hence the second parse.
pub(super) fn locate(text: &str, file: &HostPath, path: &[Step]) -> Place {
    let mut span = 0..0;
    if let Ok(tree) = DeTable::parse(text) {
        let mut table = Some(tree.get_ref());
        let mut list = None;
        for step in path {
            let next = match step {
                Step::Key(key) => table.and_then(|t| t.iter().find(|(k, _)| k.get_ref() == key)).map(|(_, v)| v),
                Step::Index(index) => list.and_then(|l: &toml::de::DeArray<'_>| l.get(*index)),
            };
            // A single text where a list may stand has no entries: the text itself is meant.
            let Some(value) = next else { break };
            span = value.span();
            table = value.get_ref().as_table();
            list = value.get_ref().as_array();
        }
    }
    Place::new(file, text, &span)
}
