"""The commands of one session that run in the background."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import ToolError
from agent.protocols import Redact
from agent.redact import MARGIN
from agent.tools.output import cleaned, described_exit

if TYPE_CHECKING:
    from agent.tools.running import Running

MOST_RUNNING = 16
MOST_REMEMBERED = 50


@dataclass(slots=True)
class Job:
    """A command in the background. `position` is how many bytes of its output were handed out."""

    id: str
    running: "Running"
    position: int = 0

    @property
    def kept(self) -> bool:
        return self.running.spawn.log is not None

    @property
    def state(self) -> str:
        if not self.running.over:
            return f"running for {time.time() - self.running.started:.0f}s"
        return "; ".join(filter(None, (described_exit(self.running.exit_status)[1], self.running.refused)))

    def line(self, redact: Redact) -> str:
        command = redact(" ".join(self.running.spawn.command.split()))
        short = command if len(command) <= 100 else f"{command[:99]}…"
        return f"{self.id}  {self.state}  pid {self.running.pid}{'  kept' if self.kept else ''}  {short}"

    def after(self, position: int, redact: Redact) -> tuple[str, int]:
        """The output since `position` bytes, as far as it is kept, cleaned; and the position of now."""
        log = self.running.spawn.log
        if log is None:
            return self.running.output.after(position, redact)
        with log.open("rb") as file:
            skipped = max(position, log.stat().st_size - self.running.spawn.output_limit)
            before = min(skipped, MARGIN)
            file.seek(skipped - before)
            data = file.read(before + self.running.spawn.output_limit)
        note = f"[… {skipped - position:,} bytes left out; all of it is in {log} …]\n" if skipped > position else ""
        return note + cleaned(data, redact, start=before), skipped + len(data) - before

    def news(self, redact: Redact) -> str:
        """The output since this was last asked."""
        text, self.position = self.after(self.position, redact)
        return text


class Jobs:
    """Numbers, finds and ends them. `logs` is where those that outlive Hermes write; safe to share between threads."""

    def __init__(self, logs: Path | None = None) -> None:
        self._logs = logs
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._next = 1
        self._closed = False

    def log(self) -> Path:
        """A file for the output of a command that is kept. Raises: ToolError."""
        if self._logs is None:
            raise ToolError("Nothing can be kept here: Hermes has no directory for its output.")
        return self._logs / f"{time.strftime('%Y%m%d_%H%M%S')}_{threading.get_native_id()}_{self._next}.log"

    def require_room(self) -> None:
        """Raises: ToolError when as many run as may."""
        running = [job.id for job in self.all() if not job.running.over]
        if len(running) >= MOST_RUNNING:
            raise ToolError(f"{len(running)} commands run in the background: {', '.join(running)}. End one first.")

    def add(self, running: "Running") -> Job:
        """Take a command over; it is ended with the session, unless it writes to a log of its own."""
        with self._lock:
            job = Job(f"p{self._next}", running)
            self._next += 1
            self._jobs[job.id] = job
            closed = self._closed
            over = [other.id for other in self._jobs.values() if other.running.over]
            for old in over[: max(len(self._jobs) - MOST_REMEMBERED, 0)]:
                del self._jobs[old]

        running.adopt()
        if closed and not job.kept:
            running.stop(leftovers_only=False)
        return job

    def all(self) -> list[Job]:
        """Oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def find(self, job_id: str) -> Job:
        """Raises: ToolError."""
        with self._lock:
            job, known = self._jobs.get(job_id), ", ".join(self._jobs)
        if job is None:
            there = f"There are: {known}." if known else "None was started."
            raise ToolError(f"There is no background command {job_id!r}. {there}")
        return job

    def close(self) -> None:
        """End all that run, at the same time, but for those that are kept."""
        with self._lock:
            self._closed = True
        live = [job.running for job in self.all() if not job.running.over and not job.kept]
        threads = [threading.Thread(target=_stop, args=(running,), daemon=True, name="stop") for running in live]
        for thread, running in zip(threads, live, strict=True):
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending
                _stop(running)
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _stop(running: "Running") -> None:
    running.stop(leftovers_only=False)
