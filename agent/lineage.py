"""Which sessions a conversation went through: compacted, branched or gone back in, it goes on in a new one."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, takewhile

from agent.messages import Message
from agent.records import TASK_SOURCE, Session, SessionStore, Task
from agent.reports import is_report
from agent.steps import is_handover

MOST = 200
"""Sessions gone back through."""
_SLACK = 1.0
"""Seconds; a task and its own session are made together, those it comes to by a compaction later."""


def lineage(store: SessionStore, session_id: str) -> Iterator[Session]:
    """The session and those it went on from, the newest first."""
    for _ in range(MOST):
        row = store.session(session_id) if session_id else None
        if row is None:
            return
        yield row
        session_id = row.parent


def newest_of(store: SessionStore, session_id: str) -> str:
    """Where an agent's conversation goes on that was sent by another one: itself, unless it was compacted since."""
    row = store.session(session_id)
    if row is None or not row.archived:
        return session_id
    every = [
        one for archived in (False, True) for one in store.sessions(source=TASK_SOURCE, archived=archived, limit=1000)
    ]
    after = {one.parent: one for one in every}
    while row.archived and row.id in after:
        row = after[row.id]
    return row.id


def earlier(store: SessionStore, session_id: str) -> dict[str, float]:
    """The sessions it went on from, each with the time (seconds since the epoch) at which it was left."""
    rows = list(lineage(store, session_id))
    return {old.id: new.created for new, old in pairwise(rows)}


def prompts(messages: Sequence[Message]) -> list[int]:
    """The places, from 0, of what the person said."""
    return [
        number
        for number, message in enumerate(messages)
        if message.role == "user" and not is_report(message.content) and not is_handover(message)
    ]


def since(store: SessionStore, session_id: str, at: int) -> dict[str, int]:
    """The place of the prompt at `at` in each session that holds it, and with it of all that came after."""
    found: dict[str, int] = {}
    rows = list(lineage(store, session_id))
    for new, old in zip(rows, [*rows[1:], None], strict=True):
        found[new.id] = at
        if old is None:
            break
        taken = _taken_along(store.messages(old.id), store.messages(new.id))
        later = [place for number, place in sorted(taken.items()) if number >= at]
        if not later:
            break
        at = later[0]
    return found


def _taken_along(old: Sequence[Message], new: Sequence[Message]) -> dict[int, int]:
    """For the prompts with which the new session began their places in the old one.

    A branch begins as the old one did; of one that was compacted the end is the same, and what stood before it may be.
    """
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    if any(place < same for place in prompts(new)):
        return {place: place for place in prompts(new) if place < same}
    last = max(range(len(new)), key=lambda end: _as_at_the_end(old, new[: end + 1]), default=0)
    found: dict[int, int] = {}
    left = prompts(old)
    for place in reversed([place for place in prompts(new) if place <= last]):
        while left and old[left[-1]] != new[place]:
            left.pop()
        if not left:
            break
        found[place] = left.pop()
    return found


def _as_at_the_end(old: Sequence[Message], new: Sequence[Message]) -> int:
    """How many messages both end with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(old), reversed(new), strict=False)))


def of_task(store: SessionStore, task: Task, *, begun: int = 0) -> dict[str, int]:
    """The sessions that a task worked in, and where in each its work began.

    That is at its prompt, or, where that is known, after `begun` messages; in those it came to later it is all.
    """
    found: dict[str, int] = {}
    for row in lineage(store, task.session_id):
        if row.created > task.created + _SLACK:
            found[row.id] = 0
            continue
        messages = store.messages(row.id)
        said = [place for place in prompts(messages) if messages[place].content == task.prompt]
        found[row.id] = begun or (said[-1] if said else len(messages))
        break
    return found
