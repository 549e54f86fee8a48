//! Single values as people write them: sizes, ports, users, GPUs. Pure functions over text.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::error::BadValue;
use super::file;
use super::model::{Decimal, Device, JobWorkdir, Port, Protocol, Restart, Secret, SecretSource, Ulimit, User};
use crate::quoting::printable;
use crate::{ContainerPath, HostPath};

/// In bytes; units are powers of 1024, as the engine's own tool reads them.
pub(super) fn size(text: &str) -> Result<u64, BadValue> {
    let bad = || BadValue::Size(text.to_owned());
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower[digits.len()..].trim_end_matches('b').trim_end_matches('i');
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(bad()),
    };
    let digits = digits.trim_end_matches(' ');
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') || digits.starts_with('.') {
        return Err(bad());
    }
    let bytes = if let Ok(whole) = digits.parse::<u64>() {
        whole.checked_mul(1 << shift).ok_or_else(bad)?
    } else {
        let bytes = digits.parse::<f64>().map_err(|_| bad())? * 2f64.powi(shift);
        if bytes >= 9.2e18 {
            return Err(bad());
        }
        bytes as u64
    };
    if bytes == 0 || bytes > i64::MAX as u64 { Err(bad()) } else { Ok(bytes) }
}

/// A folder below the workspace, named relative to it.
pub(super) fn folder_of_workspace(text: &str) -> Result<(), BadValue> {
    let normal = |part| matches!(part, std::path::Component::Normal(_));
    let below = !text.is_empty() && !text.contains('\0') && Path::new(text).components().all(normal);
    if below { Ok(()) } else { Err(BadValue::FolderOfWorkspace(text.to_owned())) }
}

/// A path inside, as somebody wrote it into a file or on a command line.
///
/// # Errors
/// A sentence's end: what is wrong with it. Beyond what [`ContainerPath`] refuses, nobody means a path with a newline or a
/// sign that turns the reading direction around, and whoever approves it could not read what it is.
pub(super) fn path_inside(text: &str) -> Result<ContainerPath, String> {
    if printable(text) != text {
        return Err(format!("{:?} contains a character that cannot be shown", printable(text)));
    }
    ContainerPath::new(text).map_err(|error| error.to_string())
}

/// What the kernel shows there is no place to work in, and a way out of a container with old engines
/// (CVE-2024-21626).
pub(super) fn is_of_the_kernel(path: &ContainerPath) -> bool {
    ["/proc", "/sys", "/dev"].iter().any(|base| path.below(&ContainerPath::new(base).expect("absolute")).is_some())
}

pub(super) fn job_workdir(text: &str) -> Result<JobWorkdir, BadValue> {
    if !text.starts_with('/') {
        return folder_of_workspace(text).map(|()| JobWorkdir::Below(text.to_owned()));
    }
    let bad = |why: String| BadValue::Workdir { given: text.to_owned(), why };
    let path = path_inside(text).map_err(bad)?;
    if is_of_the_kernel(&path) { Err(bad("no job starts there".to_owned())) } else { Ok(JobWorkdir::Inside(path)) }
}

/// A size as a key of its own has it. Nobody means 16 bytes: a number that small lacks its unit.
pub(super) fn size_entry(entry: &file::Size) -> Result<u64, BadValue> {
    let (bytes, given) = match entry {
        file::Size::Text(text) => (size(text)?, text.clone()),
        file::Size::Bytes(bytes) => {
            let given = bytes.to_string();
            (u64::try_from(*bytes).ok().filter(|b| *b > 0).ok_or_else(|| BadValue::Size(given.clone()))?, given)
        }
    };
    let without_unit = given.bytes().all(|b| b.is_ascii_digit());
    if without_unit && bytes < 1 << 20 { Err(BadValue::SizeWithoutUnit(given)) } else { Ok(bytes) }
}

