//! The command line: one file per subcommand, and the only room that prints.
//!
//! Data goes to stdout, everything else to stderr. `exec`, `shell` and `run` print nothing of
//! their own to stdout, and end with the exit code of what they ran.

mod args;
mod attach;
mod build;
mod complete;
mod doctor;
mod down;
mod exec;
mod gpus;
mod init;
mod logs;
mod manual;
mod misplaced;
mod output;
mod print;
mod prune;
mod ps;
mod questions;
mod record;
mod rm;
mod run;
mod schemas;
mod serve;
mod show;
mod streams;
mod sync;
mod terminal;
mod up;
mod values;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::args::{Cli, Command, Common};
use self::output::Output;
use crate::config::{self, ConfigError, Loaded};
use crate::error::{Error, Result, Shortage};
use crate::progress::{CancellationToken, Progress};
use crate::workspace::Workspace;

/// Ends like the conventions of shells want it: 0 success, 1 a failure that is explained, 2 a wrong
/// command line, 130 cancelled; `exec` and `run` have the codes of what they ran, and 125 for a
/// failure of ours, 126 and 127 for a program that cannot be run or found.
pub fn main() -> ExitCode {
    complete::answer_a_shell();
    init_log();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(output::wrong_command_line(&error)),
    };
    if let Err(error) = enough_files() {
        return ExitCode::from(Output::new(&cli.common).error(&error));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let what = format!("cannot start, since the system refuses threads or an event queue: {error}");
            let hint = "Raise the limits of open files and processes (`ulimit -n`, `ulimit -u`) and run it again.";
            return ExitCode::from(Output::new(&cli.common).error(&Error::new("cannot_start", what).with_hint(hint)));
        }
    };
    let code = runtime.block_on(run(cli));
    // A task that still waits for the terminal's input must not keep the process.
    runtime.shutdown_background();
    match output::lost() {
        Some(why) if code == 0 => {
            output::eprint(&format!("error: what it says cannot be written: {why}\nnext: Look at what stdout is.\n"));
            ExitCode::from(1)
        }
        _ => ExitCode::from(code),
    }
}

/// With very few the event queue itself cannot be made, and its makers end the process without a word of ours; with
/// a few more a mirror's threads can open what they write, and not what they would have to remove again.
fn enough_files() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const LEAST: u64 = 128;
    const USUAL: u64 = 1024;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut current = current.unwrap_or(u64::MAX);
    let wanted = maximum.unwrap_or(u64::MAX).min(USUAL);
    if current < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok() {
        current = wanted;
    }
    if current >= LEAST {
        return Ok(());
    }
    let lack = Shortage::OpenFiles;
    let what = format!("too many open files: the limit here is {current}, and {LEAST} is the least that works");
    Err(Error::new(lack.code(), what).with_hint(lack.hint("")))
}

fn init_log() {
    use tracing_subscriber::prelude::*;
    let Some(wanted) = std::env::var("GPUBAY_LOG").ok().filter(|wanted| !wanted.is_empty()) else {
        return;
    };
    let Ok(filter) = wanted.parse::<tracing_subscriber::filter::Targets>() else {
        eprintln!(
            "warning: GPUBAY_LOG=`{wanted}` is no filter; it is a level such as `debug`, or `gpubay::mirror=trace,info`"
        );
        return;
    };
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .with(filter)
        .init();
}

