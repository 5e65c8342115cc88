"""Cuts a streamed Markdown text into blocks that are finished, and a tail that is not."""

import re
from collections.abc import Iterator

from hermes_cli.text import row_starts

MOST_LINES = 60
"""A fence or a list longer than this is handed out in pieces, so that a long one does not appear all at once."""

LONGEST_LINE = 8_000
"""Characters of one line, outside a fence, after which it is handed out in pieces."""

_FENCE = re.compile(r" {0,12}(`{3,}|~{3,})(.*)$")
_ITEM = re.compile(r"(?:[-*+]|\d{1,9}[.)])\s")
_NO_PROSE = re.compile(rf"\s*(?:{_ITEM.pattern}|[>|#]|[-=_*]{{3}})|\s{{4}}|\t")
"""The beginning of a line that is no prose, or would not be if it stood at the beginning of one."""


class BlockCutter:
    """Feed it text; it yields finished blocks, each valid Markdown by itself. Work is linear in the text."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._fence = ""
        self._opening = ""
        self._partial: list[str] = []
        self._length = 0
        self._repeated: list[str] = []

    @property
    def tail(self) -> str:
        """What has come since the last finished block."""
        return "\n".join([*self._lines, "".join(self._partial)])

    def feed(self, text: str) -> Iterator[str]:
        *complete, rest = text.split("\n")
        for line in complete:
            self._partial.append(line)
            whole, self._partial, self._length = "".join(self._partial), [], 0
            yield from self._line(whole)
        if rest:
            self._partial.append(rest)
            self._length += len(rest)
            if self._length > LONGEST_LINE and not self._fence:
                # A paragraph without end: what there is of it is shown, up to a space.
                whole, self._partial, self._length = "".join(self._partial), [], 0
                head, _, tail = whole.rpartition(" ")
                yield from self._line(head or whole)
                yield from self._flush()
                if head and tail:
                    self._partial, self._length = [tail], len(tail)

    def ready(self, width: int) -> str:
        """Take out the part of the unfinished block that stands by itself already, "" when there is none.

        Lines of a fence, items of a list, and rows of prose of `width` columns. What is left is never empty.
        """
        if self._fence:
            *whole, last = self._lines
            if not whole[1:]:
                return ""
            self._lines = [self._opening, last]
            return "\n".join([*whole, self._fence])
        items = [number for number, line in enumerate(self._lines) if number and _ITEM.match(line)]
        if items:
            whole, self._lines = self._lines[: items[-1]], self._lines[items[-1] :]
            return "\n".join(whole)
        text = self.tail
        if any(map(_NO_PROSE.match, text.split("\n"))) or not (cut := _full_rows(text, width)):
            return ""
        *self._lines, partial = text[cut:].split("\n")
        self._partial, self._length = [partial], len(partial)
        return text[:cut].rstrip()

    def finish(self) -> Iterator[str]:
        """The last block, if there is one; an open fence is closed."""
        if self._partial:
            whole, self._partial = "".join(self._partial), []
            yield from self._line(whole)
        yield from self._flush(close=bool(self._fence))
        self._fence = ""

    def _line(self, line: str) -> Iterator[str]:
        mark = _FENCE.match(line)
        if self._fence:
            closes = mark and mark[1].startswith(self._fence) and not mark[2].strip()
            if closes:
                yield from self._flush(close=True)
                self._fence = ""
            else:
                self._lines.append(line)
                if len(self._lines) > MOST_LINES:
                    yield from self._flush(close=True)
                    self._lines = [self._opening]
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):
            yield from self._flush()
            self._fence, self._opening = mark[1], line.strip()
            self._lines = [self._opening]
        elif not line.strip():
            yield from self._flush()
        else:
            self._lines.append(line)
            if len(self._lines) > MOST_LINES:
                # A table goes on under its own head.
                head = self._lines[:2] if line.lstrip().startswith("|") else []
                yield from self._flush()
                self._lines, self._repeated = list(head), head

    def _flush(self, *, close: bool = False) -> Iterator[str]:
        lines, self._lines = self._lines, []
        repeated, self._repeated = self._repeated, []
        if (close and lines == [self._opening]) or (repeated and lines == repeated):
            return
        if lines:
            yield "\n".join([*lines, self._fence] if close else lines)


def _full_rows(text: str, width: int) -> int:
    """Where the last row of prose begins that may still change, 0 when none before it is known to stay."""
    found = 0
    flat = text.replace("\n", " ")
    for start in row_starts(flat, width)[1:]:
        head = flat[:start]
        marked = (
            head.count("**") % 2 or head.count("*") % 2 or head.count("`") % 2 or head.count("[") != head.count("]")
        )
        if flat[start:].strip() and not marked and not _NO_PROSE.match(flat[start:]):
            found = start
    return found
