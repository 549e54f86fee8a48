//! One folder of the window: what is known of it, and what makes that stale.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use gpubay_protocol::agent::{CHOICE_NAME, RUN_DIR};
use gpubay_protocol::hostenv::{self, HostEnv};
use notify::{RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_lsp::lsp_types::{Diagnostic, Url};

use super::guard::Guard;
use super::inside;
use super::language::{self, Facts};
use super::method::{cancelled, of_config, of_consent, request};
use super::owner::Event;
use super::wire::{Failure, FailurePlace, FolderState, Phase, StateContainer, Work};
use crate::HostPath;
use crate::config;
use crate::config::model::{Dockerfile, Image};
use crate::engine::Engine;
use crate::progress::Progress;
use crate::venv::probe::minor;
use crate::workspace::Workspace;
use crate::workspace::lost::{self, Guarded};
use crate::workspace::report::HostEnvReport;
use crate::workspace::status::{Configured, StatusReport, status};

/// Between two tries to reach an engine that does not answer.
const ENGINE_AGAIN: Duration = Duration::from_secs(5);
/// More of a file is not looked at for the line that failed.
const READ_OF_A_FILE: u64 = 1 << 20;
/// Editors save a file in several steps.
const SETTLE: Duration = Duration::from_millis(100);

/// How many looks in a row may follow one another at once…
const BURST: u32 = 5;
/// …and after how long there may be one more: a container writes in its workspace, too, as often as it likes.
const PACE: Duration = Duration::from_secs(2);

/// The id and the state of a container, where there is one.
type Beside = Option<(String, String)>;

#[derive(Default)]
pub(super) struct Folder {
    pub(super) phase: Phase,
    pub(super) status: Option<StatusReport>,
    /// Why nothing better is known.
    pub(super) problem: Option<Failure>,
    /// Of the last work that failed, until other work begins or somebody else brings the container up.
    pub(super) failure: Option<Failure>,
    /// The container that was there when it had failed, and how it was.
    failed_beside: Option<Beside>,
    /// What the line said that had failed.
    failed_line: Option<String>,
    pub(super) work: Option<(Work, CancellationToken)>,
    /// What goes on beside it.
    pub(super) beside: Vec<Aside>,
    /// The work that is shown: until it is known what came of it.
    pub(super) shown: Option<Work>,
    pub(super) looking: bool,
    pub(super) look_again: bool,
    pub(super) generation: u64,
    /// The state that the editor was told last.
    pub(super) told: String,
    /// Files that show a diagnostic of ours.
    marked: Vec<Url>,
    /// For help with `gpubay.toml`.
    pub(super) facts: Facts,
    /// Of [`installed`], as tools were last told.
    pub(super) installed: u64,
    watching: Option<DropGuard>,
    /// Who listens to the agents of its containers.
    pub(super) guard: Guard,
}

/// A request that goes on beside work.
pub(super) struct Aside {
    pub(super) number: u64,
    pub(super) token: Option<String>,
    pub(super) cancel: CancellationToken,
}

/// What was found out about a folder.
pub(super) struct Derived {
    pub(super) phase: Phase,
    pub(super) status: Option<StatusReport>,
    pub(super) problem: Option<Failure>,
    /// Containers that have GPUs to lose.
    pub(super) guarded: Vec<Guarded>,
}

impl Derived {
    pub(super) fn of_problem(problem: Failure) -> Self {
        Self { phase: Phase::Problem, status: None, problem: Some(problem), guarded: Vec::new() }
    }
}

impl Folder {
    /// Takes over what was found out; whether Python's tools would see something new.
    pub(super) fn take(&mut self, folder: &Path, derived: Derived) -> bool {
        let env = |of: &Self| {
            let status = of.status.as_ref()?;
            serde_json::to_string(&(&status.host_env, &status.paths, of.installed)).ok()
        };
        let before = env(self);
        self.outlive(folder, &derived);
        self.phase = derived.phase;
        if derived.status.is_some() || derived.problem.is_none() {
            self.status = derived.status;
        }
        self.problem = derived.problem;
        self.installed = self.status.as_ref().and_then(|status| status.host_env.as_ref()).map_or(0, installed);
        before != env(self)
    }

    /// Work is over.
    pub(super) fn worked(&mut self, folder: &Path, failure: Option<Failure>) {
        self.work = None;
        self.failed_line = failure.as_ref().and_then(|failure| instruction(folder, failure.place.as_deref()?));
        self.failure = failure;
        self.failed_beside = None;
    }

    /// What failed is no news any more where its line has been rewritten, or a command line, or another window, has done it
    /// since. What is still wrong in a configuration is found by each look.
    fn outlive(&mut self, folder: &Path, derived: &Derived) {
        let Some(failure) = self.failure.as_ref().filter(|_| self.work.is_none()) else { return };
        let over = |place: &FailurePlace| place.of_config || instruction(folder, place) != self.failed_line;
        if failure.place.as_deref().is_some_and(over) {
            self.failure = None;
            return;
        }
        let container = derived.status.as_ref().and_then(|status| status.container.as_ref());
        let now = container.map(|container| (container.id.clone(), container.state.clone()));
        match &self.failed_beside {
            None => self.failed_beside = Some(now),
            Some(then) if *then != now && matches!(derived.phase, Phase::Running | Phase::Drifted) => {
                self.failure = None;
            }
            Some(_) => {}
        }
    }

    pub(super) fn state(&self, folder: &Path) -> FolderState {
        let status = self.status.as_ref();
        let runs = matches!(self.phase, Phase::Running | Phase::Drifted);
        FolderState {
            folder: folder.display().to_string(),
            phase: self.phase,
            work: self.shown.clone(),
            container: status.and_then(|status| status.container.as_ref()).map(|container| StateContainer {
                id: container.id.clone(),
                name: container.name.clone(),
                state: container.state.clone(),
                workdir: container.workdir.clone(),
            }),
            gpu: status.filter(|_| runs).and_then(|status| status.gpu.clone()),
            host_env: status.and_then(|status| status.host_env.clone()),
            paths: status.map(|status| status.paths.clone()).unwrap_or_default(),
            drift: status.map(|status| status.drift.clone()).unwrap_or_default(),
            jobs: status.map(|status| status.jobs.clone()).unwrap_or_default(),
            known_jobs: status.map(|status| status.known_jobs.clone()).unwrap_or_default(),
            problem: self.trouble().cloned(),
        }
    }

    /// Files whose diagnostics change with what failed last, or did not fail.
    pub(super) fn marked(&mut self, folder: &Path) -> Vec<Url> {
        let now = self.mark(folder).map(|(uri, _)| uri);
        let mut files = std::mem::take(&mut self.marked);
        self.marked.extend(now.clone());
        files.retain(|known| Some(known) != now.as_ref());
        files.extend(now);
        files
    }

    /// The line that failed, or that says what cannot be.
    pub(super) fn mark(&self, folder: &Path) -> Option<(Url, Diagnostic)> {
        self.trouble().and_then(|failure| mark(folder, failure))
    }

    /// What is told to be wrong.
    pub(super) fn trouble(&self) -> Option<&Failure> {
        self.failure.as_ref().or(self.problem.as_ref())
    }

    /// Begins to notice what happens to the folder's container and files.
    pub(super) fn watch(&mut self, folder: &Path, events: &mpsc::UnboundedSender<Event>) {
        if self.watching.is_some() {
            return;
        }
        let over = CancellationToken::new();
        self.watching = Some(over.clone().drop_guard());
        let (folder, events) = (folder.to_owned(), events.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = follow_choice_inside(&folder, &events), if inside::is() => {}
                ((), ()) = async {
                    let reconfigured = Notify::new();
                    tokio::join!(
                        follow_engine(&folder, &events, &reconfigured),
                        follow_files(&folder, &events, &reconfigured)
                    )
                }, if !inside::is() => {}
            }
        });
    }

    /// It is no folder of the window any more; what is under way for it ends.
    pub(super) fn leave(self) {
        self.take_back();
    }

    /// Whatever is under way is not wanted any more.
    pub(super) fn take_back(&self) {
        if let Some((_, cancel)) = &self.work {
            cancel.cancel();
        }
        for one in &self.beside {
            one.cancel.cancel();
        }
    }

    /// Whether nothing is under way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.work.is_none() && self.beside.is_empty()
    }
}

