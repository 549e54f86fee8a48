//! `env_file` as the engine's own tool reads it: no quotes, no `export`, no `$` in values.

use super::error::BadValue;
use super::values::env_name;

/// A line of an `env_file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Set(String, String),
    /// KEY alone: its value is the helper's own, where it has one.
    Pass(String),
}

/// `file` is for the messages only. The byte order mark is gone already.
pub(super) fn parse(text: &str, file: &str) -> Result<Vec<Entry>, BadValue> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // Only what stands before the name is trimmed: a value keeps its spaces.
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line.trim_end(), None),
        };
        let fails = |why: String| BadValue::EnvFile { file: file.to_owned(), line: index + 1, why };
        env_name(name).map_err(|e| fails(e.to_string()))?;
        if value.is_some_and(|v| v.contains('\0')) {
            return Err(fails("the value holds a NUL byte".into()));
        }
        entries.push(match value {
            Some(value) => Entry::Set(name.to_owned(), value.to_owned()),
            None => Entry::Pass(name.to_owned()),
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_engines_own_tool_reads_them() {
        let set = |name: &str, value: &str| Entry::Set(name.into(), value.into());
        for (text, want) in [
            ("A=b\r\nB=c\r\n", vec![set("A", "b"), set("B", "c")]),
            ("A=b=c", vec![set("A", "b=c")]),
            ("A=", vec![set("A", "")]),
            ("A=\"q\"", vec![set("A", "\"q\"")]),
            ("  A= spaced out ", vec![set("A", " spaced out ")]),
            ("# A=b\n\n  # c\nA=b # no comment", vec![set("A", "b # no comment")]),
            ("HOME", vec![Entry::Pass("HOME".into())]),
            ("A=$(id)`x`;$HOME", vec![set("A", "$(id)`x`;$HOME")]),
            ("A.b-c=1", vec![set("A.b-c", "1")]),
        ] {
            assert_eq!(parse(text, ".env"), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn a_bad_name_is_told_with_its_line() {
        for (text, line) in [("A=1\n=x", 2), ("export A=1", 1), ("A=1\n\nB C=1", 3), ("\nA =1", 2), ("B C", 1)] {
            let Err(BadValue::EnvFile { file, line: at, .. }) = parse(text, "/ws/.env") else {
                panic!("{text:?} was taken");
            };
            assert_eq!((file.as_str(), at), ("/ws/.env", line), "{text:?}");
        }
    }
}
