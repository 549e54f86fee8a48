//! The room at HTTP level: an engine that gives recorded answers, at the outermost edge.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;
use crate::error::Explain;

/// Answers each request whose first line holds the text with the status line and body beside it;
/// anything else with 404, as an engine does.
struct Recorded {
    _folder: tempfile::TempDir,
    socket: PathBuf,
}

const VERSION: (&str, &str, &str) =
    ("/version", "200 OK", r#"{"ApiVersion":"1.51","MinAPIVersion":"1.24","Version":"28.5.2"}"#);

fn recorded(answers: &'static [(&'static str, &'static str, &'static str)]) -> Recorded {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("d.sock");
    let listener = UnixListener::bind(&socket).expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
                let mut writer = stream;
                loop {
                    let mut first = String::new();
                    if reader.read_line(&mut first).unwrap_or(0) == 0 {
                        return;
                    }
                    let mut length = 0;
                    loop {
                        let mut header = String::new();
                        reader.read_line(&mut header).expect("a header");
                        let lower = header.to_ascii_lowercase();
                        if let Some(value) = lower.strip_prefix("content-length:") {
                            length = value.trim().parse().expect("a number");
                        }
                        if header.trim().is_empty() {
                            break;
                        }
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).expect("the body");
                    let missing = ("", "404 Not Found", r#"{"message":"No such container: x"}"#);
                    let (_, status, text) = answers.iter().find(|(path, ..)| first.contains(path)).unwrap_or(&missing);
                    let answer = format!(
                        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
                        text.len()
                    );
                    if writer.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Recorded { _folder: folder, socket }
}

async fn connect(recorded: &Recorded) -> Result<Engine, EngineError> {
    Engine::connect(Located { endpoint: Endpoint::Unix(recorded.socket.clone()), because: "a test".to_owned() }).await
}

#[tokio::test]
async fn an_engine_before_20_10_is_too_old() {
    let old = recorded(&[("/version", "200 OK", r#"{"ApiVersion":"1.40","Version":"19.03"}"#)]);
    let error = connect(&old).await.expect_err("too old");
    assert_eq!(error.code(), "engine_too_old");
    assert!(error.to_string().contains("1.40"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_none_and_no_error() {
    let engine = recorded(&[VERSION]);
    let engine = connect(&engine).await.expect("connected");
    assert_eq!(engine.container("x").await.expect("asked"), None);
    assert_eq!(engine.image("x").await.expect("asked"), None);
    assert!(!engine.volume_exists("x").await.expect("asked"));
    engine.remove("x").await.expect("gone already");
}

#[tokio::test]
async fn refusals_become_our_kinds() {
    let engine = recorded(&[
        VERSION,
        (
            "/start",
            "500 Internal Server Error",
            r#"{"message":"driver failed: Bind for 127.0.0.1:6006 failed: port is already allocated"}"#,
        ),
        ("/stop", "500 Internal Server Error", r#"{"message":"write /x: no space left on device"}"#),
        ("/kill", "409 Conflict", r#"{"message":"container is not running"}"#),
    ]);
    let engine = connect(&engine).await.expect("connected");
    assert!(matches!(engine.start("x").await, Err(EngineError::PortInUse { port: 6006, .. })));
    assert!(matches!(engine.stop("x", 1).await, Err(EngineError::DiskFull { .. })));
    assert!(matches!(engine.kill("x", "TERM").await, Err(EngineError::Conflict { .. })));
}

#[tokio::test]
async fn an_exit_code_is_an_answer() {
    let engine = recorded(&[VERSION, ("/wait", "200 OK", "{\"StatusCode\":137}\n")]);
    let engine = connect(&engine).await.expect("connected");
    assert_eq!(engine.wait("x").await.expect("waited"), 137);
}

#[tokio::test]
async fn what_the_engine_offers() {
    let engine = recorded(&[
        VERSION,
        (
            "/info",
            "200 OK",
            r#"{"ServerVersion":"28.5.2","OSType":"linux","MemTotal":1024,"Runtimes":{"runc":{},"nvidia":{}},
                "DiscoveredDevices":[{"Source":"cdi","ID":"nvidia.com/gpu=1"},{"Source":"cdi","ID":"nvidia.com/gpu=0"}],
                "SecurityOptions":["name=rootless"]}"#,
        ),
    ]);
    let info = connect(&engine).await.expect("connected").info().await.expect("asked");
    assert_eq!(info.cdi_devices, ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]);
    assert_eq!(info.runtimes, ["nvidia", "runc"]);
    assert!(info.rootless);
}

#[tokio::test]
async fn the_images_environment_is_split_at_the_first_equals_sign() {
    let engine = recorded(&[
        VERSION,
        ("/images/", "200 OK", r#"{"Id":"sha256:1","Config":{"Env":["A=b=c","EMPTY=","LINES=a\nb"],"User":"app"}}"#),
    ]);
    let image = connect(&engine).await.expect("connected").image("x").await.expect("asked").expect("there");
    assert_eq!((image.var("A"), image.var("EMPTY"), image.var("LINES")), (Some("b=c"), Some(""), Some("a\nb")));
}

#[tokio::test]
async fn a_connection_that_breaks_is_said_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("d.sock");
    let listener = UnixListener::bind(&socket).expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
        }
    });
    let located = Located { endpoint: Endpoint::Unix(socket), because: "a test".to_owned() };
    let error = Engine::connect(located).await.expect_err("broken");
    assert_eq!(error.code(), "no_engine");
}
