"""Programs that tests and benchmarks ask: language servers, and the peer that we are measured against.

All pinned, all in the cache, none on anybody's PATH.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import debian
from common import CACHE, LabError, fingerprint, part, run

PYTHON_SERVERS = ["ty==0.0.105", "pyrefly==1.4.1", "zuban==0.10.2", "jedi-language-server==0.47.0"]
NODE_SERVERS = ["pyright@1.1.414", "basedpyright@1.40.1"]
DEVCONTAINERS = ["@devcontainers/cli@0.89.0"]

COMMANDS = {
    "pyright": ["node/node_modules/.bin/pyright-langserver", "--stdio"],
    "basedpyright": ["node/node_modules/.bin/basedpyright-langserver", "--stdio"],
    "ty": ["python/bin/ty", "server"],
    "pyrefly": ["python/bin/pyrefly", "lsp"],
    "zuban": ["python/bin/zubanls"],
    "jedi": ["python/bin/jedi-language-server"],
}


def npm(folder: Path, packages: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--cache", CACHE / "npm", *packages, cwd=folder)


def servers() -> dict[str, list[str]]:
    """The command of each language server."""

    def make(folder: Path) -> None:
        # Where the folder will be, since a venv's console scripts hold its absolute path.
        at = CACHE / "servers" / "python"
        try:
            run(sys.executable, "-m", "venv", folder / "python")
        except LabError:
            # Debian's python3 comes without ensurepip.
            debian.install(["python3-venv"])
            run(sys.executable, "-m", "venv", "--clear", folder / "python")
        pip = [folder / "python/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, *PYTHON_SERVERS, env={**os.environ, "PIP_CACHE_DIR": str(CACHE / "pip")})
        for script in (folder / "python/bin").iterdir():
            if script.is_file() and not script.is_symlink():
                content = script.read_bytes()
                if content.startswith(b"#!"):
                    script.write_bytes(content.replace(bytes(folder / "python"), bytes(at), 1))
        npm(folder / "node", NODE_SERVERS)
        for name, (program, *_) in COMMANDS.items():
            if not os.access(folder / program, os.X_OK):
                raise LabError(f"{name}: the packages brought no {program}")

    folder = part("servers", fingerprint(repr(PYTHON_SERVERS), repr(NODE_SERVERS), sys.version, str(CACHE)), make)
    return {name: [str(folder / program), *arguments] for name, (program, *arguments) in COMMANDS.items()}


def devcontainers() -> Path:
    """The `devcontainer` program of @devcontainers/cli."""
    folder = part("devcontainers", fingerprint(repr(DEVCONTAINERS)), lambda folder: npm(folder, DEVCONTAINERS))
    return folder / "node_modules/.bin/devcontainer"
