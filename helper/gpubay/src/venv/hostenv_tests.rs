use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::{ContainerPath, PathMap};

fn env(workspace: &Path, name: &str) -> HostEnv {
    let host = |path: &Path| HostPath::new(path).expect("absolute");
    let container = |path: &str| ContainerPath::new(path).expect("a container path");
    HostEnv {
        schema: hostenv::SCHEMA,
        id: "0".repeat(64),
        workspace: host(workspace),
        path: host(&workspace.join(name)),
        container: "gpubay-ws-00000000".into(),
        socket: None,
        helper: host(Path::new("/usr/bin/gpubay")),
        python: container("/app/.venv/bin/python"),
        venv: container("/app/.venv"),
        version: "3.12.7".into(),
        unmapped: vec![],
        map: PathMap::default(),
        scripts: [].into(),
        cache: host(Path::new("/nonexistent/cache")),
    }
}

fn lay(env: &HostEnv, shim: &[u8], scripts: &[&str]) -> Result<bool, HostEnvError> {
    let scripts: Vec<String> = scripts.iter().map(|s| (*s).to_owned()).collect();
    let folders = [HostPath::new("/data/venvs/1/lib/python3.12/site-packages").expect("absolute")];
    write(&Layout { env, home: None, folders: &folders, shim, scripts: &scripts })
}

#[test]
fn the_layout_is_complete_and_a_second_write_changes_nothing() {
    for name in ["plain", "with space", "it's $(x) \"q\"", "日本"] {
        let temp = tempfile::tempdir().expect("a folder");
        let ws = temp.path().join(name);
        fs::create_dir(&ws).expect("makes");
        let point = prepare_mount_point(&HostPath::new(&ws).expect("absolute"), ".venv").expect("prepares");
        assert_eq!((point.name.as_str(), point.other), (".venv", None));
        let env = env(&ws, ".venv");
        assert!(lay(&env, b"shim", &["pytest", "../evil", "python3", "activate", "-x"]).expect("writes"));
        let venv = ws.join(".venv");
        for file in [
            "pyvenv.cfg",
            ".gitignore",
            "gpubay-env.json",
            "bin/python",
            "bin/python3",
            "bin/python3.12",
            "bin/pytest",
            "bin/activate",
            "bin/activate.fish",
            "bin/activate.csh",
            "bin/Activate.ps1",
            "lib/python3.12/site-packages/container.pth",
        ] {
            assert!(venv.join(file).is_file(), "{file}");
        }
        assert_eq!(fs::read_to_string(venv.join(".gitignore")).expect("reads"), "*\n");
        let config = fs::read_to_string(venv.join("pyvenv.cfg")).expect("reads");
        assert_eq!(
            config,
            format!("home = {}/bin\ninclude-system-site-packages = false\nversion = 3.12.7\n", venv.display())
        );
        assert_eq!(fs::metadata(venv.join("bin/python")).expect("stat").permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(venv.join("bin")).expect("lists").count(), 9);
        let number = |name: &str| fs::metadata(venv.join("bin").join(name)).expect("stat").ino();
        assert_eq!(number("python"), number("python3"));
        assert_ne!(number("python"), number(hostenv::UNCACHED_PYTHON), "uv must not keep its answers");
        assert!(!lay(&env, b"shim", &["pytest"]).expect("writes"), "nothing to do");
        let read: HostEnv =
            serde_json::from_slice(&fs::read(venv.join("gpubay-env.json")).expect("reads")).expect("parses");
        assert_eq!(read, env);
        let again = prepare_mount_point(&env.workspace, ".venv").expect("prepares");
        assert_eq!(again.name, ".venv", "ours is taken again");
    }
}

