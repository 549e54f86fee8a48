//! What the command line says, word for word: exit code, stdout and stderr of each command and of its usual errors.
//! What differs from run to run is filtered. `UPDATE_EXPECT=1` writes what is said now; then read the difference.

#![expect(clippy::needless_raw_string_hashes, reason = "as expect-test writes them")]

use expect_test::{Expect, expect};
use gpubay_e2e::{Bench, Ran, Who, output};

#[track_caller]
fn says(bench: &Bench, args: &[&str], expected: &Expect) {
    run(bench, args, None, expected);
}

#[track_caller]
fn says_without_an_engine(bench: &Bench, args: &[&str], expected: &Expect) {
    run(bench, args, Some("unix:///nonexistent/d.sock"), expected);
}

#[track_caller]
fn run(bench: &Bench, args: &[&str], host: Option<&str>, expected: &Expect) {
    let mut command = bench.gpubay(args);
    if let Some(host) = host {
        command.env("DOCKER_HOST", host);
    }
    let ran = Ran::of(&output(&mut command), args);
    let mut text = format!("exit {}\n", ran.code.map_or_else(|| "by a signal".to_owned(), |code| code.to_string()));
    for (name, said) in [("stdout", ran.stdout.clone()), ("stderr", without_progress(&ran.stderr))] {
        if !said.is_empty() {
            text.push_str(&format!("--- {name}\n{}", filtered(bench, &said)));
        }
    }
    expected.assert_eq(&text);
}

/// Which steps there are, and how long they take, is not what is meant here.
fn without_progress(text: &str) -> String {
    let begins = |line: &str| ["error:", "next:", "warning:"].iter().any(|word| line.starts_with(word));
    let mut kept = String::new();
    let mut inside = false;
    for line in text.lines() {
        // An error is the last that is said.
        inside |= begins(line);
        if inside {
            kept.push_str(&format!("{line}\n"));
        }
    }
    kept
}

fn filtered(bench: &Bench, text: &str) -> String {
    let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    let text = text.replace(&path(&bench.home), "~").replace(&path(bench.outside()), "OUTSIDE");
    let text = text.replace(&path(&bench.socket), "SOCKET");
    let text = text.replace("Less than a second", "TIME").replace("About a minute", "TIME");
    let mut out = String::new();
    let mut no_engine = false;
    for line in text.lines() {
        // Which holes there are is the engine's affair, and what to do without one depends on the machine.
        if line.contains("(CVE-") {
            continue;
        }
        if no_engine && line.starts_with("next: ") {
            out.push_str("next: WHAT FITS THIS MACHINE\n");
            continue;
        }
        no_engine = line.starts_with("error: no container engine");
        out.push_str(&line_of(line));
        out.push('\n');
    }
    out
}

