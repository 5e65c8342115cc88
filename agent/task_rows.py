"""What the JSON texts of a task's row mean, and how its log and its receipt come about."""

from collections.abc import Mapping
from dataclasses import replace

from agent.events import (
    Compacted,
    Event,
    ReasoningDelta,
    StepFinished,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agent.messages import Usage
from agent.records import OF_CHATS, OF_TURNS, CommandRun, Receipt, Store, Task, TaskOptions, TaskState

ARGUMENTS_LOGGED = 4_000
"""Characters of a tool call's arguments in the log; the conversation holds them whole."""

COMMANDS_LISTED = 200
"""Commands on a receipt; the first ones of more are left out."""

_RUNNING: frozenset[TaskState] = frozenset({"running"})
_COUNTED: frozenset[TaskState] = frozenset({"running", "cancelled"})


def key_of(owner: str) -> str:
    """The name of the chat's conversation in an owner (`telegram:7`); "" for one that is no chat's."""
    for lead in (OF_TURNS, OF_CHATS):
        if owner.startswith(lead):
            return owner.removeprefix(lead)
    return ""


def options_of(task: Task) -> TaskOptions:
    """What was asked for this task alone. What another release wrote, and this one does not know, does not count."""
    import msgspec

    return msgspec.json.decode(task.options, type=TaskOptions)


def options_text(options: TaskOptions) -> str:
    """For `Task.options`: what differs from the defaults."""
    import msgspec

    # Not by `asdict` and `json`: see `portable.dump`.
    said = {name: value for name, value in msgspec.to_builtins(options).items() if value}
    return msgspec.json.encode(said).decode()


def receipt_of(task: Task) -> Receipt:
    """What a finished task did."""
    import msgspec

    return msgspec.json.decode(task.receipt, type=Receipt)


def receipt_text(task: Task, *, ran: float = 0.0) -> str:
    """For `Task.receipt`: what was counted while it ran, and the figures of its row. `ran` more seconds by now."""
    usage, before = task.usage, receipt_of(task)
    return encoded(
        replace(
            before,
            steps=task.steps,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost=usage.cost,
            seconds=round(before.seconds + ran, 3),
        )
    )


def encoded(receipt: Receipt) -> str:
    """For `Task.receipt`."""
    import msgspec

    return msgspec.json.encode(receipt).decode()


def counted(receipt: Receipt, event: Event) -> Receipt:
    """The receipt with what a tool did."""
    if not isinstance(event, ToolFinished) or event.refused:
        return receipt
    if event.name == "terminal":
        commands = (*receipt.commands, CommandRun(event.title, event.exit_code))[-COMMANDS_LISTED:]
        receipt = replace(receipt, commands=commands)
    files, lines = dict.fromkeys((*receipt.files, *event.files_changed)), dict(receipt.lines)
    for name, (added, removed) in zip(event.files_changed, event.lines_changed, strict=False):
        before = lines.get(name, (0, 0))
        lines[name] = before[0] + added, before[1] + removed
    return replace(receipt, files=tuple(files), lines=lines)


def add_files(store: Store, task_id: str, changed: Mapping[str, tuple[int, int] | None]) -> None:
    """Put files on the receipt that no tool told of: commands changed them. With their lines, where those are known."""
    task = store.task(task_id)
    if task is None or not changed:
        return
    before = receipt_of(task)
    known = {name: lines for name, lines in changed.items() if lines is not None}
    files = tuple(dict.fromkeys((*before.files, *changed)))
    receipt = replace(before, files=files, lines={**before.lines, **known})
    store.update_task(task_id, expect=_COUNTED, receipt=encoded(receipt))


def _count(store: Store, task_id: str, event: ToolFinished) -> None:
    """Put a tool's work on the receipt at once: the log drops its oldest events. A stopped task's work counts, too."""
    task = store.task(task_id)
    if task is None or not (event.name == "terminal" or event.files_changed):
        return
    store.update_task(task_id, expect=_COUNTED, receipt=encoded(counted(receipt_of(task), event)))


def record(store: Store, task_id: str, worker: str, event: Event) -> bool:
    """Put an event into a task's log, and what follows from it into its row. False when the worker holds it no more."""
    held: Task | None = None
    kept = logged(event)
    match kept:
        case None:
            return True
        case StepStarted(step):
            held = _doing(store, task_id, worker, f"thinking (step {step})")
        case StepFinished(usage=usage) | Compacted(usage=usage):
            held = _spent(store, task_id, worker, usage, int(isinstance(event, StepFinished)))
        case ToolProgress(name=name, part=part, text="", usage=usage, steps=steps):
            held = _spent(store, task_id, worker, usage, steps)
        case ToolProgress(name=name, part=part, text=text, finished=ended):
            if ended is not None:
                _count(store, task_id, ended)
            held = _doing(store, task_id, worker, f"{name} {part}: {text}")
        case ToolStarted(name=name, title=title):
            held = _doing(store, task_id, worker, f"{name} {title}")
        case ToolFinished() as done:
            _count(store, task_id, done)
            held = _doing(store, task_id, worker, "thinking")
        case other:
            store.append_event(task_id, other)
            return True
    store.append_event(task_id, kept)
    return held is not None


def logged(event: Event) -> Event | None:
    """As it stands in a log; None for what does not."""
    match event:
        case TextDelta() | ReasoningDelta():
            return None
        case ToolStarted(arguments=arguments):
            return replace(event, arguments=_cut(arguments))
    return event


def _spent(store: Store, task_id: str, worker: str, usage: Usage, steps: int) -> Task | None:
    task = store.task(task_id)
    if task is None:
        return None
    return store.update_task(
        task_id, expect=_RUNNING, holder=worker, steps=task.steps + steps, usage=task.usage + usage
    )


def _doing(store: Store, task_id: str, worker: str, activity: str) -> Task | None:
    return store.update_task(task_id, expect=_RUNNING, holder=worker, activity=activity)


def _cut(text: str) -> str:
    return text if len(text) <= ARGUMENTS_LOGGED else f"{text[:ARGUMENTS_LOGGED]}…"
