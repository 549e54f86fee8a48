//! What ends up on the disk, compared with a model.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use proptest::prelude::*;

use super::*;

pub(super) fn some() -> Files {
    files(&[
        (0, "numpy/__init__.py", "import os\n"),
        (0, "numpy/core/a.pyi", "x: int\n"),
        (0, "numpy/core/_c.cpython-312.so", "\x7fELF"),
        (0, "six.py", ""),
        (1, "deep/er/and/deeper/m.py", "pass\n"),
    ])
}

#[tokio::test]
async fn a_base_is_made_once_and_is_read_only() {
    let lab = Lab::new();
    let mut fake = Fake::new(some());
    let made = lab.base(&mut fake).await.expect("made");
    assert!(made.changed);
    assert_is(&made, &fake.files);
    assert_eq!((made.files, made.trees.len()), (5, 2));
    let root = made.trees[0].host.as_path();
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(&root.join("numpy")), 0o555);
    assert_eq!(mode(&root.join("six.py")) & 0o333, 0);
    let time = std::fs::metadata(root.join("six.py")).expect("there").mtime();
    assert_eq!(time, 1_700_000_000);

    let mut nobody = Fake::new(Files::new());
    nobody.hook = Box::new(|_| Err(lost()));
    assert!(!lab.base(&mut nobody).await.expect("in place").changed);
    assert_eq!(find_base(&lab.store, &lab.key).map(|m| m.files), Some(5));
    lab.assert_tidy();
}

#[tokio::test]
async fn workspaces_share_the_base_and_pay_only_for_their_changes() {
    let lab = Lab::new();
    let mut fake = Fake::new(some());
    lab.base(&mut fake).await.expect("made");
    let base = lab.sync(&mut fake).await.expect("synced");
    assert!(!base.changed && base.generation.starts_with("base/"));
    assert_eq!(names(&lab.mirror().join("workspace")), Vec::<String>::new());

    fake.files.extend(files(&[(1, "new/n.py", "n = 1\n")]));
    fake.fetched = 0;
    let own = lab.sync(&mut fake).await.expect("synced");
    assert!(own.changed);
    assert_eq!((own.generation.as_str(), fake.fetched), ("workspace/ws/1", 1));
    assert_is(&own, &fake.files);
    let number =
        |synced: &Synced| std::fs::metadata(synced.trees[0].host.join("numpy/__init__.py")).expect("there").ino();
    assert_eq!(number(&own), number(&base), "a hard link");

    fake.sames = 0;
    let again = lab.sync(&mut fake).await.expect("synced");
    assert_eq!((again.changed, fake.sames), (false, 1));

    // Uninstalled again: the container is as its image.
    fake.files.retain(|(_, path), _| path != b"new/n.py");
    let back = lab.sync(&mut fake).await.expect("synced");
    assert!(back.changed);
    assert_eq!(back.trees, base.trees);
    assert!(!lab.sync(&mut fake).await.expect("synced").changed);
}

#[tokio::test]
async fn only_one_older_generation_is_kept() {
    let lab = Lab::new();
    let mut fake = Fake::new(some());
    for n in 0..5 {
        fake.files.extend(files(&[(0, &format!("m{n}.py"), "x")]));
        assert_is(&lab.sync(&mut fake).await.expect("synced"), &fake.files);
    }
    assert_eq!(names(&lab.mirror().join("workspace/ws")), ["4", "5"]);
    lab.assert_tidy();
}

#[tokio::test]
async fn what_nothing_refers_to_is_listed_and_freed() {
    let lab = Lab::new();
    let mut fake = Fake::new(some());
    lab.base(&mut fake).await.expect("made");
    fake.files.extend(files(&[(0, "x.py", "x")]));
    lab.sync(&mut fake).await.expect("synced");
    let kept = lab.store.unreferenced(&Needed::default()).expect("listed");
    assert_eq!(kept, [], "the workspace goes back to the base, and is not known to be gone");
    let gone = || Needed { gone: ["ws".to_owned()].into(), ..Needed::default() };
    let all = lab.store.unreferenced(&gone()).expect("listed");
    assert_eq!(all.len(), 2);
    let base = all.iter().find(|one| one.name.starts_with("base/")).expect("listed").clone();
    let named = Needed { paths: [base.path.join("tree/opt")].into(), ..gone() };
    assert_eq!(lab.store.unreferenced(&named).expect("listed").len(), 1, "something names a folder of the base");
    // Whoever is about to use one keeps all.
    let using = lab.store.using().expect("locked");
    assert!(matches!(lab.store.free(&all, gone), Err(MirrorError::InUse)));
    drop(using);
    // What is named by now stays, whatever was listed before.
    let freed = lab.store.free(&all, || named).expect("freed");
    assert_eq!(freed, ["workspace/ws"]);
    assert!(base.path.as_path().exists());
    lab.store.free(&all, gone).expect("freed");
    for one in &all {
        assert!(!one.path.as_path().exists());
    }
    lab.assert_tidy();
}

