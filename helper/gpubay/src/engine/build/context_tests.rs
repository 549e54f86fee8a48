use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn tree(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, file).expect("a file");
    }
    dir
}

fn selected(dir: &Path, selection: &Selection) -> Vec<String> {
    let root = open_root(dir).expect("a root");
    let filter = Filter::new(root.as_fd(), selection).expect("a filter");
    let mut seen = Vec::new();
    walk(root.as_fd(), &filter, &mut |entry| {
        seen.push(entry.path.to_owned());
        Ok(())
    })
    .expect("a walk");
    seen
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_folder_comes_before_its_files_and_names_go_by_their_bytes() {
    let dir = tree(&["a/b", "a-b", "a.txt", "B", "a/a/c", "é"]);
    let seen = selected(dir.path(), &Selection::default());
    assert_eq!(seen, ["B", "a", "a/a", "a/a/c", "a/b", "a-b", "a.txt", "é"]);
}

#[test]
fn an_exception_brings_its_folders_along() {
    let dir = tree(&["data/keep/x", "data/big/1", "src/a.py", "src/b.md", "README.md"]);
    for (excludes, want) in [
        (&["data"][..], &["README.md", "src", "src/a.py", "src/b.md"][..]),
        (&["data", "!data/keep"], &["README.md", "data", "data/keep", "data/keep/x", "src", "src/a.py", "src/b.md"]),
        (&["**", "!src/*.py"], &["src", "src/a.py"]),
        (&["**/*.md", "data/**"], &["data", "src", "src/a.py"]),
    ] {
        let selection = Selection { excludes: strings(excludes), ..Selection::default() };
        assert_eq!(selected(dir.path(), &selection), want, "{excludes:?}");
    }
}

#[test]
fn what_is_never_wanted_is_left_out_even_when_excepted() {
    let dir = tree(&[".venv/bin/python", "a"]);
    let selection = Selection { excludes: strings(&["!.venv"]), never: strings(&[".venv"]), ..Selection::default() };
    assert_eq!(selected(dir.path(), &selection), ["a"]);
}

#[test]
fn an_ignored_folder_is_not_even_opened() {
    let dir = tree(&["a", "data/x"]);
    let data = dir.path().join("data");
    let before = fs::metadata(&data).expect("a folder");
    let opened = || {
        let root = open_root(dir.path()).expect("a root");
        // A watch tells of every opening, of root as well as of users.
        let watch = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::NONBLOCK).expect("inotify");
        rustix::fs::inotify::add_watch(&watch, &data, rustix::fs::inotify::WatchFlags::OPEN).expect("a watch");
        (root, watch)
    };
    for (excludes, want) in [(&["data"][..], false), (&["data", "!data/x"], true)] {
        let (root, watch) = opened();
        let selection = Selection { excludes: strings(excludes), ..Selection::default() };
        let filter = Filter::new(root.as_fd(), &selection).expect("a filter");
        walk(root.as_fd(), &filter, &mut |_| Ok(())).expect("a walk");
        let mut buffer = [std::mem::MaybeUninit::uninit(); 512];
        let mut reader = rustix::fs::inotify::Reader::new(&watch, &mut buffer);
        assert_eq!(reader.next().is_ok(), want, "{excludes:?}");
    }
    assert!(before.is_dir());
}

