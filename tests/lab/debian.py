"""Debian packages: installed where the machine itself needs them, unpacked aside where only the lab does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from common import CACHE, LabError, fingerprint, locked, part, run, say

# What the lab calls on the machine, and the package that brings it.
TOOLS = {"ip": "iproute2", "iptables": "iptables", "mmdebstrap": "mmdebstrap", "cc": "gcc", "setpriv": "util-linux", "useradd": "passwd", "newuidmap": "uidmap", "ssh": "openssh-client", "openssl": "openssl"}
LIBRARIES = {
    "/usr/lib/x86_64-linux-gnu/libdevmapper.so.1.02.1": "libdevmapper1.02.1",
    "/usr/lib/x86_64-linux-gnu/libc.a": "libc6-dev",
    # Podman's programs call each other with an environment of their own, without a path to unpacked libraries.
    "/usr/lib/x86_64-linux-gnu/libgpgme.so.11": "libgpgme11",
    "/usr/lib/x86_64-linux-gnu/libsubid.so.4": "libsubid4",
    "/usr/lib/x86_64-linux-gnu/libslirp.so.0": "libslirp0",
    "/usr/lib/x86_64-linux-gnu/libglib-2.0.so.0": "libglib2.0-0",
    "/usr/lib/x86_64-linux-gnu/libfuse3.so.3": "libfuse3-3",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"

# runc comes from bookworm for both: newer ones need a newer C library.
ENGINES = {
    "docker28": {"sid": ["docker.io", "docker-cli", "docker-buildx", "containerd"], "bookworm": ["runc"]},
    # CDI is a feature that has to be switched on, and no list tells the devices.
    "docker26": {"trixie": ["docker.io", "containerd"], "bookworm": ["runc", "tini"]},
    "docker20": {"bookworm": ["docker.io", "containerd", "runc", "tini"]},
    # crun knows no machine where controllers of both versions of cgroups are in use.
    "podman": {"bookworm": ["podman", "conmon", "runc", "netavark", "aardvark-dns", "slirp4netns", "fuse-overlayfs", "catatonit"]},
    # The API of 5.4 is the first that hands out GPUs. It wants newer libraries than the machine may have, so it has its own.
    "podman5": {
        "trixie": [
            *("podman", "netavark", "aardvark-dns", "libc6", "libgcc-s1", "libgpgme11t64", "libassuan9", "libgpg-error0"),
            *("libsubid5", "libseccomp2", "libsqlite3-0", "libselinux1", "libpcre2-8-0", "libaudit1", "libcap-ng0"),
        ],
        "bookworm": ["conmon", "runc", "fuse-overlayfs", "catatonit", "patchelf"],
    },
}
WITH_OWN_LIBRARIES = {"podman5": ["podman", "netavark", "aardvark-dns"]}
LIBRARY_FOLDER = Path("root/usr/lib/x86_64-linux-gnu")
PROGRAMS = ["dockerd", "docker-proxy", "docker", "docker-init", "containerd", "containerd-shim-runc-v2", "ctr", "runc"]
PODMAN_PROGRAMS = ["podman", "conmon", "runc", "netavark", "aardvark-dns", "rootlessport", "slirp4netns", "fuse-overlayfs", "catatonit"]
ROOTLESS_PROGRAMS = ["rootlesskit", "slirp4netns"]
"""What runs a Docker of an ordinary user's."""
DEVICES = ["/dev/net/tun", "/dev/fuse"]
"""What rootless engines open. Where udev runs, everybody may."""


def host() -> None:
    """Install what the machine lacks, and open to users what a machine with udev has open."""
    for device in map(Path, DEVICES):
        if os.geteuid() == 0 and device.exists() and device.stat().st_mode & 0o666 != 0o666:
            device.chmod(0o666)
    missing = sorted(
        {package for tool, package in TOOLS.items() if not shutil.which(tool, path=PATH)}
        | {package for file, package in LIBRARIES.items() if not Path(file).exists()}
    )
    if not missing:
        return
    install(missing)


