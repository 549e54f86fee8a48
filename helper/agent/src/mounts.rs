//! Whether what is mounted is what the helper saw on the host. An engine opens a mount's source by its path, and a
//! container that can write the folders above it may have put a link there at the last moment.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A folder or file, as the host knows it.
pub(crate) struct Seen {
    device: u64,
    inode: u64,
    path: PathBuf,
}

impl Seen {
    /// `DEVICE:INODE:PATH`
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let (device, inode) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { device, inode, path: parts.next()?.into() })
    }
}

/// The first of them is a folder that no container can get at. Where even that one is not the same, another kernel
/// stands between the host and here, and numbers tell nothing.
pub(crate) fn check(seen: &[Seen]) -> Result<(), String> {
    for (n, Seen { device, inode, path }) in seen.iter().enumerate() {
        match path.symlink_metadata() {
            Ok(found) if (found.dev(), found.ino()) == (*device, *inode) => {}
            _ if n == 0 => return Ok(()),
            Ok(_) => return Err(format!("{} is not what it was on the host", path.display())),
            Err(error) => {
                return Err(format!("whether {} is what it was on the host is unknown: {error}", path.display()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_exchanged_is_told_unless_numbers_tell_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let seen = |name: &str| {
            let path = folder.path().join(name);
            let found = path.symlink_metadata().expect("there");
            Seen::parse(&format!("{}:{}:{}", found.dev(), found.ino(), path.display())).expect("well-formed")
        };
        for name in ["root", "a:b", "other"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        let mut all = [seen("root"), seen("a:b")];
        assert_eq!(check(&all), Ok(()));
        std::fs::rename(folder.path().join("a:b"), folder.path().join("away")).expect("moved");
        assert!(check(&all).expect_err("gone").contains("unknown"));
        std::fs::rename(folder.path().join("other"), folder.path().join("a:b")).expect("moved");
        assert!(check(&all).expect_err("another").contains("a:b is not what it was"));
        all[0].inode += 1;
        assert_eq!(check(&all), Ok(()));
        assert!(Seen::parse("1:2").is_none() && Seen::parse("x:2:/").is_none());
    }
}
