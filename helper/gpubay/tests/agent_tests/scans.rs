use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use gpubay::agent::{Client, FileEvent, Scanner};
use gpubay::error::Explain;
use gpubay_protocol::agent::{Entry, FromAgent, PROTOCOL, ScanLimits, ScanRequest, Scanned};
use gpubay_protocol::contents::Form;
use gpubay_protocol::frame;
use gpubay_protocol::paths::ContainerPath;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Agent;

fn path(path: impl AsRef<Path>) -> ContainerPath {
    ContainerPath::new(path.as_ref().to_str().expect("text")).expect("absolute")
}

fn request(roots: &[&Path]) -> ScanRequest {
    ScanRequest {
        roots: roots.iter().map(path).collect(),
        exclude: Vec::new(),
        known: None,
        limits: ScanLimits::default(),
    }
}

fn write(at: &Path, contents: &[u8]) {
    fs::create_dir_all(at.parent().expect("a folder")).expect("made");
    fs::write(at, contents).expect("written");
}

async fn scan(agent: &Agent, request: ScanRequest) -> Scanner {
    agent.client().await.scan(request, |_| ()).await.expect("scanned")
}

fn names(scanner: &Scanner) -> Vec<String> {
    let name = |entry: &Entry| format!("{}:{}", entry.root, String::from_utf8_lossy(&entry.path));
    scanner.entries.iter().map(name).collect()
}

/// Each fetched file's contents, or why there are none.
async fn fetch(mut scanner: Scanner, indices: Vec<u32>) -> Vec<Result<Vec<u8>, String>> {
    fetch_some(&mut scanner, indices).await
}

async fn fetch_some(scanner: &mut Scanner, indices: Vec<u32>) -> Vec<Result<Vec<u8>, String>> {
    let mut fetching = scanner.fetch(indices).await.expect("begun");
    let mut files = Vec::new();
    while let Some(event) = fetching.next().await.expect("an event") {
        match event {
            FileEvent::Begin { .. } => files.push(Ok(Vec::new())),
            FileEvent::Data(bytes) => files.last_mut().expect("begun").as_mut().expect("no end yet").extend(bytes),
            FileEvent::End { error: None } => {}
            FileEvent::End { error: Some(error) } => *files.last_mut().expect("begun") = Err(error),
        }
    }
    files
}

#[tokio::test]
async fn what_is_wanted_is_found_sorted_and_fetched() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let large = vec![7; 700_000];
    write(&root.join("b/__init__.py"), b"b");
    write(&root.join("a.py"), b"a");
    write(&root.join("b/large.py"), &large);
    write(&root.join("b/_C.so"), b"machine code");
    write(&root.join("b/empty.pyi"), b"");
    write(&root.join("b/data.bin"), b"no");
    write(&root.join("b/__pycache__/x.py"), b"no");
    write(&root.join(".git/hooks/x.py"), b"no");
    let agent = Agent::start();
    let mut scanner = scan(&agent, request(&[root, Path::new("/nonexistent/root")])).await;
    assert_eq!(names(&scanner), ["0:a.py", "0:b/_C.so", "0:b/__init__.py", "0:b/empty.pyi", "0:b/large.py"]);
    assert_eq!(scanner.scanned.missing, [1]);
    assert_eq!((scanner.entries[1].form, scanner.entries[1].size), (Form::Placeholder, 0));
    assert_eq!(scanner.scanned.bytes, 700_002);
    assert_eq!(scanner.scanned.left_out, 0);
    let files = fetch_some(&mut scanner, vec![0, 1, 3, 4]).await;
    assert_eq!(files, [Ok(b"a".to_vec()), Ok(Vec::new()), Ok(Vec::new()), Ok(large)]);
    // Some may be wanted sooner than others.
    assert_eq!(fetch(scanner, vec![0, 2]).await, [Ok(b"a".to_vec()), Ok(b"b".to_vec())]);
}

#[tokio::test]
async fn an_unchanged_tree_sends_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("a.py"), b"a");
    let agent = Agent::start();
    let first = scan(&agent, request(&[folder.path()])).await;
    let again = ScanRequest { known: Some(first.scanned.digest), ..request(&[folder.path()]) };
    let second = scan(&agent, again.clone()).await;
    assert!(second.scanned.same && second.entries.is_empty());
    write(&folder.path().join("b.py"), b"");
    let third = scan(&agent, again).await;
    assert!(!third.scanned.same);
    assert_eq!(names(&third), ["0:a.py", "0:b.py"]);
}

