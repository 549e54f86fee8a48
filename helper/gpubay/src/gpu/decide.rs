//! From what is wanted and what there is to what is asked of the engine. Pure.

use super::direct::{self, Kit, Obstacle};
use super::inventory::Inventory;
use super::lease::{Claims, Held, Kind, Lease};
use super::offer::{self, CDI_KIND, Candidate, Placed, cdi_name, is_slice};
use super::select::choose;
use super::{GpuError, Lack, Plan, Promise, name_of, plural};
use crate::config::model::{GpuCount, GpuSelection, Gpus, Injection, Isolation};
use crate::engine::{EngineInfo, Given, GpuRequest};

/// The OCI runtime of NVIDIA's container toolkit.
const NVIDIA_RUNTIME: &str = "nvidia";

/// Chooses how the engine is asked for the GPUs that are wanted, and which these are. `inventory` is what the driver of the
/// engine's machine tells, where it can be asked; `direct` what can be given without the engine's help, where that was looked
/// for.
///
/// # Errors
/// [`GpuError`]: a named GPU that is not there is always an error; none at all only where GPUs are
/// required.
pub fn decide(
    wanted: &Gpus,
    info: &EngineInfo,
    inventory: Option<&Inventory>,
    direct: Option<&Result<Kit, Obstacle>>,
) -> Result<Plan, GpuError> {
    decide_beside(wanted, info, inventory, direct, &Claims::default())
}

/// As [`decide`], beside others who use the same GPUs.
///
/// # Errors
/// As of [`decide`], and [`GpuError::Taken`].
pub fn decide_beside(
    wanted: &Gpus,
    info: &EngineInfo,
    inventory: Option<&Inventory>,
    direct: Option<&Result<Kit, Obstacle>>,
    claims: &Claims,
) -> Result<Plan, GpuError> {
    let plan = planned(wanted, info, inventory, direct, claims)?;
    claims.allow(&plan, &wanted.select.typed())?;
    Ok(plan)
}

/// What would do for it, if it were free. `None`: it needs none.
///
/// # Errors
/// As of [`decide`].
pub fn would_do(
    wanted: &Gpus,
    info: &EngineInfo,
    inventory: Option<&Inventory>,
    direct: Option<&Result<Kit, Obstacle>>,
) -> Result<Option<Held>, GpuError> {
    let everything = Lease { kind: Kind::Exclusive, held: Held::Everything, who: String::new() };
    let claims = Claims { kind: Kind::Exclusive, leases: vec![everything], ahead: Vec::new() };
    match decide_beside(wanted, info, inventory, direct, &claims) {
        Err(GpuError::Taken { would_do, .. }) => Ok(Some(would_do)),
        other => other.map(|_| None),
    }
}

fn planned(
    wanted: &Gpus,
    info: &EngineInfo,
    inventory: Option<&Inventory>,
    direct: Option<&Result<Kit, Obstacle>>,
    claims: &Claims,
) -> Result<Plan, GpuError> {
    if wanted.select == GpuSelection::None {
        return Ok(none("no GPU was asked for".to_owned()));
    }
    let heeds = info.heeds_gpu_requests;
    let names = if heeds { offer::cdi_names(info) } else { Vec::new() };
    let runtime = heeds && has_the_runtime(info);
    let deaf = || format!("{} ignores what its API is asked of GPUs; 5.4 is the first that does not", info.name());
    let injection = match wanted.injection {
        None if !names.is_empty() => Injection::Cdi,
        None if runtime => Injection::NvidiaRuntime,
        None if matches!(direct, Some(Ok(_))) => Injection::Direct,
        None => Injection::None,
        Some(forced) => forced,
    };
    if injection != Injection::None && (injection != Injection::Direct || matches!(direct, Some(Ok(_)))) {
        refuse_unknowable(&wanted.select, inventory)?;
    }
    match injection {
        Injection::Cdi | Injection::NvidiaRuntime if !heeds => {
            Err(GpuError::Forced { forced: name_of(injection), reason: deaf() })
        }
        Injection::Cdi if names.is_empty() => Err(GpuError::Forced {
            forced: "cdi",
            reason: format!("the engine ({}) has discovered no nvidia.com/gpu device", info.version),
        }),
        Injection::Cdi => with_cdi(wanted, &names, info, inventory, claims),
        Injection::NvidiaRuntime if !runtime => Err(GpuError::Forced {
            forced: "nvidia-runtime",
            reason: format!("the engine has no runtime of that name, only {}", info.runtimes.join(", ")),
        }),
        Injection::NvidiaRuntime => with_runtime(wanted, inventory, claims),
        Injection::Direct => match direct {
            Some(Ok(kit)) => direct::plan(wanted, kit, inventory, claims),
            Some(Err(obstacle)) => Err(GpuError::NotDirectly(obstacle.clone())),
            None => Err(GpuError::NotDirectly(Obstacle::NoDriver)),
        },
        Injection::None => {
            let reason = if wanted.injection == Some(Injection::None) {
                "[gpus] injection = \"none\" keeps them out".to_owned()
            } else if heeds {
                format!(
                    "the engine ({}) offers no GPU: no CDI device of the kind nvidia.com/gpu and no NVIDIA runtime",
                    info.version
                )
            } else {
                deaf()
            };
            let reason = match direct {
                Some(Err(obstacle)) if !obstacle.is_plain() => {
                    format!(
                        "{reason}; nor can they be given directly, since {}",
                        obstacle.in_full().trim_end_matches('.')
                    )
                }
                _ => reason,
            };
            match &wanted.select {
                GpuSelection::Named(names) => {
                    Err(GpuError::NamedButNone { asked: names.first().cloned().unwrap_or_default(), reason })
                }
                _ if wanted.required => Err(GpuError::Required { reason }),
                _ => Ok(none(reason)),
            }
        }
    }
}

