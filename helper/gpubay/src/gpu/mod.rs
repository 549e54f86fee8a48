//! How GPUs get into a container.
//!
//! The engine is asked, the host is not: an engine elsewhere, or one without the driver's toolkit,
//! knows best what it can give. [`decide`] is pure; what it decides is checked inside the container
//! after the start ([`check`]).

pub mod inventory;
mod nvml;
mod reading;

pub(crate) use self::nvml::on_this_machine;
pub use self::nvml::{Driver, Lack, inventory_of};

use gpubay_protocol::agent::{GpuReport, GpuSeen};

use crate::config::model::{GpuSelection, Gpus, Injection, Isolation};
use crate::engine::{EngineInfo, GpuRequest};
use crate::error::Explain;

/// The kind of CDI device that NVIDIA's own tools generate.
const CDI_KIND: &str = "nvidia.com/gpu=";
/// The OCI runtime of NVIDIA's container toolkit.
const NVIDIA_RUNTIME: &str = "nvidia";

/// What a container is given, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub injection: Injection,
    pub isolation: Isolation,
    /// A sentence for people.
    pub reason: String,
    pub request: GpuRequest,
    /// How many GPUs must answer inside; `None`: at least one.
    pub promised: Promise,
    /// For the label `gpubay.gpus`: what was asked of the engine.
    pub label: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    Nothing,
    AtLeastOne,
    Exactly(u32),
}

#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error("a GPU is required, and {reason}")]
    Required { reason: String },
    #[error("GPU {asked:?} is not among the {} that the engine offers: {}", .offered.len(), .offered.join(", "))]
    Unknown { asked: String, offered: Vec<String> },
    #[error("{asked} GPUs are asked for and the engine offers {offered}")]
    TooMany { asked: u32, offered: u32 },
    #[error("GPU {asked:?} is asked for, and {reason}")]
    NamedButNone { asked: String, reason: String },
    #[error("injection {forced:?} is asked for, and {reason}")]
    Forced { forced: &'static str, reason: String },
    #[error("{promised} GPU(s) were promised through {injection}, and {found} answered inside the container: {detail}")]
    Broken { injection: &'static str, promised: String, found: usize, detail: String },
}

impl Explain for GpuError {
    fn code(&self) -> &'static str {
        match self {
            Self::Required { .. } => "gpu_required",
            Self::Unknown { .. } => "gpu_unknown",
            Self::TooMany { .. } => "gpu_too_many",
            Self::NamedButNone { .. } => "gpu_none",
            Self::Forced { .. } => "gpu_injection",
            Self::Broken { .. } => "gpu_broken",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Required { .. } | Self::NamedButNone { .. } => {
                "Set [gpus] use = \"none\" (or required = false with use = \"auto\") to work on the CPU, or give the engine \
                 GPUs: a CDI specification (`nvidia-ctk cdi generate`) on Docker 25 or newer, or the NVIDIA runtime; Podman from 5.4."
                    .to_owned()
            }
            Self::Unknown { .. } | Self::TooMany { .. } => "Change [gpus] use to what is there.".to_owned(),
            Self::Forced { .. } => "Leave [gpus] injection out to let the engine decide.".to_owned(),
            Self::Broken { .. } => {
                "Check `nvidia-smi` on the engine's machine, and that its CDI specification fits the driver \
                 (`nvidia-ctk cdi generate` again after a driver update)."
                    .to_owned()
            }
        })
    }
}

/// The name that configuration and reports use.
pub fn name_of(injection: Injection) -> &'static str {
    match injection {
        Injection::Cdi => "cdi",
        Injection::NvidiaRuntime => "nvidia-runtime",
        Injection::Direct => "direct",
        Injection::None => "none",
    }
}

/// The name that configuration and reports use.
pub fn name_of_isolation(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Soft => "soft",
        Isolation::Hard => "hard",
    }
}

