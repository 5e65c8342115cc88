"""Opening a resolved path without following a link that was put there since it was resolved.

Between the moment in which somebody agrees to a path and the one in which it is opened, any folder on the way could
become a link to elsewhere. Here each part is opened from the folder before it, and a link is refused. On Windows, which
cannot open from a folder, the path is opened as it is.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FROM_A_FOLDER = os.open in os.supports_dir_fd
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_PATH", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def opened(path: Path, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """A file descriptor for an absolute path none of whose parts is a link. Never waits for a pipe's other end.

    Raises: OSError, ELOOP or ENOTDIR for a link.
    """
    with folder_of(path) as folder:
        return os.open(path if folder is None else path.name, flags | _NO_LINK, mode, dir_fd=folder)


def opened_again(path: str, flags: int = 0) -> int:
    """The same for a path that was found below a resolved one just now: quicker where the system tells what was opened.

    Raises: OSError.
    """
    if not sys.platform.startswith("linux"):
        return opened(Path(path), os.O_RDONLY | flags)
    descriptor = os.open(path, os.O_RDONLY | flags | _NO_LINK)
    with suppress(OSError):  # without /proc
        if os.readlink(f"/proc/self/fd/{descriptor}") == path:  # noqa: PTH115  (once a file)
            return descriptor
    os.close(descriptor)
    return opened(Path(path), os.O_RDONLY | flags)


def listed(path: str) -> list[tuple[str, bool, bool]]:
    """What is in such a folder: names in order, and whether each is a folder or a file, a link neither.

    Raises: OSError.
    """
    if os.scandir not in os.supports_fd:
        with os.scandir(path) as entries:
            return _sorted(entries)
    descriptor = opened_again(path, os.O_DIRECTORY)
    try:
        with os.scandir(descriptor) as entries:
            return _sorted(entries)
    finally:
        os.close(descriptor)


def _sorted(entries: "Iterable[os.DirEntry[str]]") -> list[tuple[str, bool, bool]]:
    # While the folder is open: what it is may have to be looked up there.
    return sorted((one.name, one.is_dir(follow_symlinks=False), one.is_file(follow_symlinks=False)) for one in entries)


def replace(path: Path, data: bytes) -> None:
    """Write a file in one move, so that a crash leaves the old one or the new one. Keeps its mode, creates its folders.

    Raises: OSError.
    """
    temporary = f".{os.urandom(6).hex()}.hermes-tmp"
    with folder_of(path, create=True) as folder:
        there = path.with_name(temporary) if folder is None else temporary
        here = path if folder is None else path.name
        try:
            descriptor = os.open(there, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666, dir_fd=folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                if folder is not None:
                    _keep_mode(path.name, folder, descriptor)
            os.replace(there, here, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(there, dir_fd=folder)


def _keep_mode(name: str, folder: int, descriptor: int) -> None:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    os.fchmod(descriptor, stat.S_IMODE(mode))


@contextmanager
def folder_of(path: Path, *, create: bool = False) -> Iterator[int | None]:
    """A descriptor of the folder that holds an absolute path, reached without following a link; None on Windows."""
    if not _FROM_A_FOLDER:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield None
        return
    folder = os.open(path.anchor, _FOLDER)
    try:
        for part in path.parts[1:-1]:
            inner = _enter(part, folder, create=create)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _enter(part: str, folder: int, *, create: bool) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(part, dir_fd=folder)
    return os.open(part, _FOLDER, dir_fd=folder)
