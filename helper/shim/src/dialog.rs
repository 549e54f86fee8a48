//! A language server of the container that an editor of the host talks to: each is told of files by its own paths.
//!
//! Both speak JSON-RPC in frames with a `Content-Length` (the base protocol of LSP). Of a message only what names a file
//! changes: addresses (`file://…`), also as keys, and paths where the editor tells of settings. Texts of documents, and what is
//! to be written into them, stay as they are: a program of the container means its own paths.

use std::path::Path;

use gpubay_protocol::percent;
use serde_json::Value;

use crate::answer;
use crate::place::Place;

/// How a dialog begins.
const BEGINNING: &[u8] = b"content-length:";
/// A head has a line or two.
const MOST_HEAD: usize = 4 << 10;
/// Of a message; what is larger passes as it is.
const MOST_BODY: usize = 64 << 20;
/// What is written into documents, or shown.
const TEXTS: &[&str] = &["text", "newText", "insertText", "label", "filterText", "sortText"];

/// Whether the first bytes of stdin are those of a dialog. An editor writes a head at once; to wait for more of it would
/// hold back what somebody else sends letter by letter.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    bytes.get(..BEGINNING.len()).is_some_and(|first| first.eq_ignore_ascii_case(BEGINNING))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    Container,
    Host,
}

/// One direction of a dialog.
pub(crate) struct Dialog {
    place: Place,
    toward: Toward,
    held: Vec<u8>,
    /// What came is no dialog, or none that we understand: it passes as it is.
    lost: bool,
}

impl Dialog {
    pub(crate) fn new(place: &Place, toward: Toward) -> Self {
        Self { place: place.clone(), toward, held: Vec::new(), lost: false }
    }

    /// What can be passed on now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut at = 0;
        while !self.lost {
            let rest = &self.held[at..];
            match head(rest) {
                Head::Unfinished => break,
                Head::Of { length, body } => {
                    let Some(message) = rest[body..].get(..length) else { break };
                    match self.translated(message) {
                        Some(new) => {
                            out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", new.len()).as_bytes());
                            out.extend(new);
                        }
                        None => out.extend_from_slice(&rest[..body + length]),
                    }
                    at += body + length;
                }
                Head::None => self.lost = true,
            }
        }
        self.held.drain(..at);
        if self.lost {
            out.append(&mut self.held);
        }
        out
    }

    /// What was still held back.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// `None`: nothing of it changes.
    fn translated(&self, message: &[u8]) -> Option<Vec<u8>> {
        let before: Value = serde_json::from_slice(message).ok()?;
        let mut now = before.clone();
        match self.toward {
            Toward::Container => {
                let method = before.get("method").and_then(Value::as_str);
                if method == Some("initialize")
                    && let Some(process) = now.pointer_mut("/params/processId")
                {
                    // Servers end when that process is gone, and inside it never was.
                    *process = Value::Null;
                }
                // Requests tell of documents; settings come with these, and as answers.
                let settings = matches!(method, None | Some("initialize" | "workspace/didChangeConfiguration"));
                rename(&mut now, &|text| self.inside(text, settings));
            }
            Toward::Host => rename(&mut now, &|text| {
                text.starts_with("file://").then(|| answer::host_name(&self.place, text)).flatten()
            }),
        }
        (now != before).then(|| serde_json::to_vec(&now).ok()).flatten()
    }

    fn inside(&self, text: &str, paths: bool) -> Option<String> {
        let map = &self.place.env.map;
        if let Some(address) = text.strip_prefix("file://") {
            let path = answer::decoded(address)?;
            let path = map.to_container(Path::new(&path))?;
            return Some(format!("file://{}", percent::path(path.as_str())));
        }
        let path = (paths && text.starts_with('/')).then(|| map.to_container(Path::new(text)))??;
        Some(path.to_string())
    }
}

enum Head {
    Unfinished,
    /// The message's length, and where it begins.
    Of {
        length: usize,
        body: usize,
    },
    None,
}

fn head(bytes: &[u8]) -> Head {
    let Some(end) = bytes.windows(4).take(MOST_HEAD).position(|four| four == b"\r\n\r\n") else {
        let too_long = bytes.len() >= MOST_HEAD + 4;
        return if too_long { Head::None } else { Head::Unfinished };
    };
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return Head::None };
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok()).flatten()
    });
    match length {
        Some(length) if length <= MOST_BODY => Head::Of { length, body: end + 4 },
        _ => Head::None,
    }
}

