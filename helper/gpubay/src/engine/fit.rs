//! Create options in the words that Podman takes. Its Docker-compatible API writes them as a command line first and
//! reads that again, which not all of them survive.

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};

/// What a mount as text, fields between commas, cannot hold.
const BREAKS_A_MOUNT: [char; 4] = ['"', ',', '\n', '\r'];

/// # Errors
/// A sentence, where there is no way to say it.
pub(super) fn for_podman(mut body: ContainerCreateBody) -> Result<ContainerCreateBody, String> {
    let user = body.user.clone().unwrap_or_default();
    if let Some(host) = &mut body.host_config {
        mounts(host)?;
        for options in host.tmpfs.iter_mut().flat_map(|tmpfs| tmpfs.values_mut()) {
            *options = tmpfs(options, &user);
        }
    }
    Ok(body)
}

/// Mounts of paths that would break there go the other way, which makes a missing folder instead of refusing it.
fn mounts(host: &mut HostConfig) -> Result<(), String> {
    let text = |path: &Option<String>| path.clone().unwrap_or_default();
    let breaks = |mount: &Mount| {
        let (source, target) = (text(&mount.source), text(&mount.target));
        mount.typ == Some(MountType::BIND) && (source + &target).contains(BREAKS_A_MOUNT)
    };
    let all = host.mounts.take().unwrap_or_default();
    let (odd, plain): (Vec<Mount>, Vec<Mount>) = all.into_iter().partition(breaks);
    for mount in odd {
        let (source, target) = (text(&mount.source), text(&mount.target));
        if source.contains(':') || target.contains(':') {
            return Err(format!("Podman's API takes no path with both a colon and a comma or a quote: {source:?}"));
        }
        if !std::path::Path::new(&source).exists() {
            return Err(format!("{source:?} does not exist"));
        }
        let end = if mount.read_only == Some(true) { ":ro" } else { "" };
        host.binds.get_or_insert_default().push(format!("{source}:{target}{end}"));
    }
    host.mounts = Some(plain);
    Ok(())
}

/// The owner of a folder in memory can only be the container's user, as `U`.
fn tmpfs(options: &str, user: &str) -> String {
    let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
    let owner = |option: &str| option == format!("uid={uid}") || option == format!("gid={gid}");
    if !options.split(',').any(owner) {
        return options.to_owned();
    }
    options.split(',').filter(|option| !owner(option)).chain(["U"]).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn bind(source: &str, read_only: Option<bool>) -> Mount {
        let (source, target) = (Some(source.to_owned()), Some("/t".to_owned()));
        Mount { typ: Some(MountType::BIND), source, target, read_only, ..Mount::default() }
    }

    #[test]
    fn the_owner_of_a_folder_in_memory_is_the_containers_user() {
        let options = "mode=0755,uid=5,gid=6,exec".to_owned();
        let host = HostConfig { tmpfs: Some(HashMap::from([("/h".to_owned(), options)])), ..HostConfig::default() };
        let of = |user: &str| {
            let body = ContainerCreateBody {
                user: Some(user.to_owned()),
                host_config: Some(host.clone()),
                ..ContainerCreateBody::default()
            };
            for_podman(body).expect("fits").host_config.and_then(|host| host.tmpfs).expect("folders")["/h"].clone()
        };
        assert_eq!(of("5:6"), "mode=0755,exec,U");
        // Somebody else's: Podman says itself that it cannot.
        assert_eq!(of("7:8"), "mode=0755,uid=5,gid=6,exec");
    }

    #[test]
    fn a_path_that_would_break_goes_the_other_way_and_is_never_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let odd = folder.path().join("a \"b\", c");
        std::fs::create_dir(&odd).expect("made");
        let odd = odd.to_str().expect("text");
        let fit = |mounts: Vec<Mount>| {
            let host = HostConfig { mounts: Some(mounts), ..HostConfig::default() };
            for_podman(ContainerCreateBody { host_config: Some(host), ..ContainerCreateBody::default() })
                .map(|body| body.host_config.expect("there"))
        };
        let host = fit(vec![bind("/plain", None), bind(odd, Some(true))]).expect("fits");
        assert_eq!(host.mounts, Some(vec![bind("/plain", None)]));
        assert_eq!(host.binds, Some(vec![format!("{odd}:/t:ro")]));
        assert!(fit(vec![bind(&format!("{odd}/not, there"), None)]).is_err());
        assert!(fit(vec![bind("/a:b,c", None)]).is_err());
    }
}
