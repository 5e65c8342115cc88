"""What there is to say of a task, in words and figures: for the commands, the browser and the shell alike."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import leftovers
from agent.commands import preview
from agent.errors import HermesError
from agent.money import dollars
from agent.records import LIVE_STATES, OF_CHATS, OF_TERMINALS, OF_TURNS, TASK_SOURCE, Receipt, Task, is_held
from agent.task_rows import key_of, receipt_of, receipt_text
from agent.visible import visible
from hermes_cli.text import count, seconds

if TYPE_CHECKING:
    from agent.events import ApprovalRequested
    from agent.records import Store
    from agent.worktree import Worktree

KINDS: dict[str, Callable[[Task], bool]] = {
    "task": lambda task: True,
    "live task": lambda task: task.state in LIVE_STATES,
    "waiting task": lambda task: task.state == "waiting",
    "parked task": lambda task: task.state == "parked",
    "finished task": lambda task: task.state not in LIVE_STATES,
}
"""Which tasks a command is for."""


LATELY = 24 * 3600.0
"""Seconds."""


def number(text: str) -> int | None:
    """The one that a text names (`3`, `#3`)."""
    wanted = text.removeprefix("#").strip()
    return int(wanted) if wanted.isdecimal() else None


def pick(tasks: Sequence[Task], text: str) -> Task | None:
    """A task by number, by its name, or by a prefix of its id that only one task has."""
    wanted = text.removeprefix("#").strip()
    if (meant := number(text)) is not None:
        return next((task for task in tasks if task.number == meant), None)
    named = [task for task in tasks if wanted and task.name == wanted]
    found = named[-1:] or [task for task in tasks if wanted and task.id.startswith(wanted)]
    return found[0] if len(found) == 1 else None


def find(store: "Store", text: str) -> Task:
    """A task of any terminal or chat, or a chat's turn: one that is over by its number only. Raises: HermesError."""
    meant = number(text)
    turns = store.tasks(owner=OF_TURNS, number=meant, states=LIVE_STATES if meant is None else None)
    # Last those whose names count most here.
    found = [*turns, *(task for kind in (OF_CHATS, OF_TERMINALS) for task in store.tasks(owner=kind, number=meant))]
    if (task := pick(found, text)) is None:
        raise HermesError(
            f"There is no task {text!r}.", hint="`/tasks` lists them, and `hermes tasks` those of every terminal."
        )
    return task


def of_chats(store: "Store") -> list[Task]:
    """The background tasks of chats that are live, or ended lately, and turns there that wait for an answer."""
    since = time.time() - LATELY
    tasks = [task for task in store.tasks(owner=OF_CHATS) if task.state in LIVE_STATES or task.finished > since]
    return sorted([*tasks, *asking(store)], key=lambda task: task.number)


def asking(store: "Store") -> list[Task]:
    """Turns in chats that wait for an answer."""
    return store.tasks(owner=OF_TURNS, states=frozenset({"waiting"}))


def needs_person(task: Task) -> bool:
    """Whether it goes on only when somebody says so: an answer, or more of a budget that it reached."""
    from agent.task_runs import PARKED_BY_HAND

    return task.state == "waiting" or (is_held(task) and task.activity != PARKED_BY_HAND)


def title(task: Task, limit: int = 60) -> str:
    """Its name, or the beginning of its prompt; before it the chat that it belongs to."""
    where = key_of(task.owner)
    return f"{f'[{where}] ' if where else ''}{task.name or preview(task.prompt, limit)}"


def _age(task: Task) -> float:
    """Seconds since its start, or since it was sent."""
    return (task.finished or time.time()) - (task.started or task.created)


def used(task: Task) -> str:
    cost = "" if task.usage.cost is None else f" {dollars(task.usage.cost)}"
    return f"{count(task.usage.input_tokens + task.usage.output_tokens)} tok{cost}"


def ran(task: Task) -> float:
    """Seconds it worked, once it is over: what it was parked or waited does not count. Before that, its age."""
    return (receipt_of(task).seconds if task.finished else 0.0) or _age(task)


def summary(task: Task) -> str:
    """Time, steps and cost, on one line."""
    steps = f"{task.steps} step{'' if task.steps == 1 else 's'}"
    cost = [] if task.usage.cost is None else [dollars(task.usage.cost)]
    return " · ".join([seconds(ran(task)), steps, *cost])


