//! Walks the import roots for the files that a language tool needs.
//!
//! Several threads share a stack of folders. Each folder is opened below its root's descriptor; a
//! symbolic link is followed only where what it leads to lies in a root, and what is found there is
//! reported under the link's name.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use gpubay_protocol::agent::{Entry, FailureKind, FromAgent, ScanLimits, ScanRequest, Scanned};
use gpubay_protocol::contents::{self, Form};
use gpubay_protocol::frame::{CHUNK, encode};
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, Stat, fstat, statat};

use crate::beneath;
use crate::server::Client;

const MAX_THREADS: usize = 8;

/// How much of the frames is collected before it is sent, in bytes.
const BATCH: usize = CHUNK;

/// What a scan found, and how to open it again.
pub(crate) struct Tree {
    roots: Vec<Option<Root>>,
    found: Vec<Found>,
}

struct Root {
    fd: OwnedFd,
    /// With all links resolved.
    real: PathBuf,
}

struct Found {
    entry: Entry,
    /// Where it is, if that is not what the entry says: it was reached through a link.
    real: Option<Place>,
}

/// A root's index and a path below it.
#[derive(Clone)]
struct Place {
    root: u16,
    path: Vec<u8>,
}

impl Tree {
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    pub(crate) fn entry(&self, index: u32) -> Option<&Entry> {
        self.found.get(index as usize).map(|found| &found.entry)
    }

