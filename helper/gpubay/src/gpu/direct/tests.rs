use std::path::Path;

use super::*;
use crate::config::model::{Gpus, Injection, Isolation};
use crate::engine::{EngineInfo, Flavour, GpuRequest};
use crate::gpu::inventory::{Gpu, Inventory, Slice};
use crate::gpu::{GpuError, Plan, Promise, decide, written};

const VERSION: &str = "580.65.06";

fn node(name: &str) -> Node {
    Node {
        name: name.to_owned(),
        path: Path::new("/dev").join(name),
        mode: 0o666,
        uid: 0,
        gid: 0,
        group: Some("root".to_owned()),
    }
}

/// Two GPUs, of which the driver counts the second node first.
fn facts() -> Facts {
    let names = [
        "libcuda.so",
        "libcuda.so.1",
        "libcuda.so.580.65.06",
        "libnvidia-ml.so.1",
        "libnvidia-ml.so.580.65.06",
        "libnvidia-ptxjitcompiler.so.1",
        "libnvidia-ptxjitcompiler.so.580.65.06",
        "libnvidia-nvvm.so.4",
        "libnvidia-nvvm.so.580.65.06",
        "libnvidia-gpucomp.so.580.65.06",
        "libcudart.so.12",
        "libc.so.6",
        "libnvidia-egl-wayland.so.1.1.13",
        "libcuda.so.570.10",
    ];
    let card = |bus: &str, minor, uuid: &str| Card { bus: bus.to_owned(), minor, uuid: Some(uuid.to_owned()) };
    Facts {
        kernel: Some(VERSION.to_owned()),
        nodes: ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"].map(node).to_vec(),
        cards: vec![card("0000:01:00.0", 1, "GPU-first"), card("0000:81:00.0", 0, "GPU-second")],
        folders: vec![Folder { path: "/usr/lib/x86_64-linux-gnu".into(), names: names.map(str::to_owned).to_vec() }],
        smi: Some("/usr/bin/nvidia-smi".into()),
        ..Facts::default()
    }
}

fn inventory() -> Inventory {
    let gpu = |index, uuid: &str, minor| Gpu { index, uuid: uuid.to_owned(), minor, ..Gpu::default() };
    Inventory { gpus: vec![gpu(0, "GPU-first", Some(1)), gpu(1, "GPU-second", Some(0))], ..Inventory::default() }
}

fn engine() -> EngineInfo {
    EngineInfo {
        flavour: Flavour::Podman,
        version: "4.3.1".to_owned(),
        cdi_devices: Vec::new(),
        runtimes: vec!["runc".to_owned()],
        heeds_gpu_requests: false,
        memory: 1 << 34,
        rootless: false,
        os: "linux".to_owned(),
        storage_driver: "overlay".to_owned(),
        log_drivers: Vec::new(),
        machine: "lab".to_owned(),
    }
}

fn wanted(gpus: &str, isolation: Isolation) -> Gpus {
    let select = crate::config::parse_gpus(gpus).expect("a selection");
    Gpus { select, required: false, isolation, injection: None }
}

fn planned(gpus: &str, isolation: Isolation, facts: &Facts, told: Option<&Inventory>) -> Result<Plan, GpuError> {
    decide(&wanted(gpus, isolation), &engine(), told, Some(&survey(facts, None)))
}

/// The nodes, without those that all get.
fn opened(plan: &Plan) -> Vec<&str> {
    let GpuRequest::Direct(given) = &plan.request else { panic!("{plan:?}") };
    let nodes = given.devices.iter().map(|device| device.container.as_str());
    nodes.filter(|node| !["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"].contains(node)).collect()
}

