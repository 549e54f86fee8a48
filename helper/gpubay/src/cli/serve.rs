//! `gpubay serve`

use clap::Args;

use crate::server;

/// Serve an editor: JSON-RPC over stdin and stdout, as docs/protocol.md describes it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpubay serve                       what the VS Code extension starts\n\n\
    It ends with the editor. GPUBAY_LOG=debug writes a log to stderr.")]
pub(super) struct Serve {
    /// What editors add when they start a language server; it is the only way there is
    #[arg(long)]
    stdio: bool,
}

pub(super) async fn run(command: &Serve) -> u8 {
    let Serve { stdio: _ } = command;
    server::serve(tokio::io::stdin(), tokio::io::stdout()).await
}
