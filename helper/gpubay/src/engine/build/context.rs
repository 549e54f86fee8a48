//! Walks a build context in the order that the engine expects, seeing only what its filter selects.
//!
//! Everything is read relative to open folders without following links, so that a link or a folder
//! swapped under our feet cannot lead out of the context. Folders of which nothing can be selected
//! are not opened: an ignored dataset costs nothing.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use super::ignore::{self, BadPattern, MatchInfo, Matcher};
use crate::HostPath;
use crate::config::model::Dockerfile;
use crate::files;

/// How deep folders may nest: each level holds an open descriptor.
const DEPTH_LIMIT: usize = 512;

/// Why a context could not be read.
#[derive(Debug, Error)]
pub enum ContextError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the name {0:?} in the build context is not UTF-8, which the engine cannot take")]
    Name(PathBuf),
    #[error("the folders below {0:?} nest too deeply")]
    TooDeep(PathBuf),
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    #[error("the engine went away while the build context was sent")]
    Gone,
}

/// What of a context is wanted.
#[derive(Debug, Default)]
pub struct Filter {
    includes: Option<Matcher>,
    excludes: Option<Matcher>,
    never: Vec<String>,
}

/// What the engine (or the fingerprint) asks of a context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Patterns; empty: everything.
    pub includes: Vec<String>,
    /// Patterns of what is left out.
    pub excludes: Vec<String>,
    /// Paths, with wildcards, that are wanted along with what links on the way to them name.
    pub follow: Vec<String>,
    /// Paths that are left out whatever the patterns say.
    pub never: Vec<String>,
}

/// One file, folder or link that the filter selects.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Relative to the context, with slashes.
    pub path: &'a str,
    /// The open folder that holds it.
    pub parent: BorrowedFd<'a>,
    pub name: &'a CStr,
    pub stat: &'a rustix::fs::Stat,
}

impl Entry<'_> {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// What a symbolic link says.
    ///
    /// # Errors
    /// When it is gone, or its text is not UTF-8.
    pub fn link(&self) -> Result<String, ContextError> {
        let text = rustix::fs::readlinkat(self.parent, self.name, Vec::new()).map_err(|e| read_error(self.path, e))?;
        text.into_string().map_err(|_| ContextError::Name(PathBuf::from(self.path)))
    }
}

/// What a context leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excludes {
    pub patterns: Vec<String>,
    /// They are the Dockerfile's own: what the context's `.dockerignore` says does not count.
    pub of_dockerfile: bool,
}

/// The patterns of `<Dockerfile>.dockerignore`, or else of the context's `.dockerignore`.
///
/// # Errors
/// With the file that cannot be read.
pub fn excludes(dockerfile: &Dockerfile, context: &HostPath) -> Result<Excludes, (PathBuf, io::Error)> {
    let read = |path: PathBuf| match files::read(&path, files::SMALL).map_err(io::Error::from) {
        Ok(text) => Ok(Some(ignore::read_ignore_file(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err((path, source)),
    };
    if let Dockerfile::File(path) = dockerfile {
        let mut own = path.as_path().as_os_str().to_owned();
        own.push(".dockerignore");
        if let Some(patterns) = read(own.into())? {
            return Ok(Excludes { patterns, of_dockerfile: true });
        }
    }
    let patterns = read(context.as_path().join(ignore::FILE))?.unwrap_or_default();
    Ok(Excludes { patterns, of_dockerfile: false })
}

/// Opens the root of a context; a link as the root itself is followed.
///
/// # Errors
/// When it is no readable folder.
pub fn open_root(path: &Path) -> Result<OwnedFd, ContextError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| ContextError::Read { path: path.to_owned(), source: errno.into() })
}

/// Opens a regular file of the context for reading.
///
/// # Errors
/// When it is not there, is no regular file or lies behind a link.
pub fn open_file(root: BorrowedFd<'_>, path: &str) -> Result<std::fs::File, Errno> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = open_folder(root, dir)?;
    // A FIFO put in the file's place must not block us.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    Ok(file.into())
}

fn open_folder(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let mut dir = rustix::io::dup(root)?;
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err(Errno::INVAL);
        }
        dir = open_subfolder(dir.as_fd(), part)?;
    }
    Ok(dir)
}

