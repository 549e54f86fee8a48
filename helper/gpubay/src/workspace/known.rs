//! Which workspaces this user has had here: so that what belongs to one that is gone can be told from what belongs to
//! one whose disk is not there today.
//!
//! A file for each under the user's own data folder. Without it nothing is lost: what it would tell of is then left
//! alone by `prune`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Workspace;
use crate::HostPath;
use crate::config::Bare;

const FOLDER: &str = "workspaces";

/// What was true of a workspace when it was last brought up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) folder: HostPath,
    /// Where its locks, venv and run folders lie.
    pub(super) data: HostPath,
    /// The image that was wanted last. When it was made does not tell: a builder's cache keeps its times.
    #[serde(default)]
    pub(super) image: Option<String>,
    mount: Mount,
}

/// The file system that it was on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mount {
    point: PathBuf,
    /// Device or export, and the folder of it that is mounted.
    source: String,
    /// The file system's own number, since another disk may be the same device the next time; 0 where it has none.
    #[serde(default)]
    number: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    /// Moved or deleted.
    Gone,
    /// Not to be decided now; the sentence says why.
    Unknown(String),
}

/// Failing at it harms nothing: what nobody remembers is never taken away.
pub(super) fn remember(workspace: &Workspace, image: Option<&str>) {
    let folder = workspace.folder().clone();
    let mount = mount_of(folder.as_path(), &mounts());
    let mount = Mount { number: number_of(folder.as_path()), ..mount };
    let file = file(&workspace.loaded.state, workspace.id8());
    let before = read(&file);
    let image = image.map(str::to_owned).or_else(|| before.as_ref()?.image.clone());
    let known = Known { folder, data: workspace.config().paths.data.clone(), image, mount };
    if before.as_ref() != Some(&known) {
        super::write_cache(&file, &known);
    }
}

pub(super) fn file(state: &HostPath, id8: &str) -> HostPath {
    state.join(FOLDER).join(id8)
}

fn read(file: &HostPath) -> Option<Known> {
    serde_json::from_slice(&crate::files::read(file.as_path(), crate::files::SMALL).ok()?).ok()
}

/// Whether that folder has been brought up as a workspace of this user's.
pub(super) fn is_known(bare: &Bare, folder: &HostPath) -> bool {
    read(&file(&bare.state, bare.identity_of(folder).id8())).is_some_and(|known| known.folder == *folder)
}

/// By the first 8 digits of their identities. A file that says something else than its name is none.
pub(super) fn all(bare: &Bare) -> BTreeMap<String, Known> {
    let Ok(entries) = std::fs::read_dir(bare.state.join(FOLDER).as_path()) else { return BTreeMap::new() };
    let named = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let known = named.filter_map(|id8| Some((id8.clone(), read(&file(&bare.state, &id8))?)));
    known.filter(|(id8, known)| bare.identity_of(&known.folder).id8() == id8).collect()
}

impl Known {
    pub(super) fn presence(&self) -> Presence {
        presence(self.folder.as_path(), &self.mount, &mounts(), number_of)
    }
}

fn number_of(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |found| found.f_fsid)
}

fn presence(folder: &Path, on: &Mount, mounts: &[Mount], number_of: impl Fn(&Path) -> u64) -> Presence {
    match folder.symlink_metadata() {
        Ok(_) => return Presence::Here,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Presence::Unknown(format!("{}: {error}", folder.display())),
    }
    // The last one lies on top.
    match mounts.iter().rev().find(|mount| mount.point == on.point) {
        Some(now) if now.source == on.source && [0, number_of(&on.point)].contains(&on.number) => Presence::Gone,
        Some(_) => Presence::Unknown(format!(
            "{} was on {}, where something else is mounted now",
            folder.display(),
            on.point.display()
        )),
        None => Presence::Unknown(format!(
            "{} was on {}, where nothing is mounted now",
            folder.display(),
            on.point.display()
        )),
    }
}

