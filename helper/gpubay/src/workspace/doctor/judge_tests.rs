//! Each line is brought up once, by the fact that is its cause; without that fact it is not there.

use std::path::PathBuf;

use super::facts::{Configuration, Disk, EngineFacts, Facts, Folder, Leftovers, Traits, Use};
use super::{Finding, Verdict, judge};
use crate::HostPath;
use crate::config::model::{GpuSelection, Gpus, Isolation};
use crate::engine::build::Builder;
use crate::engine::{Condition, EngineInfo, Flavour, Hole};
use crate::error::{Error, Explain};
use crate::gpu::Lack;
use crate::gpu::direct::Obstacle;
use crate::gpu::inventory::{Gpu, Inventory};
use crate::workspace::fit::Base;
use crate::workspace::visibility::Sight;

fn path(text: &str) -> HostPath {
    HostPath::new(text).expect("absolute")
}

const PLENTY: Disk = Disk { free: 500_000_000_000, total: 1_000_000_000_000 };

fn traits() -> Traits {
    Traits {
        exists: true,
        writable: true,
        read_only: false,
        no_exec: false,
        file_system: "ext4",
        disk: PLENTY,
        hard_links: Some(true),
        tells_case: Some(true),
    }
}

fn engine() -> EngineFacts {
    EngineFacts {
        address: "unix:///run/docker.sock".to_owned(),
        because: "the default socket".to_owned(),
        local: true,
        info: EngineInfo {
            flavour: Flavour::Docker,
            version: "29.6.0".to_owned(),
            cdi_devices: vec!["nvidia.com/gpu=0".to_owned()],
            runtimes: vec!["runc".to_owned()],
            memory: 1 << 34,
            rootless: false,
            os: "linux".to_owned(),
            storage_driver: "overlay2".to_owned(),
            heeds_gpu_requests: true,
            log_drivers: vec!["json-file".to_owned()],
            machine: "lab".to_owned(),
        },
        condition: Condition {
            api: "1.51".to_owned(),
            root: Some("/var/lib/docker".to_owned()),
            builder: Builder::BuildKit,
            cgroup_driver: "systemd".to_owned(),
            ..Condition::default()
        },
        holes: Vec::new(),
        forgetful_runc: None,
        disk: Some(PLENTY),
        ahead: Some(0),
    }
}

fn healthy() -> Facts {
    let folder = |name: &str| Folder { path: path(name), state: Ok(traits()) };
    Facts {
        configuration: Configuration::Good { workspace: path("/ws"), file: true },
        engine: Some(Ok(engine())),
        gpus: None,
        requirements_off: false,
        driver: Some("580.1".to_owned()),
        closed: Vec::new(),
        specified: vec![(PathBuf::from("/etc/cdi/nvidia.yaml"), "580.1".to_owned())],
        unlinked: vec!["/dev/nvidia0".to_owned()],
        told: Some(Ok(Inventory {
            driver: Some("580.1".to_owned()),
            cuda: Some((13, 0)),
            gpus: vec![Gpu { uuid: "GPU-0".to_owned(), ..Gpu::default() }],
        })),
        bases: Vec::new(),
        today: (2026, 11, 27),
        direct: None,
        leftovers: Some(Leftovers::default()),
        sight: Some(Sight::Seen(vec![path("/ws"), path("/data")])),
        folders: vec![(Use::Workspace, folder("/ws")), (Use::Data, folder("/data")), (Use::Cache, folder("/cache"))],
    }
}

/// The one line that a change of the facts brings up or turns.
#[track_caller]
fn brings_up(check: &str, verdict: Verdict, words: &str, change: impl FnOnce(&mut Facts)) -> Finding {
    let is_it = |line: &Finding| line.check == check && line.verdict == verdict && line.text.contains(words);
    let before = judge::all(&healthy());
    assert!(!before.iter().any(is_it), "said of a healthy machine, too: {before:?}");
    let mut facts = healthy();
    change(&mut facts);
    let after = judge::all(&facts);
    let found = after.iter().find(|line| is_it(line)).unwrap_or_else(|| panic!("no such line in {after:#?}"));
    assert!(verdict == Verdict::Ok || found.next.as_ref().is_some_and(|next| !next.is_empty()), "{found:?}");
    found.clone()
}