/// Chooses how the engine is asked for the GPUs that are wanted.
///
/// # Errors
/// [`GpuError`]: a named GPU that is not there is always an error; none at all only where GPUs are
/// required.
pub fn decide(wanted: &Gpus, info: &EngineInfo) -> Result<Plan, GpuError> {
    let none = |reason: String| Plan {
        injection: Injection::None,
        isolation: Isolation::Hard,
        reason,
        request: GpuRequest::None,
        promised: Promise::Nothing,
        label: "none".to_owned(),
    };
    if wanted.select == GpuSelection::None {
        return Ok(none("no GPU was asked for".to_owned()));
    }
    let heeds = info.heeds_gpu_requests;
    let known = info.cdi_devices.iter().filter(|_| heeds);
    let devices: Vec<&str> = known.filter_map(|name| name.strip_prefix(CDI_KIND)).collect();
    let runtime = heeds && info.runtimes.iter().any(|name| name == NVIDIA_RUNTIME);
    let deaf = || format!("{} ignores what its API is asked of GPUs; 5.4 is the first that does not", info.name());
    let injection = match wanted.injection {
        None if !devices.is_empty() => Injection::Cdi,
        None if runtime => Injection::NvidiaRuntime,
        None => Injection::None,
        Some(forced) => forced,
    };
    match injection {
        Injection::Cdi | Injection::NvidiaRuntime if !heeds => {
            Err(GpuError::Forced { forced: name_of(injection), reason: deaf() })
        }
        Injection::Cdi if devices.is_empty() => Err(GpuError::Forced {
            forced: "cdi",
            reason: format!("the engine ({}) has discovered no nvidia.com/gpu device", info.version),
        }),
        Injection::Cdi => with_cdi(wanted, &devices),
        Injection::NvidiaRuntime if !runtime => Err(GpuError::Forced {
            forced: "nvidia-runtime",
            reason: format!("the engine has no runtime of that name, only {}", info.runtimes.join(", ")),
        }),
        Injection::NvidiaRuntime => Ok(with_runtime(wanted)),
        Injection::Direct => {
            Err(GpuError::Forced { forced: "direct", reason: "this version cannot do that yet".to_owned() })
        }
        Injection::None => {
            let reason = if heeds {
                format!(
                    "the engine ({}) offers no GPU: no CDI device of the kind nvidia.com/gpu and no NVIDIA runtime",
                    info.version
                )
            } else {
                deaf()
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

/// The plan that a container was made by, from what its labels say of injection, GPUs and reason.
///
/// `None` where the engine has to be asked: GPUs may have come to it since the container went without, if it `heeds`
/// requests for them at all.
pub fn remembered(wanted: &Gpus, heeds: bool, injection: &str, gpus: &str, reason: &str) -> Option<Plan> {
    let names = || gpus.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (injection, request) = match injection {
        "none" if wanted.select == GpuSelection::None || !heeds && can_go_without(wanted) => {
            (Injection::None, GpuRequest::None)
        }
        "cdi" => (Injection::Cdi, GpuRequest::Cdi(names())),
        "nvidia-runtime" if gpus == "all" => (Injection::NvidiaRuntime, GpuRequest::NvidiaAll),
        "nvidia-runtime" => (Injection::NvidiaRuntime, GpuRequest::Nvidia(names())),
        _ => return None,
    };
    let promised = match &request {
        GpuRequest::None => Promise::Nothing,
        GpuRequest::NvidiaAll => Promise::AtLeastOne,
        GpuRequest::Cdi(names) | GpuRequest::Nvidia(names) => promise(names),
    };
    let (reason, label) = (reason.to_owned(), gpus.to_owned());
    Some(Plan { injection, isolation: Isolation::Hard, reason, request, promised, label })
}

/// Whether no GPU at all is no error.
fn can_go_without(wanted: &Gpus) -> bool {
    !wanted.required && wanted.injection.is_none() && !matches!(wanted.select, GpuSelection::Named(_))
}

/// How many GPUs answer where these were given. Slices of one GPU answer as that GPU.
fn promise(names: &[String]) -> Promise {
    let name = |name: &String| name.strip_prefix(CDI_KIND).unwrap_or(name).to_owned();
    if names.iter().map(name).any(|name| name == "all" || is_slice(&name)) {
        return Promise::AtLeastOne;
    }
    Promise::Exactly(names.len() as u32)
}

/// A MIG slice: `0:1`, or by its UUID.
fn is_slice(name: &str) -> bool {
    name.starts_with("MIG-") || place(name).is_some_and(|(_, slice)| slice.is_some())
}

/// `0` is a GPU, `0:1` a MIG slice of it.
fn place(name: &str) -> Option<(u32, Option<u32>)> {
    match name.split_once(':') {
        Some((gpu, slice)) => Some((gpu.parse().ok()?, Some(slice.parse().ok()?))),
        None => Some((name.parse().ok()?, None)),
    }
}

/// One name for each device. NVIDIA's generator names one by its place, by its UUID or both, and all of them `all`.
fn one_name_each<'a>(devices: &[&'a str]) -> Vec<&'a str> {
    let mut placed: Vec<_> = devices.iter().filter_map(|name| place(name).map(|place| (place, *name))).collect();
    if placed.is_empty() {
        return devices.iter().copied().filter(|name| *name != "all").collect();
    }
    placed.sort_unstable();
    placed.into_iter().map(|(_, name)| name).collect()
}

/// A device of the engine's, under the name that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// Without its kind: `0`, `0:1`, `GPU-…`.
    pub name: &'a str,
    /// Index, and slice of a GPU that is divided.
    pub place: Option<(u32, Option<u32>)>,
    pub uuid: Option<&'a str>,
}

