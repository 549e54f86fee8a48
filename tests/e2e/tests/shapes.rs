//! Pythons and installs of many shapes: other versions, several in one image, what is never replaced.

use gpubay_e2e::{Bench, Ran, Who};

fn with(dockerfile: &str, toml: &str, requirements: &str) -> Bench {
    let bench = Bench::new("docker28", Who::Ordinary, "shape");
    bench.write("Dockerfile", dockerfile);
    bench.write("gpubay.toml", toml);
    bench.write("requirements.txt", requirements);
    bench
}

#[track_caller]
fn python(bench: &Bench, code: &str) -> String {
    let output = bench.python(&["-c", code]).output().expect("started");
    Ran::of(&output, &["python", "-c", code]).succeeded().stdout.trim().to_owned()
}

/// A package that needs no building, made by hand, in `wheels/`.
fn wheel(bench: &Bench, name: &str, requires: &str) {
    let code = "import sys, os, zipfile\n\
        name, version = sys.argv[1].split('-')\n\
        info = f'{name}-{version}.dist-info'\n\
        os.makedirs('wheels', exist_ok=True)\n\
        with zipfile.ZipFile(f'wheels/{sys.argv[1]}-py3-none-any.whl', 'w') as z:\n    \
            z.writestr(f'{name}/__init__.py', '')\n    \
            z.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n{sys.argv[2]}')\n    \
            z.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n    \
            z.writestr(f'{info}/RECORD', '')\n";
    let made = bench.command("/usr/bin/python3").args(["-c", code, name, requires]).status().expect("started");
    assert!(made.success());
}

/// The same version of Python in another place, and a venv that was half deleted by hand.
#[test]
fn a_venv_whose_python_went_away_is_made_anew() {
    let bench = with("FROM gpubay-lab/python\n", "", "");
    let noted = bench.run(&["up"]);
    assert!(noted.succeeded().stderr.contains("requirements.txt is not installed"), "{noted:?}");
    assert_eq!(python(&bench, "import sys; print(sys.base_prefix)"), "/usr");
    bench.write("Dockerfile", "FROM gpubay-lab/conda\n");
    let moved = bench.json(&["up", "--recreate"]);
    assert!(moved["warnings"].to_string().contains("the venv of another one (3.11"), "{moved}");
    assert_eq!(python(&bench, "import sys; print(sys.base_prefix)"), "/opt/conda");
    let venvs = bench.home.join(".local/share/gpubay/venvs");
    let in_use = std::fs::read_dir(&venvs).expect("venvs").map(|entry| entry.expect("an entry").path());
    for venv in in_use.filter(|venv| !venv.file_name().is_some_and(|name| name.to_string_lossy().contains('.'))) {
        std::fs::remove_dir_all(venv.join("bin")).expect("removed");
    }
    bench.up();
    assert_eq!(python(&bench, "import sys; print(sys.base_prefix)"), "/opt/conda");
}

const WHERE: &str = "import importlib.util as u, importlib.metadata as m; \
    print([(n, m.version(n), u.find_spec(n).origin) for n in ('numpy', 'tool', 'needs')])";

/// numpy is Debian's 2.2.4, and the image's own constraints pin `tool`. Everything else comes from a folder of wheels, in
/// which there is a newer numpy that nobody may take.
fn nothing_of_the_image_is_replaced(installer: &str) {
    let dockerfile = "FROM gpubay-lab/trixie\n\
        RUN --mount=type=cache,target=/root/.cache/pip pip install --break-system-packages uv==0.13.9\n\
        RUN echo tool==1 > /etc/constraint.txt\n\
        ENV PIP_CONSTRAINT=/etc/constraint.txt\n";
    let toml =
        format!("[venv]\nrequirements = [\"requirements.txt\"]\ninstaller = \"{installer}\"\n[gpus]\nuse = \"none\"\n");
    let bench = with(dockerfile, &toml, "");
    for (name, requires) in [
        ("numpy-3", ""),
        ("tool-1", ""),
        ("tool-2", ""),
        ("needs-0.9", "Requires-Dist: numpy>=2\n"),
        ("needs-1", "Requires-Dist: numpy>=3\nRequires-Dist: nothing; extra == 'x'\n"),
        ("never-1", "Requires-Dist: numpy>=99\n"),
    ] {
        wheel(&bench, name, requires);
    }
    let require = |lines: &str| {
        bench.write("requirements.txt", &format!("--no-index\n--find-links /workspace/wheels\n{lines}"));
    };
    require("needs\ntool\nnumpy>=2\n");
    let warnings = bench.up()["warnings"].to_string();
    // pip looks for a version that fits. uv was not told what to fit, and what does not is said.
    let (needs, said) = if installer == "pip" { ("0.9", false) } else { ("1", true) };
    assert_eq!(warnings.contains("needs asks for numpy>=3, and the image's numpy 2.2.4 stays"), said, "{warnings}");
    let found = python(&bench, WHERE);
    let numpy = "('numpy', '2.2.4', '/usr/lib/python3/dist-packages/numpy/__init__.py')";
    assert!(found.contains(numpy) && found.contains("('tool', '1', "), "{installer}: {found}");
    assert!(found.contains(&format!("('needs', '{needs}', '/workspace/.venv/")), "{installer}: {found}");

    // Only what truly conflicts is refused, by a sentence, and what was installed stays.
    require("needs\nnumpy==3\n");
    bench
        .run(&["up"])
        .failed("requirements.txt:4 asks for numpy==3, and the image brings numpy 2.2.4, which is never replaced");
    if installer == "pip" {
        require("never\n");
        bench.run(&["up"]).failed("What the image brings is never replaced");
    }
    require("needs\n-r more.txt\n");
    assert!(bench.command("mkfifo").arg("more.txt").status().expect("started").success());
    bench.run(&["up"]).failed("more.txt cannot be read: it is a named pipe");
    assert_eq!(python(&bench, WHERE), found);
}