fn open_subfolder(parent: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn read_error(path: impl Into<PathBuf>, errno: Errno) -> ContextError {
    ContextError::Read { path: path.into(), source: errno.into() }
}

impl Filter {
    /// Resolves the links that `selection` follows, within the context at `root`.
    ///
    /// # Errors
    /// [`ContextError::Pattern`], or when a folder on the way cannot be read.
    pub fn new(root: BorrowedFd<'_>, selection: &Selection) -> Result<Self, ContextError> {
        let mut includes = selection.includes.clone();
        if !selection.follow.is_empty()
            && let Some(targets) = follow_links(root, &selection.follow)?
        {
            includes.extend(targets);
            includes = without_covered(includes).unwrap_or_default();
        }
        Ok(Self {
            includes: (!includes.is_empty()).then(|| Matcher::new(&includes)).transpose()?,
            excludes: (!selection.excludes.is_empty()).then(|| Matcher::new(&selection.excludes)).transpose()?,
            never: selection.never.clone(),
        })
    }
}

/// Walks what `filter` selects, depth first, the names of a folder in byte order, a folder before
/// what it holds.
///
/// # Errors
/// What `visit` returns; a wanted file that cannot be read. What vanishes meanwhile is skipped.
pub fn walk(
    root: BorrowedFd<'_>,
    filter: &Filter,
    visit: &mut dyn FnMut(&Entry<'_>) -> Result<(), ContextError>,
) -> Result<(), ContextError> {
    Walk { filter, visit }.folder(root, None)
}

struct Walk<'a> {
    filter: &'a Filter,
    visit: &'a mut dyn FnMut(&Entry<'_>) -> Result<(), ContextError>,
}

/// A folder on the way down. One that is not selected itself is visited once something below it is.
struct Folder<'a> {
    parent: BorrowedFd<'a>,
    name: &'a CStr,
    path: &'a str,
    visited: Cell<bool>,
    include: MatchInfo,
    exclude: MatchInfo,
    above: Option<&'a Folder<'a>>,
    depth: usize,
}

impl Walk<'_> {
    fn folder(&mut self, dir: BorrowedFd<'_>, own: Option<&Folder<'_>>) -> Result<(), ContextError> {
        let path = own.map_or("", |own| own.path);
        if own.is_some_and(|own| own.depth > DEPTH_LIMIT) {
            return Err(ContextError::TooDeep(PathBuf::from(path)));
        }
        for (name, kind) in read_folder(dir).map_err(|errno| read_error(path, errno))? {
            self.entry(dir, &name, kind, own)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        above: Option<&Folder<'_>>,
    ) -> Result<(), ContextError> {
        let text = name.to_string_lossy();
        let path = above.map_or_else(|| text.to_string(), |above| format!("{}/{text}", above.path));
        if self.filter.never.contains(&path) {
            return Ok(());
        }
        let is_dir = kind == FileType::Directory;
        let mut wanted = true;
        let mut include = MatchInfo::default();
        let mut exclude = MatchInfo::default();
        let none = MatchInfo::default();
        if let Some(matcher) = &self.filter.includes {
            let (hit, info) = matcher.matches_below(&path, above.map_or(&none, |above| &above.include));
            if !hit && is_dir && !matcher.may_select_below(&path) {
                return Ok(());
            }
            wanted &= hit;
            include = info;
        }
        if let Some(matcher) = &self.filter.excludes {
            let (hit, info) = matcher.matches_below(&path, above.map_or(&none, |above| &above.exclude));
            if hit && is_dir && !matcher.may_except_below(&path) {
                return Ok(());
            }
            wanted &= !hit;
            exclude = info;
        }
        if wanted {
            if name.to_str().is_err() {
                return Err(ContextError::Name(
                    PathBuf::from(&path).with_file_name(OsStr::from_bytes(name.to_bytes())),
                ));
            }
            if !self.visit_above(above)? || !self.visit_one(dir, name, &path)? {
                return Ok(());
            }
        }
        if !is_dir {
            return Ok(());
        }
        let opened = match open_subfolder(dir, name) {
            Ok(opened) => opened,
            // Gone, or no folder any more.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            // Nobody asked for the folder itself.
            Err(Errno::ACCESS | Errno::PERM) if !wanted => return Ok(()),
            Err(errno) => return Err(read_error(&path, errno)),
        };
        let depth = above.map_or(0, |above| above.depth) + 1;
        let visited = Cell::new(wanted);
        let own = Folder { parent: dir, name, path: &path, visited, include, exclude, above, depth };
        self.folder(opened.as_fd(), Some(&own))
    }

    /// Visits the folders on the way that were not selected themselves, outermost first.
    fn visit_above(&mut self, folder: Option<&Folder<'_>>) -> Result<bool, ContextError> {
        let Some(folder) = folder else { return Ok(true) };
        if folder.visited.get() {
            return Ok(true);
        }
        let there = self.visit_above(folder.above)? && self.visit_one(folder.parent, folder.name, folder.path)?;
        folder.visited.set(there);
        Ok(there)
    }

    /// False when it has vanished.
    fn visit_one(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &str) -> Result<bool, ContextError> {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => (self.visit)(&Entry { path, parent, name, stat: &stat }).map(|()| true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(read_error(path, errno)),
        }
    }
}

