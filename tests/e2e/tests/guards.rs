//! What a container must not reach: root inside, what the host runs, folders that nobody approved.

use gpubay_e2e::{Bench, Who};

fn plain(who: Who, name: &str) -> Bench {
    let bench = Bench::new("docker28", who, name);
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench
}

/// Root's programs are never those that the container's user put into the venv.
#[test]
fn root_inside_runs_nothing_of_the_users() {
    let bench = plain(Who::Ordinary, "root");
    bench.up();
    let plant = "printf '#!/bin/sh\\necho planted\\n' > $VIRTUAL_ENV/bin/id; chmod +x $VIRTUAL_ENV/bin/id; id";
    assert_eq!(bench.run(&["exec", "--", "sh", "-c", plant]).succeeded().stdout, "planted\n");
    assert_eq!(bench.run(&["exec", "--root", "--", "id", "-u"]).succeeded().stdout, "0\n");
    let ran = bench.run(&["exec", "--root", "--", "sh", "-c", "id -u; echo $HOME; echo $PATH"]);
    let lines: Vec<&str> = ran.succeeded().stdout.lines().collect();
    assert_eq!(lines[..2], ["0", "/root"]);
    assert!(!lines[2].contains(".venv"), "{ran:?}");
}
