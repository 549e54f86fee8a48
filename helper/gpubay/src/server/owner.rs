//! The one owner of what the server knows. Everything that happens comes here as an [`Event`], one after the other; what
//! takes time is done by tasks that report back the same way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tower_lsp::lsp_types::{CompletionItem, Hover, Position, Url};

use super::facts;
use super::folder::{self, Aside, Derived, Folder};
use super::gpu_watch::GpuWatch;
use super::inside;
use super::language::{self, Facts, Kind};
use super::memory;
use super::method::{self, Call, Method, request};
use super::methods::status::Status;
use super::outgoing::{Outgoing, Pump};
use super::wire::{Failure, PackagesParams, Phase, Work};
use crate::error::Error;
use crate::failpoint;
use crate::progress::Progress;
use crate::registry::life;

/// How long work that is cancelled at the end may take to clean up.
const CLEANING: Duration = Duration::from_secs(10);

pub(super) type Answer = Result<Value, Failure>;
type Start = Box<dyn FnOnce(Call) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send>;

/// A request on its way.
pub(super) struct Asked {
    pub(super) method: &'static str,
    /// How it goes beside the others of its folder.
    pub(super) kind: method::Kind,
    pub(super) folder: String,
    pub(super) token: Option<String>,
    /// Cancelled when the client takes the request back.
    pub(super) cancel: CancellationToken,
    pub(super) start: Start,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// What is wanted at a position in a document.
pub(super) enum Help {
    Complete(oneshot::Sender<Vec<CompletionItem>>),
    Hover(oneshot::Sender<Option<Hover>>),
}

/// Everything that can happen.
pub(super) enum Event {
    Begin {
        trusted: bool,
        folders: Vec<PathBuf>,
    },
    /// The client is ready to be told things.
    Initialized,
    Trust(bool),
    Folders {
        added: Vec<PathBuf>,
        removed: Vec<PathBuf>,
    },
    Asked(Asked),
    /// Work is over, and everything about it has been told.
    Worked {
        folder: PathBuf,
        failure: Option<Failure>,
    },
    /// What went beside work is over: of the request of that number.
    Started {
        folder: PathBuf,
        number: u64,
    },
    /// `window/workDoneProgress/cancel`
    Cancel(String),
    /// What a folder is like may have changed.
    Stale(PathBuf),
    /// As it was found out.
    Derived {
        folder: PathBuf,
        generation: u64,
        derived: Box<Derived>,
    },
    /// The text of a file of ours in the editor; `None`: it was closed.
    Document {
        uri: Url,
        text: Option<String>,
    },
    /// What can stand in a folder's values, besides what the schema says.
    Known {
        folder: PathBuf,
        facts: Box<Facts>,
    },
    /// Whether the folder's GPUs are to be told of.
    WatchGpus {
        folder: PathBuf,
        watch: bool,
        /// Of the request: the newest one decides, whichever was done first.
        number: u64,
    },
    Help {
        uri: Url,
        position: Position,
        answer: Help,
    },
    Panicked(String),
    Shutdown,
    /// The session is over; answered when all work has ended, with whether that was asked for.
    End(oneshot::Sender<bool>),
}

pub(super) struct Owner {
    out: Arc<Outgoing>,
    events: mpsc::UnboundedSender<Event>,
    inbox: mpsc::UnboundedReceiver<Event>,
    trusted: bool,
    initialized: bool,
    shut_down: bool,
    folders: BTreeMap<PathBuf, Folder>,
    ending: Option<oneshot::Sender<bool>>,
    generation: u64,
    /// Texts of our own files that are open.
    documents: BTreeMap<Url, String>,
    gpus: GpuWatch,
    /// How many requests there were.
    requests: u64,
}

impl Owner {
    pub(super) fn new(
        out: Arc<Outgoing>,
        events: mpsc::UnboundedSender<Event>,
        inbox: mpsc::UnboundedReceiver<Event>,
    ) -> Self {
        Self {
            gpus: GpuWatch::new(out.clone()),
            requests: 0,
            out,
            events,
            inbox,
            trusted: false,
            initialized: false,
            shut_down: false,
            folders: BTreeMap::new(),
            ending: None,
            generation: 0,
            documents: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut deadline = None;
        loop {
            let event = tokio::select! {
                event = self.inbox.recv() => event,
                () = at(deadline) => None,
            };
            let Some(event) = event else { break };
            let ends = matches!(event, Event::End(_));
            self.take(event).await;
            if ends {
                deadline = Some(tokio::time::Instant::now() + CLEANING);
            }
            if self.ending.is_some() && self.folders.values().all(Folder::is_at_rest) {
                break;
            }
        }
        if let Some(ending) = self.ending {
            let _ = ending.send(self.shut_down);
        }
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Begin { trusted, folders } => {
                self.trusted = trusted;
                for folder in folders {
                    self.add(folder);
                }
            }
            Event::Initialized => {
                self.initialized = true;
                self.look_at_all().await;
            }
            Event::Trust(trusted) => {
                self.trusted = trusted;
                if !trusted {
                    self.gpus.stop();
                }
                for folder in self.folders.keys() {
                    self.ask_for_facts(folder);
                }
                self.look_at_all().await;
            }
            Event::Folders { added, removed } => {
                for folder in removed {
                    self.gpus.set(folder.clone(), false, self.requests);
                    if let Some(folder) = self.folders.remove(&folder) {
                        folder.leave();
                    }
                }
                for folder in added {
                    self.add(folder.clone());
                    self.look_at(&folder).await;
                }
            }
            Event::Asked(asked) => self.asked(asked).await,
            Event::Worked { folder, failure } => {
                if let Some(known) = self.folders.get_mut(&folder) {
                    known.worked(&folder, failure);
                    self.diagnose(&folder).await;
                    self.look_at(&folder).await;
                    self.ask_for_facts(&folder);
                }
                if self.folders.values().all(|known| known.work.is_none()) {
                    memory::give_back();
                }
            }
            Event::Started { folder, number } => {
                if let Some(known) = self.folders.get_mut(&folder) {
                    known.beside.retain(|one| one.number != number);
                }
            }
            Event::Cancel(token) => {
                for folder in self.folders.values() {
                    for one in folder.beside.iter().filter(|one| one.token.as_deref() == Some(&token)) {
                        one.cancel.cancel();
                    }
                    if let Some((work, cancel)) = &folder.work
                        && work.token.as_deref() == Some(&token)
                    {
                        cancel.cancel();
                    }
                }
            }
            Event::Stale(folder) => self.look_at(&folder).await,
            Event::Derived { folder, generation, derived } => self.derived(&folder, generation, *derived).await,
            Event::Document { uri, text } => self.document(&uri, text).await,
            Event::Known { folder, facts } => {
                if let Some(known) = self.folders.get_mut(&folder) {
                    let before = std::mem::replace(&mut known.facts, *facts);
                    self.check_again(&folder, &before).await;
                }
            }
            Event::WatchGpus { folder, watch, number } => {
                let watched = watch && self.trusted && self.folders.contains_key(&folder);
                self.gpus.set(folder, watched, number);
            }
            Event::Help { uri, position, answer } => self.help(&uri, position, answer),
            Event::Panicked(text) => self.out.tell_of_bug(&text).await,
            Event::Shutdown => self.shut_down = true,
            Event::End(ending) => {
                self.folders.values().for_each(Folder::take_back);
                self.gpus.stop();
                self.ending = Some(ending);
            }
        }
    }

