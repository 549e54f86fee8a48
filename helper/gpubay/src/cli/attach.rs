//! `gpubay attach`

use clap::Args;

use super::args::Common;
use super::output::{Output, plain};
use super::reach;
use crate::error::{Error, Result};
use crate::quoting::command_line;
use crate::workspace::attach::{self, AttachReport};

/// Open VS Code or Cursor in the running dev container
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay attach\n  gpubay attach --print              the URI and the command, for you to open\n  gpubay attach --print --ssh box    for an editor on another machine, which knows this one as box"
)]
pub(super) struct Attach {
    /// Open nothing; print the URI and the commands that open it
    #[arg(long)]
    print: bool,
    /// The editor runs on another machine, whose SSH configuration has this name for the one with the engine
    #[arg(long, value_name = "ALIAS", requires = "print")]
    ssh: Option<String>,
}

pub(super) async fn run(common: &Common, command: Attach, output: &Output) -> Result<()> {
    let workspace = reach(common, output).await?;
    let mut report = attach::target(&workspace, command.ssh.as_deref()).await?;
    if !command.print {
        attach::must_run(&workspace).await?;
        let Some(editor) = report.editors.first() else {
            return Err(Error::new("no_editor", report.notes.join("; "))
                .with_hint("`gpubay attach --print` shows what to open."));
        };
        open(&editor.argv)?;
        report.opened = true;
    }
    output.result(&report, || text(&report));
    for note in report.notes.iter().filter(|_| command.print) {
        output.note(note);
    }
    Ok(())
}

/// The editor's own command hands over to its window and ends.
fn open(argv: &[String]) -> Result<()> {
    let [program, arguments @ ..] = argv else { return Ok(()) };
    let failed = |why: String| {
        Error::new("editor_failed", format!("{program} did not open the container: {why}"))
            .with_hint("Run it yourself: `gpubay attach --print` shows the command.")
    };
    // Its words must not get into an object on stdout.
    let ran = std::process::Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output();
    let ran = ran.map_err(|error| failed(error.to_string()))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    Err(failed(format!("{}: {}", ran.status, said.trim())))
}

fn text(report: &AttachReport) -> String {
    if report.opened {
        let editor = report.editors.first().map_or("the editor", |editor| editor.editor.name);
        return format!("{editor} opens {} in {}\n", report.folder, plain(&report.container.name));
    }
    let mut text = format!("{}\n", report.target.uri);
    for editor in &report.editors {
        text.push_str(&format!("{}\n", command_line(&editor.argv).replace(" \\\n  ", " ")));
    }
    text
}
