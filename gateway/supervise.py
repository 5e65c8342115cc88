"""What keeps a gateway going: platforms that reconnect, and a loop that is watched."""

import asyncio
import contextlib
import gc
import logging
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agent.errors import HermesError
from gateway.config import Platform
from gateway.logs import TOLD
from gateway.platforms.base import Adapter, Receive, Refused

_log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 120.0
"""Seconds before a platform is tried again, doubled each time, and at most."""

STEADY = 60.0
"""Seconds of connection after which the next failure counts as the first."""

STALL = 0.1
"""Seconds that the event loop may be held up before it is logged."""

_BEAT = 0.02


@dataclass(slots=True)
class Link:
    """The connection with one platform. `state` is for a person; `since` in seconds since the epoch."""

    adapter: Adapter
    state: Literal["connecting", "connected", "waiting", "refused", "stopped"] = "connecting"
    error: str = ""
    since: float = 0.0
    failures: int = 0


class Supervisor:
    """Keeps platforms connected, each by itself: one that fails or hangs holds up no other.

    `connected` hears of each that is.
    """

    def __init__(self, adapters: list[Adapter], receive: Receive, connected: Callable[[], None] = lambda: None) -> None:
        self.links = [Link(adapter, since=time.time()) for adapter in adapters]
        self._receive, self._connected = receive, connected
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._keep(link), name=f"link {link.adapter.platform.value}") for link in self.links
        ]

    async def stop(self) -> None:
        """Disconnect from all. What a platform was not told it will deliver again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(link.adapter.disconnect() for link in self.links), return_exceptions=True)
        for link in self.links:
            _state(link, "stopped")

    def reaches(self, platform: Platform) -> bool:
        return any(link.state == "connected" for link in self.links if link.adapter.platform == platform)

    async def over(self) -> None:
        """Return when no platform is left that is tried again."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, link: Link) -> None:
        while True:
            began = time.monotonic()
            try:
                _state(link, "connecting")
                await link.adapter.connect(self._receive)
                _state(link, "connected")
                TOLD.info("%s: connected", link.adapter.platform.value)
                self._connected()
                await link.adapter.wait()
                return
            except Refused as error:
                TOLD.error("%s: %s", link.adapter.platform.value, error.explain())
                _state(link, "refused", error.explain())
                with contextlib.suppress(Exception):
                    await link.adapter.disconnect()
                return
            except Exception as error:  # noqa: BLE001  (an SDK may raise anything; the platform is tried again)
                link.failures = 1 if time.monotonic() - began > STEADY else link.failures + 1
                pause = min(FIRST_PAUSE * 2.0 ** (link.failures - 1), LONGEST_PAUSE) * random.uniform(0.8, 1.2)
                # What we raise ourselves says what it is; of what an SDK raises the name may say most.
                what = str(error) if isinstance(error, HermesError) else f"{type(error).__name__}: {error}"
                TOLD.warning("%s: %s Next try in %.0f s.", link.adapter.platform.value, f"{what.rstrip('.')}.", pause)
                _state(link, "waiting", what)
            with contextlib.suppress(Exception):
                await link.adapter.disconnect()
            await asyncio.sleep(pause)


def _state(
    link: Link, state: Literal["connecting", "connected", "waiting", "refused", "stopped"], error: str = ""
) -> None:
    link.state, link.error, link.since = state, error, time.time()


class Watchdog:
    """Logs what the event loop does when it is held up for more than 100 ms. Made and closed on the loop's thread."""

    def __init__(self) -> None:
        self.worst = 0.0
        """The longest that the loop was held up so far, in seconds."""
        self._thread_id = threading.get_ident()
        self._beat = time.monotonic()
        self._closed = threading.Event()
        self._beating = asyncio.create_task(self._beats(), name="watchdog")
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def close(self) -> None:
        self._closed.set()
        self._beating.cancel()

    async def _beats(self) -> None:
        while True:
            now = time.monotonic()
            self.worst = max(self.worst, now - self._beat - _BEAT)
            self._beat = now
            await asyncio.sleep(_BEAT)

    def _watch(self) -> None:
        told = 0.0
        while not self._closed.wait(_BEAT):
            if time.monotonic() - self._beat > STALL + _BEAT and self._beat != told:
                told = self._beat
                _log.warning("the event loop has been held up for %.0f ms by:\n%s", STALL * 1e3, self._where())

    def _where(self) -> str:
        # A collection that began within would run others' code under the interpreter's own lock, and could lock it up.
        collects = gc.isenabled()
        gc.disable()
        try:
            frame = sys._current_frames().get(self._thread_id)
        finally:
            if collects:
                gc.enable()
        return "".join(traceback.format_stack(frame)) if frame else "unknown"