async fn run(cli: Cli) -> u8 {
    let output = Output::new(&cli.common);
    let result = match cli.command {
        Command::Init(command) => init::run(&cli.common, command, &output).await,
        Command::Up(command) => up::run(&cli.common, command, &output).await,
        Command::Build(command) => build::run(&cli.common, &command, &output).await,
        Command::Down(command) => down::down(&cli.common, &command, &output).await,
        Command::Stop(command) => down::stop(&cli.common, &command, &output).await,
        Command::Exec(command) => return exec::exec(&cli.common, command, &output).await,
        Command::Shell(command) => return exec::shell(&cli.common, &command, &output).await,
        Command::Run(command) => return run::run(&cli.common, command, &output).await,
        Command::Ps(command) => ps::run(&cli.common, &command, &output).await,
        Command::Logs(command) => logs::run(&cli.common, &command, &output).await,
        Command::Record(command) => record::run(&cli.common, &command, &output).await,
        Command::Attach(command) => attach::run(&cli.common, command, &output).await,
        Command::Sync(command) => sync::run(&cli.common, &command, &output).await,
        Command::Rm(command) => rm::run(&cli.common, &command, &output).await,
        Command::Prune(command) => prune::run(&cli.common, &command, &output).await,
        Command::Doctor(_) => match doctor::run(&cli.common, &output).await {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Gpus(command) => gpus::run(&cli.common, &command, &output).await,
        Command::Serve(command) => return serve::run(&command).await,
        Command::Schema(command) => show::schema(&command, &output),
        Command::Man(command) => show::man(&command, &Cli::command(), &output),
        Command::Completions(command) => show::completions(&command, &output),
    };
    match result {
        Ok(()) => 0,
        Err(error) => output.error(&error),
    }
}

/// Reads the configuration and gets the consent that it needs; contacts nothing.
fn load(common: &Common, gpus: Option<&str>, output: &Output) -> Result<Loaded> {
    let request = common.request(gpus)?;
    let loaded = match config::load(&request) {
        Err(ConfigError::AmbiguousDockerfile { candidates }) => {
            let Some(chosen) = questions::which_dockerfile(output, &candidates) else {
                return Err(ConfigError::AmbiguousDockerfile { candidates }.into());
            };
            let (known, _) = config::load_to_reach(&request)?;
            config::remember_choice(&known.state, &known.identity, &chosen)?;
            config::load(&request)?
        }
        other => other?,
    };
    let mut asker = questions::about_powers(output);
    let ask = asker.as_mut().map(|asker| asker as &mut dyn FnMut(&[config::Power]) -> bool);
    config::consent::require(&loaded, &common.allow, ask)?;
    Ok(loaded)
}

/// [`load`] for commands that only reach what is there: a configuration that is broken by now is a warning, and only
/// another engine or folder is a question.
fn load_to_reach(common: &Common, output: &Output) -> Result<Loaded> {
    let (loaded, broken) = config::load_to_reach(&common.request(None)?)?;
    let mut asker = questions::about_powers(output);
    let ask = asker.as_mut().map(|asker| asker as &mut dyn FnMut(&[config::Power]) -> bool);
    config::consent::require_to_reach(&loaded, &common.allow, ask)?;
    // A folder of which nothing says what its image is made from is not broken: it has no container yet.
    let plain = |error: &ConfigError| {
        matches!(error, ConfigError::NoDockerfile { .. } | ConfigError::AmbiguousDockerfile { .. })
    };
    if let Some(broken) = broken.filter(|broken| !plain(broken)) {
        let what = "the configuration cannot be used, except for where its containers are";
        output.warn(&format!("{what}: {}", Error::from(broken).message));
    }
    Ok(loaded)
}

/// [`open`] for such commands.
async fn reach(common: &Common, output: &Output) -> Result<Workspace> {
    let loaded = load_to_reach(common, output)?;
    let progress = output.progress();
    cancel_on_signals(&progress).leave();
    connect(loaded, progress).await
}

async fn connect(loaded: Loaded, progress: Progress) -> Result<Workspace> {
    let cancel = progress.cancel.clone();
    or_cancelled(&cancel, Workspace::open(loaded, progress)).await
}

/// For the first words with an engine, which may accept a connection and say nothing: there is nothing to clean up.
async fn or_cancelled<T>(cancel: &CancellationToken, asking: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        asked = asking => asked,
        () = cancel.cancelled() => Err(Error::new("cancelled", "cancelled while the engine was asked")),
    }
}

/// Loads the configuration, connects to the engine, and lets Ctrl-C cancel.
async fn open(common: &Common, gpus: Option<&str>, output: &Output) -> Result<Workspace> {
    let loaded = load(common, gpus, output)?;
    let progress = output.progress();
    cancel_on_signals(&progress).leave();
    connect(loaded, progress).await
}

/// Signals cancel the work as long as this lives.
struct Cancelling(Option<tokio::task::JoinHandle<()>>);

impl Cancelling {
    /// Until the process ends.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Cancelling {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// The first Ctrl-C (or SIGTERM) cancels and lets the work clean up; the second ends the process.
fn cancel_on_signals(progress: &Progress) -> Cancelling {
    use tokio::signal::unix::{SignalKind, signal};
    let cancel = progress.cancel.clone();
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return Cancelling(None);
    };
    Cancelling(Some(tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if cancel.is_cancelled() {
                std::process::exit(130);
            }
            cancel.cancel();
            crate::failpoint::note_interrupt();
        }
    })))
}

/// A selection of GPUs that cannot be had, in the words of where it was made: `--gpus`, say.
fn selected_by(error: Error, place: &str) -> Error {
    match error.code {
        "gpu_unknown" | "gpu_too_many" => {
            let more = error.hint.clone().unwrap_or_default();
            error.with_hint(format!("Change {place} to what is there. {more}"))
        }
        "gpu_none" => error.with_hint(format!("Leave {place} out, or set it to none, to work on the CPU.")),
        _ => error,
    }
}

/// Runs `work` unless it is cancelled first; what it had under way is dropped then.
async fn unless_cancelled<T>(progress: &Progress, work: impl Future<Output = Result<T>>) -> Result<T> {
    work.await.map_err(|error| {
        if progress.cancel.is_cancelled() && error.code != "cancelled" {
            Error::new("cancelled", format!("cancelled ({})", error.message))
        } else {
            error
        }
    })
}
