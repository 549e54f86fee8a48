//! Each kind of bad input has a code of its own and says where it is.

use super::*;

/// `code`, then the place and words that must appear.
fn check(text: &str, code: &str, words: &[&str]) {
    let lab = Lab::with(text);
    let error = lab.error();
    let message = error.to_string();
    assert_eq!(error.code(), code, "{text}\n{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in\n{message}");
    }
    assert!(error.hint().is_some_and(|hint| hint.ends_with(['.', ')', ']'])), "{:?}", error.hint());
    assert!(message.contains("gpubay.toml:"), "{message}");
    assert!(message.contains('^'), "{message}");
}

#[test]
fn unknown_keys_have_a_place_and_a_suggestion() {
    check("[container]\nshm_sise = \"1g\"\n", "unknown_key", &[":2:1:", "`shm_sise`", "did you mean `shm_size`?"]);
    check("\n\n[containr]\n", "unknown_key", &[":3:2:", "did you mean `container`?"]);
    check("[jobs.train]\ncommand = [\"x\"]\n  gpu = 1\n", "unknown_key", &[":3:3:", "did you mean `gpus`?"]);
    check("[gpus]\nuse = { min_fre = \"1g\" }\n", "unknown_key", &[":2:9:", "did you mean `min_free`?"]);
    check("[image]\n\"a`b, expected `c\" = 1\n", "unknown_key", &[":2:1:"]);
    check("[image]\n\"a\\u001b[31m\" = 1\n", "unknown_key", &["`a\u{fffd}[31m`"]);
    let error = Lab::with("[image]\nzzzzzz = 1\n").error();
    assert!(!error.to_string().contains("did you mean"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("dockerfile")));
}

#[test]
fn a_text_where_a_list_belongs_is_written_as_one() {
    for (text, list) in [
        ("[jobs.train]\ncommand = \"python train.py\"\n", "Write it as command = [\"python\", \"train.py\"]."),
        ("[container]\nmounts = \"a:/b c\"\n", "Write it as mounts = [\"a:/b c\"]."),
        ("[jobs.train]\ncommand = 'sh -c \"a b\"'\n", "Change the value to the type that is expected."),
    ] {
        assert_eq!(Lab::with(text).error().hint().as_deref(), Some(list), "{text}");
    }
}

