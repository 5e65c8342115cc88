"""What the conversations cost, and how much room they take."""

import json
import time
from collections.abc import Sequence

from agent.messages import Usage
from agent.records import Pruned, StoreStats, UsageRow
from agent.store.database import OnDatabase
from agent.store.text import cleaned

PRUNED_AT_ONCE = 10
"""Sessions deleted in one transaction, so that nobody has to wait long."""

PAGES_AT_ONCE = 500
"""Free pages given back to the disk in one transaction."""

OWED = """
    SELECT task_id FROM deliveries JOIN tasks ON tasks.id = task_id
    WHERE deliveries.state <> 'told' AND tasks.state IN ('done', 'failed')
"""
LIVE = "state IN ('queued', 'running', 'waiting', 'parked')"
_KEPT_TASK = f"({LIVE} OR finished >= :before OR id IN ({OWED}) OR id IN (SELECT value FROM json_each(:besides)))"
_KEPT_SESSION = f"""
    (
        updated >= :before
        OR id IN (SELECT value FROM json_each(:besides))
        OR id IN (SELECT session_id FROM tasks WHERE {_KEPT_TASK})
        OR id IN (SELECT owner FROM tasks WHERE {LIVE} OR id IN ({OWED}))
    )
"""
_WITH_EARLIER = """
    (
        WITH RECURSIVE found(id, parent) AS (
            SELECT id, parent FROM sessions WHERE {condition}
            UNION
            SELECT earlier.id, earlier.parent FROM sessions AS earlier JOIN found ON earlier.id = found.parent
            WHERE earlier.archived
        )
        SELECT id FROM found
    )
"""
"""Sessions, and the archived ones that they went on from: the beginnings of conversations that were compacted."""
_DOOMED_SESSION = f"id NOT IN {_WITH_EARLIER.format(condition=_KEPT_SESSION)}"
_STILL_DOOMED = f"NOT {_KEPT_SESSION} AND id NOT IN {_WITH_EARLIER.format(condition='updated >= :looked')}"
"""Of those that were doomed at `looked`: to look at what changed since is quick, however many sessions there are."""


class SqliteAccounts(OnDatabase):
    """Usage, pruning and figures."""

    def add_usage(self, session_id: str, model: str, usage: Usage) -> None:
        tokens = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens)
        with self._database.write(durable=False) as connection:
            connection.execute(
                """
                INSERT INTO usage VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?)
                ON CONFLICT (day, model, session_id) DO UPDATE SET
                    requests = requests + 1,
                    input_tokens = input_tokens + excluded.input_tokens,
                    output_tokens = output_tokens + excluded.output_tokens,
                    cached_tokens = cached_tokens + excluded.cached_tokens,
                    reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
                    cost = coalesce(cost + excluded.cost, cost, excluded.cost)
                """,
                (time.strftime("%Y-%m-%d"), cleaned(model), session_id, *tokens, usage.cost),
            )

    def usage(self, *, since: str = "", session_id: str | None = None) -> list[UsageRow]:
        condition, values = ("", [since]) if session_id is None else ("AND session_id = ?", [since, session_id])
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT * FROM usage WHERE day >= ? {condition} ORDER BY day, model, session_id", values
            ).fetchall()
        return [UsageRow(day, model, session, count, Usage(*spent)) for day, model, session, count, *spent in rows]

    def prune(self, *, before: float, dry_run: bool = False, besides: Sequence[str] = ()) -> Pruned:
        values = {"before": before, "besides": json.dumps(list(besides)), "looked": time.time()}
        with self._database.read() as connection:
            doomed = connection.execute(f"SELECT id, messages FROM sessions WHERE {_DOOMED_SESSION}", values).fetchall()
            tasks = connection.execute(f"SELECT count(*) FROM tasks WHERE NOT {_KEPT_TASK}", values).fetchone()[0]
        pruned = Pruned(len(doomed), sum(messages for _id, messages in doomed), tasks)
        if dry_run:
            return pruned
        for start in range(0, len(doomed), PRUNED_AT_ONCE):
            with self._database.write(durable=False) as connection:
                # Somebody may have gone on with one since.
                connection.executemany(
                    f"DELETE FROM sessions WHERE id = :id AND {_STILL_DOOMED}",
                    [{"id": id_, **values} for id_, _messages in doomed[start : start + PRUNED_AT_ONCE]],
                )
        with self._database.write() as connection:
            connection.execute(f"DELETE FROM tasks WHERE NOT {_KEPT_TASK}", values)
        for _ in range(0, self._free_pages(), PAGES_AT_ONCE):
            self._database.vacuum_some(PAGES_AT_ONCE)
        return pruned

    def stats(self) -> StoreStats:
        path = self._database.path
        with self._database.read() as connection:
            sessions, messages, tasks = connection.execute(
                "SELECT count(*), coalesce(sum(messages), 0), (SELECT count(*) FROM tasks) FROM sessions"
            ).fetchone()
            pages, page, free = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "page_size", "freelist_count")
            )
        log = path.with_name(f"{path.name}-wal")
        size = pages * page + (log.stat().st_size if log.exists() else 0)
        return StoreStats(sessions, messages, tasks, size, free * page)

    def _free_pages(self) -> int:
        with self._database.read() as connection:
            free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
        return free
