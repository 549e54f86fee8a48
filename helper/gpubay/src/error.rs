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
}

/// Any room's error on its way to a front end.
#[derive(Debug)]
pub struct Error {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
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
        Self { code: error.code(), message, hint: error.hint() }
    }
}