def receipt(task: Task) -> Receipt:
    """What it has done, so far if it is not over."""
    return replace(receipt_of(replace(task, receipt=receipt_text(task))), seconds=round(ran(task), 3))


def receipt_lines(task: Task) -> Iterator[str]:
    """The commands with their exit codes, the files changed, what it cost."""
    done = receipt(task)
    for run in done.commands:
        yield f"{run.command}  {'cut off' if run.exit_code is None else f'exit {run.exit_code}'}"
    for name in done.files:
        added, removed = done.lines.get(name, (0, 0))
        yield f"changed {name}" + (f"  +{added} −{removed}" if name in done.lines else "")
    yield f"{task.id} · {task.state} · {summary(task)} · {used(task)}" + (
        f" · {task.activity}" if task.activity else ""
    )


def as_json(task: Task, *, whole: bool = False) -> dict[str, Any]:
    """A task for programs. `whole` adds what it did, which has to be looked up."""
    from agent.task_rows import options_of

    found = asdict(task)
    for name in ("lease", "settings", "receipt"):
        del found[name]
    found["options"] = asdict(options_of(task))
    return {**found, "receipt": asdict(receipt(task))} if whole else found


def settled(task: Task, request: "ApprovalRequested", *, allowed: bool) -> str:
    """What is said when a task's question was answered."""
    if request.kind == "ask":
        return f"{'Answered' if allowed else 'Not answered,'} for #{task.number}: {request.title}"
    return f"{'Approved' if allowed else 'Denied'} for #{task.number}: {request.tool} {visible(request.title)}"


def prunable(tasks: Sequence[Task], before: float) -> list[Task]:
    """Those that ended before a time (seconds since the epoch), with nobody left to be told."""
    over = (task for task in tasks if task.state not in LIVE_STATES and task.finished < before)
    return [task for task in over if task.told or task.state == "cancelled"]


def forgettable(store: "Store", tasks: Sequence[Task]) -> tuple[list[Task], list[str]]:
    """Those of finished tasks that can be forgotten, and a line about those that stay: they became conversations."""
    from hermes_cli.seats import open_sessions

    open_ = open_sessions(store)
    sources = {task.id: session.source for task in tasks if (session := store.session(task.session_id))}
    stay = [task for task in tasks if sources.get(task.id, TASK_SOURCE) != TASK_SOURCE or task.session_id in open_]
    if not stay:
        return list(tasks), []
    numbers = ", ".join(f"#{task.number}" for task in stay)
    one = len(stay) == 1
    line = (
        f"{numbers} {'stays: it went' if one else 'stay: they went'} on as {'a ' * one}conversation{'s' * (not one)}."
    )
    return [task for task in tasks if task not in stay], [line]


def in_shell(text: str) -> str:
    """What names the slash commands of tasks, for somebody at a shell."""
    return text.replace("/tasks ", "hermes tasks ")


def worktree_of(store: "Store", task: Task, state: Path) -> "Worktree | None":
    """None for a task that works in the person's own tree. `state` is the state directory."""
    from agent import worktree
    from agent.task_rows import options_of

    session = store.session(task.session_id)
    return worktree.of_task(task, session.cwd, state) if session and options_of(task).worktree else None


def without_worktree(store: "Store", tasks: Sequence[Task], state: Path) -> list[str]:
    """Remove the worktrees of finished tasks. Gives the ids of those whose worktree holds what is nowhere else."""
    kept = list[str]()
    for task in tasks:
        try:
            if (tree := worktree_of(store, task, state)) is not None:
                tree.remove()
        except HermesError:
            kept.append(task.id)
    return kept


def forget(store: "Store", tasks: Sequence[Task], state: Path) -> tuple[int, list[str]]:
    """Delete `forgettable` tasks with their sessions and worktrees: how many, and of those that are kept why.

    One whose worktree holds what is nowhere else stays.
    """
    forgotten, kept = 0, list[str]()
    with leftovers.going(state, store):
        for task in tasks:
            try:
                if (tree := worktree_of(store, task, state)) is not None:
                    tree.remove()
            except HermesError as error:
                kept.append(f"#{task.number} stays. {error.explain()}")
                continue
            session = store.session(task.session_id)
            if session is not None and session.source == TASK_SOURCE:
                forgotten += store.delete_session(session.id)
    return forgotten, kept
