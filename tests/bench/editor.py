"""What an editor waits for: the helper's first answer, a start, and the first completion of what only the container has."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import packages
from lab import ROOT, BenchError, Lab, Row, duration, say, timed

sys.path.insert(0, str(ROOT / "tests/parity"))

import lsp
import nvml
import tools

SMALL = "gpubay-lab/python:latest"
STARTS = 40
SELECTIONS = 20
IDLE_SECONDS = 10
MODULE = "package7"
"""Of the large environment: only the container has it."""


class Helper:
    """One `gpubay serve` and its messages, read when somebody asks for one."""

    def __init__(self, lab: Lab, workspace: Path, more: dict[str, str] | None = None):
        self.workspace = workspace
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            [lab.gpubay, "serve"],
            cwd=workspace,
            env={**lab.environment, **(more or {})},
            user=lab.entry.pw_uid,
            group=lab.entry.pw_gid,
            extra_groups=lab.groups,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.told: list[dict] = []
        self.number = 0
        folder = {"uri": lsp.path_to_uri(str(workspace)), "name": "folder"}
        options = {"version": "bench", "protocol": 1, "trusted": True}
        self.request("initialize", processId=os.getpid(), capabilities={}, workspaceFolders=[folder], initializationOptions=options)
        self.answered = time.perf_counter() - self.begun
        self.send(method="initialized", params={})

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()

    def send(self, **message) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.process.stdin.flush()

    def ask(self, method: str, **params) -> int:
        self.number += 1
        self.send(id=self.number, method=method, params=params)
        return self.number

    def request(self, method: str, **params) -> dict:
        number = self.ask(method, **params)
        answer = self.wait(lambda message: message.get("id") == number)
        if "error" in answer:
            raise BenchError(f"{method}: {answer['error']}")
        return answer["result"]

    def work(self, method: str) -> dict:
        return self.request(method, folder=str(self.workspace), consent=True)

    def wait(self, wanted) -> dict:
        for index, message in enumerate(self.told):
            if wanted(message):
                return self.told.pop(index)
        while True:
            message = self.read()
            if wanted(message):
                return message
            self.told.append(message)

    def read(self) -> dict:
        length = None
        while (line := self.process.stdout.readline().strip()) or length is None:
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            elif not line:
                raise BenchError("the helper ended")
        return json.loads(self.process.stdout.read(length))

    def state(self, wanted) -> dict:
        return self.wait(lambda message: message.get("method") == "gpubay/state" and wanted(message["params"]))["params"]


def editor(lab: Lab, rounds: int) -> list[Row]:
    workspace = lab.workspace("edited", SMALL)
    answered = []
    for _ in range(STARTS):
        with Helper(lab, workspace) as helper:
            answered.append(helper.answered)
    rows = [row("`serve`: from spawn to answered `initialize`", statistics.median(answered), 0.005, "5 ms")]
    with Helper(lab, workspace) as helper:
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
    with Helper(lab, workspace, {"LD_LIBRARY_PATH": str(nvml.fake())}) as helper:
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

    before = ticks()
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

    def completed(helper: Helper) -> bool:
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

    with Helper(lab, workspace) as helper:
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
