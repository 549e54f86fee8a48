//! What the container says, checked; and what is to be done to have it. No file system is asked.

use std::collections::{BTreeSet, HashMap, HashSet};

use gpubay_protocol::agent::{Entry, ScanLimits};
use gpubay_protocol::contents::{Form, form_of_path, is_plain};

use super::error::MirrorError;
use crate::ContainerPath;

/// A source file above this size is nothing that a language tool reads (Pyright stops at 50 MB); it
/// is left out, so that a file always fits into memory. In bytes.
pub(super) const LARGEST_FILE: u64 = 16 << 20;

/// Whether sudden deletions are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletions {
    /// More than half of the files (and more than a hundred), or a whole root: an error, and the old
    /// mirror stays.
    Ask,
    Allowed,
}

/// One file of a finished mirror, with size and time of the container's *original*.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Kept {
    pub(super) entry: Entry,
    /// The container had it, and it could not be read: not in the tree, and not asked for again
    /// until something about it changes.
    pub(super) absent: bool,
}

/// A path below a `tree` folder, without a leading `/`.
pub(super) fn tree_path(roots: &[ContainerPath], entry: &Entry) -> Vec<u8> {
    let mut path = roots[usize::from(entry.root)].as_str().as_bytes()[1..].to_vec();
    path.push(b'/');
    path.extend_from_slice(&entry.path);
    path
}

/// Folder and name of a [`tree_path`].
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(cut) => (&path[..cut], &path[cut + 1..]),
        None => (&[], path),
    }
}

pub(super) fn is_pth(entry: &Entry) -> bool {
    entry.path.ends_with(b".pth")
}

/// Roots become folders of the host: only names that mean nothing there, and none within another.
pub(super) fn check_roots(roots: &[ContainerPath]) -> Result<(), MirrorError> {
    let fail = |root: &ContainerPath, why| Err(MirrorError::Root { root: root.clone(), why });
    for (at, root) in roots.iter().enumerate() {
        if root.as_str() == "/" {
            return fail(root, "it is the whole file system");
        }
        for part in root.as_str().split('/').skip(1) {
            if !is_plain(part.as_bytes()) {
                return fail(root, "its name cannot be used on this host");
            }
            if matches!(part, ".git" | ".vscode" | ".hg" | ".svn") {
                return fail(root, "tools on this host would act on a folder of that name");
            }
        }
        if roots.iter().enumerate().any(|(other, path)| other != at && root.below(path).is_some()) {
            return fail(root, "it lies in another folder that is mirrored");
        }
    }
    if roots.len() > usize::from(u16::MAX) {
        return Err(MirrorError::TooMuch(format!("{} folders", roots.len())));
    }
    Ok(())
}

/// Checks what a container sent. Nothing in it decides a path by itself: it names files that we
/// would have wanted anyway, below roots that we asked for.
pub(super) fn check(entries: &[Entry], roots: &[ContainerPath], limits: &ScanLimits) -> Result<(), MirrorError> {
    let refuse = |entry: &Entry, why: &str| {
        Err(MirrorError::Refused(format!("{:?} {why}", String::from_utf8_lossy(&entry.path))))
    };
    if entries.len() > limits.entries as usize {
        return Err(MirrorError::TooMuch(format!("{} files, the limit is {}", entries.len(), limits.entries)));
    }
    let mut bytes = 0_u64;
    let mut files = HashSet::with_capacity(entries.len());
    let mut folders = HashSet::new();
    for entry in entries {
        if usize::from(entry.root) >= roots.len() {
            return refuse(entry, "belongs to no folder that was asked for");
        }
        if form_of_path(&entry.path) != Some(entry.form) {
            return refuse(entry, "is no file that was asked for");
        }
        if entry.form == Form::Placeholder && entry.size != 0 {
            return refuse(entry, "is a placeholder with contents");
        }
        if entry.path.split(|&b| b == b'/').skip(1).count() > usize::from(limits.depth) {
            return Err(MirrorError::TooMuch(format!("folders deeper than {}", limits.depth)));
        }
        bytes = bytes.saturating_add(entry.size);
        if bytes > limits.bytes {
            return Err(MirrorError::TooMuch(format!("more than {} bytes", limits.bytes)));
        }
        if !files.insert((entry.root, entry.path.as_slice())) {
            return refuse(entry, "is named twice");
        }
        let mut folder = split(&entry.path).0;
        while !folder.is_empty() && folders.insert((entry.root, folder)) {
            folder = split(folder).0;
        }
    }
    match entries.iter().find(|entry| folders.contains(&(entry.root, entry.path.as_slice()))) {
        Some(entry) => refuse(entry, "is both a file and a folder"),
        None => Ok(()),
    }
}

