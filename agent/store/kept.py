"""The store as front ends open it: what a disk refuses is kept in memory, said once, and written when it can be."""

from collections.abc import Callable
from pathlib import Path

from agent.errors import StoreError
from agent.records import Store
from agent.store.memory import MemoryStore
from agent.store.sqlite import SqliteStore

Tell = Callable[[StoreError], None]
"""Shows a person what is wrong with the store; called on any thread."""


def open_store(path: Path, tell: Tell) -> Store:
    """The store of this process; never fails. Wants a thread: the disk may be slow, and sqlite is to be imported."""
    try:
        return SqliteStore(path)
    except StoreError as error:
        tell(error)
        return MemoryStore()
