"""A fake of an installed driver: its libraries and the linker's cache of them in a tree of its own, for whoever takes
that tree for the machine's root. Device nodes and what the kernel tells are added by the test that uses it."""

from __future__ import annotations

from pathlib import Path

from common import HERE, fingerprint, part, run

VERSION = "580.65.06"
FOLDER = "usr/lib/x86_64-linux-gnu"
LIBRARIES = {"libcuda": "libcuda.so.1", "libnvidia-ml": "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler": "libnvidia-ptxjitcompiler.so.1", "libnvidia-nvvm": "libnvidia-nvvm.so.4"}


def fake() -> Path:
    """The tree; takes root, since `ldconfig -r` does."""

    def make(folder: Path) -> None:
        libraries = folder / FOLDER
        for made in (libraries, folder / "etc", folder / "usr/bin"):
            made.mkdir(parents=True)
        flags = ["-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
        for name, soname in LIBRARIES.items():
            run("cc", *flags, f"-Wl,-soname,{soname}", "-o", libraries / f"{name}.so.{VERSION}", HERE / "driver/libcuda.c")
        (libraries / "libcuda.so").symlink_to("libcuda.so.1")
        (folder / "etc/ld.so.conf").write_text(f"/{FOLDER}\n")
        (folder / "etc/group").write_text("root:x:0:\nvideo:x:44:\n")
        run("/sbin/ldconfig", "-r", folder)
        run("cc", "-O1", "-static", "-Wall", "-Wextra", "-Werror", "-o", folder / "usr/bin/nvidia-smi", HERE / "gpu/nvidia-smi.c")

    return part("driver", fingerprint(HERE / "driver", HERE / "driver.py", HERE / "gpu/nvidia-smi.c"), make)