#[test]
fn what_is_in_the_workspace_is_named_as_it_was_typed() {
    for (text, said) in [
        ("[image]\ndockerfile = \"docker/x/Dockerfile\"\n", "the Dockerfile docker/x/Dockerfile does not exist"),
        (
            "[image]\ndockerfile = \"/nonexistent/Dockerfile\"\n",
            "the Dockerfile /nonexistent/Dockerfile does not exist",
        ),
    ] {
        let error = Lab::with(text).error().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn wrong_types_say_what_was_expected() {
    check(
        "[container]\nworkdir = 3\n",
        "wrong_type",
        &[":2:11:", "container.workdir", "expected a text, got the whole number 3"],
    );
    check(
        "[container]\nshm_size = true\n",
        "wrong_type",
        &[":2:12:", "container.shm_size", "a size such as \"16g\"", "got true or false"],
    );
    check(
        "[container]\nmounts = \"a:/b\"\n",
        "wrong_type",
        &["container.mounts", "expected a list, got the text \"a:/b\""],
    );
    check("[container]\nmounts = [\"a:/b\", 3]\n", "wrong_type", &[":2:19:", "container.mounts[1]"]);
    check("[container.env]\nA = 1\n", "wrong_type", &[":2:5:", "container.env.A", "expected a text"]);
    check(
        "[jobs.train]\ncommand = \"python train.py\"\n",
        "wrong_type",
        &["jobs.train.command", "expected a list, got the text"],
    );
    check("[jobs.train]\n", "wrong_type", &["jobs.train", "missing field `command`"]);
    check("[container]\ncache = \"yes\"\n", "wrong_type", &["container.cache", "\"workspace\"", "got a text"]);
    check("[gpus]\nuse = true\n", "wrong_type", &["gpus.use", "\"auto\""]);
    check("gpus = 2\n", "wrong_type", &[":1:8:", "gpus"]);
}

#[test]
fn words_of_a_list_have_a_suggestion() {
    check("[gpus]\nisolation = \"sotf\"\n", "unknown_choice", &[":2:13:", "gpus.isolation", "did you mean `soft`?"]);
    check("[venv]\ninstaller = \"conda\"\n", "unknown_choice", &["venv.installer", "`conda`"]);
    check("[container]\nentrypoint = \"/start\"\n", "unknown_choice", &["container.entrypoint"]);
}

#[test]
fn a_size_that_lacks_its_unit_is_told_it() {
    let error = Lab::with("[container]\nshm_size = 16\n").error();
    assert!(error.to_string().contains("16 without a unit is 16 bytes"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("\"16g\"")), "{:?}", error.hint());
    assert_eq!(Lab::with("[container]\nshm_size = 17179869184\n").config().container.shm_size, Some(16 << 30));
}

#[test]
fn too_little_memory_is_said_where_it_is_written() {
    check("[container]\nmemory = \"1k\"\n", "bad_size", &[":2:10:", "container.memory", "less than the 6m"]);
    assert_eq!(Lab::with("[container]\nmemory = \"6m\"\n").config().container.memory, Some(6 << 20));
}

#[test]
fn broken_toml_has_a_place() {
    check("[container\n", "config_syntax", &[":1:"]);
    check("[image]\ntag = x\n", "config_syntax", &[":2:7:"]);
    check("[image]\ntag = \"a\"\ntag = \"b\"\n", "config_syntax", &[":3:1:"]);
}

#[test]
fn each_bad_value_has_a_code_of_its_own() {
    for (line, code) in [
        ("[container]\nshm_size = \"16q\"", "bad_size"),
        ("[container]\nshm_size = \"50%\"", "bad_size"),
        ("[container]\nshm_size = \"-1g\"", "bad_size"),
        ("[container]\nshm_size = 0", "bad_size"),
        ("[container]\nshm_size = 16", "bad_size"),
        ("[container]\nmemory = \"64\"", "bad_size"),
        ("[gpus]\nuse = { min_free = 20 }", "bad_size"),
        ("[container]\nmemory = \"99999999999g\"", "bad_size"),
        ("[container]\ncpus = 0", "bad_cpus"),
        ("[container]\ncpus = -1.5", "bad_cpus"),
        ("[container]\ncpus = nan", "bad_cpus"),
        ("[container]\nports = [\"70000\"]", "bad_port"),
        ("[container]\nports = [0]", "bad_port"),
        ("[container]\nports = [\"localhost:80:80\"]", "bad_port"),
        ("[container]\nports = [\"80:90:100:110\"]", "bad_port"),
        ("[container]\nports = [\"80/sctp\"]", "bad_port"),
        ("[container]\nports = [\"8000-8010:9000-9001\"]", "bad_port"),
        ("[container]\nmounts = [\"/etc\"]", "bad_mount"),
        ("[container]\nmounts = [\"vol:/a\\nb\"]", "bad_mount"),
        ("[container]\nmounts = [\"vol:/a\\u202Eb\"]", "bad_mount"),
        ("[container]\ndevices = [\"/dev/a:/dev/b\\nc\"]", "bad_device"),
        ("[container]\npersist = [\"~/a\\nb\"]", "bad_persist"),
        ("[container]\nworkdir = \"/a\\nb\"", "bad_workdir"),
        ("[container]\nmounts = [\":/data\"]", "bad_mount"),
        ("[container]\nmounts = [\"vol:data\"]", "bad_mount"),
        ("[container]\nmounts = [\"vol:/\"]", "bad_mount"),
        ("[container]\nmounts = [\"vol:/data:rq\"]", "bad_mount"),
        ("[container]\nmounts = [\"-vol:/data\"]", "bad_mount"),
        ("[container]\nmounts = [\"a:/b:ro:x\"]", "bad_mount"),
        ("[container]\nmounts = [\"~/absent:/data\"]", "missing_mount_source"),
        ("[container]\nmounts = [\"~bob/x:/data\"]", "bad_path"),
        ("[container]\nuser = \"ada\"", "bad_user"),
        ("[container]\nuser = \"1:2:3\"", "bad_user"),
        ("[container]\nuser = \"4294967296\"", "bad_user"),
        ("[container]\nrestart = \"sometimes\"", "bad_restart"),
        ("[container]\nworkdir = \"app\"", "bad_workdir"),
        ("[container]\nworkdir = \"/\"", "bad_workdir"),
        ("[container]\nworkdir = \"/proc/self/fd/7\"", "bad_workdir"),
        ("[container]\nulimits = [\"nofiles=1\"]", "bad_ulimit"),
        ("[container]\nulimits = [\"nofile=2:1\"]", "bad_ulimit"),
        ("[container]\ndevices = [\"dev/fuse\"]", "bad_device"),
        ("[container]\ncpu_shares = 1", "out_of_range"),
        ("[container]\nname = \"a b\"", "bad_name"),
        ("[container]\nnetwork = \"-x\"", "bad_name"),
        ("[container]\nlabels = { \"gpubay.id\" = \"x\" }", "reserved_label"),
        ("[container]\npersist = [\"../x\"]", "bad_persist"),
        ("[container]\npersist = [\"~/../../etc\"]", "bad_persist"),
        ("[container]\nenv_file = \"absent\"", "missing_file"),
        ("[container]\nenv_file = \".\"", "wrong_file"),
        ("[container]\nenv = { \"A=B\" = \"\" }", "bad_env"),
        ("[container]\nenv = { A = \"\\u0000\" }", "bad_env"),
        ("[container]\ndocker_args = [\"--shm-sise=1g\"]", "unknown_docker_option"),
        ("[container]\ndocker_args = [\"--rm\"]", "refused_docker_option"),
        ("[container]\ndocker_args = [\"--name\"]", "docker_option_without_value"),
        ("[container]\ndocker_args = [\"ubuntu\"]", "not_a_docker_option"),
        ("[image]\ndockerfile = \"absent\"", "missing_file"),
        ("[image]\ndockerfile = \".\"", "wrong_file"),
        ("[image]\ncontext = \"Dockerfile\"", "wrong_file"),
        ("[image]\nfrom = \"a\"\ntarget = \"b\"", "image_conflict"),
        ("[image]\nfrom = \"-a b\"", "bad_name"),
        ("[image]\ntag = \"$(a b)\"", "bad_name"),
        ("[image]\nsecrets = [\"x\"]", "bad_secret"),
        ("[image]\nsecrets = [\"x=vault:y\"]", "bad_secret"),
        ("[image]\nsecrets = [\"x=file:absent\"]", "missing_file"),
        ("[gpus]\nuse = \"al\"", "bad_gpus"),
        ("[gpus]\nuse = [\"0\", \"0\"]", "bad_gpus"),
        ("[gpus]\nuse = -1", "bad_gpus"),
        ("[gpus]\nuse = { count = 0 }", "bad_gpus"),
        ("[venv]\npath = \"sub/.venv\"", "bad_venv_path"),
        ("[venv]\npath = \"..\"", "bad_venv_path"),
        ("[venv]\npath = \"/abs\"", "bad_venv_path"),
        ("[venv]\npath = \"\"", "bad_venv_path"),
        ("[venv]\npath = \".git\"", "bad_venv_path"),
        ("[venv]\nrequirements = [\"absent\"]", "missing_file"),
        ("[jobs.\"a b\"]\ncommand = [\"x\"]", "bad_name"),
        ("[jobs.a]\ncommand = []", "empty_command"),
        ("[jobs.a]\ncommand = [\"x\"]\nworkdir = \"../x\"", "bad_folder"),
        ("[jobs.a]\ncommand = [\"x\"]\nworkdir = \"\"", "bad_folder"),
        ("[jobs.a]\ncommand = [\"x\"]\nworkdir = \"/proc/self/fd/8\"", "bad_workdir"),
        ("[jobs.a]\ncommand = [\"x\"]\nworkdir = \"/x/../proc/self\"", "bad_workdir"),
        ("[jobs.a]\ncommand = [\"x\"]\nlive = [\"/data\"]", "bad_folder"),
        ("[jobs.a]\ncommand = [\"x\"]\nenv = { \"A=B\" = \"c\" }", "bad_env"),
        ("[engine]\nhost = \"ssh://-oProxyCommand=touch canary\"", "bad_engine_host"),
        ("[engine]\nhost = \"ssh://-oProxyCommand=canary\"", "bad_engine_host"),
        ("[paths]\ndata = \"\"", "bad_path"),
    ] {
        check(&format!("{line}\n"), code, &[]);
    }
}

#[test]
fn a_value_is_shown_with_its_line() {
    let lab = Lab::with("# é\n[container]\nmounts = [\n  \"vol:/a\",\n  \"~/absent:/data\",\n]\n");
    let file = lab.ws.join("gpubay.toml");
    let absent = lab.home.join("absent");
    assert_eq!(
        lab.error().to_string(),
        format!(
            "{}:5:3: container.mounts[1]: {}, the source of the mount on /data, does not exist\n  |\n5 |   \"~/absent:/data\",\n  |   ^^^^^^^^^^^^^^^^",
            file.display(),
            absent.display()
        )
    );
    assert!(!absent.exists());
}

#[test]
fn a_bad_line_of_an_env_file_is_told() {
    let lab = Lab::with("[container]\nenv_file = [\".env\"]\n");
    lab.write(".env", "\u{feff}A=1\r\n# c\r\nB C=2\r\n");
    let error = lab.error();
    assert_eq!(error.code(), "bad_env_file");
    assert!(error.to_string().contains(&format!("{}:3: ", lab.ws.join(".env").display())), "{error}");
    lab.write(".env", "\u{feff}A=1\r\n");
    assert_eq!(lab.config().container.env["A"], "1");
}

#[test]
fn an_error_in_the_users_file_names_that_file() {
    let lab = Lab::new();
    lab.user("[gpus]\nuse = \"al\"\n");
    assert!(lab.error().to_string().contains(".config/gpubay/config.toml:2:7: gpus.use"), "{}", lab.error());
}

#[test]
fn a_workspace_must_be_a_folder() {
    let lab = Lab::new();
    for (path, code) in [
        (lab.home.join("absent"), "no_workspace"),
        (lab.ws.join("Dockerfile"), "workspace_not_a_folder"),
        (lab.ws.join("Dockerfile/x"), "workspace_not_a_folder"),
    ] {
        assert_eq!(lab.load_with(&path, Overrides::default()).expect_err("loaded").code(), code, "{path:?}");
    }
    std::fs::remove_file(lab.ws.join("Dockerfile")).expect("removed");
    assert_eq!(lab.error().code(), "no_dockerfile");
    assert!(lab.error().hint().is_some());
}

#[test]
fn what_is_no_ordinary_file_is_not_waited_for() {
    let lab = Lab::new();
    let file = lab.ws.join("gpubay.toml");
    std::fs::create_dir(&file).expect("made");
    assert_eq!(lab.error().code(), "config_not_a_file");
    std::fs::remove_dir(&file).expect("removed");

    let fifo = |path: &Path| {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).expect("made");
    };
    fifo(&file);
    assert_eq!(lab.error().code(), "config_not_a_file");
    std::fs::remove_file(&file).expect("removed");

    let _socket = std::os::unix::net::UnixListener::bind(&file).expect("bound");
    assert_eq!(lab.error().code(), "config_not_a_file");
    std::fs::remove_file(&file).expect("removed");

    fifo(&lab.ws.join(".env"));
    lab.write("gpubay.toml", "[container]\nenv_file = \".env\"\n");
    assert_eq!(lab.error().code(), "wrong_file");

    std::fs::write(&file, [b'a', 0xff]).expect("written");
    assert_eq!(lab.error().code(), "config_not_utf8");
    std::fs::write(&file, " ".repeat(2 << 20)).expect("written");
    assert_eq!(lab.error().code(), "config_too_large");
}

#[test]
fn a_file_that_cannot_be_read_is_said() {
    // A link to itself fails for root as well, unlike a mode.
    let lab = Lab::new();
    symlink("gpubay.toml", lab.ws.join("gpubay.toml")).expect("linked");
    assert_eq!(lab.error().code(), "config_unreadable");
    assert!(std::error::Error::source(&lab.error()).is_some());
}

#[test]
fn a_link_out_of_the_workspace_is_not_followed() {
    let lab = Lab::new();
    put(&lab.home.join("canary"), "password = s3cret\n");
    symlink(lab.home.join("canary"), lab.ws.join("gpubay.toml")).expect("linked");
    assert_eq!(lab.error().code(), "config_outside");
    assert!(!lab.error().to_string().contains("s3cret"));
    std::fs::remove_file(lab.ws.join("gpubay.toml")).expect("removed");
    lab.write("conf/gpubay.toml", "[container]\nhostname = \"inner\"\n");
    symlink("conf/gpubay.toml", lab.ws.join("gpubay.toml")).expect("linked");
    assert_eq!(lab.config().container.engine.hostname.as_deref(), Some("inner"));
    std::fs::remove_file(lab.ws.join("gpubay.toml")).expect("removed");
    symlink("absent", lab.ws.join("gpubay.toml")).expect("linked");
    assert_eq!(lab.error().code(), "config_unreadable");
}

#[test]
fn nothing_is_mounted_over_the_workspace_or_its_venv() {
    for target in ["/workspace", "/workspace/.venv", "/workspace/.venv/lib", "/workspace//.venv/"] {
        for line in
            [format!("mounts = [\"vol:{target}\"]"), format!("docker_args = [\"--tmpfs\", \"{target}:size=1m\"]")]
        {
            let error = Lab::with(&format!("[container]\n{line}\n")).error();
            assert_eq!(error.code(), "bad_mount", "{line}: {error}");
        }
    }
    Lab::with("[container]\nmounts = [\"vol:/workspace/out\"]\n").config();
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,80}", section in proptest::sample::select(vec!["image", "container", "gpus", "venv", "jobs.a"]), key in "[a-z_]{1,12}") {
        let file = HostPath::new("/ws/gpubay.toml").expect("absolute");
        for text in [text.clone(), format!("[{section}]\n{key} = {text}"), format!("[{section}]\n{key} = {text:?}")] {
            if let Err(error) = parse(&text, &file) {
                proptest::prop_assert!(error.to_string().starts_with("/ws/gpubay.toml:"));
            }
        }
    }

    #[test]
    fn no_value_makes_a_reader_panic(text in "[ -~é€\\n]{0,24}") {
        use super::super::{gpu_values, values};
        let places = values::Places { workspace: Path::new("/nonexistent/ws"), home: Path::new("/nonexistent") };
        let _ = values::size(&text);
        let _ = values::ports(&text);
        let _ = values::user(&text);
        let _ = values::ulimit(&text);
        let _ = values::device(&text);
        let _ = gpu_values::gpus(&text);
        let _ = values::persist(&text);
        let _ = values::venv_name(&text);
        let _ = values::secret(&text, &places);
        let _ = mounts::short(&text, &places);
        let _ = mounts::long(&text, &places);
        let _ = engine_host::check(&text);
    }
}

