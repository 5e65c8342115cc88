"""Ending a process with everything that it started."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "HERMES_CALL"
"""Environment variable whose value only the processes of one command carry."""

GRACE = 0.3
"""Seconds between the polite signal and the other one. Twice this, and cancelling still takes less than a second."""

BECOMING = 4
"""Times that a process without an environment is looked at."""


class ProcessTree:
    """The processes that came from one command.

    `root` leads a session of its own. A process may leave the session (`setsid`) and lose its parent; it is then
    known by the mark in its environment.
    """

    def __init__(self, root: int, mark: str) -> None:
        self._root = root
        self._mark = mark

    def stop(self, root_exited: threading.Event) -> int:
        """End every process: SIGTERM, a grace, SIGKILL. Returns how many there were beside the root.

        Never waits on the root itself, whose exit status belongs to whoever started it; `root_exited` tells of it.
        """
        found = self.members()
        if root_exited.is_set() and not found:
            return 0
        self._signal(found, root_exited, polite=True)
        slow = _wait(found, root_exited)
        # Whatever was started meanwhile is found now.
        alive = list(dict.fromkeys([*slow, *self.members()]))
        if alive or not root_exited.is_set():
            self._signal(alive, root_exited, polite=False)
            _wait(alive, root_exited)
        return len(found)

    def members(self) -> list[psutil.Process]:
        """The processes alive, without the root: its descendants, its session, and those that carry the mark.

        The oldest come first: a shell that is killed before its children has no time to report their end.
        """
        found = {process.pid: process for process in self._descendants()}
        for pid in psutil.pids():
            if pid not in found and pid != self._root and self._belongs(pid):
                with suppress(psutil.NoSuchProcess):
                    found[pid] = psutil.Process(pid)
        return [process for _, process in sorted(found.items()) if _alive(process)]

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self._root).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _belongs(self, pid: int) -> bool:
        if sys.platform != "win32":
            with suppress(OSError):
                if os.getsid(pid) == self._root:
                    return True
        return self._is_marked(pid)

    def _is_marked(self, pid: int) -> bool:
        try:
            if sys.platform == "linux":
                return f"{MARK}={self._mark}".encode() in self._environment(pid)
            else:
                return psutil.Process(pid).environ().get(MARK) == self._mark
        except (psutil.Error, OSError):
            return False

    def _environment(self, pid: int) -> bytes:
        """Read directly: through psutil a scan takes several times as long. Raises: OSError.

        While a process becomes another program it has none for a moment; one that was started lately is asked again.
        """
        place = Path(f"/proc/{pid}")
        for _ in range(BECOMING):
            if (found := (place / "environ").read_bytes()) or pid < self._root:
                break
            (place / "exe").readlink()  # kernel threads and zombies have none
            time.sleep(0.005)
        return found

    def _signal(self, processes: Iterable[psutil.Process], root_exited: threading.Event, *, polite: bool) -> None:
        if not root_exited.is_set():
            self._signal_root_group(polite=polite)
        for process in processes:
            with suppress(psutil.Error):
                process.terminate() if polite else process.kill()

    def _signal_root_group(self, *, polite: bool) -> None:
        if sys.platform == "win32":
            with suppress(psutil.Error):
                psutil.Process(self._root).kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._root, signal.SIGTERM if polite else signal.SIGKILL)


def _wait(processes: Iterable[psutil.Process], root_exited: threading.Event) -> list[psutil.Process]:
    """Wait until all have ended, the root too, but no longer than the grace. Returns those alive."""
    deadline = time.monotonic() + GRACE
    # Looked at in turns: an orphan that nobody reaps stays a zombie, and waiting for its pid to go would take the
    # whole grace.
    while (alive := [process for process in processes if _alive(process)]) or not root_exited.is_set():
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    return alive


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
