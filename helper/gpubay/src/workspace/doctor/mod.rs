//! `doctor`: what is in the way of a workspace on this machine, and what to do about it.
//!
//! [`facts`] asks engine and machine, and judges nothing; [`judge`] is pure. It needs neither a workspace nor an
//! engine: what cannot be asked is left out, what can be is said.

mod facts;
mod judge;
#[cfg(test)]
mod judge_tests;

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use self::facts::disk;

use crate::config::LoadRequest;
use crate::progress::Progress;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// It works, and less well than it could.
    Warning,
    /// Something will fail.
    Problem,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Finding {
    /// What was looked at: `engine`, `disk`, …; several lines may be about one.
    pub check: &'static str,
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What to do next; never missing where the verdict is not `ok`.
    pub next: Option<String>,
}

/// The answer of `doctor`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DoctorReport {
    pub findings: Vec<Finding>,
    pub warnings: usize,
    pub problems: usize,
}

/// Looks at everything. `allow`: powers that the command line approves.
pub async fn examine(request: &LoadRequest<'_>, allow: &[String], progress: &Progress) -> DoctorReport {
    let findings = judge::all(&facts::gather(request, allow, progress).await);
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    DoctorReport { warnings: count(Verdict::Warning), problems: count(Verdict::Problem), findings }
}
