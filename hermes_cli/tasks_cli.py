"""`hermes tasks`: background tasks of terminals and chats, from the shell. Results on stdout, `--json` for programs."""

import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent import task_orders
from agent.config import load_config
from agent.errors import HermesError
from agent.protocols import Decision
from agent.records import LIVE_STATES, OF_CHATS, OF_TERMINALS, Store, Task
from agent.task_rows import key_of
from agent.tasks import TaskPool, orders
from agent.visible import visible
from hermes_cli import task_facts
from hermes_cli.confirming import Yes, confirm
from hermes_cli.options import SUBCOMMANDS
from hermes_cli.step_log import StepLog
from hermes_cli.task_facts import find, ran, title, used
from hermes_cli.text import clip, harmless, seconds

if TYPE_CHECKING:
    from agent.events import ApprovalRequested
    from agent.undo import Undo
    from agent.worktree import Worktree

LISTED = 30
"""Finished tasks in a list, unless all are asked for."""

FOLLOW = 0.25
"""Seconds between two looks at a log that is followed."""

app = typer.Typer(help=SUBCOMMANDS["tasks"], rich_markup_mode=None, invoke_without_command=True)

Which = Annotated[str, typer.Argument(metavar="N", help="number, name, or the beginning of an id")]
Json = Annotated[bool, typer.Option("--json", help="for programs")]


@app.callback()
def _default(context: typer.Context, json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_(json=json)
    elif json:
        raise HermesError("--json stands behind the command.", hint=f"hermes tasks {context.invoked_subcommand} --json")


@app.command("list", help="what runs, waits and has ended, of every terminal and chat")
def list_(
    json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="also those that ended long ago")] = False,
) -> None:
    store = _store()
    found = [task for kind in (OF_TERMINALS, OF_CHATS) for task in store.tasks(owner=kind)]
    found = sorted([*found, *task_facts.asking(store)], key=lambda task: task.number)
    over = [task for task in found if task.state not in LIVE_STATES]
    dropped = {task.id for task in ([] if everything else over[:-LISTED])}
    found = [task for task in found if task.id not in dropped]
    if json:
        _json([task_facts.as_json(task) for task in found])
        return
    if not found:
        typer.echo("No background tasks.")
    width = max(shutil.get_terminal_size().columns - 42, 20)
    for task in found:
        doing = f" · {task.activity}" if task.activity else ""
        asked = clip(title(task, 200), max(width - len(doing), 12))
        about = clip(visible(f"{asked}{doing}"), width)
        number = f"#{task.number}"
        typer.echo(f"{number:<6} {task.state:<9} {seconds(ran(task)):>6}  {used(task):<14} {about}")


@app.command("show", help="the result, and what was done for it")
def show(which: Which, json: Json = False) -> None:
    store = _store()
    task = find(store, which)
    if json:
        _json(task_facts.as_json(task, whole=True))
        return
    typer.echo(harmless(f"#{task.number} {task.prompt}\n"))
    request = orders(store).open_request(task.id)
    if request is not None:
        asks = request.kind == "ask"
        head = "The agent asks:" if asks else f"{request.tool} wants to run, in {request.directory}:"
        yes = f"hermes tasks {'answer' if asks else 'approve'} {task.number}{' ANSWER' if asks else ''}"
        typer.echo(f"{visible(head)}\n{harmless(request.preview) if asks else visible(request.preview)}")
        typer.echo(f"{yes} | hermes tasks deny {task.number} [REASON]\n")
    for text in filter(None, (task.error, task.result)):
        typer.echo(harmless(f"{text}\n"))
    for line in task_facts.receipt_lines(task):
        typer.echo(harmless(line))


@app.command("log", help="all it did, in order")
def log(
    which: Which,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="go on as it works, until it is over")] = False,
    json: Json = False,
) -> None:
    store = _store()
    task: Task | None = find(store, which)
    assert task is not None
    read = _events(store, task.id) if json else _lines(store, task.id)
    while True:
        task = store.task(task.id) if task else None
        for line in read(task):
            typer.echo(line)
        sys.stdout.flush()
        if not follow or task is None or task.state not in LIVE_STATES:
            return
        time.sleep(FOLLOW)


@app.command("stop", help="stop it, and everything it started")
def stop(
    which: Annotated[str, typer.Argument(metavar="N|all", help="number, name, id, or all")], json: Json = False
) -> None:
    store = _store()
    pool = orders(store)
    found = pool.live(OF_TERMINALS) if which == "all" else [find(store, which)]
    said = task_orders.stop(pool, found)
    if json and which == "all":
        _json([task_facts.as_json(_now(store, task), whole=True) for task in found])
    else:
        _tell(store, found[0], said, json=json)