#[track_caller]
fn with_engine(check: &str, verdict: Verdict, words: &str, change: impl FnOnce(&mut EngineFacts)) -> Finding {
    brings_up(check, verdict, words, |facts| {
        let Some(Ok(engine)) = &mut facts.engine else { panic!("a healthy one") };
        change(engine);
    })
}

#[track_caller]
fn with_folder(of: Use, check: &str, verdict: Verdict, words: &str, change: impl FnOnce(&mut Traits)) -> Finding {
    brings_up(check, verdict, words, |facts| {
        let (_, folder) = facts.folders.iter_mut().find(|(what, _)| *what == of).expect("there");
        change(folder.state.as_mut().expect("good"));
    })
}

use Verdict::{Ok as Good, Problem, Warning};

#[test]
fn a_healthy_machine_has_one_good_line_for_everything() {
    let findings = judge::all(&healthy());
    assert!(findings.iter().all(|line| line.verdict == Good && line.next.is_none()), "{findings:#?}");
    let checks: Vec<&str> = findings.iter().map(|line| line.check).collect();
    let expected = [
        "configuration",
        "engine",
        "permissions",
        "api",
        "storage",
        "builder",
        "users",
        "clock",
        "holes",
        "gpu",
        "reload",
        "driver",
        "workspace",
        "data",
        "cache",
        "visibility",
        "disk",
        "disk",
        "disk",
        "leftovers",
    ];
    assert_eq!(checks, expected);
}

#[test]
fn the_configuration() {
    let set = |configuration| move |facts: &mut Facts| facts.configuration = configuration;
    let check = "configuration";
    brings_up(check, Good, "needs none", set(Configuration::Good { workspace: path("/ws"), file: false }));
    brings_up(check, Good, "is no workspace", set(Configuration::NoWorkspace(PathBuf::from("/tmp"))));
    let refused = Error::new("needs_consent", "it asks for more").with_hint("add --allow x");
    let line = brings_up(check, Warning, "asks for more", set(Configuration::Unapproved(refused)));
    assert_eq!(line.next.as_deref(), Some("add --allow x"));
    brings_up(check, Problem, "line 3", set(Configuration::Broken(Error::new("unknown_key", "line 3"))));
}

#[test]
fn an_engine_that_is_not_reached_leaves_the_rest_to_be_said() {
    for (code, check) in [
        ("no_engine", "engine"),
        ("engine_permission", "permissions"),
        ("engine_too_old", "api"),
        ("engine_lost", "engine"),
    ] {
        let broken = Error::new(code, "not to be had").with_hint("start it");
        let line = brings_up(check, Problem, "not to be had", |facts| facts.engine = Some(Err(broken)));
        assert_eq!(line.next.as_deref(), Some("start it"));
    }
    let mut facts = healthy();
    facts.engine = None;
    let checks: Vec<&str> = judge::all(&facts).iter().map(|line| line.check).collect();
    assert_eq!(checks, ["configuration", "workspace", "data", "cache", "disk", "disk", "leftovers"]);
}

#[test]
fn the_engine_itself() {
    with_engine("engine", Problem, "windows containers", |engine| engine.info.os = "windows".to_owned());
    with_engine("engine", Warning, "it warns: No swap limit", |engine| {
        engine.condition.warnings = vec!["WARNING: No swap limit support".to_owned()];
    });
    with_engine("storage", Warning, "vfs copies", |engine| engine.info.storage_driver = "vfs".to_owned());
    with_engine("storage", Warning, "no longer part", |engine| engine.info.storage_driver = "aufs".to_owned());
    with_engine("builder", Warning, "old builder", |engine| engine.condition.builder = Builder::Classic);
    with_engine("builder", Warning, "without BuildKit", |engine| engine.condition.builder = Builder::Podman);
    with_engine("users", Good, "root in a container is you", |engine| engine.info.rootless = true);
    let of_podman = |engine: &mut EngineFacts| {
        (engine.info.flavour, engine.info.rootless) = (Flavour::Podman, true);
        engine.info.storage_driver = "overlay".to_owned();
    };
    with_engine("users", Good, "keep-id", of_podman);
    with_engine("storage", Warning, "overlay is", |engine| engine.info.storage_driver = "overlay".to_owned());
    // The usual driver there, whatever Docker once meant by that name.
    let mut facts = healthy();
    if let Some(Ok(engine)) = &mut facts.engine {
        of_podman(engine);
    }
    assert!(judge::all(&facts).iter().any(|line| line.text == "overlay" && line.verdict == Good));
    with_engine("users", Warning, "userns-remap", |engine| engine.condition.remaps_users = true);
    with_engine("clock", Good, "does not tell", |engine| engine.ahead = None);
    with_engine("clock", Warning, "61 s ahead of", |engine| engine.ahead = Some(61));
    with_engine("clock", Warning, "3600 s behind", |engine| engine.ahead = Some(-3600));
    with_engine("holes", Warning, "CVE-2024-21626", |engine| {
        engine.holes = vec![Hole { cve: "CVE-2024-21626", text: "runc: CVE-2024-21626".to_owned() }];
    });
}

