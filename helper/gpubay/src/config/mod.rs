//! What the user wants: `gpubay.toml`, the user's own config, defaults, schema, powers and consent.

pub mod model;
