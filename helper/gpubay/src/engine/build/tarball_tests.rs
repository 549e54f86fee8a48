use std::collections::BTreeMap;

use super::*;

/// The archive of a folder: names with what they hold.
fn packed(
    folder: &std::path::Path,
    excludes: Excludes,
    follow: &[&str],
    inside: Option<&str>,
) -> (String, BTreeMap<String, String>) {
    let root = Arc::new(context::open_root(folder).expect("a root"));
    let follow = follow.iter().map(|&path| path.to_owned()).collect();
    let tarball = list(root, excludes, follow, &[".venv".to_owned()], inside, "FROM checked\n").expect("listed");
    let dockerfile = tarball.dockerfile.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let bytes = runtime.block_on(async {
        let (mut pieces, task) = send(tarball, |_| ());
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.recv().await {
            bytes.extend_from_slice(&piece.expect("a piece"));
        }
        assert!(task.await.expect("ended").is_none());
        bytes
    });
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(&bytes[..]).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        assert_eq!((entry.header().uid().expect("a number"), entry.header().gid().expect("a number")), (0, 0));
        let path = entry.path().expect("a path").display().to_string();
        let mut text = String::new();
        match entry.link_name().expect("a link") {
            Some(target) => text = format!("-> {}", target.display()),
            None => _ = entry.read_to_string(&mut text).expect("text"),
        }
        files.insert(path, text);
    }
    (dockerfile, files)
}

fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, file).expect("written");
    }
    folder
}

fn pairs(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect()
}

#[test]
fn the_dockerfile_is_what_was_checked_and_nothing_unasked_goes_along() {
    let folder = folder(&["Dockerfile", "a/b", "c", ".venv/bin/python", "data/big"]);
    std::os::unix::fs::symlink("/etc/shadow", folder.path().join("link")).expect("a link");
    let excludes = Excludes { patterns: vec!["data".to_owned()], of_dockerfile: false };
    let (dockerfile, files) = packed(folder.path(), excludes, &["."], Some("Dockerfile"));
    assert_eq!(dockerfile, "Dockerfile");
    assert_eq!(
        files,
        pairs(&[("Dockerfile", "FROM checked\n"), ("a/", ""), ("a/b", "a/b"), ("c", "c"), ("link", "-> /etc/shadow")])
    );
}

#[test]
fn a_dockerfile_that_is_not_in_the_context_is_hidden_in_it() {
    let folder = folder(&["docker/Dockerfile", "c", ".gpubay-dockerfile"]);
    let hidden = (".gpubay-dockerfile", "FROM checked\n");
    for (follow, inside, ignored) in [
        (&["c"][..], Some("docker/Dockerfile"), ".dockerignore\n\n.gpubay-dockerfile\n"),
        (&["c"], None, ".dockerignore\n\n.gpubay-dockerfile\n"),
    ] {
        let (dockerfile, files) = packed(folder.path(), Excludes::default(), follow, inside);
        assert_eq!(dockerfile, ".gpubay-dockerfile");
        assert_eq!(files, pairs(&[("c", "c"), (".dockerignore", ignored), hidden]));
    }
    std::fs::write(folder.path().join(".dockerignore"), "x").expect("written");
    let (_, files) = packed(folder.path(), Excludes::default(), &["."], None);
    assert_eq!(files[".dockerignore"], "x\n.gpubay-dockerfile\n");
    let (_, files) = packed(folder.path(), Excludes::default(), &[], None);
    assert_eq!(files.len(), 2, "{files:?}");
}

#[test]
fn long_names_and_large_files_arrive_whole() {
    let long = format!("{}/{}", "d".repeat(180), "f".repeat(180));
    let folder = folder(&[&long]);
    let large = "x".repeat(1_000_001);
    std::fs::write(folder.path().join("large"), &large).expect("written");
    let (_, files) = packed(folder.path(), Excludes::default(), &["."], None);
    assert_eq!(files[&long], long);
    assert!(files["large"] == large, "the whole of it");
}

#[test]
fn a_file_that_becomes_shorter_is_an_error() {
    let folder = folder(&["a"]);
    let file = std::fs::File::open(folder.path().join("a")).expect("open");
    let mut whole = Whole { file: file.take(100), left: 100, done: 0, sent: &|_| () };
    let error = whole.read_to_end(&mut Vec::new()).expect_err("shorter");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
