//! `/proc/self/mountinfo`, as far as it tells which folder another one really is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// `major:minor` of the file system.
    pub device: String,
    /// The folder of that file system that is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
}

/// All lines in their order; of two mounts on one place the later one is seen. A mount point that was removed
/// (it ends in `//deleted`) is none.
pub fn parse(text: &[u8]) -> Vec<MountInfo> {
    let path = |field: &[u8]| PathBuf::from(OsString::from_vec(unescape(field)));
    text.split(|&b| b == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|&b| b == b' ').skip(2);
            let device = String::from_utf8_lossy(fields.next()?).into_owned();
            let (root, target) = (fields.next()?, fields.next()?);
            (!unescape(target).ends_with(b"//deleted")).then(|| MountInfo {
                device,
                root: path(root),
                target: path(target),
            })
        })
        .collect()
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        if first == b'\\'
            && let Some(digits) = after.get(..3)
            && digits.iter().all(|d| (b'0'..=b'7').contains(d))
        {
            out.push(digits.iter().fold(0_u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
            rest = &after[3..];
        } else {
            out.push(first);
            rest = after;
        }
    }
    out
}

/// Where a path really lies: a file system, and the path in it. Two paths with the same place are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `major:minor`; empty where nothing is known of mounts.
    pub device: String,
    /// In the file system itself.
    pub path: PathBuf,
}

/// The place of `path`, which holds no links.
pub fn place(mounts: &[MountInfo], path: &Path) -> Place {
    // The last of the longest: a mount hides what was mounted there before.
    let mount = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.target))
        .max_by_key(|mount| mount.target.components().count());
    let Some(mount) = mount else { return Place { device: String::new(), path: path.to_owned() } };
    let rest = path.strip_prefix(&mount.target).unwrap_or(Path::new(""));
    // Joined with nothing a path would end in a slash.
    let path = if rest.as_os_str().is_empty() { mount.root.clone() } else { mount.root.join(rest) };
    Place { device: mount.device.clone(), path }
}

impl Place {
    /// What leads from `base` to here: empty when both are one, `None` when this is not in it.
    pub fn below(&self, base: &Self) -> Option<&Path> {
        if self.device != base.device {
            return None;
        }
        self.path.strip_prefix(&base.path).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        30 22 8:1 /home/ada/src /mnt/with\\040space rw - ext4 /dev/sda1 rw\n\
        31 22 0:40 / /proc rw - proc proc rw\n\
        32 22 8:1 /gone /mnt/gone//deleted rw - ext4 /dev/sda1 rw\n\
        33 22 8:2 / /srv rw - ext4 /dev/sdb1 rw\nnonsense\n";

    #[test]
    fn a_bind_mount_is_the_folder_that_it_shows() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 4, "{mounts:?}");
        let at = |path: &str| place(&mounts, Path::new(path));
        assert_eq!(at("/mnt/with space/ws"), at("/home/ada/src/ws"));
        assert_eq!(at("/mnt/with space"), at("/home/ada/src"));
        assert_ne!(at("/srv/home"), at("/home"));
        assert_eq!(at("/mnt/with space/ws").below(&at("/home/ada")), Some(Path::new("src/ws")));
        assert_eq!(at("/home/ada").below(&at("/home/ada")), Some(Path::new("")));
        assert_eq!(at("/srv/x").below(&at("/")), None, "another file system");
        let nothing = place(&[], Path::new("/home/ada/src"));
        assert_eq!(nothing.below(&place(&[], Path::new("/home"))), Some(Path::new("ada/src")));
    }

    #[test]
    fn mount_points_are_unescaped_and_deleted_ones_are_none() {
        let mounts = parse(
            b"36 35 98:0 /a\\040b /app/my\\040space\\134x rw - ext4 /dev/x rw\n\
            37 35 98:0 /v /app/.venv//deleted rw - ext4 /dev/x rw\n\
            38 35 98:0 /gone//deleted /app/here rw - ext4 /dev/x rw\n",
        );
        let targets: Vec<&Path> = mounts.iter().map(|mount| mount.target.as_path()).collect();
        assert_eq!(targets, [Path::new("/app/my space\\x"), Path::new("/app/here")]);
    }

    #[test]
    fn a_later_mount_hides_an_earlier_one() {
        let mounts = parse(b"1 0 8:1 / / rw - a b c\n2 1 8:2 / /x rw - a b c\n3 1 8:3 / /x rw - a b c\n");
        assert_eq!(place(&mounts, Path::new("/x/y")).device, "8:3");
    }
}
