//! What the helper and the shim say to the agent inside a container, and what it answers.
//!
//! One connection is one conversation. The client opens it with [`ToAgent::Hello`], the agent
//! answers [`FromAgent::Welcome`] (or [`FromAgent::Failed`] where the versions do not fit), then the
//! client sends one request and reads until its last answer; after a [`ToAgent::Scan`] it may send
//! one [`ToAgent::Fetch`] that refers to the entries of that scan. Closing the connection cancels.
//!
//! The conversation is the same over the agent's unix socket, which a local host reaches through a
//! mounted folder, and over the standard input and output of `gpubay-agent stdio`, which any
//! engine can start with an exec.

use serde::{Deserialize, Serialize};

use crate::paths::ContainerPath;

/// Raised with every change that an older peer would misread.
pub const PROTOCOL: u32 = 2;

/// Where the agent's own folders are mounted; at the root, since images need not have any folder.
pub const AGENT_DIR: &str = "/.gpubay";
/// The agent's executable, in a folder mounted read-only.
pub const AGENT_PATH: &str = "/.gpubay/bin/gpubay-agent";
/// Its file's name, by which the program knows that it is the agent.
pub const AGENT_NAME: &str = "gpubay-agent";

/// Whether a process is the engine's own first one, above the agent: `docker-init` and its like, where `init` is wished.
pub fn is_engines_init(argv: &[impl AsRef<str>]) -> bool {
    let is = |at: usize, what| argv.get(at).is_some_and(|word| word.as_ref() == what);
    is(1, "--") && is(2, AGENT_PATH)
}
/// The folder that holds the agent's socket, mounted writable.
pub const RUN_DIR: &str = "/.gpubay/run";
/// The agent's socket inside the container; on the host it is `agent.sock` in the mounted folder.
pub const SOCKET_PATH: &str = "/.gpubay/run/agent.sock";
pub const SOCKET_NAME: &str = "agent.sock";
/// In the folder of the socket: which GPUs are selected for whatever starts next, as [`GpuChoice`] writes it. The helper
/// writes it, the agent reads it before it starts something; whoever is in the container could write it too.
pub const CHOICE_NAME: &str = "gpus";
/// More is none.
pub const CHOICE_LIMIT: u64 = 16 << 10;
/// A job's exit code where what is mounted is not what the helper saw on the host; its command has not run.
pub const MOUNT_MOVED: i32 = 125;

/// Where a driver's libraries are that the helper gives a container itself: a folder that NVIDIA's own images look into.
pub const DRIVER_LIBRARIES: &str = "/usr/local/nvidia/lib64";
/// Where WSL has them, inside and outside.
pub const WSL_LIBRARIES: &str = "/usr/lib/wsl/lib";
/// What the loader reads its folders from.
pub const LD_LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// A list of folders with one more at its end, unless it is there. An empty entry would be the working directory.
pub fn with_folder(list: &str, folder: &str) -> String {
    let mut folders: Vec<&str> = list.split(':').filter(|entry| !entry.is_empty()).collect();
    if !folders.contains(&folder) {
        folders.push(folder);
    }
    folders.join(":")
}

/// From the helper or the shim to the agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToAgent {
    Hello {
        protocol: u32,
    },
    /// Answered by [`FromAgent::Status`].
    Status(StatusRequest),
    /// Answered by [`FromAgent::Started`] or [`FromAgent::Failed`]; then output until
    /// [`FromAgent::Exit`]. The client may send `Stdin`, `StdinEof`, `Resize` and `Signal`.
    Exec(ExecRequest),
    Stdin(#[serde(with = "serde_bytes")] Vec<u8>),
    StdinEof,
    Resize(WindowSize),
    /// A signal number of Linux, for the program's whole process group.
    Signal(i32),
    /// Answered by [`FromAgent::Pythons`]: the interpreters that the image has.
    FindPython(FindPythonRequest),
    /// Answered by [`FromAgent::Entries`] (any number), then [`FromAgent::Scanned`].
    Scan(ScanRequest),
    /// Only after a scan on the same connection: indices into its entries, ascending. Answered by
    /// one [`FromAgent::File`] per index, each followed by its [`FromAgent::FileData`], then
    /// [`FromAgent::Fetched`].
    Fetch {
        indices: Vec<u32>,
    },
    /// Answered by [`FromAgent::Gpus`].
    Gpus,
    /// Answered by [`FromAgent::Environment`] as soon as the ENTRYPOINT's fate is known: how an agent
    /// that an engine's exec started learns what PID 1 knows.
    Environment,
    /// During an exec: from now on each [`FromAgent::StdinTaken`] is wanted.
    ReportStdin,
    /// Answered by [`FromAgent::Guarded`] at once, and again within [`GUARD_BEAT_MS`] of each change, until the client
    /// closes the connection.
    WatchGpus,
    /// Answered by [`FromAgent::Smi`]; may be asked again on the same connection.
    Smi,
}

/// How often the agent looks after the GPUs while somebody listens.
pub const GUARD_BEAT_MS: u32 = 2000;

