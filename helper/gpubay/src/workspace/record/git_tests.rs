use std::os::unix::fs::PermissionsExt;

use super::*;

const GIT: &str = "/usr/bin/git";

/// A repository with one commit, made by git itself.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().expect("a folder"));
        repository.git(&["init", "-q", "-b", "main"]);
        repository.write("train.py", "a = 1\n");
        repository.write("sub/x.py", "x = 1\n");
        repository.git(&["add", "."]);
        repository.git(&["commit", "-q", "-m", "first"]);
        repository
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().expect("there")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new(GIT);
        command.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(args).current_dir(self.path());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let ran = command.output().expect("git is installed");
        assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("text").trim().to_owned()
    }

    fn look(&self, below: &str) -> Seen {
        let seen = look(&self.path().join(below), Some(Path::new(GIT))).expect("a repository");
        assert_eq!(seen.git.problems, Vec::<String>::new());
        seen
    }
}

#[test]
fn commit_branch_and_difference_are_those_of_git() {
    let repository = Repository::new();
    let clean = repository.look("");
    assert_eq!(clean.git.commit.as_deref(), Some(repository.git(&["rev-parse", "HEAD"]).as_str()));
    assert_eq!((clean.git.branch.as_deref(), clean.git.dirty, clean.diff.len()), (Some("main"), false, 0));
    repository.write("train.py", "a = 2\n");
    repository.write("new file", "");
    repository.write(".gitignore", "*.log\n");
    repository.write("x.log", "");
    repository.git(&["pack-refs", "--all"]);
    let dirty = repository.look("");
    assert_eq!(dirty.git.commit, clean.git.commit);
    assert_eq!(String::from_utf8_lossy(&dirty.diff).trim(), repository.git(&["diff", "HEAD"]));
    assert_eq!(dirty.git.untracked, [".gitignore", "new file"]);
    repository.write("sub/runs/1.pt", "");
    repository.write("sub/.gitignore", "runs/\n");
    let ignored =
        |below: &str| ignored(&repository.path().join(below), Some(Path::new(GIT))).expect("asked").expect("one");
    assert_eq!(ignored(""), [PathBuf::from("sub/runs"), PathBuf::from("x.log")].into());
    assert_eq!(ignored("sub"), [PathBuf::from("runs")].into());
    std::fs::remove_file(repository.path().join("sub/.gitignore")).expect("removed");
    std::fs::remove_dir_all(repository.path().join("sub/runs")).expect("removed");
    // A workspace below the root has its own part of it.
    let below = repository.look("sub");
    assert_eq!((below.git.dirty, below.git.untracked.len(), &below.git.root), (false, 0, &repository.path()));
    repository.git(&["checkout", "-q", "--detach"]);
    assert_eq!(repository.look("").git.branch, None);
    repository.git(&["worktree", "add", "-q", "-b", "other", "tree"]);
    let tree = repository.look("tree");
    assert_eq!((tree.git.branch.as_deref(), tree.git.dirty), (Some("other"), false));
    assert_eq!(look(Path::new("/proc"), Some(Path::new(GIT))), None);
}

#[test]
fn nothing_that_a_workspace_names_is_run() {
    let repository = Repository::new();
    let canary = repository.path().join("canary");
    let script = repository.path().join("evil.sh");
    std::fs::write(&script, format!("#!/bin/sh\ntouch '{}'\ncat\n", canary.display())).expect("written");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("set");
    let evil = script.to_str().expect("text");
    repository.write(".gitattributes", "* filter=evil diff=evil merge=evil\n");
    for key in [
        "core.fsmonitor",
        "core.pager",
        "pager.diff",
        "diff.external",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "diff.evil.textconv",
        "diff.evil.command",
        "core.sshCommand",
        "core.editor",
    ] {
        let _ = Command::new(GIT).args(["config", key, evil]).current_dir(repository.path()).status();
    }
    for hook in ["post-index-change", "pre-commit", "fsmonitor-watchman", "post-checkout"] {
        std::fs::copy(&script, repository.path().join(".git/hooks").join(hook)).expect("copied");
    }
    repository.write("train.py", "a = 2\n");
    let _ = std::fs::remove_file(&canary);
    let seen = repository.look("");
    assert!(!canary.exists(), "a program of the workspace was run");
    assert!(seen.git.dirty && String::from_utf8_lossy(&seen.diff).contains("+a = 2"));
    // The same question to the repository itself does run it: the attack is one.
    let _ = Command::new(GIT).args(["diff", "HEAD"]).current_dir(repository.path()).output();
    assert!(canary.exists());
}

#[test]
fn what_cannot_be_known_is_said() {
    let repository = Repository::new();
    let seen = look(&repository.path(), None).expect("a repository");
    assert!(seen.git.commit.is_some() && seen.git.problems[0].contains("PATH"));
    repository.write("train.py", &"line\n".repeat(400_000));
    let cut = repository.look("");
    assert!(cut.git.diff_cut && cut.diff.len() as u64 == MOST_DIFF);
    std::fs::write(repository.path().join(".git/index"), "nonsense").expect("written");
    let broken = look(&repository.path(), Some(Path::new(GIT))).expect("a repository");
    assert!(broken.git.problems[0].contains("index"), "{broken:?}");
    for head in ["ref: refs/heads/../../../etc/passwd\n", "ref: /etc/passwd\n", "nonsense\n"] {
        std::fs::write(repository.path().join(".git/HEAD"), head).expect("written");
        let seen = look(&repository.path(), Some(Path::new(GIT))).expect("a repository");
        assert!(seen.git.commit.is_none() && seen.git.problems.len() == 1, "{head:?}: {seen:?}");
    }
}
