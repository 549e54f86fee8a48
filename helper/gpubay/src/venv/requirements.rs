//! Requirements files as the host can read them: what they hold for the stamp, and what they ask for by name.
//!
//! They lie in the workspace, which the container writes: only regular files of a modest size are read, so that a
//! FIFO or a device at their name neither blocks nor fills the memory - here, or in the installer that comes after.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pep440_rs::VersionSpecifiers;
use sha2::{Digest, Sha256};

use super::VenvError;
use crate::HostPath;
use crate::files::{self, FileError, SMALL};

const MOST_FILES: usize = 100;

/// All files together, those that they include too.
#[derive(Debug, Default)]
pub struct Requirements {
    pub asked: Vec<Asked>,
    hash: Sha256,
    seen: Vec<PathBuf>,
}

/// One line that names a distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// As written, without comment and options.
    pub text: String,
    /// Normalized, as PEP 503 says.
    pub name: String,
    pub wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Versions(VersionSpecifiers),
    /// A file or repository, whatever version that is.
    Address,
}

/// Reads the files and what they include.
///
/// # Errors
/// Where one that was named cannot be read, or one of them is no regular file or too large. An included one that is
/// not there is the installer's to report.
pub fn read(files: &[HostPath]) -> Result<Requirements, VenvError> {
    let mut all = Requirements::default();
    for file in files {
        // The file that was approved, and no other.
        let bytes = files::read_resolved(file, SMALL).map_err(|error| unreadable(file.as_path(), error.into()))?;
        all.add(file.as_path(), &bytes, true)?;
    }
    Ok(all)
}

fn unreadable(path: &Path, source: io::Error) -> VenvError {
    VenvError::Requirements { path: path.display().to_string(), source }
}

impl Requirements {
    /// Of all that was read, in order.
    pub fn digest(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn add(&mut self, path: &Path, bytes: &[u8], asks: bool) -> Result<(), VenvError> {
        if self.seen.len() >= MOST_FILES || self.seen.iter().any(|seen| seen == path) {
            return Ok(());
        }
        self.seen.push(path.to_path_buf());
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
        let text = String::from_utf8_lossy(bytes);
        for (line, text) in logical_lines(&text) {
            if let Some((name, is_constraint)) = included(&text) {
                let next = path.parent().unwrap_or(Path::new("/")).join(name);
                match files::read(&next, SMALL) {
                    Ok(bytes) => self.add(&next, &bytes, asks && !is_constraint)?,
                    // What it would wait for, or swallow, the installer would too.
                    Err(error @ (FileError::NotAFile(_) | FileError::TooLarge(_))) => {
                        return Err(unreadable(&next, error.into()));
                    }
                    Err(_) => {}
                }
            } else if asks && let Some((name, wanted)) = parse(&text) {
                self.asked.push(Asked { file: path.to_path_buf(), line, text, name, wanted });
            }
        }
        Ok(())
    }
}

/// Lines as pip reads them: joined at backslashes, without comments and the options of a requirement.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let (first, mut joined) = open.take().unwrap_or((number + 1, String::new()));
        let is_comment = line.trim_start().starts_with('#');
        if !is_comment && let Some(part) = line.strip_suffix('\\') {
            joined.push_str(part);
            open = Some((first, joined));
            continue;
        }
        joined.push_str(line);
        lines.push((first, joined));
    }
    lines.extend(open);
    let clean = |line: String| {
        let end = line
            .char_indices()
            .find(|&(at, c)| c == '#' && (at == 0 || line[..at].ends_with(char::is_whitespace)))
            .map_or(line.len(), |(at, _)| at);
        line[..end].trim().to_owned()
    };
    lines.into_iter().map(|(number, line)| (number, clean(line))).filter(|(_, line)| !line.is_empty()).collect()
}

/// The file that a line includes, and whether as constraints.
fn included(line: &str) -> Option<(&str, bool)> {
    let options = [("--requirement", false), ("--constraint", true), ("-r", false), ("-c", true)];
    let (rest, is_constraint) = options.iter().find_map(|(option, is)| Some((line.strip_prefix(option)?, *is)))?;
    let name = rest.trim_start_matches(['=', ' ', '\t']);
    (!name.is_empty() && !name.contains("://")).then_some((name, is_constraint))
}

