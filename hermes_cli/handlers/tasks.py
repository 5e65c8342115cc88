"""/tasks: what runs aside, and what became of it."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from agent.commands import preview
from agent.errors import HermesError
from agent.events import ToolFinished
from agent.protocols import Decision, Task
from hermes_cli.questions import approval_lines, approval_question
from hermes_cli.step_log import StepLog
from hermes_cli.text import clip, count, harmless, money, seconds

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

NOTICE_LINES = 8
"""Lines of a result told above the prompt; the rest is there for /tasks show."""


def tasks(chat: "Chat", arguments: str) -> None:
    """Dispatch on the first word; a bare number means `show`."""
    word, _, rest = arguments.strip().partition(" ")
    if not word or word == "list":
        _list(chat)
    elif word.removeprefix("#").isdecimal():
        _show(chat, word)
    elif (word := _ALSO.get(word, word)) in _ACTIONS:
        if not rest.strip():
            raise HermesError(f"Usage: /tasks {word} N", hint="/tasks lists the numbers.")
        _ACTIONS[word](chat, rest.strip())
    else:
        raise HermesError(f"/tasks knows no {word!r}.", hint="It knows: list, show, log, stop, approve, deny.")


def notice(chat: "Chat", task: Task) -> str:
    """What is told above the prompt when a task ended or needs the person."""
    renderer, glyphs = chat.screen.renderer(), chat.screen.glyphs
    title = preview(task.prompt, 48)
    if task.state == "waiting":
        request = chat.background.pool.open_request(task.id)
        lines = approval_lines(request, glyphs) if request else []
        answer = f"/tasks approve {task.number} · /tasks deny {task.number} [reason]"
        return renderer.panel(f"#{task.number} needs you · {title}", _fenced("\n".join(lines)), answer)
    head = f"#{task.number} {task.state} · {title} · {_receipt(task)}"
    body = task.result if task.state == "done" else f"{task.error}\n\n{task.result}".strip()
    lines = body.strip().split("\n") or [""]
    more = [f"\n… {len(lines) - NOTICE_LINES} more lines"] if len(lines) > NOTICE_LINES else []
    cut = _closed(lines[:NOTICE_LINES]) + more
    return renderer.panel(head, "\n".join(cut) or "(no text)", f"/tasks show {task.number}", ok=task.state == "done")


def _list(chat: "Chat") -> None:
    found = chat.background.all()
    if not found:
        chat.screen.show(chat.screen.renderer().note("No background tasks. /background <prompt> starts one."))
        return
    width = max(chat.screen.renderer().look.width() - 56, 16)
    rows = [
        (
            Text(f"#{task.number}", "cyan"),
            Text(task.state, _STYLE.get(task.state, "")),
            Text(seconds(_age(task))),
            Text(_used(task)),
            Text(_files(chat, task)),
            Text(clip(harmless(_doing(chat, task)), width, chat.screen.glyphs.ellipsis)),
        )
        for task in found
    ]
    chat.screen.show("\n" + chat.screen.renderer().table(rows, ("", "state", "time", "used", "files", "doing / asked")))


def _used(task: Task) -> str:
    cost = "" if task.usage.cost is None else f" {money(task.usage.cost)}"
    return f"{count(task.usage.input_tokens + task.usage.output_tokens)} tok{cost}"


def _files(chat: "Chat", task: Task) -> str:
    """How many files it has changed."""
    events = chat.store.events(task.id)
    changed = {file for event in events if isinstance(event, ToolFinished) for file in event.files_changed}
    return str(len(changed)) if changed else ""


def _doing(chat: "Chat", task: Task) -> str:
    """What a task does or waits for; its prompt when it does nothing."""
    if task.state == "waiting" and (request := chat.background.pool.open_request(task.id)):
        return f"needs you: {request.tool} {request.title}"
    return task.activity or task.prompt


def _show(chat: "Chat", which: str) -> None:
    task, renderer = _find(chat, which), chat.screen.renderer()
    chat.screen.show(renderer.person(f"#{task.number} {task.prompt}"))
    if task.state == "waiting" and (request := chat.background.pool.open_request(task.id)):
        # Opened by the person, so it may be asked like any other question.
        chat.ask(approval_question(request, lambda _, decision: _settle(chat, task, decision), chat.screen.glyphs))
        return
    if task.error:
        chat.screen.show(renderer.error(task.error))
    if task.result:
        chat.screen.show(renderer.answer(task.result))
    chat.screen.show("\n" + renderer.note("\n".join(_done(chat, task))))


def _done(chat: "Chat", task: Task) -> Iterator[str]:
    """The receipt: commands with exit codes, files changed, what it cost."""
    for event in chat.store.events(task.id):
        if isinstance(event, ToolFinished) and (event.exit_code is not None or event.files_changed):
            yield f"{event.name} {event.title}  {event.summary}"
    yield f"{task.id} · {task.state} · {_receipt(task)}" + (f" · {task.activity}" if task.activity else "")


def _log(chat: "Chat", which: str) -> None:
    task = _find(chat, which)
    text = (
        "\n".join(map(str, StepLog(chat.store, task.id).more()))
        or f"#{task.number} is {task.state}; nothing has happened yet."
    )
    chat.screen.show(f"\n{text}\n")


def _stop(chat: "Chat", which: str) -> None:
    found = chat.background.live() if which == "all" else [_find(chat, which)]
    stopped = [task for task in found if chat.background.pool.stop(task.id)]
    names = ", ".join(f"#{task.number}" for task in stopped)
    if not stopped:
        raise HermesError("No task is running." if which == "all" else f"#{found[0].number} is over already.")
    chat.screen.show(chat.screen.renderer().note(f"Stopped {names}."))


def _approve(chat: "Chat", text: str) -> None:
    which, _, scope = text.partition(" ")
    match scope.strip():
        case "" | "once":
            decision = Decision(True)
        case "session":
            decision = Decision(True, scope="session")
        case "always":
            decision = Decision(True, scope="always")
        case other:
            raise HermesError(f"{other!r} is no scope.", hint="There are: once, session, always.")
    _answer(chat, which, decision)


def _deny(chat: "Chat", text: str) -> None:
    which, _, reason = text.partition(" ")
    _answer(chat, which, Decision(False, reason.strip()))


def _answer(chat: "Chat", which: str, decision: Decision) -> None:
    _settle(chat, _find(chat, which), decision)


def _settle(chat: "Chat", task: Task, decision: Decision) -> None:
    request = chat.background.pool.answer(task.id, decision)
    if request is None:
        raise HermesError(f"#{task.number} is not waiting for an answer.")
    verb = "Approved" if decision.allowed else "Denied"
    chat.screen.show(chat.screen.renderer().note(f"{verb} for #{task.number}: {request.tool} {request.title}"))


def _find(chat: "Chat", which: str) -> Task:
    task = chat.background.find(which)
    if task is None:
        raise HermesError(f"There is no task {which!r}.", hint="/tasks lists them.")
    return task


_ACTIONS: dict[str, Callable[["Chat", str], None]] = {
    "show": _show,
    "log": _log,
    "stop": _stop,
    "approve": _approve,
    "deny": _deny,
}

_ALSO = {"logs": "log", "kill": "stop", "cancel": "stop"}

_STYLE = {"done": "green", "failed": "red", "waiting": "yellow", "running": "bold", "cancelled": "dim"}


def _receipt(task: Task) -> str:
    steps = f"{task.steps} step{'' if task.steps == 1 else 's'}"
    cost = [] if task.usage.cost is None else [money(task.usage.cost)]
    return " · ".join([seconds(_age(task)), steps, *cost])


def _age(task: Task) -> float:
    return (task.finished or time.time()) - (task.started or task.created)


def _fenced(text: str) -> str:
    return f"~~~~~~~~\n{text}\n~~~~~~~~"


def _closed(lines: list[str]) -> list[str]:
    """The lines, with a fence that the cut left open closed."""
    fences = sum(line.lstrip().startswith("```") for line in lines)
    return [*lines, "```"] if fences % 2 else list(lines)
