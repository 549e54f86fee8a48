//! `gpus`: what the engine offers, and what the driver tells of it. Looked at once, or again and again.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use super::elsewhere::Elsewhere;
use super::holders::Holders;
use super::there::{There, Whose};
use super::{HostUser, Workspace, leases, offered, there};
use crate::config::model::{GpuSelection, Gpus, Injection, Isolation, User};
use crate::engine::{Engine, EngineInfo};
use crate::error::{Explain, Result};
use crate::gpu::direct::{Kit, Obstacle};
use crate::gpu::inventory::{Inventory, Process};
use crate::gpu::{self, Driver, Lack};

pub use super::there::Reach;

/// How often somebody who looks sees something new.
pub const BEAT: Duration = Duration::from_secs(2);
/// What an engine offers changes with its configuration, and asking costs it something.
const OFFER_LASTS: Duration = Duration::from_secs(30);

/// The answer of `gpus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GpusReport {
    /// The engine's address.
    pub engine: String,
    /// How GPUs get into a container: `cdi`, `nvidia-runtime`, `direct`, `none`; `inside`: who tells is in one.
    pub injection: String,
    /// Why that way.
    pub reason: String,
    /// Whether `devices` holds all that there are: the NVIDIA runtime does not tell the engine which it has, only the
    /// driver knows it.
    pub complete: bool,
    pub devices: Vec<OfferedGpu>,
    /// Jobs that wait for GPUs, in their order.
    pub waiting: Vec<GpuLease>,
    /// Names that the engine takes and that cannot be matched with a device from here: UUIDs, `all`.
    pub other_names: Vec<String>,
    /// The driver's version.
    pub driver: Option<String>,
    /// The newest CUDA that the driver runs: `13.0`.
    pub cuda: Option<String>,
    /// Why memory, use and processes are not known, or what else is to know of the driver, with the next step.
    pub problem: Option<String>,
}

/// A GPU or a MIG slice; what is not known is `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OfferedGpu {
    /// What `--gpus` takes for this device alone: its UUID, `device=1`, or a CDI name.
    pub select: String,
    pub index: Option<u32>,
    /// Of a MIG slice: its place in its GPU.
    pub slice: Option<u32>,
    pub uuid: Option<String>,
    /// The model.
    pub name: Option<String>,
    /// Its CDI name.
    pub cdi: Option<String>,
    /// Of a MIG slice: `1g.10gb`.
    pub profile: Option<String>,
    pub memory: Option<GpuMemory>,
    /// Percent of the driver's last sample in which something ran.
    pub utilization: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Watts.
    pub power: Option<u32>,
    /// Watts.
    pub power_limit: Option<u32>,
    /// Why it cannot be used.
    pub trouble: Option<String>,
    /// Whose processes are on it, the one with the most memory first.
    pub holders: Vec<GpuHolder>,
    /// Which containers have it, whether or not anything runs on it: jobs have it for themselves, dev containers share.
    pub leases: Vec<GpuLease>,
}

/// A container that has a GPU, or waits for one. What is not known is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GpuLease {
    /// `exclusive`: no other job gets it meanwhile. `shared`, `waiting`.
    pub kind: String,
    pub workspace: String,
    /// `null`: it is a dev container.
    pub job: Option<String>,
    /// Whose container it is: the user's name, or the number.
    pub user: Option<String>,
    /// The container's name; of one that waits, of what stands in the queue for it.
    pub container: Option<String>,
    /// As CUDA counts this GPU in there: 0 is `cuda:0`. `null` of one that waits, too.
    pub cuda: Option<u32>,
    /// A job in the foreground, which goes on although the process that watched it was killed.
    pub unwatched: bool,
    /// Since when: RFC 3339.
    pub since: Option<String>,
}

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GpuMemory {
    pub used: u64,
    pub total: u64,
}

/// A process on a GPU, and whose it is. What cannot be found out is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GpuHolder {
    /// On the engine's machine.
    pub pid: u32,
    /// The program's name.
    pub program: Option<String>,
    /// Bytes.
    pub memory: Option<u64>,
    /// The user's name, or the number.
    pub user: Option<String>,
    /// The container's name; `null`: it runs in none.
    pub container: Option<String>,
    /// The workspace of a container of ours.
    pub workspace: Option<String>,
    /// The job of a container of ours; `null` in a dev container.
    pub job: Option<String>,
    /// Since when it runs: RFC 3339.
    pub since: Option<String>,
}