#[test]
fn the_home_has_the_standard_library_and_follows_it() {
    let temp = tempfile::tempdir().expect("a folder");
    let host = |path: &str| HostPath::new(temp.path().join(path)).expect("absolute");
    for generation in ["1", "2"] {
        fs::create_dir_all(temp.path().join(generation)).expect("makes");
        fs::write(temp.path().join(generation).join("os.py"), generation).expect("writes");
    }
    let folder = host("cache/homes/0");
    for (version, generation, name) in
        [("3.11.2", "1", "python3.11"), ("3.11.2", "2", "python3.11"), ("3.12.1", "2", "python3.12")]
    {
        let home = make_home(&folder, version, &host(generation)).expect("makes");
        assert_eq!(home, folder.join("bin"));
        assert_eq!(fs::read_dir(home.as_path()).expect("lists").count(), 0);
        let lib = folder.join("lib");
        assert_eq!(fs::read_to_string(lib.join(name).join("os.py").as_path()).expect("reads"), generation);
        assert_eq!(fs::read_dir(lib.as_path()).expect("lists").count(), 1, "an earlier version's name is gone");
    }
    assert_eq!(fs::read_to_string(temp.path().join("1/os.py")).expect("reads"), "1", "never through the link");
    let error = make_home(&folder, "../x", &host("1")).expect_err("refused");
    assert!(matches!(error, HostEnvError::Version { .. }), "{error}");

    let ws = temp.path().join("ws");
    fs::create_dir(&ws).expect("makes");
    let env = env(&ws, ".venv");
    let home = folder.join("bin");
    write(&Layout { env: &env, home: Some(&home), folders: &[], shim: b"shim", scripts: &[] }).expect("writes");
    let config = fs::read_to_string(ws.join(".venv/pyvenv.cfg")).expect("reads");
    assert!(config.starts_with(&format!("home = {home}\n")), "{config}");
}

#[test]
fn a_new_shim_and_new_scripts_and_a_new_version_replace_the_old() {
    let temp = tempfile::tempdir().expect("a folder");
    let mut env = env(temp.path(), ".venv");
    lay(&env, b"one", &["pytest", "black"]).expect("writes");
    let bin = temp.path().join(".venv/bin");
    fs::write(bin.join("mine"), "the user's own").expect("writes");
    env.version = "3.13.1".into();
    assert!(lay(&env, b"two", &["pytest"]).expect("writes"));
    let names: Vec<String> = {
        let list = fs::read_dir(&bin).expect("lists");
        list.map(|e| e.expect("entry").file_name().into_string().expect("UTF-8")).collect()
    };
    assert!(!names.contains(&"black".to_owned()) && !names.contains(&"python3.12".to_owned()), "{names:?}");
    assert!(names.contains(&"mine".to_owned()));
    let ino = |name: &str| fs::metadata(bin.join(name)).expect("stat").ino();
    assert_eq!(ino("pytest"), ino("python"));
    assert_eq!(fs::read(bin.join("python3.13")).expect("reads"), b"two");
    assert!(!temp.path().join(".venv/lib/python3.12").exists());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    type Plant = fn(&Path);
    let plants: [(&str, Plant); 3] = [
        ("was not made by gpubay", |at| {
            fs::create_dir(at).expect("makes");
            fs::write(at.join("pyvenv.cfg"), "home = /usr/bin\n").expect("writes");
        }),
        ("symbolic link", |at| symlink("/tmp", at).expect("links")),
        ("no folder", |at| fs::write(at, "x").expect("writes")),
    ];
    for (why, plant) in plants {
        let temp = tempfile::tempdir().expect("a folder");
        let ws = HostPath::new(temp.path()).expect("absolute");
        plant(&temp.path().join(".venv"));
        let point = prepare_mount_point(&ws, ".venv").expect("prepares");
        assert_eq!(point.name, ".venv-gpubay");
        assert!(point.other.expect("said").contains(why));
        let error = lay(&env(temp.path(), ".venv"), b"shim", &[]).expect_err("refused");
        assert!(error.to_string().contains(why), "{error}");
        plant(&temp.path().join(".venv-gpubay2"));
        fs::remove_dir(temp.path().join(".venv-gpubay")).expect("removes");
        plant(&temp.path().join(".venv-gpubay"));
        assert!(matches!(prepare_mount_point(&ws, ".venv"), Err(HostEnvError::Taken { .. })));
    }
    for bad in ["", ".", "..", "a/b", "/x", "a\nb"] {
        let ws = HostPath::new("/").expect("absolute");
        assert!(matches!(prepare_mount_point(&ws, bad), Err(HostEnvError::Name { .. })), "{bad:?}");
    }
}

#[test]
fn nothing_is_written_through_a_planted_link() {
    let temp = tempfile::tempdir().expect("a folder");
    let outside = temp.path().join("outside");
    fs::create_dir(&outside).expect("makes");
    fs::write(outside.join("python"), "canary").expect("writes");
    let ws = temp.path().join("ws");
    fs::create_dir_all(ws.join(".venv")).expect("makes");
    let env = env(&ws, ".venv");
    lay(&env, b"shim", &[]).expect("writes");
    for planted in ["bin", "lib", "lib/python3.12", "lib/python3.12/site-packages"] {
        let at = ws.join(".venv").join(planted);
        fs::remove_dir_all(&at).expect("removes");
        symlink(&outside, &at).expect("links");
        lay(&env, b"shim", &[]).expect("writes");
        assert!(!fs::symlink_metadata(&at).expect("stat").is_symlink());
    }
    let python = ws.join(".venv/bin/python");
    fs::remove_file(&python).expect("removes");
    symlink(outside.join("python"), &python).expect("links");
    lay(&env, b"shim", &[]).expect("writes");
    assert_eq!(fs::read_to_string(outside.join("python")).expect("reads"), "canary");
    assert_eq!(fs::read_dir(&outside).expect("lists").count(), 1);
}

