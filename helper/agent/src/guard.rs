//! Whether the ways to the GPUs are still as they were when the container started.
//!
//! The kernel is asked whether a device node may be used, and nothing is opened: a GPU at rest would wake up. For a
//! device node that question goes through the same rules of the control group as opening it does, and these are what
//! containers lose their GPUs by.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gpubay_protocol::agent::{FromAgent, GUARD_BEAT_MS, GpuGuard, RefusedNode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};

use crate::server::Client;

/// More are not looked after: a machine has at most sixteen GPUs of seven slices with two nodes each.
const MOST: usize = 300;

/// How it was when the container started, before anything of the user's ran in it.
static BEGINNING: OnceLock<Beginning> = OnceLock::new();

#[derive(Debug, Default)]
struct Beginning {
    /// Nodes that could be used.
    nodes: Vec<PathBuf>,
    /// Those of them that stand for parts of GPUs.
    slices: Vec<(PathBuf, u32)>,
    driver: Option<String>,
    library: Option<String>,
}

pub(crate) fn begin() {
    BEGINNING.get_or_init(|| Beginning::look(Path::new("/")));
}

/// Tells how it is, and each change of that, until the client has gone.
pub(crate) fn watch(from: &File, client: &Client) -> io::Result<()> {
    let nothing = Beginning::default();
    let beginning = BEGINNING.get().unwrap_or(&nothing);
    let mut told = None;
    loop {
        let now = beginning.compare(Path::new("/"));
        if told.as_ref() != Some(&now) {
            client.send(&FromAgent::Guarded(now.clone()))?;
            told = Some(now);
        }
        let beat = Timespec { tv_sec: i64::from(GUARD_BEAT_MS / 1000), tv_nsec: 0 };
        // What was never there cannot be lost: nobody has to wake up for it.
        let beat = (!beginning.nodes.is_empty()).then_some(&beat);
        match poll(&mut [PollFd::new(&from.as_fd(), PollFlags::IN)], beat) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            _ => return Ok(()),
        }
    }
}

impl Beginning {
    fn look(root: &Path) -> Self {
        let mut nodes = Vec::new();
        for (folder, is_wanted) in [("dev", is_node as fn(&str) -> bool), ("dev/nvidia-caps", is_slice)] {
            for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
                if nodes.len() < MOST && entry.file_name().to_str().is_some_and(is_wanted) {
                    nodes.push(entry.path());
                }
            }
        }
        nodes.retain(|node| {
            node.metadata().is_ok_and(|found| found.file_type().is_char_device()) && refused(node).is_none()
        });
        nodes.sort();
        let known = slices(root);
        let minor = |node: &PathBuf| Some(rustix::fs::minor(node.metadata().ok()?.rdev()));
        let slices = nodes.iter().filter(|node| node.parent().is_some_and(|folder| folder.ends_with("nvidia-caps")));
        let slices = slices.filter_map(|node| Some((node.clone(), minor(node)?)));
        Self {
            slices: slices.filter(|(_, minor)| known.contains(minor)).collect(),
            driver: driver(root),
            library: library(root),
            nodes,
        }
    }

    fn compare(&self, root: &Path) -> GpuGuard {
        if self.nodes.is_empty() {
            return GpuGuard::default();
        }
        let named = |node: &PathBuf| {
            let below = node.strip_prefix(root).unwrap_or(node);
            format!("/{}", below.display())
        };
        let lost = |node: &PathBuf| Some(RefusedNode { node: named(node), errno: refused(node)? });
        let known = if self.slices.is_empty() { BTreeSet::new() } else { slices(root) };
        let gone = self.slices.iter().filter(|(_, minor)| !known.contains(minor));
        GpuGuard {
            nodes: self.nodes.len() as u32,
            refused: self.nodes.iter().filter_map(lost).collect(),
            driver_then: self.driver.clone(),
            driver_now: driver(root),
            library: self.library.clone(),
            slices_gone: gone.map(|(node, _)| named(node)).collect(),
        }
    }
}

/// What computing takes: the GPUs, what controls them, and the one of WSL.
fn is_node(name: &str) -> bool {
    let numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    matches!(name, "nvidiactl" | "nvidia-uvm" | "dxg") || name.strip_prefix("nvidia").is_some_and(numbered)
}

fn is_slice(name: &str) -> bool {
    name.strip_prefix("nvidia-cap").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

/// Why this process may not use a node.
fn refused(node: &Path) -> Option<i32> {
    access(node, Access::READ_OK | Access::WRITE_OK).err().map(rustix::io::Errno::raw_os_error)
}

/// Of the driver's part in the kernel. What some toolkits put at its second place was true at the start.
fn driver(root: &Path) -> Option<String> {
    if let Ok(version) = fs::read_to_string(root.join("sys/module/nvidia/version")) {
        return Some(version.trim().to_owned());
    }
    let told = fs::read_to_string(root.join("proc/driver/nvidia/version")).ok()?;
    told.split_whitespace().find(|word| is_version(word)).map(str::to_owned)
}

fn is_version(word: &str) -> bool {
    word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// Of the driver's libraries, each of which is a mount that has the version in its name.
fn library(root: &Path) -> Option<String> {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let of = |name: &str| {
        let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4)?.rsplit('/').next());
        points.find_map(|point| point.strip_prefix(name).filter(|version| is_version(version))).map(str::to_owned)
    };
    of("libnvidia-ml.so.").or_else(|| of("libcuda.so."))
}

