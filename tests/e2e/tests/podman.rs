//! What Podman does otherwise than Docker.

use std::os::unix::fs::MetadataExt;

use gpubay_e2e::{Bench, Ran, Who};

fn rootless(name: &str, more: &str) -> Bench {
    let bench = Bench::on_cpu("podman-rootless", Who::Ordinary, name);
    bench.write("gpubay.toml", &format!("[image]\nfrom = \"gpubay-lab/python\"\n{more}"));
    bench
}

#[track_caller]
fn owner(bench: &Bench, file: &str) -> u32 {
    std::fs::metadata(bench.workspace.join(file)).expect("written").uid()
}

/// Both the user's own number and root are the user outside, and each has a name and a home inside.
#[test]
fn whoever_writes_in_a_rootless_container_the_files_are_the_users() {
    const LOOK: &str = "touch ~/.cache/mine \"by-$(id -un)\" && echo \"$(id -u) $HOME $(stat -c %u ~/.cache)\"";
    let bench = rootless("owned", "");
    let report = bench.up();
    assert_eq!(report["container"]["user"], format!("{0}:{1} (gpubay-test)", bench.uid(), bench.gid()));
    let ran = bench.run(&["exec", "--", "sh", "-c", LOOK]);
    assert_eq!(ran.succeeded().stdout, format!("{0} /home/gpubay-test {0}\n", bench.uid()));
    assert_eq!(owner(&bench, "by-gpubay-test"), bench.uid());
    // The system is root's in there, who is nobody's outside.
    let root = bench.run(&["exec", "--root", "--", "sh", "-c", "id -u && touch /usr/lib/x"]);
    assert_eq!(root.succeeded().stdout, "0\n");
    // A warm `up` knows it without asking again, and sees no drift in it.
    assert_eq!(bench.up()["drift"], serde_json::json!([]));

    let bench = rootless("rooted", "[container]\nuser = \"root\"\n");
    bench.run(&["up", "--allow", "user:root"]).succeeded();
    let ran = bench.run(&["exec", "--", "sh", "-c", LOOK]);
    assert_eq!(ran.succeeded().stdout, "0 /root 0\n");
    assert_eq!(owner(&bench, "by-root"), bench.uid());
}

#[test]
fn gpus_that_podman_would_ignore_are_not_promised() {
    let bench = rootless("gpus", "[gpus]\nuse = \"auto\"\n");
    let report = bench.up();
    assert_eq!(report["gpu"]["injection"], "none");
    assert!(report["gpu"]["reason"].as_str().is_some_and(|reason| reason.contains("ignores")), "{report}");
    let (code, ran) = bench.error(&["run", "--gpus", "GPU-1", "--", "true"]);
    assert_eq!(code, "gpu_none", "{ran:?}");
}

/// A home in memory, a path that a mount as text would not survive, a pause, a name that is taken.
#[test]
fn what_podman_takes_and_answers_otherwise() {
    let bench = Bench::on_cpu("podman", Who::Ordinary, "it's, \"odd\"");
    bench.write("gpubay.toml", "[image]\nfrom = \"gpubay-lab/python\"\n[container]\nread_only = true\n");
    let name = bench.up()["container"]["name"].as_str().expect("a name").to_owned();
    let ran = bench.run(&["exec", "--", "sh", "-c", "touch ~/x here && stat -c %u ~"]);
    assert_eq!(ran.succeeded().stdout, format!("{}\n", bench.uid()));
    assert_eq!(owner(&bench, "here"), bench.uid());
    bench.run(&["run", "--detach", "--name", "one", "--", "true"]).succeeded();
    assert_eq!(bench.error(&["run", "--name", "one", "--", "true"]).0, "job_exists");
    bench.docker(&["exec", "-d", &name, "sleep", "1000"]).succeeded();
    bench.docker(&["pause", &name]).succeeded();
    bench.run(&["stop"]).failed("something still runs");
    bench.run(&["stop", "--force"]).succeeded();
    bench.run(&["down"]).succeeded();
    assert_eq!(bench.containers(), Vec::<String>::new());
}

