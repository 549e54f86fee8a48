//! `gpubay/attachTarget`: what an editor opens to be in the dev container.

use super::super::method::{About, Call, Kind, Method};
use super::super::wire::{AttachTargetParams, Failure};
use crate::workspace::attach::{self, AttachReport};

pub(in crate::server) struct AttachTarget;

impl Method for AttachTarget {
    const NAME: &'static str = "gpubay/attachTarget";
    const KIND: Kind = Kind::Reads;
    type Params = AttachTargetParams;
    type Answer = AttachReport;

    async fn answer(call: Call, params: AttachTargetParams) -> Result<AttachReport, Failure> {
        let workspace = call.reach(&[]).await?;
        Ok(attach::target(&workspace, params.ssh.as_deref()).await?)
    }
}

impl About for AttachTargetParams {
    fn folder(&self) -> &str {
        &self.folder
    }
}
