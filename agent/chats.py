"""What chats keep in the store: messages that came in, and messages that are to go out.

A message that came in is kept before its platform is told that it arrived; one that goes out is kept before it is sent.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from agent.records import IsAlive, Lease
from agent.visible import both_ends


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message as it came in. `message_id` is the platform's own; `chat` keeps the order; `payload` is JSON."""

    platform: str
    message_id: str
    chat: str
    payload: str
    at: float


OutboundState = Literal["live", "pending", "sending", "sent", "refused"]


@dataclass(frozen=True, slots=True)
class Outbound:
    """A message on its way to a chat. `payload` is JSON; `message_id` is the message it edits, "" for a new one.

    A `live` one is still being written: its reader sees it grow. `due` is when it may be tried (again), in seconds
    since the epoch. `repeat`: whoever was sending it died meanwhile, so it may have arrived.
    """

    id: int
    chat: str
    payload: str
    state: OutboundState = "pending"
    key: str = ""
    message_id: str = ""
    at: float = 0.0
    due: float = 0.0
    attempts: int = 0
    repeat: bool = False
    error: str = ""
    sender: Lease | None = None


NOTES_OF_CHATS = ("voice:", "handoff:", "lent:", "cut:", "answer:")
"""What the names of notes begin with that a chat's address follows."""


LETTER_LENGTH = 1_900
"""UTF-16 code units of a plain letter: the least that a platform takes is Discord's 2,000."""


def plain_letter(text: str) -> str:
    """The payload of an outgoing message that is nothing but Markdown; of one too long for a platform, both ends."""
    most = LETTER_LENGTH
    while _units(cut := both_ends(text, most)) > LETTER_LENGTH:
        most = most * 9 // 10
    return json.dumps({"text": cut})


def _units(text: str) -> int:
    """UTF-16 code units of a text in chats' markup, at most: marks are escaped, and lines indented."""
    escaped = sum(map(text.count, "\\*_~`|[]<>#+-&"))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2 + escaped + 2 * text.count("\n")


class ChatStore(Protocol):
    """Every call is one transaction. Safe to share between threads. Raises: StoreError."""

    def receive(self, platform: str, message_id: str, chat: str, payload: str) -> bool:
        """Keep a message that came in. False when it had come before."""
        ...

    def receive_all(self, rows: Sequence[tuple[str, str, str, str]]) -> list[bool]:
        """The same for several, in one transaction."""
        ...

    def last_received(self, platform: str, *, limit: int) -> dict[str, float]:
        """When each chat or thread of a platform was last heard of, in seconds since the epoch; the latest first."""
        ...

    def received(self) -> list[Inbound]:
        """Those that nobody has dealt with, oldest first."""
        ...

    def dealt_with(self, platform: str, message_id: str) -> None: ...

    def is_dealt_with(self, platform: str, message_id: str) -> bool: ...

    def together(self) -> AbstractContextManager[None]:
        """What this thread writes within is kept as one, or none of it. Reads within do not see it yet."""
        ...

    def post(self, chat: str, payload: str, *, key: str = "", live: bool = False, message_id: str = "") -> int | None:
        """Keep a message that is to go out. None when one with this key was posted before."""
        ...

    def posted(self, key: str) -> Outbound | None: ...

    def set_live(self, outbound_id: int, message_id: str) -> None:
        """A live message has come to stand in the chat under this id."""
        ...

    def complete(self, outbound_id: int, payload: str, *, key: str = "") -> None:
        """A live message is whole: it is to go out, after what was posted before now. With another `key` its own is
        free for the next one.
        """
        ...

    def take_outbound(self, chat: str, sender: Lease, now: float) -> Outbound | None:
        """The chat's next message, to be sent now. None while an earlier one is under way or not due."""
        ...

    def mark_sent(self, outbound_id: int, message_id: str) -> None: ...

    def postpone(self, outbound_id: int, due: float, error: str, *, repeat: bool = False) -> None:
        """It is to be tried again; as a possible `repeat` where it is not certain that it did not arrive."""
        ...

    def refuse(self, outbound_id: int, error: str) -> None:
        """The platform will never take it."""
        ...

    def reclaim_outbound(self, is_alive: IsAlive) -> list[Outbound]:
        """Make those pending again, as a possible repeat, whose sender died. Gives what changed."""
        ...

    def unsent(self, chat: str | None = None) -> list[Outbound]:
        """What is pending or being sent, in order; of one chat or all."""
        ...

    def waiting_chats(self) -> list[str]:
        """The chats that something is to be sent to."""
        ...

    def refused(self, *, limit: int = 20) -> list[Outbound]:
        """The newest first."""
        ...

    def forget_chats(self, before: float) -> int:
        """Delete what was dealt with, sent or refused before then, and the rows of turns that ended. Gives how many.

        What a turn said stays in its conversation.
        """
        ...

    def move_chat(self, old: str, new: str) -> None:
        """A chat has another id: all that is kept under its address, of its threads and people too, is the new one's.

        Both are addresses without a thread. Once is enough, and twice does no harm.
        """
        ...

    def note(self, name: str, value: str) -> None:
        """Remember something small under this name, in place of what was there; "" forgets it."""
        ...

    def notes(self, lead: str) -> dict[str, str]:
        """What is remembered under names that begin so."""
        ...
