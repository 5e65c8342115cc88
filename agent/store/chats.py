"""Messages of chats in the database."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

from agent.chats import NOTES_OF_CHATS, Inbound, Outbound, OutboundState
from agent.records import IsAlive, Lease
from agent.store.accounts import LIVE, OWED
from agent.store.database import OnDatabase
from agent.store.deliveries import LEASE, lease_from
from agent.store.text import cleaned

_OUTBOUND = "id, chat, payload, state, key, message_id, at, due, attempts, repeat, error, " + ", ".join(LEASE)
_OLD = (
    "inbound WHERE handled AND at < ?",
    "outbound WHERE state IN ('sent', 'refused') AND at < ?",
    f"tasks WHERE owner BETWEEN 'turn:' AND 'turn;' AND NOT {LIVE} AND finished < ? AND id NOT IN ({OWED})",
)
"""What chats need no more after a while. What a turn said is in its conversation."""

_FREE = "worker = NULL, pid = NULL, process_started = NULL, heartbeat = NULL"


def put_letter(
    connection: sqlite3.Connection,
    chat: str,
    payload: str,
    *,
    state: OutboundState = "pending",
    key: str = "",
    message_id: str = "",
) -> int | None:
    """What `ChatStore.post` does, in somebody's transaction."""
    now = time.time()
    found = connection.execute(
        """
        INSERT OR IGNORE INTO outbound (chat, payload, state, key, message_id, at, due, place)
        VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(place), 0) + 1 FROM outbound)) RETURNING id
        """,
        (*cleaned((chat, payload)), state, key or None, message_id, now, now),
    ).fetchall()
    return int(found[0][0]) if found else None


