"""Which front ends are there, and what those that are gone have left behind."""

import sqlite3
import time
from dataclasses import replace

from agent.records import IsAlive, Lease, Task
from agent.store.accounts import LIVE
from agent.store.database import OnDatabase
from agent.store.deliveries import LEASE, lease_from
from agent.store.rules import is_left, owner_range
from agent.store.tasks import select_tasks
from agent.store.text import cleaned

_OWED = "EXISTS (SELECT 1 FROM deliveries WHERE task_id = id AND surface = owner AND deliveries.state = 'pending')"
_LEFT = f"owner = ? AND ({LIVE} OR (state IN ('done', 'failed') AND {_OWED}))"


_OWNERS = f"SELECT owner FROM tasks WHERE {LIVE} UNION SELECT surface FROM deliveries WHERE state = 'pending'"
"""Those that may have left something; old tasks are many."""


class SqlitePresence(OnDatabase):
    """The `PresenceStore` part of the store."""

    def enter(self, owner: str, lease: Lease) -> None:
        row = (cleaned(owner), lease.worker, lease.pid, lease.started, time.time())
        with self._database.write() as connection:
            connection.execute("INSERT OR REPLACE INTO front_ends VALUES (?, ?, ?, ?, ?)", row)

    def enter_alone(self, owner: str, lease: Lease, is_alive: IsAlive) -> Lease | None:
        first, last = owner_range(f"{owner.partition(':')[0]}:")
        with self._database.write() as connection:
            rows = connection.execute(
                f"SELECT owner, {', '.join(LEASE)} FROM front_ends WHERE owner BETWEEN ? AND ?", (first, last)
            ).fetchall()
            for other, *columns in rows:
                there = Lease(*columns)
                if there.worker == lease.worker:
                    continue
                if not is_alive(there):
                    connection.execute("DELETE FROM front_ends WHERE owner = ?", (other,))
                elif other == cleaned(owner):
                    return there
            row = (cleaned(owner), lease.worker, lease.pid, lease.started, time.time())
            connection.execute("INSERT OR REPLACE INTO front_ends VALUES (?, ?, ?, ?, ?)", row)
        return None

    def depart(self, owner: str) -> None:
        with self._database.write() as connection:
            connection.execute("DELETE FROM front_ends WHERE owner = ?", (cleaned(owner),))

    def present(self) -> dict[str, Lease]:
        with self._database.read() as connection:
            rows = connection.execute("SELECT * FROM front_ends ORDER BY owner").fetchall()
        return {owner: Lease(*columns) for owner, *columns in rows}

    def adopt_tasks(self, owner: str, is_alive: IsAlive) -> list[Task]:
        with self._database.read() as connection:
            owners = {other for (other,) in connection.execute(_OWNERS).fetchall()}
        present = self.present()
        others = [other for other in owners | set(present) if is_left(other, owner)]
        gone = [other for other in others if other not in present or not is_alive(present[other])]
        if not gone:
            return []
        with self._database.write() as connection:
            # One that came back meanwhile keeps what is its own.
            still = [other for other in gone if _lease_of(connection, other) == present.get(other)]
            adopted = [task for other in still for task in _adopt(connection, other, owner)]
        return sorted(adopted, key=lambda task: task.number)


def _lease_of(connection: sqlite3.Connection, owner: str) -> Lease | None:
    rows = connection.execute(f"SELECT {', '.join(LEASE)} FROM front_ends WHERE owner = ?", (owner,)).fetchall()
    return lease_from(rows[0]) if rows else None


def _adopt(connection: sqlite3.Connection, other: str, owner: str) -> list[Task]:
    left = select_tasks(connection, f"WHERE {_LEFT}", (other,))
    for task in left:
        connection.execute("UPDATE tasks SET owner = ? WHERE id = ?", (owner, task.id))
        connection.execute(
            "UPDATE deliveries SET surface = ? WHERE task_id = ? AND surface = ? AND state = 'pending'",
            (owner, task.id, other),
        )
    connection.execute("DELETE FROM front_ends WHERE owner = ?", (other,))
    return [replace(task, owner=owner) for task in left]
