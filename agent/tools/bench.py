"""What the tools of one session share and remember between calls. It ends with its owner."""

import atexit
import threading
from contextlib import suppress
from pathlib import Path

from agent.sandbox import Sandbox
from agent.tools.jobs import Jobs
from agent.tools.seen import Seen


class Workbench:
    """One session's: the shell's directory, the commands in the background, the files it knows.

    `state` is the directory where Hermes keeps its files; without one nothing is kept.

    A task that waits for an answer gives its agent up and gets another one later; its bench stays. See `bench_of`.
    """

    def __init__(self, state: Path | None = None) -> None:
        self.state = state
        self.lent: set[str] = set()
        """The sessions of agents that were sent from here: their benches end with this one."""
        self.directory: Path | None = None
        """Where the next shell starts; None for the session's own directory."""
        self.sandbox: Sandbox | None = None
        """The wall around commands that the settings ask for."""
        self.masked: set[Path] = set()
        """Folders that the wall may have left empty where there were none."""
        self.seen = Seen()
        self.jobs = Jobs(state / "processes" if state else None)

    def close(self) -> None:
        """End what runs. Takes less than a second a process; safe to call again."""
        self.jobs.close()
        for session_id in list(self.lent):
            close_bench(session_id)
        for folder in self.masked:
            with suppress(OSError):
                folder.rmdir()


_benches: dict[str, Workbench] = {}
_lock = threading.Lock()


def bench_of(session_id: str, *, state: Path | None = None) -> Workbench:
    """The bench of a session in this process, made when it is first asked for."""
    with _lock:
        if not _benches:
            atexit.register(close_all)
        return _benches.setdefault(session_id, Workbench(state))


def close_bench(session_id: str) -> None:
    """The owner has ended: end what its tools left running, and forget it."""
    with _lock:
        bench = _benches.pop(session_id, None)
    if bench is not None:
        bench.close()


def left_running(session_id: str | None = None) -> list[str]:
    """The commands in the background that end with a session; without one, with this process."""
    with _lock:
        benches = [bench for id_, bench in _benches.items() if session_id in (None, id_)]
    jobs = [job for bench in benches for job in bench.jobs.all()]
    return [job.running.spawn.command for job in jobs if not job.running.over and not job.kept]


def move_bench(session_id: str, to: str) -> None:
    """The conversation goes on in another session."""
    with _lock:
        if (bench := _benches.pop(session_id, None)) is not None:
            _benches[to] = bench


def close_all() -> None:
    """The process ends: front ends call this before it does."""
    with _lock:
        benches = list(_benches.values())
        _benches.clear()
    for bench in benches:
        bench.close()
