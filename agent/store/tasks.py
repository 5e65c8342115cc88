"""Tasks in the database: their rows, who works on them, what happened, and who was told."""

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, get_args

import msgspec

from agent.events import Event
from agent.messages import Message, Usage
from agent.records import TASK_SOURCE, IsAlive, Lease, LoggedEvent, Standing, Task, TaskState
from agent.store.accounts import LIVE
from agent.store.database import OnDatabase
from agent.store.deliveries import LEASE, lease_from, owe, settle
from agent.store.rules import (
    EVENTS_PER_TASK,
    changed,
    is_left_alone,
    lost,
    new_session_id,
    new_task_id,
    owes_outcome,
    owner_range,
    taken,
    went_elsewhere,
)
from agent.store.sessions import insert_history, insert_session
from agent.store.text import cleaned

_FIELDS = (
    "id number prompt owner session_id settings state activity created started finished steps usage result error told "
    "name options receipt attempts held"
).split()
_COLUMNS = ", ".join([*_FIELDS, *LEASE])
_NEXT = """
    SELECT number FROM (
        SELECT owner, min(number) AS number FROM tasks
        WHERE state IN ('queued', 'parked') AND NOT held AND owner BETWEEN :first AND :last
        GROUP BY owner
    ) AS first
    ORDER BY (SELECT max(claimed) FROM tasks WHERE tasks.owner = first.owner), number LIMIT 1
"""

_INSERT_EVENT = "INSERT INTO events (task, number, at, type, data) VALUES (?, ?, ?, ?, ?)"

_OF_TASK = "WHERE task = (SELECT number FROM tasks WHERE id = ?)"


@cache
def _event_types() -> dict[str, msgspec.json.Decoder[Event]]:
    return {kind.__name__: msgspec.json.Decoder(kind) for kind in get_args(Event)}


