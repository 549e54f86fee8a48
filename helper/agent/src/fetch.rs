//! Sends the contents of scanned files.
//!
//! Threads read ahead in units of neighbouring small files and encode them; this thread sends the
//! units in their order. A file that is larger than a unit is sent by this thread itself, piece by
//! piece, so that memory stays bounded.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex};

use gpubay_protocol::agent::{FailureKind, FromAgent};
use gpubay_protocol::contents::Form;
use gpubay_protocol::frame::{CHUNK, append_data, encode};
use rustix::fs::{FileType, fstat};

use crate::scan::Tree;
use crate::server::Client;

/// How many files and bytes make a unit at most.
const UNIT_FILES: usize = 64;
const UNIT_BYTES: u64 = CHUNK as u64;

const MAX_THREADS: usize = 8;

/// Units that may wait to be sent, for each thread.
const AHEAD: usize = 3;

pub(crate) fn fetch(tree: &Tree, indices: &[u32], client: &Client) -> io::Result<()> {
    if !indices.is_sorted_by(|a, b| a < b) || indices.last().is_some_and(|last| *last as usize >= tree.len()) {
        return client.fail(FailureKind::System, "a fetch names the scan's entries in ascending order");
    }
    let units = units(tree, indices);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(2, MAX_THREADS).min(units.len());
    let window = Window {
        state: Mutex::new(Ready { next: 0, sent: 0, done: BTreeMap::new(), stopped: false }),
        changed: Condvar::new(),
        ahead: threads * AHEAD,
    };
    std::thread::scope(|scope| {
        let mut helpers = 0;
        for _ in 0..threads {
            let started = std::thread::Builder::new().spawn_scoped(scope, || window.read(tree, indices, &units));
            helpers += usize::from(started.is_ok());
        }
        if helpers == 0 && threads > 0 {
            return client.fail(FailureKind::System, "no thread can be started to read files");
        }
        let sent = (0..units.len()).try_for_each(|unit| {
            let parts = window.take(unit);
            parts.into_iter().try_for_each(|part| match part {
                Part::Frames(frames) => client.send_frames(&frames),
                Part::Large { fd, index, size } => send_large(&fd, index, size, client),
            })
        });
        window.stop();
        sent.and_then(|()| client.send(&FromAgent::Fetched))
    })
}

fn units(tree: &Tree, indices: &[u32]) -> Vec<Range<usize>> {
    let mut units = Vec::new();
    let mut from = 0;
    let mut bytes = 0;
    for (at, index) in indices.iter().enumerate() {
        let size = tree.entry(*index).map_or(0, |entry| entry.size);
        if at > from && (at - from >= UNIT_FILES || bytes + size > UNIT_BYTES) {
            units.push(from..at);
            from = at;
            bytes = 0;
        }
        bytes += size;
    }
    if from < indices.len() {
        units.push(from..indices.len());
    }
    units
}

enum Part {
    Frames(Vec<u8>),
    Large { fd: OwnedFd, index: u32, size: u64 },
}

struct Window {
    state: Mutex<Ready>,
    changed: Condvar,
    ahead: usize,
}

struct Ready {
    next: usize,
    sent: usize,
    done: BTreeMap<usize, Vec<Part>>,
    stopped: bool,
}

impl Window {
    fn read(&self, tree: &Tree, indices: &[u32], units: &[Range<usize>]) {
        let mut buffer = vec![0; CHUNK];
        loop {
            let unit = {
                let mut state = self.state.lock().expect("no holder panics");
                while !state.stopped && state.next < units.len() && state.next >= state.sent + self.ahead {
                    state = self.changed.wait(state).expect("no holder panics");
                }
                if state.stopped || state.next >= units.len() {
                    return;
                }
                state.next += 1;
                state.next - 1
            };
            let mut parts = Vec::new();
            let mut frames = Vec::with_capacity(CHUNK / 2);
            for index in &indices[units[unit].clone()] {
                match read_file(tree, *index, &mut frames, &mut buffer) {
                    None => {}
                    Some(large) => {
                        parts.push(Part::Frames(std::mem::take(&mut frames)));
                        parts.push(large);
                    }
                }
            }
            parts.push(Part::Frames(frames));
            let mut state = self.state.lock().expect("no holder panics");
            state.done.insert(unit, parts);
            self.changed.notify_all();
        }
    }

    fn take(&self, unit: usize) -> Vec<Part> {
        let mut state = self.state.lock().expect("no holder panics");
        loop {
            if let Some(parts) = state.done.remove(&unit) {
                state.sent = unit + 1;
                self.changed.notify_all();
                return parts;
            }
            state = self.changed.wait(state).expect("no holder panics");
        }
    }

    fn stop(&self) {
        self.state.lock().expect("no holder panics").stopped = true;
        self.changed.notify_all();
    }
}

/// Appends the frames of one file, or gives it back where it is large.
fn read_file(tree: &Tree, index: u32, frames: &mut Vec<u8>, buffer: &mut [u8]) -> Option<Part> {
    let entry = tree.entry(index)?;
    if entry.form == Form::Placeholder {
        whole(frames, index, &[], None);
        return None;
    }
    let opened = tree.open(index).and_then(|fd| {
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no file any more"));
        }
        if stat.st_size as u64 > entry.size {
            return Err(io::Error::other("it has grown since the scan"));
        }
        Ok((fd, stat.st_size as u64))
    });
    match opened {
        Err(e) => whole(frames, index, &[], Some(e.to_string())),
        Ok((fd, size)) if size > CHUNK as u64 => return Some(Part::Large { fd, index, size }),
        Ok((fd, size)) => {
            let mut got = 0;
            let error = loop {
                match rustix::io::read(&fd, &mut buffer[got..size as usize]) {
                    Ok(0) => break None,
                    Ok(n) => got += n,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(e) => break Some(io::Error::from(e).to_string()),
                }
            };
            whole(frames, index, &buffer[..got], error);
        }
    }
    None
}

fn whole(frames: &mut Vec<u8>, index: u32, data: &[u8], error: Option<String>) {
    let mut push = |message: &FromAgent| frames.extend_from_slice(&encode(message).expect("it is small"));
    push(&FromAgent::File { index, size: data.len() as u64 });
    if !data.is_empty() {
        append_data(frames, FromAgent::FileData, data).expect("a chunk fits a frame");
    }
    frames.extend_from_slice(&encode(&FromAgent::FileEnd { error }).expect("it is small"));
}

fn send_large(fd: &OwnedFd, index: u32, size: u64, client: &Client) -> io::Result<()> {
    client.send(&FromAgent::File { index, size })?;
    let mut buffer = vec![0; CHUNK];
    let mut frame = Vec::with_capacity(CHUNK + 16);
    let mut left = size;
    let mut error = None;
    while left > 0 {
        let most = left.min(CHUNK as u64) as usize;
        match rustix::io::read(fd, &mut buffer[..most]) {
            Ok(0) => break,
            Ok(got) => {
                left -= got as u64;
                frame.clear();
                append_data(&mut frame, FromAgent::FileData, &buffer[..got])?;
                client.send_frames(&frame)?;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => {
                error = Some(io::Error::from(e).to_string());
                break;
            }
        }
    }
    client.send(&FromAgent::FileEnd { error })
}