class SqliteChats(OnDatabase):
    """The `ChatStore` part of the store."""

    def receive(self, platform: str, message_id: str, chat: str, payload: str) -> bool:
        return self.receive_all([(platform, message_id, chat, payload)])[0]

    def receive_all(self, rows: Sequence[tuple[str, str, str, str]]) -> list[bool]:
        now = time.time()
        statement = "INSERT OR IGNORE INTO inbound (platform, message_id, chat, payload, at) VALUES (?, ?, ?, ?, ?)"
        with self._database.write() as connection:
            return [connection.execute(statement, (*cleaned(row), now)).rowcount > 0 for row in rows]

    def last_received(self, platform: str, *, limit: int) -> dict[str, float]:
        statement = """
            SELECT substr(chat, 1, instr(chat || '@', '@') - 1), max(at) FROM inbound
            WHERE platform = ? GROUP BY 1 ORDER BY 2 DESC LIMIT ?
        """
        with self._database.read() as connection:
            return dict(connection.execute(statement, (platform, limit)).fetchall())

    def received(self) -> list[Inbound]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT platform, message_id, chat, payload, at FROM inbound WHERE NOT handled ORDER BY id"
            ).fetchall()
        return [Inbound(*row) for row in rows]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        with self._database.write():
            yield

    def is_dealt_with(self, platform: str, message_id: str) -> bool:
        with self._database.read() as connection:
            statement = "SELECT handled FROM inbound WHERE platform = ? AND message_id = ?"
            found = connection.execute(statement, (platform, cleaned(message_id))).fetchone()
        return bool(found and found[0])

    def dealt_with(self, platform: str, message_id: str) -> None:
        # Dealing with a message once more after a power cut does no harm: what comes of it has a key.
        with self._database.write(durable=False) as connection:
            connection.execute(
                "UPDATE inbound SET handled = 1 WHERE platform = ? AND message_id = ?", (platform, cleaned(message_id))
            )

    def post(self, chat: str, payload: str, *, key: str = "", live: bool = False, message_id: str = "") -> int | None:
        state: OutboundState = "live" if live else "pending"
        with self._database.write() as connection:
            return put_letter(connection, chat, payload, state=state, key=key, message_id=message_id)

    def posted(self, key: str) -> Outbound | None:
        found = self._letters("WHERE key = ?", (key,))
        return found[0] if found else None

    def set_live(self, outbound_id: int, message_id: str) -> None:
        self._change_letter(outbound_id, "message_id = ?", (message_id,), durable=False)

    def complete(self, outbound_id: int, payload: str, *, key: str = "") -> None:
        place = "(SELECT max(place) + 1 FROM outbound)"
        change = f"state = 'pending', payload = ?, due = ?, key = coalesce(?, key), place = {place}"
        values = (cleaned(payload), time.time(), key or None)
        self._change_letter(outbound_id, change, values, "AND state = 'live'")

    def take_outbound(self, chat: str, sender: Lease, now: float) -> Outbound | None:
        with self._database.write() as connection:
            rows = connection.execute(
                f"""
                UPDATE outbound SET state = 'sending', attempts = attempts + 1, worker = ?, pid = ?,
                    process_started = ?, heartbeat = ?
                WHERE state = 'pending' AND due <= ? AND id = (
                    SELECT id FROM outbound WHERE chat = ? AND state IN ('pending', 'sending') ORDER BY place LIMIT 1
                )
                RETURNING {_OUTBOUND}
                """,
                (sender.worker, sender.pid, sender.started, now, now, cleaned(chat)),
            ).fetchall()
        return _outbound(rows[0]) if rows else None

    def mark_sent(self, outbound_id: int, message_id: str) -> None:
        # Lost with the power, it is sent again as a possible repeat.
        change = f"state = 'sent', at = ?, message_id = ?, {_FREE}"
        self._change_letter(outbound_id, change, (time.time(), message_id), durable=False)

    def postpone(self, outbound_id: int, due: float, error: str, *, repeat: bool = False) -> None:
        change = f"state = 'pending', due = ?, error = ?, repeat = repeat OR ?, {_FREE}"
        self._change_letter(outbound_id, change, (due, cleaned(error), repeat))

    def refuse(self, outbound_id: int, error: str) -> None:
        self._change_letter(
            outbound_id, f"state = 'refused', at = ?, error = ?, {_FREE}", (time.time(), cleaned(error))
        )

    def reclaim_outbound(self, is_alive: IsAlive) -> list[Outbound]:
        sending = self._letters("WHERE state = 'sending' ORDER BY place", ())
        gone = [one.id for one in sending if one.sender is None or not is_alive(one.sender)]
        for outbound_id in gone:
            self._change_letter(outbound_id, f"state = 'pending', repeat = 1, {_FREE}", (), "AND state = 'sending'")
        return [one for one in self._letters("WHERE state = 'pending' ORDER BY place", ()) if one.id in gone]

    def unsent(self, chat: str | None = None) -> list[Outbound]:
        condition, values = ("", ()) if chat is None else ("AND chat = ?", (cleaned(chat),))
        return self._letters(f"WHERE state IN ('pending', 'sending') {condition} ORDER BY place", values)

    def waiting_chats(self) -> list[str]:
        with self._database.read() as connection:
            statement = "SELECT DISTINCT chat FROM outbound WHERE state IN ('pending', 'sending')"
            return [chat for (chat,) in connection.execute(statement).fetchall()]

    def refused(self, *, limit: int = 20) -> list[Outbound]:
        return self._letters("WHERE state = 'refused' ORDER BY at DESC, id DESC LIMIT ?", (limit,))

    def forget_chats(self, before: float) -> int:
        with self._database.write() as connection:
            return sum(connection.execute(f"DELETE FROM {old}", (before,)).rowcount for old in _OLD)

    def move_chat(self, old: str, new: str) -> None:
        places = (
            ("sessions", "source", ("", "handoff:")),
            ("tasks", "owner", ("turn:", "chat:")),
            ("deliveries", "surface", ("turn:", "chat:")),
            ("inbound", "chat", ("",)),
            ("outbound", "chat", ("",)),
            ("notes", "value", ("",)),
            ("notes", "name", NOTES_OF_CHATS),
        )
        with self._database.write() as connection:
            for table, column, leads in places:
                for lead in leads:
                    connection.execute(
                        f"""
                        UPDATE OR REPLACE {table} SET {column} = :new || substr({column}, length(:old) + 1)
                        WHERE {column} = :old OR substr({column}, 1, length(:old) + 1) IN (:old || '/', :old || '@')
                        """,
                        cleaned({"old": f"{lead}{old}", "new": f"{lead}{new}"}),
                    )

    def note(self, name: str, value: str) -> None:
        with self._database.write() as connection:
            if value:
                connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", cleaned((name, value)))
            else:
                connection.execute("DELETE FROM notes WHERE name = ?", (cleaned(name),))

    def notes(self, lead: str) -> dict[str, str]:
        with self._database.read() as connection:
            statement = "SELECT name, value FROM notes WHERE substr(name, 1, length(:lead)) = :lead ORDER BY name"
            return dict(connection.execute(statement, {"lead": cleaned(lead)}).fetchall())

    def _letters(self, rest: str, values: tuple[object, ...]) -> list[Outbound]:
        with self._database.read() as connection:
            return [
                _outbound(row)
                for row in connection.execute(f"SELECT {_OUTBOUND} FROM outbound {rest}", values).fetchall()
            ]

    def _change_letter(
        self, outbound_id: int, change: str, values: tuple[object, ...], condition: str = "", *, durable: bool = True
    ) -> None:
        with self._database.write(durable=durable) as connection:
            connection.execute(f"UPDATE outbound SET {change} WHERE id = ? {condition}", (*values, outbound_id))


def _outbound(row: tuple[Any, ...]) -> Outbound:
    id_, chat, payload, state, key, message_id, at, due, attempts, repeat, error, *lease = row
    sender = lease_from(tuple(lease))
    return Outbound(id_, chat, payload, state, key or "", message_id, at, due, attempts, bool(repeat), error, sender)
