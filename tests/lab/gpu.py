"""Fake GPUs for an engine that knows CDI: a hand-written specification and a fake `nvidia-smi`."""

from __future__ import annotations

import json
from pathlib import Path

from common import CACHE, HERE, fingerprint, part, run

DEVICES = [
    ("GPU-11111111-2222-3333-4444-000000000000", "GPU Bay Fake 24G"),
    ("GPU-11111111-2222-3333-4444-000000000001", "GPU Bay Fake 24G"),
]


def specification(smi: Path) -> dict:
    """Devices "0", "1", each by its UUID too, and "all", as NVIDIA's toolkit names them."""
    named = {}
    for index, (uuid, name) in enumerate(DEVICES):
        named[str(index)] = named[uuid] = [f"GPUBAY_FAKE_GPU_{index}={uuid},{name}"]
    named["all"] = [entry for index in range(len(DEVICES)) for entry in named[str(index)]]
    mount = {"hostPath": str(smi), "containerPath": "/usr/bin/nvidia-smi", "options": ["ro", "nosuid", "nodev", "bind"]}
    return {
        "cdiVersion": "0.6.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": name, "containerEdits": {"env": env}} for name, env in named.items()],
        "containerEdits": {"env": ["NVIDIA_VISIBLE_DEVICES=void"], "mounts": [mount]},
    }


def fake() -> Path:
    """A folder with the program and `cdi/`, the engine's folder of specifications."""

    def make(folder: Path) -> None:
        run("cc", "-O1", "-static", "-Wall", "-Wextra", "-Werror", "-o", folder / "nvidia-smi", HERE / "gpu/nvidia-smi.c")
        (folder / "cdi").mkdir()
        (folder / "cdi/fake.json").write_text(json.dumps(specification(CACHE / "gpu/nvidia-smi"), indent=2))

    return part("gpu", fingerprint(HERE / "gpu", HERE / "gpu.py", str(CACHE)), make)
