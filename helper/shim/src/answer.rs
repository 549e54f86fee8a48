//! What a tool is told when it asks the interpreter about itself, in the host's terms.
//!
//! Only JSON is touched, and a line that is the path of one of the host env's programs: in a line, or an output, that is one
//! JSON value, strings that are container paths become host paths. Everything else passes byte for byte, and so does the JSON around them.
//!
//! A tool runs what it is told is the interpreter, so where an answer names one, or the prefix that one lies in, only
//! this program and the host env come out: never another file that the container may have put into a shared folder.

use std::ffi::OsStr;
use std::path::Path;

use gpubay_protocol::paths::ContainerPath;
use gpubay_protocol::percent;

use crate::place::Place;
use crate::plan::Plan;

/// Bytes of output that are looked at; whoever says more is no interpreter that answers a question.
pub(crate) const MOST: usize = 1 << 20;

/// A stream of output in which JSON is put into host terms.
pub(crate) struct Filter {
    place: Place,
    /// Bytes that may still become JSON.
    held: Vec<u8>,
    /// How many of `held` were last found to be an unfinished value.
    tried: usize,
    seen: usize,
    /// The question is which program to run.
    wants_program: bool,
}

impl Filter {
    pub(crate) fn new(place: &Place, plan: &Plan) -> Self {
        Self { place: place.clone(), held: Vec::new(), tried: 0, seen: 0, wants_program: plan.wants_program }
    }

    /// What can be passed on now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.seen += bytes.len();
        if self.seen > MOST {
            if self.wants_program {
                self.held.clear();
                return out;
            }
            out.append(&mut self.held);
            out.extend_from_slice(bytes);
            return out;
        }
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            self.held.extend_from_slice(line);
            if line.ends_with(b"\n") {
                self.line_ended(&mut out);
            } else if !may_begin_json(&self.held) && !self.held.starts_with(b"/") && !self.wants_program {
                out.append(&mut self.held);
            }
        }
        out
    }

    /// What was still held back.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.tried = 0;
        let held = std::mem::take(&mut self.held);
        self.rewrite(&held).unwrap_or(held)
    }

    fn line_ended(&mut self, out: &mut Vec<u8>) {
        // A value over many lines is tried again when it doubled or a line closes it: not at each line.
        let last = self.held[..self.held.len() - 1].rsplit(|&b| b == b'\n').next().unwrap_or_default();
        if self.tried > 0 && self.held.len() < 2 * self.tried && !matches!(last.first(), Some(b'}' | b']')) {
            return;
        }
        if let Some(new) = self.rewrite(&self.held) {
            out.extend(new);
            self.held.clear();
            self.tried = 0;
        } else if is_unfinished(&self.held) {
            self.tried = self.held.len();
        } else {
            out.append(&mut self.held);
            self.tried = 0;
        }
    }

    /// The text with its paths replaced, where it is one JSON value or one path.
    fn rewrite(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            // A tool would read other letters, and these can be a file's name.
            return self.wants_program.then(|| b"\n".to_vec());
        };
        if text.starts_with('/') || self.wants_program {
            return self.program(text).map(String::into_bytes);
        }
        if text.trim().is_empty() || !may_begin_json(bytes) {
            return None;
        }
        // Known to be valid from here on, and not deeper than serde_json allows.
        serde_json::from_str::<serde_json::Value>(text).ok()?;
        let mut writer = Writer { place: &self.place, text, at: 0, out: String::with_capacity(text.len() + 64) };
        writer.space();
        writer.value(Within { array: false, names: Names::Anything });
        writer.space();
        Some(writer.out.into_bytes())
    }

    /// A line that is a path of a program of the host env, in the host's words. Where a program is asked for, nothing else is
    /// named: the tool would run it, here.
    fn program(&self, line: &str) -> Option<String> {
        let path = line.trim_end_matches(['\n', '\r']);
        let end = &line[path.len()..];
        let host = match translate(&self.place, path) {
            Translated::Host(host) => Some(host),
            Translated::Same => Some(path.to_owned()),
            Translated::Unmapped(_) => None,
        };
        let bin = self.place.env.path.join("bin");
        let is_one = |host: &String| {
            let path = Path::new(host);
            path.parent() == Some(bin.as_path()) && path.symlink_metadata().is_ok_and(|found| found.is_file())
        };
        match host.filter(is_one) {
            Some(host) => Some(host + end),
            None => self.wants_program.then(|| end.to_owned()),
        }
    }
}

fn may_begin_json(bytes: &[u8]) -> bool {
    matches!(bytes.trim_ascii_start().first(), None | Some(b'{' | b'[' | b'"'))
}

