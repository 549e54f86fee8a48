//! What can be wrong with what the user wrote, each kind with its own code and next step.

use std::fmt;
use std::ops::Range;

use super::parse::Step;
use crate::HostPath;
use crate::error::{Explain, SourceLine};
use crate::quoting::printable;

/// Where in a file something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: HostPath,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The line itself, with a caret below what is meant.
    pub excerpt: String,
}

impl Place {
    /// `span` is in bytes of `text`; one past its end is its last line.
    pub(super) fn new(file: &HostPath, text: &str, span: &Range<usize>) -> Self {
        let start = floor_boundary(text, span.start.min(text.len()));
        let end = floor_boundary(text, span.end.clamp(start, text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[..start].matches('\n').count() + 1;
        let column = text[line_start..start].chars().count() + 1;
        let width = text[start..end.min(line_end).max(start)].chars().count().clamp(1, 60);
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let shown = printable(text[line_start..line_end].trim_end_matches('\r'));
        let excerpt =
            format!("{gutter} |\n{number} | {shown}\n{gutter} | {}{}", " ".repeat(column - 1), "^".repeat(width));
        Self { file: file.clone(), line, column, excerpt }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", printable(&self.file.to_string()), self.line, self.column)
    }
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("workspace {0} does not exist")]
    NoWorkspace(String),
    #[error("workspace {0} is not a folder")]
    WorkspaceNotAFolder(String),
    #[error("workspace {path} cannot be read")]
    WorkspaceUnreadable { path: String, source: std::io::Error },

    #[error("{file} cannot be read")]
    Unreadable { file: String, source: std::io::Error },
    #[error("{file} is {what}, not a file")]
    NotAFile { file: String, what: &'static str },
    #[error("{file} is a link to {target}, outside of the workspace")]
    FileOutside { file: String, target: String },
    #[error("{file} is larger than {limit} bytes")]
    TooLarge { file: String, limit: u64 },
    #[error("{file} is not UTF-8 text (byte {at})")]
    NotUtf8 { file: String, at: usize },

    #[error("{place}: {message}\n{}", place.excerpt)]
    Syntax { place: Box<Place>, message: String },
    #[error("{place}: unknown key `{key}`{}\n{}", suggestion(near.as_deref()), place.excerpt)]
    UnknownKey { place: Box<Place>, key: String, near: Option<String>, known: Vec<String> },
    #[error("{place}: {key} cannot be `{given}`{}\n{}", suggestion(near.as_deref()), place.excerpt)]
    UnknownChoice { place: Box<Place>, key: String, given: String, near: Option<String>, known: Vec<String> },
    #[error("{place}: {key}: {message}\n{}", place.excerpt)]
    WrongType { place: Box<Place>, key: String, message: String, write: Option<String> },
    #[error("{place}: {key}: {problem}\n{}", place.excerpt)]
    Value { place: Box<Place>, key: String, problem: BadValue },
    /// A value that stands in no one file: an option of the command line, or what two files give together.
    #[error("{option}: {problem}")]
    Option { option: String, problem: BadValue },

    #[error("several Dockerfiles could be meant: {}", candidates.join(", "))]
    AmbiguousDockerfile { candidates: Vec<String> },
    #[error("{workspace} has no Dockerfile, no docker/*/Dockerfile and no requirements.txt")]
    NoDockerfile { workspace: String },
    #[error("{what} of this user cannot be kept in {path}")]
    State { what: &'static str, path: String, source: std::io::Error },
    #[error("{path} is not what GPU Bay wrote there: {message}")]
    StateDamaged { path: String, message: String },
    #[error("{0} is not an absolute path")]
    Relative(String),
}

/// One value that does not mean anything, without the place where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    #[error("{0:?} is not a size")]
    Size(String),
    #[error("{0} without a unit is {0} bytes")]
    SizeWithoutUnit(String),
    #[error("{0:?} is less than the 6m that an engine takes at least")]
    TooLittleMemory(String),
    #[error("{0:?} is not a number of CPUs")]
    Cpus(String),
    #[error("{given:?} is not a port: {why}")]
    Port { given: String, why: String },
    #[error("{given:?} is not a mount: {why}")]
    Mount { given: String, why: String },
    #[error("{path}, the source of the mount on {target}, does not exist")]
    MissingMountSource { path: String, target: String },
    #[error("{what} {path} does not exist")]
    MissingFile { what: &'static str, path: String },
    #[error("{what} {path} {why}")]
    WrongFile { what: &'static str, path: String, why: String },
    #[error("{given:?} is not a path: {why}")]
    Path { given: String, why: String },
    #[error("{0:?} is not a ulimit")]
    Ulimit(String),
    #[error("{0:?} is not a device")]
    Device(String),
    #[error("{0:?} is not a user")]
    User(String),
    #[error("{0:?} is not a restart policy")]
    Restart(String),
    #[error("{0:?} is no folder of the workspace")]
    FolderOfWorkspace(String),
    #[error("{given:?} is not a folder inside the container: {why}")]
    Workdir { given: String, why: String },
    #[error("{given:?} is not a name for the virtual environment: {why}")]
    VenvPath { given: String, why: String },
    #[error("{0:?} is not a secret")]
    Secret(String),
    #[error("{given:?} is not a name for a variable: {why}")]
    EnvName { given: String, why: &'static str },
    #[error("the value of {name} holds a NUL byte")]
    EnvValue { name: String },
    #[error("{file}:{line}: {why}")]
    EnvFile { file: String, line: usize, why: String },
    #[error("{given:?} does not select GPUs: {why}")]
    Gpus { given: String, why: String },
    #[error("0 GPUs are none, and a count is 1 or more")]
    NoGpus,
    #[error("{0} GPUs cannot be had: a count is 1 or more")]
    FewerThanNoGpus(String),
    #[error("{0} GPUs are more than any machine has: a count is at most 1024")]
    TooManyGpus(String),
    #[error("GPUs are selected twice: by {one} and by {other}")]
    GpusTwice { one: String, other: String },
    #[error("required = true asks for a GPU, and `none` is selected")]
    GpusRequired,
    #[error("required = true in {required} asks for a GPU, and `none` is selected in {none}")]
    GpusRequiredElsewhere { required: String, none: String },
    #[error("{given:?} is not an engine: {why}")]
    EngineHost { given: String, why: String },
    #[error("the label {0:?} belongs to GPU Bay")]
    ReservedLabel(String),
    #[error("{given:?} is not {what}")]
    Name { given: String, what: &'static str },
    #[error("{0:?} is not a folder to persist")]
    Persist(String),
    #[error("image.from and {0} exclude each other")]
    ImageConflict(&'static str),
    #[error("{0} holds no command")]
    EmptyCommand(String),
    #[error("{given} is not between {low} and {high}")]
    Range { given: i64, low: i64, high: i64 },

    #[error("docker run has no option {given}{}", suggestion(near.as_deref()))]
    UnknownOption { given: String, near: Option<String> },
    #[error("{option} cannot be used here: {why}")]
    RefusedOption { option: String, why: &'static str },
    #[error("{0} lacks its value")]
    OptionWithoutValue(String),
    #[error("{given:?} is not an option")]
    NotAnOption { given: String },
    #[error("{option} does not take {given:?}: {why}")]
    OptionValue { option: String, given: String, why: String },
}

pub(super) fn suggestion(near: Option<&str>) -> String {
    near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}

impl Explain for ConfigError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoWorkspace(_) => "no_workspace",
            Self::WorkspaceNotAFolder(_) => "workspace_not_a_folder",
            Self::WorkspaceUnreadable { .. } => "workspace_unreadable",
            Self::Unreadable { .. } => "config_unreadable",
            Self::NotAFile { .. } => "config_not_a_file",
            Self::FileOutside { .. } => "config_outside",
            Self::TooLarge { .. } => "config_too_large",
            Self::NotUtf8 { .. } => "config_not_utf8",
            Self::Syntax { .. } => "config_syntax",
            Self::UnknownKey { .. } => "unknown_key",
            Self::UnknownChoice { .. } => "unknown_choice",
            Self::WrongType { .. } => "wrong_type",
            Self::Value { problem, .. } | Self::Option { problem, .. } => problem.code(),
            Self::AmbiguousDockerfile { .. } => "ambiguous_dockerfile",
            Self::NoDockerfile { .. } => "no_dockerfile",
            Self::State { .. } => "state_unwritable",
            Self::StateDamaged { .. } => "state_damaged",
            Self::Relative(_) => "relative_path",
        }
    }

    fn place(&self) -> Option<SourceLine> {
        let (Self::Syntax { place, .. }
        | Self::UnknownKey { place, .. }
        | Self::UnknownChoice { place, .. }
        | Self::WrongType { place, .. }
        | Self::Value { place, .. }) = self
        else {
            return None;
        };
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let (line, column) = (number(place.line), Some(number(place.column)));
        Some(SourceLine { file: place.file.to_string(), line, column })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoWorkspace(_) => "Name an existing folder with -C, or make it first.".into(),
            Self::WorkspaceNotAFolder(_) => "Name the folder that holds it with -C.".into(),
            Self::WorkspaceUnreadable { .. } | Self::Unreadable { .. } => "Check its permissions.".into(),
            Self::NotAFile { .. } => "Move it away, or put an ordinary file in its place.".into(),
            Self::FileOutside { .. } => {
                "Copy it into the workspace; settings for all workspaces belong into ~/.config/gpubay/config.toml."
                    .into()
            }
            Self::TooLarge { .. } => "A configuration is a few kilobytes; check that this is the right file.".into(),
            Self::NotUtf8 { .. } => "Save it as UTF-8.".into(),
            Self::Syntax { .. } => "The file is TOML; texts stand in double quotes.".into(),
            Self::UnknownKey { known, .. } if known.is_empty() => "Nothing can be set there.".into(),
            Self::UnknownKey { known, .. } => format!("Known here: {}.", known.join(", ")),
            Self::UnknownChoice { known, .. } => format!("Possible are: {}.", known.join(", ")),
            Self::WrongType { write: Some(line), .. } => format!("Write it as {line}."),
            Self::WrongType { .. } => "Change the value to the type that is expected.".into(),
            Self::Value { problem, .. } | Self::Option { problem, .. } => problem.hint(),
            Self::AmbiguousDockerfile { candidates } => format!(
                "Name one in gpubay.toml: [image] dockerfile = {:?}.",
                candidates.first().map_or("", String::as_str)
            ),
            Self::NoDockerfile { .. } => {
                "`gpubay init` writes one. Or add a Dockerfile or a requirements.txt, or name an image in gpubay.toml: \
                 [image] from = \"python:3.12-slim\"."
                    .into()
            }
            Self::State { .. } => "Free space or set [paths] data in ~/.config/gpubay/config.toml.".into(),
            Self::StateDamaged { path, .. } => format!("Delete {path}; it is asked again."),
            Self::Relative(_) => "Name it from the root.".into(),
        })
    }
}

impl BadValue {
    fn code(&self) -> &'static str {
        match self {
            Self::Size(_) | Self::SizeWithoutUnit(_) | Self::TooLittleMemory(_) => "bad_size",
            Self::Cpus(_) => "bad_cpus",
            Self::Port { .. } => "bad_port",
            Self::Mount { .. } => "bad_mount",
            Self::MissingMountSource { .. } => "missing_mount_source",
            Self::MissingFile { .. } => "missing_file",
            Self::WrongFile { .. } => "wrong_file",
            Self::Path { .. } => "bad_path",
            Self::Ulimit(_) => "bad_ulimit",
            Self::Device(_) => "bad_device",
            Self::User(_) => "bad_user",
            Self::Restart(_) => "bad_restart",
            Self::FolderOfWorkspace(_) => "bad_folder",
            Self::Workdir { .. } => "bad_workdir",
            Self::VenvPath { .. } => "bad_venv_path",
            Self::Secret(_) => "bad_secret",
            Self::EnvName { .. } | Self::EnvValue { .. } => "bad_env",
            Self::EnvFile { .. } => "bad_env_file",
            Self::Gpus { .. }
            | Self::NoGpus
            | Self::FewerThanNoGpus(_)
            | Self::TooManyGpus(_)
            | Self::GpusTwice { .. }
            | Self::GpusRequired
            | Self::GpusRequiredElsewhere { .. } => "bad_gpus",
            Self::EngineHost { .. } => "bad_engine_host",
            Self::ReservedLabel(_) => "reserved_label",
            Self::Name { .. } => "bad_name",
            Self::Persist(_) => "bad_persist",
            Self::ImageConflict(_) => "image_conflict",
            Self::EmptyCommand(_) => "empty_command",
            Self::Range { .. } => "out_of_range",
            Self::UnknownOption { .. } => "unknown_docker_option",
            Self::RefusedOption { .. } => "refused_docker_option",
            Self::OptionWithoutValue(_) => "docker_option_without_value",
            Self::NotAnOption { .. } => "not_a_docker_option",
            Self::OptionValue { .. } => "bad_docker_option",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::TooLittleMemory(_) => "Write what the work needs, such as \"16g\".",
            Self::Size(_) => "Write a number and b, k, m, g or t, such as \"512m\" or \"16g\".",
            Self::SizeWithoutUnit(given) => {
                return format!("Write the unit as well, such as \"{given}g\" or \"{given}m\".");
            }
            Self::Cpus(_) => "Write a number above 0, such as 8 or 1.5.",
            Self::Port { .. } => {
                "Write \"6006\", \"8080:80\" or \"127.0.0.1:8080:80\"; \"0.0.0.0:6006\" opens it to the network."
            }
            Self::Mount { .. } => "Write \"~/data:/data\", \"~/data:/data:ro\" or \"volume:/scratch\".",
            Self::MissingMountSource { .. } => "Make the folder first, or correct the path.",
            Self::MissingFile { .. } | Self::WrongFile { .. } => {
                "Paths are relative to the workspace; correct it or make the file."
            }
            Self::Path { .. } => "Write it absolute, relative to the workspace, or from ~/.",
            Self::Ulimit(_) => "Write name=soft or name=soft:hard, such as \"memlock=-1\"; -1 is no limit.",
            Self::Device(_) => {
                "Write /dev/name, /dev/name:/dev/other or /dev/name:/dev/other:rwm. GPUs belong into [gpus]."
            }
            Self::User(_) => "Write \"host\", \"image\", \"root\" or numbers such as \"1000:1000\".",
            Self::Restart(_) => "Write \"no\", \"always\", \"unless-stopped\", \"on-failure\" or \"on-failure:3\".",
            Self::FolderOfWorkspace(_) => "Name one relative to the workspace, such as \"outputs\".",
            Self::Workdir { .. } => "Write an absolute path such as \"/workspace\", or \"host\".",
            Self::VenvPath { .. } => "It is one name directly under the workdir, such as \".venv\".",
            Self::Secret(_) => "Write \"id=env:VARIABLE\" or \"id=file:path\".",
            Self::EnvName { .. } | Self::EnvValue { .. } => "Correct the variable.",
            Self::EnvFile { .. } => {
                "Each line is KEY=value, KEY alone, or a comment after #, as docker compose reads them."
            }
            Self::Gpus { .. } => {
                "Write auto, all, none, a number, device=1, a list of indices and UUIDs such as 0,GPU-…, or what they are to be \
                 like: count=2,min_free=20g."
            }
            Self::NoGpus => "Write none to work on the CPU.",
            Self::FewerThanNoGpus(_) => {
                "Write how many are wanted, such as 1; all takes those that there are, none is the CPU, and one by its index is \
                 device=1."
            }
            Self::TooManyGpus(_) => "Write how many are wanted, such as 1; one by its index is device=1.",
            Self::GpusTwice { .. } => "Keep one of the two: [gpus] use is the one that all of GPU Bay's forms can stand in.",
            Self::GpusRequiredElsewhere { .. } => "Change one of the two; `--gpus auto` takes a GPU this time.",
            Self::GpusRequired => "Leave one of the two out.",
            Self::EngineHost { .. } => "Write unix:///path, ssh://user@host or tcp://host:2376.",
            Self::ReservedLabel(_) => "Choose another name for it.",
            Self::Name { .. } => "Use letters, digits, `_`, `.` and `-`, with a letter or digit first.",
            Self::Persist(_) => "Write ~/name or an absolute path inside the container.",
            Self::ImageConflict(_) => "Keep `from` for a finished image, or the others to build one.",
            Self::EmptyCommand(_) => "Write the program and its arguments: [\"python\", \"train.py\"].",
            Self::Range { .. } => "Choose a value in that range.",
            Self::UnknownOption { .. } => "`docker run --help` lists the options.",
            Self::RefusedOption { .. } => "Leave it out.",
            Self::OptionWithoutValue(_) => "Write it as \"--option=value\" or as two entries of the list.",
            Self::NotAnOption { .. } => "docker_args holds options only; image and command have keys of their own.",
            Self::OptionValue { .. } => "Correct the value.",
        }
        .to_owned()
    }
}

/// A bad value and the key that holds it, on its way to the file that tells the place.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) key: Vec<Step>,
    pub(super) bad: BadValue,
}