#[tokio::test]
async fn path_files_are_harmless_in_the_mirror() {
    let lab = Lab::new();
    let mut fake = Fake::new(files(&[
        (0, "evil.pth", "import os; os.system('touch /tmp/canary')\n/home/ada\nwin32\n"),
        (0, "six.py", "x"),
    ]));
    let made = lab.base(&mut fake).await.expect("made");
    let pth = made.trees[0].host.join("evil.pth");
    assert_eq!(std::fs::read_to_string(&pth).expect("there"), "./win32\n");
    // Its size on the disk is not the original's, and it is linked nevertheless.
    fake.files.extend(files(&[(0, "b.py", "x")]));
    fake.fetched = 0;
    lab.sync(&mut fake).await.expect("synced");
    assert_eq!(fake.fetched, 1);
}

#[tokio::test]
async fn names_that_differ_in_case_or_normal_form_only_are_different_files() {
    let lab = Lab::new();
    let mut fake = Fake::new(files(&[
        (0, "Foo.py", "1"),
        (0, "foo.py", "2"),
        (0, "caf\u{e9}.py", "3"),
        (0, "cafe\u{301}.py", "4"),
        (0, "con.py", "5"),
        (0, "-rf.py", "6"),
        (0, "$(x) `y` 'z'.py", "7"),
    ]));
    let made = lab.base(&mut fake).await.expect("made");
    assert_is(&made, &fake.files);
}

fn tree() -> impl Strategy<Value = Files> {
    let part = prop::sample::select(vec!["a", "b", "pkg", "x y"]);
    let name = prop::sample::select(vec!["m.py", "n.pyi", "c.so", "METADATA", "skipped.txt"]);
    let path = (prop::collection::vec(part, 0..3), name).prop_map(|(mut parts, name)| {
        parts.push(name);
        parts.join("/").into_bytes()
    });
    prop::collection::btree_map((0_u16..2, path), (prop::collection::vec(any::<u8>(), 0..12), 0_i64..3), 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn the_mirror_is_what_the_container_has(base in tree(), steps in prop::collection::vec(tree(), 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let lab = Lab::new();
            assert_is(&lab.base(&mut Fake::new(base.clone())).await.expect("made"), &base);
            let mut before = base;
            for (n, mut after) in steps.into_iter().enumerate() {
                // Equal size and time mean equal contents to every such tool; so they do here.
                for (key, (text, mtime)) in &mut after {
                    match before.get(key) {
                        Some(old) if old.0 == *text => *mtime = old.1,
                        _ => *mtime = 100 + n as i64,
                    }
                }
                let mut fake = Fake::new(after);
                let synced = lab.sync_as("w", &mut fake, Deletions::Allowed).await.expect("synced");
                assert_is(&synced, &fake.files);
                lab.assert_tidy();
                before.extend(fake.files);
            }
        });
    }
}

/// An image with one more package shares its other layers with the one before. A file of the same name, size and time that
/// is another on the engine's disk is another file: some builders set all times to a constant.
#[tokio::test]
async fn the_mirror_of_a_new_image_begins_with_that_of_another() {
    let lab = Lab::new();
    let mut old = Fake::new(files(&[(0, "six.py", "six"), (0, "re.py", "1.0"), (0, "no.py", "a"), (0, "c.so", "")]));
    old.witness = [("six.py", 11), ("re.py", 12)].map(|(name, witness)| (name.into(), witness)).into();
    let first = lab.base(&mut old).await.expect("made");
    assert_eq!((first.work.written, first.work.linked, first.work.bytes), (4, 0, 7));

    let mut new = Fake::new(old.files.clone());
    new.files.extend(files(&[(0, "re.py", "2.0"), (0, "no.py", "b"), (1, "more/m.py", "more")]));
    new.witness = [("six.py", 11), ("re.py", 13), ("more/m.py", 14)].map(|(name, w)| (name.into(), w)).into();
    let key = BaseKey::new("sha256:2", &lab.request);
    let second = ensure_base(&lab.store, &key, &lab.request, &mut new, &Progress::silent(), Ahead::default())
        .await
        .expect("made from the other");
    assert_is(&second, &new.files);
    assert_is(&first, &old.files);
    assert_eq!((second.work.linked, second.work.written, second.work.bytes, new.fetched), (2, 3, 8, 3));
    let number = |made: &Synced| std::fs::metadata(made.trees[0].host.join("six.py")).expect("there").ino();
    assert_eq!(number(&first), number(&second), "a hard link");

    // Of several the one that has most of it is taken; one that is damaged meanwhile costs asking for the file again.
    let mut third = Fake::new(new.files.clone());
    third.witness = new.witness.clone();
    let file = second.trees[1].host.join("more/m.py");
    let folder = file.as_path().parent().expect("a folder").to_owned();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("opened");
    std::fs::remove_file(file.as_path()).expect("removed");
    let key = BaseKey::new("sha256:3", &lab.request);
    let made = ensure_base(&lab.store, &key, &lab.request, &mut third, &Progress::silent(), Ahead::default())
        .await
        .expect("made");
    assert_is(&made, &third.files);
    assert_eq!((made.work.linked, third.fetched), (3, 2), "without a witness nothing is believed");
}