    fn add(&mut self, folder: PathBuf) {
        self.folders.entry(folder).or_default();
    }

    async fn asked(&mut self, asked: Asked) {
        let Asked { method, kind, folder, token, cancel, start, reply } = asked;
        let works = kind == method::Kind::Works;
        self.requests += 1;
        let folder = PathBuf::from(folder);
        let refusal = self.refusal(&folder, method, works);
        if let Some(refusal) = refusal {
            let _ = reply.send(Err(refusal.into()));
            return;
        }
        let name = method.trim_start_matches("gpubay/");
        let (out, events) = (self.out.clone(), self.events.clone());
        let number = self.requests;
        let (progress, pump) = if works || token.is_some() {
            let (progress, pump) = Pump::start(out.clone(), folder.display().to_string(), token.clone(), name);
            (progress, Some(pump))
        } else {
            (Progress::silent(), None)
        };
        // Either side may take it back.
        let work_cancel = progress.cancel.clone();
        let over = CancellationToken::new();
        tokio::spawn({
            let (work_cancel, over) = (work_cancel.clone(), over.clone());
            async move {
                tokio::select! {
                    () = cancel.cancelled() => work_cancel.cancel(),
                    () = over.cancelled() => {}
                }
            }
        });
        if kind == method::Kind::Starts
            && let Some(known) = self.folders.get_mut(&folder)
        {
            known.beside.push(Aside { number, token: token.clone(), cancel: work_cancel.clone() });
        }
        if works && let Some(known) = self.folders.get_mut(&folder) {
            let work = Work { method: name.to_owned(), token };
            known.shown = Some(work.clone());
            known.work = Some((work, work_cancel.clone()));
            known.failure = None;
            self.diagnose(&folder).await;
            self.publish(&folder).await;
        }
        if method == Status::NAME {
            // Who asks wants what is shown to be true as well.
            self.look_at(&folder).await;
        }
        let call = Call { folder: folder.clone(), progress, out, events: events.clone(), number };
        tokio::spawn(async move {
            let answered = match tokio::spawn(start(call)).await {
                Ok(answered) => answered,
                Err(error) => Err(bug(method, &error)),
            };
            over.cancel();
            if let Some(pump) = pump {
                pump.finish().await;
            }
            if kind == method::Kind::Starts {
                let _ = events.send(Event::Started { folder: folder.clone(), number });
            }
            if works {
                let failure = answered.as_ref().err().filter(|failure| !is_no_failure(failure.code)).cloned();
                let _ = events.send(Event::Worked { folder, failure });
            }
            let _ = reply.send(answered);
        });
    }