#[test]
fn the_way_of_the_gpus() {
    let runtime = |engine: &mut EngineFacts| {
        engine.info.cdi_devices.clear();
        engine.info.runtimes.push("nvidia".to_owned());
    };
    with_engine("gpu", Warning, "daemon-reload", runtime);
    with_engine("gpu", Good, "nvidia-runtime: ", |engine| {
        runtime(engine);
        engine.condition.cgroup_driver = "cgroupfs".to_owned();
    });
    let found = with_engine("gpu", Warning, "as /dev/nvidia0 are: a `systemctl daemon-reload`", |engine| {
        engine.forgetful_runc = Some("1.1.5".to_owned());
    });
    assert!(found.next.is_some_and(|next| next.contains("create-dev-char-symlinks")));
    let mut facts = healthy();
    facts.unlinked.clear();
    if let Some(Ok(engine)) = &mut facts.engine {
        engine.forgetful_runc = Some("1.1.5".to_owned());
    }
    assert!(judge::all(&facts).iter().all(|line| line.verdict == Good), "it finds them all");
    // Beforehand: what would take the GPUs from what runs, where it is not systemd.
    with_engine("reload", Warning, "`docker update`", |engine| {
        runtime(engine);
        engine.condition.cgroup_driver = "cgroupfs".to_owned();
    });
    with_engine("reload", Good, "does not keep the engine's control groups", |engine| {
        engine.condition.cgroup_driver = "cgroupfs".to_owned();
    });
    // A GPU that cannot be used is no GPU, and that is not well.
    let told = |gpus: Vec<Gpu>| Some(Ok(Inventory { driver: Some("580.1".to_owned()), cuda: Some((13, 0)), gpus }));
    let ill = Gpu { uuid: "GPU-0".to_owned(), trouble: Some("it is lost".to_owned()), ..Gpu::default() };
    for local in [true, false] {
        brings_up("gpu", Warning, "none of the GPUs can be used (GPU 0: it is lost)", |facts| {
            facts.told = told(vec![ill.clone()]);
            facts.driver = None;
            if let Some(Ok(engine)) = &mut facts.engine {
                engine.local = local;
            }
        });
    }
    with_engine("gpu", Warning, "GPU 7: the driver has no such GPU", |engine| {
        engine.info.cdi_devices.push("nvidia.com/gpu=7".to_owned());
    });
    brings_up("cdi", Warning, "/etc/cdi/nvidia.yaml is of the driver 550.54.15, and 580.1 is here", |facts| {
        facts.specified[0].1 = "550.54.15".to_owned();
    });
    brings_up("driver", Warning, "what runs loses them", |facts| facts.told = Some(Err(Lack::Mismatch)));
    with_engine("gpu", Warning, "NVIDIA driver 580.1, and the engine", |engine| engine.info.cdi_devices.clear());
    // Of another machine our driver says nothing.
    with_engine("gpu", Good, "work is done on the CPU", |engine| {
        engine.info.cdi_devices.clear();
        engine.local = false;
    });
    let found = brings_up("gpu", Warning, "GPU 1: the engine does not offer it", |facts| {
        let gpu = |index: u32| Gpu { uuid: format!("GPU-{index}"), index, ..Gpu::default() };
        facts.told = Some(Ok(Inventory { gpus: vec![gpu(0), gpu(1)], ..Inventory::default() }));
    });
    assert!(found.next.is_some_and(|next| next.contains("nvidia-ctk cdi generate")));
    let gpus = |select, required| Gpus { select, required, isolation: Isolation::Hard, injection: None };
    let none = |facts: &mut Facts| {
        let Some(Ok(engine)) = &mut facts.engine else { panic!("a healthy one") };
        engine.info.cdi_devices.clear();
    };
    brings_up("gpu", Problem, "a GPU is required", |facts| {
        none(facts);
        facts.gpus = Some(gpus(GpuSelection::Auto, true));
    });
    brings_up("gpu", Problem, "there is no GPU 9; there is only 0", |facts| {
        facts.gpus = Some(gpus(GpuSelection::Named(vec!["9".to_owned()]), false));
    });
    let mut facts = healthy();
    facts.gpus = Some(gpus(GpuSelection::None, false));
    let lines = judge::all(&facts);
    assert!(lines.iter().any(|line| line.check == "gpu" && line.text.starts_with("cdi: ")), "{lines:?}");
}