/// Looks at the GPUs of an engine.
#[derive(Debug)]
pub struct Viewer {
    engine: Engine,
    wanted: Gpus,
    host: HostUser,
    /// Who would use them.
    user: User,
    driver: Driver,
    holders: Holders,
    offer: Option<Offer>,
    direct: Option<(Instant, Directly)>,
    whose: Whose,
    there: There,
    reach: Reach,
}

/// What can be given without the engine's help, where somebody needs to know.
type Directly = Option<Result<Kit, Obstacle>>;

/// What the engine said not long ago.
#[derive(Clone, Debug)]
struct Offer {
    at: Instant,
    info: EngineInfo,
    /// Its machine is this one.
    here: Result<(), Lack>,
}

impl Viewer {
    /// At those of the workspace's engine, in the way that the workspace would use.
    pub fn of(workspace: &Workspace) -> Self {
        let wanted = Gpus { select: GpuSelection::All, required: false, ..workspace.config().gpus.clone() };
        let whose = Whose::of(workspace);
        Self::new(workspace.engine.clone(), wanted, workspace.config().container.user.clone(), whose)
    }

    /// Without a workspace.
    pub fn elsewhere(elsewhere: &Elsewhere) -> Self {
        let wanted = Gpus { select: GpuSelection::All, required: false, isolation: Isolation::Hard, injection: None };
        Self::new(elsewhere.engine().clone(), wanted, User::Host, elsewhere.whose())
    }

    fn new(engine: Engine, wanted: Gpus, user: User, whose: Whose) -> Self {
        let (host, driver, holders) = (HostUser::current(), Driver::default(), Holders::default());
        let (there, reach) = (There::default(), Reach::Through);
        Self { engine, wanted, host, user, driver, holders, offer: None, direct: None, whose, there, reach }
    }

    #[must_use]
    fn reaching(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Asks this driver, which others ask too.
    #[must_use]
    pub fn sharing(self, driver: &Driver) -> Self {
        Self { driver: driver.clone(), ..self }
    }

    /// How it is now.
    ///
    /// # Errors
    /// The engine's own. What the driver does not tell is no error.
    pub async fn look(&mut self) -> Result<GpusReport> {
        let Offer { info, here, .. } = self.offer().await?;
        let told = match here {
            Ok(()) => self.driver.inventory().await,
            Err(lack) => Err(lack),
        };
        let told = match told {
            Err(lack) if self.reach == Reach::Through && there::may_tell(&lack, self.wanted.injection, &info) => {
                self.there.inventory(&self.engine, &self.whose, &info).await
            }
            told => told,
        };
        let direct = self.direct(&info, told.as_ref().ok()).await;
        // A way that was forced and is not there keeps nobody from seeing what is.
        let (injection, reason) = match gpu::decide(&self.wanted, &info, told.as_ref().ok(), direct.as_ref()) {
            Ok(plan) => (plan.injection, plan.reason),
            Err(error) => {
                let next = error.hint().map(|hint| format!(". {hint}")).unwrap_or_default();
                (Injection::None, format!("{error}{next}"))
            }
        };
        let processes: Vec<Process> = told.as_ref().map(offered::processes).unwrap_or_default();
        let holders = self.holders.find(&self.engine, &processes).await;
        let (devices, other_names) = offered::devices(&info, injection, told.as_ref().ok(), &holders);
        let mut devices = match &direct {
            Some(Ok(kit)) if injection == Injection::Direct => offered::directly(devices, kit, told.as_ref().ok()),
            _ => devices,
        };
        let waiting = leases::show(&self.engine, &mut self.holders, &mut devices).await?;
        let told_all = injection != Injection::NvidiaRuntime || told.is_ok();
        Ok(GpusReport {
            engine: self.engine.located().endpoint.to_string(),
            injection: gpu::name_of(injection).to_owned(),
            reason,
            complete: told_all,
            devices,
            waiting,
            other_names,
            driver: told.as_ref().ok().and_then(|told| told.driver.clone()),
            cuda: told.as_ref().ok().and_then(Inventory::cuda_version),
            problem: offered::problem(&told),
        })
    }

    async fn direct(&mut self, info: &EngineInfo, told: Option<&Inventory>) -> Directly {
        if let Some((_, direct)) = self.direct.as_ref().filter(|(at, _)| at.elapsed() < OFFER_LASTS) {
            return direct.clone();
        }
        let opener = self.host.opener(&self.user, info.rootless);
        let direct = gpu::direct::look(&self.engine, &self.wanted, info, told, opener).await;
        self.direct.insert((Instant::now(), direct)).1.clone()
    }

    async fn offer(&mut self) -> Result<Offer> {
        if let Some(offer) = self.offer.as_ref().filter(|offer| offer.at.elapsed() < OFFER_LASTS) {
            return Ok(offer.clone());
        }
        let info = self.engine.info().await?;
        let here = gpu::on_this_machine(&self.engine, Some(&info.machine));
        Ok(self.offer.insert(Offer { at: Instant::now(), info, here }).clone())
    }
}

/// Of the workspace's engine, in the way that the workspace would use.
///
/// # Errors
/// Of [`Viewer::look`].
pub async fn gpus(workspace: &Workspace, reach: Reach) -> Result<GpusReport> {
    Viewer::of(workspace).reaching(reach).look().await
}

impl GpusReport {
    /// Whether this is worth telling to who knows `told`: not where only figures moved a little.
    pub fn is_news_to(&self, told: &Self) -> bool {
        let mut now = self.clone();
        if now.devices.len() == told.devices.len() {
            for (now, told) in now.devices.iter_mut().zip(&told.devices) {
                now.forget_small_changes(told);
            }
        }
        now != *told
    }
}

impl OfferedGpu {
    /// With what a driver tells of it, without whose the processes are.
    #[must_use]
    pub fn with_figures(self, told: &Inventory) -> Self {
        offered::with_figures(self, told)
    }

