"""The measurements: ours and a peer's in turn, the medians of both."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path

import packages
from lab import BenchError, Lab, Row, against, duration, say, timed

SMALL = "gpubay-lab/python:latest"


def up(lab: Lab, rounds: int) -> list[Row]:
    """`up` with and without a container, on an image that is there."""
    workspace = lab.workspace("small", SMALL)
    times: dict[str, list[float]] = defaultdict(list)

    def lap(name: str, work, *arguments):
        seconds, result = timed(work, *arguments)
        times[name].append(seconds)
        return result

    peers = {"devcontainer up": lab.devcontainer_up, "docker compose up": lab.compose_up}
    # Venv, mirror and the peers' own caches are of the first time, which is no part of this.
    lab.up(workspace)
    made = {name: peer(workspace) for name, peer in peers.items()}
    for number in range(rounds):
        say(f"{lab.engine.name}: up, round {number + 1} of {rounds}")
        for _ in range(3):
            report = lap("running", lab.up, workspace)
            if report["container"]["created"] or report["container"]["started"]:
                raise BenchError("the dev container did not run any more")
            for name, peer in peers.items():
                if lap(f"{name}, running", peer, workspace) != made[name]:
                    raise BenchError(f"`{name}` made another container")
        lab.call([lab.gpubay, "down"], workspace)
        for container in made.values():
            lab.remove(container, workspace)
        lap("run", lab.call, [lab.docker, "run", "--rm", SMALL, "true"], workspace)
        if not lap("none", lab.up, workspace)["container"]["created"]:
            raise BenchError("`gpubay down` left the dev container")
        made = {name: lap(f"{name}, none", peer, workspace) for name, peer in peers.items()}
    lab.call([lab.gpubay, "down"], workspace)
    for container in made.values():
        lab.remove(container, workspace)
    median = {name: statistics.median(laps) for name, laps in times.items()}
    running, none, plain = median["running"], median["none"], median["run"]
    rows = [against("`up`, container runs", running, "devcontainer up", median["devcontainer up, running"], "<= 25 ms", running <= 0.025)]
    rows += [against("`up`, container runs", running, "docker compose up", median["docker compose up, running"])]
    rows += [against("`up`, no container", none, "docker run --rm … true", plain, "<= 1.5 x", none <= 1.5 * plain)]
    rows += [against("`up`, no container", none, name, median[f"{name}, none"]) for name in peers]
    return rows


def mirror(lab: Lab, rounds: int) -> list[Row]:
    """The first mirror of a large environment, one where nothing changed, and another workspace's."""
    packages.make_large(lab.engine, SMALL)
    workspace = lab.workspace("large", packages.LARGE)
    report = lab.up(workspace)
    held = sum(root["files"] for root in report["host_env"]["roots"])
    if held < packages.FILES:
        raise BenchError(f"the mirror holds {held} files of {packages.FILES}")
    # The container's own view of its files, which every engine has, whatever stores its images.
    pid = lab.call([lab.docker, "inspect", "--format", "{{.State.Pid}}", report["container"]["id"]], workspace).strip()
    merged = Path(f"/proc/{pid}/root")
    roots = [root["container"].lstrip("/") for root in report["host_env"]["roots"] if not root["container"].startswith("/workspace")]
    roots = [root for root in roots if (merged / root).is_dir()]

    def tar(to: Path) -> None:
        # Of the same folders, as root, since only root gets at the engine's.
        reader = subprocess.Popen(["tar", "-C", merged, "-c", *roots], stdout=subprocess.PIPE)
        writer = subprocess.run(["tar", "-C", to, "-x"], stdin=reader.stdout, check=False)
        reader.stdout.close()
        if reader.wait() != 0 or writer.returncode != 0:
            raise BenchError("tar failed")

    times: dict[str, list[float]] = defaultdict(list)

    def plain(number: int) -> None:
        times["tar"].append(timed(tar, lab.owned(f"copy{number}"))[0])

    def ours(number: int) -> None:
        (lab.cache / "mirror").rename(lab.folder / f"mirror{number}")
        times["first"].append(timed(lab.call, [lab.gpubay, "sync", "--json"], workspace)[0])

    for number in range(rounds):
        say(f"{lab.engine.name}: mirror, round {number + 1} of {rounds}")
        # Nothing is deleted before the end: a file system goes on freeing what was, and the next writer pays for it. And
        # whoever comes first has the colder caches.
        for each in (plain, ours) if number % 2 else (ours, plain):
            each(number)
        for _ in range(3):
            seconds, said = timed(lab.call, [lab.gpubay, "sync", "--json"], workspace)
            if json.loads(said)["changed"]:
                raise BenchError("`sync` changed something a second time")
            times["again"].append(seconds)
    before = allocated(lab.cache / "mirror")
    second = lab.workspace("second", packages.LARGE)
    lab.up(second)
    added = (allocated(lab.cache / "mirror") - before) / 1e6
    for each in (workspace, second):
        lab.call([lab.gpubay, "down"], each)
    first, again, peer = (statistics.median(times[name]) for name in ("first", "again", "tar"))
    return [
        against(f"first mirror of {held:,} files", first, "tar -c … \\| tar -x", peer, "<= 1.3 x", first <= 1.3 * peer),
        Row("`sync`, nothing changed", duration(again), "", "", "<= 150 ms", again <= 0.150),
        Row("mirror that a second workspace adds", f"{added:.2f} MB", f"one copy {before / 1e6:.0f} MB", "", "<= 1 MB", added <= 1),
    ]


