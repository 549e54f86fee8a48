//! The JSON schema of `gpubay.toml`, generated from the types that read it.

use super::file::File;

/// As text, ending with a newline.
pub fn json() -> String {
    let schema = schemars::schema_for!(File);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checked_in_schema_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/gpubay.schema.json");
        let fresh = super::json();
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema")).expect("a folder");
            std::fs::write(path, &fresh).expect("written");
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == fresh, "{path} is stale; run this test with UPDATE_SCHEMA=1");
    }

    #[test]
    fn every_key_is_described() {
        let schema: serde_json::Value = serde_json::from_str(&super::json()).expect("JSON");
        let mut seen = 0;
        let sections = schema["$defs"].as_object().expect("definitions").values().chain([&schema]);
        for properties in sections.filter_map(|section| section["properties"].as_object()) {
            for (key, property) in properties {
                assert!(property["description"].is_string(), "{key} has no description");
                seen += 1;
            }
        }
        assert!(seen > 60, "only {seen} keys");
    }
}
