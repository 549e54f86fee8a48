use super::*;
use crate::ContainerPath;

fn host(path: &str) -> HostPath {
    HostPath::new(path).expect("absolute")
}

fn mount(source: &str, target: &str) -> Mount {
    Mount {
        source: MountSource::Host(host(source)),
        target: ContainerPath::new(target).expect("absolute"),
        read_only: false,
    }
}

fn read_only(source: &str, target: &str) -> Mount {
    Mount { read_only: true, ..mount(source, target) }
}

fn protected(paths: &[&str], mountinfo: &[u8]) -> Protected {
    let paths = paths.iter().map(|path| host(path)).collect();
    Protected { paths, mounts: mountinfo::parse(mountinfo), borrowed: Vec::new() }
}

/// Target, and source where it is not the cover.
fn guards(protected: &Protected, mounts: &[Mount]) -> Vec<(String, String)> {
    let cover = host("/cover");
    let guards = protected.guards(mounts, &cover);
    guards
        .iter()
        .map(|guard| {
            let MountSource::Host(source) = &guard.source else { panic!("{guard:?}") };
            assert_eq!(guard.read_only, *source == cover, "{guard:?}");
            (guard.target.to_string(), source.to_string())
        })
        .collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(target, source)| ((*target).to_owned(), (*source).to_owned())).collect()
}

#[test]
fn a_folder_above_a_host_env_is_covered_there_and_pinned_on_the_way() {
    let envs = protected(&["/home/ada/src/a/.venv", "/home/ada/src/b/.venv"], b"");
    let workspace = mount("/home/ada/src/a", "/workspace");
    let venv = mount("/data/venvs/a", "/workspace/.venv");
    assert_eq!(guards(&envs, &[workspace.clone(), venv.clone()]), [], "the venv is mounted over its own");
    assert_eq!(
        guards(&envs, &[workspace.clone(), venv, mount("/home/ada/src", "/src")]),
        pairs(&[
            ("/src/a", "/home/ada/src/a"),
            ("/src/a/.venv", "/cover"),
            ("/src/b", "/home/ada/src/b"),
            ("/src/b/.venv", "/cover")
        ])
    );
    assert_eq!(
        guards(&envs, &[read_only("/home/ada/src", "/src")]),
        pairs(&[("/src/a/.venv", "/cover"), ("/src/b/.venv", "/cover")]),
        "what cannot be written needs no pin"
    );
}

#[test]
fn our_own_folders_are_covered_in_the_home() {
    let own = protected(&["/home/ada/.local/share/gpubay", "/home/ada/.config/gpubay"], b"");
    assert_eq!(
        guards(&own, &[mount("/home/ada", "/h")]),
        pairs(&[
            ("/h/.local", "/home/ada/.local"),
            ("/h/.local/share", "/home/ada/.local/share"),
            ("/h/.local/share/gpubay", "/cover"),
            ("/h/.config", "/home/ada/.config"),
            ("/h/.config/gpubay", "/cover"),
        ])
    );
    for source in ["/home/ada/.local/share/gpubay", "/home/ada/.local/share/gpubay/run/1", "/home/ada/.config/gpubay"] {
        let error = own.refuse(&[mount(source, "/x")]).expect_err(source);
        assert_eq!(error.code, "mount_exposes", "{source}");
    }
    own.refuse(&[mount("/home/ada", "/h"), mount("/home/ada/.local/share/gpubay2", "/x")]).expect("another's");
}

#[test]
fn another_name_for_the_same_folder_changes_nothing() {
    let text = b"1 0 8:1 / / rw - ext4 a rw\n2 1 8:1 /home/ada/src /mnt/x rw - ext4 a rw\n";
    let envs = protected(&["/home/ada/src/b/.venv"], text);
    assert_eq!(guards(&envs, &[mount("/mnt/x", "/s")]), pairs(&[("/s/b", "/mnt/x/b"), ("/s/b/.venv", "/cover")]));
    assert_eq!(
        guards(&envs, &[mount("/mnt", "/s")]),
        pairs(&[("/s/x/b", "/mnt/x/b"), ("/s/x/b/.venv", "/cover")]),
        "what is mounted below comes along"
    );
    assert!(envs.refuse(&[mount("/mnt/x/b/.venv/bin", "/s")]).is_err());
}

#[test]
fn what_another_container_brings_counts() {
    let mut envs = protected(&["/home/ada/src/b/.venv"], b"");
    envs.borrowed = vec![mount("/home/ada/src/b", "/theirs")];
    assert_eq!(guards(&envs, &[]), pairs(&[("/theirs/.venv", "/cover")]));
}

#[test]
fn a_source_that_the_container_could_replace_is_pinned() {
    let none = protected(&[], b"");
    let workspace = mount("/ws", "/workspace");
    assert_eq!(
        guards(&none, &[workspace.clone(), mount("/ws/data/raw", "/data")]),
        pairs(&[("/workspace/data", "/ws/data"), ("/workspace/data/raw", "/ws/data/raw")])
    );
    assert_eq!(guards(&none, &[workspace, mount("/elsewhere", "/data")]), []);
    assert_eq!(guards(&none, &[read_only("/ws", "/workspace"), mount("/ws/data", "/data")]), []);
}

#[test]
fn a_link_in_the_place_of_a_source_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("canonical");
    let data = root.join("data");
    std::fs::create_dir(&data).expect("made");
    let mounts = [mount(data.to_str().expect("text"), "/data")];
    sources_are_as_they_were(&mounts).expect("unchanged");
    std::fs::remove_dir(&data).expect("removed");
    assert_eq!(sources_are_as_they_were(&mounts).expect_err("gone").code, "mount_moved");
    std::os::unix::fs::symlink("/etc", &data).expect("linked");
    let error = sources_are_as_they_were(&mounts).expect_err("a link");
    assert!(error.message.contains("/etc"), "{error}");
}
