"""A chat platform in memory: the double with which the whole gateway runs and is tested.

It can do everything, and misbehaves on request:

    chats = MemoryPlatform()
    await chats.connect(receive)
    await chats.say("hello", chat_id="1", user_id="7")
    await chats.until(lambda: chats.texts("1") == ["hi"])

`fail_next` scripts what the next sends raise, `drop` cuts the connection until `restore`. What the gateway did not
store is delivered again by `redeliver`, as platforms do.
"""

import asyncio
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.commands import CommandDef
from gateway.config import Platform
from gateway.formatting import PLAIN, Dialect
from gateway.platforms.base import (
    Attachment,
    Button,
    Buttons,
    DeliveryError,
    FullAdapter,
    MessageEvent,
    OutgoingFile,
    Receive,
    Refused,
    SendResult,
    Unavailable,
)
from gateway.session import Chat, SessionSource


@dataclass(slots=True, kw_only=True)
class Shown:
    """A message as people see it now. `edits` holds what it said before, oldest first."""

    chat: Chat
    message_id: str
    text: str
    buttons: tuple[tuple[Button, ...], ...] = ()
    reply_to: str = ""
    file_name: str = ""
    file: bytes = b""
    edits: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)


class MemoryPlatform:
    """One bot on a platform that exists in this process only. Belongs to one event loop."""

    platform = Platform.MEMORY
    edit_interval = 0.0
    typing_interval = 5.0

    def __init__(self, *, dialect: Dialect = PLAIN, latency: float = 0.0, file_limit: int = 1_000_000) -> None:
        self.dialect, self.latency, self.file_limit = dialect, latency, file_limit
        self.shown: list[Shown] = []
        self.menu: tuple[str, ...] = ()
        self.typed: list[Chat] = []
        self.uploads: dict[str, bytes] = {}
        self.unstored: list[MessageEvent] = []
        self.hands_out = asyncio.Event()
        """While it is not set, nothing that is fetched comes to its end."""
        self.hands_out.set()
        self._faults: deque[DeliveryError] = deque()
        self.blocked: set[str] = set()
        """Chats whose people want to hear nothing any more: whatever is sent there is refused."""
        self._receive: Receive | None = None
        self._problem = ""
        self._fatal: Exception | None = None
        self._gone = asyncio.Event()
        self._changed = asyncio.Condition()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._numbers = itertools.count(1)

    # -- as a person -------------------------------------------------------------------------------

    async def say(
        self,
        text: str,
        *,
        chat_id: str = "1",
        user_id: str = "7",
        thread_id: str = "",
        is_group: bool = False,
        **more: object,
    ) -> MessageEvent:
        """Write a message and return it; `more` are further fields of MessageEvent. It is stored when this returns."""
        source = SessionSource(
            platform=self.platform,
            chat_id=chat_id,
            user_id=user_id,
            user_name=f"user {user_id}",
            thread_id=thread_id,
            is_group=is_group,
        )
        number = str(next(self._numbers))
        event = MessageEvent(text=text, source=source, message_id=number, event_id=f"m{number}", addressed=not is_group)
        event = replace(event, **more)  # type: ignore[arg-type]  # a test names real fields
        await self.deliver(event)
        return event

    async def press(self, message: Shown, data: str, *, user_id: str = "7", is_group: bool = False) -> MessageEvent:
        """Press the button that has this data, or forge the press where the message has none such."""
        chat = message.chat
        return await self.say(
            "",
            chat_id=chat.chat_id,
            thread_id=chat.thread_id,
            user_id=user_id,
            is_group=is_group,
            kind="press",
            data=data,
            message_id=message.message_id,
            addressed=True,
        )

    async def deliver(self, event: MessageEvent) -> None:
        """Hand an event to the gateway, one at a time in each chat. What it does not store waits for `redeliver`."""
        if self._receive is None or self._problem:
            self.unstored.append(event)
            return
        async with self._turns[event.source.chat_id]:
            try:
                await self._receive(event)
            except Exception:  # noqa: BLE001  (whatever it was: the platform only sees that nothing was acknowledged)
                self.unstored.append(event)

    async def redeliver(self) -> None:
        waiting, self.unstored = self.unstored, []
        for event in waiting:
            await self.deliver(event)

    def upload(self, name: str, data: bytes) -> Attachment:
        """A file to go with a message."""
        handle = f"f{next(self._numbers)}"
        self.uploads[handle] = data
        return Attachment(kind="document", handle=handle, name=name, size=len(data))

    def texts(self, chat_id: str, thread_id: str | None = None) -> list[str]:
        """What a chat shows, oldest first; of one thread where it is named."""
        return [
            shown.text
            for shown in self.shown
            if shown.chat.chat_id == chat_id and thread_id in (None, shown.chat.thread_id)
        ]

    async def until(self, met: Callable[[], bool], seconds: float = 5.0) -> None:
        """Return when a condition on what is shown holds. Raises: TimeoutError."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(met)

    # -- misbehaviour ------------------------------------------------------------------------------

    def fail_next(self, *faults: DeliveryError) -> None:
        """Script what the next sends and edits raise; an uncertain Unavailable comes after the message was shown."""
        self._faults.extend(faults)

    def drop(self, problem: str = "connection lost") -> None:
        """Cut the connection: nothing goes out or in."""
        self._problem = problem

    async def restore(self) -> None:
        """Connect again; what people wrote meanwhile arrives."""
        self._problem = ""
        await self.redeliver()

    def end(self, fault: Exception) -> None:
        """End the connection for good: `wait` raises this."""
        self._fatal = fault
        self._gone.set()

    # -- as an adapter -----------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        return self._problem

    async def connect(self, receive: Receive) -> None:
        if self._problem:
            raise Unavailable(f"memory: {self._problem}.")
        self._receive, self._fatal = receive, None
        self._gone.clear()

    async def wait(self) -> None:
        await self._gone.wait()
        if self._fatal is not None:
            raise self._fatal

    async def disconnect(self) -> None:
        self._receive = None
        self._gone.set()

    async def send(self, chat: Chat, content: str, *, reply_to: str = "") -> SendResult:
        return await self._show(
            Shown(chat=chat, message_id=self._new_id(), text=self._text(content), reply_to=reply_to)
        )

    async def ask(self, chat: Chat, content: str, buttons: Buttons, *, reply_to: str = "") -> SendResult:
        rows = tuple(tuple(row) for row in buttons)
        shown = Shown(chat=chat, message_id=self._new_id(), text=self._text(content), buttons=rows, reply_to=reply_to)
        return await self._show(shown)

    async def edit(self, chat: Chat, message_id: str, content: str) -> None:
        text = self._text(content)
        shown = self._find(chat, message_id)
        fault = await self._reach()
        shown.edits.append(shown.text)
        shown.text, shown.buttons = text, ()
        await self._tell(fault)

    async def typing(self, chat: Chat) -> None:
        self.typed.append(chat)

    async def send_file(self, chat: Chat, file: OutgoingFile, *, caption: str = "", reply_to: str = "") -> SendResult:
        shown = Shown(
            chat=chat, message_id=self._new_id(), text=caption, reply_to=reply_to, file_name=file.name, file=file.data
        )
        return await self._show(shown)

    async def fetch(self, attachment: Attachment, to: Path, *, limit: int) -> int:
        await self.hands_out.wait()
        data = self.uploads.get(attachment.handle)
        if data is None or len(data) > limit:
            raise Refused("The file is gone." if data is None else f"The file is larger than {limit} bytes.")
        await asyncio.to_thread(to.write_bytes, data)
        return len(data)

    async def open_thread(self, chat: Chat, title: str, *, message_id: str = "") -> Chat:
        return replace(chat, thread_id=message_id or f"t{next(self._numbers)}")

    async def react(self, chat: Chat, message_id: str, sign: str) -> None:
        marks = self._find(chat, message_id).marks
        marks[:] = [sign] if sign else []

    async def publish(self, commands: Sequence[CommandDef]) -> None:
        self.menu = tuple(command.name for command in commands)

    # -- inside ------------------------------------------------------------------------------------

    def _new_id(self) -> str:
        return f"b{next(self._numbers)}"

    def _text(self, content: str) -> str:
        text = self.dialect.render(content)
        if not text.strip() or self.dialect.measure(text) > self.dialect.limit:
            raise Refused("The message is empty, or too long.")
        return text

    def _find(self, chat: Chat, message_id: str) -> Shown:
        for shown in reversed(self.shown):
            if shown.message_id == message_id and shown.chat.chat_id == chat.chat_id:
                return shown
        raise Refused("There is no such message.")

    async def _show(self, shown: Shown) -> SendResult:
        if shown.chat.chat_id in self.blocked:
            raise Refused("The bot was blocked.")
        fault = await self._reach()
        self.shown.append(shown)
        await self._tell(fault)
        return SendResult(message_id=shown.message_id)

    async def _reach(self) -> DeliveryError | None:
        """Raise what stands in the way; return what is to be raised when the platform has taken the request."""
        await asyncio.sleep(self.latency)
        if self._problem:
            raise Unavailable(f"memory: {self._problem}.")
        fault = self._faults.popleft() if self._faults else None
        if fault is None or (isinstance(fault, Unavailable) and fault.uncertain):
            return fault
        raise fault

    async def _tell(self, fault: DeliveryError | None) -> None:
        async with self._changed:
            self._changed.notify_all()
        if fault is not None:
            raise fault


_: type[FullAdapter] = MemoryPlatform
