//! Engines behind SSH and TLS: real `ssh` and `sshd`, a real TLS listener, and a real engine behind each.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use gpubay_e2e::{Bench, Ran, Who, attach_target, eventually, lab, output};

fn tunnels() -> PathBuf {
    std::env::var_os("GPUBAY_TEST_TUNNELS").expect("GPUBAY_TEST_TUNNELS: run through `make test`").into()
}

fn done(command: &mut Command) -> String {
    let ran = output(command);
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// A user whose `ssh` knows some machines. Each is this one, seen through an `sshd` that speaks over a pipe, so that it takes no port.
struct Network {
    bench: Bench,
    passwd: PathBuf,
}

impl Network {
    fn new(engine: &str, name: &str) -> Self {
        let bench = Bench::on_cpu(engine, Who::Ordinary, name);
        let ssh = bench.home.join(".ssh");
        std::fs::create_dir(&ssh).expect("made");
        for key in ["machine", "id"] {
            let file = ssh.join(key);
            done(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file));
        }
        std::fs::copy(ssh.join("id.pub"), ssh.join("authorized_keys")).expect("authorized");
        // `ssh` looks for a home in here, and nowhere else.
        let passwd = bench.outside().join("passwd");
        let users = std::fs::read_to_string("/etc/passwd").expect("read");
        let of_user = format!("{}:", lab().user);
        let changed = users.lines().map(|line| {
            if !line.starts_with(&of_user) {
                return line.to_owned();
            }
            let fields: Vec<&str> = line.split(':').collect();
            let home = bench.home.display().to_string();
            [&fields[..5], &[home.as_str(), "/bin/sh"]].concat().join(":")
        });
        std::fs::write(&passwd, changed.collect::<Vec<_>>().join("\n") + "\n").expect("written");
        let network = Self { bench, passwd };
        network.run_dir();
        network.own(&ssh);
        network
    }

    fn own(&self, folder: &Path) {
        self.bench.own(folder);
        for entry in std::fs::read_dir(folder).expect("read").flatten() {
            self.bench.own(&entry.path());
        }
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).expect("closed");
    }

    fn run_dir(&self) -> PathBuf {
        let run = self.bench.outside().join("run");
        if !run.exists() {
            std::fs::create_dir(&run).expect("made");
            self.own(&run);
        }
        run
    }

    /// Adds a machine of this name, where the docker command is on `path` and finds the engine `host`.
    fn machine(&self, name: &str, path: &str, host: &str, is_known: bool) {
        let (ssh, root) = (self.bench.home.join(".ssh"), tunnels());
        let at = |file: &str| ssh.join(file).display().to_string();
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPidFile none\nLogLevel QUIET\nSetEnv PATH={path} DOCKER_HOST={host}\n",
            at("machine"),
            at("authorized_keys"),
        );
        std::fs::write(ssh.join(name), config).expect("written");
        let sshd = format!(
            "LD_LIBRARY_PATH={} {} -i -f {}",
            root.join("libraries").display(),
            root.join("usr/sbin/sshd").display(),
            at(name)
        );
        let mut hosts = std::fs::read_to_string(ssh.join("config")).unwrap_or_default();
        hosts += &format!("Host {name}\n ProxyCommand env {sshd}\n IdentityFile {}\n", at("id"));
        std::fs::write(ssh.join("config"), hosts).expect("written");
        if is_known {
            let key = std::fs::read_to_string(ssh.join("machine.pub")).expect("read");
            let known = std::fs::read_to_string(ssh.join("known_hosts")).unwrap_or_default();
            std::fs::write(ssh.join("known_hosts"), format!("{known}{name} {key}")).expect("written");
        }
        self.own(&ssh);
    }

    /// A command as the user, whose home is that of this bench.
    fn command(&self, program: &Path, args: &[&str], host: &str) -> Command {
        let script = "mount --bind \"$0\" /etc/passwd; exec \"$@\"";
        let inner = self.bench.command(program);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", script]).arg(&self.passwd);
        command.arg(inner.get_program()).args(inner.get_args()).args(args).env_clear();
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").env("DOCKER_HOST", host);
        command.env("XDG_RUNTIME_DIR", self.run_dir());
        command.current_dir(&self.bench.workspace).stdin(Stdio::null());
        command
    }

    fn gpubay(&self, host: &str, args: &[&str]) -> Ran {
        Ran::of(&output(&mut self.command(&lab().gpubay, args, host)), args)
    }

    /// Code, message and next step of the error that it is to use this engine.
    #[track_caller]
    fn error(&self, host: &str) -> (String, String, String) {
        let ran = self.gpubay(host, &["ps", "--json"]);
        let error = &ran.failed("error").json()["error"];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (text("code"), text("message"), text("hint"))
    }
}

