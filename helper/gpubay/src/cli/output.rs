//! Where everything is printed: results on stdout, progress and errors on stderr.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Common;
use super::streams::Target;
use super::values;
use crate::error::Error;
use crate::progress::{Event, Progress, StepEnd, StepId, Unit};
pub(super) use crate::quoting::plain;

/// What a command answers with `--json`: of a published shape (`cli/schemas.rs`).
pub(super) trait Answer: Serialize + JsonSchema {}
impl<T: Serialize + JsonSchema> Answer for T {}

/// How the command line was asked to speak.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    quiet: bool,
    terminal: bool,
    color: bool,
}

/// Said to programs only.
const ENDED: &str = "ended by a signal";

/// What goes on until Ctrl-C has ended that way.
pub(super) fn ended() -> Error {
    Error::new("cancelled", ENDED)
}

impl Output {
    pub(super) fn new(common: &Common) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let wants_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && moves();
        Self { json: common.json, quiet: common.quiet, terminal, color: terminal && wants_color }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Where the output of a program goes that is run for the user.
    pub(super) fn target(&self) -> Target {
        if self.json { Target::Stderr } else { Target::AsItIs }
    }

    /// What was asked for, which is said also with `--quiet`: as JSON, or as `text` says it.
    pub(super) fn answer(&self, value: &impl Answer, text: impl FnOnce() -> String) {
        if self.json {
            self.result(value, text);
        } else {
            print(&text());
        }
    }

    /// What was done.
    pub(super) fn result(&self, value: &impl Answer, text: impl FnOnce() -> String) {
        if self.json {
            print(&format!("{}\n", object(serde_json::json!({ "outcome": "success" }), value)));
        } else if !self.quiet {
            print(&text());
        }
    }

    /// An [`Self::answer`] that is bad; returns the exit code.
    pub(super) fn answer_with_error(&self, value: &impl Answer, error: &Error, text: impl FnOnce() -> String) -> u8 {
        if self.json {
            print(&format!("{}\n", object(failure(error), value)));
        } else {
            print(&text());
        }
        self.complain(error)
    }

    /// Says what failed and what to do next; returns the exit code.
    pub(super) fn error(&self, error: &Error) -> u8 {
        if self.json {
            print(&format!("{}\n", failure(error)));
        }
        self.complain(error)
    }

    fn complain(&self, error: &Error) -> u8 {
        // Who ends with Ctrl-C what goes on for ever knows it.
        if error.message == ENDED {
            return 130;
        }
        let mut text = format!("{} {}\n", self.paint("error:", "1;31"), plain(&error.message));
        if let Some(hint) = &error.hint {
            text.push_str(&format!("{} {}\n", self.paint("next:", "1;36"), plain(hint)));
        }
        eprint(&text);
        if error.code == "cancelled" { 130 } else { 1 }
    }

    /// What to do next, where the failure itself was said by a program.
    pub(super) fn next(&self, text: &str) {
        if !self.quiet {
            eprint(&format!("{} {}\n", self.paint("next:", "1;36"), plain(text)));
        }
    }

    /// Something to know of an answer. Comes after it, and before what to do next.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            eprint(&format!("{} {}\n", self.paint("note:", "36"), plain(text)));
        }
    }

    /// Something to know that stops nothing.
    pub(super) fn warn(&self, text: &str) {
        if !self.quiet {
            eprint(&format!("{} {}\n", self.paint("warning:", "33"), plain(text)));
        }
    }

    pub(super) fn paint(&self, text: &str, code: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn progress(&self) -> Progress {
        if self.quiet {
            return Progress::silent();
        }
        let renderer: Arc<dyn Fn(Event) + Send + Sync> =
            if self.terminal && moves() { Arc::new(bars(self.color)) } else { Arc::new(lines()) };
        Progress::new(move |event| renderer(event))
    }

    /// Somebody sees a question and can answer it.
    pub(super) fn can_ask(&self) -> bool {
        !self.json && self.terminal && std::io::stdin().is_terminal()
    }
}

/// Whether what is shown on stdout can be replaced.
pub(super) fn can_redraw() -> bool {
    std::io::stdout().is_terminal() && moves()
}

/// Whether a terminal can go back in what it shows, and colour it: an editor's shell window cannot.
fn moves() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Nothing was done.
pub(super) const WRONG_COMMAND_LINE: u8 = 2;

/// What the grammar itself has to say: help and version, or what is wrong with the command line. Returns the exit code.
pub(super) fn wrong_command_line(error: &clap::Error) -> u8 {
    let wrong = error.use_stderr();
    // Behind `--` it is somebody else's.
    let own = || std::env::args_os().skip(1).take_while(|argument| argument != "--");
    if wrong && own().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let message = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default().trim();
        let grammar = "`gpubay --help` and `gpubay COMMAND --help` show the grammar.";
        let error = Error::new("usage", message).with_hint(values::tip(error).unwrap_or(grammar));
        print(&format!("{}\n", failure(&error)));
    }
    let _ = error.print();
    if let Some(tip) = values::tip(error) {
        eprint(&format!("next: {tip}\n"));
    }
    if wrong { WRONG_COMMAND_LINE } else { 0 }
}

fn failure(error: &Error) -> serde_json::Value {
    serde_json::json!({
        "outcome": "error",
        "error": { "code": error.code, "message": error.message, "hint": error.hint },
    })
}

