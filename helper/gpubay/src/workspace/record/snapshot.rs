//! `run --snapshot`: a frozen copy of the workspace's sources, for one job.
//!
//! The copy is mounted where the workspace would be, and lies in the job's record. Hard links would be cheaper and are not
//! safe: an editor that writes in place would write both. So files are cloned where the file system can, and copied
//! elsewhere. Mounting single frozen files over the live workspace would not do either: replacing a file on the host, as
//! editors and `git checkout` do, takes such a mount away.
//!
//! What is not frozen is *live*: folders that git ignores (datasets, outputs), files over 64 MB, and what `--live` names are
//! the workspace's own, at the same place. `.git` is live and read-only. `__pycache__` is left out, and so is what is neither
//! file, folder nor link.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Shortage};
use crate::progress::{Progress, Step, Unit};

/// A file over this size is data.
const LARGE: u64 = 64 << 20;
/// Folders and links are entries as well.
const MOST_ENTRIES: u64 = 100_000;
const MOST_BYTES: u64 = 4 << 30;
/// Each is a mount.
const MOST_LIVE: usize = 64;
const DEEPEST: usize = 100;

/// What is recorded of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    pub files: u64,
    pub bytes: u64,
    /// What is the workspace's own at its place, relative to it.
    pub live: Vec<Live>,
    /// What was left out, relative to the workspace; sockets, pipes and the like.
    pub left_out: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Live {
    pub path: String,
    pub read_only: bool,
}

/// What was frozen, to tell later what the job wrote.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Size and time of each.
    files: BTreeMap<String, (u64, i64, i64)>,
    /// Where each leads.
    links: BTreeMap<String, String>,
    folders: BTreeSet<String>,
}

impl Manifest {
    fn names(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.links.contains_key(path) || self.folders.contains(path)
    }

    /// What is not in `now` as it is here; nothing of what is only there.
    pub(super) fn changed(&self, now: &Self) -> Vec<String> {
        let files = self.files.iter().filter(|(path, file)| now.files.get(*path) != Some(*file)).map(|(path, _)| path);
        let links = self.links.iter().filter(|(path, link)| now.links.get(*path) != Some(*link)).map(|(path, _)| path);
        let mut changed: Vec<String> =
            files.chain(links).chain(self.folders.difference(&now.folders)).cloned().collect();
        changed.sort();
        changed
    }
}

/// What is frozen and what is not.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Folders and files that git ignores; `None` where git was not asked.
    pub(super) ignored: Option<BTreeSet<PathBuf>>,
    /// Relative, as `--live` names them.
    pub(super) live: BTreeSet<PathBuf>,
    /// Names directly in the workspace that have a mount of their own.
    pub(super) ours: Vec<String>,
    /// Only what these name, of an earlier snapshot.
    pub(super) only: Option<Manifest>,
}

/// What was frozen, and what could not be read, each with why.
type Freezing = (Snapshot, Manifest, Vec<String>);

/// Copies `from` into the empty folder `into`.
///
/// # Errors
/// `snapshot_too_large` with what is large; a full disk; `cancelled`. What was copied stays for the caller to remove.
pub(super) fn freeze(from: &Path, into: &Path, rules: &Rules, progress: &Progress) -> Result<Freezing> {
    freeze_at_most(MOST_ENTRIES, from, into, rules, progress)
}

fn freeze_at_most(most: u64, from: &Path, into: &Path, rules: &Rules, progress: &Progress) -> Result<Freezing> {
    let step = progress.step("Freezing the sources");
    let mut copy = Copy {
        rules,
        progress,
        step: &step,
        snapshot: Snapshot::default(),
        manifest: Manifest::default(),
        unreadable: Vec::new(),
        most,
        entries: 0,
        by_top: BTreeMap::new(),
    };
    let open = |path: &Path| rustix::fs::open(path, FOLDER, Mode::empty()).map_err(io::Error::from);
    let source = open(from).map_err(|error| failed(from, &error))?;
    let target = open(into).map_err(|error| failed(into, &error))?;
    copy.folder(&source, &target, Path::new(""), 0)?;
    let Copy { snapshot, manifest, unreadable, .. } = copy;
    step.done();
    Ok((snapshot, manifest, unreadable))
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

struct Copy<'a> {
    rules: &'a Rules,
    progress: &'a Progress,
    step: &'a Step,
    snapshot: Snapshot,
    manifest: Manifest,
    unreadable: Vec<String>,
    most: u64,
    entries: u64,
    /// Entries and bytes of each entry of the workspace itself, to say which is large.
    by_top: BTreeMap<OsString, (u64, u64)>,
}

