"""What every platform's adapter speaks: a message in, a message out.

    DeliveryError           what was to be sent did not arrive
    ├── RetryAfter              flood control: not before so many seconds
    ├── Refused                 for good: the same request will never be taken
    ├── ChatMoved               the chat has another id
    └── Unavailable             the platform cannot be reached, or fell over: try later
        └── Unreadable              it answered with a yes that makes no sense

An adapter translates and decides nothing. What only some platforms can do is a protocol of its own (`CanEdit`, …),
asked for with `isinstance`.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from agent.commands import CommandDef
from agent.errors import HermesError
from gateway.config import Platform
from gateway.formatting import Dialect
from gateway.session import Chat, SessionSource

MediaKind = Literal["image", "voice", "audio", "video", "document"]

# -- what goes wrong -------------------------------------------------------------------------------


class DeliveryError(HermesError):
    """What was to be sent did not arrive. The text holds no token and no address."""


class RetryAfter(DeliveryError):  # noqa: N818  (the header of that name)
    """Flood control: nothing may be sent there before `seconds` have passed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The platform wants a pause of {seconds:g} s.")
        self.seconds = seconds


class Refused(DeliveryError):  # noqa: N818  (says what happened)
    """The platform will never take this: the chat is gone, the bot was blocked, the token is wrong."""


class ChatMoved(DeliveryError):  # noqa: N818  (says what happened)
    """The chat has another id by now."""

    def __init__(self, chat_id: str) -> None:
        super().__init__(f"The chat has the id {chat_id} by now.")
        self.chat_id = chat_id


