//! The host env: the `.venv` that host tools see.
//!
//! It is written relative to an open folder and never through a link, since the workspace is
//! writable from inside the container. A `.venv` that is not ours is left alone.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use gpubay_protocol::agent::AGENT_NAME;
use gpubay_protocol::contents::is_plain;
use gpubay_protocol::hostenv::{self, HostEnv};
use rustix::fs::FileType;

use super::probe::Probe;
use super::{activate, probe, within};
use crate::error::{Explain, Shortage};
use crate::{ContainerPath, HostPath};

/// The name used where the wanted one belongs to someone else.
const OTHER_SUFFIX: &str = "-gpubay";

#[derive(Debug, thiserror::Error)]
pub enum HostEnvError {
    #[error("the workspace {workspace} is read-only: {source}")]
    ReadOnly { workspace: HostPath, source: io::Error },
    #[error("{name:?} is no name for a folder directly in the workspace")]
    Name { name: String },
    #[error("both {first} and {second} exist in {workspace} and are not ours")]
    Taken { workspace: HostPath, first: String, second: String },
    #[error("{version:?} is no Python version")]
    Version { version: String },
    #[error("{path} has a line break in it, which a .pth file cannot hold")]
    LineBreak { path: String },
    #[error("the host env {path} could not be written: {source}")]
    Write { path: HostPath, source: io::Error },
}

impl Explain for HostEnvError {
    fn code(&self) -> &'static str {
        match self {
            Self::ReadOnly { .. } => "workspace_read_only",
            Self::Name { .. } => "bad_venv_path",
            Self::Taken { .. } => "venv_taken",
            Self::Version { .. } => "python_broken",
            Self::LineBreak { .. } => "unusable_path",
            Self::Write { source, .. } => Shortage::of(source).map_or("host_env_failed", Shortage::code),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::ReadOnly { .. } => {
                "The container works without it; to give an editor outside completion, make the workspace writable."
                    .to_owned()
            }
            Self::Name { .. } | Self::Taken { .. } => {
                "Set `path` under [venv] in gpubay.toml to a free name, such as \".venv-container\".".to_owned()
            }
            Self::Version { .. } => "Name another interpreter with `python` under [venv] in gpubay.toml.".to_owned(),
            Self::LineBreak { .. } => "Rename the folder.".to_owned(),
            Self::Write { source, .. } => Shortage::of(source).map_or_else(
                || "Look at the folder's owner, then run `gpubay up`.".to_owned(),
                |shortage| shortage.hint("move it to another disk"),
            ),
        })
    }
}

/// The folder over which the venv is mounted inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Directly in the workspace.
    pub name: String,
    pub path: HostPath,
    /// Why it is not the name that was asked for, as a whole sentence.
    pub other: Option<String>,
}

/// Makes the real, user-owned folder that becomes the host env; before `create`, since the engine
/// would make a missing one as root.
pub fn prepare_mount_point(workspace: &HostPath, name: &str) -> Result<MountPoint, HostEnvError> {
    mount_point(workspace, name, Missing::Make)
}

/// Which folder [`prepare_mount_point`] would choose. Nothing is made.
pub fn find_mount_point(workspace: &HostPath, name: &str) -> Result<MountPoint, HostEnvError> {
    mount_point(workspace, name, Missing::Leave)
}

/// What becomes of a folder that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Leave,
}

fn mount_point(workspace: &HostPath, name: &str, missing: Missing) -> Result<MountPoint, HostEnvError> {
    if !is_plain(name.as_bytes()) {
        return Err(HostEnvError::Name { name: name.to_owned() });
    }
    let read_only = |source| refused(workspace, source);
    let root = within::open(workspace.as_path()).map_err(read_only)?;
    let mut reason = None;
    let second = format!("{name}{OTHER_SUFFIX}");
    for candidate in [name, &second] {
        match claim(&root, candidate, missing).map_err(read_only)? {
            None => {
                let other = reason.map(|why| format!("{name} {why}; {candidate} is used instead."));
                return Ok(MountPoint { name: candidate.to_owned(), path: workspace.join(candidate), other });
            }
            Some(why) => reason = reason.or(Some(why)),
        }
    }
    Err(HostEnvError::Taken { workspace: workspace.clone(), first: name.to_owned(), second })
}

