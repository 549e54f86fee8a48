//! A container is faked at the outermost edge: a list of files in memory that answers scans and
//! fetches as the agent would, or as no honest agent would.

mod ahead;
mod apply;
mod faults;
mod first;
mod hostile;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use gpubay_protocol::agent::{Entry, Failure, FailureKind, ScanLimits, ScanRequest, Scanned};
use gpubay_protocol::contents::{Form, form_of_path};
use sha2::{Digest, Sha256};

use super::*;
use crate::progress::Progress;
use crate::{ContainerPath, HostPath};

pub(super) const SITE: &str = "/usr/lib/python3/dist-packages";
pub(super) const LOCAL: &str = "/usr/local/lib/python3/dist-packages";

/// Called before each event of a fetch, with its number; `Err` cuts the stream there.
type Hook = Box<dyn FnMut(usize) -> Result<(), SourceError> + Send>;

/// Contents and modification time of the files of a container, by root and path.
pub(super) type Files = BTreeMap<(u16, Vec<u8>), (Vec<u8>, i64)>;

pub(super) struct Fake {
    pub(super) files: Files,
    /// Sent instead of what `files` would give.
    pub(super) entries: Option<Vec<Entry>>,
    pub(super) missing: Vec<u16>,
    /// By path; a file that is not named has none.
    pub(super) witness: BTreeMap<Vec<u8>, u64>,
    pub(super) hook: Hook,
    /// What a fetch finds, where it is not what the scan saw; `None` is a file that vanished.
    pub(super) meanwhile: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    scanned: Vec<Entry>,
    pub(super) fetched: usize,
    pub(super) sames: usize,
}

pub(super) fn files(list: &[(u16, &str, &str)]) -> Files {
    list.iter()
        .map(|(root, path, text)| {
            ((*root, path.as_bytes().to_vec()), (text.as_bytes().to_vec(), 1_700_000_000_123_456_789))
        })
        .collect()
}

pub(super) fn entry(root: u16, path: &str, size: u64) -> Entry {
    let form = form_of_path(path.as_bytes()).unwrap_or(Form::Whole);
    Entry { root, path: path.as_bytes().to_vec(), size, mtime: 7, form, witness: 0 }
}

impl Fake {
    pub(super) fn new(files: Files) -> Self {
        Self {
            files,
            entries: None,
            missing: Vec::new(),
            witness: BTreeMap::new(),
            hook: Box::new(|_| Ok(())),
            meanwhile: BTreeMap::new(),
            scanned: Vec::new(),
            fetched: 0,
            sames: 0,
        }
    }

    pub(super) fn sending(entries: Vec<Entry>) -> Self {
        Self { entries: Some(entries), ..Self::new(Files::new()) }
    }
}

#[async_trait]
impl Source for Fake {
    async fn scan(&mut self, request: ScanRequest) -> Result<(Vec<Entry>, Scanned), SourceError> {
        let entries = self.entries.clone().unwrap_or_else(|| {
            let wanted = self.files.iter().filter_map(|((root, path), (text, mtime))| {
                let form = form_of_path(path)?;
                let size = if form == Form::Whole { text.len() as u64 } else { 0 };
                let witness = self.witness.get(path).copied().unwrap_or_default();
                Some(Entry { root: *root, path: path.clone(), size, mtime: *mtime, form, witness })
            });
            wanted.collect()
        });
        let digest: [u8; 32] = Sha256::digest(format!("{entries:?}")).into();
        let same = request.known == Some(digest);
        self.sames += usize::from(same);
        self.scanned.clone_from(&entries);
        let scanned = Scanned {
            digest,
            same,
            files: entries.len() as u32,
            bytes: entries.iter().fold(0, |sum, e| sum.saturating_add(e.size)),
            left_out: 0,
            missing: self.missing.clone(),
        };
        Ok((if same { Vec::new() } else { entries }, scanned))
    }

