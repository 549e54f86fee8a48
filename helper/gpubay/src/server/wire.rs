//! What helper and editor say to each other beyond LSP: the parameters of `gpubay/*` requests, and the notifications.
//! The answers are the core's own reports. TypeScript and `docs/protocol.md` are generated from these types.
//!
//! Every `folder` is the absolute path of a workspace folder on the helper's machine.

use serde::{Deserialize, Serialize};

use crate::config::Power;
use crate::error::Error;
use crate::quoting::printable;
use crate::workspace::gpus::GpusReport;
use crate::workspace::report::{GpuReport, HostEnvReport, Row};
use crate::workspace::{Drift, Losses};
use crate::{ContainerPath, HostPath};

/// Raised with every change that an older peer would misread.
pub const PROTOCOL: u32 = 1;

/// `initializationOptions` of `initialize`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Options {
    /// Of the extension, as `0.1.0`.
    pub version: Option<String>,
    /// What the extension speaks; a helper that speaks another refuses to work with it.
    pub protocol: Option<u32>,
    /// Whether the user trusts the workspace. Until then no engine is contacted, and nothing is built or started.
    pub trusted: bool,
}

/// `capabilities.experimental.gpubay` in the answer of `initialize`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Capabilities {
    pub protocol: u32,
    /// The helper runs in a container of ours: it tells of that container, and starts and attaches nothing.
    pub inside: bool,
}

/// Why a request failed: `data` of the JSON-RPC error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Failure {
    /// Stable, in `snake_case`.
    pub code: &'static str,
    /// What failed, on what.
    pub message: String,
    /// The next step, as a whole sentence.
    pub hint: Option<String>,
    /// The line of a file that it is about.
    pub place: Option<Box<FailurePlace>>,
    /// With `needs_consent`: what is to be approved, each by its key in `allow`.
    pub powers: Vec<AskedPower>,
    /// With `ambiguous_dockerfile`: what can be chosen, for `gpubay/chooseDockerfile`.
    pub candidates: Vec<String>,
}

/// From 1 both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct FailurePlace {
    /// Absolute.
    pub path: String,
    pub line: u32,
    pub column: Option<u32>,
    /// It is about what a configuration says, which each look at the folder finds again.
    #[serde(skip)]
    pub(super) of_config: bool,
}

/// Something that the workspace's own configuration asks of the host beyond its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct AskedPower {
    /// For `allow`; a stranger wrote it, so it is never shown.
    pub key: String,
    /// The key as it can be shown: one line, in one reading direction.
    pub label: String,
    /// What it means: fits «it …».
    pub sentence: String,
    /// It can take over the machine or the user's account.
    pub grave: bool,
}

impl From<&Power> for AskedPower {
    fn from(power: &Power) -> Self {
        Self {
            key: power.key.clone(),
            label: printable(&power.key),
            sentence: printable(&power.sentence),
            grave: power.grave,
        }
    }
}

impl Failure {
    /// Whether each look at the folder finds it again.
    pub(super) fn is_of_config(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.of_config)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Error { code, message, hint, place } = error;
        let place = place
            .map(|at| Box::new(FailurePlace { path: at.file, line: at.line, column: at.column, of_config: false }));
        Self { code, message, hint, place, powers: Vec::new(), candidates: Vec::new() }
    }
}

/// Parameters of requests that need nothing but a folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct FolderParams {
    pub folder: String,
}

