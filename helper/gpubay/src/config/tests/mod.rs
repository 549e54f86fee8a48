//! Loading real folders, without a word from this process's environment.

mod classified;
mod errors;
mod powers;
mod reach;

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::model::*;
use super::*;
use crate::error::Explain;
use crate::{ContainerPath, HostPath};

/// A home with a workspace in it.
struct Lab {
    /// Holds everything, and is removed with the lab.
    folder: tempfile::TempDir,
    home: PathBuf,
    ws: PathBuf,
    env: BTreeMap<String, String>,
}

impl Lab {
    /// A workspace with a Dockerfile.
    fn new() -> Self {
        let lab = Self::bare();
        lab.write("Dockerfile", "FROM scratch\n");
        lab
    }

    /// An empty workspace.
    fn bare() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().canonicalize().expect("canonical").join("home/ada");
        let ws = home.join("ws");
        std::fs::create_dir_all(&ws).expect("made");
        std::fs::write(folder.path().join("machine-id"), "0123456789abcdef0123456789abcdef\n").expect("written");
        Self { folder, home, ws, env: BTreeMap::new() }
    }

    /// A workspace whose gpubay.toml is `text`.
    fn with(text: &str) -> Self {
        let lab = Self::new();
        lab.write("gpubay.toml", text);
        lab
    }

    fn write(&self, path: &str, text: &str) {
        put(&self.ws.join(path), text);
    }

    fn user(&self, text: &str) {
        put(&self.home.join(".config/gpubay/config.toml"), text);
    }

    fn make(&self, path: &str) -> PathBuf {
        let path = self.home.join(path);
        std::fs::create_dir_all(&path).expect("made");
        path
    }

    fn request(&self, workspace: &Path, overrides: Overrides) -> LoadRequest<'static> {
        let env = self.env.clone();
        LoadRequest {
            workspace: workspace.to_owned(),
            home: self.home.clone(),
            uid: 1000,
            gid: 1000,
            // Tests are few and short: what they leak is, too.
            env: Box::leak(Box::new(move |name: &str| env.get(name).cloned())),
            machine_id: self.folder.path().join("machine-id"),
            overrides,
        }
    }

    fn load_with(&self, workspace: &Path, overrides: Overrides) -> Result<Loaded, ConfigError> {
        load(&self.request(workspace, overrides))
    }

    fn reach(&self) -> Result<(Loaded, Option<ConfigError>), ConfigError> {
        load_to_reach(&self.request(&self.ws, Overrides::default()))
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        self.load_with(&self.ws, Overrides::default())
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|e| panic!("{e}"))
    }

    fn config(&self) -> Config {
        self.loaded().config
    }

    fn error(&self) -> ConfigError {
        self.load().expect_err("it loaded")
    }
}

fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    std::fs::write(path, text).expect("written");
}

fn host(path: &Path) -> HostPath {
    HostPath::new(path).expect("absolute")
}

fn inside(path: &str) -> ContainerPath {
    ContainerPath::new(path).expect("absolute")
}

fn build(config: &Config) -> &Build {
    match &config.image {
        Image::Build(build) => build,
        Image::From(from) => panic!("no build, but {from}"),
    }
}

#[test]
fn a_dockerfile_alone_is_a_configuration() {
    let lab = Lab::new();
    let loaded = lab.loaded();
    let config = &loaded.config;
    assert_eq!(build(config).dockerfile, Dockerfile::File(host(&lab.ws.join("Dockerfile"))));
    assert_eq!(build(config).context, host(&lab.ws));
    assert_eq!(config.container.workdir, inside("/workspace"));
    assert_eq!(config.container.user, User::Host);
    assert_eq!(config.container.cache, Cache::User);
    assert_eq!(config.container.persist, ["~/.vscode-server", "~/.config"]);
    assert_eq!(config.container.network, "bridge");
    assert_eq!(config.gpus.select, GpuSelection::Auto);
    assert!(config.container.env.is_empty(), "nothing of the helper's goes in unasked");
    assert_eq!((config.venv.name.as_str(), config.venv.installer), (".venv", Installer::Pip));
    assert!(config.venv.requirements.is_empty());
    assert_eq!(config.paths.data, host(&lab.home.join(".local/share/gpubay")));
    assert_eq!(config.paths.cache, host(&lab.home.join(".cache/gpubay")));
    assert_eq!((loaded.file, loaded.powers, loaded.warnings), (None, vec![], vec![]));
    assert!(!lab.home.join(".local").exists(), "loading writes nothing");
}

