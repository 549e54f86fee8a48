//! Programs of the container as tools of the host: formatters, linters and language servers of its venv and of its image.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gpubay_e2e::{Bench, Editor, Ran, Who, output};
use serde_json::{Value, json};

/// A compiled program that a distribution brings, a script that one declares, and one that nobody does.
const DOCKERFILE: &str = "FROM gpubay-lab/python\nCOPY ty /usr/local/bin/ty\n\
    RUN cd /usr/local/lib/python3.11/dist-packages && mkdir only ty-1.dist-info shout-1.dist-info && \
    echo 'x = 1' > only/__init__.py && \
    printf 'Metadata-Version: 2.1\\nName: ty\\nVersion: 1\\n' > ty-1.dist-info/METADATA && \
    printf 'Metadata-Version: 2.1\\nName: shout\\nVersion: 1\\n' > shout-1.dist-info/METADATA && \
    printf '[console_scripts]\\nshout = shout:main\\n' > shout-1.dist-info/entry_points.txt && \
    for name in shout quiet; do printf '#!/usr/bin/python3\\nimport only, sys\\nprint(only.x, *sys.argv[1:])\\n' > /usr/local/bin/$name && \
    chmod 755 /usr/local/bin/$name; done\n";

fn bench() -> Bench {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "tools");
    let servers = PathBuf::from(std::env::var("GPUBAY_TEST_SERVERS").expect("GPUBAY_TEST_SERVERS: run `make test`"));
    std::fs::copy(servers.join("py/bin/ty"), bench.workspace.join("ty")).expect("the language server ty");
    std::fs::set_permissions(bench.workspace.join("ty"), std::fs::Permissions::from_mode(0o755)).expect("executable");
    bench.write("Dockerfile", DOCKERFILE);
    bench.write("gpubay.toml", "[gpus]\nuse = \"none\"\n");
    bench
}

#[track_caller]
fn ran(bench: &Bench, program: &Path, args: &[&str]) -> Ran {
    Ran::of(&output(bench.command(program).args(args)), args)
}

#[test]
fn programs_of_the_image_and_compiled_ones_are_the_hosts_too() {
    let bench = bench();
    bench.up();
    let bin = bench.workspace.join(".venv/bin");
    let data = bench.workspace.join("x.py").display().to_string();
    assert_eq!(ran(&bench, &bin.join("shout"), &[&data]).succeeded().stdout, "1 /workspace/x.py\n");
    assert!(ran(&bench, &bin.join("ty"), &["--version"]).succeeded().stdout.starts_with("ty "));
    assert!(!bin.join("quiet").exists(), "no distribution declares it");

    // As Ruff's and ty's extensions ask for the program of an environment.
    let place = bench.home.join("find_ty_binary_path.py");
    let ask = |path: &str| {
        std::fs::write(&place, format!("print({path:?})\n")).expect("written");
        let place = place.display().to_string();
        ran(&bench, &bin.join("python"), &[&place]).succeeded().stdout.clone()
    };
    assert_eq!(ask("/usr/local/bin/ty"), format!("{}\n", bin.join("ty").display()));
    assert_eq!(ask("/workspace/ty"), "\n");
    assert_eq!(ask(&bench.workspace.join("ty").display().to_string()), "\n");

    // One that is built into the venv.
    bench.run(&["exec", "--", "cp", "ty", ".venv/bin/other-ty"]).succeeded();
    bench.run(&["sync"]).succeeded();
    assert!(ran(&bench, &bin.join("other-ty"), &["--version"]).succeeded().stdout.starts_with("ty "));
    assert_eq!(ask("/workspace/.venv/bin/other-ty"), format!("{}\n", bin.join("other-ty").display()));
}

#[test]
fn a_language_server_of_the_container_and_an_editor_of_the_host_mean_the_same_files() {
    let bench = bench();
    bench.up();
    let text = "import only\n\nonly.x\nonly.nothing\n";
    bench.write("a b.py", text);
    let folder = format!("file://{}", bench.workspace.display());
    let document = json!({ "uri": format!("{folder}/a%20b.py") });
    let mut command = bench.command(bench.workspace.join(".venv/bin/ty"));
    let mut editor = Editor::start(command.arg("server"));
    let options = json!({
        "processId": std::process::id(),
        "rootUri": folder,
        "workspaceFolders": [{ "uri": folder, "name": "folder" }],
        "capabilities": { "textDocument": { "publishDiagnostics": {}, "definition": {} } },
    });
    editor.request("initialize", options).expect("initialized");
    editor.notify("initialized", json!({}));
    let opened =
        json!({ "textDocument": { "uri": document["uri"], "languageId": "python", "version": 1, "text": text } });
    editor.notify("textDocument/didOpen", opened);

    let told = editor.wait("what is wrong with the text", |message| {
        message["method"] == "textDocument/publishDiagnostics" && message.to_string().contains("nothing")
    });
    assert_eq!(told["params"]["uri"], document["uri"]);
    assert!(!told.to_string().contains("unresolved-import"), "{told}");

    let place = json!({ "textDocument": document, "position": { "line": 2, "character": 5 } });
    let found = editor.request("textDocument/definition", place).expect("answered");
    let target = address(&found).expect("it is defined somewhere").to_owned();
    let path = target.strip_prefix("file://").expect("a file's");
    assert_eq!(std::fs::read_to_string(path).expect(&target), "x = 1\n");
    assert!(!path.starts_with("/usr/"), "{path}");
    editor.request("shutdown", Value::Null).expect("it says goodbye");
    editor.notify("exit", Value::Null);
    assert!(editor.child.wait().expect("ended").success());
}

/// Of a location or a link, or the first of them.
fn address(found: &Value) -> Option<&str> {
    let one = found.get(0).unwrap_or(found);
    one.get("uri").or_else(|| one.get("targetUri"))?.as_str()
}

/// Tools that were started with the window are to look again when it is told.
#[test]
fn what_is_installed_into_the_venv_is_told_to_an_open_window() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "tools");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.write("gpubay.toml", "[gpus]\nuse = \"none\"\n");
    let mut editor = Editor::of(&bench);
    let folder = json!({ "folder": bench.workspace, "allow": [], "consent": false });
    editor.request("gpubay/up", folder).expect("it starts");
    let told = |editor: &mut Editor, before: &Value| {
        let new = |message: &Value| {
            let now = &message["params"];
            message["method"] == "gpubay/packages" && now["hostEnv"].is_object() && now["installed"] != *before
        };
        editor.wait("what Python's tools see", new)["params"]["installed"].clone()
    };
    let first = told(&mut editor, &Value::Null);
    // As an installer does, in the container and by nobody whom the helper knows.
    let install = |name: &str| {
        let code = format!("import os, sysconfig; os.mkdir(os.path.join(sysconfig.get_path('purelib'), '{name}'))");
        bench.run(&["exec", "--", "python", "-c", &code]).succeeded();
    };
    install("fresh");
    let second = told(&mut editor, &first);
    install("fresher");
    told(&mut editor, &second);
}
