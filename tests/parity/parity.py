#!/usr/bin/env python3
"""Parity: does a language server outside say what the same server says inside the container?

    eval "$(tests/lab/lab env)"
    tests/parity/parity.py --gpubay target/release/gpubay --base gpubay-lab/python

Makes a copy of `workspace/`, runs `gpubay up` on it, and asks every probe twice: of a server on the host, with
no setting and no Python on its PATH, and of the same build of it in a second container with the dev container's
image and mounts. jedi alone is given the folders that `gpubay sync --print-paths` writes out. Answers are compared after host paths are mapped to the container's. Exit status: 0 when every
server reaches its goal, 1 when one does not, 2 when the question could not be asked.

What counts: a probe where both sides answer and the answers are the same is equal; anything else differs and
is printed with its reason. A probe that the server inside cannot answer either says nothing about the host and is
left out of the total, but counted and named; most are compiled modules without stubs.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import difflib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import lsp
import probes

HERE = pathlib.Path(__file__).resolve().parent
GOALS = {"pyright": 97.0, "basedpyright": 97.0, "ty": 95.0, "pyrefly": 95.0, "zuban": 95.0, "jedi": 85.0}
LEAST_PROBES = 200
# More silence than this inside means that the measure is broken, not that both sides agree.
MOST_VOID = 12
# jedi itself loses its way in numpy, PIL and generated code, and says nothing of a document but syntax errors.
MOST_VOID_OF = {lsp.JEDI: 16}
NO_DIAGNOSTICS = {lsp.JEDI}
INSIDE_HOME = "/tmp/parity-home"
# Pyrefly shows no type errors without a configuration file unless told to; it changes what is shown, not what is found.
SETTINGS = {"pyrefly": {"python": {"pyrefly": {"displayTypeErrors": "force-on"}}}}


class ParityError(Exception):
    """Why the question could not be asked."""


@dataclasses.dataclass(frozen=True)
class Place:
    """What `up` made: the workspace on both sides, and which host folder is which container folder."""

    workspace: pathlib.Path
    inside: str
    container: str
    folders: tuple[tuple[str, str], ...]
    """(host, container), longest host path first, so that the first match is the nearest."""
    paths: tuple[str, ...] = ()
    """What `gpubay sync --print-paths` writes out."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One probe's outcome: `equal`, `differs` or `void` (the server inside has no answer either)."""

    probe: probes.Probe
    outcome: str
    reason: str = ""


# -- the two sides ------------------------------------------------------------------------------


def run(command: list[str], **more) -> str:
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    if done.returncode:
        raise ParityError(f"{' '.join(command[:4])} … ended with {done.returncode}\n{done.stderr[-3000:]}{done.stdout[-1000:]}")
    return done.stdout


def make_workspace(folder: pathlib.Path, base: str) -> pathlib.Path:
    """A fresh workspace with every document on disk, as an editor would have it."""
    workspace = folder / "workspace"
    shutil.copytree(HERE / "workspace", workspace)
    config = workspace / "gpubay.toml"
    config.write_text(config.read_text().replace("@BASE@", base))
    (workspace / "probes").mkdir()
    for name, text in probes.documents().items():
        (workspace / name).write_text(text)
    return workspace


def bring_up(gpubay: str, engine: str, workspace: pathlib.Path) -> dict:
    """`gpubay up`, its report."""
    command = [os.path.abspath(gpubay), "up", "--json", "-C", str(workspace)]
    report = json.loads(run(command, env={**os.environ, "DOCKER_HOST": engine}))
    if report.get("outcome") != "success":
        raise ParityError(f"up: {report.get('error')}")
    return report


def extra_paths(gpubay: str, engine: str, workspace: pathlib.Path) -> tuple[str, ...]:
    command = [os.path.abspath(gpubay), "sync", "--print-paths", "-C", str(workspace)]
    return tuple(run(command, env={**os.environ, "DOCKER_HOST": engine}).splitlines())


