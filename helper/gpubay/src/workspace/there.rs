//! The driver of a machine that only its engine reaches: `nvidia-smi` answers for it, in a container there that is given all
//! GPUs.
//!
//! The container is of an image that the engine has, without network, mounts, capabilities and anything of the user's; nothing
//! but our agent and that program runs in it, and what that one leaves behind is ended. It lives as long as the connection to its standard input: the engine ends it with
//! whoever looked, however that one ended. It is not given the machine's processes, so whose they are is told by leases alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gpubay_protocol::agent::{AGENT_DIR, AGENT_PATH, DRIVER_LIBRARIES, LD_LIBRARY_PATH, WSL_LIBRARIES};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{Workspace, helper_spec, labels, leases};
use crate::agent::{Client, SmiLine, embedded};
use crate::config::model::{GpuSelection, Gpus, Injection, Isolation};
use crate::engine::{Archive, Engine, EngineError, EngineInfo, Listed, OwnImage, Owner, Stdio};
use crate::error::Error;
use crate::gpu::inventory::Inventory;
use crate::gpu::{self, Lack};
use crate::{ContainerPath, HostPath};

/// One that nobody uses wakes up GPU by GPU, and its program has 20 s for that.
const PATIENCE: Duration = Duration::from_secs(30);
/// Figures: each question is two processes on that machine.
const TOLD_LASTS: Duration = Duration::from_secs(4);
/// Why there are none.
const LACK_LASTS: Duration = Duration::from_secs(30);
/// The same where the driver hangs: each question may leave a process there that nothing can end.
const SILENCE_LASTS: Duration = Duration::from_mins(5);
/// A container that nobody asked anything for so long is ended.
const IDLE: Duration = Duration::from_secs(10);
/// One that is not started by then was left behind.
const STARTS_WITHIN: i64 = 60;
/// In so many images the program is looked for.
const IMAGES: usize = 4;
/// In the label [`labels::LEASE`]: it holds nothing.
const LOOKS: &str = "looks";

/// Whether it is there only to be asked, by somebody who looks. While it runs that is so.
pub(super) fn is_somebodys(container: &Listed) -> bool {
    container.label(labels::LEASE) == LOOKS && !is_left_behind(container, leases::now())
}

fn is_left_behind(container: &Listed, now: i64) -> bool {
    leases::is_unstarted(container) && now.saturating_sub(container.created) > STARTS_WITHIN
}

/// In whose name the container is made.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    pub(super) folder: HostPath,
    pub(super) id: String,
    pub(super) uid: u32,
    /// How the user wants GPUs to get in.
    pub(super) injection: Option<Injection>,
}

impl Whose {
    pub(super) fn of(workspace: &Workspace) -> Self {
        Self {
            folder: workspace.folder().clone(),
            id: workspace.id().to_owned(),
            uid: workspace.host.uid,
            injection: workspace.config().gpus.injection,
        }
    }
}

/// How far somebody goes for what a driver tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No container is started for it: somebody types, or a file is open.
    Here,
    /// Through the engine, where the driver is behind it.
    Through,
}

/// What the driver of the engine's machine tells, where this machine's own said `told` a moment ago.
///
/// # Errors
/// [`Lack`]
pub(super) async fn settle(
    workspace: &Workspace,
    info: &EngineInfo,
    told: Result<Inventory, Lack>,
    reach: Reach,
) -> Result<Inventory, Lack> {
    let engine = &workspace.engine;
    // The indices of one machine's driver say nothing of another machine's engine.
    let told = gpu::on_this_machine(engine, Some(&info.machine)).and(told);
    let whose = Whose::of(workspace);
    match told {
        Err(lack) if reach == Reach::Through && may_tell(&lack, whose.injection, info) => {
            workspace.there.inventory(engine, &whose, info).await
        }
        told => told,
    }
}

/// What one process asks for one workspace: again and again while a job waits, seldom else.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<Mutex<There>>);

impl Kept {
    async fn inventory(&self, engine: &Engine, whose: &Whose, info: &EngineInfo) -> Result<Inventory, Lack> {
        let mut there = self.0.lock().await;
        let told = there.inventory(engine, whose, info).await;
        if there.window.is_some() {
            let asked = Instant::now();
            there.asked = Some(asked);
            let there = Arc::clone(&self.0);
            tokio::spawn(async move {
                sleep(IDLE).await;
                let mut there = there.lock().await;
                if there.asked == Some(asked) {
                    there.window = None;
                }
            });
        }
        told
    }
}