/// Every string that names a file, and every key that does.
fn rename(value: &mut Value, name: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(new) = name(text) {
                *text = new;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| rename(one, name)),
        Value::Object(all) => {
            for (key, value) in std::mem::take(all) {
                let mut value = value;
                if !(value.is_string() && TEXTS.contains(&key.as_str())) {
                    rename(&mut value, name);
                }
                // The changes of an edit are listed by their documents' addresses.
                let key = if key.starts_with("file://") { name(&key).unwrap_or(key) } else { key };
                all.insert(key, value);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::test_place;

    fn framed(message: &Value) -> Vec<u8> {
        let body = message.to_string();
        format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn passed(toward: Toward, bytes: &[u8], step: usize) -> Vec<u8> {
        let mut dialog = Dialog::new(&test_place(), toward);
        let mut out: Vec<u8> = bytes.chunks(step).flat_map(|piece| dialog.push(piece)).collect();
        out.extend(dialog.end());
        out
    }

    fn check(toward: Toward, given: &[Value], wanted: &[Value]) {
        let given: Vec<u8> = given.iter().flat_map(framed).collect();
        let wanted: Vec<u8> = wanted.iter().flat_map(framed).collect();
        for step in [1, 7, given.len()] {
            let found = passed(toward, &given, step);
            assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&wanted), "{step} bytes at once");
        }
    }

    #[test]
    fn a_server_is_told_of_its_own_paths() {
        check(
            Toward::Container,
            &[
                json!({"id": 1, "method": "initialize", "params": {
                    "processId": 4711,
                    "rootPath": "/home/ada/ws",
                    "rootUri": "file:///home/ada/ws",
                    "initializationOptions": {"settings": {"interpreter": ["/home/ada/ws/.venv/bin/python"], "cwd": "/tmp/x"}},
                }}),
                json!({"method": "textDocument/didOpen", "params": {"textDocument": {
                    "uri": "file:///home/ada/ws/a%20%C3%BC.py", "text": "file:///home/ada/ws/a.py",
                }}}),
                json!({"method": "textDocument/didChange", "params": {"contentChanges": [{"text": "/home/ada/ws"}]}}),
                json!({"id": 7, "result": [{"configuration": "/home/ada/ws/ruff.toml"}]}),
                json!({"method": "x", "params": {"uri": "file:///etc/passwd", "name": "/home/ada/ws"}}),
            ],
            &[
                json!({"id": 1, "method": "initialize", "params": {
                    "processId": null,
                    "rootPath": "/app",
                    "rootUri": "file:///app",
                    "initializationOptions": {"settings": {"interpreter": ["/app/.venv/bin/python"], "cwd": "/tmp/x"}},
                }}),
                json!({"method": "textDocument/didOpen", "params": {"textDocument": {
                    "uri": "file:///app/a%20%C3%BC.py", "text": "file:///home/ada/ws/a.py",
                }}}),
                json!({"method": "textDocument/didChange", "params": {"contentChanges": [{"text": "/home/ada/ws"}]}}),
                json!({"id": 7, "result": [{"configuration": "/app/ruff.toml"}]}),
                json!({"method": "x", "params": {"uri": "file:///etc/passwd", "name": "/home/ada/ws"}}),
            ],
        );
    }

    #[test]
    fn an_editor_is_told_of_the_hosts_paths() {
        check(
            Toward::Host,
            &[
                json!({"id": 2, "result": [
                    {"uri": "file:///app/.venv/lib/python3.11/site-packages/x.py"},
                    {"uri": "file:///app/x.py"},
                    {"uri": "file:///usr/include/x.h"},
                ]}),
                json!({"id": 3, "result": {"changes": {"file:///app/x.py": [{"newText": "file:///app/x.py"}]}}}),
                json!({"id": 4, "result": [{"label": "/app/x.py", "detail": "/app"}]}),
            ],
            &[
                json!({"id": 2, "result": [
                    {"uri": "file:///data/v/lib/python3.11/site-packages/x.py"},
                    {"uri": "file:///home/ada/ws/x.py"},
                    {"uri": "file:///usr/include/x.h"},
                ]}),
                json!({"id": 3, "result": {"changes": {"file:///home/ada/ws/x.py": [{"newText": "file:///app/x.py"}]}}}),
                json!({"id": 4, "result": [{"label": "/app/x.py", "detail": "/app"}]}),
            ],
        );
    }

    #[test]
    fn what_is_no_dialog_passes_as_it_is() {
        for text in [
            "Content-Length: 5\r\n\r\n{\"a\"x",
            "Content-Length: 99999999999\r\n\r\n{}",
            "Content-Length: -1\r\n\r\n{}",
            "Content-Length: 2",
            "import sys\n",
        ] {
            for step in [1, 100] {
                let found = passed(Toward::Container, text.as_bytes(), step);
                assert_eq!(String::from_utf8_lossy(&found), text);
            }
        }
        let long = vec![b'a'; 3 * MOST_HEAD];
        assert_eq!(passed(Toward::Host, &long, 1000), long);
    }

    #[test]
    fn how_a_dialog_begins() {
        for (text, known) in [
            ("", false),
            ("c", false),
            ("Content-Len", false),
            ("content-length: 5\r\n", true),
            ("Content-Type: x", false),
            ("import sys", false),
        ] {
            assert_eq!(begins(text.as_bytes()), known, "{text:?}");
        }
    }
}