#[test]
fn the_driver_and_its_gpus() {
    let well = judge::all(&healthy());
    assert!(well.iter().any(|line| line.text == "580.1, CUDA up to 13.0, 1 GPU"), "{well:?}");
    let without_a_way = |facts: &mut Facts| {
        let Some(Ok(engine)) = &mut facts.engine else { panic!("a healthy one") };
        engine.info.cdi_devices.clear();
    };
    let missing = || Obstacle::NoNodes { version: None, missing: vec!["/dev/nvidia-uvm".to_owned()] };
    let found = brings_up("gpu", Warning, "there is no /dev/nvidia-uvm", |facts| {
        without_a_way(facts);
        facts.direct = Some(Err(missing()));
    });
    assert_eq!(found.next, missing().hint());
    // What nobody expects to be given is not spoken of.
    brings_up("gpu", Warning, "the engine (29.6.0) offers no GPU", |facts| {
        without_a_way(facts);
        facts.direct = Some(Err(Obstacle::NoDriver));
    });
    brings_up("driver", Warning, "was updated", |facts| facts.told = Some(Err(Lack::Mismatch)));
    brings_up("driver", Warning, "has no GPU", |facts| facts.told = Some(Ok(Inventory::default())));
    let one = |gpu| Some(Ok(Inventory { gpus: vec![gpu], ..Inventory::default() }));
    brings_up("driver", Warning, "GPU 3: it is lost", |facts| {
        facts.told = one(Gpu { index: 3, trouble: Some("it is lost".to_owned()), ..Gpu::default() });
    });
    brings_up("driver", Warning, "GPU 0 is to be divided", |facts| {
        facts.told = one(Gpu { mig_pending: Some(true), ..Gpu::default() });
    });
    for silent in [None, Some(Err(Lack::NoDriver))] {
        let lines = judge::all(&Facts { told: silent, ..healthy() });
        assert!(lines.iter().all(|line| line.check != "driver"), "{lines:?}");
    }
}

#[test]
fn the_folders() {
    with_folder(Use::Workspace, "workspace", Warning, "no .venv in it", |found| found.writable = false);
    with_folder(Use::Workspace, "workspace", Problem, ".venv/bin/python lies there", |found| found.no_exec = true);
    with_folder(Use::Data, "data", Problem, "cannot be written", |found| found.writable = false);
    with_folder(Use::Data, "data", Problem, "the agent lies there", |found| found.no_exec = true);
    with_folder(Use::Data, "data", Warning, "network file system (nfs)", |found| found.file_system = "nfs");
    with_folder(Use::Cache, "cache", Problem, "read-only file system", |found| found.read_only = true);
    with_folder(Use::Cache, "cache", Warning, "no hard links", |found| found.hard_links = Some(false));
    with_folder(Use::Cache, "cache", Warning, "by their case", |found| found.tells_case = Some(false));
    with_folder(Use::Workspace, "workspace", Warning, "disk of Windows", |found| found.file_system = "9p");
    with_folder(Use::Data, "data", Warning, "keeps no owner", |found| found.file_system = "exfat");
    with_folder(Use::Data, "data", Good, "made when it is needed", |found| found.exists = false);
    brings_up("data", Problem, "not a folder", |facts| facts.folders[1].1.state = Err("it is not a folder".to_owned()));
}

