//! Whose a process on a GPU is: process -> control group -> container -> its labels.
//!
//! The driver counts processes as the machine does, so a container's are found in `/proc` like any other. Who belongs to
//! no container of this engine holds the GPU just as well, and is named as far as the machine tells.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::gpus::GpuHolder;
use super::labels;
use crate::engine::{Engine, Listed};
use crate::gpu::inventory::Process;
use crate::programs;
use crate::quoting::printable;

/// How many parents of a process are looked at.
const GENERATIONS: usize = 16;
/// A directory service that does not answer is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// An engine writes a container's id in full.
const ID_LENGTH: usize = 64;

/// Processes and containers that were looked up already.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// By process id; a number may be given to another process, which began at another time.
    known: HashMap<u32, (u64, GpuHolder)>,
    /// Of the engine, by id.
    containers: HashMap<String, Listed>,
    /// Ids that the engine was asked for and does not have.
    strange: BTreeSet<String>,
    users: HashMap<u32, String>,
}

/// What the machine tells of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    program: Option<String>,
    /// In ticks after the machine's start.
    began: u64,
    uid: Option<u32>,
    /// Of the containers that it may be in, the innermost first.
    ids: Vec<String>,
    /// The ids of those that its parents name: a container without a control group of its own.
    of_parents: Vec<String>,
}

impl Holders {
    /// Who the processes are, by process id; without their memory, which each GPU tells for itself.
    pub(super) async fn find(&mut self, engine: &Engine, processes: &[Process]) -> HashMap<u32, GpuHolder> {
        let pids: BTreeSet<u32> = processes.iter().map(|process| process.pid).collect();
        self.known.retain(|pid, _| pids.contains(pid));
        let mut fresh = Vec::new();
        for pid in pids {
            let began = stat(Path::new("/proc"), pid).map_or(0, |(_, began, _)| began);
            if self.known.get(&pid).is_none_or(|(known, _)| *known != began) {
                self.known.remove(&pid);
                fresh.push((pid, look(Path::new("/proc"), pid)));
            }
        }
        let ids = fresh.iter().flat_map(|(_, seen)| seen.ids.iter().chain(&seen.of_parents)).cloned().collect();
        let met = self.meet(engine, ids).await;
        let mut found: HashMap<u32, GpuHolder> =
            self.known.iter().map(|(pid, (_, holder))| (*pid, holder.clone())).collect();
        for (pid, seen) in fresh {
            let holder = self.holder(pid, &seen).await;
            found.insert(pid, holder.clone());
            if met {
                self.known.insert(pid, (seen.began, holder));
            }
        }
        found
    }

    /// Asks the engine for its containers if one of these is new; whether they are known then.
    async fn meet(&mut self, engine: &Engine, mut ids: Vec<String>) -> bool {
        ids.retain(|id| !self.containers.contains_key(id) && !self.strange.contains(id));
        if ids.is_empty() {
            return true;
        }
        match engine.list(&[]).await {
            Ok(found) => self.containers = found.into_iter().map(|listed| (listed.id.clone(), listed)).collect(),
            // The processes are there all the same.
            Err(error) => {
                tracing::debug!(%error, "whose the processes on the GPUs are is not known");
                return false;
            }
        }
        ids.retain(|id| !self.containers.contains_key(id));
        self.strange.extend(ids);
        true
    }

