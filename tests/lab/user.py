"""The ordinary user that tests run as: with a home, a supplementary group, and leave to use the engines."""

from __future__ import annotations

import grp
import pwd

import debian
from common import GROUP, USER, locked, run


def is_made() -> bool:
    try:
        pwd.getpwnam(USER)
        return USER in grp.getgrnam(GROUP).gr_mem
    except KeyError:
        return False


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
