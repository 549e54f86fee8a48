"""Trees of Python files like those of a large environment: always the same ones."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
import tempfile
from pathlib import Path

import engines
import images
from common import run
from lab import say

LARGE = "gpubay-bench/packages:latest"
FILES = 20_000
FOLDER = "/usr/local/lib/python3.11/dist-packages"
LABEL = "gpubay-bench.recipe"
LINE = 'def function_{0}(value: int = {0}) -> int:\n    """Return what it got, and {0}."""\n    return value + {0}\n\n\n'


def modules(chance: random.Random, count: int):
    """Path and text of `count` modules, a hundred to a package."""
    for number in range(count):
        package, module = divmod(number, 100)
        folder = f"package{package}/" + (f"part{module // 20}/" if module >= 20 else "")
        name = "__init__" if module % 20 == 0 else f"module{module}"
        # Mostly small and a few large, as in real ones; 6 KB on average.
        functions = max(1, int(chance.lognormvariate(3.3, 1.1)))
        yield f"{folder}{name}.py", "".join(LINE.format(chance.randrange(10**6)) for _ in range(functions))


def write(folder: Path, seed: int) -> None:
    """One package of 200 modules, 1.2 MB."""
    for path, text in modules(random.Random(seed), 200):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def make_large(engine: engines.Engine, base: str) -> None:
    """An image with [`FILES`] of them."""
    recipe = f"{images.PYTHON_RECIPE} {FILES} 1"
    shown = subprocess.run(engine.cli("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', LARGE), capture_output=True, text=True, check=False)
    if shown.stdout.strip() == recipe:
        return
    say(f"{engine.name}: making {LARGE}")
    with tempfile.NamedTemporaryFile(suffix=".tar") as context:
        with tarfile.open(fileobj=context, mode="w") as archive:

            def add(name: str, text: str) -> None:
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                member.mtime = 1_700_000_000
                archive.addfile(member, io.BytesIO(text.encode()))

            add("Dockerfile", f'FROM {base}\nCOPY packages {FOLDER}\nLABEL {LABEL}="{recipe}"\n')
            for path, text in modules(random.Random(20_000), FILES):
                add(f"packages/{path}", text)
        context.flush()
        context.seek(0)
        # Where the engine has no BuildKit, the CLI would fetch a builder of its own from a registry.
        classic = ["env", "DOCKER_BUILDKIT=0"] if engine.is_podman else []
        run(*classic, *engine.cli("build", "--tag", LARGE, "-"), stdin=context)
