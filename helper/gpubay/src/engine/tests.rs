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
    Engine::connect(Located {
        endpoint: Endpoint::Unix(recorded.socket.clone()),
        because: "a test".to_owned(),
        context: None,
    })
    .await
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
    assert_eq!(info.users(), UserMap::RootIsUser);
    assert_eq!(info.name(), "Docker 28.5.2");
}

/// Recorded of Podman 4.3.1.
#[tokio::test]
async fn podmans_refusals_become_the_same_kinds() {
    let engine = recorded(&[
        ("/_ping", "200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 4.3.1", "OK"),
        (
            "/containers/create",
            "500 Internal Server Error",
            r#"{"message":"container create: creating container storage: the container name \"x\" is already in use by 1. You have to remove that container to be able to reuse that name: that name is already in use"}"#,
        ),
        (
            "/containers/gone/json",
            "500 Internal Server Error",
            r#"{"message":"container 1 does not exist in database: no such container"}"#,
        ),
        ("/containers/paused/json", "200 OK", r#"{"Id":"1","Name":"/paused","State":{"Status":"paused"}}"#),
        ("/containers/ended/json", "200 OK", r#"{"Id":"1","Name":"/ended","State":{"Status":"exited"}}"#),
        ("/top?", "200 OK", ""),
        ("/containers/json", "500 Internal Server Error", r#"{"message":"no such container"}"#),
    ]);
    let engine = connect(&engine).await.expect("connected");
    assert_eq!(engine.flavour(), Flavour::Podman);
    assert_eq!(engine.container("gone").await.expect("asked"), None);
    // It tells the processes of a container that runs, and of no other.
    assert_eq!(engine.processes("paused").await.expect("asked").len(), 1);
    assert_eq!(engine.processes("ended").await.expect("asked"), []);
    assert!(engine.list(&[("a", "b")]).await.is_err(), "it is not asked for ever");
}

/// Recorded of Podman 4.3.1, shortened; over an address whose headers are not looked at.
#[tokio::test]
async fn podman_is_known_by_its_components() {
    let engine = recorded(&[
        (
            "/version",
            "200 OK",
            r#"{"Version":"4.3.1","ApiVersion":"1.41","Components":[{"Name":"Podman Engine","Version":"4.3.1"},
                {"Name":"OCI Runtime (crun)","Version":"crun version 1.8.1"}]}"#,
        ),
        (
            "/info",
            "200 OK",
            r#"{"ServerVersion":"4.3.1","OSType":"linux","SecurityOptions":["name=seccomp,profile=default"],
                "Plugins":{"Log":["k8s-file","none","journald"]},"Rootless":true}"#,
        ),
        (
            "/containers/json",
            "200 OK",
            r#"[{"Id":"1","Names":["/a"],"State":"stopped"},{"Id":"2","Names":["/b"],"State":"initialized"}]"#,
        ),
        ("/containers/a/json", "200 OK", r#"{"Id":"1","Name":"/a","State":{"Status":"stopped","ExitCode":3}}"#),
    ]);
    let engine = connect(&engine).await.expect("connected");
    assert_eq!(engine.flavour(), Flavour::Podman);
    let info = engine.info().await.expect("asked");
    assert_eq!((info.users(), info.heeds_gpu_requests), (UserMap::Kept, false));
    assert_eq!(info.log_drivers, ["journald", "k8s-file", "none"]);

    let listed = engine.list(&[("a", "b")]).await.expect("listed");
    assert_eq!(listed.iter().map(|one| one.state.as_str()).collect::<Vec<_>>(), ["exited", "created"]);
    let one = engine.container("a").await.expect("asked").expect("there");
    assert_eq!(one.state, ContainerState::Exited { code: 3, out_of_memory: false });
    assert_eq!(engine.container("c").await.expect("asked"), None);
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
    let located = Located { endpoint: Endpoint::Unix(socket), because: "a test".to_owned(), context: None };
    let error = Engine::connect(located).await.expect_err("broken");
    assert_eq!(error.code(), "no_engine");
}

/// What an engine of these versions is warned of, by the CVE's number.
async fn holes(answer: &'static str) -> Vec<String> {
    let engine = recorded(Box::leak(Box::new([("/version", "200 OK", answer)])));
    let found = connect(&engine).await.expect("connected").holes().await;
    let short = in_short(&found);
    assert_eq!(short.is_some(), !found.is_empty());
    for hole in &found {
        assert!(hole.text.contains("mended in") && hole.text.contains(hole.cve), "{hole:?}");
        assert!(
            short.as_ref().is_some_and(|short| short.contains(hole.cve) && short.contains("gpubay doctor")),
            "{short:?}"
        );
    }
    found.into_iter().map(|hole| hole.text).collect()
}

fn numbers(holes: &[String]) -> Vec<&str> {
    let known = ["CVE-2024-21626", "CVE-2024-23651", "CVE-2026-41567"];
    known.into_iter().filter(|number| holes.iter().any(|hole| hole.contains(number))).collect()
}

macro_rules! versions {
    ($engine:literal, $runc:literal, $revision:literal) => {
        concat!(
            r#"{"ApiVersion":"1.41","Version":""#,
            $engine,
            r#"","Components":[{"Name":"Engine","Version":""#,
            $engine,
            r#""},{"Name":"containerd","Version":"1.6.20","Details":{"GitCommit":""}},{"Name":"runc","Version":""#,
            $runc,
            r#"","Details":{"GitCommit":""#,
            $revision,
            r#""}}]}"#
        )
    };
}

#[tokio::test]
async fn known_holes_are_named_with_where_they_were_mended() {
    let runc = "CVE-2024-21626";
    let build = "CVE-2024-23651";
    let archive = "CVE-2026-41567";
    for (answer, want) in [
        (versions!("24.0.7", "1.1.11", "v1.1.11-0-g4bccb38c"), vec![runc, build, archive]),
        (versions!("24.0.9", "1.1.12", "v1.1.12-0-g51d5e946"), vec![archive]),
        (versions!("25.0.1", "1.1.12", ""), vec![build]),
        (versions!("25.0.2", "1.1.12", ""), vec![]),
        (versions!("28.5.2+dfsg4", "1.1.5+ds1", "1.1.5+ds1-1+deb12u1"), vec![archive]),
        (versions!("20.10.24+dfsg1", "1.1.5+ds1", "1.1.5+ds1-1"), vec![runc, build, archive]),
        (versions!("29.5.1", "1.1.7-0ubuntu1~22.04.1", ""), vec![runc]),
        (versions!("29.5.1", "1.1.7-0ubuntu1~22.04.2", ""), vec![]),
        (versions!("29.5.1", "1.3.3", ""), vec![]),
        (versions!("30.0.0-rc.1", "1.2.0-rc.3", ""), vec![]),
    ] {
        assert_eq!(numbers(&holes(answer).await), want, "{answer}");
    }
    let said = holes(versions!("24.0.7", "1.1.11", "")).await;
    assert!(said[0].contains("runc 1.1.11") && said[1].contains("Docker 24.0.7,"), "{said:?}");
    let packaged = holes(versions!("20.10.24+dfsg1", "1.3.3", "")).await;
    assert!(packaged.iter().all(|hole| hole.contains("unless your distribution")), "{packaged:?}");
}

#[tokio::test]
async fn an_engine_that_tells_no_versions_has_no_known_hole() {
    let podman = r#"{"ApiVersion":"1.41","Version":"5.4.0","Components":[{"Name":"Podman Engine","Version":"5.4.0"},
        {"Name":"OCI Runtime (crun)","Version":"crun version 1.20"}]}"#;
    for answer in [podman, r#"{"ApiVersion":"1.41","Version":"x"}"#, versions!("dev", "unknown", "")] {
        assert_eq!(holes(answer).await, Vec::<String>::new(), "{answer}");
    }
}

#[tokio::test]
async fn gpus_that_the_engine_cannot_give_are_said_to() {
    for message in [
        // No driver for the request at all (FACTS: `create` succeeds, `start` fails).
        r#"{"message":"could not select device driver \"\" with capabilities: [[gpu]]"}"#,
        // A specification that is gone since.
        r#"{"message":"CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=7"}"#,
        // More than there are, and a driver that does not fit its libraries, through NVIDIA's runtime.
        r#"{"message":"OCI runtime create failed: nvidia-container-cli: device error: 2: unknown device: unknown"}"#,
        r#"{"message":"OCI runtime create failed: nvidia-container-cli: initialization error: nvml error: driver/library version mismatch: unknown"}"#,
    ] {
        let engine = recorded(Box::leak(Box::new([VERSION, ("/start", "500 Internal Server Error", message)])));
        let error = connect(&engine).await.expect("connected").start("x").await.expect_err("refused");
        assert_eq!(error.code(), "gpu_refused", "{message}");
        assert!(error.hint().is_some_and(|hint| hint.contains("nvidia-smi -L")), "{error}");
    }
}