fn docker_folder() -> String {
    lab().docker.parent().expect("a folder").display().to_string()
}

/// As with an engine of this machine: an image is built, a container runs, its packages are mirrored, a program is run inside.
#[test]
fn an_engine_behind_ssh_is_used_as_one_that_is_here() {
    let network = Network::new("docker28", "behind-ssh");
    let engine = format!("unix://{}", network.bench.socket.display());
    network.machine("gpu-server", &format!("{}:/usr/bin:/bin", docker_folder()), &engine, true);
    network.bench.write("Dockerfile", "FROM gpubay-lab/python\nRUN echo built > /made\n");
    let host = "ssh://gpu-server";
    let report = network.gpubay(host, &["up", "--json"]).succeeded().json();
    assert_eq!(
        (&report["container"]["created"], &report["image"]["built"]),
        (&true.into(), &true.into()),
        "{report:#}"
    );
    assert_eq!(network.bench.containers().len(), 1, "on that engine");
    let shared = || {
        let folder = network.run_dir().join("gpubay");
        let names = std::fs::read_dir(folder).expect("the folder of connections").flatten();
        names.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    assert_eq!(shared().len(), 1, "one connection for all: {:?}", shared());

    let ran = network.gpubay(host, &["exec", "--", "sh", "-c", "cat /made; cat >&2; exit 7"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(7), "built\n"), "{ran:?}");
    let mut asked = network.command(&lab().gpubay, &["exec", "--", "cat"], host);
    let mut child = asked.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), b"to and fro").expect("written");
    let ran = Ran::of(&gpubay_e2e::finish(child), &["exec", "cat"]);
    assert_eq!(ran.succeeded().stdout, "to and fro");

    let again = network.gpubay(host, &["up", "--json"]).succeeded().json();
    assert_eq!(again["container"]["created"], false, "{again:#}");
    let attach = network.gpubay(host, &["attach", "--print", "--json"]).succeeded().json();
    let target = attach_target(attach["uri"].as_str().expect("a URI"));
    assert_eq!(target["settings"]["host"], host, "{target}");

    // The same engine by its socket there, whatever docker would use.
    let host = format!("ssh://gpu-server{}", network.bench.socket.display());
    let listed = network.gpubay(&host, &["ps", "--all", "--json"]).succeeded().json();
    assert!(listed.to_string().contains(&network.bench.containers()[0]), "{listed:#}");

    network.gpubay("ssh://gpu-server", &["down", "--force"]).succeeded();
    assert_eq!(network.bench.containers(), Vec::<String>::new());
    // Whoever keeps the connection would be gone after a minute.
    let control = format!("ControlPath={}", shared()[0].display());
    let args = ["-o", &control, "-O", "exit", "gpu-server"];
    done(&mut network.command(Path::new("/usr/bin/ssh"), &args, ""));
    eventually("the connection is closed", || shared().is_empty());
}

