//! `gpubay/status`: what runs, compared with what is configured.

use super::super::folder::see;
use super::super::inside;
use super::super::method::{Call, Kind, Method};
use super::super::wire::{Failure, FolderParams};
use crate::failpoint;
use crate::workspace::status::StatusReport;

pub(in crate::server) struct Status;

impl Method for Status {
    const NAME: &'static str = "gpubay/status";
    const KIND: Kind = Kind::Reads;
    type Params = FolderParams;
    type Answer = StatusReport;

    async fn answer(call: Call, params: FolderParams) -> Result<StatusReport, Failure> {
        let _ = params;
        failpoint::hit("serve.status")?;
        if inside::is() {
            return inside::status(&call.folder).await;
        }
        see(call.folder, call.progress).await?.status().await
    }
}
