//! `up --print` and `run --print`: the container that they would make, as a command of the engine's own tool. Makes
//! nothing.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::jobs::RunOptions;
use super::spec::{Planned, Task, plan};
use super::up::{self, Ground};
use super::{Workspace, dev, jobs};
use crate::engine::{DockerRun, Stdio, Values};
use crate::error::Result;

/// Whether the command may hold what may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    Hidden,
    Shown,
}

/// The answer of `up --print` and `run --print`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PrintReport {
    /// The command as a program would start it.
    pub argv: Vec<String>,
    /// The same for a POSIX shell.
    pub command: String,
    pub image: PrintedImage,
    /// Values that are left out, as `env TOKEN`.
    pub hidden: Vec<String>,
    /// What the command does not do, a sentence each.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PrintedImage {
    pub reference: String,
    /// On the engine.
    pub exists: bool,
}

/// The dev container.
///
/// # Errors
/// What would keep `up` from planning it.
pub async fn dev(workspace: &Workspace, secrets: Secrets) -> Result<PrintReport> {
    let existing = dev::find(workspace, &workspace.dev_name()).await?;
    let (gpus, chosen) = up::selection(workspace, existing.as_ref());
    let (ground, there) = up::expected_ground(workspace, &gpus).await?;
    let ground = ground.with(&chosen);
    let planned = plan(&ground.inputs(workspace), &Task::Dev);
    let mut report = report(workspace, &ground, &planned, there, BTreeSet::new(), secrets);
    if workspace.loaded.chosen_gpus.is_none() && chosen.is_explicit() {
        let asked = gpus.select.typed();
        report.notes.push(format!(
            "its GPUs are those of the last `gpubay up --gpus {asked}`, and not the configuration's; `--print --gpus …` shows others"
        ));
    }
    Ok(report)
}

/// A job. Nothing of the sources is frozen for it.
///
/// # Errors
/// What would keep `run` from planning it.
pub async fn job(workspace: &Workspace, options: &RunOptions, secrets: Secrets) -> Result<PrintReport> {
    let name = jobs::name_of(options)?;
    let cwd = options.folder(workspace)?;
    let env = options.variables(workspace.config());
    let (mut ground, there) = up::expected_ground(workspace, &jobs::gpus_of(workspace, options)).await?;
    ground.places.run = workspace.job_run_folder(&name);
    let (argv, stdio) = (options.argv.as_slice(), options.stdio);
    let task = Task::Job { name: &name, argv, cwd: Some(&cwd), env: &env, stdio, frozen: None };
    let mut planned = plan(&ground.inputs(workspace), &task);
    // Whoever watches a job to its end takes its container away then.
    planned.spec.removes_itself = matches!(stdio, Stdio::Attached { .. });
    let own = env.iter().filter(|variable| !options.env.contains(variable)).map(|(name, _)| name.clone()).collect();
    let mut report = report(workspace, &ground, &planned, there, own, secrets);
    let folder = crate::quoting::quoted(&ground.places.run.to_string());
    report.notes.push(format!("it mounts a folder of its own, which `gpubay run` makes: mkdir -p {folder}"));
    if options.snapshot.is_some() {
        report.notes.push("it works on the workspace itself: only `gpubay run` freezes the sources".to_owned());
    }
    Ok(report)
}

/// `own` are variables besides the container's whose values are the user's.
fn report(
    workspace: &Workspace,
    ground: &Ground,
    planned: &Planned,
    there: bool,
    mut own: BTreeSet<String>,
    secrets: Secrets,
) -> PrintReport {
    own.extend(workspace.config().container.env.keys().cloned());
    let values = match secrets {
        Secrets::Hidden => Values::Hidden(&own),
        Secrets::Shown => Values::Shown,
    };
    let DockerRun { argv, hidden } = planned.spec.docker_run(values);
    PrintReport {
        command: crate::quoting::command_line(&argv),
        argv,
        image: PrintedImage { reference: ground.reference.clone(), exists: there },
        hidden,
        notes: notes(workspace, ground, planned, there),
    }
}

fn notes(workspace: &Workspace, ground: &Ground, planned: &Planned, there: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if !there {
        notes.push(format!(
            "the image {} is not there yet (`gpubay build` makes it): until then, home, user name, PATH and ENTRYPOINT \
             are those of an image that sets none",
            ground.reference
        ));
    }
    if !up::is_prepared(workspace) {
        notes.push("the folders of GPU Bay that it mounts are made by the first `gpubay up`".to_owned());
    }
    let user = &ground.user;
    if !planned.spec.options.read_only && (user.passwd.is_some() || user.group.is_some()) {
        notes.push(format!(
            "`gpubay up` also puts {} ({}) into the container's /etc/passwd and /etc/group before it starts, and gives \
             home and fresh volumes to that user",
            user.name,
            user.ids()
        ));
    }
    notes
}
