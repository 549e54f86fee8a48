//! An engine behind SSH. The user's own `ssh`, with their configuration, keys and agent, runs `docker system dial-stdio` on that
//! machine, whose input and output are a connection to its engine: the docker command itself does the same.
//!
//! It can ask nobody anything, neither a password nor whether a machine is known: several connections are made in the background, and
//! in an editor there is no terminal. The first one is shared by those that follow, and stays for a minute (`ControlPersist`).

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

/// Where systems keep it. `PATH` is not asked: an activated `.venv/bin`, where a container writes, may be first on it.
const PLACES: [&str; 5] = ["/usr/bin", "/usr/local/bin", "/bin", "/run/current-system/sw/bin", "/opt/homebrew/bin"];
/// Until a machine has answered, in seconds.
const PATIENCE: &str = "ConnectTimeout=10";
/// How long a connection is kept for the next one, in seconds.
const KEPT: &str = "ControlPersist=60";
/// Of a socket's path, less what `ssh` appends while it makes one (16) and the digits that stand for the machine (`%C`, 40).
const LONGEST_FOLDER: usize = 108 - 1 - 17 - 40 - "/ssh-".len();
/// Of what it says when it fails.
const WORDS: u64 = 8 << 10;

/// `ssh://[user@]host[:port][/path/of/the/socket]`, where the host may be an alias of the user's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// There. `None`: whichever engine the docker command of that machine uses.
    socket: Option<PathBuf>,
}

impl Ssh {
    /// Of what stands behind `ssh://`.
    ///
    /// # Errors
    /// What it should have been.
    pub(super) fn parse(address: &str) -> Result<Self, &'static str> {
        const FORM: &str = "it takes the form ssh://host, ssh://user@host:port or ssh://host/path/of/the/engine.sock";
        let (machine, socket) = match address.find('/') {
            Some(at) => (&address[..at], Some(&address[at..]).filter(|path| *path != "/")),
            None => (address, None),
        };
        let (user, machine) = match machine.rsplit_once('@') {
            Some((user, machine)) => (Some(user), machine),
            None => (None, machine),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err("a password cannot be given: SSH is to get in by a key");
        }
        let (host, port) = match machine.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':').or((!rest.is_empty()).then_some(rest))),
            None => match machine.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (machine, None),
            },
        };
        // It becomes an argument of `ssh`, where a dash would begin an option.
        let is_name = |name: &str, more: &str| {
            let may = |letter: char| letter.is_ascii_alphanumeric() || more.contains(letter);
            !name.is_empty() && !name.starts_with('-') && name.chars().all(may)
        };
        let port = port.map(str::parse).transpose().map_err(|_| FORM)?;
        if !is_name(host, "._-:%") || !user.is_none_or(|user| is_name(user, "._-+\\$")) {
            return Err(FORM);
        }
        // It becomes a word for a shell there.
        if !socket.is_none_or(|path| is_name(path, "/._-+,=@%")) {
            return Err("the path of the engine's socket there takes letters, digits and /._-+,=@% only");
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, socket: socket.map(PathBuf::from) })
    }

    /// As the user would write it behind `ssh`.
    fn machine(&self) -> String {
        let port = self.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("{port}{user}{}", self.host)
    }

    /// What to do about a connection that failed with these words.
    pub(super) fn next(&self, why: &str) -> String {
        let machine = self.machine();
        let says = |word: &str| why.contains(word);
        if says("Permission denied") || says("Host key verification failed") || says("passphrase") {
            format!(
                "`ssh {machine}` has to work without a question: run it once in a terminal to get to know that machine, and use a \
                 key that needs no typing (`ssh-copy-id`, `ssh-add`)."
            )
        } else if says("command not found") || says("docker: not found") || says("exit status 127") {
            format!(
                "Install the docker command on that machine (`podman-docker` for Podman), where `ssh {machine} docker version` finds it."
            )
        } else if says("Could not resolve") {
            "Check the name: it is a machine's, or a Host of ~/.ssh/config.".to_owned()
        } else {
            format!("Look at what `ssh {machine} docker version` says in a terminal.")
        }
    }

    fn arguments(&self, shared: Option<&Path>) -> Vec<String> {
        let mut all: Vec<String> = ["-T", "-o", PATIENCE, "-o", "BatchMode=yes"].map(str::to_owned).into();
        if let Some(folder) = shared {
            let path = format!("ControlPath={}/ssh-%C", folder.display());
            all.extend(["-o", "ControlMaster=auto", "-o", KEPT, "-o", &path].map(str::to_owned));
        }
        if let Some(user) = &self.user {
            all.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            all.extend(["-p".to_owned(), port.to_string()]);
        }
        all.extend(["--".to_owned(), self.host.clone(), "docker".to_owned()]);
        if let Some(socket) = &self.socket {
            all.extend(["--host".to_owned(), format!("unix://{}", socket.display())]);
        }
        all.extend(["system", "dial-stdio"].map(str::to_owned));
        all
    }

    /// Starts a connection; whether there is one is known when it has said something.
    pub(super) fn dial(&self, runtime_dir: Option<&Path>) -> io::Result<Tunnel> {
        let program = PLACES.iter().map(|place| Path::new(place).join("ssh")).find(|program| program.is_file());
        let program = program.ok_or_else(|| {
            let places = PLACES.join(", ");
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("this machine has no ssh in {places}; install OpenSSH's client"),
            )
        })?;
        let shared = runtime_dir.and_then(shared_folder);
        let mut command = Command::new(program);
        command.args(self.arguments(shared.as_deref()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Ctrl-C is for us: what is cancelled is cleaned up through this connection.
        command.process_group(0);
        let mut child = command.spawn()?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let errors = child.stderr.take().expect("it is piped");
        let said = tokio::spawn(async move {
            let mut said = Vec::new();
            // A part of it is better than nothing.
            let _ = errors.take(WORDS).read_to_end(&mut said).await;
            String::from_utf8_lossy(&said).into_owned()
        });
        Ok(Tunnel {
            child: Some(child),
            to,
            from: from.expect("it is piped"),
            said: Some(said),
            heard: false,
            ending: None,
        })
    }
}

