use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener as StdListener;
use std::time::{Duration, Instant};

use gpubay::HostPath;
use gpubay::agent::{AgentError, Client, wait_ready};
use gpubay::error::Explain;
use gpubay_protocol::agent::{Failure, FailureKind, FromAgent, SOCKET_NAME, ToAgent};
use gpubay_protocol::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Agent, exec};

#[tokio::test]
async fn a_link_in_the_sockets_place_is_refused() {
    let agent = Agent::start();
    agent.client().await;
    let folder = tempfile::tempdir().expect("a folder");
    symlink(agent.run_dir().join(SOCKET_NAME), folder.path().join(SOCKET_NAME)).expect("linked");
    let error = Client::connect(&HostPath::new(folder.path()).expect("absolute")).await.expect_err("refused");
    assert_eq!(error.code(), "agent_replaced");
    let link = folder.path().join("run");
    symlink(agent.run_dir().as_path(), &link).expect("linked");
    let error = Client::connect(&HostPath::new(link).expect("absolute")).await.expect_err("refused");
    assert_eq!(error.code(), "agent_unreachable");
}

#[tokio::test]
async fn a_fifo_in_the_sockets_place_does_not_block() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(SOCKET_NAME);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("made");
    let error = Client::connect(&HostPath::new(folder.path()).expect("absolute")).await.expect_err("refused");
    assert_eq!(error.code(), "agent_replaced");
}

#[tokio::test]
async fn long_paths_are_no_obstacle() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = folder.path().join("x".repeat(120));
    let agent = Agent::start();
    agent.client().await;
    std::fs::rename(agent.run_dir().as_path(), &long).expect("moved");
    let client = Client::connect(&HostPath::new(&long).expect("absolute")).await.expect("connected");
    assert_eq!(client.version(), env!("CARGO_PKG_VERSION"));
    std::fs::rename(&long, agent.run_dir().as_path()).expect("moved back");
}

#[tokio::test]
async fn nobody_there_is_said_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let run_dir = HostPath::new(folder.path()).expect("absolute");
    let begun = Instant::now();
    let error = wait_ready(&run_dir, Duration::from_millis(50)).await.expect_err("nobody");
    assert_eq!(error.code(), "agent_unreachable");
    assert!(begun.elapsed() < Duration::from_secs(5));
    // What an ended agent leaves behind.
    drop(StdListener::bind(folder.path().join(SOCKET_NAME)).expect("bound"));
    let error = Client::connect(&run_dir).await.expect_err("nobody");
    assert_eq!(error.code(), "agent_unreachable");
}

#[tokio::test]
async fn a_new_agent_takes_over_the_socket_of_an_old_one() {
    let agent = Agent::start();
    agent.client().await;
    let folder = tempfile::tempdir().expect("a folder");
    drop(StdListener::bind(folder.path().join(SOCKET_NAME)).expect("bound"));
    let path = folder.path().join(SOCKET_NAME);
    let mut second = std::process::Command::new(super::program())
        .args(["init", "--socket", path.to_str().expect("text")])
        .spawn()
        .expect("started");
    let run_dir = HostPath::new(folder.path()).expect("absolute");
    wait_ready(&run_dir, Duration::from_secs(30)).await.expect("it serves");
    super::signal(second.id(), libc::SIGTERM);
    assert!(second.wait().expect("ended").success());
}

/// R20.
#[tokio::test]
async fn the_agent_refuses_another_version_in_words() {
    let agent = Agent::start();
    agent.client().await;
    let mut stream = std::os::unix::net::UnixStream::connect(agent.run_dir().join(SOCKET_NAME)).expect("connected");
    frame::write(&mut stream, &ToAgent::Hello { protocol: 999 }).expect("sent");
    match frame::read(&mut stream).expect("an answer") {
        Some(FromAgent::Failed(Failure { kind: FailureKind::Protocol, message })) => {
            assert!(message.contains("999"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

/// An agent that answers the hello with `welcome`, and anything after it with `answers`.
async fn against(welcome: Vec<u8>, answers: Vec<u8>) -> Result<Client, AgentError> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        let mut asked = [0; 1024];
        let _ = theirs.read(&mut asked).await;
        if welcome.is_empty() {
            return;
        }
        let _ = theirs.write_all(&welcome).await;
        let _ = theirs.read(&mut asked).await;
        let _ = theirs.write_all(&answers).await;
    });
    Client::over(ours).await
}

fn welcome(protocol: u32) -> Vec<u8> {
    frame::encode(&FromAgent::Welcome { protocol, version: "9.9".into() }).expect("encodes")
}

#[tokio::test]
async fn other_agents_are_told_apart() {
    let refusal = Failure { kind: FailureKind::Protocol, message: "no".into() };
    for (answer, code) in [
        (welcome(999), "agent_version"),
        (frame::encode(&FromAgent::Failed(refusal)).expect("encodes"), "agent_version"),
        (frame::encode(&FromAgent::Fetched).expect("encodes"), "agent_misbehaved"),
        (vec![0xff; 64], "agent_misbehaved"),
        (b"\x02\0\0\0\xff\xff".to_vec(), "agent_misbehaved"),
        (Vec::new(), "agent_lost"),
    ] {
        let error = against(answer, Vec::new()).await.expect_err("no agent of ours");
        assert_eq!(error.code(), code, "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_answer_is_an_error_of_its_own() {
    let protocol = gpubay_protocol::agent::PROTOCOL;
    for answer in [FromAgent::Fetched, FromAgent::Exit(gpubay_protocol::agent::Exit::Code(0))] {
        let client = against(welcome(protocol), frame::encode(&answer).expect("encodes")).await.expect("a handshake");
        assert_eq!(client.gpus().await.expect_err("no answer").code(), "agent_misbehaved");
    }
    let client = against(welcome(protocol), Vec::new()).await.expect("a handshake");
    assert_eq!(client.exec(exec(&["x"])).await.expect_err("no answer").code(), "agent_lost");
}

mod any_bytes {
    use super::*;
    use gpubay_protocol::agent::{ScanLimits, ScanRequest};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_an_agent_answers_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = against(welcome(gpubay_protocol::agent::PROTOCOL), bytes).await.expect("a handshake");
                let request =
                    ScanRequest { roots: Vec::new(), exclude: Vec::new(), known: None, limits: ScanLimits::default() };
                let _ = client.scan(request, |_| ()).await;
            });
        }
    }
}
