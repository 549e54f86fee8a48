//! `gpubay serve` on real engines: what an editor asks for, and what it is told.

use std::io::Read;
use std::process::{Command, Stdio};

use gpubay_e2e::{Bench, Editor, Who, ended, eventually, kill};
use serde_json::{Value, json};

const BUSYBOX: &str = "FROM gpubay-lab/busybox\n";

#[expect(clippy::needless_pass_by_value, reason = "parameters are written where they are given")]
fn with(bench: &Bench, more: Value) -> Value {
    let mut params = json!({ "folder": bench.workspace });
    for (name, value) in more.as_object().expect("an object") {
        params[name] = value.clone();
    }
    params
}

fn phase(wanted: &str) -> impl Fn(&Value) -> bool {
    move |state| state["phase"] == wanted && state["work"].is_null()
}

fn the_day_of_an_editor(engine: &str, who: Who) {
    let bench = Bench::new(engine, who, "a folder ü");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.write("gpubay.toml", "[jobs.count]\ncommand = [\"sh\", \"-c\", \"echo one; sleep 1000\"]\ngpus = \"none\"\n");
    let mut editor = Editor::of(&bench);
    let state = editor.state("the first state", phase("stopped"));
    assert_eq!((&state["container"], &state["knownJobs"]), (&Value::Null, &json!(["count"])), "{state}");

    // The start tells how far it is, and what an editor shows follows from the state alone.
    let up = editor.ask("gpubay/up", with(&bench, json!({ "workDoneToken": "w1" })));
    editor.state("that it starts", |state| state["work"] == json!({ "method": "up", "token": "w1" }));
    let report = editor.answer(up).expect("it starts");
    let running = editor.state("that it runs", phase("running"));
    assert_eq!(running["container"]["id"], report["container"]["id"]);
    assert_eq!(running["hostEnv"]["python"], json!(bench.workspace.join(".venv/bin/python")), "{running}");
    let kinds: Vec<Value> = editor
        .told("$/progress")
        .iter()
        .filter(|told| told["token"] == "w1")
        .map(|told| told["value"]["kind"].clone())
        .collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&json!("begin")), Some(&json!("end"))), "{kinds:?}");
    assert!(kinds.iter().filter(|kind| *kind == "report").count() > 0);
    assert!(editor.told("gpubay/log").iter().any(|told| told.to_string().contains("FROM")), "the build's steps");
    editor.wait("that Python's tools have something new", |message| {
        message["method"] == "gpubay/packages" && message["params"]["hostEnv"].is_object()
    });

    let again = editor.request("gpubay/up", with(&bench, json!({}))).expect("it runs");
    assert_eq!(again["container"]["reused"], true);
    assert_eq!(editor.request("gpubay/status", with(&bench, json!({}))).expect("it answers")["drift"], json!([]));

    // A job starts, is shown, says its lines, and is removed with consent only.
    let job = editor.request("gpubay/run", with(&bench, json!({ "job": "count", "name": "j1" }))).expect("it starts");
    assert_eq!(job["name"], "j1");
    editor.state("the job", |state| state["jobs"][0]["job"] == "j1" && state["jobs"][0]["state"] == "running");
    let logs = editor.ask("gpubay/logs", with(&bench, json!({ "job": "j1", "subscription": "s", "follow": true })));
    editor.wait("its line", |message| {
        message["method"] == "gpubay/logLines" && message["params"] == json!({ "subscription": "s", "text": "one\n" })
    });
    editor.notify("$/cancelRequest", json!({ "id": logs }));
    assert_eq!(editor.answer(logs).expect_err("taken back")["code"], -32800);
    let (code, _) = editor.failure("gpubay/rm", with(&bench, json!({ "names": ["j1"] })));
    assert_eq!(code, "work_running");
    // It can be stopped alone: its log and its container stay.
    let names = json!({ "names": ["j1"] });
    assert_eq!(editor.failure("gpubay/stop", with(&bench, names.clone())).0, "work_running");
    editor.request("gpubay/stop", with(&bench, json!({ "names": ["j1"], "consent": true }))).expect("stopped");
    let stopped = editor.state("that it has ended", |state| state["jobs"][0]["state"] == "exited");
    assert_eq!((&stopped["phase"], &stopped["jobs"][0]["job"]), (&json!("running"), &json!("j1")), "{stopped}");
    bench.run(&["logs", "j1"]).succeeded();
    editor.request("gpubay/rm", with(&bench, names)).expect("removed");
    editor.state("that it is gone", |state| state["jobs"] == json!([]));

    // What another program does is seen, too.
    bench.run(&["stop", "--force"]).succeeded();
    editor.state("that it is stopped", phase("stopped"));
    bench.up();
    editor.state("that it runs again", phase("running"));

    // The configuration changes under it.
    bench.write("gpubay.toml", "[container]\nenv = { A = \"1\" }\n");
    let drifted = editor.state("the drift", phase("drifted"));
    assert_eq!(drifted["drift"][0]["option"], "env.A", "{drifted}");
    bench.write("gpubay.toml", "[contaner]\n");
    let broken = editor.state("what is wrong with it", |state| state["problem"]["code"] == "unknown_key");
    assert_eq!(broken["problem"]["place"]["line"], 1, "{broken}");
    bench.write("gpubay.toml", "");
    editor.state("that all is well again", |state| phase("running")(state) && state["problem"].is_null());

    let target = editor.request("gpubay/attachTarget", with(&bench, json!({}))).expect("a target");
    assert!(target["uri"].as_str().is_some_and(|uri| uri.starts_with("vscode-remote://attached-container+")));
    editor.request("gpubay/restart", with(&bench, json!({ "consent": true }))).expect("restarted");
    editor.request("gpubay/down", with(&bench, json!({ "consent": true }))).expect("removed");
    editor.state("that there is none", |state| phase("stopped")(state) && state["container"].is_null());
    assert_eq!(bench.containers(), Vec::<String>::new());
}