/// The line that a failure is about, and those that go on with it after a `\\`.
fn instruction(folder: &Path, place: &FailurePlace) -> Option<String> {
    let file = std::fs::File::open(folder.join(&place.path)).ok()?;
    let mut text = String::new();
    file.take(READ_OF_A_FILE).read_to_string(&mut text).ok()?;
    let lines = text.lines().skip(place.line.saturating_sub(1) as usize);
    let mut goes_on = true;
    let said: Vec<&str> =
        lines.take_while(|line| std::mem::replace(&mut goes_on, line.trim_end().ends_with('\\'))).collect();
    Some(said.join("\n"))
}

fn mark(folder: &Path, failure: &Failure) -> Option<(Url, Diagnostic)> {
    let place = failure.place.as_ref()?;
    let uri = Url::from_file_path(folder.join(&place.path)).ok()?;
    let mut message = language::without_place(&failure.message, place.line).to_owned();
    if let Some((_, printed)) = failure.message.split_once('\n').filter(|_| !place.of_config) {
        message = format!("{message}\n{printed}");
    }
    let diagnostic = language::at_place(place.line, place.column, failure.code, &message, failure.hint.as_deref());
    Some((uri, diagnostic))
}

/// Another number after each `pip install` into an environment: when the folders of its packages changed last, in milliseconds.
pub(super) fn installed(env: &HostEnvReport) -> u64 {
    let changed = env.roots.iter().filter_map(|root| {
        let changed = std::fs::metadata(root.host.as_path()).ok()?.modified().ok()?;
        u64::try_from(changed.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
    });
    changed.max().unwrap_or(0)
}

/// A workspace as it can be looked at with nobody to ask.
pub(super) struct Seen {
    workspace: Workspace,
    configured: Configured,
    /// Why its configuration is no measure of what runs.
    problem: Option<Failure>,
}

impl Seen {
    /// What runs, compared with a configuration that counts.
    pub(super) async fn status(&self) -> Result<StatusReport, Failure> {
        Ok(status(&self.workspace, self.configured).await?)
    }
}

/// What a folder says of itself. What it asks for beyond itself and nobody approved is not even looked at: a comparison
/// reads the build's context, and may look into an image.
pub(super) async fn see(folder: PathBuf, progress: Progress) -> Result<Seen, Failure> {
    let (loaded, broken) = config::load_to_reach(&request(folder, None)?).map_err(of_config)?;
    config::consent::require_to_reach(&loaded, &[], None).map_err(of_consent)?;
    let problem = match broken {
        Some(error) => Some(of_config(error)),
        None => config::consent::require(&loaded, &[], None).map_err(of_consent).err(),
    };
    let configured = if problem.is_none() { Configured::Usable } else { Configured::Broken };
    let cancel = progress.cancel.clone();
    let workspace = tokio::select! {
        biased;
        workspace = Workspace::open(loaded, progress) => workspace?,
        () = cancel.cancelled() => return Err(cancelled().into()),
    };
    Ok(Seen { workspace, configured, problem })
}

/// Looks at configuration, engine and container.
pub(super) async fn derive(folder: PathBuf) -> Derived {
    look(folder).await.unwrap_or_else(Derived::of_problem)
}

async fn look(folder: PathBuf) -> Result<Derived, Failure> {
    let seen = see(folder, Progress::silent()).await?;
    let found = seen.status().await?;
    let is = |code| seen.problem.as_ref().is_some_and(|problem| problem.code == code);
    let phase = match (&found.container, &found.hindrance) {
        (None, _) if is("no_dockerfile") => Phase::Unconfigured,
        (Some(_), None) if found.drift.is_empty() => Phase::Running,
        (Some(_), None) => Phase::Drifted,
        (Some(container), Some(_)) if container.state == "paused" => Phase::Problem,
        _ => Phase::Stopped,
    };
    // That there is nothing to build is the phase itself; what is to be approved is asked by the start.
    let told = match phase {
        Phase::Unconfigured => is("no_dockerfile"),
        Phase::Stopped => is("needs_consent"),
        _ => false,
    };
    let problem = match (seen.problem, phase) {
        (Some(problem), _) if !told => Some(problem),
        (_, Phase::Problem) => found.hindrance.clone().map(|said| crate::error::Error::new("hindered", said).into()),
        _ => None,
    };
    let guarded = lost::guarded(&seen.workspace, &found);
    Ok(Derived { phase, status: Some(found), problem, guarded })
}

/// The engine tells of containers of this workspace; while it does not answer, it is tried again now and then, and at
/// once where the folder may have got another.
async fn follow_engine(folder: &Path, events: &mpsc::UnboundedSender<Event>, reconfigured: &Notify) {
    'engines: loop {
        if let Some((engine, id, run)) = engine(folder).await {
            let mut told = std::pin::pin!(engine.events(crate::workspace::ID, &id));
            let mut choice = Choice::of(run);
            // It is asked for its events first, and then looked at: what happens between is told twice, not never.
            let mut next = futures_util::poll!(told.next());
            if events.send(Event::Stale(folder.to_owned())).is_err() {
                return;
            }
            loop {
                // It may have come to be with the container.
                choice.watch();
                let now = match std::mem::replace(&mut next, Poll::Pending) {
                    Poll::Ready(now) => now,
                    Poll::Pending => tokio::select! {
                        now = told.next() => now,
                        () = reconfigured.notified() => continue 'engines,
                        () = choice.changed() => {
                            if events.send(Event::Stale(folder.to_owned())).is_err() {
                                return;
                            }
                            continue;
                        }
                    },
                };
                // The end, too, is something to show: the engine went away.
                if events.send(Event::Stale(folder.to_owned())).is_err() {
                    return;
                }
                if !matches!(now, Some(Ok(_))) {
                    break;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ENGINE_AGAIN) => {}
            () = reconfigured.notified() => {}
        }
    }
}

/// The file by which GPUs are selected. The container can write it as well.
struct Choice {
    run: HostPath,
    pace: Pace,
    watcher: Option<notify::RecommendedWatcher>,
    change: Arc<Notify>,
}

impl Choice {
    fn of(run: HostPath) -> Self {
        Self { run, pace: Pace::new(), watcher: None, change: Arc::default() }
    }

    /// Begins to watch, where the folder is there and that was not done yet.
    fn watch(&mut self) {
        if self.watcher.is_some() {
            return;
        }
        let (file, change) = (self.run.as_path().join(CHOICE_NAME), self.change.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if tells(&event, |path| path == file) {
                change.notify_one();
            }
        });
        self.watcher = watcher.ok().and_then(|mut watcher| {
            watcher.watch(self.run.as_path(), RecursiveMode::NonRecursive).ok()?;
            Some(watcher)
        });
    }

    async fn changed(&mut self) {
        self.change.notified().await;
        tokio::time::sleep(SETTLE).await;
        self.pace.keep().await;
    }
}

