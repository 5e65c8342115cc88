"""Messages on their way to chats: kept before they are sent, in order within a chat, tried until they arrive."""

import asyncio
import errno
import logging
import os
import random
import stat
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.chats import ChatStore, Outbound
from agent.errors import StoreError
from agent.records import IsAlive, Lease
from agent.store.text import cleaned
from agent.tools import unlinked
from agent.visible import both_ends
from gateway.config import Platform
from gateway.formatting import Parts, parts, split
from gateway.markup import DIALECTS
from gateway.platforms.base import (
    Adapter,
    Button,
    CanAsk,
    CanEdit,
    ChatMoved,
    MediaKind,
    OutgoingFile,
    Refused,
    RetryAfter,
    SendsFiles,
    Unavailable,
    Unreadable,
)
from gateway.session import Chat, SessionSource, chat_of, session_key

_log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds after the first failure to send, doubled each time, and at most."""

CLOSING = 2.0
"""Seconds that what is being sent has to arrive when the process leaves."""

SURPRISES = 5
"""Times that a message is tried which an adapter fell over."""

LONGEST_UNCERTAIN = 4 * 3600.0
"""Seconds at most between two tries of a message that may have arrived each time: each may be one copy more."""

GIVE_UP_AFTER = 24 * 3600.0
"""Seconds for which a platform that cannot be reached is tried."""

UNKNOWN = "?"
"""Stands for the id of a message that may or may not have come to stand in the chat."""

LARGEST_WHOLE = 2_000_000
"""Characters of a text that is sent as a file; of a longer one both ends are."""

REPEAT = "(This may be a repeat.)\n"

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One message. `file`, or `content` under the name `file_name`, is sent with the text as its caption."""

    text: str = ""
    buttons: tuple[tuple[Button, ...], ...] = ()
    reply_to: str = ""
    file: str = ""
    content: str = ""
    file_name: str = ""
    file_kind: MediaKind = "document"


def address(chat: Chat) -> str:
    """The name under which the chat's messages are kept in order. `chat_of` reads it."""
    return session_key(SessionSource(platform=chat.platform, chat_id=chat.chat_id, thread_id=chat.thread_id))


async def stays(chat: Chat, chat_id: str) -> None:
    """Where nobody moves what is kept of a chat."""
    del chat, chat_id


def always(platform: Platform) -> bool:
    """Where nobody knows how connections stand."""
    del platform
    return True


