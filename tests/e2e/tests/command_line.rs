//! The command line itself: what is wrong with it, which workspace it means, and what it says quietly.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gpubay_e2e::{Bench, Ran, Who, as_published, output};

fn without_an_engine(bench: &Bench, args: &[&str]) -> Ran {
    Ran::of(&output(bench.gpubay(args).env("DOCKER_HOST", "unix:///nonexistent/d.sock")), args)
}

#[test]
fn a_wrong_command_line_ends_with_2_before_anything_is_looked_at() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "wrong");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    for args in [
        &["nonsense"][..],
        &["up", "--gpus", "some"],
        &["up", "--gpus", ""],
        &["exec"],
        &["run"],
        &["run", "--gpus", "some", "--", "true"],
        &["run", "--gpus", "0,,1", "--", "true"],
        &["run", "--name", "no name", "--", "true"],
        &["run", "--name", "", "--", "true"],
        &["run", "--detach", "--name", "dev", "--", "true"],
        &["run", "--snapshot", "--live", "/tmp", "--", "true"],
        &["run", "--snapshot", "--live", "a/../..", "--", "true"],
        &["run", "--live", "data", "--", "true"],
        &["run", "--again", "a", "--", "true"],
        &["init", "--name", "a/b"],
        &["init", "--base", "a b"],
        &["init", "--base", "Capital"],
        &["attach", "--print", "--ssh", ""],
        &["logs", "--tail", "few"],
        &["rm", ""],
        &["prune", "everything"],
        &["schema", "--output", "nonsense"],
        &["man", "nonsense"],
        &["completions", "nonsense"],
    ] {
        let ran = without_an_engine(&bench, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("error: ") && !ran.stderr.contains("no container engine"), "{args:?}: {ran:?}");
        let mut with_json = vec!["--json"];
        with_json.extend(args);
        let ran = without_an_engine(&bench, &with_json);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        assert_eq!(ran.json()["error"]["code"], "usage", "{args:?}: {ran:?}");
        as_published("ps", &ran.json());
    }
    // Of somebody else's command line nothing is ours.
    assert_eq!(without_an_engine(&bench, &["run", "--name", "", "--", "true", "--json"]).stdout, "");
    let help = without_an_engine(&bench, &["run", "--help", "--json"]);
    assert!(help.succeeded().stdout.starts_with("Run a job"), "{help:?}");
}

#[test]
fn schema_manual_and_completions_are_one_object_with_json() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "texts");
    let schema = bench.json(&["schema", "--output", "up"]);
    assert_eq!(schema["schema"]["title"], "The output of gpubay up --json");
    let page = bench.json(&["man", "run"]);
    assert!(page["page"].as_str().is_some_and(|page| page.contains(".SH EXIT STATUS")), "{page}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = bench.json(&["completions", shell]);
        assert!(script["script"].as_str().is_some_and(|script| script.contains("gpubay")), "{shell}: {script}");
    }
}

#[test]
fn a_subfolder_belongs_to_its_workspace() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "upwards");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.write("src/deep/x", "");
    bench.write("gpubay.toml", "");
    let line = format!("workspace: {}\n", bench.workspace.canonicalize().expect("there").display());
    let deep = bench.workspace.join("src/deep");
    let below = |args: &[&str]| Ran::of(&output(bench.gpubay(args).current_dir(&deep)), args);
    let up = below(&["up", "--json"]);
    assert!(up.succeeded().stderr.contains(&line), "{up:?}");
    assert!(!deep.join(".venv").exists() && bench.containers().len() == 1);

    for args in [&["exec", "--", "pwd"][..], &["run", "--", "pwd"]] {
        let ran = below(args);
        assert_eq!(ran.succeeded().stdout, "/workspace/src/deep\n", "{args:?}");
        assert_eq!(ran.stderr.matches(&line).count(), 1, "{args:?}: {ran:?}");
        // Where it was started is what it says it is: nothing to be said.
        let above = bench.run(args);
        assert!(above.succeeded().stdout == "/workspace\n" && !above.stderr.contains("workspace:"), "{above:?}");
    }
    // A workspace without a file is known since its `up`.
    std::fs::remove_file(bench.workspace.join("gpubay.toml")).expect("removed");
    assert_eq!(below(&["exec", "--", "pwd"]).succeeded().stdout, "/workspace/src/deep\n");
    let quiet = below(&["-q", "ps"]);
    assert!(quiet.succeeded().stdout.contains("dev") && quiet.stderr.is_empty(), "{quiet:?}");
    // -C names exactly, and `init` writes where it is.
    let exactly = below(&["-C", ".", "ps"]);
    assert!(exactly.succeeded().stdout.contains("no containers") && exactly.stderr.is_empty(), "{exactly:?}");
    let init = below(&["init", "--preset", "python", "--dry-run", "--offline", "--json"]).succeeded().json();
    assert!(init["workspace"].as_str().is_some_and(|folder| folder.ends_with("/src/deep")), "{init}");
}