#[test]
fn each_way_not_to_get_there_has_its_next_step() {
    let network = Network::new("docker28", "not-there");
    let engine = format!("unix://{}", network.bench.socket.display());
    network.machine("stranger", "/usr/bin:/bin", &engine, false);
    network.machine("bare", "/usr/bin:/bin", &engine, true);
    network.machine("stopped", &format!("{}:/usr/bin:/bin", docker_folder()), "unix:///nonexistent/d.sock", true);
    let said = |host: &str, why: &str, next: &str| {
        let (code, message, hint) = network.error(host);
        assert_eq!(code, "engine_unreachable", "{message}");
        assert!(message.contains(host) && message.contains(why), "{message}");
        assert!(hint.contains(next), "{hint}");
    };
    said("ssh://stranger", "Host key verification failed", "`ssh stranger` has to work without a question");
    said("ssh://bare", "not found", "Install the docker command on that machine");
    said("ssh://stopped", "/nonexistent/d.sock", "`ssh stopped docker version`");
    said("ssh://nowhere.invalid", "Could not resolve", "a Host of ~/.ssh/config");
    std::fs::remove_file(network.bench.home.join(".ssh/authorized_keys")).expect("removed");
    said("ssh://me@stopped", "Permission denied", "`ssh me@stopped` has to work without a question");
    let (code, message, _) = network.error("ssh://-oProxyCommand=touch${IFS}here");
    assert_eq!(code, "engine_address", "{message}");
}

/// A TLS listener in front of the engine that wants to know who asks. It ends with this.
struct Listener(Child);

impl Drop for Listener {
    fn drop(&mut self) {
        gpubay_e2e::kill(&mut self.0);
    }
}

#[test]
fn an_engine_behind_tls_builds_and_runs() {
    let bench = Bench::on_cpu("docker28", Who::Ordinary, "behind-tls");
    let folder = bench.outside().join("certificates");
    std::fs::create_dir(&folder).expect("made");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("opened");
    let script = "
        cd \"$0\"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
        sign() {
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj \"/CN=$1\" -keyout \"$2.pem\" -out \"$1.csr\"
            printf '%s' \"$3\" > \"$1.ext\"
            openssl x509 -req -in \"$1.csr\" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile \"$1.ext\" -out \"$4.pem\"
        }
        sign engine engine-key subjectAltName=IP:127.0.0.1 engine-cert
        sign client key extendedKeyUsage=clientAuth cert
        chmod 644 *.pem";
    done(Command::new("sh").args(["-euc", script]).arg(&folder));
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let at = |name: &str| folder.join(name).display().to_string();
    let listen = format!(
        "OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,cert={},key={},cafile={},verify=1",
        at("engine-cert.pem"),
        at("engine-key.pem"),
        at("ca.pem")
    );
    let mut socat = Command::new(tunnels().join("usr/bin/socat"));
    socat.arg(listen).arg(format!("UNIX-CONNECT:{}", bench.socket.display()));
    socat.env("LD_LIBRARY_PATH", tunnels().join("libraries")).stderr(Stdio::null());
    let _listener = Listener(socat.spawn().expect("started: `tests/lab/lab setup tunnels` makes it"));
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());

    bench.write("Dockerfile", "FROM gpubay-lab/python\nRUN echo built > /made\n");
    let there = |args: &[&str], certificates: &Path| {
        let mut command = bench.gpubay(args);
        command.env("DOCKER_HOST", format!("tcp://127.0.0.1:{port}")).env("DOCKER_TLS_VERIFY", "1");
        command.env("DOCKER_CERT_PATH", certificates);
        Ran::of(&output(&mut command), args)
    };
    let report = there(&["up", "--json"], &folder).succeeded().json();
    assert_eq!(report["image"]["built"], true, "{report:#}");
    let ran = there(&["exec", "--", "cat", "/made"], &folder);
    assert_eq!(ran.succeeded().stdout, "built\n");
    there(&["down", "--force"], &folder).succeeded();

    // Who signed the engine's certificate is not known.
    let none = bench.outside().join("none");
    std::fs::create_dir(&none).expect("made");
    let ran = there(&["ps", "--json"], &none);
    let error = &ran.failed("error").json()["error"];
    assert_eq!(error["code"], "engine_unreachable", "{error:#}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("certificate")), "{error:#}");
    // A certificate that is none.
    std::fs::write(none.join("ca.pem"), "no certificate\n").expect("written");
    std::fs::write(none.join("cert.pem"), "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n")
        .expect("written");
    std::fs::set_permissions(&none, PermissionsExt::from_mode(0o755)).expect("opened");
    let ran = there(&["ps", "--json"], &none);
    assert!(ran.failed("cert.pem").json()["error"]["code"] == "engine_unreachable", "{ran:?}");
}
