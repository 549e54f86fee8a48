//! Approvals of [`Power`]s: given once, kept outside of the workspace, asked again for what is new.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::{ConfigError, suggestion};
use super::identity::Identity;
use super::powers::Power;
use super::state;
use crate::HostPath;
use crate::error::Explain;
use crate::quoting::{printable, quoted};

/// What was approved for one workspace: the keys of its powers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// For people who look into the file.
    #[serde(default)]
    workspace: String,
    approved: BTreeSet<String>,
}

/// Shows powers to the user, who answers for all of them.
pub type Ask<'a> = &'a mut dyn FnMut(&[Power]) -> bool;

#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    #[error("{workspace}/gpubay.toml asks for more than its own folder:{}", listed(missing))]
    NeedsConsent { workspace: String, missing: Vec<Power> },
    #[error("the powers that gpubay.toml asks for were not approved:{}", listed(missing))]
    Refused { missing: Vec<Power> },
    #[error("--allow {given:?} matches nothing that gpubay.toml asks for{}", suggestion(near.as_deref()))]
    UnknownAllow { given: String, near: Option<String>, asked: Vec<String> },
    #[error(transparent)]
    State(#[from] ConfigError),
}

fn listed(powers: &[Power]) -> String {
    let mut text = String::new();
    for power in powers {
        let grave = if power.grave { " (grave)" } else { "" };
        let _ = write!(text, "\n  {}{grave}: it {}", printable(&power.key), printable(&power.sentence));
    }
    text
}

impl Explain for ConsentError {
    fn code(&self) -> &'static str {
        match self {
            Self::NeedsConsent { .. } => "needs_consent",
            Self::Refused { .. } => "consent_refused",
            Self::UnknownAllow { .. } => "unknown_allow",
            Self::State(e) => e.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NeedsConsent { missing, .. } => Some(format!("If you trust it, add: {}", allow_arguments(missing))),
            Self::Refused { .. } => Some("Remove them from gpubay.toml, or answer yes.".to_owned()),
            Self::UnknownAllow { asked, .. } if asked.is_empty() => {
                Some("It asks for nothing; leave --allow out.".into())
            }
            Self::UnknownAllow { asked, .. } => Some(format!("It asks for: {}.", asked.join(", "))),
            Self::State(e) => e.hint(),
        }
    }
}

/// `--allow 'KEY' --allow 'KEY'`, quoted for a POSIX shell.
pub fn allow_arguments(powers: &[Power]) -> String {
    let arguments: Vec<String> = powers.iter().map(|power| format!("--allow {}", quoted(&power.key))).collect();
    arguments.join(" ")
}

impl Approvals {
    /// `state` is [`super::Loaded::state`], which no workspace chooses.
    pub fn read(state: &HostPath, identity: &Identity) -> Result<Self, ConfigError> {
        Ok(state::read(&path(state, identity))?.unwrap_or_default())
    }

    fn write(&self, state: &HostPath, identity: &Identity) -> Result<(), ConfigError> {
        state::write("the approval", &path(state, identity), self)
    }

    fn covers(&self, power: &Power) -> bool {
        self.approved.contains(&power.key)
    }
}

fn path(state: &HostPath, identity: &Identity) -> PathBuf {
    state.as_path().join("approvals").join(format!("{}.json", identity.id))
}

/// Whether `approvals` with `allow` covers `powers`; what is new is asked, where somebody can answer.
/// `approvals` then holds what was approved now as well.
pub fn check(
    workspace: &HostPath,
    powers: &[Power],
    approvals: &mut Approvals,
    allow: &[String],
    ask: Option<Ask<'_>>,
) -> Result<(), ConsentError> {
    for given in allow {
        if !powers.iter().any(|power| power.key == *given) {
            let asked: Vec<String> = powers.iter().map(|power| printable(&power.key)).collect();
            let near =
                super::nearest(given, powers.iter().map(|power| power.key.as_str())).map(|near| printable(&near));
            return Err(ConsentError::UnknownAllow { given: given.clone(), near, asked });
        }
    }
    let missing: Vec<Power> =
        powers.iter().filter(|power| !approvals.covers(power) && !allow.contains(&power.key)).cloned().collect();
    if !missing.is_empty() {
        match ask {
            None => {
                let workspace = printable(&workspace.to_string());
                return Err(ConsentError::NeedsConsent { workspace, missing });
            }
            Some(ask) => {
                if !ask(&missing) {
                    return Err(ConsentError::Refused { missing });
                }
            }
        }
    }
    approvals.workspace = workspace.to_string();
    approvals.approved.extend(powers.iter().map(|power| power.key.clone()));
    Ok(())
}

/// [`require`] for what only has to reach containers that are there: where they are is all that matters, and what
/// else the configuration asks for by now is not what they were made with.
pub fn require_to_reach(loaded: &super::Loaded, allow: &[String], ask: Option<Ask<'_>>) -> Result<(), ConsentError> {
    let places = |key: &str| key.starts_with("engine:") || key.starts_with("paths.");
    let powers = loaded.powers.iter().filter(|power| places(&power.key)).cloned().collect();
    // What is said of other powers is for a command that uses them.
    let allow: Vec<String> = allow.iter().filter(|key| places(key)).cloned().collect();
    require(&super::Loaded { powers, ..loaded.clone() }, &allow, ask)
}

/// [`check`] against what is kept, and keeps what is approved now. Nothing is written when nothing is new.
pub fn require(loaded: &super::Loaded, allow: &[String], ask: Option<Ask<'_>>) -> Result<(), ConsentError> {
    if loaded.powers.is_empty() && allow.is_empty() {
        return Ok(());
    }
    let mut approvals = Approvals::read(&loaded.state, &loaded.identity)?;
    let before = approvals.approved.clone();
    check(&loaded.workspace, &loaded.powers, &mut approvals, allow, ask)?;
    if approvals.approved != before {
        approvals.write(&loaded.state, &loaded.identity)?;
    }
    Ok(())
}