def install(packages: list[str]) -> None:
    with locked("host"):
        say(f"installing {' '.join(packages)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        argv = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages]
        try:
            run(*argv, env=environment)
        except LabError:
            # The package lists are absent on a fresh machine and out of date on an old one.
            run("apt-get", "-qq", "update", env=environment)
            run(*argv, env=environment)


def mirror() -> str:
    """The Debian mirror that this system itself uses."""
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").stdout.split()
    return next((uri for uri in listed if uri.rstrip("/").endswith("/debian")), "http://deb.debian.org/debian")


def signed() -> str:
    return "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"


def own_apt(work: Path, sources: str) -> list[str]:
    """apt-get with sources, lists and cache under `work`."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    (work / "sources.list").write_text(sources)
    apt = ["apt-get", "-qq", "-o", f"Dir::Etc::SourceList={work}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null"]
    apt += ["-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}/cache", "-o", "APT::Sandbox::User=root"]
    return apt + ["-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"]


def unpack(packages: dict[str, list[str]], into: Path, work: Path) -> None:
    """Download packages by suite with lists of our own, and unpack them; the machine's apt is left as it is."""
    apt = own_apt(work, "".join(f"deb {signed()} {mirror()} {suite} main\n" for suite in packages))
    run(*apt, "update")
    run(*apt, "download", *(f"{name}/{suite}" for suite, names in packages.items() for name in names), cwd=work)
    for package in sorted(work.glob("*.deb")):
        run("dpkg", "-x", package, into)


def source(name: str, suite: str, work: Path) -> Path:
    """Download a source package; its original archive. Likewise with lists of our own."""
    apt = own_apt(work, f"deb-src {signed()} {mirror()} {suite} main\n")
    run(*apt, "update")
    run(*apt, "source", "--download-only", name, cwd=work)
    return next(work.glob("*.orig.tar.*"))


def engine(name: str) -> Path:
    """The engine's programs, unpacked beside the system: `bin/dockerd`, `bin/docker` and so on."""
    daemon, programs = ("podman", PODMAN_PROGRAMS) if name.startswith("podman") else ("dockerd", PROGRAMS)
    own = WITH_OWN_LIBRARIES.get(name, [])

    def make(folder: Path) -> None:
        root = folder / "root"
        unpack(ENGINES[name], root, folder / "apt")
        shutil.rmtree(folder / "apt")
        (folder / "bin").mkdir()
        for program in programs:
            for place in ("usr/bin", "usr/sbin", "usr/lib/podman"):
                link = folder / "bin" / program
                if (root / place / program).exists() and not link.is_symlink():
                    link.symlink_to(Path("..", "root", place, program))
        plugins = root / "usr/libexec/docker/cli-plugins"
        (folder / "config").mkdir()
        # Absolute, as the docker CLI wants it, and therefore where the folder will be after the rename.
        (folder / "config/config.json").write_text('{"cliPluginsExtraDirs": ["%s"]}\n' % (CACHE / name / plugins.relative_to(folder)))
        # Its own loader is not yet where it looks for it.
        loader = [folder / LIBRARY_FOLDER / "ld-linux-x86-64.so.2", "--library-path", folder / LIBRARY_FOLDER] if own else []
        version = run(*loader, folder / "bin" / daemon, "--version").stdout.strip()
        if name == "docker28" and "version 2" in version and tuple(map(int, version.split()[2].split("+")[0].split(".")[:2])) < (28, 2):
            raise LabError(f"Debian sid gave {version}: 28.2 is the first with CDI on by default")
        for program in own:
            # Absolute, and where the folder will be after the rename. RPATH holds for the libraries of libraries, too.
            libraries = CACHE / name / LIBRARY_FOLDER
            patch = ["--set-interpreter", libraries / "ld-linux-x86-64.so.2", "--force-rpath", "--set-rpath", libraries]
            run(root / "usr/bin/patchelf", *patch, (folder / "bin" / program).resolve())
        (folder / "version").write_text(version + "\n")

    return part(name, fingerprint(repr(ENGINES[name]), repr(programs), *own, str(CACHE)), make)


def rootless() -> Path:
    """A folder with what Docker needs besides to be run by an ordinary user: `bin/rootlesskit`, `bin/slirp4netns`."""

    def make(folder: Path) -> None:
        unpack({"bookworm": ROOTLESS_PROGRAMS}, folder / "root", folder / "apt")
        shutil.rmtree(folder / "apt")
        (folder / "bin").symlink_to("root/usr/bin")

    return part("rootless", fingerprint(repr(ROOTLESS_PROGRAMS)), make)


def compose() -> Path:
    """The program of Docker Compose, which runs by itself too."""

    def make(folder: Path) -> None:
        unpack({"sid": ["docker-compose"]}, folder, folder / "apt")
        shutil.rmtree(folder / "apt")

    folder = part("compose", fingerprint("docker-compose"), make)
    return next(folder.glob("usr/libexec/docker/cli-plugins/docker-compose"))


def busybox() -> Path:
    """A folder with a static `bin/busybox`."""

    def make(folder: Path) -> None:
        unpack({"bookworm": ["busybox-static"]}, folder, folder / "apt")
        shutil.rmtree(folder / "apt")

    return part("busybox", fingerprint("busybox-static"), make)


def registry() -> Path:
    """A folder with an image registry, `usr/bin/docker-registry`; tests start it with data and a port of their own."""

    def make(folder: Path) -> None:
        unpack({"bookworm": ["docker-registry"]}, folder, folder / "apt")
        shutil.rmtree(folder / "apt")

    return part("registry", fingerprint("docker-registry"), make)


def tunnels() -> Path:
    """A folder with what stands between machines: `usr/sbin/sshd`, `usr/bin/socat`; `libraries` is where what they need is."""
    packages = ["openssh-server", "libwrap0", "socat"]

    def make(folder: Path) -> None:
        unpack({"bookworm": packages}, folder, folder / "apt")
        shutil.rmtree(folder / "apt")
        (folder / "libraries").symlink_to("usr/lib/x86_64-linux-gnu")

    return part("tunnels", fingerprint(repr(packages)), make)
