use super::*;
use crate::config::model::{
    Container, Engine, EntrypointUse, GpuCount, GpuSelection, Gpus, Image as ImageConfig, Injection, Installer,
    Isolation, Paths, Port, Protocol, Restart, User, Venv,
};
use crate::engine::GpuRequest;
use crate::gpu::{Plan, Promise};

fn host(path: &str) -> HostPath {
    HostPath::new(path).expect("a host path")
}

fn inside(path: &str) -> ContainerPath {
    ContainerPath::new(path).expect("a container path")
}

/// Everything that a plan is made from, to be changed by a test.
struct Bench {
    config: Config,
    workspace: HostPath,
    image: Image,
    user: ContainerUser,
    gpu: Plan,
    venv: ContainerPath,
    places: Places,
    protected: Protected,
}

impl Bench {
    fn new() -> Self {
        let config = Config {
            image: ImageConfig::From("base:1".to_owned()),
            container: Container {
                workdir: inside("/app"),
                mounts: Vec::new(),
                user: User::Host,
                entrypoint: EntrypointUse::Image,
                shm_size: None,
                env: BTreeMap::new(),
                ports: Vec::new(),
                cache: Cache::User,
                persist: vec!["~/.config".to_owned()],
                cpus: None,
                memory: None,
                network: "bridge".to_owned(),
                restart: Restart::No,
                engine: EngineOptions::default(),
            },
            gpus: Gpus { select: GpuSelection::Auto, required: false, isolation: Isolation::Soft, injection: None },
            venv: Venv { name: ".venv".to_owned(), requirements: Vec::new(), installer: Installer::Pip, python: None },
            jobs: BTreeMap::new(),
            engine: Engine { host: None },
            paths: Paths { data: host("/data"), cache: host("/cache") },
        };
        Self {
            config,
            workspace: host("/home/ada/ws"),
            image: Image { id: "sha256:1".to_owned(), env: vec!["PATH=/opt/bin:/bin".to_owned()], ..Image::default() },
            user: ContainerUser {
                uid: 1000,
                gid: 1000,
                name: "ada".to_owned(),
                home: inside("/home/ada"),
                shell: String::new(),
                groups: vec![5000],
                passwd: None,
                group: None,
            },
            gpu: Plan {
                injection: Injection::None,
                isolation: Isolation::Hard,
                reason: "none here".to_owned(),
                request: GpuRequest::None,
                promised: Promise::Nothing,
                label: "none".to_owned(),
                devices: Vec::new(),
                visible: None,
                driver: None,
            },
            venv: inside("/app/.venv"),
            places: Places {
                venv: host("/data/venvs/1"),
                agent: host("/data/agent/1"),
                run: host("/data/run/1"),
                cover: host("/data/cover"),
                etc: host("/data/etc/1"),
            },
            protected: Protected::default(),
        }
    }

    fn plan(&self, task: &Task<'_>) -> Planned {
        let inputs = Inputs {
            config: &self.config,
            workspace: &self.workspace,
            id: "00ff",
            base_name: "gpubay-ws-00ff",
            owner: 1000,
            user_key: "0a0b0c0d",
            image: &self.image,
            image_reference: "base:1",
            user: &self.user,
            users: UserMap::Same,
            gpus: &self.config.gpus,
            chosen: None,
            gpu: &self.gpu,
            venv: &self.venv,
            places: &self.places,
            memory: 8 << 30,
            protected: &self.protected,
            extensions: &[],
        };
        plan(&inputs, task)
    }

    fn mount(&mut self, source: &str, target: &str) {
        self.config.container.mounts.push(Mount {
            source: MountSource::Host(host(source)),
            target: inside(target),
            read_only: false,
        });
    }
}

fn targets(planned: &Planned) -> Vec<&str> {
    planned.spec.mounts.iter().map(|mount| mount.target.as_str()).collect()
}