#[test]
fn an_editor_does_its_day_on_docker() {
    the_day_of_an_editor("docker28", Who::Ordinary);
}

#[test]
fn an_editor_does_its_day_as_root_on_an_old_docker() {
    the_day_of_an_editor("docker20", Who::Root);
}

#[test]
fn an_editor_does_its_day_on_rootless_podman() {
    the_day_of_an_editor("podman-rootless", Who::Ordinary);
}

#[test]
fn a_failing_line_is_shown_on_that_line_until_it_is_mended() {
    let bench = Bench::new("docker28", Who::Ordinary, "failing");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\nRUN echo said here\nRUN echo why; exit 3\n");
    let mut editor = Editor::of(&bench);
    let (code, failure) = editor.failure("gpubay/up", with(&bench, json!({})));
    assert_eq!((code.as_str(), &failure["place"]["line"]), ("build_step_failed", &json!(3)), "{failure}");
    let uri = format!("file://{}", bench.workspace.join("Dockerfile").display());
    let shown = editor.wait("a diagnostic", |message| message["method"] == "textDocument/publishDiagnostics");
    let diagnostic = &shown["params"]["diagnostics"][0];
    assert_eq!((&shown["params"]["uri"], &diagnostic["range"]["start"]["line"]), (&json!(uri), &json!(2)), "{shown}");
    assert!(diagnostic["message"].as_str().is_some_and(|said| said.contains("why") && said.contains("exit code 3")));
    let state = editor.state("what failed", |state| state["problem"]["code"] == "build_step_failed");
    assert_eq!(state["phase"], "stopped");

    // Another line is no reason to believe that this one is mended; a new one is, with nothing run.
    editor.forget();
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\nRUN echo said here\nRUN echo why; exit 3\n# a note\n");
    let status = editor.request("gpubay/status", with(&bench, json!({}))).expect("looked at");
    assert_eq!(status["container"], Value::Null);
    assert_eq!(editor.told("textDocument/publishDiagnostics"), Vec::<Value>::new());
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\nRUN echo said here\nRUN echo why\n");
    let shown = editor.wait("that it is mended", |message| message["method"] == "textDocument/publishDiagnostics");
    assert_eq!(shown["params"], json!({ "uri": uri, "diagnostics": [] }));
    editor.state("that nothing is wrong", |state| state["problem"].is_null() && state["phase"] == "stopped");
    editor.request("gpubay/up", with(&bench, json!({}))).expect("mended");
}

