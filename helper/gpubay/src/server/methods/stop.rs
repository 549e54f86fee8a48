//! `gpubay/stop`: stops the dev container and keeps it.

use super::super::method::{Call, Kind, Method, consent};
use super::super::wire::{Failure, WorkParams};
use crate::workspace::down;
use crate::workspace::report::DownReport;

pub(in crate::server) struct Stop;

impl Method for Stop {
    const NAME: &'static str = "gpubay/stop";
    const KIND: Kind = Kind::Works;
    type Params = WorkParams;
    type Answer = DownReport;

    async fn answer(call: Call, params: WorkParams) -> Result<DownReport, Failure> {
        let workspace = call.reach(&params.allow).await?;
        Ok(down::stop(&workspace, consent(params.consent)).await?)
    }
}
