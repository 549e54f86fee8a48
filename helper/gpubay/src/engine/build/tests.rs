//! Against a fake engine at the outermost edge: a unix socket that plays back what real engines
//! (Docker 28.5 and 20.10) answered to `POST /build`, byte for byte.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::GetSecretRequest;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
use bollard_buildkit_proto::moby::filesync::v1::file_sync_client::FileSyncClient;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::*;
use crate::config::model::SecretSource;
use crate::progress::{Event, StepEnd};

const INSPECTED: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"Id\":\"sha256:same\"}";
const STEP_28: &[u8] = include_bytes!("recorded/step-28.http");
const BUILT_CLASSIC: &[u8] = include_bytes!("recorded/built-classic.http");
const BUILT_28: &[u8] = include_bytes!("recorded/built-28.http");

struct Fake {
    dir: tempfile::TempDir,
    seen: Arc<Mutex<Vec<String>>>,
    builder: Builder,
}

/// What happens after the answer's bytes: the connection is closed, or held open.
#[derive(Clone, Copy)]
enum After {
    Close,
    Hold,
}

/// Answers `POST /build` with `answer`, sessions with an upgrade, images with one image.
fn fake(session: &'static [u8], answer: Vec<u8>, after: After) -> Fake {
    let dir = tempfile::tempdir().expect("a folder");
    let listener = UnixListener::bind(dir.path().join("d.sock")).expect("a socket");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut wire, _)) = listener.accept().await {
            let (told, answer) = (Arc::clone(&told), answer.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match wire.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8(head).expect("a request");
                let line = head.lines().next().expect("a line").to_owned();
                told.lock().expect("requests").push(line.clone());
                // An engine answers once it has the whole context; one that closes before that breaks the connection.
                let mut body = Vec::new();
                while line.starts_with("POST /build?version=1&") && !body.ends_with(b"\r\n0\r\n\r\n") {
                    match wire.read_u8().await {
                        Ok(byte) => body.push(byte),
                        Err(_) => return,
                    }
                }
                let (bytes, hold) = match line.split(' ').nth(1).expect("a path") {
                    "/session" => (session.to_vec(), true),
                    path if path.starts_with("/build?") => (answer, matches!(after, After::Hold)),
                    path if path.starts_with("/build/cancel") => (b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), false),
                    _ => (INSPECTED.to_vec(), false),
                };
                let _ = wire.write_all(&bytes).await;
                if hold {
                    let mut rest = Vec::new();
                    let _ = wire.read_to_end(&mut rest).await;
                    told.lock().expect("requests").push(format!("closed {line}"));
                }
            });
        }
    });
    Fake { dir, seen, builder: Builder::BuildKit }
}

const UPGRADE: &[u8] = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

impl Fake {
    async fn build(&self, request: BuildRequest, progress: &Progress) -> Result<Built, BuildError> {
        let socket = self.dir.path().join("d.sock");
        let address = format!("unix://{}", socket.display());
        let docker = Docker::connect_with_unix(&address, 10, bollard::API_DEFAULT_VERSION).expect("an address");
        build(&docker, &Endpoint::Unix(socket), self.builder, request, progress).await
    }

    fn building_with(self, builder: Builder) -> Self {
        Self { builder, ..self }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("requests").clone()
    }
}

fn request(text: &str) -> (tempfile::TempDir, BuildRequest) {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("Dockerfile"), text).expect("a file");
    let context = HostPath::new(dir.path()).expect("a path");
    let dockerfile = Dockerfile::File(context.join("Dockerfile"));
    let request = BuildRequest {
        context,
        dockerfile,
        args: BTreeMap::from([("A".to_owned(), "x y&\n".to_owned())]),
        target: None,
        labels: BTreeMap::new(),
        tags: vec!["me/project:1.0".to_owned()],
        secrets: Vec::new(),
        always_exclude: Vec::new(),
        no_cache: false,
    };
    (dir, request)
}

