"""The database file: one per person, shared by every running Hermes.

It is only ever opened through SQLite: closing any other descriptor on the file would drop this process's locks.
"""

import contextlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from agent.errors import StoreError
from agent.store.failures import failure, locked, newer, primary_code
from agent.store.schema import INDEX, MIGRATIONS

BUSY = 5.0
"""Seconds to wait for another process that writes."""

IDLE_READERS = 4
"""Connections kept open for reading; more are opened when more threads read at once."""

WAL_KEPT = 16 * 1024 * 1024
"""Bytes the write-ahead log is cut back to."""

_OLDEST_SQLITE = (3, 37)
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


class OnDatabase:
    """Whatever reads and writes a database."""

    def __init__(self, database: "Database") -> None:
        self._database = database


class Database:
    """Transactions on one file, for any number of threads: one writer at a time, readers beside it.

    A call borrows a connection and gives it back, so that threads may come and go.
    """

    def __init__(self, path: Path, *, busy: float = BUSY) -> None:
        self.path = path
        self._busy = busy
        self._writing = threading.Lock()
        self._within = 0  # the thread whose transaction it is
        self._writer: sqlite3.Connection | None = None
        self._durable: bool | None = None
        self._identity = (0, 0)
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from. Raises: StoreError, for what SQLite says within the block, too."""
        connection: sqlite3.Connection | None = None
        try:
            connection = self._reader()
            yield connection
        except (sqlite3.Error, OSError) as error:
            if connection is not None:
                connection.close()
                connection = None
            raise failure(error, self.path) from error
        finally:
            if connection is not None:
                self._give_back(connection)

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that is stored when the block ends, and undone when it raises.

        A `durable` one survives the loss of power; any survives the death of the process. Within another one of the
        same thread it is a part of that. Raises: StoreError.
        """
        if self._within == threading.get_ident() and self._writer is not None:
            yield from self._part_of(self._writer)
            return
        deadline = time.monotonic() + self._busy
        if not self._writing.acquire(timeout=self._busy):
            raise locked(self.path)
        try:
            connection = self._begin(deadline, durable)
            self._within = threading.get_ident()
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite undoes some failed transactions by itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError, StoreError) as error:
            cause = error.__cause__ if isinstance(error, StoreError) else error  # of a part, it says already what it is
            if isinstance(cause, sqlite3.Error | OSError) and primary_code(cause) in _BROKEN:
                self._drop_writer()
            if isinstance(error, StoreError):
                raise
            raise failure(error, self.path) from error
        finally:
            self._within = 0
            self._writing.release()

    def _part_of(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        """What fails is undone, and the rest of the transaction is as it was."""
        try:
            connection.execute("SAVEPOINT part")
            try:
                yield connection
                connection.execute("RELEASE part")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK TO part")
                    connection.execute("RELEASE part")
                raise
        except (sqlite3.Error, OSError) as error:
            raise failure(error, self.path) from error

    def close(self) -> None:
        """Close the file, once the transaction under way is over."""
        self._closed = True
        with self._writing:
            self._drop_writer()
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def vacuum_some(self, pages: int) -> None:
        """Give free pages at the end of the file back to the disk."""
        with self.write(durable=False) as connection:
            for _ in range(pages):
                # The statement gives a row without columns for each page, and Python stops at the first.
                connection.execute("PRAGMA incremental_vacuum(1)")

    # -- connections -------------------------------------------------------------------------------

    def _reader(self) -> sqlite3.Connection:
        self._check_open()
        try:
            return self._idle.pop()
        except IndexError:
            connection = open_database(self.path, busy=self._busy)
            connection.execute("PRAGMA query_only = ON")
            return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if self._closed or len(self._idle) >= IDLE_READERS:
            connection.close()
        else:
            self._idle.append(connection)

    def _begin(self, deadline: float, durable: bool) -> sqlite3.Connection:
        self._check_open()
        if self._writer is None:
            self._writer = open_database(self.path, busy=self._busy)
            self._writer.execute("PRAGMA busy_timeout = 0")
            self._durable, self._identity = None, identity(self.path)
        elif identity(self.path) != self._identity:
            # What is written now would vanish with the old file.
            raise StoreError(f"{self.path} was moved or replaced meanwhile.", hint="Leave, and start Hermes again.")
        if durable != self._durable:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        _begin_fairly(self._writer, deadline)
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            self._writer.execute("ROLLBACK")
            raise newer(self.path)
        return self._writer

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path} is closed.", hint="Hermes is leaving; start it again.")


def _begin_fairly(connection: sqlite3.Connection, deadline: float) -> None:
    """Take the write lock. SQLite's own waiting sleeps ever longer, and starves beside busy writers."""
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.0005, 0.005))


def identity(path: Path) -> tuple[int, int]:
    """Which file it is, whatever its name; zeros for none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


# -- opening ---------------------------------------------------------------------------------------


def open_database(path: Path, *, busy: float = BUSY) -> sqlite3.Connection:
    """Open or create the database, at the newest schema. The connection may move between threads.

    Raises: StoreError, saying what to do.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        hint = "Use a Python that was built with a newer one."
        raise StoreError(f"Hermes needs SQLite 3.37, and this is {sqlite3.sqlite_version}.", hint=hint)
    connection: sqlite3.Connection | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False)
        if path.stat().st_mode & 0o777 != 0o600:
            path.chmod(0o600)
        if path.stat().st_size == 0:
            # Elsewhere it would change nothing, and yet wait for the write lock.
            _insist(connection, "PRAGMA auto_vacuum = INCREMENTAL", busy)
        _insist(connection, "PRAGMA journal_mode = WAL", busy)
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
        _migrate(connection, path, busy)
        connection.execute("PRAGMA foreign_keys = ON")
    except (sqlite3.Error, OSError, StoreError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, StoreError):
            raise
        raise failure(error, path) from error
    return connection


def _insist(connection: sqlite3.Connection, pragma: str, busy: float) -> None:
    """Two that open a new file at once get in each other's way here, and SQLite's own timeout does not cover it."""
    deadline = time.monotonic() + busy
    while True:
        try:
            connection.execute(pragma)
            return
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _migrate(connection: sqlite3.Connection, path: Path, busy: float) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise newer(path)
    if version == len(MIGRATIONS):
        return
    if version == 1 and connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 0:
        # The first release's files are small, and this is the last time that they can learn to shrink. They need not.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("VACUUM")
    _begin_fairly(connection, time.monotonic() + busy)
    try:
        # Another process may have migrated meanwhile: look again now that the write lock is ours.
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for number, statements in enumerate(MIGRATIONS[version:], version + 1):
            for statement in statements:
                connection.execute(statement)
            if number == 2:
                _make_index(connection)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _make_index(connection: sqlite3.Connection) -> None:
    try:
        connection.execute(INDEX[0])
    except sqlite3.OperationalError as error:
        if "no such module" in str(error) or "no such tokenizer" in str(error):
            return
        raise
    for statement in INDEX[1:]:
        connection.execute(statement)


# -- copies ----------------------------------------------------------------------------------------


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the whole database into a new file, while others write. Raises: StoreError."""
    if target.exists():
        raise StoreError(f"{target} exists already.", hint="Choose another name for the backup.")
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        copy = sqlite3.connect(partial, isolation_level=None)
        try:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        finally:
            copy.close()
        partial.rename(target)
    except OSError as error:
        hint = "Make its folder, or choose another place for the backup."
        raise StoreError(f"Cannot write {target}: {error.strerror}.", hint=hint) from error
    except sqlite3.Error as error:
        raise failure(error, target) from error
    finally:
        partial.unlink(missing_ok=True)
