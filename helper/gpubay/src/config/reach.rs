//! What is left of a configuration that cannot be used: where its containers are and what they are called.

use toml::de::DeTable;

use super::error::ConfigError;
use super::file::File;
use super::layer::{self, Context, Layer};
use super::load::placed;
use super::values;
use crate::HostPath;

/// Reads past whatever else is wrong in `text`.
///
/// # Errors
/// Where the engine or a folder of ours is named and cannot be meant: another one would not have the containers.
pub(super) fn layer(text: Option<String>, path: &HostPath, context: Context<'_>) -> Result<Layer, ConfigError> {
    let Some(text) = text else { return Ok(Layer::default()) };
    let (tree, _) = DeTable::parse_recoverable(&text);
    let value = |table: &str, key: &str| {
        let table = tree.get_ref().get(table)?.get_ref().as_table()?;
        Some(table.get(key)?.get_ref().as_str()?.to_owned())
    };
    let mut file = File::default();
    file.engine.host = value("engine", "host");
    file.paths.data = value("paths", "data");
    file.paths.cache = value("paths", "cache");
    // No container was made with a name or a folder that cannot be meant.
    file.container.name = value("container", "name").filter(|name| values::name(name, "a name").is_ok());
    file.container.workdir =
        value("container", "workdir").filter(|workdir| layer::workdir(workdir, &context.places).is_ok());
    layer::resolve(&file, context).map_err(|problem| placed(problem, &text, path))
}
