//! Dockerfiles with the habits of those that people have: each through `up`, completion, and `run`.

use std::path::Path;
use std::process::Command;

use gpubay_e2e::{Bench, Ran, Terminal, Who, output};
use serde_json::Value;

const NO_GPU: &str = "[gpus]\nuse = \"none\"\n";

fn with(dockerfile: &str, toml: &str) -> Bench {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "habit");
    bench.write("Dockerfile", dockerfile);
    bench.write("gpubay.toml", &format!("{toml}{NO_GPU}"));
    bench
}

/// Importable inside by a job and through the host env, and a file in a folder that the host's tools are told of.
#[track_caller]
fn has(bench: &Bench, module: &str) {
    let code = format!("import {module}; print({module}.__file__)");
    let direct = Ran::of(&output(&mut bench.python(&["-c", &code])), &["python", "-c", &code]);
    let job = bench.run(&["run", "--", "python", "-c", &code]);
    assert_eq!(job.succeeded().stdout, direct.succeeded().stdout);
    let folders = bench.run(&["sync", "--print-paths"]);
    let found = |folder: &str| {
        let folder = Path::new(folder);
        folder.join(module).join("__init__.py").is_file() || folder.join(format!("{module}.py")).is_file()
    };
    assert!(folders.succeeded().stdout.lines().any(found), "{module} in none of {folders:?}");
}

/// A real language server, outside, finds it in the workspace's `.venv` with no setting.
#[track_caller]
fn completes(bench: &Bench, text: &str, label: &str) {
    let lsp = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity/lsp.py");
    let servers = std::env::var("GPUBAY_TEST_HOSTTOOLS").expect("GPUBAY_TEST_HOSTTOOLS: run `make test`") + "/servers";
    bench.write("asked.py", &text.replace('|', ""));
    let mut command = Command::new("/usr/bin/python3");
    command.arg(lsp).args(["--server", "ty", "--servers", &servers, "--file", "asked.py", "--complete", text]);
    command.arg("--workspace").arg(&bench.workspace);
    let ran = Ran::of(&output(&mut command), &["ty", text]);
    assert!(ran.succeeded().stdout.contains(label), "{ran:?}");
}

fn warnings(report: &Value) -> String {
    report["warnings"].as_array().expect("warnings").iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// An argument that nobody gives, a user whose number is not the host's, and packages installed as that user.
#[test]
fn a_user_of_the_dockerfiles_own_and_pip_after_it() {
    let bench = with(
        "FROM gpubay-lab/python\nARG USER_UID\nRUN useradd -m -u 1000 ada && echo \"$USER_UID\" > /asked\nUSER ada\nWORKDIR /home/ada\n\
         COPY wheel /tmp/wheel\nRUN python3 -m pip install --user --break-system-packages --no-index /tmp/wheel/*.whl\n",
        "",
    );
    let make = "import os, zipfile; os.mkdir('wheel'); z = zipfile.ZipFile('wheel/afteruser-1-py3-none-any.whl', 'w'); \
        z.writestr('afteruser/__init__.py', 'def told_by_the_container(): pass\\n'); i = 'afteruser-1.dist-info/'; \
        z.writestr(i + 'METADATA', 'Metadata-Version: 2.1\\nName: afteruser\\nVersion: 1\\n'); \
        z.writestr(i + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'); z.writestr(i + 'RECORD', '')";
    assert!(bench.command("/usr/bin/python3").args(["-c", make]).status().expect("started").success());
    bench.up();
    has(&bench, "afteruser");
    completes(&bench, "import afteruser\nafteruser.told|", "told_by_the_container");
    let ran =
        bench.run(&["exec", "--", "sh", "-c", "id -u; id -un; echo $HOME; touch ~/x ~/.cache/y out && cat /asked"]);
    let uid = bench.uid();
    assert_eq!(ran.succeeded().stdout, format!("{uid}\nada\n/home/ada\n{uid}\n"));
    let made = std::fs::metadata(bench.workspace.join("out")).expect("written");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), uid);
}

