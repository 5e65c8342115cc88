"""Whose a session is, and how it goes from a terminal to a chat and back.

A session's `source` says who writes to it: terminals (one at a time, see `hermes_cli/seats.py`), or a chat. It changes
in one transaction that fails while a turn is live, and a chat's turn is stored only while the session is its own, so no
two ever write. A session that was handed over waits under the chat's address until somebody who may take it writes
there. Notes name the terminal that hears of its return.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.chats import ChatStore, plain_letter
from agent.errors import HermesError
from agent.records import IsAlive, Store
from agent.store.rules import new_session_id

TERMINAL = "terminal"
HOME = "home:"
"""What the note of a platform's home chat begins with; the platform follows."""

DIRECT = "direct:"
"""What the note of a person's direct chat begins with; the platform and the person's id follow."""

SERVES = "gateway:"
"""What the presence of a gateway begins with; the platform follows."""

PLACES = 10_000
"""Chats of a platform among which one that is named is looked for: those that were heard of last."""

_WAITS, _LENT, _BACK = "handoff:", "lent:", "back:"


class HandoffStore(Store, ChatStore, Protocol):
    """What a handoff is kept in."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session that waits in a chat to be gone on with. `terminal` handed it over."""

    session_id: str
    terminal: str


def chat_of_source(source: str) -> str:
    """The chat whose session this is, or in which it waits; "" for one of the terminal's."""
    return source.removeprefix(_WAITS) if ":" in source else ""


def direct_chats(store: ChatStore, platform: str) -> dict[str, str]:
    """The addresses of direct chats, by the person who wrote there. Raises: StoreError."""
    lead = f"{DIRECT}{platform}:"
    return {name.removeprefix(lead): where for name, where in store.notes(lead).items()}


def alone_in(address: str, direct: Mapping[str, str]) -> set[str]:
    """The one person whose direct chat it is, whatever the thread; nobody where it is none."""
    return {person for person, where in direct.items() if same_chat(where, address)}


def same_chat(one: str, other: str) -> bool:
    """Whatever the thread: a direct chat has the same person in each."""
    return one.partition("/")[0] == other.partition("/")[0]