fn has_the_runtime(info: &EngineInfo) -> bool {
    info.runtimes.iter().any(|name| name == NVIDIA_RUNTIME)
}

/// What becomes of a wish where only one half of the driver was updated: whatever is started finds no GPU, however it is given one.
/// `None`: it is no matter.
///
/// # Errors
/// [`GpuError::Sick`], unless it is left to us whether there is a GPU.
pub fn half_updated(wanted: &Gpus, info: &EngineInfo, lack: &Lack) -> Result<Option<Plan>, GpuError> {
    let by_the_engine = match wanted.injection {
        None | Some(Injection::Cdi | Injection::NvidiaRuntime) => has_a_way(info),
        // That looks at both halves itself.
        Some(Injection::Direct | Injection::None) => false,
    };
    if *lack != Lack::Mismatch || !by_the_engine || wanted.select == GpuSelection::None {
        return Ok(None);
    }
    let left_to_us = matches!(wanted.select, GpuSelection::Auto | GpuSelection::All) && !wanted.required;
    if left_to_us { Ok(Some(none(lack.in_full()))) } else { Err(GpuError::Sick(lack.clone())) }
}

/// Whether the engine itself can give GPUs to a container.
pub fn has_a_way(info: &EngineInfo) -> bool {
    info.heeds_gpu_requests && (!offer::cdi_names(info).is_empty() || has_the_runtime(info))
}

fn none(reason: String) -> Plan {
    Plan {
        injection: Injection::None,
        isolation: Isolation::Hard,
        reason,
        request: GpuRequest::None,
        promised: Promise::Nothing,
        label: "none".to_owned(),
        devices: Vec::new(),
        visible: None,
        driver: None,
    }
}

/// What the labels of a container say of its GPUs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Made<'a> {
    pub injection: &'a str,
    pub gpus: &'a str,
    pub reason: &'a str,
    pub isolation: &'a str,
    pub devices: &'a str,
    /// `None`: there is no such label.
    pub visible: Option<&'a str>,
    pub driver: Option<&'a str>,
}

/// The plan that a container was made by, from what its labels say.
///
/// `None` where the engine has to be asked: GPUs may have come to it since the container went without, if it `may_give`
/// any at all; or another isolation is wanted than it has.
pub fn remembered(wanted: &Gpus, may_give: bool, made: Made<'_>) -> Option<Plan> {
    let of_none = made.injection == "none";
    if of_none && wanted.select != GpuSelection::None && (may_give || !can_go_without(wanted)) {
        return None;
    }
    let plan = self::made(made)?;
    (plan.isolation == Isolation::Hard || wanted.isolation == Isolation::Soft).then_some(plan)
}

