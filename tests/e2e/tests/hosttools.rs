//! Tools of the host beside the host env, with its container running and stopped: each does something sensible, and none
//! breaks anything.

use std::path::{Path, PathBuf};
use std::process::Command;

use gpubay_e2e::{Bench, Ran, Who, output};

/// What only the container has.
const DOCKERFILE: &str = "FROM gpubay-lab/python\nRUN mkdir -p /usr/local/lib/python3.11/dist-packages/only && \
    echo x=1 > /usr/local/lib/python3.11/dist-packages/only/__init__.py\n";
const ASK: &str = "import only, sys; print(sys.prefix)";
const CANNOT: &str = "are installed in its container, where uv of the host cannot install";

#[track_caller]
fn ran(mut command: Command, args: &[&str]) -> Ran {
    Ran::of(&output(command.args(args)), args)
}

struct Host {
    bench: Bench,
    tools: PathBuf,
}

impl Host {
    fn with(dockerfile: &str) -> Self {
        let bench = Bench::on_cpu("docker28", Who::Ordinary, "tools");
        bench.write("Dockerfile", dockerfile);
        bench.write("gpubay.toml", "[gpus]\nuse = \"none\"\n");
        bench.write("train.py", &format!("{ASK}\n"));
        let tools = std::env::var("GPUBAY_TEST_HOSTTOOLS").expect("GPUBAY_TEST_HOSTTOOLS: run `make test`");
        Self { bench, tools: tools.into() }
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.bench.command(program.as_ref());
        // Behind a proxy that re-signs, the machine's own authorities are needed.
        for name in ["SSL_CERT_FILE", "PIP_CERT"] {
            command.env(name, "/etc/ssl/certs/ca-certificates.crt");
        }
        command
    }

    #[track_caller]
    fn uv(&self, args: &[&str]) -> Ran {
        ran(self.command(self.tools.join("uv/bin/uv")), args)
    }

    /// One that a package index brings.
    #[track_caller]
    fn py(&self, program: &str, args: &[&str]) -> Ran {
        ran(self.command(self.tools.join("py/bin").join(program)), args)
    }

    /// A script of a shell that is unpacked, not installed.
    #[track_caller]
    fn shell(&self, program: &str, args: &[&str]) -> Ran {
        let root = self.tools.join("root");
        let mut command = self.command(root.join(program));
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", root.join("usr/bin").display());
        command.env("PATH", path).env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
        ran(command, args)
    }

    #[track_caller]
    fn own(&self, program: &str, args: &[&str]) -> Ran {
        ran(self.command(self.bench.workspace.join(".venv/bin").join(program)), args)
    }

    #[track_caller]
    fn imports(&self) {
        assert_eq!(self.own("python", &["-c", ASK]).succeeded().stdout, "/workspace/.venv\n");
    }

    /// Of a repository of the workspace, as `git status` has it.
    #[track_caller]
    fn untracked(&self) -> String {
        ran(self.command("git"), &["status", "--porcelain"]).succeeded().stdout.clone()
    }

    fn commit_nothing(&self) {
        ran(self.command("git"), &["init", "--quiet"]).succeeded();
    }
}

/// `wheels/NAME-1-py3-none-any.whl` with a program of that name.
fn wheel(host: &Host, name: &str) -> String {
    let code = "import sys, os, zipfile\n\
        name = sys.argv[1]\n\
        info = f'{name}-1.dist-info'\n\
        os.makedirs('wheels', exist_ok=True)\n\
        with zipfile.ZipFile(f'wheels/{name}-1-py3-none-any.whl', 'w') as z:\n    \
            z.writestr(f'{name}.py', f'def main(): print(\"{name} runs\")\\n')\n    \
            z.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1\\n')\n    \
            z.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n    \
            z.writestr(f'{info}/entry_points.txt', f'[console_scripts]\\n{name} = {name}:main\\n')\n    \
            z.writestr(f'{info}/RECORD', '')\n";
    ran(host.command("/usr/bin/python3"), &["-c", code, name]).succeeded();
    format!("wheels/{name}-1-py3-none-any.whl")
}