    async fn holder(&mut self, pid: u32, seen: &Seen) -> GpuHolder {
        let found = seen.ids.iter().chain(&seen.of_parents).find_map(|id| self.containers.get(id));
        let label = |name: &str| found.and_then(|listed| listed.labels.get(name)).filter(|value| !value.is_empty());
        let ours = label(labels::ID).is_some();
        // In a container the number may be root's or nobody's outside; whose it is stands on it.
        let owner = label(labels::OWNER).filter(|_| ours).and_then(|owner| owner.parse().ok());
        let holder = GpuHolder {
            pid,
            program: seen.program.as_deref().map(printable),
            memory: None,
            user: None,
            container: match found {
                Some(listed) => Some(printable(&listed.name)),
                // Of another engine: the short id, as engines show it.
                None => seen.ids.first().map(|id| id[..12].to_owned()),
            },
            workspace: label(labels::WORKSPACE).filter(|_| ours).map(|folder| printable(folder)),
            job: label(labels::JOB).filter(|_| ours).map(|job| printable(job)),
            since: since(seen.began),
        };
        let user = match owner.or(seen.uid) {
            Some(uid) => Some(self.user(uid).await),
            None => None,
        };
        GpuHolder { user, ..holder }
    }

    /// The name of a user of this machine, or the number.
    pub(super) async fn user(&mut self, uid: u32) -> String {
        if let Some(name) = self.users.get(&uid) {
            return name.clone();
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = match name_in(&passwd, uid) {
            Some(name) => name,
            None => listed_elsewhere(uid).await.unwrap_or_else(|| uid.to_string()),
        };
        let name = printable(&name);
        self.users.insert(uid, name.clone());
        name
    }
}

/// The name of a user whom a directory service knows.
async fn listed_elsewhere(uid: u32) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let getent = programs::find("getent", &path, Path::new("/nonexistent"))?;
    let asked = tokio::process::Command::new(getent)
        .args(["passwd", &uid.to_string()])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let answer = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
    name_in(&String::from_utf8_lossy(&answer.stdout), uid)
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    line.split(':').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn look(proc: &Path, pid: u32) -> Seen {
    let Some((program, began, parent)) = stat(proc, pid) else { return Seen::default() };
    let read = |name: &str| std::fs::read_to_string(proc.join(pid.to_string()).join(name)).unwrap_or_default();
    let status = read("status");
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
    let ids = ids_in_cgroup(&read("cgroup"));
    // Asked only where the control group does not tell: an engine of an ordinary user may make none.
    let of_parents = if ids.is_empty() { named_by_parents(proc, parent) } else { Vec::new() };
    Seen { program: Some(program), began, uid, ids, of_parents }
}

/// A process's program, when it began, and its parent.
fn stat(proc: &Path, pid: u32) -> Option<(String, u64, u32)> {
    // A program's name may be no text.
    let bytes = std::fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The name may hold anything, brackets and spaces too; what follows is numbers.
    let (head, rest) = text.rsplit_once(')')?;
    let (_, program) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some((program.to_owned(), fields.get(19)?.parse().ok()?, fields.get(1)?.parse().ok()?))
}

/// Of `/docker/<id>`, `docker-<id>.scope`, `libpod-<id>.scope/container`, `cri-containerd-<id>.scope`: the innermost first.
fn ids_in_cgroup(text: &str) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for line in text.lines() {
        let path = line.splitn(3, ':').nth(2).unwrap_or_default();
        for part in path.rsplit('/') {
            for word in part.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_id(word)) {
                if !ids.iter().any(|id| id == word) {
                    ids.push(word.to_owned());
                }
            }
        }
    }
    ids
}