#[test]
fn a_requirements_file_alone_is_one_too() {
    let lab = Lab::bare();
    lab.write("requirements.txt", "numpy\n");
    let config = lab.config();
    let Dockerfile::Generated { text, .. } = &build(&config).dockerfile else { panic!("not generated") };
    assert!(text.lines().any(|line| line == "FROM python:3.12-slim"));
    assert_eq!(config.venv.requirements, [host(&lab.ws.join("requirements.txt"))]);
    lab.write("Dockerfile", "FROM scratch\n");
    assert!(lab.config().venv.requirements.is_empty(), "a Dockerfile installs its own");
}

#[test]
fn several_dockerfiles_are_asked_once() {
    let lab = Lab::bare();
    lab.write("docker/b/Dockerfile", "FROM scratch\n");
    assert_eq!(build(&lab.config()).dockerfile, Dockerfile::File(host(&lab.ws.join("docker/b/Dockerfile"))));
    lab.write("docker/a/Dockerfile", "FROM scratch\n");
    let ConfigError::AmbiguousDockerfile { candidates: found } = lab.error() else { panic!("not asked") };
    assert_eq!(found, ["docker/a/Dockerfile", "docker/b/Dockerfile"]);
    assert!(lab.error().hint().is_some_and(|hint| hint.contains("dockerfile = \"docker/a/Dockerfile\"")));
    let machine = "0123456789abcdef0123456789abcdef";
    let identity = Identity::new(machine, 1000, &host(&lab.ws));
    let data = host(&lab.home.join(".local/share/gpubay"));
    remember_choice(&data, &identity, "docker/b/Dockerfile").expect("kept");
    assert_eq!(build(&lab.config()).dockerfile, Dockerfile::File(host(&lab.ws.join("docker/b/Dockerfile"))));
    std::fs::remove_dir_all(lab.ws.join("docker/b")).expect("removed");
    lab.write("docker/c/Dockerfile", "FROM scratch\n");
    assert_eq!(lab.error().code(), "ambiguous_dockerfile", "a choice that is gone is asked again");
    lab.write("Dockerfile", "FROM scratch\n");
    assert_eq!(build(&lab.config()).dockerfile, Dockerfile::File(host(&lab.ws.join("Dockerfile"))));
}