/// Whether a container may tell what this machine's own library does not.
pub(super) fn may_tell(lack: &Lack, forced: Option<Injection>, info: &EngineInfo) -> bool {
    let way = all(forced, info).map(|plan| plan.injection);
    match lack {
        Lack::Elsewhere(_) => matches!(way, Some(Injection::Cdi | Injection::NvidiaRuntime)),
        // A specification of CDI names the GPUs by itself.
        Lack::NoDriver | Lack::NoLibrary | Lack::Unloadable(_) | Lack::NoPermission => {
            way == Some(Injection::NvidiaRuntime)
        }
        _ => false,
    }
}

/// Everything that the engine would give.
fn all(forced: Option<Injection>, info: &EngineInfo) -> Option<gpu::Plan> {
    let wanted = Gpus { select: GpuSelection::All, required: false, isolation: Isolation::Hard, injection: forced };
    gpu::decide(&wanted, info, None, None).ok()
}

/// Looks again and again, through one container.
#[derive(Debug, Default)]
pub(super) struct There {
    window: Option<Window>,
    told: Option<(Instant, Result<Inventory, Lack>)>,
    /// When the window was needed last, where it is not to stay open.
    asked: Option<Instant>,
}

impl There {
    /// How it is now, or was a moment ago.
    ///
    /// # Errors
    /// [`Lack`]
    pub(super) async fn inventory(
        &mut self,
        engine: &Engine,
        whose: &Whose,
        info: &EngineInfo,
    ) -> Result<Inventory, Lack> {
        let lasts = |told: &Result<Inventory, Lack>| match told {
            Ok(_) => TOLD_LASTS,
            Err(Lack::Silent) => SILENCE_LASTS,
            Err(_) => LACK_LASTS,
        };
        if let Some((_, told)) = self.told.as_ref().filter(|(at, told)| at.elapsed() < lasts(told)) {
            return told.clone();
        }
        // Whoever is given up has lost its window: the next question opens another.
        let window = self.window.take();
        let told = match timeout(PATIENCE, look(window, engine, whose, info)).await {
            Ok(Ok((window, inventory))) => {
                self.window = Some(window);
                Ok(inventory)
            }
            Ok(Err(lack)) => Err(lack),
            Err(_) => Err(Lack::Silent),
        };
        self.told.insert((Instant::now(), told)).1.clone()
    }
}

async fn look(
    window: Option<Window>,
    engine: &Engine,
    whose: &Whose,
    info: &EngineInfo,
) -> Result<(Window, Inventory), Lack> {
    let plan = all(whose.injection, info).ok_or_else(|| Lack::Elsewhere(engine.located().endpoint.to_string()))?;
    // A runtime gives all of the machine's, and they are counted as there.
    let numbers = if plan.injection == Injection::Cdi { gpu::numbers(info) } else { BTreeSet::new() };
    if let Some(mut window) = window {
        match window.ask(&numbers).await {
            Ok(inventory) => return Ok((window, inventory)),
            Err(Lack::Silent) => return Err(Lack::Silent),
            Err(lack) => tracing::debug!(%lack, "another container is asked"),
        }
    }
    sweep(engine, whose).await;
    let images = engine.images().await.map_err(|error| of_engine(&error))?;
    let mut last = Lack::NoImage("it has no image at all".to_owned());
    for image in in_order(images, &whose.id).into_iter().take(IMAGES) {
        let asked = async {
            let mut window = Window::open(engine, whose, &image, &plan).await?;
            let told = window.ask(&numbers).await?;
            Ok((window, told))
        };
        match asked.await {
            Err(lack) if !gpu::smi::is_the_drivers(&lack) => {
                tracing::debug!(image, %lack, "another image may run it");
                last = lack;
            }
            other => return other,
        }
    }
    Err(last)
}

fn of_engine(error: &EngineError) -> Lack {
    Lack::NoImage(error.to_string())
}

/// What was made for this and never started, by somebody who was killed then.
async fn sweep(engine: &Engine, whose: &Whose) {
    let ours = [(labels::ID, whose.id.as_str()), (labels::LEASE, LOOKS)];
    for window in engine.list(&ours).await.unwrap_or_default() {
        if is_left_behind(&window, leases::now())
            && let Err(error) = engine.remove(&window.id).await
        {
            tracing::debug!(container = window.name, %error, "was left behind, and stays");
        }
    }
}

