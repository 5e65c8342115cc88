"""The system prompt, built once a session."""

import platform
import stat
import threading
import time
from functools import cache, lru_cache
from pathlib import Path

PROJECT_FILES_LIMIT = 32_000
"""Characters of project instructions in all; a longer file is cut, and says so."""

SETTLED_NS = 100_000_000
"""A file written less than this ago (ns) is read again each time: the clock of files is coarse."""

Stamp = tuple[int, int, int, int]
"""What changes when a file is written: its time (ns), size, inode and mode."""


IN_TERMINAL = "works in a person's terminal. You have tools that act on their machine"
IN_CHAT = "people write to in a chat. You have tools that act on the machine of whoever runs you"


def build(cwd: Path, *, trusted: bool = True, notes: str = "", chat: str = "") -> str:
    """The prompt for a session that works in `cwd`: `notes`, then the project's instructions, nearest last, if trusted.

    `chat` is the platform of the chat that it answers in, "" at a terminal.

    Built once as long as nothing changed: tasks that start together would stand in line to read the same files.
    """
    date, found = time.strftime("%Y-%m-%d (%A)"), _stamped(cwd) if trusted else ()
    with _building:
        fresh = any(time.time_ns() - stamp[0] < SETTLED_NS for _path, stamp in found)
        return (_built.__wrapped__ if fresh else _built)(cwd, date, found, notes, chat)


def project_files(cwd: Path) -> list[Path]:
    """`AGENTS.md` (else `CLAUDE.md`) of each folder from the repository's root down to `cwd`."""
    return [path for path, _stamp in _stamped(cwd)]


def own_part(prompt: str) -> str:
    """A system prompt without what it holds of the project's files."""
    return prompt.partition(f"\n\n{_FROM_PROJECT} ")[0]


_FROM_PROJECT = "Instructions of the project, from"
_building = threading.Lock()


@lru_cache(maxsize=64)
def _built(cwd: Path, date: str, found: tuple[tuple[Path, Stamp], ...], notes: str, chat: str) -> str:
    does = IN_CHAT if chat else IN_TERMINAL
    text = _template("system").format(does=does, cwd=cwd, platform=_platform(), date=date)
    there = _template("chat").format(name=chat.capitalize()) if chat else ""
    parts, left = ["\n\n".join(filter(None, (text, there, notes)))], PROJECT_FILES_LIMIT
    for path, _stamp in reversed(found):
        content = _content(path)
        cut = "" if len(content) <= left else f"\n[… cut; the whole is in {path}]"
        parts.append(f"{_FROM_PROJECT} {path} (where two disagree, the nearer file wins):\n\n")
        parts[-1] += content[:left] + cut
        if (left := max(0, left - len(content))) == 0:
            break
    head, *files = parts
    return "\n\n".join([head, *reversed(files)])


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError as error:
        return f"[cannot be read: {error.strerror}]"


def _stamped(cwd: Path) -> tuple[tuple[Path, Stamp], ...]:
    """The project's files with their stamps, farthest first."""
    found = []
    for folder in reversed(_up_to_root(cwd)):
        for path in (folder / "AGENTS.md", folder / "CLAUDE.md"):
            if (stamp := _stamp(path)) is not None:
                found.append((path, stamp))
                break
    return tuple(found)


def _up_to_root(cwd: Path) -> list[Path]:
    """From `cwd` to the repository's root; `cwd` alone where there is no repository."""
    folders: list[Path] = []
    for folder in (cwd, *cwd.parents):
        folders.append(folder)
        if (folder / ".git").exists():
            return folders
    return [cwd]


def _stamp(path: Path) -> Stamp | None:
    """None when it is no file, or cannot be asked for."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode) if stat.S_ISREG(found.st_mode) else None


@cache
def prose(name: str) -> str:
    """What a file of `agent/prompts` says, without the line break at its end."""
    return (Path(__file__).parent / "prompts" / f"{name}.md").read_text("utf-8").rstrip("\n")


@cache
def _template(name: str) -> str:
    return (Path(__file__).parent / "prompts" / f"{name}.md").read_text("utf-8")


@cache
def _platform() -> str:
    return f"{platform.system()} {platform.release()} {platform.machine()}"
