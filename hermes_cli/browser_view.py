"""What the task browser draws: rows of the list and of the log, side by side where there is room."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prompt_toolkit.formatted_text import StyleAndTextTuples

from agent.records import Task
from agent.task_rows import key_of
from agent.visible import visible
from hermes_cli.glyphs import Glyphs
from hermes_cli.step_log import LABEL, LogLine
from hermes_cli.task_facts import ran, receipt_lines, title, used
from hermes_cli.text import clip, columns, harmless, seconds, tail_rows

if TYPE_CHECKING:
    from agent.records import Store

Row = tuple[str, str]
"""A style and a line that fits."""

SIDE_BY_SIDE = 76
"""Columns from which list and log stand beside each other."""

_STYLE = {
    "done": "class:browser.done",
    "failed": "class:browser.failed",
    "waiting": "class:browser.urgent",
    "running": "bold",
    "cancelled": "class:browser.faint",
}
_LABELS = {
    "prompt": "bold",
    "steered": "bold",
    "tool": "class:browser.tool",
    "asks": "class:browser.urgent",
    "error": "class:browser.failed",
    "failed": "class:browser.failed",
    "done": "class:browser.done",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Where things stand, in columns and rows. A width of 0: not there."""

    width: int
    rows: int
    list_width: int
    log_width: int

    @property
    def log_rows(self) -> int:
        """Rows of the log itself, below its two head lines."""
        return max(self.rows - 4, 1)


