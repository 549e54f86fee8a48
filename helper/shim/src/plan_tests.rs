use gpubay_protocol::hostenv::{self, HostEnv};
use gpubay_protocol::paths::HostPath;

use super::*;

pub(crate) fn test_place() -> Place {
    let host = |path: &str| HostPath::new(path).expect("absolute");
    let container = |path: &str| ContainerPath::new(path).expect("a container path");
    let mut map = PathMap::default();
    map.push(host("/home/ada/ws"), container("/app"));
    map.push(host("/home/ada/ws/.venv"), container("/app/.venv"));
    map.push(host("/data/v/lib"), container("/app/.venv/lib"));
    map.push(host("/cache/m/usr/lib/python3.11"), container("/usr/lib/python3.11"));
    let env = HostEnv {
        schema: hostenv::SCHEMA,
        id: "0".repeat(64),
        workspace: host("/home/ada/ws"),
        path: host("/home/ada/ws/.venv"),
        container: "gpubay-ws-00000000".into(),
        socket: None,
        helper: host("/usr/bin/gpubay"),
        python: container("/app/.venv/bin/python"),
        venv: container("/app/.venv"),
        version: "3.11.2".into(),
        unmapped: vec![container("/opt/eggs")],
        map,
        scripts: [].into(),
        cache: host("/nonexistent/cache"),
    };
    Place { env, name: Name::Python, interpreter: "python" }
}

fn planned(place: &Place, here: &str, arguments: &[&str]) -> Plan {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    match plan_at(place, &arguments, Some(Path::new(here)), vec![], false).expect("plans") {
        Task::Run(plan) => plan,
        Task::Version(text) => panic!("{text}"),
    }
}

#[test]
fn what_a_command_line_runs() {
    for (arguments, want) in [
        (vec!["x.py", "-c"], Program::Script(0)),
        (vec!["-u", "-X", "dev", "x.py"], Program::Script(3)),
        (vec!["-Xdev", "-W", "ignore", "x.py"], Program::Script(3)),
        (vec!["-I", "-c", "code"], Program::Code(2)),
        (vec!["-Ic", "code", "arg"], Program::Code(1)),
        (vec!["-cprint()"], Program::Code(0)),
        (vec!["-c"], Program::Other),
        (vec!["-m", "pytest", "-V"], Program::Other),
        (vec!["-um", "pytest"], Program::Other),
        (vec!["-"], Program::Other),
        (vec![], Program::Other),
        (vec!["--check-hash-based-pycs", "always", "x.py"], Program::Script(2)),
        (vec!["--", "x.py"], Program::Script(1)),
        (vec!["-V"], Program::Version),
        (vec!["--version"], Program::Version),
        (vec!["-VV"], Program::Other),
        (vec!["--help"], Program::Other),
    ] {
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        assert_eq!(program(&arguments), want, "{arguments:?}");
    }
}

#[test]
fn paths_are_translated_whole_or_after_the_equals_sign() {
    let place = test_place();
    let plan = planned(
        &place,
        "/home/ada/ws/sub",
        &[
            "train.py",
            "--data=/home/ada/ws/d",
            "/home/ada/ws/x/",
            "/cache/m/usr/lib/python3.11/os.py",
            "x/home/ada/ws",
            "--a=b=/home/ada/ws",
            "/home/ada/wsx",
            "-",
            "",
            "/home/ada/ws/../secret",
        ],
    );
    assert_eq!(
        plan.argv,
        [
            "/app/.venv/bin/python",
            "train.py",
            "--data=/app/d",
            "/app/x/",
            "/usr/lib/python3.11/os.py",
            "x/home/ada/ws",
            "--a=b=/home/ada/ws",
            "/home/ada/wsx",
            "-",
            "",
            "/home/ada/ws/../secret"
        ]
    );
    assert_eq!(plan.cwd.expect("inside").as_str(), "/app/sub");
    assert!(!plan.interrogates);
}

