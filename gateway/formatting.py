"""Long texts for chats: cut where it hurts least, in the platform's own unit."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from agent.commands import commands_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one platform writes. `limit` is the longest message, in the units that `measure` counts in rendered text.

    `command` is what stands there before the name of a command.
    """

    render: Callable[[str], str]
    measure: Callable[[str], int]
    limit: int
    command: str = "/"

    def fits(self, markdown: str) -> bool:
        return self.measure(self.render(markdown)) <= self.limit

    def commands(self, text: str) -> str:
        """A text of our own, with the commands in it as they are given on this platform."""
        return text if self.command == "/" else _commands().sub(lambda found: f"{self.command}{found[1]}", text)


@cache
def _commands() -> re.Pattern[str]:
    names = "|".join(name for command in commands_for("gateway") for name in command.names)
    return re.compile(rf"(?<![\w/])/({names})(?![\w/])")


PLAIN = Dialect(render=str, measure=len, limit=4000)
"""Shows Markdown as it is, counted in code points."""

_FENCE = re.compile(r"^(?P<lead>[ \t>]*(?:(?:[-*+•]|\d{1,9}[.)])[ \t]+)?)(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)$")

_PLACES = (r"\n[ \t]*\n", r"\n", r"[.!?…。！？]['\"”’)]*\s", r"\s")
"""Where to cut, best first: after a paragraph, a line, a sentence, a word."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A text as it is sent: messages, and the whole of it as a file's content when it was too long for messages."""

    messages: tuple[str, ...]
    file: str = ""


def parts(markdown: str, dialect: Dialect, *, most: int = 5, note: str = "*… the whole text is in the file.*") -> Parts:
    """Split a text; one that takes more than `most` messages goes as its beginning, a note, and a file."""
    pieces = tuple(islice(_pieces(markdown, dialect), most + 1))
    return Parts(pieces) if len(pieces) <= most else Parts((pieces[0], note), markdown)


def split(markdown: str, dialect: Dialect) -> tuple[str, ...]:
    """Pieces of Markdown that each fit one message, none of them blank; () for a text that shows nothing.

    A code fence that is cut is closed, and opened again in the next piece. No cut is inside a grapheme, unless one
    grapheme alone is too long for a message.
    """
    return tuple(_pieces(markdown, dialect))


def _pieces(markdown: str, dialect: Dialect) -> Iterator[str]:
    rest = markdown.strip("\n")
    while rest.strip():
        piece, rest = (rest, "") if _fits(rest, dialect) else _cut(rest, dialect)
        if dialect.render(piece).strip():
            yield piece


def _fits(markdown: str, dialect: Dialect) -> bool:
    """A text many times the limit is not rendered to find out: what markup takes away has bounds, in practice."""
    return len(markdown) <= dialect.limit * 4 and dialect.fits(markdown)


def _cut(text: str, dialect: Dialect) -> tuple[str, str]:
    """The longest good beginning that fits, and what comes after it."""
    longest = _longest(text, dialect)
    for place in _PLACES:
        # Rather a sentence in the last half than a paragraph in the first lines.
        ends = [match.end() for match in re.finditer(place, text[:longest]) if match.end() > longest // 2]
        for end in reversed(ends[-3:]):
            piece, rest = _mended(text, _before_fence(text, end))
            if piece and len(rest) < len(text) and dialect.fits(piece):
                return piece, rest
    piece, rest = _mended(text, _before_fence(text, longest))
    return (piece, rest) if len(rest) < len(text) else (text[:longest], text[longest:])


def _longest(text: str, dialect: Dialect) -> int:
    """How many characters from the start fit when mended, to a hundredth, at a grapheme's end; at least one."""
    head = text[: dialect.limit * 4 + 1]
    low, high = 0, len(head) - 1
    guess, tries = min(dialect.limit, high), 0  # Markup changes most texts little.
    while high - low > dialect.limit // 100:
        size = dialect.measure(dialect.render(_mended(head, guess)[0]))
        low, high = (guess, high) if size <= dialect.limit else (low, guess - 1)
        if dialect.limit * 0.98 <= size <= dialect.limit:
            break
        tries += 1
        # What was seen tells where the limit is; where that misleads, halving comes to an end all the same.
        guess = guess * dialect.limit // max(size, 1) if tries < 5 else (low + high + 1) // 2
        guess = min(max(guess, low + 1), high)
    return max(_grapheme_end(head, low), 1)


def _grapheme_end(text: str, end: int) -> int:
    """The last end of a grapheme at or before `end`; `end` itself inside a grapheme without measure."""
    from wcwidth import iter_graphemes

    if not 0 < end < len(text) or text[end - 1 : end + 1].isascii():
        return end
    start = reached = max(text.rfind(" ", 0, end), text.rfind("\n", 0, end), 0)
    for grapheme in iter_graphemes(text[start : end + 64]):
        if reached + len(grapheme) > end:
            break
        reached += len(grapheme)
    return reached if reached > start else end


def _before_fence(text: str, end: int) -> int:
    """The same place, or the beginning of the line where a cut would go through a fence."""
    start = text.rfind("\n", 0, end) + 1
    stop = text.find("\n", end)
    inside = start < end < (len(text) if stop < 0 else stop)
    return start if inside and start and _FENCE.match(text[start : stop if stop >= 0 else None]) else end


def _mended(text: str, end: int) -> tuple[str, str]:
    """Both sides of a cut, with the fence that is open there closed before it and opened again after it."""
    piece, rest = text[:end], text[end:]
    lines = piece.split("\n")
    opened = _open_fence(lines if not rest or rest.startswith("\n") else lines[:-1])
    if opened is None:
        return piece.rstrip("\n"), rest.lstrip("\n")
    blank = re.sub(r"[^\s>]", " ", opened["lead"])
    again = f"{blank}{opened['fence']}{opened['info']}\n{rest.removeprefix(chr(10))}"
    body = piece.removesuffix("\n")
    before, _, last = body.rpartition("\n")
    if last == opened[0]:  # Nothing of the code is in this piece: the fence moves on whole.
        return before.rstrip("\n"), f"{last}\n{rest.removeprefix(chr(10))}"
    return f"{body}\n{blank}{opened['fence']}", again


def _open_fence(lines: Sequence[str]) -> re.Match[str] | None:
    """The line that opened the fence which is open after these lines."""
    opened: re.Match[str] | None = None
    for line in lines:
        match = _FENCE.match(line)
        if match is None:
            continue
        if opened is None:
            opened = match
        elif match["fence"].startswith(opened["fence"]) and not match["info"].strip():
            opened = None
    return opened
