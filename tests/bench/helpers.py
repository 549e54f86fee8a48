"""One `gpubay serve`, as an editor talks to it. Alone it measures first answers; it is copied to where an ordinary user can run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

STARTS = 40


class HelperError(Exception):
    """The helper refused, or is gone."""


class Helper:
    """One `gpubay serve` and its messages, read when somebody asks for one. `how`: as whom and with what, for `subprocess`."""

    def __init__(self, program: str | Path, workspace: Path, **how):
        self.workspace = workspace
        self.begun = time.perf_counter()
        self.process = subprocess.Popen([program, "serve"], cwd=workspace, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **how)
        self.told: list[dict] = []
        self.number = 0
        folder = {"uri": workspace.as_uri(), "name": "folder"}
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
            raise HelperError(f"{method}: {answer['error']}")
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
                raise HelperError("the helper ended")
        return json.loads(self.process.stdout.read(length))

    def state(self, wanted) -> dict:
        return self.wait(lambda message: message.get("method") == "gpubay/state" and wanted(message["params"]))["params"]


def first_answers(program: str, workspace: str) -> list[float]:
    """
    How long helpers took from spawn to the answer, in seconds. A process of the user's own asks: who spawns as
    somebody else forks itself first, which takes longer than what is measured, and no editor does it.
    """
    answered = []
    for _ in range(STARTS):
        with Helper(program, Path(workspace)) as helper:
            answered.append(helper.answered)
    return answered


if __name__ == "__main__":
    print(json.dumps(first_answers(*sys.argv[1:])))
