//! What the helper tells the editor unasked. Work may tell faster than an editor reads: what came together goes
//! together, and output that nobody can have read is counted instead of kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower_lsp::Client;
use tower_lsp::lsp_types::notification::{Notification, Progress as ProgressNotification};
use tower_lsp::lsp_types::{
    MessageType, NumberOrString, ProgressParams, ProgressParamsValue, WorkDoneProgress, WorkDoneProgressBegin,
    WorkDoneProgressEnd, WorkDoneProgressReport,
};

use super::wire::{FolderState, GpusParams, LogLevel, LogLine, LogLinesParams, LogParams, PackagesParams};
use crate::progress::{Event, Packages, Progress, StepEnd, StepId, Unit, size};
use crate::quoting::printable;

/// The least time between two messages about the same work.
const BEAT: Duration = Duration::from_millis(50);
/// How many lines of output wait for an editor that does not read.
const KEPT_LINES: usize = 10_000;
/// How much text of a container's log goes in one message.
const CHUNK: usize = 64 << 10;

/// Calls `$with!` with every notification of ours to an editor: type, method, parameters, what for.
macro_rules! every_notification {
    ($with:ident) => {
        $with! {
            StateNotification, "gpubay/state", FolderState,
            "What a folder is like; replaces what was told before. It alone drives what an editor shows.";
            GpusNotification, "gpubay/gpus", GpusParams,
            "How the GPUs are now, whenever they are different, while `gpubay/watchGpus` wants it.";
            LogNotification, "gpubay/log", LogParams, "Lines for the log of a folder's work.";
            LogLinesNotification, "gpubay/logLines", LogLinesParams,
            "Pieces of a log that `gpubay/logs` was asked for.";
            PackagesNotification, "gpubay/packages", PackagesParams, "What Python tools see has changed.";
        }
    };
}
#[cfg(test)]
pub(super) use every_notification;

macro_rules! declare {
    ($($type:ident, $method:literal, $params:ty, $about:literal;)*) => {
        $(
            #[doc = $about]
            enum $type {}
            impl Notification for $type {
                type Params = Sent<$params>;
                const METHOD: &'static str = $method;
            }
        )*
    };
}
every_notification!(declare);

/// tower-lsp wants to be able to read what it writes; nobody reads these here.
struct Sent<T>(T);

impl<T: serde::Serialize> serde::Serialize for Sent<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> serde::Deserialize<'de> for Sent<T> {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("it is only written"))
    }
}

/// Sends, in order, as fast as the editor reads.
#[derive(Debug)]
pub(super) struct Outgoing {
    client: Client,
}

impl Outgoing {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) async fn state(&self, state: FolderState) {
        self.client.send_notification::<StateNotification>(Sent(state)).await;
    }

    pub(super) async fn gpus(&self, gpus: GpusParams) {
        self.client.send_notification::<GpusNotification>(Sent(gpus)).await;
    }

    pub(super) async fn packages(&self, packages: PackagesParams) {
        self.client.send_notification::<PackagesNotification>(Sent(packages)).await;
    }

    /// A panic is a bug of ours that somebody should hear of.
    pub(super) async fn tell_of_bug(&self, text: &str) {
        let text = format!("GPU Bay's helper met a bug of its own, and goes on: {}", printable(text));
        self.client.show_message(MessageType::ERROR, text).await;
    }

    async fn log(&self, folder: &str, lines: Vec<LogLine>) {
        if !lines.is_empty() {
            self.client
                .send_notification::<LogNotification>(Sent(LogParams { folder: folder.to_owned(), lines }))
                .await;
        }
    }

    /// A piece of a container's log, whatever its size.
    pub(super) async fn log_lines(&self, subscription: &str, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let mut at = rest.len().min(CHUNK);
            while !rest.is_char_boundary(at) {
                at -= 1;
            }
            let (now, later) = rest.split_at(at);
            let params = LogLinesParams { subscription: subscription.to_owned(), text: now.to_owned() };
            self.client.send_notification::<LogLinesNotification>(Sent(params)).await;
            rest = later;
        }
    }

    async fn progress(&self, token: &str, value: WorkDoneProgress) {
        let params = ProgressParams {
            token: NumberOrString::String(token.to_owned()),
            value: ProgressParamsValue::WorkDone(value),
        };
        self.client.send_notification::<ProgressNotification>(params).await;
    }
}

