"""What has to be fetched before a message can be dealt with: its files, and the other parts of an album.

It is fetched aside, while the message keeps its place in the line: commands pass by it, what was said later does not.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from agent.commands import Parsed, parse
from gateway.lines import Item
from gateway.platforms.base import MessageEvent

_log = logging.getLogger(__name__)

ALBUM_PAUSE, ALBUM_MOST = 1.0, 10.0
"""Seconds after the last part of an album in which another one may come, and after the first one at most."""

AT_ONCE = 16
"""Messages whose files are fetched at the same time."""

PROMPTS = frozenset({"background", "queue", "steer"})
"""Commands that a prompt follows, and with it what came along."""

FETCH_WITHIN = 600.0
"""Seconds that the files of a message have."""

Fetch = Callable[[MessageEvent, str], Awaitable[list[str]]]
"""Fetches the files of a message of a conversation; gives a line for each, for the agent. Raises nothing on purpose."""


@dataclass(slots=True)
class _Entry:
    """`parts` are an album's, in the order in which they came; the first one stands in the line."""

    parts: list[Item]
    files: list[str] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    grew: asyncio.Event = field(default_factory=asyncio.Event)
    done: bool = False

    @property
    def event(self) -> MessageEvent:
        """All parts as one message."""
        first = self.parts[0].event
        texts = [part.event.text for part in self.parts if part.event.text.strip()]
        attachments = tuple(one for part in self.parts for one in part.event.attachments)
        return replace(first, text="\n".join(texts), attachments=attachments)


class Preparing:
    """The messages that are being made ready. Belongs to one event loop. `look` hears of a line with news."""

    def __init__(self, fetch: Fetch, look: Callable[[str], None]) -> None:
        self._fetch, self._look = fetch, look
        self._entries: dict[str, _Entry] = {}
        self._albums: dict[tuple[str, str], _Entry] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    def begin(self, item: Item) -> bool:
        """Take a message that came. False when it is a part of one that stands in the line already."""
        event, key = item.event, item.inbound.chat
        if not event.attachments or event.kind == "press" or not _brings_files(event):
            return True
        album = (key, event.album)
        if event.album and (entry := self._albums.get(album)) is not None:
            entry.parts.append(item)
            entry.grew.set()
            return False
        self._entries[item.name] = entry = _Entry([item])
        if event.album:
            self._albums[album] = entry
        entry.task = asyncio.create_task(self._prepare(entry), name=f"files of {key}")
        return True

    def is_ready(self, item: Item) -> bool:
        entry = self._entries.get(item.name)
        return entry is None or entry.done

    def found(self, item: Item) -> tuple[MessageEvent, list[str]]:
        """The whole message, and a line for each of its files."""
        entry = self._entries.get(item.name)
        return (item.event, []) if entry is None else (entry.event, entry.files)

    def parts(self, item: Item) -> list[Item]:
        """The stored messages that it is made of, the one that stood in the line last."""
        entry = self._entries.get(item.name)
        return [item] if entry is None else [*entry.parts[1:], item]

    def done(self, item: Item) -> None:
        """The message was dealt with, and so are its parts: it is not asked about again."""
        self._entries.pop(item.name, None)

    async def close(self) -> None:
        """Fetch nothing more. The next process does."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _prepare(self, entry: _Entry) -> None:
        key, album = entry.parts[0].inbound.chat, entry.parts[0].event.album
        if album:
            await _whole(entry)
            del self._albums[key, album]
        try:
            async with self._room, asyncio.timeout(FETCH_WITHIN):
                entry.files = await self._fetch(entry.event, key)
        except Exception:  # noqa: BLE001  (the message comes through, whatever became of its files)
            _log.exception("files of a message of %s", key)
            entry.files = ["[a file came with this message, and could not be fetched]"]
        entry.done = True
        self._look(key)


async def _whole(entry: _Entry) -> None:
    """Return when no part has come for a while."""
    loop = asyncio.get_running_loop()
    end = loop.time() + ALBUM_MOST
    while (pause := min(ALBUM_PAUSE, end - loop.time())) > 0:
        entry.grew.clear()
        try:
            await asyncio.wait_for(entry.grew.wait(), pause)
        except TimeoutError:
            return


def command_of(event: MessageEvent) -> Parsed | None:
    """The command that a message gives. What somebody else wrote orders nothing, however it begins."""
    found = None if event.forwarded else parse(event.text.strip(), "gateway")
    return found if isinstance(found, Parsed) else None


def _brings_files(event: MessageEvent) -> bool:
    """Whether what comes with a message is for the agent: a prompt, as such or after a command."""
    command = command_of(event)
    return command is None or command.command.name in PROMPTS


def passes(item: Item) -> bool:
    """Whether a message need not wait for an earlier one that is being made ready: buttons, and commands that may be
    given while a turn runs, unless they bring files themselves.
    """
    command = command_of(item.event)
    if command is None:
        return item.event.kind == "press"
    brings = bool(item.event.attachments) and _brings_files(item.event)
    return command.command.busy and command.command.name != "queue" and not brings
