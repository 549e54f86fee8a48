//! From facts to lines. Pure: each line has a test that hands it the facts which bring it up.

use super::facts::{Configuration, Disk, EngineFacts, Facts, Folder, Leftovers, Traits, Use};
use super::{Finding, Verdict};
use crate::HostPath;
use crate::config::model::{GpuSelection, Gpus, Injection, Isolation};
use crate::engine::build::Builder;
use crate::engine::{EngineInfo, Hole, UserMap};
use crate::error::{Error, Explain};
use crate::gpu::cuda::Machine;
use crate::gpu::direct::Obstacle;
use crate::gpu::inventory::Inventory;
use crate::gpu::{self, Lack};
use crate::progress::size;
use crate::workspace::fit::{self, Base, Remark};
use crate::workspace::offered;
use crate::workspace::visibility::Sight;

const GIB: u64 = 1 << 30;
/// Less is not enough for the image of any framework.
const LITTLE_FOR_IMAGES: u64 = 30 * GIB;
const TOO_LITTLE_FOR_IMAGES: u64 = 2 * GIB;
/// A venv with a framework of its own, or a handful of mirrors.
const LITTLE_FOR_US: u64 = 8 * GIB;
const TOO_LITTLE_FOR_US: u64 = GIB / 2;
/// Worth a word.
const MUCH_TO_FREE: u64 = 10 * GIB;
/// Beyond that, what is compared by its time is compared wrongly.
const LARGE_DIFFERENCE: i64 = 60;

fn ok(check: &'static str, text: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Ok, text: text.into(), next: None }
}

fn warning(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Warning, text: text.into(), next: Some(next.into()) }
}

fn problem(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Problem, text: text.into(), next: Some(next.into()) }
}

pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![configuration(&facts.configuration)];
    match &facts.engine {
        Some(Ok(engine)) => {
            findings.extend(reached(engine));
            findings.push(storage(&engine.info));
            findings.push(builder(engine));
            findings.push(users(engine));
            findings.push(clock(engine.ahead));
            findings.extend(holes(&engine.holes));
            let inventory = facts.told.as_ref().and_then(|told| told.as_ref().ok());
            findings.extend(gpus(facts.gpus.as_ref(), engine, facts, inventory));
            findings.extend(facts.told.as_ref().map(told).unwrap_or_default());
            findings.extend(specifications(facts, engine, inventory));
            findings.extend(closed(facts));
            findings.extend(bases(facts, engine));
        }
        Some(Err(error)) => findings.push(unreached(error)),
        None => {}
    }
    for (what, folder) in &facts.folders {
        findings.extend(folder_of(*what, folder));
    }
    if let Some(Ok(_)) = facts.engine {
        findings.extend(facts.sight.as_ref().map(sight));
    }
    findings.extend(disks(facts));
    findings.extend(facts.leftovers.map(leftovers));
    findings
}

fn configuration(found: &Configuration) -> Finding {
    const CHECK: &str = "configuration";
    match found {
        Configuration::Good { workspace, file: true } => ok(CHECK, format!("{workspace}/gpubay.toml can be used")),
        Configuration::Good { workspace, file: false } => ok(CHECK, format!("{workspace} needs none")),
        Configuration::NoWorkspace(folder) => {
            ok(CHECK, format!("{} is no workspace; the rest is the same for all of them", folder.display()))
        }
        Configuration::Unapproved(error) => {
            warning(CHECK, &error.message, error.hint.clone().unwrap_or_else(|| "Look into gpubay.toml.".to_owned()))
        }
        Configuration::Broken(error) => {
            problem(CHECK, &error.message, error.hint.clone().unwrap_or_else(|| "Mend that file.".to_owned()))
        }
    }
}

/// Each of these is a check of its own where it went well.
fn unreached(error: &Error) -> Finding {
    let check = match error.code {
        "engine_permission" => "permissions",
        "engine_too_old" => "api",
        _ => "engine",
    };
    let next = error.hint.clone().unwrap_or_else(|| "Look at the engine's own log.".to_owned());
    problem(check, &error.message, next)
}