@app.command("steer", help="tell it something before its next step")
def steer(which: Which, words: Annotated[list[str], typer.Argument(metavar="TEXT")], json: Json = False) -> None:
    store = _store()
    task = find(store, which)
    _tell(store, task, task_orders.steer(orders(store), task, " ".join(words)), json=json)


@app.command("approve", help="yes to what it asks: once, in this session, or always")
def approve(
    which: Which, scope: Annotated[str, typer.Argument(metavar="[session|always]")] = "", json: Json = False
) -> None:
    _settle(which, task_orders.approval(scope), json=json)


@app.command("deny", help="no to what it asks, and why")
def deny(
    which: Which,
    reason: Annotated[list[str] | None, typer.Argument(metavar="[REASON]")] = None,
    json: Json = False,
) -> None:
    _settle(which, Decision(False, " ".join(reason or ())), json=json)


@app.command("answer", help="answer its question: the number of a choice, or your own words")
def answer(which: Which, words: Annotated[list[str], typer.Argument(metavar="ANSWER")], json: Json = False) -> None:
    _say_settled(which, lambda pool, task: pool.reply(task.id, " ".join(words)), allowed=True, json=json)


@app.command("open", help="go on with it as the conversation, at the prompt")
@app.command("join", help="put its result into this directory's last conversation, at the prompt")
def at_the_prompt(which: Which) -> None:
    """Shown in --help; `hermes_cli.options` reads these as the prompt's first line."""
    raise AssertionError(which)


@app.command("retry", help="send its prompt again, as a new task")
def retry(which: Which, json: Json = False) -> None:
    store = _store()
    task = orders(store).retry(find(store, which).id)
    _have_run(store, task)
    _tell(store, task, f"#{task.number} {task.id}", json=json)


@app.command("resume", help="go on with a parked task; a budget it reached is granted again")
def resume(which: Which, json: Json = False) -> None:
    store = _store()
    task = find(store, which)
    said = task_orders.resume(orders(store), task)
    _have_run(store, task)
    _tell(store, task, said, json=json)


@app.command("prune", help="forget finished tasks, with results and logs")
def prune(
    older_than: Annotated[str, typer.Option("--older-than", metavar="TIME", help="for example 30d")] = "0d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say how many")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    from agent.commands import duration

    store = _store()
    try:
        before = time.time() - duration(older_than)
    except ValueError:
        raise HermesError(f"{older_than!r} is no time.", hint="Example: --older-than 30d") from None
    found, stays = task_facts.forgettable(store, task_facts.prunable(store.tasks(owner=OF_TERMINALS), before))
    if found and not dry_run:
        many = f"{len(found)} finished task{'' if len(found) == 1 else 's'}"
        confirm(" ".join([f"Forget {many} of all terminals, with results and logs?", *stays]), yes)
    count, kept = (len(found), list[str]()) if dry_run else task_facts.forget(store, found, load_config().dirs.state)
    kept = [task_facts.in_shell(line) for line in (*stays, *kept)]
    if json:
        _json({"forgotten": count, "kept": kept, "dry_run": dry_run})
        return
    lines = [f"{'Would forget' if dry_run else 'Forgot'} {count} task{'' if count == 1 else 's'}.", *kept]
    typer.echo("\n".join(lines))


@app.command("diff", help="what a task has changed in its worktree, or in the folder it was sent from")
def diff(which: Which, json: Json = False) -> None:
    store, state = _store(), load_config().dirs.state
    task = find(store, which)
    tree = task_facts.worktree_of(store, task, state)
    found = tree.diff() if tree else _undo(store, task, state).diff()
    if json:
        _json({"number": task.number, "diff": found})
    else:
        typer.echo(found, nl=False)