    /// Why a request is not even begun.
    fn refusal(&self, folder: &Path, method: &str, works: bool) -> Option<Error> {
        let Some(known) = self.folders.get(folder) else {
            let what = format!("{} is no folder of this window", folder.display());
            return Some(Error::new("unknown_folder", what).with_hint("Add it to the workspace first."));
        };
        if !self.trusted {
            let what = "the workspace is not trusted, so nothing is built, started or asked";
            return Some(
                Error::new("untrusted", what).with_hint("Trust it with «Workspaces: Manage Workspace Trust»."),
            );
        }
        if self.ending.is_some() {
            return Some(Error::new("going_down", "the helper is ending"));
        }
        if let Some(refusal) = inside::refusal(method) {
            return Some(refusal);
        }
        let (work, _) = known.work.as_ref().filter(|_| works)?;
        let what =
            format!("{} waits for {}, which is under way here", method.trim_start_matches("gpubay/"), work.method);
        Some(Error::new("busy", what).with_hint("Wait for its end, or cancel it."))
    }

    async fn look_at_all(&mut self) {
        for folder in self.folders.keys().cloned().collect::<Vec<_>>() {
            self.look_at(&folder).await;
        }
    }

    /// Finds out what a folder is like, once more if that is being done already.
    async fn look_at(&mut self, folder: &Path) {
        if !self.initialized || self.ending.is_some() {
            return;
        }
        let Some(known) = self.folders.get_mut(folder) else { return };
        if !self.trusted {
            known.phase = Phase::Untrusted;
            known.shown = None;
            self.publish(folder).await;
            return;
        }
        known.watch(folder, &self.events);
        if known.looking {
            known.look_again = true;
            return;
        }
        known.looking = true;
        self.generation += 1;
        known.generation = self.generation;
        let (events, folder, generation) = (self.events.clone(), folder.to_owned(), self.generation);
        tokio::spawn(async move {
            let of = folder.clone();
            // A look that meets a bug must still answer, or its folder would never be looked at again.
            let look =
                tokio::spawn(
                    async move { if inside::is() { inside::derive(&of).await } else { folder::derive(of).await } },
                );
            let derived = look.await.unwrap_or_else(|error| Derived::of_problem(bug("the look at the folder", &error)));
            let _ = events.send(Event::Derived { folder, generation, derived: Box::new(derived) });
        });
    }

