//! `gpubay/stakes`: what a recreate would lose, or with jobs a down.

use super::super::method::{About, Call, Kind, Method};
use super::super::wire::StakesReport;
use super::super::wire::{Failure, StakesParams};
use crate::workspace::status;

pub(in crate::server) struct Stakes;

impl Method for Stakes {
    const NAME: &'static str = "gpubay/stakes";
    const KIND: Kind = Kind::Reads;
    type Params = StakesParams;
    type Answer = StakesReport;

    async fn answer(call: Call, params: StakesParams) -> Result<StakesReport, Failure> {
        let workspace = call.reach(&[]).await?;
        let lost = status::stakes(&workspace, params.jobs).await?;
        let sentences = lost
            .iter()
            .flat_map(|(name, losses)| losses.describe().into_iter().map(move |line| format!("{name}: {line}")));
        Ok(StakesReport { sentences: sentences.collect(), lost })
    }
}

impl About for StakesParams {
    fn folder(&self) -> &str {
        &self.folder
    }
}