fn reached(engine: &EngineFacts) -> Vec<Finding> {
    let EngineFacts { address, because, info, condition, .. } = engine;
    let mut findings = if info.os == "linux" {
        vec![ok("engine", format!("{} at {address} ({because})", info.version))]
    } else {
        let text = format!("the engine at {address} runs {} containers", info.os);
        vec![problem("engine", text, "Switch it to Linux containers.")]
    };
    findings.push(ok("permissions", "this user may use the engine"));
    findings.push(ok("api", format!("version {}", condition.api)));
    for said in &condition.warnings {
        let text = said.trim().trim_start_matches("WARNING: ").to_owned();
        findings.push(warning("engine", format!("it warns: {text}"), "Its own documentation says what that means."));
    }
    findings
}

fn storage(info: &EngineInfo) -> Finding {
    const CHECK: &str = "storage";
    match info.storage_driver.as_str() {
        "vfs" => warning(
            CHECK,
            "vfs copies the whole image for each container: slow, and it fills the disk",
            "Give the engine overlay2 (or fuse-overlayfs where it is rootless on an old kernel).",
        ),
        driver if info.storage_is_outdated() => warning(
            CHECK,
            format!("{driver} is no longer part of newer engines"),
            "Change the engine to overlay2 before it is updated; its images have to be pulled or built again.",
        ),
        driver => ok(CHECK, driver),
    }
}

fn builder(engine: &EngineFacts) -> Finding {
    match engine.condition.builder {
        // It is asked for where the engine does not say.
        Builder::BuildKit | Builder::Unsaid => ok("builder", "BuildKit"),
        Builder::Classic => warning(
            "builder",
            "the engine builds with its old builder, without BuildKit: build secrets, `RUN --mount` and here-documents \
             are not to be had",
            "Give it BuildKit (and DOCKER_BUILDKIT another value than 0), or use [image] from with an image that is \
             built elsewhere.",
        ),
        Builder::Podman => warning(
            "builder",
            "the engine builds without BuildKit: build secrets are not to be had",
            "Use [image] from with an image that is built elsewhere where a Dockerfile needs them.",
        ),
    }
}

fn users(engine: &EngineFacts) -> Finding {
    const CHECK: &str = "users";
    if engine.condition.remaps_users {
        return warning(
            CHECK,
            "the engine gives containers other users (userns-remap): files of the workspace would belong to strangers",
            "Set docker_args = [\"--userns=host\"] under [container].",
        );
    }
    ok(
        CHECK,
        match engine.info.users() {
            UserMap::RootIsUser => "rootless: root in a container is you outside",
            UserMap::Kept => "rootless: you have the same number inside and outside (keep-id)",
            UserMap::Same => "numbers of users are the same inside and outside",
        },
    )
}

fn clock(ahead: Option<i64>) -> Finding {
    const CHECK: &str = "clock";
    match ahead {
        None => ok(CHECK, "the engine does not tell the time"),
        Some(ahead) if ahead.abs() > LARGE_DIFFERENCE => {
            let direction = if ahead > 0 { "ahead of" } else { "behind" };
            let text = format!("the engine's clock is {} s {direction} this machine's", ahead.abs());
            warning(
                CHECK,
                text,
                "Set both by the network (`timedatectl set-ntp true`): builds go by the times of files.",
            )
        }
        Some(_) => ok(CHECK, "the engine's agrees with this machine's"),
    }
}

fn holes(holes: &[Hole]) -> Vec<Finding> {
    const CHECK: &str = "holes";
    if holes.is_empty() {
        return vec![ok(CHECK, "none that is known")];
    }
    holes.iter().map(|hole| warning(CHECK, &hole.text, "Update the engine.")).collect()
}

