//! Containers that run and have lost their GPUs: their agents are asked, and where something is amiss the machine is
//! asked why. Nothing is remembered; [`lost::lost`] judges.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gpubay_protocol::agent::{GpuGuard, RUN_DIR};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Workspace;
use super::choice;
use super::labels::{self, Role};
use super::status::StatusReport;
use crate::HostPath;
use crate::agent::Client;
use crate::config::model::{Injection, Isolation};
use crate::engine::{Container, Engine, Listed, MountPoint};
use crate::gpu::lost::{self, LostGpus, Witness};
use crate::gpu::{self, inventory_of};

/// Who lists containers does not wait for one of them.
const AGENT_PATIENCE: Duration = Duration::from_secs(1);
/// A container's own `nvidia-smi` is one more witness, and not waited for.
const SMI_PATIENCE: Duration = Duration::from_secs(1);
/// systemd notes there when it read its units last.
const UNITS_READ: &str = "/run/systemd/systemd-units-load";

/// A running container, as far as this room needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) id: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) mounts: &'a [MountPoint],
}

impl<'a> From<&'a Container> for Subject<'a> {
    fn from(found: &'a Container) -> Self {
        Self { id: &found.id, labels: &found.labels, mounts: &found.mounts }
    }
}

impl<'a> From<&'a Listed> for Subject<'a> {
    fn from(found: &'a Listed) -> Self {
        Self { id: &found.id, labels: &found.labels, mounts: &found.mounts }
    }
}

impl Subject<'_> {
    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Where its agent's socket lies, where the engine tells its mounts.
    fn run(&self) -> Option<HostPath> {
        let mount = self.mounts.iter().find(|mount| mount.target == RUN_DIR)?;
        HostPath::new(mount.source.as_deref()?).ok()
    }

    /// Whether it was given GPUs.
    pub(super) fn had_gpus(&self) -> bool {
        !matches!(self.label(labels::INJECTION), "") && self.label(labels::INJECTION) != gpu::name_of(Injection::None)
    }

    /// What its programs are given, by UUID, as far as that is known.
    fn given(&self, run: &HostPath) -> Vec<String> {
        let inside: Vec<String> =
            gpu::read(self.label(labels::DEVICES)).into_iter().map(|device| device.uuid).collect();
        if self.label(labels::ISOLATION) != gpu::name_of_isolation(Isolation::Soft) {
            return inside;
        }
        // What a container writes there itself can name no other than those inside.
        let selected = choice::read(run).map(|choice| choice.visible);
        let selected = selected.filter(|uuids| uuids.iter().all(|uuid| inside.contains(uuid)));
        selected.unwrap_or_else(|| {
            self.label(labels::VISIBLE).split(',').filter(|uuid| !uuid.is_empty()).map(str::to_owned).collect()
        })
    }
}

/// What a container that runs has lost. `None`: nothing, or it cannot be asked.
pub(super) async fn of(engine: &Engine, subject: Subject<'_>) -> Option<LostGpus> {
    if !subject.had_gpus() || !engine.is_local() {
        return None;
    }
    let run = match subject.run() {
        Some(run) => run,
        // Some engines list no sources.
        None => {
            let found = engine.container(subject.id).await.ok()??;
            Subject { mounts: &found.mounts, ..subject }.run()?
        }
    };
    let guard = ask(&run).await?;
    let given = subject.given(&run);
    let slices = given.iter().any(|uuid| uuid.starts_with("MIG-"));
    if !guard.is_amiss() && !slices {
        return None;
    }
    // A driver that nobody has asked takes its time, and is asked about slices alone: these come and go.
    let inventory = if slices || !guard.slices_gone.is_empty() { inventory_of(engine).await.ok() } else { None };
    let next = next(subject);
    let bare = Witness {
        guard: &guard,
        cgroups: "",
        reloaded: None,
        inventory: inventory.as_ref(),
        given: &given,
        said: None,
        next: &next,
    };
    lost::lost(bare)?;
    let (condition, reloaded, said) = tokio::join!(engine.condition(), reloaded(engine, subject.id), said(&run));
    let cgroups = condition.map(|condition| condition.cgroup_driver).unwrap_or_default();
    lost::lost(Witness { cgroups: &cgroups, reloaded: reloaded.as_deref(), said: said.as_deref(), ..bare })
}

/// A container whose agent is to say when its GPUs are lost.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) id: String,
    /// Where its socket lies.
    pub(crate) run: HostPath,
    /// They are, as far as is known.
    pub(crate) lost: bool,
}

/// The containers of a workspace that run and were given GPUs.
pub(crate) fn guarded(workspace: &Workspace, status: &StatusReport) -> Vec<Guarded> {
    if !workspace.engine.is_local() {
        return Vec::new();
    }
    let none = gpu::name_of(Injection::None);
    let dev = status.container.as_ref().filter(|container| container.state == "running");
    let dev = dev.zip(status.gpu.as_ref().filter(|gpu| gpu.injection != none));
    let dev = dev.map(|(container, gpu)| Guarded {
        id: container.id.clone(),
        run: workspace.run_folder(),
        lost: gpu.lost.is_some(),
    });
    let jobs = status.jobs.iter().filter(|row| row.state == "running" && row.gpus != none).filter_map(|row| {
        let run = workspace.job_run_folder(row.job.as_ref()?);
        Some(Guarded { id: row.id.clone(), run, lost: row.lost_gpus.is_some() })
    });
    dev.into_iter().chain(jobs).collect()
}

/// As [`of`], for who is in the container.
pub(crate) async fn inside(run: &HostPath) -> Option<LostGpus> {
    let guard = ask(run).await.filter(GpuGuard::is_amiss)?;
    let said = said(run).await;
    let next = "Recreate the container in the window of the folder outside.";
    lost::lost(Witness {
        guard: &guard,
        cgroups: "",
        reloaded: None,
        inventory: None,
        given: &[],
        said: said.as_deref(),
        next,
    })
}

/// The first answer of a container's agent; an older one of ours has none.
async fn ask(run: &HostPath) -> Option<GpuGuard> {
    let asked = async { Client::connect(run).await?.watch_gpus().await?.next().await };
    tokio::time::timeout(AGENT_PATIENCE, asked).await.ok()?.ok()
}

/// What the container's own program has to say, where it complains.
async fn said(run: &HostPath) -> Option<String> {
    let asked = async { Client::connect(run).await?.gpus().await };
    tokio::time::timeout(SMI_PATIENCE, asked).await.ok()?.ok()?.problem
}

/// When systemd read its units again while the container ran.
async fn reloaded(engine: &Engine, id: &str) -> Option<String> {
    let noted = tokio::fs::metadata(Path::new(UNITS_READ)).await.ok()?.modified().ok()?;
    let started = engine.container(id).await.ok()??.started_at;
    let noted = OffsetDateTime::from(noted);
    (noted > OffsetDateTime::parse(&started, &Rfc3339).ok()?).then(|| noted.format(&Rfc3339).ok())?
}

fn next(subject: Subject<'_>) -> String {
    let goes_on = "What has a GPU open already goes on; what starts now gets none.";
    if subject.label(labels::ROLE) == Role::Job.as_str() {
        let name = subject.label(labels::JOB);
        return format!(
            "{goes_on} A job is not made anew while it runs: `gpubay run --again {name}` runs it again once it has ended. \
             `gpubay doctor` says how to prevent it."
        );
    }
    format!(
        "{goes_on} `gpubay up --recreate` makes the container anew, with the same mounts, venv and GPUs; `gpubay doctor` \
         says how to prevent it."
    )
}
