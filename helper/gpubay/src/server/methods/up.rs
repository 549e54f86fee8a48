//! `gpubay/up`: builds and starts the dev container and prepares the host env; what is there is reused.

use super::super::method::{About, Call, Kind, Method, consent};
use super::super::wire::{Failure, UpParams};
use crate::workspace::report::UpReport;
use crate::workspace::up;

pub(in crate::server) struct Up;

impl Method for Up {
    const NAME: &'static str = "gpubay/up";
    const KIND: Kind = Kind::Works;
    type Params = UpParams;
    type Answer = UpReport;

    async fn answer(call: Call, params: UpParams) -> Result<UpReport, Failure> {
        let workspace = call.open(&params.work.allow, params.gpus.as_deref()).await?;
        Ok(up::up_after(&workspace, consent(params.work.consent), params.seen.as_deref()).await?)
    }
}

impl About for UpParams {
    fn folder(&self) -> &str {
        &self.work.folder
    }

    fn token(&self) -> Option<&str> {
        self.work.token()
    }
}
