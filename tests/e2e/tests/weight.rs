//! How large a base is, from a real registry on this machine, before anything is pulled.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use gpubay_e2e::{Bench, Who};
use tempfile::TempDir;

/// A registry with data and a port of its own. It ends with this.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    /// `passwords`: then it asks for one.
    fn start(data: &Path, passwords: Option<&Path>) -> Self {
        let program = std::env::var_os("GPUBAY_TEST_REGISTRY").expect("GPUBAY_TEST_REGISTRY: run through `make test`");
        let auth = passwords.map(|file| format!("auth: {{ htpasswd: {{ realm: lab, path: {} }} }}\n", file.display()));
        let config = format!(
            "version: 0.1\nlog: {{ level: info }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: \"127.0.0.1:0\" }}\n{}",
            data.display(),
            auth.unwrap_or_default()
        );
        let file = data.join("config.yml");
        std::fs::write(&file, config).expect("written");
        let mut child = Command::new(program)
            .arg("serve")
            .arg(&file)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started: `tests/lab/lab setup registry` makes it");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, behind) = line.split_once("listening on ")?;
            Some(behind.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect())
        });
        // A pipe that nobody reads would stop it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, address: address.expect("it listens") }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        gpubay_e2e::kill(&mut self.child);
    }
}

/// All layers that a registry holds, as they lie there: compressed.
fn layers(data: &Path) -> u64 {
    let mut sum = 0;
    let mut folders = vec![data.join("docker/registry/v2/blobs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("read").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if std::fs::read(&entry).expect("read").starts_with(b"\x1f\x8b") {
                sum += entry.metadata().expect("a file").size();
            }
        }
    }
    sum
}

#[test]
fn init_says_how_large_the_base_is_and_what_is_free() {
    let bench = Bench::new("docker28", Who::Ordinary, "weighed");
    let data = TempDir::new().expect("a folder");
    let registry = Registry::start(data.path(), None);
    let pushed = format!("{}/team/base:1", registry.address);
    bench.docker(&["tag", "gpubay-lab/uid1000", &pushed]).succeeded();
    bench.docker(&["push", "-q", &pushed]).succeeded();
    bench.docker(&["rmi", &pushed]).succeeded();
    let expected = layers(data.path());
    assert!(expected > 10_000_000, "{expected}");

    let report = bench.json(&["init", "--dry-run", "--base", &pushed]);
    let weight = &report["base"]["images"][0];
    assert_eq!(weight["compressed_bytes"], expected, "{report}");
    assert!(report["base"]["free_bytes"].as_u64().is_some_and(|free| free > 0), "{report}");
    let said = bench.run(&["init", "--dry-run", "--base", &pushed]).succeeded().stdout.clone();
    assert!(said.contains("MB to download, compressed") && said.contains(" are free where the engine"), "{said}");

    // Nobody is asked who was not to be.
    let report = bench.json(&["init", "--dry-run", "--offline", "--base", &pushed]);
    assert!(report["base"]["images"][0]["unknown"].as_str().is_some_and(|why| why.contains("--offline")), "{report}");
    // What is there already is not asked for either.
    let report = bench.json(&["init", "--dry-run", "--base", "gpubay-lab/busybox"]);
    assert!(report["base"]["images"][0]["present_bytes"].as_u64().is_some_and(|size| size > 100_000), "{report}");
    for (base, why) in [
        (format!("{}/team/other", registry.address), "has no such image"),
        ("127.0.0.1:1/team/base".to_owned(), "cannot be reached"),
    ] {
        let report = bench.json(&["init", "--dry-run", "--base", &base]);
        assert!(report["base"]["images"][0]["unknown"].as_str().is_some_and(|said| said.contains(why)), "{report}");
    }
    drop(registry);

    // One that wants a password gets the one of the user's own Docker configuration: ada, secret.
    let passwords = data.path().join("passwords");
    let hashed = "import crypt; print('ada:' + crypt.crypt('secret', crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))";
    let made = Command::new("/usr/bin/python3").args(["-W", "ignore", "-c", hashed]).output().expect("started");
    std::fs::write(&passwords, &made.stdout).expect("written");
    let registry = Registry::start(data.path(), Some(&passwords));
    let private = format!("{}/team/base:1", registry.address);
    let report = bench.json(&["init", "--base", &private]);
    let why = report["base"]["images"][0]["unknown"].as_str();
    assert!(why.is_some_and(|why| why.contains("wants a login (`docker login 127.0.0.1:")), "{report}");
    let config = bench.home.join(".docker/config.json");
    std::fs::create_dir(bench.home.join(".docker")).expect("made");
    std::fs::write(&config, format!(r#"{{"auths":{{"{}":{{"auth":"YWRhOnNlY3JldA=="}}}}}}"#, registry.address))
        .expect("written");
    let report = bench.json(&["init", "--name", "again", "--base", &private]);
    assert_eq!(report["base"]["images"][0]["compressed_bytes"], expected, "{report}");

    // And what was weighed is what is built on.
    std::fs::remove_dir_all(bench.workspace.join("docker/again")).expect("removed");
    bench.up();
    assert_eq!(bench.run(&["exec", "--", "id", "-u"]).succeeded().stdout.trim(), bench.uid().to_string());
    bench.docker(&["rmi", "-f", &private]);
}
