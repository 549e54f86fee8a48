use super::super::check;
use super::super::inventory::{Gpu, Memory, Process, Slice};
use super::super::offer::{devices, written};
use super::*;
use crate::engine::Flavour;
use crate::error::Explain;
use gpubay_protocol::agent::{GpuReport, GpuSeen};

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
        machine: "lab".to_owned(),
    }
}

fn wanted(select: GpuSelection) -> Gpus {
    Gpus { select, required: false, isolation: Isolation::Soft, injection: None }
}

fn named(names: &[&str]) -> GpuSelection {
    GpuSelection::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

/// The plan, from the labels of a container that was made by it.
fn again(wanted: &Gpus, plan: &Plan) -> Option<Plan> {
    let (devices, visible) = (written(&plan.devices), plan.visible.as_ref().map(|list| list.join(",")));
    let made = Made {
        injection: name_of(plan.injection),
        gpus: &plan.label,
        reason: &plan.reason,
        isolation: super::super::name_of_isolation(plan.isolation),
        devices: &devices,
        visible: visible.as_deref(),
        driver: plan.driver.as_deref(),
    };
    remembered(wanted, true, made)
}

fn went_without(reason: &str) -> Made<'_> {
    Made { injection: "none", gpus: "none", reason, isolation: "hard", ..Made::default() }
}

/// Two GPUs of 24 GiB, of which the first is busy.
fn driver() -> Inventory {
    let gpu = |index: u32, used: u64| Gpu {
        uuid: format!("GPU-{index}"),
        index,
        name: "NVIDIA H100".to_owned(),
        memory: Some(Memory { used: used << 30, total: 24 << 30 }),
        processes: (0..used).map(|pid| Process { pid: pid as u32, memory: None }).collect(),
        ..Gpu::default()
    };
    Inventory { gpus: vec![gpu(0, 3), gpu(1, 0)], ..Inventory::default() }
}

#[test]
fn where_cuda_can_be_told_everything_is_inside_and_the_best_is_selected() {
    let engine = engine(&["0", "1", "GPU-0", "GPU-1", "all"], &[]);
    let both = vec!["nvidia.com/gpu=0".to_owned(), "nvidia.com/gpu=1".to_owned()];
    for (select, visible) in [
        (GpuSelection::Auto, vec!["GPU-1"]),
        (GpuSelection::All, vec!["GPU-0", "GPU-1"]),
        (named(&["1", "0"]), vec!["GPU-1", "GPU-0"]),
        (named(&["GPU-0"]), vec!["GPU-0"]),
    ] {
        let plan = decide(&wanted(select.clone()), &engine, Some(&driver()), None).expect("planned");
        assert_eq!(plan.request, GpuRequest::Cdi(both.clone()));
        assert_eq!(plan.visible.as_deref(), Some(&visible.iter().map(|&v| v.to_owned()).collect::<Vec<_>>()[..]));
        assert_eq!((plan.isolation, written(&plan.devices).as_str()), (Isolation::Soft, "0=GPU-0,1=GPU-1"));
        assert_eq!(again(&wanted(select.clone()), &plan), Some(plan.clone()));
        let hard = Gpus { isolation: Isolation::Hard, ..wanted(select) };
        assert_eq!(again(&hard, &plan), None, "it has to be asked what that means");
    }
    let none = decide(&wanted(GpuSelection::None), &engine, Some(&driver()), None).expect("planned");
    assert_eq!(none.request, GpuRequest::None);
    // The same through the runtime, and where all come as one.
    let runtime = self::engine(&[], &["nvidia"]);
    let plan = decide(&wanted(GpuSelection::Auto), &runtime, Some(&driver()), None).expect("planned");
    assert_eq!(plan.request, GpuRequest::Nvidia(vec!["GPU-0".to_owned(), "GPU-1".to_owned()]));
    assert_eq!(plan.visible, Some(vec!["GPU-1".to_owned()]));
    let wsl = self::engine(&["all"], &[]);
    let plan = decide(&wanted(GpuSelection::Auto), &wsl, Some(&driver()), None).expect("planned");
    assert_eq!((plan.label.as_str(), plan.visible), ("nvidia.com/gpu=all", Some(vec!["GPU-1".to_owned()])));
}

