//! The build context as one archive, for engines that take it whole: listed first, then read and sent piece by piece.
//!
//! It holds what the instructions of the build can read and `.dockerignore` does not leave out. The Dockerfile is the
//! text that was read and checked before, whatever the file holds by now.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::fs::FileType;
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::context::{self, ContextError, Excludes, Filter, Selection};
use super::ignore;

/// Bytes of one piece.
const PIECE: usize = 64 * 1024;
/// Pieces that wait for the engine: with [`PIECE`] a bound on memory of 1 MiB.
const QUEUE: usize = 16;
/// What the Dockerfile is called where its own name is not among the files.
const RESERVED: &str = ".gpubay-dockerfile";

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Tarball {
    root: Arc<OwnedFd>,
    items: Vec<Item>,
    /// The Dockerfile's path in the archive.
    pub(super) dockerfile: String,
    /// Of all files together, in bytes.
    pub(super) total: u64,
}

#[derive(Debug)]
struct Item {
    path: String,
    mode: u32,
    modified: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Folder,
    File(u64),
    /// What we say that the file holds.
    Text(Vec<u8>),
    Link(String),
}

/// Lists what is to be sent. `inside` is the Dockerfile's path relative to the context, where it lies there.
///
/// # Errors
/// [`ContextError`] for what cannot be read.
pub(super) fn list(
    root: Arc<OwnedFd>,
    excludes: Excludes,
    follow: Vec<String>,
    never: &[String],
    inside: Option<&str>,
    text: &str,
) -> Result<Tarball, ContextError> {
    let mut items = Vec::new();
    if !follow.is_empty() {
        let mut never = never.to_vec();
        never.push(RESERVED.to_owned());
        let selection = Selection { includes: Vec::new(), excludes: excludes.patterns, follow, never };
        let filter = Filter::new(root.as_fd(), &selection)?;
        context::walk(root.as_fd(), &filter, &mut |entry| {
            let content = match entry.kind() {
                FileType::Directory => Content::Folder,
                FileType::RegularFile => Content::File(u64::try_from(entry.stat.st_size).unwrap_or(0)),
                FileType::Symlink => Content::Link(entry.link()?),
                // Neither builder makes anything of a pipe, a socket or a device.
                _ => return Ok(()),
            };
            items.push(Item {
                path: entry.path.to_owned(),
                mode: entry.stat.st_mode & 0o7777,
                modified: u64::try_from(entry.stat.st_mtime).unwrap_or(0),
                content,
            });
            Ok(())
        })?;
    }
    let of_us = |path: &str, text: Vec<u8>| Item {
        path: path.to_owned(),
        mode: 0o644,
        modified: 0,
        content: Content::Text(text),
    };
    let own =
        items.iter_mut().find(|item| inside == Some(item.path.as_str()) && matches!(item.content, Content::File(_)));
    let dockerfile = if let Some(item) = own {
        item.content = Content::Text(text.as_bytes().to_vec());
        item.path.clone()
    } else {
        // The engine takes what `.dockerignore` names out of the context again, once it has read it: its own tool
        // hides an additional Dockerfile in the same way.
        let at = items.iter().position(|item| item.path == ignore::FILE);
        let mut ignored = match at {
            Some(at) => {
                items.remove(at);
                read(&root, ignore::FILE)?
            }
            None => format!("{}\n", ignore::FILE).into_bytes(),
        };
        ignored.extend_from_slice(format!("\n{RESERVED}\n").as_bytes());
        items.push(of_us(ignore::FILE, ignored));
        items.push(of_us(RESERVED, text.as_bytes().to_vec()));
        RESERVED.to_owned()
    };
    if excludes.of_dockerfile && dockerfile != RESERVED {
        // It does not count, and an engine that reads it would take it to count.
        items.retain(|item| item.path != ignore::FILE);
    }
    let size = |item: &Item| match &item.content {
        Content::File(size) => *size,
        Content::Text(text) => text.len() as u64,
        Content::Folder | Content::Link(_) => 0,
    };
    let total = items.iter().map(size).sum();
    Ok(Tarball { root, items, dockerfile, total })
}

