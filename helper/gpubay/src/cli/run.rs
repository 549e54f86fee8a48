//! `gpubay run`

use std::cell::Cell;

use clap::{Args, ValueHint};
use clap_complete::engine::ArgValueCandidates;
use futures_util::{StreamExt, stream};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::io::AsyncWriteExt;

use super::args::Common;
use super::complete;
use super::exec::{NOBODY_READS, OWN_FAILURE, working_directory};
use super::output::Output;
use super::print::{self, Printing};
use super::streams::{self, Control, Ended};
use super::{cancel_on_signals, connect, load, misplaced, output, selected_by, terminal, unless_cancelled, values};
use crate::config::parse_gpus;
use crate::engine::{Attached, Stdio};
use crate::error::{Error, Result};
use crate::gpu::lease::Kind;
use crate::workspace::jobs::{self, Job, RunOptions, Wait};
use crate::workspace::report::GpuDevice;
use crate::workspace::{Drift, Workspace};
use crate::workspace::{print as printed, record};

/// Run a job: a container of its own from the same image and venv
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay run -- python train.py\n  gpubay run --detach --name lr-3 --gpus 1 -- python train.py --lr 1e-3\n  gpubay run train                   the job of [jobs.train]\n  gpubay run train -- --lr 1e-3      the same, with more arguments\n  gpubay run --snapshot --live outputs -- python train.py\n  gpubay run --again lr-3            as it was recorded; what differs now is said\n  gpubay run --gpus 2 --wait=1h -- python train.py\n  gpubay run --print train           the same container as a `docker run`\n\n\
    A job has its GPUs for itself. Where other jobs have all that would do, it waits in a queue that all users of the engine share, first come first served, and leaves that with Ctrl-C.\n\n\
    In the foreground it ends with the code of the command, like `gpubay exec`, and leaves no container."
)]
pub(super) struct Run {
    /// Return when it runs; `gpubay logs` and `gpubay ps` follow it
    #[arg(long, short)]
    detach: bool,
    /// A name for it
    #[arg(long, value_parser = values::job_name)]
    name: Option<String>,
    /// GPUs instead of the configuration's: auto, all, none, a count such as 2, device=1, a list of indices and UUIDs, or `count=2,min_free=20g,name=H100`
    #[arg(long, value_name = "GPUS", allow_negative_numbers = true, value_parser = values::gpus, add = ArgValueCandidates::new(complete::gpus))]
    gpus: Option<String>,
    /// Use the GPUs beside jobs that have them already, instead of waiting for them
    #[arg(long, conflicts_with_all = ["wait", "no_wait"])]
    share: bool,
    /// Wait at most so long (90s, 10m, 2h) where other jobs have the GPUs; alone, and without the option: until they are free
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = values::wait)]
    wait: Option<Wait>,
    /// Fail at once where other jobs have the GPUs, and say who
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Work on a frozen copy of the sources, so that editing does not change what runs
    #[arg(long)]
    snapshot: bool,
    /// With --snapshot: a folder that stays the workspace's own, besides those that git ignores (repeatable)
    #[arg(long, value_name = "FOLDER", requires = "snapshot", value_parser = values::live_folder, value_hint = ValueHint::DirPath)]
    live: Vec<String>,
    /// Run this job again as it is recorded: command, image, GPUs, folder and snapshot
    #[arg(long, value_name = "JOB", conflicts_with_all = ["command", "snapshot", "live", "print"])]
    #[arg(add = ArgValueCandidates::new(complete::records))]
    again: Option<String>,
    #[command(flatten)]
    printing: Printing,
    /// The command and its arguments, or the name of a job in gpubay.toml
    #[arg(required_unless_present = "again", trailing_var_arg = true)]
    #[arg(add = ArgValueCandidates::new(complete::configured_jobs))]
    command: Vec<String>,
}

impl Run {
    /// The command, or the name of a job and more arguments.
    pub(super) fn command(&self) -> &[String] {
        &self.command
    }
}

/// With `--json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    /// As `ps` and `logs` name it.
    job: String,
    /// The container's name.
    container: String,
    id: String,
    /// Its record's name.
    record: String,
    /// Its GPUs in the order in which CUDA counts them, as far as their places are known.
    gpus: Vec<GpuDevice>,
    /// With `--again`: what is not as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<Vec<Drift>>,
    /// Of the command; not with `--detach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
}

