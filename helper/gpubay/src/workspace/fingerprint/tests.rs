use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;

struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new(files: &[(&str, &str)]) -> Self {
        let own = Self(tempfile::tempdir().expect("a folder"));
        for (path, text) in files {
            own.write(path, text);
        }
        own
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join("ws").join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(&path, text).expect("a file");
    }

    fn context(&self) -> HostPath {
        HostPath::new(self.0.path().join("ws")).expect("a path")
    }

    fn cache(&self) -> HostPath {
        HostPath::new(self.0.path().join("cache/hashes")).expect("a path")
    }

    fn input(&self) -> FingerprintInput {
        FingerprintInput {
            dockerfile: Dockerfile::File(self.context().join("Dockerfile")),
            context: self.context(),
            args: BTreeMap::new(),
            target: None,
            bases: BTreeMap::new(),
            secret_ids: Vec::new(),
            always_exclude: vec![".venv".to_owned()],
        }
    }

    fn take(&self) -> Fingerprint {
        fingerprint(&self.input(), &self.cache()).expect("a fingerprint")
    }
}

/// Which of some edits change the fingerprint of a workspace with this Dockerfile.
#[track_caller]
fn check(dockerfile: &str, ignore: &str, changing: &[&str], others: &[&str]) {
    let workspace = Workspace::new(&[("Dockerfile", dockerfile), (".dockerignore", ignore)]);
    for path in changing.iter().chain(others) {
        workspace.write(path, "before");
    }
    let mut last = workspace.take();
    for (paths, changes) in [(others, false), (changing, true)] {
        for path in paths {
            workspace.write(path, "after");
            let now = workspace.take();
            assert_eq!(now != last, changes, "{path} with {dockerfile:?}");
            last = now;
        }
    }
}

#[test]
fn only_files_that_an_instruction_reads_count() {
    check("FROM a\nCOPY requirements.txt /x", "", &["requirements.txt"], &["train.py", ".git/HEAD", ".venv/x"]);
    check(
        "FROM a\nCOPY . /x",
        "data\n*.md\n!README.md",
        &["train.py", "README.md"],
        &["data/x", "a.md", ".git/x", ".venv/x"],
    );
    check("FROM a\nCOPY req*.txt docker/ /x", "", &["req-dev.txt", "docker/a/b"], &["other.txt"]);
    check("FROM a\nCOPY [\"a b.txt\", \"/x\"]", "", &["a b.txt"], &["a"]);
    check("FROM a\nRUN --mount=type=bind,source=wheels,target=/w pip", "", &["wheels/x"], &["train.py"]);
    check("FROM a\nRUN --mount=target=/w make", "", &["train.py"], &[]);
    check("FROM a\nRUN --mount=type=cache,target=/w make", "", &[], &["train.py"]);
    check("FROM a\nRUN --mount=type=bind,from=b,target=/w make", "", &[], &["train.py"]);
    check("FROM a\nADD https://example.org/x /x\nADD data.tar /", "", &["data.tar"], &["x"]);
    check("FROM a\nCOPY <<EOF /x\ntext\nEOF", "", &[], &["train.py"]);
    check("FROM a\nARG D=sub\nCOPY $D/file /x", "", &["sub/file"], &["sub/other"]);
    check("FROM a\nCOPY $FROM_THE_BASE/file /x", "", &["anything"], &[]);
    check("FROM a\ncopy --chown=1:1 --link one /x", "", &["one"], &["two"]);
    check("FROM a\nONBUILD COPY one /x", "", &["one"], &["two"]);
    check("FROM a\nCOPY --parents ./sub/./one /x", "", &["sub/one"], &["sub/two"]);
    check("FROM a\nCOPY --parents **/one /x", "", &["deep/down/one"], &[]);
    check("FROM a\nCOPY ../../one /x", "", &["one"], &["two"]);
}

