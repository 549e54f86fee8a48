//! Who the container's processes are: the host's user, so that what they write belongs to them.
//!
//! The image is not changed for it, and nothing is chowned recursively. The container gets
//! passwd and group entries in which the wanted numbers have a name and a home.

use std::fmt::Write as _;

use crate::ContainerPath;
use crate::config::model::User;
use crate::engine::UserMap;
use crate::error::Explain;
use crate::gpu::direct::Opener;

/// The user who runs the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostUser {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
    /// Supplementary groups with their names, where those are known.
    pub groups: Vec<(u32, Option<String>)>,
}

impl HostUser {
    pub fn current() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        let group_file = std::fs::read_to_string("/etc/group").unwrap_or_default();
        let groups = rustix::process::getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .filter(|group| *group != gid)
            .map(|group| {
                (group, group_names(&group_file).find(|(id, _)| *id == group).map(|(_, name)| name.to_owned()))
            })
            .collect();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = entries(&passwd)
            .find(|entry| entry.uid == uid)
            .map(|entry| entry.name.to_owned())
            // A user of a directory service is in no file.
            .or_else(|| std::env::var("USER").ok().filter(|name| is_login(name)))
            .unwrap_or_else(|| format!("user{uid}"));
        Self { uid, gid, name, groups }
    }

    /// Who opens device nodes in containers of that user, in the numbers of this machine; `None`: only the image knows.
    pub(super) fn opener(&self, wanted: &User, rootless: bool) -> Option<Opener> {
        let own = |groups: Vec<u32>| Some(Opener { uid: self.uid, groups, rootless });
        match wanted {
            // Whoever they are inside, the engine's own user is the one who reaches them.
            User::Host | User::Root if rootless => own(vec![self.gid]),
            User::Host => own(self.groups.iter().map(|(group, _)| *group).chain([self.gid]).collect()),
            User::Root => Some(Opener { uid: 0, groups: vec![0], rootless }),
            User::Image | User::Ids { .. } => None,
        }
    }

    /// Under which numbers this user is known inside a container.
    pub(super) fn seen_by(&self, users: UserMap) -> Self {
        match users {
            UserMap::Same => self.clone(),
            // The engine's user is taken to be this one: its containers write with that user's number. Of
            // supplementary groups none has a number there.
            UserMap::Kept => Self { groups: Vec::new(), ..self.clone() },
            UserMap::RootIsUser => Self { uid: 0, gid: 0, name: self.name.clone(), groups: Vec::new() },
        }
    }
}

/// What an image's own files say of its users. Read once an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct ImageUsers {
    pub passwd: String,
    pub group: String,
}

/// Decided: what the container is created with and what is put into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerUser {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
    pub home: ContainerPath,
    pub shell: String,
    /// Supplementary groups by number.
    pub groups: Vec<u32>,
    /// The files as they must be; `None` where the image's own already say all of it.
    pub passwd: Option<String>,
    pub group: Option<String>,
}

impl ContainerUser {
    /// For the engine: `uid:gid`.
    pub(super) fn ids(&self) -> String {
        format!("{}:{}", self.uid, self.gid)
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("the image's USER {user:?} is in none of its files")]
    UnknownImageUser { user: String },
}

impl Explain for UserError {
    fn code(&self) -> &'static str {
        "image_user"
    }

    fn hint(&self) -> Option<String> {
        Some("Set [container] user to \"host\", \"root\" or \"uid:gid\".".to_owned())
    }
}

/// Decides who the container's processes are.
///
/// With [`User::Host`] and an image whose USER is not root, the image's user keeps name and home
/// and gets the host's numbers: packages that were installed after `USER` stay in its user site.
///
/// # Errors
/// [`UserError::UnknownImageUser`] when the image's USER has a name that its files do not know.
pub(super) fn resolve(
    wanted: &User,
    host: &HostUser,
    image_user: &str,
    image_home: Option<&str>,
    files: &ImageUsers,
) -> Result<ContainerUser, UserError> {
    let image = image_user_of(image_user, files)?;
    let (uid, gid, groups) = match wanted {
        User::Host => (host.uid, host.gid, host.groups.clone()),
        User::Image => (image.uid, image.gid, Vec::new()),
        User::Root => (0, 0, Vec::new()),
        User::Ids { uid, gid } => (*uid, *gid, Vec::new()),
    };
    let base = if uid == 0 {
        entries(&files.passwd).find(|entry| entry.uid == 0).map_or_else(Known::root, Known::from)
    } else if image.uid != 0 {
        image
    } else if let Some(known) = entries(&files.passwd).find(|entry| entry.uid == uid) {
        Known::from(known)
    } else {
        let name = if matches!(wanted, User::Host) && is_login(&host.name) && host.name != "root" {
            host.name.clone()
        } else {
            format!("user{uid}")
        };
        let home = format!("/home/{name}");
        Known { uid, gid, name, home, shell: String::new() }
    };
    // An image that sets HOME means it, unless it means root's.
    let home = image_home.filter(|home| uid == 0 || *home != "/root").unwrap_or(&base.home);
    let home = ContainerPath::new(home)
        .ok()
        .filter(|home| home.as_str() != "/" || uid == 0)
        .or_else(|| ContainerPath::new(format!("/home/{}", base.name)).ok())
        .unwrap_or_else(|| ContainerPath::new("/root").expect("an absolute path"));
    Ok(ContainerUser {
        uid,
        gid,
        passwd: passwd_with(&files.passwd, &base, uid, gid, &home),
        group: group_with(&files.group, &base.name, gid, &groups),
        name: base.name,
        home,
        shell: base.shell,
        groups: groups.into_iter().map(|(id, _)| id).collect(),
    })
}

