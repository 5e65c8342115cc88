"""Home channels: where a platform's notices go, and the questions of people who may not answer them."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.chats import ChatStore
from agent.handoff import DIRECT, HOME, alone_in, direct_chats, same_chat
from agent.people import PeopleStore
from gateway.config import Platform
from gateway.outbox import address
from gateway.session import Chat, SessionSource, chat_of, user_of

LINK = "link:"
"""What the note of a connection's state begins with; the platform follows."""

QUIET = 3600.0
"""Seconds in which a chat is reported once."""


@dataclass(frozen=True, slots=True)
class Hearers:
    """Who can allow what an agent asks: whether there may be somebody `here`, where it works, and in which `others`."""

    here: bool = True
    others: tuple[Chat, ...] = ()


def anybody(chat: Chat) -> Hearers:
    """Where whoever is in a chat may answer."""
    del chat
    return Hearers()


class HomeStore(ChatStore, PeopleStore, Protocol):
    """Chats, and the people in them."""


class Homes:
    """A home a platform, set by /sethome. `admins` are those who answer questions. Calls read the store.

    Where everyone is let in and nobody is an admin, those answer that `known` names, or who were paired.
    """

    def __init__(
        self,
        store: HomeStore,
        admins: Mapping[Platform, frozenset[str]],
        known: Mapping[Platform, frozenset[str]] = {},
    ) -> None:
        self._store = store
        self._admins, self._known = admins, known
        self._told: dict[str, float] = {}
        self._met: defaultdict[Platform, dict[str, Chat]] = defaultdict(dict)
        self._kept: dict[str, str] = {}

    def set(self, chat: Chat) -> None:
        """Raises: StoreError."""
        self._store.note(f"{HOME}{chat.platform.value}", address(chat))

    def of(self, platform: Platform) -> Chat | None:
        found = self._store.notes(f"{HOME}{platform.value}")
        return chat_of(next(iter(found.values()))) if found else None

    def for_notice(
        self, platform: Platform, reaches: Callable[[Platform], bool], but: Chat | None = None
    ) -> Chat | None:
        """The home of that platform, or of another one where it has none; never `but`, nor one that is not reached."""
        homes = [chat_of(where) for where in self._store.notes(HOME).values()]
        homes = [home for home in homes if reaches(home.platform)]
        homes.sort(key=lambda home: home.platform != platform)
        return next((home for home in homes if home != but), None)

    def met(self, source: SessionSource) -> bool:
        """Somebody wrote in a direct chat: should they be an admin, questions come there from now on.

        Does not read the store. True where `keep` is to be called, so that it is known after a restart, too.
        """
        self._met[source.platform][source.user_id] = source.chat
        name, where = _direct(source)
        return self._kept.get(name) != where

    def keep(self, source: SessionSource) -> None:
        """Store where somebody was met. Raises: StoreError."""
        name, where = _direct(source)
        self._store.note(name, where)
        self._kept[name] = where

    def for_question(self, chat: Chat) -> Hearers:
        """Where only admins answer: in the home, or else in the direct chats of those who have written."""
        admins = self._admins.get(chat.platform)
        if not admins:
            return Hearers(here=self._knows_somebody(chat))
        direct, home = self._direct_chats(chat.platform), self.of(chat.platform)
        alone_here = alone_in(address(chat), direct)
        places = [home] if home else [chat_of(direct[admin]) for admin in sorted(admins) if admin in direct]
        return Hearers(
            here=not alone_here or bool(alone_here & admins), others=tuple(one for one in places if one != chat)
        )

    def _knows_somebody(self, chat: Chat) -> bool:
        """Where nobody is an admin: whether there may be somebody in a chat who can answer."""
        known = self._known.get(chat.platform)
        if known is None:
            return True
        alone_here = alone_in(address(chat), self._direct_chats(chat.platform))
        paired = {one.user_id for one in self._store.people(chat.platform.value) if one.state == "allowed"}
        return not alone_here or bool(alone_here & (known | paired))

    def _direct_chats(self, platform: Platform) -> dict[str, str]:
        met = {person: address(chat) for person, chat in [*self._met[platform].items()]}
        return direct_chats(self._store, platform.value) | met

    def person_of(self, key: str) -> str:
        """Whose conversation it is: one person's in a group, or in a direct chat; "" where nobody knows."""
        if person := user_of(key):
            return person
        chat = chat_of(key)
        return next(iter(alone_in(address(chat), self._direct_chats(chat.platform))), "")

    def whom_to_ask(self, platform: Platform) -> str:
        """A hint for who may not do something."""
        if self._admins.get(platform):
            return "An admin of this gateway can do it."
        return f"That is for admins. There is none: the owner can name one in [gateway.{platform}] admins."

    def is_news(self, where: str) -> bool:
        """Whether nothing was reported of this chat for a while."""
        now = time.monotonic()
        if now - self._told.get(where, -QUIET) < QUIET:
            return False
        self._told[where] = now
        return True

    def not_told(self, where: str) -> None:
        """Nobody could be told of what was news: the next time is the first."""
        self._told.pop(where, None)


def is_of(key: str, platform: str, user_id: str, direct: str | None) -> bool:
    """Whether a conversation is one person's: their own in a group, or the `direct` chat, if they have one."""
    chat = chat_of(key)
    if chat.platform != platform:
        return False
    if user_of(key):
        return user_of(key) == user_id
    return direct is not None and same_chat(address(chat), direct)


def _direct(source: SessionSource) -> tuple[str, str]:
    """The note of a person's direct chat, and what it says."""
    return f"{DIRECT}{source.platform.value}:{source.user_id}", address(source.chat)