/// X6, X9, X12: what is no plain file, and names that no terminal should see.
#[tokio::test]
async fn a_hostile_tree() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, other) = (folder.path().join("root"), folder.path().join("other"));
    write(&folder.path().join("canary.py"), b"outside");
    write(&folder.path().join("out/canary.py"), b"outside");
    write(&root.join("real/x.py"), b"x");
    write(&other.join("y.py"), b"y");
    for (link, target) in [
        ("file_out.py", folder.path().join("canary.py")),
        ("dir_out", folder.path().join("out")),
        ("climb", "../out".into()),
        ("passwd.py", "/etc/passwd".into()),
        ("dangling.py", "/nonexistent/x.py".into()),
        ("self.py", "self.py".into()),
        ("loop", root.clone()),
        ("real/up", "..".into()),
        ("proc", "/proc/self/root".into()),
        // And those that are followed, since they stay inside.
        ("alias.py", root.join("real/x.py")),
        ("alias_dir", "real".into()),
        ("over", other.clone()),
        ("over.py", other.join("y.py")),
    ] {
        symlink(target, root.join(link)).expect("linked");
    }
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo.py"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("made");
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket.py")).expect("bound");
    for name in
        [b"new\nline.py".as_slice(), b"esc\x1b[2J.py", b"\xff.py", b"back\\slash.py", b"quote'`$(x).py", b"-rf.py"]
    {
        write(&root.join(std::ffi::OsStr::from_bytes(name)), b"");
    }
    let agent = Agent::start();
    let scanner = scan(&agent, request(&[&root, &other])).await;
    assert_eq!(
        names(&scanner),
        [
            "0:-rf.py",
            "0:alias.py",
            "0:alias_dir/x.py",
            "0:over/y.py",
            "0:over.py",
            "0:quote'`$(x).py",
            "0:real/x.py",
            "1:y.py"
        ]
        .map(str::to_owned)
        .to_vec()
        .tap_sort()
    );
    // Nine links and two special files, and `up` once more below `alias_dir`.
    assert_eq!(scanner.scanned.left_out, 12);
    let all = (0..scanner.entries.len() as u32).collect();
    let files = fetch(scanner, all).await;
    assert_eq!(files.iter().flatten().map(Vec::len).sum::<usize>(), 6);
    assert!(files.iter().flatten().all(|file| file != b"outside"));
}

trait TapSort {
    fn tap_sort(self) -> Self;
}

impl TapSort for Vec<String> {
    /// As bytes: `.` comes before `/`.
    fn tap_sort(mut self) -> Self {
        self.sort();
        self
    }
}

/// X8, X9: what takes a file's place after the scan is not read, and blocks nobody.
#[tokio::test]
async fn what_changes_after_the_scan_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    let outside = folder.path().join("outside");
    write(&outside.join("d.py"), b"canary");
    for name in ["a.py", "b.py", "c.py", "dir/d.py", "e.py", "f.py"] {
        write(&root.join(name), b"1234567");
    }
    let agent = Agent::start();
    let scanner = scan(&agent, request(&[&root])).await;
    fs::remove_file(root.join("a.py")).expect("removed");
    fs::remove_file(root.join("b.py")).expect("removed");
    rustix::fs::mknodat(rustix::fs::CWD, root.join("b.py"), rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("made");
    fs::remove_file(root.join("c.py")).expect("removed");
    symlink(outside.join("d.py"), root.join("c.py")).expect("linked");
    fs::remove_dir_all(root.join("dir")).expect("removed");
    symlink(&outside, root.join("dir")).expect("linked");
    write(&root.join("e.py"), b"it has grown");
    write(&root.join("f.py"), b"12");
    let files = fetch(scanner, (0..6).collect()).await;
    assert!(files[..5].iter().all(Result::is_err), "{files:?}");
    assert_eq!(files[5], Ok(b"12".to_vec()));
}

