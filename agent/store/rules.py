"""What all stores agree on: ids, which sessions are meant, how a task's row may change. Nothing here stores."""

import time
from collections.abc import Iterable
from dataclasses import replace
from secrets import token_hex
from typing import Any

from agent.errors import StoreError
from agent.messages import Message
from agent.records import LIVE_STATES, TASK_SOURCE, IsAlive, Lease, Session, Task
from agent.store.text import cleaned

EVENTS_PER_TASK = 2_000
"""Older events of a task are dropped beyond this."""

MAX_ATTEMPTS = 3
"""How often a task is taken up again when whoever ran it died."""

SESSION_FIELDS = frozenset({"title", "cwd", "model", "settings", "parent", "archived"})
"""What `update_session` may change."""


def new_session_id() -> str:
    return f"{time.strftime('%Y%m%d_%H%M%S')}_{token_hex(3)}"


def new_task_id() -> str:
    return f"bg_{time.strftime('%H%M%S')}_{token_hex(3)}"


# -- sessions --------------------------------------------------------------------------------------


def no_session(session_id: str) -> StoreError:
    return StoreError(f"There is no session {session_id}.")


def task_is_live(number: int) -> StoreError:
    return StoreError(f"Task #{number} still works on this session.", hint=f"Stop it first: /tasks stop {number}")


def went_elsewhere(session_id: str) -> StoreError:
    return StoreError(f"Session {session_id} goes on elsewhere by now.")


def call_ids(messages: Iterable[Message]) -> set[str]:
    return {cleaned(call.id) for message in messages for call in message.tool_calls}


def goes_along(key: str, calls: set[str]) -> bool:
    """Whether the mark or the answer under this key is about one of the calls that a new session begins with.

    Keys are a call's id, or that and what it would do, after a colon. Calls that stay behind may have had the same id
    as one to come: some servers count them from zero.
    """
    return key in calls or key.rpartition(":")[0] in calls


def check_session_changes(changes: Iterable[str]) -> None:
    """Raises: TypeError, for what is not a changeable field of a session."""
    if wrong := set(changes) - SESSION_FIELDS:
        raise TypeError(f"not a changeable field of a session: {', '.join(sorted(wrong))}")


def match_rank(wanted: str, session_id: str, title: str, *, archived: bool) -> int | None:
    """How well a session fits what a person typed, 0 is best; None when it does not.

    A title means the session that is in use before the archived one it goes on from.
    """
    wanted, session_id, title = wanted.casefold(), session_id.casefold(), title.casefold()
    if session_id == wanted:
        return 0
    if session_id.startswith(wanted):
        return 3
    ranks = ((1, title == wanted), (4, title.startswith(wanted)), (6, wanted in title))
    return next((rank + archived for rank, fits in ranks if fits), None)


def listed(session: Session, *, cwd: str | None, source: str | None, archived: bool) -> bool:
    """Whether a list with these filters shows the session."""
    if session.archived != archived or (cwd is not None and session.cwd != cwd):
        return False
    return session.source == source if source is not None else session.source != TASK_SOURCE


def owner_range(owner: str | None) -> tuple[str, str]:
    """The first and the last owner that a filter means: one, those of a kind (`terminal:`), or all."""
    if owner is None:
        return "", chr(0x10FFFF)
    return (owner, f"{owner[:-1]};") if owner.endswith(":") else (owner, owner)


def is_left(owner: str, heir: str) -> bool:
    """Whether `heir` may take over from `owner`, should that be gone: another front end of the same kind."""
    kind, colon, _ = owner.partition(":")
    return bool(colon) and owner != heir and heir.startswith(f"{kind}:")


# -- tasks -----------------------------------------------------------------------------------------


def changed(task: Task, **changes: Any) -> Task:
    """The row after `update_task`."""
    state = changes.get("state", task.state)
    if state != "running":
        changes["lease"] = None
        # A worker that lets go in good order proves that the task does not kill its workers.
        if task.state == "running" and state in LIVE_STATES:
            changes.setdefault("attempts", 0)
    return replace(task, **changes)


def owes_outcome(before: Task, after: Task) -> bool:
    """Whether this change is one that the owner must hear of."""
    return before.state in LIVE_STATES and after.state in ("done", "failed") and not after.told


def may_be_taken(task: Task) -> bool:
    return task.state in ("queued", "parked") and not task.held


def taken(task: Task, lease: Lease) -> Task:
    """The row once a worker has taken it up."""
    started = task.started or lease.heartbeat
    return replace(task, state="running", lease=lease, attempts=task.attempts + 1, started=started)


def is_left_alone(task: Task, stale: float, is_alive: IsAlive) -> bool:
    """Whether nobody works on a running task any more: its process ended, or has not beaten since `stale`."""
    return task.lease is None or task.lease.heartbeat < stale or not is_alive(task.lease)


def lost(task: Task, now: float) -> Task:
    """The row of a running task whose worker is gone."""
    if task.attempts < MAX_ATTEMPTS:
        return replace(task, state="parked" if task.held else "queued", lease=None, activity="")
    last = f" It was last doing: {task.activity}." if task.activity else ""
    error = f"Gave up after {MAX_ATTEMPTS} attempts: each time the process that ran it died.{last}"
    return replace(task, state="failed", error=error, finished=now, lease=None, activity="")
