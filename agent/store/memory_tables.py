"""What the store without a file holds, behind one lock."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from agent.messages import Message
from agent.protocols import Decision
from agent.records import Delivery, Lease, LoggedEvent, Session, Task, UsageRow
from agent.store.rules import EVENTS_PER_TASK
from agent.store.text import cleaned

Log = deque[LoggedEvent]
_new_log: Callable[[], Log] = partial(deque, maxlen=EVENTS_PER_TASK)


class Tables:
    """Rows are frozen, so what is handed out stays as it was. Use them only while holding the lock.

    Every task that may be taken is in `_takeable`, and some that may not any more: to look through all that ever were
    for each that begins would take ever longer.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._sessions: dict[str, Session] = {}
        self._messages: dict[str, list[Message]] = {}
        self._order: list[tuple[str, int, float]] = []
        self._begun: set[tuple[str, str]] = set()
        self._decisions: dict[tuple[str, str], Decision] = {}
        self._tasks: dict[str, Task] = {}
        self._takeable: dict[str, None] = {}
        self._numbers = 0
        self._claims = 0
        self._last_claim: dict[str, int] = {}
        self._events: defaultdict[str, Log] = defaultdict(_new_log)
        self._inbox: defaultdict[str, list[tuple[str, str, int]]] = defaultdict(list)
        self._deliveries: dict[tuple[str, str], Delivery] = {}
        self._front_ends: dict[str, Lease] = {}
        self._usage: dict[tuple[str, str, str], UsageRow] = {}

    def _make_session(self, session: Session) -> None:
        if session.id not in self._sessions:
            now = time.time()
            self._sessions[session.id] = replace(cleaned(session), created=now, updated=now)
            self._messages[session.id] = []

    def _add_message(self, session_id: str, message: Message, *, title: str = "") -> None:
        """To a session that exists, a message that is clean."""
        session, now = self._sessions[session_id], time.time()
        number = session.messages + 1
        self._sessions[session_id] = replace(session, title=session.title or title, updated=now, messages=number)
        self._messages[session_id].append(message)
        self._order.append((session_id, number, now))
