//! The `.venv/bin/python` of GPU Bay on the host: it runs the container's Python, and never one of
//! the host.
//!
//! - [`place`]: which host env this executable belongs to, and under which name it was called.
//! - [`plan`]: what is to run inside, from our arguments (pure but for the files they name).
//! - [`connect`]: the way to the agent.
//! - [`session`]: one run: standard streams, terminal, signals, exit status.
//! - [`asker`]: which tool asks, where it would go on to do what this environment cannot take.
//! - [`answer`]: host paths in what tools are told (pure); [`cache`]: those answers for later.
//! - [`dialog`]: paths in what an editor and a language server of the container tell each other (pure).

mod answer;
mod asker;
mod cache;
mod connect;
mod dialog;
mod place;
mod plan;
mod session;
mod terminal;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use gpubay_protocol::agent::{ExecRequest, Exit, FailureKind};

use crate::answer::Filter;
use crate::connect::Unreachable;
use crate::plan::{Plan, Task};
use crate::session::{Ended, Output};

/// The container could not be asked; no exit code of the program's.
const UNREACHABLE: u8 = 125;

/// What it was called for, from its beginning to its end.
pub fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            // Nothing can be done where not even stderr can be written.
            let _ = writeln!(std::io::stderr(), "gpubay: {message}");
            ExitCode::from(UNREACHABLE)
        }
    }
}

fn run() -> Result<u8, String> {
    let mut place = place::find()?;
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let plan = match plan::plan(&place, &arguments)? {
        Task::Version(text) => {
            return Ok(u8::from(writeln!(std::io::stdout(), "{text}").is_err()));
        }
        Task::Run(plan) => plan,
    };
    if plan.by_uv {
        if let Some(why) = asker::refusal(&place) {
            return Err(why);
        }
        place.no_lasting_answer();
    }
    let env = &place.env;
    let Some(socket) = &env.socket else { return through_helper(&place, &plan) };
    let connection = match connect::open(socket.as_path()) {
        Ok(connection) => connection,
        Err(Unreachable::Stopped(why)) => {
            if plan.interrogates
                && let Some(known) = cache::look_up(&place, &plan)
            {
                return replay(&place, &plan, &known);
            }
            return Err(format!(
                "the container {} is not running ({why}); start it with: {}",
                env.container,
                next_step(&place)
            ));
        }
        Err(Unreachable::Silent(why)) => {
            if plan.interrogates
                && let Some(known) = cache::look_up(&place, &plan)
            {
                return replay(&place, &plan, &known);
            }
            return Err(format!(
                "the container {0} does not answer ({why}); if it is paused, let it go on with: docker unpause {0}",
                env.container
            ));
        }
        Err(Unreachable::Other(why)) => {
            return Err(format!("{why}; make this environment anew with: {}", next_step(&place)));
        }
    };
    let terminal = terminal::of_this_process();
    let request = ExecRequest {
        argv: plan.argv.clone(),
        env: plan.env.clone(),
        cwd: plan.cwd.clone(),
        tty: terminal.filter(|_| !plan.interrogates),
        stdin: true,
    };
    let output =
        if plan.interrogates { Output::Filtered(Box::new(Filter::new(&place, &plan))) } else { Output::AsItIs };
    match session::run(connection, &request, &place, output)
        .map_err(|e| format!("the run in {} broke: {e}", env.container))?
    {
        Ended::Exit { exit, record } => {
            if let Some(record) = record
                && plan.interrogates
                && exit == Exit::Code(0)
                && record.is_an_answer()
            {
                cache::store(&place, &plan, &record);
            }
            if plan.installs && exit == Exit::Code(0) {
                refresh(&place);
            }
            Ok(terminal::end_like(exit))
        }
        Ended::Failed(failure) => {
            let _ = writeln!(std::io::stderr(), "gpubay: in {}: {}", env.container, failure.message);
            Ok(match failure.kind {
                FailureKind::NotFound => 127,
                FailureKind::NotExecutable => 126,
                _ => UNREACHABLE,
            })
        }
        Ended::Lost => Err(format!("the container {} ended while this ran", env.container)),
        Ended::NobodyReads => Ok(terminal::end_like(Exit::Signal(libc::SIGPIPE))),
    }
}

/// After an install the host has what belongs to it at once: programs, and packages outside of the venv.
fn refresh(place: &place::Place) {
    let env = &place.env;
    let mut command = Command::new(env.helper.as_path());
    command.arg("-C").arg(env.workspace.as_path()).arg("sync").stdin(Stdio::null()).stdout(Stdio::null());
    let failed = match command.stderr(Stdio::piped()).output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(e) => format!("{} could not be started: {e}", env.helper),
    };
    let workspace = quoted(&env.workspace.to_string());
    let _ = writeln!(
        std::io::stderr(),
        "gpubay: it is installed, but tools on the host do not know yet ({failed}); run: gpubay -C {workspace} sync"
    );
}

fn next_step(place: &place::Place) -> String {
    format!("gpubay -C {} up", quoted(&place.env.workspace.to_string()))
}

/// For a person to paste into a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | '@');
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn replay(place: &place::Place, plan: &Plan, known: &cache::Record) -> Result<u8, String> {
    let mut filter = Filter::new(place, plan);
    let mut out = filter.push(&known.stdout);
    out.extend(filter.end());
    let written = std::io::stderr().write_all(&known.stderr).and(std::io::stdout().write_all(&out));
    written.map(|()| 0).map_err(|e| format!("the answer could not be written: {e}"))
}

/// Where the engine shares no folder with this host there is no socket: the helper knows the way.
fn through_helper(place: &place::Place, plan: &Plan) -> Result<u8, String> {
    let env = &place.env;
    let mut command = Command::new(env.helper.as_path());
    command.arg("-C").arg(env.workspace.as_path()).args(["exec", "--"]).args(&plan.argv);
    let failed = |e: std::io::Error| format!("{} could not be started: {e}", env.helper);
    if !plan.interrogates {
        return Err(failed(command.exec()));
    }
    let mut child = command.stdin(Stdio::inherit()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut filter = Filter::new(place, plan);
    let mut bytes = [0; 8 << 10];
    let mut from = child.stdout.take().ok_or("no pipe")?;
    loop {
        let n = std::io::Read::read(&mut from, &mut bytes).map_err(failed)?;
        let out = if n == 0 { filter.end() } else { filter.push(&bytes[..n]) };
        std::io::stdout().write_all(&out).map_err(|e| e.to_string())?;
        if n == 0 {
            break;
        }
    }
    let status = child.wait().map_err(failed)?;
    Ok(status.code().map_or(UNREACHABLE, |code| code as u8))
}
