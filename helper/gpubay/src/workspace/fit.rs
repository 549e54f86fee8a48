//! What is to know of a base image before it is pulled or built on: whether the machine's driver runs the CUDA that it
//! brings, and whether its maker still looks after it.
//!
//! Only warnings, also where GPUs are required: what a program needs of its image's CUDA nobody knows but itself (wheels bring
//! their own), and whether the promised GPUs answer is asked inside after the start. [`judge`] is pure.

use super::there::Reach;
use std::collections::BTreeMap;

use super::{Workspace, fingerprint, given, image, there};
use crate::config::model::{Dockerfile, GpuSelection, Gpus, Image as ImageConfig, Injection};
use crate::engine::build::dockerfile::parse;
use crate::engine::{EngineInfo, Image};
use crate::gpu::cuda::{self, Cuda, Fit, Machine, Wants};
use crate::gpu::inventory::Inventory;
use crate::gpu::{self, Plan};
use crate::registry::brings;
use crate::registry::life::{self, Day};

/// Its maker has ended it.
pub(crate) const PAST: &str = "base_past_its_life";
/// Its maker has none of that name.
pub(crate) const NO_TAG: &str = "base_without_tag";
/// The driver does not go with its CUDA.
pub(crate) const DRIVER: &str = "base_cuda_driver";

/// Something to know of a base image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) code: &'static str,
    /// A sentence without its end.
    pub(crate) text: String,
    /// What to do.
    pub(crate) next: String,
}

/// Of the image that is called `image`. `here`: the engine has it. `machine`: what its programs would meet, where that is
/// known and they get GPUs.
pub(crate) fn judge(image: &str, here: Option<&Image>, machine: Option<&Machine>, today: Day) -> Vec<Remark> {
    let wants = wants(image, here);
    let fit = wants.as_ref().zip(machine).and_then(|(wants, machine)| against(image, wants, machine));
    fit.into_iter().chain(ended(image, wants.as_ref(), here, machine, today)).collect()
}

