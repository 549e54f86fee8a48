//! Sends the build context to the engine, file by file as it asks for them.
//!
//! The wire protocol is that of the engine's own tools: a STAT packet for each entry in walking
//! order, an empty one at the end, then DATA for each entry number that the engine requests, and
//! FIN back and forth. Nothing but the list of paths is held in memory: packets wait in a bounded
//! queue until the engine takes them.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSync;
use rustix::fs::FileType;
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::context::{self, ContextError, Entry, Filter, Selection};

/// Bytes of file data in a packet.
const CHUNK: usize = 64 * 1024;
/// Packets that wait for the engine: with [`CHUNK`] a bound on memory of 2 MiB a transfer.
const QUEUE: usize = 32;

/// A folder that the engine may ask for by its name.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Folder {
        root: Arc<OwnedFd>,
        never: Vec<String>,
    },
    /// These files by their names, and no others.
    Files(Arc<BTreeMap<String, Vec<u8>>>),
}

/// Serves the folders of one build.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) sources: Arc<HashMap<String, Source>>,
    /// Where the first failure is kept: the engine passes on only its text.
    pub(super) failure: Arc<Mutex<Option<ContextError>>>,
}

type Packets = mpsc::Sender<Result<Packet, Status>>;

#[tonic::async_trait]
impl FileSync for Files {
    type DiffCopyStream = ReceiverStream<Result<Packet, Status>>;
    type TarStreamStream = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Self::DiffCopyStream>, Status> {
        let values = |key: &str| metadata_values(request.metadata(), key);
        let name = values("dir-name").into_iter().next().unwrap_or_default();
        let source =
            self.sources.get(&name).cloned().ok_or_else(|| Status::not_found(format!("no access to {name:?}")))?;
        let selection = Selection {
            includes: values("include-patterns"),
            excludes: values("exclude-patterns"),
            follow: values("followpaths"),
            never: Vec::new(),
        };
        let (packets, stream) = mpsc::channel(QUEUE);
        let failure = Arc::clone(&self.failure);
        tokio::spawn(async move {
            if let Err(error) = transfer(source, selection, request.into_inner(), packets.clone()).await {
                let text = error.to_string();
                if !matches!(error, ContextError::Gone) {
                    failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                }
                let _ = packets.send(Ok(packet(PacketType::PacketErr, 0, text.into_bytes()))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("only diffcopy is served"))
    }
}

/// All values of a key, unescaped where the engine says that it escaped them.
pub(super) fn metadata_values(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let escaped =
        metadata.get(format!("{key}-encoded")).is_some_and(|value| matches!(value.as_bytes(), b"1" | b"true"));
    metadata
        .get_all(key)
        .iter()
        .map(|value| {
            let bytes = if escaped { unescape(value.as_bytes()) } else { value.as_bytes().to_vec() };
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .collect()
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|c| char::from(*c).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) => out.push(b' '),
            (c, ..) => out.push(c),
        }
        at += 1;
    }
    out
}

fn packet(kind: PacketType, id: u32, data: Vec<u8>) -> Packet {
    Packet { r#type: kind.into(), stat: None, id, data }
}

async fn transfer(
    source: Source,
    selection: Selection,
    mut requests: Streaming<Packet>,
    packets: Packets,
) -> Result<(), ContextError> {
    let wanted: Arc<Mutex<HashMap<u32, String>>> = Arc::default();
    let mut walking = {
        let (source, wanted, packets) = (source.clone(), Arc::clone(&wanted), packets.clone());
        tokio::task::spawn_blocking(move || send_stats(&source, selection, &wanted, &packets))
    };
    let (asked, queue) = std::sync::mpsc::channel::<(u32, String)>();
    let mut sending = {
        let packets = packets.clone();
        tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; CHUNK];
            queue.into_iter().try_for_each(|(id, path)| send_file(&source, &path, id, &mut buffer, &packets))
        })
    };
    let mut walked = false;
    loop {
        tokio::select! {
            result = &mut walking, if !walked => {
                flat(result)?;
                walked = true;
            }
            // It ends only by failing while its queue is open.
            result = &mut sending => return flat(result),
            message = requests.message() => {
                let Ok(Some(message)) = message else { return Err(ContextError::Gone) };
                match message.r#type() {
                    PacketType::PacketReq => {
                        let path = wanted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&message.id);
                        if let Some(path) = path {
                            let _ = asked.send((message.id, path));
                        }
                    }
                    PacketType::PacketFin => {
                        let _ = packets.send(Ok(packet(PacketType::PacketFin, 0, Vec::new()))).await;
                        return Ok(());
                    }
                    PacketType::PacketErr => return Err(ContextError::Gone),
                    PacketType::PacketStat | PacketType::PacketData => {}
                }
            }
        }
    }
}

fn flat(result: Result<Result<(), ContextError>, tokio::task::JoinError>) -> Result<(), ContextError> {
    result.unwrap_or(Err(ContextError::Gone))
}

fn send(packets: &Packets, packet: Packet) -> Result<(), ContextError> {
    packets.blocking_send(Ok(packet)).map_err(|_| ContextError::Gone)
}