#[tokio::test]
async fn folders_that_may_not_be_read_are_counted() {
    if rustix::process::geteuid().is_root() {
        // Root may read everything: drop to another user for the agent instead.
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("set");
        let root = folder.path().join("root");
        write(&root.join("secret/x.py"), b"x");
        write(&root.join("open/y.py"), b"y");
        write(&root.join("closed.py"), b"z");
        fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o0)).expect("set");
        fs::set_permissions(root.join("closed.py"), fs::Permissions::from_mode(0o0)).expect("set");
        let run = folder.path().join("run");
        fs::create_dir(&run).expect("made");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).expect("set");
        let program = folder.path().join(gpubay_protocol::agent::AGENT_NAME);
        fs::copy(super::program(), &program).expect("copied");
        let mut command = std::process::Command::new(program);
        command.arg("init").arg("--socket").arg(run.join("agent.sock")).current_dir("/");
        std::os::unix::process::CommandExt::uid(&mut command, 12345);
        let mut child = command.spawn().expect("started");
        let run_dir = gpubay::HostPath::new(run).expect("absolute");
        let client = gpubay::agent::wait_ready(&run_dir, Duration::from_secs(30)).await.expect("serves");
        let scanner = client.scan(request(&[&root, &root.join("secret")]), |_| ()).await.expect("scanned");
        assert_eq!(names(&scanner), ["0:closed.py", "0:open/y.py"]);
        assert_eq!((scanner.scanned.left_out, scanner.scanned.missing.as_slice()), (1, [1].as_slice()));
        let files = fetch(scanner, vec![0, 1]).await;
        assert!(files[0].is_err());
        assert_eq!(files[1], Ok(b"y".to_vec()));
        super::signal(child.id(), libc::SIGTERM);
        child.wait().expect("ended");
    } else {
        let folder = tempfile::tempdir().expect("a folder");
        write(&folder.path().join("secret/x.py"), b"x");
        fs::set_permissions(folder.path().join("secret"), fs::Permissions::from_mode(0o0)).expect("set");
        let agent = Agent::start();
        let scanner = scan(&agent, request(&[folder.path()])).await;
        assert_eq!((scanner.entries.len(), scanner.scanned.left_out), (0, 1));
        fs::set_permissions(folder.path().join("secret"), fs::Permissions::from_mode(0o700)).expect("set");
    }
}

/// X11.
#[tokio::test]
async fn bombs_reach_a_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let sparse = folder.path().join("sparse");
    write(&sparse.join("huge.py"), b"");
    fs::File::options().write(true).open(sparse.join("huge.py")).expect("opened").set_len(1 << 40).expect("grown");
    let deep = folder.path().join("deep");
    write(&deep.join("d/".repeat(70)).join("x.py"), b"");
    let many = folder.path().join("many");
    for index in 0..50 {
        write(&many.join(format!("{index}.py")), b"");
    }
    // Each folder links to all folders: their paths would be endless without the limits.
    let links = folder.path().join("links");
    for from in 0..12 {
        fs::create_dir_all(links.join(format!("d{from}"))).expect("made");
        for to in 0..12 {
            symlink(format!("../d{to}"), links.join(format!("d{from}/l{to}"))).expect("linked");
        }
    }
    let agent = Agent::start();
    let few = ScanLimits { entries: 40, ..ScanLimits::default() };
    let folders = ScanLimits { entries: 5000, ..ScanLimits::default() };
    for (root, limits, words) in [
        (&sparse, ScanLimits::default(), "huge.py"),
        (&deep, ScanLimits::default(), "deep"),
        (&many, few, "more than 40 files"),
        (&links, folders, "folders"),
    ] {
        let request = ScanRequest { limits, ..request(&[root]) };
        let error = agent.client().await.scan(request, |_| ()).await.expect_err(words);
        assert_eq!(error.code(), "too_much", "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    agent.sh("true").await;
}

#[tokio::test]
async fn excluded_folders_are_not_entered_by_any_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    write(&root.join("keep/a.py"), b"");
    write(&root.join("mount/b.py"), b"");
    symlink("mount", root.join("link")).expect("linked");
    symlink("mount/b.py", root.join("b.py")).expect("linked");
    let agent = Agent::start();
    let request = ScanRequest { exclude: vec![path(root.join("mount"))], ..request(&[root]) };
    assert_eq!(names(&scan(&agent, request).await), ["0:keep/a.py"]);
}

