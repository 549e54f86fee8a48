//! What `doctor` asks: configuration, engine, folders, driver.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, StatVfsMountFlags, access, statfs, statvfs};

use crate::HostPath;
use crate::config::model::{GpuSelection, Gpus, Isolation, User};
use crate::config::{self, ConfigError, LoadRequest};
use crate::engine::{Condition, Engine, EngineInfo, Hole, Surroundings, endpoint};
use crate::error::Error;
use crate::files;
use crate::gpu::direct::{self, Kit, Obstacle};
use crate::gpu::inventory::Inventory;
use crate::gpu::{self, Driver, Lack};
use crate::progress::Progress;
use crate::registry::life::{self, Day};
use crate::workspace::HostUser;
use crate::workspace::Workspace;
use crate::workspace::fit::{self, Base};
use crate::workspace::prune::{Kind, Prune};
use crate::workspace::there::{self, There, Whose};
use crate::workspace::visibility::{self, Sight, Subject};

/// An engine that is asked how it is and does not answer is ill.
const PATIENCE: Duration = Duration::from_secs(20);

/// In bytes. One of eight divided GPUs has some 100 KiB.
const LARGEST_SPECIFICATION: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) configuration: Configuration,
    /// `None`: it could not even be decided which one is meant.
    pub(super) engine: Option<Result<EngineFacts, Error>>,
    pub(super) gpus: Option<Gpus>,
    /// The workspace tells the NVIDIA runtime to hold images to nothing.
    pub(super) requirements_off: bool,
    /// The NVIDIA driver's version on this machine.
    pub(super) driver: Option<String>,
    /// Its device nodes that the container's user may not open.
    pub(super) closed: Vec<Obstacle>,
    /// Specifications of CDI devices that name files of a driver, and of which version.
    pub(super) specified: Vec<(PathBuf, String)>,
    /// Device nodes of its GPUs that have no link in /dev/char.
    pub(super) unlinked: Vec<String>,
    /// What the driver of the engine's machine tells; `None`: it is not known which engine.
    pub(super) told: Option<Result<Inventory, Lack>>,
    /// What the workspace's image is built from.
    pub(super) bases: Vec<Base>,
    pub(super) today: Day,
    /// What could be given without the engine's help; `None`: the engine has a way of its own.
    pub(super) direct: Option<Result<Kit, Obstacle>>,
    /// What `prune` would free; `None` where that could not be looked up.
    pub(super) leftovers: Option<Leftovers>,
    /// `None`: there is nothing that the engine could see.
    pub(super) sight: Option<Sight>,
    /// By what they are for.
    pub(super) folders: Vec<(Use, Folder)>,
}

#[derive(Debug)]
pub(super) enum Configuration {
    /// With the workspace's folder, and its own file where there is one.
    Good {
        workspace: HostPath,
        file: bool,
    },
    /// A folder from which nothing can be built, and which says nothing either.
    NoWorkspace(PathBuf),
    /// It asks for powers that were not approved yet.
    Unapproved(Error),
    Broken(Error),
}

