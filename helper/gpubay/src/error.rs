//! What every room's errors have in common: a stable code for programs and a next step for people.

use std::fmt;

/// Implemented by the error enum of each room.
///
/// The `Display` text is a lower-case fragment that names what it concerns and fits
/// «failed to …: text»; it carries the words of any external program that failed.
pub trait Explain: std::error::Error {
    /// Stable, `snake_case`: `needs_consent`, `no_engine`, `unknown_key`.
    fn code(&self) -> &'static str;

    /// The next step, as a whole sentence.
    fn hint(&self) -> Option<String> {
        None
    }

    /// The line of a file of the user's that it is about.
    fn place(&self) -> Option<SourceLine> {
        None
    }
}

/// A line in a file, for an editor that shows the error there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// As it was named to the user: absolute, or relative to the workspace.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: Option<u32>,
}

/// What this machine has too little of, whichever room meets it: the same code and next step from each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    Disk,
    ReadOnly,
    OpenFiles,
}

impl Shortage {
    /// `None`: the error says something else.
    pub fn of(error: &std::io::Error) -> Option<Self> {
        use rustix::io::Errno;
        match Errno::from_io_error(error)? {
            Errno::NOSPC | Errno::DQUOT => Some(Self::Disk),
            Errno::ROFS => Some(Self::ReadOnly),
            Errno::MFILE | Errno::NFILE => Some(Self::OpenFiles),
            _ => None,
        }
    }

    /// In the words of a program that met it.
    pub fn in_words(text: &str) -> Option<Self> {
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["No space left on device", "no space left on device", "Disk quota exceeded"]) {
            return Some(Self::Disk);
        }
        if says(&["Read-only file system", "read-only file system"]) {
            return Some(Self::ReadOnly);
        }
        says(&["Too many open files", "too many open files"]).then_some(Self::OpenFiles)
    }

    pub fn code(self) -> &'static str {
        match self {
            Self::Disk => "disk_full",
            Self::ReadOnly => "read_only",
            Self::OpenFiles => "too_many_open_files",
        }
    }

    /// The next step; `elsewhere` is how another place is named, as in «name another in [paths] data».
    pub fn hint(self, elsewhere: &str) -> String {
        match self {
            Self::Disk => format!("Free some room there, or {elsewhere}; then run it again: what was done stays."),
            Self::ReadOnly => format!("Make that folder writable, or {elsewhere}."),
            Self::OpenFiles => "Raise the limit of open files (`ulimit -n`) and run it again.".to_owned(),
        }
    }
}

/// Any room's error on its way to a front end.
#[derive(Debug)]
pub struct Error {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    pub place: Option<SourceLine>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, place: None }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was being done when it happened.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl<E: Explain> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries repeat their cause in their own text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Self { code: error.code(), message, hint: error.hint(), place: error.place() }
    }
}
