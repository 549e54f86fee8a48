//! What a person at a terminal sees and types: questions, progress, a shell.

use gpubay_e2e::{Bench, Terminal, Who};
use serde_json::json;

const USERS: [(&str, Who); 2] = [("docker28", Who::Ordinary), ("docker20", Who::Root)];

fn plain(engine: &str, who: Who) -> Bench {
    let bench = Bench::on_cpu(engine, who, "terminal");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench
}

#[test]
fn which_of_several_dockerfiles_is_asked_once() {
    for (engine, who) in USERS {
        let bench = Bench::on_cpu(engine, who, "terminal");
        for name in ["a", "b"] {
            bench.write(
                &format!("docker/{name}/Dockerfile"),
                &format!("FROM gpubay-lab/busybox\nENV FROM_FILE={name}\n"),
            );
        }
        let ran = bench.run(&["up"]);
        ran.failed("several Dockerfiles could be meant: docker/a/Dockerfile, docker/b/Dockerfile");
        ran.failed("[image] dockerfile = \"docker/a/Dockerfile\"");

        // No answer is no choice.
        let mut terminal = Terminal::start(&bench, &["up"], &[]);
        terminal.read_until("[1-2] ");
        terminal.write("\u{4}");
        let (text, code) = terminal.end();
        assert!(code == Some(1) && text.contains("several Dockerfiles"), "{code:?} {text}");

        let mut terminal = Terminal::start(&bench, &["up"], &[]);
        let text = terminal.read_until("[1-2] ");
        assert!(text.contains("1  docker/a/Dockerfile") && text.contains("2  docker/b/Dockerfile"), "{text}");
        terminal.write("3\n");
        terminal.read_until("[1-2] ");
        terminal.write("2\n");
        let (text, code) = terminal.end();
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(bench.run(&["exec", "--", "sh", "-c", "echo $FROM_FILE"]).succeeded().stdout, "b\n");

        // It is remembered, outside of the workspace.
        assert_eq!(bench.up()["drift"], json!([]));
        let choices = std::fs::read_dir(bench.home.join(".local/share/gpubay/choices")).expect("the choices");
        assert_eq!(choices.count(), 1);
        // A choice that is gone is asked again.
        std::fs::remove_file(bench.workspace.join("docker/b/Dockerfile")).expect("removed");
        bench.write("docker/c/Dockerfile", "FROM gpubay-lab/busybox\n");
        bench.run(&["up"]).failed("several Dockerfiles");
    }
}

#[test]
fn consent_is_asked_for_on_a_terminal() {
    let bench = plain("docker28", Who::Ordinary);
    bench.write("gpubay.toml", "[container]\nmounts = [\"/usr/share:/share:ro\"]\n");
    for (answer, code, sure) in [("n", Some(1), false), ("y", Some(0), true)] {
        let mut terminal = Terminal::start(&bench, &["up"], &[]);
        let text = terminal.read_until("[y/N] ");
        assert!(text.contains("mount:/usr/share:/share:ro"), "{text}");
        terminal.write(&format!("{answer}\n"));
        let (text, ended) = terminal.end();
        assert_eq!((ended, bench.containers().len() == 1), (code, sure), "{text}");
    }
    bench.run(&["up"]).succeeded();
}

#[test]
fn what_runs_is_asked_about_before_it_is_ended() {
    let bench = plain("docker28", Who::Ordinary);
    bench.up();
    bench.run(&["run", "--detach", "--name", "busy", "--", "sleep", "1000"]).succeeded();
    for (typed, code, left) in [("n\n", Some(1), 2), ("\u{3}", Some(1), 2), ("y\n", Some(0), 0)] {
        let mut terminal = Terminal::start(&bench, &["down"], &[]);
        let text = terminal.read_until("[y/N] ");
        assert!(text.contains("sleep 1000"), "{text}");
        terminal.write(typed);
        let (text, ended) = terminal.end();
        assert_eq!((ended, bench.containers().len()), (code, left), "{typed:?}: {text}");
    }
}

