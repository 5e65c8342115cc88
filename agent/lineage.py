"""Which sessions a conversation went through: compacted, branched or gone back in, it goes on in a new one."""

from collections.abc import Iterator

from agent.records import Session, SessionStore

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
