//! Files of variables, in the two forms that there are: `env_file` as docker compose reads it, and `--env-file` as `docker
//! run` does.

use super::error::BadValue;
use super::values::env_name;

/// A line of an `env_file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Set(String, String),
    /// KEY alone: its value is the helper's own, where it has one.
    Pass(String),
}

/// Who reads the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `export`, quotes, comments after a value.
    Compose,
    /// A value is all that follows the equals sign.
    DockerRun,
}

/// `file` is for the messages only. The byte order mark is gone already.
pub(super) fn parse(text: &str, form: Form, file: &str) -> Result<Vec<Entry>, BadValue> {
    let mut entries = Vec::new();
    let mut rest = text;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let fails = |why: String| BadValue::EnvFile { file: file.to_owned(), line: number, why };
        let line_end = rest.find('\n').map_or(rest.len(), |end| end + 1);
        // Only what stands before the name is trimmed: a value keeps its spaces.
        let line = rest[..line_end].trim_end_matches(['\n', '\r']).trim_start();
        if line.is_empty() || line.starts_with('#') {
            rest = &rest[line_end..];
            continue;
        }
        let mut name_of = line.split_once('=').map_or(line, |(name, _)| name);
        if form == Form::Compose {
            let exported = name_of.strip_prefix("export").filter(|name| name.starts_with([' ', '\t']));
            name_of = exported.unwrap_or(name_of).trim();
        } else if !line.contains('=') {
            name_of = name_of.trim_end();
        }
        env_name(name_of).map_err(|error| fails(error.to_string()))?;
        let Some(equals) = rest[..line_end].find('=') else {
            entries.push(Entry::Pass(name_of.to_owned()));
            rest = &rest[line_end..];
            continue;
        };
        let after = &rest[equals + 1..];
        let (value, used) = match form {
            Form::DockerRun => {
                let end = after.find('\n').map_or(after.len(), |end| end + 1);
                let line = &after[..end];
                let line = line.strip_suffix('\n').unwrap_or(line);
                (line.strip_suffix('\r').unwrap_or(line).to_owned(), end)
            }
            Form::Compose => compose_value(after).map_err(fails)?,
        };
        if value.contains('\0') {
            return Err(fails("the value holds a NUL byte".into()));
        }
        entries.push(Entry::Set(name_of.to_owned(), value));
        // A value in quotes may go over lines.
        number += after[..used].matches('\n').count().saturating_sub(1);
        rest = &after[used..];
    }
    Ok(entries)
}

/// The value at the beginning of `text`, and how long it is with the rest of its line.
fn compose_value(text: &str) -> Result<(String, usize), String> {
    let start = text.len() - text.trim_start_matches([' ', '\t']).len();
    let body = &text[start..];
    let line_end = |from: usize| text[from..].find('\n').map_or(text.len(), |end| from + end + 1);
    let quote = body.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let Some(quote) = quote else {
        let end = line_end(0);
        let line = text[..end].trim();
        let comment = line
            .char_indices()
            .find(|(at, c)| *c == '#' && (*at == 0 && start > 0 || line[..*at].ends_with([' ', '\t'])));
        let value = comment.map_or(line, |(at, _)| line[..at].trim_end());
        no_variable(value)?;
        return Ok((value.to_owned(), end));
    };
    let mut value = String::new();
    let mut chars = body.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => {
                let end = line_end(start + at);
                let after = text[start + at + 1..end].trim();
                if !after.is_empty() && !after.starts_with('#') {
                    return Err("something follows the closing quote".to_owned());
                }
                return Ok((value, end));
            }
            '\\' if quote == '"' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, plain @ ('"' | '\\' | '$'))) => value.push(plain),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            '$' if quote == '"' => {
                no_variable(&body[at..])?;
                value.push('$');
            }
            _ => value.push(c),
        }
    }
    Err(format!("the quote {quote} is not closed"))
}

/// docker compose would put the value of a variable of yours there, unasked.
fn no_variable(value: &str) -> Result<(), String> {
    let named = |at: usize| value[at + 1..].starts_with(|c: char| c == '{' || c == '_' || c.is_ascii_alphabetic());
    match value.match_indices('$').find(|(at, _)| named(*at)) {
        Some(_) => Err("a variable in a value is not replaced here: in single quotes $ stands for itself".to_owned()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Entry {
        Entry::Set(name.into(), value.into())
    }

    #[test]
    fn docker_run_takes_a_value_as_it_stands() {
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
            assert_eq!(parse(text, Form::DockerRun, ".env"), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn compose_reads_quotes_export_and_comments() {
        for (text, want) in [
            ("A=b\r\nB=c\r\n", vec![set("A", "b"), set("B", "c")]),
            ("A=b=c\nB=\nC=", vec![set("A", "b=c"), set("B", ""), set("C", "")]),
            ("export A=b\nexport\tB=c\nexportC=d", vec![set("A", "b"), set("B", "c"), set("exportC", "d")]),
            ("A=\"q r\"\nB='s t' # c\n", vec![set("A", "q r"), set("B", "s t")]),
            ("A = spaced out  # c\nB=x#y\nC= # c", vec![set("A", "spaced out"), set("B", "x#y"), set("C", "")]),
            ("A=\"a\\nb\\t\\\"\\$x\\q\"", vec![set("A", "a\nb\t\"$x\\q")]),
            ("A='$HOME \\n'\nB=$5 $(id)", vec![set("A", "$HOME \\n"), set("B", "$5 $(id)")]),
            ("A=\"one\ntwo\"\nB=c", vec![set("A", "one\ntwo"), set("B", "c")]),
            ("A=it's", vec![set("A", "it's")]),
            ("HOME\n", vec![Entry::Pass("HOME".into())]),
        ] {
            assert_eq!(parse(text, Form::Compose, ".env"), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn a_bad_line_is_told_with_its_number() {
        let place = |text: &str, form| match parse(text, form, "/ws/.env") {
            Err(BadValue::EnvFile { file, line, .. }) if file == "/ws/.env" => line,
            other => panic!("{text:?}: {other:?}"),
        };
        for (text, line) in [("A=1\n=x", 2), ("export A=1", 1), ("A=1\n\nB C=1", 3), ("\nA =1", 2), ("B C", 1)] {
            assert_eq!(place(text, Form::DockerRun), line, "{text:?}");
        }
        for (text, line) in [
            ("A=1\n=x", 2),
            ("A=1\n\nB C=1", 3),
            ("A=\"x\ny\"\nB='open\n", 3),
            ("A=\"x\" y", 1),
            ("A=1\nB=$HOME", 2),
            ("A=\"${HOME}\"", 1),
        ] {
            assert_eq!(place(text, Form::Compose), line, "{text:?}");
        }
    }
}
