//! What a builder cannot do, found in the Dockerfile before anything is sent: the engine would say it in the middle
//! of the build, or in words that name neither line nor way out.

use std::collections::BTreeMap;

use super::dockerfile::{self, Instruction, Parsed};
use super::error::BuildError;
use super::{BuildRequest, Builder};
use crate::progress::Progress;

/// Flags that the classic builder knows; all others came with `BuildKit`.
const CLASSIC_FLAGS: &[(&str, &[&str])] = &[("RUN", &[]), ("COPY", &["from", "chown"]), ("ADD", &["chown"])];

/// # Errors
/// [`BuildError::NeedsBuildKit`], with the line.
pub(super) fn check(
    builder: Builder,
    parsed: &Parsed,
    request: &BuildRequest,
    dockerfile: &str,
    progress: &Progress,
) -> Result<(), BuildError> {
    let needs = |line: Option<usize>, what: String| {
        Err(BuildError::NeedsBuildKit { dockerfile: dockerfile.to_owned(), line, what, builder })
    };
    let last = parsed.stage(request.target.as_deref()).unwrap_or(0);
    let instructions = || parsed.stages.iter().take(last + 1).flat_map(|stage| &stage.instructions);
    if let Some(secret) = request.secrets.first() {
        let uses =
            |one: &&Instruction| one.flags.iter().any(|(name, value)| name == "mount" && value.contains("type=secret"));
        return needs(instructions().find(uses).map(|one| one.line), format!("the build secret {:?}", secret.id));
    }
    if builder == Builder::Classic
        && let Some((line, what)) = instructions().find_map(beyond_classic)
    {
        return needs(Some(line), what);
    }
    if let Some(syntax) = syntax(parsed, &request.args) {
        if !super::is_dockers_own(&syntax) {
            return needs(None, format!("the image {syntax:?}, which the `# syntax=` line names,"));
        }
        progress.note(format!(
            "{dockerfile}: the `# syntax=` line is not heard, since this engine builds without BuildKit"
        ));
    }
    Ok(())
}

fn syntax(parsed: &Parsed, args: &BTreeMap<String, String>) -> Option<String> {
    args.get("BUILDKIT_SYNTAX").cloned().or_else(|| parsed.syntax.clone())
}

fn beyond_classic(one: &Instruction) -> Option<(usize, String)> {
    if !dockerfile::heredocs(one).is_empty() {
        return Some((one.line, format!("the here-document of `{}`", one.keyword)));
    }
    let (_, known) = CLASSIC_FLAGS.iter().find(|(keyword, _)| *keyword == one.keyword)?;
    let (flag, _) = one.flags.iter().find(|(flag, _)| !known.contains(&flag.as_str()))?;
    Some((one.line, format!("`{} --{flag}`", one.keyword)))
}