#[test]
fn a_gpu_in_trouble_is_left_outside() {
    let mut driver = driver();
    driver.gpus[1] = Gpu { index: 1, trouble: Some("it is lost".to_owned()), ..Gpu::default() };
    let engine = engine(&["0", "1", "all"], &[]);
    for isolation in [Isolation::Soft, Isolation::Hard] {
        for select in [GpuSelection::Auto, GpuSelection::All] {
            let plan = decide(&Gpus { isolation, ..wanted(select) }, &engine, Some(&driver), None).expect("planned");
            assert_eq!(plan.label, "nvidia.com/gpu=0");
        }
        let error =
            decide(&Gpus { isolation, ..wanted(named(&["1"])) }, &engine, Some(&driver), None).expect_err("sick");
        assert_eq!(error.code(), "gpu_trouble");
    }
}

#[test]
fn where_nothing_is_sound_there_is_none_or_an_error() {
    let mut driver = driver();
    for gpu in &mut driver.gpus {
        gpu.trouble = Some("it is lost".to_owned());
    }
    for engine in [engine(&["0", "1", "all"], &[]), engine(&[], &["nvidia"])] {
        for select in [GpuSelection::Auto, GpuSelection::All] {
            let plan = decide(&wanted(select.clone()), &engine, Some(&driver), None).expect("the CPU will do");
            assert_eq!((plan.injection, plan.request), (Injection::None, GpuRequest::None));
            assert!(plan.reason.contains("GPU 1: it is lost"), "{}", plan.reason);
            let required = Gpus { required: true, ..wanted(select) };
            assert_eq!(decide(&required, &engine, Some(&driver), None).expect_err("required").code(), "gpu_required");
        }
    }
}

#[test]
fn what_the_engine_lists_and_the_driver_does_not_know_is_left_outside() {
    let mut driver = driver();
    driver.gpus.remove(1);
    let plan =
        decide(&wanted(GpuSelection::Auto), &engine(&["0", "1", "all"], &[]), Some(&driver), None).expect("planned");
    assert_eq!((plan.isolation, plan.label.as_str()), (Isolation::Soft, "nvidia.com/gpu=0"));
    let error = decide(&wanted(named(&["1"])), &engine(&["0", "1"], &[]), Some(&driver), None).expect_err("gone");
    assert_eq!(error.code(), "gpu_trouble");
}

#[test]
fn hard_isolation_keeps_the_asked_order() {
    let engine = engine(&["0", "1", "all"], &[]);
    let hard = |names: &[&str]| {
        let wanted = Gpus { isolation: Isolation::Hard, ..wanted(named(names)) };
        decide(&wanted, &engine, Some(&driver()), None).expect("planned")
    };
    assert_eq!(hard(&["1", "0"]).visible, Some(vec!["GPU-1".to_owned(), "GPU-0".to_owned()]));
    assert_eq!(hard(&["0", "1"]).visible, None);
    assert_eq!(written(&hard(&["1"]).devices), "1=GPU-1");
}

#[test]
fn another_selection_inside_is_made_of_what_is_inside() {
    let inside = super::super::read("0=GPU-0,1=GPU-1,2:0=MIG-x,3=nonsense");
    assert_eq!(inside.len(), 3);
    let select = |select: &GpuSelection| select_inside(select, &inside, Some(&driver()), &Claims::default());
    assert_eq!(select(&GpuSelection::None).expect("none"), Vec::<String>::new());
    assert_eq!(select_inside(&named(&["2:0"]), &inside, None, &Claims::default()).expect("a slice"), ["MIG-x"]);
    assert_eq!(select(&named(&["2:0"])).expect_err("taken away since").code(), "gpu_trouble");
    assert_eq!(select(&named(&["7"])).expect_err("not inside").code(), "gpu_unknown");
    // Without a driver nobody knows how much is free: as for a new container.
    let wish = GpuSelection::Count(GpuCount { min_free: Some(1 << 30), ..GpuCount::of(1) });
    let unknown = select_inside(&wish, &inside, None, &Claims::default()).expect_err("not any");
    assert_eq!(unknown.code(), decide(&wanted(wish), &engine(&["0"], &[]), None, None).expect_err("nor there").code());
    assert_eq!(
        select_inside(&GpuSelection::Count(GpuCount::of(1)), &inside, None, &Claims::default()).expect("any").len(),
        1
    );
    let divided = Inventory {
        gpus: vec![Gpu { slices: vec![Slice { uuid: "MIG-x".to_owned(), ..Slice::default() }], ..Gpu::default() }],
        ..Inventory::default()
    };
    assert_eq!(
        select_inside(&GpuSelection::All, &inside, Some(&divided), &Claims::default()).expect("what is left"),
        ["MIG-x"]
    );
}

