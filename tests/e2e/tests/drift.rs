//! What runs against what is wished: named option by option, and nothing of the user's taken away unasked.

use gpubay_e2e::{Bench, Who};
use serde_json::{Value, json};

fn plain(who: Who, name: &str) -> Bench {
    let bench = Bench::new("docker28", who, name);
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench
}

fn texts(report: &Value) -> Vec<&str> {
    report["drift"].as_array().expect("a list").iter().filter_map(|drift| drift["text"].as_str()).collect()
}

fn id(report: &Value) -> &str {
    report["container"]["id"].as_str().expect("an id")
}

/// One container through its life: drift by name, what a recreate and a `down` would lose, and lose.
#[test]
fn drift_names_options_and_what_would_be_lost() {
    let bench = plain(Who::Ordinary, "drift");
    bench.write("gpubay.toml", "[container]\nmemory = \"512m\"\nenv = { TOKEN = \"hunter2\" }\n");
    let first = bench.up();
    let label = bench.inspect(id(&first))["Config"]["Labels"]["gpubay.options"].clone();
    assert!(label.as_str().is_some_and(|label| !label.contains("hunter2")), "{label}");
    // A package and a file, and a program that runs on.
    let install = "echo /x > /var/lib/dpkg/info/htop.list; echo 1 > /opt/mine";
    bench.run(&["exec", "--root", "--", "sh", "-c", install]).succeeded();
    let mut busy = bench.gpubay(&["exec", "--", "sh", "-c", "echo busy; exec sleep 1000"]);
    let piped = std::process::Stdio::piped;
    let mut child = busy.stdout(piped()).stderr(piped()).spawn().expect("started");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("piped")), &mut line)
        .expect("a line");
    assert_eq!(bench.up()["stakes"]["files"], json!([]), "without drift nothing is at stake");

    bench.write("gpubay.toml", "[container]\nmemory = \"256m\"\nenv = { TOKEN = \"hunter3\" }\n");
    let drifted = bench.up();
    assert_eq!(id(&drifted), id(&first));
    assert_eq!(texts(&drifted), ["env.TOKEN: another value", "memory: 512m -> 256m"], "differences only");
    let stakes = &drifted["stakes"];
    assert!(stakes["processes"].to_string().contains("sleep 1000"), "{stakes}");
    assert_eq!(stakes["packages"], json!(["htop"]));
    assert!(stakes["files"].as_array().is_some_and(|files| files.contains(&json!("/opt/mine"))), "{stakes}");
    let said = bench.run(&["up"]);
    for words in ["memory: 512m -> 256m", "--recreate", "sleep 1000", "htop", "/opt/mine"] {
        assert!(said.succeeded().stdout.contains(words), "{words}: {}", said.stdout);
    }

    let recreated = bench.json(&["up", "--recreate"]);
    assert_ne!(id(&recreated), id(&first));
    assert_eq!(recreated["drift"], json!([]));
    assert_eq!(recreated["lost"]["packages"], json!(["htop"]));
    let said = child.wait_with_output().expect("ended with its container").stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("was replaced while this ran, and the program ended with it"), "{said}");

    // A file alone is said and not asked about.
    bench.run(&["exec", "--root", "--", "sh", "-c", "echo 1 > /opt/other"]).succeeded();
    let down = bench.json(&["down"]);
    let name = recreated["container"]["name"].as_str().expect("a name");
    assert_eq!(down["lost"][name]["files"], json!(["/opt/other"]), "{down}");
    assert!(down["kept"].to_string().contains("venv"), "{down}");
}

/// `--gpus` holds until something else is said: no plain `up` takes the second GPU away again.
#[test]
fn the_gpus_of_the_command_line_stay() {
    let bench = plain(Who::Ordinary, "chosen");
    let two = bench.json(&["up", "--gpus", "2"]);
    assert_eq!(two["gpu"]["devices"].as_array().map(Vec::len), Some(2), "{two}");
    let again = bench.up();
    assert_eq!(id(&again), id(&two));
    assert_eq!(again["drift"], json!([]));
    assert_eq!(again["gpu"]["chosen"], "2");
    let recreated = bench.json(&["up", "--recreate"]);
    assert_ne!(id(&recreated), id(&two));
    assert_eq!(recreated["gpu"]["chosen"], "2", "it was about something else: {recreated}");
    bench.run(&["down"]).succeeded();
    let fresh = bench.up();
    assert_eq!(fresh["gpu"]["devices"].as_array().map(Vec::len), Some(1), "{fresh}");
    assert_eq!(fresh["gpu"]["chosen"], Value::Null);
}
