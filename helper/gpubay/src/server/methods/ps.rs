//! `gpubay/ps`: the containers of this workspace, or of all.

use super::super::method::{About, Call, Kind, Method};
use super::super::wire::Rows;
use super::super::wire::{Failure, PsParams};
use crate::workspace::shown::{self, Scope};

pub(in crate::server) struct Ps;

impl Method for Ps {
    const NAME: &'static str = "gpubay/ps";
    const KIND: Kind = Kind::Reads;
    type Params = PsParams;
    type Answer = Rows;

    async fn answer(call: Call, params: PsParams) -> Result<Rows, Failure> {
        let workspace = call.reach(&[]).await?;
        let scope = if params.all { Scope::All } else { Scope::Workspace };
        Ok(Rows { containers: shown::ps(&workspace, scope).await? })
    }
}

impl About for PsParams {
    fn folder(&self) -> &str {
        &self.folder
    }
}