/// The events of one piece of work on their way to the editor.
pub(super) struct Pump {
    waiting: Arc<Waiting>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Waiting {
    told: Mutex<Told>,
    changed: Notify,
}

/// What was told and not yet sent.
#[derive(Default)]
struct Told {
    lines: Vec<LogLine>,
    left_out: usize,
    titles: HashMap<StepId, String>,
    /// The newest step's state, where it changed.
    report: Option<WorkDoneProgressReport>,
    packages: Option<Arc<Packages>>,
    cancel: Option<CancellationToken>,
    over: bool,
}

impl Told {
    fn push(&mut self, level: LogLevel, text: &str) {
        if self.lines.len() >= KEPT_LINES {
            self.left_out += 1;
        } else {
            self.lines.push(LogLine { level, text: printable(text) });
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Started { step, title } => {
                self.push(LogLevel::Step, &title);
                self.report = Some(report(&title, None));
                self.titles.insert(step, title);
            }
            Event::Advanced { step, done, total, unit } => {
                let Some(title) = self.titles.get(&step) else { return };
                let amount = |count| match unit {
                    Unit::Bytes => size(count),
                    Unit::Files => format!("{count} files"),
                };
                let so_far = match total {
                    Some(total) => format!("{title}: {} of {}", amount(done), amount(total)),
                    None => format!("{title}: {}", amount(done)),
                };
                let percentage = total.filter(|total| *total > 0).map(|total| (done.min(total) * 100 / total) as u32);
                self.report = Some(report(&so_far, percentage));
            }
            Event::Output { line, .. } => self.push(LogLevel::Output, &line),
            Event::Ended { step, end } => {
                let title = self.titles.remove(&step);
                if let (StepEnd::Failed, Some(title)) = (end, title) {
                    // What the user has taken back has not failed.
                    if self.cancel.as_ref().is_some_and(CancellationToken::is_cancelled) {
                        self.push(LogLevel::Note, &format!("cancelled: {title}"));
                    } else {
                        self.push(LogLevel::Error, &format!("failed: {title}"));
                    }
                }
            }
            Event::Warning(text) => self.push(LogLevel::Warning, &text),
            Event::Note(text) => {
                self.push(LogLevel::Note, &text);
                self.report = Some(report(&text, None));
            }
            Event::Packages(packages) => self.packages = Some(packages),
        }
    }
}

fn report(message: &str, percentage: Option<u32>) -> WorkDoneProgressReport {
    WorkDoneProgressReport { cancellable: Some(true), message: Some(printable(message)), percentage }
}

impl Pump {
    /// The progress to work with, and what carries its events. `title` is that of the work.
    pub(super) fn start(out: Arc<Outgoing>, folder: String, token: Option<String>, title: &str) -> (Progress, Self) {
        let waiting = Arc::new(Waiting::default());
        let told = waiting.clone();
        let progress = Progress::new(move |event| {
            told.told.lock().unwrap_or_else(PoisonError::into_inner).take(event);
            told.changed.notify_one();
        });
        waiting.told.lock().unwrap_or_else(PoisonError::into_inner).cancel = Some(progress.cancel.clone());
        let task = tokio::spawn(carry(out, folder, token, title.to_owned(), waiting.clone()));
        (progress, Self { waiting, task })
    }

    /// Everything that was told has been sent.
    pub(super) async fn finish(self) {
        self.waiting.told.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.waiting.changed.notify_one();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "progress was not told to its end");
        }
    }
}

async fn carry(out: Arc<Outgoing>, folder: String, token: Option<String>, title: String, waiting: Arc<Waiting>) {
    if let Some(token) = &token {
        let begin = WorkDoneProgressBegin { title, cancellable: Some(true), message: None, percentage: None };
        out.progress(token, WorkDoneProgress::Begin(begin)).await;
    }
    loop {
        let (lines, left_out, report, packages, over) = {
            let mut told = waiting.told.lock().unwrap_or_else(PoisonError::into_inner);
            let left_out = std::mem::take(&mut told.left_out);
            (std::mem::take(&mut told.lines), left_out, told.report.take(), told.packages.take(), told.over)
        };
        let idle = lines.is_empty() && report.is_none();
        if let Some(packages) = packages {
            let Packages { host_env, paths } = (*packages).clone();
            let installed = super::folder::installed(&host_env);
            out.packages(PackagesParams { folder: folder.clone(), host_env: Some(host_env), paths, installed }).await;
        }
        out.log(&folder, lines).await;
        if left_out > 0 {
            let text = format!("… {left_out} lines are left out here: they came faster than they could be shown");
            out.log(&folder, vec![LogLine { level: LogLevel::Note, text }]).await;
        }
        if let (Some(report), Some(token)) = (report, &token) {
            out.progress(token, WorkDoneProgress::Report(report)).await;
        }
        if over && idle {
            break;
        }
        if over {
            continue;
        }
        waiting.changed.notified().await;
        // What comes within a moment goes in one message.
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = until_over(&waiting) => {}
        }
    }
    if let Some(token) = &token {
        out.progress(token, WorkDoneProgress::End(WorkDoneProgressEnd { message: None })).await;
    }
}

async fn until_over(waiting: &Waiting) {
    loop {
        if waiting.told.lock().unwrap_or_else(PoisonError::into_inner).over {
            return;
        }
        waiting.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_that_does_not_read_costs_a_bounded_amount() {
        let mut told = Told::default();
        let progress = Progress::silent();
        let step = progress.step("Building");
        drop(step);
        for _ in 0..100_000 {
            told.push(LogLevel::Output, "a line");
        }
        assert_eq!(told.lines.len(), KEPT_LINES);
        assert_eq!(told.left_out, 100_000 - KEPT_LINES);
    }

    #[test]
    fn what_was_cancelled_has_not_failed() {
        let told = Arc::new(Mutex::new(Told::default()));
        let takes = told.clone();
        let progress = Progress::new(move |event| takes.lock().expect("whole").take(event));
        told.lock().expect("whole").cancel = Some(progress.cancel.clone());
        drop(progress.step("Pulling"));
        let building = progress.step("Building");
        progress.cancel.cancel();
        drop(building);
        let lines: Vec<(LogLevel, String)> =
            told.lock().expect("whole").lines.iter().map(|line| (line.level, line.text.clone())).collect();
        let said = |level: LogLevel, text: &str| lines.contains(&(level, text.to_owned()));
        assert!(said(LogLevel::Error, "failed: Pulling") && said(LogLevel::Note, "cancelled: Building"), "{lines:?}");
    }
}
