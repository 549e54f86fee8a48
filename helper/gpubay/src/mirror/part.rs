//! The first part of a base: what the workspace imports, so that an editor need not wait for all the rest.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use gpubay_protocol::agent::Entry;

use super::error::MirrorError;
use super::make::{Built, Make, Published, publish};
use super::plan::Plan;
use super::source::Source;
use super::stage::{Basis, Job, Work};
use super::store::{Generation, Store};

/// Fewer are there as soon as a part of them.
#[cfg(not(test))]
const WORTH_IT: usize = 2_000;
#[cfg(test)]
const WORTH_IT: usize = 4;

/// The entries that belong to `modules`; `None` where asking for them first gains nothing.
pub(super) fn of(entries: &[Entry], plan: &Plan, modules: &BTreeSet<String>) -> Option<HashSet<u32>> {
    if plan.fetch.len() < WORTH_IT {
        return None;
    }
    let distributions: BTreeSet<String> = modules.iter().map(|module| plain(module)).collect();
    let wanted = |index: &u32| belongs(&entries[*index as usize].path, modules, &distributions);
    let absent: HashSet<u32> = plan.absent.iter().copied().collect();
    let part: HashSet<u32> =
        (0..entries.len() as u32).filter(|index| wanted(index) && !absent.contains(index)).collect();
    let fetched = plan.fetch.iter().filter(|index| part.contains(index)).count();
    (fetched > 0 && fetched * 2 <= plan.fetch.len()).then_some(part)
}

/// A module's own files, its stubs, what is known of a distribution of its name, and the path lines of a root.
fn belongs(path: &[u8], modules: &BTreeSet<String>, distributions: &BTreeSet<String>) -> bool {
    let (first, inner) = match path.iter().position(|&b| b == b'/') {
        Some(cut) => (&path[..cut], true),
        None => (path, false),
    };
    let Ok(first) = std::str::from_utf8(first) else { return false };
    if inner {
        let info = first.strip_suffix(".dist-info").or_else(|| first.strip_suffix(".egg-info"));
        return match info {
            Some(info) => distributions.contains(&plain(info.split('-').next().unwrap_or(info))),
            None => modules.contains(first.strip_suffix("-stubs").unwrap_or(first)),
        };
    }
    path.ends_with(b".pth") || modules.contains(first.split('.').next().unwrap_or(first))
}

/// Distributions are named without regard to case and separators.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '.'], "_")
}

pub(super) struct Made {
    pub(super) generation: Generation,
    /// Which entries it holds.
    pub(super) files: Vec<u32>,
    pub(super) work: Work,
}

/// Makes it, and puts it where the whole will be. `None`: another process has put something there.
pub(super) async fn make(
    make: &Make<'_>,
    job: &Job,
    plan: &Plan,
    olders: &[(Arc<Generation>, Vec<u32>)],
    part: &HashSet<u32>,
    source: &mut dyn Source,
) -> Result<Option<Made>, MirrorError> {
    let within =
        |indices: &[u32]| -> Vec<u32> { indices.iter().copied().filter(|index| part.contains(index)).collect() };
    let basis = Basis::Older(olders.iter().map(|(old, links)| (old.clone(), within(links))).collect());
    let only = Plan { place: within(&plan.place), fetch: within(&plan.fetch), ..Plan::default() };
    let job = Job { entries: job.entries.clone(), roots: job.roots.clone(), part: Some(part.clone()) };
    let Built { stage, files, work, .. } = make.build(job, only, basis, source).await?;
    let name = Store::base_name(make.key);
    Ok(match publish(make.store, &stage, &name, make.progress)? {
        Published::Ours(generation) => Some(Made { generation, files, work }),
        Published::Theirs(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_an_imported_module() {
        let modules: BTreeSet<String> = ["torch", "six", "Foo_bar"].map(String::from).into();
        let distributions = modules.iter().map(|module| plain(module)).collect();
        for (path, is_wanted) in [
            ("torch/__init__.py", true),
            ("torch/nn/modules/linear.py", true),
            ("torch-stubs/__init__.pyi", true),
            ("torch-2.9.0+cu128.dist-info/METADATA", true),
            ("foo.bar-1.0.dist-info/METADATA", true),
            ("six.py", true),
            ("six.cpython-312-x86_64-linux-gnu.so", true),
            ("any.pth", true),
            ("torchvision/__init__.py", false),
            ("torchvision-1.dist-info/METADATA", false),
            ("other/torch/__init__.py", false),
            ("other/any.pth", false),
            ("sixth.py", false),
        ] {
            assert_eq!(belongs(path.as_bytes(), &modules, &distributions), is_wanted, "{path}");
        }
    }
}