def rebuilds(lab: Lab, _: int) -> list[Row]:
    """Ten images, each with a package more than the one before, which is what a day of work brings."""
    packages.make_large(lab.engine, SMALL)
    workspace = lab.owned("growing")
    lines = [f"FROM {packages.LARGE}"]

    def rebuild() -> tuple[float, int, int]:
        """Seconds for the mirror, bytes that it wrote into files, and bytes of its files."""
        (workspace / "Dockerfile").write_text("\n".join(lines) + "\n")
        before = contents(lab.cache / "mirror")
        mirror = lab.up(workspace, "--recreate")["mirror"]
        wrote = contents(lab.cache / "mirror") - before - mirror["list_bytes"]
        return mirror["ms"] / 1000, wrote, mirror["bytes"]

    _, _, held = rebuild()
    seconds, ratios = [], []
    for number in range(10):
        say(f"{lab.engine.name}: rebuild {number + 1} of 10")
        name = f"added{number}"
        packages.write(workspace / name, seed=number)
        lines.append(f"COPY {name} {packages.FOLDER}/{name}")
        os.sync()
        took, wrote, holds = rebuild()
        if holds <= held:
            raise BenchError(f"the package {name} did not reach the mirror")
        seconds.append(took)
        ratios.append(wrote / (holds - held))
        held = holds
    lab.call([lab.gpubay, "down"], workspace)
    median, worst, most = statistics.median(seconds), max(seconds), max(ratios)
    return [
        Row("mirror after each of ten rebuilds that add a package", duration(median), f"the slowest {duration(worst)}", "", "<= 500 ms", worst <= 0.5),
        Row("bytes that each of them writes, to the package's needed ones", f"{statistics.median(ratios):.2f} x", f"the most {most:.2f} x", "", "<= 1.1 x", most <= 1.1),
    ]


def allocated(folder: Path) -> int:
    """Bytes on the disk, each file once however many names it has."""
    return sum(found.st_blocks * 512 for found in inodes(folder, folders=True))


def contents(folder: Path) -> int:
    """Bytes in files, each once however many names it has."""
    return sum(found.st_size for found in inodes(folder, folders=False))


def inodes(folder: Path, folders: bool):
    seen = set()
    for at, names, files in os.walk(folder):
        for name in [".", *names, *files] if folders else files:
            found = os.lstat(os.path.join(at, name))
            if found.st_ino not in seen:
                seen.add(found.st_ino)
                yield found
