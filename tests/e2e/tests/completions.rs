//! Completions in a real bash: what is typed, Tab, and what stands there then.

use gpubay_e2e::{Bench, Ran, Terminal, Who, lab, output};

fn path() -> String {
    format!("{}:/usr/bin:/bin", lab().gpubay.parent().expect("a folder").display())
}

/// What bash would offer for the last of `words`.
fn offered(bench: &Bench, words: &[&str]) -> Vec<String> {
    let script = r#"
source <(gpubay completions bash) || exit 9
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
_clap_complete_gpubay gpubay "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2>&1
printf '%s\n' "${COMPREPLY[@]}"
"#;
    let mut command = bench.command("bash");
    command.args(["--norc", "-c", script, "bash"]).args(words).env("PATH", path());
    let ran = Ran::of(&output(&mut command), words);
    assert!(ran.succeeded().stderr.is_empty(), "{ran:?}");
    ran.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn names_of_jobs_containers_records_and_commands() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "tab");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.write("sub/x", "");
    bench.write(
        "gpubay.toml",
        "[jobs.train]\ncommand = [\"true\"]\n[jobs.trial]\ncommand = [\"true\"]\n[jobs.eval]\ncommand = [\"true\"]\n",
    );
    let offers = |words: &[&str], want: &[&str]| {
        let mut line = vec!["gpubay"];
        line.extend(words);
        assert_eq!(offered(&bench, &line), want, "{words:?}");
    };
    offers(&["run", "tr"], &["train", "trial"]);
    offers(&["run", "--detach", "--name", "x", "ev"], &["eval"]);
    offers(&["-C", "sub", "run", "tr"], &[]);
    // What follows the first word is the program's own.
    offers(&["run", "train", "tr"], &[]);
    offers(&["schema", "--output", "d"], &["doctor", "down"]);
    offers(&["man", "s"], &["schema", "serve", "shell", "stop", "sync"]);
    offers(&["up", "--gpus", "a"], &["all", "auto"]);
    offers(&["up", "--gpus", "device=1"], &["device=1"]);
    offers(&["completions", "b"], &["bash"]);
    offers(&["logs", "lon"], &[]);
    bench.run(&["run", "--detach", "--name", "long-one", "--", "sleep", "1000"]).succeeded();
    bench.run(&["run", "--name", "long-gone", "--", "true"]).succeeded();
    offers(&["logs", "lon"], &["long-one"]);
    offers(&["rm", "long-one", "d"], &["dev"]);
    offers(&["down", "lon"], &["long-one"]);
    offers(&["record", "lon"], &["long-gone", "long-one"]);
    offers(&["run", "--again", "lon"], &["long-gone", "long-one"]);
    // An engine that nobody approved is not asked, and a broken file offers nothing and says nothing.
    bench.write("gpubay.toml", "[engine]\nhost = \"unix:///nonexistent/d.sock\"\n[jobs.x]\ncommand = [\"true\"]\n");
    offers(&["logs", "lon"], &[]);
    offers(&["run", "x"], &[]);
    bench.write("gpubay.toml", "[jobs\n");
    offers(&["run", "tr"], &[]);
}

#[test]
fn tab_in_an_interactive_bash() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "typed");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.write("gpubay.toml", "[jobs.pretrain]\ncommand = [\"true\"]\n");
    let mut bash = Terminal::start_program(&bench, "bash", &["--norc", "-i"], &[("PATH", &path()), ("PS1", "ready> ")]);
    bash.read_until("ready> ");
    bash.write("source <(gpubay completions bash); echo so''urced\n");
    bash.read_until("sourced");
    bash.read_until("ready> ");
    bash.write("gpubay run pre\t");
    bash.read_until("gpubay run pretrain ");
    // Which are several words to bash.
    for (typed, whole) in [("up --gpus device=1", "--gpus device=1 "), ("run --gpus=device=1", "--gpus=device=1 ")] {
        bash.write(&format!("\u{15}gpubay {typed}\t"));
        bash.read_until(whole);
    }
    bash.write("\u{15}gpubay up --gpus device=\t\t");
    for device in ["device=0", "device=1"] {
        bash.read_until(device.trim_start_matches("device="));
    }
    bash.write("\u{15}gpubay doc\t");
    bash.read_until("gpubay doctor ");
    bash.write("\u{15}exit\n");
    assert_eq!(bash.end().1, Some(0));
}