fn send_stats(
    source: &Source,
    selection: Selection,
    wanted: &Mutex<HashMap<u32, String>>,
    packets: &Packets,
) -> Result<(), ContextError> {
    let mut next = 0;
    let mut tell = |stat: Stat| {
        // The engine requests data of whatever has no type bit, by its place in the walk.
        if stat.mode & GO_TYPE == 0 {
            wanted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(next, stat.path.clone());
        }
        next += 1;
        send(packets, Packet { r#type: PacketType::PacketStat.into(), stat: Some(stat), id: 0, data: Vec::new() })
    };
    match source {
        Source::Files(files) => {
            let follow = selection.follow;
            for (name, content) in files.iter() {
                if follow.is_empty() || follow.iter().any(|path| path.trim_start_matches('/') == name) {
                    let (size, mod_time) = (content.len() as i64, time_of(content));
                    tell(Stat { path: name.clone(), mode: 0o644, size, mod_time, ..Stat::default() })?;
                }
            }
        }
        Source::Folder { root, never } => {
            let selection = Selection { never: never.clone(), ..selection };
            let filter = Filter::new(root.as_fd(), &selection)?;
            let mut links = HashMap::new();
            context::walk(root.as_fd(), &filter, &mut |entry| tell(stat_of(entry, &mut links)?))?;
        }
    }
    send(packets, packet(PacketType::PacketStat, 0, Vec::new()))
}

/// A modification time for contents that have none, in nanoseconds: another one for other contents. An engine keeps
/// what it got before where size and time are the same.
fn time_of(content: &[u8]) -> i64 {
    use std::hash::Hasher;
    let mut hash = std::hash::DefaultHasher::new();
    hash.write(content);
    (hash.finish() >> 2) as i64
}

fn send_file(source: &Source, path: &str, id: u32, buffer: &mut [u8], packets: &Packets) -> Result<(), ContextError> {
    match source {
        Source::Files(files) => {
            for chunk in files.get(path).map(Vec::as_slice).unwrap_or_default().chunks(CHUNK) {
                send(packets, packet(PacketType::PacketData, id, chunk.to_vec()))?;
            }
        }
        Source::Folder { root, .. } => match context::open_file(root.as_fd(), path) {
            Ok(mut file) => loop {
                match file.read(buffer) {
                    Ok(0) => break,
                    Ok(read) => send(packets, packet(PacketType::PacketData, id, buffer[..read].to_vec()))?,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(source) => return Err(ContextError::Read { path: path.into(), source }),
                }
            },
            // Gone since it was listed, or now something without content: it arrives empty, as
            // from the engine's own tool.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL | Errno::LOOP | Errno::NXIO) => {}
            Err(errno) => return Err(ContextError::Read { path: path.into(), source: errno.into() }),
        },
    }
    send(packets, packet(PacketType::PacketData, id, Vec::new()))
}

// The type and mode bits of Go's `os.FileMode`, which the wire carries.
const GO_DIR: u32 = 1 << 31;
const GO_LINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_PIPE: u32 = 1 << 25;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHAR_DEVICE: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;
const GO_TYPE: u32 = GO_DIR | GO_LINK | GO_DEVICE | GO_PIPE | GO_CHAR_DEVICE;

/// Describes an entry to the engine. Owners are not told: in the image files belong to root unless
/// the Dockerfile says otherwise. `links` remembers the first name of files that have several.
fn stat_of(entry: &Entry<'_>, links: &mut HashMap<(u64, u64), String>) -> Result<Stat, ContextError> {
    let raw = entry.stat;
    let mut stat = Stat {
        path: entry.path.to_owned(),
        mode: raw.st_mode & 0o777,
        mod_time: raw.st_mtime * 1_000_000_000 + raw.st_mtime_nsec as i64,
        size: raw.st_size,
        ..Stat::default()
    };
    for (bit, go) in [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)] {
        if raw.st_mode & bit != 0 {
            stat.mode |= go;
        }
    }
    match entry.kind() {
        FileType::Directory => {
            stat.mode |= GO_DIR;
            stat.size = 0;
            return Ok(stat);
        }
        FileType::Symlink => {
            stat.mode |= GO_LINK;
            stat.linkname = entry.link()?;
            return Ok(stat);
        }
        FileType::Fifo => stat.mode |= GO_PIPE,
        kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
            stat.mode |= if kind == FileType::BlockDevice { GO_DEVICE } else { GO_DEVICE | GO_CHAR_DEVICE };
            stat.devmajor = i64::from(rustix::fs::major(raw.st_rdev));
            stat.devminor = i64::from(rustix::fs::minor(raw.st_rdev));
        }
        // A socket has no bit of its own on this wire and arrives as an empty file.
        _ => {}
    }
    if raw.st_nlink > 1 {
        match links.entry((raw.st_dev, raw.st_ino)) {
            std::collections::hash_map::Entry::Occupied(first) => {
                stat.linkname.clone_from(first.get());
                stat.size = 0;
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(entry.path.to_owned());
            }
        }
    }
    Ok(stat)
}
