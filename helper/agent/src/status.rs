//! What the container is doing, read from `/proc`.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gpubay_protocol::agent::{Process, Status, StatusRequest};
use gpubay_protocol::mountinfo;
use gpubay_protocol::paths::ContainerPath;

use crate::environment::Environment;

pub(crate) fn status(request: &StatusRequest, environment: &Environment) -> Status {
    let mut groups: Vec<u32> =
        rustix::process::getgroups().unwrap_or_default().into_iter().map(rustix::process::Gid::as_raw).collect();
    groups.sort_unstable();
    groups.dedup();
    let mounts = mountinfo::parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default());
    let mounts: HashSet<PathBuf> = mounts.into_iter().map(|mount| mount.target).collect();
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        groups,
        mounted: request.mounts.iter().map(|path| mounts.contains(Path::new(path.as_str()))).collect(),
        processes: processes(),
        entrypoint: environment.entrypoint(),
        stamp: stamp(&request.stamp),
    }
}

fn processes() -> Vec<Process> {
    let us = std::fs::metadata("/proc/self/exe").map(|m| (m.dev(), m.ino())).ok();
    let booted = std::fs::read_to_string("/proc/stat")
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok()))
        .unwrap_or(0);
    // SAFETY: no memory is involved.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let folder = entry.path();
        if pid == std::process::id() || std::fs::metadata(folder.join("exe")).map(|m| (m.dev(), m.ino())).ok() == us {
            continue;
        }
        let argv = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let argv: Vec<String> = argv
            .strip_suffix(b"\0")
            .unwrap_or(&argv)
            .split(|&b| b == 0)
            .map(|arg| String::from_utf8_lossy(arg).into_owned())
            .collect();
        let argv = if argv == [""] { Vec::new() } else { argv };
        // Another user's agent does not show what it runs.
        if argv.first().is_some_and(|name| name == gpubay_protocol::agent::AGENT_PATH) {
            continue;
        }
        if gpubay_protocol::agent::is_engines_init(&argv) {
            continue;
        }
        let Some((uid, started)) = uid_and_start(&folder) else { continue };
        found.push(Process { pid, uid, argv, started: booted + started / ticks });
    }
    found.sort_unstable_by_key(|process| process.pid);
    found
}

/// The start is in clock ticks after boot. `None`: it has ended meanwhile.
fn uid_and_start(folder: &Path) -> Option<(u32, u64)> {
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok())?;
    let stat = std::fs::read(folder.join("stat")).ok()?;
    // The name in parentheses may hold anything; what follows its last parenthesis is numbers.
    let after = &stat[stat.iter().rposition(|&b| b == b')')? + 1..];
    let started = std::str::from_utf8(after).ok()?.split_whitespace().nth(19)?.parse().ok()?;
    Some((uid, started))
}

/// See [`Status::stamp`].
fn stamp(folders: &[ContainerPath]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for folder in folders {
        let folder = Path::new(folder.as_str());
        let mut seen = vec![(Vec::new(), changed(folder))];
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                seen.push((entry.file_name().as_bytes().to_vec(), changed(&entry.path())));
            }
        }
        seen.sort_unstable();
        for (name, time) in seen {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(&name);
            hasher.update(&time.to_le_bytes());
        }
    }
    let digest = hasher.finalize();
    u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("eight bytes"))
}

fn changed(folder: &Path) -> i64 {
    std::fs::metadata(folder).map_or(i64::MIN, |m| m.mtime().wrapping_mul(1_000_000_000).wrapping_add(m.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_not_among_the_processes_and_the_first_is() {
        let all = processes();
        assert!(all.iter().all(|p| p.pid != std::process::id()));
        assert!(all.iter().any(|p| p.pid == 1));
    }

    #[test]
    fn the_stamp_moves_with_folders_below() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = [ContainerPath::new(folder.path().to_str().expect("text")).expect("absolute")];
        let empty = stamp(&path);
        assert_eq!(stamp(&path), empty);
        std::fs::create_dir(folder.path().join("numpy")).expect("made");
        assert_ne!(stamp(&path), empty);
    }
}