#[test]
fn soft_gives_all_of_them_and_hard_the_selected() {
    let told = inventory();
    let soft = planned("device=0", Isolation::Soft, &facts(), Some(&told)).expect("planned");
    assert_eq!((soft.injection, soft.isolation), (Injection::Direct, Isolation::Soft));
    assert_eq!(opened(&soft), ["/dev/nvidia1", "/dev/nvidia0"]);
    assert_eq!((soft.visible.as_deref(), soft.promised), (Some(&["GPU-first".to_owned()][..]), Promise::AtLeastOne));
    assert!(soft.reason.contains("driver 580.65.06") && soft.reason.contains("neither CDI"), "{}", soft.reason);
    assert_eq!((soft.driver.as_deref(), written(&soft.devices).as_str()), (Some(VERSION), "0=GPU-first,1=GPU-second"));
    for (asked, node) in [("device=0", "/dev/nvidia1"), ("device=1", "/dev/nvidia0"), ("GPU-sec", "/dev/nvidia0")] {
        let hard = planned(asked, Isolation::Hard, &facts(), Some(&told)).expect("planned");
        assert_eq!((opened(&hard), hard.promised), (vec![node], Promise::Exactly(1)), "{asked}");
    }
    // The driver's library cannot be asked: its files tell as much.
    let blind = planned("device=0", Isolation::Soft, &facts(), None).expect("planned");
    assert_eq!((opened(&blind).len(), blind.visible.as_deref()), (2, Some(&["GPU-first".to_owned()][..])));
    // Nor do those: then what is named is a node.
    let nodes_only = Facts { cards: Vec::new(), kernel: None, ..facts() };
    let blind = planned("device=1", Isolation::Soft, &nodes_only, None).expect("planned");
    assert_eq!((opened(&blind), blind.isolation, blind.visible.clone()), (vec!["/dev/nvidia1"], Isolation::Hard, None));
    assert_eq!(planned("9", Isolation::Hard, &facts(), Some(&told)).expect_err("two").code(), "gpu_too_many");
    assert_eq!(planned("device=9", Isolation::Soft, &facts(), Some(&told)).expect_err("two").code(), "gpu_unknown");
}

#[test]
fn the_libraries_are_those_of_the_driver_each_by_the_names_that_it_goes_by() {
    let plan = planned("auto", Isolation::Soft, &facts(), Some(&inventory())).expect("planned");
    let GpuRequest::Direct(given) = &plan.request else { panic!("{plan:?}") };
    let inside: Vec<String> = given.files.iter().map(|file| file.target.to_string()).collect();
    let at = |name: &str| format!("/usr/local/nvidia/lib64/{name}");
    let mut want: Vec<String> = [
        "libcuda.so.580.65.06",
        "libcuda.so",
        "libcuda.so.1",
        "libnvidia-gpucomp.so.580.65.06",
        "libnvidia-ml.so.580.65.06",
        "libnvidia-ml.so.1",
        "libnvidia-nvvm.so.580.65.06",
        "libnvidia-nvvm.so.4",
        "libnvidia-ptxjitcompiler.so.580.65.06",
        "libnvidia-ptxjitcompiler.so.1",
    ]
    .map(at)
    .to_vec();
    want.push("/usr/bin/nvidia-smi".to_owned());
    assert_eq!(inside, want);
    assert!(given.files.iter().all(|file| file.read_only));
    assert_eq!(given.library_path, "/usr/local/nvidia/lib64");
    let links = given.files.iter().filter(|file| file.target.as_str().ends_with("libcuda.so.1"));
    let from: Vec<_> = links.map(|file| file.source.clone()).collect();
    let real = crate::HostPath::new("/usr/lib/x86_64-linux-gnu/libcuda.so.580.65.06").expect("absolute");
    assert_eq!(from, [crate::config::model::MountSource::Host(real)]);
}

#[test]
fn what_the_engine_can_do_itself_comes_first() {
    let kit = survey(&facts(), None);
    let docker = EngineInfo {
        flavour: Flavour::Docker,
        heeds_gpu_requests: true,
        cdi_devices: vec!["nvidia.com/gpu=0".to_owned()],
        ..engine()
    };
    let auto = wanted("auto", Isolation::Soft);
    let of =
        |info: &EngineInfo, gpus: &Gpus| decide(gpus, info, Some(&inventory()), Some(&kit)).expect("planned").injection;
    assert_eq!(of(&docker, &auto), Injection::Cdi);
    let runtime = EngineInfo { cdi_devices: Vec::new(), runtimes: vec!["nvidia".to_owned()], ..docker.clone() };
    assert_eq!(of(&runtime, &auto), Injection::NvidiaRuntime);
    assert_eq!(of(&engine(), &auto), Injection::Direct);
    let forced = Gpus { injection: Some(Injection::Direct), ..auto.clone() };
    assert_eq!(of(&docker, &forced), Injection::Direct);
    assert_eq!(of(&engine(), &Gpus { injection: Some(Injection::None), ..auto }), Injection::None);
}