/// What a shell, and the agent of a job, say of a program that is not there.
const NOT_FOUND: u8 = 127;
/// The same of one that is there and cannot be run.
const NOT_EXECUTABLE: u8 = 126;

pub(super) async fn run(common: &Common, command: Run, output: &Output) -> u8 {
    let secrets = command.printing.secrets();
    let runs_nothing = command.detach || secrets.is_some();
    let ended = async {
        let loaded = load(common, command.gpus.as_deref(), output)?;
        let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        let line: Vec<String> = std::iter::once("gpubay".to_owned()).chain(words).collect();
        misplaced::check(&line, &command.command, |name| loaded.config.jobs.contains_key(name))?;
        let progress = output.progress();
        let cancelling = cancel_on_signals(&progress);
        let workspace = connect(loaded, progress).await?;
        let selected = match (command.command.as_slice(), &command.gpus) {
            (_, Some(_)) => Some("--gpus".to_owned()),
            ([name, ..], None) => workspace
                .config()
                .jobs
                .get(name)
                .and_then(|job| job.gpus.as_ref())
                .map(|_| format!("[jobs.{name}] gpus")),
            _ => None,
        };
        let options = options(common, command, &workspace, output)?;
        let explained = |error: Error| match (&selected, options.argv.as_slice()) {
            (_, argv) if error.code == "program_not_found" => match meant_as_job(&workspace, argv) {
                Some(name) => error.with_hint(no_such_job(&workspace, name)),
                None => error,
            },
            (Some(place), _) => selected_by(error, place),
            _ => error,
        };
        if let Some(secrets) = secrets {
            let report = unless_cancelled(&workspace.progress, printed::job(&workspace, &options, secrets));
            print::print(&report.await.map_err(explained)?, output);
            return Ok(0);
        }
        let mut job =
            unless_cancelled(&workspace.progress, jobs::run(&workspace, &options)).await.map_err(explained)?;
        let mut report = Report {
            job: job.name.clone(),
            container: job.container.clone(),
            id: job.id.clone(),
            record: job.record.clone(),
            gpus: job.gpus.clone(),
            differences: options.again.is_some().then(|| job.differences.clone()),
            exit_code: None,
        };
        if !job.gpus.is_empty() {
            let inside: Vec<String> = job.gpus.iter().map(|gpu| format!("GPU {}", gpu.inside())).collect();
            output.note(&format!("job {} has {} inside", job.name, inside.join(", ")));
        }
        let Some(attached) = job.attached.take() else {
            output.answer(&report, || format!("{}\n", job.name));
            return Ok(0);
        };
        // From here on signals are the job's; one that came in between has cancelled.
        let signals = terminal::signals();
        drop(cancelling);
        if workspace.progress.cancel.is_cancelled() {
            jobs::remove(&workspace, &job).await?;
            return Err(Error::new("cancelled", "cancelled while the job started"));
        }
        let code = watch(&workspace, &job, attached, options.stdio, signals, output).await?;
        if code == NOT_FOUND
            && let Some(name) = meant_as_job(&workspace, &options.argv)
        {
            output.next(&no_such_job(&workspace, name));
        }
        if options.snapshot.is_some()
            && let Some((folder, names)) = record::find(&workspace, Some(&job.record)).ok().as_ref().and_then(record::written)
            && !names.is_empty()
        {
            output.note(&format!(
                "written into the snapshot and not into the workspace: {}; it lies in {folder}, and --live FOLDER lets a job \
                 write into the workspace",
                names.join(", ")
            ));
        }
        if output.is_json() {
            report.exit_code = Some(code);
            output.result(&report, String::new);
        }
        Ok(code)
    }
    .await;
    match ended {
        Ok(code) => code,
        Err(error) => {
            let code = output.error(&error);
            match error.code {
                "program_not_found" => return NOT_FOUND,
                "program_not_executable" => return NOT_EXECUTABLE,
                "misplaced_option" => return output::WRONG_COMMAND_LINE,
                _ => {}
            }
            if runs_nothing || error.code == "cancelled" { code } else { OWN_FAILURE }
        }
    }
}

/// One word can be meant as the name of a job; so can the first of several that is almost one.
fn meant_as_job<'a>(workspace: &Workspace, argv: &'a [String]) -> Option<&'a str> {
    let (name, rest) = argv.split_first()?;
    let near = || workspace.config().jobs.keys().any(|job| strsim::damerau_levenshtein(job, name) <= 2);
    (rest.is_empty() || near()).then_some(name)
}