/// A tree of conda's that lies in the context, and a folder of `PATH` that only root may enter, with two slashes in it.
#[test]
fn an_environment_that_was_added_and_a_path_that_is_closed() {
    let bench = with(
        "FROM gpubay-lab/conda\nRUN mv /opt/conda /root/miniconda && chmod 700 /root\nADD py36 /miniconda/envs/py36\n\
         ENV PATH=/root/miniconda//bin:/miniconda/envs/py36/bin:$PATH\n",
        "",
    );
    let made = bench.docker(&["create", "gpubay-lab/conda", "true"]);
    let id = made.succeeded().stdout.trim().to_owned();
    let tree = bench.workspace.join("py36");
    bench.docker(&["cp", &format!("{id}:/opt/conda"), tree.to_str().expect("text")]).succeeded();
    bench.docker(&["rm", &id]).succeeded();
    let report = bench.up();
    let said = warnings(&report);
    assert!(said.contains("PATH names /root/miniconda/bin, which the container's user"), "{said}");
    assert!(said.contains("since /root is closed") && said.contains("`RUN chmod o+rx /root`"), "{said}");
    has(&bench, "condaonly");
    completes(&bench, "import condaonly\ncondaonly.ans|", "answer");
    let prefix = bench.run(&["exec", "--", "python", "-c", "import sys; print(sys.base_prefix)"]);
    assert_eq!(prefix.succeeded().stdout, "/miniconda/envs/py36\n");
    // The user's tools that lie in the open environment are found by name.
    bench.run(&["exec", "--", "python3.11", "-c", "pass"]).succeeded();
}

/// The whole workspace in the image: an edit makes it another image, and where the mount is decides which copy runs.
#[test]
fn a_workspace_that_is_copied_into_its_image() {
    let bench = with("FROM gpubay-lab/python\nWORKDIR /app\nCOPY ./ /app\nRUN cp train.py /copied\n", "");
    bench.write("train.py", "print('one')\n");
    let said = warnings(&bench.up());
    assert!(said.contains("Dockerfile:3 copies the whole workspace") && said.contains(".dockerignore"), "{said}");
    assert!(
        said.contains("/app is a copy that does not follow your edits") && said.contains("workdir = \"/app\""),
        "{said}"
    );

    bench.write("gpubay.toml", &format!("[container]\nworkdir = \"/app\"\n{NO_GPU}"));
    let said = warnings(&bench.up());
    assert!(!said.contains("does not follow"), "{said}");
    bench.write("train.py", "print('two')\n");
    for args in [["exec", "--", "python", "/app/train.py"], ["run", "--", "python", "/app/train.py"]] {
        assert_eq!(bench.run(&args).succeeded().stdout, "two\n", "the mount lies over the copy");
    }
    // Nothing is at stake in the dev container, so it is replaced by one of the image as it is now.
    let report = bench.up();
    assert_eq!(bench.run(&["exec", "--", "cat", "/copied"]).succeeded().stdout, "print('two')\n", "{report}");
    bench.write(".dockerignore", "*\n!Dockerfile\n");
    bench.write("Dockerfile", "FROM gpubay-lab/python\nCOPY ./ /app\n");
    bench.up();
    bench.write("train.py", "print('three')\n");
    let report = bench.up();
    assert_eq!(
        (&report["image"]["built"], &report["drift"]),
        (&Value::Bool(false), &serde_json::json!([])),
        "{report}"
    );
    bench.run(&["down", "--force"]).succeeded();
}

/// Whatever starts gets the variables of a script that ends in `exec "$@"`.
#[test]
fn variables_of_an_entrypoint_reach_whatever_starts() {
    let bench = with(
        "FROM gpubay-lab/python\nRUN printf '#!/bin/bash\\nset -e\\nexport DATA=/data/$(whoami)\\nexport PATH=/extra:$PATH\\n\
         echo hello from the entrypoint\\nexec \"$@\"\\n' > /entry.sh && chmod +x /entry.sh && mkdir /extra && \
         cp /bin/true /extra/onlyextra\nENTRYPOINT [\"/entry.sh\"]\nCMD [\"bash\"]\n",
        "",
    );
    bench.up();
    let name = bench.run(&["exec", "--", "whoami"]).succeeded().stdout.trim().to_owned();
    let want = format!("/data/{name}\n");
    let code = "import os, subprocess; subprocess.check_call(['onlyextra']); print(os.environ['DATA'])";
    let direct = Ran::of(&output(&mut bench.python(&["-c", code])), &["-c", code]);
    assert_eq!(direct.succeeded().stdout, want);
    assert_eq!(bench.run(&["exec", "--", "python", "-c", code]).succeeded().stdout, want);
    // A job is started through it each time, as `docker run` would, and what it says is the job's.
    let job = bench.run(&["run", "--", "python", "-c", code]);
    assert_eq!(job.succeeded().stdout, format!("hello from the entrypoint\n{want}"));
    let mut shell = Terminal::start(&bench, &["shell"], &[]);
    shell.write("echo =$DATA=; exit\n");
    shell.read_until(&format!("=/data/{name}="));
    assert_eq!(shell.end().1, Some(0));
    // The venv stays first.
    let which = bench.run(&["exec", "--", "sh", "-c", "command -v python"]);
    assert_eq!(which.succeeded().stdout, "/workspace/.venv/bin/python\n");
}

