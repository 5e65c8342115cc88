"""Sessions in the database: conversations, what was found in them, what they cost."""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec

from agent.messages import ImagePart, Message, ToolCall
from agent.protocols import Decision
from agent.records import TASK_SOURCE, Hit, Session
from agent.store.accounts import LIVE
from agent.store.database import OnDatabase
from agent.store.rules import (
    call_ids,
    check_session_changes,
    goes_along,
    match_rank,
    new_session_id,
    no_session,
    task_is_live,
)
from agent.store.search import candidates
from agent.store.text import Query, cleaned, title_from

_COLUMNS = "id, source, title, cwd, model, settings, parent, created, updated, archived, messages"
_INSERT_SESSION = f"""
    INSERT INTO sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0) ON CONFLICT (id) DO NOTHING
"""

_INSERT_MESSAGE = """
    INSERT INTO messages (session_id, number, role, content, tool_calls, tool_call_id, reasoning, images, at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


@cache
def _calls() -> msgspec.json.Decoder[tuple[ToolCall, ...]]:
    return msgspec.json.Decoder(tuple[ToolCall, ...])


@cache
def _images() -> msgspec.json.Decoder[tuple[ImagePart, ...]]:
    return msgspec.json.Decoder(tuple[ImagePart, ...])


FIND = """
    SELECT id, title, archived FROM sessions WHERE source <> ? AND
    (instr(lower(title), ?) OR instr(lower(id), ?) = 1 OR length(CAST(title AS BLOB)) > length(title))
    ORDER BY +updated DESC, rowid DESC
"""
"""The sessions that `match_rank` need look at. SQLite's `lower` knows ASCII; other letters have cases of their own."""


