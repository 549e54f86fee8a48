//! Host paths and container paths, and the map between them.
//!
//! The two are different types so that no code joins one to the other by hand: a path that is right
//! on one side is at best meaningless on the other, and at worst another file.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// An absolute path on the machine where the helper runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
pub struct HostPath(PathBuf);

/// An absolute, lexically normal path inside a container (`/app/.venv`, never `/app/../x`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
pub struct ContainerPath(String);

#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    macro_rules! path {
        ($type:ident, $what:literal) => {
            impl JsonSchema for super::$type {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($type).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({ "type": "string", "description": $what })
                }
            }
        };
    }

    path!(HostPath, "An absolute path on the machine where gpubay runs.");
    path!(ContainerPath, "An absolute path inside the container.");
}

/// Why a string is no [`ContainerPath`] or no [`HostPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with `/`.
    Relative(String),
    /// It holds a NUL byte, or leaves the root through `..`.
    Malformed(String),
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative(path) => write!(f, "{path:?} is not an absolute path"),
            Self::Malformed(path) => write!(f, "{path:?} is not a well-formed path"),
        }
    }
}

impl std::error::Error for PathError {}

impl HostPath {
    /// # Errors
    /// [`PathError::Relative`] when `path` is not absolute.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, PathError> {
        let path = path.into();
        if path.is_absolute() { Ok(Self(path)) } else { Err(PathError::Relative(path.display().to_string())) }
    }

    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// `relative` must stay below `self`; an absolute or climbing one is a programming error.
    #[must_use]
    pub fn join(&self, relative: impl AsRef<Path>) -> Self {
        let relative = relative.as_ref();
        debug_assert!(
            relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)),
            "{}",
            relative.display()
        );
        Self(self.0.join(relative))
    }
}

impl AsRef<Path> for HostPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl ContainerPath {
    /// Normalises `.`, `..` and repeated slashes without asking any file system.
    ///
    /// # Errors
    /// [`PathError`] when `path` is relative, holds NUL or climbs above `/`.
    pub fn new(path: impl AsRef<str>) -> Result<Self, PathError> {
        let path = path.as_ref();
        if !path.starts_with('/') {
            return Err(PathError::Relative(path.to_owned()));
        }
        if path.contains('\0') {
            return Err(PathError::Malformed(path.to_owned()));
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        return Err(PathError::Malformed(path.to_owned()));
                    }
                }
                part => parts.push(part),
            }
        }
        Ok(Self(format!("/{}", parts.join("/"))))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// # Errors
    /// As [`ContainerPath::new`].
    pub fn join(&self, relative: &str) -> Result<Self, PathError> {
        Self::new(if relative.starts_with('/') { relative.to_owned() } else { format!("{}/{relative}", self.0) })
    }

    /// `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.rfind('/')?;
        if self.0.len() == 1 {
            return None;
        }
        Some(Self(if cut == 0 { "/".to_owned() } else { self.0[..cut].to_owned() }))
    }

    /// The last component, empty for `/`.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or("")
    }

    /// What is left of `self` below `base`: `Some("")` for `base` itself.
    pub fn below<'a>(&'a self, base: &Self) -> Option<&'a str> {
        below(&self.0, &base.0)
    }
}

impl fmt::Display for ContainerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for ContainerPath {
    type Error = PathError;
    fn try_from(path: String) -> Result<Self, PathError> {
        Self::new(path)
    }
}

impl From<ContainerPath> for String {
    fn from(path: ContainerPath) -> Self {
        path.0
    }
}

fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    if base == "/" {
        return path.strip_prefix('/');
    }
    let rest = path.strip_prefix(base)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

/// One folder that both sides can name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    pub host: HostPath,
    pub container: ContainerPath,
}

/// The folders that host and container share, for translating paths between them.
///
/// The longest matching prefix wins, in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PathMap(Vec<Mapping>);

impl PathMap {
    pub fn new(mappings: Vec<Mapping>) -> Self {
        Self(mappings)
    }

    pub fn push(&mut self, host: HostPath, container: ContainerPath) {
        self.0.push(Mapping { host, container });
    }

    pub fn mappings(&self) -> &[Mapping] {
        &self.0
    }

    /// The container's name for a host path, where a shared folder holds it.
    ///
    /// Paths that are not UTF-8 have none: the engine's API carries no other.
    pub fn to_container(&self, host: &Path) -> Option<ContainerPath> {
        let (mapping, rest) = self
            .0
            .iter()
            .filter_map(|m| Some((m, host.strip_prefix(m.host.as_path()).ok()?)))
            .max_by_key(|(m, _)| m.host.as_path().components().count())?;
        if rest.components().any(|c| !matches!(c, Component::Normal(_))) {
            return None;
        }
        let rest = rest.to_str()?;
        mapping.container.join(if rest.is_empty() { "." } else { rest }).ok()
    }

    /// The host's name for a container path, where a shared folder holds it.
    pub fn to_host(&self, container: &ContainerPath) -> Option<PathBuf> {
        let (mapping, rest) = self
            .0
            .iter()
            .filter_map(|m| Some((m, container.below(&m.container)?)))
            .max_by_key(|(m, _)| m.container.as_str().trim_end_matches('/').len())?;
        Some(if rest.is_empty() { mapping.host.as_path().to_owned() } else { mapping.host.as_path().join(rest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(path: &str) -> ContainerPath {
        ContainerPath::new(path).expect("a container path")
    }

    fn map() -> PathMap {
        let host = |path: &str| HostPath::new(path).expect("a host path");
        let mut map = PathMap::default();
        map.push(host("/home/ada/ws"), container("/app"));
        map.push(host("/data/venvs/1/lib"), container("/app/.venv/lib"));
        map.push(host("/cache/m/tree/usr/lib/python3"), container("/usr/lib/python3"));
        map
    }

    #[test]
    fn container_paths_are_normal() {
        for (given, want) in [("/", "/"), ("//a/./b/", "/a/b"), ("/a/../b", "/b"), ("/a b/$(x)", "/a b/$(x)")] {
            assert_eq!(container(given).as_str(), want);
        }
        for bad in ["", "a", "../a", "/..", "/a/../..", "/a\0"] {
            assert!(ContainerPath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(container("/a/b").parent(), Some(container("/a")));
        assert_eq!(container("/a").parent(), Some(container("/")));
        assert_eq!(container("/").parent(), None);
        assert_eq!(container("/a/b").name(), "b");
        assert_eq!(container("/ab").below(&container("/a")), None);
        assert_eq!(container("/a/b").below(&container("/")), Some("a/b"));
    }

    #[test]
    fn the_longest_prefix_wins_both_ways() {
        let map = map();
        for (host, inside) in [
            ("/home/ada/ws", "/app"),
            ("/home/ada/ws/src/a.py", "/app/src/a.py"),
            ("/data/venvs/1/lib/x.py", "/app/.venv/lib/x.py"),
            ("/cache/m/tree/usr/lib/python3/a", "/usr/lib/python3/a"),
        ] {
            assert_eq!(map.to_container(Path::new(host)), Some(container(inside)), "{host}");
            assert_eq!(map.to_host(&container(inside)), Some(PathBuf::from(host)), "{inside}");
        }
    }

    #[test]
    fn what_no_folder_holds_has_no_name_on_the_other_side() {
        let map = map();
        assert_eq!(map.to_container(Path::new("/home/ada/wsx")), None);
        assert_eq!(map.to_container(Path::new("/home/ada/ws/../secret")), None);
        assert_eq!(map.to_host(&container("/usr/lib/python30")), None);
    }
}
