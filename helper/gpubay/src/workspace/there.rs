//! The driver of a machine that only its engine reaches: `nvidia-smi` answers for it, in a container there that is given all
//! GPUs.
//!
//! The container is of an image that the engine has, without network, mounts, capabilities and anything of the user's; nothing
//! but our agent and that program runs in it. It lives as long as the connection to its standard input: the engine ends it with
//! whoever looked, however that one ended. It is not given the machine's processes, so whose they are is told by leases alone.

use std::time::Duration;

use gpubay_protocol::agent::{AGENT_DIR, AGENT_PATH, DRIVER_LIBRARIES, LD_LIBRARY_PATH, WSL_LIBRARIES};
use tokio::time::{Instant, timeout};

use super::{Workspace, helper_spec, labels};
use crate::agent::{Client, SmiLine, embedded};
use crate::config::model::{GpuSelection, Gpus, Injection, Isolation};
use crate::engine::{Archive, Engine, EngineError, EngineInfo, Listed, OwnImage, Owner, Stdio};
use crate::error::Error;
use crate::gpu::inventory::Inventory;
use crate::gpu::{self, Lack};
use crate::{ContainerPath, HostPath};

/// As long as a driver here has.
const PATIENCE: Duration = Duration::from_secs(20);
/// Figures: each question is two processes on that machine.
const TOLD_LASTS: Duration = Duration::from_secs(4);
/// Why there are none.
const LACK_LASTS: Duration = Duration::from_secs(30);
/// In so many images the program is looked for.
const IMAGES: usize = 4;
/// In the label [`labels::LEASE`]: it holds nothing.
const LOOKS: &str = "looks";

/// Whether it is there only to be asked. While it runs somebody looks.
pub(super) fn is_one(container: &Listed) -> bool {
    container.label(labels::LEASE) == LOOKS && container.state == "running"
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
            There::default().inventory(engine, &whose, info).await
        }
        told => told,
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
        let lasts = |told: &Result<Inventory, Lack>| if told.is_ok() { TOLD_LASTS } else { LACK_LASTS };
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
    if let Some(mut window) = window
        && let Ok(inventory) = window.ask().await
    {
        return Ok((window, inventory));
    }
    let plan = all(whose.injection, info).ok_or_else(|| Lack::Elsewhere(engine.located().endpoint.to_string()))?;
    let images = engine.images().await.map_err(|error| of_engine(&error))?;
    let mut last = Lack::NoImage("it has no image at all".to_owned());
    for image in in_order(images, &whose.id).into_iter().take(IMAGES) {
        let asked = async {
            let mut window = Window::open(engine, whose, &image, &plan).await?;
            let told = window.ask().await?;
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
        let started = async {
            let inside = |path: &str| ContainerPath::new(path).expect("a constant path");
            let mut archive = Archive::default();
            let root = Owner { uid: 0, gid: 0 };
            for folder in [AGENT_DIR.to_owned(), format!("{AGENT_DIR}/bin")] {
                archive.folder(&inside(&folder), 0o755, root);
            }
            archive.file(&inside(AGENT_PATH), embedded::AGENT, 0o755, root);
            engine.put(&id, archive).await?;
            let line = engine.attach_stream(&id).await?;
            engine.start(&id).await?;
            Ok::<_, Error>(Client::over(line).await?.smi())
        };
        match started.await {
            Ok(line) => Ok(Self(line)),
            Err(error) => {
                let _ = engine.remove(&id).await;
                Err(Lack::NoImage(error.message))
            }
        }
    }

    async fn ask(&mut self) -> Result<Inventory, Lack> {
        let said = self.0.ask().await.map_err(|error| Lack::NoImage(error.to_string()))?;
        gpu::smi::read(&said.query, &said.list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Flavour;

    #[test]
    fn a_container_is_asked_only_where_nobody_else_can_tell() {
        let info = |cdi: &[&str], runtimes: &[&str]| EngineInfo {
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
        };
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
