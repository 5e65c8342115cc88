"""Leases of processes on this machine."""

import os
from secrets import token_hex

from agent.records import Lease

SAME_START = 2.0
"""Seconds by which two readings of a process's start may differ, when the clock was set meanwhile."""


def new_lease(kind: str = "hermes") -> Lease:
    """A lease for this process, under a worker's name that nobody else has. The store keeps its heartbeat."""
    import psutil

    name = f"{kind}-{os.getpid()}-{token_hex(3)}"
    return Lease(name, os.getpid(), started=psutil.Process().create_time(), heartbeat=0.0)


def is_alive(lease: Lease) -> bool:
    """Whether the process that holds the lease still runs; a later one with the same number does not count."""
    import psutil

    try:
        process = psutil.Process(lease.pid)
        same = abs(process.create_time() - lease.started) < SAME_START
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
