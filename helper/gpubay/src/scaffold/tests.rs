use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::config::Overrides;

struct Place {
    _root: tempfile::TempDir,
    home: PathBuf,
    workspace: PathBuf,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let home = root.path().canonicalize().expect("canonical").join("home");
        let workspace = home.join("work");
        std::fs::create_dir_all(&workspace).expect("made");
        std::fs::write(home.join("machine-id"), "0123456789abcdef0123456789abcdef\n").expect("written");
        Self { _root: root, home, workspace }
    }

    fn request(&self) -> LoadRequest<'static> {
        LoadRequest {
            workspace: self.workspace.clone(),
            home: self.home.clone(),
            uid: 1234,
            gid: 1234,
            env: &|_| None,
            machine_id: self.home.join("machine-id"),
            overrides: Overrides::default(),
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.workspace.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.workspace.join(path)).expect(path)
    }

    #[track_caller]
    fn found(&self) -> Found {
        look(&self.request()).expect("looked")
    }

    #[track_caller]
    fn init(&self, wish: &Wish) -> Plan {
        let found = self.found();
        let mut plan = plan(&found, wish).expect("planned");
        apply(&found, &mut plan).expect("written");
        plan
    }
}

fn wish(preset: Preset) -> Wish {
    Wish { base: Some(Base::Preset(preset)), ..Wish::default() }
}

fn paths(plan: &Plan, state: State) -> Vec<&str> {
    plan.files.iter().filter(|file| file.state == state).map(|file| file.path.as_str()).collect()
}

const ALL: [&str; 6] = [
    "docker/python/Dockerfile",
    "requirements.txt",
    ".dockerignore",
    "gpubay.toml",
    ".vscode/settings.json",
    ".vscode/extensions.json",
];

#[test]
fn a_fresh_folder_gets_everything_and_a_second_time_nothing() {
    let place = Place::new();
    let found = place.found();
    assert!(found.needs_base() && found.takes_mounts());
    let only_planned = plan(&found, &wish(Preset::Python)).expect("planned");
    assert_eq!(paths(&only_planned, State::Planned), ALL);
    assert_eq!(std::fs::read_dir(&place.workspace).expect("read").count(), 0, "a plan writes nothing");

    assert_eq!(paths(&place.init(&wish(Preset::Python)), State::Written), ALL);
    // What was written is what `up` reads: no question is left.
    let loaded = config::load(&place.request()).expect("valid");
    assert!(loaded.powers.is_empty(), "{:?}", loaded.powers);
    let Image::Build(build) = loaded.config.image else { panic!("an image to build") };
    assert!(
        matches!(build.dockerfile, Dockerfile::File(path) if path == HostPath::new(place.workspace.join(ALL[0])).expect("absolute"))
    );

    let again = place.init(&Wish::default());
    assert_eq!((paths(&again, State::Written), paths(&again, State::Left)), (vec![], ALL.to_vec()));
    assert!(again.base.is_none() && again.notes.is_empty(), "{:?}", again.notes);
    let leftovers = |folder: &str| std::fs::read_dir(place.workspace.join(folder)).expect("read").count();
    assert_eq!((leftovers(""), leftovers(".vscode"), leftovers("docker/python")), (5, 2, 1));
}

#[test]
fn each_file_that_exists_is_left_as_it_is() {
    for kept in ALL {
        let place = Place::new();
        // A Dockerfile that is not ours would be the workspace's own; this one is.
        let mine = if kept.ends_with("Dockerfile") { "# Made by `gpubay init`: mine\n" } else { "# mine\n" };
        place.write(kept, mine);
        let plan = place.init(&wish(Preset::Python));
        assert_eq!(paths(&plan, State::Left), [kept]);
        assert_eq!(place.read(kept), mine);
        assert_eq!(paths(&plan, State::Written).len(), ALL.len() - 1);
    }
}

#[test]
fn what_is_missing_comes_back() {
    for lost in ALL {
        let place = Place::new();
        place.init(&wish(Preset::Python));
        std::fs::remove_file(place.workspace.join(lost)).expect("removed");
        let found = place.found();
        let plan = place.init(&if found.needs_base() { wish(Preset::Python) } else { Wish::default() });
        assert_eq!(paths(&plan, State::Written), [lost]);
    }
}

