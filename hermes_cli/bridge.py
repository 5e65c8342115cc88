"""The one crossing from worker threads to the UI loop: in order, coalesced, never more often than it can be seen."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace

from agent.events import Event, ReasoningDelta, TaskChanged, TextDelta, TurnFinished
from hermes_cli.courtesy import KeyboardFirst

INTERVAL = 0.025
"""Seconds between two deliveries of text; the first after a pause comes at once."""

Delivered = Event | TaskChanged


class Bridge:
    """`emit` takes events on any thread; `deliver` gets them in batches on the loop's thread.

    Neighbouring pieces of text are joined, so what waits is bounded by what there is to show, not by the number
    of pieces. After `close` events are dropped.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[list[Delivered]], None],
        keyboard: KeyboardFirst | None = None,
    ) -> None:
        self._loop = loop
        self._keyboard = keyboard or KeyboardFirst()
        self._deliver = deliver
        self._lock = threading.Lock()
        self._waiting: list[Delivered] = []
        self._text: list[str] = []
        self._scheduled = False
        self._closed = False
        self._last = 0.0

    def emit(self, event: Delivered) -> None:
        if isinstance(event, TextDelta | ReasoningDelta):
            self._keyboard.give_way()
        with self._lock:
            if self._closed:
                return
            self._add(event)
            if self._scheduled:
                return
            self._scheduled = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(self._schedule)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._waiting.clear()

    def drain(self) -> None:
        """On the loop's thread: deliver what waits now."""
        self._flush()

    def _add(self, event: Delivered) -> None:
        if isinstance(event, TextDelta | ReasoningDelta):
            if self._waiting and type(self._waiting[-1]) is type(event):
                self._text.append(event.text)
                return
            self._seal()
            self._text = [event.text]
        else:
            self._seal()
        self._waiting.append(event)

    def _seal(self) -> None:
        """Put the joined text into the delta that stands for it."""
        if len(self._text) > 1 and self._waiting:
            last = self._waiting[-1]
            if isinstance(last, TextDelta | ReasoningDelta):
                self._waiting[-1] = replace(last, text="".join(self._text))
        self._text = []

    def _schedule(self) -> None:
        pause = self._last + INTERVAL - self._loop.time()
        if pause <= 0:
            self._flush()
        else:
            self._loop.call_later(pause, self._flush)

    def _flush(self) -> None:
        with self._lock:
            self._seal()
            batch, self._waiting = self._waiting, []
            self._scheduled = False
        if batch:
            self._deliver(batch)
        if batch and isinstance(batch[-1], TurnFinished):
            self._last = 0.0  # The next turn's first text comes at once.
        elif any(isinstance(event, TextDelta | ReasoningDelta) for event in batch):
            self._last = self._loop.time()
