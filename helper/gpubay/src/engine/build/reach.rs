//! What a build reaches: its stages, the images they start from, and the paths of the context that
//! their instructions name.

use std::collections::{BTreeMap, BTreeSet};

use super::dockerfile::{Instruction, Parsed, assignments, expand, parse, words};
use super::ignore::clean;

/// Which stages a build makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What the target needs, as `BuildKit` does.
    Needed,
    /// All up to the target, as the classic builder does.
    UpToTarget,
}

/// An image that a build starts from, as the engine has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// `sha256:…`
    pub id: String,
    /// The instructions that it adds to whatever is built on it, as its configuration lists them.
    pub on_build: Vec<String>,
}

/// The whole context.
pub(super) const EVERYTHING: &str = ".";

/// The images that a build of `target` starts from or copies from, by the names that the Dockerfile
/// gives them; `scratch` is none. A name whose variables have no value is left out.
pub fn base_images(parsed: &Parsed, args: &BTreeMap<String, String>, target: Option<&str>) -> Vec<String> {
    images(parsed, args, target, Extent::Needed)
}

/// What the stages that a build of `target` needs start from, with the line that says so. Other stages and `scratch` are
/// left out, and what has a variable without a value.
pub fn froms(parsed: &Parsed, args: &BTreeMap<String, String>, target: Option<&str>) -> Vec<(usize, String)> {
    let reach = Reach::of(parsed, args, target, Extent::Needed);
    reach.stages.iter().filter_map(|index| reach.from(parsed, *index)).collect()
}

/// The same of every stage.
pub fn every_from(parsed: &Parsed, args: &BTreeMap<String, String>) -> Vec<(usize, String)> {
    let reach = Reach::of(parsed, args, None, Extent::Needed);
    (0..parsed.stages.len()).filter_map(|index| reach.from(parsed, index)).collect()
}

/// The same for another extent of the build.
pub(super) fn images(
    parsed: &Parsed,
    args: &BTreeMap<String, String>,
    target: Option<&str>,
    extent: Extent,
) -> Vec<String> {
    Reach::of(parsed, args, target, extent).images.into_iter().collect()
}

/// The paths that reachable instructions read from the context, with their wildcards.
pub fn context_paths(
    parsed: &Parsed,
    args: &BTreeMap<String, String>,
    target: Option<&str>,
    bases: &BTreeMap<String, Base>,
    extent: Extent,
) -> Vec<String> {
    let reach = Reach::of(parsed, args, target, extent);
    let mut paths = BTreeSet::new();
    for index in &reach.stages {
        let stage = &parsed.stages[*index];
        let mut known = reach.globals.clone();
        // Only what a stage declares is known in it; what its base sets may be anything.
        let mut values = BTreeMap::new();
        inherit(parsed, *index, &reach.globals, args, &mut values, 0);
        let triggers = expand(&stage.base, &known, parsed.escape)
            .and_then(|base| bases.get(&base))
            .map(|base| parse(&format!("FROM x\n{}", base.on_build.join("\n"))));
        let triggers = triggers.and_then(|parsed| parsed.stages.into_iter().next());
        known.clear();
        for instruction in triggers.iter().flat_map(|stage| &stage.instructions) {
            paths.extend(read_by(instruction, &values, parsed));
        }
        for instruction in &stage.instructions {
            declare(instruction, &reach.globals, args, &mut values, parsed.escape);
            paths.extend(read_by(instruction, &values, parsed));
        }
    }
    if paths.contains(EVERYTHING) { vec![EVERYTHING.to_owned()] } else { paths.into_iter().collect() }
}