#[test]
fn a_dev_container_has_workspace_venv_agent_and_caches() {
    let planned = Bench::new().plan(&Task::Dev);
    assert_eq!(
        targets(&planned),
        ["/app", "/app/.venv", "/.gpubay/bin", "/.gpubay/run", "/home/ada/.cache", "/home/ada/.config"]
    );
    let env = &planned.spec.env;
    assert_eq!(env["VIRTUAL_ENV"], "/app/.venv");
    assert_eq!(env["PATH"], "/app/.venv/bin:/opt/bin:/bin");
    assert_eq!(planned.spec.user, "1000:1000");
    assert_eq!(planned.spec.groups, ["5000"]);
    assert_eq!(planned.spec.shm_size, Some(4 << 30));
    let volumes: Vec<&str> = planned.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(volumes, ["gpubay-cache-0a0b0c0d", "gpubay-ws-00ff-config"]);
    assert!(!planned.volumes[0].own && planned.volumes[1].own, "the cache is every workspace's");
    for (label, value) in [
        ("gpubay.workspace", "/home/ada/ws"),
        ("gpubay.id", "00ff"),
        ("gpubay.role", "dev"),
        ("gpubay.owner", "1000"),
        ("gpubay.gpus", "none"),
        ("gpubay.schema", "1"),
        ("devcontainer.metadata", r#"[{"remoteUser":"ada","workspaceFolder":"/app"}]"#),
    ] {
        assert_eq!(planned.spec.labels[label], value, "{label}");
    }
    assert_eq!(planned.spec.labels["gpubay.config"].len(), 64);
}

#[test]
fn the_fingerprint_is_of_the_options_alone() {
    let of = |bench: &Bench| bench.plan(&Task::Dev).spec.labels["gpubay.config"].clone();
    let before = of(&Bench::new());
    assert_eq!(of(&Bench::new()), before);
    let mut other = Bench::new();
    other.image.id = "sha256:2".to_owned();
    assert_eq!(of(&other), before, "another image is another question");
    other.config.container.memory = Some(1 << 30);
    assert_ne!(of(&other), before);
    let mut port = Bench::new();
    port.config.container.ports.push(Port {
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        host: 6006,
        container: 6006,
        protocol: Protocol::Tcp,
    });
    assert_ne!(of(&port), before);
}

#[test]
fn the_fingerprint_is_of_the_wish_for_gpus_and_not_of_the_offer() {
    let of = |bench: &Bench| bench.plan(&Task::Dev).spec.labels["gpubay.config"].clone();
    let mut bench = Bench::new();
    bench.image.env.push("NVIDIA_VISIBLE_DEVICES=all".to_owned());
    let before = of(&bench);
    bench.gpu.request = GpuRequest::Cdi(vec!["nvidia.com/gpu=0".to_owned()]);
    assert_eq!(of(&bench), before);
    bench.config.gpus.required = !bench.config.gpus.required;
    assert_eq!(of(&bench), before, "whether one is required changes no container");
    bench.config.container.env.insert("NVIDIA_VISIBLE_DEVICES".to_owned(), "1".to_owned());
    assert_ne!(of(&bench), before);
    bench.config.container.env.clear();
    bench.config.gpus.select = GpuSelection::Count(GpuCount::of(2));
    assert_ne!(of(&bench), before);
}

#[test]
fn a_job_is_its_own_container_without_ports() {
    let mut bench = Bench::new();
    bench.image.entrypoint = vec!["/start.sh".to_owned()];
    bench.config.container.restart = Restart::Always;
    let argv = ["python".to_owned(), "$(x) train.py".to_owned()];
    let task = Task::Job { name: "lr-3", argv: &argv, cwd: None, env: &[], stdio: Stdio::Detached, frozen: None };
    let spec = bench.plan(&task).spec;
    assert_eq!(spec.name, "gpubay-ws-00ff-lr-3");
    assert_eq!(spec.cmd, ["job", "--entrypoint-json", r#"["/start.sh"]"#, "--", "python", "$(x) train.py"]);
    assert_eq!(spec.restart, Restart::No);
    assert_eq!((spec.labels["gpubay.role"].as_str(), spec.labels["gpubay.job"].as_str()), ("job", "lr-3"));
}

#[test]
fn a_mount_that_shows_a_host_env_gets_something_over_it() {
    let mut bench = Bench::new();
    bench.protected.paths = vec![host("/home/ada/ws/.venv"), host("/home/ada/other/.venv"), host("/srv/else/.venv")];
    bench.mount("/home/ada", "/home/outer");
    let planned = bench.plan(&Task::Dev);
    let covered: Vec<&Mount> = planned
        .spec
        .mounts
        .iter()
        .filter(|mount| matches!(&mount.source, MountSource::Host(path) if *path == bench.places.cover))
        .collect();
    let places: Vec<&str> = covered.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(places, ["/home/outer/ws/.venv", "/home/outer/other/.venv"]);
    assert!(covered.iter().all(|mount| mount.read_only));
}

#[test]
fn the_users_own_mount_of_a_cache_wins() {
    let mut bench = Bench::new();
    bench.mount("/home/ada/.cache", "/home/ada/.cache");
    let planned = bench.plan(&Task::Dev);
    assert_eq!(targets(&planned).iter().filter(|target| **target == "/home/ada/.cache").count(), 1);
    assert!(planned.volumes.iter().all(|volume| volume.target.as_str() != "/home/ada/.cache"));
}

#[test]
fn folders_between_the_home_and_a_mount_belong_to_the_user() {
    let mut bench = Bench::new();
    bench.mount("/srv/data", "/home/ada/data/sets/one");
    bench.mount("/srv/data", "/dataset/one");
    bench.mount("/srv/data", "/app/sub/data");
    let planned = bench.plan(&Task::Dev);
    let folders: Vec<String> = owned_folders(&planned, &bench.user).iter().map(ToString::to_string).collect();
    assert_eq!(folders, ["/home/ada", "/home/ada/data", "/home/ada/data/sets"]);
}

#[test]
fn a_read_only_root_gets_its_user_by_mounts() {
    let mut bench = Bench::new();
    bench.config.container.engine.read_only = true;
    bench.user.passwd = Some("ada:x:1000:1000::/home/ada:/bin/sh\n".to_owned());
    let planned = bench.plan(&Task::Dev);
    assert!(targets(&planned).contains(&"/etc/passwd") && !targets(&planned).contains(&"/etc/group"));
    assert_eq!(planned.spec.options.tmpfs["/home/ada"], "mode=0755,uid=1000,gid=1000,exec");
}

#[test]
fn a_home_inside_the_workspace_is_left_alone() {
    let mut bench = Bench::new();
    bench.user.home = inside("/app/home");
    let planned = bench.plan(&Task::Dev);
    assert!(owned_folders(&planned, &bench.user).is_empty());
}

#[test]
fn every_option_that_counts_has_a_name_and_no_secret_is_told() {
    let mut bench = Bench::new();
    let before = bench.plan(&Task::Dev);
    bench.config.container.env.insert("TOKEN".to_owned(), "hunter2".to_owned());
    bench.config.container.memory = Some(8 << 30);
    bench.config.container.cpus = Some(crate::config::model::Decimal("1.5".to_owned()));
    bench.config.container.network = "none".to_owned();
    bench.config.container.restart = Restart::OnFailure { most: Some(3) };
    bench.config.container.ports.push(Port {
        address: std::net::IpAddr::from([127, 0, 0, 1]),
        host: 8080,
        container: 80,
        protocol: Protocol::Tcp,
    });
    bench.config.gpus.select = GpuSelection::Count(GpuCount::of(2));
    let options = &mut bench.config.container.engine;
    options.cap_add.push("SYS_PTRACE".to_owned());
    options.hostname = Some("box".to_owned());
    options.labels.insert("team".to_owned(), "hunter3".to_owned());
    options.log_driver = Some("splunk".to_owned());
    options.log_opts.insert("splunk-token".to_owned(), "hunter4".to_owned());
    bench.mount("/srv/data", "/data");
    let after = bench.plan(&Task::Dev);
    let label = &after.spec.labels[labels::OPTIONS];
    assert!(!label.contains("hunter"), "{label}");
    let told: Vec<String> = crate::workspace::drift::options(&before.spec.labels[labels::OPTIONS], &after.options)
        .into_iter()
        .map(|drift| drift.text)
        .collect();
    assert_eq!(
        told,
        [
            "cap_add: unset -> SYS_PTRACE",
            "cpus: unset -> 1.5",
            "env.TOKEN: added",
            "gpus.use: auto -> 2",
            "hostname: unset -> box",
            "labels.team: added",
            "log_driver: added",
            "memory: unset -> 8g",
            "mounts./data: unset -> /srv/data",
            "network: bridge -> none",
            "ports.80/tcp: unset -> 127.0.0.1:8080",
            "restart: no -> on-failure:3",
        ]
    );
}

/// What a Dockerfile writes there would decide which GPUs are used, and what `rm` takes for a job.
#[test]
fn labels_of_ours_that_an_image_has_do_not_count() {
    let mut bench = Bench::new();
    for (name, value) in
        [("gpubay.job", "x/../.."), ("gpubay.chosen", "all"), ("gpubay.role", "job"), ("maintainer", "ada")]
    {
        bench.image.labels.insert(name.to_owned(), value.to_owned());
    }
    let labels = bench.plan(&Task::Dev).spec.labels;
    let label = |name: &str| labels.get(name).map(String::as_str);
    assert_eq!((label("gpubay.job"), label("gpubay.chosen"), label("maintainer")), (Some(""), Some(""), None));
    assert_eq!(label("gpubay.role"), Some("dev"));
}
