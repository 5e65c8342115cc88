"""An answer that grows in the chat while it is written."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Mapping

from agent.chats import Outbound
from agent.errors import StoreError
from agent.events import (
    ApprovalRequested,
    Event,
    StepFinished,
    StepRestarted,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnSuspended,
)
from agent.records import Task
from agent.task_rows import key_of, options_of
from agent.visible import visible
from gateway.config import Platform
from gateway.outbox import UNKNOWN, Outbox
from gateway.platforms.base import Adapter, CanEdit, CanType, DeliveryError, RetryAfter, Unavailable
from gateway.session import Chat, chat_of

_log = logging.getLogger(__name__)

ACTIVITY = 80
"""Characters of the line that says what the agent is doing."""


class LiveAnswer:
    """Shows one turn in one chat: that somebody is typing, what the tools do, the text as it comes.

    Best effort: whatever fails here, the whole answer is sent by the outbox when the turn is over. It may be made, and
    `take` called, on any thread; the rest belongs to the loop.
    """

    def __init__(
        self,
        outbox: Outbox,
        adapter: Adapter,
        chat: Chat,
        *,
        key: str,
        loop: asyncio.AbstractEventLoop,
        reply_to: str = "",
    ) -> None:
        self._outbox, self._adapter, self._chat, self._key = outbox, adapter, chat, key
        self._loop, self._reply_to = loop, reply_to
        self._texts: list[str] = []
        self._said: list[str] = []
        self._activity = ""
        self._shown = ""
        self._not_before = 0.0
        self._row: Outbound | None = None
        self._message_id = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._sending: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def chat(self) -> Chat:
        return self._chat

    def start(self, after: Collection[asyncio.Task[None]] = ()) -> None:
        """Begin to show. What is told by `after`, or waits to be sent, comes before it."""
        if isinstance(self._adapter, CanType):
            self._tasks.append(asyncio.create_task(self._type(self._adapter)))
        if isinstance(self._adapter, CanEdit):
            self._tasks.append(asyncio.create_task(self._draw(self._adapter, tuple(after))))

    async def stop(self) -> None:
        """Stop drawing; nothing is being sent when this returns, so that nothing overtakes the whole answer."""
        for task in self._tasks:
            task.cancel()
        last = [self._sending] if self._sending else []
        await asyncio.gather(*self._tasks, *last, return_exceptions=True)
        # A task keeps how it was cancelled, and so whatever was at work in it: also this answer, which would keep it.
        self._tasks, self._sending = [], None

    def take(self, event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to see it
            self._loop.call_soon_threadsafe(self._take, event)

    @property
    def text(self) -> str:
        """What the chat should show now."""
        said = "\n\n".join([*self._said, "".join(self._texts)]).strip()
        return f"{said}\n\n{self._activity}".strip() if self._activity else said

    def _take(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self._texts.append(text)
                self._activity = ""
            case StepRestarted(reason):
                self._texts.clear()
                self._activity = _line(f"⏳ {reason}")
            case StepFinished(text=text):
                self._texts.clear()
                if text.strip():
                    self._said.append(text.strip())
            case ToolStarted(name=name, title=title):
                self._activity = _line(f"⚙ {name} {visible(title)}")
            case ToolProgress(name=name, part=part, text=text):
                if not text:
                    return
                self._activity = _line(f"⚙ {name} {part}: {text}")
            case ToolFinished(name=name, title=title, summary=summary):
                self._activity = _line(f"⚙ {name} {visible(title)}  {summary}")
            case ApprovalRequested(tool=name, title=title):
                self._activity = _line(f"⚙ {name} {visible(title)}")  # what is asked comes below
            case TurnFinished() | TurnSuspended():
                return
        self._changed.set()

    # -- on the loop -------------------------------------------------------------------------------

    async def _type(self, adapter: CanType) -> None:
        while True:
            if not self._outbox.paused(self._chat):
                with contextlib.suppress(DeliveryError):
                    await adapter.typing(self._chat)
            await asyncio.sleep(adapter.typing_interval)

    async def _draw(self, adapter: CanEdit, after: tuple[asyncio.Task[None], ...]) -> None:
        if after:
            await asyncio.wait(after)
        while True:
            await self._changed.wait()
            if self._row is None:
                await self._outbox.settled(self._chat)
            self._changed.clear()
            await self._wait_for_room(adapter.edit_interval)
            try:
                await self._show(adapter)
            except RetryAfter as error:
                self._outbox.pause(self._chat, error.seconds)
                self._changed.set()
            except (DeliveryError, StoreError) as error:
                _log.info("live answer: %s", error)
                return

    async def _wait_for_room(self, interval: float) -> None:
        await asyncio.sleep(max(self._not_before - time.monotonic(), self._outbox.paused(self._chat), 0.0))
        self._not_before = time.monotonic() + interval

    async def _show(self, adapter: CanEdit) -> None:
        text = self._fitting(self.text)
        if not text or text == self._shown:
            return
        if self._row is None:
            self._row = await self._outbox.open_live(self._chat, self._key)
            self._message_id = self._row.message_id if self._row else ""
        if self._row is None or (self._row.message_id == UNKNOWN):
            return  # it is whole, or stands in the chat where nobody knows: the whole answer comes, marked
        # A message that stands in the chat must be known, and an edit that is on its way must arrive before the next.
        self._sending = asyncio.create_task(self._send(adapter, text))
        await asyncio.shield(self._sending)
        self._shown = text

    async def _send(self, adapter: CanEdit, text: str) -> None:
        assert self._row is not None
        if self._message_id:
            return await adapter.edit(self._chat, self._message_id, text)
        # Should the process die now, the next one knows that a message may stand there.
        await self._outbox.set_live(self._row.id, UNKNOWN)
        try:
            self._message_id = (await self._adapter.send(self._chat, text, reply_to=self._reply_to)).message_id
        except DeliveryError as error:
            if not (isinstance(error, Unavailable) and error.uncertain):
                await self._outbox.set_live(self._row.id, "")
            raise
        await self._outbox.set_live(self._row.id, self._message_id)
        return None

    def _fitting(self, text: str) -> str:
        """As much of the end as one message holds."""
        dialect = self._adapter.dialect
        # Drawn many times a second: no more is rendered than could be shown.
        if len(text) > dialect.limit:
            text = f"…{text[1 - dialect.limit :]}"
        while text and dialect.measure(dialect.render(text)) > dialect.limit:
            text = f"…{text[1 + max(len(text) // 8, 1) :]}"
        return text


def _line(text: str) -> str:
    text = " ".join(text.split()).replace("`", "'")
    return f"`{text if len(text) <= ACTIVITY else text[: ACTIVITY - 1] + '…'}`"


class Lives:
    """The answers that grow now, by task. Belongs to the loop; only `of` may be called on any thread."""

    def __init__(self, outbox: Outbox, adapters: Mapping[Platform, Adapter], loop: asyncio.AbstractEventLoop) -> None:
        self._outbox, self._adapters, self._loop = outbox, adapters, loop
        self._by_task: dict[str, LiveAnswer] = {}
        self._endings: dict[Chat, set[asyncio.Task[None]]] = {}

    def of(self, task: Task) -> LiveAnswer | None:
        """What shows the turn that begins, None where nobody speaks with its platform."""
        chat = chat_of(key_of(task.owner))
        if (adapter := self._adapters.get(chat.platform)) is None:
            return None
        reply_to = options_of(task).reply_to
        return LiveAnswer(self._outbox, adapter, chat, key=f"turn:{task.id}", loop=self._loop, reply_to=reply_to)

    def begin(self, task_id: str, live: LiveAnswer) -> None:
        self._by_task[task_id] = live
        live.start(after=self.endings(live.chat))

    def take(self, task_id: str) -> LiveAnswer | None:
        """The answer of a turn that runs no more; it is the caller's to stop."""
        return self._by_task.pop(task_id, None)

    def endings(self, chat: Chat) -> tuple[asyncio.Task[None], ...]:
        """What is being told of turns there that are over, or wait."""
        return tuple(self._endings.get(chat, ()))

    def end(self, chat: Chat, telling: asyncio.Task[None]) -> None:
        """The next turn there may begin before the outcome of the last was posted; it is not to be shown before."""
        endings = self._endings.setdefault(chat, set())
        endings.add(telling)
        telling.add_done_callback(lambda done: self._ended(chat, done))

    async def close(self) -> None:
        await asyncio.gather(*(live.stop() for live in self._by_task.values()), return_exceptions=True)

    def _ended(self, chat: Chat, telling: asyncio.Task[None]) -> None:
        if endings := self._endings.get(chat):
            endings.discard(telling)
            if not endings:
                del self._endings[chat]
