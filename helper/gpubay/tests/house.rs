//! The borders between the rooms, as a test: a name that appears outside its room is a wall that
//! somebody walked through.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a source folder").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn helper() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("helper/").to_owned()
}

/// Files under `helper/<krate>/src` that mention `name` although they lie in none of `rooms`.
fn outside(krate: &str, rooms: &[&str], name: &str) -> Vec<String> {
    let source = helper().join(krate).join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    assert!(!files.is_empty(), "no sources in {}", source.display());
    let mut wrong = Vec::new();
    for file in files {
        let below = file.strip_prefix(&source).expect("below").to_owned();
        if rooms.iter().any(|room| below.starts_with(room)) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("readable");
        for (number, line) in text.lines().enumerate() {
            // Comments may speak of it.
            if line.split("//").next().is_some_and(|code| code.contains(name)) {
                wrong.push(format!("{krate}/{}:{}: {}", below.display(), number + 1, line.trim()));
            }
        }
    }
    wrong
}

#[track_caller]
fn only_in(krate: &str, rooms: &[&str], name: &str) {
    let wrong = outside(krate, rooms, name);
    assert!(wrong.is_empty(), "{name} outside of {rooms:?}:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_engine_room_knows_bollard() {
    only_in("gpubay", &["engine"], "bollard");
}

#[test]
fn only_the_gpu_room_knows_the_drivers_library() {
    only_in("gpubay", &["gpu"], "nvml_wrapper");
}

#[test]
fn only_the_server_room_knows_tower_lsp() {
    only_in("gpubay", &["server"], "tower_lsp");
    only_in("gpubay", &["server"], "lsp_types");
}

#[test]
fn only_the_command_line_prints() {
    for print in ["println!", "eprintln!", "print!(", "eprint!("] {
        // `eprint(` and `print(` of the output module are the one place that all of it goes through.
        only_in("gpubay", &["cli"], print);
    }
}

#[test]
fn the_core_knows_no_terminal() {
    for name in ["clap::", "indicatif", "termios"] {
        only_in("gpubay", &["cli"], name);
    }
}

#[test]
fn agent_and_shim_stay_small() {
    for krate in ["agent", "shim", "protocol"] {
        for name in ["tokio", "bollard", "reqwest"] {
            only_in(krate, &[], name);
        }
    }
}

#[test]
fn nothing_goes_through_a_shell() {
    for krate in ["gpubay", "agent", "shim"] {
        for shell in [r#"Command::new("sh")"#, r#"Command::new("bash")"#, r#"Command::new("/bin/sh")"#] {
            let wrong: Vec<String> =
                outside(krate, &[], shell).into_iter().filter(|line| !line.contains("tests")).collect();
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }
}
