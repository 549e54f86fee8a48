//! What the workspace imports comes first, in the place of the whole, and is never taken for it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::*;
use crate::error::Explain;

fn all() -> Files {
    files(&[
        (0, "torch/__init__.py", "import numpy\n"),
        (0, "torch/nn/linear.py", "class Linear: pass\n"),
        (0, "torch/_C.so", ""),
        (0, "torch-2.9.dist-info/METADATA", "Name: torch\n"),
        (0, "lines.pth", "/usr/local/lib/python3/dist-packages\n"),
        (0, "numpy/__init__.py", "pi = 3\n"),
        (0, "numpy/core.so", ""),
        (0, "other/a.py", "a = 1\n"),
        (0, "other/b/c.py", "c = 1\n"),
        (1, "more/a.py", "a = 1\n"),
        (1, "more/b.py", "b = 1\n"),
        (1, "more/c.py", "c = 1\n"),
    ])
}

fn of_torch() -> Files {
    let of_it = |path: &[u8]| path.starts_with(b"torch") || path == b"lines.pth";
    all().into_iter().filter(|((_, path), _)| of_it(path)).collect()
}

fn torch_first() -> (Ahead, oneshot::Receiver<Synced>) {
    let (ready, first) = oneshot::channel();
    let modules: BTreeSet<String> = ["torch", "nowhere"].map(String::from).into();
    (Ahead { first: Some(First { modules, ready }), ..Ahead::default() }, first)
}

impl Lab {
    async fn base_with(&self, source: &mut Fake, ahead: Ahead) -> Result<Synced, MirrorError> {
        ensure_base(&self.store, &self.key, &self.request, source, &Progress::silent(), ahead).await
    }
}

/// X13's path lines are as in the whole.
fn assert_is_first(part: &Synced) {
    let found = contents(part.trees[0].host.as_path());
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let wanted = of_torch();
    let wanted: Vec<&str> = wanted.keys().map(|(_, path)| std::str::from_utf8(path).expect("UTF-8")).collect();
    assert_eq!(names, wanted);
    assert_eq!(contents(part.trees[1].host.as_path()).len(), 0);
}

#[tokio::test]
async fn what_is_imported_is_there_before_the_rest_and_in_the_same_place() {
    let lab = Lab::new();
    let (ahead, first) = torch_first();
    let first = Arc::new(Mutex::new(Some(first)));
    let seen = Arc::new(Mutex::new(None));
    let mut fake = Fake::new(all());
    let (waiting, noted, store, key) = (first.clone(), seen.clone(), lab.store.clone(), lab.key.clone());
    fake.hook = Box::new(move |_| {
        let mut waiting = waiting.lock().expect("no holder panics");
        if let Some(part) = waiting.as_mut().and_then(|first| first.try_recv().ok()) {
            // From now on it is read, and the whole is not there.
            assert_is_first(&part);
            assert!(find_base(&store, &key).is_none(), "a part is not taken for the whole");
            *noted.lock().expect("no holder panics") = Some(part);
            *waiting = None;
        }
        Ok(())
    });
    let made = lab.base_with(&mut fake, ahead).await.expect("made");
    let part = seen.lock().expect("no holder panics").take().expect("it came before the rest");
    let places = |synced: &Synced| synced.trees.iter().map(|tree| tree.host.clone()).collect::<Vec<_>>();
    assert_eq!(places(&part), places(&made), "what has been opened stays where it is");
    let mut whole = all();
    whole.remove(&(0, b"lines.pth".to_vec()));
    let mut found = made.clone();
    found.trees.remove(0);
    assert_is(&found, &whole);
    assert_eq!(contents(made.trees[0].host.as_path()).len(), all().keys().filter(|(root, _)| *root == 0).count());
    assert_eq!((fake.fetched, made.work.written, made.work.linked), (10, 12, 0), "each file once");
    assert!(find_base(&lab.store, &lab.key).is_some());
    lab.assert_tidy();
}

/// R9: a part is never believed to be the whole, and the next run makes the whole with it.
#[tokio::test]
async fn a_run_that_was_cut_off_after_its_first_part_is_finished_by_the_next() {
    for cut in 0.. {
        let lab = Lab::new();
        let (ahead, mut first) = torch_first();
        let mut fake = Fake::new(all());
        let there = Arc::new(AtomicBool::new(false));
        let (mut count, counted) = (0, there.clone());
        fake.hook = Box::new(move |_| {
            count += 1;
            if count > cut { Err(lost()) } else { Ok(()) }
        });
        let made = lab.base_with(&mut fake, ahead).await;
        counted.store(first.try_recv().is_ok(), Ordering::Relaxed);
        if made.is_ok() {
            assert!(there.load(Ordering::Relaxed) && cut > 10);
            break;
        }
        assert_eq!(made.expect_err("cut").code(), "mirror_source");
        assert!(find_base(&lab.store, &lab.key).is_none());
        lab.assert_tidy();
        let mut again = Fake::new(all());
        let (ahead, mut first) = torch_first();
        let whole = lab.base_with(&mut again, ahead).await.expect("made");
        assert_eq!(whole.files as usize, all().len());
        if there.load(Ordering::Relaxed) {
            assert_eq!(again.fetched, 6, "what is there is not asked for again");
            assert!(first.try_recv().is_err(), "nor is it put there again");
        }
        lab.assert_tidy();
    }
}

/// R6: two workspaces of one image that import different things.
#[tokio::test]
async fn two_at_once_end_with_one_whole_mirror() {
    let lab = Lab::new();
    let ((one, _first), (mut other, _second)) = (torch_first(), torch_first());
    other.first.as_mut().expect("wanted").modules = ["numpy".to_owned()].into();
    let (mut a, mut b) = (Fake::new(all()), Fake::new(all()));
    let (a, b) = tokio::join!(lab.base_with(&mut a, one), lab.base_with(&mut b, other));
    for made in [a.expect("made"), b.expect("made")] {
        assert_eq!(made.files as usize, all().len());
        assert_eq!(contents(made.trees[1].host.as_path()).len(), 3);
    }
    assert_eq!(names(&lab.mirror().join("base")).len(), 1);
    lab.assert_tidy();
}

/// Where nearly all is imported, or nothing, or little is to be had at all, the whole is as soon there.
#[tokio::test]
async fn there_is_no_first_part_that_gains_nothing() {
    let few = files(&[(0, "torch/__init__.py", "x = 1\n"), (0, "a.py", "a = 1\n"), (0, "b.py", "b = 1\n")]);
    let most: Files =
        all().into_iter().filter(|((_, path), _)| path.starts_with(b"torch") || path.starts_with(b"o")).collect();
    let none: Files = all().into_iter().filter(|((root, _), _)| *root == 1).collect();
    for content in [few, most, none] {
        let lab = Lab::new();
        let (ahead, mut first) = torch_first();
        let mut fake = Fake::new(content.clone());
        let made = lab.base_with(&mut fake, ahead).await.expect("made");
        assert_is(&made, &content);
        assert!(first.try_recv().is_err());
    }
}