/// The distribution that a line asks for by name. A line with a condition (`; python_version < "3.9"`) is left to the
/// installer: whether it counts is for the container's Python to say.
fn parse(line: &str) -> Option<(String, Wanted)> {
    let line = line.split(" --").next().unwrap_or_default().trim();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let starts_and_ends = |test: fn(char) -> bool| name.starts_with(test) && name.ends_with(test);
    if !starts_and_ends(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(extras) => extras.split_once(']')?.1.trim_start(),
        None => rest,
    };
    if rest.contains(';') {
        return None;
    }
    let wanted = if rest.starts_with('@') {
        Wanted::Address
    } else {
        let versions = rest.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(rest);
        Wanted::Versions(VersionSpecifiers::from_str(versions).ok()?)
    };
    Some((normalized(name), wanted))
}

/// PEP 503: runs of `-`, `_` and `.` are one `-`, and case does not count.
pub fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '-' | '_' | '.') {
            if !out.ends_with('-') {
                out.push('-');
            }
        } else {
            out.push(c.to_ascii_lowercase());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_pip_reads_them() {
        let text = "# all\nnumpy == 1.24 \\\n  --hash=sha256:00\n\nTorch[cuda]>=2,<3 # why\n-r more.txt\nx @ \
                    https://e.org/x#egg=x\nzope.interface(>=5)\npywin32; sys_platform == 'win32'\n-e .\n./a.whl\n\
                    https://e.org/a.whl\n--index-url https://e.org\nbad==\n#\\\nlast\\";
        let found: Vec<(usize, String, bool)> = logical_lines(text)
            .into_iter()
            .filter(|(_, line)| included(line).is_none())
            .filter_map(|(n, line)| parse(&line).map(|(name, wanted)| (n, name, wanted == Wanted::Address)))
            .collect();
        let want = [
            (2, "numpy", false),
            (5, "torch", false),
            (7, "x", true),
            (8, "zope-interface", false),
            (16, "last", false),
        ];
        assert_eq!(found, want.map(|(n, name, address)| (n, name.to_owned(), address)));
        for (line, want) in [
            ("-r more.txt", Some(("more.txt", false))),
            ("-rmore.txt", Some(("more.txt", false))),
            ("--constraint=c.txt", Some(("c.txt", true))),
            ("-r https://e.org/r.txt", None),
            ("requests", None),
        ] {
            assert_eq!(included(line), want, "{line}");
        }
    }

    #[test]
    fn what_is_no_file_neither_blocks_nor_fills_the_memory() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().canonicalize().expect("resolves");
        let at = |name: &str| HostPath::new(folder.join(name)).expect("absolute");
        let pipe = at("pipe.txt");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, pipe.as_path(), rustix::fs::FileType::Fifo, mode, 0).expect("made");
        std::os::unix::fs::symlink("/dev/zero", at("zero.txt")).expect("linked");
        std::fs::write(at("large.txt"), vec![b'#'; SMALL as usize + 1]).expect("written");
        std::fs::create_dir(at("folder.txt")).expect("made");
        for (name, why) in [
            ("pipe.txt", "named pipe"),
            ("zero.txt", "device"),
            ("folder.txt", "a folder"),
            ("large.txt", "larger than"),
            ("absent.txt", "does not exist"),
        ] {
            let error = read(&[at(name)]).expect_err(name).to_string();
            assert!(error.contains(name) && error.contains(why), "{error}");
            std::fs::write(at("r.txt"), format!("numpy\n-r {name}\n")).expect("written");
            let included = read(&[at("r.txt")]);
            assert_eq!(included.is_ok(), name == "absent.txt", "{name}");
        }
    }

    #[test]
    fn the_digest_is_of_all_files_and_an_endless_circle_ends() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().canonicalize().expect("resolves");
        let at = |name: &str| HostPath::new(folder.join(name)).expect("absolute");
        std::fs::write(at("a.txt"), "-r b.txt\none\n").expect("written");
        std::fs::write(at("b.txt"), "-r a.txt\n-c c.txt\ntwo\n").expect("written");
        std::fs::write(at("c.txt"), "three==1\n").expect("written");
        let all = read(&[at("a.txt")]).expect("reads");
        let names: Vec<&str> = all.asked.iter().map(|asked| asked.name.as_str()).collect();
        assert_eq!(names, ["two", "one"], "a constraint asks for nothing");
        let before = all.digest();
        std::fs::write(at("c.txt"), "three==2\n").expect("written");
        assert_ne!(read(&[at("a.txt")]).expect("reads").digest(), before);
    }
}
