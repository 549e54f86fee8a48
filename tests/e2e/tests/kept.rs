//! What is kept of a user's: the cache between workspaces, and `persist` beyond a recreate; and from whom it is kept.

use gpubay_e2e::{Bench, Ran, Who};

/// A dev container without Python, which nothing here needs.
fn up(engine: &str, who: Who, name: &str) -> Bench {
    let bench = Bench::on_cpu(engine, who, name);
    bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    bench.up();
    bench
}

#[track_caller]
fn sh(bench: &Bench, script: &str) -> Ran {
    bench.run(&["exec", "--", "sh", "-c", script])
}

#[test]
fn a_cache_is_shared_by_a_users_workspaces_and_by_no_two_users() {
    for engine in ["docker28", "docker20"] {
        let (first, second) = (up(engine, Who::Ordinary, "first"), up(engine, Who::Ordinary, "second"));
        let other = up(engine, Who::Root, "other");
        let unique = first.outside().file_name().expect("a name").to_string_lossy().into_owned();
        let file = format!("~/.cache/{unique}");
        sh(&first, &format!("echo wheel > {file}")).succeeded();
        assert_eq!(sh(&second, &format!("cat {file}")).succeeded().stdout, "wheel\n", "on {engine}");
        assert_ne!(sh(&other, &format!("cat {file}")).code, Some(0), "another user's cache on {engine}");
        let owner = |bench: &Bench| sh(bench, "stat -c %u:%g ~/.cache").succeeded().stdout.trim().to_owned();
        assert_eq!(owner(&second), format!("{}:{}", second.uid(), second.gid()));
        assert_eq!(owner(&other), "0:0");
        // A token is no cache: its place lies outside, and beyond a recreate.
        let token = sh(&first, "mkdir -p ${HF_TOKEN_PATH%/*} && echo hunter2 > $HF_TOKEN_PATH && echo $HF_TOKEN_PATH");
        assert!(!token.succeeded().stdout.contains("/.cache/"), "{token:?}");
        assert_ne!(sh(&second, "cat $HF_TOKEN_PATH").code, Some(0), "another workspace's token");
        first.run(&["up", "--recreate"]).succeeded();
        assert_eq!(sh(&first, "cat $HF_TOKEN_PATH").succeeded().stdout, "hunter2\n");
        sh(&first, &format!("rm {file}")).succeeded();
        for bench in [&first, &second, &other] {
            remove_volumes(bench);
        }
    }
}

/// Volumes of the workspace itself; the user's cache is everybody's.
fn remove_volumes(bench: &Bench) {
    let name = bench.up()["container"]["name"].as_str().expect("a name").to_owned();
    bench.run(&["down", "--force"]).succeeded();
    for volume in ["config", "vscode-server"] {
        bench.docker(&["volume", "rm", &format!("{name}-{volume}")]).succeeded();
    }
}

#[test]
fn what_persists_is_the_workspaces_and_the_users() {
    for (engine, who) in [("docker28", Who::Ordinary), ("docker20", Who::Root)] {
        let bench = Bench::on_cpu(engine, who, "persist");
        bench.write("Dockerfile", "FROM gpubay-lab/busybox\n");
        bench.write("gpubay.toml", "[container]\npersist = [\"~/.config\", \"~/deep/er/kept\", \"/srv/kept\"]\n");
        bench.up();
        let kept = ["~/.config", "~/deep/er/kept", "/srv/kept"];
        for folder in kept {
            sh(&bench, &format!("echo mine > {folder}/file")).succeeded();
        }
        assert!(sh(&bench, "echo $HISTFILE").stdout.contains("/.config/"), "the shell's history");
        sh(&bench, "echo lost > ~/lost").succeeded();
        bench.run(&["up", "--recreate"]).succeeded();
        for folder in kept {
            let ran = sh(&bench, &format!("cat {folder}/file && stat -c %u:%g {folder} {folder}/file"));
            let owner = format!("{}:{}", bench.uid(), bench.gid());
            assert_eq!(ran.succeeded().stdout, format!("mine\n{owner}\n{owner}\n"), "{folder} on {engine}");
        }
        // What lies between the home and a kept folder is the user's as well.
        sh(&bench, "touch ~/deep/er/x ~/deep/x").succeeded();
        assert_ne!(sh(&bench, "cat ~/lost").code, Some(0));
        // A job has them, too.
        let job = bench.run(&["run", "--", "sh", "-c", "cat /srv/kept/file"]);
        assert_eq!(job.succeeded().stdout, "mine\n");
        let name = bench.json(&["up"])["container"]["name"].as_str().expect("a name").to_owned();
        bench.run(&["down", "--force"]).succeeded();
        for volume in ["config", "deep-er-kept", "srv-kept"] {
            bench.docker(&["volume", "rm", &format!("{name}-{volume}")]).succeeded();
        }
    }
}
