//! The way to the agent: its socket lies in a folder that the container can write, so what has the
//! socket's name may be anything.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use gpubay_protocol::agent::{FromAgent, PROTOCOL, ToAgent};
use gpubay_protocol::frame;
use rustix::fs::{FileType, Mode, OFlags};

/// A running agent answers at once; a paused container accepts and stays silent.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) enum Unreachable {
    /// Nobody listens.
    Stopped(String),
    /// It accepts and says nothing.
    Silent(String),
    /// What answers is no agent that we understand.
    Other(String),
}

pub(crate) fn open(socket: &Path) -> Result<UnixStream, Unreachable> {
    let stopped = |e: io::Error| Unreachable::Stopped(e.to_string());
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::open(socket, flags, Mode::empty()).map_err(|e| stopped(e.into()))?;
    let stat = rustix::fs::fstat(&handle).map_err(|e| stopped(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(Unreachable::Other(format!("{} is not a socket", socket.display())));
    }
    // Through the handle: what was checked is what is used, and no limit of 108 bytes.
    let stream = UnixStream::connect(format!("/proc/self/fd/{}", handle.as_raw_fd())).map_err(stopped)?;
    hello(stream)
}

fn hello(mut stream: UnixStream) -> Result<UnixStream, Unreachable> {
    let silent = |e: io::Error| match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Unreachable::Silent(format!("nothing in {} s", PATIENCE.as_secs()))
        }
        io::ErrorKind::InvalidData => Unreachable::Other(format!("the agent's answer is unreadable: {e}")),
        _ => Unreachable::Stopped(e.to_string()),
    };
    stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE))).map_err(silent)?;
    frame::write(&mut stream, &ToAgent::Hello { protocol: PROTOCOL }).map_err(silent)?;
    let answer = frame::read::<FromAgent>(&mut stream).map_err(silent)?;
    match answer {
        Some(FromAgent::Welcome { protocol: PROTOCOL, .. }) => {}
        Some(FromAgent::Welcome { protocol, version }) => {
            return Err(Unreachable::Other(format!("the agent {version} speaks protocol {protocol}, not {PROTOCOL}")));
        }
        Some(FromAgent::Failed(failure)) => return Err(Unreachable::Other(failure.message)),
        Some(_) => return Err(Unreachable::Other("the agent did not greet".to_owned())),
        None => return Err(Unreachable::Stopped("the agent hung up".to_owned())),
    }
    stream.set_read_timeout(None).and(stream.set_write_timeout(None)).map_err(silent)?;
    Ok(stream)
}
