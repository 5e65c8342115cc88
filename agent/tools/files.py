"""What the file tools share: finding a path, reading text, showing a change, replacing a file in one move."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import ToolError
from agent.protocols import CHANGED, ToolContext
from agent.tools import unlinked

LARGEST_TEXT = 10_000_000
"""Bytes of the largest file that is edited or compared as a whole."""
ROOM_FOR_NOTES = 400
"""Characters of a tool's output limit that are left for its header and its notes."""

_MAGIC = (
    (b"\x89PNG", "PNG image"), (b"\xff\xd8\xff", "JPEG image"), (b"GIF8", "GIF image"), (b"%PDF", "PDF document"),
    (b"PK\x03\x04", "ZIP archive"), (b"\x1f\x8b", "gzip archive"), (b"\x7fELF", "ELF program"),
    (b"SQLite format 3", "SQLite database"), (b"\xff\xfe", "UTF-16 text"), (b"\xfe\xff", "UTF-16 text"),
)  # fmt: skip


# -- paths -----------------------------------------------------------------------------------------


def resolve(path: str, cwd: Path) -> Path:
    """The absolute path meant by `path`: `~` expanded, relative to `cwd`, symbolic links followed.

    Raises: ToolError for a path that cannot exist.
    """
    try:
        return (cwd / Path(path).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ToolError(f"{path!r} is not a usable path: {error}.") from error


def shown(path: Path, cwd: Path) -> str:
    """The path as people write it: relative inside `cwd`, absolute elsewhere."""
    try:
        return path.relative_to(cwd.resolve()).as_posix()
    except ValueError:
        return str(path)


def is_inside(path: Path, cwd: Path) -> bool:
    """Whether a resolved path lies in the working directory. What is elsewhere is not told before somebody agreed."""
    return path.is_relative_to(cwd.resolve())


def target(written: str, context: ToolContext) -> Path:
    """The path a call is about: while it runs the one that was agreed to, before that the one meant now.

    Raises: ToolError.
    """
    return context.approved.action.paths[0] if context.approved else resolve(written, context.cwd)


def require_agreed(change: str, context: ToolContext) -> None:
    """Raises: ToolError when a person agreed to another change of the file than the one that is possible now."""
    if context.approved and context.approved.preview not in ("", change):
        raise ToolError(CHANGED)


@contextmanager
def explaining(path: Path, cwd: Path) -> Iterator[None]:
    """Turn the operating system's refusals inside the block into a ToolError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise missing(path, cwd) from error
    except OSError as error:
        raise ToolError(f"{shown(path, cwd)}: {error.strerror or error}.") from error


def missing(path: Path, cwd: Path) -> ToolError:
    """The error for a path that does not exist, with the names most like it."""
    folder = next(parent for parent in path.parents if parent.is_dir() or parent == parent.parent)
    if folder != path.parent:
        wanted = path.parts[len(folder.parts)]
        return ToolError(f"{shown(path, cwd)} does not exist: no {wanted!r} in {folder}.{_similar(wanted, folder)}")
    return ToolError(f"{shown(path, cwd)} does not exist.{_similar(path.name, folder)}")


def _similar(name: str, folder: Path) -> str:
    import difflib
    from itertools import islice

    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, 2000)]
    except OSError:
        return ""
    folded = {item.lower(): item for item in names}
    near = difflib.get_close_matches(name.lower(), folded, 3, 0.6)
    return f" Similar names there: {', '.join(folded[item] for item in near)}." if near else ""


def require_regular(path: Path, cwd: Path) -> os.stat_result:
    """The file's status. Raises: ToolError when it is missing, a directory or a device."""
    with explaining(path, cwd):
        status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ToolError(
            f"{shown(path, cwd)} is a directory. List it with search_files (path={shown(path, cwd)!r}, depth=1)."
        )
    if not stat.S_ISREG(status.st_mode):
        raise ToolError(f"{shown(path, cwd)} is no ordinary file but a device, pipe or socket.")
    return status


def text_limit(output_limit: int) -> int:
    """How many characters of text fit a result beside its header and notes."""
    return max(output_limit - ROOM_FOR_NOTES, output_limit // 2)


# -- text ------------------------------------------------------------------------------------------


def binary(path: Path, cwd: Path, head: bytes, size: int) -> ToolError:
    """The error for a file that is not text; `head` is its beginning."""
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")
    what = f"looks like: {kind}" if kind else "not UTF-8 text"
    return ToolError(f"{shown(path, cwd)} is a binary file ({what}, {size:,} bytes) and cannot be used as text.")


def read_text(path: Path, cwd: Path) -> str:
    """The whole of a text file, line ends untouched.

    Raises: ToolError when it is missing, binary, too large, or no file.
    """
    size = require_regular(path, cwd).st_size
    if size > LARGEST_TEXT:
        raise ToolError(f"{shown(path, cwd)} is too large to edit ({size:,} bytes). Use the terminal.")
    with explaining(path, cwd):
        data = read_bytes(path)
    if b"\0" in data:
        raise binary(path, cwd, data, size)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise binary(path, cwd, data, size) from error


def read_bytes(path: Path) -> bytes:
    """The whole of a file that is reached without a link. Raises: OSError."""
    with os.fdopen(unlinked.opened(path), "rb") as file:
        return file.read()


def content(path: Path) -> bytes | None:
    """What is in a file, None when it cannot be read or is too large to compare."""
    try:
        with os.fdopen(unlinked.opened(path), "rb") as file:
            return file.read() if os.fstat(file.fileno()).st_size <= LARGEST_TEXT else None
    except OSError:
        return None


def encoded(text: str) -> bytes:
    """The text as UTF-8. Raises: ToolError for half of a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ToolError(f"The text cannot be stored as UTF-8: {error}.") from error


# -- changes ---------------------------------------------------------------------------------------


def unseen(name: str, old: str, new: str) -> str:
    """A change of a file outside that cannot be made: the lines to be replaced, and those to stand there.

    Why it cannot be made is told to the model only when somebody agreed that it may know.
    """
    removed = "".join(f"-{line}\n" for line in old.splitlines())
    added = "".join(f"+{line}\n" for line in new.splitlines())
    return f"--- {name}\n+++ {name}\n@@ not possible on the file as it is now @@\n{removed}{added}"


def uses_crlf(text: str) -> bool:
    """Whether most lines end as on Windows."""
    return 2 * text.count("\r\n") > text.count("\n")


def with_crlf(text: str) -> str:
    return re.sub(r"\r?\n", "\r\n", text)


# -- writing ---------------------------------------------------------------------------------------


def check_writable(path: Path, cwd: Path) -> None:
    """Raises: ToolError when `path` exists and cannot be replaced, or a file is where a directory should be."""
    if path.exists():
        require_regular(path, cwd)
        if not os.access(path, os.W_OK):
            raise ToolError(f"{shown(path, cwd)} is read-only.")
        return
    folder = next(parent for parent in path.parents if parent.exists() or parent == parent.parent)
    if not folder.is_dir():
        raise ToolError(f"{shown(path, cwd)} cannot be created: {shown(folder, cwd)} is a file.")


def replace(path: Path, data: bytes, cwd: Path) -> None:
    """Write a file in one move, so that a crash leaves the old one or the new one. Keeps its mode.

    `path` is resolved, so a symbolic link is written through; one that came there since is not. Parent directories are
    created.
    Raises: ToolError.
    """
    check_writable(path, cwd)
    with explaining(path, cwd):
        unlinked.replace(path, data)
