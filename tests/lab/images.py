"""The base images of the tests: made once, kept as archives, loaded into each engine, where they have the same ids."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import debian
import musl
from common import HERE, LabError, fingerprint, part, run

VARIANTS = ["busybox", "bare", "nopip", "conda", "venv", "uid1000", "musl"]
"""Built on `gpubay-lab/python`, a stage each of images/Dockerfile."""
INCLUDE = "ca-certificates,python3,python3-pip,python3-venv"
# Nothing that a program reads: it makes every import, load and mirror slower.
DROP = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists", "var/log"]
SETTINGS = ['CMD ["bash"]', "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
LABEL = "gpubay-lab.recipe"

PYTHON_RECIPE = fingerprint(INCLUDE, repr(DROP), repr(SETTINGS))

NEWER = ["trixie", f"{INCLUDE},python3-numpy"]
"""A newer Debian with its own Python 3.13, and with a package that others depend on."""
NEWER_RECIPE = fingerprint(repr(NEWER), repr(DROP), repr(SETTINGS))


def recipes() -> dict[str, str]:
    """By image, what it is made of: its label tells whether an engine has the present one."""
    variants = fingerprint(HERE / "images", PYTHON_RECIPE, musl.RECIPE, repr(VARIANTS))
    bases = {"gpubay-lab/python:latest": PYTHON_RECIPE, "gpubay-lab/trixie:latest": NEWER_RECIPE}
    return bases | {f"gpubay-lab/{name}:latest": variants for name in VARIANTS}


def rootfs() -> Path:
    """A folder with `rootfs.tar`: Debian bookworm with Python. No image registry is needed."""
    return part("rootfs", fingerprint(INCLUDE, repr(DROP)), lambda folder: make_system(folder, "bookworm", INCLUDE))


def newer_rootfs() -> Path:
    """Likewise, of the newer Debian."""
    return part("newer-rootfs", fingerprint(repr(NEWER), repr(DROP)), lambda folder: make_system(folder, *NEWER))


def make_system(folder: Path, suite: str, include: str) -> None:
    """A small Debian system as `rootfs.tar`. mmdebstrap takes half of debootstrap's time."""
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={include}"]
    argv += ["--aptopt=APT::Install-Recommends \"false\"", "--dpkgopt=force-unsafe-io"]
    # What apt leaves, mmdebstrap removes by itself.
    argv += [f"--dpkgopt=path-exclude=/{unused}/*" for unused in DROP if unused.startswith("usr")]
    # With the machine's own authorities: behind a proxy that re-signs TLS, pip inside needs them.
    argv += ["--customize-hook=copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs"]
    run(*argv, suite, folder / "rootfs.tar", debian.mirror(), env={"PATH": debian.PATH, "TMPDIR": str(folder)})


def newer_archive(engine: Callable) -> Path:
    """`gpubay-lab/trixie` as a `docker save` archive."""
    return base_archive(engine, "trixie", NEWER_RECIPE, newer_rootfs)


def python_archive(engine: Callable) -> Path:
    """`gpubay-lab/python` as a `docker save` archive; `engine` gives a running engine where it must be made."""
    return base_archive(engine, "python", PYTHON_RECIPE, rootfs)


def base_archive(engine: Callable, name: str, recipe: str, files: Callable[[], Path]) -> Path:
    def make(folder: Path) -> None:
        tar = files() / "rootfs.tar"
        running = engine()
        changes = [word for setting in [f"LABEL {LABEL}={recipe}", *SETTINGS] for word in ("--change", setting)]
        run(*running.cli("import"), *changes, tar, f"gpubay-lab/{name}")
        save(running, folder / "image.tar", [f"gpubay-lab/{name}"])

    return part(name, recipe, make) / "image.tar"


def variants_archive(engine: Callable) -> Path:
    """All variants, likewise."""
    wanted = recipes()

    def make(folder: Path) -> None:
        running = engine()
        give(running, ["gpubay-lab/python:latest"])
        context = folder / "context"
        shutil.copytree(HERE / "images", context)
        shutil.copyfile(debian.busybox() / "bin/busybox", context / "busybox")
        (context / "busybox").chmod(0o755)
        shutil.copytree(musl.python() / "root", context / "musl", symlinks=True)
        names = [f"gpubay-lab/{name}" for name in VARIANTS]
        for target, name in zip(VARIANTS, names, strict=True):
            label = f"{LABEL}={wanted[name + ':latest']}"
            run(*running.cli("build"), "--network", "none", "--target", target, "--label", label, "-t", name, context)
        shutil.rmtree(context)
        save(running, folder / "images.tar", names)

    return part("images", wanted["gpubay-lab/busybox:latest"], make) / "images.tar"


def save(engine, file: Path, names: list[str]) -> None:
    run(*engine.cli("save"), "-o", file, *names)
    file.chmod(0o644)


def absent(engine, names: list[str]) -> list[str]:
    """Those of the images that the engine lacks or has of an older recipe."""
    wanted = recipes()
    listed = engine.get("/images/json")
    # Podman tells the registry that a name without one means.
    has = {tag.removeprefix("docker.io/"): (image["Labels"] or {}).get(LABEL) for image in listed for tag in image["RepoTags"] or []}
    return [name for name in names if has.get(name) != wanted[name]]


def load(engine, archive: Path) -> None:
    run(*engine.cli("load"), "-i", archive)
    # Podman gives images of an archive with several of them names under `localhost`, and looks for them elsewhere.
    for image in engine.get("/images/json"):
        for tag in image["RepoTags"] or []:
            if tag.startswith("localhost/gpubay-lab/"):
                run(*engine.cli("tag"), tag, tag.removeprefix("localhost/"))
                run(*engine.cli("rmi"), tag)


def give(engine, names: list[str]) -> None:
    """Load what the engine lacks of the images, making it first where need be."""
    missing = absent(engine, names)
    if not missing:
        return
    if "gpubay-lab/python:latest" in missing:
        load(engine, python_archive(lambda: engine))
    if "gpubay-lab/trixie:latest" in missing:
        load(engine, newer_archive(lambda: engine))
    if absent(engine, names):
        load(engine, variants_archive(lambda: engine))
    if left := absent(engine, names):
        raise LabError(f"{engine.name} still lacks {', '.join(left)} after loading")
