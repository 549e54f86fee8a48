//! What a job was made of, kept beyond its container.
//!
//! `<data>/jobs/<place>/<time>-<job>/`, where `<place>` is this workspace on this engine as for its venv, and `<time>` is
//! UTC to the millisecond, `20260131T235959.123Z`, so that names sort by time:
//!
//! - `record.json`: a [`Record`]. It is written last; a folder without one is a job's that waits, or what a
//!   killed process left: nobody has it locked then, and the next run takes it away.
//! - `diff.patch`: what differed from the commit, where something did; at most a megabyte.
//! - `snapshot/`: the frozen sources of `run --snapshot`, with what the job wrote beside them; `sources.json` lists the
//!   sources. They belong to the record and go with it, but what a job wrote ([`written`]) is the user's: `prune` frees the
//!   records of a workspace that is gone, unless they hold such files.
//!
//! A container names its record in the label `gpubay.record`. A record whose container is gone is history; removing
//! its folder frees it and breaks nothing but `run --again` of it. One whose container exists must stay, since the
//! container may mount `snapshot/`.

mod again;
mod git;
mod held;
mod packages;
mod snapshot;

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::GpuDevice;
use super::spec::Planned;
use super::up::Ground;
use super::{Workspace, delivery, labels};
use crate::HostPath;
use crate::config::model::Gpus;
use crate::error::{Error, Result};
use crate::gpu;
use crate::mirror;
use gpubay_protocol::agent::RUN_DIR;

pub use git::Git;
pub(super) use packages::of_image;
pub use snapshot::{Live, Snapshot};

const SCHEMA: u32 = 1;
const FILE: &str = "record.json";
const DIFF: &str = "diff.patch";
const SNAPSHOT: &str = "snapshot";
const SOURCES: &str = "sources.json";

/// What `record.json` holds. It never holds the value of a variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    pub schema: u32,
    /// The version of GPU Bay.
    pub gpubay: String,
    pub job: String,
    /// The container's name.
    pub container: String,
    pub workspace: HostPath,
    pub command: Vec<String>,
    /// The job of the configuration that it was.
    #[serde(default)]
    pub configured: Option<String>,
    /// Inside.
    pub cwd: String,
    pub image: RecordedImage,
    pub engine: String,
    pub gpus: RecordedGpus,
    /// Names of the container's variables.
    pub env: Vec<String>,
    /// The create options as drift names them; what may be secret is hashed.
    pub options: BTreeMap<String, String>,
    /// `None`: the workspace lies in no repository.
    pub git: Option<Git>,
    /// Distributions in the venv, and in the image where they are known, with their versions.
    pub packages: Packages,
    /// `None`: it worked on the workspace itself.
    #[serde(default)]
    pub snapshot: Option<Snapshot>,
    /// Seconds since the Unix epoch.
    pub started: u64,
    /// `None`: it runs, or nobody saw its end.
    pub ended: Option<Ended>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedImage {
    pub id: String,
    pub reference: String,
    /// As registries name it.
    pub digests: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedGpus {
    /// As `--gpus` takes it.
    pub asked: String,
    pub injection: String,
    /// What the engine was asked for.
    pub given: String,
    /// Those that answered inside.
    pub devices: Vec<GpuDevice>,
    /// Of this machine, where the engine is here and there is one.
    pub driver: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Packages {
    pub venv: BTreeMap<String, String>,
    pub image: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// Seconds since the Unix epoch; `None` where nobody watched and the engine does not tell.
    pub at: Option<u64>,
    pub exit_code: i64,
}

/// A record and where it lies.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Kept {
    pub folder: HostPath,
    #[serde(flatten)]
    pub record: Record,
}

/// What is found out while the job is prepared.
#[derive(Debug, Default)]
pub(super) struct Facts {
    git: Option<git::Seen>,
    packages: Packages,
    driver: Option<String>,
}

impl Facts {
    /// Looks at the repository and the venv. May take seconds on a slow disk.
    pub(super) fn gather(workspace: &Workspace) -> impl FnOnce() -> Self + Send + 'static {
        let folder = workspace.folder().clone();
        let venv = workspace.venv_folder();
        let local = workspace.engine.is_local();
        move || {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let program = crate::programs::find("git", &path, folder.as_path());
            Self {
                git: git::look(folder.as_path(), program.as_deref()),
                packages: Packages { venv: packages::of_venv(venv.as_path()), image: None },
                driver: local.then(driver).flatten(),
            }
        }
    }

    /// `<commit>`, with a `+` where something differed.
    pub(super) fn commit(&self) -> Option<String> {
        let git = &self.git.as_ref()?.git;
        let dirty = if git.dirty { "+" } else { "" };
        git.commit.as_ref().map(|commit| format!("{commit}{dirty}"))
    }
}

