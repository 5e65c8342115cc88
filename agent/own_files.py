"""Hermes's own small files: replaced in one move, and changed by one process at a time."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from agent.errors import ConfigError


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file in one move, so that a crash leaves the old one or the new one.

    Raises: ConfigError.
    """
    path = path.resolve()  # A link stays a link.
    try:
        put(path, text.encode(), mode=mode)
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error}.") from error


def put(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """The same for bytes, where the path is no link. Raises: OSError; then nothing is left of it."""
    temporary = path.with_name(f".{os.urandom(6).hex()}")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """While a file is read, changed and written, no other process and no other thread does so.

    Whoever dies lets go. Raises: ConfigError.
    """
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error}.") from error
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def hold(path: Path) -> int | None:
    """Have a file for this process alone, until the descriptor is closed or the process ends, however it does.

    What is left of a file that nobody holds any more hinders nobody. None: another process has it. Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _lock(descriptor: int) -> None:
    """Wait until it is ours; closing it, or the end of the process, gives it back."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            with contextlib.suppress(OSError):  # it gives up after ten seconds
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
                return
    import fcntl

    # Where a file system knows no locks, the file is still replaced in one move.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
