"""Looking at the background tasks that report to the same owner."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from agent import reports
from agent.cancel import CancelToken
from agent.commands import preview
from agent.errors import ToolError
from agent.events import ApprovalRequested, Event, Steered, StepFinished, ToolFinished, TurnFinished, TurnStarted
from agent.protocols import LIVE_STATES, Action, Store, Task, ToolContext, ToolResult
from agent.tools.prose import prose


class TasksArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    action: Literal["list", "result", "log"]
    number: Annotated[int, Meta(ge=0, description="The task, as in #3; not for list.")] = 0
    lines: Annotated[int, Meta(ge=1, le=500, description="For log: the last so many.")] = 40


class Tasks:
    """Lists, reads results, reads the end of logs: of the tasks of `owner`, and of nobody else."""

    name = "tasks"
    arguments = TasksArguments

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: TasksArguments, context: ToolContext) -> Action:
        # They were sent from here and report here: looking at them is free.
        return Action("read", f"{args.action} #{args.number}" if args.number else args.action, (context.cwd,))

    def preview(self, args: TasksArguments, context: ToolContext) -> str:
        return ""

    def run(self, args: TasksArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        cancel.raise_if_cancelled()
        if args.action == "list":
            found = self._store.tasks(owner=self._owner)
            text = "\n".join(_line(task) for task in found) or "There are no background tasks."
            return ToolResult(text, summary=f"{len(found)} task{'s' * (len(found) != 1)}", display=text)
        task = self._find(args.number)
        text = self._result(task) if args.action == "result" else self._log(task, args.lines)
        return ToolResult(text, summary=task.state, display=text)

    def _find(self, number: int) -> Task:
        """Raises: ToolError."""
        known = self._store.tasks(owner=self._owner)
        for task in known:
            if task.number == number:
                return task
        there = f"There are: {', '.join(f'#{task.number}' for task in known)}." if known else "There are none."
        raise ToolError(f"There is no background task #{number}. {there}")

    def _result(self, task: Task) -> str:
        if task.state in LIVE_STATES:
            return f"{_line(task)}\nIt is not over and has no result yet."
        return f"{_line(task)}\n{reports.report(task)}"

    def _log(self, task: Task, most: int) -> str:
        lines = [line for event in self._store.events(task.id) for line in _told(event)]
        left_out = [f"({len(lines) - most} lines before these)"] if len(lines) > most else []
        return "\n".join([_line(task), *left_out, *reports.quoted("\n".join(lines[-most:]))])


def _line(task: Task) -> str:
    now = task.finished or time.time()
    age = f"{now - (task.started or task.created):.0f}s"
    doing = f" · {preview(task.activity)}" if task.activity else ""
    name = f" ({preview(task.name)})" if task.name else ""
    steps = f"{task.steps} step{'' if task.steps == 1 else 's'}"
    return f"#{task.number}{name} {task.state} · {age} · {steps}{doing} · asked: {preview(task.prompt)}"


def _told(event: Event) -> Iterator[str]:
    """What the model should know of an event."""
    match event:
        case TurnStarted(prompt):
            yield f"asked: {prompt}"
        case Steered(text):
            yield f"told: {text}"
        case StepFinished(step=step, text=text):
            yield f"step {step}: {text}".rstrip(" :")
        case ToolFinished(name=name, title=title, summary=summary, display=display):
            yield f"{name} {title}: {summary}"
            yield from (f"  {line}" for line in display.splitlines()[:10])
        case ApprovalRequested(tool=tool, title=title):
            yield f"asks the person: {tool} {title}"
        case TurnFinished(outcome=outcome, error=error):
            yield f"{outcome}: {error}".rstrip(": ")


if TYPE_CHECKING:
    from agent.protocols import Tool
    from agent.store.memory import MemoryStore

    _: Tool = Tasks(MemoryStore(), "")
