"""Where the lab keeps things, and the one way in which its parts are made."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Not under root's home: the ordinary user of the tests must be able to read what lies here.
CACHE = Path(os.environ.get("GPUBAY_LAB") or "/var/cache/gpubay-lab").absolute()

# Socket paths are at most 108 bytes, so the runtime folder is short. A cache elsewhere has engines of
# its own beside those of the default one, hence a runtime folder of its own.
_suffix = "" if "GPUBAY_LAB" not in os.environ else "-" + hashlib.sha256(bytes(CACHE)).hexdigest()[:6]
RUNTIME = Path(f"/run/gpubay-lab{_suffix}")



def writable() -> Path:
    """Where new parts go: an ordinary user, who can only read root's cache, has one of their own besides."""
    return CACHE if os.geteuid() == 0 or os.access(CACHE, os.W_OK) else Path.home() / ".cache/gpubay-lab"


USER = "gpubay-test"
# A supplementary group of that user: what `root:gpubay-research 0750` is readable to.
GROUP = "gpubay-research"


class LabError(Exception):
    """Something to tell the person at the terminal, without a traceback."""


def say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run(*argv: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """Run to the end; what a failing program said is in the error."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    done = subprocess.run([str(a) for a in argv], check=False, **options)
    if done.returncode != 0:
        said = "\n".join(text.strip()[-3000:] for text in (done.stdout, done.stderr) if text and text.strip())
        raise LabError(f"`{' '.join(map(str, argv))}` ended with {done.returncode}:\n{said}")
    return done


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time; the kernel frees the lock when its holder is killed."""
    writable().mkdir(parents=True, exist_ok=True)
    with open(writable() / f".{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another lab that makes {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fingerprint(*things: str | Path) -> str:
    """Of texts, of files' contents and of all files under folders."""
    digest = hashlib.sha256()
    for thing in things:
        if isinstance(thing, Path):
            files = sorted(p for p in thing.rglob("*") if p.is_file()) if thing.is_dir() else [thing]
            for file in files:
                digest.update(str(file.relative_to(HERE)).encode() + b"\0" + file.read_bytes() + b"\0")
        else:
            digest.update(thing.encode() + b"\0")
    return digest.hexdigest()[:16]


def part(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, made by `make` unless it is there for this very recipe.

    `make` fills a temporary folder that is renamed into place when it is whole, so that a killed run
    leaves nothing half-made and the next one begins this part anew.
    """
    def is_made(folder: Path) -> bool:
        mark = folder / ".recipe"
        return mark.is_file() and mark.read_text() == recipe

    cache = writable()
    folder = cache / name
    for place in (CACHE / name, folder):
        if is_made(place):
            return place
    with locked(name):
        if is_made(folder):
            return folder
        begun = time.monotonic()
        for leftover in cache.glob(f".new-{name}-*"):
            shutil.rmtree(leftover)
        new = Path(tempfile.mkdtemp(prefix=f".new-{name}-", dir=cache))
        new.chmod(0o755)
        say(f"making {name}")
        try:
            make(new)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        (new / ".recipe").write_text(recipe)
        if folder.exists():
            # A folder cannot be renamed over a full one. Between the two renames the part is missing,
            # which at worst costs making it again.
            folder.rename(new.with_name(new.name + "-old"))
        new.rename(folder)
        for leftover in cache.glob(f".new-{name}-*"):
            shutil.rmtree(leftover)
        say(f"made {name} in {time.monotonic() - begun:.1f} s")
    return folder


def need_root() -> None:
    if os.geteuid() != 0:
        raise LabError(f"starting engines takes root; run: sudo {sys.argv[0]} {' '.join(sys.argv[1:])}")
