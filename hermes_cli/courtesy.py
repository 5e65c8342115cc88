"""The keyboard goes first."""

import threading
import time
from collections.abc import Callable

MOST = 0.05
"""Seconds a thread stands aside at most, should a key lead to no drawing."""

WORKED, RESTED = 0.002, 0.008
"""Seconds of processor time after which background work rests, and for how long. No model streams that fast."""


class KeyboardFirst:
    """While a key is on its way to the screen, threads that stream text stand aside.

    Python runs one thread at a time; without this, a key waits its turn among all that stream at full speed.
    """

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()

    def pressed(self) -> None:
        self._free.clear()

    def drawn(self) -> None:
        self._free.set()

    def give_way(self) -> None:
        """On a worker thread, before it passes on a piece of text."""
        if not self._free.is_set():
            self._free.wait(MOST)

    def pace(self) -> Callable[[], None]:
        """For one thread of background work: what it calls before it passes on a piece of text.

        Besides giving way it rests after each bit of work. Otherwise a few streams at full speed keep every
        processor busy, and a key waits for the operating system before it gets here.
        """
        rested = time.thread_time()

        def step() -> None:
            nonlocal rested
            self.give_way()
            if time.thread_time() - rested > WORKED:
                time.sleep(RESTED)
                rested = time.thread_time()

        return step
