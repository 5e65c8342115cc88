"""Conversations that were handed to chats, and come back: the terminal that gave them away is told."""

from typing import TYPE_CHECKING

from agent.handoff import Handoffs
from agent.store.leases import is_alive

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

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
        handoffs = Handoffs(chat.store, is_alive)
        for session_id, where in handoffs.returned(chat.owner).items():
            if session_id not in self._told:
                self._told.add(session_id)
                chat.screen.notify(lambda id_=session_id, from_=where: self._notice(id_, from_), urgent=False)  # type: ignore[misc]
                chat.aside(lambda id_=session_id: handoffs.heard(chat.owner, id_))  # type: ignore[misc]
        chat.loop.call_later(LOOK, self._look)

    def _notice(self, session_id: str, where: str) -> str:
        row = self._chat.store.session(session_id)
        name = row.title if row and row.title else session_id
        return self._chat.screen.renderer().note(f"{name} is back from {where}: /resume {session_id}")