/// Of the kernel's own NVIDIA driver.
fn driver() -> Option<String> {
    version_of(&std::fs::read_to_string("/proc/driver/nvidia/version").ok()?)
}

fn version_of(text: &str) -> Option<String> {
    let line = text.lines().next().filter(|line| line.starts_with("NVRM version:"))?;
    let number = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    line.split_whitespace().find(number).map(str::to_owned)
}

/// What is recorded of the job itself.
#[derive(Debug)]
pub(super) struct About<'a> {
    pub(super) name: &'a str,
    pub(super) argv: &'a [String],
    pub(super) configured: Option<&'a str>,
    pub(super) gpus: &'a Gpus,
    /// Variables of this one call.
    pub(super) env: &'a [(String, String)],
    pub(super) frozen: Option<&'a Frozen>,
}

/// Frozen sources, and where they lie.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) root: HostPath,
    pub(super) snapshot: Snapshot,
    /// To be kept until the job has started.
    pub(super) held: held::Held,
    /// Of an earlier job's sources: what that job has changed of them.
    pub(super) changed: Vec<String>,
}

/// The options without those that are another's with each call.
fn lasting(
    options: &BTreeMap<String, String>,
    env: &[(String, String)],
    snapshots: Option<&HostPath>,
) -> BTreeMap<String, String> {
    let of_call = |name: &str| {
        let streams = ["attach_stdin", "attach_stdout", "attach_stderr", "open_stdin", "stdin_once", "tty"];
        // The agent's arguments hold the command.
        let own = name == "entrypoint" || name.strip_prefix("mounts.").is_some_and(|target| target == RUN_DIR);
        let passed = name.strip_prefix("env.").is_some_and(|name| env.iter().any(|(passed, _)| passed == name));
        streams.contains(&name) || own || passed
    };
    let frozen = |value: &str| snapshots.is_some_and(|root| value == root.to_string());
    options
        .iter()
        .filter(|(name, value)| !of_call(name) && !frozen(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// A folder for a record that is to be written. It goes with this value, unless it is kept.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) name: String,
    pub(super) path: HostPath,
    kept: bool,
    /// Locked as long as somebody is about to write a record into it, also while the job waits.
    _owned: Option<std::fs::File>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = std::fs::remove_dir_all(self.path.as_path())
        {
            tracing::debug!(path = %self.path, %error, "record not removed");
        }
    }
}

impl Folder {
    /// Makes it, empty, under the workspace's lock.
    pub(super) fn make(workspace: &Workspace, job: &str) -> Result<Self> {
        let name = format!("{}-{job}", stamp(SystemTime::now()));
        let path = records(workspace).join(&name);
        let make = |path: &HostPath, recursive| {
            std::fs::DirBuilder::new().mode(0o700).recursive(recursive).create(path.as_path())
        };
        make(&records(workspace), true).and_then(|()| make(&path, false)).map_err(delivery::at(path.as_path()))?;
        // Where that cannot be, nobody takes it for one that was left.
        let owned = std::fs::File::open(path.as_path()).ok();
        let owned = owned.filter(|folder| flock(folder, FlockOperation::NonBlockingLockExclusive).is_ok());
        Ok(Self { name, path, kept: false, _owned: owned })
    }

    /// Freezes the workspace's sources into it, or those of an earlier record once more. `live` is what is to stay the
    /// workspace's own besides what git ignores.
    pub(super) async fn freeze(
        &self,
        workspace: &Workspace,
        ours: Vec<String>,
        live: &[String],
        again: Option<&Kept>,
    ) -> Result<Frozen> {
        let root = self.path.join(SNAPSHOT);
        std::fs::create_dir(root.as_path()).map_err(delivery::at(root.as_path()))?;
        let live: std::collections::BTreeSet<_> =
            live.iter().map(|path| live_folder(workspace, path)).collect::<Result<_>>()?;
        let (earlier, only) = match again.filter(|kept| kept.record.snapshot.is_some()) {
            Some(kept) => (Some(kept.clone()), Some(sources(kept)?)),
            None => (None, None),
        };
        let from = earlier.as_ref().map_or_else(|| workspace.folder().clone(), |kept| kept.folder.join(SNAPSHOT));
        let (into, folder, progress) = (root.clone(), workspace.folder().clone(), workspace.progress.clone());
        let freezing = tokio::task::spawn_blocking(move || {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let program = crate::programs::find("git", &path, folder.as_path());
            let ignored = if only.is_some() { Ok(None) } else { git::ignored(folder.as_path(), program.as_deref()) };
            let ignored = ignored.unwrap_or_else(|why| {
                progress.warn(format!("everything is frozen: {why}"));
                None
            });
            let rules = snapshot::Rules { ignored, live, ours, only };
            let (snapshot, manifest, unreadable) = snapshot::freeze(from.as_path(), into.as_path(), &rules, &progress)?;
            let changed = rules.only.map_or_else(Vec::new, |only| only.changed(&manifest));
            Ok::<_, Error>((snapshot, manifest, changed, unreadable))
        });
        let frozen = freezing.await.map_err(|error| Error::new("snapshot_failed", error.to_string()))?;
        let (mut snapshot, manifest, changed, unreadable) = frozen?;
        workspace.reach("job.frozen")?;
        if let Some(warning) = not_frozen(&unreadable) {
            workspace.progress.warn(warning);
        }
        if let Some(earlier) = earlier.and_then(|kept| kept.record.snapshot) {
            snapshot.live = earlier.live;
            snapshot.live.retain(|live| workspace.folder().join(&live.path).as_path().exists());
        }
        let text = serde_json::to_vec(&manifest).unwrap_or_default();
        put(&self.path, SOURCES, &text).map_err(delivery::at(self.path.as_path()))?;
        let held = held::Held::open(workspace.folder(), &snapshot.live, &root)?;
        Ok(Frozen { root, snapshot, held, changed })
    }

    /// The short facts, for whoever has only the engine.
    pub(super) fn labels(&self, ground: &Ground, facts: &Facts) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (labels::RECORD.to_owned(), self.name.clone()),
            (labels::IMAGE.to_owned(), ground.image.id.clone()),
            (labels::VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ]);
        labels.extend(facts.commit().map(|commit| (labels::COMMIT.to_owned(), commit)));
        labels
    }

    /// The job has started.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    pub(super) fn write(&self, record: &Record) -> Result<()> {
        write(&self.path, record)
    }

    /// Writes what differed, and returns the record of a job that is about to start.
    pub(super) fn record(
        &self,
        workspace: &Workspace,
        ground: &Ground,
        planned: &Planned,
        about: &About<'_>,
        facts: Facts,
    ) -> Result<(Record, Vec<u8>)> {
        let (git, diff) = facts.git.map_or((None, Vec::new()), |seen| (Some(seen.git), seen.diff));
        if !diff.is_empty() {
            put(&self.path, DIFF, &diff).map_err(delivery::at(self.path.as_path()))?;
        }
        let image = super::read_cache(&of_image(workspace, &ground.image));
        let gpus = RecordedGpus {
            asked: about.gpus.select.typed(),
            injection: gpu::name_of(ground.gpu.injection).to_owned(),
            given: ground.gpu.label.clone(),
            devices: Vec::new(),
            driver: facts.driver,
        };
        let record = Record {
            schema: SCHEMA,
            gpubay: env!("CARGO_PKG_VERSION").to_owned(),
            job: about.name.to_owned(),
            container: planned.spec.name.clone(),
            workspace: workspace.folder().clone(),
            command: about.argv.to_vec(),
            configured: about.configured.map(str::to_owned),
            cwd: planned.spec.workdir.to_string(),
            image: RecordedImage {
                id: ground.image.id.clone(),
                reference: ground.reference.clone(),
                digests: ground.image.digests.clone(),
            },
            engine: workspace.engine.located().endpoint.to_string(),
            gpus,
            env: planned.spec.env.keys().cloned().collect(),
            options: lasting(&planned.options, about.env, about.frozen.map(|frozen| &frozen.root)),
            git,
            packages: Packages { image, ..facts.packages },
            snapshot: about.frozen.map(|frozen| frozen.snapshot.clone()),
            started: now(),
            ended: None,
        };
        self.write(&record)?;
        Ok((record, diff))
    }
}

