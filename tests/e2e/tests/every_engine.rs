//! The same on every engine, as an ordinary user: what is beside the main job.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;

use gpubay_e2e::{Bench, Terminal, Who, eventually};
use serde_json::{Value, json};

fn bench(engine: &str) -> Bench {
    let bench = Bench::new(engine, Who::Ordinary, "every");
    bench.write("gpubay.toml", CONFIG);
    bench.write("Dockerfile", "FROM gpubay-lab/python\nRUN echo built > /built\n");
    bench
}

const CONFIG: &str = r#"
[container]
mounts = ["every-engine:/scratch"]
ports = ["6006"]
env = { GREETING = "a b=c" }
persist = ["~/.kept"]
[jobs.greet]
command = ["sh", "-c", "echo $GREETING; exit 3"]
"#;

fn everything(engine: &str) {
    let bench = bench(engine);
    let report = bench.json(&["up", "--allow", "volume:every-engine:/scratch"]);
    assert_eq!((&report["image"]["built"], &report["drift"]), (&json!(true), &json!([])));

    // A terminal of its own, which learns of a new size.
    // Between a size and what is typed right after it there is no order.
    let script = "stty size; until stty size | grep '^40 90'; do sleep 0.05; done; read x; echo \"read $x\"; exit 5";
    let mut terminal = Terminal::start(&bench, &["exec", "--", "sh", "-c", script], &[]);
    terminal.read_until("30 100");
    terminal.resize(40, 90);
    terminal.read_until("40 90");
    terminal.write("typed\n");
    let (text, code) = terminal.end();
    assert!(text.contains("read typed") && code == Some(5), "{text:?} {code:?}");

    // Volumes are the user's, what is to persist does, and what is written into the workspace is the user's outside.
    let write =
        "echo mine > /scratch/file && echo mine > ~/.kept/file && touch written && cat /built && echo \"$GREETING\"";
    assert_eq!(bench.run(&["exec", "--", "sh", "-c", write]).succeeded().stdout, "built\na b=c\n");
    assert_eq!(std::fs::metadata(bench.workspace.join("written")).expect("written").uid(), bench.uid());

    // A port of this machine alone.
    let port = report["container"]["ports"]["6006/tcp"][0].as_str().expect("an address").to_owned();
    assert!(port.starts_with("127.0.0.1:"), "{port}");
    let serve = "import http.server as s; s.HTTPServer(('', 6006), s.SimpleHTTPRequestHandler).serve_forever()";
    let mut server = bench.gpubay(&["exec", "--", "python", "-c", serve]).spawn().expect("started");
    eventually("the server inside answers", || {
        let mut answer = String::new();
        let asked = TcpStream::connect(&port).and_then(|mut stream| {
            stream.write_all(b"GET /written HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        asked.is_ok() && answer.contains("200 OK")
    });
    gpubay_e2e::send(&server, rustix::process::Signal::TERM);
    gpubay_e2e::ended(&mut server);

    // Jobs beside it, with their ends and what they said.
    assert_eq!(bench.run(&["run", "greet"]).code, Some(3));
    bench.run(&["run", "--detach", "--name", "long", "--", "sh", "-c", "echo begun; exec sleep 1000"]).succeeded();
    let state = |name: &str| -> Option<Value> {
        let rows = bench.json(&["ps"])["containers"].as_array().expect("rows").clone();
        rows.into_iter().find(|row| row["job"] == name)
    };
    assert_eq!(state("long").expect("listed")["state"], "running");
    eventually("the job says something", || bench.run(&["logs", "long"]).succeeded().stdout == "begun\n");
    bench.run(&["rm", "long"]).failed("--force");
    bench.run(&["rm", "--force", "long"]).succeeded();
    assert_eq!(state("long"), None);

    // Stopped it keeps its files, and removed it keeps what was to persist.
    bench.run(&["exec", "--", "touch", "/tmp/inside"]).succeeded();
    bench.run(&["stop", "--force"]).succeeded();
    let again = bench.up();
    assert_eq!((&again["container"]["started"], &again["container"]["created"]), (&json!(true), &json!(false)));
    bench.run(&["exec", "--", "cat", "/tmp/inside", "/scratch/file"]).succeeded();
    bench.run(&["down", "--force"]).succeeded();
    bench.up();
    assert_eq!(
        bench.run(&["exec", "--", "sh", "-c", "cat /scratch/file ~/.kept/file"]).succeeded().stdout,
        "mine\nmine\n"
    );

    // It says what it is.
    assert!(bench.json(&["gpus"])["injection"].is_string());
    let doctor = bench.run(&["doctor", "--json"]);
    assert!(doctor.json()["findings"].as_array().is_some_and(|lines| lines.len() > 5), "{doctor:?}");

    // A step that fails is named with its line, and what runs goes on.
    bench.write("Dockerfile", "FROM gpubay-lab/python\n\nRUN echo why >&2; exit 4\n");
    let (code, ran) = bench.error(&["build"]);
    assert_eq!(code, "build_step_failed");
    ran.failed("Dockerfile:3").failed("why");
    assert_eq!(bench.json(&["ps"])["containers"][0]["state"], "running");
    bench.run(&["down", "--force"]).succeeded();
    assert_eq!(bench.containers(), Vec::<String>::new());
}

#[test]
fn docker_28() {
    everything("docker28");
}

#[test]
fn docker_28_with_the_containerd_store() {
    everything("docker28-containerd");
}

#[test]
fn docker_28_rootless() {
    everything("docker28-rootless");
}

#[test]
fn docker_20() {
    everything("docker20");
}

#[test]
fn podman() {
    everything("podman");
}

#[test]
fn podman_rootless() {
    everything("podman-rootless");
}

#[test]
fn podman_5() {
    everything("podman5");
}

#[test]
fn docker_26() {
    everything("docker26");
}