#[derive(Debug)]
pub(super) struct EngineFacts {
    pub(super) address: String,
    pub(super) because: String,
    /// It runs on this machine.
    pub(super) local: bool,
    pub(super) info: EngineInfo,
    pub(super) condition: Condition,
    pub(super) holes: Vec<Hole>,
    /// Its runc's version, where that one forgets devices.
    pub(super) forgetful_runc: Option<String>,
    /// Of the file system of its root, where that can be seen from here.
    pub(super) disk: Option<Disk>,
    /// How far its clock is ahead of ours, in seconds.
    pub(super) ahead: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leftovers {
    pub(super) things: usize,
    pub(super) bytes: u64,
    /// Of them, what killed processes left.
    pub(super) of_kills: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Workspace,
    Data,
    Cache,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

/// A folder of ours, or the nearest one above that exists.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) path: HostPath,
    pub(super) state: Result<Traits, String>,
}

#[derive(Clone, Debug)]
pub(super) struct Traits {
    pub(super) exists: bool,
    pub(super) writable: bool,
    pub(super) read_only: bool,
    pub(super) no_exec: bool,
    /// `ext4`, `nfs`, …; empty where it has no name here.
    pub(super) file_system: &'static str,
    pub(super) disk: Disk,
    /// Tried in a folder of ours; `None` where there is none to try it in.
    pub(super) hard_links: Option<bool>,
    pub(super) tells_case: Option<bool>,
}

pub(super) async fn gather(request: &LoadRequest<'_>, allow: &[String], progress: &Progress) -> Facts {
    let mut gpus = None;
    let mut requirements_off = false;
    let mut user = User::Host;
    let mut places = None;
    let (configuration, host) = match config::load_to_reach(request) {
        Ok((loaded, broken)) => {
            let approved = config::consent::require_to_reach(&loaded, allow, None);
            let all = if broken.is_none() { config::consent::require(&loaded, allow, None) } else { Ok(()) };
            let host = loaded.config.engine.host.clone();
            let configuration = match (broken, approved, all) {
                (Some(ConfigError::NoDockerfile { .. }), _, _) if loaded.file.is_none() => {
                    Configuration::NoWorkspace(loaded.workspace.as_path().to_owned())
                }
                (Some(broken), _, _) => Configuration::Broken(broken.into()),
                (_, Err(refused), _) | (_, _, Err(refused)) => Configuration::Unapproved(refused.into()),
                _ => Configuration::Good { workspace: loaded.workspace.clone(), file: loaded.file.is_some() },
            };
            if config::consent::require_to_reach(&loaded, allow, None).is_ok() {
                gpus = Some(loaded.config.gpus.clone());
                user = loaded.config.container.user.clone();
                let disabled = loaded.config.container.env.get(fit::DISABLE_REQUIRE);
                requirements_off = fit::is_off(disabled.map(String::as_str));
                let workspace = (!matches!(configuration, Configuration::NoWorkspace(_))).then_some(loaded.workspace);
                places = Some((workspace, loaded.config.paths.data, loaded.config.paths.cache));
                (configuration, Some(host))
            } else {
                (configuration, None)
            }
        }
        Err(error) => (Configuration::Broken(error.into()), None),
    };
    // A workspace that cannot be used does not keep from saying how the engine is that the user names.
    let bare = config::bare(request);
    let host = match (host, &bare) {
        (Some(host), _) => Some(host),
        (None, Ok(bare)) => Some(bare.host.clone()),
        (None, Err(_)) => None,
    };
    let places = places.or_else(|| bare.as_ref().ok().map(|bare| (None, bare.state.clone(), bare.cache.clone())));
    let step = progress.step("Asking the engine");
    let engine = match &host {
        Some(host) => Some(engine(host.as_deref()).await),
        None => None,
    };
    let sight = match (&engine, &bare, &places) {
        (Some(Ok(_)), Ok(bare), Some((workspace, data, _))) => {
            let subject = Subject {
                workspace: workspace.as_ref(),
                folder: &bare.workspace,
                id: &bare.identity.id,
                uid: request.uid,
                state: &bare.state,
                data,
            };
            sight(host.as_ref().and_then(|host| host.as_deref()), &subject).await
        }
        _ => None,
    };
    step.done();
    let told = match (&engine, &bare) {
        (Some(Ok(engine)), Ok(bare)) => {
            let (folder, id) = (bare.workspace.clone(), bare.identity.id.clone());
            let injection = gpus.as_ref().and_then(|gpus| gpus.injection);
            let whose = Whose { folder, id, uid: request.uid, injection };
            Some(told(host.as_ref().and_then(|host| host.as_deref()), engine, &whose).await)
        }
        _ => None,
    };
    let direct = match &engine {
        Some(Ok(engine)) => {
            let any = Gpus { select: GpuSelection::Auto, required: false, isolation: Isolation::Hard, injection: None };
            let wanted = Gpus { select: any.select.clone(), ..gpus.clone().unwrap_or(any) };
            let opener = HostUser::current().opener(&user, engine.info.rootless);
            let inventory = told.as_ref().and_then(|told| told.as_ref().ok());
            let elsewhere = (!engine.local).then(|| engine.address.clone());
            direct::look_of(elsewhere, &wanted, &engine.info, inventory, opener).await
        }
        _ => None,
    };
    let (closed, specified) = match &engine {
        Some(Ok(engine)) if engine.local => {
            let opener = HostUser::current().opener(&user, engine.info.rootless);
            (opener.map(|opener| direct::closed(&opener)).unwrap_or_default(), specified(&engine.condition.cdi_folders))
        }
        _ => (Vec::new(), Vec::new()),
    };
    let leftovers = leftovers(request).await;
    let bases = match (&configuration, &engine) {
        (Configuration::Good { .. }, Some(Ok(_))) => bases(request).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut folders = Vec::new();
    if let Some((workspace, data, cache)) = places {
        folders.extend(workspace.map(|path| (Use::Workspace, folder(&path, false))));
        folders.push((Use::Data, folder(&data, true)));
        folders.push((Use::Cache, folder(&cache, true)));
    }
    Facts {
        configuration,
        engine,
        gpus,
        requirements_off,
        sight,
        leftovers,
        driver: gpu::driver_version(),
        closed,
        specified,
        unlinked: unlinked(Path::new("/")),
        told,
        bases,
        today: life::today(),
        direct,
        folders,
    }
}

/// Of a workspace whose configuration can be used and whose engine answers.
async fn bases(request: &LoadRequest<'_>) -> Option<Vec<Base>> {
    let looked = async {
        let workspace = Workspace::open(config::load(request).ok()?, Progress::silent()).await.ok()?;
        Some(fit::bases(&workspace).await)
    };
    tokio::time::timeout(PATIENCE, looked).await.ok()?
}

async fn engine(host: Option<&str>) -> Result<EngineFacts, Error> {
    let located = endpoint::locate(host, &Surroundings::of_process())?;
    let (address, because) = (located.endpoint.to_string(), located.because.clone());
    let asked = async {
        let engine = Engine::connect(located).await?;
        let info = engine.info().await?;
        let before = SystemTime::now();
        let condition = engine.condition().await?;
        let now = before.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let local = engine.is_local() && condition.machine == this_machine();
        let root = condition.root.as_ref().filter(|_| local);
        Ok::<_, Error>(EngineFacts {
            disk: root.and_then(|root| disk(Path::new(root)).ok()),
            ahead: condition.clock.map(|clock| clock - now),
            holes: engine.holes().await,
            forgetful_runc: engine.forgetful_runc().await,
            address: address.clone(),
            because,
            local,
            info,
            condition,
        })
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
        let what = format!("the engine at {address} takes connections and does not answer");
        Err(Error::new("engine_lost", what).with_hint("Look at its log, and start it again."))
    })
}

async fn sight(host: Option<&str>, subject: &Subject<'_>) -> Option<Sight> {
    let asked = async {
        let engine = Engine::connect(endpoint::locate(host, &Surroundings::of_process())?).await?;
        // Another machine's has other files, and takes none from here.
        Ok::<_, Error>(if engine.is_local() { visibility::examine(&engine, subject).await } else { None })
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(sight)) => sight,
        Ok(Err(error)) => Some(Sight::Unasked(error.message)),
        Err(_) => Some(Sight::Unasked("the engine does not answer".to_owned())),
    }
}