#[test]
fn the_example_of_the_design_means_what_it_says() {
    let mut lab = Lab::with(
        r#"
[image]
dockerfile = "docker/nvc/Dockerfile"
context    = "."
args       = { CUDA_VERSION = "12.4.1" }
target     = "dev"
secrets    = ["hf_token=env:HF_TOKEN"]
tag        = "me/project:1.0"
[container]
workdir  = "/app"
mounts   = ["~/dataset:/dataset", "~/data:/data:ro", "scratch:/scratch"]
user     = "host"
entrypoint = "none"
shm_size = "16g"
env      = { WANDB_MODE = "offline" }
env_file = ".env"
ports    = ["6006", 8080]
cache    = "workspace"
persist  = ["~/.vscode-server"]
cpus = 8
memory = "64g"
network = "bridge"
restart = "no"
ulimits = ["memlock=-1"]
docker_args = ["--cap-drop=ALL", "-eX=1"]
[gpus]
use      = { count = 2, min_free = "20g" }
required = true
isolation = "hard"
[venv]
path         = ".env310"
requirements = ["docker/nvc/requirements.txt"]
installer    = "uv"
[jobs.train]
command = ["python", "train.py", "--epochs", "10"]
gpus    = 1
env     = { WANDB_MODE = "online", EPOCHS = "10" }
workdir = "experiments/one"
snapshot = true
live    = ["outputs"]
[jobs.there]
command = ["ls"]
workdir = "/opt/./tools"
[engine]
host = "ssh://gpu-server"
[paths]
data = "~/bay"
"#,
    );
    lab.env.insert("HF_TOKEN".into(), "s3cret".into());
    lab.make("dataset");
    lab.make("data");
    lab.write("docker/nvc/Dockerfile", "FROM scratch\n");
    lab.write("docker/nvc/requirements.txt", "numpy\n");
    lab.write(".env", "A=b=c\nWANDB_MODE=online\n");
    let config = lab.config();
    let b = build(&config);
    assert_eq!(b.dockerfile, Dockerfile::File(host(&lab.ws.join("docker/nvc/Dockerfile"))));
    assert_eq!(b.secrets, [Secret { id: "hf_token".into(), source: SecretSource::Env("HF_TOKEN".into()) }]);
    assert_eq!((b.target.as_deref(), b.tag.as_deref()), (Some("dev"), Some("me/project:1.0")));
    assert_eq!(b.args["CUDA_VERSION"], "12.4.1");
    let c = &config.container;
    let mount = |source, target, read_only| Mount { source, target: inside(target), read_only };
    assert_eq!(
        c.mounts,
        [
            mount(MountSource::Host(host(&lab.home.join("dataset"))), "/dataset", false),
            mount(MountSource::Host(host(&lab.home.join("data"))), "/data", true),
            mount(MountSource::Volume("scratch".into()), "/scratch", false),
        ]
    );
    assert_eq!(c.env["A"], "b=c");
    assert_eq!(c.env["WANDB_MODE"], "offline", "env comes after env_file");
    assert_eq!(c.env["X"], "1");
    assert_eq!(c.ports.iter().map(|p| p.host).collect::<Vec<_>>(), [6006, 8080]);
    assert!(c.ports.iter().all(|p| p.address.is_loopback()));
    assert_eq!((c.shm_size, c.memory), (Some(16 << 30), Some(64 << 30)));
    assert_eq!(
        (c.cpus.clone(), c.cache, c.entrypoint),
        (Some(Decimal("8".into())), Cache::Workspace, EntrypointUse::None)
    );
    assert_eq!(c.engine.cap_drop, ["ALL"]);
    assert_eq!(config.gpus.select, GpuSelection::Count(GpuCount { min_free: Some(20 << 30), ..GpuCount::of(2) }));
    assert_eq!((config.gpus.required, config.gpus.isolation), (true, Isolation::Hard));
    assert_eq!((config.venv.name.as_str(), config.venv.installer), (".env310", Installer::Uv));
    assert_eq!(config.venv.requirements, [host(&lab.ws.join("docker/nvc/requirements.txt"))]);
    assert_eq!(config.jobs["train"].gpus, Some(GpuSelection::Count(GpuCount::of(1))));
    let train = &config.jobs["train"];
    assert_eq!(
        (train.command.len(), train.env["WANDB_MODE"].as_str(), train.env["EPOCHS"].as_str()),
        (4, "online", "10")
    );
    assert_eq!(train.workdir, Some(JobWorkdir::Below("experiments/one".into())));
    assert_eq!((train.snapshot, train.live.as_slice()), (true, &["outputs".to_owned()][..]));
    assert_eq!(config.jobs["there"].workdir, Some(JobWorkdir::Inside(inside("/opt/tools"))));
    assert!(!config.jobs["there"].snapshot && config.jobs["there"].env.is_empty());
    assert_eq!(config.engine.host.as_deref(), Some("ssh://gpu-server"));
    assert_eq!(config.paths.data, host(&lab.home.join("bay")));
}

#[test]
fn the_users_file_gives_defaults() {
    let lab = Lab::with(
        "[container]\nmounts = [\"~/other:/dataset\"]\nenv = { A = \"ws\" }\nprivileged = false\nports = [\"9006:6006\"]\n",
    );
    lab.make("dataset");
    lab.make("other");
    lab.make("data");
    lab.user(
        "[container]\nmounts = [\"~/dataset:/dataset:ro\", \"~/data:/data\"]\nenv = { A = \"user\", B = \"user\" }\n\
         privileged = true\nshm_size = \"1g\"\nports = [6006]\n[gpus]\nuse = \"none\"\n[image]\nfrom = \"python:3\"\n",
    );
    let config = lab.config();
    let mounts: Vec<_> = config.container.mounts.iter().map(|m| (m.target.as_str(), m.read_only)).collect();
    assert_eq!(mounts, [("/dataset", false), ("/data", false)]);
    assert_eq!(config.container.env.values().collect::<Vec<_>>(), ["ws", "user"]);
    assert!(!config.container.engine.privileged);
    assert_eq!(config.container.shm_size, Some(1 << 30));
    assert_eq!(config.container.ports.iter().map(|p| p.host).collect::<Vec<_>>(), [9006]);
    assert_eq!(config.gpus.select, GpuSelection::None);
    assert!(matches!(config.image, Image::Build(_)), "what lies in the folder is more particular");
    std::fs::remove_file(lab.ws.join("Dockerfile")).expect("removed");
    assert_eq!(lab.config().image, Image::From("python:3".into()));
}

