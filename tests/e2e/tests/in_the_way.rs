//! What is said where something is in the way: another process of ours, a folder that was deleted, an init that is missing.

use gpubay_e2e::{Bench, Who};

#[test]
fn another_process_of_ours_is_named_where_the_container_is_not_there() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "busy");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    let up = bench.up();
    let name = up["container"]["name"].as_str().expect("a name");
    bench.docker(&["rm", "-f", name]).succeeded();
    let (code, ran) = bench.error(&["exec", "--", "true"]);
    assert!(code == "not_running" && ran.stderr.contains("Start it with `gpubay up`"), "{ran:?}");
    // As an `up --recreate` holds it between the old container and the new one.
    let id8 = name.rsplit('-').next().expect("an id");
    let lock = std::fs::File::open(bench.home.join(".local/share/gpubay/locks").join(id8)).expect("the lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("held");
    let (code, ran) = bench.error(&["exec", "--", "true"]);
    assert!(code == "not_running" && ran.stderr.contains("Another gpubay is at work"), "{ran:?}");
    drop(lock);
    let (_, ran) = bench.error(&["exec", "--", "true"]);
    assert!(ran.stderr.contains("Start it with `gpubay up`"), "{ran:?}");
}

#[test]
fn a_deleted_venv_is_said_before_its_programs_are_missed() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "deleted");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.up();
    assert_eq!(bench.run(&["exec", "--", "python", "-c", ""]).succeeded().stderr, "");
    std::fs::remove_dir_all(bench.workspace.join(".venv")).expect("deleted");
    let ran = bench.run(&["exec", "--", "true"]);
    assert!(
        ran.succeeded().stderr.contains(".venv was deleted") && ran.stderr.contains("`gpubay up` brings"),
        "{ran:?}"
    );
    bench.up();
    assert_eq!(bench.run(&["exec", "--", "python", "-c", ""]).succeeded().stderr, "");
}

#[test]
fn a_venv_of_another_python_is_said_before_it_is_moved_aside() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "replaced");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    bench.up();
    let place = std::fs::read_dir(bench.home.join(".local/share/gpubay/venvs")).expect("there").next();
    let venv = place.expect("one").expect("read").path();
    let config = std::fs::read_to_string(venv.join("pyvenv.cfg")).expect("read");
    let older = config.lines().map(|line| if line.starts_with("version") { "version = 3.7.1" } else { line });
    std::fs::write(venv.join("pyvenv.cfg"), older.collect::<Vec<_>>().join("\n")).expect("written");
    // What was found is remembered until something changes.
    std::fs::remove_dir_all(bench.home.join(".cache/gpubay/records")).expect("forgotten");
    let ran = bench.run(&["up"]);
    let said = ran.succeeded().stderr.find("the venv is one of Python 3.7.1").expect("said");
    assert!(ran.stdout.contains("was moved to") && said < ran.stderr.len(), "{ran:?}");
}

/// Of the engine's own, which is above the agent then and is nothing that runs of the user's.
#[test]
fn an_init_of_the_engine_is_above_the_agent() {
    for engine in ["docker20", "podman"] {
        let bench = Bench::on_cpu(engine, Who::Root, "init");
        bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
        bench.write("gpubay.toml", "[container]\ninit = true\n");
        let up = bench.up();
        let name = up["container"]["name"].as_str().expect("a name");
        assert_eq!(bench.inspect(name)["HostConfig"]["Init"], true, "{engine}");
        let first = bench.run(&["exec", "--", "sh", "-c", "cat /proc/1/comm; exit 3"]);
        assert_eq!((first.code, first.stdout.trim().ends_with("-init")), (Some(3), true), "{engine}: {first:?}");
        assert_eq!(bench.run(&["run", "--", "sh", "-c", "exit 4"]).code, Some(4), "{engine}");
        let missing = bench.run(&["run", "--detach", "no-such-program"]);
        assert_eq!(missing.code, Some(127), "{engine}: {missing:?}");
        // Nothing of the user's runs: neither a recreate nor a `down` has anything to ask.
        bench.write("gpubay.toml", "[container]\ninit = true\nenv = { A = \"b\" }\n");
        let again = bench.up();
        assert_eq!(
            (&again["container"]["created"], &again["drift"]),
            (&true.into(), &serde_json::json!([])),
            "{engine}"
        );
        bench.run(&["down"]).succeeded();
    }
    // An engine without one says so at the start.
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "no-init");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.write("gpubay.toml", "[container]\ninit = true\n");
    let (_, ran) = bench.error(&["up"]);
    assert!(ran.stderr.contains("docker-init") && ran.stderr.contains("leave init out"), "{ran:?}");
    assert_eq!(bench.containers(), Vec::<String>::new());
}
