"""A fake of the driver's own library, for who asks it of GPUs: `LD_LIBRARY_PATH` leads a program to it."""

from __future__ import annotations

from pathlib import Path

from common import HERE, fingerprint, part, run
from gpu import DEVICES

MACHINE = "driver = 580.65.06\ncuda = 13000\n"


def scenario() -> str:
    """The GPUs of the engine's CDI devices, with nothing on them."""
    rest = "memory = 576 / 24576\nutilization = 0\ntemperature = 31\npower = 22 / 300\n"
    return MACHINE + "".join(f"[gpu]\nuuid = {uuid}\nname = {name}\n{rest}" for uuid, name in DEVICES)


def fake() -> Path:
    """A folder with the library, and `scenario`: what it tells where nobody names another file."""

    def make(folder: Path) -> None:
        name = "libnvidia-ml.so.1"
        flags = ["-O1", "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{name}"]
        run("cc", *flags, "-o", folder / name, HERE / "nvml/nvml.c", "-ldl")
        (folder / "scenario").write_text(scenario())

    return part("nvml", fingerprint(HERE / "nvml", HERE / "nvml.py", scenario()), make)
