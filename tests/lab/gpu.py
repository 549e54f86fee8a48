"""Fake GPUs for an engine that knows CDI: a hand-written specification and a fake `nvidia-smi`."""

from __future__ import annotations

import json
from pathlib import Path

from common import CACHE, HERE, fingerprint, part, run

DEVICES = [
    ("GPU-11111111-2222-3333-4444-000000000000", "GPU Bay Fake 24G"),
    ("GPU-11111111-2222-3333-4444-000000000001", "GPU Bay Fake 24G"),
]


SLICES = [(f"MIG-11111111-2222-3333-4444-{index:012}", profile) for index, profile in enumerate(("1g.10gb", "1g.10gb", "2g.20gb"))]
"""Of the first GPU, where that one is divided."""


def edits(divided: bool) -> dict[str, list[str]]:
    """The variables of each device "0", "1" (or "0:0", "0:1", … of one that is divided), by its UUID too, and of "all", as NVIDIA's
    toolkit names them."""
    named = {}
    for index, (uuid, name) in enumerate(DEVICES):
        whole = f"GPUBAY_FAKE_GPU_{index}={uuid},{name}"
        if divided and index == 0:
            for place, (slice_uuid, profile) in enumerate(SLICES):
                variables = [whole, f"GPUBAY_FAKE_SLICE_{place}={slice_uuid},{profile},{uuid},{place}"]
                named[f"{index}:{place}"] = named[slice_uuid] = variables
        else:
            named[str(index)] = named[uuid] = [whole]
    named["all"] = list(dict.fromkeys(entry for variables in named.values() for entry in variables))
    return named


def specification(smi: Path, divided: bool = False) -> dict:
    named = edits(divided)
    mount = {"hostPath": str(smi), "containerPath": "/usr/bin/nvidia-smi", "options": ["ro", "nosuid", "nodev", "bind"]}
    return {
        "cdiVersion": "0.6.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": name, "containerEdits": {"env": env}} for name, env in named.items()],
        "containerEdits": {"env": ["NVIDIA_VISIBLE_DEVICES=void"], "mounts": [mount]},
    }


HOOK = '''#!/usr/bin/python3
# A FAKE of NVIDIA's container toolkit, for an engine of tests: Docker runs it before a container with GPUs starts. Like the real
# one it is told by NVIDIA_VISIBLE_DEVICES which are wanted, and puts nvidia-smi into the container; what is a device node in real
# life is a line of a file there.
import json, os, shutil, sys

edits = EDITS
bundle = json.load(sys.stdin)["bundle"]
config = json.load(open(os.path.join(bundle, "config.json")))
root = os.path.join(bundle, config["root"]["path"])
wanted = dict(entry.partition("=")[::2] for entry in config["process"]["env"]).get("NVIDIA_VISIBLE_DEVICES", "")
lines = []
for name in filter(None, wanted.split(",")):
    if name not in edits:
        sys.exit(f"nvidia-container-cli: device error: {name}: unknown device")
    lines += [line for line in edits[name] if line not in lines]
os.makedirs(os.path.join(root, "usr/bin"), exist_ok=True)
shutil.copy(SMI, os.path.join(root, "usr/bin/nvidia-smi"))
with open(os.path.join(root, "usr/bin/.gpubay-fake-gpus"), "w") as file:
    file.write("".join(line + "\\n" for line in lines))
'''


def fake() -> Path:
    """A folder with the program, `cdi/`, the engines' folder of specifications, `mig/`, another one for an engine with a divided
    GPU, and `bin/` with what stands for NVIDIA's container toolkit."""

    def make(folder: Path) -> None:
        run("cc", "-O1", "-static", "-Wall", "-Wextra", "-Werror", "-o", folder / "nvidia-smi", HERE / "gpu/nvidia-smi.c")
        for name, divided in (("cdi", False), ("mig", True)):
            (folder / name).mkdir()
            (folder / name / "fake.json").write_text(json.dumps(specification(CACHE / "gpu/nvidia-smi", divided), indent=2))
        (folder / "bin").mkdir()
        hook = folder / "bin/nvidia-container-runtime-hook"
        hook.write_text(HOOK.replace("EDITS", repr(edits(divided=True))).replace("SMI", repr(str(CACHE / "gpu/nvidia-smi"))))
        hook.chmod(0o755)

    return part("gpu", fingerprint(HERE / "gpu", HERE / "gpu.py", str(CACHE)), make)