#[test]
fn a_working_directory_outside_is_not_passed_on() {
    let place = test_place();
    let plan = planned(&place, "/", &["-m", "pytest"]);
    assert_eq!(plan.cwd.expect("the workspace").as_str(), "/app");
    let plan = planned(&place, "/", &["-I", "-c", "/home/ada/ws"]);
    assert_eq!(plan.cwd.expect("neutral").as_str(), "/");
    assert!(plan.interrogates);
    assert_eq!(plan.argv[3], "/home/ada/ws", "code is no path");
}

#[test]
fn a_console_script_runs_from_the_venv() {
    let place = Place { name: Name::Script("pytest".into()), ..test_place() };
    assert_eq!(planned(&place, "/", &["-c", "/home/ada/ws/x"]).argv, ["/app/.venv/bin/pytest", "-c", "/app/x"]);
    let mut place = place;
    place.env.scripts.insert("pytest".into(), ContainerPath::new("/home/u/.local/bin/pytest").expect("a path"));
    assert_eq!(planned(&place, "/", &["-q"]).argv, ["/home/u/.local/bin/pytest", "-q"]);
}

#[test]
fn nothing_of_the_hosts_environment_is_passed_unasked() {
    let given = [
        ("HF_TOKEN", "s"),
        ("SSH_AUTH_SOCK", "/x"),
        ("PATH", "/x"),
        ("PYTHONPATH", "/x"),
        ("PYTHONHOME", "/x"),
        ("PYTHONBREAKPOINT", "x.y"),
        ("LD_PRELOAD", "/x"),
        ("HOME", "/x"),
        ("TERM", "xterm"),
        ("LC_ALL", "C"),
        ("LANG", ""),
    ];
    let env = passed_env(given.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))));
    let names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["LC_ALL", "TERM"]);
}

#[test]
fn a_host_script_is_sent_with_the_scripts_that_it_is_given() {
    let temp = tempfile::tempdir().expect("a folder");
    let path = |name: &str| temp.path().join(name).to_str().expect("UTF-8").to_owned();
    let long = format!("# {}\nprint('long')\n", "ü".repeat(100_000));
    std::fs::write(path("outer.py"), &long).expect("writes");
    std::fs::write(path("inner.py"), "print('inner')\n").expect("writes");
    let plan = planned(&test_place(), "/", &["-I", &path("outer.py"), &path("inner.py"), "/home/ada/ws/x"]);
    assert!(plan.interrogates);
    assert_eq!(plan.argv[..3], ["/app/.venv/bin/python", "-I", "-c"]);
    assert!(plan.argv.iter().all(|argument| argument.len() < 128 << 10), "Linux takes no longer argument");
    let sent = plan.argv.concat();
    assert!(sent.contains("print('inner')"));
    assert_eq!(plan.argv[plan.argv.len() - 3..], [path("outer.py"), path("inner.py"), "/app/x".to_owned()]);

    std::fs::write(path("big.py"), vec![b'#'; (1 << 20) + 1]).expect("writes");
    let error = plan_at(&test_place(), &[path("big.py").into()], None, vec![], false).err().expect("too large");
    assert!(error.contains("too large"), "{error}");
    let error = plan_at(&test_place(), &[temp.path().into()], None, vec![], false).err().expect("a folder");
    assert!(error.contains("mount"), "{error}");
}

/// uv asks with modules of its own, from a folder that is another one each time.
#[test]
fn modules_that_only_the_host_has_are_sent_along() {
    let temp = tempfile::tempdir().expect("a folder");
    let ask = |name: &str| {
        let folder = temp.path().join(name);
        std::fs::create_dir_all(folder.join("python/packaging")).expect("made");
        std::fs::write(folder.join("python/__init__.py"), "").expect("written");
        std::fs::write(folder.join("python/get_interpreter_info.py"), "def main(): print('[1]')\n").expect("written");
        std::fs::write(folder.join("python/packaging/x.py"), "x = 1\n").expect("written");
        std::fs::write(folder.join("secret.txt"), "no module").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", folder.join("python/link.py")).expect("linked");
        let code = format!(
            "import sys; sys.path = [__import__(\"os\").fsdecode(b\"{}\")] + sys.path; from python.get_interpreter_info \
             import main; main()",
            folder.display()
        );
        planned(&test_place(), "/home/ada/ws", &["-I", "-B", "-c", &code])
    };
    let (one, two) = (ask("one"), ask("two"));
    assert!(one.by_uv && one.interrogates && one.question == two.question && one.question.is_some());
    let text = one.argv.join("\n");
    assert!(text.contains("python/packaging/x.py") && !text.contains("secret") && !text.contains("link.py"), "{text}");
    // What is sent runs, on any Python.
    let output = std::process::Command::new("/usr/bin/python3").args(&one.argv[1..]).output().expect("started");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[1]\n", "{output:?}");

    let plain = planned(&test_place(), "/home/ada/ws", &["-c", "import sys; sys.path.insert(0, \"/nonexistent\")"]);
    assert!(!plain.by_uv && plain.question.is_none());
}