#[test]
fn links_are_left_and_not_followed_out() {
    let outside = tempfile::tempdir().expect("a folder");
    let canary = outside.path().join("canary");
    for file in ALL {
        let place = Place::new();
        let path = place.workspace.join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        if file == "gpubay.toml" {
            // One that leads out is an error of the configuration itself.
            continue;
        }
        symlink(&canary, &path).expect("linked");
        let found = place.found();
        let mut plan = plan(&found, &wish(Preset::Python)).expect("planned");
        apply(&found, &mut plan).expect("written");
        assert_eq!(paths(&plan, State::Left), [file]);
        assert!(!canary.exists(), "{file}");
    }
    // A folder that leads out.
    for (folder, stops) in [("docker", true), (".vscode", false)] {
        let place = Place::new();
        symlink(outside.path(), place.workspace.join(folder)).expect("linked");
        match plan(&place.found(), &wish(Preset::Python)) {
            Err(ScaffoldError::Blocked { path, .. }) if stops => assert_eq!(path, ALL[0]),
            Ok(mut plan) if !stops => {
                apply(&place.found(), &mut plan).expect("written");
                assert_eq!(paths(&plan, State::Left), &ALL[4..]);
                assert!(plan.files.iter().any(|file| file.reason.as_deref().is_some_and(|why| why != "it exists")));
            }
            other => panic!("{folder}: {other:?}"),
        }
        assert_eq!(std::fs::read_dir(outside.path()).expect("read").count(), 0);
    }
}

#[test]
fn a_folder_that_leads_nowhere_or_is_a_file_stops_before_anything_is_written() {
    for prepare in [(|path: &Path| symlink("nowhere", path).expect("linked")) as fn(&Path), |path| {
        std::fs::write(path, "").expect("written");
    }] {
        let place = Place::new();
        prepare(&place.workspace.join("docker"));
        let error = plan(&place.found(), &wish(Preset::Python)).expect_err("blocked");
        assert!(matches!(error, ScaffoldError::Blocked { .. }), "{error}");
        assert_eq!(std::fs::read_dir(&place.workspace).expect("read").count(), 1);
    }
}

#[test]
fn a_file_that_comes_to_be_meanwhile_is_left() {
    let place = Place::new();
    let found = place.found();
    let mut plan = plan(&found, &wish(Preset::Python)).expect("planned");
    place.write("requirements.txt", "torch\n");
    apply(&found, &mut plan).expect("written");
    assert_eq!(paths(&plan, State::Left), ["requirements.txt"]);
    assert_eq!(place.read("requirements.txt"), "torch\n");
    assert_eq!(std::fs::read_dir(&place.workspace).expect("read").count(), 5, "nothing is left aside");
}

#[test]
fn a_workspace_with_a_dockerfile_keeps_it() {
    let place = Place::new();
    place.write("Dockerfile", "FROM x\n");
    let found = place.found();
    assert!(!found.needs_base());
    let plan = place.init(&Wish::default());
    assert_eq!(paths(&plan, State::Written), &ALL[3..]);
    assert!(place.read("gpubay.toml").contains("dockerfile = \"Dockerfile\""));
    assert!(plan.notes[0].contains("Dockerfile is what the image is built from"), "{:?}", plan.notes);

    // Another is written where it is asked for, and who uses it is said.
    let plan = place.init(&Wish { name: Some("second".to_owned()), ..wish(Preset::Cuda) });
    assert_eq!(
        paths(&plan, State::Written),
        ["docker/second/Dockerfile", "requirements.txt", "docker/second/Dockerfile.dockerignore"]
    );
    assert!(plan.notes[0].contains("would count for Dockerfile as well"), "{:?}", plan.notes);
    assert!(
        plan.notes[1].contains("still takes Dockerfile: `dockerfile = \"docker/second/Dockerfile\"` under [image]")
    );

    let place = Place::new();
    place.write("docker/a/Dockerfile", "FROM x\n");
    place.write("docker/b/Dockerfile", "FROM x\n");
    let plan = place.init(&Wish::default());
    assert_eq!(paths(&plan, State::Written), &ALL[3..]);
    assert!(!place.read("gpubay.toml").contains("dockerfile"));

    let place = Place::new();
    place.write("gpubay.toml", "[image]\nfrom = \"x\"\n");
    assert_eq!(paths(&place.init(&Wish::default()), State::Written), &ALL[4..]);
}

