//! `gpubay/selectGpus`: gives the dev container other GPUs: at once to whatever starts next where the environment selects. Where it
//! has to be made anew and something would be lost, it stays as it is, and is drifted.

use super::super::inside;
use super::super::method::{About, Call, Kind, Method, consent};
use super::super::wire::{Failure, SelectGpusParams, SelectedGpus};
use crate::workspace::report::UpReport;
use crate::workspace::up;

pub(in crate::server) struct SelectGpus;

impl Method for SelectGpus {
    const NAME: &'static str = "gpubay/selectGpus";
    const KIND: Kind = Kind::Works;
    type Params = SelectGpusParams;
    type Answer = SelectedGpus;

    async fn answer(call: Call, params: SelectGpusParams) -> Result<SelectedGpus, Failure> {
        if inside::is() {
            return inside::select_gpus(&params.gpus).await;
        }
        let workspace = call.open(&params.work.allow, Some(&params.gpus)).await?;
        let UpReport { gpu, drift, .. } = up::up(&workspace, consent(params.work.consent)).await?;
        Ok(SelectedGpus { gpu, drift })
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