/// Parameters of requests that take a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct WorkParams {
    pub folder: String,
    /// Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
    /// answers `cancelled` when everything is cleaned up.
    pub work_done_token: Option<String>,
    /// Keys of powers that the user has approved just now.
    pub allow: Vec<String>,
    /// The user has agreed to what is lost: processes end, files outside of mounts go.
    pub consent: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct UpParams {
    #[serde(flatten)]
    pub work: WorkParams,
    /// As `--gpus` takes it; `null` leaves them as they are.
    pub gpus: Option<String>,
    /// The container, by its id, that was there when `consent` was given: another one that has come since stays, where
    /// something in it would be lost.
    pub seen: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct RebuildParams {
    #[serde(flatten)]
    pub work: WorkParams,
    /// Every step anew.
    pub no_cache: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct SelectGpusParams {
    #[serde(flatten)]
    pub work: WorkParams,
    /// `auto`, `all`, `none`, a count, or names as `gpubay/gpus` gives them, with commas between.
    pub gpus: String,
}

/// The answer of `gpubay/selectGpus`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SelectedGpus {
    /// What programs get that start now.
    pub gpu: GpuReport,
    /// Each difference between what runs and what the configuration says; one of `gpus` waits for a recreate.
    pub drift: Vec<Drift>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct RunParams {
    #[serde(flatten)]
    pub work: WorkParams,
    /// A job of `[jobs]`, instead of `argv`.
    pub job: Option<String>,
    pub argv: Vec<String>,
    pub name: Option<String>,
    pub gpus: Option<String>,
    /// On a frozen copy of the sources.
    pub snapshot: bool,
    /// Beside jobs that have the GPUs already, instead of waiting for them.
    pub share: bool,
}

/// A job that was started, and goes on by itself.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct StartedJob {
    pub name: String,
    pub container: String,
    pub record: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct PsParams {
    pub folder: String,
    /// Of all workspaces of this user on the engine.
    pub all: bool,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Rows {
    pub containers: Vec<Row>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct LogsParams {
    #[serde(flatten)]
    pub work: WorkParams,
    /// A job's name; `null`: the newest job, or the dev container.
    pub job: Option<String>,
    /// Named in each `gpubay/logLines`.
    pub subscription: String,
    pub follow: bool,
    /// The last so many lines; `null`: all.
    pub tail: Option<u32>,
}

/// The end of a log.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct LogsEnd {
    pub container: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct StopParams {
    #[serde(flatten)]
    pub work: WorkParams,
    /// Jobs, or containers of the workspace; none: the dev container.
    pub names: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct RmParams {
    #[serde(flatten)]
    pub work: WorkParams,
    /// Jobs, or containers of the workspace.
    pub names: Vec<String>,
    /// All jobs that have ended.
    pub finished: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct AttachTargetParams {
    pub folder: String,
    /// The alias of this machine in the SSH configuration of the machine on which the editor runs.
    pub ssh: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct WatchGpusParams {
    pub folder: String,
    /// Whether `gpubay/gpus` is wanted from now on. It ends with `false`, however often it was asked for.
    pub watch: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct SyncParams {
    #[serde(flatten)]
    pub work: WorkParams,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ChooseDockerfileParams {
    pub folder: String,
    /// One of a failure's `candidates`.
    pub dockerfile: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct InitParams {
    #[serde(flatten)]
    pub work: WorkParams,
    /// The name of a preset; `null` with `base` `null`: what is usual here.
    pub preset: Option<String>,
    /// Any other image.
    pub base: Option<String>,
    /// The folder of the Dockerfile in `docker/`.
    pub name: Option<String>,
    /// `autopep8` or `ruff`.
    pub style: Option<String>,
    /// Targets of the offered mounts that the user has agreed to.
    pub mounts: Vec<String>,
    /// Tell what would be written, and write nothing.
    pub dry_run: bool,
}

/// What `init` has written, or would write.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct InitReport {
    pub files: Vec<crate::scaffold::PlannedFile>,
    /// The image that is built on, where a Dockerfile is written.
    pub base: Option<String>,
    pub weight: Option<crate::scaffold::Weight>,
    pub presets: Vec<InitPreset>,
    /// The preset that is usual on this engine.
    pub usual: String,
    /// Folders of the host that can be mounted.
    pub mounts: Vec<crate::scaffold::Folder>,
    pub notes: Vec<String>,
    pub undone: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct InitPreset {
    pub name: String,
    pub image: String,
    pub about: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields = nullable))]
pub struct StakesParams {
    pub folder: String,
    /// Of the jobs, too.
    pub jobs: bool,
}

/// What a recreate would lose, by container; those that lose nothing are left out.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct StakesReport {
    pub lost: std::collections::BTreeMap<String, Losses>,
    /// The same as sentences for people.
    pub sentences: Vec<String>,
}

/// The notification by which an editor tells of the user's trust.
pub(super) const TRUST: &str = "gpubay/trust";

/// `gpubay/trust`: the user trusts the workspace from now on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct TrustParams {
    pub trusted: bool,
}

/// `gpubay/state`: everything that an editor shows of a folder. Each replaces the one before.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct FolderState {
    pub folder: String,
    pub phase: Phase,
    /// What is being done now by this helper.
    pub work: Option<Work>,
    pub container: Option<StateContainer>,
    /// Of the container; `null` where none runs.
    pub gpu: Option<GpuReport>,
    pub host_env: Option<HostEnvReport>,
    /// Folders with the container's packages on the host, for tools that take extra paths.
    pub paths: Vec<HostPath>,
    /// Each difference between what runs and what the configuration says.
    pub drift: Vec<Drift>,
    /// Newest last.
    pub jobs: Vec<Row>,
    /// Names in `[jobs]`.
    pub known_jobs: Vec<String>,
    /// Why nothing better can be said, or what failed last.
    pub problem: Option<Failure>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum Phase {
    /// Nobody has looked yet.
    #[default]
    Looking,
    /// The workspace is not trusted.
    Untrusted,
    /// There is nothing to build: `gpubay/init` makes something.
    Unconfigured,
    /// There is no container, or it is stopped.
    Stopped,
    Running,
    /// It runs, and is not what the configuration says.
    Drifted,
    /// `problem` says what.
    Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Work {
    /// The method that asked for it, without `gpubay/`: `up`.
    pub method: String,
    /// To cancel it with; also where another window's client made the token up.
    pub token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct StateContainer {
    pub id: String,
    pub name: String,
    /// In the engine's words: `running`, `exited`, `paused`.
    pub state: String,
    pub workdir: ContainerPath,
}

/// `gpubay/log`: lines for the log of a folder's work, in order, some at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct LogParams {
    pub folder: String,
    pub lines: Vec<LogLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct LogLine {
    pub level: LogLevel,
    /// Without control characters.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum LogLevel {
    /// An external program's output.
    Output,
    Step,
    Note,
    Warning,
    Error,
}

/// `gpubay/logLines`: what a container printed, as it came, some at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct LogLinesParams {
    pub subscription: String,
    pub text: String,
}

/// `gpubay/gpus`: how the GPUs are now, while they are watched. Each replaces the one before.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GpusParams {
    pub folder: String,
    pub report: GpusReport,
}

/// `gpubay/packages`: what Python tools see has changed; they are to look again.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PackagesParams {
    pub folder: String,
    pub host_env: Option<HostEnvReport>,
    pub paths: Vec<HostPath>,
    /// Another number when something was installed into the environment, or removed; 0 where that is not known.
    pub installed: u64,
}
