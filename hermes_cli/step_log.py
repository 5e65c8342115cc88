"""A task's log for a person to read: prompts, text, tool calls with arguments, outputs, answers, cost, in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.events import (
    ApprovalRequested,
    ApprovalSettled,
    Compacted,
    Event,
    Steered,
    StepFinished,
    StepRestarted,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnResumed,
    TurnStarted,
    TurnSuspended,
)
from agent.messages import Usage
from agent.money import dollars
from agent.records import LIVE_STATES
from agent.visible import visible
from hermes_cli.text import compacted, count, harmless, seconds

if TYPE_CHECKING:
    from agent.records import LoggedEvent, Store, Task

MOST_LINES = 40
"""Lines of one output or argument; what is left out is counted."""

LABEL = 9
"""Columns of the label at the beginning of a line."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log. `label` says what it is about, "" for what goes on from the line above. `text` is harmless."""

    label: str
    text: str

    def __str__(self) -> str:
        return f"{self.label:<{LABEL}} {self.text}".rstrip()


class StepLog:
    """Reads a task's log as it grows; each line comes once. It begins with the `last` entries, if so many are there."""

    def __init__(self, store: "Store", task_id: str, *, last: int | None = None) -> None:
        self._store = store
        self._task_id = task_id
        self._last = last
        self._after = 0
        self._last_call = ""
        self._ended = False
        self._began = self._at = 0.0
        # What earlier stretches of a turn that was resumed took.
        self._before = 0.0
        self._used, self._earlier = Usage(), Usage()

    def more(self) -> list[LogLine]:
        """What has come since the last call."""
        found: list[LogLine] = []
        for entry in self._store.log(self._task_id, after=self._after, last=self._last):
            if entry.number > self._after + 1:
                found.append(LogLine("", f"({entry.number - self._after - 1} older entries are not shown)"))
            self._after = entry.number
            self._count(entry)
            found += self._lines(entry.event)
        return found

    def rest(self, task: "Task") -> list[LogLine]:
        """What is left, and how the task ended where the log does not say: somebody stopped it."""
        found = self.more()
        if task.state in LIVE_STATES or self._ended:
            return found
        return [*found, LogLine(task.state, harmless(task.error or task.activity))]

    def _count(self, entry: "LoggedEvent") -> None:
        """Keep the time and usage of a turn that was resumed: how it ends tells of its last stretch alone."""
        match entry.event:
            case TurnStarted():
                self._began, self._before, self._used, self._earlier = entry.at, 0.0, Usage(), Usage()
            case TurnSuspended() | TurnResumed() if self._began:
                # Where a process died, nothing says when it let go.
                let_go = entry.at if isinstance(entry.event, TurnSuspended) else self._at
                self._before += let_go - self._began
                self._began = 0.0
            case StepFinished(usage=usage) | Compacted(usage=usage) | ToolProgress(usage=usage):
                self._used += usage
        if isinstance(entry.event, TurnResumed):
            self._began, self._earlier = entry.at, self._used
        self._at = entry.at

    def _lines(self, event: Event) -> Iterator[LogLine]:
        match event:
            case TurnStarted(prompt):
                yield from _block("prompt", prompt)
            case TurnResumed():
                yield LogLine("resumed", "")
            case Steered(text):
                yield from _block("steered", text)
            case StepFinished(step=step, text=text, usage=usage):
                yield LogLine(f"step {step}", _spent(usage))
                yield from _block("", text)
            case StepRestarted(reason):
                yield LogLine("again", harmless(reason))
            case Compacted():
                yield LogLine("shorter", compacted(event))
            case ToolStarted(call_id, name, title, arguments):
                yield LogLine("tool", f"{name} {visible(title)}".rstrip())
                yield from _call(arguments, title)
                self._last_call = call_id
            case ToolProgress(part=part, text=text) if text:
                yield LogLine("agent", visible(f"{part}: {text}"))
            case ToolFinished(call_id=call_id, name=name, title=title, summary=summary, seconds=spent):
                about = "" if call_id == self._last_call else f"{name} {visible(title)}  "
                parts = [part for part in (summary, seconds(spent)) if part]
                yield LogLine("result", harmless(about + "  ".join(parts)))
                yield from _block("", event.display)
            case ApprovalRequested(tool=tool, title=title, preview=preview):
                yield LogLine("asks", f"{tool} {visible(title)}".rstrip())
                if preview.strip() != title.strip():
                    yield from _block("", visible(preview))
            case ApprovalSettled(allowed=allowed, reason=reason):
                yield LogLine("answered", f"{'yes' if allowed else 'no'}  {harmless(reason)}".rstrip())
            case TurnSuspended(request_id="", reason=reason):
                yield LogLine("parked", harmless(reason))
            case TurnSuspended():
                yield LogLine("waits", "for an answer")
            case TurnFinished(outcome=outcome, usage=usage, error=error, seconds=spent):
                self._ended = True
                yield LogLine(outcome, f"{seconds(self._before + spent)}, {_spent(self._earlier + usage)}")
                yield from _block("error", error)


def unfinished(text: str) -> list[LogLine]:
    """The end of what is being written, as a log shows it below the rest."""
    return list(_block("writes", "\n".join(text.rstrip().split("\n")[-MOST_LINES:])))


def _call(arguments: str, title: str) -> Iterator[LogLine]:
    """The arguments of a call that its title does not tell already; those that are no JSON as they are."""
    import msgspec

    try:
        found = msgspec.json.decode(arguments or "{}", type=dict[str, object])
    except msgspec.DecodeError:
        yield from _block("", visible(arguments))
        return
    for name, value in found.items():
        text = value if isinstance(value, str) else str(value)
        if text and text != title:
            yield from _block("", visible(f"{name}: {text}"))


def _block(label: str, text: str) -> Iterator[LogLine]:
    """A text of several lines; too many are cut in the middle."""
    lines = harmless(text).expandtabs(4).strip("\n").rstrip().split("\n")
    if lines == [""]:
        return
    if len(lines) > MOST_LINES:
        head = MOST_LINES // 2
        lines[head:-head] = [f"({len(lines) - MOST_LINES} more lines)"]
    for number, line in enumerate(lines):
        yield LogLine("" if number else label, line.rstrip())


def _spent(usage: Usage) -> str:
    cost = "" if usage.cost is None else f", {dollars(usage.cost)}"
    return f"{count(usage.input_tokens)} in, {count(usage.output_tokens)} out{cost}"