class SqliteTasks(OnDatabase):
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
        task = Task(
            new_task_id(),
            0,
            prompt,
            owner,
            session_id or new_session_id(),
            settings,
            created=time.time(),
            name=name,
            options=options,
            receipt=receipt,
        )
        row = _row(task := cleaned(task))
        del row["number"]
        statement = f"INSERT INTO tasks ({', '.join(row)}) VALUES ({', '.join('?' * len(row))}) RETURNING number"
        with self._database.write() as connection:
            if source and not _belongs(connection, session_id, source):
                raise went_elsewhere(session_id)
            insert_session(connection, task.session_id, source=TASK_SOURCE, cwd=cwd, **_inherited(connection, parent))
            insert_history(connection, task.session_id, history)
            number = connection.execute(statement, list(row.values())).fetchall()[0][0]
            _insert_log(connection, number, log)
        return replace(task, number=number)

    def task(self, task_id: str) -> Task | None:
        with self._database.read() as connection:
            return _load(connection, task_id)

    def tasks(
        self, *, owner: str | None = None, states: frozenset[TaskState] | None = None, number: int | None = None
    ) -> list[Task]:
        conditions, values = ["TRUE"], list[str | int]()
        if number is not None:
            conditions.append("number = ?")
            values.append(number)
        if owner is not None:
            conditions.append("owner BETWEEN ? AND ?")
            values.extend(owner_range(owner))
        if states is not None:
            conditions.append(f"state IN ({', '.join('?' * len(states))})")
            values.extend(states)
        with self._database.read() as connection:
            return select_tasks(connection, f"WHERE {' AND '.join(conditions)} ORDER BY number", values)

    def update_task(
        self, task_id: str, *, expect: frozenset[TaskState] | None = None, holder: str | None = None, **changes: Any
    ) -> Task | None:
        # What only says what is going on need not outlive a power cut.
        durable = not changes.keys() <= {"activity", "steps", "usage", "receipt"}
        with self._database.write(durable=durable) as connection:
            task = _load(connection, task_id)
            if task is None or (expect is not None and task.state not in expect):
                return None
            if holder is not None and (task.lease is None or task.lease.worker != holder):
                return None
            return _save(connection, task, changed(task, **cleaned(changes)))

    # -- who works ---------------------------------------------------------------------------------

    def claim_task(self, lease: Lease, *, owner: str | None = None) -> Task | None:
        with self._database.write() as connection:
            if (task := _next(connection, owner)) is None:
                return None
            now = time.time()
            after = _save(connection, task, taken(task, replace(lease, heartbeat=now)))
            connection.execute("UPDATE tasks SET claimed = ? WHERE id = ?", (now, task.id))
            return after

    def heartbeat(self, worker: str) -> list[str]:
        with self._database.write(durable=False) as connection:
            rows = connection.execute(
                "UPDATE tasks SET heartbeat = ? WHERE worker = ? AND state = 'running' RETURNING id",
                (time.time(), worker),
            ).fetchall()
        return [task_id for (task_id,) in rows]

    def reclaim_dead(self, now: float, is_alive: IsAlive, *, stale: float = 0.0) -> list[Task]:
        running = self.tasks(states=frozenset({"running"}))
        gone = {task.id: task.lease for task in running if is_left_alone(task, stale, is_alive)}
        if not gone:
            return []
        with self._database.write() as connection:
            still = select_tasks(connection, "WHERE state = 'running' ORDER BY number", ())
            dead = [task for task in still if task.id in gone and task.lease == gone[task.id]]
            return [_save(connection, task, lost(task, now)) for task in dead]

    def standings(self, owner: str | None = None) -> dict[str, Standing]:
        condition, values = ("", ()) if owner is None else ("AND owner BETWEEN ? AND ?", owner_range(owner))
        with self._database.read() as connection:
            columns = "id, state, held, coalesce(worker, '')"
            statement = f"SELECT {columns} FROM tasks WHERE {LIVE} {condition} ORDER BY number"
            rows = connection.execute(statement, values).fetchall()
        return {task_id: Standing(state, bool(held), worker) for task_id, state, held, worker in rows}

    # -- what a person adds meanwhile --------------------------------------------------------------

    def steer_task(self, task_id: str, text: str) -> bool:
        with self._database.write() as connection:
            added = connection.execute(
                f"INSERT INTO inbox (task, text) SELECT number, ? FROM tasks WHERE id = ? AND {LIVE}",
                (cleaned(text), task_id),
            )
            return added.rowcount > 0

    def move_steering(self, task_id: str, other_id: str) -> bool:
        with self._database.write() as connection:
            other = connection.execute(f"SELECT number FROM tasks WHERE id = ? AND {LIVE}", (other_id,)).fetchone()
            if other is not None:
                connection.execute(
                    f"UPDATE inbox SET task = ?, session_id = '', place = 0 {_OF_TASK}", (other[0], task_id)
                )
        return other is not None

    def drop_steering(self, task_id: str) -> list[str]:
        with self._database.write() as connection:
            lines = connection.execute(
                f"DELETE FROM inbox {_OF_TASK} RETURNING id, text, session_id, place", (task_id,)
            ).fetchall()
            return [text for _id, text, *where in sorted(lines) if not _arrived(connection, text, *where)]

    def take_steering(self, task_id: str, session_id: str) -> list[str]:
        with self._database.read() as connection:
            # Mostly there is nothing, and nobody need wait for a writer to learn that.
            if not connection.execute(f"SELECT 1 FROM inbox {_OF_TASK}", (task_id,)).fetchone():
                return []
        with self._database.write() as connection:
            lines = connection.execute(
                f"SELECT id, text, session_id, place FROM inbox {_OF_TASK} ORDER BY id", (task_id,)
            ).fetchall()
            end = connection.execute("SELECT messages FROM sessions WHERE id = ?", (session_id,)).fetchone()[0]
            open_lines = [(id_, text) for id_, text, *where in lines if not _arrived(connection, text, *where)]
            connection.execute(f"DELETE FROM inbox {_OF_TASK} AND place > 0", (task_id,))
            for place, (id_, text) in enumerate(open_lines, end + 1):
                connection.execute(
                    """
                    INSERT OR REPLACE INTO inbox (id, task, text, session_id, place)
                    VALUES (?, (SELECT number FROM tasks WHERE id = ?), ?, ?, ?)
                    """,
                    (id_, task_id, text, session_id, place),
                )
        return [text for _id, text in open_lines]

    # -- what happened -----------------------------------------------------------------------------

    def append_event(self, task_id: str, event: Event) -> None:
        with self._database.write(durable=False) as connection:
            found = connection.execute(
                "UPDATE tasks SET events = events + 1 WHERE id = ? RETURNING number, events", (task_id,)
            ).fetchall()
            for task, number in found:
                connection.execute(_INSERT_EVENT, _event_row(task, number, event))
                if number > EVENTS_PER_TASK:
                    connection.execute(
                        "DELETE FROM events WHERE task = ? AND number <= ?", (task, number - EVENTS_PER_TASK)
                    )

    def events(self, task_id: str) -> list[Event]:
        return [logged.event for logged in self.log(task_id)]

    def log(self, task_id: str, *, after: int = 0, last: int | None = None) -> list[LoggedEvent]:
        with self._database.read() as connection:
            rows = connection.execute(
                """
                SELECT events.number, at, type, data FROM events
                WHERE task = (SELECT number FROM tasks WHERE id = ?) AND events.number > ?
                ORDER BY events.number DESC LIMIT ?
                """,
                (task_id, after, -1 if last is None else last),
            ).fetchall()
        logged: list[LoggedEvent] = []
        for number, at, kind, data in reversed(rows):
            # What another release wrote, and this one does not know, is passed over.
            with contextlib.suppress(KeyError, msgspec.ValidationError):
                logged.append(LoggedEvent(number, at, _event_types()[kind].decode(data)))
        return logged