/// The engine's CDI devices, each once, and the names that cannot be told whose they are.
pub fn devices(info: &EngineInfo) -> (Vec<Device<'_>>, Vec<&str>) {
    let names: Vec<&str> = info.cdi_devices.iter().filter_map(|name| name.strip_prefix(CDI_KIND)).collect();
    let single = one_name_each(&names);
    let is_uuid = |name: &&str| name.starts_with("GPU-") || name.starts_with("MIG-");
    let mut others: Vec<&str> = names.iter().copied().filter(|name| !single.contains(name)).collect();
    let mut devices: Vec<Device<'_>> =
        single.into_iter().map(|name| Device { name, place: place(name), uuid: Some(name).filter(is_uuid) }).collect();
    // One device and one UUID can only be each other's.
    let uuids: Vec<&str> = others.iter().copied().filter(is_uuid).collect();
    if let ([device], [uuid]) = (devices.as_mut_slice(), uuids.as_slice()) {
        device.uuid = Some(uuid);
        others.retain(|name| name != uuid);
    }
    (devices, others)
}

/// `nvidia.com/gpu=0`
pub fn cdi_name(name: &str) -> String {
    format!("{CDI_KIND}{name}")
}

fn with_cdi(wanted: &Gpus, devices: &[&str]) -> Result<Plan, GpuError> {
    let single = one_name_each(devices);
    let chosen = match &wanted.select {
        GpuSelection::None => Vec::new(),
        GpuSelection::All if devices.contains(&"all") => vec!["all"],
        GpuSelection::All => single.clone(),
        // WSL2's generator knows only `all`.
        GpuSelection::Auto if single.is_empty() => vec!["all"],
        GpuSelection::Auto => single[..1].to_vec(),
        GpuSelection::Count { count, .. } => {
            let offered = single.len() as u32;
            if *count > offered {
                return Err(GpuError::TooMany { asked: *count, offered });
            }
            single[..*count as usize].to_vec()
        }
        GpuSelection::Named(names) => {
            let mut chosen = Vec::new();
            for name in names {
                let name = name.strip_prefix(CDI_KIND).unwrap_or(name);
                let Some(device) = devices.iter().find(|device| **device == name) else {
                    return Err(GpuError::Unknown {
                        asked: name.to_owned(),
                        offered: devices.iter().map(|device| (*device).to_owned()).collect(),
                    });
                };
                chosen.push(*device);
            }
            chosen
        }
    };
    let names: Vec<String> = chosen.iter().map(|name| format!("{CDI_KIND}{name}")).collect();
    Ok(Plan {
        injection: Injection::Cdi,
        isolation: Isolation::Hard,
        reason: if single.is_empty() {
            "the engine offers its GPUs through CDI, all as one device".to_owned()
        } else {
            format!("the engine has discovered {} through CDI", plural(single.len(), "nvidia.com/gpu device"))
        },
        label: names.join(","),
        promised: promise(&names),
        request: GpuRequest::Cdi(names),
    })
}

