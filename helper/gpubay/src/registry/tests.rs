use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use url::Url;

use super::*;

/// A question: its first line, and its headers in lower case.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    headers: Vec<String>,
    body: String,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }
}

struct Registry {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// Speaks HTTP on this machine, and answers with the whole text that `answer` makes; none means silence.
async fn registry(answer: impl Fn(&Asked, SocketAddr) -> Option<String> + Send + Sync + 'static) -> Registry {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        return;
                    }
                    let line = line.trim_end().to_owned();
                    if line.is_empty() {
                        break;
                    }
                    lines.push(line);
                }
                let headers: Vec<String> = lines[1..]
                    .iter()
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
                    .collect();
                let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                stream.read_exact(&mut body).await.expect("a body");
                let body = String::from_utf8(body).expect("text");
                let question = Asked { line: lines[0].clone(), headers, body };
                let text = answer(&question, address);
                seen.lock().expect("whole").push(question);
                match text {
                    Some(text) => _ = stream.write_all(text.as_bytes()).await,
                    None => std::future::pending().await,
                }
            });
        }
    });
    Registry { address, asked }
}

impl Registry {
    async fn size(&self) -> Result<Size, RegistryError> {
        size(&format!("{}/team/base:1", self.address), "amd64", &CancellationToken::new()).await
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("whole").clone()
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn refusal(status: &str, header: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

fn hash(c: char) -> String {
    format!("sha256:{}", c.to_string().repeat(64))
}

fn manifest() -> String {
    let layer = |c, size: u64| format!(r#"{{"digest":"{}","size":{size}}}"#, hash(c));
    format!(r#"{{"schemaVersion":2,"layers":[{},{},{}]}}"#, layer('a', 1000), layer('b', 500), layer('a', 1000))
}

#[tokio::test]
async fn the_layers_of_the_manifest_for_this_machine_are_summed() {
    let plain = registry(|_, _| Some(ok(&manifest()))).await;
    assert_eq!(plain.size().await, Ok(Size { compressed: 1500, layers: 2 }));
    assert!(plain.asked()[0].line.starts_with("GET /v2/team/base/manifests/1 "));

    let index = registry(|asked, _| {
        if asked.line.contains("sha256:") {
            return Some(ok(&manifest()));
        }
        let one = |c, os, arch| {
            format!(r#"{{"digest":"{}","size":1,"platform":{{"os":"{os}","architecture":"{arch}"}}}}"#, hash(c))
        };
        let (windows, arm, ours) =
            (one('1', "windows", "amd64"), one('2', "linux", "arm64"), one('3', "linux", "amd64"));
        Some(ok(&format!(r#"{{"manifests":[{windows},{arm},{ours}]}}"#)))
    })
    .await;
    assert_eq!(index.size().await, Ok(Size { compressed: 1500, layers: 2 }));
    assert!(index.asked()[1].line.contains(&format!("/manifests/{}", hash('3'))));
    let name = format!("{}/team/base:1", index.address);
    let none = size(&name, "riscv64", &CancellationToken::new()).await.expect_err("none of that kind");
    assert!(matches!(none, RegistryError::Platform { .. }), "{none}");
}

#[tokio::test]
async fn a_token_is_fetched_for_this_repository_and_shown_to_this_registry() {
    let registry = registry(|asked, address| {
        if asked.line.starts_with("GET /token?") {
            return Some(ok(r#"{"access_token":"t0"}"#));
        }
        if asked.header("authorization") == Some("Bearer t0") {
            return Some(ok(&manifest()));
        }
        let challenge =
            format!("www-authenticate: Bearer realm=\"http://{address}/token\",service=\"s\",scope=\"evil\"");
        Some(refusal("401 Unauthorized", &challenge))
    })
    .await;
    assert_eq!(registry.size().await.map(|size| size.compressed), Ok(1500));
    let asked = registry.asked();
    assert!(asked[1].line.contains("scope=repository%3Ateam%2Fbase%3Apull&service=s "), "{asked:?}");
    assert!(asked[0].header("authorization").is_none() && asked[1].header("authorization").is_none());
    assert!(asked.iter().all(|asked| asked.body.is_empty()));
}

#[tokio::test]
async fn a_registry_that_refuses_is_told_apart() {
    for (answer, expected) in [
        (refusal("404 Not Found", "x: y"), "has no such image"),
        (refusal("403 Forbidden", "x: y"), "wants a login"),
        (refusal("401 Unauthorized", "www-authenticate: Basic realm=\"x\""), "wants a login"),
        (refusal("401 Unauthorized", "www-authenticate: Negotiate"), "wants a login"),
        (refusal("500 Internal Server Error", "x: y"), "answered 500"),
    ] {
        let registry = registry(move |_, _| Some(answer.clone())).await;
        let error = registry.size().await.expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address");
    let error = size(&format!("{nobody}/x"), "amd64", &CancellationToken::new()).await.expect_err("nobody");
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_redirection_is_followed_without_the_login() {
    let elsewhere = registry(|_, _| Some(ok(&manifest()))).await;
    let to = elsewhere.address;
    let registry = registry(move |asked, address| {
        if asked.line.starts_with("GET /token") {
            return Some(ok(r#"{"token":"t0"}"#));
        }
        Some(if asked.header("authorization").is_some() {
            refusal("307 Temporary Redirect", &format!("location: http://{to}/other"))
        } else {
            refusal("401 Unauthorized", &format!("www-authenticate: Bearer realm=\"http://{address}/token\""))
        })
    })
    .await;
    assert_eq!(registry.size().await.map(|size| size.compressed), Ok(1500));
    let asked = elsewhere.asked();
    assert!(asked.len() == 1 && asked[0].header("authorization").is_none(), "{asked:?}");
}

#[tokio::test]
async fn hostile_answers_are_sentences() {
    let listed = |digest: &str| {
        format!(r#"{{"manifests":[{{"digest":"{digest}","platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#)
    };
    let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat((4 << 20) + 1));
    for (answer, expected) in [
        (endless, "more than 4194304 bytes"),
        (refusal("302 Found", "location: /again"), "more than 5 redirections"),
        (refusal("302 Found", "location: http://registry.example/x"), "http://registry.example, which is not followed"),
        (refusal("302 Found", "location: file:///etc/passwd"), "not followed"),
        (refusal("302 Found", "x: y"), "more than 5 redirections"),
        (refusal("401 Unauthorized", "www-authenticate: Bearer realm=\"http://169.254.169.254/\""), "not followed"),
        (refusal("401 Unauthorized", "www-authenticate: Bearer realm=\"nowhere\""), "a place for tokens that is none"),
        (ok("<html>"), "no manifest"),
        (ok("[]"), "no manifest"),
        (ok("{}"), "a form that is not known"),
        (ok(&"[".repeat(100_000)), "no manifest"),
        (ok(r#"{"layers":[{"digest":"x","size":-1}]}"#), "no manifest"),
        // An index in an index, and what would be another address.
        (ok(&listed(&hash('a'))), "a form that is not known"),
        (ok(&listed("../../../secret")), "a digest that is none"),
        ("nonsense\r\n\r\n".to_owned(), "cannot be reached"),
    ] {
        let registry = registry(move |_, _| Some(answer.clone())).await;
        let error = registry.size().await.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}: {expected}");
    }
    // Sizes that are no sizes do not add up to a panic.
    let (large, other) = (u64::MAX, hash('a'));
    let body = format!(r#"{{"layers":[{{"digest":"{other}","size":{large}}},{{"digest":"b","size":{large}}}]}}"#);
    let registry = registry(move |_, _| Some(ok(&body))).await;
    assert_eq!(registry.size().await.map(|size| size.compressed), Ok(u64::MAX));
}

#[tokio::test]
async fn a_silent_registry_is_given_up_and_a_cancelled_question_too() {
    let registry = registry(|_, _| None).await;
    let name = format!("{}/x", registry.address);
    let cancel = CancellationToken::new();
    let error = size_within(Duration::from_millis(50), &name, "amd64", &cancel).await.expect_err("silent");
    assert!(matches!(error, RegistryError::Slow { .. }), "{error}");
    cancel.cancel();
    let error = size_within(Duration::from_mins(10), &name, "amd64", &cancel).await.expect_err("cancelled");
    assert_eq!(error, RegistryError::Cancelled);
}

#[test]
fn only_named_places_are_followed_to_and_never_in_the_open() {
    for (host, to, allowed) in [
        ("registry.example", "https://auth.example/token", true),
        ("registry.example", "http://registry.example/x", false),
        ("registry.example", "https://127.0.0.1/x", false),
        ("registry.example", "https://localhost/x", false),
        ("registry.example", "https://169.254.169.254/x", false),
        ("registry.example", "https://[fd00::1]/x", false),
        ("registry.example", "https://me:secret@registry.example/x", false),
        ("10.0.0.5:5000", "https://10.0.0.5:5001/token", true),
        ("10.0.0.5:5000", "https://10.0.0.6/token", false),
        ("localhost:5000", "http://127.0.0.1:5001/token", true),
        ("localhost:5000", "http://registry.example/token", false),
    ] {
        let (client, base) = http::Client::new(host).expect("a registry");
        assert_eq!(base.scheme() == "http", host.starts_with("localhost"), "{host}");
        assert_eq!(client.allowed(&Url::parse(to).expect("an address")).is_ok(), allowed, "{host} {to}");
    }
}

#[test]
fn names_are_taken_apart_as_engines_do() {
    for (image, host, repository, reference) in [
        ("python", HUB, "library/python", "latest"),
        ("python:3.12-slim", HUB, "library/python", "3.12-slim"),
        ("docker.io/python", HUB, "library/python", "latest"),
        ("nvidia/cuda:13.4.1-cudnn-devel-ubuntu24.04", HUB, "nvidia/cuda", "13.4.1-cudnn-devel-ubuntu24.04"),
        ("nvcr.io/nvidia/pytorch:26.09-py3", "nvcr.io", "nvidia/pytorch", "26.09-py3"),
        ("localhost:5000/a/b", "localhost:5000", "a/b", "latest"),
        ("localhost/a", "localhost", "a", "latest"),
        ("[::1]:5000/a", "[::1]:5000", "a", "latest"),
    ] {
        let name = Name::parse(image).expect(image);
        assert_eq!(
            (name.host.as_str(), name.repository.as_str(), name.reference.as_str()),
            (host, repository, reference)
        );
    }
    let digest = format!("a/b:tag@{}", hash('0'));
    assert_eq!(Name::parse(&digest).expect("a name").reference, hash('0'));
    for none in ["", "a//b", "a/../b", "a b", "a:b:c", "a@sha256:x", "a.b/c?d", "a\n", "x/y:z/../../w"] {
        assert_eq!(Name::parse(none), None, "{none:?}");
    }
}