class Handoffs:
    """What both sides do with it. Calls may wait for the store. Raise: StoreError."""

    def __init__(self, store: HandoffStore, is_alive: IsAlive) -> None:
        self._store = store
        self._is_alive = is_alive

    # -- at the terminal ---------------------------------------------------------------------------

    def serving(self) -> set[str]:
        """The platforms that a gateway serves now."""
        there = self._store.present().items()
        return {owner.split(":")[1] for owner, one in there if owner.startswith(SERVES) and self._is_alive(one)}

    def place(self, asked: str, set_up: Iterable[str]) -> str:
        """The chat that is meant: a platform's home, or `platform:chat[/thread]`. Raises: HermesError."""
        platform, colon, chat = asked.strip().partition(":")
        platform = platform.lower()
        known = sorted(set_up)
        if platform not in known:
            there = f"There are: {', '.join(known)}." if known else "hermes gateway setup sets one up."
            raise HermesError(f"No platform {platform!r} is set up.", hint=there)
        if platform not in self.serving():
            raise HermesError(f"No gateway serves {platform} now.", hint="hermes gateway starts one.")
        if not colon:
            home = self._store.notes(f"{HOME}{platform}").get(f"{HOME}{platform}", "")
            if not home:
                hint = f"Write /sethome in the chat, or name it: /handoff {platform}:CHAT"
                raise HermesError(f"{platform} has no home chat.", hint=hint)
            return home
        address = f"{platform}:{chat.strip()}"
        if not re.fullmatch(r"[\w.~-]+(/[\w.~-]+)?", chat.strip(), re.ASCII) or not self._is_known(address):
            raise HermesError(
                f"Nobody has written to Hermes in {address} yet.", hint=f"/handoff {platform} takes its home chat."
            )
        return address

    def _is_known(self, address: str) -> bool:
        if address in self._store.notes(HOME).values() or self._store.sessions(source=address, limit=1):
            return True
        # In a group each person has a conversation of their own.
        return address in self._store.last_received(address.partition(":")[0], limit=PLACES)

    def send(self, session_id: str, address: str, *, terminal: str, said: str) -> None:
        """Have a terminal's session wait in a chat, which is shown what was `said` last.

        The caller has the session's seat, and gives it up after this. Raises: HermesError.
        """
        if self.waiting(address):
            raise HermesError(
                f"Another conversation waits in {address}.", hint="/handoff terminal there gives it back."
            )
        row = self._store.session(session_id)
        if row is None or chat_of_source(row.source):
            raise HermesError("Nothing was said yet that could be handed over.")
        if self._store.move_session(session_id, f"{_WAITS}{address}", expect=row.source) is None:
            raise HermesError("This conversation goes on elsewhere by now.")
        self._store.note(f"{_WAITS}{address}", json.dumps({"session": session_id, "terminal": terminal}))
        text = f"⇄ From the terminal: {row.title or session_id}\n\n{said}\n\nThe next message here goes on with it;"
        self._store.post(address, plain_letter(f"{text} /handoff terminal gives it back."))

    def take(self, session_id: str) -> None:
        """Take a chat's session, which begins a new one. Raises: HermesError."""
        row = self._store.session(session_id)
        chat = chat_of_source(row.source) if row else ""
        if row is None or not chat:
            return
        if self._store.move_session(session_id, TERMINAL, expect=row.source) is None:
            raise HermesError("This conversation goes on elsewhere by now.")
        address = chat.partition("@")[0]
        if row.source == f"{_WAITS}{chat}":
            self._store.note(row.source, "")
        else:
            # Without a folder: the gateway makes the chat's own of it, and goes on with no older one.
            self._store.create_session(new_session_id(), source=chat)
            self._store.note(f"{_LENT}{chat}", "")
        self._store.post(address, plain_letter(f"⇄ {row.title or session_id} goes on in a terminal."))

    def returned(self, terminal: str) -> dict[str, str]:
        """What came back to this terminal: the session's id → from where. Quick."""
        lead = f"{_BACK}{terminal}:"
        return {name.removeprefix(lead): chat for name, chat in self._store.notes(lead).items()}

    def heard(self, terminal: str, session_id: str) -> None:
        """The person at this terminal was told of it."""
        self._store.note(f"{_BACK}{terminal}:{session_id}", "")

    # -- in the gateway ----------------------------------------------------------------------------

    def waiting(self, address: str) -> Waiting | None:
        """What waits in this chat. Quick."""
        found = self._store.notes(f"{_WAITS}{address}").get(f"{_WAITS}{address}")
        if not found:
            return None
        fields = json.loads(found)
        return Waiting(fields["session"], fields["terminal"])

    def claim(self, waiting: Waiting, address: str, key: str) -> bool:
        """Make what waits there the conversation's own. False when it went elsewhere meanwhile."""
        moved = self._store.move_session(waiting.session_id, key, expect=f"{_WAITS}{address}")
        if moved is not None:
            self._store.note(f"{_LENT}{key}", waiting.terminal)
        self._store.note(f"{_WAITS}{address}", "")
        return moved is not None

    def decline(self, waiting: Waiting, address: str) -> bool:
        """Send back what waits there. Whether a terminal hears of it. Raises: HermesError."""
        name = f"{_WAITS}{address}"
        moved = self._store.move_session(waiting.session_id, TERMINAL, expect=name)
        self._store.note(name, "")
        if moved is None:
            raise HermesError("There is no conversation here to hand over.")
        return self._tell(waiting.terminal, waiting.session_id, address)

    def give_back(self, session_id: str, key: str) -> bool:
        """Make a conversation's session the terminal's. Whether a terminal hears of it: else nobody waits for it.

        Raises: HermesError.
        """
        if self._store.move_session(session_id, TERMINAL, expect=key) is None:
            raise HermesError("There is no conversation here to hand over.")
        terminal = self._store.notes(f"{_LENT}{key}").get(f"{_LENT}{key}", "")
        self._store.note(f"{_LENT}{key}", "")
        return self._tell(terminal, session_id, key)

    def _tell(self, terminal: str, session_id: str, where: str) -> bool:
        there = self._store.present().get(terminal)
        if there is None or not self._is_alive(there):
            return False
        self._store.note(f"{_BACK}{terminal}:{session_id}", where)
        return True