/// The memory of a container: an engine takes no less, and says so only when all has been built.
pub(super) fn memory(entry: &file::Size) -> Result<u64, BadValue> {
    const LEAST: u64 = 6 << 20;
    let bytes = size_entry(entry)?;
    if bytes >= LEAST {
        return Ok(bytes);
    }
    let given = match entry {
        file::Size::Text(text) => text.clone(),
        file::Size::Bytes(bytes) => bytes.to_string(),
    };
    Err(BadValue::TooLittleMemory(given))
}

pub(super) fn cpus(text: &str) -> Result<Decimal, BadValue> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match text.parse::<f64>() {
        // Above this the engine's unit, a billionth of a CPU, no longer fits.
        Ok(value) if plain && value > 0.0 && value < 1e9 => Ok(Decimal(text.to_owned())),
        _ => Err(BadValue::Cpus(text.to_owned())),
    }
}

/// One entry of `ports`; a range gives several.
pub(super) fn ports(text: &str) -> Result<Vec<Port>, BadValue> {
    let bad = |why: &str| BadValue::Port { given: text.to_owned(), why: why.to_owned() };
    let (rest, protocol) = match text.rsplit_once('/') {
        None | Some((_, "tcp")) => (text.strip_suffix("/tcp").unwrap_or(text), Protocol::Tcp),
        Some((rest, "udp")) => (rest, Protocol::Udp),
        Some(_) => return Err(bad("the protocol is tcp or udp")),
    };
    let (address, rest) = if let Some(rest) = rest.strip_prefix('[') {
        let (address, rest) = rest.split_once("]:").ok_or_else(|| bad("`]:` is missing"))?;
        (Some(address), rest)
    } else {
        match *rest.split(':').collect::<Vec<_>>() {
            [first, last] if first.parse::<Ipv4Addr>().is_ok() => (Some(first), last),
            [_] | [_, _] => (None, rest),
            [address, _, _] => (Some(address), &rest[address.len() + 1..]),
            _ => return Err(bad("an IPv6 address stands in brackets")),
        }
    };
    let address = match address {
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some("localhost") => return Err(bad("an address is a number, such as 127.0.0.1")),
        Some(address) => address.parse().map_err(|_| bad("the address is not an IP address"))?,
    };
    let range = |text: &str| -> Result<(u16, u16), BadValue> {
        let one = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
            _ => Err(bad("a port is a number between 1 and 65535")),
        };
        match text.split_once('-') {
            None => one(text).map(|port| (port, port)),
            Some((from, to)) => {
                let (from, to) = (one(from)?, one(to)?);
                if from <= to { Ok((from, to)) } else { Err(bad("the range ends before it begins")) }
            }
        }
    };
    let (host, container) = match rest.split_once(':') {
        None => (range(rest)?, range(rest)?),
        Some(("", container)) => (range(container)?, range(container)?),
        Some((host, container)) => (range(host)?, range(container)?),
    };
    if host.1 - host.0 != container.1 - container.0 {
        return Err(bad("both ranges must have the same length"));
    }
    Ok((host.0..=host.1)
        .zip(container.0..=container.1)
        .map(|(host, container)| Port { address, host, container, protocol })
        .collect())
}

pub(super) fn user(text: &str) -> Result<User, BadValue> {
    let bad = || BadValue::User(text.to_owned());
    let id = |text: &str| -> Result<u32, BadValue> {
        if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().map_err(|_| bad()) } else { Err(bad()) }
    };
    match text {
        "host" => Ok(User::Host),
        "image" => Ok(User::Image),
        "root" | "root:root" | "0" | "0:0" => Ok(User::Root),
        _ => match text.split_once(':') {
            Some((uid, gid)) => Ok(User::Ids { uid: id(uid)?, gid: id(gid)? }),
            None => id(text).map(|id| User::Ids { uid: id, gid: id }),
        },
    }
}

