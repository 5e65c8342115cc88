"""What a file holds instead of a text that was looked for in it."""

from agent import differences
from agent.marks import marked

SEARCHED_LINES = 20_000
"""Lines of a file that are looked at for something like a text that was not found."""


def nearest(text: str, wanted: str) -> str:
    """What the file holds instead: the lines most like the wanted ones, with their numbers."""
    there = [line.rstrip("\r\n") for line in differences.lines(text)[:SEARCHED_LINES]]
    target = [line for line in wanted.splitlines() if line.strip()]
    if not target:
        return "It is white space only: take in some text around it."
    start = _most_like(there, target[0])
    if start is None:
        return "No line in it is like the first line of that text. Read the file again."
    shown = there[start : start + min(len(wanted.splitlines()), 10)]
    excerpt = "\n".join(f"{number}: {line[:300]}" for number, line in enumerate(shown, start + 1))
    same = [" ".join(line.split()) for line in shown] == [" ".join(line.split()) for line in wanted.splitlines()]
    reason = "These lines differ from it in white space only" if same else "The nearest lines are"
    return f"{reason}:\n{marked(excerpt)}"


def _most_like(there: list[str], line: str) -> int | None:
    """The index of the line most like `line`, white space at its ends aside."""
    import difflib

    stripped = [item.strip() for item in there]
    if line.strip() in stripped:
        return stripped.index(line.strip())
    near = difflib.get_close_matches(line.strip(), dict.fromkeys(stripped), 1, 0.6)
    return stripped.index(near[0]) if near else None
