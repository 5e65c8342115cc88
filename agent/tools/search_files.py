"""Searching a directory tree by name and by content.

A pattern is a Python expression, and one library reads `.gitignore` for the search and for the prompt's completion.
Where ripgrep is installed it has a first look at many files (`first_look.py`); what is found is the same without it.
"""

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Action, Redact, ToolContext, ToolResult
from agent.redact import MARGIN
from agent.tools import files, unlinked
from agent.tools.prose import prose

if TYPE_CHECKING:
    from agent.tools.ignore import Ignore

LARGEST_FILE = 10_000_000
"""Bytes; larger files are named as not searched."""
LONGEST_LINE = 4_000
"""Characters of a line that are searched: a pattern with `.*` takes quadratic time on a line of megabytes."""
SHOWN_LINE = 300
"""Characters of a matching line that are shown."""

ALONE = 1_000
"""Files that are read before ripgrep is asked about further ones: most searches end before."""
BATCH, BATCH_BYTES = 4_000, 400_000
"""Files, and bytes of their names, that it is asked about at once: a command line has its bounds."""

PATIENCE = 1.0
"""Seconds of processor time that a pattern may take for one line, or for a quick look at a file."""
_MAY_TAKE_LONG = re.compile(r"[*+}].*[*+}]|\)[*+{]", re.DOTALL)
"""Two repeats, or one of a group. Other patterns take no more than the square of a line's length."""
_BRACE = re.compile(r"(?<!\\)(?<!\\N)\{(?!\d*,?\d*\})")
"""A brace that begins no repeat."""

_POSIX_CLASS = re.compile(r"(?<!\\)\[[^\]]*\[:\^?[a-z]+:\]")
"""`[[:digit:]]` and the like: to Python, a set of these letters."""

_NEEDS_LINES = re.compile(r"\\[AZDWn]|\[\^|\(\?[!<>(s]|[*+?}]\+")
"""Patterns that a quick look at the whole file would miss, or that could run on across lines for long."""


class SearchFilesArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pattern: Annotated[str, Meta(description="Regular expression to find in the lines of files.")] = ""
    glob: Annotated[str, Meta(description="Only files with such a name or path, such as `*.py`.")] = ""
    path: Annotated[str, Meta(min_length=1, description="Directory or file to search.")] = "."
    depth: Annotated[int, Meta(ge=1, description="Levels of directories; all when left out.")] | None = None
    ignore_case: Annotated[bool, Meta(description="Upper and lower case are the same.")] = False
    limit: Annotated[int, Meta(ge=1, le=2000, description="Most results to return.")] = 200


