//! What is left of a configuration that cannot be used.

use super::*;

/// `text` is broken; what can be reached of it all the same, and the error's code.
fn reached(lab: &Lab) -> (Loaded, &'static str) {
    let (loaded, broken) = lab.reach().unwrap_or_else(|error| panic!("{error}"));
    (loaded, broken.map_or("", |error| error.code()))
}

#[test]
fn whatever_is_broken_the_containers_are_found() {
    let whole = Lab::new();
    let (loaded, code) = reached(&whole);
    assert_eq!((loaded.identity, code), (whole.loaded().identity, ""));
    let places = "[engine]\nhost = \"unix:///run/x.sock\"\n[paths]\ndata = \"~/d\"\n";
    let names = "[container]\nname = \"box\"\nworkdir = \"/app\"\n";
    for (rest, wanted) in [
        ("mounts = [\"./gone:/data\"]\n", "missing_mount_source"),
        ("mountss = []\n", "unknown_key"),
        ("memory = true\n", "wrong_type"),
        ("memory = \n[gpus]\n", "config_syntax"),
        ("[image]\ndockerfile = \"gone\"\n", "missing_file"),
    ] {
        let lab = Lab::with(&format!("{places}{names}{rest}"));
        let (loaded, code) = reached(&lab);
        assert_eq!(code, wanted, "{rest}");
        assert_eq!(loaded.config.engine.host.as_deref(), Some("unix:///run/x.sock"), "{rest}");
        assert_eq!(loaded.config.paths.data, host(&lab.home.join("d")), "{rest}");
        assert_eq!(loaded.config.container.engine.name.as_deref(), Some("box"), "{rest}");
        assert_eq!(loaded.config.container.workdir, inside("/app"), "{rest}");
        let keys: Vec<&str> = loaded.powers.iter().map(|power| power.key.split(':').next().unwrap_or("")).collect();
        assert_eq!(keys, ["engine", "paths.data"], "{rest}");
    }
    let (loaded, code) = reached(&Lab::bare());
    assert_eq!((loaded.identity.slug.as_str(), code), ("ws", "no_dockerfile"));
    let several = Lab::bare();
    several.write("docker/a/Dockerfile", "FROM scratch\n");
    several.write("docker/b/Dockerfile", "FROM scratch\n");
    assert_eq!(reached(&several).1, "ambiguous_dockerfile");
    let user = Lab::new();
    user.user("[container]\nmemory = true\n[paths]\ndata = \"~/mine\"\n");
    let (loaded, code) = reached(&user);
    assert_eq!((loaded.config.paths.data, code), (host(&user.home.join("mine")), "wrong_type"));
}

#[test]
fn an_engine_that_cannot_be_meant_is_no_other_engine() {
    for text in ["[engine]\nhost = \"ssh://-oProxyCommand=x\"\n", "[paths]\ndata = \"\"\n"] {
        assert!(Lab::with(text).reach().is_err(), "{text}");
    }
}

#[test]
fn only_where_the_containers_are_is_asked() {
    let lab = Lab::with("[engine]\nhost = \"unix:///run/x.sock\"\n[container]\nprivileged = true\n");
    let (loaded, _) = reached(&lab);
    let engine = "engine:unix:///run/x.sock".to_owned();
    let error = consent::require_to_reach(&loaded, &[], None).expect_err("it asks").to_string();
    assert!(error.contains(&engine) && !error.contains("privileged"), "{error}");
    // What is said of others is not approved by the way.
    consent::require_to_reach(&loaded, &[engine, "privileged".to_owned()], None).expect("approved");
    consent::require_to_reach(&loaded, &[], None).expect("remembered");
    let error = consent::require(&lab.loaded(), &[], None).expect_err("it asks").to_string();
    assert!(error.contains("privileged") && !error.contains("engine:"), "{error}");
}