fn gpus(
    wanted: Option<&Gpus>,
    engine: &EngineFacts,
    Facts { driver, unlinked, direct, .. }: &Facts,
    inventory: Option<&Inventory>,
) -> Vec<Finding> {
    const CHECK: &str = "gpu";
    let direct = direct.as_ref();
    let any = Gpus { select: GpuSelection::Auto, required: false, isolation: Isolation::Hard, injection: None };
    let wanted = wanted.unwrap_or(&any);
    let plan = match gpu::decide(wanted, &engine.info, inventory, direct) {
        Ok(plan) => plan,
        Err(error) => {
            let next = error.hint().unwrap_or_else(|| "Change [gpus].".to_owned());
            return vec![problem(CHECK, error.to_string(), next)];
        }
    };
    // What the engine can do counts also where this workspace wants none.
    let offered = if wanted.select == GpuSelection::None {
        gpu::decide(&any, &engine.info, inventory, direct).ok()
    } else {
        None
    };
    let plan = offered.unwrap_or(plan);
    let systemd = engine.condition.cgroup_driver == "systemd";
    let reload = reload(&plan, engine, unlinked);
    if plan.injection == Injection::Cdi
        && let stale = inventory.map(|told| offered::stale(&engine.info, told)).unwrap_or_default()
        && !stale.is_empty()
    {
        let text = format!("cdi: {}; {}", plan.reason, stale.join("; "));
        let stale = warning(CHECK, text, format!("{} on the engine's machine.", gpu::WRITE_ANEW));
        return std::iter::once(stale).chain(reload).collect();
    }
    let mut findings = match (plan.injection, driver.as_deref().filter(|_| engine.local)) {
        // The engine would give some, and there is none that could be used.
        (Injection::None, _) if wanted.injection.is_none() && gpu::has_a_way(&engine.info) => {
            let next = "`gpubay gpus` and `nvidia-smi` show what is the matter; after a driver update `nvidia-ctk cdi generate` anew.";
            vec![warning(CHECK, plan.reason, next)]
        }
        (Injection::None, _)
            if let Some(Err(obstacle)) =
                direct.filter(|direct| direct.as_ref().is_err_and(|obstacle| !obstacle.is_plain())) =>
        {
            vec![warning(CHECK, plan.reason, obstacle.hint().unwrap_or_default())]
        }
        (Injection::None, Some(driver)) => vec![warning(
            CHECK,
            format!("this machine has the NVIDIA driver {driver}, and {}", plan.reason),
            "Install the NVIDIA container toolkit, run `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` and \
             restart the engine (Docker before 28.2 needs \"features\": {\"cdi\": true} in its daemon.json).",
        )],
        (Injection::None, None) => vec![ok(CHECK, format!("{}: work is done on the CPU", plan.reason))],
        (Injection::NvidiaRuntime, _) if systemd => vec![warning(
            CHECK,
            format!(
                "{}; with its cgroups kept by systemd, a `systemctl daemon-reload` takes the GPUs from what runs",
                plan.reason
            ),
            "Give the engine a CDI specification (`nvidia-ctk cdi generate`), or its daemon.json \"exec-opts\": \
             [\"native.cgroupdriver=cgroupfs\"].",
        )],
        (injection, Some(_)) if systemd && engine.forgetful_runc.is_some() && !unlinked.is_empty() => vec![warning(
            CHECK,
            format!(
                "{}: {}; its runc {} does not tell systemd of devices without a link in /dev/char, as {} are: a \
                 `systemctl daemon-reload` takes the GPUs from what runs",
                gpu::name_of(injection),
                plan.reason,
                engine.forgetful_runc.as_deref().unwrap_or_default(),
                unlinked.join(", ")
            ),
            "Update runc to 1.1.7 or newer, or make the links after each start of the machine: `sudo nvidia-ctk system \
             create-dev-char-symlinks --create-all`.",
        )],
        (injection, _) => vec![ok(CHECK, format!("{}: {}", gpu::name_of(injection), plan.reason))],
    };
    findings.extend(reload);
    findings
}

