//! `gpubay/stop`: stops the dev container, or jobs that are named, and keeps them.

use super::super::method::{About, Call, Kind, Method, consent};
use super::super::wire::{Failure, StopParams};
use crate::workspace::down;
use crate::workspace::report::DownReport;

pub(in crate::server) struct Stop;

impl Method for Stop {
    const NAME: &'static str = "gpubay/stop";
    const KIND: Kind = Kind::Works;
    type Params = StopParams;
    type Answer = DownReport;

    async fn answer(call: Call, params: StopParams) -> Result<DownReport, Failure> {
        let workspace = call.reach(&params.work.allow).await?;
        Ok(down::stop(&workspace, &params.names, consent(params.work.consent)).await?)
    }
}

impl About for StopParams {
    fn folder(&self) -> &str {
        &self.work.folder
    }

    fn token(&self) -> Option<&str> {
        self.work.token()
    }
}