/// Keeps what happens all the time from being looked at all the time. Nothing is lost by it: the look comes later.
struct Pace {
    /// When everything that was allowed so far would have been due, one each [`PACE`].
    due: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// Until the next look may be.
    async fn keep(&mut self) {
        let at = self.next(Instant::now());
        tokio::time::sleep_until(at).await;
    }

    fn next(&mut self, now: Instant) -> Instant {
        let at = self.due.checked_sub(PACE * BURST).map_or(now, |at| at.max(now));
        self.due = self.due.max(now) + PACE;
        at
    }
}

/// In a window that is attached to the container nothing else is told.
async fn follow_choice_inside(folder: &Path, events: &mpsc::UnboundedSender<Event>) {
    let mut choice = Choice::of(HostPath::new(RUN_DIR).expect("an absolute path"));
    choice.watch();
    loop {
        choice.changed().await;
        if events.send(Event::Stale(folder.to_owned())).is_err() {
            return;
        }
    }
}

/// Whether something happened to a file that counts. Where events were lost, or there is trouble, it may have.
fn tells(event: &notify::Result<notify::Event>, counts: impl Fn(&Path) -> bool) -> bool {
    match event {
        Err(_) => true,
        Ok(event) if event.need_rescan() => true,
        Ok(event) => !event.kind.is_access() && event.paths.iter().any(|path| counts(path)),
    }
}