fn write(folder: &HostPath, record: &Record) -> Result<()> {
    let text = serde_json::to_vec_pretty(record).unwrap_or_default();
    Ok(put(folder, FILE, &text).map_err(delivery::at(folder.as_path()))?)
}

/// Whole or not at all, and for the user alone.
fn put(folder: &HostPath, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = tempfile::NamedTempFile::new_in(folder.as_path())?;
    file.write_all(bytes)?;
    file.persist(folder.join(name).as_path())?;
    Ok(())
}

pub(super) fn records(workspace: &Workspace) -> HostPath {
    workspace.shared().join("jobs").join(&workspace.place)
}

/// Whether nobody will write a record into this folder any more that has none: who made it under the workspace's lock, which is
/// ours, was killed.
pub(super) fn is_abandoned(folder: &HostPath) -> bool {
    if folder.join(FILE).as_path().exists() {
        return false;
    }
    let free = |folder: &std::fs::File| flock(folder, FlockOperation::NonBlockingLockExclusive).is_ok();
    std::fs::File::open(folder.as_path()).is_ok_and(|folder| free(&folder))
}

/// Takes away what killed processes left, under the workspace's lock.
pub(super) fn sweep(workspace: &Workspace) {
    let folder = records(workspace);
    for entry in std::fs::read_dir(folder.as_path()).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if is_abandoned(&folder.join(&name))
            && let Err(error) = mirror::remove_below(&workspace.shared(), &format!("jobs/{}", workspace.place), &name)
        {
            tracing::debug!(name, %error, "it stays");
        }
    }
}

