"""Who receives the events in tests of adapters."""

import asyncio
from collections.abc import Callable

from gateway.platforms.base import MessageEvent


class Inbox:
    """Keeps events. The next `failures` of them cannot be stored."""

    def __init__(self) -> None:
        self.events: list[MessageEvent] = []
        self.failures = 0
        self.refused = 0
        self._changed = asyncio.Condition()

    async def __call__(self, event: MessageEvent) -> None:
        async with self._changed:
            self._changed.notify_all()
            if self.failures:
                self.failures -= 1
                self.refused += 1
                raise OSError("the disk is full")
            self.events.append(event)

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.events]

    async def until(self, met: Callable[[], object], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(met)

    async def first(self, count: int = 1) -> MessageEvent:
        """The last of the first `count` events, as soon as it is there."""
        await self.until(lambda: len(self.events) >= count)
        return self.events[count - 1]