/// `None`: it is ours now. Otherwise why it cannot be.
fn claim(root: &std::os::fd::OwnedFd, name: &str, missing: Missing) -> io::Result<Option<&'static str>> {
    let Some(stat) = within::stat(root, name)? else {
        if missing == Missing::Leave {
            return Ok(None);
        }
        rustix::fs::mkdirat(root, name, rustix::fs::Mode::from_raw_mode(0o755))?;
        return Ok(None);
    };
    match within::kind(&stat) {
        FileType::Directory => {}
        FileType::Symlink => return Ok(Some("is a symbolic link")),
        _ => return Ok(Some("is no folder")),
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(Some("belongs to another user"));
    }
    let folder = within::open_folder(root, name)?;
    let entries = within::names(&folder)?;
    if is_ours(&folder) || entries.iter().all(|entry| entry.starts_with(within::TEMPORARY)) {
        return Ok(None);
    }
    Ok(Some("exists already and was not made by gpubay"))
}

fn is_ours(folder: impl std::os::fd::AsFd) -> bool {
    within::stat(folder, hostenv::FILE_NAME)
        .is_ok_and(|stat| stat.is_some_and(|stat| within::kind(&stat) == FileType::RegularFile))
}

/// Makes `folder` look like the installation that a venv was made from: an empty `bin`, and in `lib`
/// the standard library's folder under the name that tools expect. Returns its `bin`, for `home` in
/// `pyvenv.cfg`: ty finds the sources of the standard library from there and from nowhere else.
///
/// No `python` lies in it: what runs is the shim, and only in the host env.
pub fn make_home(folder: &HostPath, version: &str, stdlib: &HostPath) -> Result<HostPath, HostEnvError> {
    let minor = probe::minor(version).ok_or_else(|| HostEnvError::Version { version: version.to_owned() })?;
    let write = || {
        std::fs::create_dir_all(folder.as_path())?;
        let root = within::open(folder.as_path())?;
        within::make_folder(&root, "bin")?;
        let lib = within::make_folder(&root, "lib")?;
        let versioned = format!("python{minor}");
        for other in within::names(&lib)?.iter().filter(|other| **other != versioned) {
            within::remove(&lib, other)?;
        }
        within::symlink(&lib, stdlib.as_path(), &versioned)
    };
    write().map_err(|source| HostEnvError::Write { path: folder.clone(), source })?;
    Ok(folder.join("bin"))
}

/// What the host env is to hold.
#[derive(Clone, Debug)]
pub struct Layout<'a> {
    pub env: &'a HostEnv,
    /// What `home` in `pyvenv.cfg` becomes, as [`make_home`] gives it; `None` where no standard library is on the host.
    pub home: Option<&'a HostPath>,
    /// Lines of `container.pth`: the venv's site-packages, then the other roots in the order of `sys.path`.
    pub folders: &'a [HostPath],
    /// The shim's executable.
    pub shim: &'a [u8],
    /// Names of console scripts, as [`console_scripts`] gives them.
    pub scripts: &'a [String],
}

/// Writes the host env at `layout.env.path`, or finds it as it should be. Returns whether anything changed.
pub fn write(layout: &Layout<'_>) -> Result<bool, HostEnvError> {
    let env = layout.env;
    let path = env.path.as_path();
    let minor = probe::minor(&env.version).ok_or_else(|| HostEnvError::Version { version: env.version.clone() })?;
    let name = path.strip_prefix(&env.workspace).ok().and_then(Path::to_str).filter(|n| is_plain(n.as_bytes()));
    let name = name.ok_or_else(|| HostEnvError::Name { name: env.path.to_string() })?;
    let mut pth = String::new();
    for folder in layout.folders {
        let line = folder.to_string();
        // Python runs a line that begins with `import`; an absolute path cannot.
        if line.contains(['\n', '\r']) || folder.as_path().to_str().is_none() {
            return Err(HostEnvError::LineBreak { path: line });
        }
        pth.push_str(&line);
        pth.push('\n');
    }
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => HostEnvError::ReadOnly { workspace: env.workspace.clone(), source },
        _ => HostEnvError::Write { path: env.path.clone(), source },
    };
    let root = within::open(env.workspace.as_path()).map_err(|source| refused(&env.workspace, source))?;
    if let Some(why) = claim(&root, name, Missing::Make).map_err(|source| refused(&env.workspace, source))? {
        return Err(failed(io::Error::other(format!("{name} {why}"))));
    }
    let folder = within::open_folder(&root, name).map_err(failed)?;
    write_below(&folder, layout, &minor, &pth).map_err(failed)
}

