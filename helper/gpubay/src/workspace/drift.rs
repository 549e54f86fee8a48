//! What runs against what is wished, option by option and by name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// One difference between what runs and what the configuration now says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Drift {
    /// As `gpubay.toml` names it: `memory`, `env.TOKEN`, `mounts./data`; or `image`, `gpus`, `lost_gpus`, `venv`, `agent`.
    pub option: String,
    /// `None`: it was not set, or its value is not to be shown.
    pub was: Option<String>,
    pub now: Option<String>,
    /// All of it in a sentence.
    pub text: String,
}

impl Drift {
    /// A difference that is not one of two values.
    pub(super) fn told(option: &str, text: impl Into<String>) -> Self {
        Self { option: option.to_owned(), was: None, now: None, text: text.into() }
    }

    pub(super) fn between(option: &str, was: Option<&str>, now: Option<&str>) -> Self {
        let secret = |value: Option<&str>| value.is_some_and(|value| value.starts_with('#'));
        if secret(was) || secret(now) {
            let what = match (was, now) {
                (None, _) => "added",
                (_, None) => "removed",
                _ => "another value",
            };
            return Self::told(option, format!("{option}: {what}"));
        }
        let shown = |value: Option<&str>| value.unwrap_or("unset").to_owned();
        Self {
            option: option.to_owned(),
            was: was.map(str::to_owned),
            now: now.map(str::to_owned),
            text: format!("{option}: {} -> {}", shown(was), shown(now)),
        }
    }
}

/// Names what differs. `was` is the container's label; one of another version of ours may say less.
pub(super) fn options(was: &str, now: &BTreeMap<String, String>) -> Vec<Drift> {
    let was: BTreeMap<String, String> = serde_json::from_str(was).unwrap_or_default();
    let named = if was.is_empty() { Vec::new() } else { differences(&was, now) };
    if named.is_empty() {
        return vec![Drift::told("options", "the container was made by another version of GPU Bay")];
    }
    named
}

/// Each option that is not the same in both.
pub(super) fn differences(was: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Drift> {
    let mut names: Vec<&String> = was.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let differ = names.into_iter().filter(|name| was.get(*name) != now.get(*name));
    differ
        .map(|name| Drift::between(name, was.get(name).map(String::as_str), now.get(name).map(String::as_str)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn each_difference_is_named_and_no_secret_told() {
        let was = map(&[("memory", "8g"), ("env.A", "#1"), ("env.B", "#2"), ("same", "x"), ("cpus", "2")]);
        let now = map(&[("memory", "16g"), ("env.A", "#3"), ("env.C", "#4"), ("same", "x"), ("mounts./d", "/x:ro")]);
        let label = serde_json::to_string(&was).expect("JSON");
        let texts: Vec<String> = options(&label, &now).into_iter().map(|drift| drift.text).collect();
        assert_eq!(
            texts,
            [
                "cpus: 2 -> unset",
                "env.A: another value",
                "env.B: removed",
                "env.C: added",
                "memory: 8g -> 16g",
                "mounts./d: unset -> /x:ro"
            ]
        );
        assert_eq!(options("", &now)[0].option, "options");
        assert_eq!(options("{not json", &now)[0].option, "options");
    }
}
