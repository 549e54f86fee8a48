//! What a workspace asks, and that nothing it asks is done before it is approved.

use std::os::unix::fs::PermissionsExt;

use super::super::consent::{self, Approvals, ConsentError};
use super::*;

fn keys(lab: &Lab) -> Vec<String> {
    lab.loaded().powers.into_iter().map(|power| power.key).collect()
}

#[test]
fn every_power_is_named() {
    for (text, key, grave) in [
        ("[engine]\nhost = \"ssh://ada@gpu\"", "engine:ssh://ada@gpu", true),
        ("[engine]\nhost = \"https://ada:s3cret@gpu\"", "engine:https://ada:***@gpu", true),
        ("[paths]\ndata = \"/srv/x\"", "paths.data:/srv/x", true),
        ("[paths]\ncache = \"/srv/x\"", "paths.cache:/srv/x", true),
        ("[container]\nmounts = [\"/:/host\"]", "mount:/:/host", true),
        ("[container]\nmounts = [\"/etc:/host:ro\"]", "mount:/etc:/host:ro", true),
        ("[container]\nprivileged = true", "privileged", true),
        ("[container]\nuser = \"root\"", "user:root", true),
        ("[container]\nuser = \"0:5\"", "user:root", true),
        ("[container]\nuser = \"image\"", "user:image", false),
        ("[container]\nuser = \"1001:1000\"", "user:1001:1000", false),
        ("[container]\nnetwork = \"host\"", "network:host", true),
        ("[container]\nnetwork = \"container:db\"", "network:container:db", true),
        ("[container]\nipc = \"host\"", "ipc:host", true),
        ("[container]\ndocker_args = [\"--pid=host\"]", "pid:host", true),
        ("[container]\ndocker_args = [\"--uts\", \"host\"]", "uts:host", true),
        ("[container]\ndocker_args = [\"--userns=host\"]", "userns:host", true),
        ("[container]\ndocker_args = [\"--cgroupns=host\"]", "cgroupns:host", true),
        ("[container]\ndocker_args = [\"--privileged\"]", "privileged", true),
        ("[container]\ndocker_args = [\"-v/etc:/e\"]", "mount:/etc:/e", true),
        ("[container]\ndocker_args = [\"--mount=type=bind,src=/etc,dst=/e\"]", "mount:/etc:/e", true),
        ("[container]\ndocker_args = [\"-uroot\"]", "user:root", true),
        ("[container]\ndocker_args = [\"--net=host\"]", "network:host", true),
        ("[container]\ndocker_args = [\"--runtime=x\"]", "runtime:x", false),
        ("[container]\ndocker_args = [\"--sysctl=a.b=1\"]", "sysctl:a.b=1", false),
        ("[container]\ndocker_args = [\"--cgroup-parent=/x\"]", "cgroup_parent:/x", false),
        ("[container]\ndocker_args = [\"--device-cgroup-rule=a *:* rwm\"]", "device_cgroup_rule:a *:* rwm", true),
        ("[container]\ndocker_args = [\"--volume-driver=x\"]", "volume_driver:x", true),
        ("[container]\ndocker_args = [\"--annotation=a=b\"]", "annotation:a=b", true),
        ("[container]\ndocker_args = [\"--link=db\"]", "link:db", false),
        ("[container]\ndocker_args = [\"--log-driver=syslog\"]", "log_driver:syslog", false),
        ("[container]\ndocker_args = [\"--oom-score-adj=-9\"]", "oom_score_adj:-9", false),
        ("[container]\ndocker_args = [\"--oom-kill-disable\"]", "oom_kill_disable", false),
        ("[container]\ndocker_args = [\"-P\"]", "publish_all", false),
        ("[container]\ndocker_args = [\"-p0.0.0.0:80:80\"]", "port:0.0.0.0:80", false),
        ("[container]\ndocker_args = [\"-eTOKEN\"]", "env:TOKEN", false),
        ("[container]\ndevices = [\"/dev/fuse\"]", "device:/dev/fuse:/dev/fuse:rwm", true),
        ("[container]\ncap_add = [\"cap_sys_admin\"]", "cap_add:SYS_ADMIN", true),
        ("[container]\nsecurity_opt = [\"seccomp=unconfined\"]", "security_opt:seccomp=unconfined", true),
        ("[container]\nvolumes_from = [\"db\"]", "volumes_from:db", true),
        ("[container]\ngroup_add = [\"docker\"]", "group_add:docker", false),
        ("[container]\nmounts = [\"scratch:/s\"]", "volume:scratch:/s", false),
        ("[container]\nmounts = [\"scratch:/s:ro\"]", "volume:scratch:/s:ro", false),
        ("[container]\ndocker_args = [\"-vscratch:/s\"]", "volume:scratch:/s", false),
        ("[container]\ndocker_args = [\"--mount=type=volume,src=scratch,dst=/s\"]", "volume:scratch:/s", false),
        ("[container]\nnetwork = \"db\"", "network:db", false),
        ("[container]\nrestart = \"always\"", "restart:always", false),
        ("[container]\ndocker_args = [\"--restart=on-failure:3\"]", "restart:on-failure", false),
        ("[image]\ntag = \"postgres:16\"", "tag:postgres:16", false),
        ("[gpus]\nuse = [\"vendor.com/net=all\"]", "cdi:vendor.com/net=all", true),
        ("[jobs.a]\ncommand = [\"x\"]\ngpus = [\"vendor.com/net=0\"]", "cdi:vendor.com/net=0", true),
        ("[container]\nports = [\"0.0.0.0:6006\"]", "port:0.0.0.0:6006", false),
        ("[container]\nports = [\"[::]:80:81/udp\"]", "port:[::]:80:81/udp", false),
        ("[image]\nsecrets = [\"x=env:AWS_SECRET\"]", "secret:x=env:AWS_SECRET", false),
        ("[image]\ncontext = \"/etc\"", "context:/etc", true),
    ] {
        let powers = Lab::with(&format!("{text}\n")).loaded().powers;
        assert_eq!(powers.len(), 1, "{text}: {powers:?}");
        assert_eq!((powers[0].key.as_str(), powers[0].grave), (key, grave), "{text}");
        assert!(!powers[0].sentence.is_empty());
    }
}

