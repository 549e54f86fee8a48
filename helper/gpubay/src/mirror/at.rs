//! Open folders of one tree, remembered from one file to the next.

use std::io;

use super::disk::Folder;

/// Goes from folder to folder of a tree. Neighbours come one after the other and share most of their way, which stays open.
pub(super) struct At {
    top: Folder,
    /// Of the folder that was asked for last.
    path: Vec<u8>,
    /// The folders on the way to it, each with the length of `path` that it stands for.
    way: Vec<(usize, Folder)>,
}

impl At {
    pub(super) fn new(top: Folder) -> Self {
        Self { top, path: Vec::new(), way: Vec::new() }
    }

    /// The folder of that path, which holds plain names and `/`; empty is the top.
    pub(super) fn folder(&mut self, path: &[u8]) -> io::Result<&Folder> {
        let leads =
            |end: usize, old: &[u8]| path.starts_with(&old[..end]) && matches!(path.get(end), None | Some(b'/'));
        while self.way.last().is_some_and(|(end, _)| !leads(*end, &self.path)) {
            self.way.pop();
        }
        let mut end = self.way.last().map_or(0, |(end, _)| *end);
        // What is open is always what `path` says, also after an error in the middle.
        self.path.truncate(end);
        while end < path.len() {
            let from = if end == 0 { 0 } else { end + 1 };
            end = path[from..].iter().position(|&b| b == b'/').map_or(path.len(), |at| from + at);
            let next = self.way.last().map_or(&self.top, |(_, folder)| folder).child(&path[from..end])?;
            self.path.extend_from_slice(&path[self.path.len()..end]);
            self.way.push((end, next));
        }
        Ok(self.way.last().map_or(&self.top, |(_, folder)| folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_leads_to_its_own_folder() {
        let top = tempfile::tempdir().expect("a folder");
        let paths =
            ["a", "a/b", "a/b/c", "a/bc", "ab", "ab/c", "a/b/c", "", "a/bc", "a/none", "a/b", "a/none/c", "ab/c"];
        for path in paths.iter().filter(|path| !path.contains("none")) {
            std::fs::create_dir_all(top.path().join(path)).expect("made");
            std::fs::write(top.path().join(path).join("name"), path).expect("written");
        }
        let mut at = At::new(Folder::open(top.path()).expect("opened"));
        for path in paths {
            match at.folder(path.as_bytes()) {
                Ok(folder) => assert_eq!(folder.read("name", 100).expect("read"), path.as_bytes()),
                Err(error) => assert!(path.contains("none"), "{path}: {error}"),
            }
        }
    }
}