/// A user that has a name.
#[derive(Clone, Debug)]
struct Known {
    uid: u32,
    gid: u32,
    name: String,
    home: String,
    shell: String,
}

impl Known {
    fn root() -> Self {
        Self { uid: 0, gid: 0, name: "root".to_owned(), home: "/root".to_owned(), shell: String::new() }
    }
}

impl From<Entry<'_>> for Known {
    fn from(entry: Entry<'_>) -> Self {
        Self {
            uid: entry.uid,
            gid: entry.gid,
            name: entry.name.to_owned(),
            home: entry.home.to_owned(),
            shell: entry.shell.to_owned(),
        }
    }
}

/// USER as the engine reads it: a name or a number, and a group after a colon.
fn image_user_of(user: &str, files: &ImageUsers) -> Result<Known, UserError> {
    let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    if user.is_empty() {
        return Ok(Known::root());
    }
    let entry = match user.parse::<u32>() {
        Ok(uid) => entries(&files.passwd).find(|entry| entry.uid == uid).map(Known::from).unwrap_or(Known {
            uid,
            gid: 0,
            name: format!("user{uid}"),
            home: "/".to_owned(),
            shell: String::new(),
        }),
        Err(_) => entries(&files.passwd)
            .find(|entry| entry.name == user)
            .map(Known::from)
            .ok_or_else(|| UserError::UnknownImageUser { user: user.to_owned() })?,
    };
    let gid = group.and_then(|group| {
        group.parse().ok().or_else(|| group_names(&files.group).find(|(_, name)| *name == group).map(|(id, _)| id))
    });
    Ok(Known { gid: gid.unwrap_or(entry.gid), ..entry })
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

fn entries(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let (_, home, shell) = (fields.next()?, fields.next()?, fields.next().unwrap_or(""));
        Some(Entry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home, shell })
    })
}

fn group_names(group: &str) -> impl Iterator<Item = (u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((gid.parse().ok()?, name))
    })
}

