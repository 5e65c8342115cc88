"""Messages as they come in: each stored, and known to be new, before anybody deals with it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from secrets import token_hex

import msgspec

from agent.chats import ChatStore, Inbound
from agent.store.text import cleaned
from gateway.lines import Item
from gateway.platforms.base import MessageEvent


class Arrivals:
    """Stores messages, and hands on to `add` those that did not come before. Belongs to one event loop."""

    def __init__(self, store: ChatStore, add: Callable[[Item], None]) -> None:
        self._store, self._add = store, add
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="receive")
        self._waiting: list[tuple[Item, asyncio.Future[bool]]] = []
        self._storing: asyncio.Task[None] | None = None

    async def receive(self, event: MessageEvent, key: str) -> bool:
        """Store a message of the conversation `key`, and hand it on. False when it came before.

        Raises: StoreError; then it is not stored.
        """
        event = cleaned(event)
        if not event.event_id:
            # The id of a message is unique in its chat only.
            source, here = event.source, event.message_id or token_hex(8)
            event = replace(event, event_id=f"{source.chat_id}/{source.thread_id}/{here}/{event.kind}")
        payload = msgspec.json.encode(event).decode()
        item = Item(event, Inbound(event.source.platform.value, event.event_id, key, payload, 0.0))
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, stored))
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_all(), name="receive")
        # Whoever waits here may be cut off: what is stored then is dealt with all the same.
        return await asyncio.shield(stored)

    async def settled(self) -> None:
        """Return when nothing waits to be stored."""
        if self._storing is not None:
            await asyncio.wait([self._storing])

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    async def _store_all(self) -> None:
        """Store what has come, all that came meanwhile in one transaction: each costs a wait for the disk."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            rows = [
                (one.platform, one.message_id, one.chat, one.payload) for one in (item.inbound for item, _ in batch)
            ]
            try:
                are_new = await loop.run_in_executor(self._threads, self._store.receive_all, rows)
            except Exception as error:  # noqa: BLE001  (goes to all who wait)
                for _, stored in batch:
                    stored.set_exception(error)
                continue
            for (item, stored), is_new in zip(batch, are_new, strict=True):
                if is_new:
                    self._add(item)
                stored.set_result(is_new)
        self._storing = None