impl fmt::Display for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        let (before, behind) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{before}{}{behind}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.socket.as_ref().map_or(Ok(()), |socket| write!(f, "{}", socket.display()))
    }
}

/// Where connections are shared, for this user alone; `None` where none can be: each is made anew then.
fn shared_folder(runtime_dir: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let folder = runtime_dir.join("gpubay");
    if folder.as_os_str().len() > LONGEST_FOLDER {
        return None;
    }
    let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    let is_own = |found: std::fs::Metadata| {
        found.is_dir() && found.uid() == rustix::process::getuid().as_raw() && found.mode().trailing_zeros() >= 6
    };
    (made.is_ok() || std::fs::symlink_metadata(&folder).is_ok_and(is_own)).then_some(folder)
}

type Ending = Pin<Box<dyn Future<Output = io::Error> + Send>>;

/// A connection through `ssh`. As long as nothing came through it, its end is an error with what `ssh` said.
pub(super) struct Tunnel {
    child: Option<Child>,
    to: Option<ChildStdin>,
    from: ChildStdout,
    said: Option<JoinHandle<String>>,
    heard: bool,
    ending: Option<Ending>,
}

impl Tunnel {
    /// Why nothing ever came.
    fn poll_why(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let ending = self.ending.get_or_insert_with(|| {
            let (child, said) = (self.child.take(), self.said.take());
            Box::pin(why(child, said))
        });
        ending.as_mut().poll(context)
    }
}

async fn why(child: Option<Child>, said: Option<JoinHandle<String>>) -> io::Error {
    /// It has closed its output: what is left is to end.
    const MOMENT: Duration = Duration::from_secs(2);
    let (Some(mut child), Some(said)) = (child, said) else {
        return io::ErrorKind::ConnectionAborted.into();
    };
    let ended = tokio::time::timeout(MOMENT, child.wait()).await;
    let words = tokio::time::timeout(MOMENT, said).await;
    let words = words.ok().and_then(Result::ok).unwrap_or_default();
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let status = match ended {
        Ok(Ok(status)) => format!("ssh ended with {status}"),
        _ => "ssh said nothing".to_owned(),
    };
    io::Error::other(if lines.is_empty() { status } else { format!("{} ({status})", lines.join("; ")) })
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.ending.is_none() {
            ready!(Pin::new(&mut self.from).poll_read(context, buffer))?;
            self.heard |= buffer.filled().len() > before;
            if self.heard || buffer.capacity() == before {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_why(context).map(Err)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(to) = &mut self.to else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        match ready!(Pin::new(to).poll_write(context, bytes)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !self.heard => self.poll_why(context).map(Err),
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to.as_mut().map_or(Poll::Ready(Ok(())), |to| Pin::new(to).poll_flush(context))
    }

    /// The other side hears of the end, and its answer still comes.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(to) = &mut self.to {
            ready!(Pin::new(to).poll_shutdown(context))?;
            self.to = None;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_said_as_it_was_written() {
        for (address, words) in [
            ("gpu-server", "-- gpu-server docker system dial-stdio"),
            ("me@gpu.example:2222", "-l me -p 2222 -- gpu.example docker system dial-stdio"),
            ("[fe80::1%eth0]:22", "-p 22 -- fe80::1%eth0 docker system dial-stdio"),
            (
                "box/run/user/1000/podman/podman.sock",
                "-- box docker --host unix:///run/user/1000/podman/podman.sock system dial-stdio",
            ),
        ] {
            let ssh = Ssh::parse(address).expect(address);
            assert_eq!(ssh.to_string(), format!("ssh://{address}"));
            assert_eq!(ssh.arguments(None).join(" "), format!("-T -o ConnectTimeout=10 -o BatchMode=yes {words}"));
        }
        assert_eq!(Ssh::parse("box/").expect("read").to_string(), "ssh://box");
    }

    #[test]
    fn what_ssh_or_a_shell_there_would_take_for_something_else_is_refused() {
        for bad in [
            "",
            "@box",
            "-oProxyCommand=x",
            "-l@box",
            "me@-box",
            "me:word@box",
            "box:port",
            "box:99999",
            "box/a b",
            "box/a;reboot",
            "box/$(reboot)",
            "box`x`",
            "a b",
            "[::1]x",
        ] {
            Ssh::parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn connections_are_shared_in_a_folder_of_the_users_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let shared = shared_folder(folder.path()).expect("made");
        assert_eq!(std::fs::metadata(&shared).expect("there").permissions().mode() & 0o777, 0o700);
        assert_eq!(shared_folder(folder.path()), Some(shared.clone()));
        std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o755)).expect("opened");
        assert_eq!(shared_folder(folder.path()), None);
        let deep = folder.path().join("a".repeat(60));
        std::fs::create_dir(&deep).expect("made");
        assert_eq!(shared_folder(&deep), None);
        let words = Ssh::parse("box").expect("read").arguments(Some(&shared)).join(" ");
        assert!(words.contains("ControlMaster=auto") && words.contains("/gpubay/ssh-%C"), "{words}");
    }
}
