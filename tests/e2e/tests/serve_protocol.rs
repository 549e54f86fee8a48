//! `gpubay serve` and its peer: order, ends, nonsense, trust. No engine answers here.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gpubay_e2e::{Editor, ended, eventually, lab};
use serde_json::{Value, json};

/// A home, a folder, and an engine that counts who comes and says nothing.
struct Place {
    root: tempfile::TempDir,
    visits: Arc<AtomicUsize>,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        for name in ["home", "work space"] {
            std::fs::create_dir(root.path().join(name)).expect("made");
        }
        std::fs::write(root.path().join("work space/Dockerfile"), "FROM scratch\n").expect("written");
        let listener = UnixListener::bind(root.path().join("engine.sock")).expect("bound");
        let visits = Arc::new(AtomicUsize::new(0));
        let count = visits.clone();
        std::thread::spawn(move || {
            for visit in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                drop(visit);
            }
        });
        Self { root, visits }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.root.path().join("work space")
    }

    fn helper(&self) -> Command {
        let mut command = Command::new(&lab().gpubay);
        command.arg("serve").env_clear().env("HOME", self.root.path().join("home"));
        command.env("DOCKER_HOST", format!("unix://{}/engine.sock", self.root.path().display()));
        command
    }

    fn editor(&self, trusted: bool) -> Editor {
        let mut editor = Editor::start(&mut self.helper());
        editor.initialize(&[&self.folder()], trusted);
        editor
    }

    fn params(&self) -> Value {
        json!({ "folder": self.folder() })
    }
}

fn code(answer: Result<Value, Value>) -> i64 {
    answer.expect_err("an error")["code"].as_i64().expect("a code")
}

/// THREATS C1: an untrusted folder.
#[test]
fn nothing_is_asked_of_an_engine_for_a_workspace_that_is_not_trusted() {
    let place = Place::new();
    let mut editor = place.editor(false);
    editor.state("the state of a folder that is not trusted", |state| state["phase"] == "untrusted");
    for method in ["up", "down", "status", "gpus", "attachTarget", "doctor", "sync", "ps", "stakes", "init"] {
        let (code, failure) = editor.failure(&format!("gpubay/{method}"), place.params());
        assert_eq!(code, "untrusted", "{method}: {failure}");
        assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("Trust")), "{failure}");
    }
    assert_eq!(place.visits.load(Ordering::SeqCst), 0);
    assert!(!place.root.path().join("home/.local").exists(), "nothing was written");

    editor.notify("gpubay/trust", json!({ "trusted": true }));
    let state = editor.state("what is known once it is trusted", |state| state["phase"] == "problem");
    assert!(state["problem"]["hint"].is_string(), "{state}");
    assert!(place.visits.load(Ordering::SeqCst) > 0);
}

/// THREATS R1: tower-lsp runs handlers beside one another.
#[test]
fn what_is_sent_first_counts_first() {
    let place = Place::new();
    let mut editor = place.editor(false);
    let mut asked = Vec::new();
    for _ in 0..1000 {
        for trusted in [false, true] {
            editor.notify("gpubay/trust", json!({ "trusted": trusted }));
            // Refused in either case, and for another reason.
            let id = editor.ask("gpubay/run", json!({ "folder": "/elsewhere" }));
            let untrusted =
                editor.ask("gpubay/chooseDockerfile", json!({ "folder": place.folder(), "dockerfile": "x" }));
            asked.push((id, untrusted, trusted));
        }
    }
    for (elsewhere, here, trusted) in asked {
        let code = |answer: Result<Value, Value>| answer.err().map(|error| error["data"]["code"].clone());
        assert_eq!(code(editor.answer(elsewhere)), Some("unknown_folder".into()));
        let here = code(editor.answer(here));
        assert_eq!(here == Some("untrusted".into()), !trusted, "{here:?}");
    }
}

/// THREATS R3: tower-lsp#399.
#[test]
fn it_ends_on_exit_although_its_stdin_stays_open() {
    let place = Place::new();
    for orderly in [true, false] {
        let mut editor = place.editor(true);
        if orderly {
            editor.request("shutdown", Value::Null).expect("shut down");
        }
        editor.notify("exit", Value::Null);
        let start = Instant::now();
        let status = ended(&mut editor.child);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(status.code(), Some(i32::from(!orderly)));
    }
}

#[test]
fn it_ends_with_its_stdin() {
    let place = Place::new();
    let mut editor = place.editor(true);
    editor.hang_up();
    assert_eq!(ended(&mut editor.child).code(), Some(1));
    // Before a word was said.
    let mut editor = Editor::start(&mut place.helper());
    editor.hang_up();
    ended(&mut editor.child);
}

/// THREATS R4: somebody else may hold the other end of its stdin.
#[test]
fn it_ends_with_the_editor_that_was_killed() {
    let place = Place::new();
    let mut killed = Command::new("sleep").arg("1000").spawn().expect("started");
    let mut editor = Editor::start(&mut place.helper());
    let mut options = Editor::options(&[&place.folder()], true);
    options["processId"] = killed.id().into();
    editor.request("initialize", options).expect("initialized");
    assert!(editor.child.try_wait().expect("asked").is_none());
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    ended(&mut editor.child);
}