async fn engine(folder: &Path) -> Option<(Engine, String, HostPath)> {
    let (loaded, _) = config::load_to_reach(&request(folder.to_owned(), None).ok()?).ok()?;
    config::consent::require_to_reach(&loaded, &[], None).ok()?;
    let workspace = Workspace::open(loaded, Progress::silent()).await.ok()?;
    let (id, run) = (workspace.id().to_owned(), workspace.run_folder());
    Some((workspace.engine, id, run))
}

/// The files that say what the container is to be like.
async fn follow_files(folder: &Path, events: &mpsc::UnboundedSender<Event>, reconfigured: &Notify) {
    let (changed, mut changes) = mpsc::unbounded_channel::<()>();
    let mut watched = Watched::of(folder);
    let names = Arc::new(std::sync::Mutex::new(watched.clone()));
    let telling = names.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let names = telling.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if tells(&event, |path| names.has(path)) {
            let _ = changed.send(());
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "changes of its files are not noticed");
            return;
        }
    };
    let mut pace = Pace::new();
    loop {
        for one in watched.folders() {
            // Each time: it may be another folder of that name.
            if let Err(error) = watcher.watch(one, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, folder = %one.display(), "not watched");
            }
        }
        // What was made before it was watched has told nothing.
        let now = Watched::of(folder);
        if now != watched {
            watched = now;
            names.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone_from(&watched);
            continue;
        }
        if changes.recv().await.is_none() {
            return;
        }
        tokio::time::sleep(SETTLE).await;
        pace.keep().await;
        while changes.try_recv().is_ok() {}
        // A changed configuration names other files.
        watched = Watched::of(folder);
        names.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone_from(&watched);
        reconfigured.notify_one();
        if events.send(Event::Stale(folder.to_owned())).is_err() {
            return;
        }
    }
}

