"""The ordinary user that tests run as: with a home, a supplementary group, and leave to use the engines."""

from __future__ import annotations

import grp
import pwd
from pathlib import Path

import debian
from common import GROUP, USER, locked, run


RANGES = {"--add-subuids": Path("/etc/subuid"), "--add-subgids": Path("/etc/subgid")}
"""Numbers that a rootless engine gives to the users inside its containers; usermod's option, and where they stand."""


def is_made() -> bool:
    try:
        pwd.getpwnam(USER)
        return USER in grp.getgrnam(GROUP).gr_mem and not lacking()
    except KeyError:
        return False


def lacking() -> list[str]:
    def has(file: Path) -> bool:
        return file.exists() and any(line.startswith(f"{USER}:") for line in file.read_text().splitlines())

    return [option for option, file in RANGES.items() if not has(file)]


def free_range() -> str:
    """Of 65536 numbers, behind all that anybody has."""
    ends = [100000]
    for file in RANGES.values():
        for line in file.read_text().splitlines() if file.exists() else []:
            _, first, count = line.split(":")
            ends.append(int(first) + int(count))
    return f"{max(ends)}-{max(ends) + 65535}"


def make() -> None:
    if is_made():
        return
    with locked("user"):
        if is_made():
            return
        environment = {"PATH": debian.PATH}
        run("groupadd", "--force", GROUP, env=environment)
        try:
            pwd.getpwnam(USER)
        except KeyError:
            run("useradd", "--create-home", "--user-group", "--shell", "/bin/bash", USER, env=environment)
        run("usermod", "--append", "--groups", GROUP, USER, env=environment)
        free = free_range()
        for option in lacking():
            run("usermod", option, free, USER, env=environment)