    async fn derived(&mut self, folder: &Path, generation: u64, mut derived: Derived) {
        let Some(known) = self.folders.get_mut(folder).filter(|known| known.generation == generation) else { return };
        known.looking = false;
        known.guard.set(folder, std::mem::take(&mut derived.guarded), &self.events);
        let before = known.mark(folder);
        let hindered = known.problem.is_some();
        let packages = known.take(folder, derived);
        let freed = hindered && known.problem.is_none();
        let moved = known.mark(folder) != before;
        let again = std::mem::take(&mut known.look_again);
        if known.work.is_none() && !again {
            known.shown = None;
        }
        self.publish(folder).await;
        if moved {
            self.diagnose(folder).await;
        }
        if freed {
            self.ask_for_facts(folder);
        }
        if packages && let Some(known) = self.folders.get(folder) {
            let packages = PackagesParams {
                folder: folder.display().to_string(),
                installed: known.installed,
                host_env: known.status.as_ref().and_then(|status| status.host_env.clone()),
                paths: known.status.as_ref().map(|status| status.paths.clone()).unwrap_or_default(),
            };
            self.out.packages(packages).await;
        }
        if again {
            self.look_at(folder).await;
        }
    }

    async fn document(&mut self, uri: &Url, text: Option<String>) {
        let Some((uri, path)) = plainly(uri).filter(|(_, path)| Kind::of(path).is_some()) else { return };
        match text {
            Some(text) => {
                if self.documents.insert(uri.clone(), text).is_none()
                    && let Some(folder) = self.folder_of(&path)
                {
                    self.ask_for_facts(folder);
                }
            }
            None => drop(self.documents.remove(&uri)),
        }
        self.publish_diagnostics(&uri, &path).await;
    }

    /// What there is for the values in a folder's files, where one of these is open.
    fn ask_for_facts(&self, folder: &Path) {
        let is_of_it = |uri: &Url| uri.to_file_path().is_ok_and(|path| self.folder_of(&path) == Some(folder));
        if self.trusted && self.documents.keys().any(is_of_it) {
            let (events, folder) = (self.events.clone(), folder.to_owned());
            tokio::spawn(async move {
                let facts = Box::new(facts::facts(&folder).await);
                let _ = events.send(Event::Known { folder, facts });
            });
        }
    }

    fn folder_of(&self, path: &Path) -> Option<&Path> {
        self.folders.keys().map(PathBuf::as_path).filter(|folder| path.starts_with(folder)).max()
    }

    /// Documents that are open, where something else is known of what they are judged by than `before`: how a Dockerfile is built,
    /// the driver, the GPUs.
    async fn check_again(&self, folder: &Path, before: &Facts) {
        let Some(known) = self.folders.get(folder) else { return };
        for (uri, text) in &self.documents {
            let path = uri.to_file_path().ok().filter(|path| self.folder_of(path) == Some(folder));
            let is_other = |path: &PathBuf| match Kind::of(path) {
                Some(Kind::Dockerfile) => known.facts.built(path) != before.built(path),
                Some(Kind::Config) => {
                    language::check_values(text, &known.facts) != language::check_values(text, before)
                }
                None => false,
            };
            if let Some(path) = path.filter(is_other) {
                self.publish_diagnostics(uri, &path).await;
            }
        }
    }