# -- rows ------------------------------------------------------------------------------------------


def _row(task: Task) -> dict[str, Any]:
    """The task as columns. Identical tasks give identical rows."""
    row = {name: getattr(task, name) for name in _FIELDS}
    row["usage"] = msgspec.json.encode(task.usage).decode()
    lease = task.lease
    values = (lease.worker, lease.pid, lease.started, lease.heartbeat) if lease else (None,) * len(LEASE)
    return {**row, **dict(zip(LEASE, values, strict=True))}


def _event_row(task: int, number: int, event: Event) -> tuple[object, ...]:
    event = cleaned(event)
    return task, number, time.time(), type(event).__name__, msgspec.json.encode(event).decode()


def _insert_log(connection: sqlite3.Connection, task: int, log: Sequence[Event]) -> None:
    """Within a transaction: what happened before the task was made."""
    numbered = list(enumerate(log, 1))[-EVENTS_PER_TASK:]
    connection.executemany(_INSERT_EVENT, [_event_row(task, number, event) for number, event in numbered])
    connection.execute("UPDATE tasks SET events = ? WHERE number = ?", (len(log), task))


def _belongs(connection: sqlite3.Connection, session_id: str, source: str) -> bool:
    asked = "SELECT 1 FROM sessions WHERE id = ? AND source = ? AND NOT archived"
    return connection.execute(asked, (session_id, cleaned(source))).fetchone() is not None


def _inherited(connection: sqlite3.Connection, parent: str) -> dict[str, str]:
    """What a session has from the one it came from."""
    row = connection.execute("SELECT model, settings FROM sessions WHERE id = ?", (cleaned(parent),)).fetchone()
    return {"parent": parent, "model": row[0], "settings": row[1]} if row else {}


def _load(connection: sqlite3.Connection, task_id: str) -> Task | None:
    found = select_tasks(connection, "WHERE id = ?", (cleaned(task_id),))
    return found[0] if found else None


def _next(connection: sqlite3.Connection, owner: str | None) -> Task | None:
    first, last = owner_range(owner)
    found = select_tasks(connection, f"WHERE number = ({_NEXT})", {"first": first, "last": last})
    return found[0] if found else None


def _arrived(connection: sqlite3.Connection, text: str, session_id: str, place: int) -> bool:
    """Whether a line that was taken is where it belongs in the conversation."""
    row = (session_id, place, text)
    statement = "SELECT 1 FROM messages WHERE session_id = ? AND number = ? AND role = 'user' AND content = ?"
    return place > 0 and connection.execute(statement, row).fetchone() is not None


def select_tasks(connection: sqlite3.Connection, rest: str, values: Any) -> list[Task]:
    return [_task(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM tasks {rest}", values).fetchall()]


def _task(row: tuple[Any, ...]) -> Task:
    fields = dict(zip(_FIELDS, row, strict=False))
    fields["usage"] = msgspec.json.decode(fields["usage"], type=Usage)
    fields["told"], fields["held"] = bool(fields["told"]), bool(fields["held"])
    return Task(**fields, lease=lease_from(row[-len(LEASE) :]))


def _save(connection: sqlite3.Connection, before: Task, after: Task) -> Task:
    """Write what changed, and what follows from it for those who are to be told."""
    old, new = _row(before), _row(after)
    differences = {name: value for name, value in new.items() if value != old[name]}
    if differences:
        columns = ", ".join(f"{name} = ?" for name in differences)
        connection.execute(f"UPDATE tasks SET {columns} WHERE id = ?", (*differences.values(), before.id))
    if owes_outcome(before, after):
        owe(connection, after.id, after.owner)
    if after.told and not before.told:
        settle(connection, "told", "task_id = ?", (after.id,))
    return after