#[test]
fn pip_replaces_nothing_of_the_image() {
    nothing_of_the_image_is_replaced("pip");
}

#[test]
fn uv_replaces_nothing_of_the_image() {
    nothing_of_the_image_is_replaced("uv");
}

/// Editable installs of the workspace's own packages, by real setuptools: no language server runs their import hooks.
#[test]
fn editable_installs_are_folders_outside() {
    // With the image's own setuptools: a build folder of its own for each would take most of a minute.
    let dockerfile = "FROM gpubay-lab/python\nENV PIP_NO_BUILD_ISOLATION=false\nRUN mkdir /opt/eggs && python3 -c \"import zipfile; \
        zipfile.ZipFile('/opt/eggs/z-1.egg', 'w').writestr('z.py', '')\" \
        && echo /opt/eggs/z-1.egg > /usr/local/lib/python3.11/dist-packages/z.pth\n";
    let requirements = "-e ./libs/flat\n-e ./libs/deep\n-e ./libs/moved\n";
    let toml = "[venv]\nrequirements = [\"requirements.txt\"]\n[gpus]\nuse = \"none\"\n";
    let bench = with(dockerfile, toml, requirements);
    for (name, setup) in [
        // Beside another folder: setuptools serves it by a hook, which maps the name to its folder.
        ("flat", "packages = [\"flat\"]\n"),
        ("deep", "package-dir = { \"\" = \"src\" }\n[tool.setuptools.packages.find]\nwhere = [\"src\"]\n"),
        ("moved", "packages = [\"moved\"]\npackage-dir = { moved = \"python\" }\n"),
    ] {
        let text = format!(
            "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n\
             [project]\nname = \"{name}\"\nversion = \"1\"\n[tool.setuptools]\n{setup}"
        );
        bench.write(&format!("libs/{name}/pyproject.toml"), &text);
    }
    for file in
        ["flat/flat/__init__.py", "flat/other/x.py", "deep/src/space/deep/__init__.py", "moved/python/__init__.py"]
    {
        bench.write(&format!("libs/{file}"), "");
    }
    let report = bench.up();
    assert_eq!(python(&bench, "import flat, space.deep, moved, z; print(1)"), "1");
    let pth = bench.workspace.join(".venv/lib/python3.11/site-packages/container.pth");
    let pth = std::fs::read_to_string(pth).expect("container.pth");
    let folders: Vec<&str> = pth.lines().collect();
    for (root, module) in [("libs/flat", "flat/__init__.py"), ("libs/deep/src", "space/deep/__init__.py")] {
        let root = bench.workspace.join(root);
        assert!(folders.contains(&root.to_str().expect("text")), "{} in {pth}", root.display());
        assert!(root.join(module).is_file());
    }
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("moved (/workspace/libs/moved/python)"), "{warnings}");
    assert!(warnings.contains("from an archive: /opt/eggs/z-1.egg"), "{warnings}");
}

