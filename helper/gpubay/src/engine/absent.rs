//! Why an engine cannot be reached, and what to do about it: read from what this machine shows of engines.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::endpoint::{Endpoint, Located, Surroundings};
use super::error::{Absence, EngineError};
use super::info::Flavour;
use crate::error::Shortage;

/// Sorts a failed first word with the engine at `located`.
pub(super) fn sort(located: &Located, error: &io::Error) -> EngineError {
    let why = error.to_string();
    let missing = |absence, next| EngineError::NotThere {
        endpoint: located.endpoint.to_string(),
        because: located.because.clone(),
        why: why.clone(),
        absence,
        next,
    };
    if Shortage::of(error) == Some(Shortage::OpenFiles) {
        return EngineError::OpenFiles { doing: format!("connect to the engine at {}", located.endpoint) };
    }
    let path = match &located.endpoint {
        Endpoint::Unix(path) => path,
        Endpoint::Tcp { .. } => return missing(Absence::Remote, remote(error)),
        Endpoint::Ssh(ssh) => return missing(Absence::Remote, ssh.next(&why)),
    };
    let machine = Machine::look(path);
    match error.kind() {
        io::ErrorKind::PermissionDenied => EngineError::Permission { socket: path.clone(), next: machine.leave(path) },
        io::ErrorKind::ConnectionRefused => missing(Absence::Stopped, machine.start(path)),
        _ if machine.is_installed(path) => missing(Absence::Stopped, machine.start(path)),
        _ => missing(Absence::None, machine.install()),
    }
}

/// What to do about an address on another machine that nobody answers at.
pub(super) fn remote(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "Start the engine on that machine, and let it listen on that port; nothing does now.".to_owned()
        }
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "Check that this machine reaches that one: its name, the network, a VPN, a firewall.".to_owned()
        }
        _ => "Check the address and that the engine listens there.".to_owned(),
    }
}

/// Who may use a socket, as its file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rights {
    /// The group that may, by name where it has one.
    group: Option<String>,
    /// The user is in it, and this process is not: it began before.
    since_login: bool,
}

/// What the machine shows of engines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Machine {
    /// Whose programs are on the path.
    programs: Vec<Flavour>,
    /// Sockets in the usual places that answer to this user, besides the one that was tried.
    others: Vec<PathBuf>,
    rights: Option<Rights>,
    /// Of the user, where a rootless engine would listen.
    runtime_dir: Option<PathBuf>,
}

/// Where engines are installed, besides the user's path.
const ENGINES: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/snap/docker/current/bin"];

impl Machine {
    fn look(tried: &Path) -> Self {
        let around = Surroundings::of_process();
        let path = std::env::var_os("PATH").unwrap_or_default();
        // An engine's program lies where many a user's path does not lead.
        let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(ENGINES.map(PathBuf::from)).collect();
        let has = |names: &[&str]| names.iter().any(|name| folders.iter().any(|folder| folder.join(name).is_file()));
        let mut programs = Vec::new();
        // A client alone is no engine.
        if has(&["dockerd", "dockerd-rootless.sh"]) {
            programs.push(Flavour::Docker);
        }
        if has(&["podman"]) {
            programs.push(Flavour::Podman);
        }
        let others = around.sockets().into_iter().map(|(path, _)| path);
        let others = others.filter(|path| path != tried && UnixStream::connect(path).is_ok()).collect();
        Self { programs, others, rights: rights_of(tried), runtime_dir: around.runtime_dir }
    }

    /// There is a program that would listen at `socket`.
    fn is_installed(&self, socket: &Path) -> bool {
        match flavour_of(socket) {
            Some(flavour) => self.programs.contains(&flavour),
            None => false,
        }
    }

    /// How what would listen at `socket` is started.
    fn start(&self, socket: &Path) -> String {
        let own =
            self.runtime_dir.as_ref().is_some_and(|dir| socket.starts_with(dir)) || socket.starts_with("/run/user");
        let command = match (flavour_of(socket), own) {
            (Some(Flavour::Podman), true) => "systemctl --user start podman.socket",
            (Some(Flavour::Podman), false) => "sudo systemctl start podman.socket",
            (Some(Flavour::Docker), true) => "systemctl --user start docker",
            (Some(Flavour::Docker), false) => "sudo systemctl start docker",
            (None, _) => return format!("Start the engine that listens on {}.{}", socket.display(), self.elsewhere()),
        };
        format!("Start it with `{command}`.{}", self.elsewhere())
    }

    fn install(&self) -> String {
        if let Some(other) = self.elsewhere_only() {
            return other;
        }
        match self.programs.first() {
            Some(Flavour::Docker) => {
                "Start Docker (`sudo systemctl start docker`, rootless `systemctl --user start docker`), or correct the \
                 address."
                    .to_owned()
            }
            Some(Flavour::Podman) => {
                "Let Podman listen for programs (`systemctl --user start podman.socket`), or correct the address.".to_owned()
            }
            None => "Install Docker or Podman on this machine, or name an engine elsewhere with DOCKER_HOST, `docker \
                 context use`, or [engine] host."
                .to_owned(),
        }
    }

