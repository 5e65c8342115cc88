"""Who is to be told of a task's outcome, and who was."""

import sqlite3
import time
from dataclasses import replace
from typing import Any

from agent.records import Delivery, IsAlive, Lease
from agent.store.database import OnDatabase
from agent.store.text import cleaned

LEASE = ("worker", "pid", "process_started", "heartbeat")
"""The columns of a lease."""

_DELIVERY = ", ".join(f"deliveries.{name}" for name in ("task_id", "surface", "state", "at", "repeat", *LEASE))


class SqliteDeliveries(OnDatabase):
    """The ledger of notices: one a task and surface."""

    def add_delivery(self, task_id: str, surface: str) -> bool:
        with self._database.write() as connection:
            return _exists(connection, task_id) and owe(connection, task_id, surface)

    def claim_delivery(self, task_id: str, surface: str, teller: Lease) -> Delivery | None:
        now = time.time()
        with self._database.write() as connection:
            rows = connection.execute(
                f"""
                UPDATE deliveries SET state = 'sending', at = ?, worker = ?, pid = ?, process_started = ?, heartbeat = ?
                WHERE task_id = ? AND surface = ? AND state = 'pending'
                AND (SELECT state FROM tasks WHERE id = task_id) IN ('done', 'failed')
                RETURNING {_DELIVERY.replace("deliveries.", "")}
                """,
                (now, teller.worker, teller.pid, teller.started, now, task_id, surface),
            ).fetchall()
        return _delivery(rows[0]) if rows else None

    def release_delivery(self, task_id: str, surface: str) -> bool:
        with self._database.write() as connection:
            return settle(
                connection, "pending", "task_id = ? AND surface = ? AND state = 'sending'", (task_id, surface)
            )

    def mark_told(self, task_id: str, surface: str) -> bool:
        with self._database.write() as connection:
            told = settle(connection, "told", "task_id = ? AND surface = ? AND state <> 'told'", (task_id, surface))
            connection.execute(
                """
                UPDATE tasks SET told = 1 WHERE id = :task AND state IN ('done', 'failed')
                AND NOT EXISTS (SELECT 1 FROM deliveries WHERE task_id = :task AND state <> 'told')
                """,
                {"task": task_id},
            )
        return told

    def undelivered(self, surface: str | None = None) -> list[Delivery]:
        return self._deliveries("pending", surface)

    def reclaim_deliveries(self, is_alive: IsAlive) -> list[Delivery]:
        gone = [one for one in self._deliveries("sending", None) if one.teller is None or not is_alive(one.teller)]
        if not gone:
            return []
        with self._database.write() as connection:
            still = [
                one
                for one in gone
                if settle(
                    connection,
                    "pending",
                    "task_id = ? AND surface = ? AND state = 'sending' AND at = ?",
                    (one.task_id, one.surface, one.at),
                    repeat=True,
                )
            ]
        return [replace(one, state="pending", repeat=True, teller=None) for one in still]

    def _deliveries(self, state: str, surface: str | None) -> list[Delivery]:
        condition, values = ("", [state]) if surface is None else ("AND surface = ?", [state, surface])
        with self._database.read() as connection:
            rows = connection.execute(
                f"""
                SELECT {_DELIVERY} FROM deliveries JOIN tasks ON tasks.id = task_id
                WHERE deliveries.state = ? {condition} AND tasks.state IN ('done', 'failed')
                ORDER BY deliveries.at, number
                """,
                values,
            ).fetchall()
        return [_delivery(row) for row in rows]


def lease_from(columns: tuple[Any, ...]) -> Lease | None:
    return Lease(*columns) if columns[0] is not None else None


def _delivery(row: tuple[Any, ...]) -> Delivery:
    task_id, surface, state, at, repeat, *columns = row
    return Delivery(task_id, surface, state, at, bool(repeat), lease_from(tuple(columns)))


def _exists(connection: sqlite3.Connection, task_id: str) -> bool:
    return connection.execute("SELECT 1 FROM tasks WHERE id = ?", (task_id,)).fetchone() is not None


def owe(connection: sqlite3.Connection, task_id: str, surface: str) -> bool:
    row = (task_id, cleaned(surface), time.time())
    statement = "INSERT OR IGNORE INTO deliveries (task_id, surface, state, at) VALUES (?, ?, 'pending', ?)"
    return connection.execute(statement, row).rowcount > 0


def settle(
    connection: sqlite3.Connection, state: str, condition: str, values: tuple[object, ...], *, repeat: bool = False
) -> bool:
    """Bring deliveries into a state that nobody holds a lease on."""
    found = connection.execute(
        f"""
        UPDATE deliveries SET state = ?, at = ?, repeat = repeat OR ?, worker = NULL, pid = NULL,
            process_started = NULL, heartbeat = NULL
        WHERE {condition}
        """,
        (state, time.time(), repeat, *values),
    )
    return found.rowcount > 0
