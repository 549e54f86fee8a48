"""What an editor waits for: the helper's first answer, a start, and the first completion of what only the container has."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import helpers
import packages
from lab import ROOT, BenchError, Lab, Row, duration, say, timed

sys.path.insert(0, str(ROOT / "tests/parity"))

import lsp
import nvml
import tools

SMALL = "gpubay-lab/python:latest"
SELECTIONS = 20
IDLE_SECONDS = 10
SETTLED_SECONDS = 2
MODULE = "package7"
"""Of the large environment: only the container has it."""


def served(lab: Lab, workspace: Path, more: dict[str, str] | None = None) -> helpers.Helper:
    how = {**lab.as_user(), "env": {**lab.environment, **(more or {})}}
    return helpers.Helper(lab.gpubay, workspace, **how)


def editor(lab: Lab, rounds: int) -> list[Row]:
    workspace = lab.workspace("edited", SMALL)
    starter = lab.folder / "helpers.py"
    starter.write_bytes(Path(helpers.__file__).read_bytes())
    starter.chmod(0o644)
    answered = json.loads(lab.call([sys.executable, starter, lab.gpubay, workspace], workspace))
    rows = [row("`serve`: from spawn to answered `initialize`", statistics.median(answered), 0.005, "5 ms")]
    with served(lab, workspace) as helper:
        helper.work("gpubay/up")
        helper.state(lambda state: state["phase"] == "running" and state["work"] is None)
        rows += idle(helper.process.pid)
        starts = []
        for number in range(rounds):
            say(f"{lab.engine.name}: editor, round {number + 1} of {rounds}")
            helper.work("gpubay/down")
            helper.told.clear()
            starts.append(timed(helper.work, "gpubay/up")[0])
        rows.append(row("`gpubay/up`, image and mirror there, until it runs and the host env is whole", statistics.median(starts), 1, "1 s"))
    return rows + selections(lab, workspace) + completions(lab, rounds)


def selections(lab: Lab, workspace: Path) -> list[Row]:
    """Another GPU, until whatever starts next has it; the driver's library is the lab's fake."""
    took: dict[str, list[float]] = {"device": [], "auto": []}
    with served(lab, workspace, {"LD_LIBRARY_PATH": str(nvml.fake())}) as helper:
        helper.work("gpubay/down")
        helper.work("gpubay/up")
        for number in range(SELECTIONS):
            for kind, gpus in (("device", f"device={number % 2}"), ("auto", "auto")):
                # Without consent to anything: a container that is made anew would be another thing to measure.
                seconds, report = timed(lambda gpus=gpus: helper.request("gpubay/selectGpus", folder=str(workspace), gpus=gpus))
                if report["gpu"]["isolation"] != "soft" or report["drift"]:
                    raise BenchError(f"this is no soft selection: {report}")
                took[kind].append(seconds)
        helper.work("gpubay/down")
    return [
        row("`gpubay/selectGpus` while the container runs: a GPU by its index", statistics.median(took["device"]), 0.1, "100 ms"),
        row("the same, the best one (`auto`)", statistics.median(took["auto"]), 0.1, "100 ms"),
    ]


def idle(pid: int) -> list[Row]:
    def ticks() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    # A start is looked at once more when its files have settled.
    before = -1
    while before != ticks():
        before = ticks()
        time.sleep(SETTLED_SECONDS)
    time.sleep(IDLE_SECONDS)
    used = (ticks() - before) / os.sysconf("SC_CLK_TCK")
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1000
    return [
        Row("`serve` with a container running: memory while nothing happens", f"{resident:.1f} MB", "", "", "20 MB", resident <= 20),
        Row(f"the same: processor time in {IDLE_SECONDS} s", duration(used), "", "", "none", used == 0),
    ]


def completions(lab: Lab, rounds: int) -> list[Row]:
    """ty is started when the helper says that there is something new to see, as an extension restarts it."""
    packages.make_large(lab.engine, SMALL)
    servers = tools.servers()
    workspace = lab.workspace("completed", packages.LARGE)
    source = workspace / "train.py"
    text = f"import {MODULE}\n\n{MODULE}.\n"
    source.write_text(text)
    os.chown(source, lab.entry.pw_uid, lab.entry.pw_gid)
    home = lab.folder / "ty-home"
    home.mkdir()
    command, environment = lsp.server_command("ty", servers), lsp.clean_environment("ty", home, workspace)
    times: dict[str, list[float]] = {"warm": [], "cold": []}

    def completed(helper: helpers.Helper) -> bool:
        """Whether the start itself was over by then."""
        up = helper.ask("gpubay/up", folder=str(workspace))
        over = False
        while True:
            told = helper.wait(lambda message: message.get("id") == up or new_packages(message))
            if "error" in told:
                raise BenchError(f"gpubay/up: {told['error']}")
            over = over or told.get("id") == up
            with lsp.Client(command, workspace, env=environment, cwd=workspace) as ty:
                ty.open(str(source), text)
                if any(item.label.startswith("function_") for item in ty.complete(str(source), 2, len(MODULE) + 1)):
                    return over
            if over and not any(map(new_packages, helper.told)):
                raise BenchError(f"ty knows nothing of {MODULE} after the start")

    with served(lab, workspace) as helper:
        for number in range(rounds):
            for kind in ("cold", "warm"):
                say(f"{lab.engine.name}: completion, {kind}, round {number + 1} of {rounds}")
                helper.work("gpubay/down")
                if kind == "cold" and (lab.cache / "mirror").exists():
                    (lab.cache / "mirror").rename(lab.folder / f"completed-mirror{number}")
                helper.told.clear()
                seconds, over = timed(completed, helper)
                times[kind].append(seconds)
                if not over:
                    helper.wait(lambda message: "id" in message and "method" not in message)
    return [
        row("from `gpubay/up` to ty's first completion of a package inside, mirror there", statistics.median(times["warm"]), 2, "2 s"),
        row("the same, first mirror of 20,000 files", statistics.median(times["cold"]), 5, "5 s"),
    ]


def new_packages(message: dict) -> bool:
    return message.get("method") == "gpubay/packages" and message["params"]["hostEnv"] is not None


def row(what: str, seconds: float, limit: float, goal: str) -> Row:
    # Of the first answer tenths of a millisecond count.
    said = f"{seconds * 1000:.1f} ms" if seconds < 0.1 else duration(seconds)
    return Row(what, said, "", "", goal, seconds <= limit)