#[test]
fn what_the_engine_sees() {
    let check = "visibility";
    let unseen = || Error::new("engine_sees_other_files", "the engine does not see it").with_hint("Share it.");
    let instead = Sight::Instead(path("/home/me/gpubay-data"), path("/data"));
    brings_up(check, Good, "/home/me/gpubay-data takes its place", |facts| facts.sight = Some(instead));
    brings_up(check, Problem, "does not see it", |facts| facts.sight = Some(Sight::UnseenWorkspace(unseen())));
    brings_up(check, Warning, "looks for a folder", |facts| facts.sight = Some(Sight::UnseenData(unseen())));
    let unasked = || Sight::Unasked("the engine has no image yet".to_owned());
    brings_up(check, Good, "not asked, since the engine has no image", |facts| facts.sight = Some(unasked()));
}

#[test]
fn the_leftovers() {
    let check = "leftovers";
    let set = |things, bytes, of_kills| {
        move |facts: &mut Facts| facts.leftovers = Some(Leftovers { things, bytes, of_kills })
    };
    brings_up(check, Good, "3 thing(s) that nothing needs, 5.0 GB", set(3, 5_000_000_000, 0));
    brings_up(check, Warning, "hold 20 GB", set(3, 20_000_000_000, 0));
    brings_up(check, Warning, "2 thing(s) that a killed process left", set(3, 5, 2));
}

#[test]
fn the_disks() {
    let free = |free| Disk { free, total: PLENTY.total };
    with_engine("disk", Problem, "1.0 GB of 1.0 TB free for the engine's", |engine| {
        engine.disk = Some(free(1_000_000_000));
    });
    with_engine("disk", Warning, "20 GB of 1.0 TB free for the engine's", |engine| {
        engine.disk = Some(free(20_000_000_000));
    });
    with_engine("disk", Good, "cannot be seen from here", |engine| engine.disk = None);
    with_folder(Use::Data, "disk", Problem, "100 MB of 1.0 TB free for venvs", |found| found.disk = free(100_000_000));
    with_folder(Use::Cache, "disk", Warning, "5.0 GB of 1.0 TB free for mirrors", |found| {
        found.disk = free(5_000_000_000);
    });
}

#[test]
fn what_the_image_is_built_from() {
    let on = |name: &str| vec![Base { place: "Dockerfile:1".to_owned(), name: name.to_owned(), here: None }];
    let any = Gpus { select: GpuSelection::Auto, required: false, isolation: Isolation::Hard, injection: None };
    let with = |facts: &mut Facts, driver: &str, name: &str| {
        facts.gpus = Some(any.clone());
        let Some(Ok(told)) = &mut facts.told else { panic!("a healthy one") };
        told.driver = Some(driver.to_owned());
        facts.bases = on(name);
    };
    let found = brings_up("base", Warning, "needs driver >= 525.60.13, this is 470.57", |facts| {
        with(facts, "470.57", "nvidia/cuda:12.4.1-devel-ubuntu22.04");
    });
    assert!(found.text.starts_with("Dockerfile:1: ") && found.next.is_some_and(|next| next.contains("CUDA 11.8")));
    brings_up("base", Good, "brings CUDA 12.4, which driver 550.1 runs", |facts| {
        with(facts, "550.1", "nvidia/cuda:12.4.1-devel-ubuntu22.04");
    });
    // The library does not answer, and the kernel's part tells its version.
    brings_up("base", Warning, "this is 470.57", |facts| {
        with(facts, "", "nvidia/cuda:12.4.1-devel-ubuntu22.04");
        (facts.told, facts.driver) = (Some(Err(Lack::NoLibrary)), Some("470.57".to_owned()));
    });
    // On the CPU no driver counts.
    brings_up("base", Good, "brings CUDA 12.4", |facts| {
        with(facts, "470.57", "nvidia/cuda:12.4.1-devel-ubuntu22.04");
        facts.gpus = Some(Gpus { select: GpuSelection::None, ..any.clone() });
    });
    brings_up("base", Warning, "deleted", |facts| facts.bases = on("nvidia/cuda:10.2-devel-ubuntu18.04"));
    brings_up("base", Warning, "Python 3.8 is past its life", |facts| facts.bases = on("python:3.8-slim"));
}