fn is_unfinished(bytes: &[u8]) -> bool {
    may_begin_json(bytes)
        && !bytes.trim_ascii().is_empty()
        && serde_json::from_slice::<serde_json::Value>(bytes).is_err_and(|e| e.is_eof())
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Within {
    /// An unmapped root in an array is left out.
    array: bool,
    names: Names,
}

/// What the strings of a value name, as its key says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// A program that a tool may run.
    Interpreter,
    /// A folder in which a tool may look for `bin/python`.
    Prefix,
    /// Such a `bin`.
    Scripts,
    Anything,
}

impl Names {
    fn of(key: &str) -> Option<Self> {
        let lower = key.to_ascii_lowercase();
        if lower.ends_with("executable") || lower.contains("interpreter") || ["exe", "python"].contains(&lower.as_str())
        {
            return Some(Self::Interpreter);
        }
        // Not PYTHONPATH, which is a list of folders.
        if ["pythonPath", "pythonBin", "python_path", "python_bin"].contains(&key) {
            return Some(Self::Interpreter);
        }
        if lower.ends_with("prefix") {
            return Some(Self::Prefix);
        }
        ["scripts", "bindir"].contains(&lower.as_str()).then_some(Self::Scripts)
    }
}

/// Copies valid JSON and changes only the strings that are paths.
struct Writer<'a> {
    place: &'a Place,
    text: &'a str,
    at: usize,
    out: String,
}