/// `base` with the fields of `value`.
fn object(mut base: serde_json::Value, value: &impl Serialize) -> serde_json::Value {
    if let (Some(object), Ok(serde_json::Value::Object(fields))) = (base.as_object_mut(), serde_json::to_value(value)) {
        object.extend(fields);
    }
    base
}

/// Prints to stdout; a reader that has gone away is no reason to complain.
pub(super) fn print(text: &str) {
    print_bytes(text.as_bytes());
}

/// As [`print`], of what need not be text.
pub(super) fn print_bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error.to_string());
    }
}

/// The reader of stdout has gone away.
pub(super) fn nobody_reads() -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut stdout = [PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut stdout, Some(&now)).is_ok_and(|ready| ready > 0)
        && stdout[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

static LOST: OnceLock<String> = OnceLock::new();

/// Why something that was printed did not arrive, as on a full disk.
pub(super) fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}

pub(super) fn eprint(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Lines of equally many cells, one below the other.
pub(super) fn columns(cells: &[Vec<String>]) -> String {
    let count = cells.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..count).map(|column| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in cells {
        let padded: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

const IMPORTED: &str = "The packages that the workspace imports are there; the others follow";

/// One line a step, and one when it ends if it took a while: what a log file wants.
fn lines() -> impl Fn(Event) + Send + Sync {
    let titles: Mutex<HashMap<StepId, (String, Instant)>> = Mutex::new(HashMap::new());
    move |event| {
        let Ok(mut titles) = titles.lock() else { return };
        let line = match event {
            Event::Started { step, title } => {
                let line = plain(&title);
                titles.insert(step, (title, Instant::now()));
                line
            }
            Event::Output { line, .. } => format!("  {}", plain(&line)),
            Event::Ended { step, end } => {
                let Some((title, start)) = titles.remove(&step) else { return };
                let took = start.elapsed();
                match end {
                    StepEnd::Failed => format!("{}: failed after {}", plain(&title), seconds(took)),
                    StepEnd::Done if took > Duration::from_secs(1) => {
                        format!("{}: done in {}", plain(&title), seconds(took))
                    }
                    StepEnd::Done | StepEnd::Cached => return,
                }
            }
            Event::Advanced { .. } => return,
            Event::Warning(text) => format!("warning: {}", plain(&text)),
            Event::Note(text) => plain(&text),
            Event::Packages(_) => IMPORTED.to_owned(),
        };
        eprint(&format!("{line}\n"));
    }
}

/// A line that moves for each running step, with the last line of its output.
fn bars(color: bool) -> impl Fn(Event) + Send + Sync {
    struct Running {
        bar: ProgressBar,
        title: String,
        start: Instant,
        tail: Vec<String>,
    }
    let spinner = |color: bool| {
        let template = if color { "{spinner:.cyan} {msg} {elapsed:.dim}" } else { "{spinner} {msg} {elapsed}" };
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
    };
    let all = MultiProgress::new();
    let running: Mutex<HashMap<StepId, Running>> = Mutex::new(HashMap::new());
    let paint =
        move |text: &str, code: &str| if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    move |event| {
        let Ok(mut running) = running.lock() else { return };
        match event {
            Event::Started { step, title } => {
                let bar = all.add(ProgressBar::new_spinner().with_style(spinner(color)));
                bar.set_message(plain(&title));
                bar.enable_steady_tick(Duration::from_millis(100));
                running.insert(step, Running { bar, title: plain(&title), start: Instant::now(), tail: Vec::new() });
            }
            Event::Advanced { step, done, total, unit } => {
                let Some(step) = running.get(&step) else { return };
                let amount = |n: u64| match unit {
                    Unit::Bytes => indicatif::HumanBytes(n).to_string(),
                    Unit::Files => indicatif::HumanCount(n).to_string(),
                };
                let total = total.map(|total| format!(" of {}", amount(total))).unwrap_or_default();
                let unit = if unit == Unit::Files { " files" } else { "" };
                step.bar.set_message(format!("{}  {}{total}{unit}", step.title, amount(done)));
            }
            Event::Output { step, line } => {
                let Some(step) = running.get_mut(&step) else { return };
                let line = plain(&line);
                step.bar.set_message(format!("{}  {}", step.title, short(&line, 60)));
                step.tail.push(line);
                if step.tail.len() > 20 {
                    step.tail.remove(0);
                }
            }
            Event::Ended { step, end } => {
                let Some(step) = running.remove(&step) else { return };
                step.bar.finish_and_clear();
                all.remove(&step.bar);
                let took = step.start.elapsed();
                let line = match end {
                    StepEnd::Failed => {
                        let tail: String = step.tail.iter().map(|line| format!("\n    {line}")).collect();
                        Some(format!("{} {}{tail}", paint("✗", "31"), step.title))
                    }
                    StepEnd::Done if took > Duration::from_millis(300) => {
                        Some(format!("{} {} {}", paint("✓", "32"), step.title, paint(&seconds(took), "2")))
                    }
                    StepEnd::Done | StepEnd::Cached => None,
                };
                if let Some(line) = line {
                    let _ = all.println(line);
                }
            }
            Event::Warning(text) => {
                let _ = all.println(format!("{} {}", paint("warning:", "33"), plain(&text)));
            }
            Event::Note(text) => {
                let _ = all.println(plain(&text));
            }
            Event::Packages(_) => {
                let _ = all.println(IMPORTED);
            }
        }
    }
}

fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

pub(super) fn seconds(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(plain("a\x1b[2Jb\rc\u{202e}d\ne\tf"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\ne\tf");
    }
}
