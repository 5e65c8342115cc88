"""What SQLite says, as a person should read it."""

import sqlite3
from pathlib import Path

from agent.errors import StoreError

HOW_BADLY = "`hermes doctor` says how badly. "
RESTORE = (
    "To restore: leave every Hermes, move the file away together with those that end in -wal and -shm, and copy a "
    "backup made by `hermes backup` to its place."
)


def failure(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    """The error as a person should read it, with what to do."""
    match primary_code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return locked(path)
        case sqlite3.SQLITE_FULL:
            hint = "Free some space; what was stored before is safe."
            return StoreError(f"The disk is full: nothing more fits into {path}.", hint=hint)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreError(f"{path} is damaged: {error}.", hint=HOW_BADLY + RESTORE)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | None:
            hint = f"Make {path.parent} and the file writable, or set HERMES_HOME to a folder that is."
            return StoreError(f"Cannot write to {path}: {error}.", hint=hint)
        case sqlite3.SQLITE_IOERR:
            hint = "Check the disk and its free space."
            return StoreError(f"The disk failed at {path}: {error}.", hint=hint)
    return StoreError(f"Cannot use {path}: {error}.", hint="`hermes doctor` checks the file.")


def primary_code(error: sqlite3.Error | OSError) -> int | None:
    """SQLite's error without its details. -1 for a mistake in the call, None for an error of the system."""
    if isinstance(error, OSError):
        return None
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else -1


def locked(path: Path) -> StoreError:
    hint = "Try again; if that does not help, end the other Hermes, or whatever program has the file open."
    return StoreError(f"{path} is busy: another program keeps writing to it.", hint=hint)


def newer(path: Path) -> StoreError:
    return StoreError(f"{path} was written by a newer Hermes.", hint="Upgrade this one, or set HERMES_HOME.")