/// From the agent to the helper or the shim.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromAgent {
    Welcome {
        protocol: u32,
        version: String,
    },
    Status(Status),
    Started {
        pid: u32,
    },
    Stdout(#[serde(with = "serde_bytes")] Vec<u8>),
    Stderr(#[serde(with = "serde_bytes")] Vec<u8>),
    Exit(Exit),
    Pythons(Pythons),
    Entries(Vec<Entry>),
    Scanned(Scanned),
    /// `size` is what was true when the file was opened; fewer bytes may follow, never more.
    File {
        index: u32,
        size: u64,
    },
    FileData(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The end of the current file. `Some` says why it could not be read to its end.
    FileEnd {
        error: Option<String>,
    },
    Fetched,
    Gpus(GpuReport),
    /// The request could not be carried out; nothing follows.
    Failed(Failure),
    /// So many bytes of `Stdin` have reached the program; sent after [`ToAgent::ReportStdin`]. A client
    /// that never has more than [`STDIN_WINDOW`] bytes on the way can always get a signal through.
    StdinTaken {
        bytes: u32,
    },
    /// `NAME=value`, each ended by a NUL byte.
    Environment {
        #[serde(with = "serde_bytes")]
        variables: Vec<u8>,
        entrypoint: Entrypoint,
    },
    Guarded(GpuGuard),
    Smi(Smi),
}

/// What `nvidia-smi` prints, or why it does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smi {
    /// `-q -x`
    pub query: String,
    /// `-L`
    pub list: String,
}

/// How many bytes of a program's input the agent keeps; it reads no further message beyond that.
pub const STDIN_WINDOW: usize = 1 << 20;

/// Which GPUs of those inside are selected by the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuChoice {
    /// UUIDs for `CUDA_VISIBLE_DEVICES`, in their order; none hides all of them.
    pub visible: Vec<String>,
    /// What was asked for, as `--gpus` takes it.
    pub asked: String,
    /// Somebody asked for it; otherwise the configuration did.
    pub explicit: bool,
    /// What is inside, for who is in there too: `0=GPU-…,1:0=MIG-…`.
    pub inside: String,
}

/// As the driver writes it: `GPU-…` or `MIG-…`.
pub fn is_gpu_uuid(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_/".contains(&b);
    (text.starts_with("GPU-") || text.starts_with("MIG-")) && text.len() <= 100 && text.bytes().all(plain)
}

impl GpuChoice {
    /// Four lines of text.
    pub fn written(&self) -> String {
        let how = if self.explicit { "asked" } else { "configured" };
        format!("{}\n{how}\n{}\n{}\n", self.visible.join(","), self.asked, self.inside)
    }

    /// `None`: it is none. What it names are UUIDs by their form, and nothing else is said of them.
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let visible: Vec<String> =
            lines.next()?.split(',').filter(|uuid| !uuid.is_empty()).map(str::to_owned).collect();
        if !visible.iter().all(|uuid| is_gpu_uuid(uuid)) {
            return None;
        }
        let explicit = match lines.next()? {
            "asked" => true,
            "configured" => false,
            _ => return None,
        };
        let (asked, inside) = (lines.next()?.to_owned(), lines.next()?.to_owned());
        Some(Self { visible, asked, explicit, inside })
    }
}

/// What CUDA reads its devices from.
pub const CUDA_VISIBLE_DEVICES: &str = "CUDA_VISIBLE_DEVICES";

/// What has become, since the container started, of the ways to its GPUs. Nothing here touches a GPU: to open a node of one
/// may wake it up, which takes seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuGuard {
    /// How many device nodes could be used when the container started. Where it was none, nothing can be lost.
    pub nodes: u32,
    /// Those of them that cannot be used any more.
    pub refused: Vec<RefusedNode>,
    /// The version of the driver's part in the kernel, at the start and now.
    pub driver_then: Option<String>,
    pub driver_now: Option<String>,
    /// Of the driver's libraries in the container.
    pub library: Option<String>,
    /// Nodes of parts of GPUs (MIG) that the driver does not know any more.
    pub slices_gone: Vec<String>,
}

impl GpuGuard {
    /// Something is not as it was when the container started.
    pub fn is_amiss(&self) -> bool {
        !self.refused.is_empty() || !self.slices_gone.is_empty() || self.driver_changed()
    }

