"""What changes between two texts, as a unified diff."""

import io
from collections import Counter
from dataclasses import dataclass

LONGEST = 20_000
"""Lines, old and new together, up to which a change is shown line by line; comparing more takes seconds."""


@dataclass(frozen=True, slots=True)
class Change:
    """What replacing a file's text amounts to.

    `diff` is a unified diff, or one line where that would be too long; "" when nothing changes.
    """

    diff: str
    added: int
    removed: int

    @property
    def stat(self) -> str:
        return f"+{self.added} −{self.removed}"


def lines(text: str) -> list[str]:
    """The lines of a text, each with its end. Only a newline ends a line, as in editors and in git."""
    return list(io.StringIO(text, newline="\n"))


def compare(before: str, after: str, name: str, *, new: bool = False, gone: bool = False) -> Change:
    """The change from one text to another. The file was not there before when it is `new`, is not after when `gone`."""
    old_lines, new_lines = lines(before), lines(after)
    if len(old_lines) + len(new_lines) > LONGEST:
        return _roughly(old_lines, new_lines, name)
    import difflib

    ends = ("/dev/null" if new else f"a/{name}", "/dev/null" if gone else f"b/{name}")
    diff = list(difflib.unified_diff(old_lines, new_lines, *ends))
    body = [line[0] for line in diff[2:]]
    text = "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in diff)
    return Change(text, body.count("+"), body.count("-"))


def _roughly(old_lines: list[str], new_lines: list[str], name: str) -> Change:
    old_counts, new_counts = Counter(old_lines), Counter(new_lines)
    added, removed = (new_counts - old_counts).total(), (old_counts - new_counts).total()
    note = f"{name}: {len(old_lines)} lines become {len(new_lines)}; too long to show line by line.\n"
    return Change(note, added, removed)