#[test]
fn progress_moves_on_a_terminal_and_is_lines_elsewhere() {
    let bench = plain("docker28", Who::Ordinary);
    let dockerfile = |mark: &str| {
        let mark = format!("{mark}-{}", bench.outside().display());
        bench.write("Dockerfile", &format!("FROM gpubay-lab/busybox\nRUN sleep 0.5; echo \"mark {mark}\"\n"));
    };
    let color =
        |text: &str| ["\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[36m"].iter().any(|code| text.contains(code));
    dockerfile("one");
    let (text, code) = Terminal::start(&bench, &["up"], &[]).end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("\x1b[2K") || text.contains("\x1b[1A"), "lines that move: {text:?}");
    assert!(color(&text) && text.contains("started"), "{text:?}");
    dockerfile("two");
    let (text, code) = Terminal::start(&bench, &["up"], &[("NO_COLOR", "1")]).end();
    assert_eq!(code, Some(0), "{text}");
    assert!(!color(&text) && text.contains("started"), "{text:?}");
    dockerfile("three");
    let ran = bench.run(&["up"]);
    let text = format!("{}{}", ran.succeeded().stdout, ran.stderr);
    assert!(!text.contains(['\x1b', '\r']), "{text:?}");
    assert!(ran.stderr.lines().any(|line| line.trim_start().starts_with("mark three")), "{text:?}");
}

#[test]
fn the_images_own_shell_in_a_terminal() {
    for (engine, who) in USERS {
        let bench = plain(engine, who);
        bench.up();
        for (args, uid) in [(vec!["shell"], bench.uid()), (vec!["shell", "--root"], 0)] {
            let mut terminal = Terminal::start(&bench, &args, &[("COLORTERM", "truecolor")]);
            // What is typed is echoed, so what is waited for is not in it.
            terminal.write("echo up-$((1+1)) $(id -u) $0 $COLORTERM $(tty) $(stty size)\n");
            terminal.read_until("up-2 ");
            let said = terminal.read_until("\n");
            let words: Vec<&str> = said.split_whitespace().collect();
            assert_eq!(words[..3], [uid.to_string().as_str(), "/bin/sh", "truecolor"], "{said}");
            assert!(words[3].starts_with("/dev/pts/") && words[4..] == ["30", "100"], "{said}");
            terminal.resize(44, 120);
            terminal.write("until [ \"$(stty size)\" = \"44 120\" ]; do sleep 0.05; done; echo resized-$((1+1))\n");
            terminal.read_until("resized-2");
            // Ctrl-C is the foreground program's, not the shell's nor ours.
            terminal.write("sh -c 'echo begun-$((1+1)); exec sleep 1000'\n");
            terminal.read_until("begun-2");
            terminal.write("\u{3}");
            terminal.write("echo after-$((1+1))\n");
            terminal.read_until("after-2");
            terminal.write("exit 3\n");
            let (text, code) = terminal.end();
            assert_eq!(code, Some(3), "{args:?} on {engine}: {text}");
        }
    }
}

#[test]
fn a_job_in_a_terminal_has_one() {
    let bench = plain("docker28", Who::Ordinary);
    bench.up();
    // The engine takes a size only once the job has started.
    let script = "tty; until [ \"$(stty size 2>&1)\" = \"30 100\" ]; do sleep 0.05; done; echo ready; read line; \
                  echo got $line; exec sleep 1000";
    let mut terminal = Terminal::start(&bench, &["run", "--", "sh", "-c", script], &[]);
    terminal.read_until("/dev/");
    terminal.read_until("ready");
    terminal.write("typed\n");
    terminal.read_until("got typed");
    terminal.write("\u{3}");
    let (text, code) = terminal.end();
    assert_eq!(code, Some(130), "{text}");
    assert_eq!(bench.containers().len(), 1, "the dev container alone");
}

/// An editor shows a shell that fails in red, also one that ended since its user asked for another container.
#[test]
fn in_an_editor_a_shell_that_goes_with_its_container_has_not_failed() {
    let bench = plain("docker28", Who::Ordinary);
    let up = bench.up();
    for (args, wanted) in [(vec!["shell", "--in-editor"], Some(0)), (vec!["shell"], Some(125))] {
        let mut terminal = Terminal::start(&bench, &args, &[]);
        terminal.write("echo ru''ns\n");
        terminal.read_until("runs");
        bench.docker(&["kill", up["container"]["id"].as_str().expect("an id")]).succeeded();
        let (text, code) = terminal.end();
        assert_eq!(code, wanted, "{text}");
        bench.up();
        // What the shell itself says stays what it is.
        let terminal = Terminal::start(&bench, &args, &[]);
        terminal.write("exit 3\n");
        assert_eq!(terminal.end().1, Some(3));
    }
}
