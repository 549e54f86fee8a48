//! What the image brought, and no install may replace.
//!
//! pip sees the image's packages through the venv, and still puts another version into the venv where something asks
//! for it: there it would hide the image's. So every one is pinned by a constraint, and pip looks for versions of
//! everything else that fit. uv sees none of them and would install a second copy of each, pinned or not: for uv they
//! are overridden with a condition that never holds, so it leaves them out.

use std::collections::BTreeMap;
use std::str::FromStr;

use pep440_rs::Version;
use serde::Deserialize;

use super::inside::{Inside, Run, capture};
use super::probe::Probe;
use super::requirements::{Asked, Wanted, normalized};

/// Distributions by normalized name. No version: what the image says is none that PEP 440 knows.
#[derive(Clone, Debug, Default)]
pub struct Kept(BTreeMap<String, Option<Version>>);

impl Kept {
    pub fn of(image: &Probe) -> Self {
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        };
        let mut kept = BTreeMap::new();
        for (name, version) in image.distributions.iter().filter(|(name, _)| is_name(name)) {
            // The first of two is the one that is imported.
            kept.entry(normalized(name)).or_insert_with(|| Version::from_str(version).ok());
        }
        Self(kept)
    }

    /// Lines of a constraints file for pip.
    pub fn pins(&self) -> String {
        let lines = self.0.iter().filter_map(|(name, version)| Some(format!("{name}=={}\n", version.as_ref()?)));
        lines.collect()
    }

    /// Lines of an overrides file for uv.
    pub fn left_out(&self) -> String {
        self.0.keys().map(|name| format!("{name} ; python_version < '0'\n")).collect()
    }

    /// The first line that asks for another version than the image's, with that.
    pub fn conflict<'a>(&'a self, asked: &'a [Asked]) -> Option<(&'a Asked, &'a Version)> {
        asked.iter().find_map(|asked| {
            let version = self.0.get(&asked.name)?.as_ref()?;
            let fits = match &asked.wanted {
                Wanted::Versions(versions) => versions.contains(version),
                Wanted::Address => false,
            };
            (!fits).then_some((asked, version))
        })
    }
}

/// Asks the venv's Python, with the `packaging` that it or its installer has: which requirement of what lies in the
/// venv does the image's version not meet?
const UNMET: &str = include_str!("unmet.py");

#[derive(Deserialize)]
struct Unmet {
    by: String,
    wants: String,
    has: String,
}

/// One sentence for each package that uv installed although what the image brings is not what it asks for. uv cannot
/// look for a version that fits, since it was not told of what it must leave alone.
pub(super) async fn unmet(inside: &dyn Inside, python: &str) -> Vec<String> {
    let Ok(captured) = capture(inside, &Run::new([python, "-B", "-c", UNMET])).await else { return Vec::new() };
    let text = String::from_utf8_lossy(&captured.stdout);
    let found: Vec<Unmet> = serde_json::from_str(text.lines().next_back().unwrap_or_default()).unwrap_or_default();
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(80).collect::<String>();
    let sentence = |one: &Unmet| {
        let (by, wants, has) = (short(&one.by), short(&one.wants), short(&one.has));
        format!("{by} asks for {wants}, and the image's {has} stays; ask for a version of {by} that fits it")
    };
    found.iter().take(10).map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::super::requirements;
    use super::*;
    use crate::HostPath;

    fn kept(distributions: &[(&str, &str)]) -> Kept {
        let distributions = distributions.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned()));
        let text = r#"{"version":"3.12.7","implementation":"cpython","executable":"/p","prefix":"/","base_prefix":"/",
            "path":[],"archives":[],"site_packages":[],"user_site":null,"image_scripts":[],"paths":{},"editable":[],"unsaid":[],"distributions":[],
            "conda":false,"has_venv":true,"has_ensurepip":true,"has_pip":true}"#;
        let probe: Probe = serde_json::from_str(text).expect("parses");
        Kept::of(&Probe { distributions: distributions.collect(), ..probe })
    }

    #[test]
    fn each_is_pinned_for_pip_and_left_out_for_uv() {
        let kept = kept(&[
            ("Torch", "2.3.0a0+40ec155e58.nv24.3"),
            ("ruamel.yaml", "0.17.21"),
            ("python-apt", "2.6.0-debian-odd"),
            ("torch", "1.0"),
            ("a\n-r /etc/passwd", "1"),
            ("", "1"),
        ]);
        assert_eq!(kept.pins(), "ruamel-yaml==0.17.21\ntorch==2.3.0a0+40ec155e58.nv24.3\n");
        let names = ["python-apt", "ruamel-yaml", "torch"];
        assert_eq!(kept.left_out(), names.map(|name| format!("{name} ; python_version < '0'\n")).concat());
    }

    #[test]
    fn only_what_asks_for_another_version_conflicts() {
        let kept = kept(&[("torch", "2.3.0a0+nv24"), ("numpy", "1.24.2"), ("odd", "1-debian-x")]);
        let temp = tempfile::tempdir().expect("a folder");
        let file = HostPath::new(temp.path().canonicalize().expect("resolves").join("r.txt")).expect("absolute");
        for (line, conflicts) in [
            ("numpy", false),
            ("numpy==1.24.2", false),
            ("NumPy~=1.24", false),
            ("numpy==2.0.0", true),
            ("numpy>=2", true),
            ("numpy!=1.24.*", true),
            ("numpy==2.0; python_version < '3'", false),
            ("torch==2.3.0a0", false),
            ("torch>=2.2", false),
            ("torch==2.2", true),
            ("torch @ file:///x.whl", true),
            ("odd==7", false),
            ("einops==0.8", false),
        ] {
            std::fs::write(&file, format!("# first\n{line}\n")).expect("written");
            let asked = requirements::read(std::slice::from_ref(&file)).expect("reads").asked;
            let found = kept.conflict(&asked);
            assert_eq!(found.is_some(), conflicts, "{line}");
            assert!(found.is_none_or(|(asked, _)| asked.line == 2));
        }
    }
}