/// A job is attached to before its start and removed right after its end: states that only Podman has.
#[test]
fn jobs_come_and_go() {
    for (engine, who) in [("podman", Who::Root), ("podman-rootless", Who::Ordinary)] {
        let bench = Bench::on_cpu(engine, who, "jobs");
        bench.write("gpubay.toml", "[image]\nfrom = \"gpubay-lab/python\"\n");
        bench.up();
        let command = "import sys; print(sys.stdin.read().upper()); sys.exit(7)";
        let mut child = bench.gpubay(&["run", "--", "python", "-c", command]);
        let mut child =
            child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().expect("started");
        std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"input").expect("written");
        let ran = Ran::of(&gpubay_e2e::finish(child), &["run"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(7), "INPUT\n"), "{ran:?}");
        bench.run(&["run", "--detach", "--name", "kept", "--", "python", "-c", "print('said')"]).succeeded();
        gpubay_e2e::eventually("the job ends", || {
            bench
                .run(&["ps"])
                .succeeded()
                .stdout
                .lines()
                .any(|line| line.contains("kept") && line.contains("Exited (0)"))
        });
        assert_eq!(bench.run(&["logs", "kept"]).succeeded().stdout, "said\n");
        bench.run(&["down"]).succeeded();
        assert_eq!(bench.containers(), Vec::<String>::new());
    }
}

/// Podman puts a registry before the names of our images, and they are ours nevertheless. What lies here of a workspace
/// that is gone is said once, whatever engine is asked.
#[test]
fn images_of_a_workspace_that_is_gone_are_freed() {
    let bench = Bench::on_cpu("podman-rootless", Who::Ordinary, "pruned");
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.up();
    let workspace = bench.workspace.display().to_string();
    let filter = format!("label=gpubay.workspace={workspace}");
    let images = || bench.docker(&["images", "-q", "--filter", &filter]).succeeded().stdout.lines().count();
    let prune = |args: &[&str], host: Option<&str>| {
        let mut command = bench.gpubay(&["prune", "--json"]);
        command.args(args).current_dir(&bench.home);
        command.envs(host.map(|host| ("DOCKER_HOST", host)));
        Ran::of(&gpubay_e2e::output(&mut command), args).succeeded().json()
    };
    let listed = |report: &serde_json::Value| -> Vec<String> {
        let items = report["items"].as_array().expect("items").iter().filter(|item| item["kind"] == "images");
        items.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    };
    let of_it = |report: &serde_json::Value| {
        let kept = report["kept"].as_array().expect("sentences");
        kept.iter().filter(|line| line.as_str().is_some_and(|line| line.contains(&workspace))).count()
    };
    bench.run(&["stop"]).succeeded();
    std::fs::rename(&bench.workspace, bench.home.join("moved")).expect("moved");
    // A stopped container needs it.
    assert_eq!(listed(&prune(&["--dry-run"], None)), Vec::<String>::new());
    let docker = gpubay_e2e::lab().engines.iter().find(|(name, _)| name == "docker28").expect("there");
    let docker = format!("unix://{}", docker.1.display());
    let elsewhere = prune(&["--dry-run"], Some(&docker));
    assert_eq!(of_it(&elsewhere), 1, "{elsewhere:#}");
    let asked = prune(&["images", "--dry-run"], Some(&docker));
    assert_eq!(of_it(&asked), 0, "{asked:#}");

    let mut down = bench.gpubay(&["-C", &workspace, "down", "--force"]);
    Ran::of(&gpubay_e2e::output(down.current_dir(&bench.home)), &["down"]).succeeded();
    let found = listed(&prune(&["images", "--dry-run"], None));
    assert!(found.len() == 1 && found[0].starts_with("gpubay/"), "{found:?}");
    let done = prune(&["images", "--yes"], None);
    assert_eq!((listed(&done), &done["items"][0]["removed"]), (found, &true.into()), "{done:#}");
    assert_eq!(images(), 0);
    std::fs::rename(bench.home.join("moved"), &bench.workspace).expect("moved back");
}

