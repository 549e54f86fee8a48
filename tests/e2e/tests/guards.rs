//! What a container must not reach: root inside, what the host runs, folders that nobody approved.

use gpubay_e2e::{Bench, Who};

fn plain(who: Who, name: &str) -> Bench {
    let bench = Bench::new("docker28", who, name);
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench
}

/// Root's programs are never those that the container's user put into the venv.
#[test]
fn root_inside_runs_nothing_of_the_users() {
    let bench = plain(Who::Ordinary, "root");
    bench.up();
    let plant = "printf '#!/bin/sh\\necho planted\\n' > $VIRTUAL_ENV/bin/id; chmod +x $VIRTUAL_ENV/bin/id; id";
    assert_eq!(bench.run(&["exec", "--", "sh", "-c", plant]).succeeded().stdout, "planted\n");
    assert_eq!(bench.run(&["exec", "--root", "--", "id", "-u"]).succeeded().stdout, "0\n");
    let ran = bench.run(&["exec", "--root", "--", "sh", "-c", "id -u; echo $HOME; echo $PATH"]);
    let lines: Vec<&str> = ran.succeeded().stdout.lines().collect();
    assert_eq!(lines[..2], ["0", "/root"]);
    assert!(!lines[2].contains(".venv"), "{ran:?}");
}

/// Takes away what `Bench` does not know of.
struct Also<'a>(&'a Bench, Vec<Vec<String>>);

impl Drop for Also<'_> {
    fn drop(&mut self) {
        for command in &self.1 {
            self.0.docker(&command.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

/// The user's whole home in a container, with another workspace and our own folders in it.
#[test]
fn a_parent_folder_shows_nothing_that_the_host_runs() {
    let bench = plain(Who::Ordinary, "holder");
    let other = bench.home.join("src/other");
    std::fs::create_dir_all(&other).expect("made");
    std::fs::write(other.join("Dockerfile"), "FROM gpubay-lab/python\n").expect("written");
    bench.own(&bench.home.join("src"));
    bench.own(&other);
    let of_other = |args: &[&str]| {
        let mut all = vec!["-C", other.to_str().expect("text")];
        all.extend(args);
        bench.run(&all)
    };
    let home = bench.home.canonicalize().expect("there");
    bench.write("gpubay.toml", "[container]\nmounts = [\"~:/all\"]\n");
    let power = format!("mount:{}:/all", home.display());
    let holder = bench.json(&["up", "--allow", &power]);

    // The holder's mounts are older than the other workspace, so what it could write is not run on the host.
    let ran = of_other(&["up", "--json"]);
    let report = ran.succeeded().json();
    let theirs = report["container"]["id"].as_str().expect("an id").to_owned();
    let _also = Also(&bench, vec![vec!["rm".to_owned(), "-fv".to_owned(), theirs]]);
    let name = holder["container"]["name"].as_str().expect("a name");
    assert!(report["warnings"].to_string().contains(name), "{report}");
    assert!(!other.join(".venv/bin/python").exists());
    bench.run(&["down"]).succeeded();
    assert!(of_other(&["up", "--json"]).succeeded().json()["host_env"]["path"].is_string());
    assert!(other.join(".venv/bin/python").exists());

    bench.up();
    let script = "ls -A /all/src/other/.venv /all/.local/share/gpubay /all/.config/gpubay
        for path in /all/src/other/.venv/bin /all/.local/share/gpubay/x /all/.config/gpubay/config.toml; do
            touch $path 2>/dev/null && echo wrote $path
        done
        for path in /all/src/other/.venv /all/src/other /all/src /all/.config /all/.local /all/.local/share; do
            mv $path /all/moved 2>/dev/null && echo moved $path
        done
        touch /all/src/other/mine && echo done";
    let ran = bench.run(&["exec", "--", "sh", "-c", script]);
    let listed = "/all/.config/gpubay:\n\n/all/.local/share/gpubay:\n\n/all/src/other/.venv:\n";
    assert_eq!(ran.succeeded().stdout, format!("{listed}done\n"));
    let python = other.join(".venv/bin/python");
    let output = bench.command(&python).args(["-c", "print(6*7)"]).output().expect("started");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n", "{output:?}");

    for source in ["~/.local/share/gpubay", "~/.cache/gpubay", "~/src/other/.venv", "~/src/other/.venv/bin"] {
        bench.write("gpubay.toml", &format!("[container]\nmounts = [\"{source}:/x\"]\n"));
        let path = home.join(source.trim_start_matches("~/"));
        assert_eq!(
            bench.error(&["up", "--allow", &format!("mount:{}:/x", path.display())]).0,
            "mount_exposes",
            "{source}"
        );
    }
}

#[test]
fn a_volume_that_is_a_folder_and_a_source_that_moves_are_refused() {
    let bench = plain(Who::Ordinary, "volume");
    let unique = bench.outside().file_name().expect("a name").to_string_lossy().trim_start_matches('.').to_owned();
    let volume = format!("folder-{unique}");
    let device = format!("device={}", bench.home.display());
    bench.docker(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, &volume]).succeeded();
    let holder = format!("borrowed-{unique}");
    let remove = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let _also = Also(&bench, vec![remove(&["rm", "-fv", &holder]), remove(&["volume", "rm", "-f", &volume])]);
    bench.write("gpubay.toml", &format!("[container]\nmounts = [\"{volume}:/v\"]\n"));
    assert_eq!(bench.error(&["up", "--allow", &format!("volume:{volume}:/v")]).0, "volume_is_a_folder");
    // The same through another container.
    bench
        .docker(&["create", "--name", &holder, "-v", &format!("{volume}:/v"), "gpubay-lab/python", "true"])
        .succeeded();
    bench.write("gpubay.toml", &format!("[container]\nvolumes_from = [\"{holder}\"]\n"));
    assert_eq!(bench.error(&["up", "--allow", &format!("volumes_from:{holder}")]).0, "volume_is_a_folder");
    assert!(bench.containers().is_empty());

    // A container cannot put a link where the next start would follow it.
    bench.write("data/x", "1");
    bench.write("gpubay.toml", "[container]\nmounts = [\"./data:/data\"]\n");
    bench.up();
    let ran = bench.run(&["exec", "--", "sh", "-c", "mv /workspace/data /workspace/gone || rm -r /workspace/data"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(bench.workspace.join("data").is_dir());
}