#[test]
fn a_container_cannot_name_a_script_after_a_program_of_the_host() {
    let temp = tempfile::tempdir().expect("a folder");
    let bin = temp.path().join("bin");
    fs::create_dir(&bin).expect("makes");
    for (name, text, mode) in [
        ("pytest", "#!/app/.venv/bin/python\n", 0o755),
        ("pip", "#!/bin/sh\n'''exec' \"/app/.venv/bin/python\" \"$0\"\n", 0o755),
        ("ls", "#!/app/.venv/bin/python\n", 0o755),
        ("notes", "#!/app/.venv/bin/python\n", 0o644),
        ("tool.sh", "#!/bin/bash\n", 0o755),
        ("a\nb", "#!/app/.venv/bin/python\n", 0o755),
        ("python9", "#!/app/.venv/bin/python\n", 0o755),
        ("ruff", "\x7fELF\x02", 0o755),
        ("uv", "\x7fELF\x02", 0o755),
        ("gpubay-agent", "\x7fELF\x02", 0o755),
        ("cat", "\x7fELF\x02", 0o755),
    ] {
        fs::write(bin.join(name), text).expect("writes");
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    }
    symlink("/etc/passwd", bin.join("link")).expect("links");
    assert_eq!(console_scripts(&HostPath::new(temp.path()).expect("absolute")), ["pip", "pytest", "ruff"]);

    let named = ["pytest", "ls", "black", "../x", "python3", "activate", "-x", "uvx"];
    let image_scripts = named.map(|name| (name.to_owned(), format!("/home/u/.local/bin/{name}"))).to_vec();
    let text = r#"{"version":"3.12.7","implementation":"cpython","executable":"/p","prefix":"/","base_prefix":"/",
        "path":[],"archives":[],"site_packages":[],"user_site":null,"image_scripts":[],"paths":{},"editable":[],
        "unsaid":[],"distributions":[],"conda":false,"has_venv":true,"has_ensurepip":true,"has_pip":true}"#;
    let probe = Probe { image_scripts, ..serde_json::from_str(text).expect("parses") };
    let found: Vec<String> = super::image_scripts(&probe, &["pytest".to_owned()]).into_keys().collect();
    assert_eq!(found, ["black"]);
}

#[test]
fn a_folder_of_programs_is_read_only_so_far() {
    let temp = tempfile::tempdir().expect("a folder");
    let venv = HostPath::new(temp.path()).expect("absolute");
    let bin = temp.path().join("bin");
    fs::create_dir(&bin).expect("makes");
    let program = |name: &str, text: &str| {
        fs::write(bin.join(name), text).expect("writes");
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("chmod");
    };
    program("zz-last", "#!/app/.venv/bin/python\n");
    // Of a long one the first line is enough, and later text is no first line.
    fs::OpenOptions::new().write(true).open(bin.join("zz-last")).and_then(|f| f.set_len(1 << 26)).expect("grows");
    program("zz-other", &format!("#!/bin/sh\n{}python\n", " ".repeat(256)));
    assert_eq!(console_scripts(&venv), ["zz-last"]);

    (0..1998).for_each(|n| program(&format!("a{n}"), ""));
    assert_eq!(console_scripts(&venv), ["zz-last"]);
    program("a1998", "");
    assert_eq!(console_scripts(&venv), ["zz-last"], "the last one that is looked at");
    program("a1999", "#!/app/.venv/bin/python\n");
    assert_eq!(console_scripts(&venv), ["a1999"], "no more than 2000 are opened");
}

#[test]
fn a_line_break_never_becomes_a_second_line() {
    let temp = tempfile::tempdir().expect("a folder");
    let env = env(temp.path(), ".venv");
    let folders = [HostPath::new("/data/x\nimport os").expect("absolute")];
    let error =
        write(&Layout { env: &env, home: None, folders: &folders, shim: b"", scripts: &[] }).expect_err("refused");
    assert!(matches!(error, HostEnvError::LineBreak { .. }));
}