/// Every record of this workspace on this engine, oldest first. One that cannot be read is left out.
pub fn all(workspace: &Workspace) -> Vec<Kept> {
    let folder = records(workspace);
    let mut names: Vec<String> = std::fs::read_dir(folder.as_path())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names.into_iter().filter_map(|name| read(folder.join(name))).collect()
}

fn read(folder: HostPath) -> Option<Kept> {
    let record: Record = serde_json::from_slice(&std::fs::read(folder.join(FILE).as_path()).ok()?).ok()?;
    (record.schema == SCHEMA).then_some(Kept { folder, record })
}

/// The latest job of that name, or of all; the name of a container or of a record does as well.
///
/// # Errors
/// `no_such_job` naming those there are.
pub fn find(workspace: &Workspace, job: Option<&str>) -> Result<Kept> {
    let all = all(workspace);
    let folder_is = |kept: &Kept, name: &str| kept.folder.as_path().file_name().is_some_and(|file| file == name);
    let named = |kept: &&Kept| {
        job.is_none_or(|name| kept.record.job == name || kept.record.container == name || folder_is(kept, name))
    };
    if let Some(found) = all.iter().rev().find(named) {
        return Ok(found.clone());
    }
    let mut names: Vec<&str> = all.iter().map(|kept| kept.record.job.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let there = if names.is_empty() { "there is none".to_owned() } else { format!("there are: {}", names.join(", ")) };
    let asked = job.map_or_else(|| "of any job".to_owned(), |job| format!("of a job named {job}"));
    Err(Error::new("no_such_job", format!("there is no record {asked}; {there}"))
        .with_hint("`gpubay run -- COMMAND` makes one; `gpubay record --list` lists them."))
}

/// A folder that is to stay the workspace's own, made where it is missing.
fn live_folder(workspace: &Workspace, path: &str) -> Result<std::path::PathBuf> {
    crate::config::check_live_folder(path)?;
    let plain = std::path::Path::new(path);
    let made = cap_std::fs::Dir::open_ambient_dir(workspace.folder().as_path(), cap_std::ambient_authority())
        .and_then(|root| root.create_dir_all(plain).or_else(|error| root.metadata(plain).map(drop).map_err(|_| error)));
    made.map_err(delivery::at(workspace.folder().join(path).as_path()))?;
    Ok(plain.components().collect())
}

/// What the job will not find, although it is among the sources.
fn not_frozen(unreadable: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    let shown = unreadable.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = unreadable.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    (!unreadable.is_empty()).then(|| format!("left out of the frozen sources, since it cannot be read: {shown}{more}"))
}

fn sources(kept: &Kept) -> Result<snapshot::Manifest> {
    let path = kept.folder.join(SOURCES);
    let read = std::fs::read(path.as_path()).map_err(|error| error.to_string());
    read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string())).map_err(|why| {
        Error::new("snapshot_gone", format!("the snapshot of {} cannot be used again: {path}: {why}", kept.record.job))
            .with_hint("Run its command anew: `gpubay run --snapshot -- COMMAND`.")
    })
}

