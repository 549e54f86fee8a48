//! What a command line alone can tell to be wrong: it ends with 2 before anything is looked at.
//!
//! The rooms that use a value judge it; here their answer becomes clap's, with the next step in the same sentence.

use std::time::Duration;

use clap::CommandFactory;

use super::args::Cli;
use crate::config;
use crate::error::Error;
use crate::scaffold::{self, Base, Wish};
use crate::workspace::jobs::{self, Wait};

fn said(error: impl Into<Error>) -> String {
    let error = error.into();
    // Clap names the option itself.
    let message = ["--gpus: ", "--live: "].iter().find_map(|option| error.message.strip_prefix(option));
    let message = message.unwrap_or(&error.message);
    match &error.hint {
        Some(hint) => format!("{message}. {hint}"),
        None => message.to_owned(),
    }
}

/// As typed, since it is remembered in these words.
pub(super) fn gpus(text: &str) -> Result<String, String> {
    config::parse_gpus(text).map(|_| text.to_owned()).map_err(said)
}

pub(super) fn job_name(text: &str) -> Result<String, String> {
    jobs::check_name(text).map(|()| text.to_owned()).map_err(said)
}

/// `90s`, `10m`, `1h30m`; without any, for ever.
pub(super) fn wait(text: &str) -> Result<Wait, String> {
    if text.is_empty() {
        return Ok(Wait::Always);
    }
    let nanoseconds = config::duration(text).and_then(|time| u64::try_from(time).ok());
    let span = nanoseconds.map(Duration::from_nanos);
    span.map(Wait::AtMost).ok_or_else(|| {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("{text} of what? Write the unit as well: {text}s, {text}m or {text}h")
        } else {
            format!("{text:?} is no time such as 90s, 10m or 1h30m")
        }
    })
}

pub(super) fn live_folder(text: &str) -> Result<String, String> {
    config::check_live_folder(text).map(|()| text.to_owned()).map_err(said)
}

pub(super) fn dockerfile_name(text: &str) -> Result<String, String> {
    checked(text, &Wish { name: Some(text.to_owned()), ..Wish::default() })
}

pub(super) fn base_image(text: &str) -> Result<String, String> {
    checked(text, &Wish { base: Some(Base::Image(text.to_owned())), ..Wish::default() })
}

fn checked(text: &str, wish: &Wish) -> Result<String, String> {
    scaffold::check(wish).map(|()| text.to_owned()).map_err(said)
}

pub(super) fn command_name(text: &str) -> Result<String, String> {
    let command = Cli::command();
    let mut names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    if names.contains(&text) {
        return Ok(text.to_owned());
    }
    names.sort_unstable();
    Err(format!("there is no such command. These are there: {}", names.join(", ")))
}

/// A next step for what the grammar refuses, where it is known what was meant: words of other tools, say.
pub(super) fn tip(error: &clap::Error) -> Option<&'static str> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let usage = || error.render().to_string();
    let lacks_a_command = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(these)) => these.iter().any(|this| this.contains("COMMAND")),
        _ => false,
    };
    Some(match error.kind() {
        ErrorKind::InvalidSubcommand => match word(ContextKind::InvalidSubcommand)? {
            "status" | "list" | "ls" | "jobs" | "containers" => {
                "`gpubay ps` lists the containers of this workspace, `--all` all of yours."
            }
            "start" | "create" | "open" => "`gpubay up` builds and starts the dev container.",
            "restart" | "rebuild" | "recreate" => "`gpubay up --recreate` makes the dev container anew.",
            "kill" | "delete" | "remove" | "destroy" => {
                "`gpubay stop` stops, `gpubay rm` removes what has ended, `gpubay down` all of it."
            }
            "ssh" | "enter" | "bash" | "sh" => "`gpubay shell` opens a shell in the dev container.",
            "top" | "nvidia-smi" | "smi" | "devices" => "`gpubay gpus --watch` shows what the GPUs do.",
            "clean" | "gc" => "`gpubay prune` frees what nothing needs any more.",
            "config" | "new" | "setup" => "`gpubay init` writes a Dockerfile and gpubay.toml.",
            _ => return None,
        },
        ErrorKind::UnknownArgument if word(ContextKind::InvalidArg)? == "--gpus" => match usage() {
            usage if usage.contains("gpubay exec") || usage.contains("gpubay shell") => {
                "The dev container's GPUs are chosen with `gpubay up --gpus GPUS`, at once and without a restart; `gpubay run --gpus GPUS` \
                 is a job with GPUs of its own."
            }
            _ => "`gpubay up --gpus GPUS` and `gpubay run --gpus GPUS` choose them.",
        },
        ErrorKind::MissingRequiredArgument if usage().contains("gpubay run") && lacks_a_command => {
            "Type a command behind it, or the name of a job under [jobs] of gpubay.toml: `gpubay run --help` has examples."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn who_knows_another_tool_is_shown_the_way() {
        for (line, words) in [
            ("gpubay status", Some("`gpubay ps`")),
            ("gpubay start", Some("`gpubay up`")),
            ("gpubay rebuild", Some("--recreate")),
            ("gpubay top", Some("`gpubay gpus --watch`")),
            ("gpubay exec --gpus 1 true", Some("`gpubay up --gpus GPUS`, at once")),
            ("gpubay gpus --gpus 1", Some("choose them")),
            ("gpubay run", Some("[jobs]")),
            ("gpubay run --gpus 1", Some("[jobs]")),
            ("gpubay upp", None),
            ("gpubay exec", None),
            ("gpubay run --live x true", None),
            ("gpubay run --gpu 1 true", None),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            let said = tip(&error);
            assert!(said.is_some() == words.is_some(), "{line}: {said:?}");
            assert!(words.is_none_or(|words| said.is_some_and(|said| said.contains(words))), "{line}: {said:?}");
        }
    }

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(wait("5s"), Ok(Wait::AtMost(Duration::from_secs(5))));
        assert!(wait("5").is_err_and(|said| said.contains("5s, 5m or 5h")));
        assert!(wait("soon").is_err_and(|said| said.contains("90s, 10m")));
    }
}