/// What makes a folder stale when it changes.
#[derive(Clone, PartialEq, Eq)]
struct Watched {
    /// `gpubay.toml`, the user's own configuration, the Dockerfile, what is to be installed, and the host env.
    files: Vec<PathBuf>,
    /// Where packages are installed: whatever is put there or taken away.
    packages: Vec<PathBuf>,
}

impl Watched {
    fn of(folder: &Path) -> Self {
        // What changes is told by its real path, also where the window's folder is a link.
        let canonical = std::fs::canonicalize(folder);
        let folder = canonical.as_deref().unwrap_or(folder);
        let mut files = vec![
            folder.join(config::FILE_NAME),
            folder.join("Dockerfile"),
            folder.join("docker"),
            folder.join("requirements.txt"),
            folder.join(".dockerignore"),
        ];
        let mut packages = Vec::new();
        let loaded = request(folder.to_owned(), None).ok().and_then(|request| config::load_to_reach(&request).ok());
        if let Some((loaded, _)) = loaded {
            files.push(loaded.user_folder.as_path().join("config.toml"));
            if let Image::Build(build) = &loaded.config.image
                && let Dockerfile::File(path) = &build.dockerfile
            {
                files.push(path.as_path().to_owned());
            }
            files.extend(loaded.config.venv.requirements.iter().map(|path| path.as_path().to_owned()));
            let env = folder.join(&loaded.config.venv.name);
            packages.extend(site_packages(&env));
            files.extend([env.join(hostenv::FILE_NAME), env]);
        }
        Self { files, packages }
    }

    fn has(&self, path: &Path) -> bool {
        self.files.iter().any(|file| file == path)
            || path.parent().is_some_and(|parent| self.packages.iter().any(|folder| folder == parent))
    }

    fn folders(&self) -> impl Iterator<Item = &Path> {
        let parents = self.files.iter().filter_map(|file| file.parent());
        parents.chain(self.packages.iter().map(PathBuf::as_path))
    }
}

/// Of the venv behind a host env, by its real path.
fn site_packages(env: &Path) -> Option<PathBuf> {
    let file = std::fs::File::open(env.join(hostenv::FILE_NAME)).ok()?;
    let mut text = String::new();
    file.take(READ_OF_A_FILE).read_to_string(&mut text).ok()?;
    let known: HostEnv = serde_json::from_str(&text).ok()?;
    let minor = minor(&known.version)?;
    let inside = known.venv.join(&format!("lib/python{minor}/site-packages")).ok()?;
    std::fs::canonicalize(known.map.to_host(&inside)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_all_the_time_is_looked_at_now_and_then() {
        let begun = Instant::now();
        let mut pace = Pace { due: begun };
        let mut now = begun;
        let mut looks = 0;
        while now < begun + Duration::from_mins(1) {
            now = pace.next(now).max(now + SETTLE);
            looks += 1;
        }
        assert!((20..=40).contains(&looks), "{looks} looks a minute");
        // Who does something now and then waits for nothing.
        for _ in 0..10 {
            now += PACE * 2;
            assert_eq!(pace.next(now), now);
        }
    }
}