fn with_runtime(wanted: &Gpus) -> Plan {
    let (request, promised, label) = match &wanted.select {
        GpuSelection::None => (GpuRequest::None, Promise::Nothing, "none".to_owned()),
        GpuSelection::All => (GpuRequest::NvidiaAll, Promise::AtLeastOne, "all".to_owned()),
        GpuSelection::Auto => (GpuRequest::Nvidia(vec!["0".to_owned()]), Promise::Exactly(1), "0".to_owned()),
        GpuSelection::Count { count, .. } => {
            let ids: Vec<String> = (0..*count).map(|index| index.to_string()).collect();
            let label = ids.join(",");
            (GpuRequest::Nvidia(ids), Promise::Exactly(*count), label)
        }
        GpuSelection::Named(names) => (GpuRequest::Nvidia(names.clone()), promise(names), names.join(",")),
    };
    Plan {
        injection: Injection::NvidiaRuntime,
        isolation: Isolation::Hard,
        reason: "the engine has the NVIDIA runtime and no CDI device".to_owned(),
        request,
        promised,
        label,
    }
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Compares what was promised with what answered inside the container.
///
/// # Errors
/// [`GpuError::Broken`] when fewer (or other than exactly as many) GPUs answered.
pub fn check(plan: &Plan, report: &GpuReport) -> Result<Vec<GpuSeen>, GpuError> {
    let found = report.devices.len();
    let kept = match plan.promised {
        Promise::Nothing => true,
        Promise::AtLeastOne => found > 0,
        Promise::Exactly(count) => found == count as usize,
    };
    if kept {
        return Ok(report.devices.clone());
    }
    Err(GpuError::Broken {
        injection: name_of(plan.injection),
        promised: match plan.promised {
            Promise::Exactly(count) => count.to_string(),
            _ => "at least 1".to_owned(),
        },
        found,
        detail: report.problem.clone().unwrap_or_else(|| format!("asked {}", report.asked)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Flavour;

    fn engine(cdi: &[&str], runtimes: &[&str]) -> EngineInfo {
        EngineInfo {
            flavour: Flavour::Docker,
            heeds_gpu_requests: true,
            version: "28.5.2".to_owned(),
            cdi_devices: cdi.iter().map(|name| format!("nvidia.com/gpu={name}")).collect(),
            runtimes: runtimes.iter().map(|name| (*name).to_owned()).collect(),
            memory: 1 << 34,
            rootless: false,
            os: "linux".to_owned(),
            storage_driver: "overlay2".to_owned(),
            log_drivers: vec!["json-file".to_owned()],
        }
    }

    fn wanted(select: GpuSelection) -> Gpus {
        Gpus { select, required: false, isolation: Isolation::Soft, injection: None }
    }

    fn named(names: &[&str]) -> GpuSelection {
        GpuSelection::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_container_remembers_its_plan() {
        let cdi = engine(&["0", "1", "GPU-a", "all"], &["runc", "nvidia"]);
        let runtime = engine(&[], &["nvidia", "runc"]);
        for select in [
            GpuSelection::Auto,
            GpuSelection::All,
            GpuSelection::None,
            GpuSelection::Count { count: 2, min_free: None },
            named(&["1", "0"]),
        ] {
            for engine in [&cdi, &runtime] {
                let wanted = wanted(select.clone());
                let plan = decide(&wanted, engine).expect("planned");
                let again = remembered(&wanted, true, name_of(plan.injection), &plan.label, &plan.reason);
                assert_eq!(again, Some(plan));
            }
        }
    }

    #[test]
    fn a_container_that_went_without_does_not_know_what_came_since() {
        for select in [GpuSelection::Auto, GpuSelection::All] {
            assert_eq!(remembered(&wanted(select), true, "none", "none", "no GPU"), None);
        }
        assert_eq!(remembered(&wanted(GpuSelection::None), true, "", "", ""), None, "of another version");
        // To an engine that gives none to anybody none comes.
        for (wanted, known) in [
            (wanted(GpuSelection::Auto), true),
            (wanted(GpuSelection::Count { count: 2, min_free: None }), true),
            (wanted(named(&["0"])), false),
            (Gpus { required: true, ..wanted(GpuSelection::Auto) }, false),
            (Gpus { injection: Some(Injection::Cdi), ..wanted(GpuSelection::Auto) }, false),
        ] {
            let plan = remembered(&wanted, false, "none", "none", "it ignores them");
            assert_eq!(plan.map(|plan| plan.reason), known.then(|| "it ignores them".to_owned()), "{wanted:?}");
        }
    }

    #[test]
    fn the_engine_decides_how() {
        let both = engine(&["0", "1", "GPU-a", "all"], &["runc", "nvidia"]);
        assert_eq!(decide(&wanted(GpuSelection::Auto), &both).expect("planned").injection, Injection::Cdi);
        let runtime = engine(&[], &["nvidia", "runc"]);
        assert_eq!(
            decide(&wanted(GpuSelection::Auto), &runtime).expect("planned").request,
            GpuRequest::Nvidia(vec!["0".to_owned()])
        );
        let nothing = engine(&[], &["runc"]);
        let plan = decide(&wanted(GpuSelection::Auto), &nothing).expect("the CPU will do");
        assert_eq!((plan.injection, plan.request), (Injection::None, GpuRequest::None));
        assert!(plan.reason.contains("no CDI device"), "{}", plan.reason);
    }

    #[test]
    fn the_choice_among_cdi_devices() {
        let offered = engine(&["1", "0", "10", "GPU-a", "all"], &["runc"]);
        for (select, devices, promised) in [
            (GpuSelection::Auto, vec!["0"], Promise::Exactly(1)),
            (GpuSelection::All, vec!["all"], Promise::AtLeastOne),
            (GpuSelection::Count { count: 3, min_free: None }, vec!["0", "1", "10"], Promise::Exactly(3)),
            (named(&["GPU-a"]), vec!["GPU-a"], Promise::Exactly(1)),
            (named(&["1", "0"]), vec!["1", "0"], Promise::Exactly(2)),
        ] {
            let plan = decide(&wanted(select), &offered).expect("planned");
            let names = devices.iter().map(|name| format!("nvidia.com/gpu={name}")).collect();
            assert_eq!((plan.request, plan.promised), (GpuRequest::Cdi(names), promised));
        }
        let wsl = engine(&["all"], &["runc"]);
        let plan = decide(&wanted(GpuSelection::Auto), &wsl).expect("planned");
        assert_eq!(plan.request, GpuRequest::Cdi(vec!["nvidia.com/gpu=all".to_owned()]));
    }

    #[test]
    fn slices_are_given_one_by_one_and_answer_as_their_gpu() {
        let slices = engine(&["1", "0:1", "0:0", "MIG-a", "MIG-b", "GPU-b", "all"], &["runc"]);
        let names = |plan: &Plan| plan.label.replace("nvidia.com/gpu=", "");
        let plan = |select| decide(&wanted(select), &slices);
        let auto = plan(GpuSelection::Auto).expect("planned");
        assert_eq!((names(&auto), auto.promised), ("0:0".to_owned(), Promise::AtLeastOne));
        let three = plan(GpuSelection::Count { count: 3, min_free: None }).expect("planned");
        assert_eq!((names(&three), three.promised), ("0:0,0:1,1".to_owned(), Promise::AtLeastOne));
        // Each once, although it has two names.
        assert_eq!(
            plan(GpuSelection::Count { count: 4, min_free: None }).expect_err("too many").code(),
            "gpu_too_many"
        );
        let by_uuid = plan(named(&["MIG-b"])).expect("planned");
        assert_eq!((names(&by_uuid), by_uuid.promised), ("MIG-b".to_owned(), Promise::AtLeastOne));
        let runtime = decide(&wanted(named(&["MIG-a", "MIG-b"])), &engine(&[], &["nvidia"])).expect("planned");
        assert_eq!(runtime.promised, Promise::AtLeastOne, "two slices of one GPU");
        for plan in [auto, three, by_uuid, runtime] {
            let again =
                remembered(&wanted(GpuSelection::Auto), true, name_of(plan.injection), &plan.label, &plan.reason);
            assert_eq!(again, Some(plan));
        }
    }

    #[test]
    fn a_device_of_several_names_is_one_device() {
        let reason = |names: &[&str]| decide(&wanted(GpuSelection::Auto), &engine(names, &[])).expect("planned").reason;
        assert!(reason(&["0", "GPU-a", "all"]).contains("discovered 1 nvidia.com/gpu device through"));
        assert!(reason(&["0", "1", "GPU-a", "GPU-b", "all"]).contains("discovered 2 nvidia.com/gpu devices"));
        assert!(reason(&["GPU-a", "GPU-b", "all"]).contains("discovered 2 "), "by UUID alone");
        assert!(reason(&["0:0", "0:1", "MIG-a", "MIG-b", "all"]).contains("discovered 2 "), "slices");
        assert!(reason(&["all"]).contains("all as one"));
        let three = Gpus { select: GpuSelection::Count { count: 3, min_free: None }, ..wanted(GpuSelection::Auto) };
        let error = decide(&three, &engine(&["0", "1", "GPU-a", "GPU-b", "all"], &[])).expect_err("there are two");
        assert!(matches!(error, GpuError::TooMany { asked: 3, offered: 2 }), "{error}");
    }

    #[test]
    fn each_device_is_listed_once_and_a_uuid_only_where_it_is_certain() {
        let listed = |names: &[&str]| {
            let engine = engine(names, &[]);
            let (devices, others) = devices(&engine);
            let devices: Vec<String> =
                devices.iter().map(|device| format!("{} {:?} {:?}", device.name, device.place, device.uuid)).collect();
            (devices.join("; "), others.join(" "))
        };
        let two = listed(&["0", "1", "GPU-a", "GPU-b", "all"]);
        assert_eq!(two, ("0 Some((0, None)) None; 1 Some((1, None)) None".to_owned(), "GPU-a GPU-b all".to_owned()));
        let one = listed(&["0", "GPU-a", "all"]);
        assert_eq!(one, ("0 Some((0, None)) Some(\"GPU-a\")".to_owned(), "all".to_owned()));
        assert_eq!(listed(&["GPU-a", "all"]).0, "GPU-a None Some(\"GPU-a\")");
        assert_eq!(listed(&["0:1", "MIG-a"]), ("0:1 Some((0, Some(1))) Some(\"MIG-a\")".to_owned(), String::new()));
        assert_eq!(listed(&["all"]), (String::new(), "all".to_owned()));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let two = engine(&["0", "1"], &["runc"]);
        let nothing = engine(&[], &["runc"]);
        let code = |gpus: &Gpus, info: &EngineInfo| decide(gpus, info).expect_err("not to be had").code();
        assert_eq!(code(&wanted(named(&["9"])), &two), "gpu_unknown");
        assert_eq!(code(&wanted(GpuSelection::Count { count: 3, min_free: None }), &two), "gpu_too_many");
        assert_eq!(code(&wanted(named(&["0"])), &nothing), "gpu_none");
        assert_eq!(code(&Gpus { required: true, ..wanted(GpuSelection::Auto) }, &nothing), "gpu_required");
        assert_eq!(
            code(&Gpus { injection: Some(Injection::Cdi), ..wanted(GpuSelection::Auto) }, &nothing),
            "gpu_injection"
        );
    }

    #[test]
    fn an_engine_that_ignores_requests_is_not_asked() {
        let deaf = EngineInfo {
            flavour: Flavour::Podman,
            version: "4.3.1".to_owned(),
            heeds_gpu_requests: false,
            ..engine(&["0"], &["nvidia"])
        };
        let plan = decide(&wanted(GpuSelection::Auto), &deaf).expect("planned");
        assert_eq!((plan.injection, plan.request), (Injection::None, GpuRequest::None));
        assert!(plan.reason.starts_with("Podman 4.3.1 ignores"), "{}", plan.reason);
        let error = decide(&wanted(named(&["0"])), &deaf).expect_err("named");
        assert!(error.to_string().contains("Podman 4.3.1 ignores"), "{error}");
        let forced = Gpus { injection: Some(Injection::Cdi), ..wanted(GpuSelection::Auto) };
        assert_eq!(decide(&forced, &deaf).expect_err("forced").code(), "gpu_injection");
    }

    #[test]
    fn a_broken_promise_is_an_error() {
        let plan = decide(&wanted(GpuSelection::Auto), &engine(&["0"], &[])).expect("planned");
        let seen = GpuSeen { index: 0, uuid: None, name: None };
        let report =
            |devices| GpuReport { devices, asked: "nvidia-smi".to_owned(), problem: Some("driver gone".to_owned()) };
        assert_eq!(check(&plan, &report(vec![seen.clone()])).expect("kept"), vec![seen]);
        let error = check(&plan, &report(Vec::new())).expect_err("broken");
        assert!(error.to_string().contains("driver gone"), "{error}");
    }
}
