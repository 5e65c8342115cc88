"""Tasks in memory."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from agent.events import Event
from agent.messages import Message
from agent.records import (
    LIVE_STATES,
    TASK_SOURCE,
    Delivery,
    IsAlive,
    Lease,
    LoggedEvent,
    Session,
    Standing,
    Task,
    TaskState,
)
from agent.store.memory_tables import Tables
from agent.store.rules import (
    changed,
    is_left_alone,
    lost,
    may_be_taken,
    new_session_id,
    new_task_id,
    owes_outcome,
    owner_range,
    taken,
    went_elsewhere,
)
from agent.store.text import cleaned


class MemoryTasks(Tables):
    """The `TaskStore` half of the store."""

    def create_task(
        self,
        *,
        prompt: str,
        owner: str,
        settings: str,
        name: str = "",
        options: str = "{}",
        cwd: str = "",
        session_id: str = "",
        source: str = "",
        parent: str = "",
        history: Sequence[Message] = (),
        log: Sequence[Event] = (),
        receipt: str = "{}",
    ) -> Task:
        with self._lock:
            row = self._sessions.get(session_id)
            if source and (row is None or row.archived or row.source != cleaned(source)):
                raise went_elsewhere(session_id)
            self._numbers += 1
            id_, session, now = new_task_id(), session_id or new_session_id(), time.time()
            while id_ in self._tasks:
                id_ = new_task_id()
            task = Task(id_, self._numbers, prompt, owner, session, settings, created=now, name=name, options=options)
            above = self._sessions.get(parent, Session("", ""))
            origin = replace(above, id=session, source=TASK_SOURCE, title="", cwd=cwd, parent=above.id)
            self._make_session(replace(origin, archived=False, messages=0))
            for message in history:
                self._add_message(session, cleaned(message))
            self._tasks[id_] = task = cleaned(replace(task, receipt=receipt))
            self._takeable[id_] = None
            for event in log:
                self.append_event(id_, event)
            return task

    def task(self, task_id: str) -> Task | None:
        with self._lock:
            return self._tasks.get(task_id)

    def tasks(
        self, *, owner: str | None = None, states: frozenset[TaskState] | None = None, number: int | None = None
    ) -> list[Task]:
        with self._lock:
            first, last = owner_range(owner)
            mine = [task for task in self._tasks.values() if first <= task.owner <= last]
            mine = [task for task in mine if number in (None, task.number)]
            return [task for task in mine if states is None or task.state in states]

    def update_task(
        self, task_id: str, *, expect: frozenset[TaskState] | None = None, holder: str | None = None, **changes: Any
    ) -> Task | None:
        with self._lock:
            task = self._tasks.get(task_id)
            if task is None or (expect is not None and task.state not in expect):
                return None
            if holder is not None and (task.lease is None or task.lease.worker != holder):
                return None
            return self._save(task, changed(task, **cleaned(changes)))

    # -- who works ---------------------------------------------------------------------------------

    def claim_task(self, lease: Lease, *, owner: str | None = None) -> Task | None:
        with self._lock:
            if (task := self._next(owner)) is None:
                return None
            self._claims += 1
            self._last_claim[task.owner] = self._claims
            return self._save(task, taken(task, replace(lease, heartbeat=time.time())))

    def _next(self, owner: str | None) -> Task | None:
        ready: dict[str, Task] = {}
        first, last = owner_range(owner)
        for id_ in list(self._takeable):
            task = self._tasks.get(id_)
            if task is None or not may_be_taken(task):
                del self._takeable[id_]
            elif first <= task.owner <= last and task.number <= ready.get(task.owner, task).number:
                ready[task.owner] = task
        return min(ready.values(), key=lambda task: (self._last_claim.get(task.owner, 0), task.number), default=None)

    def heartbeat(self, worker: str) -> list[str]:
        with self._lock:
            held = [task for task in self._tasks.values() if task.lease and task.lease.worker == worker]
            for task in held:
                assert task.lease is not None
                self._tasks[task.id] = replace(task, lease=replace(task.lease, heartbeat=time.time()))
            return [task.id for task in held]

    def reclaim_dead(self, now: float, is_alive: IsAlive, *, stale: float = 0.0) -> list[Task]:
        running = self.tasks(states=frozenset({"running"}))
        gone = [task for task in running if is_left_alone(task, stale, is_alive)]
        with self._lock:
            still = [(task, self._tasks.get(task.id)) for task in gone]
            return [
                self._save(row, lost(row, now))
                for task, row in still
                if row is not None and row.state == "running" and row.lease == task.lease
            ]

    def standings(self, owner: str | None = None) -> dict[str, Standing]:
        return {
            task.id: Standing(task.state, task.held, task.lease.worker if task.lease else "")
            for task in self.tasks(owner=owner, states=LIVE_STATES)
        }

    # -- what a person adds meanwhile --------------------------------------------------------------

    def steer_task(self, task_id: str, text: str) -> bool:
        with self._lock:
            task = self._tasks.get(task_id)
            if task is None or task.state not in LIVE_STATES:
                return False
            self._inbox[task_id].append((cleaned(text), "", 0))
            return True

    def move_steering(self, task_id: str, other_id: str) -> bool:
        with self._lock:
            other = self._tasks.get(other_id)
            if other is None or other.state not in LIVE_STATES:
                return False
            self._inbox[other_id] += [(text, "", 0) for text, *_ in self._inbox.pop(task_id, [])]
            return True

    def drop_steering(self, task_id: str) -> list[str]:
        with self._lock:
            return [line[0] for line in self._inbox.pop(task_id, []) if not self._arrived(*line)]

    def take_steering(self, task_id: str, session_id: str) -> list[str]:
        with self._lock:
            texts = [line[0] for line in self._inbox.get(task_id, ()) if not self._arrived(*line)]
            end = len(self._messages.get(session_id, ()))
            self._inbox[task_id] = [(text, session_id, place) for place, text in enumerate(texts, end + 1)]
            return texts

    def _arrived(self, text: str, session_id: str, place: int) -> bool:
        messages = self._messages.get(session_id, ())
        there = messages[place - 1] if 0 < place <= len(messages) else None
        return there is not None and (there.role, there.content) == ("user", text)

    # -- what happened -----------------------------------------------------------------------------

    def append_event(self, task_id: str, event: Event) -> None:
        with self._lock:
            if task_id in self._tasks:
                log = self._events[task_id]
                number = log[-1].number + 1 if log else 1
                log.append(LoggedEvent(number, time.time(), cleaned(event)))

    def events(self, task_id: str) -> list[Event]:
        return [logged.event for logged in self.log(task_id)]

    def log(self, task_id: str, *, after: int = 0, last: int | None = None) -> list[LoggedEvent]:
        with self._lock:
            found = [logged for logged in self._events.get(task_id, ()) if logged.number > after]
            return found if last is None else found[max(0, len(found) - last) :]

    # -- who was told ------------------------------------------------------------------------------

    def add_delivery(self, task_id: str, surface: str) -> bool:
        with self._lock:
            return task_id in self._tasks and self._owe(task_id, surface)

    def claim_delivery(self, task_id: str, surface: str, teller: Lease) -> Delivery | None:
        with self._lock:
            for delivery in self._owed("pending"):
                if (delivery.task_id, delivery.surface) == (task_id, surface):
                    now = time.time()
                    claimed = replace(delivery, state="sending", at=now, teller=replace(teller, heartbeat=now))
                    self._deliveries[task_id, surface] = claimed
                    return claimed
            return None

    def release_delivery(self, task_id: str, surface: str) -> bool:
        with self._lock:
            delivery = self._deliveries.get((task_id, surface))
            if delivery is None or delivery.state != "sending":
                return False
            self._deliveries[task_id, surface] = replace(delivery, state="pending", at=time.time(), teller=None)
            return True

    def mark_told(self, task_id: str, surface: str) -> bool:
        with self._lock:
            delivery = self._deliveries.get((task_id, surface))
            if delivery is None or delivery.state == "told":
                return False
            self._settle([delivery])
            task = self._tasks[task_id]
            if task.state not in LIVE_STATES and all(one.state == "told" for one in self._of(task_id)):
                self._tasks[task_id] = replace(task, told=True)
            return True

    def undelivered(self, surface: str | None = None) -> list[Delivery]:
        with self._lock:
            return [delivery for delivery in self._owed("pending") if surface in (None, delivery.surface)]

    def reclaim_deliveries(self, is_alive: IsAlive) -> list[Delivery]:
        with self._lock:
            sending = self._owed("sending")
        gone = [delivery for delivery in sending if delivery.teller is None or not is_alive(delivery.teller)]
        with self._lock:
            still = [one for one in gone if self._deliveries.get((one.task_id, one.surface)) == one]
            again = [replace(one, state="pending", at=time.time(), repeat=True, teller=None) for one in still]
            self._deliveries.update({(one.task_id, one.surface): one for one in again})
            return again

    # -- rows --------------------------------------------------------------------------------------

    def _save(self, before: Task, after: Task) -> Task:
        """Write the row, and what follows from it for those who are to be told."""
        self._tasks[after.id] = after
        if may_be_taken(after):
            self._takeable[after.id] = None
        if owes_outcome(before, after):
            self._owe(after.id, after.owner)
        if after.told and not before.told:
            self._settle(self._of(after.id))
        return after

    def _owe(self, task_id: str, surface: str) -> bool:
        if (task_id, surface) in self._deliveries:
            return False
        self._deliveries[task_id, surface] = Delivery(task_id, surface, "pending", time.time())
        return True

    def _settle(self, deliveries: Iterable[Delivery]) -> None:
        for one in deliveries:
            self._deliveries[one.task_id, one.surface] = replace(one, state="told", at=time.time(), teller=None)

    def _of(self, task_id: str) -> list[Delivery]:
        return [delivery for delivery in self._deliveries.values() if delivery.task_id == task_id]

    def _owed(self, state: str) -> list[Delivery]:
        over = [one for one in self._deliveries.values() if self._tasks[one.task_id].state in ("done", "failed")]
        return sorted((one for one in over if one.state == state), key=lambda one: one.at)