def plan(width: int, rows: int, *, zoomed: bool) -> Plan:
    # The last column stays free: some terminals wrap when it is written.
    width = max(width - 1, 20)
    if zoomed:
        return Plan(width, rows, 0, width)
    if width < SIDE_BY_SIDE:
        return Plan(width, rows, width, 0)
    side = min(max(width * 3 // 8, 30), 48)
    return Plan(width, rows, side, width - side - 3)


class Rows:
    """Lines of a log, wrapped, with a place in them; at its end it follows what is added."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: list[Row] = []
        self._last: list[Row] = []
        self._top: int | None = None

    def __len__(self) -> int:
        return len(self._rows) + len(self._last)

    @property
    def follows(self) -> bool:
        return self._top is None

    def clear(self) -> None:
        self._rows, self._last, self._top = [], [], None

    def add(self, rows: Iterable[Row]) -> None:
        self._rows += rows
        dropped = max(len(self._rows) - self._most, 0)
        del self._rows[:dropped]
        if self._top is not None:
            self._top = max(self._top - dropped, 0)

    def end_with(self, rows: Iterable[Row]) -> None:
        """Rows that stand below the others until the next call."""
        self._last = list(rows)
        if self._top is not None and self._top >= len(self):
            self._top = None  # what was looked at is gone

    def replace(self, rows: Iterable[Row]) -> None:
        """Other rows at the same place."""
        self._rows, self._last = list(rows), []
        self._top = self._top or 0

    def scroll(self, by: int, height: int) -> None:
        last = max(len(self) - height, 0)
        top = (last if self._top is None else self._top) + by
        self._top = None if top >= last else max(top, 0)

    def window(self, height: int) -> list[Row]:
        top = max(len(self) - height, 0) if self._top is None else self._top
        return (self._rows + self._last)[top : top + height]


def matches(task: Task, words: str) -> bool:
    """Whether a task's number, state, chat, name or prompt has all of the words."""
    text = f"#{task.number} {task.state} {key_of(task.owner)} {task.name} {task.prompt}".casefold()
    return all(word in text for word in words.casefold().split())


def wrapped(text: str, width: int) -> list[str]:
    return tail_rows(text, max(width, 10), max(len(text), 1))


def log_rows(lines: Iterable[LogLine], *, width: int) -> Iterator[Row]:
    """Log lines as rows: the label in a column of its own, the text wrapped beside it."""
    for line in lines:
        style = _LABELS.get(line.label, "" if line.label else "class:browser.text")
        for number, row in enumerate(wrapped(line.text, width - LABEL - 1)):
            label = line.label if number == 0 else ""
            yield style, f"{label:<{LABEL}} {row}"


def result_rows(store: "Store", task: Task, *, width: int) -> Iterator[Row]:
    """What a task answered, or why it did not, and what it did for it."""
    for style, text in (("class:browser.failed", task.error), ("", task.result or f"({task.state}, no result yet)")):
        for line in harmless(text).split("\n") if text else ():
            yield from ((style, row) for row in wrapped(line, width))
    yield "", ""
    for line in receipt_lines(task):
        yield from (("class:browser.faint", row) for row in wrapped(harmless(line), width))


def picture(
    plan: Plan,
    *,
    tasks: Sequence[Task],
    chosen: Task | None,
    log: Rows,
    pane: str,
    head: str,
    foot: Sequence[str],
    glyphs: Glyphs,
) -> StyleAndTextTuples:
    """The whole screen: a head line, list and log, a foot line."""
    height = max(plan.rows - 2, 1)
    left = _list(plan, tasks, chosen, height, glyphs) if plan.list_width else []
    right = _pane(plan, chosen, log, pane, glyphs) if plan.log_width else []
    drawn: StyleAndTextTuples = [("class:browser.head", f" {clip(head, plan.width - 1, glyphs.ellipsis)}\n")]
    for number in range(height):
        if plan.list_width:
            style, text = left[number] if number < len(left) else ("", "")
            drawn.append((style, _padded(text, plan.list_width)))
        if plan.list_width and plan.log_width:
            drawn.append(("class:browser.faint", f" {glyphs.bar} "))
        if plan.log_width:
            style, text = right[number] if number < len(right) else ("", "")
            drawn.append((style, text))
        drawn.append(("", "\n"))
    drawn.append(("class:browser.faint", f" {fitting(foot, plan.width - 1)}"))
    return drawn


def fitting(parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit, the first ones."""
    line = ""
    for part in parts:
        longer = f"{line}   {part}" if line else part
        if columns(longer) > width:
            return line or clip(part, width)
        line = longer
    return line


def _list(plan: Plan, tasks: Sequence[Task], chosen: Task | None, height: int, glyphs: Glyphs) -> list[Row]:
    if not tasks:
        return [("", ""), ("class:browser.faint", "  No tasks here.")]
    at = next((place for place, task in enumerate(tasks) if chosen and task.id == chosen.id), 0)
    first = min(max(at - height // 2, 0), max(len(tasks) - height, 0))
    shown = tasks[first : first + height]
    return [(_row_style(task, chosen), _list_line(task, plan.list_width, glyphs, chosen)) for task in shown]


def _row_style(task: Task, chosen: Task | None) -> str:
    style = _STYLE.get(task.state, "")
    return f"{style} class:browser.chosen" if chosen and task.id == chosen.id else style


def _list_line(task: Task, width: int, glyphs: Glyphs, chosen: Task | None) -> str:
    signs = {"done": glyphs.done, "failed": glyphs.failed, "running": glyphs.running, "waiting": glyphs.waiting}
    mark = glyphs.prompt if chosen and task.id == chosen.id else " "
    state = f"{task.state:<9}" if width >= 48 else signs.get(task.state, glyphs.dot)
    start = f"{mark} #{task.number:<3} {state} {seconds(ran(task)):>5}  "
    about = (
        title(task) if width < SIDE_BY_SIDE - 10 or not task.activity else f"{title(task)} {glyphs.dot} {task.activity}"
    )
    return start + clip(visible(about), width - columns(start), glyphs.ellipsis)


def _pane(plan: Plan, task: Task | None, log: Rows, pane: str, glyphs: Glyphs) -> list[Row]:
    if task is None:
        return []
    steps = f"{task.steps} step{'' if task.steps == 1 else 's'}"
    doing = [task.activity] if task.activity else []
    facts = f" {glyphs.dot} ".join([task.state, seconds(ran(task)), steps, used(task), *doing])
    where = "" if log.follows or pane == "result" else " (End follows)"
    name = f"#{task.number} {title(task)}"
    return [
        ("bold", clip(harmless(name), plan.log_width, glyphs.ellipsis)),
        ("class:browser.faint", clip(visible(f"{pane}{where} {glyphs.dot} {facts}"), plan.log_width, glyphs.ellipsis)),
        *(log.window(plan.log_rows) or [("class:browser.faint", "nothing has happened yet")]),
    ]


def _padded(text: str, width: int) -> str:
    return text + " " * max(width - columns(text), 0)