class SearchFiles:
    """Lists files, or the lines in them that match."""

    name = "search_files"
    arguments = SearchFilesArguments

    def __init__(self, *, alone: int = ALONE) -> None:
        self._alone = alone

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: SearchFilesArguments, context: ToolContext) -> Action:
        _compile(args)
        root = files.resolve(args.path, context.cwd)
        place = files.shown(root, context.cwd)
        what = f"{args.pattern!r} in {args.glob or 'files'}" if args.pattern else args.glob or "files"
        return Action("read", f"{what}{'' if place == '.' else f' in {place}'}", (root,))

    def preview(self, args: SearchFilesArguments, context: ToolContext) -> str:
        del args, context
        return ""

    def run(self, args: SearchFilesArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        root = files.target(args.path, context)
        pattern = _compile(args)
        _require_searchable(root, context.cwd)
        found = Findings(args.limit, files.text_limit(context.output_limit))
        with files.explaining(root, context.cwd):
            entries = _entries(root, files.shown(root, context.cwd), args, cancel)
            if pattern is None:
                for entry in entries:
                    found.add_name(entry.shown + "/" * entry.is_dir)
                    if found.full:
                        break
            else:
                _search_all(entries, pattern, found, context, cancel, alone=self._alone)
        return found.result(names_only=pattern is None)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory: its absolute path, the path from the start of the search, and the one to show."""

    path: str
    relative: str
    shown: str
    is_dir: bool
    is_file: bool = False


@dataclass(slots=True)
class Findings:
    """The results so far, bounded in number and in characters."""

    limit: int
    room: int
    lines: list[str] = field(default_factory=list)
    matched_files: int = 0
    searched_files: int = 0
    too_large: list[str] = field(default_factory=list)
    full: bool = False

    def add_name(self, name: str) -> None:
        self._add(name)

    def add_matches(self, name: str, text: str, lines: Iterator[tuple[int, int, int]], redact: Redact) -> None:
        before = len(self.lines)
        for number, start, end in lines:
            cut = "…" if end - start > SHOWN_LINE else ""
            # A private key, say, is known by its other lines.
            around = max(start - MARGIN, 0)
            window, end = text[around : end + MARGIN], min(end, start + SHOWN_LINE)
            self._add(f"{name}:{number}: {redact.part(window, start - around, end - around)}{cut}")
            if self.full:
                break
        self.matched_files += len(self.lines) > before

    def _add(self, line: str) -> None:
        self.room -= len(line) + 1
        if len(self.lines) == self.limit or self.room < 0:
            self.full = True
        else:
            self.lines.append(line)

    def result(self, *, names_only: bool) -> ToolResult:
        count = len(self.lines)
        if names_only:
            summary = _plural(count, "file") if count else "no files"
            details = summary
        else:
            summary = _plural(count, "match", "es") if count else "no matches"
            details = f"{summary} in {_plural(self.matched_files, 'file')}; {_plural(self.searched_files, 'file')} read"
        if self.full:
            summary += ", more left out"
            details = f"the first {details}; there are more, narrow the search"
        if self.too_large:
            details += f"; too large to search: {', '.join(self.too_large[:5])}"
        body = "\n".join(self.lines)
        return ToolResult("\n".join(filter(None, (body, f"[{details}]"))), summary=summary, display=body, own=not body)


def _require_searchable(root: Path, cwd: Path) -> None:
    """Raises: ToolError."""
    if not root.exists():
        raise files.missing(root, cwd)
    if not root.is_dir():
        files.require_regular(root, cwd)


def _plural(count: int, noun: str, ending: str = "s") -> str:
    return f"{count} {noun}{ending if count != 1 else ''}"


def _compile(args: SearchFilesArguments) -> re.Pattern[str] | None:
    """Raises: ToolError."""
    if not args.pattern:
        return None
    if _POSIX_CLASS.search(args.pattern):
        raise ToolError(
            f"pattern {args.pattern!r} has a class such as [:digit:], which is not known here: write \\d for a digit, "
            "\\s for a space, \\w for a letter, digit or _, [a-zA-Z] for a letter."
        )
    try:
        return re.compile(args.pattern, re.MULTILINE | (re.IGNORECASE if args.ignore_case else 0))
    except (re.error, OverflowError, RecursionError) as error:
        raise ToolError(
            f"pattern {args.pattern!r} is not a regular expression: {error}. Put a backslash before ( ) [ ] . * + ? "
            "that stand for themselves."
        ) from error


# -- walking ---------------------------------------------------------------------------------------


def _entries(root: Path, place: str, args: SearchFilesArguments, cancel: CancelToken) -> Iterator[Entry]:
    """The wanted files in the order of their paths; directories too, where `depth` hides what is in them."""
    from agent.tools.ignore import Ignore, compile_globs  # pathspec is loaded with the first search, not before

    if not root.is_dir():
        yield Entry(str(root), root.name, place, False)
        return
    wanted = compile_globs(args.glob) if args.glob else None
    start = Entry(str(root), "", "" if place == "." else f"{place.rstrip('/')}/", True)
    for entry in _walk(start, Ignore.above(root), args.depth or 500, cancel):
        if wanted is None or (not entry.is_dir and wanted(entry.relative)):
            yield entry


def files_below(root: Path) -> Iterator[str]:
    """Paths of the files below a directory, relative to it, in order, without what .gitignore files name."""
    from agent.tools.ignore import Ignore

    start = Entry(str(root.resolve()), "", "", True)
    return (entry.relative for entry in _walk(start, Ignore.above(root), 500, CancelToken()))


def _walk(folder: Entry, ignore: "Ignore", depth: int, cancel: CancelToken) -> Iterator[Entry]:
    """Every entry below a directory, whose texts are prefixes for theirs. Links to directories are not followed."""
    cancel.raise_if_cancelled()
    ignore = ignore.inside(folder.path)
    for name, is_dir, is_file in _scan(folder):
        path = f"{folder.path.rstrip('/')}/{name}"
        if ignore(path, name, is_dir):
            continue
        entry = Entry(path, folder.relative + name, folder.shown + name, is_dir, is_file)
        if not is_dir or depth == 1:
            yield entry
        else:
            inside = Entry(entry.path, f"{entry.relative}/", f"{entry.shown}/", True)
            yield from _walk(inside, ignore, depth - 1, cancel)


def _scan(folder: Entry) -> list[tuple[str, bool, bool]]:
    try:
        return unlinked.listed(folder.path)
    except OSError:
        # Only the directory that was asked for must be readable.
        if not folder.relative:
            raise
        return []


# -- contents --------------------------------------------------------------------------------------


def _search_all(
    entries: Iterator[Entry],
    pattern: re.Pattern[str],
    found: Findings,
    context: ToolContext,
    cancel: CancelToken,
    *,
    alone: int,
) -> None:
    """`alone`: so many are read without a first look."""
    wanted = (entry for entry in entries if not entry.is_dir)
    for entry in islice(wanted, alone):
        _search(entry, pattern, found, context.redact)
        if found.full:
            return
    if (first := next(wanted, None)) is None:
        return
    from agent.tools.first_look import found_for

    look = found_for(pattern, context.cwd)
    for batch in _batches(chain([first], wanted)):
        may_match = look([entry.path for entry in batch if entry.is_file], cancel) if look else None
        for entry in batch:
            if may_match is None or not entry.is_file or entry.path in may_match:
                _search(entry, pattern, found, context.redact)
            else:
                _pass_over(entry, found)
            if found.full:
                return


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    batch, size = list[Entry](), 0
    for entry in entries:
        batch.append(entry)
        size += len(os.fsencode(entry.path)) + 1
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _pass_over(entry: Entry, found: Findings) -> None:
    """A file without a match counts as one that was read, as far as it would have been."""
    try:
        size = os.lstat(entry.path).st_size
    except OSError:
        return
    found.searched_files += 1
    if size > LARGEST_FILE:
        found.too_large.append(entry.shown)


def _search(entry: Entry, pattern: re.Pattern[str], found: Findings, redact: Redact) -> None:
    """Add the matching lines of one file; binary and unreadable ones have none."""
    try:
        # A link, also one that was put there just now, could lead out of the directory that was allowed.
        descriptor = unlinked.opened_again(entry.path)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            small = status.st_size <= LARGEST_FILE
            data = file.read() if small and stat.S_ISREG(status.st_mode) else b""
    except OSError:
        return
    found.searched_files += 1
    if not small:
        found.too_large.append(entry.shown)
    elif b"\0" not in data:
        text = data.decode(errors="replace")
        try:
            found.add_matches(entry.shown, text, matches(pattern, text), redact)
        except TimeoutError as error:
            raise ToolError(
                f"pattern {pattern.pattern!r} takes too long in {entry.shown}. Leave out repeats within repeats, "
                "such as (a+)+, and alternatives that begin alike."
            ) from error


def matches(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int, int]]:
    """The matching lines: number, start and end in the text. Each line is searched by itself. Raises: TimeoutError."""
    lines, search = text.split("\n"), _bounded(pattern)
    quick = not _NEEDS_LINES.search(pattern.pattern) and max(map(len, lines)) < LONGEST_LINE
    with contextlib.suppress(TimeoutError):  # a large file, perhaps; each line has as much time
        if quick and not search(text):
            return
    start = 0
    for number, line in enumerate(lines, 1):
        if search(line[:LONGEST_LINE]):
            yield number, start, start + len(line.rstrip("\r"))
        start += len(line) + 1


@lru_cache(64)
def _bounded(pattern: re.Pattern[str]) -> Callable[[str], object]:
    """`pattern.search`, that gives up after `PATIENCE`, and lets other threads work meanwhile, where it may take long.

    `re` can do neither: a search of one short line can take hours, and hold the interpreter all the time.
    """
    if not _MAY_TAKE_LONG.search(pattern.pattern):
        return pattern.search
    import regex

    # It finds what is nearly the same with `{e<=1}`, which means itself in `re`.
    plain = _BRACE.sub(r"\{", pattern.pattern)
    search = regex.compile(plain, pattern.flags & ~re.UNICODE).search
    return partial(search, timeout=PATIENCE, concurrent=True)


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = SearchFiles()