#[test]
fn a_container_remembers_its_plan() {
    let cdi = engine(&["0", "1", "GPU-a", "all"], &["runc", "nvidia"]);
    let runtime = engine(&[], &["nvidia", "runc"]);
    for select in [
        GpuSelection::Auto,
        GpuSelection::All,
        GpuSelection::None,
        GpuSelection::Count(GpuCount::of(2)),
        named(&["1", "0"]),
    ] {
        for engine in [&cdi, &runtime] {
            let wanted = wanted(select.clone());
            let plan = decide(&wanted, engine, None, None).expect("planned");
            let again = again(&wanted, &plan);
            assert_eq!(again, Some(plan));
        }
    }
}

#[test]
fn a_container_that_went_without_does_not_know_what_came_since() {
    for select in [GpuSelection::Auto, GpuSelection::All] {
        assert_eq!(remembered(&wanted(select), true, went_without("no GPU")), None);
    }
    assert_eq!(remembered(&wanted(GpuSelection::None), true, Made::default()), None, "of another version");
    // To an engine that gives none to anybody none comes.
    for (wanted, known) in [
        (wanted(GpuSelection::Auto), true),
        (wanted(GpuSelection::Count(GpuCount::of(2))), true),
        (wanted(named(&["0"])), false),
        (Gpus { required: true, ..wanted(GpuSelection::Auto) }, false),
        (Gpus { injection: Some(Injection::Cdi), ..wanted(GpuSelection::Auto) }, false),
    ] {
        let plan = remembered(&wanted, false, went_without("it ignores them"));
        assert_eq!(plan.map(|plan| plan.reason), known.then(|| "it ignores them".to_owned()), "{wanted:?}");
    }
}

#[test]
fn a_stopped_container_keeps_gpus_that_any_would_do_for() {
    let made = |gpus, isolation| Made { injection: "cdi", gpus, isolation, ..Made::default() };
    let hard = |gpus| made(gpus, "hard");
    let again = |select: GpuSelection, made| the_same(&wanted(select), made).map(|same| same.select);
    let count = |count| GpuSelection::Count(GpuCount::of(count));
    assert_eq!(again(GpuSelection::Auto, hard("nvidia.com/gpu=1")), Some(named(&["nvidia.com/gpu=1"])));
    assert_eq!(again(count(2), hard("GPU-a,GPU-b")), Some(named(&["GPU-a", "GPU-b"])));
    // Other wishes than before are met anew, and so are conditions: what was free then may not be now.
    for (select, made) in [
        (count(2), hard("nvidia.com/gpu=1")),
        (GpuSelection::All, hard("all")),
        (count(1), hard("all")),
        (named(&["0"]), hard("nvidia.com/gpu=1")),
        (GpuSelection::Count(GpuCount { min_free: Some(1), ..GpuCount::of(1) }), hard("nvidia.com/gpu=1")),
        (GpuSelection::Auto, made("nvidia.com/gpu=1", "soft")),
        (GpuSelection::Auto, hard("")),
    ] {
        assert_eq!(again(select.clone(), made), None, "{select:?}");
    }
}

#[test]
fn the_engine_decides_how() {
    let both = engine(&["0", "1", "GPU-a", "all"], &["runc", "nvidia"]);
    assert_eq!(decide(&wanted(GpuSelection::Auto), &both, None, None).expect("planned").injection, Injection::Cdi);
    let runtime = engine(&[], &["nvidia", "runc"]);
    assert_eq!(
        decide(&wanted(GpuSelection::Auto), &runtime, None, None).expect("planned").request,
        GpuRequest::Nvidia(vec!["0".to_owned()])
    );
    let nothing = engine(&[], &["runc"]);
    let plan = decide(&wanted(GpuSelection::Auto), &nothing, None, None).expect("the CPU will do");
    assert_eq!((plan.injection, plan.request), (Injection::None, GpuRequest::None));
    assert!(plan.reason.contains("no CDI device"), "{}", plan.reason);
}

