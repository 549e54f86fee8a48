//! Faults without an attacker (R6, R9 to R11, R13, R14) and kills at every stage.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::apply::some;
use super::*;
use crate::error::Explain;
use crate::failpoint::VARIABLE;

fn changed() -> Files {
    let mut all = some();
    all.extend(files(&[(0, "b/new.py", "fresh and long enough"), (1, "c.py", "x")]));
    all
}

/// R9: whatever event is the last one to arrive, the mirror is the old one or the new one.
#[tokio::test]
async fn a_stream_cut_anywhere_leaves_the_old_mirror() {
    let lab = Lab::new();
    let old = lab.base(&mut Fake::new(some())).await.expect("made");
    for cut in 0.. {
        let mut fake = Fake::new(changed());
        fake.hook = Box::new(move |event| if event == cut { Err(lost()) } else { Ok(()) });
        match lab.sync(&mut fake).await {
            Ok(new) => {
                assert!(cut > 5, "every event was cut");
                assert_is(&new, &fake.files);
                break;
            }
            Err(error) => assert_eq!(error.code(), "mirror_source"),
        }
        lab.assert_tidy();
        assert_is(&old, &some());
        let now = lab.sync(&mut Fake::new(some())).await.expect("synced");
        assert!(!now.changed, "nothing half-new is in place");
    }
}

#[tokio::test]
async fn a_base_cut_anywhere_is_no_base() {
    let lab = Lab::new();
    for cut in 0.. {
        let mut fake = Fake::new(some());
        fake.hook = Box::new(move |event| if event == cut { Err(lost()) } else { Ok(()) });
        if lab.base(&mut fake).await.is_ok() {
            break;
        }
        assert!(find_base(&lab.store, &lab.key).is_none());
        lab.assert_tidy();
    }
}

/// R13: cancelled at each event.
#[tokio::test]
async fn cancelling_leaves_nothing() {
    let lab = Lab::new();
    for at in 0.. {
        let progress = Progress::silent();
        let cancel = progress.cancel.clone();
        let reached = Arc::new(AtomicUsize::new(0));
        let counter = reached.clone();
        let mut fake = Fake::new(some());
        fake.hook = Box::new(move |event| {
            counter.fetch_max(event, Ordering::Relaxed);
            if event == at {
                cancel.cancel();
            }
            Ok(())
        });
        let made = ensure_base(&lab.store, &lab.key, &lab.request, &mut fake, &progress, Ahead::default()).await;
        lab.assert_tidy();
        if reached.load(Ordering::Relaxed) < at {
            made.expect("never cancelled");
            break;
        }
        assert_eq!(made.expect_err("cancelled").code(), "cancelled", "at {at}");
        assert!(find_base(&lab.store, &lab.key).is_none());
    }
    let progress = Progress::silent();
    progress.cancel.cancel();
    let mut fake = Fake::new(some());
    let before = sync_workspace(&lab.store, &lab.key, "w", &lab.request, &mut fake, &progress, Deletions::Ask);
    assert_eq!(before.await.expect_err("cancelled").code(), "cancelled");
}

/// R13: a container that is paused or hangs holds nobody.
#[tokio::test]
async fn cancelling_does_not_wait_for_the_container() {
    struct Hangs(Fake, usize, crate::progress::CancellationToken);
    #[async_trait]
    impl Source for Hangs {
        async fn scan(&mut self, request: ScanRequest) -> Result<(Vec<Entry>, Scanned), SourceError> {
            if self.1 == 0 {
                self.2.cancel();
                std::future::pending::<()>().await;
            }
            self.0.scan(request).await
        }
        async fn fetch(&mut self, _: &[u32], sink: &mut dyn FileSink) -> Result<(), SourceError> {
            sink.file(0, 17).await?;
            self.2.cancel();
            std::future::pending().await
        }
    }
    for stage in [0, 1] {
        let lab = Lab::new();
        let progress = Progress::silent();
        let mut source = Hangs(Fake::new(some()), stage, progress.cancel.clone());
        let work = ensure_base(&lab.store, &lab.key, &lab.request, &mut source, &progress, Ahead::default());
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), work).await.expect("it ends");
        assert_eq!(ended.expect_err("cancelled").code(), "cancelled");
        lab.assert_tidy();
    }
}

