"""Whole outputs of tools, kept aside where the model saw only a part of them."""

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agent.own_files import put

FOLDER = "outputs"
"""Where they are kept, below the state directory: a folder for each session, a file for each call."""
LARGEST = 2_000_000
"""Characters of one output; of a longer one the head and the tail."""
MOST = 200_000_000
"""Bytes of all of them together; beyond, the oldest go."""
LONGEST_KEPT = 30 * 86_400
"""Seconds after which they go."""

_NAMED = re.compile(r"\[All of it is in ([^\n]+?): read_file\]\Z")
_ODD = re.compile(r"[^A-Za-z0-9_.-]")


class Outputs:
    """The outputs below one state directory. What cannot be written is not kept, and nobody is stopped by that."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._tidied = False

    def holds(self, path: Path, sessions: Iterable[str]) -> bool:
        """Whether a path is what was kept of one of these sessions. `sessions` is looked at only when it may be."""
        folder, there = self._folder.resolve(), path.resolve()
        inside = there.relative_to(folder).parts if there.is_relative_to(folder) else ()
        return bool(inside) and inside[0] in map(_safe, sessions)

    def keep(self, session_id: str, call_id: str, text: str) -> str:
        """Write a text that holds no secret, for its owner only; gives the line that names it, "" when it could not."""
        path = self._folder / _safe(session_id) / f"{_safe(call_id)}.txt"
        if len(text) > LARGEST:
            half = LARGEST // 2
            text = f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"
        try:
            put(path, text.encode(errors="replace"))
        except OSError:
            return ""
        if not self._tidied:
            self._tidied = True
            prune(self._folder)
        return f"[All of it is in {path}: read_file]"


def prune(folder: Path, *, most: int = MOST, older_than: float = LONGEST_KEPT) -> None:
    """Delete what is too old, and of the rest the oldest until they are few enough."""
    found = []
    with suppress(OSError):
        for path in folder.glob("*/*"):
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
    room, oldest = most, time.time() - older_than
    for modified, size, path in sorted(found, reverse=True):
        room -= size
        if room < 0 or modified < oldest:
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()


def forget(state: Path, session_id: str) -> None:
    """Delete what is kept of a session."""
    folder = state / FOLDER / _safe(session_id)
    with suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def sessions(state: Path) -> list[str]:
    """Those that something is kept of."""
    with suppress(OSError):
        return [folder.name for folder in (state / FOLDER).iterdir()]
    return []


def named_in(content: str) -> str:
    """The line at a content's end that names where all of it is, "" when there is none."""
    found = _NAMED.search(content)
    return found[0] if found else ""


def _safe(name: str) -> str:
    """As the name of a file: ids come from models too."""
    return _ODD.sub("_", name).lstrip(".")[:120] or "_"
