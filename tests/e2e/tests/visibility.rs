//! Engines that do not see our files, or other files at the same paths.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gpubay_e2e::{Bench, Who, lab};

const IMAGE: &str = "[image]\nfrom = \"gpubay-lab/busybox\"\n";
const CODE: &str = "engine_sees_other_files";

/// gpubay in a container, with the socket of the engine that runs this container.
#[test]
fn from_a_container_beside_it_the_engine_sees_only_what_lies_at_the_same_path() {
    let bench = Bench::new("docker28", Who::Root, "beside");
    bench.write("gpubay.toml", IMAGE);
    let path = |path: &Path| path.display().to_string();
    let (home, workspace) = (path(&bench.home), path(&bench.workspace));
    let up = |mounts: &[&str], folder: &str| {
        let socket = format!("{}:/engine.sock", bench.socket.display());
        let program = format!("{}:/gpubay:ro", lab().gpubay.display());
        let mut args = vec!["run", "--rm", "-v", &socket, "-v", &program, "-e", "DOCKER_HOST=unix:///engine.sock"];
        let home = format!("HOME={home}");
        args.extend(["-e", &home]);
        args.extend(mounts);
        args.extend(["gpubay-lab/python", "/gpubay", "-C", folder, "up", "--json"]);
        bench.docker(&args)
    };
    // The engine has nothing at the path of the data folder or of the workspace.
    let elsewhere = format!("{workspace}:/only-inside");
    let ran = up(&["-v", &elsewhere, "-e", "HOME=/only-inside/home"], "/only-inside");
    let error = ran.failed(CODE).json()["error"].clone();
    assert!(error["message"].as_str().is_some_and(|said| said.contains("runs in a container itself")), "{error}");
    assert!(error["hint"].as_str().is_some_and(|next| next.contains("/home/me:/home/me")), "{error}");

    // At the same paths it works.
    let data = format!("{home}:{home}");
    let report = up(&["-v", &data], &workspace);
    assert_eq!(report.succeeded().json()["container"]["created"], true);
    let made = bench.containers();
    assert_eq!(made.len(), 1);
    bench.docker(&["rm", "-fv", &made[0]]).succeeded();

    // It has folders at these paths, and they are others: the word that we put into ours is not in its.
    let own = format!("{workspace}:{workspace}");
    up(&["--tmpfs", &home, "-v", &own], &workspace).failed(CODE);
    // The data folder is shared, and the workspace is another folder of that name.
    let settings = bench.home.join(".config/gpubay");
    std::fs::create_dir_all(&settings).expect("made");
    std::fs::write(settings.join("config.toml"), IMAGE).expect("written");
    let ran = up(&["-v", &data, "--tmpfs", &workspace], &workspace);
    assert!(ran.failed(CODE).stdout.contains(&format!("does not see {workspace}:")), "{ran:?}");
    assert!(bench.containers().is_empty(), "nothing is left of them");
}

#[test]
fn a_rootless_engine_cannot_enter_a_closed_home() {
    let bench = Bench::new("docker28-rootless", Who::Root, "closed");
    bench.write("gpubay.toml", IMAGE);
    std::fs::set_permissions(&bench.home, PermissionsExt::from_mode(0o700)).expect("closed");
    let (code, ran) = bench.error(&["up"]);
    assert_eq!(code, CODE, "{ran:?}");
    let error = &ran.json()["error"];
    let closed = format!("{} is closed to the user", bench.home.display());
    assert!(error["message"].as_str().is_some_and(|said| said.contains(&closed)), "{error}");
    assert!(bench.containers().is_empty());
}