#[test]
fn what_is_wrong_in_the_configuration_is_shown_until_it_is_saved_right() {
    let bench = Bench::new("docker28", Who::Ordinary, "mistaken");
    bench.write("Dockerfile", BUSYBOX);
    bench.write("gpubay.toml", "[container]\nmemroy = \"1g\"\n");
    let mut editor = Editor::of(&bench);
    let diagnostics = |message: &Value| message["method"] == "textDocument/publishDiagnostics";
    // Nothing was asked for yet.
    let shown = editor.wait("a diagnostic", diagnostics);
    let shown = &shown["params"]["diagnostics"][0];
    assert_eq!(shown["range"]["start"]["line"], 1, "{shown}");
    let said = shown["message"].as_str().expect("a text");
    assert!(said.starts_with("unknown key `memroy`") && !said.contains("  |"), "no place, no excerpt: {said}");
    assert_eq!(editor.failure("gpubay/up", with(&bench, json!({}))).0, "unknown_key");
    editor.state("what is wrong", |state| state["work"].is_null() && state["problem"]["code"] == "unknown_key");
    editor.forget();
    bench.write("gpubay.toml", "[container]\nmemory = \"1g\"\n");
    editor.state("that nothing is wrong", |state| state["problem"].is_null());
    editor.wait("that it is mended", |message| diagnostics(message) && message["params"]["diagnostics"] == json!([]));
}

#[test]
fn a_bug_is_told_and_ends_nothing_else() {
    let bench = Bench::new("docker28", Who::Ordinary, "bug");
    bench.write("Dockerfile", BUSYBOX);
    let mut editor = Editor::start(bench.gpubay(&["serve"]).env("GPUBAY_FAILPOINT", "serve.status:panic"));
    editor.initialize(&[&bench.workspace], true);
    editor.state("the first state", phase("stopped"));
    let (code, failure) = editor.failure("gpubay/status", with(&bench, json!({})));
    assert_eq!(code, "internal", "{failure}");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("report")), "{failure}");
    let told = editor.wait("that it met a bug", |message| message["method"] == "window/showMessage");
    let said = told["params"]["message"].as_str().expect("a text");
    assert!(said.contains("serve.status") && said.contains("goes on"), "{said}");
    // It goes on.
    editor.request("gpubay/up", with(&bench, json!({}))).expect("it starts");
    editor.state("that it runs", phase("running"));
}

/// Nobody would be answered any more: an editor starts another one.
#[test]
fn a_bug_of_the_one_that_knows_all_ends_the_helper() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "own-bug");
    bench.write("Dockerfile", BUSYBOX);
    let mut editor = Editor::start(bench.gpubay(&["serve"]).env("GPUBAY_FAILPOINT", "serve.help:panic"));
    editor.initialize(&[&bench.workspace], true);
    editor.state("the first state", phase("stopped"));
    let at =
        json!({ "textDocument": { "uri": "file:///nowhere/gpubay.toml" }, "position": { "line": 0, "character": 0 } });
    editor.ask("textDocument/hover", at);
    assert_eq!(ended(&mut editor.child).code(), Some(1));
}

/// Editors encode letters in addresses that we do not: it is one file nevertheless.
#[test]
fn a_failing_line_stays_marked_in_a_folder_that_has_two_addresses() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "coral (copy)");
    let text = "FROM gpubay-lab/busybox\nRUN exit 3\n";
    bench.write("Dockerfile", text);
    let mut editor = Editor::of(&bench);
    editor.state("the first state", phase("stopped"));
    let path = bench.workspace.join("Dockerfile").display().to_string();
    let theirs = format!("file://{}", path.replace(' ', "%20").replace('(', "%28").replace(')', "%29"));
    let open = json!({ "textDocument": { "uri": theirs, "languageId": "dockerfile", "version": 1, "text": text } });
    editor.notify("textDocument/didOpen", open);
    editor.failure("gpubay/up", with(&bench, json!({})));
    let is_marked = |message: &Value| {
        message["method"] == "textDocument/publishDiagnostics"
            && message["params"]["diagnostics"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["code"] == "build_step_failed"))
    };
    editor.wait("the failing line", is_marked);
    editor.forget();
    let change = json!({ "textDocument": { "uri": theirs, "version": 2 }, "contentChanges": [{ "text": format!("{text}# a note\n") }] });
    editor.notify("textDocument/didChange", change);
    let told = editor.wait("what is wrong now", |message| message["method"] == "textDocument/publishDiagnostics");
    assert!(is_marked(&told), "{told}");
}

