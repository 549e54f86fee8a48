"""Podman's part of an engine: the API service with all of its configuration and data in folders of its own.

It has no daemon that its containers depend on: the service only answers the API, and what a container
needs (conmon, slirp4netns) goes on without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import debian
import gpu
from common import USER, LabError, run

# A real Podman of this machine has a network called `podman`, and chains of the packet filter are named after it.
DRIVERS = [("overlay", None), ("overlay", "fuse-overlayfs"), ("vfs", None)]
"""Storage drivers, and what mounts for them; the first that works is taken."""


def unpacked(engine) -> Path:
    return debian.engine(engine.programs or engine.name)


def programs(engine) -> Path:
    return unpacked(engine) / "bin"


def files(engine) -> Path:
    """Where the configuration lies; also the service's HOME, so that it reads nobody else's."""
    return engine.data / "home"


def environment(engine) -> dict[str, str]:
    home = files(engine)
    return {
        "PATH": f"{programs(engine)}:{debian.PATH}",
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(engine.run_folder),
        "CONTAINERS_CONF": str(home / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf"),
    }


def as_owner(engine) -> list[str]:
    """What comes before a command that is to run as the user whose engine it is."""
    if not engine.rootless:
        return []
    user = pwd.getpwnam(USER)
    return ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--init-groups", "--"]


def call(engine, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [*as_owner(engine), programs(engine) / "podman", *arguments]
    return run(*argv, env=environment(engine), cwd="/", timeout=60)


def service(engine) -> list[str]:
    argv = [*as_owner(engine), str(programs(engine) / "podman"), "system", "service", "--time=0", engine.host]
    return [*with_gpus(engine), *argv] if engine.has_cdi else argv


def with_gpus(engine) -> list[str]:
    """What comes before the service, so that it finds our CDI devices where this release looks for any: in an /etc/cdi that
    only it sees, and whoever enters its mount namespace. The machine's own /etc is neither changed nor hidden from others."""
    etc = engine.run_folder / "etc"
    run("cp", "--archive", "/etc", etc)
    shutil.rmtree(etc / "cdi", ignore_errors=True)
    shutil.copytree(gpu.fake() / "cdi", etc / "cdi")
    script = 'mount --bind "$0" /etc && exec "$@"'
    return ["unshare", "--mount", "--propagation=slave", "sh", "-c", script, str(etc)]


def configure(engine, subnet) -> None:
    """Writes all that the service reads; `subnet` is for a network that nobody has yet."""
    home = files(engine)
    policy = home / ".config/containers/policy.json"
    networks = home / "networks"
    for folder in (policy.parent, networks):
        folder.mkdir(parents=True, exist_ok=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}\n')
    (home / "registries.conf").write_text('unqualified-search-registries = ["docker.io"]\n')
    (home / "containers.conf").write_text(containers_conf(engine))
    if not engine.rootless:
        network = {
            "name": engine.bridge,
            "id": hashlib.sha256(engine.bridge.encode()).hexdigest(),
            "driver": "bridge",
            "network_interface": engine.bridge,
            "created": "2024-01-01T00:00:00Z",
            "subnets": [{"subnet": str(subnet), "gateway": str(subnet[1])}],
            "ipv6_enabled": False,
            "internal": False,
            "dns_enabled": False,
            "ipam_options": {"driver": "host-local"},
        }
        (networks / f"{engine.bridge}.json").write_text(json.dumps(network, indent=2))
    own(engine, engine.data)
    own(engine, engine.run_folder)
    for folder in [policy, *policy.parents]:
        if folder == engine.data:
            break
        own(engine, folder)
    own(engine, networks)
    choose_storage(engine)


def own(engine, path: Path) -> None:
    if engine.rootless:
        user = pwd.getpwnam(USER)
        os.chown(path, user.pw_uid, user.pw_gid)


def containers_conf(engine) -> str:
    root = unpacked(engine) / "root"
    helpers = [str(root / "usr" / place) for place in ("lib/podman", "libexec/podman", "bin")]
    # Where root may not raise its own limits, as inside of a container, it may not raise those of a container.
    most = {"nofile": (resource.RLIMIT_NOFILE, 1 << 20), "nproc": (resource.RLIMIT_NPROC, 32768)}
    values = {name: min(value for value in (resource.getrlimit(limit)[1], wanted) if value >= 0) for name, (limit, wanted) in most.items()}
    # Bookworm's netavark knows nothing else, and not the setting.
    firewall = 'firewall_driver = "iptables"' if engine.has_cdi else ""
    # Locks in shared memory would be those of every other Podman of this machine, too.
    return f"""\
[containers]
default_ulimits = {json.dumps([f"{name}={value}:{value}" for name, value in values.items()])}

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
conmon_path = [{json.dumps(str(programs(engine) / "conmon"))}]
helper_binaries_dir = {json.dumps(helpers)}
init_path = {json.dumps(str(programs(engine) / "catatonit"))}
tmp_dir = {json.dumps(str(engine.run_folder / "tmp"))}

[engine.runtimes]
runc = [{json.dumps(str(programs(engine) / "runc"))}]

[network]
network_backend = "netavark"
network_config_dir = {json.dumps(str(files(engine) / "networks"))}
default_network = {json.dumps("podman" if engine.rootless else engine.bridge)}
{firewall}
"""


def choose_storage(engine) -> None:
    """The first storage driver that this kernel and this file system bear; the choice is kept with the data."""
    conf = files(engine) / "storage.conf"
    if conf.exists():
        return
    problems = []
    for driver, mounter in DRIVERS:
        program = programs(engine) / mounter if mounter else None
        lines = ["[storage]", f'driver = "{driver}"', f'graphroot = "{engine.data}/data"', f'runroot = "{engine.run_folder}/run"']
        # Rootless engines take their graphroot from another key.
        lines.append(f'rootless_storage_path = "{engine.data}/data"')
        if program:
            lines += ["[storage.options.overlay]", f'mount_program = "{program}"']
        conf.write_text("\n".join(lines) + "\n")
        try:
            call(engine, "info", "--format", "{{.Store.GraphDriverName}}")
            return
        except (LabError, subprocess.TimeoutExpired) as error:
            problems.append(f"{driver} {mounter or ''}: {error}")
            conf.unlink()
    raise LabError(f"{engine.name}: no storage driver works here:\n" + "\n".join(problems))


def open_socket(engine) -> None:
    """To the ordinary user of the tests, too."""
    if not engine.rootless:
        user = pwd.getpwnam(USER)
        os.chown(engine.socket, 0, user.pw_gid)
        engine.socket.chmod(0o660)


def end_containers(engine) -> None:
    """They would go on without the service."""
    if (files(engine) / "storage.conf").exists():
        with contextlib.suppress(LabError, subprocess.TimeoutExpired):
            call(engine, "stop", "--all", "--time", "1")


def end_pause(engine) -> None:
    """The process that keeps a rootless engine's user namespace; no argument of it names the engine."""
    for file in engine.run_folder.glob("**/pause.pid"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(file.read_text()), signal.SIGKILL)
