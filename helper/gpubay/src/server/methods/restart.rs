//! `gpubay/restart`: stops the dev container and starts it again, the same one.

use super::super::method::{Call, Kind, Method, consent};
use super::super::wire::{Failure, WorkParams};
use crate::workspace::report::UpReport;
use crate::workspace::restart;

pub(in crate::server) struct Restart;

impl Method for Restart {
    const NAME: &'static str = "gpubay/restart";
    const KIND: Kind = Kind::Works;
    type Params = WorkParams;
    type Answer = UpReport;

    async fn answer(call: Call, params: WorkParams) -> Result<UpReport, Failure> {
        let workspace = call.open(&params.allow, None).await?;
        Ok(restart::restart(&workspace, consent(params.consent)).await?)
    }
}
