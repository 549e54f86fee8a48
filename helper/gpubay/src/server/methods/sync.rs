//! `gpubay/sync`: brings what the tools outside see up to date. With consent also where most of a folder has vanished inside.

use super::super::method::{About, Call, Kind, Method};
use super::super::wire::{Failure, SyncParams};
use crate::workspace::report::SyncReport;
use crate::workspace::sync::{self, Deletions};

pub(in crate::server) struct Sync;

impl Method for Sync {
    const NAME: &'static str = "gpubay/sync";
    const KIND: Kind = Kind::Works;
    type Params = SyncParams;
    type Answer = SyncReport;

    async fn answer(call: Call, params: SyncParams) -> Result<SyncReport, Failure> {
        let workspace = call.open(&params.work.allow, None).await?;
        let deletions = if params.work.consent { Deletions::Allowed } else { Deletions::Ask };
        Ok(sync::sync(&workspace, deletions).await?)
    }
}

impl About for SyncParams {
    fn folder(&self) -> &str {
        &self.work.folder
    }

    fn token(&self) -> Option<&str> {
        self.work.token()
    }
}