#[test]
fn sizes_and_ports_are_read_as_written() {
    use super::super::values;
    for (text, bytes) in [
        ("1", 1),
        ("512m", 512 << 20),
        ("16g", 16 << 30),
        ("16GB", 16 << 30),
        ("1.5g", 3 << 29),
        ("2KiB", 2048),
        ("1t", 1 << 40),
    ] {
        assert_eq!(values::size(text), Ok(bytes), "{text}");
    }
    let shown = |text: &str| -> Vec<String> {
        let ports = values::ports(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        ports.iter().map(|p| format!("{} {} {} {:?}", p.address, p.host, p.container, p.protocol)).collect()
    };
    for (text, want) in [
        ("6006", "127.0.0.1 6006 6006 Tcp"),
        ("8080:80", "127.0.0.1 8080 80 Tcp"),
        ("127.0.0.1:8080:80", "127.0.0.1 8080 80 Tcp"),
        ("127.0.0.1::80", "127.0.0.1 80 80 Tcp"),
        ("0.0.0.0:6006", "0.0.0.0 6006 6006 Tcp"),
        ("[::]:80:80", ":: 80 80 Tcp"),
        ("[::1]:81", "::1 81 81 Tcp"),
        ("53/udp", "127.0.0.1 53 53 Udp"),
        ("80/tcp", "127.0.0.1 80 80 Tcp"),
    ] {
        assert_eq!(shown(text), [want], "{text}");
    }
    assert_eq!(shown("8000-8001:9000-9001"), ["127.0.0.1 8000 9000 Tcp", "127.0.0.1 8001 9001 Tcp"]);
}
