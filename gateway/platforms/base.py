"""What every platform's adapter speaks: a message in, a message out."""

from dataclasses import dataclass
from typing import Protocol

from gateway.session import SessionSource


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEvent:
    """A message that reached a platform's bot. `message_id` is the platform's own."""

    text: str
    source: SessionSource
    message_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendResult:
    """What became of a message. `error` is "" when it was delivered."""

    message_id: str = ""
    error: str = ""


class Adapter(Protocol):
    """A platform, seen from the gateway."""

    async def send(self, chat_id: str, content: str, *, thread_id: str = "") -> SendResult:
        """Deliver a text; it may be longer than the platform takes at once."""
        ...
