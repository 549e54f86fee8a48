//! Whether an object is what a published schema says: as much of JSON Schema as ours use, and a word that is not
//! known here is a failure, so that nothing is passed over.

use serde_json::Value;

/// What is wrong, with its place; empty where all is well. A field that the schema does not name is wrong too: its
/// schema would not be published.
pub(super) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, schema, value, "", &mut faults);
    faults
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else {
        if schema != &Value::Bool(true) {
            faults.push(format!("{at}: nothing is allowed"));
        }
        return;
    };
    for (word, rule) in rules {
        match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" | "default" | "additionalProperties" => {}
            "$ref" => {
                let pointer = rule.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference within");
                let target = root.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing"));
                check(root, target, value, at, faults);
            }
            "type" => {
                let kinds: Vec<&str> = match rule {
                    Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
                    kind => kind.as_str().into_iter().collect(),
                };
                if !kinds.iter().any(|kind| is(value, kind)) {
                    faults.push(format!("{at}: {value} is not {}", kinds.join(" or ")));
                }
            }
            "const" if rule == value => {}
            "const" => faults.push(format!("{at}: {value} is not {rule}")),
            "enum" if rule.as_array().is_some_and(|list| list.contains(value)) => {}
            "enum" => {
                faults.push(format!("{at}: {value} is not one of {rule}"));
            }
            "minimum" | "maximum" => {
                let (limit, number) = (rule.as_f64().expect("a number"), value.as_f64());
                let within = |number: f64| if word == "minimum" { number >= limit } else { number <= limit };
                if !number.is_none_or(within) {
                    faults.push(format!("{at}: {value}: {word} {rule}"));
                }
            }
            "anyOf" | "oneOf" => {
                let tried: Vec<Vec<String>> = rule
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|choice| {
                        let mut faults = Vec::new();
                        check(root, choice, value, at, &mut faults);
                        faults
                    })
                    .collect();
                if !tried.iter().any(Vec::is_empty) {
                    let least = tried.into_iter().min_by_key(Vec::len).unwrap_or_default();
                    faults.push(format!("{at}: none of the choices, at best: {}", least.join("; ")));
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{at}/{index}"), faults);
                }
            }
            "required" => {
                for name in rule.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    if value.is_object() && value.get(name).is_none() {
                        faults.push(format!("{at}: {name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    let place = format!("{at}/{name}");
                    match (rule.get(name), rules.get("additionalProperties")) {
                        (Some(known), _) | (None, Some(known)) => check(root, known, inner, &place, faults),
                        (None, None) => faults.push(format!("{place} is not in the schema")),
                    }
                }
            }
            unknown => panic!("this check does not know {unknown:?}"),
        }
    }
    if let (None, Some(rule)) = (rules.get("properties"), rules.get("additionalProperties")) {
        for (name, inner) in value.as_object().into_iter().flatten() {
            check(root, rule, inner, &format!("{at}/{name}"), faults);
        }
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("this check does not know the type {unknown:?}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_fault_is_found() {
        let schema = json!({
            "anyOf": [
                { "properties": { "outcome": { "const": "success" }, "n": { "type": ["integer", "null"], "minimum": 0 },
                    "list": { "items": { "$ref": "#/$defs/One" } } }, "required": ["outcome", "n"], "type": "object" },
            ],
            "$defs": { "One": { "type": "object", "additionalProperties": { "type": "string" } } },
        });
        let good = json!({ "outcome": "success", "n": 1, "list": [{ "a": "b" }] });
        assert_eq!(faults(&schema, &good), [] as [String; 0]);
        for (bad, words) in [
            (json!({ "outcome": "success" }), "n is missing"),
            (json!({ "outcome": "error", "n": 1 }), "is not \"success\""),
            (json!({ "outcome": "success", "n": "1" }), "not integer or null"),
            (json!({ "outcome": "success", "n": -1 }), "minimum 0"),
            (json!({ "outcome": "success", "n": 1, "more": 1 }), "/more is not in the schema"),
            (json!({ "outcome": "success", "n": 1, "list": [{ "a": 1 }] }), "/list/0/a: 1 is not string"),
            (json!([]), "not object"),
        ] {
            let found = faults(&schema, &bad).join("; ");
            assert!(found.contains(words), "{bad}: {found}");
        }
    }
}