    /// Never blocks, whatever has taken the file's place.
    pub(crate) fn open(&self, index: u32) -> io::Result<OwnedFd> {
        let found = &self.found[index as usize];
        let (root, path) = match &found.real {
            Some(real) => (real.root, &real.path),
            None => (found.entry.root, &found.entry.path),
        };
        let root = self.roots[usize::from(root)].as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(beneath::open(root.fd.as_fd(), path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?)
    }
}

/// Sends the answer. `None`: a limit was reached, and said.
pub(crate) fn scan(request: &ScanRequest, client: &Client) -> io::Result<Option<Tree>> {
    if request.roots.len() > usize::from(u16::MAX) {
        client.fail(FailureKind::TooMuch, format!("{} folders to scan", request.roots.len()))?;
        return Ok(None);
    }
    let (roots, missing) = open_roots(request);
    let walk = Walk::new(request, &roots);
    let walked = walk.run();
    let (mut found, left_out) = match walked {
        Ok(done) => done,
        Err(why) => {
            client.fail(FailureKind::TooMuch, why)?;
            return Ok(None);
        }
    };
    found.sort_unstable_by(|a, b| (a.entry.root, &a.entry.path).cmp(&(b.entry.root, &b.entry.path)));
    let digest = digest(&found);
    let same = request.known == Some(digest);
    let mut frames = Vec::with_capacity(BATCH);
    if !same {
        let mut batch = Vec::new();
        let mut size = 0;
        for one in &found {
            size += one.entry.path.len() + 32;
            batch.push(one.entry.clone());
            if size > BATCH {
                frames.extend_from_slice(&encode(&FromAgent::Entries(std::mem::take(&mut batch)))?);
                client.send_frames(&frames)?;
                frames.clear();
                size = 0;
            }
        }
        if !batch.is_empty() {
            frames.extend_from_slice(&encode(&FromAgent::Entries(batch))?);
        }
    }
    let files = found.len() as u32;
    let bytes = found.iter().map(|found| found.entry.size).sum();
    frames.extend_from_slice(&encode(&FromAgent::Scanned(Scanned { digest, same, files, bytes, left_out, missing }))?);
    client.send_frames(&frames)?;
    Ok(Some(Tree { roots, found }))
}

fn open_roots(request: &ScanRequest) -> (Vec<Option<Root>>, Vec<u16>) {
    let mut missing = Vec::new();
    let roots = request.roots.iter().enumerate().map(|(index, path)| {
        // The interpreter names its roots as it likes; through links, too.
        let real = std::fs::canonicalize(path.as_str()).ok();
        let root = real.and_then(|real| {
            let fd = std::fs::File::open(&real).ok()?;
            fd.metadata().ok()?.is_dir().then(|| Root { fd: fd.into(), real })
        });
        // One that cannot be listed is as good as missing, and must not look empty.
        let root = root.filter(|root| std::fs::read_dir(&root.real).is_ok());
        if root.is_none() {
            missing.push(index as u16);
        }
        root
    });
    let roots = roots.collect();
    (roots, missing)
}

/// Over everything that is sent of each entry.
fn digest(found: &[Found]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(64 << 10);
    let mut hasher = blake3::Hasher::new();
    for Found { entry, .. } in found {
        bytes.extend_from_slice(&entry.root.to_le_bytes());
        bytes.extend_from_slice(&(entry.path.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&entry.path);
        bytes.extend_from_slice(&entry.size.to_le_bytes());
        bytes.extend_from_slice(&entry.mtime.to_le_bytes());
        bytes.push(u8::from(entry.form == Form::Placeholder));
        if bytes.len() > 60 << 10 {
            hasher.update(&bytes);
            bytes.clear();
        }
    }
    hasher.update(&bytes);
    hasher.finalize().into()
}

struct Folder {
    /// What the entries are called by.
    named: Place,
    /// Where it is.
    real: Place,
    depth: u16,
    /// Its own place in the chain of folders that lead to it, for the links that lead back.
    above: Option<Arc<Above>>,
}

struct Above {
    id: (u64, u64),
    above: Option<Arc<Above>>,
}

struct Walk<'a> {
    roots: &'a [Option<Root>],
    limits: ScanLimits,
    /// Absolute, as named and as they really are.
    exclude: BTreeSet<PathBuf>,
    state: Mutex<State>,
    work: Condvar,
    entries: AtomicU64,
    bytes: AtomicU64,
    folders: AtomicU64,
    left_out: AtomicU64,
}

#[derive(Default)]
struct State {
    stack: Vec<Folder>,
    /// Threads that may still push.
    busy: usize,
    failure: Option<String>,
    found: Vec<Found>,
}

impl<'a> Walk<'a> {
    fn new(request: &ScanRequest, roots: &'a [Option<Root>]) -> Self {
        let named = request.exclude.iter().map(|path| PathBuf::from(path.as_str()));
        let real = request.exclude.iter().filter_map(|path| std::fs::canonicalize(path.as_str()).ok());
        let exclude: BTreeSet<PathBuf> = named.chain(real).collect();
        let mut stack = Vec::new();
        for (index, (root, path)) in roots.iter().zip(&request.roots).enumerate().rev() {
            let excluded = |root: &Root| exclude.contains(&root.real) || exclude.contains(Path::new(path.as_str()));
            if root.as_ref().is_some_and(|root| !excluded(root)) {
                let place = Place { root: index as u16, path: Vec::new() };
                stack.push(Folder { named: place.clone(), real: place, depth: 0, above: None });
            }
        }
        Self {
            roots,
            limits: request.limits,
            exclude,
            state: Mutex::new(State { stack, ..State::default() }),
            work: Condvar::new(),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            folders: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    fn run(self) -> Result<(Vec<Found>, u32), String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Without a further thread the walk is slower, nothing else.
                let _ = std::thread::Builder::new().spawn_scoped(scope, || self.work());
            }
            self.work();
        });
        let state = self.state.into_inner().expect("no holder panics");
        match state.failure {
            Some(why) => Err(why),
            None => Ok((state.found, self.left_out.into_inner().min(u32::MAX.into()) as u32)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn work(&self) {
        let mut buffer = Vec::with_capacity(64 << 10);
        let mut found = Vec::new();
        let mut state = self.state();
        loop {
            if state.failure.is_some() {
                break;
            }
            let Some(folder) = state.stack.pop() else {
                if state.busy == 0 {
                    break;
                }
                state = self.work.wait(state).expect("no holder panics");
                continue;
            };
            state.busy += 1;
            drop(state);
            let mut below = Vec::new();
            let outcome = self.folder(&folder, &mut buffer, &mut found, &mut below);
            state = self.state();
            state.busy -= 1;
            if let Err(why) = outcome {
                state.failure = Some(why);
            }
            state.stack.append(&mut below);
            self.work.notify_all();
        }
        state.found.append(&mut found);
        self.work.notify_all();
    }

    fn left_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// An error is a limit that was reached.
    fn folder(
        &self,
        folder: &Folder,
        buffer: &mut Vec<u8>,
        found: &mut Vec<Found>,
        below: &mut Vec<Folder>,
    ) -> Result<(), String> {
        if self.folders.fetch_add(1, Ordering::Relaxed) > u64::from(self.limits.entries) {
            return Err(format!("there are more than {} folders", self.limits.entries));
        }
        let Some(root) = &self.roots[usize::from(folder.real.root)] else { return Ok(()) };
        let opened = beneath::open(root.fd.as_fd(), &folder.real.path, OFlags::RDONLY | OFlags::DIRECTORY);
        let Ok((fd, id)) = opened.and_then(|fd| fstat(&fd).map(|stat| (fd, identity(&stat)))) else {
            self.left_out();
            return Ok(());
        };
        let above = Some(Arc::new(Above { id, above: folder.above.clone() }));
        buffer.clear();
        let mut entries = RawDir::new(&fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry else {
                self.left_out();
                break;
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let form = contents::form_of(name);
            let enters = contents::enters(name);
            if form.is_none() && !enters {
                continue;
            }
            let mut kind = entry.file_type();
            let mut stat = None;
            // Some file systems do not tell the kind in the listing.
            if kind == FileType::Unknown || (kind == FileType::RegularFile && form.is_some()) {
                if let Ok(known) = statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    kind = FileType::from_raw_mode(known.st_mode);
                    stat = Some(known);
                } else {
                    self.left_out();
                    continue;
                }
            }
            match (kind, form, stat) {
                (FileType::RegularFile, Some(form), Some(stat)) => {
                    let real = is_elsewhere(folder).then(|| below_place(&folder.real, name));
                    found.push(self.found(below_place(&folder.named, name), &stat, form, real)?);
                }
                (FileType::Directory, ..) if enters => {
                    let real = below_place(&folder.real, name);
                    below.extend(self.enter(folder, name, real, above.clone())?);
                }
                (FileType::Symlink, ..) => self.link(&fd, folder, name, above.as_ref(), found, below)?,
                (FileType::RegularFile | FileType::Directory, ..) => {}
                (_, Some(_), _) => self.left_out(),
                _ => {}
            }
        }
        Ok(())
    }

    fn found(&self, named: Place, stat: &Stat, form: Form, real: Option<Place>) -> Result<Found, String> {
        let size = if form == Form::Placeholder { 0 } else { stat.st_size.max(0) as u64 };
        if self.entries.fetch_add(1, Ordering::Relaxed) >= u64::from(self.limits.entries) {
            return Err(format!("there are more than {} files that a language tool reads", self.limits.entries));
        }
        if self.bytes.fetch_add(size, Ordering::Relaxed).saturating_add(size) > self.limits.bytes {
            let name = String::from_utf8_lossy(&named.path).into_owned();
            return Err(format!(
                "the files that a language tool reads are larger than {} bytes together, {name:?} among them",
                self.limits.bytes
            ));
        }
        let mtime = stat.st_mtime.wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec as i64);
        let entry = Entry { root: named.root, path: named.path, size, mtime, form, witness: witness(stat) };
        Ok(Found { entry, real })
    }

    fn enter(
        &self,
        parent: &Folder,
        name: &[u8],
        real: Place,
        above: Option<Arc<Above>>,
    ) -> Result<Option<Folder>, String> {
        let named = below_place(&parent.named, name);
        if self.is_excluded(&named) || self.is_excluded(&real) {
            return Ok(None);
        }
        let depth = parent.depth + 1;
        if depth > self.limits.depth {
            return Err(format!("folders are nested more than {} deep", self.limits.depth));
        }
        Ok(Some(Folder { named, real, depth, above }))
    }

    fn is_excluded(&self, place: &Place) -> bool {
        !self.exclude.is_empty()
            && self.roots[usize::from(place.root)]
                .as_ref()
                .is_some_and(|root| self.exclude.contains(&root.real.join(std::ffi::OsStr::from_bytes(&place.path))))
    }

    /// A link counts as what it leads to, where that lies in a root and is no folder above it.
    fn link(
        &self,
        fd: &OwnedFd,
        folder: &Folder,
        name: &[u8],
        above: Option<&Arc<Above>>,
        found: &mut Vec<Found>,
        below: &mut Vec<Folder>,
    ) -> Result<(), String> {
        let Some((real, stat)) = self.target(fd.as_fd(), folder, name) else {
            self.left_out();
            return Ok(());
        };
        match (FileType::from_raw_mode(stat.st_mode), contents::form_of(name)) {
            (FileType::RegularFile, Some(form)) => {
                found.push(self.found(below_place(&folder.named, name), &stat, form, Some(real))?);
            }
            (FileType::RegularFile, None) => {}
            (FileType::Directory, _) if contents::enters(name) => {
                let mut up = above;
                while let Some(one) = up {
                    if one.id == identity(&stat) {
                        self.left_out();
                        return Ok(());
                    }
                    up = one.above.as_ref();
                }
                below.extend(self.enter(folder, name, real, above.cloned())?);
            }
            _ => self.left_out(),
        }
        Ok(())
    }

    /// Where a link leads, if to a place in a root.
    fn target(&self, fd: BorrowedFd<'_>, folder: &Folder, name: &[u8]) -> Option<(Place, Stat)> {
        let base = &self.roots[usize::from(folder.real.root)].as_ref()?.real;
        let path = base.join(std::ffi::OsStr::from_bytes(&below_place(&folder.real, name).path));
        let real = std::fs::canonicalize(path).ok()?;
        let excluded = real.ancestors().any(|above| self.exclude.contains(above));
        let (root, rest) = self
            .roots
            .iter()
            .enumerate()
            .filter_map(|(index, root)| Some((index, real.strip_prefix(&root.as_ref()?.real).ok()?)))
            .min_by_key(|(_, rest)| rest.as_os_str().len())
            .filter(|_| !excluded)?;
        let stat = statat(fd, std::ffi::OsStr::from_bytes(name), AtFlags::empty()).ok()?;
        Some((Place { root: root as u16, path: rest.as_os_str().to_os_string().into_vec() }, stat))
    }
}

fn is_elsewhere(folder: &Folder) -> bool {
    folder.named.root != folder.real.root || folder.named.path != folder.real.path
}

fn below_place(folder: &Place, name: &[u8]) -> Place {
    let mut path = Vec::with_capacity(folder.path.len() + 1 + name.len());
    path.extend_from_slice(&folder.path);
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    Place { root: folder.root, path }
}

/// An overlay shows a layer's own number and times until the container changes the file. Not the device: it is another one in
/// each container.
fn witness(stat: &Stat) -> u64 {
    let changed = (stat.st_ctime as u64).wrapping_mul(1_000_000_000).wrapping_add(stat.st_ctime_nsec);
    // Two odd multipliers: neither of the two may undo the other's difference.
    let mixed = stat.st_ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ changed.wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed.max(1)
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
