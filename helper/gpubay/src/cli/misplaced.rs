//! Options of `gpubay run` that stand where they would be words of the command. Pure.
//!
//! Whatever follows a command's first word is its own. Behind the name of a job that is seldom meant of `--gpus 1`, and
//! where it is meant, `--` says so.

use clap::CommandFactory;

use super::args::Cli;
use super::values;
use crate::error::{Error, Result};
use crate::quoting::quoted;

/// `line` is what was typed from the program's name on, and ends with `command`.
///
/// # Errors
/// `misplaced_option`, with the line as it can be meant.
pub(super) fn check(line: &[String], command: &[String], is_job: impl Fn(&str) -> bool) -> Result<()> {
    let before = &line[..line.len().saturating_sub(command.len())];
    let (Some((name, rest)), Some(last)) = (command.split_first(), before.last()) else { return Ok(()) };
    if last == "--" {
        return Ok(());
    }
    if last == "--wait" && !is_job(name) && (is_time(name) || is_number(name)) {
        let time = with_unit(name);
        let meant = words(&[&before[..before.len() - 1], &[format!("--wait={time}")], rest]);
        return Err(Error::new("misplaced_option", format!("`--wait {name}`: the time stands behind a `=`"))
            .with_hint(format!("Did you mean --wait={time}? Write `{meant}`.")));
    }
    if !is_job(name) {
        return Ok(());
    }
    let (moved, own) = split(rest);
    if moved.is_empty() {
        return Ok(());
    }
    let name = std::slice::from_ref(name);
    let dashes = ["--".to_owned()];
    let ours = words(&[before, &moved, name, if own.is_empty() { &[] } else { &dashes }, &own]);
    let its = words(&[before, name, &dashes, rest]);
    let what = format!("`{}` stands behind the name of the job {}", words(&[&moved]), name[0]);
    Err(Error::new("misplaced_option", what)
        .with_hint(format!("For GPU Bay write `{ours}`; for the job's own command `{its}`.")))
}

/// What `gpubay run` knows of these words up to a `--`, and the others.
fn split(words: &[String]) -> (Vec<String>, Vec<String>) {
    let mut root = Cli::command();
    root.build();
    let known: Vec<clap::Arg> =
        root.find_subcommand("run").into_iter().flat_map(clap::Command::get_arguments).cloned().collect();
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (mut moved, mut own) = (Vec::new(), Vec::new());
    let mut left = words[..end].iter().peekable();
    while let Some(word) = left.next() {
        let (typed, has_value) = word.split_once('=').map_or((word.as_str(), false), |(typed, _)| (typed, true));
        let is = |arg: &&clap::Arg| {
            arg.get_long().is_some_and(|long| typed.strip_prefix("--") == Some(long))
                || arg.get_short().is_some_and(|short| word.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])))
        };
        let Some(arg) = known.iter().find(is) else {
            own.push(word.clone());
            continue;
        };
        if typed == "--wait" && !has_value {
            match left.next_if(|next| is_time(next)) {
                Some(time) => moved.push(format!("--wait={time}")),
                None => moved.push(word.clone()),
            }
            continue;
        }
        moved.push(word.clone());
        if arg.get_action().takes_values() && !has_value {
            moved.extend(left.next().cloned());
        }
    }
    own.extend(words[(end + 1).min(words.len())..].iter().cloned());
    (moved, own)
}

fn is_time(word: &str) -> bool {
    !word.is_empty() && values::wait(word).is_ok()
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn with_unit(time: &str) -> String {
    if is_number(time) { format!("{time}s") } else { time.to_owned() }
}

fn words(parts: &[&[String]]) -> String {
    parts.concat().iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::Command;
    use super::*;

    /// What is said of this line, where `train` is a job.
    fn said(line: &str) -> Option<String> {
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let Command::Run(run) = Cli::try_parse_from(&line).expect("parsed").command else { panic!("a run") };
        let error = check(&line, run.command(), |name| name == "train").err()?;
        assert_eq!(error.code, "misplaced_option");
        Some(format!("{}. {}", error.message, error.hint.expect("a next step")))
    }

    #[test]
    fn a_commands_own_options_are_its_own() {
        for line in [
            "gpubay run python x.py --gpus 1",
            "gpubay run train",
            "gpubay run train --lr 1e-3",
            "gpubay run train -x --gpu 1 -dx",
            "gpubay run train -- --gpus 1 --wait",
            "gpubay run -- train --gpus 1",
            "gpubay run --gpus 1 train",
            "gpubay run --gpus 1 --wait train",
            "gpubay run --wait python x.py",
            "gpubay run --wait=5s python x.py",
            "gpubay run --wait 7z x",
            "gpubay run --wait -- 5s",
            "gpubay run --again x",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_misplaced_is_said_with_both_right_forms() {
        for (line, moved, ours, its) in [
            ("gpubay run train --gpus 1", "--gpus 1", "run --gpus 1 train", "run train -- --gpus 1"),
            ("gpubay run train --gpus=1", "--gpus=1", "run --gpus=1 train", "run train -- --gpus=1"),
            (
                "gpubay run -d train --lr 3 --no-wait -x",
                "--no-wait",
                "run -d --no-wait train -- --lr 3 -x",
                "run -d train -- --lr 3 --no-wait -x",
            ),
            ("gpubay run train --wait 5s", "--wait=5s", "run --wait=5s train", "run train -- --wait 5s"),
            ("gpubay run train --wait x", "--wait", "run --wait train -- x", "run train -- --wait x"),
            ("gpubay run train --share -d", "--share -d", "run --share -d train", "run train -- --share -d"),
            (
                "gpubay run train --json -- --gpus 2",
                "--json",
                "run --json train -- --gpus 2",
                "run train -- --json -- --gpus 2",
            ),
            ("gpubay run train --help", "--help", "run --help train", "run train -- --help"),
        ] {
            let said = said(line).unwrap_or_else(|| panic!("{line}: nothing"));
            let want = format!(
                "`{moved}` stands behind the name of the job train. For GPU Bay write `gpubay {ours}`; for the job's own command \
                 `gpubay {its}`."
            );
            assert_eq!(said, want, "{line}");
            assert_eq!(self::said(&format!("gpubay {its}")), None);
        }
    }

    #[test]
    fn a_time_behind_a_blank_is_no_command() {
        for (line, meant) in [
            ("gpubay run --wait 5s echo hi", "gpubay run --wait=5s echo hi"),
            ("gpubay run --wait 90 echo", "gpubay run --wait=90s echo"),
            ("gpubay run -d --wait 1h30m train", "gpubay run -d --wait=1h30m train"),
        ] {
            let said = said(line).unwrap_or_else(|| panic!("{line}: nothing"));
            assert!(said.contains("Did you mean --wait=") && said.ends_with(&format!("Write `{meant}`.")), "{said}");
        }
    }
}