@app.command("rollback", help="put back what a task has changed in the folder it was sent from")
def rollback(
    which: Which,
    file: Annotated[str, typer.Argument(metavar="FILE", help="only this file or folder")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="also what was edited since")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    store, state = _store(), load_config().dirs.state
    task = find(store, which)
    if task.state in LIVE_STATES:
        raise HermesError(f"#{task.number} is not over.", hint=f"Stop it first: hermes tasks stop {task.number}")
    if task_facts.worktree_of(store, task, state) is not None:
        raise HermesError(f"#{task.number} works in a worktree of its own, not in your folder.")
    undo = _undo(store, task, state)
    plan = undo.plan(file=file)
    if not (wanted := [one for one in plan.restores if overwrite or not one.edited]) and not plan.edited:
        raise HermesError("There is nothing to put back.")
    kept = [] if overwrite else [str(one.path) for one in plan.edited]
    for path in kept:
        typer.echo(f"Kept, edited since: {path} (--overwrite puts it back, too)", err=True)
    back = list[str]()
    if wanted:
        confirm(f"Put {len(wanted)} file{'s' * (len(wanted) != 1)} back as before #{task.number}?", yes)
        back = [str(path) for path in undo.roll_back(plan, overwrite=overwrite)]
    if json:
        _json({"number": task.number, "restored": back, "kept": kept})
        return
    for path in back:
        typer.echo(path)


def _undo(store: Store, task: Task, state: Path) -> "Undo":
    from agent.undo import of_task

    if (found := of_task(store, state, task)) is None:
        raise HermesError(f"The conversation of #{task.number} is gone, and with it what it changed.")
    return found


@app.command("merge", help="merge the branch of a task's worktree into yours")
def merge(which: Which, json: Json = False) -> None:
    task = find(_store(), which)
    if task.state in LIVE_STATES:
        raise HermesError(f"#{task.number} is not over.", hint=f"hermes tasks diff {task.number} shows how far it is.")
    files = _tree(which).merge()
    if json:
        _json({"number": task.number, "merged": files})
    else:
        typer.echo("\n".join(["Merged:", *(f"  {name}" for name in files)]))


def _tree(which: str) -> "Worktree":
    store = _store()
    task = find(store, which)
    tree = task_facts.worktree_of(store, task, load_config().dirs.state)
    if tree is None:
        raise HermesError(f"#{task.number} has no worktree.")
    return tree


def _settle(which: str, decision: Decision, *, json: bool) -> None:
    _say_settled(which, lambda pool, task: pool.answer(task.id, decision), allowed=decision.allowed, json=json)


def _say_settled(
    which: str, settle: "Callable[[TaskPool, Task], ApprovalRequested | None]", *, allowed: bool, json: bool
) -> None:
    store = _store()
    task = find(store, which)
    request = settle(orders(store), task)
    if request is None:
        raise HermesError(f"#{task.number} is not waiting for an answer.")
    _have_run(store, task)
    _tell(store, task, harmless(task_facts.settled(task, request, allowed=allowed)), json=json)


def _tell(store: Store, task: Task, said: str, *, json: bool) -> None:
    """What came of an order: a sentence, or for programs the task as it is now."""
    if json:
        _json(task_facts.as_json(_now(store, task), whole=True))
    else:
        typer.echo(said)


def _now(store: Store, task: Task) -> Task:
    return store.task(task.id) or task


def _store() -> Store:
    """The store that all terminals share. Raises: StoreError."""
    from agent.store.sqlite import SqliteStore

    return SqliteStore(load_config().dirs.database)


def _have_run(store: Store, task: Task) -> None:
    """See that somebody takes up what was queued just now: a chat's the gateway, others the terminal that they report
    to, or else a worker.
    """
    from agent.handoff import SERVES
    from agent.store.leases import is_alive
    from hermes_cli.worker import ensure

    chat = key_of(task.owner)
    here = store.present().get(f"{SERVES}{chat.partition(':')[0]}" if chat else task.owner)
    if here is not None and is_alive(here):
        return
    if chat:
        typer.echo("No gateway runs now; the next one goes on with it.", err=True)
    else:
        ensure(store, load_config().dirs)


def _lines(store: Store, task_id: str) -> Callable[[Task | None], Iterable[str]]:
    """What is new in the log of a task, given its row as it is now."""
    steps = StepLog(store, task_id)
    return lambda task: map(str, steps.rest(task) if task else steps.more())


def _events(store: Store, task_id: str) -> Callable[[Task | None], Iterable[str]]:
    """As `_lines`; one JSON object an event, and last the state that the task ended in: a log has none of a stop."""
    import msgspec

    after = 0

    def more(task: Task | None) -> Iterable[str]:
        nonlocal after
        for entry in store.log(task_id, after=after):
            after = entry.number
            row = {"number": entry.number, "at": entry.at, "type": type(entry.event).__name__, **asdict(entry.event)}
            yield msgspec.json.encode(row).decode()
        if task is not None and task.state not in LIVE_STATES:
            over = {"at": task.finished, "type": "TaskOver", "task_id": task.id, "state": task.state}
            yield msgspec.json.encode(over).decode()

    return more


def _json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
