//! Reads a Dockerfile as far as we need: which stages there are, what they start from, what of the
//! context they read, and where each instruction stands.
//!
//! The engine is the judge of what is a valid Dockerfile; nothing here refuses one.

use std::collections::{BTreeMap, BTreeSet};

/// A Dockerfile's instructions, by stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The image that a `# syntax=` line names.
    pub syntax: Option<String>,
    /// What comes before the first `FROM`.
    pub globals: Vec<Instruction>,
    pub stages: Vec<Stage>,
    /// The character that continues a line.
    pub escape: char,
}

/// One `FROM` and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// In lower case.
    pub name: Option<String>,
    /// As written, variables and all.
    pub base: String,
    pub line: usize,
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Counted from 1.
    pub line: usize,
    /// In upper case.
    pub keyword: String,
    /// `--name=value`, without the dashes.
    pub flags: Vec<(String, String)>,
    /// What follows keyword and flags, continued lines joined.
    pub rest: String,
    /// Behind `ONBUILD`.
    pub onbuild: bool,
}

impl Parsed {
    /// The stage that `target` names, by name or number; without one the last.
    pub fn stage(&self, target: Option<&str>) -> Option<usize> {
        let Some(target) = target.filter(|target| !target.is_empty()) else { return self.stages.len().checked_sub(1) };
        let target = target.to_lowercase();
        self.stages
            .iter()
            .rposition(|stage| stage.name.as_ref() == Some(&target))
            .or_else(|| target.parse().ok().filter(|index| *index < self.stages.len()))
    }
}

/// Reads a Dockerfile's text.
pub fn parse(text: &str) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut parsed = Parsed { escape: '\\', ..Parsed::default() };
    for line in &lines {
        let Some((key, value)) = line.trim().strip_prefix('#').and_then(|line| line.split_once('=')) else { break };
        match key.trim().to_lowercase().as_str() {
            "escape" if value.trim() == "`" => parsed.escape = '`',
            "syntax" => parsed.syntax = Some(value.trim().to_owned()),
            key if key.is_empty() || key.contains(char::is_whitespace) => break,
            _ => {}
        }
    }
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        let Some(logical) = logical_line(&lines, &mut at, parsed.escape) else { continue };
        let mut instruction = read_instruction(&logical, first + 1);
        if instruction.keyword == "ONBUILD" {
            instruction = Instruction { onbuild: true, ..read_instruction(&instruction.rest, first + 1) };
        }
        skip_heredocs(&instruction, &lines, &mut at);
        if instruction.keyword == "FROM" && !instruction.onbuild {
            let mut words = instruction.rest.split_whitespace();
            let base = words.next().unwrap_or("").to_owned();
            let name = match (words.next(), words.next()) {
                (Some(word), Some(name)) if word.eq_ignore_ascii_case("as") => Some(name.to_lowercase()),
                _ => None,
            };
            parsed.stages.push(Stage { name, base, line: instruction.line, instructions: Vec::new() });
        } else if let Some(stage) = parsed.stages.last_mut() {
            stage.instructions.push(instruction);
        } else {
            parsed.globals.push(instruction);
        }
    }
    parsed
}

/// Joins a line with those that continue it; `None` for a comment or an empty line.
fn logical_line(lines: &[&str], at: &mut usize, escape: char) -> Option<String> {
    let is_comment = |line: &str| line.trim_start().starts_with('#');
    if lines[*at].trim().is_empty() || is_comment(lines[*at]) {
        *at += 1;
        return None;
    }
    let mut logical = String::new();
    let mut continued = true;
    while continued && *at < lines.len() {
        let line = lines[*at];
        *at += 1;
        // Within a continuation comments and empty lines count for nothing.
        if !logical.is_empty() && (is_comment(line) || line.trim().is_empty()) {
            continue;
        }
        if let Some(start) = line.trim_end_matches([' ', '\t', '\r']).strip_suffix(escape) {
            logical.push_str(start);
        } else {
            logical.push_str(line);
            continued = false;
        }
    }
    Some(logical.trim().to_owned())
}

