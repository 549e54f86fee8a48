//! `gpubay/rm`: removes jobs that have ended; with consent also what runs.

use super::super::method::{About, Call, Kind, Method, consent};
use super::super::wire::{Failure, RmParams};
use crate::workspace::down::{self, Remove};
use crate::workspace::report::RmReport;

pub(in crate::server) struct Rm;

impl Method for Rm {
    const NAME: &'static str = "gpubay/rm";
    const KIND: Kind = Kind::Works;
    type Params = RmParams;
    type Answer = RmReport;

    async fn answer(call: Call, params: RmParams) -> Result<RmReport, Failure> {
        let workspace = call.reach(&params.work.allow).await?;
        let what = Remove { names: params.names, finished: params.finished, ..Remove::default() };
        Ok(down::rm(&workspace, &what, consent(params.work.consent)).await?)
    }
}

impl About for RmParams {
    fn folder(&self) -> &str {
        &self.work.folder
    }

    fn token(&self) -> Option<&str> {
        self.work.token()
    }
}