#[test]
fn only_stages_that_the_target_needs_count() {
    let text = "FROM a AS one\nCOPY 1 /\nFROM b AS two\nCOPY 2 /\nFROM one AS three\nCOPY 3 /\nFROM c\nCOPY --from=three /x /\nCOPY 4 /";
    check(text, "", &["1", "3", "4"], &["2"]);
    let workspace = Workspace::new(&[("Dockerfile", text), ("1", ""), ("2", ""), ("3", ""), ("4", "")]);
    let input = FingerprintInput { target: Some("TWO".to_owned()), ..workspace.input() };
    let before = fingerprint(&input, &workspace.cache()).expect("a fingerprint");
    workspace.write("1", "x");
    assert_eq!(fingerprint(&input, &workspace.cache()).expect("a fingerprint"), before);
    workspace.write("2", "x");
    assert_ne!(fingerprint(&input, &workspace.cache()).expect("a fingerprint"), before);
}

#[test]
fn everything_else_that_a_build_takes_counts() {
    let workspace = Workspace::new(&[("Dockerfile", "FROM a\nARG X")]);
    let take = |input: &FingerprintInput| fingerprint(input, &workspace.cache()).expect("a fingerprint");
    let input = workspace.input();
    let before = take(&input);
    let base = |id: &str| BTreeMap::from([("a".to_owned(), Base { id: id.to_owned(), on_build: Vec::new() })]);
    let one = take(&FingerprintInput { bases: base("1"), ..input.clone() });
    let others = [
        one.clone(),
        take(&FingerprintInput { bases: base("2"), ..input.clone() }),
        take(&FingerprintInput { args: BTreeMap::from([("X".to_owned(), "1".to_owned())]), ..input.clone() }),
        take(&FingerprintInput { target: Some("a".to_owned()), ..input.clone() }),
        take(&FingerprintInput { secret_ids: vec!["s".to_owned()], ..input.clone() }),
        before,
    ];
    let distinct: std::collections::HashSet<_> = others.iter().collect();
    assert_eq!(distinct.len(), others.len());
    workspace.write("Dockerfile", "FROM a\nARG X\n# changed");
    assert!(!others.contains(&take(&input)));
}

#[test]
fn what_a_base_adds_to_builds_on_it_counts() {
    let workspace = Workspace::new(&[("Dockerfile", "FROM a"), ("app", "1")]);
    let base = Base { id: "1".to_owned(), on_build: vec!["COPY app /app".to_owned()] };
    let input = FingerprintInput { bases: BTreeMap::from([("a".to_owned(), base)]), ..workspace.input() };
    let before = fingerprint(&input, &workspace.cache()).expect("a fingerprint");
    workspace.write("app", "2");
    assert_ne!(fingerprint(&input, &workspace.cache()).expect("a fingerprint"), before);
}

#[test]
fn base_images_are_those_of_reachable_stages() {
    let text = "ARG TAG=12\nARG NONE\nFROM debian:$TAG AS one\nFROM unused AS two\nFROM one\nCOPY --from=nvcr.io/x:1 / /\n\
                RUN --mount=type=bind,from=tools,target=/t true\nCOPY --from=0 / /\nFROM scratch\nCOPY --from=2 / /";
    let parsed = parse(text);
    let none = BTreeMap::new();
    assert_eq!(base_images(&parsed, &none, None), ["debian:12", "nvcr.io/x:1", "tools"]);
    let args = BTreeMap::from([("TAG".to_owned(), "13".to_owned())]);
    assert_eq!(base_images(&parsed, &args, Some("one")), ["debian:13"]);
    assert_eq!(base_images(&parsed, &none, Some("nope")), [""; 0]);
    assert_eq!(base_images(&parse("FROM a:$UNSET"), &none, None), [""; 0]);
}

#[test]
fn links_count_as_links_and_lead_nowhere_outside() {
    let outside = Workspace::new(&[("secret", "1")]);
    let workspace = Workspace::new(&[("Dockerfile", "FROM a\nCOPY link inside /x"), ("real", "1")]);
    let make = |to: &Path, name: &str| {
        let link = workspace.context().as_path().join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(to, link).expect("a link");
    };
    make(&outside.context().as_path().join("secret"), "link");
    make(Path::new("real"), "inside");
    let before = workspace.take();
    outside.write("secret", "2");
    assert_eq!(workspace.take(), before);
    workspace.write("real", "2");
    let real = workspace.take();
    assert_ne!(real, before);
    make(Path::new("elsewhere"), "link");
    assert_ne!(workspace.take(), real);
}