/// Identities, times and sizes have a word each, and columns two spaces between them.
fn line_of(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let run: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
        let hex = run.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && (run.len() >= 8 || run.len() == 6 && run.bytes().any(|b| b.is_ascii_digit())) {
            out.push_str("ID");
            rest = &rest[run.len()..];
        } else if first.is_ascii_digit() {
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let after = &rest[number..];
            let unit =
                [" minutes", " seconds", " second", " ms", " s", " kB", " MB", " GB", " TB"].into_iter().find(|unit| {
                    after.strip_prefix(unit).is_some_and(|then| !then.starts_with(|c: char| c.is_ascii_alphanumeric()))
                });
            match unit {
                Some(unit) => {
                    out.push_str(if unit.ends_with('B') { "SIZE" } else { "TIME" });
                    rest = &after[unit.len()..];
                }
                None => {
                    out.push_str(&rest[..number]);
                    rest = after;
                }
            }
        } else if !run.is_empty() {
            out.push_str(&run);
            rest = &rest[run.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    let indent = out.len() - out.trim_start().len();
    let words: Vec<&str> = out.trim().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    format!("{}{}", &out[..indent], words.join("  "))
}

#[test]
fn without_an_engine_and_without_a_workspace() {
    let bench = Bench::new("docker28", Who::Ordinary, "quiet");
    let says = says_without_an_engine;
    says(
        &bench,
        &["nonsense"],
        &expect![[r#"
            exit 2
            --- stderr
            error: unrecognized subcommand 'nonsense'

            Usage: gpubay [OPTIONS] <COMMAND>

            For more information, try '--help'.
        "#]],
    );
    says(
        &bench,
        &["up", "--gpu", "1"],
        &expect![[r#"
            exit 2
            --- stderr
            error: unexpected argument '--gpu' found

              tip: a similar argument exists: '--gpus'

            Usage: gpubay up --gpus <GPUS>

            For more information, try '--help'.
        "#]],
    );
    says(
        &bench,
        &["rm"],
        &expect![[r#"
            exit 2
            --- stderr
            error: the following required arguments were not provided:
              <NAMES>...

            Usage: gpubay rm <NAMES>...

            For more information, try '--help'.
        "#]],
    );
    says(
        &bench,
        &["up"],
        &expect![[r#"
        exit 1
        --- stderr
        error: ~/quiet has no Dockerfile, no docker/*/Dockerfile and no requirements.txt
        next: `gpubay init` writes one. Or add a Dockerfile or a requirements.txt, or name an image in gpubay.toml: [image] from = "python:3.12-slim".
    "#]],
    );
    says(
        &bench,
        &["up", "-C", "/nonexistent"],
        &expect![[r#"
        exit 1
        --- stderr
        error: workspace /nonexistent does not exist
        next: Name an existing folder with -C, or make it first.
    "#]],
    );
    says(
        &bench,
        &["schema", "--output", "nonsense"],
        &expect![[r#"
        exit 1
        --- stderr
        error: "nonsense" is no command that has --json
        next: These have: attach, build, doctor, down, exec, gpus, init, logs, prune, ps, record, rm, run, shell, stop, sync, up.
    "#]],
    );
    says(
        &bench,
        &["man", "nonsense"],
        &expect![[r#"
        exit 1
        --- stderr
        error: there is no command "nonsense"
        next: `gpubay --help` lists them.
    "#]],
    );
    says(
        &bench,
        &["prune"],
        &expect![[r#"
        exit 0
        --- stdout
        kept: images, venvs and containers, since the engine cannot be asked: no container engine at unix:///nonexistent/d.sock (DOCKER_HOST): No such file or directory (os error 2)
        nothing to remove
    "#]],
    );
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    says(
        &bench,
        &["up"],
        &expect![[r#"
            exit 1
            --- stderr
            error: no container engine at unix:///nonexistent/d.sock (DOCKER_HOST): No such file or directory (os error 2)
            next: WHAT FITS THIS MACHINE
        "#]],
    );
    says(
        &bench,
        &["ps"],
        &expect![[r#"
            exit 1
            --- stderr
            error: no container engine at unix:///nonexistent/d.sock (DOCKER_HOST): No such file or directory (os error 2)
            next: WHAT FITS THIS MACHINE
        "#]],
    );
    says(
        &bench,
        &["exec", "--", "true"],
        &expect![[r#"
            exit 125
            --- stderr
            error: no container engine at unix:///nonexistent/d.sock (DOCKER_HOST): No such file or directory (os error 2)
            next: WHAT FITS THIS MACHINE
        "#]],
    );
    bench.write("gpubay.toml", "[container]\nmemroy = \"8g\"\n");
    says(
        &bench,
        &["up"],
        &expect![[r#"
            exit 1
            --- stderr
            error: ~/quiet/gpubay.toml:2:1: unknown key `memroy`, did you mean `memory`?
              |
            2 | memroy = "8g"
              | ^^^^^^
            next: Known here: workdir, mounts, user, entrypoint, shm_size, env, env_file, ports, cache, persist, cpus, memory, network, restart, name, hostname, ipc, dns, extra_hosts, cap_add, cap_drop, devices, security_opt, privileged, ulimits, cpuset, cpu_shares, group_add, init, read_only, volumes_from, labels, timezone, docker_args.
        "#]],
    );
    bench.write("gpubay.toml", "[container]\nmemory = \"1x\"\n");
    says(
        &bench,
        &["up"],
        &expect![[r#"
            exit 1
            --- stderr
            error: ~/quiet/gpubay.toml:2:10: container.memory: "1x" is not a size
              |
            2 | memory = "1x"
              |  ^^^^
            next: Write a number and b, k, m, g or t, such as "512m" or "16g".
        "#]],
    );
    bench.write("gpubay.toml", "[container]\nmounts = [\"/srv:/srv\"]\n");
    says(
        &bench,
        &["up"],
        &expect![[r#"
        exit 1
        --- stderr
        error: ~/quiet/gpubay.toml asks for more than its own folder:
          mount:/srv:/srv: it lets the container read and change /srv
        next: If you trust it, add: --allow mount:/srv:/srv
    "#]],
    );
    says(
        &bench,
        &["up", "--json"],
        &expect![[r#"
        exit 1
        --- stdout
        {"error":{"code":"needs_consent","hint":"If you trust it, add: --allow mount:/srv:/srv","message":"~/quiet/gpubay.toml asks for more than its own folder:\n  mount:/srv:/srv: it lets the container read and change /srv"},"outcome":"error"}
        --- stderr
        error: ~/quiet/gpubay.toml asks for more than its own folder:
          mount:/srv:/srv: it lets the container read and change /srv
        next: If you trust it, add: --allow mount:/srv:/srv
    "#]],
    );
}

#[test]
fn a_workspaces_day() {
    let bench = Bench::new("docker28", Who::Ordinary, "day");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    says(
        &bench,
        &["ps"],
        &expect![[r#"
        exit 0
        --- stdout
        no containers; `gpubay up` starts one
    "#]],
    );
    says(
        &bench,
        &["logs"],
        &expect![[r#"
        exit 1
        --- stderr
        error: no container of this workspace; there are none
        next: `gpubay ps` lists them; `gpubay run --detach -- COMMAND` starts one.
    "#]],
    );
    says(
        &bench,
        &["down"],
        &expect![[r#"
        exit 0
        --- stdout
        nothing to do: no container of this workspace runs
    "#]],
    );
    says(
        &bench,
        &["stop"],
        &expect![[r#"
        exit 0
        --- stdout
        nothing to do: no container of this workspace runs
    "#]],
    );
    says(
        &bench,
        &["exec", "--", "true"],
        &expect![[r#"
        exit 125
        --- stderr
        error: the dev container gpubay-day-ID does not exist
        next: Start it with `gpubay up`.
    "#]],
    );
    says(
        &bench,
        &["rm", "nobody"],
        &expect![[r#"
        exit 1
        --- stderr
        error: this workspace has no container nobody; it has: none
        next: `gpubay ps` lists them, `gpubay down NAME` removes one of another workspace.
    "#]],
    );
    says(
        &bench,
        &["up"],
        &expect![[r#"
            exit 0
            --- stdout
            gpubay-day-ID started (TIME)
              GPU  GPU 0: GPU Bay Fake 24G (cdi: the engine has discovered 2 nvidia.com/gpu devices through CDI)
              Python  3.11.2 at ~/day/.venv/bin/python
        "#]],
    );
    says(
        &bench,
        &["up"],
        &expect![[r#"
        exit 0
        --- stdout
        gpubay-day-ID runs already (TIME)
          GPU  GPU 0: GPU Bay Fake 24G (cdi: the engine has discovered 2 nvidia.com/gpu devices through CDI)
          Python  3.11.2 at ~/day/.venv/bin/python
    "#]],
    );
    says(
        &bench,
        &["sync"],
        &expect![[r#"
        exit 0
        --- stdout
        nothing has changed (TIME)
    "#]],
    );
    says(
        &bench,
        &["build"],
        &expect![[r#"
        exit 0
        --- stdout
        is up to date: gpubay/day-ID:ID (sha256:ID)
    "#]],
    );
    says(
        &bench,
        &["gpus"],
        &expect![[r#"
        exit 0
        --- stdout
        cdi: the engine has discovered 2 nvidia.com/gpu devices through CDI
        GPU  SLICE  UUID  NAME  CDI
        0  -  -  -  nvidia.com/gpu=0
        1  -  -  -  nvidia.com/gpu=1
        also: nvidia.com/gpu=GPU-ID-2222-3333-4444-ID, nvidia.com/gpu=GPU-ID-2222-3333-4444-ID, nvidia.com/gpu=all
    "#]],
    );
    says(
        &bench,
        &["up", "--gpus", "9"],
        &expect![[r#"
        exit 1
        --- stderr
        error: 9 GPUs are asked for and the engine offers 2
        next: Change --gpus to what is there.
    "#]],
    );
    says(
        &bench,
        &["exec", "--", "sh", "-c", "echo out; echo error: err >&2; exit 3"],
        &expect![[r#"
        exit 3
        --- stdout
        out
        --- stderr
        error: err
    "#]],
    );
    says(
        &bench,
        &["exec", "--", "nonsense"],
        &expect![[r#"
        exit 127
        --- stderr
        error: nonsense: not found
        next: Check the name, and that the image or the venv has the program.
    "#]],
    );
    says(
        &bench,
        &["exec", "--", "/etc/passwd"],
        &expect![[r#"
        exit 126
        --- stderr
        error: /etc/passwd: not executable
    "#]],
    );
    says(
        &bench,
        &["run", "nonsense"],
        &expect![[r#"
        exit 127
        --- stderr
        next: the image has no program nonsense, and gpubay.toml no job of that name; [jobs] of gpubay.toml is empty
    "#]],
    );
    says(
        &bench,
        &["run", "--", "sh", "-c", "echo out; exit 4"],
        &expect![[r#"
        exit 4
        --- stdout
        out
    "#]],
    );
    says(
        &bench,
        &["run", "--detach", "--name", "long", "--", "sleep", "1000"],
        &expect![[r#"
        exit 0
        --- stdout
        long
    "#]],
    );
    says(
        &bench,
        &["run", "--detach", "--name", "long", "--", "sleep", "1000"],
        &expect![[r#"
        exit 1
        --- stderr
        error: there is a job named long already
        next: Give this one another name with --name, or remove the old one: gpubay rm long
    "#]],
    );
    says(
        &bench,
        &["run", "--detach", "--name", "bad name", "--", "true"],
        &expect![[r#"
        exit 1
        --- stderr
        error: "bad name" cannot name a job
        next: Use letters, digits, `-`, `_` and `.`, with a letter or digit first; `dev` is the dev container.
    "#]],
    );
    says(
        &bench,
        &["run", "--detach", "--name", "short", "--", "echo", "said"],
        &expect![[r#"
        exit 0
        --- stdout
        short
    "#]],
    );
    says(
        &bench,
        &["logs", "--follow", "short"],
        &expect![[r#"
        exit 0
        --- stdout
        said
    "#]],
    );
    says(
        &bench,
        &["ps"],
        &expect![[r#"
            exit 0
            --- stdout
            NAME  ROLE  STATUS  GPUS  COMMAND
            gpubay-day-ID  dev  Up TIME  0
            long  job  Up TIME  0  sleep 1000
            short  job  Exited (0) TIME ago  0  echo said
        "#]],
    );
    says(
        &bench,
        &["rm", "short"],
        &expect![[r#"
        exit 0
        --- stdout
        removed gpubay-day-ID-short
    "#]],
    );
    says(
        &bench,
        &["rm", "long"],
        &expect![[r#"
        exit 1
        --- stderr
        error: it has not ended: gpubay-day-ID-long
        next: Wait for its end (`gpubay logs -f`), or add --force.
    "#]],
    );
    says(
        &bench,
        &["rm", "--venv"],
        &expect![[r#"
        exit 1
        --- stderr
        error: a container of this workspace runs, and uses the virtual environment
        next: `gpubay stop` (or `gpubay down`) first, or add --force.
    "#]],
    );
    says(
        &bench,
        &["down"],
        &expect![[r#"
        exit 1
        --- stderr
        error: something still runs:
          gpubay-day-ID-long: it runs sleep 1000
        next: Wait for it, or end it with everything else: `gpubay down --force`.
    "#]],
    );
    says(
        &bench,
        &["rm", "--force", "long"],
        &expect![[r#"
        exit 0
        --- stdout
        removed gpubay-day-ID-long
    "#]],
    );
    says(
        &bench,
        &["stop"],
        &expect![[r#"
        exit 0
        --- stdout
        stopped gpubay-day-ID; kept the container with its files
    "#]],
    );
    says(
        &bench,
        &["exec", "--", "true"],
        &expect![[r#"
        exit 125
        --- stderr
        error: the dev container gpubay-day-ID is not running: it ended with exit code 0
        next: Start it with `gpubay up`.
    "#]],
    );
    says(
        &bench,
        &["rm", "--venv"],
        &expect![[r#"
            exit 0
            --- stdout
            emptied the virtual environment (~/.local/share/gpubay/venvs/ID-ID); the next `gpubay up` makes it anew
        "#]],
    );
    says(
        &bench,
        &["prune", "--dry-run", "mirrors", "venvs", "records"],
        &expect![[r#"
        exit 0
        --- stdout
        nothing to remove
    "#]],
    );
    says(
        &bench,
        &["down"],
        &expect![[r#"
            exit 0
            --- stdout
            removed gpubay-day-ID; kept the venv (~/.local/share/gpubay/venvs/ID-ID), mirror, caches and volumes, the image
        "#]],
    );
}