#[test]
fn nothing_is_hidden_from_a_dockerfile_of_the_users_own() {
    for own in ["Dockerfile", "docker/train/Dockerfile", "ci/gpu.dockerfile", "Dockerfile.cpu"] {
        let place = Place::new();
        place.write(own, "FROM x\nCOPY data.txt /\n");
        let plan = place.init(&Wish { name: Some("dev".to_owned()), ..wish(Preset::Python) });
        let ignore = "docker/dev/Dockerfile.dockerignore";
        assert_eq!(&paths(&plan, State::Written)[..3], ["docker/dev/Dockerfile", "requirements.txt", ignore], "{own}");
        assert_eq!(place.read(ignore), dockerfile::dockerignore());
        assert!(!place.workspace.join(".dockerignore").exists(), "{own}");
        assert!(plan.notes[0].contains(&format!("count for {own} as well")), "{:?}", plan.notes);
        let found = matches!(own, "Dockerfile" | "docker/train/Dockerfile");
        let said = format!("takes docker/dev/Dockerfile from now on, and no longer {own}");
        assert_eq!(plan.notes.iter().any(|note| note.contains(&said)), found, "{:?}", plan.notes);
        // Nor is it by a further call.
        let again = place.init(&Wish::default());
        assert_eq!((paths(&again, State::Written).len(), again.notes), (0, vec![]), "{own}");
        assert!(!place.workspace.join(".dockerignore").exists(), "{own}");
    }
    // One that is in the very place.
    let place = Place::new();
    place.write("docker/python/Dockerfile", "FROM x\nCOPY data.txt /\n");
    let plan = place.init(&wish(Preset::Python));
    assert_eq!(paths(&plan, State::Written), &ALL[3..]);
    assert!(plan.undone[0].contains("`--name`"), "{:?}", plan.undone);

    // A gpubay.toml that names none leaves a question.
    let place = Place::new();
    place.write("docker/train/Dockerfile", "FROM x\n");
    place.write("gpubay.toml", "");
    let plan = place.init(&wish(Preset::Python));
    assert!(
        plan.notes[1].contains("asks whether docker/train/Dockerfile or docker/python/Dockerfile"),
        "{:?}",
        plan.notes
    );
    assert!(matches!(place.found().image, Present::Several(_)));
}

#[test]
fn what_was_asked_and_is_not_done_is_said() {
    let place = Place::new();
    let image = |image: &str| Wish { base: Some(Base::Image(image.to_owned())), ..Wish::default() };
    assert!(place.init(&image("a/b")).undone.is_empty());
    // The same again is done already.
    assert!(place.init(&image("a/b")).undone.is_empty());
    let plan = place.init(&image("c/b:2"));
    assert!(
        plan.undone.len() == 1
            && plan.undone[0].contains("nothing is built on c/b:2")
            && plan.undone[0].contains("`--name`"),
        "{:?}",
        plan.undone
    );
    assert!(place.read("docker/b/Dockerfile").contains("FROM a/b\n"));
    let style = |style| Wish { style: Some(style), ..Wish::default() };
    assert!(place.init(&style(Style::Autopep8)).undone.is_empty());
    let plan = place.init(&style(Style::Ruff));
    assert!(plan.undone.len() == 1 && plan.undone[0].contains("the style is not ruff"), "{:?}", plan.undone);
}

#[test]
fn an_own_dockerignore_that_hides_the_requirements_is_said() {
    for (text, said) in [("*.txt\n", true), ("*\n!requirements.txt\n", false), ("data\n", false)] {
        let place = Place::new();
        place.write(".dockerignore", text);
        let plan = place.init(&wish(Preset::Python));
        assert_eq!(
            plan.notes.iter().any(|note| note.contains("`!requirements.txt`")),
            said,
            "{text}: {:?}",
            plan.notes
        );
    }
}

#[test]
fn what_is_no_name_is_refused() {
    for name in ["", "..", "a/b", "-x", "a b", "ä", &"x".repeat(65)] {
        let wish = Wish { name: Some(name.to_owned()), ..wish(Preset::Python) };
        assert!(matches!(check(&wish), Err(ScaffoldError::Name(_))), "{name:?}");
    }
    for image in ["", "a b", "x\nRUN evil", "$(x)", "${X}", "-x", "a\\b", "x # y"] {
        let wish = Wish { base: Some(Base::Image(image.to_owned())), ..Wish::default() };
        assert!(matches!(check(&wish), Err(ScaffoldError::Image(_))), "{image:?}");
    }
    for image in ["My/Image:tag", "Ubuntu", "localhost:5000/me/Base"] {
        let wish = Wish { base: Some(Base::Image(image.to_owned())), ..Wish::default() };
        assert!(matches!(check(&wish), Err(ScaffoldError::Capitals(_))), "{image:?}");
    }
    for (image, folder) in [
        ("pytorch/pytorch:2.9.0-cuda13.0", "pytorch"),
        ("Localhost:5000/me/base:Tag", "base"),
        ("a/b@sha256:00", "b"),
        ("[::1]:5000/x/y", "y"),
    ] {
        let base = Base::Image(image.to_owned());
        assert_eq!(base.folder(), folder);
        check(&Wish { base: Some(base), ..Wish::default() }).expect(image);
    }
}