/// Whoever can write above a folder must not decide what is built and run in it.
#[test]
fn a_file_that_somebody_else_put_above_is_not_taken() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "elsewhere");
    let set = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("set");
    // As /tmp: everybody's, with the user's own folder in it; the file is another's, then their own.
    let open = bench.outside().join("open");
    let mine = open.join("mine/deep");
    std::fs::create_dir_all(&mine).expect("made");
    set(&open, 0o1777);
    bench.own(&open.join("mine"));
    bench.own(&mine);
    let hostile = "[engine]\nhost = \"tcp://203.0.113.1:2375\"\n";
    let planted = open.join("gpubay.toml");
    std::fs::write(&planted, hostile).expect("written");
    let ps = || Ran::of(&output(bench.gpubay(&["ps"]).current_dir(&mine)), &["ps"]);
    let is_plain =
        |ran: Ran| assert!(ran.succeeded().stdout.contains("no containers") && ran.stderr.is_empty(), "{ran:?}");
    is_plain(ps());
    bench.own(&planted);
    is_plain(ps());
    // A folder that is another user's, with nobody else in it.
    set(&open, 0o755);
    is_plain(ps());
    // A file of another's in a folder of the user's, as a container that runs as root can write it.
    bench.own(&open);
    std::os::unix::fs::chown(&planted, Some(0), Some(0)).expect("handed over");
    is_plain(ps());
    // Without a guard in its way it is taken.
    bench.own(&planted);
    let taken = ps();
    assert!(taken.failed("203.0.113.1").stderr.contains("workspace: "), "{taken:?}");
}

#[test]
fn a_plain_folder_is_no_broken_configuration_and_answers_are_said_quietly() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "plain");
    for (args, said) in [
        (&["ps"][..], "no containers"),
        (&["gpus"], "cdi: "),
        (&["doctor"], "is no workspace"),
        (&["down"], "nothing to do"),
        (&["prune", "--dry-run", "mirrors"], "nothing to remove"),
        (&["-q", "ps"], "no containers"),
        (&["-q", "gpus"], "cdi: "),
        (&["-q", "doctor"], "is no workspace"),
        (&["-q", "schema"], "$schema"),
        (&["-q", "man"], ".SH NAME"),
    ] {
        let ran = bench.run(args);
        assert!(ran.succeeded().stdout.contains(said), "{args:?}: {ran:?}");
        assert!(!ran.stderr.contains("warning") && !ran.stderr.contains("cannot be used"), "{args:?}: {ran:?}");
    }
    // Several Dockerfiles are a question for `up`, and nothing that is broken.
    bench.write("docker/a/Dockerfile", "FROM gpubay-lab/python\n");
    bench.write("docker/b/Dockerfile", "FROM gpubay-lab/python\n");
    assert_eq!(bench.run(&["ps"]).succeeded().stderr, "");
    bench.write("gpubay.toml", "[image]\ndockerfile = \"c\"\n");
    assert!(bench.run(&["ps"]).succeeded().stderr.contains("the configuration cannot be used"));
    assert_eq!(bench.run(&["-q", "down"]).succeeded().stdout, "");
}

#[test]
fn a_job_whose_name_is_mistyped_is_told_which_there_are() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "typo");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.write("gpubay.toml", "[jobs.train]\ncommand = [\"true\"]\n[jobs.eval]\ncommand = [\"true\"]\n");
    for args in [&["run", "trian"][..], &["run", "--detach", "trian"]] {
        let ran = bench.run(args);
        assert_eq!(ran.code, Some(127), "{ran:?}");
        let next: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("next: ")).collect();
        assert!(next.len() == 1 && next[0].contains("[jobs] has: eval, train"), "{args:?}: {ran:?}");
    }
}
