//! Which commit a workspace is at, and what differs from it.
//!
//! The workspace is a stranger's until it is trusted, and a container writes it: its `.git` may name programs (hooks,
//! filters, a monitor of files, a pager, a tool for differences) in a dozen places. So git is never shown that
//! folder. It gets a repository of our own, for one question, that holds nothing but a copy of the index, the commit
//! and where the objects are; no configuration of the workspace's is read, of this user's or of the machine's neither.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::files;

/// Of a difference; more is left out, and said.
const MOST_DIFF: u64 = 1 << 20;
/// Of names of files that git does not know.
const MOST_UNTRACKED: usize = 200;
/// Of names of what git ignores.
const MOST_IGNORED: u64 = 16 << 20;
/// A workspace that takes longer is recorded without what was asked.
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST_INDEX: u64 = 512 << 20;

/// What is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Git {
    /// Where the working tree begins: the workspace, or a folder above it.
    pub root: PathBuf,
    /// `None` before the first one.
    pub commit: Option<String>,
    /// `None` where a commit is checked out by itself.
    pub branch: Option<String>,
    /// Tracked files of the workspace differ from the commit.
    pub dirty: bool,
    /// Whether the difference was cut at a megabyte.
    pub diff_cut: bool,
    /// Files that git does not know and does not ignore, up to 200.
    pub untracked: Vec<String>,
    /// Why something of it is not known, a sentence each.
    pub problems: Vec<String>,
}

/// The difference itself is apart, since it may be large.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) git: Git,
    pub(super) diff: Vec<u8>,
}

/// Looks at the repository that `workspace` lies in. `None`: there is none. `git` is the program.
pub(super) fn look(workspace: &Path, git: Option<&Path>) -> Option<Seen> {
    let (root, folder) = find(workspace)?;
    let mut seen = Seen { git: Git { root: root.clone(), ..Git::default() }, diff: Vec::new() };
    let common = common_folder(&folder);
    match head(&folder, &common) {
        Ok((branch, commit)) => (seen.git.branch, seen.git.commit) = (branch, commit),
        Err(why) => {
            seen.git.problems.push(why);
            return Some(seen);
        }
    }
    let (Some(commit), Some(git)) = (seen.git.commit.clone(), git) else {
        if git.is_none() {
            seen.git.problems.push("git is not on PATH, so what differs from the commit is not known".to_owned());
        }
        return Some(seen);
    };
    let asked = Stand::make(&folder, &common, &commit).map_err(|error| error.to_string()).and_then(|stand| {
        let inside = workspace.strip_prefix(&root).unwrap_or(Path::new(""));
        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        let (diff, cut) = stand.ask(git, &root, &DIFF, inside, MOST_DIFF)?;
        (seen.git.dirty, seen.git.diff_cut, seen.diff) = (!diff.is_empty(), cut, diff);
        let (names, _) = stand.ask(git, &root, &UNTRACKED, inside, MOST_DIFF)?;
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).take(MOST_UNTRACKED);
        seen.git.untracked = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        Ok(())
    });
    if let Err(why) = asked {
        seen.git.problems.push(why);
    }
    Some(seen)
}

const DIFF: [&str; 9] = [
    "diff",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-renames",
    // One in a folder of its own would be asked with its own configuration.
    "--ignore-submodules=all",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "HEAD",
];
const IGNORED: [&str; 6] = ["ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"];
const UNTRACKED: [&str; 4] = ["ls-files", "--others", "--exclude-standard", "-z"];

/// Folders and files of `workspace` that git ignores, relative to it; a folder stands for all that is in it. `None`: it
/// lies in no repository.
pub(super) fn ignored(workspace: &Path, git: Option<&Path>) -> Result<Option<BTreeSet<PathBuf>>, String> {
    let Some((root, folder)) = find(workspace) else { return Ok(None) };
    let git = git.ok_or("git is not on PATH, so what it ignores is not known")?;
    let common = common_folder(&folder);
    // Only the index counts here; the commit says which kind of names it has.
    let commit = head(&folder, &common).ok().and_then(|(_, commit)| commit).unwrap_or_else(|| "0".repeat(40));
    let stand = Stand::make(&folder, &common, &commit).map_err(|error| error.to_string())?;
    let below = workspace.strip_prefix(&root).unwrap_or(Path::new(""));
    let inside = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let (names, cut) = stand.ask(git, &root, &IGNORED, inside, MOST_IGNORED)?;
    if cut {
        return Err("git ignores more files than can be looked at".to_owned());
    }
    let path = |name: &[u8]| {
        let name = name.strip_suffix(b"/").unwrap_or(name);
        Path::new(OsStr::from_bytes(name)).strip_prefix(below).ok().map(Path::to_owned)
    };
    Ok(Some(names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).filter_map(path).collect()))
}

/// The root of the working tree, and its git folder.
fn find(workspace: &Path) -> Option<(PathBuf, PathBuf)> {
    for root in workspace.ancestors() {
        let name = root.join(".git");
        let Ok(found) = std::fs::symlink_metadata(&name) else { continue };
        if found.is_dir() && name.join("HEAD").exists() {
            return Some((root.to_owned(), name));
        }
        // A worktree or a submodule: `gitdir: <folder>`.
        if found.is_file() {
            let text = small(&name)?;
            let folder = root.join(text.strip_prefix("gitdir:")?.trim());
            return folder.is_dir().then_some((root.to_owned(), folder));
        }
    }
    None
}

