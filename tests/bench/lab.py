"""What is measured runs in here: one engine, a folder that is thrown away, and an ordinary user in it."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lab"))

import debian
import engines
import tools
from common import CACHE, USER, run


class BenchError(Exception):
    """A command that failed: then there is nothing to compare."""


class Lab:
    def __init__(self, engine: engines.Engine, folder: Path, program: Path):
        self.engine = engine
        self.folder = folder
        self.entry = pwd.getpwnam(USER)
        # The build's folder may be closed to that user.
        self.gpubay = folder / "gpubay"
        self.gpubay.write_bytes(program.read_bytes())
        self.gpubay.chmod(0o755)
        self.docker = debian.engine("docker28") / "bin/docker"
        self.compose = debian.compose()
        self.devcontainer = tools.devcontainers()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.owned("home")),
            "USER": USER,
            "LANG": "C.UTF-8",
            "DOCKER_HOST": engine.host,
            "DOCKER_CONFIG": str(self.owned("home/.docker")),
        }
        self.groups = [group.gr_gid for group in grp.getgrall() if USER in group.gr_mem]

    def owned(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        os.chown(path, self.entry.pw_uid, self.entry.pw_gid)
        return path

    def workspace(self, name: str, image: str) -> Path:
        path = self.owned(name)
        (path / "gpubay.toml").write_text(f'[image]\nfrom = "{image}"\n')
        (path / ".devcontainer").mkdir()
        (path / ".devcontainer/devcontainer.json").write_text(json.dumps({"image": image}))
        # The same folder and the same command as a dev container's: it waits.
        service = {"image": image, "command": ["sleep", "infinity"], "volumes": ["./:/workspace"], "network_mode": "bridge"}
        (path / "compose.yaml").write_text(json.dumps({"name": f"{self.folder.name}-{name}", "services": {"dev": service}}))
        return path

    @property
    def cache(self) -> Path:
        return self.folder / "home/.cache/gpubay"

    def as_user(self) -> dict[str, object]:
        """What `subprocess` needs to know."""
        return {"user": self.entry.pw_uid, "group": self.entry.pw_gid, "extra_groups": self.groups}

    def call(self, argv: list[str | Path], cwd: Path) -> str:
        done = subprocess.run(
            [str(word) for word in argv],
            cwd=cwd,
            env=self.environment,
            **self.as_user(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BenchError(f"`{' '.join(map(str, argv))}` ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def up(self, workspace: Path, *options: str) -> dict:
        return json.loads(self.call([self.gpubay, "up", "--json", *options], workspace))

    def devcontainer_up(self, workspace: Path) -> str:
        argv = [self.devcontainer, "up", "--workspace-folder", workspace, "--docker-path", self.docker]
        return json.loads(self.call(argv, workspace).splitlines()[-1])["containerId"]

    def compose_up(self, workspace: Path) -> str:
        self.call([self.compose, "up", "--detach"], workspace)
        return self.call([self.compose, "ps", "--quiet"], workspace).strip()

    def remove(self, container: str, workspace: Path) -> None:
        self.call([self.docker, "rm", "--force", "--volumes", container], workspace)


def timed(work, *arguments) -> tuple[float, object]:
    # What the one before has written must not be paid for by the next.
    os.sync()
    begun = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - begun, result


@dataclass
class Row:
    what: str
    ours: str
    peer: str
    ratio: str
    goal: str
    is_met: bool | None
    """`None` where there is no goal."""

    def markdown(self) -> str:
        met = {True: "yes", False: "no", None: ""}[self.is_met]
        return f"| {self.what} | {self.ours} | {self.peer} | {self.ratio} | {self.goal} | {met} |"


HEAD = "| What | GPU Bay | Peer | Ratio | Goal | Met |\n| --- | ---: | ---: | ---: | --- | --- |"


def duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def against(what: str, ours: float, name: str, peer: float, goal: str = "", is_met: bool | None = None) -> Row:
    return Row(what, duration(ours), f"`{name}` {duration(peer)}", f"{ours / peer:.2f}", goal, is_met)


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def prepared(engine: engines.Engine, program: Path) -> Iterator[Lab]:
    """The engine runs in there, as it did before or for this alone."""
    ran_before = engine.answers()
    engines.start(engine)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=CACHE) as folder:
            Path(folder).chmod(0o755)
            lab = Lab(engine, Path(folder), program)
            try:
                yield lab
            finally:
                clean(lab)
    finally:
        if not ran_before:
            engines.stop(engine)


def clean(lab: Lab) -> None:
    """What a failed run left, ours by the folder that it names."""
    for label in ("gpubay.workspace", "devcontainer.local_folder", "com.docker.compose.project.working_dir"):
        listed = run(*lab.engine.cli("ps", "--all", "--format", f'{{{{.ID}}}} {{{{.Label "{label}"}}}}', "--filter", f"label={label}"))
        left = [line.split()[0] for line in listed.stdout.splitlines() if line.partition(" ")[2].startswith(f"{lab.folder}/")]
        if left:
            run(*lab.engine.cli("rm", "--force", "--volumes", *left))
