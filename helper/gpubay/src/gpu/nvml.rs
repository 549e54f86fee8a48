//! The driver's own library, NVML. It is loaded while the program runs: machines without a driver have none.
//!
//! Its calls block, and those to a sick GPU for a long time: they are made on threads of their own, and nobody waits
//! for ever. While a [`Driver`] holds the library, the driver cannot be unloaded, so it is kept only as long as somebody
//! looks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use tokio::sync::Mutex;

use super::LIBRARY_FOLDERS;
use super::inventory::Inventory;
use super::reading::{self, Modes};
use crate::engine::Engine;
use crate::error::Explain;

const LIBRARY: &str = "libnvidia-ml.so.1";
/// Where it also lies, on WSL alone.
const WSL: &str = "/usr/lib/wsl/lib";
/// A GPU without a persistent driver wakes up first: seconds, with eight of them more.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why nothing is known of the GPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    #[error("the engine at {0} is another machine's, and offers no GPU through which its driver could be asked")]
    Elsewhere(String),
    #[error("the driver of the engine's machine is asked by its nvidia-smi in a container, and that does not run: {0}")]
    NoImage(String),
    #[error("this machine has no NVIDIA driver")]
    NoDriver,
    #[error("the NVIDIA driver is here, and its library {LIBRARY} is not")]
    NoLibrary,
    #[error("the NVIDIA driver's library cannot be loaded: {0}")]
    Unloadable(String),
    #[error("the NVIDIA driver is installed and not loaded")]
    NotLoaded,
    #[error("the NVIDIA driver was updated, and its older part still runs")]
    Mismatch,
    #[error("the NVIDIA driver does not answer this user")]
    NoPermission,
    #[error("the NVIDIA driver does not answer: it was asked {} s ago", PATIENCE.as_secs())]
    Silent,
    #[error("the NVIDIA driver answers: {0}")]
    Other(String),
}

impl Explain for Lack {
    fn code(&self) -> &'static str {
        match self {
            Self::Elsewhere(_) | Self::NoImage(_) => "gpu_driver_elsewhere",
            Self::NoDriver => "gpu_no_driver",
            Self::NoLibrary | Self::Unloadable(_) => "gpu_no_library",
            Self::NotLoaded => "gpu_driver_not_loaded",
            Self::Mismatch => "gpu_driver_mismatch",
            Self::NoPermission => "gpu_no_permission",
            Self::Silent => "gpu_driver_silent",
            Self::Other(_) => "gpu_driver_failed",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Elsewhere(_) => "Run `gpubay gpus` on that machine, or `gpubay doctor`, which says what its engine lacks.",
                Self::NoImage(_) => {
                    "It takes an image with glibc that the engine has: build the workspace's (`gpubay build`), or pull one there."
                }
                Self::NoDriver => "Install it if there is an NVIDIA GPU in it.",
                Self::NoLibrary => {
                    "Install the part of the driver that has nvidia-smi, of the same version (libnvidia-compute on Ubuntu, \
                     nvidia-smi and libnvidia-ml1 on Debian)."
                }
                Self::Unloadable(_) => "Look whether `nvidia-smi` works, and install the driver's libraries anew if not.",
                Self::NotLoaded => {
                    "`sudo modprobe nvidia` loads it; `dmesg` says why it does not, and a reboot helps after an update."
                }
                Self::Mismatch => "Reboot, or unload the kernel's modules named nvidia and load them again.",
                Self::NoPermission => {
                    "Look who may open /dev/nvidiactl and /dev/nvidia0 (`ls -l /dev/nvidia*`); it may take a group such as video."
                }
                Self::Silent => "Look whether `nvidia-smi` answers; a GPU that hangs takes a reboot.",
                Self::Other(_) => "`nvidia-smi` and `dmesg` may tell more.",
            }
            .to_owned(),
        )
    }
}

impl Lack {
    /// What is wrong and what to do, in one line.
    pub fn in_full(&self) -> String {
        let next = self.hint().unwrap_or_default();
        format!("{self}. {next}")
    }
}

#[derive(Debug)]
struct Kept {
    library: Nvml,
    modes: Modes,
}

/// A driver that is asked again and again: its library stays loaded between the questions.
#[derive(Clone, Debug, Default)]
pub struct Driver {
    library: Arc<Mutex<Option<Kept>>>,
}

