//! `gpubay/down`: removes the dev container and the jobs; keeps venv, mirror, caches and the image.

use super::super::method::{Call, Kind, Method, consent};
use super::super::wire::{Failure, WorkParams};
use crate::workspace::down;
use crate::workspace::report::DownReport;

pub(in crate::server) struct Down;

impl Method for Down {
    const NAME: &'static str = "gpubay/down";
    const KIND: Kind = Kind::Works;
    type Params = WorkParams;
    type Answer = DownReport;

    async fn answer(call: Call, params: WorkParams) -> Result<DownReport, Failure> {
        let workspace = call.reach(&params.allow).await?;
        Ok(down::down(&workspace, consent(params.consent)).await?)
    }
}