class SqliteSessions(OnDatabase):
    """The `SessionStore` half of the store."""

    # -- conversations -----------------------------------------------------------------------------

    def create_session(
        self,
        session_id: str,
        *,
        source: str,
        cwd: str = "",
        model: str = "",
        parent: str = "",
        title: str = "",
        settings: str = "{}",
    ) -> None:
        fields = {"cwd": cwd, "model": model, "parent": parent, "title": title, "settings": settings}
        with self._database.write() as connection:
            insert_session(connection, session_id, source=source, **fields)

    def append(self, session_id: str, message: Message) -> None:
        now = time.time()
        title = title_from(message.content) if message.role == "user" else ""
        with self._database.write() as connection:
            found = connection.execute(
                """
                UPDATE sessions
                SET messages = messages + 1, updated = ?, title = CASE title WHEN '' THEN ? ELSE title END
                WHERE id = ? RETURNING messages
                """,
                (now, cleaned(title), session_id),
            ).fetchall()
            if not found:
                raise no_session(session_id)
            connection.execute(_INSERT_MESSAGE, _message_row(session_id, found[0][0], message, now))

    def messages(self, session_id: str) -> list[Message]:
        with self._database.read() as connection:
            rows = connection.execute(
                """
                SELECT role, content, tool_calls, tool_call_id, reasoning, images FROM messages
                WHERE session_id = ? ORDER BY number
                """,
                (session_id,),
            ).fetchall()
        return [
            Message(
                role,
                content,
                _calls().decode(calls) if calls else (),
                call_id,
                reasoning,
                _images().decode(images) if images else (),
            )
            for role, content, calls, call_id, reasoning, images in rows
        ]

    def mark_begun(self, session_id: str, call_id: str) -> bool:
        row = (session_id, cleaned(call_id), time.time())
        with self._database.write() as connection:
            return connection.execute("INSERT OR IGNORE INTO begun VALUES (?, ?, ?)", row).rowcount > 0

    def has_begun(self, session_id: str, call_id: str) -> bool:
        with self._database.read() as connection:
            row = (session_id, cleaned(call_id))
            found = connection.execute("SELECT 1 FROM begun WHERE session_id = ? AND call_id = ?", row).fetchone()
        return found is not None

    def begun(self, session_id: str) -> list[str]:
        """The keys of the calls that began."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT call_id FROM begun WHERE session_id = ?", (session_id,)).fetchall()
        return [call_id for (call_id,) in rows]

    def decisions(self, session_id: str) -> dict[str, Decision]:
        """What was answered, by key."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT call_id, allowed, reason, scope, via FROM decisions WHERE session_id = ?", (session_id,)
            ).fetchall()
        return {call_id: Decision(bool(allowed), *rest) for call_id, allowed, *rest in rows}

    def record_decision(self, session_id: str, call_id: str, decision: Decision) -> bool:
        row = (session_id, call_id, decision.allowed, decision.reason, decision.scope, time.time(), decision.via)
        with self._database.write() as connection:
            statement = "INSERT OR IGNORE INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?)"
            return connection.execute(statement, cleaned(row)).rowcount > 0

    def decision(self, session_id: str, call_id: str) -> Decision | None:
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT allowed, reason, scope, via FROM decisions WHERE session_id = ? AND call_id = ?",
                (session_id, cleaned(call_id)),
            ).fetchone()
        return Decision(bool(row[0]), *row[1:]) if row else None

    def continue_session(self, session_id: str, messages: Sequence[Message]) -> str:
        calls = call_ids(messages)
        with self._database.write() as connection:
            child = _child(connection, session_id)
            insert_history(connection, child, messages)
            old = {"child": child, "old": session_id}
            for table, columns in (("begun", "at"), ("decisions", "allowed, reason, scope, at, via")):
                keys = connection.execute(f"SELECT call_id FROM {table} WHERE session_id = :old", old).fetchall()
                connection.executemany(
                    f"""
                    INSERT INTO {table} (session_id, call_id, {columns})
                    SELECT :child, call_id, {columns} FROM {table} WHERE session_id = :old AND call_id = :key
                    """,
                    [{**old, "key": key} for (key,) in keys if goes_along(key, calls)],
                )
            for table in ("tasks", "usage"):
                connection.execute(f"UPDATE {table} SET session_id = :child WHERE session_id = :old", old)
            connection.execute("UPDATE sessions SET archived = 1 WHERE id = :old", old)
        return child

    def copy_session(self, session_id: str, messages: Sequence[Message], *, title: str, source: str = "") -> str:
        with self._database.write() as connection:
            child = _child(connection, session_id)
            insert_history(connection, child, messages)
            change = "title = ?, source = coalesce(nullif(?, ''), source)"
            connection.execute(f"UPDATE sessions SET {change} WHERE id = ?", (*cleaned((title, source)), child))
        return child

    def move_session(self, session_id: str, source: str, *, expect: str) -> Session | None:
        with self._database.write() as connection:
            refuse_live(connection, session_id)
            moved = connection.execute(
                "UPDATE sessions SET source = ?, updated = ? WHERE id = ? AND source = ? AND NOT archived",
                (cleaned(source), time.time(), session_id, cleaned(expect)),
            ).rowcount
        return self.session(session_id) if moved else None

    # -- finding -----------------------------------------------------------------------------------

    def session(self, session_id: str) -> Session | None:
        found = self._select("WHERE id = ?", (cleaned(session_id),))
        return found[0] if found else None

    def sessions(
        self, *, cwd: str | None = None, source: str | None = None, archived: bool = False, limit: int = 100
    ) -> list[Session]:
        conditions, values = ["archived = ?"], list[object]([archived])
        if cwd is not None:
            conditions.append("cwd = ?")
            values.append(cleaned(cwd))
        conditions.append("source = ?" if source is not None else "source <> ?")
        values.append(TASK_SOURCE if source is None else source)
        order = "ORDER BY updated DESC, rowid DESC LIMIT ?"
        return self._select(f"WHERE {' AND '.join(conditions)} {order}", [*values, limit])

    def find_sessions(self, text: str, *, cwd: str | None = None, limit: int = 20) -> list[Session]:
        return [session for _rank, session in self._ranked(text, cwd=cwd, limit=limit)]

    def find_session(self, text: str, *, cwd: str | None = None) -> Session | None:
        found = self._ranked(text, cwd=cwd, limit=2)
        if len(found) > 1 and found[0][0] == found[1][0]:
            return None
        return found[0][1] if found else None

    def _ranked(self, text: str, *, cwd: str | None, limit: int) -> list[tuple[int, Session]]:
        wanted = cleaned(text).strip()
        if wanted.casefold() == "latest":
            return list(enumerate(self.sessions(cwd=cwd, limit=limit)))
        if found := self.session(wanted):
            return [(0, found)]
        with self._database.read() as connection:
            rows = connection.execute(FIND, (TASK_SOURCE, wanted.lower(), wanted.lower())).fetchall()
        ranks = [(match_rank(wanted, id_, title, archived=archived), id_) for id_, title, archived in rows if wanted]
        fitting = sorted(((rank, id_) for rank, id_ in ranks if rank is not None), key=lambda pair: pair[0])
        best = [(rank, self.session(id_)) for rank, id_ in fitting[:limit]]
        return [(rank, session) for rank, session in best if session]

    def search(self, query: str, *, limit: int = 20, sources: Sequence[str] = (), besides: str = "") -> list[Hit]:
        wanted, hits = Query(query), list[Hit]()
        if not wanted.words:
            return hits
        with self._database.read() as connection:
            found = candidates(connection, wanted.words, sources=cleaned(tuple(sources)), besides=cleaned(besides))
            for id_, title, number, role, at, content in found:
                if len(hits) == limit:
                    break
                if snippet := wanted.snippet(content):
                    hits.append(Hit(id_, title, number, role, at, snippet))
        return hits

    def _select(self, rest: str, values: Any) -> list[Session]:
        with self._database.read() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM sessions {rest}", values).fetchall()
        return [_session(row) for row in rows]

    # -- changing ----------------------------------------------------------------------------------

    def update_session(self, session_id: str, **changes: Any) -> Session | None:
        check_session_changes(changes)
        if changes:
            columns = ", ".join(f"{name} = ?" for name in changes)
            with self._database.write() as connection:
                connection.execute(
                    f"UPDATE sessions SET {columns} WHERE id = ?", (*cleaned(list(changes.values())), session_id)
                )
        return self.session(session_id)

    def rename_session(self, session_id: str, title: str) -> Session | None:
        return self.update_session(session_id, title=title_from(title))

    def delete_session(self, session_id: str) -> bool:
        with self._database.write() as connection:
            refuse_live(connection, session_id)
            return connection.execute(_DELETE_SESSION, {"id": session_id, "source": TASK_SOURCE}).rowcount > 0


