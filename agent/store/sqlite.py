"""The store on disk: everything a person would miss."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agent.chats import ChatStore
from agent.people import PeopleStore
from agent.records import Store
from agent.store.accounts import SqliteAccounts
from agent.store.chats import SqliteChats
from agent.store.database import BUSY, Database, copy_database
from agent.store.deliveries import SqliteDeliveries
from agent.store.failures import primary_code
from agent.store.people import SqlitePeople
from agent.store.presence import SqlitePresence
from agent.store.search import has_index
from agent.store.sessions import SqliteSessions
from agent.store.tasks import SqliteTasks


class SqliteStore(
    SqliteSessions, SqliteAccounts, SqliteTasks, SqliteDeliveries, SqlitePresence, SqliteChats, SqlitePeople
):
    """Conversations and tasks in one database, safe for threads and for several processes at once.

    Messages, states of tasks and deliveries are on the disk when a call returns, and survive the loss of power; events,
    heartbeats and usage may lose their last moments then. `busy` is how many seconds to wait for another writer.

    Raises: StoreError, when the file cannot be used; its hint says what to do.
    """

    def __init__(self, path: Path, *, busy: float = BUSY) -> None:
        super().__init__(Database(path, busy=busy))
        with self._database.read():
            pass

    @property
    def path(self) -> Path:
        return self._database.path

    @property
    def database(self) -> Database:
        return self._database

    def close(self) -> None:
        """Let go of the file. Calls that come later raise StoreError."""
        self._database.close()

    def backup(self, target: Path) -> None:
        """Copy everything, as it is at this moment, into a new file. Raises: StoreError when that file exists."""
        with self._database.read() as connection:
            copy_database(connection, target)

    def integrity_check(self) -> list[str]:
        """What is wrong with the file; nothing when it is sound. Reads all of it. Raises: StoreError."""
        problems: list[str] = []
        with self._database.read() as connection, _corruption_into(problems):
            problems += [line for (line,) in connection.execute("PRAGMA integrity_check(20)") if line != "ok"]
            loose = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
            problems += [f"row {row} of {table} belongs to nothing in {parent}" for table, row, parent, _ in loose]
            indexed = has_index(connection)
        if not problems and indexed:
            found: list[str] = []
            with self._database.write(durable=False) as connection, _corruption_into(found):
                connection.execute("INSERT INTO messages_index (messages_index, rank) VALUES ('integrity-check', 1)")
            problems += ["the search index does not fit the messages" for _ in found]
        return problems

    def rebuild_index(self) -> None:
        """Make the search index anew, from the messages."""
        with self._database.write() as connection:
            if has_index(connection):
                connection.execute("INSERT INTO messages_index (messages_index) VALUES ('rebuild')")


@contextmanager
def _corruption_into(problems: list[str]) -> Iterator[None]:
    """What SQLite says of a broken file becomes a line of the list."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if primary_code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        problems.append(str(error))


if TYPE_CHECKING:
    _: Store = SqliteStore(Path())
    _chats: ChatStore = SqliteStore(Path())
    _people: PeopleStore = SqliteStore(Path())