fn read_instruction(text: &str, line: usize) -> Instruction {
    let (keyword, mut rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let keyword = keyword.to_uppercase();
    let mut flags = Vec::new();
    rest = rest.trim_start();
    while let Some(flag) = rest.strip_prefix("--") {
        let end = flag_end(flag);
        let (flag, behind) = flag.split_at(end);
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        if name.is_empty() {
            rest = behind.trim_start();
            break;
        }
        flags.push((name.to_lowercase(), unquote(value)));
        rest = behind.trim_start();
    }
    Instruction { line, keyword, flags, rest: rest.to_owned(), onbuild: false }
}

/// Where a flag ends: at the first blank outside quotes.
fn flag_end(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

fn unquote(text: &str) -> String {
    text.replace(['"', '\''], "")
}

/// The names of the here-documents that an instruction opens, and whether tabs before the end
/// marker count for nothing.
pub(super) fn heredocs(instruction: &Instruction) -> Vec<(String, bool)> {
    if !matches!(instruction.keyword.as_str(), "RUN" | "COPY" | "ADD") {
        return Vec::new();
    }
    instruction
        .rest
        .split_whitespace()
        .filter_map(|word| word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<"))
        .filter(|word| !word.starts_with('<'))
        .map(|word| match word.strip_prefix('-') {
            Some(word) => (unquote(word), true),
            None => (unquote(word), false),
        })
        .filter(|(word, _)| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c)))
        .collect()
}

fn skip_heredocs(instruction: &Instruction, lines: &[&str], at: &mut usize) {
    for (end, tabs) in heredocs(instruction) {
        while *at < lines.len() {
            let line = lines[*at];
            *at += 1;
            if (if tabs { line.trim_start_matches('\t') } else { line }) == end {
                break;
            }
        }
    }
}

/// The names that a Dockerfile declares with `ARG`, in any stage.
pub fn declared_args(text: &str) -> BTreeSet<String> {
    let parsed = parse(text);
    let own = parsed.stages.iter().flat_map(|stage| &stage.instructions);
    parsed
        .globals
        .iter()
        .chain(own)
        .filter(|instruction| instruction.keyword == "ARG")
        .flat_map(|instruction| assignments(&instruction.rest))
        .map(|(name, _)| name)
        .collect()
}

/// `A=1 B="x y" C` as pairs.
pub(crate) fn assignments(text: &str) -> Vec<(String, Option<String>)> {
    words(text)
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        })
        .collect()
}

/// Splits at blanks outside quotes, and drops the quotes.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = flag_end(rest);
        words.push(unquote(&rest[..end]));
        rest = rest[end..].trim_start();
    }
    words
}

/// Replaces variables; `None` where one has no known value or a form of its own.
pub(crate) fn expand(text: &str, known: &BTreeMap<String, String>, escape: char) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, behind) = rest.split_at(at);
        if let Some(before) = before.strip_suffix(escape) {
            out.push_str(before);
            out.push('$');
            rest = &behind[1..];
            continue;
        }
        out.push_str(before);
        let behind = &behind[1..];
        if let Some(braced) = behind.strip_prefix('{') {
            let (body, behind) = braced.split_at(closing(braced)?);
            out.push_str(&braces(body, known, escape)?);
            rest = &behind[1..];
        } else {
            let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(behind.len());
            out.push_str(known.get(&behind[..end])?);
            rest = &behind[end..];
        }
    }
    out.push_str(rest);
    Some(out)
}

/// Where the brace that was open before `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The value of what stands between braces: `X`, `X:-default`, `X:+other`.
fn braces(body: &str, known: &BTreeMap<String, String>, escape: char) -> Option<String> {
    if let Some((name, default)) = body.split_once(":-") {
        return match known.get(name).filter(|value| !value.is_empty()) {
            Some(value) => Some(value.clone()),
            // What is unknown here may still have a value in the image.
            None if known.contains_key(name) => expand(default, known, escape),
            None => None,
        };
    }
    if let Some((name, other)) = body.split_once(":+") {
        return if known.get(name)?.is_empty() { Some(String::new()) } else { expand(other, known, escape) };
    }
    known.get(body).cloned()
}

/// The instruction that the engine's name of a step means: `[dev 2/5] RUN make`.
pub(crate) fn locate<'a>(parsed: &'a Parsed, step: &str, target: Option<&str>) -> Option<&'a Instruction> {
    let (label, text) = step.strip_prefix('[')?.split_once("] ")?;
    let (stage, number) = label.rsplit_once(' ').unwrap_or(("", label));
    let (number, _) = number.split_once('/')?;
    let number: usize = number.trim().parse().ok()?;
    let stage = stage.strip_prefix("linux/amd64 ").unwrap_or(stage).trim();
    let index = if stage.is_empty() {
        parsed.stage(target)?
    } else {
        parsed.stage(Some(stage)).or_else(|| parsed.stage(stage.strip_prefix("stage-")))?
    };
    let keyword = text.split_whitespace().next()?.to_uppercase();
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let full = squeeze(text);
    let spelled = |one: &&Instruction| squeeze(&format!("{} {}", one.keyword, one.rest)) == full;
    let stage = &parsed.stages[index];
    let counted: Vec<_> = stage
        .instructions
        .iter()
        .filter(|one| !one.onbuild && matches!(one.keyword.as_str(), "RUN" | "COPY" | "ADD" | "WORKDIR"))
        .collect();
    // `FROM` counts as the first step, except for `scratch`.
    let offset = if stage.base.eq_ignore_ascii_case("scratch") { 1 } else { 2 };
    let by_number = number.checked_sub(offset).and_then(|at| counted.get(at)).copied();
    by_number
        .filter(|one| one.keyword == keyword)
        .or_else(|| counted.iter().copied().find(spelled))
        .or_else(|| parsed.stages.iter().flat_map(|stage| &stage.instructions).find(spelled))
}

#[cfg(test)]
#[path = "dockerfile_tests.rs"]
mod tests;