#[test]
fn each_obstacle_has_its_own_message_and_next_step() {
    let closed = |mode, gid| Facts {
        nodes: facts()
            .nodes
            .into_iter()
            .map(|node| Node { mode, gid, group: Some("video".to_owned()), ..node })
            .collect(),
        ..facts()
    };
    let user = |groups: &[u32], rootless| Some(Opener { uid: 1000, groups: groups.to_vec(), rootless });
    let without =
        |name: &str| Facts { nodes: facts().nodes.into_iter().filter(|node| node.name != name).collect(), ..facts() };
    let updated = Facts { kernel: Some("575.1".to_owned()), ..facts() };
    let wsl = Facts { nodes: vec![node("dxg")], ..Facts::default() };
    let cases = [
        (Facts::default(), None, "gpu_no_driver", "no NVIDIA driver"),
        (
            Facts { nodes: Vec::new(), ..facts() },
            None,
            "gpu_no_nodes",
            "no /dev/nvidiactl, no /dev/nvidia-uvm, no /dev/nvidia0",
        ),
        (without("nvidia-uvm"), None, "gpu_no_nodes", "580.65.06 is loaded, and there is no /dev/nvidia-uvm"),
        (Facts { folders: Vec::new(), ..facts() }, None, "gpu_no_library", "libcuda.so.1 of the driver 580.65.06"),
        (updated, None, "gpu_driver_mismatch", "575.1, and its libraries are 570.10 and 580.65.06"),
        (
            closed(0o660, 44),
            user(&[1000], false),
            "gpu_no_permission",
            "user 1000 may not open /dev/nvidiactl in a container: its mode is 0660, its owner user 0, its group video",
        ),
        (closed(0o660, 44), user(&[44], true), "", ""),
        (closed(0o660, 44), user(&[1000], true), "gpu_no_permission", "of a rootless engine"),
        (wsl, None, "gpu_no_library", "WSL's /dev/dxg is here"),
    ];
    let mut said = std::collections::BTreeSet::new();
    for (facts, opener, code, words) in cases {
        let found = survey(&facts, opener.as_ref());
        if code.is_empty() {
            assert!(found.is_ok(), "{found:?}");
            continue;
        }
        let obstacle = found.expect_err(words);
        assert_eq!(obstacle.code(), code, "{obstacle}");
        assert!(obstacle.to_string().contains(words), "{obstacle}");
        assert!(obstacle.hint().is_some_and(|hint| hint.ends_with('.')));
        assert!(said.insert(obstacle.in_full()));
        // Forced, it is the error; negotiated, it is why there is none.
        let forced = Gpus { injection: Some(Injection::Direct), ..wanted("auto", Isolation::Soft) };
        let error = decide(&forced, &engine(), None, Some(&Err(obstacle.clone()))).expect_err("forced");
        assert_eq!((error.code(), error.hint()), (code, obstacle.hint()));
        let plan =
            decide(&wanted("auto", Isolation::Soft), &engine(), None, Some(&Err(obstacle.clone()))).expect("the CPU");
        assert_eq!(plan.injection, Injection::None);
        assert_eq!(plan.reason.contains(&obstacle.to_string()), !obstacle.is_plain(), "{}", plan.reason);
    }
    assert!(survey(&closed(0o660, 44), user(&[44], false).as_ref()).is_ok(), "the group may");
    assert!(survey(&closed(0o600, 44), Some(&Opener { uid: 0, groups: vec![0], rootless: false })).is_ok(), "root may");
}

