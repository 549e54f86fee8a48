//! Which host env this executable belongs to, and under which name it was called.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gpubay_protocol::hostenv::{self, HostEnv};

/// The host env's file is small; a larger one is not ours.
const MOST: u64 = 4 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) env: HostEnv,
    pub(crate) name: Name,
    /// The file of `bin` that answers name as the interpreter.
    pub(crate) interpreter: &'static str,
}

impl Place {
    /// uv keeps an answer that names the very file that it asked, and would not ask again before it installs.
    pub(crate) fn no_lasting_answer(&mut self) {
        if self.env.path.join("bin").join(hostenv::UNCACHED_PYTHON).as_path().is_file() {
            self.interpreter = hostenv::UNCACHED_PYTHON;
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Python,
    /// A console script of the venv.
    Script(String),
}

/// From the executable's own path as the kernel knows it, so that a link from elsewhere and a made-up
/// `argv[0]` lead to the same place; `argv[0]` only where that file was replaced meanwhile.
pub(crate) fn find() -> Result<Place, String> {
    let executable = std::env::current_exe().ok();
    let called = std::env::args_os().next().map(PathBuf::from);
    let mut problem = None;
    for path in executable.into_iter().chain(called) {
        match at(&path) {
            Ok(Some(place)) => return Ok(place),
            Ok(None) => {}
            Err(e) => problem = problem.or(Some(e)),
        }
    }
    Err(problem.unwrap_or_else(|| {
        format!(
            "this program works only in the bin folder of an environment made by gpubay (with {})",
            hostenv::FILE_NAME
        )
    }))
}

fn at(executable: &Path) -> Result<Option<Place>, String> {
    let Some(root) = executable.parent().and_then(Path::parent) else { return Ok(None) };
    let file = root.join(hostenv::FILE_NAME);
    let Ok(metadata) = std::fs::symlink_metadata(&file) else { return Ok(None) };
    if !metadata.is_file() || metadata.len() > MOST {
        return Err(format!("{} is not a file of gpubay's", file.display()));
    }
    let text = std::fs::read(&file).map_err(|e| format!("{} cannot be read: {e}", file.display()))?;
    let schema = serde_json::from_slice::<Schema>(&text).map(|found| found.schema);
    if let Ok(schema) = schema
        && schema != hostenv::SCHEMA
    {
        return Err(format!(
            "{} was made by another version of gpubay (schema {schema}, this is {}); run `gpubay up`",
            file.display(),
            hostenv::SCHEMA
        ));
    }
    let env: HostEnv = serde_json::from_slice(&text).map_err(|e| format!("{} is damaged: {e}", file.display()))?;
    // A copied or moved workspace would run another folder's code without a word.
    if !same_folder(root, env.path.as_path()) {
        return Err(format!(
            "this environment was made for {}, not for {}; run `gpubay up` in this workspace",
            env.path,
            root.display()
        ));
    }
    let name = name(executable.file_name().unwrap_or_default());
    Ok(Some(Place { env, name, interpreter: "python" }))
}

#[derive(serde::Deserialize)]
struct Schema {
    schema: u32,
}

fn same_folder(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino()));
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}

fn name(file: &OsStr) -> Name {
    let file = file.to_string_lossy();
    let python = file.strip_prefix("python").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'));
    if python || file == hostenv::UNCACHED_PYTHON { Name::Python } else { Name::Script(file.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for python in ["python", "python3", "python3.12", hostenv::UNCACHED_PYTHON] {
            assert_eq!(name(OsStr::new(python)), Name::Python, "{python}");
        }
        for script in ["pytest", "python-config", "pip"] {
            assert_eq!(name(OsStr::new(script)), Name::Script(script.to_owned()));
        }
    }
}
