//! `gpubay schema`, `gpubay man` and `gpubay completions`

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap_complete::engine::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::output::Output;
use super::{complete, manual, schemas, values};
use crate::config::schema as of_file;
use crate::error::{Error, Result};

/// Print the JSON schema of gpubay.toml, or of what a command prints with --json
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay schema > gpubay.schema.json      for editors that complete and check gpubay.toml\n  \
    gpubay schema --output up               of `gpubay up --json`"
)]
pub(super) struct Schema {
    /// Of the output of this command with --json
    #[arg(long, value_name = "COMMAND", value_parser = PossibleValuesParser::new(schemas::COMMANDS), hide_possible_values = true)]
    output: Option<String>,
}

/// Print a page of the manual, as `man` reads it
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay man > ~/.local/share/man/man1/gpubay.1\n  gpubay man up > ~/.local/share/man/man1/gpubay-up.1"
)]
pub(super) struct Man {
    /// Of this command instead of the whole
    #[arg(value_parser = values::command_name, add = ArgValueCandidates::new(complete::commands))]
    command: Option<String>,
}

/// Print a completion script for your shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay completions bash > ~/.local/share/bash-completion/completions/gpubay\n  \
    gpubay completions fish > ~/.config/fish/completions/gpubay.fish\n  \
    gpubay completions zsh > ~/.zfunc/_gpubay                        in a folder of $fpath\n\n\
    The script asks gpubay for names of jobs, containers and records; print it anew after an update.")]
pub(super) struct Completions {
    /// Which shell
    shell: clap_complete::Shell,
}

/// With `--json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct SchemaAnswer {
    schema: serde_json::Value,
}

/// With `--json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Page {
    /// For `man -l`.
    page: String,
}

/// With `--json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Script {
    script: String,
}

pub(super) fn schema(command: &Schema, output: &Output) -> Result<()> {
    let text = match &command.output {
        None => of_file::json(),
        // The names that it takes all have one.
        Some(name) => schemas::of(name).unwrap_or_default(),
    };
    let schema = serde_json::from_str(&text).map_err(|error| Error::new("internal", format!("no schema: {error}")))?;
    output.answer(&SchemaAnswer { schema }, || text);
    Ok(())
}

pub(super) fn man(command: &Man, root: &clap::Command, output: &Output) -> Result<()> {
    let page = manual::page(root, command.command.as_deref())
        .map_err(|error| Error::new("internal", format!("the page cannot be made: {error}")))?;
    output.answer(&Page { page: page.clone() }, || page);
    Ok(())
}

pub(super) fn completions(command: &Completions, output: &Output) -> Result<()> {
    let typed = std::env::args_os().next().unwrap_or_default();
    // Typed as a name it is found on PATH by whoever presses Tab; elsewhere only its place says which it is.
    let program = if typed.to_string_lossy().contains('/') { std::env::current_exe().ok() } else { None };
    let program = program.map_or_else(|| "gpubay".to_owned(), |program| program.display().to_string());
    let script = complete::script(&command.shell.to_string(), &program)
        .map_err(|error| Error::new("internal", format!("the script cannot be made: {error}")))?;
    output.answer(&Script { script: script.clone() }, || script);
    Ok(())
}
