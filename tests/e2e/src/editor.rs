//! An editor, as far as `gpubay serve` sees one.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Bench;

/// After so long without a message that is waited for, the test fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// A session with the helper: what it says is read all the time, and kept in its order.
#[derive(Debug)]
pub struct Editor {
    pub child: Child,
    stdin: Option<ChildStdin>,
    messages: Receiver<Value>,
    /// What came and was not asked for yet.
    kept: Vec<Value>,
    next: i64,
}

impl Editor {
    /// Of the bench's user, with its workspace as the only folder; trusted, and initialized.
    pub fn of(bench: &Bench) -> Self {
        let mut editor = Self::start(&mut bench.gpubay(&["serve"]));
        editor.initialize(&[&bench.workspace], true);
        editor
    }

    /// `command` is the helper, not yet spoken to.
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("started");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("piped");
        let (tell, messages) = channel();
        std::thread::spawn(move || {
            let mut from = BufReader::new(stdout);
            while let Some(message) = read(&mut from) {
                if tell.send(message).is_err() {
                    break;
                }
            }
        });
        Self { child, stdin, messages, kept: Vec::new(), next: 0 }
    }

    pub fn options(folders: &[&Path], trusted: bool) -> Value {
        let folders: Vec<Value> = folders
            .iter()
            .map(|folder| json!({ "uri": format!("file://{}", encoded(folder)), "name": "folder" }))
            .collect();
        json!({
            "processId": std::process::id(),
            "capabilities": {},
            "workspaceFolders": folders,
            "initializationOptions": { "version": "0.0.0", "protocol": 1, "trusted": trusted },
        })
    }

    pub fn initialize(&mut self, folders: &[&Path], trusted: bool) -> Value {
        let answer = self.request("initialize", Self::options(folders, trusted)).expect("initialized");
        self.notify("initialized", json!({}));
        answer
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("open");
        stdin.write_all(bytes).expect("written");
        stdin.flush().expect("written");
    }

    fn send(&mut self, mut message: Value) {
        message["jsonrpc"] = "2.0".into();
        // As editors do where a method has none.
        if message["params"].is_null() {
            message.as_object_mut().expect("an object").remove("params");
        }
        let body = message.to_string();
        self.raw(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    #[expect(clippy::needless_pass_by_value, reason = "parameters are written where they are given")]
    pub fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({ "method": method, "params": params }));
    }

    /// Sends a request and does not wait for it.
    #[expect(clippy::needless_pass_by_value, reason = "parameters are written where they are given")]
    pub fn ask(&mut self, method: &str, params: Value) -> i64 {
        self.next += 1;
        let id = self.next;
        self.send(json!({ "id": id, "method": method, "params": params }));
        id
    }

    /// The result of a request, or its error.
    pub fn answer(&mut self, id: i64) -> Result<Value, Value> {
        let answer = self.wait(&format!("the answer to request {id}"), |message| {
            message["id"] == id && message.get("method").is_none()
        });
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].clone()),
        }
    }

    pub fn request(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.ask(method, params);
        self.answer(id)
    }

    /// The code of the failure of a request, and all of the failure.
    pub fn failure(&mut self, method: &str, params: Value) -> (String, Value) {
        let error = self.request(method, params).expect_err("it fails");
        (error["data"]["code"].as_str().unwrap_or_default().to_owned(), error["data"].clone())
    }

    /// The first message that came or comes and is `wanted`; those before it stay.
    pub fn wait(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        if let Some(at) = self.kept.iter().position(&mut wanted) {
            return self.kept.remove(at);
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match self.messages.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(message) if wanted(&message) => return message,
                Ok(message) => self.kept.push(message),
                Err(RecvTimeoutError::Timeout) => panic!("{what} has not come; what did: {:#?}", self.kept),
                Err(RecvTimeoutError::Disconnected) => panic!("the helper ended before {what}: {:#?}", self.kept),
            }
        }
    }

    /// The next state of which `wanted` is true; states before it are gone.
    pub fn state(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let message = self.wait(what, |message| message["method"] == "gpubay/state" && wanted(&message["params"]));
        message["params"].clone()
    }

    /// What was told of `method` so far.
    pub fn told(&mut self, method: &str) -> Vec<Value> {
        self.kept.extend(self.messages.try_iter());
        self.kept
            .iter()
            .filter(|message| message["method"] == method)
            .map(|message| message["params"].clone())
            .collect()
    }

    /// Forgets what came before.
    pub fn forget(&mut self) {
        self.kept.clear();
        while self.messages.try_recv().is_ok() {}
    }

    /// The editor's end of the conversation closes.
    pub fn hang_up(&mut self) {
        self.stdin = None;
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        self.hang_up();
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) && std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn read(from: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim() {
            "" => break,
            header => {
                if let Some(value) = header.strip_prefix("Content-Length: ") {
                    length = value.parse().ok()?;
                }
            }
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

/// As an editor writes the path of a folder in a URI.
fn encoded(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
