"""The keyboard goes first."""

import threading

MOST = 0.05
"""Seconds a thread stands aside at most, should a key lead to no drawing."""


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