#[test]
fn a_folder_that_hangs_delays_the_figures_of_no_other_folder() {
    let bench = Bench::new("docker28", Who::Ordinary, "coral");
    let other = bench.home.join("kelp");
    std::fs::create_dir(&other).expect("made");
    bench.own(&other);
    let held = bench.home.join("held");
    let failpoint = format!("serve.watch:hold={}", held.display());
    let mut editor = Editor::start(bench.gpubay(&["serve"]).env("GPUBAY_FAILPOINT", failpoint));
    editor.initialize(&[&bench.workspace, &other], true);
    for folder in [&bench.workspace, &other] {
        editor.request("gpubay/watchGpus", json!({ "folder": folder, "watch": true })).expect("answered");
    }
    let figures = |message: &Value| message["method"] == "gpubay/gpus";
    let first = editor.wait("how they are", figures)["params"]["folder"].clone();
    assert!(held.exists(), "nobody hangs");
    std::fs::remove_file(&held).expect("it goes on");
    editor.wait("the figures of the other one", |message| figures(message) && message["params"]["folder"] != first);
}

#[test]
fn work_is_cancelled_by_its_token_and_leaves_nothing() {
    let bench = Bench::new("docker28", Who::Ordinary, "cancelled");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\nRUN echo begun; sleep 1000\n");
    let mut editor = Editor::of(&bench);
    let up = editor.ask("gpubay/up", with(&bench, json!({ "workDoneToken": "w" })));
    editor.wait("that the step runs", |message| message.to_string().contains("begun"));
    let (code, failure) = editor.failure("gpubay/down", with(&bench, json!({})));
    assert_eq!(code, "busy", "{failure}");
    editor.notify("window/workDoneProgress/cancel", json!({ "token": "w" }));
    let error = editor.answer(up).expect_err("cancelled");
    assert_eq!((&error["code"], &error["data"]["code"]), (&json!(-32800), &json!("cancelled")));
    let state = editor.state("that nothing is wrong", phase("stopped"));
    assert_eq!(state["problem"], Value::Null);
    assert_eq!(bench.containers(), Vec::<String>::new());
}

/// THREATS R4: a window that is closed during a build.
#[test]
fn work_ends_with_its_editor() {
    let bench = Bench::new("docker28", Who::Ordinary, "left");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\nRUN echo begun; sleep 1000\n");
    let mut editor = Editor::of(&bench);
    editor.ask("gpubay/up", with(&bench, json!({})));
    editor.wait("that the step runs", |message| message.to_string().contains("begun"));
    editor.hang_up();
    ended(&mut editor.child);
    // The workspace is free again, and the engine does not go on.
    bench.write("Dockerfile", BUSYBOX);
    bench.up();
}

/// THREATS R5, R6: state is derived from what runs.
#[test]
fn a_helper_that_was_killed_is_followed_by_one_that_knows_as_much() {
    let bench = Bench::new("docker28", Who::Ordinary, "killed");
    bench.write("Dockerfile", BUSYBOX);
    let mut editor = Editor::of(&bench);
    let up = editor.request("gpubay/up", with(&bench, json!({}))).expect("it runs");
    kill(&mut editor.child);
    let mut next = Editor::of(&bench);
    let state = next.state("what the next one finds", phase("running"));
    assert_eq!(state["container"]["id"], up["container"]["id"]);
    // Two windows and a command line at once make one container.
    let mut other = Editor::of(&bench);
    next.request("gpubay/down", with(&bench, json!({ "consent": true }))).expect("removed");
    other.state("that it is gone", |state| state["container"].is_null() && state["phase"] == "stopped");
    let (one, two) = (next.ask("gpubay/up", with(&bench, json!({}))), other.ask("gpubay/up", with(&bench, json!({}))));
    let third = bench.up();
    let ids = [
        next.answer(one).expect("up")["container"]["id"].clone(),
        other.answer(two).expect("up")["container"]["id"].clone(),
    ];
    assert_eq!(ids, [third["container"]["id"].clone(), third["container"]["id"].clone()]);
    assert_eq!(bench.containers().len(), 1);
}