/// What a job wrote into its snapshot, which is not the workspace: its folder, and names relative to it.
pub fn written(kept: &Kept) -> Option<(HostPath, Vec<String>)> {
    kept.record.snapshot.as_ref()?;
    let folder = kept.folder.join(SNAPSHOT);
    let names = snapshot::written(folder.as_path(), &sources(kept).ok()?);
    Some((folder, names))
}

/// Whether jobs wrote into their snapshots, below `place`, the folder of all records of one workspace on one engine. What
/// cannot be told counts.
pub(super) fn hold_work(place: &HostPath) -> bool {
    let Ok(entries) = std::fs::read_dir(place.as_path()) else { return true };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).any(|name| {
        let folder = place.join(&name);
        // Without a record the job has not started.
        folder.join(FILE).as_path().exists()
            && read(folder).is_none_or(|kept| {
                kept.record.snapshot.is_some() && written(&kept).is_none_or(|(_, names)| !names.is_empty())
            })
    })
}

/// What is not as it was.
pub(super) fn differences(was: &Kept, now: &Record, now_diff: &[u8], frozen: Option<&Frozen>) -> Vec<super::Drift> {
    again::differences(was, now, now_diff, frozen.map_or(&[], |frozen| &frozen.changed))
}

/// What differed from the commit; empty where nothing did.
pub fn diff(kept: &Kept) -> Vec<u8> {
    std::fs::read(kept.folder.join(DIFF).as_path()).unwrap_or_default()
}

/// Seconds since the Unix epoch.
pub(super) fn now() -> u64 {
    seconds(SystemTime::now())
}

/// Where the record of that name lies. All but `data` may come from labels, which whoever has the engine can write.
pub(super) fn folder_of(data: &HostPath, place: &str, name: &str) -> Option<HostPath> {
    let plain = [place, name].iter().all(|part| gpubay_protocol::contents::is_plain(part.as_bytes()));
    plain.then(|| data.join("jobs").join(place).join(name))
}

/// Whether there is a record whose job's end is not noted.
pub(super) fn is_open(folder: &HostPath) -> bool {
    read(folder.clone()).is_some_and(|kept| kept.record.ended.is_none())
}

/// Notes how a job ended, once: the first who says it has seen it.
pub(super) fn ended(folder: &HostPath, at: Option<u64>, exit_code: i64) {
    if let Some(Kept { mut record, .. }) = read(folder.clone()).filter(|kept| kept.record.ended.is_none()) {
        record.ended = Some(Ended { at, exit_code });
        if let Err(error) = write(folder, &record) {
            tracing::debug!(%error, "the end of a job is not recorded");
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// `2026-01-31 23:59:59 UTC`, for people.
pub fn date(seconds: u64) -> String {
    let ((year, month, day), second) = (civil(seconds / 86400), seconds % 86400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

/// `20260131T235959.123Z`
fn stamp(time: SystemTime) -> String {
    let since: Duration = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86400, since.as_secs() % 86400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a day since 1970, in the Gregorian calendar (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_dates() {
        for (seconds, want) in [
            (0, "19700101T000000.007Z"),
            (951_782_400, "20000229T000000.007Z"),
            (1_795_823_999, "20261127T235959.007Z"),
            (4_107_542_399, "21000228T235959.007Z"),
        ] {
            assert_eq!(stamp(UNIX_EPOCH + Duration::new(seconds, 7_000_000)), want);
        }
    }

    #[test]
    fn the_drivers_version_is_read() {
        let text =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: 12.2\n";
        assert_eq!(version_of(text).as_deref(), Some("580.95.05"));
        assert_eq!(version_of("GCC version: 12.2"), None);
    }
}