#[test]
fn rights_count_and_times_do_not() {
    let workspace = Workspace::new(&[("Dockerfile", "FROM a\nCOPY run.sh /x"), ("run.sh", "1")]);
    let before = workspace.take();
    let path = workspace.context().as_path().join("run.sh");
    let file = std::fs::File::options().write(true).open(&path).expect("a file");
    file.set_modified(SystemTime::now() - Duration::from_secs(1000)).expect("a time");
    assert_eq!(workspace.take(), before);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("rights");
    assert_ne!(workspace.take(), before);
}

#[test]
fn a_file_that_has_just_changed_is_not_trusted() {
    let workspace = Workspace::new(&[("Dockerfile", "FROM a\nCOPY x /x"), ("x", "1")]);
    let before = workspace.take();
    let path = workspace.context().as_path().join("x");
    let modified = std::fs::metadata(&path).and_then(|meta| meta.modified()).expect("a time");
    // Same size, same modification time, same inode: within one tick the change time is the same, too.
    workspace.write("x", "2");
    std::fs::File::options().write(true).open(&path).expect("a file").set_modified(modified).expect("a time");
    assert_ne!(workspace.take(), before);
    let kept = cache::Cache::load(workspace.cache().as_path());
    assert!(format!("{kept:?}").contains("before: {}"), "nothing young is kept: {kept:?}");
}

#[test]
fn hashes_are_kept_for_files_at_rest_and_read_back() {
    let workspace = Workspace::new(&[("Dockerfile", "FROM a\nCOPY x /x"), ("x", "1")]);
    let path = workspace.context().as_path().join("x");
    let at_rest = || {
        let stat = rustix::fs::stat(&path).expect("a file");
        let changed = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_nanos() as i128;
        now - changed > 2_100_000_000
    };
    while !at_rest() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let before = workspace.take();
    let kept = cache::Cache::load(workspace.cache().as_path());
    assert!(format!("{kept:?}").contains("\"x\""), "{kept:?}");
    assert_eq!(workspace.take(), before);
    // A damaged or foreign cache costs nothing but time.
    for bytes in [&b"\xff\xff\xff\xff\xff\xff"[..], b"", b"\x02\x00"] {
        std::fs::write(workspace.cache().as_path(), bytes).expect("a file");
        assert_eq!(workspace.take(), before);
    }
}

#[test]
fn a_dockerfiles_own_ignore_file_comes_first() {
    let workspace = Workspace::new(&[
        ("Dockerfile", "FROM a\nCOPY . /x"),
        (".dockerignore", "a"),
        ("Dockerfile.dockerignore", "b"),
        ("a", "1"),
        ("b", "1"),
    ]);
    let before = workspace.take();
    workspace.write("b", "2");
    assert_eq!(workspace.take(), before);
    workspace.write("a", "2");
    assert_ne!(workspace.take(), before);
}

#[test]
fn what_cannot_be_read_is_named() {
    let workspace = Workspace::new(&[]);
    let error = fingerprint(&workspace.input(), &workspace.cache()).unwrap_err();
    assert_eq!(error.code(), "no_dockerfile");
    let generated = Dockerfile::Generated { text: "FROM a\nCOPY . /".to_owned(), because: String::new() };
    let error = fingerprint(&FingerprintInput { dockerfile: generated, ..workspace.input() }, &workspace.cache());
    assert_eq!(error.unwrap_err().code(), "build_context");
}

#[test]
fn a_copy_of_the_whole_workspace_is_found_with_its_place() {
    let copies = |text: &str, target| whole_copies(&parse(text), &BTreeMap::new(), target);
    for (text, want) in [
        ("FROM a\nCOPY ./ /app", vec![(2, "/app")]),
        ("FROM a\nARG D=/srv\nWORKDIR $D\nWORKDIR x\nADD --chown=1 . ./y/", vec![(5, "/srv/x/y")]),
        ("FROM a AS b\nCOPY . /x\nFROM a\nCOPY --from=b . /x\nCOPY src /app\nCOPY ./train.py .", vec![]),
        ("FROM a\nWORKDIR /w\nCOPY . .\nCOPY . $UNKNOWN", vec![(3, "/w")]),
    ] {
        let want: Vec<_> = want.into_iter().map(|(line, to)| (line, to.to_owned())).collect();
        assert_eq!(copies(text, None), want, "{text}");
    }
    assert_eq!(copies("FROM a AS b\nCOPY . /x\nFROM a", Some("b")).len(), 1);
}