/// What a container was made with, whatever is wanted now. `None`: its labels do not say so.
pub fn made(made: Made<'_>) -> Option<Plan> {
    let names = || made.gpus.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (injection, request) = match made.injection {
        "none" => (Injection::None, GpuRequest::None),
        "cdi" => (Injection::Cdi, GpuRequest::Cdi(names())),
        "nvidia-runtime" if made.gpus == "all" => (Injection::NvidiaRuntime, GpuRequest::NvidiaAll),
        "nvidia-runtime" => (Injection::NvidiaRuntime, GpuRequest::Nvidia(names())),
        // What it holds is the engine's to tell, and no other is made by this plan.
        "direct" => (Injection::Direct, GpuRequest::Direct(Given::default())),
        _ => return None,
    };
    let isolation = if made.isolation == "soft" { Isolation::Soft } else { Isolation::Hard };
    let visible: Option<Vec<String>> =
        made.visible.map(|list| list.split(',').filter(|uuid| !uuid.is_empty()).map(str::to_owned).collect());
    let promised = match (&request, isolation) {
        (GpuRequest::None, _) => Promise::Nothing,
        (_, Isolation::Soft) => soft_promise(visible.as_deref().unwrap_or_default()),
        (GpuRequest::NvidiaAll, _) => Promise::AtLeastOne,
        (GpuRequest::Cdi(names) | GpuRequest::Nvidia(names), _) => promise(names),
        (GpuRequest::Direct(_), _) => promise(&names()),
    };
    let (reason, label) = (made.reason.to_owned(), made.gpus.to_owned());
    let (devices, driver) = (offer::read(made.devices), made.driver.map(str::to_owned));
    Some(Plan { injection, isolation, reason, request, promised, label, devices, visible, driver })
}

/// Those that a container has which was stopped, by their names, where any of that number would do: another that happens to be
/// freer now is no reason to make it anew. `None`: they are to be chosen.
pub fn the_same(wanted: &Gpus, made: Made<'_>) -> Option<Gpus> {
    let count = match &wanted.select {
        GpuSelection::Auto => 1,
        GpuSelection::Count(wish) if *wish == GpuCount::of(wish.count) => wish.count as usize,
        _ => return None,
    };
    let names: Vec<String> = made.gpus.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let chosen = made.isolation != "soft" && names.len() == count && names.iter().all(|name| name != "all");
    chosen.then(|| Gpus { select: GpuSelection::Named(names), ..wanted.clone() })
}

/// Whether no GPU at all is no error.
fn can_go_without(wanted: &Gpus) -> bool {
    !wanted.required && wanted.injection.is_none() && !matches!(wanted.select, GpuSelection::Named(_))
}

/// How many GPUs answer where these were given. Slices of one GPU answer as that GPU.
pub(super) fn promise(names: &[String]) -> Promise {
    let name = |name: &String| name.strip_prefix(CDI_KIND).unwrap_or(name).to_owned();
    if names.iter().map(name).any(|name| name == "all" || is_slice(&name)) {
        return Promise::AtLeastOne;
    }
    Promise::Exactly(names.len() as u32)
}

/// Those that are selected have to answer; another one of the machine may be sick.
pub(super) fn soft_promise(visible: &[String]) -> Promise {
    if visible.is_empty() { Promise::Nothing } else { Promise::AtLeastOne }
}

/// Everything that is in the container where only the environment selects: each sound device, if CUDA can be told every
/// one of them by its UUID.
pub(super) fn all_by_uuid(wanted: &Gpus, offered: &[Candidate]) -> Option<Vec<Candidate>> {
    let sound: Vec<Candidate> = offered.iter().filter(|one| one.trouble().is_none()).cloned().collect();
    let told = !sound.is_empty() && sound.iter().all(|one| one.uuid.is_some());
    (wanted.isolation == Isolation::Soft && told).then_some(sound)
}

pub(super) fn placed(of: &[&Candidate]) -> Vec<Placed> {
    of.iter().filter_map(|one| Some(Placed { place: one.place, uuid: one.uuid.clone()? })).collect()
}

/// What `CUDA_VISIBLE_DEVICES` is to say of devices that are in by themselves: only what CUDA's own order would not.
pub(super) fn asked_order(chosen: &[&Candidate]) -> Option<Vec<String>> {
    let ascending = chosen.is_sorted_by_key(|one| one.place);
    let uuids = chosen.iter().map(|one| one.uuid.clone()).collect::<Option<Vec<_>>>()?;
    (!ascending).then_some(uuids)
}