#[test]
fn the_choice_among_cdi_devices() {
    let offered = engine(&["1", "0", "10", "GPU-a", "all"], &["runc"]);
    for (select, devices, promised) in [
        (GpuSelection::Auto, vec!["0"], Promise::Exactly(1)),
        (GpuSelection::All, vec!["all"], Promise::AtLeastOne),
        (GpuSelection::Count(GpuCount::of(3)), vec!["0", "1", "10"], Promise::Exactly(3)),
        (named(&["GPU-a"]), vec!["GPU-a"], Promise::Exactly(1)),
        (named(&["1", "0"]), vec!["1", "0"], Promise::Exactly(2)),
    ] {
        let plan = decide(&wanted(select), &offered, None, None).expect("planned");
        let names = devices.iter().map(|name| format!("nvidia.com/gpu={name}")).collect();
        assert_eq!((plan.request, plan.promised), (GpuRequest::Cdi(names), promised));
    }
    let wsl = engine(&["all"], &["runc"]);
    let plan = decide(&wanted(GpuSelection::Auto), &wsl, None, None).expect("planned");
    assert_eq!(plan.request, GpuRequest::Cdi(vec!["nvidia.com/gpu=all".to_owned()]));
}

#[test]
fn slices_are_given_one_by_one_and_answer_as_their_gpu() {
    let slices = engine(&["1", "0:1", "0:0", "MIG-a", "MIG-b", "GPU-b", "all"], &["runc"]);
    let names = |plan: &Plan| plan.label.replace("nvidia.com/gpu=", "");
    let plan = |select| decide(&wanted(select), &slices, None, None);
    let auto = plan(GpuSelection::Auto).expect("planned");
    assert_eq!((names(&auto), auto.promised), ("0:0".to_owned(), Promise::AtLeastOne));
    let three = plan(GpuSelection::Count(GpuCount::of(3))).expect("planned");
    assert_eq!((names(&three), three.promised), ("0:0,0:1,1".to_owned(), Promise::AtLeastOne));
    // Each once, although it has two names.
    assert_eq!(plan(GpuSelection::Count(GpuCount::of(4))).expect_err("too many").code(), "gpu_too_many");
    let by_uuid = plan(named(&["MIG-b"])).expect("planned");
    assert_eq!((names(&by_uuid), by_uuid.promised), ("MIG-b".to_owned(), Promise::AtLeastOne));
    let runtime = decide(&wanted(named(&["MIG-a", "MIG-b"])), &engine(&[], &["nvidia"]), None, None).expect("planned");
    assert_eq!(runtime.promised, Promise::AtLeastOne, "two slices of one GPU");
    for plan in [auto, three, by_uuid, runtime] {
        assert_eq!(again(&wanted(GpuSelection::Auto), &plan), Some(plan));
    }
}

