//! Where in a TOML text a position is, also while the text is half written and no parser would take it.

use std::collections::BTreeSet;

use tower_lsp::lsp_types::Position;

/// What stands around a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `jobs`, `train` below `[jobs.train]`.
    pub(super) table: Vec<String>,
    /// Keys that the table has already.
    pub(super) there: BTreeSet<String>,
    pub(super) at: At,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Between `[` and `]` of a header.
    Header,
    Key,
    /// Of the key at that path.
    Value {
        path: Vec<String>,
        quoted: bool,
    },
    /// A comment, say.
    Nothing,
}

/// A value, or one of a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// Of its key.
    pub(super) path: Vec<String>,
    /// Without its quotes.
    pub(super) text: String,
    pub(super) listed: bool,
}

/// What was read up to some point.
#[derive(Default)]
struct Reader {
    table: Vec<String>,
    there: BTreeSet<String>,
    key: Option<String>,
    /// Of brackets and braces within a value.
    depth: usize,
    quote: Option<char>,
    comment: bool,
}

impl Reader {
    /// What stands above a line of the text.
    fn above(text: &str, line: u32) -> Self {
        let mut reader = Self::default();
        for line in text.lines().take(line as usize) {
            reader.line(line, true);
        }
        reader
    }

    /// Reads a line or its beginning; `whole`: a line end follows.
    fn line(&mut self, line: &str, whole: bool) {
        self.comment = false;
        let fresh = self.key.is_none();
        if fresh && line.trim_start().starts_with('[') {
            if whole || line.contains(']') {
                self.table = header(line);
                self.there.clear();
            }
            return;
        }
        let mut rest = line.char_indices();
        while let Some((at, c)) = rest.next() {
            match (self.quote, c) {
                (Some('"'), '\\') => drop(rest.next()),
                (Some(quote), c) if c == quote => self.quote = None,
                (None, '#') => {
                    self.comment = true;
                    break;
                }
                (None, '=') if self.key.is_none() => {
                    let key = line[..at].trim().trim_matches(['"', '\'']).to_owned();
                    self.there.insert(key.clone());
                    self.key = Some(key);
                }
                (None, '"' | '\'') if self.key.is_some() => self.quote = Some(c),
                (None, '[' | '{') if self.key.is_some() => self.depth += 1,
                (None, ']' | '}') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        if whole {
            self.quote = None;
            if self.depth == 0 {
                self.key = None;
            }
        }
    }
}

/// The parts of `[a."b c"]`, as far as they are written.
fn header(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('[');
    let inner = inner.split(']').next().unwrap_or(inner);
    let mut parts = vec![String::new()];
    let mut quote = None;
    for c in inner.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '.') => parts.push(String::new()),
            (_, c) => parts.last_mut().expect("one at least").push(c),
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

impl Place {
    pub(super) fn of(text: &str, position: Position) -> Self {
        let mut reader = Reader::above(text, position.line);
        let before = beginning(text.lines().nth(position.line as usize).unwrap_or_default(), position.character);
        let fresh = reader.key.is_none();
        if fresh && before.trim_start().starts_with('[') && !before.contains(']') {
            return Self { table: reader.table, there: reader.there, at: At::Header };
        }
        // What stands further down in the same table is there as well.
        let below = rest_of_table(text, position.line as usize);
        reader.line(before, false);
        let at = match &reader.key {
            _ if reader.comment => At::Nothing,
            Some(key) => {
                let mut path = reader.table.clone();
                path.push(key.clone());
                At::Value { path, quoted: reader.quote.is_some() }
            }
            None if before.trim_start().starts_with('[') => At::Nothing,
            None => At::Key,
        };
        Self { table: reader.table, there: reader.there.into_iter().chain(below).collect(), at }
    }

    /// The value that is at a position.
    pub(super) fn value(text: &str, position: Position) -> Option<Value> {
        let mut reader = Reader::above(text, position.line);
        let line = text.lines().nth(position.line as usize)?;
        let before = beginning(line, position.character);
        reader.line(before, false);
        let mut path = reader.table;
        path.push(reader.key.filter(|_| !reader.comment)?);
        let ends: &[char] = match &reader.quote {
            Some(quote) => std::slice::from_ref(quote),
            None => &[' ', '\t', ',', '=', '[', ']', '{', '}', '#', '"', '\''],
        };
        let from = before.rfind(ends).map_or(0, |at| at + 1);
        let rest = &line[from..];
        let text = rest[..rest.find(ends).unwrap_or(rest.len())].to_owned();
        Some(Value { path, text, listed: reader.depth > 0 }).filter(|value| !value.text.is_empty())
    }

    /// The path of the table or key whose name is at a position.
    pub(super) fn word(text: &str, position: Position) -> Option<Vec<String>> {
        let reader = Reader::above(text, position.line);
        let line = text.lines().nth(position.line as usize)?;
        if reader.key.is_some() {
            return None;
        }
        if line.trim_start().starts_with('[') {
            return Some(header(line));
        }
        let (key, _) = line.split_once('=')?;
        if beginning(line, position.character).len() > key.len() || key.trim_start().starts_with('#') {
            return None;
        }
        let mut path = reader.table;
        path.push(key.trim().trim_matches(['"', '\'']).to_owned());
        Some(path)
    }
}

/// Keys below `line` up to the next header.
fn rest_of_table(text: &str, line: usize) -> BTreeSet<String> {
    let mut reader = Reader::default();
    for line in text.lines().skip(line + 1).take_while(|line| !line.trim_start().starts_with('[')) {
        reader.line(line, true);
    }
    reader.there
}

/// What stands before a column, which editors count in UTF-16.
fn beginning(line: &str, column: u32) -> &str {
    let mut units = 0;
    for (at, c) in line.char_indices() {
        if units >= column {
            return &line[..at];
        }
        units += c.len_utf16() as u32;
    }
    line
}
