//! Where people stumble: an empty word, a name that means something else, an engine that says nothing, a plain terminal.

use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;

use gpubay_e2e::{Bench, Ran, Terminal, Who, ended, finish, output, send};
use rustix::process::Signal;

fn bench(engine: &str, toml: &str) -> Bench {
    let bench = Bench::on_cpu(engine, Who::Ordinary, "stumbles");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.write("gpubay.toml", toml);
    bench
}

/// What an unset variable of a script makes of a command line.
#[test]
fn an_empty_name_means_nothing_and_dev_the_dev_container() {
    let bench = bench("docker28", "");
    bench.up();
    for command in [["rm", "--force", ""], ["down", "--force", ""]] {
        assert_eq!(bench.run(&command).code, Some(2), "{command:?}");
    }
    bench.run(&["run", "--detach", "--name", "dev", "--", "true"]).failed("`dev` is the dev container");
    assert_eq!(bench.json(&["ps"])["containers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_job_starts_on_no_stale_venv_unsaid() {
    let bench = bench("docker28", "[venv]\nrequirements = [\"requirements.txt\"]\n");
    bench.write("requirements.txt", "");
    bench.up();
    let ran = bench.run(&["run", "--", "true"]);
    assert!(!ran.succeeded().stderr.contains("requirements"), "{ran:?}");
    bench.write("requirements.txt", "six==1.17.0\n");
    let ran = bench.run(&["run", "--", "true"]);
    assert!(ran.succeeded().stderr.contains("the requirements are not those that were installed"), "{ran:?}");
    // An emptied venv is made anew by whatever comes first.
    bench.run(&["down"]).succeeded();
    bench.run(&["rm", "--venv"]).succeeded();
    let ran = bench.run(&["run", "--", "python", "-c", "import six; print(six.__version__)"]);
    assert_eq!(ran.succeeded().stdout, "1.17.0\n");
}

#[test]
fn ctrl_c_is_heard_while_an_engine_says_nothing() {
    let bench = bench("docker28", "");
    let silent = bench.outside().join("silent.sock");
    let listener = UnixListener::bind(&silent).expect("bound");
    std::fs::set_permissions(&silent, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("opened");
    for command in [&["ps"][..], &["up"], &["run", "--", "true"], &["down"], &["gpus"], &["prune", "--dry-run"]] {
        let mut child = bench.gpubay(command);
        let mut child = child.env("DOCKER_HOST", format!("unix://{}", silent.display())).spawn().expect("started");
        let (connection, _) = listener.accept().expect("it asks");
        send(&child, Signal::INT);
        // What has nothing to clean up does not handle the signal at all: a shell says 130 of that, too.
        let end = ended(&mut child);
        assert!(end.code() == Some(130) || end.signal() == Some(2), "{command:?}: {end}");
        drop(connection);
    }
}

#[test]
fn what_cannot_be_written_is_no_success() {
    let bench = bench("docker28", "");
    for command in [&["schema"][..], &["man"], &["doctor", "--json"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
        let mut child = bench.gpubay(command);
        let child = child.stdout(full).stderr(std::process::Stdio::piped()).spawn().expect("started");
        let ran = Ran::of(&finish(child), command);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.failed("cannot be written");
    }
}

#[test]
fn a_terminal_that_cannot_move_gets_lines() {
    let bench = bench("docker28", "[gpus]\nuse = \"none\"\n");
    let terminal = Terminal::start(&bench, &["up"], &[("TERM", "dumb")]);
    let (text, code) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Mirroring") && !text.contains('\u{1b}'), "{text:?}");
}

/// On rootless Docker the user is root inside, and what the image installed for its user is root's there.
#[test]
fn what_init_installs_is_there_on_rootless_docker() {
    let bench = Bench::on_cpu("docker28-rootless", Who::Ordinary, "rootless-init");
    bench.run(&["init", "--base", "gpubay-lab/python", "--offline"]).succeeded();
    bench.write("requirements.txt", "six==1.17.0\n");
    bench.up();
    let ran = Ran::of(
        &output(
            &mut bench
                .python(&["-c", "import six, os; print(six.__version__, os.path.realpath(os.environ['TORCH_HOME']))"]),
        ),
        &["python"],
    );
    assert_eq!(ran.succeeded().stdout, "1.17.0 /root/.cache/torch\n");
}
