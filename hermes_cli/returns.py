"""Conversations that were handed to chats, and come back: the terminal that gave them away is told."""

import contextlib
import logging
from typing import TYPE_CHECKING

from agent.errors import StoreError
from agent.handoff import Handoffs
from agent.store.leases import is_alive

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

_log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks."""


class Returns:
    """Looks into the store, on the UI loop, from the first conversation that was handed over on."""

    def __init__(self, chat: "Chat") -> None:
        self._chat = chat
        self._looking = False
        self._told: set[str] = set()

    def expect(self) -> None:
        """Something was handed over."""
        if not self._looking:
            self._looking = True
            self._chat.loop.call_later(LOOK, self._look)

    def _look(self) -> None:
        chat = self._chat
        chat.loop.call_later(LOOK, self._look)
        handoffs = Handoffs(chat.store, is_alive)
        try:
            returned = handoffs.returned(chat.owner)
        except StoreError as error:
            _log.warning("looking for what comes back: %s", error)
            return
        for session_id, where in returned.items():
            if session_id not in self._told:
                self._told.add(session_id)
                chat.screen.notify(lambda id_=session_id, from_=where: self._notice(id_, from_), urgent=False)  # type: ignore[misc]
                chat.aside(lambda id_=session_id: handoffs.heard(chat.owner, id_))  # type: ignore[misc]

    def _notice(self, session_id: str, where: str) -> str:
        row = None
        with contextlib.suppress(StoreError):
            row = self._chat.store.session(session_id)
        name = row.title if row and row.title else session_id
        return self._chat.screen.renderer().note(f"{name} is back from {where}: /resume {session_id}")
