//! A command is run, and what it says is held against what it said.

use expect_test::Expect;
use gpubay_e2e::{Bench, Ran, output};

#[track_caller]
pub(crate) fn says(bench: &Bench, args: &[&str], expected: &Expect) {
    run(bench, args, None, expected);
}

#[track_caller]
pub(crate) fn says_without_an_engine(bench: &Bench, args: &[&str], expected: &Expect) {
    run(bench, args, Some("unix:///nonexistent/d.sock"), expected);
}

#[track_caller]
fn run(bench: &Bench, args: &[&str], host: Option<&str>, expected: &Expect) {
    let mut command = bench.gpubay(args);
    if let Some(host) = host {
        command.env("DOCKER_HOST", host);
    }
    let ran = Ran::of(&output(&mut command), args);
    let mut text = format!("exit {}\n", ran.code.map_or_else(|| "by a signal".to_owned(), |code| code.to_string()));
    for (name, said) in [("stdout", ran.stdout.clone()), ("stderr", without_progress(&ran.stderr))] {
        if !said.is_empty() {
            text.push_str(&format!("--- {name}\n{}", filtered(bench, &said)));
        }
    }
    expected.assert_eq(&text);
}

/// Which steps there are, and how long they take, is not what is meant here.
fn without_progress(text: &str) -> String {
    let begins = |line: &str| ["error:", "next:", "warning:"].iter().any(|word| line.starts_with(word));
    let mut kept = String::new();
    let mut inside = false;
    for line in text.lines() {
        // An error is the last that is said.
        inside |= begins(line);
        if inside {
            kept.push_str(&format!("{line}\n"));
        }
    }
    kept
}

fn filtered(bench: &Bench, text: &str) -> String {
    let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    let text = text.replace(&path(&bench.home), "~").replace(&path(bench.outside()), "OUTSIDE");
    let text = text.replace(&path(&bench.socket), "SOCKET");
    let text = text.replace("Less than a second", "TIME").replace("About a minute", "TIME");
    let mut out = String::new();
    let mut no_engine = false;
    for line in text.lines() {
        // Which holes there are is the engine's affair, and what to do without one depends on the machine.
        if line.contains("(CVE-") {
            continue;
        }
        if no_engine && line.starts_with("next: ") {
            out.push_str("next: WHAT FITS THIS MACHINE\n");
            continue;
        }
        // Whose containers have the engine's GPUs besides is the other tests' affair.
        let of_a_row = line.starts_with("      ");
        if of_a_row && [": dev container of ", ": job "].iter().any(|who| line.contains(who)) {
            continue;
        }
        let held = line.find(" W  ").filter(|_| line.contains(" GiB  "));
        let line = held.map_or(line.to_owned(), |at| format!("{}  HOLDERS", &line[..at + 2]));
        let line = line.as_str();
        no_engine = line.starts_with("error: no container engine");
        out.push_str(&line_of(line));
        out.push('\n');
    }
    out
}

/// Identities, times and sizes have a word each, and columns two spaces between them.
fn line_of(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let run: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
        let hex = run.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && (run.len() >= 8 || run.len() == 6 && run.bytes().any(|b| b.is_ascii_digit())) {
            out.push_str("ID");
            rest = &rest[run.len()..];
        } else if first.is_ascii_digit() {
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let after = &rest[number..];
            let unit =
                [" minutes", " seconds", " second", " ms", " s", " kB", " MB", " GB", " TB"].into_iter().find(|unit| {
                    after.strip_prefix(unit).is_some_and(|then| !then.starts_with(|c: char| c.is_ascii_alphanumeric()))
                });
            match unit {
                Some(unit) => {
                    out.push_str(if unit.ends_with('B') { "SIZE" } else { "TIME" });
                    rest = &after[unit.len()..];
                }
                None => {
                    out.push_str(&rest[..number]);
                    rest = after;
                }
            }
        } else if !run.is_empty() {
            out.push_str(&run);
            rest = &rest[run.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    let indent = out.len() - out.trim_start().len();
    let words: Vec<&str> = out.trim().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    format!("{}{}", &out[..indent], words.join("  "))
}
