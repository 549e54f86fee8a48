//! What is begun before the container's list is there: a tree that is probably much like the new one.

use std::os::unix::fs::MetadataExt;

use super::apply::some;
use super::*;
use crate::error::Explain;

/// Every file is on the engine's disk what it was, unless the test says otherwise.
fn with_witnesses(files: Files) -> Fake {
    let witness = files.keys().map(|(_, path)| (path.clone(), path.len() as u64 + 100)).collect();
    Fake { witness, ..Fake::new(files) }
}

fn near(made: &Synced) -> Ahead {
    Ahead { near: made.trees.iter().map(|tree| tree.host.join("any")).collect(), ..Ahead::default() }
}

impl Lab {
    async fn base_near(&self, image: &str, source: &mut Fake, ahead: Ahead) -> Result<Synced, MirrorError> {
        let key = BaseKey::new(image, &self.request);
        ensure_base(&self.store, &key, &self.request, source, &Progress::silent(), ahead).await
    }
}

fn many() -> Files {
    let mut all = some();
    let names: Vec<String> = (0..40).map(|n| format!("many/m{n}.py")).collect();
    all.extend(files(&names.iter().map(|name| (0, name.as_str(), "same")).collect::<Vec<_>>()));
    all
}

#[tokio::test]
async fn a_tree_that_was_linked_beforehand_becomes_what_the_new_image_has() {
    let lab = Lab::new();
    let mut old = with_witnesses(many());
    old.files.extend(files(&[(0, "gone.py", "x"), (0, "left/deep/er.py", "x"), (1, "left.py", "x")]));
    old.witness.extend(with_witnesses(old.files.clone()).witness);
    let first = lab.base(&mut old).await.expect("made");

    let mut new = with_witnesses(many());
    new.files.extend(files(&[
        (0, "many/m7.py", "other"),
        (0, "fresh/a/b.py", "new"),
        (1, "gone.py/x.py", "a folder now"),
    ]));
    new.witness.insert(b"many/m7.py".to_vec(), 7);
    let second = lab.base_near("sha256:2", &mut new, near(&first)).await.expect("made");
    assert_is(&second, &new.files);
    assert_is(&first, &old.files);
    assert_eq!((new.fetched, second.work.written), (3, 3), "only what is new was asked for");
    assert_eq!(second.work.linked + 3, u64::from(second.files));
    let number = |made: &Synced| std::fs::metadata(made.trees[0].host.join("many/m1.py")).expect("there").ino();
    assert_eq!(number(&first), number(&second), "a hard link");
    lab.assert_tidy();
    for at in [0, 1] {
        let folder = second.trees[at].host.as_path();
        assert_eq!(std::fs::metadata(folder).expect("there").mode() & 0o222, 0, "closed");
    }
    let left = second.trees[0].host.join("left");
    assert!(!left.as_path().exists(), "no folder stays that only the other image has");
}

/// Where another mirror has far more of it, the guess was wrong, and goes.
#[tokio::test]
async fn a_wrong_guess_costs_nothing_but_its_work() {
    let lab = Lab::new();
    let other = lab.base(&mut Fake::new(files(&[(0, "six.py", "other"), (1, "odd.py", "odd")]))).await.expect("made");
    let like = lab.base_near("sha256:2", &mut with_witnesses(many()), Ahead::default()).await.expect("made");
    let mut new = with_witnesses(many());
    new.files.extend(files(&[(1, "one.py", "more")]));
    let made = lab.base_near("sha256:3", &mut new, near(&other)).await.expect("made");
    assert_is(&made, &new.files);
    assert_is(&like, &many());
    assert_eq!(new.fetched, 1, "the rest is linked to the mirror that has it");
    lab.assert_tidy();
    // Neither is one that is damaged, or gone.
    let manifest = lab.mirror().join(&like.generation).join("manifest");
    std::fs::set_permissions(&manifest, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("opened");
    std::fs::write(&manifest, "").expect("written");
    for (image, ahead) in [
        ("sha256:4", near(&like)),
        ("sha256:5", Ahead { near: vec![HostPath::new("/none").expect("absolute")], ..Ahead::default() }),
    ] {
        let mut again = with_witnesses(many());
        let made = lab.base_near(image, &mut again, ahead).await.expect("made");
        assert_is(&made, &many());
        lab.assert_tidy();
    }
}

/// R9, R13: whatever cuts the work off, nothing of what was begun beforehand stays.
#[tokio::test]
async fn what_was_begun_beforehand_goes_when_the_work_fails() {
    let lab = Lab::new();
    let first = lab.base(&mut with_witnesses(many())).await.expect("made");
    let mut new = with_witnesses(many());
    new.files.extend(files(&[(1, "one.py", "more")]));
    for cut in 0..3 {
        new.hook = Box::new(move |event| if event == cut { Err(lost()) } else { Ok(()) });
        let failed = lab.base_near("sha256:2", &mut new, near(&first)).await;
        assert_eq!(failed.expect_err("cut").code(), "mirror_source");
        lab.assert_tidy();
    }
    new.entries = Some(vec![entry(0, "../x.py", 1)]);
    assert_eq!(lab.base_near("sha256:2", &mut new, near(&first)).await.expect_err("a lie").code(), "mirror_refused");
    lab.assert_tidy();
    assert_is(&first, &many());
}