/// Only uv's question brings modules along; a path in other code is what the program says, and no folder to read.
#[test]
fn code_that_names_a_folder_is_only_code() {
    let temp = tempfile::tempdir().expect("a folder");
    std::fs::write(temp.path().join("json.py"), "hides = True\n").expect("written");
    for code in [
        format!("import sys; sys.path.insert(0, \"{}\"); import json", temp.path().display()),
        "import sys; print(\"/\".join(sys.path))".to_owned(),
        "import sys; print(sys.path[0].rsplit(\"/\", 1))".to_owned(),
    ] {
        let plan = planned(&test_place(), "/home/ada/ws", &["-c", &code]);
        assert_eq!(plan.argv[1..], ["-c", &code]);
        assert!(plan.question.is_none());
    }
}

/// The walk ends early and nothing fails, whatever the folder of uv's question turns out to be.
#[test]
fn a_folder_that_uv_would_not_make_is_not_sent() {
    let sends = |fill: &dyn Fn(&Path)| {
        let temp = tempfile::tempdir().expect("a folder");
        std::fs::write(temp.path().join("x.py"), "x = 1\n").expect("written");
        fill(temp.path());
        let code = format!("import sys; sys.path = [\"{}\"]; import get_interpreter_info", temp.path().display());
        let plan = planned(&test_place(), "/home/ada/ws", &["-c", &code]);
        if plan.question.is_none() {
            assert_eq!(plan.argv[1..], ["-c", &code]);
        }
        plan.question.is_some()
    };
    let make = |folder: PathBuf| std::fs::create_dir_all(folder).expect("made");
    let write = |file: PathBuf, text: &[u8]| std::fs::write(file, text).expect("written");
    assert!(sends(&|_| {}));
    assert!(sends(&|at| make(at.join("1/2/3/4"))));
    assert!(!sends(&|at| make(at.join("1/2/3/4/5"))), "too deep");
    assert!(!sends(&|at| (0..32).for_each(|n| make(at.join(n.to_string())))), "too many folders");
    assert!(!sends(&|at| (0..64).for_each(|n| write(at.join(format!("{n}.py")), b""))), "too many modules");
    assert!(!sends(&|at| (0..1024).for_each(|n| write(at.join(format!("{n}.txt")), b""))), "too many files");
    assert!(!sends(&|at| write(at.join("y.py"), b"\xff")), "no text");
    assert!(!sends(&|at| write(at.join("y.py"), &vec![b'#'; 2 << 20])), "too large");
}

/// `pip --python` runs pip of the host in the environment that it names.
#[test]
fn pip_of_the_host_is_the_containers() {
    let plan = planned(&test_place(), "/home/ada/ws", &["/opt/pip/__pip-runner__.py", "install", "/home/ada/ws/x"]);
    assert_eq!(plan.argv, ["/app/.venv/bin/python", "-m", "pip", "install", "/app/x"]);
    assert!(plan.installs);
    assert!(planned(&test_place(), "/", &["-m", "pip", "uninstall", "six"]).installs);
    assert!(!planned(&test_place(), "/", &["-m", "pip", "list"]).installs);
    let mut place = test_place();
    place.name = Name::Script("pip".into());
    assert!(planned(&place, "/", &["install", "six"]).installs && !planned(&place, "/", &["freeze"]).installs);
}