class Unavailable(DeliveryError):  # noqa: N818  (says what happened)
    """The platform cannot be reached now. `uncertain` when it may have taken the request all the same."""

    def __init__(self, message: str, *, hint: str = "", uncertain: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.uncertain = uncertain


class Unreadable(Unavailable):
    """The platform answered, and the SDK fell over the answer. Most likely the request was carried out."""

    def __init__(self, platform: str, fault: Exception) -> None:
        super().__init__(f"{platform}'s answer makes no sense: {type(fault).__name__}.", uncertain=True)


def cause(error: Exception) -> str:
    """What an SDK's error says, for a person: without the names of classes, unless it says nothing else."""
    said = re.sub(r"^(?:[\w.]*(?:Error|Exception)\w*: )+", "", str(error)).strip().rstrip(".")
    return said or type(error).__name__


NONSENSE = (TypeError, ValueError, KeyError, AttributeError, AssertionError)
"""What SDKs raise on an answer that is not as it should be. The request may have been carried out."""

# -- in --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that came with a message. `handle` is the adapter's own; `name` and `mime` are the sender's claims.

    `size` is in bytes, 0 when the platform does not say.
    """

    kind: MediaKind
    handle: str
    name: str = ""
    mime: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEvent:
    """Something a person did: wrote, edited what they had written, or pressed a button; or the platform: it `moved` the
    chat to the id in `data`.

    `message_id` is the platform's own, unique within its chat; for a press it is the message that has the button.
    `event_id` is the same for each delivery of one event and unique on its platform: what duplicates are known by.
    `addressed` says that the bot is meant: mentioned, replied to, or given a command; always so outside groups.
    `forwarded` text is somebody else's. `reply_to` is the message answered, `quoted` what it said.
    Messages of one `album` are parts of one. `data` is that of the pressed button.
    """

    text: str
    source: SessionSource
    message_id: str = ""
    event_id: str = ""
    kind: Literal["message", "edit", "press", "moved"] = "message"
    addressed: bool = False
    forwarded: bool = False
    reply_to: str = ""
    quoted: str = ""
    attachments: tuple[Attachment, ...] = ()
    album: str = ""
    data: str = ""


Receive = Callable[[MessageEvent], Awaitable[None]]
"""Stores an event. The platform is told that it was taken when this returns, and never when it raises."""

# -- out -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SendResult:
    """What became of a message. `error` is "" when it was delivered."""

    message_id: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """Something to press. `data` comes back with the press: at most 64 bytes, Telegram's limit."""

    label: str
    data: str
    style: Literal["", "good", "bad"] = ""


Buttons = Sequence[Sequence[Button]]
"""Rows of buttons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingFile:
    """A file to send; `name` is what people see."""

    data: bytes = field(repr=False)
    name: str
    kind: MediaKind = "document"


class Adapter(Protocol):
    """A platform, seen from the gateway.

    Every method that sends raises RetryAfter, Refused or Unavailable, and nothing else on purpose. Texts are Markdown,
    and one message's worth: `gateway.formatting.split` cuts longer ones.
    """

    platform: Platform
    dialect: Dialect

    async def connect(self, receive: Receive) -> None:
        """Check the token, and begin to receive. Events of one chat are received in order, one at a time.

        Raises: Refused when the platform does not know the token, Unavailable.
        """
        ...

    async def wait(self) -> None:
        """Return when `disconnect` has been called. Raises: what ended the connection for good."""
        ...

    async def disconnect(self) -> None:
        """Stop receiving and let go of everything. May be called at any time, and twice."""
        ...

    @property
    def problem(self) -> str:
        """Why nothing can be received at the moment, for a person; "" when all is well. It reconnects by itself."""
        ...

    async def send(self, chat: Chat, content: str, *, reply_to: str = "") -> SendResult:
        """Deliver a text. Where the platform does not take its markup, the plain text goes."""
        ...


MISSED = 100
"""Messages of one place that are fetched at most, of those that came while nobody listened; the oldest of them."""

Heard = Callable[[], Awaitable[Mapping[Chat, float]]]
"""Gives from when on each place may hold messages that nobody has heard, in seconds since the epoch."""


async def heard_nothing() -> Mapping[Chat, float]:
    """Where nothing is to be fetched."""
    return {}


@runtime_checkable
class CatchesUp(Protocol):
    """What was written while nobody listened can be asked for, and is handed on before what comes then.

    Of what was heard before some may be handed on again.
    """

    heard: Heard
    """To be set before `connect`."""


@runtime_checkable
class CanEdit(Protocol):
    """Messages can be changed after they were sent."""

    edit_interval: float
    """Seconds to leave between two edits in one chat."""

    async def edit(self, chat: Chat, message_id: str, content: str) -> None:
        """Replace the text of a message, and take its buttons away. An edit that changes nothing is fine."""
        ...


@runtime_checkable
class CanType(Protocol):
    """It can be shown that an answer is on its way."""

    typing_interval: float
    """Seconds after which the platform stops showing it."""

    async def typing(self, chat: Chat) -> None: ...


@runtime_checkable
class CanAsk(Protocol):
    """Messages can have buttons."""

    async def ask(self, chat: Chat, content: str, buttons: Buttons, *, reply_to: str = "") -> SendResult:
        """Deliver a text with rows of buttons under it. A press comes back as an event of kind `press`."""
        ...


@runtime_checkable
class SendsFiles(Protocol):
    """Files can be sent."""

    file_limit: int
    """Bytes."""

    async def send_file(self, chat: Chat, file: OutgoingFile, *, caption: str = "", reply_to: str = "") -> SendResult:
        """Deliver a file. Raises also: OSError when it cannot be read."""
        ...


@runtime_checkable
class TakesFiles(Protocol):
    """Files that came with messages can be fetched."""

    async def fetch(self, attachment: Attachment, to: Path, *, limit: int) -> int:
        """Write the file to `to`, which does not exist yet; return its size.

        Raises also: Refused for a file of more than `limit` bytes, OSError.
        """
        ...


@runtime_checkable
class HasThreads(Protocol):
    """Conversations can be kept apart within a chat."""

    async def open_thread(self, chat: Chat, title: str, *, message_id: str = "") -> Chat:
        """A new thread, under the message where one is given."""
        ...


@runtime_checkable
class CanReact(Protocol):
    """A message can be marked with a sign."""

    async def react(self, chat: Chat, message_id: str, sign: str) -> None:
        """Mark it with an emoji; "" takes the bot's mark away."""
        ...


@runtime_checkable
class HasMenu(Protocol):
    """The platform shows the commands as they are typed."""

    async def publish(self, commands: Sequence[CommandDef]) -> None: ...


class FullAdapter(Adapter, CanEdit, CanType, CanAsk, SendsFiles, TakesFiles, HasThreads, CanReact, HasMenu, Protocol):
    """A platform that can do everything; what adapters prove where they are defined."""
