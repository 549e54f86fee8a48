//! `gpubay/status`: what runs, compared with what is configured.

use super::super::inside;
use super::super::method::{Call, Kind, Method};
use super::super::wire::{Failure, FolderParams};
use crate::workspace::status::{self, Configured, StatusReport};

pub(in crate::server) struct Status;

impl Method for Status {
    const NAME: &'static str = "gpubay/status";
    const KIND: Kind = Kind::Reads;
    type Params = FolderParams;
    type Answer = StatusReport;

    async fn answer(call: Call, params: FolderParams) -> Result<StatusReport, Failure> {
        let _ = params;
        if inside::is() {
            return inside::status(&call.folder).await;
        }
        let workspace = call.reach(&[]).await?;
        Ok(status::status(&workspace, Configured::Usable).await?)
    }
}