/// The parts of GPUs that there are now, by the minor numbers of their nodes.
fn slices(root: &Path) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    // gpu0/mig/gi1/access, gpu0/mig/gi1/ci0/access
    descend(&root.join("proc/driver/nvidia/capabilities"), 4, &mut found);
    found
}

fn descend(folder: &Path, depth: u32, found: &mut BTreeSet<u32>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name == "access" {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let minor: Option<u32> =
                text.lines().find_map(|line| line.strip_prefix("DeviceFileMinor:")?.trim().parse().ok());
            found.extend(minor);
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            descend(&entry.path(), depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        fs::write(path, text).expect("written");
    }

    #[test]
    fn which_nodes_computing_takes() {
        for name in ["nvidia0", "nvidia15", "nvidiactl", "nvidia-uvm", "dxg"] {
            assert!(is_node(name), "{name}");
        }
        for name in ["nvidia", "nvidia-modeset", "nvidia-uvm-tools", "nvidia0x", "null"] {
            assert!(!is_node(name), "{name}");
        }
    }

    #[test]
    fn the_driver_and_its_libraries_tell_their_versions() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!((driver(root.path()), library(root.path())), (None, None));
        let told = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025\n";
        write(root.path(), "proc/driver/nvidia/version", told);
        assert_eq!(driver(root.path()).as_deref(), Some("580.95.05"));
        write(root.path(), "sys/module/nvidia/version", "580.105.08\n");
        assert_eq!(driver(root.path()).as_deref(), Some("580.105.08"));
        let mounts = "36 35 8:1 /usr/lib/libcuda.so.570.1 /usr/lib/libcuda.so.570.1 ro - ext4 /dev/sda1 rw\n\
             37 35 8:1 /usr/lib/x//deleted /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.95.05 ro - ext4 /dev/sda1 rw\n";
        write(root.path(), "proc/self/mountinfo", mounts);
        assert_eq!(library(root.path()).as_deref(), Some("580.95.05"));
    }

    /// Of a container that had none nothing is lost; in one that had, each change is told by itself.
    #[test]
    fn what_is_not_as_it_was_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        assert_eq!(Beginning::look(root.path()).compare(root.path()), GpuGuard::default());
        // No node can be made without privileges, and a link to one is as good.
        for folder in ["dev/nvidia-caps", "sys/module/nvidia"] {
            fs::create_dir_all(at(folder)).expect("made");
        }
        for (name, node) in
            [("nvidia0", "/dev/zero"), ("nvidiactl", "/dev/null"), ("nvidia-caps/nvidia-cap3", "/dev/null")]
        {
            std::os::unix::fs::symlink(node, at("dev").join(name)).expect("linked");
        }
        // A plain file is no GPU.
        write(root.path(), "dev/nvidia1", "");
        write(root.path(), "sys/module/nvidia/version", "580.1\n");
        // /dev/null has the minor number 3.
        write(
            root.path(),
            "proc/driver/nvidia/capabilities/gpu0/mig/gi1/access",
            "DeviceFileMinor: 3\nDeviceFileMode: 292\n",
        );
        let beginning = Beginning::look(root.path());
        let begun = beginning.compare(root.path());
        assert!(!begun.is_amiss() && begun.nodes == 3, "{begun:?}");

        fs::remove_file(at("dev/nvidia0")).expect("removed");
        let now = beginning.compare(root.path());
        assert_eq!(now.refused, [RefusedNode { node: "/dev/nvidia0".to_owned(), errno: libc::ENOENT }]);
        std::os::unix::fs::symlink("/dev/zero", at("dev/nvidia0")).expect("linked");

        write(root.path(), "sys/module/nvidia/version", "580.2\n");
        let now = beginning.compare(root.path());
        assert!(now.driver_changed() && now.refused.is_empty(), "{now:?}");
        assert_eq!((now.driver_then.as_deref(), now.driver_now.as_deref()), (Some("580.1"), Some("580.2")));
        fs::remove_file(at("sys/module/nvidia/version")).expect("removed");
        assert!(beginning.compare(root.path()).driver_changed(), "it was unloaded");
        write(root.path(), "sys/module/nvidia/version", "580.1\n");

        fs::remove_dir_all(at("proc/driver/nvidia/capabilities/gpu0/mig/gi1")).expect("removed");
        assert_eq!(beginning.compare(root.path()).slices_gone, ["/dev/nvidia-caps/nvidia-cap3"]);
        write(root.path(), "proc/driver/nvidia/capabilities/gpu0/mig/gi2/ci0/access", "DeviceFileMinor: 3\n");
        assert_eq!(beginning.compare(root.path()), begun);
    }
}
