//! What the schema of `gpubay.toml` says of a table, a key, a value.

use std::sync::LazyLock;

use serde_json::Value;

use crate::config::schema;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&schema::json()).expect("it is ours"));

/// `node` with what it refers to, and each of its alternatives.
fn forms(node: &'static Value) -> Vec<&'static Value> {
    let mut found = vec![node];
    if let Some(name) = node["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        found.extend(forms(&SCHEMA["$defs"][name]));
    }
    for alternative in node["anyOf"].as_array().into_iter().flatten() {
        found.extend(forms(alternative));
    }
    found
}

/// What stands at a path; of `[jobs.NAME]` any name.
fn at(path: &[String]) -> Option<&'static Value> {
    let mut node: &'static Value = &SCHEMA;
    for name in path {
        node = forms(node).into_iter().find_map(|form| {
            form["properties"].get(name).or_else(|| form.get("additionalProperties").filter(|more| more.is_object()))
        })?;
    }
    Some(node)
}

fn description(node: &'static Value) -> String {
    let said = forms(node).into_iter().find_map(|form| form["description"].as_str());
    said.unwrap_or_default().to_owned()
}

/// Names for a header, and what each is for.
pub(super) fn tables() -> Vec<(String, String)> {
    let properties = SCHEMA["properties"].as_object().into_iter().flatten();
    properties.map(|(name, node)| (name.clone(), description(node))).collect()
}

/// Keys of a table, and what each is for.
pub(super) fn keys(table: &[String]) -> Vec<(String, String)> {
    let Some(node) = at(table).filter(|_| !table.is_empty()) else { return Vec::new() };
    let properties = forms(node).into_iter().filter_map(|form| form["properties"].as_object()).flatten();
    properties.map(|(name, node)| (name.clone(), description(node))).collect()
}

/// What the value of a key can be, where that is a matter of choice, and whether it is a text.
pub(super) fn values(path: &[String]) -> Vec<(String, bool)> {
    let Some(node) = at(path) else { return Vec::new() };
    let mut values = Vec::new();
    for form in forms(node) {
        let types = |name: &str| {
            form["type"] == name || form["type"].as_array().is_some_and(|types| types.iter().any(|of| of == name))
        };
        for choice in form["enum"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            values.push((choice.to_owned(), true));
        }
        if types("boolean") {
            values.extend([("true".to_owned(), false), ("false".to_owned(), false)]);
        }
    }
    values
}

/// For whoever points at it; nothing where there is nothing to say.
pub(super) fn about(path: &[String]) -> Option<String> {
    let node = at(path)?;
    let mut said = description(node);
    let choices: Vec<String> = values(path).into_iter().map(|(value, _)| value).collect();
    if !choices.is_empty() {
        said.push_str(&format!("\n\nOne of: {}", choices.join(", ")));
    }
    if let Some(default) = node.get("default").filter(|default| !default.is_null()) {
        said.push_str(&format!("\n\nUnless set: {default}"));
    }
    Some(said.trim().to_owned()).filter(|said| !said.is_empty())
}
