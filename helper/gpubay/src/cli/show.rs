//! `gpubay schema`, `gpubay man` and `gpubay completions`

use clap::Args;

use super::output::print;
use super::schemas;
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
    #[arg(long, value_name = "COMMAND")]
    output: Option<String>,
}

pub(super) fn schema(command: &Schema) -> Result<()> {
    let Some(name) = &command.output else {
        print(&of_file::json());
        return Ok(());
    };
    let Some(schema) = schemas::of(name) else {
        return Err(Error::new("no_schema", format!("{name:?} is no command that has --json"))
            .with_hint(format!("These have: {}.", schemas::COMMANDS.join(", "))));
    };
    print(&schema);
    Ok(())
}

pub(super) fn man(name: Option<&str>, mut root: clap::Command) -> Result<()> {
    root.build();
    let command = match name {
        None => Some(root),
        Some(name) => root.get_subcommands().find(|command| command.get_name() == name).cloned().map(|command| {
            let title = format!("gpubay-{name}");
            command.display_name(title)
        }),
    };
    let Some(command) = command else {
        return Err(Error::new("no_command", format!("there is no command {:?}", name.unwrap_or_default()))
            .with_hint("`gpubay --help` lists them."));
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Error::new("internal", format!("the page cannot be made: {error}")))?;
    print(&String::from_utf8_lossy(&page));
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "every subcommand answers alike")]
pub(super) fn completions(shell: clap_complete::Shell, command: &mut clap::Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "gpubay", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(())
}