/// Two windows, one click each, while a third is at work: whoever comes second has what was wanted.
#[test]
fn a_restart_that_another_window_has_done_meanwhile_is_not_done_again() {
    let bench = Bench::new("docker28", Who::Ordinary, "restarts");
    bench.write("Dockerfile", BUSYBOX);
    bench.up();
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\nRUN echo begun; sleep 1000\n");
    let mut third = Editor::of(&bench);
    third.ask("gpubay/rebuild", with(&bench, json!({})));
    third.wait("that the step runs", |message| message.to_string().contains("begun"));
    let mut windows = [Editor::of(&bench), Editor::of(&bench)];
    let asked = windows.each_mut().map(|window| window.ask("gpubay/restart", with(&bench, json!({}))));
    for window in &mut windows {
        window.wait("that it waits", |message| message.to_string().contains("another gpubay is at work"));
    }
    bench.write("Dockerfile", BUSYBOX);
    kill(&mut third.child);
    let started: Vec<bool> = windows
        .iter_mut()
        .zip(asked)
        .map(|(window, asked)| window.answer(asked).expect("it runs")["container"]["started"] == true)
        .collect();
    assert!(started[0] != started[1], "{started:?}");
    assert_eq!(bench.containers().len(), 1);
}

#[test]
fn a_consent_is_about_the_container_that_was_there() {
    let bench = Bench::new("docker28", Who::Ordinary, "consent");
    bench.write("Dockerfile", BUSYBOX);
    let first = bench.up()["container"]["id"].clone();
    let mut editor = Editor::of(&bench);
    let second = bench.json(&["up", "--recreate"])["container"]["id"].clone();
    bench.docker(&["exec", "-d", second.as_str().expect("an id"), "sleep", "1000"]).succeeded();
    let mut agreed = |seen: &Value| {
        let report = editor.request("gpubay/up", with(&bench, json!({ "consent": true, "seen": seen })));
        report.expect("it runs")
    };
    let kept = agreed(&first);
    assert_eq!((&kept["container"]["id"], &kept["drift"]), (&second, &json!([])), "{kept}");
    bench.write("gpubay.toml", "[container]\nenv = { A = \"1\" }\n");
    let drifted = agreed(&first);
    assert_eq!((&drifted["container"]["id"], &drifted["drift"][0]["option"]), (&second, &json!("env.A")), "{drifted}");
    let third = agreed(&second);
    assert_eq!((&third["container"]["created"], &third["drift"]), (&json!(true), &json!([])), "{third}");
}

#[test]
fn powers_are_asked_for_by_name_and_given_once() {
    let bench = Bench::new("docker28", Who::Ordinary, "powers");
    bench.write("Dockerfile", BUSYBOX);
    bench.write("gpubay.toml", &format!("[container]\nmounts = [\"{}:/outside:ro\"]\n", bench.outside().display()));
    let mut editor = Editor::of(&bench);
    let (code, failure) = editor.failure("gpubay/up", with(&bench, json!({})));
    assert_eq!(code, "needs_consent");
    let power = &failure["powers"][0];
    assert!(power["key"].as_str().is_some_and(|key| key.starts_with("mount:")), "{failure}");
    assert!(power["sentence"].is_string() && power["grave"].is_boolean(), "{failure}");
    editor.request("gpubay/up", with(&bench, json!({ "allow": [power["key"]] }))).expect("allowed");
    editor.request("gpubay/up", with(&bench, json!({}))).expect("remembered");
}

/// THREATS C2: what nobody approved is not looked at, either. A comparison would read the build's context.
#[test]
fn a_configuration_that_nobody_approved_is_no_measure_of_what_runs() {
    let bench = Bench::new("docker28", Who::Ordinary, "unapproved");
    bench.write("Dockerfile", BUSYBOX);
    let mut editor = Editor::of(&bench);
    editor.request("gpubay/up", with(&bench, json!({}))).expect("it runs");
    editor.state("that it runs", phase("running"));
    let outside = bench.outside().join("a\nb\u{202e}c");
    std::fs::create_dir(&outside).expect("made");
    bench.own(&outside);
    let asks = format!(
        "[image]\ncontext = {0:?}\n[container]\nenv = {{ A = \"1\" }}\nmounts = [\"{1}/a\\nb\\u202Ec:/a:ro\"]\n",
        bench.outside(),
        bench.outside().display()
    );
    bench.write("gpubay.toml", &asks);
    let state = editor.state("that it has to be approved", |state| state["problem"]["code"] == "needs_consent");
    assert_eq!((&state["phase"], &state["drift"]), (&json!("running"), &json!([])), "{state}");
    assert_eq!(state["gpu"]["devices"].as_array().map(Vec::len), Some(1), "what it has is known all the same: {state}");
    // What a stranger wrote cannot make the dialog show other lines than there are.
    for power in state["problem"]["powers"].as_array().expect("powers") {
        for shown in [&power["label"], &power["sentence"]] {
            let shown = shown.as_str().expect("text");
            assert!(!shown.contains(['\n', '\u{202e}']), "{shown:?}");
        }
    }
    assert_eq!(editor.request("gpubay/status", with(&bench, json!({}))).expect("it answers")["drift"], json!([]));

    bench.write("gpubay.toml", "[container]\nenv = { A = \"1\" }\n");
    let state = editor.state("that it is compared again", phase("drifted"));
    assert_eq!(state["problem"], Value::Null);
}

