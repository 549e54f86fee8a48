//! `gpubay/rebuild`: builds the image although it is there, and starts a container of it; one in which something would be lost stays, and is drifted.

use super::super::method::{About, Call, Kind, Method, consent};
use super::super::wire::{Failure, RebuildParams};
use crate::workspace::build::{self, Cache};
use crate::workspace::report::UpReport;
use crate::workspace::up;

pub(in crate::server) struct Rebuild;

impl Method for Rebuild {
    const NAME: &'static str = "gpubay/rebuild";
    const KIND: Kind = Kind::Works;
    type Params = RebuildParams;
    type Answer = UpReport;

    async fn answer(call: Call, params: RebuildParams) -> Result<UpReport, Failure> {
        let workspace = call.open(&params.work.allow, None).await?;
        build::build(&workspace, if params.no_cache { Cache::Ignore } else { Cache::Anew }).await?;
        Ok(up::up(&workspace, consent(params.work.consent)).await?)
    }
}

impl About for RebuildParams {
    fn folder(&self) -> &str {
        &self.work.folder
    }

    fn token(&self) -> Option<&str> {
        self.work.token()
    }
}
