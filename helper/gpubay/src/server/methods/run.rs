//! `gpubay/run`: starts a job, which goes on by itself.

use super::super::method::{About, Call, Kind, Method};
use super::super::wire::{Failure, RunParams, StartedJob};
use crate::config::parse_gpus;
use crate::engine::Stdio;
use crate::error::Error;
use crate::gpu::lease;
use crate::workspace::jobs::{self, RunOptions, Wait};

pub(in crate::server) struct Run;

impl Method for Run {
    const NAME: &'static str = "gpubay/run";
    const KIND: Kind = Kind::Starts;
    type Params = RunParams;
    type Answer = StartedJob;

    async fn answer(call: Call, params: RunParams) -> Result<StartedJob, Failure> {
        let workspace = call.open(&params.work.allow, None).await?;
        let gpus = params.gpus.as_deref().map(parse_gpus).transpose()?;
        let jobs = &workspace.config().jobs;
        if let Some(name) = params.job.as_ref().filter(|name| !jobs.contains_key(*name)) {
            let names: Vec<&str> = jobs.keys().map(String::as_str).collect();
            let what = format!("[jobs] of gpubay.toml has no {name}; it has: {}", names.join(", "));
            return Err(Error::new("no_such_job", what).into());
        }
        let configured = params.job.is_some();
        let argv: Vec<String> = params.job.into_iter().chain(params.argv).collect();
        if argv.is_empty() {
            return Err(Error::new("nothing_to_run", "a job needs a command, or the name of one of [jobs]").into());
        }
        let mut options = RunOptions {
            argv,
            name: params.name,
            gpus,
            lease: if params.share { lease::Kind::Shared } else { lease::Kind::Exclusive },
            wait: Wait::Always,
            stdio: Stdio::Detached,
            cwd: call.folder.clone(),
            env: Vec::new(),
            configured: None,
            snapshot: params.snapshot.then(Vec::new),
            again: None,
        };
        if configured {
            options = options.as_configured(workspace.config());
        }
        let job = jobs::run(&workspace, &options).await?;
        Ok(StartedJob { name: job.name, container: job.container, record: job.record })
    }
}

impl About for RunParams {
    fn folder(&self) -> &str {
        &self.work.folder
    }

    fn token(&self) -> Option<&str> {
        self.work.token()
    }
}
