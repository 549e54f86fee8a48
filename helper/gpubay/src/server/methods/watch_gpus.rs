//! `gpubay/watchGpus`: begins or ends to tell `gpubay/gpus`: at once, then every 2 s if something is different.

use super::super::inside;
use super::super::method::{About, Call, Kind, Method};
use super::super::wire::{Failure, WatchGpusParams};

pub(in crate::server) struct WatchGpus;

impl Method for WatchGpus {
    const NAME: &'static str = "gpubay/watchGpus";
    const KIND: Kind = Kind::Reads;
    type Params = WatchGpusParams;
    type Answer = ();

    async fn answer(call: Call, params: WatchGpusParams) -> Result<(), Failure> {
        // What is refused is refused here, not silently later.
        if params.watch && !inside::is() {
            call.reach(&[]).await?;
        }
        call.watch_gpus(params.watch);
        Ok(())
    }
}

impl About for WatchGpusParams {
    fn folder(&self) -> &str {
        &self.folder
    }
}