#[test]
fn xdg_folders_are_honoured_and_overridden() {
    let mut lab = Lab::new();
    let config_home = lab.make("xdg-config");
    put(&config_home.join("gpubay/config.toml"), "[container]\nhostname = \"xdg\"\n");
    for (name, folder) in
        [("XDG_CONFIG_HOME", "xdg-config"), ("XDG_DATA_HOME", "xdg-data"), ("XDG_CACHE_HOME", "xdg-cache")]
    {
        lab.env.insert(name.into(), lab.home.join(folder).display().to_string());
    }
    let loaded = lab.loaded();
    assert_eq!(loaded.config.container.engine.hostname.as_deref(), Some("xdg"));
    assert_eq!(loaded.config.paths.data, host(&lab.home.join("xdg-data/gpubay")));
    assert_eq!(loaded.config.paths.cache, host(&lab.home.join("xdg-cache/gpubay")));
    lab.env.insert("XDG_DATA_HOME".into(), "relative".into());
    assert_eq!(lab.config().paths.data, host(&lab.home.join(".local/share/gpubay")));
    let overrides =
        Overrides { data: Some(lab.home.join("d")), cache: Some(lab.home.join("c")), ..Overrides::default() };
    let loaded = lab.load_with(&lab.ws, overrides).expect("loaded");
    assert_eq!(
        (loaded.config.paths.data, loaded.config.paths.cache),
        (host(&lab.home.join("d")), host(&lab.home.join("c")))
    );
}

