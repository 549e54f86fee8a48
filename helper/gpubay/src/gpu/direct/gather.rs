//! What this machine says of its driver: the one place here that looks at it.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::{Facts, Folder, Kit, NEEDED, Node, Obstacle, Opener, Refusal, WSL_FOLDERS, WSL_NODE, survey, text};
use crate::config::model::{GpuSelection, Gpus, Injection};
use crate::engine::{Engine, EngineInfo};
use crate::files;
use crate::gpu::inventory::Inventory;
use crate::gpu::{LIBRARY_FOLDERS, has_a_way, on_this_machine};

/// Another root than `/`, below which the driver's `/proc`, `/dev`, linker cache and libraries lie: the folder of a driver
/// that a container brought (`/run/nvidia/driver`), or a tree made for a test.
const ROOT: &str = "GPUBAY_DRIVER_ROOT";
/// By their names the linker knows the folders of the driver's libraries.
const ASKED_FOR: [&str; 3] = ["libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1"];
const LDCONFIG: [&str; 3] = ["/sbin/ldconfig", "/usr/sbin/ldconfig", "/usr/bin/ldconfig"];
const SMI: [&str; 5] = [
    "/usr/bin/nvidia-smi",
    "/usr/local/nvidia/bin/nvidia-smi",
    "/usr/lib/wsl/lib/nvidia-smi",
    "/opt/bin/nvidia-smi",
    "/run/current-system/sw/bin/nvidia-smi",
];

/// As long as the driver's library has. It asks each GPU much that nobody wants to know.
const SMI_LIMIT: Duration = Duration::from_secs(20);
const LDCONFIG_LIMIT: Duration = Duration::from_secs(10);
/// In bytes. Sixteen GPUs are a quarter of that.
const LONGEST: u64 = 4 << 20;

fn is_elf(path: &Path) -> bool {
    let mut start = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"\x7fELF"
}

