"""The patch format: what a model writes to change several files, read and applied to text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from agent.errors import ToolError
from agent.tools.nearest import nearest

BEGIN, END, END_OF_FILE = "*** Begin Patch", "*** End Patch", "*** End of File"
_HEADS = {"*** Add File: ": "add", "*** Delete File: ": "delete", "*** Update File: ": "update"}
_MOVE = "*** Move to: "


@dataclass(slots=True)
class Hunk:
    """Lines to be replaced by others, `context` unchanged ones among both. `after` is a line that comes before them."""

    number: int
    after: str = ""
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    at_end: bool = False
    loose: int = 0
    """Empty lines at its end, without the blank of an unchanged line: perhaps only there to look better."""


@dataclass(slots=True)
class FilePatch:
    """What happens to one file. `lines` are those of a new one, `target` is where a moved one goes."""

    action: Literal["add", "delete", "update"]
    path: str
    target: str = ""
    lines: list[str] = field(default_factory=list)
    hunks: list[Hunk] = field(default_factory=list)


def parse(text: str) -> list[FilePatch]:
    """Raises: ToolError that names the line."""
    lines = text.strip("\n").split("\n")
    if lines[0].strip() != BEGIN or lines[-1].strip() != END:
        raise ToolError(f"A patch begins with the line {BEGIN!r} and ends with {END!r}.")
    found: list[FilePatch] = []
    for number, line in enumerate(lines[1:-1], 2):
        head = next((head for head in _HEADS if line.startswith(head)), None)
        if head is not None:
            found.append(FilePatch(_HEADS[head], line[len(head) :].strip()))  # type: ignore[arg-type]
            if not found[-1].path:
                raise _wrong(number, line, "it names no file")
        elif not found:
            raise _wrong(number, line, "no file was named yet")
        else:
            _add(found[-1], line, number)
    if not found:
        raise ToolError("The patch names no file.")
    for item in found:
        for hunk in item.hunks:
            if hunk.loose:
                del hunk.old[-hunk.loose :], hunk.new[-hunk.loose :]
        if item.action == "update" and not item.target and not any(hunk.old or hunk.new for hunk in item.hunks):
            raise ToolError(f"The patch says to update {item.path}, and not how.")
    return found


def _add(item: FilePatch, line: str, number: int) -> None:
    match item.action:
        case "add" if line.startswith("+"):
            item.lines.append(line[1:])
        case "add":
            raise _wrong(number, line, "each line of a new file begins with +")
        case "delete" if line.strip():
            raise _wrong(number, line, "nothing follows after a file that is deleted")
        case "update":
            _add_to_update(item, line, number)


def _add_to_update(item: FilePatch, line: str, number: int) -> None:
    if line.startswith(_MOVE) and not item.hunks:
        item.target = line[len(_MOVE) :].strip()
        return
    if line.startswith("@@"):
        item.hunks.append(Hunk(number, _anchor(line)))
        return
    if not item.hunks:
        item.hunks.append(Hunk(number))
    hunk = item.hunks[-1]
    hunk.loose = 0 if line else hunk.loose + 1
    if line.strip() == END_OF_FILE:
        hunk.at_end = True
    elif not line or line[0] == " ":
        # Many drop the blank that marks an empty line as unchanged.
        hunk.old.append(line[1:])
        hunk.new.append(line[1:])
    elif line[0] == "-":
        hunk.old.append(line[1:])
    elif line[0] == "+":
        hunk.new.append(line[1:])
    else:
        raise _wrong(number, line, "it begins neither with a blank, + or -, nor with @@ or ***")


def _anchor(line: str) -> str:
    """What stands after `@@`; the line numbers of a unified diff are no help."""
    text = line[2:].strip()
    if text.startswith("-") and "@@" in text:
        text = text.partition("@@")[2].strip()
    return text.removesuffix("@@").strip()


def _wrong(number: int, line: str, why: str) -> ToolError:
    return ToolError(f"Line {number} of the patch, {line[:100]!r}: {why}.")


# -- applying --------------------------------------------------------------------------------------


def apply(text: str, hunks: Sequence[Hunk], name: str) -> str:
    """The text with every hunk applied, in order. Raises: ToolError that shows the nearest lines."""
    lines = text.split("\n")
    position = 0
    for hunk in hunks:
        if not (hunk.old or hunk.new):
            position = _anchored(lines, hunk, position, name) + 1 if hunk.after else position
        else:
            start = _find(lines, hunk, position, name)
            # Unchanged lines stay as the file has them: white space at their ends may differ from the patch.
            new = list(_kept(lines[start : start + len(hunk.old)], hunk))
            lines[start : start + len(hunk.old)] = new
            position = start + len(new)
    return "\n".join(lines)


def _find(lines: Sequence[str], hunk: Hunk, position: int, name: str) -> int:
    first = position
    if hunk.after:
        anchor = _anchored(lines, hunk, position, name)
        first = anchor + (hunk.old[:1] != [lines[anchor]])
    if not hunk.old:
        return _insertion(lines, hunk, first, name)
    for same in (_exact, _but_for_blanks_at_the_end):
        found = [start for start in range(first, len(lines) - len(hunk.old) + 1) if same(lines, hunk.old, start)]
        if hunk.at_end:
            found = found[-1:]
        if len(found) > 1 and not hunk.after:
            places = ", ".join(str(start + 1) for start in found[:5])
            raise ToolError(
                f"{name}: the lines of the hunk at line {hunk.number} of the patch are there {len(found)} times (lines "
                f"{places}). Add unchanged lines around them, or a line `@@ …` that comes before."
            )
        if found:
            return found[0]
    raise ToolError(
        f"{name}: the lines of the hunk at line {hunk.number} of the patch are not there{_below(first)}. "
        + nearest("\n".join(lines), "\n".join(hunk.old))
    )


def _anchored(lines: Sequence[str], hunk: Hunk, position: int, name: str) -> int:
    """Where the line after `@@` is."""
    for number in range(position, len(lines)):
        if lines[number].strip() == hunk.after:
            return number
    raise ToolError(f"{name}: the line {hunk.after!r} after @@ is not there{_below(position)}.")


def _insertion(lines: Sequence[str], hunk: Hunk, first: int, name: str) -> int:
    if hunk.after:
        return first
    if hunk.at_end or lines == [""]:
        # The last "line" of a text that ends in a newline is empty.
        return len(lines) - (lines[-1] == "")
    raise ToolError(
        f"{name}: the hunk at line {hunk.number} of the patch only adds lines: "
        "say where, with unchanged lines around them."
    )


def _kept(there: Sequence[str], hunk: Hunk) -> Iterator[str]:
    import difflib

    for tag, old_start, old_end, new_start, new_end in difflib.SequenceMatcher(
        None, hunk.old, hunk.new, autojunk=False
    ).get_opcodes():
        yield from there[old_start:old_end] if tag == "equal" else hunk.new[new_start:new_end]


def _exact(lines: Sequence[str], old: Sequence[str], start: int) -> bool:
    return all(lines[start + number] == line for number, line in enumerate(old))


def _but_for_blanks_at_the_end(lines: Sequence[str], old: Sequence[str], start: int) -> bool:
    return all(lines[start + number].rstrip() == line.rstrip() for number, line in enumerate(old))


def _below(position: int) -> str:
    return f" below line {position}" if position else ""