/// Whether what runs keeps its GPUs, where that is not told with the way that they get in: named before it happens.
fn reload(plan: &gpu::Plan, engine: &EngineFacts, unlinked: &[String]) -> Option<Finding> {
    const CHECK: &str = "reload";
    let systemd = engine.condition.cgroup_driver == "systemd";
    let forgetful = engine.forgetful_runc.is_some() && !unlinked.is_empty();
    match plan.injection {
        Injection::None => None,
        Injection::NvidiaRuntime if systemd => None,
        Injection::NvidiaRuntime => Some(warning(
            CHECK,
            "the NVIDIA runtime lets devices into a container behind the engine's back: where that applies its own rules again \
             (`docker update`, a restart with live-restore), a running container loses its GPUs",
            "Give the engine a CDI specification (`nvidia-ctk cdi generate`), or leave such containers as they are.",
        )),
        _ if systemd && (forgetful || !engine.local) => None,
        _ => Some(ok(
            CHECK,
            if systemd {
                "what runs keeps its GPUs when systemd reads its units again (`systemctl daemon-reload`): the engine lets them in itself"
            } else {
                "what runs keeps its GPUs when systemd reads its units again (`systemctl daemon-reload`): it does not keep the \
                 engine's control groups"
            },
        )),
    }
}

/// Specifications that are of another driver than the one that runs.
fn specifications(facts: &Facts, engine: &EngineFacts, told: Option<&Inventory>) -> Vec<Finding> {
    let driver = told.and_then(|told| told.driver.as_ref()).or(facts.driver.as_ref());
    let Some(driver) = driver.filter(|_| engine.local && !engine.info.cdi_devices.is_empty()) else {
        return Vec::new();
    };
    let other = facts.specified.iter().filter(|(_, version)| version != driver);
    let said = |(file, version): &(std::path::PathBuf, String)| {
        let text = format!(
            "{} is of the driver {version}, and {driver} is here: containers are promised files that are not there",
            file.display()
        );
        warning("cdi", text, format!("{} after each update of the driver.", gpu::WRITE_ANEW))
    };
    other.map(said).collect()
}

/// Device nodes that keep the container's user out, whichever way they get in.
fn closed(facts: &Facts) -> Vec<Finding> {
    // Where it is why none can be given, it was said.
    if facts.direct.as_ref().is_some_and(|direct| matches!(direct, Err(Obstacle::NotPermitted(_)))) {
        return Vec::new();
    }
    let said = |obstacle: &Obstacle| warning("nodes", obstacle.to_string(), obstacle.hint().unwrap_or_default());
    facts.closed.iter().map(said).collect()
}

/// The driver and its GPUs. That there is none is no fault of a machine.
fn told(told: &Result<Inventory, Lack>) -> Vec<Finding> {
    const CHECK: &str = "driver";
    let told = match told {
        Ok(told) => told,
        Err(Lack::NoDriver | Lack::Elsewhere(_)) => return Vec::new(),
        Err(lack @ Lack::Mismatch) => {
            let text = format!(
                "{lack}: what is made or started from now on finds no GPU, and what runs loses them when it is loaded"
            );
            return vec![warning(CHECK, text, lack.hint().unwrap_or_default())];
        }
        Err(lack) => return vec![warning(CHECK, lack.to_string(), lack.hint().unwrap_or_default())],
    };
    let ill = told.gpus.iter().filter_map(|gpu| {
        let next = "Work on the others meanwhile: `gpubay gpus` shows what they do.";
        Some(warning(CHECK, format!("GPU {}: {}", gpu.index, gpu.trouble.as_ref()?), next))
    });
    let mut findings: Vec<Finding> = ill.collect();
    findings.extend(told.remark().map(|(what, next)| warning(CHECK, what, next)));
    if findings.is_empty() {
        let version = told.driver.as_deref().unwrap_or("of an unknown version");
        let cuda = told.cuda_version().map(|version| format!(", CUDA up to {version}")).unwrap_or_default();
        let count = told.gpus.len();
        let gpus = if count == 1 { "1 GPU" } else { &format!("{count} GPUs") };
        findings.push(ok(CHECK, format!("{version}{cuda}, {gpus}")));
    }
    findings
}

