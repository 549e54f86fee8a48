//! `gpubay schema` and `gpubay completions`

use super::output::{Output, print};
use crate::config::schema;
use crate::error::Result;

#[expect(clippy::unnecessary_wraps, reason = "every subcommand answers alike")]
pub(super) fn schema(_output: &Output) -> Result<()> {
    print(&schema::json());
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "every subcommand answers alike")]
pub(super) fn completions(shell: clap_complete::Shell, command: &mut clap::Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "gpubay", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(())
}