#[test]
fn one_gpu_that_is_closed_is_that_gpus_trouble() {
    let mut facts = facts();
    facts.nodes[0].mode = 0o600;
    let user = Opener { uid: 1000, groups: vec![1000], rootless: false };
    let kit = survey(&facts, Some(&user));
    let of = |gpus: &str| decide(&wanted(gpus, Isolation::Soft), &engine(), Some(&inventory()), Some(&kit));
    let plan = of("all").expect("the other one");
    assert_eq!((opened(&plan), plan.visible.as_deref()), (vec!["/dev/nvidia1"], Some(&["GPU-first".to_owned()][..])));
    let error = of("device=1").expect_err("closed");
    assert!(error.code() == "gpu_trouble" && error.to_string().contains("may not open /dev/nvidia0"), "{error}");
    // A node that is gone is told as such.
    facts.nodes.remove(0);
    let error = planned("device=1", Isolation::Hard, &facts, Some(&inventory())).expect_err("gone");
    assert!(error.to_string().contains("/dev/nvidia0 is not there"), "{error}");
    // Two nodes, and nobody says which is whose.
    let untold = Facts { cards: Vec::new(), ..self::facts() };
    let mut told = inventory();
    told.gpus.iter_mut().for_each(|gpu| gpu.minor = None);
    let error = planned("device=0", Isolation::Hard, &untold, Some(&told)).expect_err("not told");
    assert!(error.to_string().contains("which of its device nodes"), "{error}");
}

#[test]
fn a_slice_is_opened_by_the_nodes_of_its_instances() {
    let slice = |index, uuid: &str| Slice { index, uuid: uuid.to_owned(), ..Slice::default() };
    let mut told = inventory();
    told.gpus[0].slices = vec![slice(0, "MIG-a"), slice(1, "MIG-b")];
    let capability =
        |gpu_instance, compute_instance, minor| Capability { gpu: 1, gpu_instance, compute_instance, minor };
    let instance =
        |index, gpu_instance| Instance { gpu: "GPU-first".to_owned(), index, gpu_instance, compute_instance: 0 };
    let mut facts = facts();
    facts.capabilities =
        vec![capability(3, None, 30), capability(3, Some(0), 31), capability(5, None, 50), capability(5, Some(0), 51)];
    facts.instances = vec![instance(0, 3), instance(1, 5)];
    facts.nodes.extend(["30", "31", "50"].map(|minor| node(&format!("nvidia-caps/nvidia-cap{minor}"))));
    let hard = planned("0:0", Isolation::Hard, &facts, Some(&told)).expect("planned");
    assert_eq!(opened(&hard), ["/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap30", "/dev/nvidia-caps/nvidia-cap31"]);
    assert_eq!((hard.promised, hard.label.as_str()), (Promise::AtLeastOne, "MIG-a"));
    let error = planned("MIG-b", Isolation::Hard, &facts, Some(&told)).expect_err("a node is missing");
    assert!(error.to_string().contains("gpu1/mig/gi5/access"), "{error}");
    let soft = planned("MIG-a", Isolation::Soft, &facts, Some(&told)).expect("planned");
    assert_eq!(opened(&soft).len(), 4, "the slice that can be opened, and the other GPU");
    facts.instances.clear();
    let error = planned("MIG-a", Isolation::Hard, &facts, Some(&told)).expect_err("not told");
    assert!(error.to_string().contains("which instances"), "{error}");
}

#[test]
fn wsl_gives_all_as_one_and_the_environment_selects() {
    let facts = Facts {
        nodes: vec![node("dxg")],
        wsl: WSL_FOLDERS.map(|folder| (folder.into(), folder.to_owned())).to_vec(),
        smi: Some("/usr/lib/wsl/lib/nvidia-smi".into()),
        ..Facts::default()
    };
    let told =
        Inventory { gpus: inventory().gpus.into_iter().map(|gpu| Gpu { minor: None, ..gpu }).collect(), ..inventory() };
    let job = planned("device=1", Isolation::Hard, &facts, Some(&told)).expect("planned");
    assert_eq!((opened(&job), job.isolation), (vec!["/dev/dxg"], Isolation::Soft));
    assert_eq!(job.visible.as_deref(), Some(&["GPU-second".to_owned()][..]));
    assert!(job.reason.contains("only the environment selects"), "{}", job.reason);
    let GpuRequest::Direct(given) = &job.request else { panic!("{job:?}") };
    let inside: Vec<&str> = given.files.iter().map(|file| file.target.as_str()).collect();
    assert_eq!(inside, ["/usr/lib/wsl/lib", "/usr/lib/wsl/drivers", "/usr/bin/nvidia-smi"]);
    assert_eq!(given.library_path, "/usr/lib/wsl/lib");
    let blind = planned("auto", Isolation::Soft, &facts, None).expect("planned");
    assert_eq!((blind.promised, blind.label.as_str(), blind.isolation), (Promise::AtLeastOne, "all", Isolation::Hard));
    assert_eq!(planned("device=1", Isolation::Soft, &facts, None).expect_err("unknown").code(), "gpu_none");
}