    /// How to be let in.
    fn leave(&self, socket: &Path) -> String {
        let next = match &self.rights {
            Some(Rights { group: Some(group), since_login: true }) => format!(
                "You are in the group {group}, which may use it, since after this session began: log in again, or run \
                 `newgrp {group}`."
            ),
            Some(Rights { group: Some(group), since_login: false }) => format!(
                "Add yourself to the group {group} (`sudo usermod -aG {group} $USER`) and log in again; whoever is in it \
                 can do what root can."
            ),
            Some(Rights { group: None, .. }) => {
                "Only its owner may use it: run a rootless engine of your own, or let the engine's `group` setting open \
                 the socket to one of your groups."
                    .to_owned()
            }
            None => format!("A folder that leads to {} is closed to you; ask who runs the engine.", socket.display()),
        };
        format!("{next}{}", self.elsewhere())
    }

    /// A sentence about an engine that does answer.
    fn elsewhere(&self) -> String {
        self.elsewhere_only().map(|text| format!(" {text}")).unwrap_or_default()
    }

    fn elsewhere_only(&self) -> Option<String> {
        let other = self.others.first()?;
        Some(format!("An engine of yours answers at {0}: `export DOCKER_HOST=unix://{0}` uses it.", other.display()))
    }
}

/// Whose socket it is, by the name that it has everywhere.
fn flavour_of(socket: &Path) -> Option<Flavour> {
    match socket.file_name()?.to_str()? {
        "docker.sock" => Some(Flavour::Docker),
        "podman.sock" => Some(Flavour::Podman),
        _ => None,
    }
}

fn rights_of(socket: &Path) -> Option<Rights> {
    let found = std::fs::metadata(socket).ok().filter(|found| found.file_type().is_socket())?;
    // To connect is to write.
    if found.permissions().mode() & 0o020 == 0 || found.gid() == 0 {
        return Some(Rights::default());
    }
    let file = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let entry = file
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).and_then(|gid| gid.parse::<u32>().ok()) == Some(found.gid()));
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid)).and_then(|line| line.split(':').next());
    Some(Rights {
        group: Some(entry.as_ref().map_or_else(|| found.gid().to_string(), |fields| fields[0].to_owned())),
        since_login: entry
            .and_then(|fields| fields.get(3).map(|members| members.split(',').any(|member| Some(member) == user)))
            .unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_has_its_next_step() {
        let docker = Path::new("/var/run/docker.sock");
        let own = Path::new("/run/user/1000/docker.sock");
        let podman = Path::new("/run/user/1000/podman/podman.sock");
        let both = Machine { programs: vec![Flavour::Docker, Flavour::Podman], ..Machine::default() };
        let podman_only = Machine { programs: vec![Flavour::Podman], ..Machine::default() };
        let other = Machine { others: vec![podman.to_owned()], ..Machine::default() };
        let rights = |group: Option<&str>, since_login| Machine {
            rights: Some(Rights { group: group.map(str::to_owned), since_login }),
            ..Machine::default()
        };
        for (said, words) in [
            (both.start(docker), "`sudo systemctl start docker`"),
            (both.start(own), "`systemctl --user start docker`"),
            (both.start(podman), "`systemctl --user start podman.socket`"),
            (both.start(Path::new("/x/d.sock")), "listens on /x/d.sock"),
            (other.start(docker), "export DOCKER_HOST=unix:///run/user/1000/podman/podman.sock"),
            (Machine::default().install(), "Install Docker or Podman"),
            (podman_only.install(), "podman.socket"),
            (other.install(), "export DOCKER_HOST=unix:///run/user/1000/podman/podman.sock"),
            (rights(Some("docker"), false).leave(docker), "usermod -aG docker"),
            (rights(Some("docker"), true).leave(docker), "`newgrp docker`"),
            (rights(None, false).leave(docker), "rootless"),
            (Machine::default().leave(docker), "closed to you"),
        ] {
            assert!(said.contains(words), "{said}");
        }
        assert!(both.is_installed(docker) && !podman_only.is_installed(docker) && podman_only.is_installed(podman));
    }

    #[test]
    fn a_refusal_a_silence_and_another_machine_are_told_apart() {
        let at = |endpoint| Located { endpoint, because: "DOCKER_HOST".to_owned(), context: None };
        let unix = at(Endpoint::Unix("/nonexistent/d.sock".into()));
        let far = at(Endpoint::Tcp { address: "far:2375".to_owned(), tls: None });
        for (located, kind, code, words) in [
            (&unix, io::ErrorKind::ConnectionRefused, "engine_stopped", "does not run"),
            (&unix, io::ErrorKind::NotFound, "no_engine", "no container engine at"),
            (&unix, io::ErrorKind::PermissionDenied, "engine_permission", "permission denied"),
            (&far, io::ErrorKind::ConnectionRefused, "engine_unreachable", "cannot reach the engine"),
            (&far, io::ErrorKind::TimedOut, "engine_unreachable", "cannot reach the engine"),
        ] {
            let error = sort(located, &kind.into());
            assert_eq!(crate::error::Explain::code(&error), code);
            assert!(error.to_string().contains(words), "{error}");
            assert!(crate::error::Explain::hint(&error).is_some());
        }
    }
}
