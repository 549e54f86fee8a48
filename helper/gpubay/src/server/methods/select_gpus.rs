//! `gpubay/selectGpus`: gives the dev container other GPUs; one in which something would be lost stays as it is, and is drifted.

use super::super::method::{About, Call, Kind, Method, consent};
use super::super::wire::{Failure, SelectGpusParams};
use crate::workspace::report::UpReport;
use crate::workspace::up;

pub(in crate::server) struct SelectGpus;

impl Method for SelectGpus {
    const NAME: &'static str = "gpubay/selectGpus";
    const KIND: Kind = Kind::Works;
    type Params = SelectGpusParams;
    type Answer = UpReport;

    async fn answer(call: Call, params: SelectGpusParams) -> Result<UpReport, Failure> {
        let workspace = call.open(&params.work.allow, Some(&params.gpus)).await?;
        Ok(up::up(&workspace, consent(params.work.consent)).await?)
    }
}

impl About for SelectGpusParams {
    fn folder(&self) -> &str {
        &self.work.folder
    }

    fn token(&self) -> Option<&str> {
        self.work.token()
    }
}