/// It never hands over: waited for so long and no longer, said with the key to set, and nothing of it runs on.
#[test]
fn an_entrypoint_that_is_a_server_is_ended() {
    let bench = with(
        "FROM gpubay-lab/python\nENTRYPOINT [\"sh\", \"-c\", \"export SERVER=1; sleep 4242 & exec sleep 4242\"]\n",
        "",
    );
    let report = bench.up();
    let said = warnings(&report);
    assert!(said.contains("did not hand over") && said.contains("entrypoint = \"none\""), "{said}");
    let left = bench.run(&["exec", "--", "sh", "-c", "cat /proc/[0-9]*/comm"]);
    assert!(!left.succeeded().stdout.contains("sleep"), "{left:?}");
    assert_eq!(warnings(&bench.up()).matches("did not hand over").count(), 1, "it is still so");
    bench.write("gpubay.toml", &format!("[container]\nentrypoint = \"none\"\n{NO_GPU}"));
    assert!(!warnings(&bench.up()).contains("hand over"));
    assert_eq!(bench.run(&["run", "--", "python", "-c", "print(1)"]).succeeded().stdout, "1\n");
}

/// Two configurations of one folder, an image and a name each; what both hold is mirrored once.
#[test]
fn two_sets_of_arguments_live_side_by_side() {
    let site = "/usr/local/lib/python3.11/dist-packages";
    let bench = with("", "");
    bench.write(
        "Dockerfile",
        &format!(
            "ARG CUDA=0\nFROM gpubay-lab/python\nRUN mkdir -p {site} && echo 'x = 1' > {site}/both.py\nARG CUDA\nARG CUDNN=0\n\
             RUN echo \"version = '$CUDA-$CUDNN'\" > {site}/cuda.py\n"
        ),
    );
    let unique = bench.outside().file_name().expect("a name").to_string_lossy().to_lowercase().replace('.', "");
    let tag = |cuda: &str| format!("{unique}/matrix:cuda{cuda}");
    let up = |cuda: &str, cudnn: &str| {
        let image = format!("[image]\nargs = {{ CUDA = \"{cuda}\", CUDNN = \"{cudnn}\" }}\ntag = \"{}\"\n", tag(cuda));
        bench.write("gpubay.toml", &format!("{image}{NO_GPU}"));
        let report = bench.json(&["up", "--allow", &format!("tag:{}", tag(cuda))]);
        let code = "import cuda, both; print(cuda.version)";
        let ran = Ran::of(&output(&mut bench.python(&["-c", code])), &[cuda]);
        assert_eq!(ran.succeeded().stdout, format!("{cuda}-{cudnn}\n"));
        let pth = std::fs::read_to_string(bench.workspace.join(".venv/lib/python3.11/site-packages/container.pth"));
        let pth = pth.expect("container.pth");
        let module = pth.lines().find_map(|folder| std::fs::read_to_string(Path::new(folder).join("cuda.py")).ok());
        assert_eq!(module.expect("mirrored"), format!("version = '{cuda}-{cudnn}'\n"));
        report
    };
    let first = up("11.8", "8");
    let second = up("12.4", "9");
    assert_ne!(first["image"]["id"], second["image"]["id"]);
    assert_eq!(second["mirror"]["written_files"], 1, "{second}");
    let back = up("11.8", "8");
    assert_eq!((&back["image"]["built"], &back["image"]["id"]), (&Value::Bool(false), &first["image"]["id"]));
    assert_eq!(back["mirror"]["written_files"], 0, "{back}");
    for (cuda, report) in [("11.8", &first), ("12.4", &second)] {
        let found = bench.inspect(&tag(cuda));
        assert_eq!(&found["Id"], &report["image"]["id"]);
        bench.docker(&["rmi", &tag(cuda)]).succeeded();
    }
}

/// As distroless images: no shell, and nothing that a venv is made with.
#[test]
fn an_image_without_a_shell_completes_and_runs() {
    for (toml, image) in [("", "bare"), ("[container]\nread_only = true\n", "bare")] {
        let bench = with(&format!("FROM gpubay-lab/{image}\nCOPY src /usr/lib/python3/dist-packages/only\n"), toml);
        bench.write("src/__init__.py", "def in_the_container(): pass\n");
        bench.up();
        has(&bench, "only");
        if toml.is_empty() {
            completes(&bench, "import only\nonly.in_the|", "in_the_container");
        }
        bench.run(&["shell"]).failed("has no shell");
    }
}