impl Driver {
    /// What it tells now, of the GPUs of this machine.
    ///
    /// # Errors
    /// [`Lack`]; the next question begins anew.
    pub async fn inventory(&self) -> Result<Inventory, Lack> {
        let asked = async {
            // Who asked before and got no answer still holds it.
            let mut library = self.library.clone().lock_owned().await;
            tokio::task::spawn_blocking(move || ask(&mut library)).await
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(broken)) => Err(Lack::Other(broken.to_string())),
            Err(_) => Err(Lack::Silent),
        }
    }
}

/// What the driver of an engine's machine tells now.
///
/// # Errors
/// [`Lack`], also where the engine is on another machine.
pub async fn inventory_of(engine: &Engine) -> Result<Inventory, Lack> {
    on_this_machine(engine, None)?;
    Driver::default().inventory().await
}

/// Only the driver of this machine can be asked. A socket here may lead to an engine elsewhere: the name of its `machine` tells.
pub(crate) fn on_this_machine(engine: &Engine, machine: Option<&str>) -> Result<(), Lack> {
    if engine.is_on_this_machine(machine) {
        Ok(())
    } else {
        Err(Lack::Elsewhere(engine.located().endpoint.to_string()))
    }
}

fn ask(kept: &mut Option<Kept>) -> Result<Inventory, Lack> {
    if let Some(Kept { library, modes }) = kept
        && let Ok(inventory) = reading::read(library, modes)
    {
        return Ok(inventory);
    }
    // The driver may have been updated, or a GPU divided: what was known of it is worth nothing.
    *kept = None;
    let mut fresh = Kept { library: load()?, modes: Modes::default() };
    let inventory = reading::read(&fresh.library, &mut fresh.modes).map_err(lack)?;
    *kept = Some(fresh);
    Ok(inventory)
}

fn load() -> Result<Nvml, Lack> {
    let by_name = Nvml::builder().lib_path(LIBRARY.as_ref()).init();
    let Err(error @ NvmlError::LibloadingError(_)) = by_name else { return by_name.map_err(lack) };
    for place in [WSL].iter().chain(&LIBRARY_FOLDERS).map(|folder| Path::new(folder).join(LIBRARY)) {
        if place.exists() {
            match Nvml::builder().lib_path(place.as_os_str()).init() {
                // Of another machine type, say.
                Err(NvmlError::LibloadingError(_)) => {}
                found => return found.map_err(lack),
            }
        }
    }
    Err(lack(error))
}

fn lack(error: NvmlError) -> Lack {
    match error {
        NvmlError::LibloadingError(error) => {
            let text = chain(&error);
            let missing = text.contains("No such file or directory");
            match missing {
                true if Path::new("/proc/driver/nvidia/version").exists() => Lack::NoLibrary,
                true => Lack::NoDriver,
                false => Lack::Unloadable(text),
            }
        }
        NvmlError::FailedToLoadSymbol(text) => Lack::Unloadable(text),
        NvmlError::DriverNotLoaded => Lack::NotLoaded,
        NvmlError::LibRmVersionMismatch => Lack::Mismatch,
        NvmlError::NoPermission => Lack::NoPermission,
        NvmlError::GpuLost => Lack::Other("it cannot reach a GPU any more; `dmesg` tells of it (Xid)".to_owned()),
        other => Lack::Other(other.to_string()),
    }
}

/// An error and what it came from, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lack_has_its_own_sentence_and_a_next_step() {
        let all = [
            lack(NvmlError::DriverNotLoaded),
            lack(NvmlError::LibRmVersionMismatch),
            lack(NvmlError::NoPermission),
            lack(NvmlError::FailedToLoadSymbol("nvmlInit_v2".to_owned())),
            lack(NvmlError::Unknown),
            Lack::Elsewhere("tcp://h:2376".to_owned()),
            Lack::NoImage("it has no image".to_owned()),
            Lack::NoDriver,
            Lack::NoLibrary,
            Lack::Silent,
        ];
        let said: std::collections::BTreeSet<String> = all.iter().map(Lack::in_full).collect();
        assert_eq!(said.len(), all.len());
        for lack in all {
            assert!(lack.hint().is_some_and(|hint| hint.ends_with('.')), "{lack}");
        }
    }

    #[tokio::test]
    async fn a_machine_without_a_driver_says_so() {
        // Where there is one, it answers.
        match Driver::default().inventory().await {
            Ok(inventory) => assert!(inventory.driver.is_some()),
            Err(lack) => assert!(!matches!(lack, Lack::Silent | Lack::Elsewhere(_)), "{lack}"),
        }
    }
}