fn read(root: &OwnedFd, path: &str) -> Result<Vec<u8>, ContextError> {
    let fail = |source| ContextError::Read { path: path.into(), source };
    let mut text = Vec::new();
    let file = context::open_file(root.as_fd(), path).map_err(|errno| fail(errno.into()))?;
    file.take(crate::files::SMALL).read_to_end(&mut text).map_err(fail)?;
    Ok(text)
}

/// Packs and sends, on a thread of its own. `sent` hears how many bytes of files are done. The first failure is in the
/// second half of the result once the first has ended with an error.
pub(super) fn send(
    tarball: Tarball,
    sent: impl Fn(u64) + Send + 'static,
) -> (mpsc::Receiver<io::Result<Bytes>>, tokio::task::JoinHandle<Option<ContextError>>) {
    let (pieces, receiver) = mpsc::channel(QUEUE);
    let task = tokio::task::spawn_blocking(move || {
        let out = Pieces { pieces: pieces.clone(), buffer: BytesMut::with_capacity(PIECE) };
        match pack(&tarball, out, &sent) {
            Ok(()) => None,
            Err(error) => {
                let _ = pieces.blocking_send(Err(io::Error::other(error.to_string())));
                (!matches!(error, ContextError::Gone)).then_some(error)
            }
        }
    });
    (receiver, task)
}

fn pack(tarball: &Tarball, out: Pieces, sent: &impl Fn(u64)) -> Result<(), ContextError> {
    let mut archive = tar::Builder::new(out);
    let mut done = 0;
    for item in &tarball.items {
        let mut header = tar::Header::new_gnu();
        // In the image files belong to root unless the Dockerfile says otherwise.
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(item.mode);
        header.set_mtime(item.modified);
        header.set_size(0);
        let fail = |source: io::Error| match source.kind() {
            // Only our own end of the queue says so.
            io::ErrorKind::BrokenPipe => ContextError::Gone,
            _ => ContextError::Read { path: item.path.clone().into(), source },
        };
        match &item.content {
            Content::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, format!("{}/", item.path), io::empty()).map_err(fail)?;
            }
            Content::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                archive.append_link(&mut header, &item.path, target).map_err(fail)?;
            }
            Content::Text(text) => {
                header.set_size(text.len() as u64);
                archive.append_data(&mut header, &item.path, &text[..]).map_err(fail)?;
                done += text.len() as u64;
            }
            Content::File(_) => {
                let file = match context::open_file(tarball.root.as_fd(), &item.path) {
                    Ok(file) => file,
                    // Gone since it was listed, or no file any more.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL | Errno::LOOP | Errno::NXIO) => continue,
                    Err(errno) => return Err(fail(errno.into())),
                };
                // As long as it is now: the archive has to say so before the content comes.
                let length = file.metadata().map_err(fail)?.len();
                header.set_size(length);
                let content = Whole { file: file.take(length), left: length, done, sent };
                archive.append_data(&mut header, &item.path, content).map_err(fail)?;
                done += length;
            }
        }
        sent(done);
    }
    let mut out = archive.into_inner().map_err(|_| ContextError::Gone)?;
    out.flush().map_err(|_| ContextError::Gone)
}

/// A file of which all that was announced has to come.
struct Whole<'a, F> {
    file: io::Take<std::fs::File>,
    left: u64,
    done: u64,
    sent: &'a F,
}

impl<F: Fn(u64)> Read for Whole<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was sent"));
        }
        self.left -= read as u64;
        self.done += read as u64;
        (self.sent)(self.done);
        Ok(read)
    }
}

/// Collects what is written into pieces for the engine; waits where it is slower than we are.
struct Pieces {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(PIECE)).freeze();
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
#[path = "tarball_tests.rs"]
mod tests;