/// Whether the driver runs the CUDA of what the image is built from, and whether that is looked after.
fn bases(facts: &Facts, engine: &EngineFacts) -> Vec<Finding> {
    const CHECK: &str = "base";
    let machine = machine(facts, engine);
    let mut findings = Vec::new();
    for Base { place, name, here } in &facts.bases {
        let remarks = fit::judge(name, here.as_ref(), machine.as_ref(), facts.today);
        if let Some(wants) = fit::wants(name, here.as_ref()).filter(|_| remarks.is_empty()) {
            findings.push(ok(CHECK, format!("{place}: {name} {}", fit::in_order(&wants, machine.as_ref()))));
        }
        let said = |remark: Remark| warning(CHECK, format!("{place}: {}", remark.text), remark.next);
        findings.extend(remarks.into_iter().map(said));
    }
    findings
}

/// What programs in containers would meet; `None` where they get no GPU, or that is not known.
fn machine(facts: &Facts, engine: &EngineFacts) -> Option<Machine> {
    let wanted = facts.gpus.as_ref()?;
    if wanted.select == GpuSelection::None {
        return None;
    }
    let any = Gpus { select: GpuSelection::Auto, required: false, ..wanted.clone() };
    let told = facts.told.as_ref().and_then(|told| told.as_ref().ok());
    let plan = gpu::decide(&any, &engine.info, told, facts.direct.as_ref()).ok()?;
    match (plan.injection, told) {
        (Injection::None, _) => None,
        (injection, Some(told)) => fit::of_inventory(told, injection, facts.requirements_off),
        (_, None) => {
            let driver = facts.driver.clone().filter(|_| engine.local)?;
            Some(Machine { driver, ..Machine::default() })
        }
    }
}

fn sight(found: &Sight) -> Finding {
    const CHECK: &str = "visibility";
    let next = |error: &Error| error.hint.clone().unwrap_or_default();
    match found {
        Sight::Seen(folders) => {
            let folders: Vec<String> = folders.iter().map(ToString::to_string).collect();
            ok(CHECK, format!("the engine sees {}", folders.join(" and ")))
        }
        Sight::Instead(folder, data) => {
            ok(CHECK, format!("the engine does not see {data}; {folder} takes its place, and is seen"))
        }
        Sight::UnseenWorkspace(error) => problem(CHECK, &error.message, next(error)),
        Sight::UnseenData(error) => warning(
            CHECK,
            format!("{}; the next `gpubay up` looks for a folder that it sees", error.message),
            next(error),
        ),
        Sight::Unasked(why) => ok(CHECK, format!("not asked, since {why}")),
    }
}

fn folder_of(what: Use, folder: &Folder) -> Vec<Finding> {
    let path = &folder.path;
    let (check, key) = match what {
        Use::Workspace => ("workspace", "move the workspace"),
        Use::Data => ("data", "name another folder in [paths] data of your own config.toml"),
        Use::Cache => ("cache", "name another folder in [paths] cache of your own config.toml"),
    };
    let found = match &folder.state {
        Ok(found) => found,
        Err(why) => return vec![problem(check, format!("{path}: {why}"), capital(&format!("{key}.")))],
    };
    let mut findings = Vec::new();
    let closed = if found.read_only { "is on a read-only file system" } else { "cannot be written by this user" };
    if found.read_only || !found.writable {
        let text = format!("{path} {closed}");
        findings.push(match what {
            Use::Workspace => warning(
                check,
                format!("{text}: there will be no .venv in it, and editors here do not see the container's Python"),
                "Make it writable for this user.",
            ),
            _ => problem(check, text, format!("Make it writable for this user, or {key}.")),
        });
    }
    findings.extend(file_system(what, check, key, path, found));
    if findings.is_empty() {
        let kind = match found.file_system {
            "" => String::new(),
            name => format!(" ({name})"),
        };
        let made = if found.exists { "" } else { ", made when it is needed" };
        findings.push(ok(check, format!("{path}{kind}{made}")));
    }
    findings
}

