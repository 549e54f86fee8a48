//! Without an engine, without a workspace, and with a configuration that is wrong.

use expect_test::expect;
use gpubay_e2e::{Bench, Who};

use crate::said::says_without_an_engine as says;

#[test]
fn without_an_engine_and_without_a_workspace() {
    let bench = Bench::new("docker28", Who::Ordinary, "quiet");
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
            exit 2
            --- stderr
            error: invalid value 'nonsense' for '--output <COMMAND>'
              [possible values: attach, build, completions, doctor, down, exec, gpus, init, logs, man, prune, ps, record, rm, run, schema, shell, stop, sync, up]

            For more information, try '--help'.
        "#]],
    );
    says(
        &bench,
        &["man", "nonsense"],
        &expect![[r#"
            exit 2
            --- stderr
            error: invalid value 'nonsense' for '[COMMAND]': there is no such command. These are there: attach, build, completions, doctor, down, exec, gpus, init, logs, man, prune, ps, record, rm, run, schema, serve, shell, stop, sync, up

            For more information, try '--help'.
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