/// Debian's Python 3.13 on `PATH`, and a moved 3.11 where miniconda keeps an environment (no conda can be had here).
#[test]
fn one_of_several_pythons_is_taken_and_said() {
    let dockerfile = "FROM gpubay-lab/trixie\nCOPY --from=gpubay-lab/conda /opt/conda /miniconda/envs/train\n";
    let bench = with(dockerfile, "[gpus]\nuse = \"none\"\n", "");
    let ran = bench.run(&["up", "--json"]);
    let report = ran.succeeded().json();
    assert_eq!(report["host_env"]["version"], "3.13.5", "{report}");
    let said = "/usr/bin/python3 (3.13.5) is used, not /miniconda/envs/train/bin/python3; `python` under [venv]";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert_eq!(python(&bench, "import sys, numpy; print(sys.version_info[:2])"), "(3, 13)");

    bench.write("gpubay.toml", "[venv]\npython = \"/miniconda/envs/train/bin/python3\"\n[gpus]\nuse = \"none\"\n");
    let ran = bench.run(&["up", "--json"]);
    let report = ran.succeeded().json();
    assert_eq!(report["host_env"]["version"], "3.11.2", "{report}");
    assert!(report["warnings"].to_string().contains("the venv of another one (3.13.5) was moved to"), "{report}");
    assert!(!ran.stderr.contains("several Pythons"), "{}", ran.stderr);
    assert_eq!(python(&bench, "import sys, condaonly; print(sys.version_info[:2])"), "(3, 11)");
    let pth = bench.workspace.join(".venv/lib/python3.11/site-packages/container.pth");
    let pth = std::fs::read_to_string(pth).expect("container.pth");
    let has = |module: &str| pth.lines().any(|folder| std::path::Path::new(folder).join(module).is_file());
    assert!(has("condaonly/__init__.py") && has("json/__init__.py"), "{pth}");

    bench.write("gpubay.toml", "[venv]\npython = \"/usr/bin/python3.9\"\n[gpus]\nuse = \"none\"\n");
    bench.run(&["up"]).failed("/usr/bin/python3.9");
}

/// A Python on musl, with busybox for everything else: no glibc, pip or ensurepip.
#[test]
fn an_image_on_musl_brings_its_python() {
    let dockerfile = "FROM gpubay-lab/musl\nRUN mkdir -p /usr/local/lib/python3.11/site-packages/only && \
        echo 'x = 1' > /usr/local/lib/python3.11/site-packages/only/__init__.py\n";
    let bench = with(dockerfile, "[gpus]\nuse = \"none\"\n", "");
    let report = bench.up();
    assert_eq!(report["host_env"]["version"], "3.11.2", "{report}");
    let code = "import os, sys, only; maps = open('/proc/self/maps').read(); \
        print(os.getuid(), sys.prefix, 'musl' in maps, 'libc.so.6' in maps)";
    assert_eq!(python(&bench, code), format!("{} /workspace/.venv True False", bench.uid()));
    let pth = bench.workspace.join(".venv/lib/python3.11/site-packages/container.pth");
    let pth = std::fs::read_to_string(pth).expect("container.pth");
    let has = |module: &str| pth.lines().any(|folder| std::path::Path::new(folder).join(module).is_file());
    assert!(has("only/__init__.py") && has("json/__init__.py"), "{pth}");
    assert_eq!(bench.run(&["exec", "--", "sh", "-c", "exit 7"]).code, Some(7));
    bench.write("requirements.txt", "einops\n");
    bench.write("gpubay.toml", "[venv]\nrequirements = [\"requirements.txt\"]\n[gpus]\nuse = \"none\"\n");
    bench.run(&["up"]).failed("the Python of the image has no pip, and no ensurepip to make one from");
}

/// `pip install --user` after `USER`: its programs are in the host env too, and nothing that hides one of the host.
#[test]
fn programs_of_the_images_user_run_from_outside() {
    let dockerfile = "FROM gpubay-lab/uid1000\nUSER ubuntu\nRUN mkdir -p ~/.local/bin && cd ~/.local/bin && \
        printf '#!/usr/bin/python3\\nimport os, sys; print(os.getuid(), sys.argv[1:])\\n' > usertool && \
        chmod +x usertool && cp usertool ls && printf '#!/bin/sh\\n' > other && chmod +x other\n";
    let bench = with(dockerfile, "[gpus]\nuse = \"none\"\n", "");
    bench.up();
    let bin = bench.workspace.join(".venv/bin");
    assert!(!bin.join("ls").exists() && !bin.join("other").exists());
    let output = bench.command(bin.join("usertool")).arg("a b").output().expect("started");
    assert_eq!(Ran::of(&output, &["usertool"]).succeeded().stdout, format!("{} ['a b']\n", bench.uid()));
}
