"""Private engines: each with its own socket, data, containerd, bridge and CDI folder, side by side.

What runs is read from the machine, never remembered: a process is ours when its arguments name our
run folder. So a stale pid file after a kill or a reboot can neither block a start nor misdirect a stop.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import debian
import gpu
import images
import podman
from common import CACHE, RUNTIME, USER, LabError, locked, run, say

START_SECONDS = 60
STOP_SECONDS = 20


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path):
        super().__init__("engine", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


@dataclass(frozen=True)
class Engine:
    name: str
    programs: str = ""
    """Whose unpacked programs it runs, where that is not its own name."""
    has_cdi: bool = False
    is_divided: bool = False
    """Its first GPU is divided (MIG), and NVIDIA's container toolkit is there as well: what stands for it."""
    daemon: dict = field(default_factory=dict)
    """What goes into its daemon.json besides."""
    rootless: bool = False
    """Run by the ordinary user of the tests."""
    is_podman: bool = False

    @property
    def data(self) -> Path:
        return CACHE / "engines" / self.name

    @property
    def run_folder(self) -> Path:
        return RUNTIME / self.name

    @property
    def socket(self) -> Path:
        return self.run_folder / "d.sock"

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def log(self) -> Path:
        return self.data / ("podman.log" if self.is_podman else "dockerd.log")

    @property
    def bridge(self) -> str:
        """An interface's name, at most 15 bytes."""
        return "gblab" + hashlib.sha256(bytes(self.data)).hexdigest()[:8]

    @property
    def unpacked(self) -> Path:
        return CACHE / (self.programs or self.name)

    def cli(self, *arguments: str) -> list[str]:
        """The argument vector of the docker CLI on this engine; always the newer CLI, which speaks to both."""
        return [str(debian.engine("docker28") / "bin/docker"), "--config", str(CACHE / "docker28/config"), "-H", self.host, *arguments]

    def get(self, path: str, **query: str):
        connection = UnixConnection(self.socket)
        with contextlib.closing(connection):
            connection.request("GET", path + ("?" + urllib.parse.urlencode(query) if query else ""))
            answer = connection.getresponse()
            body = answer.read()
        if answer.status != 200:
            raise LabError(f"{self.name} answered {answer.status} to {path}: {body.decode(errors='replace')}")
        return json.loads(body) if answer.headers.get_content_type() == "application/json" else body.decode()

    def answers(self) -> bool:
        try:
            return self.get("/_ping") == "OK"
        except (OSError, http.client.HTTPException, LabError):
            return False


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("docker28", has_cdi=True),
        Engine("docker26", has_cdi=True, daemon={"features": {"cdi": True}}),
        Engine("docker20"),
        # Docker's newer image store, which has no GraphDriver.
        Engine("docker28-containerd", programs="docker28", has_cdi=True, daemon={"features": {"containerd-snapshotter": True}}),
        Engine("docker28-rootless", programs="docker28", has_cdi=True, rootless=True),
        Engine("docker28-divided", programs="docker28", has_cdi=True, is_divided=True, daemon={"runtimes": {"nvidia": {"path": "runc"}}}),
        Engine("podman", is_podman=True),
        Engine("podman-rootless", programs="podman", is_podman=True, rootless=True),
        Engine("podman5", is_podman=True, has_cdi=True),
    )
}
USUAL = ["docker28", "docker26", "docker20", "docker28-containerd", "docker28-rootless", "docker28-divided", "podman", "podman-rootless", "podman5"]


def named(name: str) -> Engine:
    if name not in ENGINES:
        raise LabError(f"no engine is called {name}; there are {', '.join(ENGINES)}")
    return ENGINES[name]


# --- processes, mounts, network -----------------------------------------------------------------