#[test]
fn a_folder_behind_a_link_notices_its_files() {
    let bench = Bench::new("docker28", Who::Ordinary, "linked");
    bench.write("Dockerfile", BUSYBOX);
    let link = bench.outside().join("link");
    std::os::unix::fs::symlink(&bench.workspace, &link).expect("linked");
    let mut editor = Editor::start(&mut bench.gpubay(&["serve"]));
    editor.initialize(&[&link], true);
    editor.state("the first state", phase("stopped"));
    bench.write("gpubay.toml", "[contaner]\n");
    editor.state("what is wrong with it", |state| state["problem"]["code"] == "unknown_key");
}

#[test]
fn a_question_is_no_failure_and_a_failure_ends_with_what_mends_it() {
    let bench = Bench::new("docker28", Who::Ordinary, "questions");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\nRUN exit 3\n");
    let mut editor = Editor::of(&bench);
    assert_eq!(editor.failure("gpubay/up", with(&bench, json!({}))).0, "build_step_failed");
    editor.state("what failed", |state| state["problem"]["code"] == "build_step_failed");
    // Another program does what the window could not.
    bench.write("Dockerfile", BUSYBOX);
    bench.up();
    let state = editor.state("that nothing is wrong", phase("running"));
    assert_eq!(state["problem"], Value::Null, "{state}");

    let mut busy = bench.gpubay(&["exec", "--", "sh", "-c", "echo runs; sleep 1000"]);
    let mut busy = busy.stdout(Stdio::piped()).spawn().expect("started");
    let mut said = [0; 5];
    busy.stdout.take().expect("piped").read_exact(&mut said).expect("it runs");
    assert_eq!(editor.failure("gpubay/stop", with(&bench, json!({}))).0, "work_running");
    let state = editor.state("that it runs on", phase("running"));
    assert_eq!(state["problem"], Value::Null, "{state}");
    editor.request("gpubay/stop", with(&bench, json!({ "consent": true }))).expect("stopped");
    ended(&mut busy);
}

#[test]
fn a_folder_with_nothing_to_build_gets_something() {
    let bench = Bench::new("docker28", Who::Ordinary, "empty");
    let mut editor = Editor::of(&bench);
    editor.state("that there is nothing to build", phase("unconfigured"));
    let (code, failure) = editor.failure("gpubay/up", with(&bench, json!({})));
    assert_eq!(code, "no_dockerfile", "{failure}");
    let plan = editor.request("gpubay/init", with(&bench, json!({ "dryRun": true, "base": "gpubay-lab/python" })));
    let plan = plan.expect("a plan");
    assert!(plan["presets"].as_array().is_some_and(|presets| presets.len() == 4), "{plan}");
    assert!(!bench.workspace.join("gpubay.toml").exists());
    editor.request("gpubay/init", with(&bench, json!({ "base": "gpubay-lab/python" }))).expect("written");
    editor.state("that there is something to build", phase("stopped"));

    let bench = Bench::new("docker28", Who::Ordinary, "several");
    bench.write("docker/a/Dockerfile", BUSYBOX);
    bench.write("docker/b/Dockerfile", BUSYBOX);
    let mut editor = Editor::of(&bench);
    let (code, failure) = editor.failure("gpubay/up", with(&bench, json!({})));
    assert_eq!((code.as_str(), &failure["candidates"][1]), ("ambiguous_dockerfile", &json!("docker/b/Dockerfile")));
    let chosen = json!({ "dockerfile": "docker/b/Dockerfile" });
    editor.request("gpubay/chooseDockerfile", with(&bench, chosen)).expect("remembered");
    editor.request("gpubay/up", with(&bench, json!({}))).expect("it runs");
}

