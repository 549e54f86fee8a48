//! `gpubay/chooseDockerfile`: remembers which of several Dockerfiles is the workspace's.

use super::super::method::{About, Call, Kind, Method, of_config, request};
use super::super::wire::{ChooseDockerfileParams, Failure};
use crate::config;

pub(in crate::server) struct ChooseDockerfile;

impl Method for ChooseDockerfile {
    const NAME: &'static str = "gpubay/chooseDockerfile";
    const KIND: Kind = Kind::Reads;
    type Params = ChooseDockerfileParams;
    type Answer = ();

    async fn answer(call: Call, params: ChooseDockerfileParams) -> Result<(), Failure> {
        let known = config::bare(&request(call.folder.clone(), None)?).map_err(of_config)?;
        config::remember_choice(&known.state, &known.identity, &params.dockerfile).map_err(of_config)?;
        Ok(())
    }
}

impl About for ChooseDockerfileParams {
    fn folder(&self) -> &str {
        &self.folder
    }
}
