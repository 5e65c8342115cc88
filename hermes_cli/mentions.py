"""`@path`: fuzzy completion over the files of the working directory, from an index built aside."""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

MOST_FILES = 50_000
MOST_SHOWN = 40
FRESH = 10.0
"""Seconds an index is used before the next `@` has it built anew, aside."""

_MENTION = re.compile(r'(?:^|\s)@("[^"]*|[^\s"]*)$')
"""A path with spaces stands in quotes."""


class FileIndex:
    """Paths below a folder, relative, folders with a slash at the end. Built on a thread and swapped in."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._paths: Sequence[str] = ()
        self._built = 0.0
        self._lock = threading.Lock()

    def move(self, root: Path) -> None:
        """Index another folder from now on."""
        self._root, self._paths, self._built = root, (), 0.0

    def paths(self) -> Sequence[str]:
        """The newest index; on a thread, because the first call builds it."""
        if not self._built:
            self._build()
        elif time.monotonic() - self._built > FRESH:
            threading.Thread(target=self._build, daemon=True, name="index").start()
        return self._paths

    def _build(self) -> None:
        from agent.tools.search_files import files_below

        if not self._lock.acquire(blocking=not self._built):
            return
        try:
            found: list[str] = []
            folders: set[str] = set()
            for path in islice(files_below(self._root), MOST_FILES):
                found.append(path)
                folders.update(f"{parent.as_posix()}/" for parent in Path(path).parents if parent.name)
            self._paths = [*sorted(folders), *found]
            self._built = time.monotonic()
        finally:
            self._lock.release()


class PromptCompleter(Completer):
    """Slash commands at once, on the UI loop; mentions on a thread."""

    def __init__(self, commands: Completer, index: FileIndex) -> None:
        self._commands = commands
        self._index = index

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        if typed := mention(document):
            yield from matching(typed, self._index.paths())
        else:
            yield from self._commands.get_completions(document, complete_event)

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        if not mention(document):
            for completion in self._commands.get_completions(document, complete_event):
                yield completion
            return
        for completion in await _aside(lambda: list(self.get_completions(document, complete_event))):
            yield completion


async def _aside(work: Callable[[], list[Completion]]) -> list[Completion]:
    """On a thread that nobody waits for when Hermes leaves; asyncio's own pool would be waited for."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[list[Completion]] = loop.create_future()

    def run() -> None:
        found: list[Completion] = []
        with contextlib.suppress(OSError):  # the folder has gone
            found = work()

        def deliver() -> None:
            if not result.done():
                result.set_result(found)

        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(deliver)

    threading.Thread(target=run, daemon=True, name="mentions").start()
    return await result


def mention(document: Document) -> str:
    """The `@…` before the cursor, "" when there is none."""
    line = document.current_line_before_cursor
    if "@" not in line:
        return ""
    found = _MENTION.search(line)
    return f"@{found[1]}" if found else ""


def matching(typed: str, paths: Iterable[str]) -> Iterable[Completion]:
    """Paths that hold the letters of an `@…` in order, the tightest match first."""
    letters = typed.removeprefix("@").removeprefix('"')
    # The leftmost match with the letters in order, without backtracking: each gap holds none of the next letter.
    gaps = (f"[^{re.escape(letter)}]*{re.escape(letter)}" for letter in letters[1:])
    pattern = re.compile(re.escape(letters[:1]) + "".join(gaps), re.IGNORECASE)
    ranked = []
    for path in paths:
        if found := pattern.search(path):
            in_name = found.start() > path.rstrip("/").rfind("/")
            ranked.append((len(found[0]), not in_name, path.count("/"), len(path), path))
    for *_rank, path in sorted(ranked)[:MOST_SHOWN]:
        yield Completion(f"@{_quoted(path)}", -len(typed), display=path)


def _quoted(path: str) -> str:
    """As `mention` finds it again; a folder's quotes are left open, for what is in it."""
    if not re.search(r"\s", path) or '"' in path:
        return path
    return f'"{path}' if path.endswith("/") else f'"{path}"'
