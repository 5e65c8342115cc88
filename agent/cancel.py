"""Stopping work at once, from any thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.errors import Cancelled


class CancelToken:
    """A one-way switch that wakes whoever waits and closes what it was given.

    `cancel` may be called from any thread and any number of times; only the first counts. Closers run on
    the thread that cancels, so they must be quick and must not raise: shut a socket down, signal a process group.
    """

    def __init__(self, above: "CancelToken | None" = None) -> None:
        self._above = above
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._closers: dict[int, Callable[[], None]] = {}
        self._next_closer = 0
        self._parked: str | None = None

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def cancel(self) -> None:
        """Cancel, and run every registered closer once."""
        with self._lock:
            self._event.set()
            closers, self._closers = list(self._closers.values()), {}
        for close in closers:
            close()

    @property
    def parked(self) -> str | None:
        """Why the work is to be let go of at its next step boundary, None when it is not."""
        return self._parked if self._parked is not None or self._above is None else self._above.parked

    def park(self, reason: str = "") -> None:
        """Ask for the work to be let go of at its next step boundary, so that somebody can go on with it.

        Cancelling after this lets go at once. The first reason counts, unless it was "".
        """
        self._parked = self._parked or reason

    def stop(self) -> None:
        """Cancel work that was to be let go of: nobody is to go on with it after all."""
        self._parked = None
        self.cancel()

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until cancelled or until `seconds` have passed; True means cancelled."""
        return self._event.wait(seconds)

    def raise_if_cancelled(self) -> None:
        """Raises: Cancelled."""
        if self._event.is_set():
            raise Cancelled

    @contextmanager
    def below(self) -> Iterator["CancelToken"]:
        """While the block runs, a token for a part of the work, which is cancelled and parked with this one."""
        part = CancelToken(self)
        with self.closing(part.cancel):
            yield part

    @contextmanager
    def closing(self, close: Callable[[], None]) -> Iterator[None]:
        """While the block runs, cancelling also calls `close`. Calls it at once when already cancelled."""
        with self._lock:
            key, self._next_closer = self._next_closer, self._next_closer + 1
            if not (late := self._event.is_set()):
                self._closers[key] = close
        if late:
            close()
        try:
            yield
        finally:
            with self._lock:
                self._closers.pop(key, None)