/// Podman 4.3 counts parts of a line as lines, and puts those of two together.
#[test]
fn the_last_lines_of_a_log_are_whole() {
    const PARTS: &str = "for i in 1 2 3; do printf $i; sleep 0.2; echo; done; printf end";
    let bench = Bench::on_cpu("podman", Who::Ordinary, "last");
    bench.write("gpubay.toml", "[image]\nfrom = \"gpubay-lab/python\"\n[gpus]\nuse = \"none\"\n");
    bench.up();
    bench.run(&["run", "--detach", "--name", "parts", "--", "sh", "-c", PARTS]).succeeded();
    bench.run(&["logs", "--follow", "parts"]).succeeded();
    for (lines, want) in [("1", "end"), ("2", "3\nend"), ("3", "2\n3\nend"), ("9", "1\n2\n3\nend"), ("0", "")] {
        assert_eq!(bench.run(&["logs", "-n", lines, "parts"]).succeeded().stdout, want, "{lines}");
        assert_eq!(bench.run(&["logs", "-f", "-n", lines, "parts"]).succeeded().stdout, want, "{lines}, followed");
    }
    // What comes later comes as well.
    let wait = "echo old; echo last; touch told; n=0; while ! test -e go && [ $n -lt 600 ]; do \
                sleep 0.05; n=$((n+1)); done; echo new";
    bench.run(&["run", "--detach", "--name", "later", "--", "sh", "-c", wait]).succeeded();
    gpubay_e2e::eventually("the beginning is told", || {
        bench.run(&["logs", "later"]).succeeded().stdout == "old\nlast\n" && bench.workspace.join("told").exists()
    });
    let mut command = bench.gpubay(&["logs", "-f", "-n", "1", "later"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("started");
    let mut told = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let (mut first, mut rest) = (String::new(), String::new());
    std::io::BufRead::read_line(&mut told, &mut first).expect("read");
    bench.write("go", "");
    std::io::Read::read_to_string(&mut told, &mut rest).expect("read");
    assert_eq!((first.as_str(), rest.as_str()), ("last\n", "new\n"));
    assert!(gpubay_e2e::ended(&mut child).success());
    bench.run(&["down", "--force"]).succeeded();
}

/// Podman's API lists no CDI devices: they are known from the specifications that it reads itself.
#[test]
fn gpus_come_through_cdi_from_5_4_on() {
    let bench = Bench::new("podman5", Who::Ordinary, "cards");
    bench.prefer("[\"1\"]");
    bench.write("gpubay.toml", "[image]\nfrom = \"gpubay-lab/python\"\n");
    let report = bench.json(&["gpus"]);
    let names: Vec<&str> =
        report["devices"].as_array().expect("devices").iter().filter_map(|gpu| gpu["cdi"].as_str()).collect();
    assert_eq!((&report["injection"], names), (&"cdi".into(), vec!["nvidia.com/gpu=0", "nvidia.com/gpu=1"]));

    let (code, ran) = bench.error(&["up", "--gpus", "device=7"]);
    assert_eq!((code.as_str(), bench.containers()), ("gpu_unknown", Vec::new()), "{ran:?}");

    bench.up();
    let inside = |args: &[&str]| bench.run(args).succeeded().stdout.matches("GPU-").count();
    assert_eq!(inside(&["exec", "nvidia-smi", "-L"]), 1);
    // A job has its own, beside the dev container's.
    assert_eq!(inside(&["run", "--gpus", "device=0", "--", "nvidia-smi", "-L"]), 1);
    assert_eq!(inside(&["run", "--gpus", "device=1,0", "--", "nvidia-smi", "-L"]), 2);

    // What was chosen by itself stays over a stop, whoever has the GPU since: another one would cost the container.
    bench.prefer("\"auto\"");
    let chosen = bench.json(&["up", "--recreate"])["gpu"]["devices"][0]["index"].clone();
    bench.run(&["stop"]).succeeded();
    let job = ["run", "--detach", "--name", "other", "--gpus", &format!("device={chosen}"), "--", "sleep", "1000"];
    bench.run(&job).succeeded();
    let again = bench.up();
    assert_eq!((&again["container"]["started"], &again["gpu"]["devices"][0]["index"]), (&true.into(), &chosen));
    assert_eq!((&again["container"]["created"], &again["drift"]), (&false.into(), &serde_json::json!([])), "{again:#}");
    bench.run(&["rm", "--force", "other"]).succeeded();
    bench.run(&["down"]).succeeded();
    assert_eq!(bench.containers(), Vec::<String>::new());
}
