//! What can be said of a Dockerfile before it is built.

use tower_lsp::lsp_types::{Diagnostic, DiagnosticSeverity, NumberOrString, Position, Range};

use crate::engine::build::dockerfile::parse;
use crate::registry::life::{Day, past};

/// Base images whose makers have ended them.
pub(super) fn check(text: &str, today: Day) -> Vec<Diagnostic> {
    let parsed = parse(text);
    let defaults: Vec<(String, String)> = parsed
        .globals
        .iter()
        .filter(|instruction| instruction.keyword == "ARG")
        .filter_map(|instruction| instruction.rest.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect();
    let filled = |base: &str| {
        defaults.iter().fold(base.to_owned(), |base, (name, value)| {
            base.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value)
        })
    };
    let warnings = parsed.stages.iter().filter_map(|stage| {
        let past = past(&filled(&stage.base), today)?;
        let (year, month, day) = past.ended;
        let line = (stage.line as u32).saturating_sub(1);
        Some(Diagnostic {
            range: Range::new(Position::new(line, 0), Position::new(line, u32::from(u16::MAX))),
            severity: Some(DiagnosticSeverity::WARNING),
            code: Some(NumberOrString::String("base_past_its_life".to_owned())),
            source: Some("GPU Bay".to_owned()),
            message: format!(
                "{} is past its life: its maker has mended nothing since {year}-{month:02}-{day:02}\n{} is looked after.",
                past.what, past.instead
            ),
            ..Diagnostic::default()
        })
    });
    warnings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_base_is_said_on_its_line() {
        let text =
            "# a comment\nARG V=18.04\nFROM ubuntu:${V} AS old\nRUN true\nFROM python:3.13\n\nFROM debian:buster\n";
        let found = check(text, (2026, 11, 27));
        let lines: Vec<u32> = found.iter().map(|diagnostic| diagnostic.range.start.line).collect();
        assert_eq!(lines, [2, 6]);
        assert!(
            found[0].message.contains("Ubuntu 18.04") && found[0].message.contains("24.04"),
            "{}",
            found[0].message
        );
        assert_eq!(check("FROM old\nFROM scratch\n", (2026, 11, 27)), []);
    }
}