fn mount_of(path: &Path, mounts: &[Mount]) -> Mount {
    let above = mounts.iter().rev().filter(|mount| path.starts_with(&mount.point));
    // Of equal length the last one counts, which comes first here.
    above
        .reduce(|best, mount| if mount.point.as_os_str().len() > best.point.as_os_str().len() { mount } else { best })
        .cloned()
        .unwrap_or_default()
}

fn mounts() -> Vec<Mount> {
    parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
}

fn parse(text: &[u8]) -> Vec<Mount> {
    use std::os::unix::ffi::OsStringExt;
    let words = |line: &[u8]| line.split(|&b| b == b' ').map(unescape).collect::<Vec<_>>();
    text.split(|&b| b == b'\n')
        .map(words)
        .filter_map(|words| {
            let dash = words.iter().position(|word| word == b"-")?;
            let text = |at: usize| Some(String::from_utf8_lossy(words.get(at)?).into_owned());
            Some(Mount {
                point: std::ffi::OsString::from_vec(words.get(4)?.clone()).into(),
                source: format!("{} {}", text(dash + 2)?, text(3)?),
                number: 0,
            })
        })
        .collect()
}

/// `\040` and its like.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(byte);
            rest = &after[3..];
        } else {
            out.push(first);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/my\\040disk rw - ext4 /dev/sdb1 rw
31 22 0:41 / /mnt/nas rw - autofs systemd-1 rw
32 31 0:42 /export /mnt/nas rw - nfs4 nas:/export rw
";

    #[test]
    fn a_folder_is_on_the_nearest_mount_and_the_topmost() {
        let mounts = parse(TABLE);
        for (path, point, source) in [
            ("/home/ada/ws", "/", "/dev/sda1 /"),
            ("/mnt/my disk/ws", "/mnt/my disk", "/dev/sdb1 /"),
            ("/mnt/nas/a/ws", "/mnt/nas", "nas:/export /export"),
            ("/mnt/nasty", "/", "/dev/sda1 /"),
        ] {
            let found = mount_of(Path::new(path), &mounts);
            assert_eq!((found.point.as_path(), found.source.as_str()), (Path::new(point), source), "{path}");
        }
    }

    #[test]
    fn a_folder_whose_disk_is_not_there_is_not_gone() {
        let place = tempfile::tempdir().expect("a folder");
        let (ws, disk) = (place.path().join("ws"), place.path().to_owned());
        let on = Mount { point: disk.clone(), source: "/dev/sdb1 /".to_owned(), number: 7 };
        let same = std::slice::from_ref(&on);
        let other = [Mount { point: disk, source: "/dev/sdc1 /".to_owned(), number: 7 }];
        let presence = |folder: &Path, on: &Mount, mounts: &[Mount]| presence(folder, on, mounts, |_| 7);
        assert_eq!(presence(&ws, &on, same), Presence::Gone);
        assert!(matches!(presence(&ws, &on, &[]), Presence::Unknown(why) if why.contains("nothing is mounted")));
        assert!(matches!(presence(&ws, &on, &other), Presence::Unknown(why) if why.contains("something else")));
        // Another disk in the same drive; and one whose number was never known.
        let swapped = Mount { number: 8, ..on.clone() };
        assert!(matches!(presence(&ws, &swapped, same), Presence::Unknown(why) if why.contains("something else")));
        assert_eq!(presence(&ws, &Mount { number: 0, ..on.clone() }, same), Presence::Gone);
        std::fs::create_dir(&ws).expect("made");
        assert_eq!(presence(&ws, &on, &[]), Presence::Here);
        // Neither is one that cannot be looked at.
        let below_a_file = place.path().join("file/ws");
        std::fs::write(place.path().join("file"), "").expect("written");
        assert!(matches!(presence(&below_a_file, &on, same), Presence::Unknown(_)));
    }
}