#[test]
fn other_gpus_are_picked() {
    let bench = Bench::new("docker28", Who::Ordinary, "picked");
    bench.write("Dockerfile", BUSYBOX);
    let mut editor = Editor::of(&bench);
    let gpus = editor.request("gpubay/gpus", with(&bench, json!({}))).expect("what there is");
    let names: Vec<&Value> = gpus["devices"].as_array().expect("devices").iter().map(|gpu| &gpu["select"]).collect();
    assert_eq!(names, ["device=0", "device=1"]);
    for chosen in ["device=1", "device=0,1", "none"] {
        editor.request("gpubay/selectGpus", with(&bench, json!({ "gpus": chosen }))).expect("picked");
        let state = editor.state("the choice", |state| phase("running")(state) && state["gpu"]["chosen"] == chosen);
        let count = if chosen == "none" { 0 } else { chosen.split(',').count() };
        assert_eq!(state["gpu"]["devices"].as_array().map(Vec::len), Some(count), "{state}");
    }
    let (code, _) = editor.failure("gpubay/selectGpus", with(&bench, json!({ "gpus": "9" })));
    assert_eq!(code, "gpu_too_many");
}

/// THREATS R7, R8: the engine goes and comes.
#[test]
fn an_engine_that_is_not_there_is_a_sentence_with_a_next_step() {
    let bench = Bench::new("docker28", Who::Ordinary, "engineless");
    bench.write("Dockerfile", BUSYBOX);
    let socket = bench.outside().join("engine.sock");
    let mut helper: Command = bench.gpubay(&["serve"]);
    helper.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let mut editor = Editor::start(&mut helper);
    editor.initialize(&[&bench.workspace], true);
    let state = editor.state("that there is no engine", |state| state["phase"] == "problem");
    assert!(state["problem"]["hint"].is_string(), "{state}");
    // It begins to answer: a link to one that does.
    std::os::unix::fs::symlink(&bench.socket, &socket).expect("linked");
    editor.state("that the engine is seen", phase("stopped"));
}

#[test]
fn the_files_of_gpu_bay_are_completed_explained_and_checked() {
    let bench = Bench::new("docker28", Who::Ordinary, "helped");
    bench.write("Dockerfile", BUSYBOX);
    let mut editor = Editor::of(&bench);
    editor.state("the first state", phase("stopped"));
    let uri = |name: &str| format!("file://{}", bench.workspace.join(name).display());
    let config = uri("gpubay.toml");
    let open = |uri: &str, text: &str| json!({ "textDocument": { "uri": uri, "languageId": "plaintext", "version": 1, "text": text } });
    let at = |line: u32, character: u32| json!({ "textDocument": { "uri": config }, "position": { "line": line, "character": character } });
    let shown = |editor: &mut Editor, uri: &str| {
        let message = editor.wait("diagnostics", |message| {
            message["method"] == "textDocument/publishDiagnostics" && message["params"]["uri"] == uri
        });
        message["params"]["diagnostics"].clone()
    };

    // Not saved yet.
    editor.notify("textDocument/didOpen", open(&config, "[gpus]\nuse = \"\"\nisolaton = \"soft\"\n"));
    let found = shown(&mut editor, &config);
    assert_eq!(found[0]["range"]["start"]["line"], 2, "{found}");
    assert!(found[0]["message"].as_str().is_some_and(|said| said.contains("isolation")), "{found}");
    let mut labels = Vec::new();
    // What the engine has comes a moment later.
    while !labels.iter().any(|label| label == "GPU 1") {
        let items = editor.request("textDocument/completion", at(1, 7)).expect("items");
        labels = items.as_array().expect("a list").iter().map(|item| item["label"].clone()).collect();
    }
    assert!(labels.contains(&"auto".into()), "{labels:?}");
    let said = editor.request("textDocument/hover", at(0, 2)).expect("an answer");
    assert!(said.to_string().contains("Which GPUs"), "{said}");
    let change = json!({ "textDocument": { "uri": config, "version": 2 }, "contentChanges": [{ "text": "[gpus]\n" }] });
    editor.notify("textDocument/didChange", change);
    assert_eq!(shown(&mut editor, &config), json!([]));
    // A GPU that is not there, among those that are known by now.
    let text = "[gpus]\nuse = [\"0\", \"5\"]\n";
    let change = json!({ "textDocument": { "uri": config, "version": 3 }, "contentChanges": [{ "text": text }] });
    editor.notify("textDocument/didChange", change);
    let found = shown(&mut editor, &config);
    let said = editor.request("textDocument/hover", at(1, 8)).expect("an answer");
    assert!(said.to_string().contains("\"GPU 0"), "{said}");
    let range = json!({ "start": { "line": 1, "character": 6 }, "end": { "line": 1, "character": 16 } });
    assert_eq!(
        (&found[0]["code"], &found[0]["severity"], &found[0]["range"]),
        (&json!("gpu_unknown"), &json!(2), &range)
    );
    editor.notify("textDocument/didOpen", open(&uri("Dockerfile"), "FROM python:3.6\n"));
    let found = shown(&mut editor, &uri("Dockerfile"));
    assert_eq!(found[0]["code"], "base_past_its_life", "{found}");
    editor.notify("textDocument/didClose", json!({ "textDocument": { "uri": uri("Dockerfile") } }));
    assert_eq!(shown(&mut editor, &uri("Dockerfile")), json!([]));
}

