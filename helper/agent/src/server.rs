//! The socket, and what all conversations have in common.

use std::fs::{File, Permissions};
use std::io::{self, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use gpubay_protocol::agent::{Entrypoint, Failure, FailureKind, FromAgent, PROTOCOL, ToAgent};
use gpubay_protocol::frame;

use crate::environment::{self, Environment, Variables};
use crate::{children, complain, exec, fetch, gpus, guard, python, scan, status};

/// More are turned away: each is a thread or three, and a container's limit on those is shared.
const MAX_CONVERSATIONS: usize = 256;

/// Serves `socket` on threads of its own from now on.
pub(crate) fn listen(socket: &Path, environment: Environment) -> Result<(), String> {
    let failed = |e: io::Error| format!("cannot listen on {}: {e}", socket.display());
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    // The host's user must get in even where the container runs as another; on the host only the
    // folder around the socket decides who reaches it.
    std::fs::set_permissions(socket, Permissions::from_mode(0o666)).map_err(failed)?;
    std::thread::spawn(move || accept(&listener, &environment));
    Ok(())
}

static CONVERSATIONS: AtomicUsize = AtomicUsize::new(0);

fn accept(listener: &UnixListener, environment: &Environment) {
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(e) => {
                // Out of descriptors or memory: some conversation must end first.
                complain(&format!("cannot accept a connection: {e}"));
                std::thread::sleep(std::time::Duration::from_millis(100));
                continue;
            }
        };
        if CONVERSATIONS.fetch_add(1, Ordering::SeqCst) >= MAX_CONVERSATIONS {
            CONVERSATIONS.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let environment = environment.clone();
        let started = std::thread::Builder::new().spawn(move || {
            if let Ok(to) = stream.try_clone() {
                converse(stream.into(), to.into(), &environment);
            }
            CONVERSATIONS.fetch_sub(1, Ordering::SeqCst);
        });
        if let Err(e) = started {
            CONVERSATIONS.fetch_sub(1, Ordering::SeqCst);
            complain(&format!("cannot start a thread: {e}"));
        }
    }
}

/// The way back to the client; whole frames only, from any thread.
pub(crate) struct Client(Mutex<File>);

impl Client {
    pub(crate) fn send(&self, message: &FromAgent) -> io::Result<()> {
        self.send_frames(&frame::encode(message)?)
    }

    pub(crate) fn send_frames(&self, frames: &[u8]) -> io::Result<()> {
        self.0.lock().expect("no holder panics").write_all(frames)
    }

    pub(crate) fn fail(&self, kind: FailureKind, message: impl Into<String>) -> io::Result<()> {
        self.send(&FromAgent::Failed(Failure { kind, message: message.into() }))
    }

    pub(crate) fn is_socket(&self) -> bool {
        rustix::net::sockopt::socket_type(&*self.0.lock().expect("no holder panics")).is_ok()
    }

    /// Lets go of the stream in both directions, so that a reader of it wakes up.
    pub(crate) fn hang_up(&self) {
        let _ = rustix::net::shutdown(self.0.lock().expect("no holder panics").as_fd(), rustix::net::Shutdown::Both);
    }
}

pub(crate) type FromClient = BufReader<File>;

/// From the handshake to the last answer.
pub(crate) fn converse(from: OwnedFd, to: OwnedFd, environment: &Environment) {
    let client = Client(Mutex::new(to.into()));
    // An error here is a client that is gone or talks nonsense: there is nobody to tell.
    let _ = answer(BufReader::with_capacity(64 << 10, from.into()), client, environment);
}

fn answer(mut from: FromClient, client: Client, environment: &Environment) -> io::Result<()> {
    match frame::read(&mut from)? {
        Some(ToAgent::Hello { protocol: PROTOCOL }) => {}
        Some(ToAgent::Hello { protocol }) => {
            let text = format!("the agent speaks version {PROTOCOL} of the protocol, its client version {protocol}");
            return client.fail(FailureKind::Protocol, text);
        }
        _ => return client.fail(FailureKind::Protocol, "a conversation begins with hello"),
    }
    client.send(&FromAgent::Welcome { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into() })?;
    match frame::read(&mut from)? {
        None => Ok(()),
        Some(ToAgent::Status(request)) => client.send(&FromAgent::Status(status::status(&request, environment))),
        Some(ToAgent::Exec(request)) => exec::exec(&request, from, client, environment),
        Some(ToAgent::FindPython(request)) => {
            client.send(&FromAgent::Pythons(python::find(&request, &environment.known().0)))
        }
        Some(ToAgent::Gpus) => client.send(&FromAgent::Gpus(gpus::report(&environment.known().0))),
        Some(ToAgent::Smi) => loop {
            let told = gpus::smi(&environment.known().0);
            // The program is the image's: nothing that it started goes on, with all GPUs at hand. Where an agent is PID 1 of a
            // container in which somebody works, its conversations come over a socket.
            if std::process::id() == 1 && !client.is_socket() {
                children::signal_all(libc::SIGKILL);
            }
            client.send(&FromAgent::Smi(told))?;
            match frame::read(&mut from)? {
                Some(ToAgent::Smi) => {}
                None => return Ok(()),
                Some(_) => return client.fail(FailureKind::Protocol, "only the same may be asked again"),
            }
        },
        Some(ToAgent::WatchGpus) => guard::watch(from.get_ref(), &client),
        Some(ToAgent::Environment) => {
            let (variables, entrypoint) = environment.now();
            let variables = environment::to_bytes(&variables);
            client.send(&FromAgent::Environment { variables, entrypoint })
        }
        Some(ToAgent::Scan(request)) => {
            let Some(tree) = scan::scan(&request, &client)? else { return Ok(()) };
            loop {
                match frame::read(&mut from)? {
                    Some(ToAgent::Fetch { indices }) => fetch::fetch(&tree, &indices, &client)?,
                    None => return Ok(()),
                    Some(_) => return client.fail(FailureKind::Protocol, "only fetches may follow a scan"),
                }
            }
        }
        Some(_) => client.fail(FailureKind::Protocol, "no request of that kind comes first"),
    }
}

/// What PID 1 knows of the environment. It must be PID 1 that answers, or our own user: anybody in
/// the container may put a socket there, and a root exec must not take its environment from them.
pub(crate) fn environment_of_init(socket: &Path) -> Option<(Variables, Entrypoint)> {
    let stream = UnixStream::connect(socket).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    if peer.pid.as_raw_nonzero().get() != 1 && peer.uid != rustix::process::geteuid() {
        return None;
    }
    let mut to = &stream;
    frame::write(&mut to, &ToAgent::Hello { protocol: PROTOCOL }).ok()?;
    frame::write(&mut to, &ToAgent::Environment).ok()?;
    let mut from = BufReader::new(&stream);
    match (frame::read(&mut from).ok()??, frame::read(&mut from).ok()??) {
        (FromAgent::Welcome { .. }, FromAgent::Environment { variables, entrypoint }) => {
            let mut learned = environment::from_bytes(&variables);
            // These belong to the user that the engine's exec was asked for.
            for name in ["HOME", "USER", "LOGNAME"] {
                match std::env::var_os(name) {
                    Some(value) => learned.insert(name.into(), value),
                    None => learned.remove(std::ffi::OsStr::new(name)),
                };
            }
            Some((learned, entrypoint))
        }
        _ => None,
    }
}