_DELETE_SESSION = """
    DELETE FROM sessions WHERE id IN (
        WITH RECURSIVE of_tasks(id) AS (
            SELECT session_id FROM tasks
            UNION
            SELECT sessions.parent FROM sessions JOIN of_tasks ON sessions.id = of_tasks.id WHERE sessions.parent <> ''
        ), doomed(id) AS (
            SELECT :id
            UNION
            SELECT sessions.id FROM sessions JOIN doomed ON sessions.parent = doomed.id
            WHERE sessions.source = :source AND sessions.id NOT IN (SELECT id FROM of_tasks)
        )
        SELECT id FROM doomed
    )
"""
"""Those of agents that were sent lead up to the session that sent them, and no task's session comes from them."""


def insert_session(connection: sqlite3.Connection, session_id: str, *, source: str, **fields: str) -> None:
    """Within a transaction; a session that exists stays as it is."""
    now = time.time()
    names = ("title", "cwd", "model", "settings", "parent")
    values = [session_id, source, *(fields.get(name) or ("{}" if name == "settings" else "") for name in names)]
    connection.execute(_INSERT_SESSION, (*cleaned(values), now, now))


def refuse_live(connection: sqlite3.Connection, session_id: str) -> None:
    """Within a transaction. Raises: StoreError while a task is live on the session."""
    live = connection.execute(f"SELECT number FROM tasks WHERE session_id = ? AND {LIVE}", (session_id,))
    if row := live.fetchone():
        raise task_is_live(row[0])


def _child(connection: sqlite3.Connection, session_id: str) -> str:
    """Within a transaction: a new session without messages that comes from this one. Raises: StoreError."""
    child, now, fields = new_session_id(), time.time(), "source, title, cwd, model, settings"
    made = connection.execute(
        f"""
        INSERT INTO sessions ({fields}, id, parent, created, updated, messages)
        SELECT {fields}, ?, id, ?, ?, 0 FROM sessions WHERE id = ?
        """,
        (child, now, now, session_id),
    )
    if not made.rowcount:
        raise no_session(session_id)
    return child


def insert_history(connection: sqlite3.Connection, session_id: str, messages: Sequence[Message]) -> None:
    """Within a transaction: the messages that a new session begins with."""
    now = time.time()
    rows = [_message_row(session_id, number, message, now) for number, message in enumerate(messages, 1)]
    connection.executemany(_INSERT_MESSAGE, rows)
    connection.execute("UPDATE sessions SET messages = messages + ? WHERE id = ?", (len(rows), session_id))


def _message_row(session_id: str, number: int, message: Message, at: float) -> tuple[object, ...]:
    message = cleaned(message)
    calls = msgspec.json.encode(message.tool_calls).decode() if message.tool_calls else ""
    images = msgspec.json.encode(message.images).decode() if message.images else ""
    text = (message.role, message.content, calls, message.tool_call_id, message.reasoning, images)
    return session_id, number, *text, at


def _session(row: tuple[Any, ...]) -> Session:
    session = Session(*row)
    return replace(session, archived=bool(session.archived))
