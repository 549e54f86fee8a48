//! What the user wants: `gpubay.toml`, the user's own config, defaults, schema, powers and consent.
//!
//! [`load`] is the door: a folder in, a [`Loaded`] out, and nothing of the process read but what the
//! request hands over. Text becomes [`file::File`]; each file alone becomes a layer in which every
//! value is decided; the layers and the defaults become [`model::Config`]. [`powers`] are read off
//! the workspace's own layer and approved in [`consent`].

pub mod consent;
pub mod file;
pub mod model;
pub mod powers;
pub mod schema;

mod discover;
mod docker_args;
mod engine_host;
mod env_file;
mod error;
mod gpu_values;
mod identity;
mod layer;
mod load;
mod mounts;
mod parse;
mod reach;
mod state;
mod values;

pub use discover::{candidates, remember_choice};
pub(crate) use docker_args::duration;
pub use engine_host::redact;
pub use error::{BadValue, ConfigError, Place};
pub use identity::Identity;
pub use load::{Bare, FILE_NAME, LoadRequest, Loaded, Overrides, bare, check, check_syntax, load, load_to_reach};
pub use parse::parse;
pub use powers::Power;
pub use state::MACHINE_ID;

#[cfg(test)]
mod tests;

/// A selection of GPUs as it is typed on a command line.
///
/// # Errors
/// [`ConfigError::Option`] for what selects nothing.
pub fn parse_gpus(text: &str) -> Result<model::GpuSelection, ConfigError> {
    gpu_values::gpus(text).map_err(|problem| ConfigError::Option { option: "--gpus".to_owned(), problem })
}

/// A folder of the workspace as `--live` names it.
///
/// # Errors
/// [`ConfigError::Option`] for what is none.
pub fn check_live_folder(text: &str) -> Result<(), ConfigError> {
    values::folder_of_workspace(text).map_err(|problem| ConfigError::Option { option: "--live".to_owned(), problem })
}

/// The known word that was probably meant.
fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let limit = (given.chars().count() / 3).max(1) + 1;
    known
        .map(|word| (strsim::damerau_levenshtein(given, word), word))
        .filter(|(distance, word)| *distance <= limit && *distance < word.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word.to_owned())
}
