//! What values stand for here; and GPUs that a configuration names and that are not there. Those are only a warning: the file may be
//! for another machine, too.

use std::collections::BTreeMap;
use std::ops::Range as Span;

use serde::Deserialize;
use toml::{Spanned, Value};
use tower_lsp::lsp_types::{Diagnostic, DiagnosticSeverity, NumberOrString, Position, Range};

use super::Facts;
use super::place;
use crate::config;
use crate::config::model::GpuSelection;
use crate::engine::is_called;
use crate::error::Explain;
use crate::gpu;

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    gpus: Gpus,
    jobs: BTreeMap<String, Job>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Gpus {
    r#use: Option<Spanned<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Job {
    gpus: Option<Spanned<Value>>,
}

pub(super) fn check(text: &str, facts: &Facts) -> Vec<Diagnostic> {
    // What is not well-formed is an error, which is said without us.
    let Some(file) = facts.all_gpus.then(|| toml::from_str::<File>(text).ok()).flatten() else { return Vec::new() };
    let there: Vec<gpu::Listed> = facts.gpus.iter().map(|gpu| gpu.listed.clone()).collect();
    let named = file.gpus.r#use.into_iter().chain(file.jobs.into_values().filter_map(|job| job.gpus));
    let unknown = |value: Spanned<Value>| {
        let span = value.span();
        let typed = match value.into_inner() {
            Value::String(text) => text,
            other => serde_json::to_string(&other).ok()?,
        };
        let error = gpu::not_there(&config::parse_gpus(&typed).ok()?, &there)?;
        let hint = error.hint().map(|hint| format!("\n{hint}")).unwrap_or_default();
        Some(Diagnostic {
            range: range(text, &span),
            severity: Some(DiagnosticSeverity::WARNING),
            code: Some(NumberOrString::String(error.code().to_owned())),
            source: Some("GPU Bay".to_owned()),
            message: format!("{error}{hint}"),
            ..Diagnostic::default()
        })
    };
    named.filter_map(unknown).collect()
}

/// What a value stands for on this engine, where that is known.
pub(super) fn about(value: &place::Value, facts: &Facts) -> Option<String> {
    let place::Value { path, text, listed } = value;
    if let Some(offer) = facts.of(path).into_iter().find(|offer| offer.value == *text && offer.label == *text)
        && !offer.about.is_empty()
    {
        return Some(offer.about);
    }
    match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["gpus", "use"] | ["jobs", _, "gpus"] => {
            let names = match config::parse_gpus(text) {
                Ok(GpuSelection::Named(names)) => names,
                // In a list each is a name, and alone such a text is a count.
                _ if *listed => vec![text.clone()],
                _ => return None,
            };
            let there: Vec<gpu::Listed> = facts.gpus.iter().map(|gpu| gpu.listed.clone()).collect();
            let lines = names.iter().filter_map(|name| {
                let at = gpu::which(name, &there)?;
                let known = &facts.gpus[at];
                let parts = [&known.title, &known.about, &known.select].map(String::as_str);
                let mut parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                parts.dedup();
                Some(parts.join(", "))
            });
            let lines: Vec<String> = lines.collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        }
        ["image", "from"] => {
            let images = facts.images.as_ref().filter(|_| !text.contains('@'))?;
            let there = images.iter().any(|image| is_called(image, text));
            Some(if there { "on this engine" } else { "not on this engine: it is pulled at the next start" }.to_owned())
        }
        _ => None,
    }
}

/// Of bytes, as editors count: lines, and UTF-16 within them.
fn range(text: &str, span: &Span<usize>) -> Range {
    let position = |at: usize| {
        let before = &text[..at];
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        let count = |text: &str| u32::try_from(text.encode_utf16().count()).unwrap_or(u32::MAX);
        Position::new(u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX), count(&text[line..at]))
    };
    Range::new(position(span.start), position(span.end))
}

#[cfg(test)]
mod tests {
    use super::super::KnownGpu;
    use super::*;

    #[test]
    fn a_gpu_that_is_not_there_is_marked_where_it_is_named() {
        let gpu = |index: u32| KnownGpu {
            listed: gpu::Listed { index: Some(index), uuid: Some(format!("GPU-{index}")), ..gpu::Listed::default() },
            ..KnownGpu::default()
        };
        let facts = Facts { gpus: vec![gpu(0), gpu(1)], all_gpus: true, ..Facts::default() };
        let text = "[gpus]\nuse = \"device=5\"\n\n[jobs.\"é\"]\ngpus = [\n  \"0\",\n  \"GPU-7\",\n]\n\n[jobs.good]\ngpus = 2\n";
        let found = check(text, &facts);
        let said: Vec<_> =
            found.iter().map(|one| (one.range, one.message.lines().next().unwrap_or_default())).collect();
        let at = |line, from, to_line, to| Range::new(Position::new(line, from), Position::new(to_line, to));
        assert_eq!(
            said,
            [
                (at(1, 6, 1, 16), "there is no GPU 5; there are 0, 1"),
                (at(4, 7, 7, 1), "no GPU here has the UUID GPU-7; there are GPU-0, GPU-1"),
            ]
        );
        assert!(found.iter().all(|one| one.severity == Some(DiagnosticSeverity::WARNING)));
        let column = check("gpus = { use = \"9\" } # é\n", &facts);
        assert!(column.is_empty(), "a number is a count: {column:?}");
        let column = check("[jobs]\n\"é\" = { gpus = [\"9\"] }\n", &facts);
        assert_eq!(column[0].range, at(1, 15, 1, 20));
        // Nothing is known, or not of all, or the text is half written.
        for facts in [Facts::default(), Facts { all_gpus: false, ..facts.clone() }] {
            assert_eq!(check(text, &facts), []);
        }
        assert_eq!(check("[gpus]\nuse = \"device=", &facts), []);
    }
}