#[test]
fn settings_have_todays_names_and_format_only_what_is_new() {
    for (style, formatter, others) in [
        (Style::Autopep8, "ms-python.autopep8", &["autopep8.args", "flake8.args"][..]),
        (Style::Ruff, "charliermarsh.ruff", &["ruff.importStrategy", "ruff.lineLength"]),
    ] {
        for code in [false, true] {
            let place = Place::new();
            if code {
                place.write("src/model.py", "x = 1\n");
                place.write(".hidden/x.py", "");
            }
            let plan = place.init(&Wish { style: Some(style), ..wish(Preset::Python) });
            let settings: serde_json::Value = serde_json::from_str(&place.read(".vscode/settings.json")).expect("JSON");
            assert_eq!(settings["[python]"]["editor.defaultFormatter"], formatter);
            assert_eq!(
                settings["[python]"]["editor.formatOnSave"],
                if code { serde_json::Value::Null } else { true.into() }
            );
            assert_eq!(plan.notes.len(), usize::from(code), "{:?}", plan.notes);
            assert_eq!(settings["python.defaultInterpreterPath"], "${workspaceFolder}/.venv/bin/python");
            let text = settings.to_string();
            assert!(
                text.contains("160") && !text.contains("python.formatting") && !text.contains("python.linting"),
                "{text}"
            );
            let keys: Vec<&String> = settings.as_object().expect("an object").keys().collect();
            assert!(others.iter().all(|key| keys.iter().any(|other| other == key)), "{keys:?}");
            let extensions: serde_json::Value =
                serde_json::from_str(&place.read(".vscode/extensions.json")).expect("JSON");
            assert!(extensions["recommendations"].as_array().expect("a list").contains(&formatter.into()));
        }
    }
}

#[test]
fn an_environment_of_the_users_own_is_not_the_editors() {
    let place = Place::new();
    place.write(".venv/pyvenv.cfg", "home = /usr/bin\n");
    place.init(&wish(Preset::Python));
    assert!(place.read(".vscode/settings.json").contains("\"${workspaceFolder}/.venv-gpubay/bin/python\""));
}

#[test]
fn folders_of_the_host_are_offered_and_never_a_token() {
    let place = Place::new();
    for folder in ["dataset", ".cache/huggingface/hub", ".cache/torch"] {
        std::fs::create_dir_all(place.home.join(folder)).expect("made");
    }
    std::fs::write(place.home.join(".cache/huggingface/token"), "hf_secret").expect("written");
    std::fs::write(place.home.join("data"), "no folder").expect("written");
    let mut found = place.found();
    let hosts: Vec<&str> = found.folders.iter().map(|folder| folder.host.as_str()).collect();
    assert_eq!(hosts, ["~/dataset", "~/.cache/huggingface/hub", "~/.cache/torch"]);

    // Unasked, they are comments in a file that is valid.
    let text = toml_text::text(Some("docker/x/Dockerfile"), true, &found.folders);
    assert!(
        text.contains("    # \"~/dataset:/dataset\",\n") && text.contains("# TORCH_HOME = \"/models/torch\"\n"),
        "{text}"
    );
    place.write("docker/x/Dockerfile", "FROM x\n");
    place.write("gpubay.toml", &text);
    assert!(config::load(&place.request()).expect("valid").config.container.mounts.is_empty());

    // With a yes to each they are mounts, which `up` asks consent for.
    for folder in &mut found.folders {
        folder.mounted = true;
    }
    place.write("gpubay.toml", &toml_text::text(Some("docker/x/Dockerfile"), true, &found.folders));
    let loaded = config::load(&place.request()).expect("valid");
    assert_eq!((loaded.config.container.mounts.len(), loaded.powers.len()), (3, 3), "{:?}", loaded.powers);
    assert_eq!(loaded.config.container.env.len(), 2);

    // The workspace itself is no mount of it.
    std::fs::create_dir_all(place.home.join("work/sub")).expect("made");
    std::fs::remove_dir_all(place.home.join("dataset")).expect("removed");
    symlink(place.home.join("work/sub"), place.home.join("dataset")).expect("linked");
    assert!(place.found().folders.iter().all(|folder| folder.host != "~/dataset"));
}

#[test]
fn every_preset_makes_a_dockerfile_for_every_builder() {
    for preset in Preset::ALL {
        let text = dockerfile::dockerfile(&Base::Preset(preset));
        let parsed = crate::engine::build::dockerfile::parse(&text);
        assert_eq!((parsed.stages.len(), parsed.stages[0].base.as_str()), (1, preset.image()), "{text}");
        for word in ["--mount", "<<", "useradd", "adduser"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        for word in ["PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1", "TORCH_HOME=/home/${USER_NAME}/.cache/torch"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 125), "{text}");
        let args = crate::engine::build::dockerfile::declared_args(&text);
        assert_eq!(args.into_iter().collect::<Vec<_>>(), ["BYTECODE", "USER_GID", "USER_NAME", "USER_UID"]);
        let lean = text.contains("ARG BYTECODE=--no-compile\n");
        assert!(lean == (preset == Preset::Python) && (lean || text.contains("ARG BYTECODE=--compile\n")), "{text}");
    }
}