/// Whether the NVIDIA runtime is told to hold an image to nothing.
pub(crate) fn is_off(value: Option<&str>) -> bool {
    value.is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// What switches that off.
pub(crate) const DISABLE_REQUIRE: &str = "NVIDIA_DISABLE_REQUIRE";

/// What an image brings: it says so itself where it is here, its name tells otherwise.
pub(crate) fn wants(image: &str, here: Option<&Image>) -> Option<Wants> {
    if let Some(cuda) = here.and_then(|here| Cuda::parse(here.var("CUDA_VERSION")?)) {
        let requirement = here.and_then(|here| here.var("NVIDIA_REQUIRE_CUDA")).map(str::to_owned);
        let enforced = !is_off(here.and_then(|here| here.var(DISABLE_REQUIRE)));
        return Some(Wants { cuda, compat: requirement.is_some(), requirement, enforced });
    }
    let brings = brings::of(image)?;
    Some(Wants { cuda: brings.cuda, requirement: None, compat: brings.compat, enforced: true })
}

fn against(image: &str, wants: &Wants, machine: &Machine) -> Option<Remark> {
    let (cuda, driver) = (wants.cuda, &machine.driver);
    let (text, next) = match cuda::fit(wants, machine) {
        Fit::TooOld { needs, perhaps } => {
            let older = match cuda::newest_for(driver) {
                Some(newest) => format!("start from CUDA {newest}, the newest that this one runs"),
                None => "start from an image without CUDA".to_owned(),
            };
            let hope = if perhaps {
                " On GPUs for data centers the image's cuda-compat makes up for it."
            } else {
                ""
            };
            (
                format!("{image} brings CUDA {cuda}, which needs driver >= {needs}, this is {driver}"),
                format!("Update the driver, or {older}.{hope}"),
            )
        }
        Fit::TooNew { newest } => (
            format!("{image} brings CUDA {cuda}, and driver {driver} runs CUDA up to {newest}"),
            "Update the driver, or start from an older CUDA.".to_owned(),
        ),
        Fit::Refused { asks } => (
            format!(
                "{image} brings CUDA {cuda} and asks for {asks} before it starts, which driver {driver} does not have: the \
                 NVIDIA runtime refuses it"
            ),
            "Update the driver, or set NVIDIA_DISABLE_REQUIRE = \"1\" in [container] env: the driver runs it, without what \
             is new in it."
                .to_owned(),
        ),
        Fit::Fits | Fit::ByCompat | Fit::Unknown => return None,
    };
    Some(Remark { code: DRIVER, text, next })
}

fn ended(
    image: &str,
    wants: Option<&Wants>,
    here: Option<&Image>,
    machine: Option<&Machine>,
    today: Day,
) -> Option<Remark> {
    if let Some(instead) = life::cuda::instead_of_latest(image).filter(|_| here.is_none()) {
        return Some(Remark {
            code: NO_TAG,
            text: format!("{image} names no version, and NVIDIA has no image that is called latest: it is not found"),
            next: format!("Name one, such as {instead}."),
        });
    }
    if let Some(past) = life::past(image, today) {
        // Two images of one maker may stand in a file.
        let next = past.next();
        let next = unless_too_new(&past.instead, machine).map_or(next.clone(), |why| format!("{next} {why}"));
        return Some(Remark { code: PAST, text: format!("{image}: {}", past.said()), next });
    }
    here.filter(|here| here.var("NVIDIA_CUDA_END_OF_LIFE").is_some_and(|set| !set.is_empty()))?;
    let near = life::cuda::nearest(&life::cuda::Tag::parse(&wants?.cuda.to_string())?, today)?;
    let near = format!("nvidia/cuda:{near}");
    let why = unless_too_new(&near, machine).map(|why| format!(" {why}")).unwrap_or_default();
    Some(Remark {
        code: PAST,
        text: format!("{image} says of itself that NVIDIA has given it up"),
        next: format!("{near} is looked after.{why}"),
    })
}

/// What is advised may need more of the driver than what is used now.
fn unless_too_new(instead: &str, machine: Option<&Machine>) -> Option<String> {
    let (machine, wants) = (machine?, wants(instead, None)?);
    match cuda::fit(&wants, machine) {
        Fit::TooOld { needs, .. } => Some(format!(
            "It needs driver >= {needs}, and this is {}, which runs no CUDA that NVIDIA looks after: update it first.",
            machine.driver
        )),
        Fit::TooNew { newest } => Some(format!("This driver ({}) runs CUDA up to {newest}.", machine.driver)),
        Fit::Fits | Fit::ByCompat | Fit::Refused { .. } | Fit::Unknown => None,
    }
}

/// Of an image without a remark, for who wants to know that as well.
pub(crate) fn in_order(wants: &Wants, machine: Option<&Machine>) -> String {
    let Some(machine) = machine else { return format!("brings CUDA {}", wants.cuda) };
    let (cuda, driver) = (wants.cuda, &machine.driver);
    match cuda::fit(wants, machine) {
        Fit::Unknown => format!("brings CUDA {cuda}, and whether driver {driver} runs that is not known here"),
        Fit::ByCompat => format!("brings CUDA {cuda}, which driver {driver} runs by the image's cuda-compat"),
        _ => format!("brings CUDA {cuda}, which driver {driver} runs"),
    }
}

/// What the programs of a container meet that gets GPUs by this plan. `told`: by the driver of the engine's machine.
pub(crate) fn machine(
    workspace: &Workspace,
    plan: &Plan,
    info: &EngineInfo,
    told: Option<&Inventory>,
) -> Option<Machine> {
    if plan.injection == Injection::None {
        return None;
    }
    if let Some(told) = told {
        let off = is_off(workspace.config().container.env.get(DISABLE_REQUIRE).map(String::as_str));
        return of_inventory(told, plan.injection, off);
    }
    let driver = gpu::driver_version()?;
    gpu::on_this_machine(&workspace.engine, Some(&info.machine)).ok()?;
    Some(Machine { driver, ..Machine::default() })
}

/// `off`: the runtime is told to hold images to nothing.
pub(crate) fn of_inventory(told: &Inventory, injection: Injection, off: bool) -> Option<Machine> {
    Some(Machine {
        driver: told.driver.clone()?,
        cuda: told.cuda.map(|(major, minor)| Cuda::new(major, minor)),
        brands: told.gpus.iter().filter(|gpu| gpu.trouble.is_none()).map(|gpu| gpu.brand.clone()).collect(),
        checked_by_runtime: injection == Injection::NvidiaRuntime && !off,
    })
}

/// The same where nothing is planned: for a container that would get what there is.
pub(crate) async fn machine_of(workspace: &Workspace, info: &EngineInfo, reach: Reach) -> Option<Machine> {
    let configured = &workspace.config().gpus;
    if configured.select == GpuSelection::None {
        return None;
    }
    let any = Gpus { select: GpuSelection::Auto, required: false, ..configured.clone() };
    let told = gpu::inventory_of(&workspace.engine).await;
    let told = there::settle(workspace, info, told, reach).await.ok();
    let direct = given::directly(workspace, &any, info, told.as_ref()).await;
    let plan = gpu::decide(&any, info, told.as_ref(), direct.as_ref()).ok()?;
    machine(workspace, &plan, info, told.as_ref())
}

/// An image that a container would stand on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Base {
    /// `docker/dev/Dockerfile:1`, `[image] from`
    pub(crate) place: String,
    pub(crate) name: String,
    /// The engine has it.
    pub(crate) here: Option<Image>,
}

