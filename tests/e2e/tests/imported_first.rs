//! A large environment: what the workspace imports can be completed from while the rest is still being copied.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use gpubay_e2e::{Bench, Who, eventually, kill};

/// As many packages as a machine-learning image has files, nearly.
const LARGE: &str = "FROM gpubay-lab/python
RUN d=/usr/local/lib/python3.11/dist-packages; for p in $(seq 150); do mkdir -p $d/pkg$p; \
    for m in $(seq 20); do echo \"value = $m\" > $d/pkg$p/mod$m.py; done; echo > $d/pkg$p/__init__.py; done
";

fn in_roots(bench: &Bench, file: &str) -> Option<PathBuf> {
    let pth = std::fs::read_to_string(bench.workspace.join(".venv/lib/python3.11/site-packages/container.pth")).ok()?;
    pth.lines().map(|root| Path::new(root).join(file)).find(|path| path.is_file())
}

#[test]
fn what_is_imported_can_be_completed_from_before_the_rest_is_there() {
    let bench = Bench::new("docker28", Who::Ordinary, "first");
    bench.write("Dockerfile", LARGE);
    bench.write("train.py", "import pkg7\nfrom pkg9.mod3 import value\n");
    let mut command = bench.gpubay(&["up"]);
    command.env("GPUBAY_FAILPOINT", "mirror.first:wait").stdout(Stdio::null()).stderr(Stdio::null());
    let mut standing = command.spawn().expect("started");
    eventually("what is imported is there", || in_roots(&bench, "pkg7/mod20.py").is_some());
    let early = in_roots(&bench, "pkg9/mod3.py").expect("imported, too");
    assert_eq!(in_roots(&bench, "pkg8/__init__.py"), None, "the rest is not there yet");
    // It is a host env as any other.
    let said = bench.python(&["train.py"]).output().expect("started");
    assert!(said.status.success(), "{said:?}");
    assert!(std::fs::metadata(&early).expect("there").permissions().readonly());
    kill(&mut standing);

    let report = bench.up();
    assert!(in_roots(&bench, "pkg8/mod20.py").is_some(), "{report}");
    assert_eq!(in_roots(&bench, "pkg9/mod3.py").as_deref(), Some(early.as_path()), "what is open stays where it is");
    assert_eq!(bench.json(&["sync"])["changed"], false);

    // Nobody has to stand still for it: it is said when it is there.
    let other = Bench::new("docker28", Who::Ordinary, "first-said");
    other.write("Dockerfile", LARGE);
    other.write("train.py", "import pkg7\n");
    let ran = other.run(&["up"]);
    assert!(ran.succeeded().stderr.contains("The packages that the workspace imports are there"), "{}", ran.stderr);
    assert!(in_roots(&other, "pkg8/mod20.py").is_some());
}