pub(super) fn restart(text: &str) -> Result<Restart, BadValue> {
    match text {
        "no" => Ok(Restart::No),
        "always" => Ok(Restart::Always),
        "unless-stopped" => Ok(Restart::UnlessStopped),
        "on-failure" => Ok(Restart::OnFailure { most: None }),
        _ => text
            .strip_prefix("on-failure:")
            .and_then(|most| most.parse().ok())
            .map(|most| Restart::OnFailure { most: Some(most) })
            .ok_or_else(|| BadValue::Restart(text.to_owned())),
    }
}

pub(super) fn ulimit(text: &str) -> Result<Ulimit, BadValue> {
    const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let bad = || BadValue::Ulimit(text.to_owned());
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    let number = |text: &str| text.parse::<i64>().ok().filter(|n| *n >= -1).ok_or_else(bad);
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (number(soft)?, number(hard)?);
    let too_soft = hard != -1 && (soft == -1 || soft > hard);
    if !NAMES.contains(&name) || too_soft {
        return Err(bad());
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

pub(super) fn device(text: &str) -> Result<Device, BadValue> {
    let bad = || BadValue::Device(text.to_owned());
    let permissions = |p: &str| !p.is_empty() && p.len() <= 3 && p.bytes().all(|b| b"rwm".contains(&b));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, access) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, second] if permissions(second) => (host, host, second),
        [host, container] => (host, container, "rwm"),
        [host, container, access] if permissions(access) => (host, container, access),
        _ => return Err(bad()),
    };
    let fits = |path: &str| path_inside(path).ok().filter(|p| p.as_str() != "/");
    let (Some(host), Some(container)) = (fits(host), fits(container)) else { return Err(bad()) };
    Ok(Device { host: host.to_string(), container: container.to_string(), permissions: access.to_owned() })
}

pub(super) fn secret(text: &str, places: &Places<'_>) -> Result<Secret, BadValue> {
    let bad = || BadValue::Secret(text.to_owned());
    let (id, source) = text.split_once('=').ok_or_else(bad)?;
    name(id, "the name of a secret").map_err(|_| bad())?;
    let source = match source.split_once(':') {
        Some(("env", variable)) => {
            env_name(variable)?;
            SecretSource::Env(variable.to_owned())
        }
        Some(("file", path)) if !path.is_empty() => SecretSource::File(places.file("the secret", path)?),
        _ => return Err(bad()),
    };
    Ok(Secret { id: id.to_owned(), source })
}

/// A name as engines take them.
pub(super) fn name(text: &str, what: &'static str) -> Result<(), BadValue> {
    let mut bytes = text.bytes();
    let fits = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && text.len() <= 200;
    if fits { Ok(()) } else { Err(BadValue::Name { given: text.to_owned(), what }) }
}

/// A word that goes to the engine as it is: no spaces, no control characters, no leading dash.
pub(super) fn word(text: &str, what: &'static str) -> Result<String, BadValue> {
    let fits = !text.is_empty()
        && !text.starts_with('-')
        && text.len() <= 1000
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if fits { Ok(text.to_owned()) } else { Err(BadValue::Name { given: text.to_owned(), what }) }
}

pub(super) fn env_name(text: &str) -> Result<(), BadValue> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.contains('=') {
        "it contains `=`"
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "it contains a space or a control character"
    } else {
        return Ok(());
    };
    Err(BadValue::EnvName { given: text.to_owned(), why })
}

pub(super) fn env_value(name: &str, value: &str) -> Result<(), BadValue> {
    if value.contains('\0') { Err(BadValue::EnvValue { name: name.to_owned() }) } else { Ok(()) }
}

pub(super) fn persist(text: &str) -> Result<String, BadValue> {
    let bad = || BadValue::Persist(text.to_owned());
    let absolute = match text.strip_prefix("~/") {
        Some(rest) => format!("/{rest}"),
        None => text.to_owned(),
    };
    let climbs = absolute.split('/').any(|part| part == "..");
    match path_inside(&absolute) {
        Ok(path) if !climbs && path.as_str() != "/" => Ok(text.to_owned()),
        _ => Err(bad()),
    }
}