fn is_id(word: &str) -> bool {
    word.len() == ID_LENGTH && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What stands between an engine and a container's processes (`containerd-shim … -id <id>`, `conmon -c <id>`) has the id
/// as an argument.
fn named_by_parents(proc: &Path, mut parent: u32) -> Vec<String> {
    for _ in 0..GENERATIONS {
        if parent <= 1 {
            break;
        }
        let line = std::fs::read(proc.join(parent.to_string()).join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let ids: Vec<String> = line.split('\0').filter(|word| is_id(word)).map(str::to_owned).collect();
        if !ids.is_empty() {
            return ids;
        }
        let Some((_, _, next)) = stat(proc, parent) else { break };
        parent = next;
    }
    Vec::new()
}

/// As RFC 3339; `None` where the machine does not tell when it was started.
fn since(began: u64) -> Option<String> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: i64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    let seconds = began.checked_div(ticks).filter(|_| began > 0)?;
    OffsetDateTime::from_unix_timestamp(boot + seconds as i64).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_container_is_found_in_each_engines_control_groups() {
        for path in [
            format!("0::/docker/{ID}"),
            format!("0::/system.slice/docker-{ID}.scope"),
            format!("12:pids:/docker/{ID}\n0::/docker/{ID}\n"),
            format!("0::/machine.slice/libpod-{ID}.scope/container"),
            format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
            format!("0::/libpod_parent/libpod-{ID}"),
            format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
            format!("0::/../../docker/{ID}/gpubay"),
        ] {
            assert_eq!(ids_in_cgroup(&path), [ID], "{path}");
        }
        for path in [
            "0::/user.slice/user-1000.slice/session-3.scope".to_owned(),
            format!("0::/memory/{}", &ID[..32]),
            format!("0::/docker/{ID}0"),
            format!("0::/docker/{}", ID.to_uppercase()),
            String::new(),
        ] {
            assert!(ids_in_cgroup(&path).is_empty(), "{path}");
        }
        // An engine in a container: which of the two it is, the engine that is asked knows.
        let outer = ID.replace('0', "f");
        assert_eq!(ids_in_cgroup(&format!("0::/docker/{outer}/docker/{ID}")), [ID, &outer]);
    }

    /// A `/proc` of these processes: pid, parent, name, arguments.
    fn machine(processes: &[(u32, u32, &[u8], &[&str])]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().expect("a folder");
        for (pid, parent, name, arguments) in processes {
            let folder = proc.path().join(pid.to_string());
            std::fs::create_dir(&folder).expect("made");
            let rest = format!(") S {parent} 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {} 9 9", 1000 + pid);
            let stat = [format!("{pid} (").as_bytes(), name, rest.as_bytes()].concat();
            std::fs::write(folder.join("stat"), stat).expect("written");
            std::fs::write(folder.join("cmdline"), arguments.join("\0")).expect("written");
            std::fs::write(folder.join("status"), "Name:\tx\nUid:\t1000\t1000\t1000\t1000\n").expect("written");
            std::fs::write(folder.join("cgroup"), "0::/\n").expect("written");
        }
        proc
    }

    #[test]
    fn without_a_control_group_the_parents_tell() {
        let proc = machine(&[
            (10, 1, b"containerd-shim", &["containerd-shim-runc-v2", "-namespace", "moby", "-id", ID]),
            (11, 10, b"sh", &["sh"]),
            (12, 11, b"py (a) b\n\xff", &["python3"]),
            (20, 1, b"sh", &["sh"]),
        ]);
        let seen = look(proc.path(), 12);
        assert_eq!((seen.began, seen.uid), (1012, Some(1000)));
        assert_eq!(seen.program.as_deref().map(printable).as_deref(), Some("py (a) b\u{fffd}\u{fffd}"));
        assert_eq!((seen.ids.len(), seen.of_parents), (0, vec![ID.to_owned()]));
        assert!(look(proc.path(), 20).of_parents.is_empty());
        // It ended meanwhile, or is of another machine.
        assert_eq!(look(proc.path(), 99), Seen::default());
    }

    #[test]
    fn a_user_has_a_name_where_one_is_known() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n:x:7:7:::\n";
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(name_in(passwd, 100), None);
        assert_eq!(name_in(passwd, 7), None);
    }

    #[test]
    fn this_very_process_began_a_moment_ago() {
        let (_, began, _) = stat(Path::new("/proc"), std::process::id()).expect("it runs");
        let since = since(began).expect("a time");
        let since = OffsetDateTime::parse(&since, &Rfc3339).expect("RFC 3339");
        assert!((OffsetDateTime::now_utc() - since).whole_minutes().abs() < 60, "{since}");
    }
}