#[test]
fn a_device_of_several_names_is_one_device() {
    let reason =
        |names: &[&str]| decide(&wanted(GpuSelection::Auto), &engine(names, &[]), None, None).expect("planned").reason;
    assert!(reason(&["0", "GPU-a", "all"]).contains("discovered 1 nvidia.com/gpu device through"));
    assert!(reason(&["0", "1", "GPU-a", "GPU-b", "all"]).contains("discovered 2 nvidia.com/gpu devices"));
    assert!(reason(&["GPU-a", "GPU-b", "all"]).contains("discovered 2 "), "by UUID alone");
    assert!(reason(&["0:0", "0:1", "MIG-a", "MIG-b", "all"]).contains("discovered 2 "), "slices");
    assert!(reason(&["all"]).contains("all as one"));
    let three = Gpus { select: GpuSelection::Count(GpuCount::of(3)), ..wanted(GpuSelection::Auto) };
    let error =
        decide(&three, &engine(&["0", "1", "GPU-a", "GPU-b", "all"], &[]), None, None).expect_err("there are two");
    assert!(matches!(error, GpuError::TooMany { asked: 3, offered: 2, .. }), "{error}");
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
    let code = |gpus: &Gpus, info: &EngineInfo| decide(gpus, info, None, None).expect_err("not to be had").code();
    assert_eq!(code(&wanted(named(&["9"])), &two), "gpu_unknown");
    assert_eq!(code(&wanted(GpuSelection::Count(GpuCount::of(3))), &two), "gpu_too_many");
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
    let plan = decide(&wanted(GpuSelection::Auto), &deaf, None, None).expect("planned");
    assert_eq!((plan.injection, plan.request), (Injection::None, GpuRequest::None));
    assert!(plan.reason.starts_with("Podman 4.3.1 ignores"), "{}", plan.reason);
    let error = decide(&wanted(named(&["0"])), &deaf, None, None).expect_err("named");
    assert!(error.to_string().contains("Podman 4.3.1 ignores"), "{error}");
    let forced = Gpus { injection: Some(Injection::Cdi), ..wanted(GpuSelection::Auto) };
    assert_eq!(decide(&forced, &deaf, None, None).expect_err("forced").code(), "gpu_injection");
}

#[test]
fn a_broken_promise_is_an_error() {
    let plan = decide(&wanted(GpuSelection::Auto), &engine(&["0"], &[]), None, None).expect("planned");
    let seen = GpuSeen { index: 0, uuid: None, name: None };
    let report =
        |devices| GpuReport { devices, asked: "nvidia-smi".to_owned(), problem: Some("driver gone".to_owned()) };
    assert_eq!(check(&plan, &report(vec![seen.clone()])).expect("kept"), vec![seen]);
    let error = check(&plan, &report(Vec::new())).expect_err("broken");
    assert!(error.to_string().contains("driver gone"), "{error}");
}

#[test]
fn what_is_wished_for_is_not_dropped_where_nobody_knows_the_gpus() {
    let wish = GpuSelection::Count(GpuCount { min_free: Some(20 << 30), ..GpuCount::of(1) });
    for info in [engine(&["nvidia.com/gpu=0"], &["runc"]), engine(&[], &["runc", "nvidia"])] {
        let error = decide(&wanted(wish.clone()), &info, None, None).expect_err("nobody knows it");
        assert_eq!(error.code(), "gpu_unknowable");
        assert!(error.to_string().contains("count=1,min_free=20g is asked for"), "{error}");
        assert!(decide(&wanted(GpuSelection::Count(GpuCount::of(1))), &info, None, None).is_ok(), "a count alone");
    }
}