/// As in a window that is attached to the container: the extension brings its helper in there.
#[test]
fn a_helper_in_the_container_tells_of_it_and_starts_nothing() {
    let bench = Bench::new("docker28", Who::Ordinary, "inside");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.up();
    std::fs::copy(&gpubay_e2e::lab().gpubay, bench.workspace.join("helper")).expect("copied");
    bench.own(&bench.workspace.join("helper"));
    // What comes with the GPUs of a real driver.
    let driver =
        std::path::PathBuf::from(std::env::var("GPUBAY_TEST_NVML").expect("run these tests through `make test`"));
    for name in ["libnvidia-ml.so.1", "scenario"] {
        std::fs::create_dir_all(bench.workspace.join("driver")).expect("made");
        std::fs::copy(driver.join(name), bench.workspace.join("driver").join(name)).expect("copied");
    }
    let helper = ["exec", "--", "env", "LD_LIBRARY_PATH=/workspace/driver", "/workspace/helper", "serve"];
    let mut editor = Editor::start(&mut bench.gpubay(&helper));
    let mut options = Editor::options(&[std::path::Path::new("/workspace")], true);
    // A number of another world.
    options["processId"] = Value::Null;
    let answer = editor.request("initialize", options).expect("initialized");
    assert_eq!(answer["capabilities"]["experimental"]["gpubay"]["inside"], true);
    editor.notify("initialized", json!({}));
    let state = editor.state("what the agent knows", phase("running"));
    assert_eq!(state["gpu"]["devices"].as_array().map(Vec::len), Some(1), "{state}");
    let here = json!({ "folder": "/workspace" });
    let gpus = editor.request("gpubay/gpus", here.clone()).expect("an answer");
    assert_eq!(gpus["devices"][0]["uuid"], state["gpu"]["devices"][0]["uuid"], "{gpus}");
    assert_eq!(gpus["devices"][0]["memory"]["total"], 24_u64 << 30, "{gpus}");
    let watch = json!({ "folder": "/workspace", "watch": true });
    editor.request("gpubay/watchGpus", watch).expect("answered");
    let told = editor.wait("how they are", |message| message["method"] == "gpubay/gpus");
    assert_eq!(told["params"]["report"], gpus);
    // Without a driver to ask, it has only what was selected outside.
    let (code, _) = editor.failure("gpubay/selectGpus", json!({ "folder": "/workspace", "gpus": "all" }));
    assert_eq!(code, "inside");
    for method in ["up", "down", "rebuild", "attachTarget", "run", "init"] {
        assert_eq!(editor.failure(&format!("gpubay/{method}"), here.clone()).0, "inside", "{method}");
    }
}

/// Days of idling follow minutes of work.
#[test]
fn what_work_needed_is_given_back() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "light");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    let mut editor = Editor::of(&bench);
    let own = |editor: &Editor| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", editor.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    // With the first mirror, of which nothing is there yet.
    editor.request("gpubay/up", with(&bench, json!({}))).expect("started");
    // Unoptimised it was 9 MB, and 18 MB with what the C library had kept.
    eventually("its own memory is small again", || own(&editor) < 13 << 10);
    editor.request("gpubay/down", with(&bench, json!({ "consent": true }))).expect("removed");
}