fn file_system(what: Use, check: &'static str, key: &str, path: &HostPath, found: &Traits) -> Vec<Finding> {
    let mut findings = Vec::new();
    let next = capital(&format!("{key}, on a disk of this machine."));
    if found.no_exec && what != Use::Cache {
        let whose = if what == Use::Data { "the agent" } else { ".venv/bin/python" };
        let text = format!("{path} is on a file system that runs no programs (noexec), and {whose} lies there");
        findings.push(problem(check, text, format!("Mount it without noexec, or {key}.")));
    }
    if found.hard_links == Some(false) && what == Use::Cache {
        let text = format!("{path} knows no hard links: each change copies the whole mirror");
        findings.push(warning(check, text, next.clone()));
    }
    if found.tells_case == Some(false) {
        let text = format!("{path} does not tell names apart by their case: some packages have such files");
        findings.push(warning(check, text, next.clone()));
    }
    match found.file_system {
        "nfs" | "smb" | "lustre" | "ceph" | "gpfs" | "beegfs" if what != Use::Workspace => {
            let text = format!(
                "{path} is on a network file system ({}): slow for many small files, and an engine that acts as root may \
                 be refused there",
                found.file_system
            );
            findings.push(warning(check, text, next));
        }
        "9p" => {
            let text = format!("{path} is on a disk of Windows (9p): slow for many small files");
            findings.push(warning(check, text, "Use a folder of the Linux distribution, such as one of your home."));
        }
        "vfat" | "exfat" => {
            let text = format!("{path} is on {}, which keeps no owner and no mode", found.file_system);
            findings.push(warning(check, text, next));
        }
        _ => {}
    }
    findings
}

fn disks(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "disk";
    let mut findings = Vec::new();
    if let Some(Ok(engine)) = &facts.engine {
        let root = engine.condition.root.as_deref().unwrap_or("its machine");
        match engine.disk {
            Some(disk) => findings.push(room(
                disk,
                &format!("for the engine's images in {root}"),
                [TOO_LITTLE_FOR_IMAGES, LITTLE_FOR_IMAGES],
                "Free some: `docker system df` shows what takes it, `gpubay prune` removes old images of ours.",
            )),
            None => findings.push(ok(
                CHECK,
                format!("how much is free for the engine's images in {root} cannot be seen from here"),
            )),
        }
    }
    for (what, folder) in &facts.folders {
        let (name, Ok(found)) = (*what, &folder.state) else { continue };
        let place = match name {
            Use::Workspace => continue,
            Use::Data => format!("for venvs in {}", folder.path),
            Use::Cache => format!("for mirrors in {}", folder.path),
        };
        let next = "Free some there (`gpubay prune`), or name another folder in [paths] of your own config.toml.";
        findings.push(room(found.disk, &place, [TOO_LITTLE_FOR_US, LITTLE_FOR_US], next));
    }
    findings
}

fn leftovers(found: Leftovers) -> Finding {
    const CHECK: &str = "leftovers";
    let Leftovers { things, bytes, of_kills } = found;
    let next = "`gpubay prune` lists them with their sizes, and removes them.";
    match (of_kills, bytes) {
        (0, 0..MUCH_TO_FREE) if things == 0 => ok(CHECK, "none"),
        (0, 0..MUCH_TO_FREE) => ok(CHECK, format!("{things} thing(s) that nothing needs, {}", size(bytes))),
        (0, _) => warning(CHECK, format!("{things} thing(s) that nothing needs hold {}", size(bytes)), next),
        _ => warning(
            CHECK,
            format!("{of_kills} thing(s) that a killed process left, {} with the rest", size(bytes)),
            next,
        ),
    }
}

fn room(disk: Disk, place: &str, [too_little, little]: [u64; 2], next: &str) -> Finding {
    const CHECK: &str = "disk";
    let text = format!("{} of {} free {place}", size(disk.free), size(disk.total));
    match disk.free {
        free if free < too_little => problem(CHECK, text, next),
        free if free < little => warning(CHECK, text, next),
        _ => ok(CHECK, text),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
