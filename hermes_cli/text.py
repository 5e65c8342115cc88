"""Text on its way to a terminal: made harmless, clipped, measured."""

import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from agent.events import Compacted

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movement
    r"|\x1b[\]PX^_].*?(?:\x1b\\|\x07|\x9c|$)"  # OSC, DCS, SOS, PM, APC up to their end
    r"|\x1b[ -/]*[0-~]?"  # two-character escapes
    r"|\x9b[0-?]*[ -/]*[@-~]",  # CSI as one C1 byte
    re.DOTALL,
)
_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str, *, keep_colours: bool = False) -> str:
    """Take out whatever moves the cursor, sets the title, reorders text or rings; colours stay only if asked.

    New lines and tabs stay. A carriage return that overwrites a line leaves what the person would have seen.
    """
    if text.isprintable():
        return text
    kept = (lambda match: match[0] if _SGR.fullmatch(match[0]) else "") if keep_colours else ""
    text = _ESCAPES.sub(kept, text).replace("\r\n", "\n")
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    if keep_colours:
        return "".join(
            part if _SGR.fullmatch(part) else _CONTROLS.sub("", part) for part in re.split(f"({_SGR.pattern})", text)
        )
    return _CONTROLS.sub("", text)


def said(text: str) -> str:
    """What a model said, made harmless; a carriage return ends a line, so that none hides what stands before it."""
    return harmless(text.replace("\r\n", "\n").replace("\r", "\n")) if "\r" in text else harmless(text)


def echoed(text: str, sign: str, *, colours: bool, width: int) -> str:
    """What the person sent, as it stands in the scrollback; further rows are indented."""
    body = "\n  ".join(row for line in harmless(text.rstrip()).split("\n") for row in wrap(line, width - 3))
    return f"\n\x1b[1;36m{sign}\x1b[0m \x1b[1m{body}\x1b[0m\n" if colours else f"\n{sign} {body}\n"


def clip(text: str, width: int, ellipsis: str = "…") -> str:
    """One line of at most `width` columns."""
    line = " ".join(text.split())
    if columns(line) <= width:
        return line
    taken, room = [], width - columns(ellipsis)
    for character in line:
        room -= columns(character)
        if room < 0:
            break
        taken.append(character)
    return f"{''.join(taken)}{ellipsis}" if width > 0 else ""


def shortened(text: str, most: int, more: str = "more lines") -> str:
    """The first lines of a text in Markdown; a fence that the cut left open is closed, and what was cut is counted."""
    lines = text.strip().split("\n")
    if len(lines) <= most:
        return "\n".join(lines)
    fences = sum(line.lstrip().startswith("```") for line in lines[:most])
    return "\n".join([*lines[:most], *(["```"] if fences % 2 else []), f"\n… {len(lines) - most} {more}"])


def columns(text: str) -> int:
    """Terminal columns a text takes."""
    if text.isascii():
        return len(text)
    from prompt_toolkit.utils import get_cwidth

    return get_cwidth(text)


LONGEST_WRAPPED = 10_000
"""Characters of one line from which on it is wrapped by columns alone, so that its length costs nothing."""


def tail_rows(text: str, width: int, rows: int) -> list[str]:
    """The last `rows` screen rows of a text wrapped at `width`, between words where it can be.

    Rows already shown stay as they are while a line grows. Only the end is looked at of one longer than
    `LONGEST_WRAPPED`.
    """
    wrapped: list[str] = []
    for line in reversed(text.split("\n") if len(text) < width * rows else _last_lines(text, rows)):
        surplus = len(line) - width * rows
        if len(line) > LONGEST_WRAPPED and surplus > 0:
            # Cut at a multiple of the width, for the same reason.
            wrapped[:0] = _rows(line[surplus - surplus % width :], width, "none")
        else:
            wrapped[:0] = _rows(line, width, "growing")
        if len(wrapped) >= rows:
            break
    return wrapped[-rows:]


def _last_lines(text: str, most: int) -> list[str]:
    return text.rsplit("\n", most)[-most:]


def wrap(line: str, width: int) -> list[str]:
    """A line in rows of at most `width` columns; a word is broken only where it is longer than a row."""
    return _rows(line, width, "whole")


Words = Literal["none", "whole", "growing"]
"""What is kept together: nothing, words that fit a row, or any word, for the last one may grow beyond it."""


def _rows(line: str, width: int, words: Words) -> list[str]:
    line = line.expandtabs(4)
    starts = row_starts(line, width, words)
    rows = (line[start:end] for start, end in pairwise([*starts, len(line)]))
    return [row if words == "none" else row.rstrip() for row in rows]


def row_starts(line: str, width: int, words: Words = "growing") -> list[int]:
    """Where the rows of a line begin that is wrapped at `width`."""
    starts = [0]
    while (end := _row_end(line, start := starts[-1], width)) < len(line):
        space = -1 if words == "none" else line.rfind(" ", start, end + 1)
        word = line[space + 1 : space + width + 2] if words == "whole" else ""
        if not line[start : max(space, start)].strip() or columns(word.partition(" ")[0]) > width:
            starts.append(end)
            continue
        while line[space : space + 1] == " ":
            space += 1
        if space == len(line):
            break
        starts.append(space)
    return starts


def _row_end(line: str, start: int, width: int) -> int:
    """Where a row that begins at `start` is full."""
    part = line[start : start + width]
    if part.isascii():
        return start + len(part)
    used = 0
    for number, character in enumerate(part):
        used += columns(character)
        if used > width:
            return start + max(number, 1)
    return start + len(part)


def place(folder: str) -> str:
    """A folder as a person writes it."""
    home = str(Path.home())
    return f"~{folder[len(home) :]}" if folder == home or folder.startswith(f"{home}/") else folder


def seconds(value: float) -> str:
    """A duration for a person: 0.4s, 41s, 15m, 2h10m."""
    if value < 10:
        return f"{value:.1f}s"
    if value < 60:
        return f"{value:.0f}s"
    minutes = int(value // 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def count(value: int) -> str:
    """A number of tokens for a person: 950, 12.4K, 1.2M."""
    for size, unit in ((1_000_000, "M"), (1_000, "K")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return str(value)


def size(value: float) -> str:
    """Bytes for a person: 512 B, 4.2 MB."""
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1_000 or unit == "GB":
            break
        value /= 1_000
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"


def compacted(event: "Compacted") -> str:
    """One line about a conversation that was made to fit."""
    how = "summarised" if event.how == "summary" else "shortened without a summary"
    return f"{how}: {count(event.before)} → {count(event.after)} tokens; the whole stays in session {event.parent}"


_FENCE = re.compile(r"^\s*(?:```|~~~)")
_MARKS = re.compile(r"(\*\*|\*|`+)(?=\S)(.+?)(?<=\S)\1")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


def without_markdown(text: str) -> str:
    """The first line of a Markdown text that says something, without its marks."""
    said = (line for line in text.splitlines() if line.strip() and not _FENCE.match(line))
    line = re.sub(r"^\s*(?:[#>]+|[-*+](?=\s))\s*", "", next(said, ""))
    return _LINK.sub(r"\1", _MARKS.sub(r"\2", line)).strip()
