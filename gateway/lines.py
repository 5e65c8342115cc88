"""Order within a conversation: its messages are dealt with one by one, and no conversation waits for another."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from agent.chats import Inbound
from agent.errors import StoreError
from gateway.platforms.base import MessageEvent

_log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds before a message is dealt with again that the store would not hear of."""


@dataclass(frozen=True, slots=True)
class Item:
    """A stored message. `again`: it may have been dealt with before, in part."""

    event: MessageEvent
    inbound: Inbound
    again: bool = False

    @property
    def name(self) -> str:
        """Its name for ever, so that what it starts is started once."""
        return f"in:{self.inbound.platform}:{self.inbound.message_id}"


Deal = Callable[[Item, bool], Awaitable[bool]]
"""Deals with a message; the flag says that earlier ones are held. False when it is to be held until the turn is over.

Raises: StoreError, and nothing else.
"""


@dataclass(slots=True)
class _Line:
    coming: deque[Item] = field(default_factory=deque)
    held: deque[Item] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None
    news: bool = False


class Lines:
    """Everybody's line. Belongs to one event loop. `busy` says whether a turn runs in a conversation.

    What is not `ready` keeps its place, and everything behind it waits, but for what `passes`.
    """

    def __init__(
        self,
        deal: Deal,
        busy: Callable[[str], Awaitable[bool]],
        *,
        ready: Callable[[Item], bool] = lambda item: True,
        passes: Callable[[Item], bool] = lambda item: False,
    ) -> None:
        self._deal, self._busy, self._ready, self._passes = deal, busy, ready, passes
        self._lines: dict[str, _Line] = {}
        self._closing = asyncio.Event()

    def __len__(self) -> int:
        """How many have something to be dealt with."""
        return len(self._lines)

    def add(self, item: Item) -> None:
        self._lines.setdefault(item.inbound.chat, _Line()).coming.append(item)
        self.look(item.inbound.chat)

    def held(self, key: str) -> int:
        """How many messages wait until the turn is over."""
        return len(line.held) if (line := self._lines.get(key)) else 0

    def look(self, key: str) -> None:
        """There may be something to do in this conversation: a message came, or a turn is over."""
        if (line := self._lines.get(key)) is None:
            return
        line.news = True
        if line.worker is None and not self._closing.is_set():
            line.worker = asyncio.create_task(self._work(key, line), name=f"chat {key}")

    async def close(self, seconds: float) -> None:
        """Begin with no further message. What was not dealt with stays in the store."""
        self._closing.set()
        workers = [line.worker for line in self._lines.values() if line.worker is not None]
        if workers:
            _, slow = await asyncio.wait(workers, timeout=seconds)
            for worker in slow:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, key: str, line: _Line) -> None:
        try:
            while not self._closing.is_set():
                line.news = False
                found = await self._next(key, line)
                if found is None:
                    if not line.news:
                        return
                    continue
                item, was_held, overtakes = found
                done = await self._dealt_with(item, behind=overtakes or (bool(line.held) and not was_held))
                if was_held and done:
                    line.held.popleft()
                elif not was_held and not done:
                    line.held.append(item)
        finally:
            line.worker = None
            if not line.coming and not line.held:
                self._lines.pop(key, None)

    async def _next(self, key: str, line: _Line) -> tuple[Item, bool, bool] | None:
        """What came, first; then what was held, which stays in its place until it is dealt with.

        Says whether it was held, and whether it overtakes one that is not ready.
        """
        if (item := self._first(line.coming)) is not None:
            overtakes = item is not line.coming[0]
            line.coming.remove(item)
            return item, False, overtakes
        try:
            return (line.held[0], True, False) if line.held and not await self._busy(key) else None
        except StoreError as error:
            _log.warning("chat %s: %s", key, error)
            await self._pause()
            line.news = True
            return None

    def _first(self, coming: deque[Item]) -> Item | None:
        """What is dealt with next of what came."""
        if coming and self._ready(coming[0]):
            return coming[0]
        return next((item for item in coming if self._passes(item)), None)

    async def _dealt_with(self, item: Item, *, behind: bool) -> bool:
        while not self._closing.is_set():
            try:
                return await self._deal(item, behind)
            except StoreError as error:
                _log.warning("a message of %s could not be dealt with yet: %s", item.inbound.chat, error)
                item = replace(item, again=True)
                await self._pause()
        return False

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(PAUSE):
                await self._closing.wait()
        except TimeoutError:
            pass