fn small(path: &Path) -> Option<String> {
    String::from_utf8(files::read(path, files::SMALL).ok()?).ok()
}

/// Where objects and branches lie: of a worktree it is another folder.
fn common_folder(folder: &Path) -> PathBuf {
    small(&folder.join("commondir")).map_or_else(|| folder.to_owned(), |text| folder.join(text.trim()))
}

/// Branch and commit.
fn head(folder: &Path, common: &Path) -> Result<(Option<String>, Option<String>), String> {
    let text = small(&folder.join("HEAD")).ok_or("the repository's HEAD cannot be read")?;
    let Some(name) = text.trim().strip_prefix("ref: ") else {
        let commit = text.trim().to_owned();
        return if is_commit(&commit) { Ok((None, Some(commit))) } else { Err("HEAD names no commit".to_owned()) };
    };
    let plain = name.starts_with("refs/") && !name.split('/').any(|part| part.is_empty() || part == "..");
    if !plain || name.chars().any(char::is_control) {
        return Err("HEAD names no branch".to_owned());
    }
    if common.join("reftable").is_dir() {
        return Err("the repository keeps its branches in a reftable, which is not read".to_owned());
    }
    let branch = name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
    let loose = small(&common.join(name)).map(|text| text.trim().to_owned()).filter(|text| is_commit(text));
    let packed = || {
        let text = String::from_utf8(files::read(&common.join("packed-refs"), 64 << 20).ok()?).ok()?;
        let line = text.lines().find_map(|line| line.split_once(' ').filter(|(_, packed)| *packed == name))?;
        Some(line.0.to_owned()).filter(|commit| is_commit(commit))
    };
    Ok((Some(branch), loose.or_else(packed)))
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A repository of ours for one question.
struct Stand(tempfile::TempDir);

impl Stand {
    fn make(folder: &Path, common: &Path, commit: &str) -> std::io::Result<Self> {
        let stand = tempfile::Builder::new().prefix("gpubay-git-").tempdir()?;
        let at = |name: &str| stand.path().join(name);
        std::fs::create_dir_all(at("refs"))?;
        std::fs::create_dir_all(at("objects/info"))?;
        std::fs::create_dir_all(at("info"))?;
        let objects = common.join("objects").canonicalize()?;
        let Some(objects) = objects.to_str().filter(|path| !path.contains(['\n', '"'])) else {
            return Err(std::io::Error::other("the repository's path cannot be written down"));
        };
        std::fs::write(at("objects/info/alternates"), format!("{objects}\n"))?;
        std::fs::write(at("HEAD"), format!("{commit}\n"))?;
        let format = if commit.len() == 64 {
            "repositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n[core]\n"
        } else {
            "repositoryformatversion = 0\n"
        };
        std::fs::write(at("config"), format!("[core]\n\tbare = false\n\tfsmonitor = false\n\t{format}"))?;
        // Above what the working tree's own files say: nothing is converted, and there is nothing to convert it with.
        std::fs::write(at("info/attributes"), "* -filter !diff\n")?;
        if let Some(exclude) = small(&common.join("info/exclude")) {
            std::fs::write(at("info/exclude"), exclude)?;
        }
        if let Ok(opened) = files::open(&folder.join("index")) {
            let place = opened.place().map_err(std::io::Error::from)?;
            let modified = std::fs::metadata(&place)?.modified()?;
            let bytes = opened.read(LARGEST_INDEX).map_err(std::io::Error::from)?;
            std::fs::write(at("index"), bytes)?;
            // What was changed in the moment of the index's own writing is told by its time.
            std::fs::File::options().write(true).open(at("index"))?.set_modified(modified)?;
        }
        Ok(Self(stand))
    }

    /// What it prints, and whether that was cut.
    fn ask(
        &self,
        git: &Path,
        root: &Path,
        question: &[&str],
        inside: &Path,
        most: u64,
    ) -> Result<(Vec<u8>, bool), String> {
        let failed = |why: &str| format!("`git {}` {why}", question[0]);
        let mut command = Command::new(git);
        command.arg("--git-dir").arg(self.0.path()).arg("--work-tree").arg(root).arg("--no-pager").args(question);
        command.arg("--").arg(inside).current_dir(root).env_clear();
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_LITERAL_PATHSPECS", "1"),
            ("GIT_ALLOW_PROTOCOL", ""),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("HOME", "/nonexistent"),
            ("XDG_CONFIG_HOME", "/nonexistent"),
            ("LC_ALL", "C"),
            ("PATH", "/usr/bin:/bin"),
        ] {
            command.env(name, value);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| failed(&format!("cannot be run: {error}")))?;
        let reader = |from: Option<Box<dyn Read + Send>>, most: u64| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(from) = from {
                    let _ = from.take(most).read_to_end(&mut bytes);
                }
                bytes
            })
        };
        let out = reader(child.stdout.take().map(|out| Box::new(out) as _), most + 1);
        let err = reader(child.stderr.take().map(|err| Box::new(err) as _), 4096);
        let start = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
                _ => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break None;
                }
            }
        };
        let (mut out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        let cut = out.len() as u64 > most;
        out.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        match status {
            // A reader that has enough ends it.
            _ if cut => Ok((out, true)),
            Some(status) if status.success() => Ok((out, false)),
            Some(status) => Err(failed(&format!("ended with {status}: {}", String::from_utf8_lossy(&err).trim()))),
            None => Err(failed(&format!("did not end within {} s", PATIENCE.as_secs()))),
        }
    }
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