fn write_below(folder: &std::os::fd::OwnedFd, layout: &Layout<'_>, minor: &str, pth: &str) -> io::Result<bool> {
    let env = layout.env;
    let mut changed = false;
    // First, so that a half-written folder is known as ours.
    let json = serde_json::to_vec_pretty(env).map_err(io::Error::other)?;
    changed |= within::write(folder, hostenv::FILE_NAME, &json, 0o644)?;
    changed |= within::write(folder, ".gitignore", b"*\n", 0o644)?;

    let bin = within::make_folder(folder, "bin")?;
    let before = within::stat(&bin, "python")?;
    let shim_changed = within::write(&bin, "python", layout.shim, 0o755)?;
    changed |= shim_changed;
    let versioned = format!("python{minor}");
    let mut wanted = vec!["python", "python3", versioned.as_str()];
    wanted.extend(layout.scripts.iter().map(String::as_str).filter(|name| is_script_name(name)));
    // What an earlier shim was linked as and nobody wants any more.
    if let Some(before) = before {
        for name in within::names(&bin)? {
            let stale = !wanted.contains(&name.as_str())
                && within::stat(&bin, &name)?.is_some_and(|s| (s.st_dev, s.st_ino) == (before.st_dev, before.st_ino));
            if stale {
                within::remove(&bin, &name)?;
                changed = true;
            }
        }
    }
    for name in &wanted[1..] {
        changed |= within::link(&bin, "python", name, layout.shim, 0o755)?;
    }
    changed |= within::write(&bin, hostenv::UNCACHED_PYTHON, layout.shim, 0o755)?;
    let text = env.path.as_path().to_string_lossy();
    for (name, script) in activate::scripts(&text) {
        changed |= within::write(&bin, name, script.as_bytes(), 0o644)?;
    }

    let lib = within::make_folder(folder, "lib")?;
    for other in within::names(&lib)? {
        if other != versioned && other.starts_with("python") {
            changed |= forget_version(&lib, &other)?;
        }
    }
    let version = within::make_folder(&lib, &versioned)?;
    let site = within::make_folder(&version, "site-packages")?;
    changed |= within::write(&site, "container.pth", pth.as_bytes(), 0o644)?;

    // Last: with it the folder is a virtual environment for tools.
    let own = env.path.join("bin");
    let home = layout.home.unwrap_or(&own).to_string().replace(['\n', '\r'], " ");
    let config = format!("home = {home}\ninclude-system-site-packages = false\nversion = {}\n", env.version);
    changed |= within::write(folder, "pyvenv.cfg", config.as_bytes(), 0o644)?;
    Ok(changed)
}

/// Adds those of the venv's console scripts that the host env at `path` lacks.
pub fn add_scripts(path: &HostPath, venv: &HostPath) -> io::Result<()> {
    let folder = within::open(path.as_path())?;
    let bin = within::open_folder(&folder, "bin")?;
    let is_shim = within::stat(&bin, "python")?.is_some_and(|stat| within::kind(&stat) == FileType::RegularFile);
    if !is_ours(&folder) || !is_shim {
        return Ok(());
    }
    for name in console_scripts(venv) {
        if within::stat(&bin, &name)?.is_none() {
            rustix::fs::linkat(&bin, "python", &bin, &name, rustix::fs::AtFlags::empty())?;
        }
    }
    Ok(())
}

/// A cheap fingerprint of the host env at `path` and of what makes the folder `venv` one: another one means that some tool
/// has written there, or that it is gone (`None`).
pub fn stamp(path: &HostPath, venv: &HostPath) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::os::unix::fs::MetadataExt;
    let mut hash = DefaultHasher::new();
    let mut add = |path: &Path| {
        let found = path.symlink_metadata().ok()?;
        (found.ino(), found.size(), found.mode(), found.mtime(), found.mtime_nsec()).hash(&mut hash);
        Some(())
    };
    add(venv.join("pyvenv.cfg").as_path())?;
    let lib = path.join("lib");
    let versions = std::fs::read_dir(lib.as_path()).ok()?.flatten().map(|entry| entry.path().join("site-packages"));
    for site in versions {
        add(&site)?;
        add(&site.join("container.pth"))?;
    }
    for name in
        [hostenv::FILE_NAME, ".gitignore", "pyvenv.cfg", "bin", "bin/python", "bin/activate", "bin/activate.fish"]
    {
        add(path.join(name).as_path())?;
    }
    Some(hash.finish())
}