/// The instructions of the last stage that copy the whole context, by line, with where they put it as far as that is known.
pub fn whole_copies(parsed: &Parsed, args: &BTreeMap<String, String>, target: Option<&str>) -> Vec<(usize, String)> {
    let Some(stage) = parsed.stage(target).map(|index| &parsed.stages[index]) else { return Vec::new() };
    let globals = Reach::of(parsed, args, target, Extent::Needed).globals;
    let mut values = BTreeMap::new();
    let mut workdir = "/".to_owned();
    let mut found = Vec::new();
    let below = |workdir: &str, path: &str| {
        clean(&if path.starts_with('/') { path.to_owned() } else { format!("{workdir}/{path}") })
    };
    for instruction in &stage.instructions {
        declare(instruction, &globals, args, &mut values, parsed.escape);
        match instruction.keyword.as_str() {
            "WORKDIR" => {
                if let Some(path) = expand(instruction.rest.trim(), &values, parsed.escape) {
                    workdir = below(&workdir, &path);
                }
            }
            "COPY" | "ADD" if !instruction.flags.iter().any(|(flag, _)| flag == "from") => {
                let whole = |path: &String| matches!(path.as_str(), "." | "./" | "/" | "*" | "./*");
                if let Some((to, sources)) = words(&instruction.rest).split_last()
                    && sources.iter().any(whole)
                    && let Some(to) = expand(to, &values, parsed.escape)
                {
                    found.push((instruction.line, below(&workdir, &to)));
                }
            }
            _ => {}
        }
    }
    found
}

struct Reach {
    stages: BTreeSet<usize>,
    images: BTreeSet<String>,
    /// Arguments declared before the first `FROM`.
    globals: BTreeMap<String, String>,
}

impl Reach {
    fn of(parsed: &Parsed, args: &BTreeMap<String, String>, target: Option<&str>, extent: Extent) -> Self {
        let mut globals = BTreeMap::new();
        for instruction in parsed.globals.iter().filter(|one| one.keyword == "ARG") {
            for (name, default) in assignments(&instruction.rest) {
                let default = default.and_then(|text| expand(&text, &globals, parsed.escape));
                if let Some(value) = args.get(&name).cloned().or(default) {
                    globals.insert(name, value);
                }
            }
        }
        let mut reach = Self { stages: BTreeSet::new(), images: BTreeSet::new(), globals };
        if let Some(index) = parsed.stage(target) {
            let first = if extent == Extent::UpToTarget { 0 } else { index };
            for index in first..=index {
                reach.add(parsed, args, index);
            }
        }
        reach
    }

    fn add(&mut self, parsed: &Parsed, args: &BTreeMap<String, String>, index: usize) {
        if !self.stages.insert(index) {
            return;
        }
        let stage = &parsed.stages[index];
        if let Some(base) = expand(&stage.base, &self.globals, parsed.escape) {
            self.name(parsed, args, &base, index, false);
        }
        let mut values = self.globals.clone();
        for instruction in &stage.instructions {
            declare(instruction, &self.globals, args, &mut values, parsed.escape);
            for from in sources_elsewhere(instruction) {
                if let Some(from) = expand(&from, &values, parsed.escape) {
                    self.name(parsed, args, &from, index, true);
                }
            }
        }
    }

    /// The image that a stage starts from, and on which line.
    fn from(&self, parsed: &Parsed, index: usize) -> Option<(usize, String)> {
        let stage = &parsed.stages[index];
        let image = expand(&stage.base, &self.globals, parsed.escape)?;
        let lower = image.to_lowercase();
        let earlier = parsed.stages[..index].iter().any(|stage| stage.name.as_ref() == Some(&lower));
        (!earlier && lower != "scratch" && !image.is_empty()).then_some((stage.line, image))
    }

    /// Adds the earlier stage or the image that `name` means within stage `within`.
    fn name(&mut self, parsed: &Parsed, args: &BTreeMap<String, String>, name: &str, within: usize, numbers: bool) {
        let lower = name.to_lowercase();
        let earlier = parsed.stages[..within].iter().rposition(|stage| stage.name.as_ref() == Some(&lower));
        let number = name.parse().ok().filter(|number| numbers && *number < within);
        match earlier.or(number) {
            Some(index) => self.add(parsed, args, index),
            None if lower == "scratch" || lower == "context" || name.is_empty() => {}
            None => {
                self.images.insert(name.to_owned());
            }
        }
    }
}

/// Collects the variables that the stages below `index` leave to it.
fn inherit(
    parsed: &Parsed,
    index: usize,
    globals: &BTreeMap<String, String>,
    args: &BTreeMap<String, String>,
    values: &mut BTreeMap<String, String>,
    depth: usize,
) {
    let Some(base) = expand(&parsed.stages[index].base, globals, parsed.escape) else { return };
    let base = base.to_lowercase();
    let Some(below) = parsed.stages[..index].iter().rposition(|stage| stage.name.as_ref() == Some(&base)) else {
        return;
    };
    if depth < parsed.stages.len() {
        inherit(parsed, below, globals, args, values, depth + 1);
    }
    for instruction in &parsed.stages[below].instructions {
        declare(instruction, globals, args, values, parsed.escape);
    }
}

