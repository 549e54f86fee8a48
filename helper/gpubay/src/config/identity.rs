//! Which workspace this is: the same folder of the same user on the same machine, wherever the
//! engine runs.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::ConfigError;
use super::state;
use crate::HostPath;

/// Longest part of a name that is taken from the folder.
const SLUG_LIMIT: usize = 30;

/// The identity of DESIGN.md: it names containers and volumes, and labels them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// 64 hexadecimal digits.
    pub id: String,
    /// 12 hexadecimal digits of machine and user: names what a user's workspaces share on an engine.
    pub user: String,
    /// The folder's name as far as a container's name can hold it: `[a-z0-9-]`, never empty.
    pub slug: String,
}

impl Identity {
    /// `workspace` must be canonical, or one folder would have two identities.
    pub fn new(machine: &str, uid: u32, workspace: &HostPath) -> Self {
        let path = workspace.as_path();
        let uid = uid.to_be_bytes();
        let user = digest(&[b"gpubay 1", machine.as_bytes(), &uid])[..12].to_owned();
        let id = digest(&[b"gpubay 1", machine.as_bytes(), &uid, path.as_os_str().as_bytes()]);
        Self { id, user, slug: slug(path) }
    }

    /// The first 8 digits of the identity.
    pub fn id8(&self) -> &str {
        &self.id[..8]
    }

    /// `gpubay-<slug>-<id8>`
    pub fn container_name(&self) -> String {
        format!("gpubay-{}-{}", self.slug, self.id8())
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    // Lengths keep two different lists from giving the same bytes.
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

fn slug(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == SLUG_LIMIT {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "workspace".to_owned() } else { slug.to_owned() }
}

/// The machine's own id, or, where it has none, a random one that is kept in `data`.
pub(super) fn machine_id(file: &Path, data: &HostPath) -> Result<String, ConfigError> {
    if let Ok(text) = crate::files::read(file, crate::files::SMALL) {
        let text = String::from_utf8_lossy(&text);
        let id = text.trim();
        // «uninitialized» is what systemd writes into images.
        if id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(id.to_owned());
        }
    }
    state::machine_id(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(path: &str) -> Identity {
        Identity::new("0123456789abcdef0123456789abcdef", 1000, &HostPath::new(path).expect("absolute"))
    }

    #[test]
    fn every_path_gives_a_name_that_engines_take() {
        for (path, slug) in [
            ("/home/ada/my ws", "my-ws"),
            ("/home/ada/it's \"quoted\"", "it-s-quoted"),
            ("/home/ada/$(touch x)", "touch-x"),
            ("/home/ada/`id`;rm", "id-rm"),
            ("/home/ada/Обучение", "workspace"),
            ("/home/ada/模型-v2", "v2"),
            ("/home/ada/-rf", "rf"),
            ("/home/ada/a\nb", "a-b"),
            ("/home/ada/..hidden", "hidden"),
            ("/", "workspace"),
            ("/home/ada/aaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbb", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("/home/ada/ResNet_50", "resnet-50"),
        ] {
            let identity = identity(path);
            assert_eq!(identity.slug, slug, "{path:?}");
            assert_eq!(identity.id.len(), 64);
            let name = identity.container_name();
            assert_eq!(name, format!("gpubay-{slug}-{}", &identity.id[..8]));
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name}");
        }
    }

    #[test]
    fn machine_user_and_path_each_make_another_identity() {
        let path = HostPath::new("/ws").expect("absolute");
        let base = Identity::new("m", 1, &path);
        assert_eq!(base, Identity::new("m", 1, &path));
        assert_ne!(base, Identity::new("n", 1, &path));
        assert_ne!(base, Identity::new("m", 2, &path));
        assert_ne!(base, Identity::new("m", 1, &HostPath::new("/ws2").expect("absolute")));
    }

    #[test]
    fn a_machine_without_an_id_gets_one_and_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = HostPath::new(folder.path().join("data")).expect("absolute");
        let absent = folder.path().join("machine-id");
        let first = machine_id(&absent, &data).expect("an id");
        assert_eq!(first.len(), 32);
        assert_eq!(machine_id(&absent, &data).expect("an id"), first);
        std::fs::write(&absent, "uninitialized\n").expect("written");
        assert_eq!(machine_id(&absent, &data).expect("an id"), first);
        std::fs::write(&absent, "0123456789abcdef0123456789abcdef\n").expect("written");
        assert_eq!(machine_id(&absent, &data).expect("an id"), "0123456789abcdef0123456789abcdef");
    }
}