#[test]
fn what_stays_in_the_folder_asks_nothing() {
    let lab = Lab::with(
        r#"
[image]
secrets = ["t=file:token"]
args = { A = "1" }
[container]
mounts = ["./data:/data"]
env = { A = "1" }
env_file = ".env"
ports = ["6006", "127.0.0.1:8080:80", "[::1]:81:81"]
user = "1000:1000"
cap_drop = ["ALL"]
network = "none"
shm_size = "1g"
privileged = false
docker_args = ["--tmpfs=/run", "--init", "--mount=type=tmpfs,target=/t"]
restart = "no"
[venv]
requirements = ["requirements.txt"]
[gpus]
use = ["nvidia.com/gpu=0"]
"#,
    );
    for file in ["token", ".env", "data/x", "requirements.txt"] {
        lab.write(file, "");
    }
    assert_eq!(keys(&lab), Vec::<String>::new());
}

#[test]
fn the_users_own_file_asks_nothing() {
    let lab = Lab::new();
    lab.make("data");
    lab.user(
        "[container]\nprivileged = true\nmounts = [\"~/data:/data\", \"/etc:/e\"]\nnetwork = \"host\"\nports = [\"0.0.0.0:1\"]\n\
         docker_args = [\"-eTOKEN\"]\n[engine]\nhost = \"ssh://gpu\"\n[paths]\ndata = \"~/bay\"\n",
    );
    let loaded = lab.loaded();
    assert_eq!(loaded.powers, []);
    assert!(loaded.config.container.engine.privileged);
    assert_eq!(loaded.state, host(&lab.home.join("bay")));
}

#[test]
fn a_link_that_leads_outside_is_outside_and_its_target_is_the_key() {
    let lab = Lab::with("[container]\nmounts = [\"./data:/data\"]\n");
    let (one, two) = (lab.make("one"), lab.make("two"));
    let link = lab.ws.join("data");
    symlink(&one, &link).expect("linked");
    assert_eq!(keys(&lab), [format!("mount:{}:/data", one.display())]);
    std::fs::remove_file(&link).expect("removed");
    symlink(&two, &link).expect("linked");
    assert_eq!(keys(&lab), [format!("mount:{}:/data", two.display())]);
    assert_eq!(lab.config().container.mounts[0].source, MountSource::Host(host(&two)), "what is approved is mounted");
    std::fs::remove_file(&link).expect("removed");
    symlink("..", &link).expect("linked");
    assert!(lab.loaded().powers[0].grave, "the home folder");
}

