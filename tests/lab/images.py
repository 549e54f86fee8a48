"""The base images of the tests: made once, kept as one archive, loaded into each engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import debian
from common import CACHE, HERE, LabError, fingerprint, part, run

NAMES = ["python", "busybox", "bare", "nopip", "conda", "venv", "uid1000"]
INCLUDE = "ca-certificates,python3,python3-pip,python3-venv"
# Nothing that a program reads: it makes every import, load and mirror slower.
DROP = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists", "var/log"]
LABEL = "gpubay-lab.recipe"


def recipe() -> str:
    return fingerprint(HERE / "images", INCLUDE, repr(DROP), repr(NAMES))


def rootfs() -> Path:
    """Debian bookworm with Python, as `rootfs.tar`: no image registry is needed."""

    def make(folder: Path) -> None:
        root = folder / "root"
        run("debootstrap", "--variant=minbase", f"--include={INCLUDE}", "bookworm", root, debian.mirror(), env={"PATH": debian.PATH})
        # With the machine's own authorities: behind a proxy that re-signs TLS, pip inside needs them.
        shutil.copyfile("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")
        for unused in DROP:
            for path in (root / unused).glob("*"):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        run("tar", "--sort=name", "--numeric-owner", "-C", root, "-cf", folder / "rootfs.tar", ".")
        shutil.rmtree(root)

    return part("rootfs", fingerprint(INCLUDE, repr(DROP)), make)


def archive(engine) -> Path:
    """All images in one `docker save` archive; `engine` is called for a running engine when they must be built."""

    def make(folder: Path) -> None:
        running = engine()
        context = folder / "context"
        shutil.copytree(HERE / "images", context)
        shutil.copyfile(debian.busybox() / "bin/busybox", context / "busybox")
        (context / "busybox").chmod(0o755)
        with open(rootfs() / "rootfs.tar", "rb") as tar:
            changes = [f"LABEL {LABEL}={recipe()}", "CMD [\"bash\"]", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
            run(*running.cli("import"), *(word for change in changes for word in ("--change", change)), "-", "gpubay-lab/python", stdin=tar)
        for name in NAMES[1:]:
            run(*running.cli("build"), "--network", "none", "--target", name, "--label", f"{LABEL}={recipe()}", "-t", f"gpubay-lab/{name}", context)
        shutil.rmtree(context)
        run(*running.cli("save"), "-o", folder / "images.tar", *(f"gpubay-lab/{name}" for name in NAMES))

    return part("images", recipe(), make)


def absent(engine) -> bool:
    """Whether one of the images is missing in the engine, or is of an older recipe."""
    query = json.dumps({"label": [f"{LABEL}={recipe()}"]})
    tags = {tag for image in engine.get("/images/json", filters=query) for tag in image["RepoTags"] or []}
    return not {f"gpubay-lab/{name}:latest" for name in NAMES} <= tags


def load(engine) -> None:
    run(*engine.cli("load"), "-i", CACHE / "images" / "images.tar")
    if absent(engine):
        raise LabError(f"{engine.name} has loaded {CACHE}/images/images.tar and still lacks one of {', '.join(NAMES)}")