    pub fn driver_changed(&self) -> bool {
        self.nodes > 0 && self.driver_then.is_some() && self.driver_then != self.driver_now
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedNode {
    /// `/dev/nvidia0`
    pub node: String,
    /// The kernel's number for the reason.
    pub errno: i32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusRequest {
    /// Paths of which the caller wants to know whether they still are mount points of their own.
    pub mounts: Vec<ContainerPath>,
    /// Folders for [`Status::stamp`].
    pub stamp: Vec<ContainerPath>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Of the agent: the version of its crate.
    pub version: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Answers [`StatusRequest::mounts`], in its order.
    pub mounted: Vec<bool>,
    /// Every process of the container but the agent itself and its own helpers.
    pub processes: Vec<Process>,
    pub entrypoint: Entrypoint,
    /// A cheap fingerprint of [`StatusRequest::stamp`]: it changes when a package is added to or
    /// removed from one of the folders (their own and their direct subfolders' modification times).
    pub stamp: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// As seen inside the container.
    pub pid: u32,
    pub uid: u32,
    /// Lossy UTF-8; empty for a kernel thread or a zombie.
    pub argv: Vec<String>,
    /// Seconds since the Unix epoch.
    pub started: u64,
}

/// What became of running the image's ENTRYPOINT once for its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entrypoint {
    /// The image has none, or the configuration says not to run it.
    NotRun,
    Running,
    /// It handed over to its arguments. `changed`: how many variables it set, changed or removed.
    Learned {
        changed: u32,
    },
    /// It did not hand over to its arguments in time (a server, say): ended, and its environment unknown.
    TimedOut {
        after_ms: u64,
    },
    Failed {
        reason: String,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The program is looked up in the `PATH` of the environment it will get.
    pub argv: Vec<String>,
    /// Set on top of the environment that the agent keeps (the container's own and what the
    /// ENTRYPOINT left), in this order; `None` removes the variable.
    pub env: Vec<(String, Option<String>)>,
    /// `None`: the container's working directory.
    pub cwd: Option<ContainerPath>,
    /// `Some`: a pseudo-terminal of this size is stdin, stdout and stderr at once.
    pub tty: Option<WindowSize>,
    /// `false`: stdin is `/dev/null`.
    pub stdin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    Code(u8),
    Signal(i32),
}

impl Exit {
    /// As a shell reports it: 128 + the signal's number.
    pub fn as_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_u8.wrapping_add(signal as u8),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindPythonRequest {
    /// Folders to look into after `PATH`; the last-but-one component may be `*` (`/opt/conda/envs/*/bin`).
    pub places: Vec<String>,
}

/// What the image has, as far as the container's user can see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pythons {
    /// The preferred one first.
    pub found: Vec<ContainerPath>,
    pub closed: Vec<Closed>,
}

/// A folder of `PATH` that the container's user cannot look into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    pub folder: ContainerPath,
    /// The folder on the way that does not let the user through, or the folder itself.
    pub barrier: ContainerPath,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanRequest {
    /// Folders, none of which lies in another.
    pub roots: Vec<ContainerPath>,
    /// Folders that are not entered even where they lie in a root (mounts of the host, other roots).
    pub exclude: Vec<ContainerPath>,
    /// Where the scan's digest equals this, the entries are not sent ([`Scanned::same`]).
    pub known: Option<[u8; 32]>,
    pub limits: ScanLimits,
}

/// Beyond these the scan stops with [`FailureKind::TooMuch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanLimits {
    /// Of wanted files.
    pub entries: u32,
    /// Of wanted files' contents in bytes.
    pub bytes: u64,
    /// Of folders below a root.
    pub depth: u16,
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self { entries: 1_000_000, bytes: 16 << 30, depth: 64 }
    }
}

/// A file that a language tool needs. Folders are implied; symbolic links do not exist here: what a
/// link leads to is an entry of its own where it lies within a root, and is left out elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Index into [`ScanRequest::roots`].
    pub root: u16,
    /// Below the root, `/` between components, as bytes: Linux promises no encoding.
    #[serde(with = "serde_bytes")]
    pub path: Vec<u8>,
    /// In bytes; 0 for a placeholder.
    pub size: u64,
    /// Of the last modification, in nanoseconds since the Unix epoch.
    pub mtime: i64,
    pub form: crate::contents::Form,
    /// Names the very file on the engine's disk, by its number and the time of its last change of any kind, which no
    /// program can set: containers whose images share a layer agree in it. 0: unknown. No part of the digest.
    pub witness: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scanned {
    /// Over all entries (root, path, size, mtime, form) in the scan's order, which is sorted.
    pub digest: [u8; 32],
    pub same: bool,
    pub files: u32,
    pub bytes: u64,
    /// Links that lead out of every root, special files, unreadable folders: counted, not sent.
    pub left_out: u32,
    /// Roots that do not exist or cannot be read: indices.
    pub missing: Vec<u16>,
}

/// What the container itself sees of its GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuReport {
    pub devices: Vec<GpuSeen>,
    /// What was asked, in words: `nvidia-smi`, or the device nodes.
    pub asked: String,
    /// Why it found fewer than there might be (an external program's own words).
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSeen {
    pub index: u32,
    /// Unknown where only the device node was there to be asked.
    pub uuid: Option<String>,
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// A lower-case fragment that names what it concerns: fits «failed to …: message».
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The peers speak different versions of the protocol.
    Protocol,
    /// Exit code 127 by convention.
    NotFound,
    /// Exit code 126 by convention.
    NotExecutable,
    /// The working directory does not exist or may not be entered.
    NoWorkingDirectory,
    /// A limit of the request was reached.
    TooMuch,
    /// The operating system said no.
    System,
}