pub(super) fn venv_name(text: &str) -> Result<String, BadValue> {
    let bad = |why: &str| BadValue::VenvPath { given: text.to_owned(), why: why.to_owned() };
    let text = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
    if text.is_empty() || text == "." || text == ".." {
        Err(bad("it names no folder of its own"))
    } else if text.contains('/') {
        Err(bad("it is not directly under the workdir"))
    } else if text.starts_with('-') || text.contains(':') || text.chars().any(char::is_control) || text.len() > 200 {
        // PATH is split at colons, and a list of mounts too.
        Err(bad("it begins with `-`, is too long, or contains `:` or a control character"))
    } else if [".git", ".vscode", ".hg", ".svn"].contains(&text) {
        Err(bad("that folder belongs to another program"))
    } else {
        Ok(text.to_owned())
    }
}

/// What relative paths and `~` mean.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// Canonical.
    pub(super) workspace: &'a Path,
    pub(super) home: &'a Path,
}

impl Places<'_> {
    /// Absolute, but not yet asked whether it exists.
    pub(super) fn absolute(&self, text: &str) -> Result<PathBuf, BadValue> {
        let bad = |why: &str| BadValue::Path { given: text.to_owned(), why: why.to_owned() };
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.contains('\0') {
            return Err(bad("it contains a NUL byte"));
        }
        if text == "~" {
            return Ok(self.home.to_owned());
        }
        if let Some(rest) = text.strip_prefix("~/") {
            return Ok(self.home.join(rest.trim_start_matches('/')));
        }
        if text.starts_with('~') {
            return Err(bad("only `~/` is known, not another user's home"));
        }
        Ok(self.workspace.join(text))
    }

    /// What exists is resolved, so that what was approved is what is used.
    pub(super) fn canonical(&self, text: &str) -> Result<Result<HostPath, PathBuf>, BadValue> {
        let path = self.absolute(text)?;
        match path.canonicalize().map(HostPath::new) {
            Ok(Ok(path)) if path.as_path().to_str().is_some() => Ok(Ok(path)),
            Ok(_) => Err(BadValue::Path { given: text.to_owned(), why: "it is not UTF-8".to_owned() }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Err(path)),
            Err(e) => Err(BadValue::Path { given: text.to_owned(), why: e.to_string() }),
        }
    }

    /// An ordinary file.
    pub(super) fn file(&self, what: &'static str, text: &str) -> Result<HostPath, BadValue> {
        self.existing(what, text, Path::is_file, "is not a file")
    }

    pub(super) fn folder(&self, what: &'static str, text: &str) -> Result<HostPath, BadValue> {
        self.existing(what, text, Path::is_dir, "is not a folder")
    }

    fn existing(
        &self,
        what: &'static str,
        text: &str,
        fits: fn(&Path) -> bool,
        why: &str,
    ) -> Result<HostPath, BadValue> {
        // What is in the workspace is named as it was typed.
        let shown = |path: &Path| path.strip_prefix(self.workspace).unwrap_or(path).display().to_string();
        match self.canonical(text)? {
            Err(path) => Err(BadValue::MissingFile { what, path: shown(&path) }),
            Ok(path) if fits(path.as_path()) => Ok(path),
            Ok(path) => Err(BadValue::WrongFile { what, path: shown(path.as_path()), why: why.to_owned() }),
        }
    }

    /// A folder of ours that need not exist yet. Its existing part is resolved.
    pub(super) fn ours(&self, text: &str) -> Result<HostPath, BadValue> {
        let path = self.absolute(text)?;
        HostPath::new(resolve_existing(&path))
            .map_err(|e| BadValue::Path { given: text.to_owned(), why: e.to_string() })
    }
}

/// Follows every link of the part of `path` that exists.
pub(super) fn resolve_existing(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut at = path;
    loop {
        if let Ok(real) = at.canonicalize() {
            return rest.iter().rev().fold(real, |path, name| path.join(name));
        }
        match (at.parent(), at.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name);
                at = parent;
            }
            _ => return path.to_owned(),
        }
    }
}