/// How to make a new tree from an old one. Numbers are positions in the new scan's entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Equal in the old tree: a hard link to it.
    pub(super) link: Vec<u32>,
    /// Empty files.
    pub(super) place: Vec<u32>,
    /// To be asked for, ascending.
    pub(super) fetch: Vec<u32>,
    /// In the container, and not to be in the tree.
    pub(super) absent: Vec<u32>,
    /// Files of the old tree, within the roots now asked for, that the container no longer has.
    pub(super) removed: usize,
    /// Files of the old tree within the roots now asked for.
    pub(super) before: usize,
    /// Roots that held files and hold none any more, with the number of files.
    pub(super) emptied: Vec<(ContainerPath, usize)>,
}

/// The tree to start from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Old<'a> {
    pub(super) roots: &'a [ContainerPath],
    pub(super) kept: &'a [Kept],
    /// Two images may hold different files of one size and time, as where all times are set to a constant: only one that
    /// is the very same on the engine's disk is believed to be equal.
    pub(super) of_another_image: bool,
}

/// `entries` have been checked.
pub(super) fn plan(entries: &[Entry], roots: &[ContainerPath], old: Option<Old<'_>>) -> Plan {
    let mut plan = Plan::default();
    let mut known: HashMap<(usize, &[u8]), &Kept> = HashMap::new();
    let mut files_before = vec![0_usize; roots.len()];
    let same_roots = old.is_some_and(|old| old.roots == roots);
    let another = old.is_some_and(|old| old.of_another_image);
    if let Some(Old { roots: old_roots, kept, .. }) = old {
        let now: Vec<Option<usize>> = old_roots.iter().map(|root| roots.iter().position(|new| new == root)).collect();
        for file in kept {
            if let Some(&Some(root)) = now.get(usize::from(file.entry.root)) {
                known.insert((root, &file.entry.path), file);
                files_before[root] += 1;
            }
        }
    }
    plan.before = known.len();
    let mut files_now = vec![0_usize; roots.len()];
    let mut still_there = 0;
    for (index, entry) in entries.iter().enumerate() {
        let index = index as u32;
        let root = usize::from(entry.root);
        files_now[root] += 1;
        let before = known.get(&(root, entry.path.as_slice()));
        still_there += usize::from(before.is_some());
        let equal = before.filter(|old| {
            let old = &old.entry;
            let believed =
                !another || entry.form == Form::Placeholder || (entry.witness != 0 && old.witness == entry.witness);
            believed && (old.size, old.mtime, old.form) == (entry.size, entry.mtime, entry.form)
        });
        match equal {
            Some(old) if old.absent => plan.absent.push(index),
            // What a path file became depends on the roots.
            Some(_) if same_roots || !is_pth(entry) => plan.link.push(index),
            _ if entry.form == Form::Placeholder => plan.place.push(index),
            _ if entry.size > LARGEST_FILE => plan.absent.push(index),
            _ => plan.fetch.push(index),
        }
    }
    plan.removed = plan.before - still_there;
    for (root, path) in roots.iter().enumerate() {
        if files_before[root] > 0 && files_now[root] == 0 {
            plan.emptied.push((path.clone(), files_before[root]));
        }
    }
    plan
}

/// Sudden deletions are more often a container in trouble than a wish.
pub(super) fn believe(plan: &Plan, deletions: Deletions) -> Result<(), MirrorError> {
    if deletions == Deletions::Allowed {
        return Ok(());
    }
    if let Some((root, files)) = plan.emptied.first() {
        return Err(MirrorError::Emptied { root: root.clone(), files: *files });
    }
    if plan.removed > 100 && plan.removed * 2 > plan.before {
        return Err(MirrorError::Halted { removed: plan.removed, of: plan.before });
    }
    Ok(())
}

/// Every folder that a tree of these files needs, each after the one that holds it.
pub(super) fn folders<'a>(entries: impl IntoIterator<Item = &'a Entry>, roots: &[ContainerPath]) -> BTreeSet<Vec<u8>> {
    let mut out = BTreeSet::new();
    let mut add = |path: &[u8]| {
        let mut path = path;
        while !path.is_empty() && out.insert(path.to_vec()) {
            path = split(path).0;
        }
    };
    for root in roots {
        add(&root.as_str().as_bytes()[1..]);
    }
    let mut last: Vec<u8> = Vec::new();
    for entry in entries {
        let path = tree_path(roots, entry);
        let folder = split(&path).0;
        if folder != last {
            add(folder);
            last = folder.to_vec();
        }
    }
    out
}