    fn forget_small_changes(&mut self, told: &Self) {
        // What a driver keeps for itself comes and goes; a temperature sways.
        const MEMORY: u64 = 32 << 20;
        const PERCENT: u64 = 5;
        const DEGREES: u64 = 2;
        const WATTS: u64 = 5;
        fn settle<T: Copy + Into<u64>>(now: &mut Option<T>, told: Option<T>, least: u64) {
            if let (Some(new), Some(old)) = (*now, told)
                && new.into().abs_diff(old.into()) < least
            {
                *now = told;
            }
        }
        if let (Some(now), Some(told)) = (&mut self.memory, told.memory)
            && now.used.abs_diff(told.used) < MEMORY
        {
            now.used = told.used;
        }
        settle(&mut self.utilization, told.utilization, PERCENT);
        settle(&mut self.temperature, told.temperature, DEGREES);
        settle(&mut self.power, told.power, WATTS);
        // Their order may change with their memory: each is compared with itself.
        for holder in &mut self.holders {
            if let Some(told) = told.holders.iter().find(|told| told.pid == holder.pid) {
                settle(&mut holder.memory, told.memory, MEMORY);
                // The machine's start, by which it is reckoned, sways by a second.
                holder.since.clone_from(&told.since);
            }
        }
        offered::sort(&mut self.holders);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_no_news() {
        let holder = |pid, memory| GpuHolder {
            ..GpuHolder {
                pid,
                program: None,
                memory: Some(memory),
                user: None,
                container: None,
                workspace: None,
                job: None,
                since: None,
            }
        };
        let device = OfferedGpu {
            memory: Some(GpuMemory { used: 1 << 30, total: 24 << 30 }),
            utilization: Some(50),
            temperature: Some(60),
            power: Some(200),
            holders: vec![holder(2, 600 << 20), holder(1, 400 << 20)],
            ..OfferedGpu::default()
        };
        let report = |device: &OfferedGpu| GpusReport {
            engine: String::new(),
            injection: "cdi".to_owned(),
            reason: String::new(),
            complete: true,
            devices: vec![device.clone()],
            waiting: Vec::new(),
            other_names: Vec::new(),
            driver: None,
            cuda: None,
            problem: None,
        };
        let told = report(&device);
        let news = |change: &dyn Fn(&mut OfferedGpu)| {
            let mut changed = device.clone();
            change(&mut changed);
            report(&changed).is_news_to(&told)
        };
        assert!(!news(&|_| {}));
        assert!(!news(&|device| {
            device.memory = Some(GpuMemory { used: (1 << 30) + (5 << 20), total: 24 << 30 });
            (device.utilization, device.temperature, device.power) = (Some(53), Some(61), Some(203));
            device.holders[0].memory = Some(610 << 20);
            device.holders[0].since = Some("later".to_owned());
        }));
        assert!(news(&|device| device.memory = Some(GpuMemory { used: 2 << 30, total: 24 << 30 })));
        assert!(news(&|device| device.utilization = Some(90)));
        assert!(news(&|device| device.utilization = None));
        assert!(news(&|device| device.trouble = Some("lost".to_owned())));
        assert!(news(&|device| drop(device.holders.pop())));
        assert!(news(&|device| device.holders[0].job = Some("train".to_owned())));
        assert!(GpusReport { devices: Vec::new(), ..told.clone() }.is_news_to(&told));
    }
}