/// By the driver's own library on this machine, else through the engine.
async fn told(host: Option<&str>, facts: &EngineFacts, whose: &Whose) -> Result<Inventory, Lack> {
    let told =
        if facts.local { Driver::default().inventory().await } else { Err(Lack::Elsewhere(facts.address.clone())) };
    match told {
        Err(lack) if there::may_tell(&lack, whose.injection, &facts.info) => {
            let Ok(located) = endpoint::locate(host, &Surroundings::of_process()) else { return Err(lack) };
            let Ok(engine) = Engine::connect(located).await else { return Err(lack) };
            There::default().inventory(&engine, whose, &facts.info).await
        }
        told => told,
    }
}

async fn leftovers(request: &LoadRequest<'_>) -> Option<Leftovers> {
    let looked = async {
        let (prune, kept) = Prune::open(request, &[], Progress::silent()).await?;
        prune.survey(kept).await
    };
    let found = tokio::time::timeout(PATIENCE, looked).await.ok()?.ok()?;
    let of_kills = found.items.iter().filter(|item| item.kind == Kind::Leftovers).count();
    Some(Leftovers { things: found.items.len(), bytes: found.bytes, of_kills })
}

fn this_machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Which driver's files the specifications in these folders (without any: in the usual ones) name: of each file the first.
fn specified(folders: &[String]) -> Vec<(PathBuf, String)> {
    const USUAL: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
    const LIBRARY: &str = "libcuda.so.";
    let usual = || USUAL.iter().map(|folder| (*folder).to_owned()).collect();
    let folders: Vec<String> = if folders.is_empty() { usual() } else { folders.to_vec() };
    let mut found = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if !path.extension().is_some_and(|is| is == "json" || is == "yaml") {
                continue;
            }
            let Ok(text) = files::read(&path, LARGEST_SPECIFICATION) else { continue };
            let text = String::from_utf8_lossy(&text).into_owned();
            let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit() && c != '.').next().map(str::to_owned);
            let version = text.split(LIBRARY).skip(1).filter_map(number).find(|version| version.contains('.'));
            found.extend(version.map(|version| (path, version.trim_end_matches('.').to_owned())));
        }
    }
    found.sort();
    found
}

