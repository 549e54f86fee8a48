//! Mounts in the two spellings of `docker run`: `source:target[:options]` and `type=…,source=…`.

use super::error::BadValue;
use super::model::{Mount, MountSource};
use super::values::{self, Places};
use crate::ContainerPath;

/// `source:target[:options]`, the form of `mounts` and of `--volume`.
pub(super) fn short(text: &str, places: &Places<'_>) -> Result<Mount, BadValue> {
    let bad = |why: &str| BadValue::Mount { given: text.to_owned(), why: why.to_owned() };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        [_] => return Err(bad("source and target are separated by a colon")),
        _ => return Err(bad("it has more than three parts; a path with a colon cannot be written this way")),
    };
    if source.is_empty() {
        return Err(bad("it has no source"));
    }
    let mut read_only = false;
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" | "readonly" => read_only = true,
            // These have no effect on Linux, and files written for a Mac carry them.
            "rw" | "cached" | "delegated" | "consistent" => {}
            "z" | "Z" => {
                return Err(bad(
                    "relabelling host files for SELinux is not supported; use security_opt = [\"label=disable\"]",
                ));
            }
            _ => {
                let near = super::nearest(option, ["ro", "rw"].into_iter());
                return Err(bad(&format!("unknown option `{option}`{}", super::error::suggestion(near.as_deref()))));
            }
        }
    }
    if parts.len() == 3 && options.is_empty() {
        return Err(bad("the part after the last colon is empty"));
    }
    let target = target_of(text, target)?;
    let source = if is_path(source) { host(source, &target, places)? } else { volume(text, source)? };
    Ok(Mount { source, target, read_only })
}

fn is_path(source: &str) -> bool {
    source.contains('/') || source.starts_with('~') || source == "." || source == ".."
}

fn target_of(text: &str, target: &str) -> Result<ContainerPath, BadValue> {
    let bad = |why: String| BadValue::Mount { given: text.to_owned(), why };
    let target = values::path_inside(target).map_err(|e| bad(format!("the target {e}")))?;
    if target.as_str() == "/" { Err(bad("the target cannot be the whole file system".into())) } else { Ok(target) }
}

fn host(source: &str, target: &ContainerPath, places: &Places<'_>) -> Result<MountSource, BadValue> {
    places
        .canonical(source)?
        .map(MountSource::Host)
        .map_err(|path| BadValue::MissingMountSource { path: path.display().to_string(), target: target.to_string() })
}

fn volume(text: &str, name: &str) -> Result<MountSource, BadValue> {
    values::name(name, "the name of a volume").map_err(|_| BadValue::Mount {
        given: text.to_owned(),
        why: "the source is neither a path nor the name of a volume".into(),
    })?;
    Ok(MountSource::Volume(name.to_owned()))
}

/// What `--mount` asks for: a mount, or a folder in memory with options.
pub(super) enum Long {
    Mount(Mount),
    Tmpfs { target: ContainerPath, options: String },
}

/// `type=bind,source=…,target=…,readonly`, the form of `--mount`.
pub(super) fn long(text: &str, places: &Places<'_>) -> Result<Long, BadValue> {
    let bad = |why: &str| BadValue::Mount { given: text.to_owned(), why: why.to_owned() };
    let (mut kind, mut source, mut target, mut read_only) = ("volume", None, None, false);
    let mut tmpfs = Vec::new();
    for field in text.split(',') {
        let (name, value) = field.split_once('=').map_or((field, None), |(n, v)| (n, Some(v)));
        let needed = || value.filter(|v| !v.is_empty()).ok_or_else(|| bad(&format!("`{name}` lacks its value")));
        match name {
            "type" => kind = needed()?,
            "source" | "src" => source = Some(needed()?),
            "target" | "dst" | "destination" => target = Some(needed()?),
            "readonly" | "ro" => match value {
                None | Some("true" | "1") => read_only = true,
                Some("false" | "0") => read_only = false,
                Some(_) => return Err(bad("readonly is true or false")),
            },
            "consistency" | "volume-nocopy"
                if value.is_none_or(|v| v != "true" && v != "1" || name == "consistency") => {}
            "tmpfs-size" => tmpfs.push(format!("size={}", values::size(needed()?)?)),
            "tmpfs-mode" => {
                let mode = needed()?;
                if !mode.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
                    return Err(bad("tmpfs-mode is octal"));
                }
                tmpfs.push(format!("mode={mode}"));
            }
            // The local driver mounts any folder of the host by them (o=bind,device=/).
            "volume-opt" | "volume-driver" => {
                return Err(bad("a volume with options of its own is made with `docker volume create` first"));
            }
            "bind-propagation" | "bind-nonrecursive" | "bind-recursive" | "bind-create-src" | "volume-nocopy"
            | "volume-subpath" | "volume-label" | "image-subpath" => {
                return Err(bad(&format!("`{name}` is not supported")));
            }
            _ => {
                let known = ["type", "source", "src", "target", "dst", "readonly", "tmpfs-size", "tmpfs-mode"];
                let near = super::nearest(name, known.into_iter());
                return Err(bad(&format!("unknown field `{name}`{}", super::error::suggestion(near.as_deref()))));
            }
        }
    }
    let target = target_of(text, target.ok_or_else(|| bad("it has no target"))?)?;
    let source = match (kind, source) {
        ("bind", Some(source)) => host(source, &target, places)?,
        ("volume", Some(source)) => volume(text, source)?,
        ("tmpfs", None) if tmpfs.is_empty() => MountSource::Tmpfs,
        ("tmpfs", None) => {
            if read_only {
                tmpfs.push("ro".to_owned());
            }
            return Ok(Long::Tmpfs { target, options: tmpfs.join(",") });
        }
        ("tmpfs", Some(_)) => return Err(bad("a tmpfs has no source")),
        ("bind" | "volume", None) => return Err(bad("it has no source")),
        _ => return Err(bad("the type is bind, volume or tmpfs")),
    };
    if !tmpfs.is_empty() {
        return Err(bad("tmpfs options belong to type=tmpfs"));
    }
    Ok(Long::Mount(Mount { source, target, read_only }))
}
