//! Scanning the import roots and fetching files, and checking what comes.

use gpubay_protocol::agent::{Entry, FromAgent, ScanRequest, Scanned, ToAgent};
use gpubay_protocol::contents::{Form, form_of_path};

use super::wire::{Incoming, Writer, send, unexpected};
use super::{AgentError, Client};

/// Longer paths no Linux opens.
const PATH_MAX: usize = 4096;

/// A finished scan; its agent still knows where each entry is.
pub struct Scanner {
    from: Incoming,
    to: Writer,
    /// Sorted by root and path; empty where [`Scanned::same`].
    pub entries: Vec<Entry>,
    pub scanned: Scanned,
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner").field("scanned", &self.scanned).finish_non_exhaustive()
    }
}

impl Client {
    /// `progress` hears how many entries have come. Every entry that arrives has been checked: its
    /// root exists, its path is one that a scan may enter, its form is what the path says, and the
    /// limits of the request hold.
    pub async fn scan(mut self, request: ScanRequest, mut progress: impl FnMut(usize)) -> Result<Scanner, AgentError> {
        let (roots, limits, known) = (request.roots.len(), request.limits, request.known);
        send(&mut self.to, &ToAgent::Scan(request)).await?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0_u64;
        let scanned = loop {
            match self.from.next().await? {
                FromAgent::Entries(batch) => {
                    for entry in batch {
                        check(&entry, roots, entries.last()).map_err(AgentError::Misbehaved)?;
                        bytes = bytes.saturating_add(entry.size);
                        entries.push(entry);
                    }
                    if entries.len() > limits.entries as usize || bytes > limits.bytes {
                        return Err(AgentError::Misbehaved("the scan went beyond its limits".into()));
                    }
                    progress(entries.len());
                }
                FromAgent::Scanned(scanned) => break scanned,
                other => return Err(unexpected(&other)),
            }
        };
        let fits = if scanned.same {
            entries.is_empty() && known == Some(scanned.digest)
        } else {
            scanned.files as usize == entries.len() && scanned.bytes == bytes
        };
        if !fits || scanned.missing.iter().any(|root| usize::from(*root) >= roots) {
            return Err(AgentError::Misbehaved("the scan's totals do not fit its entries".into()));
        }
        Ok(Scanner { from: self.from, to: self.to, entries, scanned })
    }
}

fn check(entry: &Entry, roots: usize, before: Option<&Entry>) -> Result<(), String> {
    let shown = String::from_utf8_lossy(&entry.path);
    if usize::from(entry.root) >= roots {
        return Err(format!("{shown:?} lies in root {} of {roots}", entry.root));
    }
    if entry.path.len() > PATH_MAX || form_of_path(&entry.path) != Some(entry.form) {
        return Err(format!("{shown:?} is no file that a scan may report"));
    }
    if entry.form == Form::Placeholder && entry.size != 0 {
        return Err(format!("{shown:?} is a placeholder with contents"));
    }
    if before.is_some_and(|before| (before.root, &before.path) >= (entry.root, &entry.path)) {
        return Err(format!("{shown:?} comes out of order"));
    }
    Ok(())
}

impl Scanner {
    /// `indices` into [`Scanner::entries`], ascending. What comes is read to its end before the next fetch.
    pub async fn fetch(&mut self, indices: Vec<u32>) -> Result<Fetching<'_>, AgentError> {
        debug_assert!(indices.is_sorted_by(|a, b| a < b));
        let expected = indices
            .iter()
            .map(|index| self.entries.get(*index as usize).map(|entry| (*index, entry.size)))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| AgentError::Misbehaved("the files to fetch are not all in the scan".into()))?;
        send(&mut self.to, &ToAgent::Fetch { indices }).await?;
        Ok(Fetching { from: &mut self.from, expected: expected.into_iter(), left: None })
    }
}

/// What comes of a fetch, in the order of its indices.
#[derive(Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// Not more than `size` bytes follow, which is at most what the entry says.
    Begin {
        index: u32,
        size: u64,
    },
    Data(Vec<u8>),
    /// `error`: why the file could not be read to its end. Untrusted text.
    End {
        error: Option<String>,
    },
}

/// The files on their way.
pub struct Fetching<'a> {
    from: &'a mut Incoming,
    expected: std::vec::IntoIter<(u32, u64)>,
    /// Of the current file, in bytes.
    left: Option<u64>,
}

impl std::fmt::Debug for Fetching<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetching").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Fetching<'_> {
    /// `None` after the last file.
    pub async fn next(&mut self) -> Result<Option<FileEvent>, AgentError> {
        let misbehaved = |what: &str| Err(AgentError::Misbehaved(what.into()));
        match (self.from.next().await?, self.left) {
            (FromAgent::File { index, size }, None) => match self.expected.next() {
                Some((wanted, most)) if wanted == index && size <= most => {
                    self.left = Some(size);
                    Ok(Some(FileEvent::Begin { index, size }))
                }
                _ => misbehaved("it sent a file that was not asked for, or a larger one"),
            },
            (FromAgent::FileData(bytes), Some(left)) => match left.checked_sub(bytes.len() as u64) {
                Some(rest) => {
                    self.left = Some(rest);
                    Ok(Some(FileEvent::Data(bytes)))
                }
                None => misbehaved("it sent more of a file than it had announced"),
            },
            (FromAgent::FileEnd { error }, Some(_)) => {
                self.left = None;
                Ok(Some(FileEvent::End { error }))
            }
            (FromAgent::Fetched, None) if self.expected.as_slice().is_empty() => Ok(None),
            (other, _) => Err(unexpected(&other)),
        }
    }
}