def read_place(docker: list[str], workspace: pathlib.Path, report: dict) -> Place:
    """The mounts come from the engine, the mirrored roots from the report."""
    container = report["container"]["id"]
    mounts = json.loads(run([*docker, "inspect", "-f", "{{json .Mounts}}", container]))
    pairs = [(m["Source"], m["Destination"]) for m in mounts if m.get("Source")]
    pairs += [(root["host"], root["container"]) for root in report["host_env"]["roots"]]
    inside = next((c for h, c in pairs if os.path.realpath(h) == os.path.realpath(workspace)), None)
    if inside is None:
        raise ParityError(f"the container {container} has no mount of {workspace}: {pairs}")
    pairs.sort(key=lambda pair: len(pair[0]), reverse=True)
    return Place(workspace, inside, container, tuple(pairs))


@contextlib.contextmanager
def second_container(docker: list[str], place: Place, servers: pathlib.Path):
    """The dev container's image, user, environment and mounts, and the servers beside them."""
    config = json.loads(run([*docker, "inspect", "-f", "{{json .Config}}", place.container]))
    image = run([*docker, "inspect", "-f", "{{.Image}}", place.container]).strip()
    command = [*docker, "run", "-d", "--rm", "--volumes-from", place.container, "-v", f"{servers}:{servers}:ro"]
    for entry in config.get("Env") or []:
        command += ["-e", entry]
    if config.get("User"):
        command += ["--user", config["User"]]
    command += ["-e", f"HOME={INSIDE_HOME}", "-w", place.inside, "--entrypoint", "sleep", image, "3600"]
    name = run(command).strip()
    try:
        run([*docker, "exec", name, "mkdir", "-p", INSIDE_HOME])
        yield name
    finally:
        subprocess.run([*docker, "rm", "-f", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def ask_all(client: lsp.Client, root: str, questions: list[probes.Probe], texts: dict[str, str]) -> dict:
    """Every question's raw answer. One document is open at a time, as long as it is asked about."""
    answers = {}
    by_document = collections.defaultdict(list)
    for probe in questions:
        by_document[probe.document].append(probe)
    for document, asked in by_document.items():
        path = f"{root}/{document}"
        client.open(path, texts[document])
        # Once a document has its diagnostics, the server knows the modules that it imports.
        diagnostics = client.diagnose(path)
        client.settle()
        for probe in asked:
            answers[probe] = diagnostics if probe.kind == "diagnostics" else ask(client, path, probe)
        client.shut(path)
    return answers


def ask(client: lsp.Client, path: str, probe: probes.Probe):
    try:
        return ask_of_its_kind(client, path, probe)
    except lsp.Refused as refusal:
        # jedi fails in some of its own code; that is no answer, on whichever side.
        print(f"parity: {probe.name}: {refusal}", file=sys.stderr)
        return "" if probe.kind == "hover" else []


def ask_of_its_kind(client: lsp.Client, path: str, probe: probes.Probe):
    if probe.kind == "completion":
        return client.complete(path, probe.line, probe.column)
    if probe.kind == "definition":
        return client.define(path, probe.line, probe.column)
    return client.hover(path, probe.line, probe.column)


def ask_outside(name: str, servers: pathlib.Path, place: Place, questions, texts) -> dict:
    with tempfile.TemporaryDirectory() as home:
        command = lsp.server_command(name, servers)
        env = lsp.clean_environment(name, home, place.workspace)
        settings = SETTINGS.get(name)
        options = lsp.jedi_options(home, list(place.paths)) if name == lsp.JEDI else None
        with lsp.Client(command, place.workspace, env=env, cwd=place.workspace, settings=settings, options=options) as client:
            client.name = f"{name} outside"
            answers = ask_all(client, str(place.workspace), questions, texts)
        return {p: normal(p, a, [(home, INSIDE_HOME), *place.folders]) for p, a in answers.items()}


def ask_inside(name: str, servers: pathlib.Path, place: Place, docker: list[str], container: str, questions, texts) -> dict:
    command = [*docker, "exec", "-i", container, *lsp.server_command(name, servers, "python")]
    with lsp.Client(command, place.inside, settings=SETTINGS.get(name)) as client:
        client.name = f"{name} inside"
        answers = ask_all(client, place.inside, questions, texts)
    return {p: normal(p, a, []) for p, a in answers.items()}


# -- comparing ----------------------------------------------------------------------------------


def normal(probe: probes.Probe, answer, folders) -> list[str]:
    """An answer as sorted lines in the container's words; empty when there is none."""
    if probe.kind == "completion":
        return sorted({f"{item.label} ({item.kind})" for item in answer})
    if probe.kind == "definition":
        return sorted({f"{map_paths(t.path, folders)}:{t.line + 1}" for t in answer})
    if probe.kind == "diagnostics":
        found = (f"{d.line + 1}: {d.severity} {d.code} {d.message}" for d in answer)
        return sorted(re.sub(r"\s+", " ", map_paths(text, folders)) for text in found)
    text = re.sub(r"\s+", " ", map_paths(answer, folders)).strip()
    return [text] if text else []


def map_paths(text: str, folders) -> str:
    for host, container in folders:
        # Only whole folder names: /data/ws is not a part of /data/ws2.
        text = re.sub(re.escape(host) + r"(?![\w.-])", lambda _: container, text)
    return text


def judge(probe: probes.Probe, outside: list[str], inside: list[str]) -> Verdict:
    if not inside and not outside:
        return Verdict(probe, "void")
    if inside == outside:
        return Verdict(probe, "equal")
    if not outside:
        return Verdict(probe, "differs", f"nothing outside; inside {brief(inside)}")
    if not inside:
        return Verdict(probe, "differs", f"nothing inside; outside {brief(outside)}")
    if probe.kind == "hover":
        return Verdict(probe, "differs", first_difference(outside[0], inside[0]))
    only_in = [line for line in inside if line not in outside]
    only_out = [line for line in outside if line not in inside]
    return Verdict(probe, "differs", f"only inside {brief(only_in)}; only outside {brief(only_out)}")


def brief(lines: list[str], most: int = 3) -> str:
    shown = ", ".join(line[:160] for line in lines[:most])
    return f"[{shown}]" + (f" and {len(lines) - most} more" if len(lines) > most else "")


def first_difference(outside: str, inside: str) -> str:
    matcher = difflib.SequenceMatcher(None, outside, inside, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            return f"inside «{inside[max(0, c - 30):d + 30][:160]}», outside «{outside[max(0, a - 30):b + 30][:160]}»"
    return "no difference"


def measure(name: str, place: Place, servers: pathlib.Path, docker: list[str], container: str) -> tuple[list[Verdict], float]:
    """Both sides at once: each has a core to itself, and neither waits for the other."""
    questions, texts = probes.probes(), probes.documents()
    if name in NO_DIAGNOSTICS:
        questions = [probe for probe in questions if probe.kind != "diagnostics"]
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        out = pool.submit(ask_outside, name, servers, place, questions, texts)
        ins = pool.submit(ask_inside, name, servers, place, docker, container, questions, texts)
        outside, inside = out.result(), ins.result()
    return [judge(p, outside[p], inside[p]) for p in questions], time.monotonic() - started


# -- reporting ----------------------------------------------------------------------------------


def summary(name: str, verdicts: list[Verdict], seconds: float) -> dict:
    counted = [v for v in verdicts if v.outcome != "void"]
    equal = [v for v in counted if v.outcome == "equal"]
    percent = 100.0 * len(equal) / len(counted) if counted else 0.0
    silent = [v.probe.name for v in verdicts if v.outcome == "void" and not v.probe.compiled]
    return {
        "server": name,
        "equal": len(equal),
        "total": len(counted),
        "percent": round(percent, 2),
        "goal": GOALS[name],
        "met": percent >= GOALS[name] and len(counted) >= LEAST_PROBES and len(silent) <= MOST_VOID_OF.get(name, MOST_VOID),
        "seconds": round(seconds, 1),
        "kinds": {
            kind: [sum(v.probe.kind == kind for v in equal), sum(v.probe.kind == kind for v in counted)]
            for kind in ("completion", "definition", "hover", "diagnostics")
        },
        "origins": {
            origin: [sum(v.probe.origin == origin for v in equal), sum(v.probe.origin == origin for v in counted)]
            for origin in dict.fromkeys(v.probe.origin for v in verdicts)
        },
        "misses": [{"probe": v.probe.name, "reason": v.reason} for v in counted if v.outcome == "differs"],
        "compiled": [v.probe.name for v in verdicts if v.outcome == "void" and v.probe.compiled],
        "void": silent,
    }


def show(results: list[dict]) -> None:
    for one in results:
        for miss in one["misses"]:
            print(f"{one['server']}: {miss['probe']}: {miss['reason']}")
        if one["compiled"]:
            print(f"{one['server']}: compiled, without a stub: {', '.join(one['compiled'])}")
        if one["void"]:
            print(f"{one['server']}: no answer on either side: {', '.join(one['void'])}")
    print(f"\n{'server':<14}{'equal':>12}{'%':>8}{'goal':>7}  {'completion':>11}{'definition':>11}{'hover':>9}{'diagn.':>8}{'void':>6}{'s':>7}")
    for one in results:
        kinds = one["kinds"]
        cells = [f"{kinds[k][0]}/{kinds[k][1]}" for k in ("completion", "definition", "hover", "diagnostics")]
        void = len(one["void"]) + len(one["compiled"])
        print(
            f"{one['server']:<14}{one['equal']:>7}/{one['total']:<4}{one['percent']:>8.2f}{one['goal']:>7.1f}  "
            f"{cells[0]:>11}{cells[1]:>11}{cells[2]:>9}{cells[3]:>8}{void:>6}{one['seconds']:>7.1f}"
            f"{'' if one['met'] else '  below the goal'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpubay", help="the program under test")
    parser.add_argument("--report", help="what `gpubay up --json` said of --workspace, instead of running it")
    parser.add_argument("--workspace", type=pathlib.Path, help="with --report: the workspace that is up")
    parser.add_argument("--engine", default=first_engine(), help="as unix:///…; else DOCKER_HOST or the lab's first engine")
    parser.add_argument("--docker", default=os.environ.get("GPUBAY_TEST_DOCKER", "docker"), help="the engine's own command")
    parser.add_argument("--base", help="image that the workspace is built from: Debian's or Docker's Python")
    parser.add_argument("--servers", type=pathlib.Path, default=os.environ.get("GPUBAY_TEST_SERVERS"), help="`lab servers`")
    parser.add_argument("--only", default=",".join(GOALS), help="servers, with commas between")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not given.engine or not given.servers:
        parser.error("--engine and --servers, or the variables that `lab env` prints, are needed")
    if not (given.report and given.workspace) and not (given.gpubay and given.base):
        parser.error("either --gpubay with --base, or --report with --workspace")
    unknown = set(given.only.split(",")) - set(GOALS)
    if unknown:
        parser.error(f"no goal is known for {', '.join(sorted(unknown))}; known are {', '.join(GOALS)}")
    try:
        results = compare(given)
    except (ParityError, lsp.LspError, OSError, json.JSONDecodeError) as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2
    if given.json:
        json.dump(results, sys.stdout, indent=1)
        print()
    else:
        show(results)
    return 0 if all(one["met"] for one in results) else 1


def first_engine() -> str | None:
    """The lab lists its engines as `name=unix:///…,name=unix:///…`."""
    listed = os.environ.get("GPUBAY_TEST_ENGINES", "").split(",")[0]
    return os.environ.get("DOCKER_HOST") or listed.partition("=")[2] or None


def compare(given) -> list[dict]:
    docker = [given.docker, "-H", given.engine]
    servers = given.servers.resolve()
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        if given.report:
            workspace, report = given.workspace.resolve(), json.loads(pathlib.Path(given.report).read_text())
        else:
            workspace = make_workspace(pathlib.Path(folder).resolve(), given.base)
            report = bring_up(given.gpubay, given.engine, workspace)
        try:
            place = read_place(docker, workspace, report)
            if given.gpubay:
                place = dataclasses.replace(place, paths=extra_paths(given.gpubay, given.engine, workspace))
            elif lsp.JEDI in given.only.split(","):
                raise ParityError("jedi needs --gpubay too, which says the folders that it is to be given")
            with second_container(docker, place, servers) as container:
                return [
                    summary(name, *measure(name, place, servers, docker, container)) for name in given.only.split(",")
                ]
        finally:
            if not given.report:
                run([os.path.abspath(given.gpubay), "down", "-C", str(workspace)], env={**os.environ, "DOCKER_HOST": given.engine})


if __name__ == "__main__":
    sys.exit(main())