fn no_such_job(workspace: &Workspace, name: &str) -> String {
    let names: Vec<&str> = workspace.config().jobs.keys().map(String::as_str).collect();
    let there = if names.is_empty() {
        "[jobs] of gpubay.toml is empty".to_owned()
    } else {
        format!("[jobs] has: {}", names.join(", "))
    };
    format!("The image has no program {name}, and gpubay.toml no job of that name; {there}.")
}

fn options(common: &Common, command: Run, workspace: &Workspace, output: &Output) -> Result<RunOptions> {
    let mut gpus = command.gpus.as_deref().map(parse_gpus).transpose()?;
    let mut argv = command.command;
    let again = command.again.map(|job| record::find(workspace, Some(&job)).map(Box::new)).transpose()?;
    let mut snapshot = command.snapshot.then_some(command.live);
    if let Some(kept) = &again {
        argv.clone_from(&kept.record.command);
        if gpus.is_none() {
            gpus = Some(parse_gpus(&kept.record.gpus.asked)?);
        }
        snapshot = kept.record.snapshot.as_ref().map(|_| Vec::new());
    }
    let stdio = if command.detach {
        Stdio::Detached
    } else {
        Stdio::Attached { tty: terminal::is_interactive() && !output.is_json() }
    };
    let options = RunOptions {
        argv,
        name: command.name,
        gpus,
        lease: if command.share { Kind::Shared } else { Kind::Exclusive },
        wait: if command.no_wait { Wait::Not } else { command.wait.unwrap_or(Wait::Always) },
        stdio,
        cwd: working_directory(common),
        env: if matches!(stdio, Stdio::Attached { tty: true }) { terminal::environment() } else { Vec::new() },
        configured: None,
        snapshot,
        again,
    };
    Ok(options.as_configured(workspace.config()))
}

/// Follows a job in the foreground to its end, and takes its container away.
async fn watch(
    workspace: &Workspace,
    job: &Job,
    attached: Attached,
    stdio: Stdio,
    signals: tokio::sync::mpsc::Receiver<i32>,
    output: &Output,
) -> Result<u8> {
    let tty = matches!(stdio, Stdio::Attached { tty: true });
    let raw = tty.then(terminal::Raw::enter).flatten();
    let resize = async |size: gpubay_protocol::agent::WindowSize| {
        if tty {
            let _ = workspace.engine.resize(&job.id, size.rows, size.columns).await;
        }
    };
    resize(terminal::size()).await;
    let Attached { output: said, mut input } = attached;
    let code = Cell::new(None);
    // The end counts only once it has been said how: signals go through until then.
    let end = async {
        match jobs::wait(workspace, job).await {
            Ok(ended) => {
                code.set(Some(ended));
                None
            }
            Err(error) => Some(Err(error)),
        }
    };
    let said = said.map(|chunk| chunk.map_err(Error::from)).chain(stream::once(end).filter_map(std::future::ready));
    // The connection goes with the future: an engine that still has to tell somebody holds up a container's end.
    let feed = async move {
        let mut pieces = terminal::input();
        while let Some(bytes) = pieces.recv().await {
            if input.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = input.shutdown().await;
    };
    let steer = async |control| match control {
        Control::Signal(signal) => drop(workspace.engine.kill(&job.id, &signal.to_string()).await),
        Control::Resize(size) => resize(size).await,
    };
    let ended = streams::connect(said, feed, steer, signals, output.target()).await;
    drop(raw);
    if ended.as_ref().is_ok_and(|ended| *ended == Ended::NobodyReads) && code.get().is_none() {
        // A pipe whose reader has left ends a program here; inside nobody tells it.
        workspace.engine.stop(&job.id, 10).await?;
        jobs::remove(workspace, job).await?;
        return Ok(NOBODY_READS);
    }
    ended.map_err(|error| {
        error.with_hint(format!("The job itself goes on: `gpubay logs --follow {}` and `gpubay ps` show it.", job.name))
    })?;
    jobs::remove(workspace, job).await?;
    let code = code.get().unwrap_or_default();
    u8::try_from(code).map_err(|_| Error::new("exit_code", format!("the job ended with the exit code {code}")))
}
