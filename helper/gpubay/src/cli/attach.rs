//! `gpubay attach`

use std::io::{Read, Seek};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use tokio_util::sync::CancellationToken;

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
    #[arg(long, value_name = "ALIAS", requires = "print", value_parser = NonEmptyStringValueParser::new())]
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
        let step = workspace.progress.step(format!("Opening {}", editor.editor.name));
        open(&editor.argv, PATIENCE, &workspace.progress.cancel).await?;
        step.done();
        report.opened = true;
    }
    output.answer(&report, || text(&report));
    for note in report.notes.iter().filter(|_| command.print) {
        output.note(note);
    }
    Ok(())
}

/// An editor's command that lives longer than this is taken for one that stays in the foreground.
const PATIENCE: Duration = Duration::from_secs(10);

/// The editor's own command hands over to its window and ends; one that does not is the editor itself, which outlives us
/// and our Ctrl-C.
async fn open(argv: &[String], patience: Duration, cancel: &CancellationToken) -> Result<()> {
    let [program, arguments @ ..] = argv else { return Ok(()) };
    let failed = |why: String| {
        Error::new("editor_failed", format!("{program} did not open the container: {why}"))
            .with_hint("Run it yourself: `gpubay attach --print` shows the command.")
    };
    let broken = |error: std::io::Error| failed(error.to_string());
    // Its words must not get into an object on stdout. A pipe would end with us, and be waited for as long as anybody
    // holds it.
    let mut said = tempfile::tempfile().map_err(broken)?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(said.try_clone().map_err(broken)?)
        .stderr(said.try_clone().map_err(broken)?)
        .process_group(0)
        .spawn()
        .map_err(broken)?;
    let ended = tokio::select! {
        biased;
        ended = child.wait() => ended.map_err(broken)?,
        () = cancel.cancelled() => return Ok(()),
        () = tokio::time::sleep(patience) => return Ok(()),
    };
    if ended.success() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    let _ = said.rewind().and_then(|()| said.take(16 << 10).read_to_end(&mut bytes));
    Err(failed(format!("{ended}: {}", String::from_utf8_lossy(&bytes).trim())))
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

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, Signal, getpgid, getpgrp, kill_process, test_kill_process};

    use super::*;

    fn script(text: &str) -> Vec<String> {
        ["/bin/sh", "-c", text].map(str::to_owned).to_vec()
    }

    /// Waits until the script has written its process id.
    async fn pid(file: &std::path::Path) -> Pid {
        let written = async {
            loop {
                let text = std::fs::read_to_string(file).unwrap_or_default();
                if let Some(pid) = text.strip_suffix('\n').and_then(|text| Pid::from_raw(text.parse().ok()?)) {
                    return pid;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), written).await.expect("started")
    }

    #[tokio::test]
    async fn an_editor_that_stays_is_left_open() {
        let temp = tempfile::tempdir().expect("a folder");
        let file = temp.path().join("pid");
        let editor = script(&format!("echo $$ > '{}'; exec sleep 100", file.display()));
        let cancel = CancellationToken::new();
        let long = Duration::from_secs(1000);
        for cancelled in [false, true] {
            let _ = std::fs::remove_file(&file);
            let limit = Duration::from_mins(1);
            if cancelled {
                // As Ctrl-C does, once the editor runs.
                let opened = async {
                    tokio::join!(open(&editor, long, &cancel), async {
                        pid(&file).await;
                        cancel.cancel();
                    })
                    .0
                };
                tokio::time::timeout(limit, opened).await.expect("not waited for").expect("opened");
            } else {
                let opened = open(&editor, Duration::ZERO, &cancel);
                tokio::time::timeout(limit, opened).await.expect("not waited for").expect("opened");
            }
            let pid = pid(&file).await;
            assert!(test_kill_process(pid).is_ok(), "it lives on");
            assert_ne!(getpgid(Some(pid)).expect("there"), getpgrp(), "Ctrl-C would reach it");
            kill_process(pid, Signal::KILL).expect("ended");
        }
    }

    #[tokio::test]
    async fn what_a_launcher_leaves_running_is_not_waited_for_and_what_fails_is_said() {
        let temp = tempfile::tempdir().expect("a folder");
        let file = temp.path().join("pid");
        let cancel = CancellationToken::new();
        let long = Duration::from_secs(1000);
        let launcher = script(&format!("sleep 100 & echo $! > '{}'", file.display()));
        let opened = tokio::time::timeout(Duration::from_mins(1), open(&launcher, long, &cancel)).await;
        kill_process(pid(&file).await, Signal::KILL).expect("still there");
        opened.expect("not waited for").expect("opened");

        let error = open(&script("echo no display; exit 3"), long, &cancel).await.expect_err("failed");
        assert!(error.code == "editor_failed" && error.message.contains("3: no display"), "{}", error.message);
        let error = open(&["/nonexistent".to_owned()], long, &cancel).await.expect_err("failed");
        assert!(error.message.contains("No such file"), "{}", error.message);
    }
}
