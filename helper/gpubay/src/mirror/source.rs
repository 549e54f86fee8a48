//! Where a mirror's files come from, as this room sees it: one container, one conversation.

use async_trait::async_trait;
use gpubay_protocol::agent::{Entry, Failure, ScanRequest, Scanned};

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The agent could not do it, in its own words.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// The connection ended or what came was no message.
    #[error("{0}")]
    Lost(String),
    /// Not an error of the source: the sink wants no more. See [`FileSink`].
    #[error("stopped by the receiver")]
    Stopped,
}

/// Lists and reads the files of one container.
#[async_trait]
pub trait Source: Send {
    /// May be called again; a later scan forgets the earlier one. The entries are empty when
    /// [`Scanned::same`]. An implementation stops at more than `request.limits.entries` of them.
    async fn scan(&mut self, request: ScanRequest) -> Result<(Vec<Entry>, Scanned), SourceError>;

    /// Sends files of the last scan, in the order of `indices` (ascending), one [`FileSink::file`], any number of
    /// [`FileSink::data`], one [`FileSink::end`] each. May be called again for others, unless it failed.
    async fn fetch(&mut self, indices: &[u32], sink: &mut dyn FileSink) -> Result<(), SourceError>;
}

/// The receiver wants no more: it was cancelled, the disk is full, or what came is not acceptable.
/// The source ends its conversation and returns [`SourceError::Stopped`].
#[derive(Clone, Copy, Debug)]
pub struct Stopped;

impl From<Stopped> for SourceError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Takes files as they arrive. Waiting in it is what slows a source down to the disk's speed.
#[async_trait]
pub trait FileSink: Send {
    async fn file(&mut self, index: u32, size: u64) -> Result<(), Stopped>;
    async fn data(&mut self, data: &[u8]) -> Result<(), Stopped>;
    /// `error`: why the file could not be read to its end.
    async fn end(&mut self, error: Option<String>) -> Result<(), Stopped>;
}