    async fn fetch(&mut self, indices: &[u32], sink: &mut dyn FileSink) -> Result<(), SourceError> {
        let mut event = 0;
        for &index in indices {
            self.fetched += 1;
            let entry = &self.scanned[index as usize];
            let text = match self.meanwhile.get(&entry.path) {
                Some(now) => now.clone(),
                None => self.files.get(&(entry.root, entry.path.clone())).map(|(text, _)| text.clone()),
            };
            let mut step = |hook: &mut Hook| {
                event += 1;
                hook(event - 1)
            };
            step(&mut self.hook)?;
            sink.file(index, text.as_ref().map_or(0, |t| t.len() as u64)).await?;
            for part in text.as_deref().unwrap_or_default().chunks(5) {
                step(&mut self.hook)?;
                sink.data(part).await?;
            }
            step(&mut self.hook)?;
            sink.end(text.is_none().then(|| "no such file".to_owned())).await?;
            // As a real stream, it lets others run between messages.
            tokio::task::yield_now().await;
        }
        (self.hook)(event)
    }
}

pub(super) fn lost() -> SourceError {
    SourceError::Lost("the stream ended inside a message".to_owned())
}

pub(super) fn container(path: &str) -> ContainerPath {
    ContainerPath::new(path).expect("a container path")
}

/// A cache folder of its own, with the request of two roots.
pub(super) struct Lab {
    pub(super) store: Store,
    pub(super) request: ScanRequest,
    pub(super) key: BaseKey,
    folder: tempfile::TempDir,
}

impl Lab {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::within(folder)
    }

    fn within(folder: tempfile::TempDir) -> Self {
        let store = Store::open(&HostPath::new(folder.path()).expect("absolute")).expect("a store");
        let request = ScanRequest {
            roots: vec![container(SITE), container(LOCAL)],
            exclude: Vec::new(),
            known: None,
            limits: ScanLimits::default(),
        };
        Self { key: BaseKey::new("sha256:1", &request), store, request, folder }
    }

    pub(super) fn mirror(&self) -> PathBuf {
        self.folder.path().join("mirror")
    }

    pub(super) async fn base(&self, source: &mut Fake) -> Result<Synced, MirrorError> {
        ensure_base(&self.store, &self.key, &self.request, source, &Progress::silent(), Ahead::default()).await
    }

    pub(super) async fn sync(&self, source: &mut Fake) -> Result<Synced, MirrorError> {
        self.sync_as("ws", source, Deletions::Ask).await
    }

    pub(super) async fn sync_as(
        &self,
        id: &str,
        source: &mut Fake,
        deletions: Deletions,
    ) -> Result<Synced, MirrorError> {
        sync_workspace(&self.store, &self.key, id, &self.request, source, &Progress::silent(), deletions).await
    }

    /// Nothing but finished mirrors: no stage is left.
    pub(super) fn assert_tidy(&self) {
        let left: Vec<_> = names(&self.mirror()).into_iter().filter(|n| n.starts_with(".stage-")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Finished trees are read-only: only our own code deletes them.
        let folder = disk::Folder::open(self.folder.path()).expect("the lab");
        let _ = folder.remove("mirror");
    }
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut out: Vec<String> = std::fs::read_dir(folder)
        .map(|items| items.filter_map(|item| item.ok()?.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    out.sort();
    out
}

/// Every file below, by path; anything that is neither file nor folder is a failure.
pub(super) fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(top: &Path, at: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
        for name in names(at) {
            let path = at.join(name);
            let kind = std::fs::symlink_metadata(&path).expect("facts").file_type();
            if kind.is_dir() {
                walk(top, &path, out);
            } else {
                assert!(kind.is_file(), "{path:?}");
                let name = path.strip_prefix(top).expect("below").to_str().expect("UTF-8").to_owned();
                out.insert(name, std::fs::read(&path).expect("readable"));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(folder, folder, &mut out);
    out
}

/// What a mirror should hold, from what the container has.
pub(super) fn assert_is(synced: &Synced, files: &Files) {
    let roots = [SITE, LOCAL];
    for tree in &synced.trees {
        let root = roots.iter().position(|root| *root == tree.container.as_str()).expect("a root");
        let want: BTreeMap<String, Vec<u8>> = files
            .iter()
            .filter(|((r, _), _)| usize::from(*r) == root)
            .filter_map(|((_, path), (text, _))| {
                let text = if form_of_path(path)? == Form::Whole { text.clone() } else { Vec::new() };
                Some((String::from_utf8(path.clone()).expect("UTF-8"), text))
            })
            .collect();
        assert_eq!(contents(tree.host.as_path()), want, "{}", tree.container);
        assert_eq!(tree.files as usize, want.len());
    }
}

pub(super) fn too_much() -> SourceError {
    SourceError::Failed(Failure { kind: FailureKind::TooMuch, message: "more than 10 files".to_owned() })
}
