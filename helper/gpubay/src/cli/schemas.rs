//! What each command prints with `--json`: JSON schemas, generated from the types that are printed.
//!
//! An object may get more fields in a later version; those that are required here stay.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::{exec, init, logs, ps, record, run, show};
use crate::workspace::record::Kept;
use crate::workspace::{attach, doctor, gpus, print, prune, report};

/// Those that have `--json`.
pub(super) const COMMANDS: [&str; 20] = [
    "attach",
    "build",
    "completions",
    "doctor",
    "down",
    "exec",
    "gpus",
    "init",
    "logs",
    "man",
    "prune",
    "ps",
    "record",
    "rm",
    "run",
    "schema",
    "shell",
    "stop",
    "sync",
    "up",
];

/// As text, ending with a newline; `None` for a command without.
pub(super) fn of(command: &str) -> Option<String> {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let generator = &mut generator;
    let mut answers = match command {
        "attach" => vec![good::<attach::AttachReport>(generator)],
        "build" => vec![good::<report::BuildReport>(generator)],
        "completions" => vec![good::<show::Script>(generator)],
        "doctor" => vec![good::<doctor::DoctorReport>(generator), answer::<doctor::DoctorReport>(generator, "error")],
        "down" | "stop" => vec![good::<report::DownReport>(generator)],
        "exec" | "shell" => vec![good::<exec::Report>(generator)],
        "gpus" => vec![good::<gpus::GpusReport>(generator)],
        "init" => vec![good::<init::Report<'_>>(generator)],
        "logs" => vec![good::<logs::Report>(generator)],
        "man" => vec![good::<show::Page>(generator)],
        "prune" => vec![good::<prune::PruneReport>(generator)],
        "ps" => vec![good::<ps::Report>(generator)],
        "record" => {
            vec![good::<Kept>(generator), good::<record::Listed>(generator), good::<record::Difference>(generator)]
        }
        "rm" => vec![good::<report::RmReport>(generator)],
        "run" => vec![good::<run::Report>(generator), good::<print::PrintReport>(generator)],
        "schema" => vec![good::<show::SchemaAnswer>(generator)],
        "sync" => vec![good::<report::SyncReport>(generator)],
        "up" => vec![good::<report::UpReport>(generator), good::<print::PrintReport>(generator)],
        _ => return None,
    };
    answers.push(failure(json!({ "type": "object", "properties": {}, "required": [] }), "It failed and said why."));
    let mut definitions = generator.take_definitions(true);
    definitions.insert("Error".to_owned(), error());
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("The output of gpubay {command} --json"),
        "anyOf": answers,
        "$defs": definitions,
    });
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    Some(text)
}

fn good<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    answer::<T>(generator, "success")
}

/// The fields of `T`, and `outcome` beside them; with an error, `error` as well.
fn answer<T: JsonSchema>(generator: &mut SchemaGenerator, outcome: &str) -> Value {
    let mut schema = T::json_schema(generator).to_value();
    if outcome == "error" {
        return failure(schema, "Something is wrong; it is said what.");
    }
    add(&mut schema, "outcome", json!({ "const": outcome }));
    schema
}

fn failure(mut schema: Value, what: &str) -> Value {
    schema["description"] = what.into();
    add(&mut schema, "outcome", json!({ "const": "error" }));
    add(&mut schema, "error", json!({ "$ref": "#/$defs/Error" }));
    schema
}

fn add(schema: &mut Value, name: &str, of: Value) {
    schema["properties"][name] = of;
    match schema["required"].as_array_mut() {
        Some(required) => required.push(name.into()),
        None => schema["required"] = json!([name]),
    }
}

fn error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "code": { "type": "string", "description": "Stable, in snake_case: for programs." },
            "message": { "type": "string", "description": "What failed, on what." },
            "hint": { "type": ["string", "null"], "description": "The next step, as a whole sentence." },
        },
        "required": ["code", "message", "hint"],
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_checked_in_schemas_are_fresh() {
        for command in COMMANDS {
            let path = format!("{}/../../docs/schema/{command}.schema.json", env!("CARGO_MANIFEST_DIR"));
            let fresh = of(command).expect("a schema");
            if std::env::var_os("UPDATE_SCHEMA").is_some() {
                std::fs::write(&path, &fresh).expect("written");
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == fresh, "{path} is stale; run this test with UPDATE_SCHEMA=1");
        }
    }

    #[test]
    fn every_command_has_one_unless_it_prints_no_object() {
        const WITHOUT: [&str; 1] = ["serve"];
        for command in super::super::args::Cli::command().get_subcommands() {
            let name = command.get_name();
            assert_ne!(COMMANDS.contains(&name), WITHOUT.contains(&name), "{name}");
        }
        assert_eq!(of("nonsense"), None);
    }
}