#[tokio::test]
async fn every_changed_byte_of_a_manifest_is_noticed() {
    let lab = Lab::new();
    lab.base(&mut Fake::new(some())).await.expect("made");
    let path = lab.mirror().join("base").join(lab.key.as_str());
    let folder = disk::Folder::open(&path).expect("open");
    let header = manifest::header(&folder).expect("whole");
    let good = std::fs::read(path.join("manifest")).expect("there");
    assert_eq!(manifest::load(&folder, &header).map(|list| list.len()), Some(5));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        rewrite(&path.join("manifest"), &bad);
        assert!(manifest::load(&folder, &header).is_none(), "byte {at}");
    }
}

/// R10: the container changes between scan and fetch.
#[tokio::test]
async fn files_that_change_meanwhile_are_left_out_until_the_next_sync() {
    for now in [None, Some("im"), Some("import os and more\n"), Some("")] {
        let lab = Lab::new();
        let mut fake = Fake::new(some());
        fake.meanwhile.insert(b"numpy/__init__.py".to_vec(), now.map(|t| t.as_bytes().to_vec()));
        let made = lab.sync(&mut fake).await.expect("synced");
        assert_eq!((made.files, made.left_out), (4, 1), "{now:?}");
        let mut rest = some();
        rest.remove(&(0, b"numpy/__init__.py".to_vec()));
        assert_is(&made, &rest);
        // Asked again, it settles; with its new time it is fetched.
        assert!(!lab.sync(&mut fake).await.expect("synced").changed);
        fake.meanwhile.clear();
        fake.files.extend([((0, b"numpy/__init__.py".to_vec()), (b"new".to_vec(), 9))]);
        assert_is(&lab.sync(&mut fake).await.expect("synced"), &fake.files);
    }
}

#[tokio::test]
async fn sudden_deletions_halt() {
    let lab = Lab::new();
    let many: Vec<String> = (0..250).map(|n| format!("m{n:03}.py")).collect();
    let all = |count: usize| {
        let list: Vec<_> = many.iter().take(count).map(|name| (0, name.as_str(), "x")).collect();
        let mut out = files(&list);
        out.extend(files(&[(1, "l.py", "x")]));
        out
    };
    lab.base(&mut Fake::new(all(250))).await.expect("made");
    lab.sync(&mut Fake::new(all(150))).await.expect("a hundred may go");
    lab.sync_as("ws", &mut Fake::new(all(250)), Deletions::Ask).await.expect("back");
    let mut most = Fake::new(all(100));
    let error = lab.sync(&mut most).await.expect_err("halted");
    assert_eq!(error.code(), "mirror_halted");
    assert_eq!(error.to_string(), "150 of 251 mirrored files are gone from the container");
    let mut emptied = Fake::new(all(250));
    emptied.files.retain(|(root, _), _| *root == 0);
    emptied.missing = vec![1];
    assert_eq!(lab.sync(&mut emptied).await.expect_err("halted").code(), "mirror_halted");
    assert_eq!(lab.sync(&mut Fake::new(Files::new())).await.expect_err("halted").code(), "mirror_halted");
    assert!(!lab.sync(&mut Fake::new(all(250))).await.expect("the old one is kept").changed);
    let synced = lab.sync_as("ws", &mut emptied, Deletions::Allowed).await.expect("allowed");
    assert_eq!((synced.files, synced.missing), (250, vec![container(LOCAL)]));
    assert_is(&lab.sync_as("ws", &mut most, Deletions::Allowed).await.expect("allowed"), &most.files);
}

