"""Who works on which session: two terminals must not write into one history, nor a terminal into a chat's.

A seat is a presence row (`session:<id>`) of this process. One that a dead process left counts for nothing. A chat needs
none: whose a session is says its row (`agent/handoff.py`), and a chat's has no seats.
"""

import logging
import threading
import time

from agent.errors import HermesError, StoreError
from agent.events import Compacted, Event
from agent.handoff import chat_of_source
from agent.protocols import Sink
from agent.records import LIVE_STATES, Lease, Store
from agent.store.leases import is_alive, new_lease

_log = logging.getLogger(__name__)

_SEAT = "session:"


class Seats:
    """The sessions that this process has open. Safe to call from any thread; all but `close` may wait for the disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lease: Lease | None = None
        self._taken: set[str] = set()
        self._lent: set[str] = set()
        self._lock = threading.RLock()

    def take(self, session_id: str) -> str:
        """Open a session here. Gives "", or who has it: then nobody else may write to it.

        A store that cannot be written to refuses nobody: what is said is then kept in memory.
        """
        with self._lock:
            if session_id in self._lent:
                return "a turn that was detached"
            if session_id in self._taken:
                return ""
            if chat := self.chat_of(session_id):
                return f"the chat {chat}"
            self._lease = self._lease or new_lease("seat")
            try:
                other = self._store.enter_alone(_owner(session_id), self._lease, is_alive)
                if other is not None:
                    return _who(other)
                if number := self._worked_on(session_id):
                    self._store.depart(_owner(session_id))
                    return f"background task #{number}"
            except StoreError as error:
                _log.warning("opening %s: %s", session_id, error)
            self._taken.add(session_id)
            return ""

    def chat_of(self, session_id: str) -> str:
        """The chat whose session it is, or in which it waits; "" for one of the terminal's."""
        try:
            row = self._store.session(session_id)
        except StoreError as error:
            _log.warning("looking whose %s is: %s", session_id, error)
            return ""
        return chat_of_source(row.source) if row else ""

    def require(self, session_id: str) -> None:
        """Raises: HermesError when somebody else has it."""
        if who := self.take(session_id):
            raise HermesError(f"This conversation is open in {who}.", hint=f"hermes -r {session_id} offers a copy.")

    def lend(self, session_id: str) -> None:
        """A turn goes on with it that is not the prompt's any more: until `give_up` it is open to nobody."""
        with self._lock:
            self._lent.add(session_id)

    def follow(self, session_id: str, emit: Sink) -> Sink:
        """A sink for a turn on this session: when it goes on in a shorter one, that is open here instead."""
        at = session_id

        def following(event: Event) -> None:
            nonlocal at
            if isinstance(event, Compacted):
                with self._lock:
                    self.take(event.session_id)
                    self._lent |= {event.session_id} if at in self._lent else set()
                    self.give_up(at)
                at = event.session_id
            emit(event)

        return following

    def give_up(self, session_id: str) -> None:
        """Let others open it. Nothing when it is not open here."""
        with self._lock:
            self._lent.discard(session_id)
            if session_id in self._taken:
                self._taken.remove(session_id)
                try:
                    self._store.depart(_owner(session_id))
                except StoreError as error:  # it is free when this process has ended
                    _log.warning("leaving %s: %s", session_id, error)

    def close(self) -> None:
        """Give up all of them."""
        for session_id in list(self._taken):
            self.give_up(session_id)

    def _worked_on(self, session_id: str) -> int:
        """The number of the live task that runs on it, 0 for none."""
        live = self._store.tasks(states=LIVE_STATES)
        return next((task.number for task in live if task.session_id == session_id), 0)


def open_sessions(store: Store) -> dict[str, str]:
    """The sessions that somebody has open, by id, and who. Raises: StoreError."""
    seats = {owner.removeprefix(_SEAT): lease for owner, lease in store.present().items() if owner.startswith(_SEAT)}
    return {session_id: _who(lease) for session_id, lease in seats.items() if is_alive(lease)}


def _owner(session_id: str) -> str:
    return f"{_SEAT}{session_id}"


def _who(lease: Lease) -> str:
    since = time.strftime("%H:%M", time.localtime(lease.heartbeat))
    return f"another terminal (process {lease.pid}, since {since})"
