//! How long the parts of a workflow take, for its report.

use std::collections::BTreeMap;
use std::time::Instant;

/// Measures stages; each lap ends the one before.
#[derive(Debug)]
pub(super) struct Stages {
    start: Instant,
    last: Instant,
    laps: BTreeMap<&'static str, u64>,
}

impl Stages {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, laps: BTreeMap::new() }
    }

    pub(super) fn lap(&mut self, stage: &'static str) {
        let now = Instant::now();
        self.laps.insert(stage, (now - self.last).as_millis() as u64);
        self.last = now;
    }

    pub(super) fn end(mut self) -> BTreeMap<&'static str, u64> {
        self.laps.insert("total", self.start.elapsed().as_millis() as u64);
        self.laps
    }
}
