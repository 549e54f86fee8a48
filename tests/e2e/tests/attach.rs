//! `attach`: the way of an editor into the container.

use std::os::unix::fs::PermissionsExt;

use gpubay_e2e::{Bench, Ran, Terminal, Who, attach_target, eventually, output};
use serde_json::{Value, json};

fn program(bench: &Bench, path: &std::path::Path, script: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, script).expect("written");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("opened");
    bench.own(path);
}

#[test]
fn an_editor_gets_the_container_and_the_extensions_of_the_workspace() {
    let bench = Bench::new("docker28", Who::Ordinary, "at tach");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.write("gpubay.toml", "[container]\nworkdir = \"host\"\n");
    bench.write(
        ".vscode/extensions.json",
        "{ // ours\n  \"recommendations\": [\"ms-python.python\", \"--install-extension\",],\n}\n",
    );
    let early = bench.json(&["attach", "--print"]);
    assert_eq!(early["container"]["running"], false, "{early}");
    assert_eq!(bench.error(&["attach"]).0, "not_running");
    assert_eq!(bench.containers(), Vec::<String>::new());

    let up = bench.up();
    let name = up["container"]["name"].as_str().expect("a name");
    let printed = bench.json(&["attach", "--print"]);
    let uri = printed["uri"].as_str().expect("a URI");
    assert_eq!(early["uri"], uri, "it does not depend on what runs");
    let host = format!("unix://{}", bench.socket.display());
    assert_eq!(attach_target(uri), json!({ "containerName": format!("/{name}"), "settings": { "host": host } }));
    assert!(uri.ends_with("/at%20tach"), "{uri}");
    let metadata = bench.inspect(name)["Config"]["Labels"]["devcontainer.metadata"].clone();
    let metadata: Value = serde_json::from_str(metadata.as_str().expect("a label")).expect("JSON");
    assert_eq!(metadata[0]["customizations"], json!({ "vscode": { "extensions": ["ms-python.python"] } }));
    assert_eq!(metadata[0]["workspaceFolder"], bench.workspace.canonicalize().expect("there").to_str().expect("text"));
    // No editor here: what can be done is said.
    let none = bench.run(&["attach", "--print"]);
    assert!(none.succeeded().stdout.starts_with(uri) && none.stderr.contains("code-server"), "{none:?}");
    assert_eq!(bench.error(&["attach"]).0, "no_editor");
    // The editor of another machine is not looked for on this one.
    let other = bench.run(&["attach", "--print", "--ssh", "box"]);
    let printed = &other.succeeded().stdout;
    assert!(
        printed.contains("\ncode --folder-uri vscode-remote://") && printed.contains("@ssh-remote+box/"),
        "{other:?}"
    );
    assert!(!other.stderr.contains("on PATH") && other.stderr.contains("note: "), "{other:?}");

    let (ours, opened) = (bench.outside().join("bin/code"), bench.home.join("opened"));
    program(&bench, &ours, &format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > '{}'\n", opened.display()));
    // A container could have written this one.
    let planted = bench.workspace.join("bin/code");
    program(&bench, &planted, &format!("#!/bin/sh\ntouch '{}'\n", bench.home.join("planted").display()));
    let folder = |path: &std::path::Path| path.parent().expect("a folder").display().to_string();
    let path = format!("{}:{}:/usr/bin:/bin", folder(&planted), folder(&ours));
    let attach = |args: &[&str]| Ran::of(&output(bench.gpubay(args).env("PATH", &path)), args);
    let ran = attach(&["attach", "--json"]);
    assert_eq!((&ran.succeeded().json()["opened"], &ran.json()["editors"][0]["name"]), (&json!(true), &json!("code")));
    assert_eq!(std::fs::read_to_string(&opened).expect("opened"), format!("--folder-uri\n{uri}\n"));
    assert!(!bench.home.join("planted").exists(), "what lies in the workspace is not run");
    let printed = attach(&["attach", "--print"]);
    let shown = format!("{uri}\n{} --folder-uri {uri}\n", ours.display());
    assert_eq!(printed.succeeded().stdout, shown);

    program(&bench, &ours, "#!/bin/sh\necho no display >&2\nexit 3\n");
    attach(&["attach"]).failed("no display");

    // One that stays in the foreground outlives our Ctrl-C, and us.
    let pid = bench.home.join("pid");
    program(&bench, &ours, &format!("#!/bin/sh\necho $$ > '{}'\nexec sleep 1000\n", pid.display()));
    let terminal = Terminal::start(&bench, &["attach"], &[("PATH", &path)]);
    let started = || std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'));
    eventually("the editor runs", started);
    terminal.write("\u{3}");
    let (text, code) = terminal.end();
    let pid = std::fs::read_to_string(&pid).expect("written");
    let killed = bench.command("/bin/kill").arg(pid.trim()).status().expect("started");
    assert!(code == Some(0) && text.contains("code opens") && killed.success(), "{code:?} {killed} {text}");
}