impl Copy<'_> {
    /// Relative to open folders and never through a link: a container may swap any name at any moment.
    fn folder(&mut self, from: &OwnedFd, to: &OwnedFd, at: &Path, depth: usize) -> Result<()> {
        let wrong = |error: rustix::io::Errno| failed(at, &error.into());
        if depth > DEEPEST {
            return Err(Error::new(
                "snapshot_too_deep",
                format!("{} has more than {DEEPEST} folders above it", at.display()),
            )
            .with_hint("Name a folder above it with --live, and it is left as it is."));
        }
        let mut names: Vec<OsString> = Vec::new();
        for entry in Dir::read_from(from).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            // Of an earlier snapshot nothing else counts: its job may have written any number of files.
            if name == "." || name == ".." || self.rules.only.as_ref().is_some_and(|o| !o.names(&key(&at.join(name)))) {
                continue;
            }
            self.progress.check()?;
            self.entry(&at.join(name))?;
            names.push(name.to_owned());
        }
        names.sort();
        for name in names {
            self.progress.check()?;
            let path = at.join(&name);
            if depth == 0 && self.rules.ours.iter().any(|ours| name == ours.as_str()) || name == "__pycache__" {
                continue;
            }
            let stat = match rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(error) => {
                    self.unreadable(&path, error)?;
                    continue;
                }
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            let ignored = self.rules.ignored.as_ref().is_some_and(|ignored| ignored.contains(&path));
            let large = kind == FileType::RegularFile && size > LARGE;
            let git = depth == 0 && name == ".git" && kind == FileType::Directory;
            let folder_or_file = matches!(kind, FileType::Directory | FileType::RegularFile);
            let is_live = self.rules.live.contains(&path) || large || git || ignored && kind == FileType::Directory;
            if folder_or_file && is_live && self.rules.only.is_none() {
                self.live(&path, git)?;
                continue;
            }
            match kind {
                FileType::Directory => {
                    let source = match rustix::fs::openat(from, &name, FOLDER, Mode::empty()) {
                        Ok(source) => source,
                        Err(error) => {
                            self.unreadable(&path, error)?;
                            continue;
                        }
                    };
                    rustix::fs::mkdirat(to, &name, Mode::RWXU).map_err(wrong)?;
                    let target = rustix::fs::openat(to, &name, FOLDER, Mode::empty()).map_err(wrong)?;
                    self.manifest.folders.insert(key(&path));
                    self.folder(&source, &target, &path, depth + 1)?;
                    rustix::fs::fchmod(&target, permissions(stat.st_mode) | Mode::RWXU).map_err(wrong)?;
                }
                FileType::RegularFile => self.file(from, to, &name, &path)?,
                FileType::Symlink => {
                    if let Ok(target) = rustix::fs::readlinkat(from, &name, Vec::new()) {
                        let leads = String::from_utf8_lossy(target.as_bytes()).into_owned();
                        self.manifest.links.insert(key(&path), leads);
                        rustix::fs::symlinkat(target, to, &name).map_err(wrong)?;
                    }
                }
                _ => self.left_out(&path),
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &OwnedFd, to: &OwnedFd, name: &OsStr, path: &Path) -> Result<()> {
        let wrong = |error: io::Error| failed(path, &error);
        // A FIFO must not block the open.
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
        let source = match rustix::fs::openat(from, name, flags, Mode::empty()) {
            Ok(source) => source,
            Err(error) => return self.unreadable(path, error),
        };
        let stat = rustix::fs::fstat(&source).map_err(|error| wrong(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            self.left_out(path);
            return Ok(());
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        let target =
            rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR).map_err(|error| wrong(error.into()))?;
        let size = match rustix::fs::ioctl_ficlone(&target, &source) {
            Ok(()) => u64::try_from(stat.st_size).unwrap_or(0),
            Err(_) => {
                let mut target = std::fs::File::from(target.try_clone().map_err(wrong)?);
                // One that grows meanwhile is not followed for ever.
                let mut source = io::Read::take(std::fs::File::from(source), 2 * LARGE);
                io::copy(&mut source, &mut target).map_err(wrong)?
            }
        };
        let (seconds, nanoseconds) = (stat.st_mtime, stat.st_mtime_nsec as i64);
        let modified = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        rustix::fs::fchmod(&target, permissions(stat.st_mode) | Mode::RUSR).map_err(|error| wrong(error.into()))?;
        // Python's own caches go by it.
        let times = Timestamps { last_access: modified, last_modification: modified };
        rustix::fs::futimens(target.as_fd(), &times).map_err(|error| wrong(error.into()))?;
        self.manifest.files.insert(key(path), (size, seconds, nanoseconds));
        self.snapshot.files += 1;
        self.snapshot.bytes += size;
        self.top(path).1 += size;
        if self.snapshot.files.is_multiple_of(64) {
            self.step.advance(self.snapshot.bytes, None, Unit::Bytes);
        }
        self.check_size()
    }

    /// One more is listed: a container can make folders and links faster than they are copied.
    fn entry(&mut self, path: &Path) -> Result<()> {
        self.entries += 1;
        self.top(path).0 += 1;
        self.check_size()
    }

    fn top(&mut self, path: &Path) -> &mut (u64, u64) {
        self.by_top.entry(path.iter().next().unwrap_or_default().to_owned()).or_default()
    }

    fn check_size(&self) -> Result<()> {
        let most = self.most;
        if self.entries <= most && self.snapshot.bytes <= MOST_BYTES {
            return Ok(());
        }
        let largest = self.by_top.iter().max_by_key(|(_, size)| **size);
        let largest = largest.map_or_else(String::new, |(name, (entries, bytes))| {
            let name = name.to_string_lossy();
            format!("; most of it is {name} with {entries} of them and {} MB so far", bytes >> 20)
        });
        Err(Error::new(
            "snapshot_too_large",
            format!("the sources are more than {most} files, folders and links or {} GB{largest}", MOST_BYTES >> 30),
        )
        .with_hint("Data stays the workspace's own where .gitignore names its folder, or --live does."))
    }

    fn live(&mut self, path: &Path, read_only: bool) -> Result<()> {
        let Some(text) = path.to_str() else {
            self.left_out(path);
            return Ok(());
        };
        if self.snapshot.live.len() == MOST_LIVE {
            return Err(Error::new(
                "snapshot_too_many_live",
                format!("more than {MOST_LIVE} folders and large files are the workspace's own, {text} among them"),
            )
            .with_hint("Each is a mount: name a folder above them with --live."));
        }
        self.snapshot.live.push(Live { path: text.to_owned(), read_only });
        Ok(())
    }

    /// What another user's mode forbids, or what became something else meanwhile. What is gone by now was no source, and
    /// where this machine lacks something the copy would be another with each try.
    fn unreadable(&mut self, path: &Path, error: rustix::io::Errno) -> Result<()> {
        let error = io::Error::from(error);
        if error.kind() == io::ErrorKind::NotFound {
            return Ok(());
        }
        if Shortage::of(&error).is_some() {
            return Err(failed(path, &error));
        }
        self.unreadable.push(format!("{} ({})", path.display(), said(&error)));
        self.left_out(path);
        Ok(())
    }

    fn left_out(&mut self, path: &Path) {
        if self.snapshot.left_out.len() < 100 {
            self.snapshot.left_out.push(path.to_string_lossy().into_owned());
        }
    }
}

/// Without the number.
fn said(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn key(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Without what gives a program another's rights.
fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o777)
}

fn failed(path: &Path, error: &io::Error) -> Error {
    let shortage = Shortage::of(error);
    let made = Error::new(
        shortage.map_or("snapshot_failed", Shortage::code),
        format!("freeze the sources: {}: {error}", path.display()),
    );
    match shortage {
        Some(shortage) => made.with_hint(shortage.hint("name another folder in [paths] data of your own config.toml")),
        None => made.with_hint("Look at that file, or leave its folder live: --live FOLDER."),
    }
}

/// What the job wrote into its snapshot: files that are new or differ, up to a hundred. A container wrote them; only names
/// are looked at.
pub(super) fn written(snapshot: &Path, manifest: &Manifest) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    let mut looked = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(snapshot.join(&folder)).into_iter().flatten().flatten() {
            looked += 1;
            if found.len() >= 100 || looked > 2 * MOST_ENTRIES {
                return found;
            }
            let path = folder.join(entry.file_name());
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && entry.file_name() != "__pycache__" && path.iter().count() <= DEEPEST {
                folders.push(path);
            } else if meta.is_file() {
                use std::os::unix::fs::MetadataExt;
                let key = key(&path);
                if manifest.files.get(&key) != Some(&(meta.len(), meta.mtime(), meta.mtime_nsec())) {
                    found.push(key);
                }
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn rules(ignored: &[&str], live: &[&str]) -> Rules {
        let set = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        Rules { ignored: Some(set(ignored)), live: set(live), ours: vec![".venv".to_owned()], only: None }
    }

    fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, into) = (folder.path().join("ws"), folder.path().join("copy"));
        std::fs::create_dir(&from).expect("made");
        std::fs::create_dir(&into).expect("made");
        (folder, from, into)
    }

    fn write(root: &Path, name: &str, text: &str) {
        std::fs::create_dir_all(root.join(name).parent().expect("a folder")).expect("made");
        std::fs::write(root.join(name), text).expect("written");
    }

    #[test]
    fn sources_are_frozen_and_data_is_live() {
        let (folder, from, into) = places();
        for name in ["a.py", "pkg/b.py", "pkg/__pycache__/b.pyc", "exp/c.yaml", "exp/runs/1.pt", ".venv/x", ".git/HEAD"]
        {
            write(&from, name, name);
        }
        write(folder.path(), "secret", "canary");
        std::fs::set_permissions(from.join("a.py"), PermissionsExt::from_mode(0o4755)).expect("set");
        symlink("../secret", from.join("link")).expect("linked");
        symlink(folder.path(), from.join("out")).expect("linked");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, from.join("pipe"), FileType::Fifo, mode, 0).expect("made");
        std::fs::File::create(from.join("big.bin")).and_then(|file| file.set_len(LARGE + 1)).expect("made");
        std::fs::create_dir(from.join("data")).expect("made");
        let rules = rules(&["exp/runs", "a.py"], &["data"]);
        let (snapshot, manifest, unreadable) = freeze(&from, &into, &rules, &Progress::silent()).expect("frozen");
        let live: Vec<(&str, bool)> = snapshot.live.iter().map(|live| (live.path.as_str(), live.read_only)).collect();
        assert_eq!(live, [(".git", true), ("big.bin", false), ("data", false), ("exp/runs", false)]);
        assert_eq!((snapshot.files, snapshot.left_out, unreadable), (3, vec!["pipe".to_owned()], Vec::new()));
        assert!(!into.join("pkg/__pycache__").exists() && !into.join(".venv").exists());
        assert_eq!(std::fs::read_link(into.join("link")).expect("a link"), Path::new("../secret"));
        assert!(into.join("out").is_symlink());
        let same = |name: &str| {
            let meta = |root: &Path| std::fs::metadata(root.join(name)).expect("there");
            meta(&from).modified().expect("a time") == meta(&into).modified().expect("a time")
        };
        assert!(same("a.py") && same("pkg/b.py"));
        assert_eq!(std::fs::metadata(into.join("a.py")).expect("there").permissions().mode() & 0o7777, 0o755);
        // An edit in place reaches it in neither direction.
        write(&from, "pkg/b.py", "edited");
        assert_eq!(std::fs::read_to_string(into.join("pkg/b.py")).expect("read"), "pkg/b.py");
        assert_eq!(written(&into, &manifest), Vec::<String>::new());
        write(&into, "model.pt", "weights");
        write(&into, "a.py", "changed");
        assert_eq!(written(&into, &manifest), ["a.py", "model.pt"]);
        // Of an earlier snapshot only its sources.
        let again = folder.path().join("again");
        std::fs::create_dir(&again).expect("made");
        std::fs::create_dir(into.join("made")).expect("made");
        symlink("/", into.join("planted")).expect("linked");
        let only = Rules { only: Some(manifest.clone()), ..Rules::default() };
        let (snapshot, now, _) = freeze(&into, &again, &only, &Progress::silent()).expect("frozen");
        assert!(snapshot.files == 3 && snapshot.live.is_empty() && again.join("link").is_symlink());
        for name in ["model.pt", "made", "planted"] {
            assert!(again.join(name).symlink_metadata().is_err(), "{name} is the job's");
        }
        // What the job did to the sources themselves is told.
        assert_eq!(manifest.changed(&now), ["a.py"]);
        std::fs::remove_dir_all(into.join("pkg")).expect("removed");
        std::fs::remove_file(into.join("link")).and_then(|()| symlink("/", into.join("link"))).expect("linked");
        std::fs::remove_dir_all(&again).and_then(|()| std::fs::create_dir(&again)).expect("empty");
        let (_, now, _) = freeze(&into, &again, &only, &Progress::silent()).expect("frozen");
        assert_eq!(manifest.changed(&now), ["a.py", "link", "pkg", "pkg/b.py"]);
    }

    #[test]
    fn folders_and_links_count_and_so_does_what_is_only_listed() {
        let freeze = |name: &str, make: &dyn Fn(&Path)| {
            let (_folder, from, into) = places();
            std::fs::create_dir(from.join("many")).expect("made");
            (0..9).for_each(|n| make(&from.join(format!("many/{n}"))));
            let most = |most| freeze_at_most(most, &from, &into, &rules(&[], &[]), &Progress::silent());
            let error = most(9).expect_err(name);
            assert!(error.code == "snapshot_too_large" && error.to_string().contains("many with 10 of"), "{error}");
            // Nothing of a folder that is too large is copied.
            assert_eq!(into.join("many").read_dir().expect("there").count(), 0, "{name}");
            std::fs::remove_dir(into.join("many")).expect("removed");
            most(10).expect(name);
        };
        freeze("folders", &|path| std::fs::create_dir(path).expect("made"));
        freeze("links", &|path| symlink("/", path).expect("linked"));
        freeze("files", &|path| std::fs::write(path, "").expect("written"));
    }

    #[test]
    fn it_can_be_taken_back_and_too_much_is_said() {
        let (_folder, from, into) = places();
        write(&from, "a.py", "");
        let progress = Progress::silent();
        progress.cancel.cancel();
        assert_eq!(freeze(&from, &into, &rules(&[], &[]), &progress).expect_err("taken back").code, "cancelled");
        for n in 0..=MOST_LIVE {
            std::fs::create_dir(from.join(format!("d{n}"))).expect("made");
        }
        let live: Vec<String> = (0..=MOST_LIVE).map(|n| format!("d{n}")).collect();
        let live: Vec<&str> = live.iter().map(String::as_str).collect();
        let error = freeze(&from, &into, &rules(&live, &[]), &Progress::silent()).expect_err("too many");
        assert_eq!(error.code, "snapshot_too_many_live");
        let mut path = from.clone();
        for _ in 0..=DEEPEST {
            path.push("x");
        }
        std::fs::create_dir_all(path).expect("made");
        for n in 0..=MOST_LIVE {
            std::fs::remove_dir(from.join(format!("d{n}"))).expect("removed");
        }
        let _ = std::fs::remove_file(into.join("a.py"));
        let error = freeze(&from, &into, &rules(&[], &[]), &Progress::silent()).expect_err("too deep");
        assert_eq!(error.code, "snapshot_too_deep");
    }
}
