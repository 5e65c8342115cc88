"""How long the interpreter may keep the event loop waiting. What is set here is set for the whole process.

Turns run on threads beside the loop. Two things stop it whatever it is at: a thread that keeps the interpreter to
itself, and the collector of garbage, which stops everything for as long as it looks through the objects there are. Left
to itself the collector counts how many objects there are more than before; where as many go as come it counts in vain,
and then looks through hundreds of thousands at once. So it is called by hand here, often, for the few that are new.
"""

import asyncio
import contextlib
import gc
import sys
from collections.abc import Iterator

import psutil

SWITCH = 0.0005
"""Seconds that a thread may keep the interpreter while others want it. Each that is ahead of the loop costs it one."""

YOUNG = 0.1
"""Seconds between two looks through the new objects."""

MIDDLE = 4
"""Looks through the new objects for each through those that have lived through one."""

GROWN = 128_000_000
"""Bytes that the process may grow by before all objects are looked through although somebody is being served."""


@contextlib.contextmanager
def short_pauses() -> Iterator["Collector"]:
    """Within, the event loop has the interpreter soon, however many turns want it. Enter when all is loaded."""
    before, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(SWITCH)
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()
        sys.setswitchinterval(before)
        if collects:
            gc.enable()


class Collector:
    """Collects garbage in the stead of the interpreter's own rhythm. Belongs to one event loop."""

    def __init__(self) -> None:
        gc.disable()
        gc.collect()
        # What was loaded stays: it need not be looked through again.
        gc.freeze()
        self._process = psutil.Process()
        self._size = self._process.memory_info().rss
        self._collecting = asyncio.create_task(self._collect(), name="collector")

    def close(self) -> None:
        self._collecting.cancel()
        gc.unfreeze()

    def sweep(self, *, quiet: bool) -> bool:
        """Look through all objects, for rings of garbage that got old: when nobody is served just now, or the process
        has grown much. False when there was no need.
        """
        size = self._process.memory_info().rss
        if not quiet and size - self._size < GROWN:
            return False
        gc.collect()
        self._size = self._process.memory_info().rss
        return True

    async def _collect(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(YOUNG)
            looks += 1
            gc.collect(0 if looks % MIDDLE else 1)