/// R11: what a user or a crash does to a mirror in place.
#[tokio::test]
async fn a_damaged_mirror_is_made_again() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("an empty header", |base| rewrite(&base.join("header.json"), b"")),
        ("a header cut short", |base| {
            let text = std::fs::read(base.join("header.json")).expect("there");
            rewrite(&base.join("header.json"), &text[..text.len() / 2]);
        }),
        ("another format", |base| {
            let text = std::fs::read_to_string(base.join("header.json")).expect("there");
            rewrite(&base.join("header.json"), text.replace("\"format\":2", "\"format\":1").as_bytes());
        }),
        ("no header", |base| std::fs::remove_file(base.join("header.json")).expect("removed")),
        ("no tree", |base| remove(base, "tree")),
        ("nothing at all", |base| {
            remove(base.parent().expect("a parent"), base.file_name().and_then(|n| n.to_str()).expect("a name"));
        }),
    ];
    for (what, damage) in damages {
        let lab = Lab::new();
        let mut fake = Fake::new(some());
        lab.base(&mut fake).await.expect("made");
        damage(&lab.mirror().join("base").join(lab.key.as_str()));
        assert!(find_base(&lab.store, &lab.key).is_none(), "{what}");
        let again = lab.base(&mut fake).await.expect("made again");
        assert!(again.changed, "{what}");
        assert_is(&again, &some());
        lab.assert_tidy();
    }
    for damage in [&b""[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"nonsense"] {
        let lab = Lab::new();
        lab.base(&mut Fake::new(some())).await.expect("made");
        rewrite(&lab.mirror().join("base").join(lab.key.as_str()).join("manifest"), damage);
        let mut fake = Fake::new(changed());
        assert_is(&lab.sync(&mut fake).await.expect("synced"), &fake.files);
    }
}

fn rewrite(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).expect("removed");
    std::fs::write(path, bytes).expect("written");
}

fn remove(folder: &Path, name: &str) {
    disk::Folder::open(folder).and_then(|f| f.remove(name)).expect("removed");
}

/// R11: a crash of the machine loses what was not yet on the disk.
#[tokio::test]
async fn what_another_boot_left_unfinished_is_not_trusted() {
    let lab = Lab::new();
    let mut fake = Fake::new(some());
    lab.base(&mut fake).await.expect("made");
    let base = lab.mirror().join("base").join(lab.key.as_str());
    let header = base.join("header.json");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_mins(2);
    std::fs::File::open(&header).and_then(|file| file.set_modified(long_ago)).expect("set");
    assert!(!lab.base(&mut fake).await.expect("there").changed);
    while !base.join("synced").exists() {
        std::thread::yield_now();
    }
    let text = std::fs::read_to_string(&header).expect("there");
    let boot = manifest::boot();
    rewrite(&header, text.replace(&boot, "another").as_bytes());
    assert!(find_base(&lab.store, &lab.key).is_some(), "it had reached the disk");
    std::fs::remove_file(base.join("synced")).expect("removed");
    assert!(find_base(&lab.store, &lab.key).is_none());
}

/// R6: many at once on one mirror.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_at_once_end_with_one_mirror() {
    let lab = Arc::new(Lab::new());
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let lab = lab.clone();
            tokio::spawn(async move {
                let made = lab.base(&mut Fake::new(some())).await.expect("made");
                assert_is(&made, &some());
                let synced = lab.sync(&mut Fake::new(changed())).await.expect("synced");
                assert_is(&synced, &changed());
                made.changed
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += usize::from(task.await.expect("no panic"));
    }
    assert_eq!(made, 1);
    assert_eq!(names(&lab.mirror().join("base")).len(), 1);
    lab.assert_tidy();
}

/// R11: the disk refuses in the middle.
#[tokio::test]
async fn a_write_that_fails_leaves_nothing() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let mut fake = Fake::new(some());
    fake.hook = Box::new(move |event| {
        if event == 0 {
            let stage = names(&mirror).into_iter().find(|n| n.starts_with(".stage-")).expect("a stage");
            std::fs::remove_dir(mirror.join(stage).join("new/tree").join(&LOCAL[1..]).join("deep/er/and/deeper"))
                .expect("removed");
        }
        Ok(())
    });
    assert_eq!(lab.base(&mut fake).await.expect_err("no folder").code(), "mirror_disk");
    lab.assert_tidy();
    assert!(find_base(&lab.store, &lab.key).is_none());
}