/// What lies beside `container.pth`: tools of the host would take it for something that the container has.
pub fn foreign(path: &HostPath) -> Vec<String> {
    let versions = std::fs::read_dir(path.join("lib").as_path()).into_iter().flatten().flatten();
    let entries = versions.filter_map(|entry| std::fs::read_dir(entry.path().join("site-packages")).ok()).flatten();
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| name != "container.pth" && !name.starts_with(within::TEMPORARY)).collect();
    names.sort();
    names
}

/// Removes what we wrote for an earlier Python version; anything else in it stays.
fn forget_version(lib: &std::os::fd::OwnedFd, name: &str) -> io::Result<bool> {
    let Ok(version) = within::open_folder(lib, name) else { return Ok(false) };
    let Ok(site) = within::open_folder(&version, "site-packages") else { return Ok(false) };
    within::remove(&site, "container.pth")?;
    let gone = rustix::fs::unlinkat(&version, "site-packages", rustix::fs::AtFlags::REMOVEDIR).is_ok()
        && rustix::fs::unlinkat(lib, name, rustix::fs::AtFlags::REMOVEDIR).is_ok();
    Ok(gone)
}

fn refused(workspace: &HostPath, source: io::Error) -> HostEnvError {
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            HostEnvError::ReadOnly { workspace: workspace.clone(), source }
        }
        _ => HostEnvError::Write { path: workspace.clone(), source },
    }
}

/// The programs of the venv at `venv` on the host, by name: what names a Python in its first line, and compiled ones (Ruff, ty).
/// The folder is the container's to write, so a name that would hide a program of the host is
/// left out: `sudo` in an activated terminal stays the host's. This runs after each `exec`, so a folder that was filled
/// to cost the host time is not read to its end.
pub fn console_scripts(venv: &HostPath) -> Vec<String> {
    const MOST_ENTRIES: usize = 20_000;
    const MOST_CANDIDATES: usize = 2000;
    let Ok(bin) = within::open(venv.join("bin").as_path()) else { return Vec::new() };
    let mut names = within::first_names(&bin, MOST_ENTRIES).unwrap_or_default();
    names.retain(|name| is_script_name(name));
    names.sort();
    names.truncate(MOST_CANDIDATES);
    names.retain(|name| {
        if hides_a_host_program(name) {
            return false;
        }
        let Ok(Some((head, stat))) = within::head(&bin, name, 256) else { return false };
        let names_python = head.starts_with(b"#!") && head.windows(6).any(|window| window == b"python");
        stat.st_mode & 0o111 != 0 && (names_python || head.starts_with(b"\x7fELF"))
    });
    names
}

/// Likewise, of the image and its user: by name, the program inside. What the venv has of the same name goes first.
pub fn image_scripts(probe: &Probe, of_venv: &[String]) -> BTreeMap<String, ContainerPath> {
    let wanted = |name: &String| is_script_name(name) && !hides_a_host_program(name) && !of_venv.contains(name);
    let scripts = probe.image_scripts.iter().filter(|(name, _)| wanted(name));
    scripts.filter_map(|(name, path)| Some((name.clone(), ContainerPath::new(path).ok()?))).take(500).collect()
}

fn is_script_name(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'));
    // uv is to work from outside, where it is told what it cannot do; inside it would hide what the image brings.
    // And under the agent's name the program would be that.
    let reserved = is_python_name(name)
        || name.to_ascii_lowercase().starts_with("activate")
        || ["uv", "uvx", AGENT_NAME].contains(&name);
    plain && !reserved && !name.is_empty() && !name.starts_with(['.', '-']) && name.len() <= 128
}

fn is_python_name(name: &str) -> bool {
    name.strip_prefix("python").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Python's own tools are what a user means by these names in an activated environment.
const PYTHONS_OWN: &[&str] = &["pip", "py", "ipython", "jupyter", "pydoc", "wheel", "torchrun"];

fn hides_a_host_program(name: &str) -> bool {
    !PYTHONS_OWN.iter().any(|own| name.starts_with(own))
        && ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(name).exists())
}

/// The folders that a tool without `.pth` support is to be given (`sync --print-paths`): those of
/// `container.pth` that exist.
pub fn extra_paths(folders: &[HostPath]) -> Vec<HostPath> {
    folders.iter().filter(|folder| folder.as_path().is_dir()).cloned().collect()
}

#[cfg(test)]
#[path = "hostenv_tests.rs"]
mod tests;
