"""Home channels: where a platform's notices go, and the questions of people who may not answer them."""

import time
from collections.abc import Mapping

from agent.chats import ChatStore
from agent.handoff import HOME
from gateway.config import Platform
from gateway.outbox import address
from gateway.session import Chat, chat_of

LINK = "link:"
"""What the note of a connection's state begins with; the platform follows."""

QUIET = 3600.0
"""Seconds in which a chat is reported once."""


class Homes:
    """A home a platform, set by /sethome. `admins` are those who answer questions. Calls read the store."""

    def __init__(self, store: ChatStore, admins: Mapping[Platform, frozenset[str]]) -> None:
        self._store = store
        self._admins = admins
        self._told: dict[str, float] = {}

    def set(self, chat: Chat) -> None:
        """Raises: StoreError."""
        self._store.note(f"{HOME}{chat.platform.value}", address(chat))

    def of(self, platform: Platform) -> Chat | None:
        found = self._store.notes(f"{HOME}{platform.value}")
        return chat_of(next(iter(found.values()))) if found else None

    def for_notice(self, platform: Platform, but: Chat | None = None) -> Chat | None:
        """The home of that platform, or of another one where it has none; never `but`."""
        homes = [chat_of(where) for where in self._store.notes(HOME).values()]
        homes.sort(key=lambda home: home.platform != platform)
        return next((home for home in homes if home != but), None)

    def for_question(self, chat: Chat) -> Chat | None:
        """Where else a question of this chat is to be asked: only admins answer, and this may be nobody of them."""
        home = self.of(chat.platform) if self._admins.get(chat.platform) else None
        return home if home != chat else None

    def is_news(self, where: str) -> bool:
        """Whether nothing was reported of this chat for a while."""
        now = time.monotonic()
        if now - self._told.get(where, -QUIET) < QUIET:
            return False
        self._told[where] = now
        return True