fn with_cdi(
    wanted: &Gpus,
    names: &[&str],
    info: &EngineInfo,
    inventory: Option<&Inventory>,
    claims: &Claims,
) -> Result<Plan, GpuError> {
    let single = offer::of_cdi(info, inventory);
    // WSL2's generator knows only `all`; the driver may know which these are.
    let as_one = single.is_empty();
    let mut offered = if as_one { inventory.map(offer::of_driver).unwrap_or_default() } else { single };
    claims.mark(&mut offered);
    let reason = if as_one {
        "the engine offers its GPUs through CDI, all as one device".to_owned()
    } else {
        format!("the engine has discovered {} through CDI", plural(offered.len(), "nvidia.com/gpu device"))
    };
    let plan = |names: Vec<String>, isolation, promised, of: &[&Candidate], visible, reason| Plan {
        injection: Injection::Cdi,
        isolation,
        reason,
        promised,
        label: names.join(","),
        request: GpuRequest::Cdi(names),
        devices: placed(of),
        visible,
        driver: None,
    };
    let all_as_one = || vec![cdi_name("all")];
    if let Some(sound) = all_by_uuid(wanted, &offered) {
        let uuids =
            |chosen: &[usize]| -> Vec<String> { chosen.iter().filter_map(|at| sound[*at].uuid.clone()).collect() };
        // What is in trouble is named by who asks for it.
        let chosen = choose(&wanted.select, &offered, claims.kind)
            .and_then(|_| choose(&wanted.select, &sound, claims.kind))
            .map_err(|error| offer::beside_the_driver(error, &offered, inventory))?;
        let visible = uuids(&chosen);
        let inside: Vec<&Candidate> = sound.iter().collect();
        let given = if as_one { all_as_one() } else { inside.iter().map(|one| cdi_name(&one.name)).collect() };
        return Ok(plan(given, Isolation::Soft, soft_promise(&visible), &inside, Some(visible), reason));
    }
    if let Some(plan) = nothing_sound(wanted, &offered)? {
        return Ok(plan);
    }
    let everything = names.contains(&"all") && offered.iter().all(|one| one.trouble().is_none());
    let whole = match &wanted.select {
        GpuSelection::All => everything,
        GpuSelection::Auto => as_one,
        GpuSelection::Named(asked) => asked.iter().any(|name| name.strip_prefix(CDI_KIND).unwrap_or(name) == "all"),
        _ => false,
    };
    let hard = hard_reason(wanted, reason, &offered);
    if whole && names.contains(&"all") {
        let of: Vec<&Candidate> = offered.iter().collect();
        let of = if of.iter().all(|one| one.uuid.is_some()) { of } else { Vec::new() };
        return Ok(plan(all_as_one(), Isolation::Hard, Promise::AtLeastOne, &of, None, hard));
    }
    let mut nameable = offered;
    if matches!(wanted.select, GpuSelection::Named(_)) {
        nameable.extend(offer::unmatched(info, &nameable, inventory));
        claims.mark(&mut nameable);
    }
    let chosen = choose(&wanted.select, &nameable, claims.kind)
        .map_err(|error| offer::beside_the_driver(error, &nameable, inventory))?;
    let chosen: Vec<&Candidate> = chosen.into_iter().map(|at| &nameable[at]).collect();
    let given: Vec<String> = chosen.iter().map(|one| cdi_name(given_name(wanted, one, names))).collect();
    let promised = promise(&given);
    let visible = asked_order(&chosen);
    Ok(plan(given, Isolation::Hard, promised, &chosen, visible, hard))
}

/// Where every device is in trouble there is none for who leaves the choice to us.
pub(super) fn nothing_sound(wanted: &Gpus, offered: &[Candidate]) -> Result<Option<Plan>, GpuError> {
    let left_to_us = matches!(wanted.select, GpuSelection::Auto | GpuSelection::All);
    if !left_to_us || offered.is_empty() || offered.iter().any(|one| one.trouble().is_none()) {
        return Ok(None);
    }
    let why = offered.iter().map(|one| format!("GPU {}: {}", one.shown(), one.trouble().unwrap_or_default()));
    let reason = format!("none of the GPUs can be used ({})", why.collect::<Vec<_>>().join("; "));
    if wanted.required { Err(GpuError::Required { reason }) } else { Ok(Some(none(reason))) }
}

/// A device that the engine knows by several names is given under the one that was asked for.
fn given_name<'a>(wanted: &'a Gpus, one: &'a Candidate, names: &[&'a str]) -> &'a str {
    let GpuSelection::Named(asked) = &wanted.select else { return &one.name };
    let is = |name: &&'a str| Some(*name) == one.uuid.as_deref() && asked.iter().any(|asked| asked == name);
    names.iter().copied().find(is).unwrap_or(&one.name)
}