#[tokio::test]
async fn many_files_arrive_whole_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    for package in 0..40 {
        for module in 0..50 {
            let name = format!("p{package}/m{module}.py");
            write(&folder.path().join(&name), name.repeat(1 + module * 20).as_bytes());
        }
    }
    let agent = Agent::start();
    let scanner = scan(&agent, request(&[folder.path()])).await;
    let expected: Vec<_> = scanner
        .entries
        .iter()
        .map(|entry| Ok(fs::read(folder.path().join(std::ffi::OsStr::from_bytes(&entry.path))).expect("read")))
        .collect();
    let all = (0..2000).collect();
    assert!(fetch(scanner, all).await == expected);
}

/// What an agent that was replaced might say: each is noticed, none believed.
#[tokio::test]
async fn lies_are_noticed() {
    let entry = |path: &str, size, form| Entry { root: 0, path: path.into(), size, mtime: 0, form, witness: 0 };
    let good = entry("a.py", 3, Form::Whole);
    let scanned = |files, bytes, same| {
        FromAgent::Scanned(Scanned { digest: [0; 32], same, files, bytes, left_out: 0, missing: Vec::new() })
    };
    for entries in [
        vec![entry("../x.py", 0, Form::Whole)],
        vec![entry("/abs.py", 0, Form::Whole)],
        vec![entry("a/./x.py", 0, Form::Whole)],
        vec![entry(".git/hooks/x.py", 0, Form::Whole)],
        vec![entry("x.exe", 0, Form::Whole)],
        vec![entry("x.so", 0, Form::Whole)],
        vec![entry("x.so", 5, Form::Placeholder)],
        vec![Entry { root: 1, ..good.clone() }],
        vec![good.clone(), good.clone()],
        vec![entry("b.py", 0, Form::Whole), good.clone()],
        vec![entry("a.py", u64::MAX, Form::Whole)],
    ] {
        let totals = scanned(entries.len() as u32, entries.iter().map(|e| e.size).sum(), false);
        let error = scan_against(&[FromAgent::Entries(entries.clone()), totals]).await.expect_err("a lie");
        assert_eq!(error.code(), "agent_misbehaved", "{entries:?}");
    }
    for totals in [scanned(2, 3, false), scanned(1, 4, false), scanned(1, 3, true)] {
        let error = scan_against(&[FromAgent::Entries(vec![good.clone()]), totals]).await.expect_err("a lie");
        assert_eq!(error.code(), "agent_misbehaved");
    }
    let file = |index, size| FromAgent::File { index, size };
    let end = || FromAgent::FileEnd { error: None };
    for answers in [
        vec![file(0, 4)],
        vec![file(1, 3)],
        vec![file(0, 3), FromAgent::FileData(vec![0; 4])],
        vec![file(0, 3), FromAgent::FileData(vec![0; 2]), FromAgent::FileData(vec![0; 2])],
        vec![file(0, 3), FromAgent::Fetched],
        vec![file(0, 3), file(0, 3)],
        vec![file(0, 3), end(), file(0, 3)],
        vec![FromAgent::FileData(vec![0])],
        vec![end()],
        vec![FromAgent::Fetched],
    ] {
        let mut said = vec![FromAgent::Entries(vec![good.clone()]), scanned(1, 3, false)];
        let shown = format!("{answers:?}");
        said.extend(answers);
        let mut scanner = scan_against(&said).await.expect("scanned");
        let mut fetching = scanner.fetch(vec![0]).await.expect("begun");
        let error = loop {
            match fetching.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("believed: {shown}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), "agent_misbehaved", "{shown}");
    }
}

async fn scan_against(said: &[FromAgent]) -> Result<Scanner, gpubay::agent::AgentError> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let mut frames =
        frame::encode(&FromAgent::Welcome { protocol: PROTOCOL, version: String::new() }).expect("encodes");
    for message in said {
        frames.extend(frame::encode(message).expect("encodes"));
    }
    tokio::spawn(async move {
        let _ = theirs.write_all(&frames).await;
        let mut asked = Vec::new();
        let _ = theirs.read_to_end(&mut asked).await;
    });
    Client::over(ours).await?.scan(request(&[Path::new("/x")]), |_| ()).await
}
