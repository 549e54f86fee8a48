//! What would be lost with a container: the one judge of whether it may be taken away.

use std::collections::BTreeSet;

use gpubay_protocol::agent::{Process, Status, StatusRequest};
use schemars::JsonSchema;
use serde::Serialize;

use super::labels;
use crate::agent;
use crate::engine::{Container, ContainerState, Engine};
use crate::error::Result;
use crate::{ContainerPath, HostPath};

/// How many files a report names.
const NAMED: usize = 20;

/// What is in the way of taking a container away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stakes {
    pub(super) processes: Vec<Process>,
    /// Paths outside of mounts that were changed inside.
    pub(super) files: Vec<String>,
}

/// What is lost with a container, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Losses {
    /// What runs: number and command line.
    pub processes: Vec<String>,
    /// Packages of the system and of its Python that were installed inside.
    pub packages: Vec<String>,
    /// Paths outside of mounts that were changed inside, the first of them.
    pub files: Vec<String>,
    /// How many paths there are beyond those named.
    pub more_files: usize,
}

impl Losses {
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.packages.is_empty() && self.files.is_empty()
    }

    /// Sentences for people: what runs and what would be lost.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.processes.iter().take(5).map(|process| format!("it runs {process}")));
        if self.processes.len() > 5 {
            lines.push(format!("… and {} more processes", self.processes.len() - 5));
        }
        if !self.packages.is_empty() {
            lines.push(format!("packages installed inside: {}", listed(&self.packages, self.packages.len())));
        }
        if !self.files.is_empty() {
            let count = self.files.len() + self.more_files;
            lines.push(format!("{count} path(s) outside of mounts: {}", listed(&self.files, count)));
        }
        lines
    }
}

fn listed(names: &[String], count: usize) -> String {
    let shown: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    let more = if count > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

impl Stakes {
    pub(super) fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.files.is_empty()
    }

    pub(super) fn losses(&self) -> Losses {
        let command = |process: &Process| format!("{} ({})", process.argv.join(" "), process.pid);
        let packages: BTreeSet<String> = self.files.iter().filter_map(|path| package(path)).collect();
        Losses {
            processes: self.processes.iter().map(command).collect(),
            packages: packages.into_iter().collect(),
            files: self.files.iter().take(NAMED).cloned().collect(),
            more_files: self.files.len().saturating_sub(NAMED),
        }
    }
}

/// The package that a changed path tells of.
fn package(path: &str) -> Option<String> {
    if let Some(name) = path.strip_prefix("/var/lib/dpkg/info/").and_then(|name| name.strip_suffix(".list")) {
        return Some(name.split(':').next().unwrap_or(name).to_owned());
    }
    let info = path.split('/').find_map(|part| part.strip_suffix(".dist-info"))?;
    let (name, version) = info.split_once('-')?;
    Some(format!("{name} {version}"))
}

/// What would be lost with `found`, which is one of ours. `status` is what its agent has just
/// said, where it was asked; `run` is where its socket lies.
pub(super) async fn of(engine: &Engine, found: &Container, status: Option<&Status>, run: &HostPath) -> Result<Stakes> {
    let running = matches!(found.state, ContainerState::Running | ContainerState::Restarting);
    let asked = match status {
        Some(status) => Some(status.processes.clone()),
        None if running => ask(run).await,
        // Its agent would keep us waiting.
        None if found.state == ContainerState::Paused => None,
        None => Some(Vec::new()),
    };
    let processes = match asked {
        Some(processes) => processes,
        // The agent cannot be reached, which is no sign that nothing runs: the engine knows as well.
        None => engine.processes(&found.id).await?,
    };
    let changed = engine.changes(&found.id).await?;
    let mut files = of_the_user(&changed, found);
    if running && !files.is_empty() {
        // What the engine mounted for a GPU is nobody's file.
        let asked: Option<Vec<ContainerPath>> = files.iter().map(|path| ContainerPath::new(path).ok()).collect();
        if let (Some(mounts), Ok(client)) = (asked, agent::Client::connect(run).await)
            && let Ok(status) = client.status(StatusRequest { mounts, stamp: Vec::new() }).await
        {
            let mut mounted = status.mounted.into_iter();
            files.retain(|_| !mounted.next().unwrap_or(false));
        }
    }
    if found.label(labels::INJECTION) != "none" {
        files.retain(|path| !of_a_gpu(path));
    }
    Ok(Stakes { processes, files })
}

async fn ask(run: &HostPath) -> Option<Vec<Process>> {
    let client = agent::Client::connect(run).await.ok()?;
    let request = StatusRequest { mounts: Vec::new(), stamp: Vec::new() };
    Some(client.status(request).await.ok()?.processes)
}

