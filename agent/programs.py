"""Which file a program's name stands for, where some folders of PATH may hold what an agent has written.

With a project's own environment switched on, PATH begins inside the workspace: a file put there would run in place of
`git`, by nobody's leave.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

SYSTEM = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where an operating system keeps what only its owner may change."""


def find(name: str, workspace: Path, *, path: str | None = None) -> str | None:
    """The program that Hermes itself may run while it works for `workspace`: the first in PATH that lies elsewhere."""
    there = workspace.resolve()
    elsewhere = (folder for folder in _folders(path) if not _within(folder, there))
    found = (shutil.which(name, path=folder) for folder in elsewhere)
    return next((file for file in found if file and not Path(file).resolve().is_relative_to(there)), None)


def of_system(name: str) -> str | None:
    """The one that came with the operating system."""
    return shutil.which(name, path=SYSTEM)


def is_of_workspace(name: str, workspace: Path) -> bool:
    """Whether a shell that looks for the name in PATH would run a file of the workspace."""
    there = workspace.resolve()
    for folder in _folders(None):
        # A name that leads nowhere yet is passed over by the shell, too.
        if (found := shutil.which(name, path=folder or ".")) is not None:
            return _within(folder, there) or Path(found).resolve().is_relative_to(there)
    return False


def _folders(path: str | None) -> Iterator[str]:
    yield from (os.environ.get("PATH", os.defpath) if path is None else path).split(os.pathsep)


def _within(folder: str, there: Path) -> bool:
    """Also one that is named from wherever the shell is."""
    return not Path(folder).is_absolute() or Path(folder).resolve().is_relative_to(there)