#[test]
fn a_specification_that_is_older_than_the_machine_is_said() {
    let slice = |index: u32| Slice { uuid: format!("MIG-{index}"), index, ..Slice::default() };
    let mut told = driver();
    told.gpus.push(Gpu { uuid: "GPU-2".to_owned(), index: 2, ..Gpu::default() });
    let mut divided = told.clone();
    divided.gpus[1].slices = vec![slice(0), slice(1)];
    let said_of = |cdi: &[&str], told: &Inventory, select: GpuSelection| -> (&'static str, String, String) {
        for isolation in [Isolation::Soft, Isolation::Hard] {
            let both = Gpus { isolation, ..wanted(select.clone()) };
            let error = decide(&both, &engine(cdi, &[]), Some(told), None).expect_err("it is not to be had");
            let told = (error.code(), error.to_string(), error.hint().expect("a next step"));
            if isolation == Isolation::Hard {
                return told;
            }
        }
        unreachable!()
    };
    let again = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml";
    let two = ["0", "1", "GPU-0", "GPU-1", "all"];
    for (cdi, told, asked, words) in [
        (
            &two[..],
            &told,
            "2",
            "GPU \"2\" cannot be used: the engine does not offer it: its CDI specification has none for it",
        ),
        (&two, &told, "GPU-2", "its CDI specification has none for it"),
        (&two, &told, "nvidia.com/gpu=2", "its CDI specification has none for it"),
        (&two, &divided, "1", "it is divided by now (MIG), and the engine's CDI specification was made before that"),
        (&two, &divided, "GPU-1", "it is divided by now (MIG)"),
        (&two, &divided, "1:0", "its CDI specification was made before GPU 1 was divided like that (MIG)"),
        (&two, &divided, "MIG-0", "before GPU 1 was divided like that"),
        (&["0", "1:0", "2"], &told, "1:0", "GPU 1 is not divided any more (MIG)"),
        (&["0", "1:0", "2"], &told, "1", "its CDI specification was made when GPU 1 was divided (MIG)"),
        (&["0", "1:5", "2"], &divided, "1:5", "GPU 1 is divided otherwise by now (MIG)"),
    ] {
        let (code, said, next) = said_of(cdi, told, named(&[asked]));
        assert!(code == "gpu_trouble" && said.contains(words) && next.contains(again), "{asked}: {said} {next}");
    }
    let (code, more, next) = said_of(&two, &told, GpuSelection::Count(GpuCount::of(3)));
    assert_eq!(code, "gpu_too_many");
    assert!(more.contains("the driver has 2 as well") && next.contains(again), "{more} {next}");
    let (code, said, next) = said_of(&two, &divided, GpuSelection::Count(GpuCount::of(2)));
    assert!(code == "gpu_too_few" && said.starts_with("2 GPUs are asked for and 1 of 2 can be used: GPU 1 "), "{said}");
    assert!(next.contains(again), "{next}");
    let (_, said, _) = said_of(&two, &divided, named(&["GPU-7"]));
    assert!(said.ends_with("there is only GPU-0"), "what is gone is nothing to choose: {said}");
    // Where both know of the slices, nothing is older.
    let (code, said, next) = said_of(&["0", "1:0", "1:1", "2", "all"], &divided, named(&["1"]));
    assert_eq!(
        (code, said.as_str()),
        ("gpu_trouble", "GPU \"1\" is divided (MIG), and only its slices can be given: 1:0, 1:1")
    );
    assert!(next.contains("1:0") && !next.contains(again), "{next}");
}

#[test]
fn half_an_update_is_said_before_anything_is_made() {
    let (wanted, offers) = (
        |select, required| Gpus { select, required, isolation: Isolation::Hard, injection: None },
        engine(&["0"], &["runc"]),
    );
    let half = |wanted: &Gpus, lack: &Lack| half_updated(wanted, &offers, lack);
    let one = GpuSelection::Count(GpuCount::of(1));
    for (select, required) in
        [(one.clone(), false), (GpuSelection::Named(vec!["0".to_owned()]), false), (GpuSelection::Auto, true)]
    {
        let error = half(&wanted(select, required), &Lack::Mismatch).expect_err("it cannot be had");
        assert_eq!(error.code(), "gpu_driver_mismatch");
        assert!(
            error.to_string().contains("was updated") && error.hint().is_some_and(|hint| hint.contains("Reboot")),
            "{error}"
        );
    }
    let plan = half(&wanted(GpuSelection::Auto, false), &Lack::Mismatch).expect("on the CPU").expect("a plan");
    assert!(plan.injection == Injection::None && plan.reason.contains("was updated"), "{plan:?}");
    assert!(half(&wanted(GpuSelection::None, false), &Lack::Mismatch).expect("no matter").is_none());
    assert!(half(&wanted(one, false), &Lack::NoDriver).expect("no matter").is_none());
}

#[test]
fn why_a_promise_is_broken_is_told_by_the_words_inside() {
    let plan = decide(
        &Gpus { select: GpuSelection::All, required: false, isolation: Isolation::Hard, injection: None },
        &engine(&["0"], &["runc"]),
        None,
        None,
    )
    .expect("a plan");
    let code = |problem: &str| {
        let report =
            GpuReport { devices: Vec::new(), asked: "nvidia-smi".to_owned(), problem: Some(problem.to_owned()) };
        check(&plan, &report).expect_err("nothing answers").code()
    };
    assert_eq!(code("nvidia-smi: Failed to initialize NVML: Driver/library version mismatch"), "gpu_driver_mismatch");
    assert_eq!(code("nvidia-smi: Failed to initialize NVML: Insufficient Permissions"), "gpu_no_permission");
    assert_eq!(code("/dev/nvidia0: Permission denied (os error 13)"), "gpu_no_permission");
    assert_eq!(code("nvidia-smi: No devices were found"), "gpu_broken");
}