class Outbox:
    """Sends what is posted. Belongs to one event loop; the store is used on threads of its own.

    `refused` hears of each message that a platform will never take; `moved` moves what is kept of a chat to its new id.
    What is for a platform that `reaches` denies waits, however long, until `look` is called when it says yes.
    """

    def __init__(
        self,
        store: ChatStore,
        adapters: Mapping[Platform, Adapter],
        *,
        lease: Lease,
        is_alive: IsAlive,
        refused: Callable[[Outbound], None] = lambda _: None,
        moved: Callable[[Chat, str], Awaitable[None]] = stays,
        reaches: Callable[[Platform], bool] = always,
    ) -> None:
        self._store = store
        self._adapters = adapters
        self._lease, self._is_alive = lease, is_alive
        self._refused, self._moved, self._reaches = refused, moved, reaches
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="outbox")
        self._senders: dict[str, asyncio.Task[None]] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._not_before: dict[Chat, float] = {}
        self._closing = asyncio.Event()

    async def start(self) -> None:
        """Go on with what an earlier process left. Raises: StoreError."""
        await self._aside(lambda: self._store.reclaim_outbound(self._is_alive))
        await self.look()

    async def close(self, seconds: float = CLOSING) -> None:
        """Begin to send nothing more. What does not arrive in so many seconds is sent again by the next process, as a
        possible repeat.
        """
        self._closing.set()
        for news in self._news.values():
            news.set()
        if senders := list(self._senders.values()):
            _, slow = await asyncio.wait(senders, timeout=seconds)
            for sender in slow:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
        self._threads.shutdown(wait=False)

    async def post(self, chat: Chat, letter: Letter, *, key: str = "") -> None:
        """Keep a message, in as many parts as the platform needs, and send it; once for each `key`.

        Raises: StoreError.
        """
        where = address(chat)

        def keep() -> None:
            for number, part in enumerate(self.parts(chat, letter), 1):
                self._store.post(where, encode(part), key=_part(key, number))

        await self._aside(keep)
        self.wake(where)

    async def change(self, chat: Chat, text: str, *, of: str, key: str) -> None:
        """Put another text in place of the message that was posted under the key `of`, if it stands in the chat; of
        several parts the last one, which has the buttons.

        Raises: StoreError.
        """
        where = address(chat)

        def keep() -> None:
            old, number = self._store.posted(of), 2
            while (part := self._store.posted(_part(of, number))) is not None:
                old, number = part, number + 1
            if old is not None and old.message_id not in ("", UNKNOWN):
                self._store.post(where, encode(Letter(text=text)), key=key, message_id=old.message_id)

        await self._aside(keep)
        self.wake(where)

    async def open_live(self, chat: Chat, key: str) -> Outbound | None:
        """The message of a turn that grows while it is written: made now, or as an earlier process left it.

        None when it is whole already. Raises: StoreError.
        """

        def find() -> Outbound | None:
            self._store.post(address(chat), encode(Letter()), key=key, live=True)
            found = self._store.posted(key)
            return found if found is not None and found.state == "live" else None

        return await self._aside(find)

    async def set_live(self, outbound_id: int, message_id: str) -> None:
        await self._aside(lambda: self._store.set_live(outbound_id, message_id))

    async def complete(self, chat: Chat, letter: Letter, *, key: str) -> None:
        """Send what a live message says in the end; a message like any other where none was opened.

        Raises: StoreError.
        """
        where = address(chat)

        def keep() -> None:
            first, *more = self.parts(chat, letter)
            if self._store.post(where, encode(first), key=key) is None:
                live = self._store.posted(key)
                if live is not None and live.state == "live":
                    self._store.complete(live.id, encode(first))
            for number, part in enumerate(more, 2):
                self._store.post(where, encode(part), key=_part(key, number))

        await self._aside(keep)
        self.wake(where)

    def put_closed(self, chat: Chat, letter: Letter, *, key: str, closed: str, only_live: bool) -> None:
        """Keep what a live message says from now on, under the key `closed`: what comes under its own is a new one.

        Where none is open it is a message like any other, unless it is for an open one only. `wake` sends it. Not for
        the loop. Raises: StoreError.
        """
        live = self._store.posted(key)
        first, *more = self.parts(chat, letter)
        if live is not None and live.state == "live":
            self._store.complete(live.id, encode(first), key=closed)
        elif only_live:
            return
        else:
            self._store.post(address(chat), encode(first), key=closed)
        for number, part in enumerate(more, 2):
            self._store.post(address(chat), encode(part), key=_part(closed, number))

    def parts(self, chat: Chat, letter: Letter) -> list[Letter]:
        """One message a part; buttons go under the last. What takes too many goes as its beginning and a file."""
        adapter = self._adapters.get(chat.platform)
        # Where another process serves the platform, or none does now, it takes what its kind takes.
        dialect = adapter.dialect if adapter is not None else DIALECTS.get(chat.platform)
        sends_files = isinstance(adapter, SendsFiles) or adapter is None
        if dialect is None or letter.file or (sends_files and letter.content):
            return [letter]
        if letter.content:
            letter = replace(letter, text=f"{letter.text}\n\n{letter.content}".strip(), content="")
        if not letter.text:
            return [letter]
        # Room for the mark of a repeat.
        dialect = replace(dialect, limit=dialect.limit - len(REPEAT))
        in_file = sends_files and not letter.buttons
        found = parts(letter.text, dialect) if in_file else Parts(split(letter.text, dialect))
        letters = [replace(letter, text=text, buttons=()) for text in found.messages]
        if found.file:
            whole = both_ends(found.file, LARGEST_WHOLE)
            return [*letters, Letter(content=whole, file_name="answer.md", reply_to=letter.reply_to)]
        return [*letters[:-1], replace(letters[-1], buttons=letter.buttons)]

    async def look(self) -> None:
        """Send also what other processes posted. Raises: StoreError."""
        for where in await self._aside(self._store.waiting_chats):
            # Who sends already comes to it, and need not be woken from a pause that was asked for.
            if where not in self._senders and chat_of(where).platform in self._adapters:
                self.wake(where)

    def wake(self, where: str) -> None:
        """There may be something to send to this chat."""
        if self._closing.is_set() or not self._reaches(chat_of(where).platform):
            return
        self._news.setdefault(where, asyncio.Event()).set()
        if where not in self._senders:
            sender = asyncio.create_task(self._send_all(where), name=f"outbox {where}")
            self._senders[where] = sender

    def pause(self, chat: Chat, seconds: float) -> None:
        """The platform wants it: so long nothing is sent there, by whomever."""
        whole = replace(chat, thread_id="")
        self._not_before[whole] = max(self._not_before.get(whole, 0.0), time.monotonic() + seconds)

    def paused(self, chat: Chat) -> float:
        """Seconds for which nothing may be sent there, 0.0 for none."""
        whole = replace(chat, thread_id="")
        if (left := self._not_before.get(whole, 0.0) - time.monotonic()) > 0:
            return left
        self._not_before.pop(whole, None)
        return 0.0

    def commands(self, chat: Chat, text: str) -> str:
        """A text of our own, with the commands in it as they are given in that chat."""
        adapter = self._adapters.get(chat.platform)
        return adapter.dialect.commands(text) if adapter is not None else text

    def serves(self, chat: Chat) -> bool:
        """Whether this process speaks with the chat's platform."""
        return chat.platform in self._adapters

    def file_limit(self, chat: Chat) -> int:
        """Bytes of the largest file that can be sent there; 0 where none can."""
        adapter = self._adapters.get(chat.platform)
        return adapter.file_limit if isinstance(adapter, SendsFiles) else 0

    async def settled(self, chat: Chat) -> None:
        """Return when nothing is on its way to this chat."""
        while sender := self._senders.get(address(chat)):
            await asyncio.wait([sender])

    async def idle(self) -> None:
        """Return when everything that can be sent now has been."""
        while self._senders:
            await asyncio.wait(list(self._senders.values()))

    # -- sending -----------------------------------------------------------------------------------

    async def _send_all(self, where: str) -> None:
        news = self._news[where]
        try:
            while not self._closing.is_set() and self._reaches(chat_of(where).platform):
                news.clear()
                pause = await self._send_next(where)
                if pause is None and not news.is_set():
                    return
                if pause:
                    await _within(news, pause)
        finally:
            del self._senders[where], self._news[where]

    async def _send_next(self, where: str) -> float | None:
        """Send one message. Gives the seconds to wait before the next look, None when there is nothing to send."""
        if paused := self.paused(chat_of(where)):
            return paused
        try:
            one = await self._aside(lambda: self._store.take_outbound(where, self._lease, time.time()))
            if one is not None:
                await self._try(one)
                return 0.0
            waiting = await self._aside(lambda: self._store.unsent(where))
        except StoreError as error:
            _log.warning("outbox: %s", error)
            return FIRST_PAUSE
        return max(0.05, min(waiting[0].due - time.time(), LONGEST_PAUSE)) if waiting else None

    async def _try(self, one: Outbound) -> None:
        chat = chat_of(one.chat)
        adapter = self._adapters.get(chat.platform)
        try:
            if adapter is None:
                raise Unavailable(f"Nobody speaks with {chat.platform.value} at the moment.")
            letter = letter_of(one)
            sent = await _send(adapter, chat, one, letter)
        except RetryAfter as error:
            self.pause(chat, error.seconds)
            await self._postpone(one, error.seconds, str(error))
        except Unavailable as error:
            if _is_enough(one, error):
                may_be = " It may have arrived all the same." if error.uncertain else ""
                await self._give_up(one, f"{error}{may_be}")
            else:
                await self._postpone(one, _pause(one, error.uncertain), str(error), repeat=error.uncertain)
        except ChatMoved as error:
            moved_to = error.chat_id
            await self._insist(lambda: self._moved(chat, moved_to))
            await self._postpone(one, 0.0, str(error))
            self.wake(address(replace(chat, chat_id=moved_to)))
        except Refused as error:
            await self._give_up(one, str(error))
        except OSError as error:  # the chat need not know where the file lies
            await self._give_up(one, f"It cannot be read: {error.strerror or type(error).__name__}.")
        except Exception as fault:  # noqa: BLE001  (one message must not hold up the chat for good)
            _log.exception("outbox: message %s", one.id)
            if one.attempts < SURPRISES:
                await self._postpone(one, _pause(one), f"{type(fault).__name__}: {fault}", repeat=True)
            else:
                await self._give_up(one, f"internal error: {type(fault).__name__}")
        else:
            await self._insist(lambda: self._aside(lambda: self._store.mark_sent(one.id, sent)))

    def was_refused(self, key: str) -> bool:
        """Whether the message with this key will never arrive. Reads the store."""
        found = self._store.posted(key)
        return found is not None and found.state == "refused"

    async def _postpone(self, one: Outbound, seconds: float, error: str, *, repeat: bool = False) -> None:
        due = time.time() + seconds
        await self._insist(lambda: self._aside(lambda: self._store.postpone(one.id, due, error, repeat=repeat)))

    async def _give_up(self, one: Outbound, error: str) -> None:
        _log.warning("outbox: a message to %s was refused: %s", one.chat, error)
        if await self._insist(lambda: self._aside(lambda: self._store.refuse(one.id, error))):
            self._refused(replace(one, error=error))

    async def _insist(self, store: Callable[[], Awaitable[object]]) -> bool:
        """What became of a message must be stored: nothing is sent to its chat before. False when the process leaves,
        and the next one sends it again.
        """
        while True:
            try:
                await store()
            except StoreError as error:
                _log.warning("outbox: what became of a message is not stored yet: %s", error)
                await _within(self._closing, FIRST_PAUSE)
                if self._closing.is_set():
                    return False
            else:
                return True

    async def _aside(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _pause(one: Outbound, uncertain: bool = False) -> float:
    """Seconds until it is tried again: much sooner longer where each try may have been one copy."""
    first, factor, most = (5 * FIRST_PAUSE, 8.0, LONGEST_UNCERTAIN) if uncertain else (FIRST_PAUSE, 2.0, LONGEST_PAUSE)
    return min(first * factor ** min(one.attempts - 1, 10), most) * random.uniform(0.8, 1.2)


def _is_enough(one: Outbound, error: Unavailable) -> bool:
    """Whether it is not tried again. An answer that cannot be read is most likely a yes: one repeat, no more."""
    if isinstance(error, Unreadable):
        return one.repeat
    return time.time() - one.at > GIVE_UP_AFTER


def _read(path: Path, name: str, most: int) -> bytes:
    """The file, where it was resolved when it was posted: a link that stands on the way now leads elsewhere.

    Raises: Refused, OSError.
    """
    try:
        with os.fdopen(unlinked.opened(path), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{name} is no file with an end: a device, or a pipe.")
            if found.st_size > most:
                raise Refused(f"It is larger than {most / 1e6:g} MB, the most that can be sent there.")
            return file.read(most)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Refused(f"{name} is not the file any more that was to be sent.") from None
        raise


async def _send(adapter: Adapter, chat: Chat, one: Outbound, letter: Letter) -> str:
    """The id of the message as it stands in the chat. Raises: DeliveryError, OSError."""
    text = letter.text
    if one.message_id == UNKNOWN:
        one = replace(one, message_id="", repeat=True)
    if one.message_id and isinstance(adapter, CanEdit):
        try:
            await adapter.edit(chat, one.message_id, text)
        except Refused:  # it was deleted, or is too old to be changed
            one = replace(one, message_id="")
        else:
            return one.message_id
    if one.repeat:
        text = REPEAT + text
    if (letter.content or letter.file) and isinstance(adapter, SendsFiles):
        data = letter.content.encode(errors="replace")
        if letter.file:
            data = await asyncio.to_thread(_read, Path(letter.file), letter.file_name, adapter.file_limit)
        file = OutgoingFile(data=data, name=letter.file_name, kind=letter.file_kind)
        return (await adapter.send_file(chat, file, caption=text, reply_to=letter.reply_to)).message_id
    if letter.file:
        return (await adapter.send(chat, f"{text}\n[file: {letter.file_name}]".strip())).message_id
    if letter.buttons and isinstance(adapter, CanAsk):
        return (await adapter.ask(chat, text, letter.buttons, reply_to=letter.reply_to)).message_id
    return (await adapter.send(chat, text, reply_to=letter.reply_to)).message_id


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def encode(letter: Letter) -> str:
    """A message as the store keeps it."""
    return msgspec.json.encode(cleaned(letter)).decode()


def letter_of(one: Outbound) -> Letter:
    return msgspec.json.decode(one.payload, type=Letter)


def _part(key: str, number: int) -> str:
    return f"{key}#{number}" if key and number > 1 else key