/// Sourced, left again, and the shell as it was before.
fn shells(host: &Host) {
    let sh = format!(
        "p=\"$PATH\"; . .venv/bin/activate && python -c '{ASK}' && echo \"$VIRTUAL_ENV\" && deactivate && \
         [ \"$PATH\" = \"$p\" ] && echo \"${{VIRTUAL_ENV-gone}}\""
    );
    let fish = format!(
        "set p $PATH; source .venv/bin/activate.fish; python -c '{ASK}'; and echo $VIRTUAL_ENV; deactivate; \
         test \"$PATH\" = (string join : $p); and not set -q VIRTUAL_ENV; and echo gone"
    );
    let env = host.bench.workspace.canonicalize().expect("there").join(".venv");
    let want = format!("/workspace/.venv\n{}\ngone\n", env.display());
    let bash = ran(host.command("/bin/bash"), &["-euc", &sh]);
    for shell in [bash, host.shell("bin/zsh", &["-fec", &sh]), host.shell("usr/bin/fish", &["-c", &fish])] {
        assert_eq!(shell.succeeded().stdout, want, "{shell:?}");
        assert_eq!(shell.stderr, "", "{shell:?}");
    }
    host.bench.write(".envrc", "source .venv/bin/activate\n");
    host.shell("usr/bin/direnv", &["allow", "."]).succeeded();
    let direnv = host.shell("usr/bin/direnv", &["exec", ".", "python", "-c", ASK]);
    assert_eq!(direnv.succeeded().stdout, "/workspace/.venv\n", "{direnv:?}");
}

/// uv sees the container's environment and runs in it; it is refused what would change packages, before it does anything.
fn uv(host: &Host) {
    let listed = host.uv(&["pip", "list"]);
    assert!(listed.succeeded().stdout.contains("venvonly"), "{listed:?}");
    for args in [vec!["run", "--no-project", "python", "-c", ASK], vec!["run", "train.py"]] {
        assert_eq!(host.uv(&args).succeeded().stdout, "/workspace/.venv\n", "{args:?}");
    }
    let before = host.own("pip", &["list"]).succeeded().stdout.clone();
    host.uv(&["pip", "install", "--python", ".venv/bin/python", "einops"]).failed(CANNOT);
    host.uv(&["pip", "uninstall", "venvonly"]).failed(CANNOT);
    let project =
        "[project]\nname = \"tools\"\nversion = \"1\"\nrequires-python = \">=3.8\"\ndependencies = [\"einops\"]\n";
    host.bench.write("pyproject.toml", project);
    for args in [vec!["sync"], vec!["add", "idna"], vec!["run", "train.py"]] {
        host.uv(&args).failed(CANNOT);
    }
    assert_eq!(host.uv(&["run", "--no-sync", "train.py"]).succeeded().stdout, "/workspace/.venv\n");
    assert_eq!(host.own("pip", &["list"]).succeeded().stdout, before);
    assert_eq!(std::fs::read_to_string(host.bench.workspace.join("pyproject.toml")).expect("there"), project);
}

#[test]
fn shells_uv_and_pip_with_the_container_running_and_stopped() {
    let host = Host::with(DOCKERFILE);
    host.bench.up();
    host.commit_nothing();
    assert_eq!(host.untracked(), "?? Dockerfile\n?? gpubay.toml\n?? train.py\n");
    shells(&host);

    // Programs that come with a package are there at once, by whichever way it was installed.
    let (one, two, three) = (wheel(&host, "venvonly"), wheel(&host, "another"), wheel(&host, "third"));
    host.own("pip", &["install", "--no-index", &one]).succeeded();
    assert_eq!(host.own("venvonly", &[]).succeeded().stdout, "venvonly runs\n");
    host.bench.run(&["exec", "--", "pip", "install", "--no-index", &two]).succeeded();
    assert_eq!(host.own("another", &[]).succeeded().stdout, "another runs\n");
    // pip of the host, of another version and in another place than the container's.
    let python = host.bench.workspace.join(".venv/bin/python").display().to_string();
    host.py("python", &["-m", "pip", "--python", &python, "install", "--no-index", &three]).succeeded();
    assert_eq!(host.own("third", &[]).succeeded().stdout, "third runs\n");
    let listed = host.py("python", &["-m", "pip", "--python", &python, "list"]);
    assert!(listed.succeeded().stdout.contains("venvonly"), "{listed:?}");

    uv(&host);
    assert_eq!(host.untracked().matches(".venv").count(), 0);

    host.bench.run(&["stop"]).succeeded();
    let listed = host.uv(&["pip", "list"]);
    assert!(listed.succeeded().stdout.contains("venvonly"), "{listed:?}");
    host.uv(&["pip", "install", "--python", ".venv/bin/python", "einops"]).failed(CANNOT);
    host.uv(&["run", "--no-sync", "train.py"]).failed("is not running");
    host.own("venvonly", &[]).failed("start it with: gpubay -C");
    let activated = format!(". .venv/bin/activate && python -c '{ASK}'");
    ran(host.command("/bin/bash"), &["-euc", &activated]).failed("start it with: gpubay -C");
    assert_eq!(host.untracked().matches(".venv").count(), 0);
    host.bench.up();
    host.imports();
}

