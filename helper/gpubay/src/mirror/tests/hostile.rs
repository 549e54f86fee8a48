//! A container that lies (X1 to X5, X8, X9, X11 to X14).

use super::*;
use crate::error::Explain;

async fn refused(entries: Vec<Entry>) -> &'static str {
    let lab = Lab::new();
    let canary = lab.folder.path().join("canary.py");
    std::fs::write(&canary, "untouched").expect("written");
    let mut fake = Fake::sending(entries);
    let error = lab.base(&mut fake).await.expect_err("a lie");
    lab.assert_tidy();
    assert_eq!(names(&lab.mirror().join("base")), Vec::<String>::new());
    assert_eq!(std::fs::read_to_string(canary).expect("there"), "untouched");
    assert_eq!(fake.fetched, 0, "nothing is asked for after a lie");
    error.code()
}

#[tokio::test]
async fn names_that_decide_a_path_are_refused() {
    for path in [
        "../../canary.py",
        "/abs/x.py",
        "a/../../x.py",
        "",
        ".",
        "..",
        "a/",
        "a//b.py",
        "./a.py",
        "a/.",
        "a\0.py",
        "a\nb.py",
        "a\x1b[31m.py",
        "a\\b.py",
        ".git/hooks/x.py",
        "a/.vscode/x.py",
        ".envrc",
        "a/__pycache__/b.py",
        "x.sh",
        "libevil.so.1",
    ] {
        assert_eq!(refused(vec![entry(0, path, 1)]).await, "mirror_refused", "{path:?}");
    }
    let raw = Entry { path: b"\xff.py".to_vec(), ..entry(0, "a.py", 0) };
    assert_eq!(refused(vec![raw]).await, "mirror_refused");
    let long = format!("{}.py", "x".repeat(300));
    assert_eq!(refused(vec![entry(0, &long, 0)]).await, "mirror_refused");
}

#[tokio::test]
async fn lists_that_contradict_themselves_are_refused() {
    let whole = Entry { form: Form::Whole, ..entry(0, "a.so", 4) };
    for entries in [
        vec![entry(2, "a.py", 1)],
        vec![entry(0, "a.py", 1), entry(0, "a.py", 1)],
        vec![entry(0, "a.py", 1), entry(0, "a.py/b.py", 1)],
        vec![entry(0, "a.py/c/b.py", 1), entry(0, "a.py", 1)],
        vec![whole],
        vec![entry(0, "a.so", 4)],
    ] {
        assert_eq!(refused(entries.clone()).await, "mirror_refused", "{entries:?}");
    }
}

#[tokio::test]
async fn bombs_end_at_a_limit() {
    let deep = format!("{}m.py", "d/".repeat(1025));
    for entries in [
        vec![entry(0, "sparse.py", 1 << 40)],
        vec![entry(0, "a.py", u64::MAX), entry(0, "b.py", u64::MAX)],
        vec![entry(0, &deep, 1)],
    ] {
        assert_eq!(refused(entries).await, "mirror_too_large");
    }
    let mut lab = Lab::new();
    lab.request.limits.entries = 10;
    let list = |count| (0..count).map(|n| entry(0, &format!("{n}.py"), 0)).collect();
    let error = lab.base(&mut Fake::sending(list(11))).await.expect_err("too many");
    assert_eq!(error.code(), "mirror_too_large");
    assert_eq!(MirrorError::from(too_much()).code(), "mirror_too_large");
}

#[tokio::test]
async fn more_than_the_disk_holds_is_said_before_anything_is_written() {
    let lab = Lab::new();
    let mut request = lab.request.clone();
    request.limits.bytes = u64::MAX;
    request.limits.entries = u32::MAX;
    // Each is below the size of a single file; together they are more than any disk.
    let step = plan::LARGEST_FILE;
    let free = lab.store.folder.free().expect("known");
    let count = (free / step + 2).min(1_000_000);
    let entries = (0..count).map(|n| entry(0, &format!("{n}.py"), step)).collect();
    let mut fake = Fake::sending(entries);
    let error = ensure_base(&lab.store, &lab.key, &request, &mut fake, &Progress::silent(), Ahead::default())
        .await
        .expect_err("too much");
    assert_eq!((error.code(), fake.fetched), ("disk_full", 0));
    lab.assert_tidy();
}

#[tokio::test]
async fn a_single_huge_file_is_left_out() {
    let lab = Lab::new();
    let mut fake = Fake::sending(vec![entry(0, "huge.py", plan::LARGEST_FILE + 1)]);
    let made = lab.base(&mut fake).await.expect("made");
    assert_eq!((made.files, made.left_out, fake.fetched), (0, 1, 0));
}

/// A source that answers a fetch by a script instead of the truth.
struct Script(Fake, Vec<Say>);