#[test]
fn every_file_that_is_read_counts_with_its_target() {
    for (text, name) in [
        ("[image]\ndockerfile = \"f\"", "dockerfile"),
        ("[container]\nenv_file = \"f\"", "env_file"),
        ("[venv]\nrequirements = [\"f\"]", "requirements"),
        ("[container]\ndocker_args = [\"--env-file=f\"]", "env_file"),
        ("[container]\ndocker_args = [\"--label-file\", \"f\"]", "label_file"),
        ("[image]\nsecrets = [\"s=file:f\"]", "secret:s=file"),
    ] {
        let lab = Lab::with(&format!("{text}\n"));
        put(&lab.home.join(".aws/credentials"), "KEY=1\n");
        symlink(lab.home.join(".aws/credentials"), lab.ws.join("f")).expect("linked");
        assert_eq!(keys(&lab), [format!("{name}:{}/.aws/credentials", lab.home.display())], "{text}");
    }
    let lab = Lab::bare();
    put(&lab.home.join("elsewhere"), "FROM scratch\n");
    symlink("../elsewhere", lab.ws.join("Dockerfile")).expect("linked");
    assert_eq!(keys(&lab), [format!("dockerfile:{}/elsewhere", lab.home.display())]);
    std::fs::rename(lab.ws.join("Dockerfile"), lab.ws.join("requirements.txt")).expect("renamed");
    assert_eq!(keys(&lab), [format!("requirements:{}/elsewhere", lab.home.display())]);
}

#[test]
fn a_line_without_a_value_does_not_take_a_variable_unasked() {
    let mut lab = Lab::with("[container]\nenv_file = \".env\"\n");
    lab.write(".env", "A=1\nAWS_SECRET_ACCESS_KEY\n");
    lab.env.insert("AWS_SECRET_ACCESS_KEY".into(), "s3cret".into());
    assert_eq!(keys(&lab), ["env:AWS_SECRET_ACCESS_KEY"]);
    lab.write("gpubay.toml", "");
    lab.user("[container]\nenv_file = \".env\"\n");
    assert_eq!(keys(&lab), ["env:AWS_SECRET_ACCESS_KEY"], "the user named the file, the workspace wrote it");
    lab.env.remove("AWS_SECRET_ACCESS_KEY");
    assert_eq!(keys(&lab), ["env:AWS_SECRET_ACCESS_KEY"], "also when it is not set today");
}

#[test]
fn dangerous_sources_are_grave() {
    let lab = Lab::new();
    lab.make(".ssh");
    lab.make(".config/gpubay");
    lab.make("data");
    let _socket = std::os::unix::net::UnixListener::bind(lab.home.join("docker.s")).expect("bound");
    for (source, grave) in [
        ("~/data", false),
        ("~", true),
        ("..", true),
        ("~/..", true),
        ("~/.ssh", true),
        ("~/.config/gpubay", true),
        ("~/docker.s", true),
        ("/", true),
        ("/etc", true),
        ("/proc", true),
        ("/dev", true),
        ("/usr/lib", true),
    ] {
        lab.write("gpubay.toml", &format!("[container]\nmounts = [\"{source}:/x\"]\n"));
        let powers = lab.loaded().powers;
        assert_eq!((powers.len(), powers[0].grave), (1, grave), "{source}: {powers:?}");
    }
}

fn power(key: &str) -> Power {
    Power { key: key.into(), sentence: "is tested".into(), grave: false }
}

#[test]
fn without_a_terminal_the_hint_is_what_to_add() {
    let ws = HostPath::new("/ws").expect("absolute");
    let powers = ["privileged", "mount:/a b/it's:/x:ro", "env:A", "mount:/a\nb:/x", "mount:/$(id):/x"].map(power);
    let error = consent::check(&ws, &powers, &mut Approvals::default(), &["env:A".into()], None).expect_err("passed");
    assert_eq!(error.code(), "needs_consent");
    let hint = error.hint().expect("a hint");
    let arguments = hint.split_once(": ").expect("a colon").1;
    assert_eq!(
        arguments,
        "--allow privileged --allow 'mount:/a b/it'\\''s:/x:ro' --allow $'mount:/a\\x0ab:/x' --allow 'mount:/$(id):/x'"
    );
    assert!(error.to_string().lines().count() == 5, "{error}");
    // What a shell makes of the hint is exactly the keys.
    let output = std::process::Command::new("bash")
        .args(["-c", &format!("printf '%s\\0' {arguments}")])
        .output()
        .expect("bash runs");
    let read = String::from_utf8(output.stdout).expect("UTF-8");
    let keys: Vec<&str> = read.split_terminator('\0').filter(|word| *word != "--allow").collect();
    assert_eq!(keys, ["privileged", "mount:/a b/it's:/x:ro", "mount:/a\nb:/x", "mount:/$(id):/x"]);
    let mut approvals = Approvals::default();
    let allow: Vec<String> = keys.into_iter().chain(["env:A"]).map(str::to_owned).collect();
    consent::check(&ws, &powers, &mut approvals, &allow, None).expect("allowed");
    consent::check(&ws, &powers, &mut approvals, &[], None).expect("remembered");
}