    fn help(&self, uri: &Url, position: Position, answer: Help) {
        // Nothing fails here: a test makes it a bug.
        let _ = failpoint::hit("serve.help");
        let file = plainly(uri);
        let path = file.as_ref().map(|(_, path)| path);
        let open = |kind| {
            file.as_ref()
                .filter(|(_, path)| Kind::of(path) == Some(kind))
                .and_then(|(uri, path)| Some((path, self.documents.get(uri)?)))
        };
        let text = open(Kind::Config).map(|(_, text)| text);
        let nothing = Facts::default();
        let folder = path.and_then(|path| self.folders.get(self.folder_of(path)?));
        let facts = folder.map_or(&nothing, |folder| &folder.facts);
        match answer {
            Help::Complete(answer) => {
                let items = text.map(|text| language::complete(text, position, facts)).unwrap_or_default();
                let _ = answer.send(items);
            }
            Help::Hover(answer) => {
                let of_dockerfile = || {
                    let (path, text) = open(Kind::Dockerfile)?;
                    language::hover_dockerfile(text, position, facts.built(path))
                };
                let _ = answer.send(text.map_or_else(of_dockerfile, |text| language::hover(text, position, facts)));
            }
        }
    }

    /// What is wrong with an open text, and what work said of that file.
    async fn publish_diagnostics(&self, uri: &Url, path: &Path) {
        let folder = self.folder_of(path);
        let mut said = match (self.documents.get(uri), Kind::of(path), folder) {
            (Some(text), Some(Kind::Dockerfile), folder) => {
                let nothing = Facts::default();
                let facts = folder.and_then(|folder| self.folders.get(folder)).map_or(&nothing, |folder| &folder.facts);
                language::check_dockerfile(text, facts.built(path), life::today())
            }
            (Some(text), Some(Kind::Config), Some(folder)) if path.parent() == Some(folder) => {
                let facts = self.folders.get(folder).map(|folder| &folder.facts);
                let mut found = match request(folder.to_owned(), None) {
                    Ok(request) => language::check(&request, text, self.trusted),
                    Err(_) => Vec::new(),
                };
                found.extend(facts.into_iter().flat_map(|facts| language::check_values(text, facts)));
                found
            }
            _ => Vec::new(),
        };
        let failed = folder.and_then(|folder| {
            let known = self.folders.get(folder)?;
            // What is wrong in an open configuration is found in its text, saved or not.
            let found = known.trouble().is_some_and(Failure::is_of_config) && self.documents.contains_key(uri);
            known.mark(folder).filter(|_| !found)
        });
        said.extend(failed.filter(|(marked, _)| marked == uri).map(|(_, diagnostic)| diagnostic));
        self.out.client().publish_diagnostics(uri.clone(), said, None).await;
    }

    /// Tells the editor what a folder is like, where that is something new.
    async fn publish(&mut self, folder: &Path) {
        let Some(known) = self.folders.get_mut(folder).filter(|_| self.initialized) else { return };
        let state = known.state(folder);
        let written = serde_json::to_string(&state).unwrap_or_default();
        if known.told != written {
            known.told = written;
            self.out.state(state).await;
        }
    }

    /// Shows on its line what failed, or takes that back.
    async fn diagnose(&mut self, folder: &Path) {
        let Some(known) = self.folders.get_mut(folder) else { return };
        for uri in known.marked(folder) {
            if let Ok(path) = uri.to_file_path() {
                self.publish_diagnostics(&uri, &path).await;
            }
        }
    }
}

/// What the user took back, and questions to the user: an answer «no» leaves nothing that failed.
fn is_no_failure(code: &str) -> bool {
    ["cancelled", "needs_consent", "work_running", "ambiguous_dockerfile", "mirror_halted"].contains(&code)
}

/// The one address that we have for a file: editors encode more letters than need be.
fn plainly(uri: &Url) -> Option<(Url, PathBuf)> {
    let path = uri.to_file_path().ok()?;
    Some((Url::from_file_path(&path).ok()?, path))
}

fn bug(what: &str, error: &tokio::task::JoinError) -> Failure {
    let what = format!("{what} met a bug of the helper's: {error}");
    Error::new("internal", what).with_hint("Please report it, with the log.").into()
}

async fn at(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