/// Nodes of GPUs that cannot be found by their numbers, which is where systemd looks for them.
fn unlinked(root: &Path) -> Vec<String> {
    let is_gpu =
        |name: &str| name == "nvidiactl" || name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let entries = std::fs::read_dir(root.join("dev")).into_iter().flatten().flatten();
    let mut nodes: Vec<String> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_gpu))
        .filter(|entry| {
            let Ok(found) = std::fs::metadata(entry.path()) else { return false };
            let numbers = format!("{}:{}", rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
            !["dev/char", "sys/dev/char"].iter().any(|place| root.join(place).join(&numbers).exists())
        })
        .map(|entry| format!("/dev/{}", entry.file_name().display()))
        .collect();
    nodes.sort();
    nodes
}

/// Of the file system that holds `path`.
pub(crate) fn disk(path: &Path) -> io::Result<Disk> {
    let found = statvfs(path)?;
    Ok(Disk { free: found.f_bavail * found.f_frsize, total: found.f_blocks * found.f_frsize })
}

/// `ours`: things may be tried in it.
pub(super) fn folder(path: &HostPath, ours: bool) -> Folder {
    Folder { path: path.clone(), state: traits(path.as_path(), ours).map_err(|error| error.to_string()) }
}

fn traits(path: &Path, ours: bool) -> io::Result<Traits> {
    let exists = path.is_dir();
    if !exists && path.symlink_metadata().is_ok() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"));
    }
    let at = path.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    let flags = statvfs(at)?.f_flag;
    let writable = access(at, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    let tried = (exists && ours && writable).then(|| try_in(at)).transpose()?;
    Ok(Traits {
        exists,
        writable,
        read_only: flags.contains(StatVfsMountFlags::RDONLY),
        no_exec: flags.contains(StatVfsMountFlags::NOEXEC),
        file_system: name_of(statfs(at)?.f_type as u64),
        disk: disk(at)?,
        hard_links: tried.map(|(links, _)| links),
        tells_case: tried.map(|(_, case)| case),
    })
}

/// Whether a file can have two names, and two names can differ in their case alone.
fn try_in(folder: &Path) -> io::Result<(bool, bool)> {
    let place = tempfile::Builder::new().prefix(".doctor-").tempdir_in(folder)?;
    let file = place.path().join("a");
    std::fs::write(&file, "")?;
    let links = std::fs::hard_link(&file, place.path().join("b")).is_ok();
    Ok((links, !place.path().join("A").exists()))
}

/// Of `linux/magic.h` and of those that are not in it.
fn name_of(magic: u64) -> &'static str {
    match magic & 0xffff_ffff {
        0x6969 => "nfs",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "smb",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlay",
        0x4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x5346_544e | 0x7366_746e => "ntfs",
        0x0bd0_0bd0 => "lustre",
        0x00c3_6400 => "ceph",
        0x4750_4653 => "gpfs",
        0x1983_0326 => "beegfs",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_tells_of_which_driver_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("nvidia.yaml", "  - containerPath: /usr/lib/libcuda.so.1\n  - hostPath: /usr/lib/libcuda.so.550.54.15\n");
        write("other.json", "{\"kind\": \"vendor.com/net\"}");
        write("notes.txt", "libcuda.so.1.2.3");
        let folders = [folder.path().display().to_string(), "/nonexistent".to_owned()];
        assert_eq!(specified(&folders), [(folder.path().join("nvidia.yaml"), "550.54.15".to_owned())]);
    }

    #[test]
    fn a_folder_is_looked_at_and_nothing_stays_in_it() {
        let place = tempfile::tempdir().expect("a folder");
        let path = HostPath::new(place.path()).expect("absolute");
        let found = folder(&path, true).state.expect("looked at");
        assert!(found.exists && found.writable && !found.read_only);
        assert_eq!((found.hard_links, found.tells_case), (Some(true), Some(true)));
        assert!(found.disk.total >= found.disk.free && found.disk.total > 0);
        let later = folder(&path.join("not/yet"), true).state.expect("looked at");
        assert!(!later.exists && later.writable && later.hard_links.is_none());
        assert_eq!(std::fs::read_dir(place.path()).expect("listed").count(), 0);
        std::fs::write(place.path().join("file"), "").expect("written");
        assert!(folder(&path.join("file"), true).state.is_err());
    }

    #[test]
    fn nodes_that_systemd_does_not_find_are_named() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("dev/char")).expect("made");
        for (name, node) in [("nvidia0", "/dev/null"), ("nvidiactl", "/dev/zero"), ("nvidia-modeset", "/dev/full")] {
            std::os::unix::fs::symlink(node, root.path().join("dev").join(name)).expect("linked");
        }
        assert_eq!(unlinked(root.path()), ["/dev/nvidia0", "/dev/nvidiactl"]);
        std::os::unix::fs::symlink("/dev/null", root.path().join("dev/char/1:3")).expect("linked");
        assert_eq!(unlinked(root.path()), ["/dev/nvidiactl"]);
    }
}
