//! Builds on real engines: `GPUBAY_TEST_ENGINES` names them as `name=unix:///path,…`.
//!
//! Nothing is pulled: a base is imported from the static shell of `busybox` that is on this machine
//! (Debian's `busybox-static`), or the one that `GPUBAY_TEST_BUSYBOX` names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bollard::Docker;
use futures_util::StreamExt;
use gpubay::HostPath;
use gpubay::config::model::{Dockerfile, Secret, SecretSource};
use gpubay::engine::build::{BuildError, BuildRequest, Builder, Built};
use gpubay::engine::{Endpoint, Engine as Ours, Located};
use gpubay::progress::{Event, Progress, StepEnd, Unit};

/// Podman imports under no other tag.
const BASE: &str = "gpubay-test/busybox:latest";

struct Engine {
    name: String,
    docker: Docker,
    endpoint: Endpoint,
    /// Another builder than the engine's usual one.
    builder: Option<Builder>,
}

impl Engine {
    fn is_podman(&self) -> bool {
        self.name.starts_with("podman")
    }

    /// It cannot do what came with `BuildKit`.
    fn is_classic(&self) -> bool {
        self.builder == Some(Builder::Classic)
    }
}

/// As the workflows reach it.
async fn ours(engine: &Engine) -> Ours {
    let located = Located { endpoint: engine.endpoint.clone(), because: "the test".to_owned(), context: None };
    let ours = Ours::connect(located).await.expect("a connection");
    match engine.builder {
        Some(builder) => ours.building_with(builder),
        None => ours,
    }
}

/// Several tests at once would import the base at once.
static IMPORT: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn engines() -> Vec<Engine> {
    let list = std::env::var("GPUBAY_TEST_ENGINES")
        .expect("GPUBAY_TEST_ENGINES must name the engines to test: name=unix:///path[,name=unix:///path]");
    let engine = |name: &str, host: &str, builder| {
        let path = host.strip_prefix("unix://").expect("a unix:// address");
        let docker = Docker::connect_with_unix(host, 120, bollard::API_DEFAULT_VERSION).expect("an address");
        Engine { name: name.to_owned(), docker, endpoint: Endpoint::Unix(PathBuf::from(path)), builder }
    };
    list.split(',')
        .map(|one| one.split_once('=').expect("name=unix:///path"))
        // Another one differs from it in its GPUs alone.
        .filter(|(name, _)| *name != "docker28-divided")
        .flat_map(|(name, host)| {
            let classic =
                (name == "docker20").then(|| engine("docker20 with the classic builder", host, Some(Builder::Classic)));
            std::iter::once(engine(name, host, None)).chain(classic)
        })
        .collect()
}

async fn for_each_engine<F: AsyncFn(&Engine)>(test: F) {
    for engine in engines() {
        eprintln!("engine {}", engine.name);
        import_base(&engine).await;
        test(&engine).await;
        let _ = engine.docker.remove_image(&tag(), None::<bollard::query_parameters::RemoveImageOptions>, None).await;
    }
}

/// Of this test alone: several run at once.
fn tag() -> String {
    format!("gpubay-test/built:{}", std::process::id())
}

async fn import_base(engine: &Engine) {
    let _one = IMPORT.lock().await;
    if engine.docker.inspect_image(BASE).await.is_ok() {
        return;
    }
    let busybox = std::env::var("GPUBAY_TEST_BUSYBOX").unwrap_or_else(|_| "/bin/busybox".to_owned());
    let mut archive = tar::Builder::new(Vec::new());
    let mut file = std::fs::File::open(&busybox).unwrap_or_else(|error| {
        panic!("{busybox}: {error}; install busybox-static or set GPUBAY_TEST_BUSYBOX to a static busybox")
    });
    archive.append_file("bin/busybox", &mut file).expect("an archive");
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    for tool in ["sh", "cat", "find", "sleep", "echo", "test", "stat", "tr", "sort", "ls", "seq"] {
        archive.append_link(&mut header, format!("bin/{tool}"), "busybox").expect("an archive");
    }
    let archive = archive.into_inner().expect("an archive");
    let options = bollard::query_parameters::CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo("gpubay-test/busybox")
        .tag("latest")
        .build();
    let mut stream = engine.docker.create_image(Some(options), Some(bollard::body_full(archive.into())), None);
    while let Some(message) = stream.next().await {
        message.expect("an import");
    }
}

struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new(dockerfile: &str) -> Self {
        let own = Self(tempfile::tempdir().expect("a folder"));
        own.write("Dockerfile", &dockerfile.replace("BASE", BASE));
        own
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, text).expect("a file");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn request(&self) -> BuildRequest {
        let context = HostPath::new(self.path()).expect("a path");
        BuildRequest {
            dockerfile: Dockerfile::File(context.join("Dockerfile")),
            context,
            args: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            tags: vec![tag()],
            secrets: Vec::new(),
            always_exclude: Vec::new(),
            no_cache: false,
        }
    }
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    fn progress(&self) -> Progress {
        let own = self.clone();
        Progress::new(move |event| own.0.lock().expect("events").push(event))
    }

    fn all(&self) -> Vec<Event> {
        self.0.lock().expect("events").clone()
    }

    fn lines(&self) -> Vec<String> {
        self.all()
            .into_iter()
            .filter_map(|e| if let Event::Output { line, .. } = e { Some(line) } else { None })
            .collect()
    }
}

async fn built(engine: &Engine, request: BuildRequest) -> (Result<Built, BuildError>, Events) {
    let events = Events::default();
    let result = ours(engine).await.build(request, &events.progress()).await;
    (result, events)
}

/// The lines between marks that a RUN printed.
fn listed(events: &Events) -> Vec<String> {
    events.lines().into_iter().filter_map(|line| line.strip_prefix("f:").map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_context_arrives_as_dockerignore_selects_it() {
    for_each_engine(async |engine| {
        let workspace = Workspace::new(
            "FROM BASE\nCOPY . /ctx\nRUN cd /ctx && for f in $(find . | sort); do echo f:$f; done; cat /ctx/big | tr -d x; ls -l /ctx/run.sh",
        );
        workspace.write(
            ".dockerignore",
            "# tricky\n/data\n!data/keep\n**/*.pyc\n!src/keep.pyc\nnode_modules/**\n*.log\n!*.log\nimportant*.log\n.git\n",
        );
        for file in [
            "data/1", "data/keep/a", "data/keeper", "a.pyc", "src/b.pyc", "src/keep.pyc", "node_modules/x/y",
            "app.log", "important-1.log", ".git/HEAD", ".venv/bin/python", "src/ü", "run.sh",
        ] {
            workspace.write(file, file);
        }
        workspace.write("big", &"x".repeat(3_000_001));
        std::os::unix::fs::symlink("/etc/passwd", workspace.path().join("link")).expect("a link");
        std::fs::hard_link(workspace.path().join("run.sh"), workspace.path().join("run2.sh")).expect("a link");
        let request = BuildRequest { always_exclude: vec![".venv".to_owned()], no_cache: true, ..workspace.request() };
        let (result, events) = built(engine, request).await;
        let image = result.expect("a build");
        assert!(image.image_id.starts_with("sha256:"), "{image:?}");
        let mut files = listed(&events);
        files.sort();
        assert_eq!(
            files,
            [
                ".", "./.dockerignore", "./Dockerfile", "./app.log", "./big", "./data", "./data/keep",
                "./data/keep/a", "./link", "./node_modules", "./run.sh", "./run2.sh", "./src",
                "./src/keep.pyc", "./src/ü",
            ]
            .map(str::to_owned)
        );
        let sent = |e: &Event| matches!(e, Event::Advanced { unit: Unit::Bytes, done, .. } if *done > 1_000_000);
        assert!(events.all().iter().any(sent), "{:?}", events.all());
        let mut titles: Vec<_> = events.all().into_iter().filter_map(|e| if let Event::Started { title, .. } = e { Some(title) } else { None }).collect();
        titles.sort();
        let all = titles.clone();
        titles.dedup();
        assert_eq!(titles, all, "each step is told once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_build_is_cached() {
    for_each_engine(async |engine| {
        let mount = if engine.is_classic() { "" } else { "--mount=type=cache,target=/c " };
        let workspace = Workspace::new(&format!("FROM BASE\nCOPY a /a\nRUN {mount}cat /a"));
        workspace.write("a", "text");
        let (first, _) = built(engine, workspace.request()).await;
        let (second, events) = built(engine, workspace.request()).await;
        assert_eq!(first.expect("a build"), second.expect("a build"));
        assert!(events.all().iter().any(|e| matches!(e, Event::Ended { end: StepEnd::Cached, .. })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_keeps_the_length_is_built() {
    for_each_engine(async |engine| {
        let text = |word: &str| format!("FROM {BASE}\nRUN echo f:{word}\n");
        let workspace = Workspace::new("");
        for word in ["one", "two"] {
            workspace.write("Dockerfile", &text(word));
            let request = BuildRequest { no_cache: true, ..workspace.request() };
            let (result, events) = built(engine, request).await;
            result.expect("a build");
            assert_eq!(listed(&events), [word]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_step_is_told_with_file_line_and_output() {
    for_each_engine(async |engine| {
        let workspace = Workspace::new(
            "FROM BASE AS one\nRUN true\nFROM one\n\n# here\nRUN echo first && \\\n  echo the reason && exit 7\n",
        );
        let (result, _) = built(engine, workspace.request()).await;
        match result.unwrap_err() {
            BuildError::Step { dockerfile, line, exit_code, output, .. } => {
                assert!(dockerfile.ends_with("/Dockerfile"), "{dockerfile}");
                assert_eq!((line, exit_code), (Some(6), Some(7)));
                assert!(output.contains(&"the reason".to_owned()), "{output:?}");
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_dockerfiles_have_their_own_errors() {
    for_each_engine(async |engine| {
        let (syntax, _) = built(engine, Workspace::new("FROM BASE\n\nRUNN x").request()).await;
        assert!(matches!(syntax, Err(BuildError::Syntax { line: Some(3), .. })), "{syntax:?}");
        let request = BuildRequest { target: Some("nope".to_owned()), ..Workspace::new("FROM BASE").request() };
        let keep = Workspace::new("FROM BASE AS real");
        let request =
            BuildRequest { context: keep.request().context, dockerfile: keep.request().dockerfile, ..request };
        let (target, _) = built(engine, request).await;
        assert!(matches!(target, Err(BuildError::UnknownTarget { .. })), "{target:?}");
        let keep = Workspace::new("FROM localhost:1/no/such:image");
        let (base, _) = built(engine, keep.request()).await;
        assert!(matches!(&base, Err(BuildError::Base { image, .. }) if image.contains("no/such")), "{base:?}");
        let keep = Workspace::new("FROM BASE\nCOPY missing /x");
        let (copy, _) = built(engine, keep.request()).await;
        assert!(matches!(copy, Err(BuildError::Step { line: Some(2), .. })), "{copy:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_mounted_and_never_shown() {
    for_each_engine(async |engine| {
        let value = "s3cr3t-$(touch /x)-\"quoted\"";
        let workspace = Workspace::new(
            "FROM BASE\nRUN --mount=type=secret,id=tok cat /run/secrets/tok; echo; echo given >/given; test -s /run/secrets/tok\n",
        );
        workspace.write("hidden/token", value);
        workspace.write(".dockerignore", "hidden");
        let file = HostPath::new(workspace.path().join("hidden/token")).expect("a path");
        let request = BuildRequest {
            secrets: vec![Secret { id: "tok".to_owned(), source: SecretSource::File(file) }],
            no_cache: true,
            ..workspace.request()
        };
        let (result, events) = built(engine, request).await;
        if engine.is_classic() || engine.is_podman() {
            assert!(matches!(result, Err(BuildError::NeedsBuildKit { line: Some(2), .. })), "{result:?}");
            assert!(events.all().is_empty(), "before anything is done");
            return;
        }
        let image = result.expect("a build");
        let told = format!("{:?}", events.all());
        assert!(events.lines().contains(&"***".to_owned()), "{told}");
        assert!(!told.contains("s3cr3t"), "{told}");
        let history = engine.docker.image_history(&image.image_id).await.expect("a history");
        assert!(!format!("{history:?}").contains("s3cr3t"));
        let inspected = engine.docker.inspect_image(&image.image_id).await.expect("an image");
        assert!(!format!("{inspected:?}").contains("s3cr3t"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_are_never_shell_text() {
    for_each_engine(async |engine| {
        let workspace = Workspace::new("FROM BASE\nARG V\nRUN echo \"v=$V\"\nLABEL z=1");
        // Of a label's end of line Podman 5 makes a backslash and an n.
        let end = if engine.name == "podman5" { "" } else { "\n" };
        let odd = format!("a b;$(exit 3)`x`\"'&=ü{end}-");
        let request = BuildRequest {
            args: BTreeMap::from([("V".to_owned(), odd.clone())]),
            labels: BTreeMap::from([("gpubay.x".to_owned(), odd.clone())]),
            no_cache: true,
            ..workspace.request()
        };
        let (result, _) = built(engine, request).await;
        let image = engine.docker.inspect_image(&result.expect("a build").image_id).await.expect("an image");
        let labels = image.config.and_then(|config| config.labels).expect("labels");
        assert_eq!(labels["gpubay.x"], odd);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_dockerfile_and_one_outside_the_context_build() {
    for_each_engine(async |engine| {
        let workspace = Workspace::new("");
        workspace.write("a", "from the context");
        let text = format!("FROM {BASE}\nCOPY a /a\nRUN cat /a");
        let generated = Dockerfile::Generated { text: text.clone(), because: "requirements.txt".to_owned() };
        let request = BuildRequest { dockerfile: generated, no_cache: true, ..workspace.request() };
        let (result, events) = built(engine, request).await;
        result.expect("a build");
        assert!(events.lines().contains(&"from the context".to_owned()));
        let elsewhere = Workspace::new("");
        elsewhere.write("My.Dockerfile", &format!("{text}\nRUN ls / "));
        elsewhere.write("My.Dockerfile.dockerignore", "b\n");
        workspace.write("b", "");
        let file = HostPath::new(elsewhere.path().join("My.Dockerfile")).expect("a path");
        let request = BuildRequest { dockerfile: Dockerfile::File(file), ..workspace.request() };
        built(engine, request).await.0.expect("a build");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_stops_the_engine_too() {
    for_each_engine(async |engine| {
        if engine.is_podman() {
            // 4.3 does not look whether anybody still waits while a step runs: nothing but its own tool ends it.
            return;
        }
        let workspace = Workspace::new("FROM BASE\nRUN echo started; sleep 4242\n");
        let events = Events::default();
        let own = events.clone();
        let cancel = Arc::new(Mutex::new(None::<gpubay::progress::CancellationToken>));
        let handle = Arc::clone(&cancel);
        let progress = Progress::new(move |event| {
            if matches!(&event, Event::Output { line, .. } if line == "started")
                && let Some(token) = handle.lock().expect("a token").as_ref()
            {
                token.cancel();
            }
            own.0.lock().expect("events").push(event);
        });
        *cancel.lock().expect("a token") = Some(progress.cancel.clone());
        let request = BuildRequest { no_cache: true, ..workspace.request() };
        let result = ours(engine).await.build(request, &progress).await;
        assert!(matches!(result, Err(BuildError::Cancelled)), "{result:?}");
        let until = Instant::now() + Duration::from_secs(30);
        while sleepers() > 0 {
            assert!(Instant::now() < until, "the step still runs");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while step_containers(engine).await > 0 {
            assert!(Instant::now() < until, "the step's container is still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Containers of the step that was to be stopped, in any state.
async fn step_containers(engine: &Engine) -> usize {
    let all = bollard::query_parameters::ListContainersOptionsBuilder::default().all(true).build();
    let listed = engine.docker.list_containers(Some(all)).await.expect("a list");
    listed.iter().filter(|one| one.command.as_ref().is_some_and(|command| command.contains("sleep 4242"))).count()
}

/// Processes of the step that was to be stopped, on this machine.
fn sleepers() -> usize {
    std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| line.ends_with(b"sleep\x004242\x00"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_ignored_dataset_costs_nothing() {
    for_each_engine(async |engine| {
        let workspace = Workspace::new("FROM BASE\nCOPY . /ctx\n");
        workspace.write(".dockerignore", "data\n");
        for n in 0..5000 {
            workspace.write(&format!("data/{}/{n}", n % 50), "");
        }
        let huge = std::fs::File::create(workspace.path().join("data/huge")).expect("a file");
        huge.set_len(20 << 30).expect("a sparse file");
        let (result, events) = built(engine, workspace.request()).await;
        result.expect("a build");
        let sent = events.all().into_iter().filter_map(|e| match e {
            Event::Advanced { done, unit: Unit::Bytes, .. } => Some(done),
            _ => None,
        });
        assert!(sent.max().unwrap_or(0) < 100_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_wire_cannot_carry_is_told() {
    for_each_engine(async |engine| {
        let workspace = Workspace::new("FROM BASE\nCOPY . /ctx\n");
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"bad\xff");
        std::fs::write(workspace.path().join(name), "").expect("a file");
        let (result, _) = built(engine, workspace.request()).await;
        assert!(matches!(result, Err(BuildError::Context(_))), "{result:?}");
    })
    .await;
}
