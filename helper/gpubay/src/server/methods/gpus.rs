//! `gpubay/gpus`: what the engine offers.

use super::super::inside;
use super::super::method::{Call, Kind, Method};
use super::super::wire::{Failure, FolderParams};
use crate::gpu::Driver;
use crate::workspace::gpus::{self, GpusReport, Reach};

pub(in crate::server) struct Gpus;

impl Method for Gpus {
    const NAME: &'static str = "gpubay/gpus";
    const KIND: Kind = Kind::Reads;
    type Params = FolderParams;
    type Answer = GpusReport;

    async fn answer(call: Call, params: FolderParams) -> Result<GpusReport, Failure> {
        let _ = params;
        if inside::is() {
            return inside::gpus(&Driver::default()).await;
        }
        let workspace = call.reach(&[]).await?;
        Ok(gpus::gpus(&workspace, Reach::Through).await?)
    }
}