/// Why it is `hard` although `soft` is configured.
pub(super) fn hard_reason(wanted: &Gpus, reason: String, offered: &[Candidate]) -> String {
    if wanted.isolation == Isolation::Soft && offered.iter().any(|one| one.uuid.is_none()) {
        return format!(
            "{reason}; only the selected ones are inside, since the UUIDs are not known by which CUDA could select"
        );
    }
    reason
}

fn with_runtime(wanted: &Gpus, inventory: Option<&Inventory>, claims: &Claims) -> Result<Plan, GpuError> {
    let reason = "the engine has the NVIDIA runtime and no CDI device".to_owned();
    let plan = |isolation, request, promised, label: String, devices, visible| Plan {
        injection: Injection::NvidiaRuntime,
        isolation,
        reason: reason.clone(),
        request,
        promised,
        label,
        devices,
        visible,
        driver: None,
    };
    let hard = |request, promised, label| plan(Isolation::Hard, request, promised, label, Vec::new(), None);
    let mut offered = inventory.map(offer::of_driver).unwrap_or_default();
    claims.mark(&mut offered);
    if offered.is_empty() {
        return Ok(match &wanted.select {
            GpuSelection::None => none("no GPU was asked for".to_owned()),
            GpuSelection::All => hard(GpuRequest::NvidiaAll, Promise::AtLeastOne, "all".to_owned()),
            GpuSelection::Auto => hard(GpuRequest::Nvidia(vec!["0".to_owned()]), Promise::Exactly(1), "0".to_owned()),
            GpuSelection::Count(wish) => {
                let ids: Vec<String> = (0..wish.count).map(|index| index.to_string()).collect();
                let label = ids.join(",");
                hard(GpuRequest::Nvidia(ids), Promise::Exactly(wish.count), label)
            }
            GpuSelection::Named(names) => hard(GpuRequest::Nvidia(names.clone()), promise(names), names.join(",")),
        });
    }
    if let Some(plan) = nothing_sound(wanted, &offered)? {
        return Ok(plan);
    }
    let names = |of: &[&Candidate]| of.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    let chosen = choose(&wanted.select, &offered, claims.kind)
        .map_err(|error| offer::beside_the_driver(error, &offered, inventory))?;
    if let Some(sound) = all_by_uuid(wanted, &offered) {
        let inside: Vec<&Candidate> = sound.iter().collect();
        let visible: Vec<String> = chosen.iter().filter_map(|at| offered[*at].uuid.clone()).collect();
        let (ids, promised) = (names(&inside), soft_promise(&visible));
        let label = ids.join(",");
        return Ok(plan(Isolation::Soft, GpuRequest::Nvidia(ids), promised, label, placed(&inside), Some(visible)));
    }
    let chosen: Vec<&Candidate> = chosen.into_iter().map(|at| &offered[at]).collect();
    let ids = names(&chosen);
    let (promised, label) = (promise(&ids), ids.join(","));
    let visible = asked_order(&chosen);
    Ok(plan(Isolation::Hard, GpuRequest::Nvidia(ids), promised, label, placed(&chosen), visible))
}

/// Where no driver tells of the GPUs, to take any would be to drop what was asked for besides their number.
fn refuse_unknowable(wanted: &GpuSelection, inventory: Option<&Inventory>) -> Result<(), GpuError> {
    match wanted {
        GpuSelection::Count(wish) if *wish != GpuCount::of(wish.count) && inventory.is_none() => {
            Err(GpuError::Unknowable { asked: wanted.typed() })
        }
        _ => Ok(()),
    }
}

/// Which of the devices inside a soft container are selected, by UUID.
///
/// # Errors
/// As those of [`decide`], about what is in the container.
pub fn select_inside(
    wanted: &GpuSelection,
    inside: &[Placed],
    inventory: Option<&Inventory>,
    claims: &Claims,
) -> Result<Vec<String>, GpuError> {
    refuse_unknowable(wanted, inventory)?;
    let mut offered = offer::of_places(inside, inventory);
    claims.mark(&mut offered);
    let chosen = choose(wanted, &offered, claims.kind)?;
    Ok(chosen.into_iter().map(|at| inside[at].uuid.clone()).collect())
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