#[test]
fn an_allow_that_matches_nothing_is_an_error() {
    let ws = HostPath::new("/ws").expect("absolute");
    let error = consent::check(&ws, &[power("privileged")], &mut Approvals::default(), &["priviledged".into()], None)
        .expect_err("passed");
    assert_eq!(error.code(), "unknown_allow");
    assert!(error.to_string().contains("did you mean `privileged`?"), "{error}");
}

#[test]
fn only_what_is_new_is_asked() {
    let ws = HostPath::new("/ws").expect("absolute");
    let mut approvals = Approvals::default();
    let mut asked = Vec::new();
    let mut yes = |powers: &[Power]| {
        asked.push(powers.iter().map(|p| p.key.clone()).collect::<Vec<_>>());
        true
    };
    consent::check(&ws, &[power("a")], &mut approvals, &[], Some(&mut yes)).expect("approved");
    consent::check(&ws, &[power("a")], &mut approvals, &[], Some(&mut yes)).expect("approved");
    consent::check(&ws, &[power("a"), power("b")], &mut approvals, &[], Some(&mut yes)).expect("approved");
    assert_eq!(asked, [vec!["a"], vec!["b"]]);
    let before = approvals.clone();
    let refused = consent::check(&ws, &[power("c")], &mut approvals, &[], Some(&mut |_: &[Power]| false));
    assert!(matches!(refused, Err(ConsentError::Refused { .. })));
    assert_eq!(approvals, before);
}

#[test]
fn an_approval_is_kept_outside_and_for_the_user_alone() {
    let lab = Lab::with("[container]\nprivileged = true\n");
    let loaded = lab.loaded();
    assert_eq!(consent::require(&loaded, &[], None).expect_err("passed").code(), "needs_consent");
    consent::require(&loaded, &["privileged".into()], None).expect("allowed");
    consent::require(&lab.loaded(), &[], None).expect("remembered");
    let file = lab.home.join(format!(".local/share/gpubay/approvals/{}.json", loaded.identity.id));
    assert_eq!(file.metadata().expect("written").permissions().mode() & 0o777, 0o600);
    assert_eq!(file.parent().expect("a folder").read_dir().expect("read").count(), 1, "nothing half-made is left");
    // A container that edits the file gets nothing by it.
    lab.write("gpubay.toml", "[container]\nprivileged = true\nnetwork = \"host\"\n");
    let Err(ConsentError::NeedsConsent { missing, .. }) = consent::require(&lab.loaded(), &[], None) else {
        panic!("passed");
    };
    assert_eq!(missing.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), ["network:host"]);
    std::fs::write(&file, "{").expect("written");
    assert_eq!(consent::require(&lab.loaded(), &[], None).expect_err("passed").code(), "state_damaged");
}

#[test]
fn a_workspace_cannot_bring_its_own_approval() {
    let lab = Lab::with("[container]\nprivileged = true\n[paths]\ndata = \"bay\"\n");
    let loaded = lab.loaded();
    assert_eq!(loaded.config.paths.data, host(&lab.ws.join("bay")));
    let forged = r#"{"workspace": "", "approved": ["privileged", "paths.data:"]}"#;
    lab.write(&format!("bay/approvals/{}.json", loaded.identity.id), forged);
    assert_eq!(loaded.state, host(&lab.home.join(".local/share/gpubay")));
    let Err(ConsentError::NeedsConsent { missing, .. }) = consent::require(&loaded, &[], None) else {
        panic!("passed");
    };
    assert_eq!(missing.len(), 2);
}

#[test]
fn names_of_the_workspaces_own_ask_nothing() {
    let lab = Lab::new();
    let own = lab.loaded().identity.container_name();
    let tag = own.replacen("gpubay-", "gpubay/", 1);
    let toml = |mount: &str, tag: &str| format!("[container]\nmounts = [\"{mount}:/s\"]\n[image]\ntag = \"{tag}\"\n");
    lab.write("gpubay.toml", &toml(&format!("{own}-data"), &format!("{tag}:mine")));
    assert_eq!(keys(&lab), Vec::<String>::new());
    lab.write("gpubay.toml", &toml(&format!("{own}x"), &format!("{tag}x:mine")));
    assert_eq!(keys(&lab).len(), 2, "a longer name is another's");
}

#[test]
fn nothing_is_mounted_over_our_agent() {
    for target in ["/.gpubay", "/.gpubay/bin", "/.gpubay/run/x"] {
        for args in [format!("mounts = [\".:{target}\"]"), format!("docker_args = [\"--tmpfs={target}:size=1m\"]")] {
            let lab = Lab::with(&format!("[container]\n{args}\n"));
            assert!(lab.error().to_string().contains("belongs to GPU Bay's agent"), "{args}");
        }
    }
}
