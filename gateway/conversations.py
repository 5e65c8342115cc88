"""Conversations with chats: which session one is on, and the turn that runs there.

A turn in a chat is a task on the chat's own session: its row exists before it starts, so it is resumed, parked, stopped
and answered like any other, by this process or the next. Every call here may wait for the store: keep it off the loop.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.protocols import Store, Task
from agent.records import LIVE_STATES, TaskOptions
from agent.store.rules import new_session_id
from agent.task_rows import options_of
from agent.tasks import TaskPool

TURN, CHAT = "turn:", "chat:"
"""What the owner of a chat's turns, and of its background tasks, begins with; the session key follows."""

LATELY = 24 * 3600.0
"""Seconds."""

Busy = Literal["steer", "queue"]
"""What becomes of a message that comes while a turn runs."""


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a person's message. `wait`: it is to be said again when the turn is over."""

    outcome: Literal["started", "steered", "wait"]
    turn: Task


def key_of(owner: str) -> str:
    """The session key in an owner; "" for one that is no chat's."""
    for lead in (TURN, CHAT):
        if owner.startswith(lead):
            return owner.removeprefix(lead)
    return ""


class Conversations:
    """All chats' sessions. `settings` gives the model of now, as a task's row keeps it."""

    def __init__(
        self, store: Store, turns: TaskPool, *, workspace: Path, settings: Callable[[], str], busy: Busy = "steer"
    ) -> None:
        self._store = store
        self._turns = turns
        self.workspace = workspace
        self.settings = settings
        self.busy = busy

    def session(self, key: str) -> str:
        """The id of the conversation's session, which is made when there is none."""
        found = self._store.sessions(source=key, limit=1)
        return found[0].id if found else self.begin(key)

    def begin(self, key: str) -> str:
        """Start the conversation anew; the old session stays in the store."""
        session_id = new_session_id()
        self._store.create_session(session_id, source=key, cwd=str(self.workspace))
        return session_id

    def turn(self, key: str) -> Task | None:
        """The turn that runs, waits for an answer or is to be taken up."""
        found = self._store.tasks(owner=TURN + key, states=LIVE_STATES)
        return found[0] if found else None

    def say(self, key: str, text: str, *, event: str) -> Said:
        """Take a person's message: tell the turn that runs, or start one. `event` is the message's id, unique for ever.

        Raises: StoreError.
        """
        running = self.turn(key)
        if running is not None and options_of(running).event != event:
            if self.busy == "steer" and self._turns.steer(running.id, text):
                return Said("steered", running)
            if self.turn(key) is not None:
                return Said("wait", running)
        return Said("started", self._start(key, text, event))

    def queue(self, key: str, text: str, *, event: str) -> Said:
        """Start a turn when none runs."""
        running = self.turn(key)
        return Said("wait", running) if running is not None else Said("started", self._start(key, text, event))

    def stop(self, key: str) -> Task | None:
        """Stop the turn. None when none runs."""
        running = self.turn(key)
        return self._turns.stop(running.id) if running is not None else None

    def catch_up(self, over: Task) -> None:
        """Start a turn with what a person said to one that ended before it could read it."""
        if over.state in LIVE_STATES or over.state == "cancelled":
            return
        if lines := self._store.take_steering(over.id, over.session_id):
            self.say(key_of(over.owner), "\n".join(lines), event=f"late:{over.id}")

    def catch_up_all(self) -> None:
        """The same for the turns that ended lately, at the start of a process."""
        for task in self._store.tasks(owner=TURN, states=frozenset({"done", "failed"})):
            if task.finished > time.time() - LATELY:
                self.catch_up(task)

    def _start(self, key: str, text: str, event: str) -> Task:
        if started := started_by(self._store, TURN + key, event):
            return started
        session_id = self.session(key)
        options = TaskOptions(history=len(self._store.messages(session_id)), event=event)
        return self._turns.submit(
            text, owner=TURN + key, session_id=session_id, settings=self.settings(), options=options
        )


def started_by(store: Store, owner: str, event: str) -> Task | None:
    """What this message started. A process may have started it and died before it could say so."""
    return next((task for task in store.tasks(owner=owner) if options_of(task).event == event), None)
