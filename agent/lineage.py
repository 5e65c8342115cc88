"""Which sessions a conversation went through: compacted, branched or gone back in, it goes on in a new one."""

from collections.abc import Iterator

from agent.records import TASK_SOURCE, Session, SessionStore

MOST = 200
"""Sessions gone back through."""


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