def processes(engine: Engine) -> dict[int, list[str]]:
    """The engine's own processes by pid: dockerd, its containerd and the shims of its containers, or what Podman has instead."""
    mark = f"{engine.run_folder}/"
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        program = os.path.basename(argv[0])
        if program in [*debian.PROGRAMS, *debian.PODMAN_PROGRAMS, *debian.ROOTLESS_PROGRAMS] and any(word.startswith((mark, f"unix://{mark}")) for word in argv[1:]):
            found[int(folder.name)] = argv
    return found


def daemon_pid(engine: Engine) -> int | None:
    # Podman runs as `podman container cleanup`, too, when a container of the engine ends.
    name, word = ("podman", "service") if engine.is_podman else ("dockerd", "--config-file")
    return next((pid for pid, argv in processes(engine).items() if os.path.basename(argv[0]) == name and word in argv and is_alive(pid)), None)


def is_alive(pid: int) -> bool:
    """A zombie that waits for its parent has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def unmount_leftovers(engine: Engine) -> None:
    """Of containers that ended with a killed engine: overlays, network namespaces, shm."""
    ours = (f"{engine.data}/", f"{engine.run_folder}/")
    points = [line.split()[4].encode().decode("unicode_escape") for line in open("/proc/self/mountinfo")]
    for point in sorted((p for p in points if p.startswith(ours)), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, env={"PATH": debian.PATH}, stderr=subprocess.DEVNULL)


def free_subnet(network: str = "10.213.0.0/16", first: int = 0) -> ipaddress.IPv4Network:
    """The first of a range, from the given one on, that nothing on this machine has an address or a route in."""
    taken = []
    for question in (("route", "show", "table", "all"), ("address", "show")):
        for entry in json.loads(run("ip", "-json", "-4", *question, env={"PATH": debian.PATH}).stdout or "[]"):
            addresses = [f"{a['local']}/{a['prefixlen']}" for a in entry.get("addr_info", [])] + [entry.get("dst", "default")]
            for address in addresses:
                with contextlib.suppress(ValueError):
                    taken.append(ipaddress.ip_network(address, strict=False))
    candidates = list(ipaddress.ip_network(network).subnets(new_prefix=24))
    free = next((c for c in candidates[first:] + candidates[:first] if not any(c.overlaps(t) for t in taken if t.prefixlen > 0)), None)
    if free is None:
        raise LabError(f"no network of {network} is free on this machine")
    return free


def rules(bridge: str, subnet: str) -> list[list[str]]:
    """The packet filter's rules for one bridge, as what follows `-I` or `-D`.

    The engines themselves keep their hands off (`iptables: false`): two of them in one network
    namespace flush each other's chains, and a real engine of this machine must not be disturbed.
    Published ports go through docker-proxy.
    """
    mark = ["-m", "comment", "--comment", f"gpubay-lab {bridge}"]
    return [
        ["-t", "nat", "POSTROUTING", "-s", subnet, "!", "-o", bridge, *mark, "-j", "MASQUERADE"],
        ["-t", "filter", "FORWARD", "-i", bridge, *mark, "-j", "ACCEPT"],
        ["-t", "filter", "FORWARD", "-o", bridge, *mark, "-j", "ACCEPT"],
    ]


def iptables(action: str, rule: list[str]) -> bool:
    argv = ["iptables", "--wait", *rule[:2], action, *rule[2:]]
    return subprocess.run(argv, check=False, env={"PATH": debian.PATH}, stderr=subprocess.DEVNULL).returncode == 0


def bridge_up(engine: Engine) -> None:
    environment = {"PATH": debian.PATH}
    if not Path("/sys/class/net", engine.bridge).exists():
        subnet = free_subnet()
        run("ip", "link", "add", engine.bridge, "type", "bridge", env=environment)
        run("ip", "address", "add", f"{subnet[1]}/{subnet.prefixlen}", "dev", engine.bridge, env=environment)
    run("ip", "link", "set", engine.bridge, "up", env=environment)
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    if forward.read_text().strip() != "1":
        forward.write_text("1\n")
    for rule in rules(engine.bridge, subnet_of(engine)):
        if not iptables("-C", rule) and not iptables("-I", rule):
            raise LabError(f"iptables does not take {' '.join(rule)}")


def subnet_of(engine: Engine) -> str:
    shown = json.loads(run("ip", "-json", "-4", "address", "show", "dev", engine.bridge, env={"PATH": debian.PATH}).stdout)
    address = shown[0]["addr_info"][0]
    return str(ipaddress.ip_network(f"{address['local']}/{address['prefixlen']}", strict=False))


def bridge_down(engine: Engine) -> None:
    if not Path("/sys/class/net", engine.bridge).exists():
        return
    if not engine.is_podman:
        for rule in rules(engine.bridge, subnet_of(engine)):
            iptables("-D", rule)
    run("ip", "link", "delete", engine.bridge, env={"PATH": debian.PATH})


# --- start, stop ----------------------------------------------------------------------------------


def daemon_config(engine: Engine) -> dict:
    config = {
        "data-root": f"{engine.data}/data",
        "exec-root": f"{engine.run_folder}/exec",
        "pidfile": f"{engine.run_folder}/d.pid",
        "hosts": [engine.host],
        "group": USER,
        "bridge": engine.bridge,
        "iptables": False,
        "ip6tables": False,
        **engine.daemon,
    }
    if engine.has_cdi:
        config["cdi-spec-dirs"] = [str(gpu.fake() / ("mig" if engine.is_divided else "cdi"))]
    return config


def rootless_config(engine: Engine) -> dict:
    """Its network is one of its own, so that it may make bridge and rules there itself."""
    whole = daemon_config(engine)
    kept = {key: whole[key] for key in whole if key not in ("group", "bridge", "iptables", "ip6tables")}
    # Without a session of systemd's nobody gives it control groups of its own: it is not to ask for any.
    return {**kept, "exec-opts": ["native.cgroupdriver=cgroupfs"]}


def rootless_daemon(engine: Engine) -> tuple[list[str], dict[str, str]]:
    """As `dockerd-rootless.sh` does it."""
    home, state = engine.data / "home", engine.run_folder / "rootlesskit"
    home.mkdir(exist_ok=True)
    for folder in (engine.data, home, engine.run_folder):
        podman.own(engine, folder)
    config = engine.run_folder / "daemon.json"
    config.write_text(json.dumps(rootless_config(engine), indent=2))
    programs = f"{debian.engine(engine.programs) / 'bin'}:{debian.rootless() / 'bin'}"
    argv = [*podman.as_owner(engine), "rootlesskit", "--state-dir", str(state), "--net=slirp4netns", "--mtu=65520"]
    argv += ["--disable-host-loopback", "--port-driver=builtin", "--copy-up=/etc", "--copy-up=/run", "--propagation=rslave"]
    # What the machine's own engines have in /run is theirs; the copy of the folder only links to it.
    script = 'rm -f /run/docker /run/containerd /run/xtables.lock; exec dockerd --config-file "$0"'
    environment = {"PATH": f"{programs}:{debian.PATH}", "HOME": str(home), "XDG_RUNTIME_DIR": str(engine.run_folder)}
    return [*argv, "sh", "-c", script, str(config)], environment


def docker_daemon(engine: Engine) -> tuple[list[str], dict[str, str]]:
    """Its command and environment."""
    if engine.rootless:
        return rootless_daemon(engine)
    bridge_up(engine)
    config = engine.run_folder / "daemon.json"
    config.write_text(json.dumps(daemon_config(engine), indent=2))
    programs = debian.engine(engine.programs or engine.name) / "bin"
    path = f"{programs}:{debian.PATH}" + (f":{gpu.fake() / 'bin'}" if engine.is_divided else "")
    return [str(programs / "dockerd"), "--config-file", str(config)], {"PATH": path, "HOME": "/root"}


def podman_daemon(engine: Engine) -> tuple[list[str], dict[str, str]]:
    # It makes its bridge with the first container: two labs that start must not choose the same network meanwhile.
    chosen = int(engine.bridge[-2:], 16)
    podman.configure(engine, None if engine.rootless else free_subnet("10.214.0.0/16", first=chosen))
    return podman.service(engine), podman.environment(engine)


def start(engine: Engine) -> None:
    """Start it unless it answers. What the engine keeps (images, volumes) outlives a stop.

    It is for root, for the ordinary user of the tests and for who called us through sudo.
    """
    if engine.answers():
        return
    with locked(f"engine-{engine.name}"):
        if engine.answers():
            return
        begun = time.monotonic()
        end_processes(engine)
        unmount_leftovers(engine)
        shutil.rmtree(engine.run_folder, ignore_errors=True)
        engine.run_folder.mkdir(parents=True)
        engine.data.mkdir(parents=True, exist_ok=True)
        argv, environment = podman_daemon(engine) if engine.is_podman else docker_daemon(engine)
        with open(engine.log, "wb") as log:
            daemon = subprocess.Popen(
                argv, env={**environment, **proxies()},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )
        wait_until(lambda: engine.answers() or daemon.poll() is not None, START_SECONDS)
        if not engine.answers():
            end_processes(engine)
            last = "".join(engine.log.read_text(errors="replace").splitlines(keepends=True)[-20:])
            raise LabError(f"{engine.name} does not answer on {engine.host}; the end of {engine.log}:\n{last}")
        if engine.is_podman:
            podman.open_socket(engine)
        if "SUDO_UID" in os.environ and not engine.rootless:
            os.chown(engine.socket, int(os.environ["SUDO_UID"]), -1)
        say(f"started {engine.name} in {time.monotonic() - begun:.1f} s")


def proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")}


def give_images(engine: Engine, names: list[str] | None = None) -> None:
    """Load the base images that the engine lacks, by default all."""
    names = names or list(images.recipes())
    if not images.absent(engine, names):
        return
    with locked(f"images-of-{engine.name}"):
        begun = time.monotonic()
        images.give(engine, names)
        say(f"loaded base images into {engine.name} in {time.monotonic() - begun:.1f} s")


def end_processes(engine: Engine) -> None:
    """Ask the daemon, which ends its containers and its containerd; then end what is left of them."""
    if engine.is_podman:
        podman.end_containers(engine)
    daemon = daemon_pid(engine)
    if daemon is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon, signal.SIGTERM)
        wait_until(lambda: not is_alive(daemon), STOP_SECONDS)
    # The shims last: each ends its container's processes when it is told to.
    for attempt in (signal.SIGTERM, signal.SIGKILL):
        left = [pid for pid in processes(engine) if is_alive(pid)]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, attempt)
        if wait_until(lambda: not any(map(is_alive, left)), 5):
            break
    if engine.is_podman:
        podman.end_pause(engine)
    end_orphans(engine)


def end_orphans(engine: Engine) -> None:
    """Containers' processes whose shim was killed: known by their mount namespace's root, an overlay of ours."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            root_mount = next(line for line in open(folder / "mountinfo") if line.split()[4] == "/")
        except (OSError, StopIteration):
            continue
        if f"{engine.data}/data/" in root_mount:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(folder.name), signal.SIGKILL)


def stop(engine: Engine) -> None:
    with locked(f"engine-{engine.name}"):
        was_running = bool(processes(engine))
        end_processes(engine)
        unmount_leftovers(engine)
        bridge_down(engine)
        shutil.rmtree(engine.run_folder, ignore_errors=True)
    if was_running:
        say(f"stopped {engine.name}")


def reset(engine: Engine) -> None:
    """Stop it and forget all that it keeps."""
    stop(engine)
    shutil.rmtree(engine.data, ignore_errors=True)