/// The changed paths that are neither ours, nor temporary, nor a mount's.
fn of_the_user(changed: &[String], found: &Container) -> Vec<String> {
    let home = found.env.iter().find_map(|entry| entry.strip_prefix("HOME=")).unwrap_or("/");
    let targets = || found.mounts.iter().map(|mount| mount.target.as_str());
    let expected = |path: &str| {
        matches!(
            path,
            "/etc"
                | "/etc/passwd"
                | "/etc/group"
                | "/.gpubay"
                | "/.dockerenv"
                | "/dev"
                | "/proc"
                | "/sys"
                | "/run"
                | "/tmp"
                | "/home"
                | "/root"
                | "/var"
        ) || ["/.gpubay/", "/tmp/", "/run/"].iter().any(|folder| path.starts_with(folder))
            || path == home
            // What a prompt remembers is nobody's work.
            || path.strip_prefix(home).is_some_and(|file| matches!(file, "/.python_history" | "/.lesshst" | "/.bash_history"))
            // A mount point itself, and the folders that lead to it.
            || targets().any(|target| target.strip_prefix(path).is_some_and(|r| r.is_empty() || r.starts_with('/')))
            // What was copied into the image below a mount is hidden by it.
            || targets().any(|target| path.strip_prefix(target).is_some_and(|r| r.starts_with('/')))
    };
    // A folder is listed as changed because of what changed in it, and that is listed, too.
    let leads: BTreeSet<&str> =
        changed.iter().flat_map(|path| path.match_indices('/').skip(1).map(move |(at, _)| &path[..at])).collect();
    changed.iter().filter(|path| !expected(path) && !leads.contains(path.as_str())).cloned().collect()
}

/// Mount points that the GPU's runtime left in a container which has stopped, and what its hooks wrote.
fn of_a_gpu(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.contains("nvidia")
        || ["libcuda", "libnv", "libGLX_", "libEGL_", "libvdpau_"].iter().any(|start| name.starts_with(start))
        || path == "/etc/ld.so.cache"
        || path.starts_with("/etc/ld.so.conf.d/00-nvcr-")
        || path.starts_with("/usr/share/nvidia/")
        || path.starts_with("/dev/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(mounts: &[&str]) -> Container {
        Container {
            id: String::new(),
            name: String::new(),
            image: String::new(),
            labels: std::collections::BTreeMap::new(),
            state: ContainerState::Running,
            user: String::new(),
            created: 0,
            started_at: String::new(),
            finished: None,
            env: vec!["HOME=/home/ada".to_owned()],
            ports: std::collections::BTreeMap::new(),
            mounts: mounts
                .iter()
                .map(|target| crate::engine::MountPoint { target: (*target).to_owned(), ..Default::default() })
                .collect(),
        }
    }

    #[test]
    fn only_what_a_user_would_miss_counts() {
        let changed: Vec<String> = [
            "/etc",
            "/etc/passwd",
            "/home",
            "/home/ada",
            "/home/ada/.cache",
            "/home/ada/.python_history",
            "/workspace",
            "/workspace/.venv",
            "/usr",
            "/usr/bin",
            "/usr/bin/htop",
            "/tmp/x",
            "/home/ada/notes",
            "/var",
            "/var/lib",
            "/var/lib/dpkg",
            "/var/lib/dpkg/info/htop.list",
        ]
        .map(str::to_owned)
        .to_vec();
        let files = of_the_user(&changed, &container(&["/workspace", "/home/ada/.cache"]));
        assert_eq!(files, ["/usr/bin/htop", "/home/ada/notes", "/var/lib/dpkg/info/htop.list"]);
    }

    #[test]
    fn packages_are_named_and_a_long_list_is_cut() {
        let mut files: Vec<String> = (0..30).map(|n| format!("/opt/{n}")).collect();
        files.push("/var/lib/dpkg/info/libx:amd64.list".to_owned());
        files.push("/usr/local/lib/python3.12/site-packages/six-1.17.0.dist-info/METADATA".to_owned());
        files.push("/usr/local/lib/python3.12/site-packages/six-1.17.0.dist-info/RECORD".to_owned());
        let process = Process { pid: 7, uid: 0, argv: vec!["sleep".to_owned(), "9".to_owned()], started: 0 };
        let losses = Stakes { processes: vec![process], files }.losses();
        assert_eq!(losses.packages, ["libx", "six 1.17.0"]);
        assert_eq!((losses.files.len(), losses.more_files), (20, 13));
        let lines = losses.describe();
        assert_eq!(lines[0], "it runs sleep 9 (7)");
        assert_eq!(lines[1], "packages installed inside: libx, six 1.17.0");
        assert!(lines[2].starts_with("33 path(s) outside of mounts: /opt/0,"), "{lines:?}");
    }
}