/// A name that every image's tools take.
pub(super) fn is_login(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.len() <= 32
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Our entry goes first, where a look-up by number finds it; an older one of the same name goes.
fn passwd_with(passwd: &str, user: &Known, uid: u32, gid: u32, home: &ContainerPath) -> Option<String> {
    let right = |entry: &Entry<'_>| entry.gid == gid && entry.home == home.as_str();
    if entries(passwd).find(|entry| entry.uid == uid).is_some_and(|entry| right(&entry)) {
        return None;
    }
    let shell = if user.shell.is_empty() { "/bin/sh" } else { &user.shell };
    let mut text = format!("{}:x:{uid}:{gid}::{home}:{shell}\n", user.name);
    if !passwd.lines().any(|line| line.starts_with("root:")) && uid != 0 {
        text.push_str("root:x:0:0:root:/root:/bin/sh\n");
    }
    for line in passwd.lines().filter(|line| line.split(':').next() != Some(&user.name)) {
        let _ = writeln!(text, "{line}");
    }
    Some(text)
}

/// A number that has a name keeps it; the others get the host's name, or one made of the number.
fn group_with(group: &str, user: &str, gid: u32, more: &[(u32, Option<String>)]) -> Option<String> {
    let mut text = group.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let before = text.len();
    let wanted = std::iter::once((gid, Some(user.to_owned()))).chain(more.iter().cloned());
    for (id, name) in wanted {
        if group_names(&text).any(|(known, _)| known == id) {
            continue;
        }
        let taken = |name: &String| group_names(&text).any(|(_, known)| known == name);
        let name = name.filter(|name| is_login(name) && !taken(name)).unwrap_or_else(|| format!("group{id}"));
        let members = if id == gid { "" } else { user };
        let _ = writeln!(text, "{name}:x:{id}:{members}");
    }
    (text.len() != before).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> ImageUsers {
        ImageUsers {
            passwd: "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\napp:x:1001:1001::/srv/app:/bin/sh\n".to_owned(),
            group: "root:x:0:\nubuntu:x:1000:\napp:x:1001:\n".to_owned(),
        }
    }

    fn ada(uid: u32) -> HostUser {
        HostUser { uid, gid: uid, name: "ada".to_owned(), groups: vec![(5000, Some("research".to_owned()))] }
    }

    fn resolved(wanted: &User, host: &HostUser, image_user: &str) -> ContainerUser {
        resolve(wanted, host, image_user, None, &files()).expect("resolved")
    }

    #[test]
    fn a_new_number_gets_an_entry_and_a_home() {
        let user = resolved(&User::Host, &ada(1234), "");
        assert_eq!((user.uid, user.gid, user.name.as_str(), user.home.as_str()), (1234, 1234, "ada", "/home/ada"));
        assert!(user.passwd.expect("changed").starts_with("ada:x:1234:1234::/home/ada:/bin/sh\nroot:"));
        let group = user.group.expect("changed");
        assert!(group.contains("\nada:x:1234:\n") && group.contains("\nresearch:x:5000:ada\n"), "{group}");
        assert_eq!(user.groups, vec![5000]);
    }

    #[test]
    fn a_taken_number_keeps_its_name_and_home() {
        let user = resolved(&User::Host, &ada(1000), "");
        assert_eq!((user.name.as_str(), user.home.as_str(), user.passwd), ("ubuntu", "/home/ubuntu", None));
    }

    #[test]
    fn a_taken_group_number_changes_the_entry_only() {
        let host = HostUser { gid: 1001, ..ada(1000) };
        let user = resolved(&User::Host, &host, "");
        assert!(user.passwd.expect("changed").starts_with("ubuntu:x:1000:1001::/home/ubuntu:/bin/bash\n"));
        assert!(!user.group.expect("research is new").contains("group1001"));
    }

    #[test]
    fn the_images_own_user_gets_the_hosts_numbers() {
        for (host, image_user) in [(1234, "app"), (1000, "app"), (1234, "1001:1001")] {
            let user = resolved(&User::Host, &ada(host), image_user);
            assert_eq!((user.uid, user.name.as_str(), user.home.as_str()), (host, "app", "/srv/app"), "{image_user}");
            let passwd = user.passwd.expect("changed");
            assert!(passwd.starts_with(&format!("app:x:{host}:{host}::/srv/app:/bin/sh\n")), "{passwd}");
            assert_eq!(passwd.matches("app:x:").count(), 1);
        }
    }

    #[test]
    fn the_other_users() {
        assert_eq!(resolved(&User::Image, &ada(7), "app").ids(), "1001:1001");
        assert_eq!(resolved(&User::Root, &ada(7), "app").ids(), "0:0");
        assert_eq!(resolved(&User::Ids { uid: 5, gid: 6 }, &ada(7), "").ids(), "5:6");
        assert_eq!(resolved(&User::Host, &ada(0), "app").home.as_str(), "/root");
    }

    #[test]
    fn an_image_without_any_user_file() {
        let user = resolve(&User::Host, &ada(1234), "", None, &ImageUsers::default()).expect("resolved");
        assert_eq!(user.passwd.as_deref(), Some("ada:x:1234:1234::/home/ada:/bin/sh\nroot:x:0:0:root:/root:/bin/sh\n"));
        let error = resolve(&User::Host, &ada(1), "ghost", None, &files()).expect_err("unknown");
        assert!(error.to_string().contains("ghost"));
    }

    #[test]
    fn where_root_is_the_user_nobody_else_is() {
        let host = ada(1234).seen_by(UserMap::RootIsUser);
        for image_user in ["", "app"] {
            let user = resolved(&User::Host, &host, image_user);
            assert_eq!((user.ids().as_str(), user.home.as_str(), user.groups), ("0:0", "/root", vec![]));
        }
        assert_eq!(ada(1234).seen_by(UserMap::Same), ada(1234));
        assert_eq!(ada(1234).seen_by(UserMap::Kept), HostUser { groups: vec![], ..ada(1234) });
    }

    #[test]
    fn the_images_home_counts_unless_it_is_roots() {
        let with = |home| resolve(&User::Host, &ada(1234), "", Some(home), &files()).expect("resolved").home;
        assert_eq!(with("/work/home").as_str(), "/work/home");
        assert_eq!(with("/root").as_str(), "/home/ada");
    }

    #[test]
    fn a_host_name_that_is_no_login_is_replaced() {
        let host = HostUser { name: "ada lovelace:x".to_owned(), ..ada(1234) };
        assert_eq!(resolved(&User::Host, &host, "").name, "user1234");
    }
}