/// THREATS R20: an old helper with a new extension.
#[test]
fn another_version_of_the_protocol_is_told_in_a_sentence() {
    let place = Place::new();
    let mut editor = Editor::start(&mut place.helper());
    let mut options = Editor::options(&[&place.folder()], true);
    options["initializationOptions"]["protocol"] = 999.into();
    let error = editor.request("initialize", options).expect_err("refused");
    assert_eq!(error["data"]["code"], "other_version", "{error}");
    let said = error["message"].as_str().expect("a message");
    assert!(said.contains("version 999") && error["data"]["hint"].is_string(), "{error}");
}

/// THREATS C7: the peer.
#[test]
fn nonsense_is_answered_and_harms_nobody() {
    let place = Place::new();
    let mut editor = Editor::start(&mut place.helper());
    assert_eq!(code(editor.request("gpubay/ps", place.params())), -32002, "before `initialize`");
    editor.initialize(&[&place.folder()], true);
    for bytes in [
        &b"Content-Length: 2\r\n\r\n\xff\xfe"[..],
        b"Content-Length: 0\r\n\r\n",
        b"Content-Length: 1\r\n\r\n{",
        b"Content-Length: 2\r\n\r\n[]",
        b"Content-Length: nonsense\r\n\r\n",
        b"No-Length: 1\r\n\r\n",
        b"Content-Length: 17\r\n\r\n{\"jsonrpc\":\"2.0\"}",
    ] {
        editor.raw(bytes);
        let answer =
            editor.wait("the answer to nonsense", |message| message["id"].is_null() && message["error"].is_object());
        assert_eq!(answer["error"]["code"], -32700, "{answer}");
    }
    assert_eq!(code(editor.request("gpubay/nothing", json!({}))), -32601);
    for params in [json!(5), json!("x"), json!({ "folder": 5 }), json!({ "folder": place.folder(), "all": "x" })] {
        assert_eq!(code(editor.request("gpubay/ps", params)), -32602);
    }
    let (said, _) = editor.failure("gpubay/ps", json!({ "folder": "/nowhere" }));
    assert_eq!(said, "unknown_folder");
    // A request whose number is taken is refused, and the one that has it goes on.
    editor.request("shutdown", Value::Null).expect("still there");
}

/// THREATS C7: one that floods.
#[test]
fn a_flood_of_notifications_is_read_through() {
    let place = Place::new();
    let mut editor = place.editor(false);
    for _ in 0..100_000 {
        editor.notify("gpubay/trust", json!({ "trusted": false }));
    }
    let (code, _) = editor.failure("gpubay/ps", place.params());
    assert_eq!(code, "untrusted");
    let peak = memory(editor.child.id(), "VmHWM");
    assert!(peak < 100 << 10, "{peak} kB");
}

/// THREATS C7: 10 GB are announced and come.
#[test]
fn an_endless_message_is_not_kept() {
    let place = Place::new();
    let mut editor = place.editor(false);
    let size = 200 << 20;
    editor.raw(format!("Content-Length: {size}\r\n\r\n").as_bytes());
    let piece = vec![b' '; 1 << 20];
    for _ in 0..200 {
        editor.raw(&piece);
    }
    let answer = editor.wait("the answer", |message| message["id"].is_null() && message["error"].is_object());
    assert!(answer["error"]["message"].as_str().is_some_and(|said| said.contains("too long")), "{answer}");
    let peak = memory(editor.child.id(), "VmHWM");
    assert!(peak < 100 << 10, "{peak} kB");
}

/// In kB.
fn memory(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with(what)).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// It has nothing to do while nothing happens.
#[test]
fn it_rests_between_messages() {
    let place = Place::new();
    let mut editor = place.editor(false);
    editor.state("the state", |state| state["phase"] == "untrusted");
    let pid = editor.child.id();
    eventually("all its threads sleep", || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'))
        })
    });
}

#[test]
fn what_it_says_to_its_terminal_is_no_part_of_the_conversation() {
    let place = Place::new();
    let mut child = place
        .helper()
        .env("GPUBAY_LOG", "trace")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let mut said = Vec::new();
    child.stdout.take().expect("piped").read_to_end(&mut said).expect("read");
    ended(&mut child);
    assert_eq!(said, b"");
}

#[test]
fn folders_come_and_go() {
    let place = Place::new();
    let other = place.root.path().join("other");
    std::fs::create_dir(&other).expect("made");
    let mut editor = place.editor(false);
    let uri = |path: &Path| json!({ "uri": format!("file://{}", path.display()), "name": "x" });
    let change = |added: Vec<Value>, removed: Vec<Value>| json!({ "event": { "added": added, "removed": removed } });
    editor.notify("workspace/didChangeWorkspaceFolders", change(vec![uri(&other)], vec![]));
    let state = editor.state("the state of the new folder", |state| state["folder"] == json!(other));
    assert_eq!(state["phase"], "untrusted");
    editor.notify("workspace/didChangeWorkspaceFolders", change(vec![], vec![uri(&other)]));
    let (code, _) = editor.failure("gpubay/ps", json!({ "folder": other }));
    assert_eq!(code, "unknown_folder");
}