#[test]
fn what_the_driver_writes_is_read() {
    for (text, want) in [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:14:03 UTC 2025\nGCC version:  gcc version 12.2.0\n",
            Some("580.65.06"),
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.1  Release Build\n", Some("570.1")),
        ("535.54.03\n", Some("535.54.03")),
        ("nothing 1 2. .3 4..5", None),
    ] {
        assert_eq!(version(text), want, "{text}");
    }
    let asleep = text::card("0000:01:00.0", "GPU UUID: \t GPU-????????-????\nDevice Minor: \t 3\n").expect("a card");
    assert_eq!((asleep.minor, asleep.uuid), (3, None));
    assert_eq!(text::card("x", "Model: H100\n"), None);
    let listed = "config 1\nmonitor 2\ngpu0/gi0/access 3\ngpu0/gi0/ci1/access 5\ngpu12/gi1/access x\n";
    let read: Vec<_> =
        text::capabilities(listed).iter().map(|one| (one.gpu_instance, one.compute_instance, one.minor)).collect();
    assert_eq!(read, [(0, None, 3), (0, Some(1), 5)]);
    let cache = "3 libs found in cache `/etc/ld.so.cache'\n\tlibcuda.so.1 (libc6) => /usr/lib/i386-linux-gnu/libcuda.so.1\n\
                 \tlibcuda.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcuda.so.1\n\
                 \tlibcuda.so.1 (libc6,AArch64) => /usr/lib/aarch64-linux-gnu/libcuda.so.1\n\tbroken\n";
    let own = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    assert_eq!(
        text::in_the_cache(cache, "libcuda.so.1"),
        [Path::new(&format!("/usr/lib/{own}-linux-gnu/libcuda.so.1"))]
    );
    assert_eq!(text::group("root:x:0:\nvideo:x:44:ada,bob\n", 44), Some("video"));
}

/// As `nvidia-smi -q -x` of driver 550 writes it, cut.
#[test]
fn instances_are_read_from_nvidia_smi() {
    let xml = "<nvidia_smi_log>\n\t<gpu id=\"00000000:01:00.0\">\n\t\t<uuid>GPU-first</uuid>\n\t\t<mig_devices>\n\t\t\t<mig_device>\n\
               \t\t\t\t<index>0</index>\n\t\t\t\t<gpu_instance_id>3</gpu_instance_id>\n\t\t\t\t<compute_instance_id>0</compute_instance_id>\n\
               \t\t\t</mig_device>\n\t\t\t<mig_device>\n\t\t\t\t<index>1</index>\n\t\t\t\t<gpu_instance_id>5</gpu_instance_id>\n\
               \t\t\t\t<compute_instance_id>1</compute_instance_id>\n\t\t\t</mig_device>\n\t\t</mig_devices>\n\t</gpu>\n\
               \t<gpu id=\"00000000:81:00.0\">\n\t\t<uuid>GPU-second</uuid>\n\t\t<mig_devices>\n\t\t\tNone\n\t\t</mig_devices>\n\t</gpu>\n";
    let of = |index, gpu_instance, compute_instance| Instance {
        gpu: "GPU-first".to_owned(),
        index,
        gpu_instance,
        compute_instance,
    };
    assert_eq!(text::instances(xml), [of(0, 3, 0), of(1, 5, 1)]);
}
