"""/tasks: what runs aside, and what became of it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from agent import task_orders
from agent.approvals import mark_of
from agent.commands import preview, subcommand
from agent.errors import HermesError
from agent.events import ApprovalRequested, TurnFinished
from agent.protocols import Decision, Task
from agent.records import LIVE_STATES, OF_TERMINALS
from agent.task_rows import key_of, receipt_of
from agent.visible import visible
from hermes_cli import task_facts
from hermes_cli.handlers import worktrees
from hermes_cli.questions import Question, approval_lines, approval_question
from hermes_cli.render import NARROW
from hermes_cli.step_log import StepLog
from hermes_cli.task_facts import find, ran, summary, title, used
from hermes_cli.text import clip, seconds, without_markdown, wrap

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

OPEN_WITHIN = 60.0
"""Seconds that a task has to come to a step boundary before it is opened."""

ROOMY, LISTED = 76, 30
"""Columns from which a list has room for figures, and how many tasks that are over it tells."""

NOTICE_LINES = 8
"""Rows of results told above the prompt; the rest is there for /tasks show."""


def tasks(chat: "Chat", arguments: str) -> None:
    """Dispatch on the first word; a bare number means `show`."""
    word, _, rest = arguments.strip().partition(" ")
    word, rest = _ALSO.get(word.lower(), word.lower()), rest.strip()
    if not word:
        word = "list"
    elif word.removeprefix("#").isdecimal():
        word, rest = "show", word
    known = subcommand("tasks", word)
    if known is None:
        raise HermesError(f"/tasks knows no {word!r}.", hint="/help tasks explains what it knows.")
    if known.arguments.startswith("N") and not rest:
        raise HermesError(f"Usage: /tasks {word} {known.arguments}", hint="/tasks lists the numbers.")
    _ACTIONS[word](chat, rest)


# -- told by itself --------------------------------------------------------------------------------


def finished_notice(chat: "Chat", rows: Sequence[tuple[Task, bool]]) -> str:
    """What is told above the prompt of tasks that ended: one in a box of its own, several in one box together.

    Each row says whether it may have been told before.
    """
    if not rows:
        return ""
    if len(rows) > 1:
        return _several(chat, rows)
    ((task, repeat),) = rows
    again = " · may be a repeat" if repeat else ""
    head = f"#{task.number} {task.state} · {title(task, 48)} · {summary(task)}{again}"
    foot = f"/tasks show {task.number}"
    body = task.result if task.state == "done" else f"{task.error}\n\n{task.result}".strip()
    return _told(chat, head, body, foot, ok=task.state == "done")


def _several(chat: "Chat", rows: Sequence[tuple[Task, bool]]) -> str:
    """A line or two for each, eight in all."""
    width = max(chat.screen.renderer().look.width() - 8, 20)
    ellipsis = chat.screen.glyphs.ellipsis
    each = 2 if len(rows) * 2 <= NOTICE_LINES else 1
    lines: list[str] = []
    for task, repeat in rows[: NOTICE_LINES // each]:
        again = " · may be a repeat" if repeat else ""
        lines.append(clip(f"#{task.number} {task.state} · {title(task, 48)} · {summary(task)}{again}", width, ellipsis))
        if each == 2:
            lines.append(clip(f"   {task.error or without_markdown(task.result) or '(no text)'}", width, ellipsis))
    if len(rows) > NOTICE_LINES // each:
        lines.append(f"{ellipsis} {len(rows) - NOTICE_LINES // each} more")
    failed = sum(task.state == "failed" for task, _ in rows)
    head = f"{len(rows)} tasks are over" + (f", {failed} failed" if failed else "")
    return chat.screen.renderer().panel(head, "\n".join(lines), "/tasks · /tasks show N", ok=not failed, markdown=False)


def detached_notice(chat: "Chat", prompt: str, end: TurnFinished) -> str:
    """What became of a detached turn that ended before it could become a task."""
    head = f"The detached turn is {end.outcome} · {preview(prompt, 48)}"
    if end.outcome == "cancelled":
        return chat.screen.renderer().note(f"{head} · /resume has what it did")
    body = end.text if end.outcome == "done" else f"{end.error}\n\n{end.text}".strip()
    return _told(chat, head, body, "/resume has it all", ok=end.outcome == "done")


def _told(chat: "Chat", head: str, body: str, foot: str, *, ok: bool) -> str:
    return chat.screen.renderer().panel(head, body.strip() or "(no text)", foot, ok=ok, rows=NOTICE_LINES)


def need_notice(chat: "Chat", task: Task) -> str:
    """What is told of a task that goes on only when the person says so."""
    renderer, number = chat.screen.renderer(), task.number
    if task.state == "parked":
        foot = f"/tasks resume {number} · /tasks stop {number} · /tasks log {number}"
        body = f"{task.activity}\n{summary(task)}"
        return renderer.panel(f"#{number} needs you · {title(task, 48)}", body, foot, markdown=False)
    request = chat.background.pool.open_request(task.id)
    lines = approval_lines(request, chat.screen.glyphs) if request else []
    foot = f"/tasks approve {number} · /tasks deny {number} [reason]"
    if request is not None and request.kind == "ask":
        foot = f"/tasks answer {number} <answer> · /tasks show {number}"
    return renderer.panel(f"#{number} needs you · {title(task, 48)}", "\n".join(lines), foot, markdown=False)


# -- looking ---------------------------------------------------------------------------------------


def _list(chat: "Chat", _arguments: str) -> None:
    def look() -> tuple[list[tuple[Task, str]], int]:
        found = chat.background.seen()
        old = {task.id for task in [task for task in found if task.state not in LIVE_STATES][:-LISTED]}
        return [(task, _doing(chat, task)) for task in found if task.id not in old], len(old)

    chat.background.when_open(lambda: chat.aside(look, lambda found: _table(chat, *found)))


def _table(chat: "Chat", found: Sequence[tuple[Task, str]], older: int) -> None:
    if not found and not chat.detached:
        chat.screen.show(chat.screen.renderer().note("No background tasks. /background <prompt> starts one."))
        return
    columns = chat.screen.renderer().look.width()
    # What it does counts for more than what it used.
    room = columns - 56 if columns >= ROOMY else columns - 30
    if records := columns < NARROW:
        room = 3 * (columns - 22)  # each cell has rows of its own there
    rows = []
    for task, doing in found:
        figures = (Text(used(task)), Text(_files(task))) if columns >= ROOMY else ()
        about = Text(clip(visible(doing), max(room, 12), chat.screen.glyphs.ellipsis))
        state = Text(task.state, _STYLE.get(task.state, ""))
        number = f"#{task.number} {title(task, columns - 12)}" if records else f"#{task.number}"
        rows.append((Text(number, "cyan"), state, Text(seconds(ran(task))), *figures, about))
    for turn in chat.detached:
        figures = (Text(), Text()) if columns >= ROOMY else ()
        about = Text(clip(f"aside after: {visible(turn.activity)}", max(room, 12), chat.screen.glyphs.ellipsis))
        spent = seconds(time.monotonic() - turn.started)
        rows.append((Text(), Text("running", _STYLE["running"]), Text(spent), *figures, about))
    heads = ("", "state", "time", *(("used", "files") if columns >= ROOMY else ()), "doing / asked")
    chat.screen.show("\n" + chat.screen.renderer().table(rows, heads))
    if older:
        chat.screen.show(chat.screen.renderer().note(f"{older} older: hermes tasks list --all"))


def _files(task: Task) -> str:
    """How many files it has changed."""
    return str(len(receipt_of(task).files) or "")


def _doing(chat: "Chat", task: Task) -> str:
    """What a task does or waits for; its name or prompt when it does nothing."""
    where = f"[{key}] " if (key := key_of(task.owner)) else ""
    if task.state == "waiting" and (request := chat.background.pool.open_request(task.id)):
        return f"{where}needs you: {request.tool} {request.title}"
    if not task.activity:
        return title(task, 200)
    return f"{where}{task.name}: {task.activity}" if task.name else f"{where}{task.activity}"


def _show(chat: "Chat", which: str) -> None:
    task, renderer = _find(chat, which), chat.screen.renderer()
    chat.screen.show(renderer.person(f"#{task.number} {task.prompt}"))
    if task.state == "waiting" and (request := chat.background.pool.open_request(task.id)):
        # Opened by the person, so it may be asked like any other question.
        chat.ask(
            approval_question(
                request, lambda request, decision: _settle(chat, task, decision, mark_of(request)), chat.screen.glyphs
            )
        )
        return
    if task.error:
        chat.screen.show(renderer.error(task.error))
    if task.result:
        chat.screen.show(renderer.answer(task.result))
    chat.screen.show("\n" + renderer.note("\n".join(task_facts.receipt_lines(task))))


def _log(chat: "Chat", text: str) -> None:
    words = text.split()
    follow = bool({"-f", "--follow"} & set(words))
    which = " ".join(word for word in words if word not in ("-f", "--follow"))
    task = _find(chat, which)
    log = StepLog(chat.store, task.id)

    def show(lines: str) -> None:
        if not lines and not follow:
            chat.screen.show(chat.screen.renderer().note(f"#{task.number} is {task.state}; nothing has happened yet."))
            return
        chat.screen.show(f"\n{lines}\n")
        if follow and task.state in LIVE_STATES:
            chat.screen.show(chat.screen.renderer().note(f"Following #{task.number} until it is over; Esc ends that."))
            chat.background.follow(task, log)

    chat.aside(lambda: "\n".join(map(str, log.rest(task))), show)


# -- doing -----------------------------------------------------------------------------------------


def _stop(chat: "Chat", which: str) -> None:
    found = chat.background.live() if which == "all" else [_find(chat, which)]
    stops = which == "all" and chat.stop_detached()
    if found or not stops:
        _order(chat, lambda: task_orders.stop(chat.background.pool, found))


def _order(chat: "Chat", give: Callable[[], str]) -> None:
    """Give an order aside, and say what came of it."""
    chat.aside(give, lambda said: chat.screen.show(chat.screen.renderer().note(said)))


def _steer(chat: "Chat", text: str) -> None:
    which, _, words = text.partition(" ")
    task = _find(chat, which)
    _order(chat, lambda: task_orders.steer(chat.background.pool, task, words))


def _approve(chat: "Chat", text: str) -> None:
    which, _, scope = text.partition(" ")
    _settle(chat, _find(chat, which), task_orders.approval(scope))


def _deny(chat: "Chat", text: str) -> None:
    which, _, reason = text.partition(" ")
    _settle(chat, _find(chat, which), Decision(False, reason.strip()))


def _answer(chat: "Chat", text: str) -> None:
    which, _, words = text.partition(" ")
    task = _find(chat, which)
    _say_settled(chat, task, lambda: chat.background.pool.reply(task.id, words), allowed=True)


def _settle(chat: "Chat", task: Task, decision: Decision, mark: str = "") -> None:
    pool = chat.background.pool
    _say_settled(chat, task, lambda: pool.answer(task.id, decision, mark=mark), allowed=decision.allowed)


def _say_settled(chat: "Chat", task: Task, settle: Callable[[], ApprovalRequested | None], *, allowed: bool) -> None:
    """Answer what a task asks, aside, and say so."""

    def settled() -> str:
        if (request := settle()) is None:
            raise HermesError(f"#{task.number} is not waiting for an answer.")
        return task_facts.settled(task, request, allowed=allowed)

    _order(chat, settled)


def _rollback(chat: "Chat", text: str) -> None:
    which, _, file = text.partition(" ")
    worktrees.rollback(chat, _find(chat, which), file.strip())


def _retry(chat: "Chat", which: str) -> None:
    task = _find(chat, which)
    chat.aside(lambda: chat.background.pool.retry(task.id), lambda new: say_started(chat, new))


def say_started(chat: "Chat", task: Task) -> None:
    line = f"{chat.screen.glyphs.running} #{task.number} {task.id}  {title(task)}"
    chat.screen.show("\n" + "\n  ".join(wrap(line, chat.screen.renderer().look.width() - 3)))


def _resume(chat: "Chat", which: str) -> None:
    task = _find(chat, which)
    _order(chat, lambda: task_orders.resume(chat.background.pool, task))


def _open(chat: "Chat", which: str) -> None:
    """A finished task is resumed like any conversation; one that is live is let go of first, and goes on as a turn."""
    task = _find(chat, which)
    if chat.turn is not None:
        hint = f"{chat.screen.stop_key} interrupts it, /detach sends it aside."
        raise HermesError("/tasks open has to wait for the turn.", hint=hint)
    chat.hold()
    if task.state != "running":
        _take(chat, task)
        return
    chat.screen.show(chat.screen.renderer().note(f"#{task.number} comes here after its next step."))

    until = time.monotonic() + OPEN_WITHIN

    def park() -> bool:
        chat.background.pool.park(task.id)
        return _runs(chat, task)

    chat.aside(park, lambda runs: _when_let_go(chat, task, until, runs), failed=partial(chat.release, keep=False))


def _runs(chat: "Chat", task: Task) -> bool:
    now = chat.store.task(task.id)
    return now is not None and now.state == "running"


def _when_let_go(chat: "Chat", task: Task, until: float, runs: bool) -> None:
    def look() -> None:
        again = partial(_when_let_go, chat, task, until)
        chat.aside(partial(_runs, chat, task), again, failed=partial(chat.release, keep=False))

    if not runs:
        _take(chat, task)
    elif time.monotonic() < until:
        chat.loop.call_later(0.05, look)
    else:
        _not_opened(chat, f"#{task.number} is in a long step, and is parked after it.", "/tasks open it again then.")


def _not_opened(chat: "Chat", why: str, hint: str) -> None:
    chat.release(keep=False)
    chat.complain(why, hint)


def _take(chat: "Chat", task: Task) -> None:
    """Nobody works on it: end the task if it is live, and go on with its conversation."""
    from hermes_cli.resuming import resume

    old = chat.conversation
    # More of a budget that it reached is for the person to allow.
    goes_on = task.state in LIVE_STATES and not (task.state == "parked" and task_facts.needs_person(task))

    def stopped(_: object) -> None:
        row = chat.store.task(task.id) or task
        session = chat.store.session(row.session_id)
        if session is None:
            _not_opened(chat, f"The conversation of #{task.number} is gone.", "/tasks retry starts it again.")
            return
        if not any(message.role == "user" for message in chat.store.messages(session.id)):
            chat.queue(task.prompt)
        back = f"The conversation that you leave: /resume {old}\n" if old else ""
        note = f"{back}/detach sends a turn aside again, /new begins a new conversation."
        chat.screen.show(chat.screen.renderer().note(note))
        resume(chat, session, unfinished="go on" if goes_on else "ask")

    why = f"went on as session {task.session_id}"
    chat.aside(lambda: chat.background.pool.stop(task.id, why=why), stopped, failed=partial(chat.release, keep=False))


def _prune(chat: "Chat", days: str) -> None:
    if days and not days.removesuffix("d").isdecimal():
        raise HermesError(f"{days!r} is no number of days.", hint="Example: /tasks prune 7")
    before = time.time() - int(days.removesuffix("d") or 0) * 86400 if days else time.time()
    over = task_facts.prunable(chat.store.tasks(owner=OF_TERMINALS), before)
    found, stays = task_facts.forgettable(chat.store, over)
    if not found:
        hint = " ".join(["Tasks that run, or that nobody was told of, stay.", *stays])
        raise HermesError("There is nothing to forget.", hint=hint)

    def settle(letter: str, _words: str) -> None:
        if letter == "y":
            chat.aside(lambda: task_facts.forget(chat.store, found, chat.config.dirs.state), say)

    def say(done: tuple[int, list[str]]) -> None:
        count, kept = done
        lines = [f"Forgot {count} task{'' if count == 1 else 's'}.", *kept]
        chat.screen.show(chat.screen.renderer().note("\n".join(lines)))

    many = f"{len(found)} finished task{'' if len(found) == 1 else 's'}"
    line = f"Forget {many} of all terminals, with results and logs? That cannot be undone."
    chat.ask(Question([line, *stays], {"y": "yes", "n": "no"}, "n", settle, about="prune"))


def _find(chat: "Chat", which: str) -> Task:
    return find(chat.store, which)


_ACTIONS: dict[str, Callable[["Chat", str], None]] = {
    "list": _list,
    "show": _show,
    "log": _log,
    "stop": _stop,
    "steer": _steer,
    "approve": _approve,
    "deny": _deny,
    "answer": _answer,
    "open": _open,
    "retry": _retry,
    "resume": _resume,
    "join": lambda chat, which: worktrees.join(chat, _find(chat, which)),
    "diff": lambda chat, which: worktrees.diff(chat, _find(chat, which)),
    "rollback": _rollback,
    "merge": lambda chat, which: worktrees.merge(chat, _find(chat, which)),
    "prune": _prune,
}

_ALSO = {"logs": "log", "kill": "stop", "cancel": "stop", "ls": "list", "status": "list"}

_STYLE = {"done": "green", "failed": "red", "waiting": "yellow", "running": "bold", "cancelled": "dim"}