async fn played(answer: &[u8], text: &str, target: Option<&str>) -> Result<Built, BuildError> {
    played_by(Builder::BuildKit, answer, text, target).await
}

async fn played_by(builder: Builder, answer: &[u8], text: &str, target: Option<&str>) -> Result<Built, BuildError> {
    let fake = fake(UPGRADE, answer.to_vec(), After::Close).building_with(builder);
    let (_dir, request) = request(text);
    let request = BuildRequest { target: target.map(str::to_owned), ..request };
    fake.build(request, &Progress::silent()).await
}

const FAILING: &str =
    "FROM base AS one\nRUN true\nFROM one\n\n# here\nRUN echo first && \\\n  echo the reason && exit 7\n";

#[tokio::test]
async fn a_failing_step_has_its_line_code_and_output_on_both_engines() {
    for answer in [STEP_28, include_bytes!("recorded/step-20.http")] {
        match played(answer, FAILING, None).await.unwrap_err() {
            BuildError::Step { line, exit_code, output, instruction, .. } => {
                assert_eq!((line, exit_code), (Some(6), Some(7)));
                assert_eq!(output, ["first", "the reason"]);
                assert!(instruction.starts_with("RUN echo first"), "{instruction}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn each_way_to_fail_has_its_error_on_both_engines() {
    for answer in [&include_bytes!("recorded/syntax-28.http")[..], include_bytes!("recorded/syntax-20.http")] {
        let result = played(answer, "FROM a\n\nRUNN x", None).await;
        assert!(
            matches!(&result, Err(BuildError::Syntax { line: Some(3), message, .. }) if message.starts_with("unknown instruction")),
            "{result:?}"
        );
    }
    for answer in [&include_bytes!("recorded/target-28.http")[..], include_bytes!("recorded/target-20.http")] {
        let result = played(answer, "FROM a AS real", Some("nope")).await;
        assert!(matches!(result, Err(BuildError::UnknownTarget { .. })), "{result:?}");
    }
    for answer in [&include_bytes!("recorded/base-28.http")[..], include_bytes!("recorded/base-20.http")] {
        let result = played(answer, "FROM localhost:1/no/such:image", None).await;
        let Err(BuildError::Base { image, message, line: Some(1), .. }) = result else { panic!("{result:?}") };
        assert_eq!(image, "localhost:1/no/such:image");
        assert!(message.contains("connection refused"));
    }
    for answer in [&include_bytes!("recorded/copy-28.http")[..], include_bytes!("recorded/copy-20.http")] {
        let result = played(answer, "FROM a\nCOPY missing /x", None).await;
        assert!(matches!(result, Err(BuildError::Step { line: Some(2), .. })), "{result:?}");
    }
    let full = b"HTTP/1.1 200 OK\r\n\r\n{\"errorDetail\":{\"message\":\"write /x: no space left on device\"}}";
    assert!(matches!(played(full, "FROM a", None).await, Err(BuildError::DiskFull(_))));
    let refused = b"HTTP/1.1 500 Internal\r\nContent-Length: 21\r\n\r\n{\"message\":\"no such\"}";
    assert!(matches!(played(refused, "FROM a", None).await, Err(BuildError::Engine(text)) if text == "no such"));
}

#[tokio::test]
async fn a_build_names_its_image_and_its_steps() {
    for answer in [BUILT_28, include_bytes!("recorded/built-20.http")] {
        let fake = fake(UPGRADE, answer.to_vec(), After::Close);
        let (_dir, request) = request("FROM a");
        let events = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&events);
        let progress = Progress::new(move |event| own.lock().expect("events").push(event));
        let built = fake.build(request, &progress).await.expect("a build");
        assert_eq!(built.image_id, "sha256:same");
        let events = events.lock().expect("events");
        let started = events.iter().filter(|event| matches!(event, Event::Started { .. })).count();
        let ended =
            events.iter().filter(|e| matches!(e, Event::Ended { end: StepEnd::Done | StepEnd::Cached, .. })).count();
        assert!(started >= 4, "{events:?}");
        assert_eq!(started, ended, "every step ends well");
        let titles: Vec<_> = events
            .iter()
            .filter_map(|e| if let Event::Started { title, .. } = e { Some(title) } else { None })
            .collect();
        assert_eq!(titles.iter().collect::<std::collections::HashSet<_>>().len(), titles.len(), "{titles:?}");
        let path = &fake.seen()[1];
        assert!(path.contains("buildargs=%7B%22A%22%3A%22x%20y%26%5Cn%22%7D"), "{path}");
        assert!(path.contains("t=me%2Fproject%3A1.0"), "{path}");
    }
}

#[tokio::test]
async fn a_secret_that_a_step_prints_is_hidden() {
    for answer in [BUILT_28, include_bytes!("recorded/built-20.http")] {
        let fake = fake(UPGRADE, answer.to_vec(), After::Close);
        let (dir, request) = request("FROM a");
        let path = HostPath::new(dir.path().join("token")).expect("a path");
        std::fs::write(&path, "s3cr3t-$(touch /x)-\"quoted\"\n").expect("a file");
        let secrets = vec![Secret { id: "tok".to_owned(), source: SecretSource::File(path) }];
        let events = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&events);
        let progress = Progress::new(move |event| own.lock().expect("events").push(event));
        fake.build(BuildRequest { secrets, ..request }, &progress).await.expect("a build");
        let told = format!("{:?}", events.lock().expect("events"));
        assert!(told.contains("***") && !told.contains("s3cr3t"), "{told}");
        assert!(!fake.seen().concat().contains("s3cr3t"));
    }
}

#[tokio::test]
async fn an_answer_cut_anywhere_is_never_a_success() {
    let end = BUILT_28.windows(14).position(|at| at == b"moby.image.id\"").expect("the image's name");
    for cut in (0..end).step_by(end / 23) {
        let result = played(&BUILT_28[..cut], "FROM a", None).await;
        assert!(matches!(result, Err(BuildError::Lost(_))), "cut at {cut}: {result:?}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_well_without_an_image_is_no_success() {
    for answer in [&b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n{\"stream\":\"x\"}\n"]
    {
        assert!(matches!(played(answer, "FROM a", None).await, Err(BuildError::Lost(_))));
    }
}

#[tokio::test]
async fn an_error_that_comes_before_a_cut_is_told() {
    // The last chunk, which ends the answer, is missing.
    let cut = STEP_28.len() - 5;
    assert!(matches!(played(&STEP_28[..cut], FAILING, None).await, Err(BuildError::Step { .. })));
}

#[tokio::test]
async fn an_engine_without_sessions_is_told_or_builds_the_old_way() {
    const NONE: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let told = fake(NONE, Vec::new(), After::Close);
    let (_dir, asked) = request("FROM a");
    assert!(matches!(told.build(asked.clone(), &Progress::silent()).await, Err(BuildError::NoBuildKit)));
    let old = fake(NONE, BUILT_CLASSIC.to_vec(), After::Close).building_with(Builder::Unsaid);
    assert_eq!(old.build(asked, &Progress::silent()).await.expect("a build").image_id, "sha256:same");
    assert!(old.seen().iter().any(|line| line.starts_with("POST /build?version=1&")), "{:?}", old.seen());
}

#[tokio::test]
async fn the_classic_builders_failures_have_line_code_and_output_too() {
    let play =
        async |answer: &'static [u8], text: &str, target| played_by(Builder::Classic, answer, text, target).await;
    match play(include_bytes!("recorded/step-classic.http"), FAILING, None).await.unwrap_err() {
        BuildError::Step { line, exit_code, output, instruction, .. } => {
            assert_eq!((line, exit_code), (Some(6), Some(7)));
            assert_eq!(output, ["first", "the reason"]);
            assert!(instruction.starts_with("RUN echo first"), "{instruction}");
        }
        other => panic!("{other:?}"),
    }
    let syntax = play(include_bytes!("recorded/syntax-classic.http"), "FROM a\n\nRUNN x", None).await;
    assert!(matches!(syntax, Err(BuildError::Syntax { line: Some(3), .. })), "{syntax:?}");
    let target = play(include_bytes!("recorded/target-classic.http"), "FROM a AS real", Some("nope")).await;
    assert!(matches!(target, Err(BuildError::UnknownTarget { .. })), "{target:?}");
    let base = play(include_bytes!("recorded/base-classic.http"), "FROM localhost:1/no/such:image", None).await;
    let Err(BuildError::Base { image, message, line: Some(1), .. }) = base else { panic!("{base:?}") };
    assert_eq!(image, "localhost:1/no/such:image");
    assert!(message.contains("connection refused"), "{message}");
    match play(include_bytes!("recorded/copy-classic.http"), "FROM a\nCOPY missing /x", None).await.unwrap_err() {
        BuildError::Step { line: Some(2), output, .. } => assert!(output[0].contains("stat missing"), "{output:?}"),
        other => panic!("{other:?}"),
    }
    let full = b"HTTP/1.1 200 OK\r\n\r\n{\"errorDetail\":{\"message\":\"write /x: no space left on device\"}}";
    assert!(matches!(play(full, "FROM a", None).await, Err(BuildError::DiskFull(_))));
    let end = BUILT_CLASSIC.windows(6).position(|at| at == b"\"aux\":").expect("the image's name");
    for cut in (0..end).step_by(end / 11) {
        let result = played_by(Builder::Classic, &BUILT_CLASSIC[..cut], "FROM a", None).await;
        assert!(matches!(result, Err(BuildError::Lost(_))), "cut at {cut}: {result:?}");
    }
}

#[tokio::test]
async fn what_only_buildkit_can_do_is_told_with_its_line_before_anything_is_sent() {
    let secret = Secret { id: "tok".to_owned(), source: SecretSource::Env("PATH".to_owned()) };
    for (builder, text, secrets, line, what) in [
        (Builder::Classic, "FROM a\n\nRUN --mount=type=cache,target=/c make", vec![], Some(3), "`RUN --mount`"),
        (Builder::Classic, "FROM a\nCOPY --chmod=755 x /x", vec![], Some(2), "`COPY --chmod`"),
        (Builder::Classic, "FROM a\nRUN <<EOF\nmake\nEOF", vec![], Some(2), "here-document"),
        (Builder::Classic, "# syntax=evil.example/x\nFROM a", vec![], None, "evil.example/x"),
        (
            Builder::Podman,
            "FROM a\nRUN --mount=type=secret,id=tok make",
            vec![secret.clone()],
            Some(2),
            "secret \"tok\"",
        ),
        (Builder::Classic, "FROM a", vec![secret], None, "secret \"tok\""),
    ] {
        let fake = fake(UPGRADE, Vec::new(), After::Close).building_with(builder);
        let (_dir, request) = request(text);
        let error = fake.build(BuildRequest { secrets, ..request }, &Progress::silent()).await.expect_err(text);
        assert!(matches!(&error, BuildError::NeedsBuildKit { line: found, .. } if *found == line), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(crate::error::Explain::hint(&error).is_some());
        assert!(fake.seen().is_empty(), "{:?}", fake.seen());
    }
    for (builder, text, target) in [
        (Builder::Classic, "# syntax=docker/dockerfile:1\nFROM a\nCOPY --from=a --chown=1 x /x\nRUN echo a <<<b", None),
        (Builder::Classic, "FROM a AS one\nFROM a\nRUN --mount=type=cache,target=/c make", Some("one")),
        (Builder::Podman, "FROM a\nRUN --mount=type=cache,target=/c make", None),
    ] {
        let built = played_by(builder, BUILT_CLASSIC, text, target).await;
        assert!(built.is_ok(), "{text}: {built:?}");
    }
}

#[tokio::test]
async fn cancelling_tells_the_engine_and_closes_both_connections() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let fake = fake(UPGRADE, head, After::Hold);
    let (_dir, request) = request("FROM a");
    let progress = Progress::silent();
    let seen = Arc::clone(&fake.seen);
    let cancel = progress.cancel.clone();
    tokio::spawn(async move {
        while !seen.lock().expect("requests").iter().any(|line| line.starts_with("POST /build?")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cancel.cancel();
    });
    assert!(matches!(fake.build(request, &progress).await, Err(BuildError::Cancelled)));
    let all = |line: &str| fake.seen().iter().any(|seen| seen.starts_with(line));
    let wait = async {
        while !(all("POST /build/cancel?id=") && all("closed POST /build?") && all("closed POST /session")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{:?}", fake.seen()));
}

#[tokio::test]
async fn what_is_missing_here_is_told_before_the_engine_is_asked() {
    let fake = fake(UPGRADE, Vec::new(), After::Close);
    let (dir, good) = request("FROM a");
    let nowhere = HostPath::new("/no/such/folder").expect("a path");
    let request = BuildRequest { context: nowhere.clone(), ..good.clone() };
    assert!(matches!(fake.build(request, &Progress::silent()).await, Err(BuildError::ContextMissing(_))));
    let request = BuildRequest { dockerfile: Dockerfile::File(nowhere), ..good.clone() };
    assert!(matches!(fake.build(request, &Progress::silent()).await, Err(BuildError::Dockerfile { .. })));
    let source = SecretSource::Env("GPUBAY_TEST_NO_SUCH_VARIABLE".to_owned());
    let request = BuildRequest { secrets: vec![Secret { id: "x".to_owned(), source }], ..good };
    assert!(matches!(fake.build(request, &Progress::silent()).await, Err(BuildError::Secret { .. })));
    assert!(fake.seen().is_empty(), "{:?}", fake.seen());
    drop(dir);
}

#[tokio::test]
async fn a_strangers_syntax_image_is_warned_of() {
    for (line, warned) in [
        ("# syntax=docker/dockerfile:1", 0),
        ("# syntax=docker/dockerfile.evil/x", 1),
        ("# syntax=evil.example/frontend", 1),
        ("", 0),
    ] {
        let count = Arc::new(Mutex::new(0));
        let own = Arc::clone(&count);
        let progress = Progress::new(move |event| {
            if matches!(event, Event::Warning(_)) {
                *own.lock().expect("a count") += 1;
            }
        });
        warn_of_strangers(&format!("{line}\nFROM a"), &BTreeMap::new(), &progress);
        assert_eq!(*count.lock().expect("a count"), warned, "{line}");
    }
}

/// The engine's end of a session, over a pipe within the process.
async fn engine_side(files: Files, secrets: Values) -> Channel {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(session::serve(ours, CancellationToken::new(), files, secrets));
    let mut theirs = Some(theirs);
    let connect = tower::service_fn(move |_| {
        let end = theirs.take().map(TokioIo::new);
        async move { end.ok_or_else(|| std::io::Error::other("one connection only")) }
    });
    tonic::transport::Endpoint::from_static("http://session").connect_with_connector(connect).await.expect("a channel")
}

fn files_of(dir: &std::path::Path) -> Files {
    let root = Arc::new(context::open_root(dir).expect("a root"));
    let source = Source::Folder { root, never: Vec::new() };
    Files { sources: Arc::new(HashMap::from([("context".to_owned(), source)])), failure: Arc::default() }
}

#[tokio::test]
async fn the_engine_gets_stats_then_the_data_that_it_asks_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let big = vec![b'x'; 200_000];
    std::fs::create_dir(dir.path().join("d")).expect("a folder");
    std::fs::write(dir.path().join("d/big"), &big).expect("a file");
    std::fs::write(dir.path().join("z.py"), "z").expect("a file");
    std::fs::write(dir.path().join("ü"), "").expect("a file");
    std::fs::hard_link(dir.path().join("d/big"), dir.path().join("e")).expect("a link");
    std::os::unix::fs::symlink("/etc/shadow", dir.path().join("l")).expect("a link");
    let channel = engine_side(files_of(dir.path()), Values::default()).await;
    let (requests, stream) = tokio::sync::mpsc::channel(8);
    let mut call = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(stream));
    for (key, value) in [("dir-name", "context"), ("exclude-patterns", "%C3%BC"), ("exclude-patterns-encoded", "1")] {
        call.metadata_mut().insert(key, value.parse().expect("a value"));
    }
    let mut packets = FileSyncClient::new(channel).diff_copy(call).await.expect("an answer").into_inner();
    let mut stats = Vec::new();
    let mut data = Vec::new();
    loop {
        let packet = packets.message().await.expect("a packet").expect("no end before FIN");
        match packet.r#type() {
            PacketType::PacketStat => {
                if let Some(stat) = packet.stat {
                    stats.push((stat.path, stat.linkname, stat.size));
                } else {
                    let ask = Packet { r#type: PacketType::PacketReq.into(), id: 1, ..Packet::default() };
                    requests.send(ask).await.expect("a request");
                }
            }
            PacketType::PacketData if packet.data.is_empty() => {
                let fin = Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() };
                requests.send(fin).await.expect("an end");
            }
            PacketType::PacketData => {
                assert_eq!(packet.id, 1);
                data.extend(packet.data);
            }
            PacketType::PacketFin => break,
            other => panic!("{other:?}: {:?}", String::from_utf8_lossy(&packet.data)),
        }
    }
    let stat = |path: &str, link: &str, size| (path.to_owned(), link.to_owned(), size);
    assert_eq!(
        stats,
        [
            stat("d", "", 0),
            stat("d/big", "", 200_000),
            stat("e", "d/big", 0),
            stat("l", "/etc/shadow", 11),
            stat("z.py", "", 1),
        ]
    );
    assert_eq!(data, big);
}

#[tokio::test]
async fn other_folders_and_unknown_secrets_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let channel = engine_side(files_of(dir.path()), Values::default()).await;
    let mut call = tonic::Request::new(tokio_stream::empty());
    call.metadata_mut().insert("dir-name", "/etc".parse().expect("a value"));
    let refused = FileSyncClient::new(channel.clone()).diff_copy(call).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    let ask = GetSecretRequest { id: "x".to_owned(), ..GetSecretRequest::default() };
    let refused = SecretsClient::new(channel).get_secret(ask).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
}

#[test]
fn a_dockerfile_brings_no_other_file_of_its_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().canonicalize().expect("canonical");
    for (name, text) in [("Dockerfile", "FROM a\n"), ("Dockerfile.dockerignore", "x\n"), ("id_rsa", "s3cret")] {
        std::fs::write(root.join(name), text).expect("written");
    }
    std::fs::create_dir(root.join("context")).expect("made");
    let request = BuildRequest {
        context: HostPath::new(root.join("context")).expect("absolute"),
        dockerfile: Dockerfile::File(HostPath::new(root.join("Dockerfile")).expect("absolute")),
        args: BTreeMap::new(),
        target: None,
        labels: BTreeMap::new(),
        tags: Vec::new(),
        secrets: Vec::new(),
        always_exclude: Vec::new(),
        no_cache: false,
    };
    let (sources, name) = sources(&request, "FROM a\n").expect("readable");
    assert_eq!(name, "Dockerfile");
    let Some(Source::Files(files)) = sources.get("dockerfile") else { panic!("{sources:?}") };
    assert_eq!(files.keys().collect::<Vec<_>>(), ["Dockerfile", "Dockerfile.dockerignore"]);
}
