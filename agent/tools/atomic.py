"""Several files changed together: all of them, or none."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ToolError
from agent.tools import files, unlinked


@dataclass(frozen=True, slots=True)
class FileChange:
    """What a file holds before and after, None where it is not there. `mode` is for one that is new."""

    path: Path
    before: bytes | None
    after: bytes | None
    mode: int | None = None


def write_all(changes: Sequence[FileChange], cwd: Path) -> None:
    """Make every change. What goes wrong in the middle is undone, directories that were made included.

    Raises: ToolError; then everything is as it was.
    """
    for change in changes:
        files.check_writable(change.path, cwd)
        _require_same(change, cwd)
    parents = {parent for change in changes if change.after is not None for parent in change.path.parents}
    missing = [parent for parent in sorted(parents) if not parent.exists()]
    done: list[FileChange] = []
    try:
        for change in changes:
            done.append(change)
            with files.explaining(change.path, cwd):
                _make(change)
    except BaseException:
        for change in reversed(done):
            with suppress(OSError):
                _make(FileChange(change.path, change.after, change.before))
        for folder in reversed(missing):
            with suppress(OSError):
                folder.rmdir()
        raise


def _make(change: FileChange) -> None:
    """Raises: OSError."""
    path = change.path
    if change.after is not None:
        unlinked.replace(path, change.after)
        if change.mode is not None:
            descriptor = unlinked.opened(path)
            try:
                os.fchmod(descriptor, change.mode)
            finally:
                os.close(descriptor)
    elif path.exists():
        with unlinked.folder_of(path) as folder:
            os.unlink(path if folder is None else path.name, dir_fd=folder)


def _require_same(change: FileChange, cwd: Path) -> None:
    """Raises: ToolError when the file is not any more what the change was made for."""
    now = files.content(change.path) if change.path.exists() else None
    if now != change.before:
        raise ToolError(f"{files.shown(change.path, cwd)} has just changed; nothing was written. Try again.")
