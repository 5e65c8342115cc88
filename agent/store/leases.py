"""Leases of processes on this machine."""

import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from agent.records import Lease

if TYPE_CHECKING:
    import psutil

SAME_START = 2.0
"""Seconds by which two readings of a process's start may differ."""

_APART = 1e9
"""Seconds between the starts of processes of two runs of the machine; no machine runs that long."""


def new_lease(kind: str = "hermes") -> Lease:
    """A lease for this process, under a worker's name that nobody else has. The store keeps its heartbeat."""
    import psutil

    name = f"{kind}-{os.getpid()}-{token_hex(3)}"
    return Lease(name, os.getpid(), started=start_of(psutil.Process()), heartbeat=0.0)


def start_of(process: "psutil.Process") -> float:
    """A number of seconds that tells this process from all others with its number, whatever becomes of the clock.

    On Linux what psutil says moves when the clock is set. There the time since the machine began is taken instead, and
    a number of that run of the machine added to it. Raises: psutil.NoSuchProcess.
    """
    if sys.platform == "linux":
        with suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{process.pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
            return _boot() * _APART + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return process.create_time()


@cache
def _boot() -> int:
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:4], 16)
    return 0


def is_alive(lease: Lease) -> bool:
    """Whether the process that holds the lease still runs; a later one with the same number does not count."""
    import psutil

    try:
        process = psutil.Process(lease.pid)
        same = abs(start_of(process) - lease.started) < SAME_START
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
