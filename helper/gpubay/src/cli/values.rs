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
    span.map(Wait::AtMost).ok_or_else(|| format!("{text:?} is no time such as 90s, 10m or 1h30m"))
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