#[test]
fn gpus_are_selected_in_every_form() {
    let named = |names: &[&str]| GpuSelection::Named(names.iter().map(|&n| n.to_owned()).collect());
    let count = |count| GpuSelection::Count(GpuCount::of(count));
    for (text, want) in [
        ("\"auto\"", GpuSelection::Auto),
        ("\"all\"", GpuSelection::All),
        ("\"none\"", GpuSelection::None),
        ("2", count(2)),
        ("[]", GpuSelection::None),
        ("\"device=1,2\"", named(&["1", "2"])),
        ("[\"device=1\", \"GPU-a\"]", named(&["1", "GPU-a"])),
        (
            "[0, \"GPU-1a2b\", \"MIG-3c\", \"nvidia.com/gpu=1:0\"]",
            named(&["0", "GPU-1a2b", "MIG-3c", "nvidia.com/gpu=1:0"]),
        ),
        ("{ count = 3 }", count(3)),
        ("{ min_free = \"1g\" }", GpuSelection::Count(GpuCount { min_free: Some(1 << 30), ..GpuCount::of(1) })),
    ] {
        assert_eq!(Lab::with(&format!("[gpus]\nuse = {text}\n")).config().gpus.select, want, "{text}");
    }
    let lab = Lab::with("[gpus]\nuse = \"none\"\n");
    for (typed, want) in [
        ("all", GpuSelection::All),
        ("2", count(2)),
        ("device=1,2", named(&["1", "2"])),
        ("\"device=1,2\"", named(&["1", "2"])),
        ("GPU-a,GPU-b", named(&["GPU-a", "GPU-b"])),
        ("device=0,device=1", named(&["0", "1"])),
        ("0:1", named(&["0:1"])),
        (
            "count=2,min_free=20g,name=H100,mig=1g.10gb",
            GpuSelection::Count(GpuCount {
                count: 2,
                min_free: Some(20 << 30),
                name: Some("H100".to_owned()),
                mig: Some("1g.10gb".to_owned()),
            }),
        ),
    ] {
        let overrides = Overrides { gpus: Some(typed.into()), ..Overrides::default() };
        assert_eq!(lab.load_with(&lab.ws, overrides).expect("loaded").config.gpus.select, want, "{typed}");
    }
    // As they stand where container options are written by hand; the selection takes the place of the variable.
    for (variable, want) in [
        ("NVIDIA_VISIBLE_DEVICES = \"all\"", GpuSelection::All),
        ("NVIDIA_VISIBLE_DEVICES = \"void\"", GpuSelection::None),
        ("CUDA_VISIBLE_DEVICES = \"1,0\"", named(&["1", "0"])),
        ("CUDA_VISIBLE_DEVICES = \"\"", GpuSelection::None),
    ] {
        let config = Lab::with(&format!("[container]\nenv = {{ {variable} }}\n")).config();
        assert_eq!((config.gpus.select, config.container.env.len()), (want, 0), "{variable}");
    }
    for twice in [
        "[container]\nenv = { CUDA_VISIBLE_DEVICES = \"0\" }\n[gpus]\nuse = 1\n",
        "[container]\nenv = { CUDA_VISIBLE_DEVICES = \"0\", NVIDIA_VISIBLE_DEVICES = \"0\" }\n",
        "[container]\ndocker_args = [\"--gpus\", \"all\"]\n[gpus]\nuse = 1\n",
    ] {
        let error = Lab::with(twice).error().to_string();
        assert!(error.contains("GPUs are selected twice: by ") && error.contains(" and by "), "{error}");
    }
    let required = "[gpus]\nuse = \"none\"\nrequired = true\n";
    let error = Lab::with(required).error().to_string();
    assert!(error.contains(":3:12:") && error.contains("required = true"), "{error}");
    let overrides = Overrides { gpus: Some("none".into()), ..Overrides::default() };
    let lab = Lab::with("[gpus]\nrequired = true\n");
    assert!(lab.load_with(&lab.ws, overrides.clone()).is_ok(), "who types it means it");
    // The same of two files, whichever says what.
    for (own, user) in [("required = true", "use = \"none\""), ("use = \"none\"", "required = true")] {
        let lab = Lab::with(&format!("[gpus]\n{own}\n"));
        lab.user(&format!("[gpus]\n{user}\n"));
        let error = lab.error();
        let said = error.to_string();
        assert_eq!(error.code(), "bad_gpus");
        assert!(said.contains("/ws/gpubay.toml") && said.contains("/gpubay/config.toml"), "{said}");
        assert!(said.contains("required = true in ") && said.contains("`none` is selected in "), "{said}");
        let auto = Overrides { gpus: Some("auto".into()), ..Overrides::default() };
        assert!(lab.load_with(&lab.ws, auto).is_ok());
    }
    // Who overrules the other file says so.
    for (own, user) in
        [("required = true\nuse = 1", "use = \"none\""), ("use = \"none\"\nrequired = false", "required = true")]
    {
        let lab = Lab::with(&format!("[gpus]\n{own}\n"));
        lab.user(&format!("[gpus]\n{user}\n"));
        lab.config();
    }
    assert_eq!(parse_gpus("nvidia.com/gpu=all").expect("as it is listed"), GpuSelection::All);
    for typed in ["auto", "2", "device=1", "device=1,GPU-a", "count=2,min_free=20g,name=A100 80GB"] {
        let select = parse_gpus(typed).expect("a selection");
        assert_eq!(select.typed(), typed);
        assert_eq!(parse_gpus(&select.typed()).expect("again"), select);
    }
    assert_eq!(parse_gpus(" 1 ").expect("a count"), parse_gpus("1").expect("a count"));
    for (bad, why) in [
        ("\"device=1,2", "not balanced"),
        ("device=1\"", "not balanced"),
        ("0", "0 GPUs are none"),
        ("-1", "-1 GPUs cannot be had"),
        ("99999999999999999999", "more than any machine has"),
        ("count=-2", "-2 GPUs cannot be had"),
        ("count=0", "0 GPUs are none"),
        ("count=two", "\"two\" is no number"),
        ("count=2,min_free", "`min_free` has no value"),
        ("device=0,count=2", "two forms"),
        ("count=1,device=0", "two forms"),
        ("0,min_free=20g", "two forms"),
        (" ", "nothing is named"),
        ("cuda:1", "did you mean `device=1`?"),
        ("GPU1", "did you mean `device=1`?"),
        ("0,gpu-1", "did you mean `device=1`?"),
        ("0-3", "a range is written as a list"),
        ("ALL", "did you mean `all`?"),
        ("count=1,count=2", "twice"),
        ("name=$(id)", "part of a GPU's name"),
        ("0:1:2", "no index"),
        ("all,1", "stands alone"),
        ("foo=3", "`foo` is none of device, count, min_free"),
        ("min_free=20", "20 without a unit is 20 bytes"),
    ] {
        let error = parse_gpus(bad).expect_err("bad").to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    for bad in ["", "al", "-1", "0,0", "1,,2", "$(id)", "-oX", "GPU-", "GPU-a;b"] {
        let overrides = Overrides { gpus: Some(bad.into()), ..Overrides::default() };
        let error = lab.load_with(&lab.ws, overrides).expect_err(bad);
        assert!(error.code() == "bad_gpus", "{bad}: {error}");
        assert!(error.to_string().starts_with("--gpus: "), "{error}");
    }
}

#[test]
fn values_pass_through_to_the_letter() {
    let literal = r#"a=b $(touch canary) `id`; "q" 'q' \ %s é -x"#;
    let lab = Lab::new();
    let quoted = toml::Value::String(literal.to_owned());
    lab.write(
        "gpubay.toml",
        &format!(
            "[container]\nenv = {{ A = {quoted}, EMPTY = \"\", LINES = \"1\\n2\\n\" }}\nlabels = {{ l = {quoted} }}\n\
             [image]\nargs = {{ ARG = {quoted} }}\n[jobs.j]\ncommand = [\"echo\", {quoted}, \"-n\"]\n"
        ),
    );
    let config = lab.config();
    assert_eq!(config.container.env["A"], literal);
    assert_eq!(config.container.env["EMPTY"], "");
    assert_eq!(config.container.env["LINES"], "1\n2\n");
    assert_eq!(config.container.engine.labels["l"], literal);
    assert_eq!(build(&config).args["ARG"], literal);
    assert_eq!(config.jobs["j"].command, ["echo", literal, "-n"]);
}

#[test]
fn any_folder_name_is_a_workspace() {
    let lab = Lab::bare();
    for name in ["with space", "q'u\"o", "$(touch canary)", "`id`;x", "模型é", "-rf", "a\nb", "..x"] {
        let ws = lab.make(name);
        put(&ws.join("Dockerfile"), "FROM scratch\n");
        put(&ws.join("gpubay.toml"), "[container]\nworkdir = \"host\"\n");
        let loaded = lab.load_with(&ws, Overrides::default()).unwrap_or_else(|e| panic!("{name:?}: {e}"));
        assert_eq!(loaded.workspace, host(&ws));
        assert_eq!(loaded.config.container.workdir.as_str(), ws.to_str().expect("UTF-8"));
    }
}

#[test]
fn one_folder_has_one_identity() {
    let lab = Lab::new();
    symlink(&lab.ws, lab.home.join("link")).expect("linked");
    let direct = lab.loaded();
    for other in [lab.home.join("link"), lab.ws.join("../ws/."), lab.home.join("link/../ws")] {
        assert_eq!(lab.load_with(&other, Overrides::default()).expect("loaded").identity, direct.identity, "{other:?}");
    }
}

#[test]
fn an_engine_without_encryption_is_said_and_no_password_shown() {
    for (address, warns) in [
        ("tcp://ada:s3cret@gpu:2375", true),
        ("http://gpu:2375", true),
        ("ssh://ada@gpu", false),
        ("https://gpu:2376", false),
    ] {
        let loaded = Lab::with(&format!("[engine]\nhost = \"{address}\"\n")).loaded();
        assert_eq!(loaded.warnings.len(), usize::from(warns), "{address}");
        let said = format!("{:?} {:?}", loaded.warnings, loaded.powers);
        assert!(!said.contains("s3cret"), "{said}");
    }
    let mut lab = Lab::with("[engine]\nhost = \"tcp://gpu:2376\"\n");
    lab.env.insert("DOCKER_TLS_VERIFY".into(), "1".into());
    assert!(lab.loaded().warnings.is_empty());
}