/// Learns the values that an instruction gives to variables; forgets those it makes unknown.
fn declare(
    instruction: &Instruction,
    globals: &BTreeMap<String, String>,
    args: &BTreeMap<String, String>,
    values: &mut BTreeMap<String, String>,
    escape: char,
) {
    let pairs = match instruction.keyword.as_str() {
        "ARG" => assignments(&instruction.rest)
            .into_iter()
            .map(|(name, default)| {
                let given = args.get(&name).cloned();
                let value = given
                    .or_else(|| default.and_then(|text| expand(&text, values, escape)))
                    .or_else(|| globals.get(&name).cloned());
                (name, value)
            })
            .collect(),
        "ENV" => {
            let pairs = assignments(&instruction.rest);
            match pairs.first() {
                // The old form: a name, a blank, and the rest is its value.
                Some((name, None)) => {
                    let value = instruction.rest.split_once(char::is_whitespace).map(|(_, value)| value.trim());
                    vec![(name.clone(), value.and_then(|value| expand(value, values, escape)))]
                }
                _ => pairs
                    .into_iter()
                    .map(|(name, value)| (name, value.and_then(|value| expand(&value, values, escape))))
                    .collect(),
            }
        }
        _ => Vec::new(),
    };
    for (name, value) in pairs {
        match value {
            Some(value) => values.insert(name, value),
            None => values.remove(&name),
        };
    }
}

/// The stages or images that an instruction reads from.
fn sources_elsewhere(instruction: &Instruction) -> Vec<String> {
    let mut sources = Vec::new();
    for (flag, value) in &instruction.flags {
        match (instruction.keyword.as_str(), flag.as_str()) {
            ("COPY" | "ADD", "from") => sources.push(value.clone()),
            ("RUN", "mount") => sources.extend(mount_option(value, "from")),
            _ => {}
        }
    }
    sources
}

fn mount_option(mount: &str, name: &str) -> Option<String> {
    mount
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, v)| v.trim().to_owned())
}

/// The paths of the context that an instruction reads.
fn read_by(instruction: &Instruction, values: &BTreeMap<String, String>, parsed: &Parsed) -> Vec<String> {
    let flag = |name: &str| instruction.flags.iter().any(|(flag, _)| flag == name);
    let raw: Vec<String> = match instruction.keyword.as_str() {
        "COPY" | "ADD" if !flag("from") => {
            let mut paths = if instruction.rest.trim_start().starts_with('[') {
                serde_json::from_str(&instruction.rest).unwrap_or_else(|_| words(&instruction.rest))
            } else {
                words(&instruction.rest)
            };
            // The last is where they go.
            paths.pop();
            paths.retain(|path| !path.starts_with("<<"));
            if instruction.keyword == "ADD" {
                paths.retain(|path| !is_remote(path));
            }
            paths
        }
        "RUN" => instruction
            .flags
            .iter()
            .filter(|(flag, value)| {
                let kind = mount_option(value, "type");
                flag == "mount" && kind.is_none_or(|kind| kind == "bind") && mount_option(value, "from").is_none()
            })
            .map(|(_, value)| {
                mount_option(value, "source")
                    .or_else(|| mount_option(value, "src"))
                    .unwrap_or_else(|| EVERYTHING.to_owned())
            })
            .collect(),
        _ => Vec::new(),
    };
    raw.into_iter()
        .map(|path| match expand(&path, values, parsed.escape) {
            Some(path) => {
                // `--parents` keeps what is before `/./`; the marker itself names nothing.
                let path = clean(&format!("/{path}"));
                let path = path.trim_start_matches('/');
                if path.is_empty() { EVERYTHING.to_owned() } else { path.to_owned() }
            }
            // Its value may come from the base image: it may be anything.
            None => EVERYTHING.to_owned(),
        })
        // `--parents` lets `**` cross folders, which a plain path does not.
        .map(|path| if path.contains("**") { EVERYTHING.to_owned() } else { path })
        .collect()
}

fn is_remote(source: &str) -> bool {
    ["http://", "https://", "ssh://", "git://", "git@"].iter().any(|start| source.starts_with(start))
}