impl Writer<'_> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    fn copy(&mut self, length: usize) {
        self.out.push_str(&self.text[self.at..self.at + length]);
        self.at += length;
    }

    fn space(&mut self) {
        let rest = &self.text[self.at..];
        self.copy(rest.len() - rest.trim_ascii_start().len());
    }

    fn raw_string(&self) -> &str {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        &self.text[self.at..(end + 1).min(bytes.len())]
    }

    /// Returns whether the value stays; one that does not has left nothing behind.
    fn value(&mut self, within: Within) -> bool {
        match self.peek() {
            b'{' => self.object(within.names),
            b'[' => self.array(within.names),
            b'"' => return self.string(within),
            _ => {
                let rest = &self.text[self.at..];
                let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, ',' | ']' | '}'));
                self.copy(end.unwrap_or(rest.len()));
            }
        }
        true
    }

    fn object(&mut self, names: Names) {
        self.copy(1);
        self.space();
        while self.peek() == b'"' {
            let raw = self.raw_string();
            let key = serde_json::from_str::<String>(raw).unwrap_or_default();
            self.copy(raw.len());
            self.space();
            self.copy(1);
            self.space();
            let names = Names::of(&key).unwrap_or(match (names, key.as_str(), self.peek()) {
                // `"interpreter": {"path": "…"}`
                (Names::Interpreter, "path" | "file" | "command", b'"') => Names::Interpreter,
                _ => Names::Anything,
            });
            self.value(Within { array: false, names });
            self.space();
            if self.peek() == b',' {
                self.copy(1);
                self.space();
            }
        }
        self.copy(1);
    }

    fn array(&mut self, names: Names) {
        self.copy(1);
        let mut first = true;
        loop {
            let before = self.out.len();
            self.space();
            if self.peek() == b']' {
                self.copy(1);
                return;
            }
            let space = self.out[before..].to_owned();
            self.out.truncate(before);
            if !first {
                self.out.push(',');
            }
            self.out.push_str(&space);
            let kept = self.value(Within { array: true, names });
            if kept {
                first = false;
                self.space();
            } else {
                self.out.truncate(before);
                let after = self.out.len();
                self.space();
                // The space before the end bracket stays, that before a comma goes with its element.
                if self.peek() != b']' {
                    self.out.truncate(after);
                }
            }
            if self.peek() == b',' {
                self.at += 1;
            }
        }
    }

    fn string(&mut self, within: Within) -> bool {
        let raw = self.raw_string();
        let length = raw.len();
        let new = match serde_json::from_str::<String>(raw).map(|text| safe(self.place, &text, within.names)) {
            Ok(Translated::Host(host)) => serde_json::to_string(&host).ok(),
            Ok(Translated::Unmapped(_)) if within.array => {
                self.at += length;
                return false;
            }
            Ok(Translated::Unmapped(nowhere)) => serde_json::to_string(&nowhere).ok(),
            Ok(Translated::Same) | Err(_) => None,
        };
        match new {
            Some(new) => {
                self.out.push_str(&new);
                self.at += length;
            }
            None => self.copy(length),
        }
        true
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Translated {
    Host(String),
    /// An import root that the host has not, or has another of: a path that exists nowhere.
    Unmapped(String),
    Same,
}

/// [`translate`], without naming anything to run but this program.
fn safe(place: &Place, text: &str, names: Names) -> Translated {
    let env = &place.env;
    let bin = env.path.join("bin");
    let found = translate(place, text);
    let host = match &found {
        Translated::Host(host) => host.as_str(),
        _ => text,
    };
    let host = host.strip_prefix("file://").unwrap_or(host).trim();
    let own = Path::new(host).strip_prefix(&bin).ok().and_then(Path::to_str).is_some_and(is_interpreter);
    let is_shared = || {
        let inside = |path: &str| ContainerPath::new(path).is_ok_and(|path| env.map.to_host(&path).is_some());
        matches!(found, Translated::Host(_)) || inside(text.trim())
    };
    match names {
        Names::Interpreter if own && place.interpreter != "python" => {
            Translated::Host(bin.join(place.interpreter).to_string())
        }
        _ if own => found,
        Names::Interpreter if host.contains('/') => Translated::Host(bin.join(place.interpreter).to_string()),
        Names::Prefix if is_shared() && Path::new(host) != env.path.as_path() => Translated::Host(env.path.to_string()),
        Names::Scripts if is_shared() => Translated::Host(bin.to_string()),
        // Whatever the key: nothing else in a shared folder passes for an interpreter.
        Names::Anything if is_shared() && passes_for_an_interpreter(Path::new(host)) => {
            Translated::Host(bin.join(place.interpreter).to_string())
        }
        _ => found,
    }
}

/// By its name, unless it is a folder of libraries: `lib/python3.12`.
fn passes_for_an_interpreter(path: &Path) -> bool {
    let name = |path: &Path| path.file_name().and_then(OsStr::to_str).map(str::to_owned);
    let parent = path.parent().and_then(name).unwrap_or_default();
    name(path).as_deref().is_some_and(is_interpreter) && !parent.starts_with("lib") && parent != "include"
}

/// `python`, `python3`, `python3.12`.
fn is_interpreter(name: &str) -> bool {
    let rest = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    rest.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.' || c == 't' || c == 'w'))
}

/// What the host calls a path, or a file's address, of the container.
pub(crate) fn host_name(place: &Place, text: &str) -> Option<String> {
    match translate(place, text) {
        Translated::Host(host) => Some(host),
        _ => None,
    }
}

fn translate(place: &Place, text: &str) -> Translated {
    let env = &place.env;
    // Pyrefly asks for `direct_url.json`, where editable installs have their folder as a URL.
    if let Some(path) = text.strip_prefix("file://") {
        let found = decoded(path).map(|path| translate(place, &path));
        return match found {
            Some(Translated::Host(host)) => Translated::Host(format!("file://{}", percent::path(&host))),
            _ => Translated::Same,
        };
    }
    if !text.starts_with('/') || text.contains('\n') {
        return Translated::Same;
    }
    let Ok(path) = ContainerPath::new(text) else { return Translated::Same };
    // A program of the image that the host env has, too.
    if let Some((name, _)) = env.scripts.iter().find(|(_, program)| **program == path) {
        return Translated::Host(env.path.join("bin").join(name).to_string());
    }
    // The venv is the host env, `bin/python` this program; only what the map says more exactly is elsewhere.
    let host = env.map.to_host(&path).or_else(|| {
        let rest = path.below(&env.venv)?;
        Some(if rest.is_empty() { env.path.as_path().to_owned() } else { env.path.as_path().join(rest) })
    });
    if let Some(host) = host.and_then(|host| host.into_os_string().into_string().ok()) {
        return if host == text { Translated::Same } else { Translated::Host(host) };
    }
    let known = env.unmapped.iter().any(|root| root.as_str() != "/" && path.below(root).is_some());
    if known || looks_like_a_root(&path) {
        return Translated::Unmapped(format!("{}/not-mirrored{path}", env.path));
    }
    Translated::Same
}

/// A URL's path as a path; `None` where it is none (another host, no UTF-8).
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok().filter(|path| path.starts_with('/'))
}

/// Where Python keeps what it imports, on any distribution: a host may have a folder of the same name.
fn looks_like_a_root(path: &ContainerPath) -> bool {
    path.as_str().split('/').any(|part| {
        let version = part.strip_suffix(".zip").unwrap_or(part).strip_prefix("python");
        matches!(part, "site-packages" | "dist-packages" | "lib-dynload")
            || (path.as_str().contains("/lib")
                && path.name() == part
                && version.is_some_and(|v| !v.is_empty() && v.chars().all(|c| c.is_ascii_digit() || c == '.')))
    })
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
