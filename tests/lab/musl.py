"""A CPython on musl, as Alpine's images have it: no registry has one to unpack, so it is built from Debian's source.

Small, unoptimised, and every module that a virtual environment and our probe import linked into the program: 50 seconds
of CPU. Without zlib, OpenSSL and pip.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import debian
from common import LabError, fingerprint, part, run

SUITE, SOURCE, MINOR = "bookworm", "python3.11", "3.11"
MODULES = """\
*static*
array arraymodule.c
_asyncio _asynciomodule.c
_bisect _bisectmodule.c
_blake2 _blake2/blake2module.c _blake2/blake2b_impl.c _blake2/blake2s_impl.c
_contextvars _contextvarsmodule.c
_csv _csv.c
_datetime _datetimemodule.c
_heapq _heapqmodule.c
_json _json.c
_md5 md5module.c
_opcode _opcode.c
_pickle _pickle.c
_posixsubprocess _posixsubprocess.c
_queue _queuemodule.c
_random _randommodule.c
_sha1 sha1module.c
_sha256 sha256module.c
_sha512 sha512module.c
_socket socketmodule.c
_struct _struct.c
binascii binascii.c
fcntl fcntlmodule.c
grp grpmodule.c
math mathmodule.c
mmap mmapmodule.c
resource resource.c
select selectmodule.c
termios termios.c
unicodedata unicodedata.c
"""
# configure asks the compiler what it compiles for, and Debian's answers for glibc.
COMPILER = """#!/bin/sh
case "$*" in --print-multiarch) echo x86_64-linux-musl ;; *) exec musl-gcc "$@" ;; esac
"""
DROP = ["test", "idlelib", "tkinter", "lib2to3", "ensurepip", "turtledemo", "pydoc_data", "__pycache__"]
RECIPE = fingerprint(SUITE, SOURCE, MODULES, COMPILER, repr(DROP), "1")


def python() -> Path:
    """A folder with `root`, what an image needs of it: `/usr/local` and musl's loader."""

    def make(folder: Path) -> None:
        # Only here: whoever has the finished folder needs no compiler.
        missing = [package for tool, package in {"musl-gcc": "musl-tools", "make": "make"}.items() if not shutil.which(tool)]
        if missing:
            debian.install(missing)
        work = folder / "work"
        work.mkdir()
        archive = debian.source(SOURCE, SUITE, work)
        source = work / "source"
        source.mkdir()
        run("tar", "-xf", archive, "-C", source, "--strip-components=1")
        compiler = work / "cc"
        compiler.write_text(COMPILER)
        compiler.chmod(0o755)
        # Nothing of the machine's own libraries may be found: they are glibc's.
        environment = {**os.environ, "CC": str(compiler), "CFLAGS": "-O0 -g0 -pipe", "PKG_CONFIG": "/bin/false"}
        environment["ac_cv_header_zlib_h"] = "no"
        run("./configure", "-q", "--prefix=/usr/local", "--without-ensurepip", "--disable-test-modules", cwd=source, env=environment)
        (source / "Modules/Setup.local").write_text(MODULES)
        run("make", "-s", f"-j{os.cpu_count()}", "python", "pybuilddir.txt", "LDFLAGS=-s", cwd=source, env=environment)

        root = folder / "root"
        library = root / f"usr/local/lib/python{MINOR}"
        shutil.copytree(source / "Lib", library, ignore=shutil.ignore_patterns(*DROP))
        (library / "lib-dynload").mkdir()
        built = source / (source / "pybuilddir.txt").read_text().strip()
        for file in built.glob("_sysconfigdata*.py"):
            shutil.copy(file, library)
        programs = root / "usr/local/bin"
        programs.mkdir()
        shutil.copy(source / "python", programs / f"python{MINOR}")
        for name in ("python3", "python"):
            (programs / name).symlink_to(f"python{MINOR}")
        (root / "lib").mkdir()
        shutil.copy(Path("/lib/ld-musl-x86_64.so.1").resolve(), root / "lib/ld-musl-x86_64.so.1")
        if "musl" not in run(programs / f"python{MINOR}", "-c", "print(open('/proc/self/maps').read())", env={"PYTHONHOME": str(root / "usr/local")}).stdout:
            raise LabError("the Python that was built does not run on musl")
        shutil.rmtree(work)

    return part("musl", RECIPE, make)
