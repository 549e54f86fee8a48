//! What is not as it was when a job is run again.

use std::collections::BTreeMap;

use super::{Kept, Record, diff};
use crate::workspace::drift::{self, Drift};

/// More packages or sources than these are counted.
const MOST: usize = 20;

/// `now` is about to start; `now_diff` is what differs from its commit, `changed` what the earlier job changed of the
/// sources that it had for itself.
pub(super) fn differences(was: &Kept, now: &Record, now_diff: &[u8], changed: &[String]) -> Vec<Drift> {
    let (kept, was) = (was, &was.record);
    let mut found = Vec::new();
    let mut compare = |option: &str, was: Option<&str>, now: Option<&str>| {
        if was != now {
            found.push(Drift::between(option, was, now));
        }
    };
    let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
    compare("image", Some(&short(&was.image.id)), Some(&short(&now.image.id)));
    compare("gpubay", Some(&was.gpubay), Some(&now.gpubay));
    compare("engine", Some(&was.engine), Some(&now.engine));
    compare("gpus", Some(&was.gpus.given), Some(&now.gpus.given));
    compare("driver", was.gpus.driver.as_deref(), now.gpus.driver.as_deref());
    if was.snapshot.is_none() {
        let commit = |record: &Record| record.git.as_ref().and_then(|git| git.commit.clone());
        compare("commit", commit(was).as_deref(), commit(now).as_deref());
        if commit(was) == commit(now) && diff(kept) != now_diff {
            found.push(Drift::told("changes", "changes: what is not committed is not what it was then"));
        }
    }
    for path in changed.iter().take(MOST) {
        let text = format!("sources: {path} is not what was frozen; the job {} changed it", was.job);
        found.push(Drift::told(&format!("sources.{path}"), text));
    }
    if changed.len() > MOST {
        found.push(Drift::told("sources", format!("sources: {} more differ", changed.len() - MOST)));
    }
    found.extend(drift::differences(&was.options, &now.options));
    found.extend(packages("venv", &was.packages.venv, &now.packages.venv));
    if let (Some(was), Some(now)) = (&was.packages.image, &now.packages.image) {
        found.extend(packages("image", was, now));
    }
    found
}

fn packages(place: &str, was: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Drift> {
    let of = |map: &BTreeMap<String, String>| {
        map.iter().map(|(name, version)| (format!("packages.{place}.{name}"), version.clone())).collect()
    };
    let mut found = drift::differences(&of(was), &of(now));
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        let option = format!("packages.{place}");
        found.push(Drift::told(&option, format!("{option}: {more} more differ")));
    }
    found
}