const CHILD: &str = "GPUBAY_TEST_MIRROR_CHILD";

/// Not a test of its own: the process that `a_kill_at_each_stage…` starts and sees aborted.
#[test]
fn child() {
    let Some(cache) = std::env::var_os(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let store = Store::open(&HostPath::new(PathBuf::from(cache)).expect("absolute")).expect("a store");
    let request = Lab::new().request.clone();
    let key = BaseKey::new("sha256:1", &request);
    let made = runtime.block_on(sync_workspace(
        &store,
        &key,
        "ws",
        &request,
        &mut Fake::new(changed()),
        &Progress::silent(),
        Deletions::Ask,
    ));
    let code = made.map_or_else(|error| error.code(), |_| "done");
    // Seen by the parent in the captured output.
    std::io::Write::write_all(&mut std::io::stderr(), format!("child: {code}").as_bytes()).expect("written");
}

/// Kill -9 and failure at every stage; R14.
#[tokio::test]
async fn a_kill_at_each_stage_leaves_the_old_mirror_and_the_next_run_succeeds() {
    for place in ["scan", "plan", "stage", "seal", "apply", "applied"] {
        for way in ["abort", "error"] {
            let lab = Lab::new();
            let old = lab.base(&mut Fake::new(some())).await.expect("made");
            let ended = Command::new(std::env::current_exe().expect("a program"))
                .args(["--exact", "mirror::tests::faults::child", "--nocapture"])
                .env(CHILD, lab.folder.path())
                .env(VARIABLE, format!("mirror.{place}:{way}"))
                .output()
                .expect("it ran");
            let said = String::from_utf8_lossy(&ended.stderr);
            match way {
                "abort" => assert!(!ended.status.success() && !said.contains("child:"), "{place}: {said}"),
                _ => assert!(said.contains("child: failpoint"), "{place}: {said}"),
            }
            assert_is(&old, &some());
            let numbers = names(&lab.mirror().join("workspace/ws"));
            assert_eq!(numbers.len(), usize::from(place == "applied"), "{place}");
            if way == "error" {
                lab.assert_tidy();
            }
            let next = lab.sync(&mut Fake::new(changed())).await.expect("the next run succeeds");
            assert_is(&next, &changed());
            assert_eq!(next.changed, place != "applied");
            lab.assert_tidy();
        }
    }
}

/// A stage whose process lives is left alone.
#[tokio::test]
async fn leftovers_of_the_living_stay() {
    let lab = Lab::new();
    let living = lab.store.stage().expect("a stage");
    lab.base(&mut Fake::new(some())).await.expect("made");
    assert_eq!(names(&lab.mirror()).iter().filter(|n| n.starts_with(".stage-")).count(), 1);
    drop(living);
    lab.assert_tidy();
}

/// R11: what a changed file's time is does not matter, only that it is another: clocks differ, and archives bring
/// old times along.
#[tokio::test]
async fn a_changed_file_is_seen_whatever_its_time() {
    let lab = Lab::new();
    let mut fake = Fake::new(some());
    lab.base(&mut fake).await.expect("made");
    let now = 1_700_000_000_123_456_789_i64;
    let key = (0, b"numpy/__init__.py".to_vec());
    for (n, time) in [now + 1, now - 1, now - 86_400_000_000_000, 4_102_444_800_000_000_000, -1, i64::MIN, i64::MAX]
        .into_iter()
        .enumerate()
    {
        // Of the same size.
        fake.files.insert(key.clone(), (format!("import{n:3}\n").into_bytes(), time));
        let synced = lab.sync(&mut fake).await.expect("synced");
        assert!(synced.changed, "{time}");
        assert_is(&synced, &fake.files);
    }
}
