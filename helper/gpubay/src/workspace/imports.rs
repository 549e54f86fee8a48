//! What the workspace's sources import: which packages an editor asks for first.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A guess is enough: these bound what it costs in a large workspace.
const MOST_FILES: usize = 1_000;
const MOST_BYTES: u64 = 16 << 20;
const MOST_ENTRIES: usize = 20_000;
/// Of one file: imports stand at the top.
const OF_ONE: u64 = 256 << 10;
const MOST_MODULES: usize = 1_000;

/// The top-level names of modules that Python files and notebooks of `folder` import, those near the top first looked at. What
/// cannot be read is passed over; no link is followed.
pub(super) fn of(folder: &Path) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    let mut folders = VecDeque::from([folder.to_owned()]);
    let (mut files, mut bytes, mut entries) = (0, 0, 0);
    while let Some(at) = folders.pop_front() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            entries += 1;
            if files >= MOST_FILES || bytes >= MOST_BYTES || entries > MOST_ENTRIES || modules.len() >= MOST_MODULES {
                return modules;
            }
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if kind.is_dir() && !is_passed_over(&name, &path) {
                folders.push_back(path);
            } else if kind.is_file() && (name.ends_with(".py") || name.ends_with(".ipynb")) {
                let text = read(&path);
                files += 1;
                bytes += text.len() as u64;
                collect(&String::from_utf8_lossy(&text), &mut modules);
            }
        }
    }
    modules
}

/// Hidden, of other tools, or an environment with packages of its own.
fn is_passed_over(name: &str, path: &Path) -> bool {
    name.starts_with('.')
        || matches!(name, "node_modules" | "__pycache__" | "site-packages")
        || path.join("pyvenv.cfg").symlink_metadata().is_ok()
        || path.join("conda-meta").symlink_metadata().is_ok()
}

fn read(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    // The container writes here, too: a FIFO that is put there meanwhile must not keep us waiting.
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits();
    let file = File::options().read(true).custom_flags(flags.cast_signed()).open(path);
    if let Ok(file) = file
        && file.metadata().is_ok_and(|facts| facts.is_file())
    {
        let _ = file.take(OF_ONE).read_to_end(&mut text);
    }
    text
}

/// By lines, not by grammar: a name too many does no harm.
fn collect(text: &str, modules: &mut BTreeSet<String>) {
    for line in text.lines() {
        // A line of a notebook's cell is a JSON string.
        let line = line.trim_start().trim_start_matches('"').trim_start();
        if let Some(names) = line.strip_prefix("import ") {
            modules.extend(names.split(',').filter_map(|name| top(name).map(str::to_owned)));
        } else if let Some(name) = line.strip_prefix("from ").filter(|rest| rest.contains(" import")) {
            modules.extend(top(name).map(str::to_owned));
        }
    }
}

/// The first name of a dotted one; none of a relative import.
fn top(name: &str) -> Option<&str> {
    let name = name.trim_start();
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    let name = &name[..end];
    (!name.is_empty() && name.len() <= 100 && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_of_imports() {
        let mut found = BTreeSet::new();
        collect(
            "import torch\nimport torch.nn as nn, numpy as np\r\n    from PIL import Image\nfrom . import near\n\
             from .far import x\nfrom sklearn.linear_model import (\n  A)\nimportant = 1\nfrom_here = 2\nimport 3\n\
             \"import pandas as pd\\n\",\n   \"from scipy import stats\\n\"\nfrom what it says\nimport ünï\n",
            &mut found,
        );
        assert_eq!(found, sorted(&["torch", "numpy", "PIL", "sklearn", "pandas", "scipy", "ünï"]));
    }

    #[test]
    fn sources_are_looked_at_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("o.py"), "import outside").expect("written");
        for (path, text) in [
            ("a.py", "import a1"),
            ("deep/er/b.py", "import b1"),
            ("n.ipynb", "{\n  \"source\": [\n    \"import n1\\n\"\n"),
            ("text.txt", "import no1"),
            (".venv/x.py", "import no2"),
            ("env/pyvenv.cfg", ""),
            ("env/lib/x.py", "import no3"),
            ("node_modules/x.py", "import no4"),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).expect("linked");
        std::os::unix::fs::symlink(outside.path().join("o.py"), folder.path().join("l.py")).expect("linked");
        let fifo = folder.path().join("fifo.py");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .expect("a fifo");
        assert_eq!(of(folder.path()), sorted(&["a1", "b1", "n1"]));
        assert_eq!(read(&fifo), b"");
        assert_eq!(of(&folder.path().join("none")), sorted(&[]));
    }
}
