"""Child processes without a terminal: wall time, processor time, peak and resident memory."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psutil

MEGABYTE = 1e6
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class ProgramError(Exception):
    """A program that is measured ended with a status other than 0."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ran to its end. Seconds; `peak` in MB; `seen` is when the awaited text came (else the end)."""

    wall: float
    cpu: float
    peak: float
    seen: float
    output: bytes


def run(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, awaited: bytes = b"") -> Finished:
    """Run a program to its end, its standard output in a pipe that is read all the time.

    Raises: ProgramError, also when `awaited` is not in the output.
    """
    began = perf_counter()
    child = subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        output, seen = _read(child, awaited)
        _, status, usage = os.wait4(child.pid, 0)
        wall = perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        errors = child.stderr.read() if child.stderr else b""
    finally:
        if child.returncode is None:
            child.kill()
            child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe:
                pipe.close()
    if child.returncode != 0 or awaited not in output:
        raise ProgramError(f"{argv} ended with {child.returncode}: {output[-300:]!r} {errors[-1500:].decode()}")
    # Linux counts the starter's own size in; the bench itself stays smaller than what it measures.
    peak = usage.ru_maxrss * MAXRSS_UNIT / MEGABYTE
    return Finished(wall, usage.ru_utime + usage.ru_stime, peak, seen - began, output)


def _read(child: subprocess.Popen[bytes], awaited: bytes) -> tuple[bytes, float]:
    assert child.stdout is not None
    output = bytearray()
    seen = 0.0
    while data := os.read(child.stdout.fileno(), 65536):
        tail = max(0, len(output) - len(awaited))
        output += data
        if not seen and awaited and output.find(awaited, tail) >= 0:
            seen = perf_counter()
    return bytes(output), seen or perf_counter()


def resident(pid: int) -> float:
    """Resident memory in MB of a process and its children."""
    total = 0
    process = psutil.Process(pid)
    for member in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += member.memory_info().rss
    return total / MEGABYTE


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used so far; to the nanosecond where the kernel tells it by thread."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, ValueError, IndexError):
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system