#[test]
fn links_are_followed_only_within_the_context() {
    let outside = tree(&["secret"]);
    let dir = tree(&["real/file", "other"]);
    symlink("real", dir.path().join("link")).expect("a link");
    symlink(outside.path(), dir.path().join("out")).expect("a link");
    symlink("../../../real/file", dir.path().join("climbs")).expect("a link");
    symlink("loop", dir.path().join("loop")).expect("a link");
    for (follow, want) in [
        (&["link/file"][..], &["link", "real", "real/file"][..]),
        (&["out/secret"], &["out"]),
        (&["climbs"], &["climbs", "real", "real/file"]),
        (&["loop"], &["loop"]),
        (&["l*/file"], &["link", "loop", "real", "real/file"]),
        (&["missing"], &[]),
        (&["../other"], &["other"]),
    ] {
        let selection = Selection { follow: strings(follow), ..Selection::default() };
        assert_eq!(selected(dir.path(), &selection), want, "{follow:?}");
    }
    assert_eq!(selected(dir.path(), &Selection { follow: strings(&["/"]), ..Selection::default() }).len(), 7);
    let root = open_root(dir.path()).expect("a root");
    assert!(open_file(root.as_fd(), "out/secret").is_err());
    assert!(open_file(root.as_fd(), "link/file").is_err());
    assert!(open_file(root.as_fd(), "real/../../secret").is_err());
    assert!(open_file(root.as_fd(), "real/file").is_ok());
}

#[test]
fn a_fifo_blocks_nobody() {
    let dir = tree(&[]);
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .expect("a fifo");
    let root = open_root(dir.path()).expect("a root");
    let (told, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(open_file(root.as_fd(), "fifo").map(|_| ())));
    let answer = answer.recv_timeout(std::time::Duration::from_secs(10)).expect("an answer in time");
    assert_eq!(answer, Err(Errno::INVAL));
}

#[test]
fn names_that_the_wire_cannot_carry_are_told() {
    let dir = tree(&[]);
    fs::write(dir.path().join(OsStr::from_bytes(b"a\xff")), "").expect("a file");
    let root = open_root(dir.path()).expect("a root");
    let walked = |selection: &Selection| {
        let filter = Filter::new(root.as_fd(), selection).expect("a filter");
        walk(root.as_fd(), &filter, &mut |_| Ok(()))
    };
    assert!(matches!(walked(&Selection::default()), Err(ContextError::Name(_))));
    assert!(walked(&Selection { excludes: strings(&["a*"]), ..Selection::default() }).is_ok());
}

/// The files and the outcome of a comparison with what the engine's own tool (buildx 0.29 with
/// Docker 28.5) sends.
#[test]
fn a_tricky_ignore_file_selects_what_the_engines_own_tool_sends() {
    let dir = tree(&[
        "a/b/c/f.txt",
        "a/b/g.md",
        "a/h.pyc",
        "data/1",
        "data/keep/k",
        "data/keep/k.tmp",
        "data/other/o",
        "sp ace/f g",
        "node_modules/x/i.js",
        "node_modules/x/node_modules/y/j.js",
        ".git/HEAD",
        "src/__pycache__/m.pyc",
        "docs/api/i.md",
        "docs/README.md",
        "README.md",
        "README-secret.md",
        "we[ir]d/x",
        "logs/2024/01/l.log",
        "logs/keep.log",
        "build/out/o.bin",
        "build/keep.bin",
        "ü.txt",
        "#hash",
        "!bang",
        "secret.env",
        "prod.env",
    ]);
    let text = "# comment\n  **/*.pyc  \ndata\n!data/keep\ndata/keep/*.tmp\n**/node_modules/**\n!node_modules/x/i.js\n*.md\n\
                !README*.md\nREADME-secret.md\n/build/*\n!build/keep.bin\nlogs/**/*.log\n!logs/keep.log\n.git\nwe\\[ir\\]d\n\
                *.env\n!prod.en?\ndocs/**\n!docs/api/\n#hash\na/**/f.*\n";
    let selection = Selection { excludes: ignore::read_ignore_file(text.as_bytes()), ..Selection::default() };
    let want = "!bang|#hash|README.md|a|a/b|a/b/c|a/b/g.md|build|build/keep.bin|data|data/keep|data/keep/k|docs|docs/api|\
                docs/api/i.md|logs|logs/2024|logs/2024/01|logs/keep.log|node_modules|node_modules/x|node_modules/x/i.js|\
                prod.env|sp ace|sp ace/f g|src|src/__pycache__|ü.txt";
    assert_eq!(selected(dir.path(), &selection).join("|"), want);
}