/// Inside they are counted anew, in the same order: as the engine's specification numbers them.
///
/// # Errors
/// Where there are not as many as it names.
fn numbered(numbers: &BTreeSet<u32>, mut inventory: Inventory) -> Result<Inventory, Lack> {
    if numbers.is_empty() {
        return Ok(inventory);
    }
    if numbers.len() != inventory.gpus.len() {
        let (inside, named) = (inventory.gpus.len(), numbers.len());
        return Err(Lack::Other(format!("it tells of {inside} GPUs where the engine names {named}")));
    }
    for (gpu, number) in inventory.gpus.iter_mut().zip(numbers) {
        gpu.index = *number;
    }
    Ok(inventory)
}

/// Removes a container that is given up before it runs: nothing else would end it.
struct Unstarted<'a>(Option<(&'a Engine, String)>);

impl Drop for Unstarted<'_> {
    fn drop(&mut self) {
        if let Some((engine, id)) = self.0.take() {
            let engine = engine.clone();
            tokio::spawn(async move { engine.remove(&id).await });
        }
    }
}

/// Images in which it is likely to run: our own, then the others, the smallest first. The program needs glibc.
fn in_order(mut images: Vec<OwnImage>, id: &str) -> Vec<String> {
    const WITHOUT: [&str; 4] = ["alpine", "busybox", "musl", "scratch"];
    images.retain(|image| !image.tags.iter().any(|tag| WITHOUT.iter().any(|word| tag.contains(word))));
    let rank = |image: &OwnImage| match image.labels.get(labels::ID) {
        Some(known) if known == id => 0,
        Some(_) => 1,
        None if !image.tags.is_empty() => 2,
        None => 3,
    };
    images.sort_by(|a, b| (rank(a), a.own_bytes, &a.id).cmp(&(rank(b), b.own_bytes, &b.id)));
    images.into_iter().map(|image| image.id).collect()
}

/// A container that can be asked, for as long as this is held: it ends with its standard input.
#[derive(Debug)]
struct Window(SmiLine);

impl Window {
    async fn open(engine: &Engine, whose: &Whose, image: &str, plan: &gpu::Plan) -> Result<Self, Lack> {
        let mut spec = helper_spec(&whose.folder, &whose.id, whose.uid, image);
        spec.labels.insert(labels::LEASE.to_owned(), LOOKS.to_owned());
        spec.cmd = vec!["stdio".to_owned()];
        spec.stdio = Stdio::Attached { tty: false };
        spec.gpu = plan.request.clone();
        spec.options.cap_drop = vec!["ALL".to_owned()];
        spec.options.security_opt = vec!["no-new-privileges".to_owned()];
        // What the image says of these is for its own programs.
        let library_path = format!("{DRIVER_LIBRARIES}:{WSL_LIBRARIES}");
        let path = format!(
            "/usr/local/nvidia/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{WSL_LIBRARIES}"
        );
        let variables = [
            ("NVIDIA_DRIVER_CAPABILITIES", "utility"),
            // Nothing of CUDA's is used, whatever the image requires.
            ("NVIDIA_DISABLE_REQUIRE", "1"),
            ("LD_PRELOAD", ""),
            ("LD_AUDIT", ""),
            (LD_LIBRARY_PATH, &library_path),
            ("PATH", &path),
        ];
        spec.env.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let id = engine.create(&spec).await.map_err(|error| of_engine(&error))?;
        let mut unstarted = Unstarted(Some((engine, id.clone())));
        let started = async {
            let inside = |path: &str| ContainerPath::new(path).expect("a constant path");
            let mut archive = Archive::default();
            let root = Owner { uid: 0, gid: 0 };
            for folder in [AGENT_DIR.to_owned(), format!("{AGENT_DIR}/bin")] {
                archive.folder(&inside(&folder), 0o755, root);
            }
            archive.file(&inside(AGENT_PATH), embedded::PROGRAM, 0o755, root);
            engine.put(&id, archive).await?;
            let line = engine.attach_stream(&id).await?;
            engine.start(&id).await?;
            Ok::<_, Error>(Client::over(line).await?.smi())
        };
        let line = started.await.map_err(|error| Lack::NoImage(error.message))?;
        unstarted.0 = None;
        Ok(Self(line))
    }

