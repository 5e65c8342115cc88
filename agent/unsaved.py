"""What commands change and no snapshot holds: ignored files. They are found by their times, and named by folder."""

import os
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agent.shadow import Shadow

MOST_LOOKED_AT = 20_000
"""Files and folders that are looked at; what lies beyond is not named."""
MOST_NAMED = 20

_CLOCKS_DIFFER = 0.02
"""Seconds by which the time of a file system may lag behind."""
_FROM_HERE, _NO_FOLLOW, _BIRTH = -100, 0x100, 0x800
_STATX_SIZE, _BIRTH_AT = 256, 80
"""Of what Linux's `statx` tells, which Python does not ask."""

_CACHES = frozenset(("__pycache__", ".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".git"))
"""Made again by whoever needs them: nobody wants them back."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The ignored files and folders of a workspace at one moment, `at` nanoseconds since the epoch."""

    shadow: Shadow
    workspace: Path
    at: int
    names: frozenset[str]

    @classmethod
    def begin(cls, shadow: Shadow, workspace: Path) -> "Watch":
        """Raises: ShadowError."""
        return cls(shadow, workspace, time.time_ns(), frozenset(shadow.ignored()))

    def changed(self, saved: Collection[str]) -> list[str]:
        """A line for each file or folder of files that changed since, but for the `saved`. Raises: ShadowError."""
        now = [name for name in self.shadow.ignored() if not _is_cache(name)]
        found: Counter[str] = Counter()
        left = MOST_LOOKED_AT
        for name in now:
            for path in _files(self.workspace / name, self.at):
                left -= 1
                if left < 0:
                    break
                found[name] += bool(path) and path not in saved
        lines = [_line(name, count) for name, count in found.items() if count]
        gone = [f"{name}: ignored, and gone" for name in sorted(self.names) if self._is_gone(name)]
        more = len(lines) + len(gone) - MOST_NAMED
        return [*lines, *gone][:MOST_NAMED] + ([f"{more} more that are ignored"] if more > 0 else [])

    def _is_gone(self, name: str) -> bool:
        return not _is_cache(name) and not os.path.lexists(self.workspace / name)


def covers(left_out: Collection[str], name: str) -> bool:
    """Whether a file, or a folder that it lies in, is among those that a snapshot left out."""
    parents = [f"{parent.as_posix()}/" for parent in Path(name).parents]
    return not {name, *parents}.isdisjoint(left_out)


def stay(names: Sequence[str]) -> list[str]:
    """A line for each file that looks new, was there before, and is left as it is."""
    lines = [f"{name}: was there before, and stays as it is" for name in names[:MOST_NAMED]]
    more = len(names) - MOST_NAMED
    return lines + ([f"{more} more that stay as they are"] if more > 0 else [])


def is_older(path: Path, since: float) -> bool:
    """Whether a file was made before then, in seconds since the epoch, and only has another name or content now."""
    made = made_at(path)
    return made is not None and made < since - _CLOCKS_DIFFER


def made_at(path: Path) -> float | None:
    """When a file was made, which moving it leaves as it is; None where the system does not tell."""
    if sys.platform != "linux":
        try:
            return getattr(path.lstat(), "st_birthtime", None)
        except OSError:
            return None
    import ctypes

    found = ctypes.create_string_buffer(_STATX_SIZE)
    if (statx := _statx()) is None or statx(_FROM_HERE, os.fsencode(path), _NO_FOLLOW, _BIRTH, found) != 0:
        return None
    seconds, fraction = struct.unpack_from("qI", found, _BIRTH_AT)
    return seconds + fraction / 1e9 if struct.unpack_from("I", found)[0] & _BIRTH else None


@cache
def _statx() -> Callable[..., int] | None:
    import ctypes

    return getattr(ctypes.CDLL(None), "statx", None)


def _line(name: str, count: int) -> str:
    if not name.endswith("/"):
        return f"{name}: ignored, and changed"
    return f"{count} file{'' if count == 1 else 's'} under {name.rstrip('/')}: ignored, and changed"


def _files(path: Path, since: int) -> Iterator[str]:
    """What was looked at: the path of a file that changed since, "" for anything else."""
    try:
        status = path.lstat()
    except OSError:
        return
    if path.is_symlink() or not path.is_dir():
        yield str(path) if status.st_ctime_ns >= since else ""
        return
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name not in _CACHES]
        yield from ("" for _ in folders)
        for name in files:
            full = os.path.join(folder, name)  # noqa: PTH118  (many)
            try:
                yield full if os.lstat(full).st_ctime_ns >= since else ""
            except OSError:
                yield ""


def _is_cache(name: str) -> bool:
    return name.rstrip("/").rpartition("/")[2] in _CACHES
