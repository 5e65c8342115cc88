"""What is kept of sessions beside the store: whole outputs, and files as they were. It goes when they do."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent import outputs
from agent.records import SessionStore
from agent.shadow import FOLDER, Shadow, ShadowError

_log = logging.getLogger(__name__)


def sessions(state: Path) -> set[str]:
    """Those that something is kept of. `state` is the state directory."""
    found = set(outputs.sessions(state))
    for shadow in Shadow.all(state / FOLDER):
        with suppress(ShadowError):
            found |= {name.partition("/")[0] for name in shadow.names()}
    return found


@contextmanager
def going(state: Path, store: SessionStore) -> Iterator[None]:
    """Delete sessions within: what is kept of those that are gone then goes, too. With one, others may go."""
    there = [name for name in sessions(state) if store.session(name) is not None]
    yield
    forget(state, [name for name in there if store.session(name) is None])


def forget(state: Path, session_ids: Collection[str]) -> None:
    """Delete what is kept of sessions that were deleted. What cannot be deleted now stays, and is logged."""
    for session_id in session_ids:
        outputs.forget(state, session_id)
    for shadow in Shadow.all(state / FOLDER) if session_ids else ():
        try:
            if shadow.forget(session_ids):
                shadow.tidy()
        except ShadowError as error:
            _log.warning("deleting checkpoints: %s", error)
