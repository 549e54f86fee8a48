//! Which tool of the host asks, where its next step would be one that this environment cannot take.
//!
//! uv works on an environment's files from outside: what it installed would hide what the image brings, and its programs
//! would name an interpreter that the container does not have. It asks the interpreter first, and only that can say no.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::place::Place;

/// The module that uv's question imports, from a folder that it makes for it.
const UVS_QUESTION: &str = "get_interpreter_info";

pub(crate) fn is_uv(code: &str) -> bool {
    code.contains(UVS_QUESTION)
}

/// Why uv is refused an answer; `None`: what it is about to do changes nothing here.
pub(crate) fn refusal(place: &Place) -> Option<String> {
    let parent = std::fs::read(format!("/proc/{}/cmdline", std::os::unix::process::parent_id())).ok()?;
    let words: Vec<&OsStr> = parent.split(|&byte| byte == 0).map(OsStr::from_bytes).collect();
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let in_project = std::env::current_dir()
        .is_ok_and(|here| here.ancestors().any(|folder| folder.join("pyproject.toml").is_file()));
    refused(place, &words, in_project && !set("UV_NO_SYNC"))
}

fn refused(place: &Place, words: &[&OsStr], syncs: bool) -> Option<String> {
    let (program, words) = words.split_first()?;
    if Path::new(program).file_name() != Some(OsStr::new("uv")) {
        return None;
    }
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let mut commands = words.iter().filter(|word| !word.starts_with('-'));
    let writes = loop {
        match *commands.next()? {
            "pip" => break commands.any(|word| ["install", "sync", "uninstall"].contains(word)),
            "sync" | "add" | "remove" => break true,
            "run" => {
                let own = ["--no-sync", "--no-project", "--isolated", "--script"];
                let ours = words.iter().take_while(|word| **word != "--");
                break syncs && !ours.clone().any(|word| own.contains(word));
            }
            "lock" | "export" | "tree" | "venv" | "python" | "build" | "init" | "version" => break false,
            _ => {}
        }
    };
    writes.then(|| {
        let env = &place.env;
        let bin = env.path.join("bin");
        format!(
            "the packages of {} are installed in its container, where uv of the host cannot install: {} install …, or \
             requirements under [venv] in gpubay.toml; `uv run --no-sync` runs what is there",
            env.path,
            bin.join("pip"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_packages_is_refused() {
        let place = crate::plan::test_place();
        let asked = |line: &str, syncs| {
            let words: Vec<&OsStr> = line.split(' ').map(OsStr::new).collect();
            refused(&place, &words, syncs).is_some()
        };
        for line in [
            "uv pip install six",
            "/opt/uv -q pip --offline sync r.txt",
            "uv sync",
            "uv --quiet add six",
            "uv remove six",
        ] {
            assert!(asked(line, false), "{line}");
        }
        for line in
            ["uv pip list", "uv pip freeze", "uv lock", "uv python find", "python -m x pip install six", "uv run x.py"]
        {
            assert!(!asked(line, false), "{line}");
        }
        assert!(asked("uv run train.py", true) && asked("uv run -- x --no-sync", true));
        assert!(!asked("uv run --no-sync train.py", true) && !asked("uv run --no-project python", true));
        let said = refused(&place, &[OsStr::new("uv"), OsStr::new("sync")], false).expect("refused");
        assert!(said.contains("/home/ada/ws/.venv/bin/pip install"), "{said}");
    }
}