#[derive(Clone, Copy)]
enum Say {
    File(u32, u64),
    Data(&'static [u8]),
    End,
}

#[async_trait]
impl Source for Script {
    async fn scan(&mut self, request: ScanRequest) -> Result<(Vec<Entry>, Scanned), SourceError> {
        self.0.scan(request).await
    }
    async fn fetch(&mut self, _: &[u32], sink: &mut dyn FileSink) -> Result<(), SourceError> {
        for say in self.1.clone() {
            match say {
                Say::File(index, size) => sink.file(index, size).await?,
                Say::Data(data) => sink.data(data).await?,
                Say::End => sink.end(None).await?,
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn answers_out_of_turn_are_refused() {
    use Say::{Data, End, File};
    let scripts: [&[Say]; 10] = [
        &[],
        &[File(1, 1), Data(b"x"), End],
        &[File(7, 1)],
        &[Data(b"x")],
        &[End],
        &[File(0, 1), Data(b"xy"), End, File(1, 1), Data(b"y"), End],
        &[File(0, 1), File(1, 1)],
        &[File(0, 1), Data(b"x"), End, File(0, 1), Data(b"x"), End],
        &[File(0, 1), Data(b"x"), End, File(1, 1), Data(b"y")],
        &[File(0, 1), Data(b"x"), End, File(1, 1), Data(b"y"), End, File(2, 1)],
    ];
    for script in scripts {
        let lab = Lab::new();
        let fake = Fake::new(files(&[(0, "a.py", "x"), (0, "b.py", "y")]));
        let mut source = Script(fake, script.to_vec());
        let made =
            ensure_base(&lab.store, &lab.key, &lab.request, &mut source, &Progress::silent(), Ahead::default()).await;
        assert_eq!(made.expect_err("a lie").code(), "mirror_refused");
        assert!(find_base(&lab.store, &lab.key).is_none());
        lab.assert_tidy();
    }
}

#[tokio::test]
async fn unchanged_is_believed_only_of_what_is_known() {
    struct Same([u8; 32]);
    #[async_trait]
    impl Source for Same {
        async fn scan(&mut self, _: ScanRequest) -> Result<(Vec<Entry>, Scanned), SourceError> {
            let scanned = Scanned { digest: self.0, same: true, files: 0, bytes: 0, left_out: 0, missing: vec![] };
            Ok((Vec::new(), scanned))
        }
        async fn fetch(&mut self, _: &[u32], _: &mut dyn FileSink) -> Result<(), SourceError> {
            Ok(())
        }
    }
    let lab = Lab::new();
    let progress = Progress::silent();
    let none = ensure_base(&lab.store, &lab.key, &lab.request, &mut Same([0; 32]), &progress, Ahead::default()).await;
    assert_eq!(none.expect_err("a lie").code(), "mirror_refused");
    lab.base(&mut Fake::new(apply::some())).await.expect("made");
    let other =
        sync_workspace(&lab.store, &lab.key, "w", &lab.request, &mut Same([9; 32]), &progress, Deletions::Ask).await;
    assert_eq!(other.expect_err("a lie").code(), "mirror_refused");
}

#[tokio::test]
async fn roots_that_mean_something_on_the_host_are_refused() {
    for roots in [&["/"][..], &["/a", "/a/b"], &["/a", "/a"], &["/app/.git"], &["/x/.vscode/y"], &["/a\nb"], &["/a\\b"]]
    {
        let mut lab = Lab::new();
        lab.request.roots = roots.iter().map(|root| container(root)).collect();
        let error = lab.base(&mut Fake::new(Files::new())).await.expect_err("refused");
        assert_eq!(error.code(), "mirror_root", "{roots:?}");
    }
}

/// X2, X3, X8: whoever turns a folder of the stage into a link gets an error, not our files.
#[tokio::test]
async fn a_folder_swapped_for_a_link_is_not_followed() {
    let lab = Lab::new();
    let outside = tempfile::tempdir().expect("a folder");
    let (mirror, target) = (lab.mirror(), outside.path().to_owned());
    let mut fake = Fake::new(files(&[(0, "d/a.py", "x"), (0, "d/b.py", "y")]));
    fake.hook = Box::new(move |event| {
        if event == 0 {
            let stage = names(&mirror).into_iter().find(|n| n.starts_with(".stage-")).expect("a stage");
            let folder = mirror.join(stage).join("new/tree").join(&SITE[1..]);
            std::fs::rename(folder.join("d"), folder.join("moved")).expect("moved");
            std::os::unix::fs::symlink(&target, folder.join("d")).expect("linked");
        }
        Ok(())
    });
    assert_eq!(lab.base(&mut fake).await.expect_err("noticed").code(), "mirror_disk");
    assert_eq!(names(outside.path()), Vec::<String>::new());
    assert!(outside.path().is_dir());
    lab.assert_tidy();
}

/// Deleting a mirror removes a link in it, never what it leads to.
#[tokio::test]
async fn deleting_follows_no_link() {
    let lab = Lab::new();
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::write(outside.path().join("canary"), "x").expect("written");
    let base = lab.mirror().join("base/planted");
    std::fs::create_dir_all(&base).expect("made");
    std::os::unix::fs::symlink(outside.path(), base.join("link")).expect("linked");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        base.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a fifo");
    let all = lab.store.unreferenced(&Needed::default()).expect("listed");
    lab.store.free(&all, Needed::default).expect("freed");
    assert!(!base.exists());
    assert_eq!(names(outside.path()), ["canary"]);
}

/// X16: a link or a FIFO planted in the old mirror is not taken over.
#[tokio::test]
async fn the_old_mirror_is_not_trusted_either() {
    let lab = Lab::new();
    let mut fake = Fake::new(apply::some());
    let base = lab.base(&mut fake).await.expect("made");
    let root = base.trees[0].host.as_path();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root, open).expect("opened");
    std::fs::remove_file(root.join("six.py")).expect("removed");
    std::os::unix::fs::symlink("/etc/shadow", root.join("six.py")).expect("linked");
    fake.files.extend(files(&[(0, "b.py", "x")]));
    let own = lab.sync(&mut fake).await.expect("synced");
    assert_is(&own, &fake.files);
}
