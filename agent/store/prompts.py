"""The prompt history: what the person typed, in every Hermes."""

import sqlite3
import time
from pathlib import Path

from agent.store.database import open_database
from agent.store.failures import failure
from agent.store.text import cleaned


class PromptLog:
    """What the person typed, newest first, shared by all running copies. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def newest(self, most: int) -> list[str]:
        """At most `most` lines; of equal neighbours one. Raises: StoreError."""
        rows = self._execute("SELECT text FROM prompts ORDER BY id DESC LIMIT ?", (most,))
        return [text for number, (text,) in enumerate(rows) if number == 0 or text != rows[number - 1][0]]

    def add(self, text: str) -> None:
        """Raises: StoreError."""
        self._execute("INSERT INTO prompts (at, text) VALUES (?, ?)", (time.time(), cleaned(text)))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, statement: str, values: tuple[object, ...]) -> list[tuple[str]]:
        if self._connection is None:
            self._connection = open_database(self._path)
            self._connection.execute("PRAGMA synchronous = NORMAL")
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise failure(error, self._path) from error
