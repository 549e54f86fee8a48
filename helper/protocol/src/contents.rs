//! Which files of an import root a language tool needs, and in which form.
//!
//! The agent applies this while it scans, and the helper applies it again to what the agent says:
//! what arrives from a container decides nothing by itself.

use serde::{Deserialize, Serialize};

/// How a wanted file is kept on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Form {
    /// With its contents.
    Whole,
    /// Empty, under its own name: that it exists is all that a language tool asks of a compiled module.
    Placeholder,
}

/// Names of folders that hold nothing a language tool reads.
const SKIPPED_FOLDERS: &[&[u8]] = &[b"__pycache__", b"node_modules"];

/// Wanted by their exact name, for the packages' metadata.
const WHOLE_NAMES: &[&[u8]] =
    &[b"py.typed", b"METADATA", b"PKG-INFO", b"top_level.txt", b"entry_points.txt", b"direct_url.json"];

/// Whether a scan goes into a folder of this name. Folders that begin with a dot are left out at any
/// depth: a `.git` or `.vscode` that lands on the host is executed by tools there.
pub fn enters(folder: &[u8]) -> bool {
    !folder.starts_with(b".") && !SKIPPED_FOLDERS.contains(&folder) && is_plain(folder)
}

/// How a file of this name is kept, if at all.
pub fn form_of(name: &[u8]) -> Option<Form> {
    if name.starts_with(b".") || !is_plain(name) {
        return None;
    }
    let extension = name.iter().rposition(|&b| b == b'.').map(|dot| &name[dot + 1..]);
    match extension {
        Some(b"py" | b"pyi" | b"pth") => Some(Form::Whole),
        Some(b"so" | b"pyx" | b"pyd") => Some(Form::Placeholder),
        _ if WHOLE_NAMES.contains(&name) => Some(Form::Whole),
        _ => None,
    }
}

/// A name that no file system or terminal on the host can misread: not empty, not `.` or `..`, at
/// most 255 bytes of UTF-8 without control characters or separators of any system.
pub fn is_plain(name: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(name) else {
        return false;
    };
    !text.is_empty()
        && text != "."
        && text != ".."
        && name.len() <= 255
        && !text.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'))
}

/// Whether every folder of a path below a root would be entered, and in which form its file is kept.
pub fn form_of_path(path: &[u8]) -> Option<Form> {
    let mut parts = path.split(|&b| b == b'/').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return form_of(part);
        }
        if !enters(part) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_how() {
        for (path, form) in [
            ("torch/__init__.py", Some(Form::Whole)),
            ("torch/_C.cpython-312-x86_64-linux-gnu.so", Some(Form::Placeholder)),
            ("lxml/etree.pyx", Some(Form::Placeholder)),
            ("numpy-2.0.dist-info/METADATA", Some(Form::Whole)),
            ("numpy-2.0.dist-info/RECORD", None),
            ("x.pth", Some(Form::Whole)),
            ("torch/lib/libtorch.so.2", None),
            ("a/__pycache__/b.py", None),
            ("a/.git/hooks/x.py", None),
            (".hidden.py", None),
            ("../x.py", None),
            ("a/../x.py", None),
            ("/x.py", None),
            ("a//x.py", None),
            ("a/./x.py", None),
            ("", None),
            ("a/", None),
            ("a\\b.py", None),
            ("a\nb.py", None),
        ] {
            assert_eq!(form_of_path(path.as_bytes()), form, "{path:?}");
        }
        assert_eq!(form_of_path(b"\xff.py"), None);
        assert_eq!(form_of_path(format!("{}.py", "x".repeat(300)).as_bytes()), None);
    }
}
