"""Which files a session has seen, as they are now."""

import threading
from pathlib import Path

from agent.errors import ToolError

Stamp = tuple[int, int, int]


class Seen:
    """Remembers each file as it was when it was last read or written. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamps: dict[Path, Stamp] = {}

    def note(self, path: Path) -> None:
        """The model knows what is in it now."""
        stamp = _stamp(path)
        with self._lock:
            if stamp is None:
                self._stamps.pop(path, None)
            else:
                self._stamps[path] = stamp

    def follow(self, old: Path, new: Path) -> None:
        """Files below `old` that it knows now lie below `new`, too, with the same in them."""
        with self._lock:
            below = [path for path in self._stamps if path.is_relative_to(old)]
        for path in below:
            if self.knows(path):
                self.note(new / path.relative_to(old))

    def knows(self, path: Path) -> bool:
        """Whether the model knows what is in it; True where there is nothing to know."""
        stamp = _stamp(path)
        with self._lock:
            return stamp is None or stamp[1] == 0 or self._stamps.get(path) == stamp

    def require(self, path: Path, name: str) -> None:
        """Raises: ToolError when it was not read since it last changed."""
        if self.knows(path):
            return
        with self._lock:
            before = path in self._stamps
        why = "has changed since it was last read" if before else "exists and has not been read"
        raise ToolError(f"{name} {why}: read it first, or change a part of it with edit_file.")


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