/// The names in a folder with their types, sorted by their bytes.
fn read_folder(dir: BorrowedFd<'_>) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            },
            kind => kind,
        };
        names.push((name.to_owned(), kind));
    }
    names.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(names)
}

/// The paths that `wanted` names once wildcards and the links on the way are resolved, links
/// themselves included; all within the context. `None` when one of them is the context itself.
fn follow_links(root: BorrowedFd<'_>, wanted: &[String]) -> Result<Option<Vec<String>>, ContextError> {
    let mut found = BTreeSet::new();
    for path in wanted {
        follow_one(root, path, &mut found)?;
    }
    Ok(without_covered(found.into_iter().collect()))
}

fn follow_one(root: BorrowedFd<'_>, path: &str, found: &mut BTreeSet<String>) -> Result<(), ContextError> {
    // Whatever climbs stays at the root, as a path does in a file system of its own.
    let path = ignore::clean(&format!("/{path}"));
    let mut rest = path.trim_start_matches('/');
    let mut current = String::new();
    if rest.is_empty() {
        found.insert(".".to_owned());
        return Ok(());
    }
    loop {
        let (part, behind) = rest.split_once('/').unwrap_or((rest, ""));
        rest = behind;
        current = if current.is_empty() { part.to_owned() } else { format!("{current}/{part}") };
        let targets = links_at(root, &current)?;
        if (rest.is_empty() || !targets.is_empty()) && !found.insert(current.clone()) {
            return Ok(());
        }
        if !targets.is_empty() {
            for target in targets {
                follow_one(root, &format!("{target}/{rest}"), found)?;
            }
            return Ok(());
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// Where the link at `path` leads, or all links that its wildcard matches.
fn links_at(root: BorrowedFd<'_>, path: &str) -> Result<Vec<String>, ContextError> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let opened = match open_folder(root, dir) {
        Ok(opened) => opened,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
        Err(errno) => return Err(read_error(path, errno)),
    };
    let names = if ignore::has_wildcard(name) {
        read_folder(opened.as_fd())
            .map_err(|errno| read_error(dir, errno))?
            .into_iter()
            .filter(|(own, _)| own.to_str().is_ok_and(|own| ignore::name_matches(name, own)))
            .map(|(own, _)| own)
            .collect()
    } else {
        CString::new(name).into_iter().collect::<Vec<_>>()
    };
    let mut targets = Vec::new();
    for name in names {
        match rustix::fs::readlinkat(&opened, &name, Vec::new()) {
            Ok(link) => {
                let link = link.into_string().map_err(|_| ContextError::Name(PathBuf::from(path)))?;
                targets.push(if link.starts_with('/') { link } else { format!("{dir}/{link}") });
            }
            // No link, or nothing.
            Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(read_error(path, errno)),
        }
    }
    Ok(targets)
}

/// Drops paths that lie below another of the sorted list; `None` when the whole context is in it.
fn without_covered(paths: Vec<String>) -> Option<Vec<String>> {
    let mut kept: Vec<String> = Vec::with_capacity(paths.len());
    for path in paths {
        if path == "." {
            return None;
        }
        if !kept.last().is_some_and(|last| path.starts_with(&format!("{last}/"))) {
            kept.push(path);
        }
    }
    Some(kept)
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