/// The image's Python lies where the host has none, so nothing fits by chance.
#[test]
fn poetry_and_pre_commit_with_the_container_running_and_stopped() {
    let host = Host::with("FROM gpubay-lab/conda\nRUN ln -s condaonly /opt/conda/lib/python3.11/site-packages/only\n");
    host.bench.up();
    host.commit_nothing();
    let hooks = format!(
        "repos:\n- repo: local\n  hooks:\n  \
         - {{id: s, name: s, language: system, entry: \"python -c '{ASK}'\", always_run: true, verbose: true, pass_filenames: false}}\n  \
         - {{id: p, name: p, language: python, entry: \"python -c 'import sys, os; print(sys.prefix, os.path.exists(\\\"/.gpubay\\\"))'\", \
         always_run: true, verbose: true, pass_filenames: false}}\n"
    );
    host.bench.write(".pre-commit-config.yaml", &hooks);
    let project = "[project]\nname = \"tools\"\nversion = \"1\"\nrequires-python = \">=3.8\"\n[tool.poetry]\npackage-mode = false\n";
    host.bench.write("pyproject.toml", project);
    ran(host.command("git"), &["add", "."]).succeeded();
    let tools = host.tools.display();
    let commit = format!(". .venv/bin/activate && {tools}/py/bin/pre-commit run --all-files --color never");
    let env = host.bench.workspace.canonicalize().expect("there").join(".venv").display().to_string();

    assert_eq!(host.py("poetry", &["env", "info", "--path"]).succeeded().stdout.trim(), env);
    assert_eq!(host.py("poetry", &["run", "python", "-c", ASK]).succeeded().stdout, "/workspace/.venv\n");
    // A hook of the project's own runs in the container; one with an environment of its own has it on the host, made from a
    // Python of the host.
    let done = ran(host.command("/bin/bash"), &["-euc", &commit]);
    assert!(done.succeeded().stdout.contains("\n/workspace/.venv\n"), "{done:?}");
    assert!(
        done.stdout.contains(".cache/pre-commit/") && done.stdout.contains("py_env-python3.11 False\n"),
        "{done:?}"
    );

    host.bench.run(&["stop"]).succeeded();
    assert_eq!(host.py("poetry", &["env", "info", "--path"]).succeeded().stdout.trim(), env);
    host.py("poetry", &["run", "python", "-c", ASK]).failed("start it with: gpubay -C");
    let done = ran(host.command("/bin/bash"), &["-euc", &commit]);
    done.failed("start it with: gpubay -C");
    assert!(done.stdout.contains("py_env-python3.11 False\n"), "the other hook still runs: {done:?}");
    host.bench.up();
    host.imports();
}

/// Whatever makes an environment of its own over it, inside or outside: the next `up` has it as it was, and says what is left.
#[test]
fn an_environment_that_was_overwritten_is_mended() {
    let host = Host::with(DOCKERFILE);
    host.bench.up();
    let env = host.bench.workspace.join(".venv");
    let settings = std::fs::read_to_string(env.join("pyvenv.cfg")).expect("there");
    let mended = || {
        let report = host.bench.up();
        host.imports();
        assert_eq!(std::fs::read_to_string(env.join("pyvenv.cfg")).expect("there"), settings);
        report["warnings"].to_string()
    };
    host.py("python", &["-m", "venv", "--without-pip", "--upgrade", ".venv"]).succeeded();
    assert!(!mended().contains("has installed into"));
    // The container's own venv, from inside.
    host.own("python", &["-m", "venv", "--without-pip", "--upgrade", ".venv"]).succeeded();
    assert!(!mended().contains("has installed into"));
    host.py("virtualenv", &["--quiet", "--no-download", ".venv"]).succeeded();
    let warnings = mended();
    assert!(warnings.contains("has installed into") && warnings.contains("pip"), "{warnings}");
    std::fs::remove_dir_all(&env).expect("removed");
    assert!(!mended().contains("has installed into"));

    // A job that runs on has lost what was mounted over the folder that is deleted: what it can write the host never runs.
    host.bench.run(&["run", "--detach", "--name", "long", "--", "sleep", "1000"]).succeeded();
    std::fs::remove_dir_all(&env).expect("removed");
    let report = host.bench.up();
    assert!(report["warnings"].to_string().contains("while the job long runs"), "{report}");
    assert!(report["host_env"].is_null() && !env.join("bin").exists(), "{report}");
    host.bench.run(&["down", "--force", "long"]).succeeded();
    mended();
}
