//! A workspace from its first `up` to its `down`.

use expect_test::expect;
use gpubay_e2e::{Bench, Driver, Who};

use crate::said::says;

#[test]
fn a_workspaces_day() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "day");
    bench.prefer("[\"0\"]");
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
              GPU  GPU 0 GPU Bay Fake 24G (cuda:0 inside) (cdi: the engine has discovered 2 nvidia.com/gpu devices through CDI; only the selected ones are inside, since the UUIDs are not known by which CUDA could select)
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
              GPU  GPU 0 GPU Bay Fake 24G (cuda:0 inside) (cdi: the engine has discovered 2 nvidia.com/gpu devices through CDI; only the selected ones are inside, since the UUIDs are not known by which CUDA could select)
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
    let driver = Driver::of(&mut bench, ["", "memory = 12288 / 24576\nutilization = 97"]);
    says(
        &bench,
        &["gpus"],
        &expect![[r#"
            exit 0
            --- stdout
            cdi: the engine has discovered 2 nvidia.com/gpu devices through CDI
            driver 580.65.06, CUDA up to 13.0
            GPU  NAME  MEMORY  USE  TEMP  POWER  HELD BY
            0  GPU Bay Fake 24G  0.6 / 24 GiB  0 %  31 °C  22 / 300 W  HOLDERS
            1  GPU Bay Fake 24G  12 / 24 GiB  97 %  31 °C  22 / 300 W  HOLDERS
            also: nvidia.com/gpu=all
        "#]],
    );
    drop(driver);
    bench.env.clear();
    says(
        &bench,
        &["up", "--gpus", "9"],
        &expect![[r#"
            exit 1
            --- stderr
            error: 9 GPUs are asked for and the engine offers 2
            next: Change --gpus to what is there. A number is a count: GPU 9 alone is device=9, where there is one. `gpubay gpus` lists them.
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
        &["run", "--gpus", "none", "nonsense"],
        &expect![[r#"
            exit 127
            --- stderr
            next: The image has no program nonsense, and gpubay.toml no job of that name; [jobs] of gpubay.toml is empty.
        "#]],
    );
    says(
        &bench,
        &["run", "--gpus", "none", "--", "sh", "-c", "echo out; exit 4"],
        &expect![[r#"
        exit 4
        --- stdout
        out
    "#]],
    );
    says(
        &bench,
        &["run", "--gpus", "none", "--detach", "--name", "long", "--", "sleep", "1000"],
        &expect![[r#"
        exit 0
        --- stdout
        long
    "#]],
    );
    says(
        &bench,
        &["run", "--gpus", "none", "--detach", "--name", "long", "--", "sleep", "1000"],
        &expect![[r#"
        exit 1
        --- stderr
        error: there is a job named long already
        next: Give this one another name with --name, or remove the old one: gpubay rm long
    "#]],
    );
    says(
        &bench,
        &["run", "--gpus", "none", "--detach", "--name", "bad name", "--", "true"],
        &expect![[r#"
            exit 2
            --- stderr
            error: invalid value 'bad name' for '--name <NAME>': "bad name" cannot name a job. Use letters, digits, `-`, `_` and `.`, with a letter or digit first; `dev` is the dev container.

            For more information, try '--help'.
        "#]],
    );
    says(
        &bench,
        &["run", "--gpus", "none", "--detach", "--name", "short", "--", "echo", "said"],
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
            gpubay-day-ID  dev  Up TIME  0 = cuda:0
            long  job  Up TIME  none  sleep 1000
            short  job  Exited (0) TIME ago  none  echo said
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