/// What the configured image is built from, or is.
pub(crate) async fn bases(workspace: &Workspace) -> Vec<Base> {
    let mut found = Vec::new();
    for (place, name) in named(workspace) {
        let here = workspace.engine.image(&name).await.ok().flatten();
        found.push(Base { place, name, here });
    }
    found
}

fn named(workspace: &Workspace) -> Vec<(String, String)> {
    match &workspace.config().image {
        ImageConfig::From(name) => vec![("[image] from".to_owned(), name.clone())],
        ImageConfig::Build(build) => {
            let Ok(text) = fingerprint::dockerfile_text(&build.dockerfile) else { return Vec::new() };
            let args: BTreeMap<String, String> = image::filled_args(&workspace.host, build, &text);
            let file = match &build.dockerfile {
                Dockerfile::File(path) => {
                    let below = path.as_path().strip_prefix(workspace.folder().as_path());
                    below.unwrap_or(path.as_path()).display().to_string()
                }
                Dockerfile::Generated { .. } => "the Dockerfile made for requirements.txt".to_owned(),
            };
            fingerprint::froms(&parse(&text), &args, build.target.as_deref())
                .into_iter()
                .map(|(line, name)| (format!("{file}:{line}"), name))
                .collect()
        }
    }
}

/// What is to be said before an image is made from what is configured, or used: `found` is there already. Each is said at
/// once, and returned for the report.
pub(super) async fn said(
    workspace: &Workspace,
    reference: &str,
    found: Option<&Image>,
    machine: Option<&Machine>,
) -> Vec<String> {
    let today = life::today();
    let sentence = |place: &str, remark: Remark| format!("{place}: {}. {}", remark.text, remark.next);
    let mut all = Vec::new();
    if let Some(image) = found {
        // It was said when it was built or pulled that its base is old; a driver is another one some day.
        let place = if matches!(workspace.config().image, ImageConfig::From(_)) { "[image] from" } else { "the image" };
        let remarks = judge(reference, Some(image), machine, today).into_iter();
        all.extend(remarks.filter(|remark| remark.code == DRIVER).map(|remark| sentence(place, remark)));
    } else {
        for base in bases(workspace).await {
            let remarks = judge(&base.name, base.here.as_ref(), machine, today);
            all.extend(remarks.into_iter().map(|remark| sentence(&base.place, remark)));
        }
    }
    for sentence in &all {
        workspace.progress.warn(sentence.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Day = (2026, 11, 27);

    fn old(brands: &[&str]) -> Machine {
        let brands = brands.iter().map(|brand| Some((*brand).to_owned())).collect();
        Machine { driver: "470.57.02".to_owned(), brands, ..Machine::default() }
    }

    fn here(env: &[&str]) -> Image {
        Image { env: env.iter().map(|pair| (*pair).to_owned()).collect(), ..Image::default() }
    }

    fn codes(remarks: &[Remark]) -> Vec<&'static str> {
        remarks.iter().map(|remark| remark.code).collect()
    }

    #[test]
    fn an_old_driver_is_said_with_what_it_runs() {
        let found = judge("nvidia/cuda:12.4.1-devel-ubuntu22.04", None, Some(&old(&["geforce"])), TODAY);
        let [only] = found.as_slice() else { panic!("{found:?}") };
        assert!(only.text.contains("CUDA 12.4, which needs driver >= 525.60.13, this is 470.57.02"), "{only:?}");
        assert!(only.next.contains("CUDA 11.8") && !only.next.contains("cuda-compat"), "{only:?}");
        let unsure = judge("nvidia/cuda:12.4.1-devel-ubuntu22.04", None, Some(&old(&[])), TODAY);
        assert!(unsure[0].next.contains("cuda-compat"), "{unsure:?}");
        assert_eq!(judge("nvidia/cuda:12.4.1-devel-ubuntu22.04", None, Some(&old(&["tesla"])), TODAY), []);
        assert_eq!(judge("nvidia/cuda:12.4.1-devel-ubuntu22.04", None, None, TODAY), [], "no GPUs, or not known");
        assert_eq!(judge("python:3.13", None, Some(&old(&["geforce"])), TODAY), []);
    }

    #[test]
    fn an_image_that_is_here_is_believed_before_its_name() {
        let image = here(&["CUDA_VERSION=11.8.0", "NVIDIA_REQUIRE_CUDA=cuda>=11.8 brand=tesla,driver>=470,driver<471"]);
        assert_eq!(judge("me/cuda12.4:cuda12.4", Some(&image), Some(&old(&["geforce"])), TODAY), []);
        let image = here(&["CUDA_VERSION=13.0.2"]);
        assert_eq!(codes(&judge("me/base:1", Some(&image), Some(&old(&["tesla"])), TODAY)), [DRIVER]);
        let checked = Machine { checked_by_runtime: true, cuda: Some(Cuda::new(11, 4)), ..old(&["geforce"]) };
        let image = here(&["CUDA_VERSION=11.8.0", "NVIDIA_REQUIRE_CUDA=cuda>=11.8 brand=tesla,driver>=470,driver<471"]);
        let found = judge("me/base:1", Some(&image), Some(&checked), TODAY);
        assert!(found[0].text.contains("asks for cuda>=11.8") && found[0].next.contains("NVIDIA_DISABLE_REQUIRE"));
    }

    #[test]
    fn what_is_given_up_is_said_of_names_and_of_what_an_image_says_itself() {
        let both = judge("nvidia/cuda:12.4.0-devel-ubuntu22.04", None, Some(&old(&["geforce"])), TODAY);
        assert_eq!(codes(&both), [DRIVER, PAST]);
        let image = here(&["CUDA_VERSION=11.4.3", "NVIDIA_CUDA_END_OF_LIFE=1"]);
        let found = judge("me/base:1", Some(&image), None, TODAY);
        assert_eq!(codes(&found), [PAST]);
        assert!(found[0].next.contains("nvidia/cuda:12.0.1-devel-ubuntu22.04"), "{found:?}");
        assert_eq!(judge("me/base:1", Some(&here(&["NVIDIA_CUDA_END_OF_LIFE="])), None, TODAY), []);
    }

    #[test]
    fn what_is_advised_is_held_against_the_driver_too() {
        let advice = |image, machine: &Machine| {
            let found = judge(image, None, Some(machine), TODAY);
            found.into_iter().find(|remark| remark.code == PAST).expect("past its life").next
        };
        let said = advice("nvidia/cuda:11.8.0-devel-ubuntu18.04", &old(&["geforce"]));
        for part in
            ["nvidia/cuda:12.0.1-devel-ubuntu22.04", "needs driver >= 525.60.13", "470.57.02", "update it first"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        let newer = Machine { driver: "580.65.06".to_owned(), ..old(&["geforce"]) };
        assert!(!advice("nvidia/cuda:11.8.0-devel-ubuntu18.04", &newer).contains("driver"));
        // cuda-compat makes up for it.
        assert!(!advice("nvidia/cuda:11.8.0-devel-ubuntu18.04", &old(&["tesla"])).contains("update"));
    }

    #[test]
    fn a_toolkit_that_nobody_knows_yet_is_not_said_to_run() {
        let wants = |cuda: &str| wants(&format!("nvidia/cuda:{cuda}-devel-ubuntu26.04"), None).expect("a version");
        let machine = |cuda| Machine { driver: "580.65.06".to_owned(), cuda, ..Machine::default() };
        assert!(in_order(&wants("14.0.1"), Some(&machine(None))).contains("is not known here"));
        assert!(in_order(&wants("13.0.3"), Some(&machine(None))).contains("which driver 580.65.06 runs"));
        let says = machine(Some(Cuda::new(13, 0)));
        let found = judge("nvidia/cuda:99.9.0-devel-ubuntu26.04", None, Some(&says), TODAY);
        assert!(found[0].text.contains("brings CUDA 99.9, and driver 580.65.06 runs CUDA up to 13.0"), "{found:?}");
    }

    #[test]
    fn what_switches_a_requirement_off_is_heeded() {
        let told = Inventory { driver: Some("470.57.02".to_owned()), cuda: Some((11, 4)), ..Inventory::default() };
        let image = ["CUDA_VERSION=11.8.0", "NVIDIA_REQUIRE_CUDA=cuda>=11.8"];
        let of = |env: &[&str], off| {
            let machine = of_inventory(&told, Injection::NvidiaRuntime, off);
            codes(&judge("me/base:1", Some(&here(env)), machine.as_ref(), TODAY))
        };
        assert_eq!(of(&image, false), [DRIVER]);
        assert_eq!(of(&image, true), [""; 0]);
        assert_eq!(of(&[image[0], image[1], "NVIDIA_DISABLE_REQUIRE=true"], false), [""; 0]);
        assert_eq!(of(&[image[0], image[1], "NVIDIA_DISABLE_REQUIRE=0"], false), [DRIVER]);
        assert!(is_off(Some("1")) && !is_off(Some("")) && !is_off(None));
    }
}