    async fn ask(&mut self, numbers: &BTreeSet<u32>) -> Result<Inventory, Lack> {
        let said = self.0.ask().await.map_err(|error| Lack::NoImage(error.to_string()))?;
        numbered(numbers, gpu::smi::read(&said.query, &said.list)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Flavour;

    fn info(cdi: &[&str], runtimes: &[&str]) -> EngineInfo {
        EngineInfo {
            flavour: Flavour::Docker,
            version: "28.5.2".to_owned(),
            cdi_devices: cdi.iter().map(|name| format!("nvidia.com/gpu={name}")).collect(),
            runtimes: runtimes.iter().map(|name| (*name).to_owned()).collect(),
            heeds_gpu_requests: true,
            memory: 1 << 34,
            rootless: false,
            os: "linux".to_owned(),
            storage_driver: "overlay2".to_owned(),
            log_drivers: Vec::new(),
            machine: "lab".to_owned(),
        }
    }

    #[test]
    fn a_container_is_asked_only_where_nobody_else_can_tell() {
        let (none, cdi, runtime) = (info(&[], &["runc"]), info(&["0"], &["runc"]), info(&[], &["nvidia", "runc"]));
        let away = Lack::Elsewhere("tcp://h:2376".to_owned());
        for (lack, info, tells) in [
            (&away, &none, false),
            (&away, &cdi, true),
            (&away, &runtime, true),
            // Its own list names what there is; the NVIDIA runtime has none.
            (&Lack::NoDriver, &cdi, false),
            (&Lack::NoDriver, &runtime, true),
            (&Lack::NoLibrary, &runtime, true),
            (&Lack::NoPermission, &runtime, true),
            // There it is the same driver.
            (&Lack::Mismatch, &runtime, false),
            (&Lack::Silent, &runtime, false),
        ] {
            assert_eq!(may_tell(lack, None, info), tells, "{lack:?} {:?} {:?}", info.cdi_devices, info.runtimes);
        }
        assert!(!may_tell(&away, Some(Injection::None), &cdi), "GPUs are kept out");
    }

    #[test]
    fn gpus_are_counted_as_the_engine_names_them() {
        let told = |count| Inventory {
            gpus: (0..count).map(|index| gpu::inventory::Gpu { index, ..Default::default() }).collect(),
            ..Inventory::default()
        };
        let engine = |names: &[&str]| info(names, &["runc"]);
        let numbers = |names: &[&str], count| {
            numbered(&gpu::numbers(&engine(names)), told(count))
                .map(|told| told.gpus.iter().map(|gpu| gpu.index).collect::<Vec<_>>())
        };
        assert_eq!(numbers(&["0", "1", "GPU-a", "all"], 2), Ok(vec![0, 1]));
        // The first one is kept for the display.
        assert_eq!(numbers(&["1", "10", "2"], 3), Ok(vec![1, 2, 10]));
        assert_eq!(numbers(&["1", "2:0", "2:1", "MIG-a", "MIG-b"], 2), Ok(vec![1, 2]), "the second is divided");
        assert_eq!(numbers(&["GPU-a", "all"], 1), Ok(vec![0]), "nothing says how it counts");
        assert!(numbers(&["0", "1"], 3).is_err());
    }

    #[test]
    fn an_image_checks_nothing_in_a_helper_of_ours() {
        let spec = helper_spec(&HostPath::new("/w").expect("absolute"), "0123456789abcdef", 0, "image");
        assert_eq!(spec.options.health.map(|health| health.test), Some(vec!["NONE".to_owned()]));
    }

    #[test]
    fn one_that_was_never_started_is_nobodys_after_a_while() {
        let window = |state: &str, created| Listed {
            id: String::new(),
            name: String::new(),
            image: String::new(),
            image_id: String::new(),
            labels: [(labels::LEASE.to_owned(), LOOKS.to_owned())].into(),
            state: state.to_owned(),
            status: String::new(),
            created,
            mounts: Vec::new(),
        };
        assert!(is_somebodys(&window("running", 0)));
        assert!(is_somebodys(&window("created", leases::now())) && !is_somebodys(&window("created", 0)));
        assert!(!is_somebodys(&Listed { labels: [].into(), ..window("running", 0) }));
    }

    #[test]
    fn our_own_images_come_first_and_those_without_glibc_never() {
        let image = |id: &str, tag: &str, own_bytes, of: Option<&str>| OwnImage {
            id: id.to_owned(),
            tags: Some(tag).filter(|tag| !tag.is_empty()).map(str::to_owned).into_iter().collect(),
            labels: of.map(|of| (labels::ID.to_owned(), of.to_owned())).into_iter().collect(),
            own_bytes,
        };
        let images = vec![
            image("nameless", "", 1, None),
            image("large", "nvidia/cuda:12.4.1-devel-ubuntu22.04", 9, None),
            image("small", "python:3.12-slim", 2, None),
            image("musl", "python:3.12-alpine", 1, None),
            image("others", "gpubay/b:1", 5, Some("b")),
            image("own", "gpubay/a:1", 7, Some("a")),
        ];
        assert_eq!(in_order(images, "a"), ["own", "others", "small", "large", "nameless"]);
    }
}