fn root() -> PathBuf {
    std::env::var_os(ROOT)
        .filter(|root| Path::new(root).is_absolute())
        .map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// Whether a look is worth it: a handful of system calls.
pub fn may_be_here() -> bool {
    let root = root();
    ["dev/nvidiactl", "dev/dxg", "proc/driver/nvidia/version"].iter().any(|path| root.join(path).exists())
}

/// What can be given directly to a container that wants `wanted` of an engine that says `info`; `None`: nobody needs to
/// know. `inventory`: what the driver tells. `opener`: who will use it, if known.
pub async fn look(
    engine: &Engine,
    wanted: &Gpus,
    info: &EngineInfo,
    inventory: Option<&Inventory>,
    opener: Option<Opener>,
) -> Option<Result<Kit, Obstacle>> {
    if !comes_to_it(wanted, info) {
        return None;
    }
    // A socket here may lead to an engine elsewhere.
    let local = on_this_machine(engine, Some(&info.machine)).is_ok();
    let elsewhere = (!local).then(|| engine.located().endpoint.to_string());
    look_of(elsewhere, wanted, info, inventory, opener).await
}

/// As [`look`], where it is known where the engine is: `elsewhere` is its address if it is not on this machine.
pub async fn look_of(
    elsewhere: Option<String>,
    wanted: &Gpus,
    info: &EngineInfo,
    inventory: Option<&Inventory>,
    opener: Option<Opener>,
) -> Option<Result<Kit, Obstacle>> {
    if !comes_to_it(wanted, info) {
        return None;
    }
    if let Some(address) = elsewhere {
        return Some(Err(Obstacle::Elsewhere(address)));
    }
    if !may_be_here() {
        return Some(Err(Obstacle::NoDriver));
    }
    let divided = inventory.is_some_and(|told| told.gpus.iter().any(|gpu| !gpu.slices.is_empty()));
    let looked = tokio::task::spawn_blocking(move || survey(&facts(&root(), divided), opener.as_ref()));
    // It does not panic.
    Some(looked.await.unwrap_or(Err(Obstacle::NoDriver)))
}

/// The nodes that computing takes and whose mode keeps `opener` out: whoever gives them to a container, their mode is the same inside.
pub fn closed(opener: &Opener) -> Vec<Obstacle> {
    let root = root();
    let groups = read(&below(&root, "/etc/group")).unwrap_or_default();
    let computes = |name: &str| {
        NEEDED.contains(&name) || name.strip_prefix("nvidia").is_some_and(|number| number.parse::<u32>().is_ok())
    };
    nodes(&root, &groups)
        .iter()
        .filter(|node| computes(&node.name) && !opener.may_open(node))
        .map(|node| Obstacle::NotPermitted(Refusal::of(node, opener)))
        .collect()
}

fn comes_to_it(wanted: &Gpus, info: &EngineInfo) -> bool {
    let it_does = match wanted.injection {
        Some(forced) => forced == Injection::Direct,
        None => !has_a_way(info),
    };
    it_does && wanted.select != GpuSelection::None
}

/// Everything below `root`. `divided`: also which instances the slices are.
pub(super) fn facts(root: &Path, divided: bool) -> Facts {
    let read = |path: &str| read(&below(root, path));
    let kernel = read("/proc/driver/nvidia/version").or_else(|| read("/sys/module/nvidia/version"));
    let groups = read("/etc/group").unwrap_or_default();
    let nodes = nodes(root, &groups);
    let cards = names(&below(root, "/proc/driver/nvidia/gpus"))
        .iter()
        .filter_map(|place| text::card(place, &read(&format!("/proc/driver/nvidia/gpus/{place}/information"))?))
        .collect();
    let smi: Vec<PathBuf> =
        SMI.iter().map(|path| resolved(root, &below(root, path))).filter(|path| path.is_file()).collect();
    // What only calls the program at another place finds none there in a container.
    let smi = smi.iter().find(|path| is_elf(path)).or(smi.first()).cloned();
    let instances = match &smi {
        Some(smi) if divided && is_trusted(smi) => {
            text::instances(&said(smi.as_os_str(), &["-q".as_ref(), "-x".as_ref()], SMI_LIMIT))
        }
        _ => Vec::new(),
    };
    let wsl = nodes.iter().any(|node| node.name == WSL_NODE) && below(root, WSL_FOLDERS[0]).join(ASKED_FOR[0]).exists();
    let wsl: &[&str] = if wsl { &WSL_FOLDERS } else { &[] };
    Facts {
        kernel: kernel.as_deref().and_then(text::version).map(str::to_owned),
        nodes,
        cards,
        capabilities: text::capabilities(&read("/proc/driver/nvidia-caps/mig-minors").unwrap_or_default()),
        instances,
        folders: folders(root),
        smi,
        wsl: wsl
            .iter()
            .map(|path| (below(root, path), (*path).to_owned()))
            .filter(|(source, _)| source.is_dir())
            .collect(),
    }
}

fn read(path: &Path) -> Option<String> {
    let bytes = files::read(path, files::SMALL).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// `path` is absolute, as below that root.
fn below(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    root.join(path.as_ref().strip_prefix("/").unwrap_or(path.as_ref()))
}

/// Where a path leads, its links followed as if `root` were the root.
fn resolved(root: &Path, path: &Path) -> PathBuf {
    let found = || {
        let folder =
            rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let inner = path.strip_prefix(root).unwrap_or(path);
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = openat2(&folder, inner, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
        let named = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        std::fs::read_link(named).ok()
    };
    // Kernels before 5.6 cannot do that.
    found().or_else(|| path.canonicalize().ok()).unwrap_or_else(|| path.to_owned())
}

/// Sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn nodes(root: &Path, groups: &str) -> Vec<Node> {
    let dev = below(root, "/dev");
    let of_the_driver = |name: &String| name.starts_with("nvidia") || name == WSL_NODE;
    let mut all: Vec<String> = names(&dev).into_iter().filter(of_the_driver).collect();
    all.extend(names(&dev.join("nvidia-caps")).into_iter().map(|name| format!("nvidia-caps/{name}")));
    let node = |name: String| {
        let path = dev.join(&name);
        let found = std::fs::metadata(&path).ok().filter(|found| found.file_type().is_char_device())?;
        let (uid, gid) = (found.uid(), found.gid());
        let group = text::group(groups, gid).map(str::to_owned);
        Some(Node { name, path, mode: found.mode() & 0o777, uid, gid, group })
    };
    all.into_iter().filter_map(node).collect()
}

/// The linker's folders first. What they hold besides libraries is of no use.
fn folders(root: &Path) -> Vec<Folder> {
    let cache = below(root, "/etc/ld.so.cache");
    let ldconfig = LDCONFIG.iter().find(|path| Path::new(path).exists());
    let listed = ldconfig
        .filter(|_| cache.exists())
        .map(|ldconfig| said(ldconfig.as_ref(), &["-p".as_ref(), "-C".as_ref(), cache.as_os_str()], LDCONFIG_LIMIT))
        .unwrap_or_default();
    let home = |file: PathBuf| {
        let real = resolved(root, &below(root, file));
        real.parent().filter(|_| real.is_file()).map(Path::to_owned)
    };
    let mut paths: Vec<PathBuf> =
        ASKED_FOR.iter().flat_map(|name| text::in_the_cache(&listed, name)).filter_map(home).collect();
    if paths.is_empty() {
        let in_places =
            LIBRARY_FOLDERS.iter().flat_map(|place| ASKED_FOR.iter().map(move |name| Path::new(place).join(name)));
        paths.extend(in_places.filter_map(home));
    }
    if paths.is_empty() {
        // There, but under none of the names that programs ask for.
        let places = LIBRARY_FOLDERS.iter().map(|place| below(root, place));
        paths.extend(places.filter(|place| !text::versions(&names(place)).is_empty()));
    }
    let mut folders: Vec<Folder> = Vec::new();
    for path in paths {
        if folders.iter().all(|folder| folder.path != path) {
            let names = names(&path).into_iter().filter(|name| name.contains(".so")).collect();
            folders.push(Folder { path, names });
        }
    }
    folders
}

/// What a program prints; nothing where it fails, or takes longer than `limit`.
fn said(program: &OsStr, arguments: &[&OsStr], limit: Duration) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return String::new() };
    let Some(out) = child.stdout.take() else { return String::new() };
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = out.take(LONGEST).read_to_end(&mut text);
        let _ = done.send(read.map(|_| text));
    });
    let text = wait.recv_timeout(limit);
    if text.is_err() {
        tracing::debug!(program = %program.display(), "it took too long");
        let _ = child.kill();
        // One that waits for a sick GPU ends when that answers: nobody waits with it.
        std::thread::spawn(move || child.wait());
        return String::new();
    }
    let ended = child.wait().is_ok_and(|status| status.success());
    let text = text.ok().and_then(Result::ok).filter(|_| ended).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether nobody but root and this user can have put it there: a variable of the environment may have named the folder.
fn is_trusted(program: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let Ok(program) = program.canonicalize() else { return false };
    program.ancestors().all(|path| {
        std::fs::metadata(path).is_ok_and(|found| {
            // In a folder that is sticky nobody exchanges what is another's.
            let others_write = found.mode() & 0o022 != 0 && !(found.is_dir() && found.mode() & 0o1000 != 0);
            [0, own].contains(&found.uid()) && !others_write
        })
    })
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
