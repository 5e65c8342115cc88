"""What /background, /tasks, /approve and /deny do in a chat, and the buttons under a question."""

import time
from collections.abc import Callable
from dataclasses import replace

from agent import reports, task_orders
from agent.budgets import used_up
from agent.commands import background_prompt, preview, task_options
from agent.config import Settings
from agent.errors import HermesError
from agent.events import StepFinished, ToolFinished, TurnFinished, TurnStarted
from agent.protocols import Decision, Task
from agent.quoting import as_code, literal
from agent.records import LIVE_STATES, OF_CHATS, OF_TERMINALS, OF_TURNS, TaskOptions, stricter
from agent.task_rows import key_of, options_of, receipt_of
from agent.visible import visible
from gateway.authorization import Verdict
from gateway.calls import Call
from gateway.conversations import started_by
from gateway.platforms.base import MessageEvent
from gateway.service import Service
from gateway.session import chat_of
from gateway.telling import settled, started

LISTED, FEWEST = 15, 3
"""Tasks in a list, newest last; those that live are all in it, and so are a few that are over."""

LOG_LINES = 40

RECEIPT_LINES = 20


async def background(call: Call) -> str:
    """Start a task and say so at once. Raises: StoreError."""
    options, arguments = task_options(call.arguments)
    prompt, for_tasks = background_prompt(arguments)
    if for_tasks:
        return await _for_tasks(call, prompt)
    if not prompt:
        return USAGE
    options = replace(options, limits=call.limits)
    _require(call, options)
    task = await call.service.aside(lambda: _submitted(call, prompt, options))
    return started(prompt, task.id)


def _require(call: Call, options: TaskOptions) -> None:
    """That a task may be what it is asked to be, for whoever asks. Raises: HermesError."""
    why = ""
    if options.model and not call.verdict.may("model"):
        why = "--model is not for you here."
    elif not call.verdict.admin:
        why = _beyond(options, call.values)
    if not why and options.worktree and options.limits is not None:
        why = "--worktree is not for you here: git would run what your folder names, and no wall is around it."
    if why:
        raise HermesError(why, hint=call.whom_to_ask)


def _beyond(options: TaskOptions, values: Settings) -> str:
    """What is asked for one task and is more than the owner of this machine gives each."""
    asked = (
        ("--max-cost", options.max_cost, values.task_budget),
        ("--max-steps", options.max_steps, values.max_steps),
        ("--timeout", options.timeout, values.task_timeout),
    )
    over = (
        f"{name} {value:g} is more than {most:g}, the most here." for name, value, most in asked if 0 < most < value
    )
    return next(over, "")


async def _for_tasks(call: Call, prompt: str) -> str:
    """What is meant for /tasks is done, and how to send it as a prompt all the same is said, whatever comes of it."""
    head = f"That is /tasks. To send it as a prompt: /background -- {literal(preview(prompt))}"
    try:
        said = await tasks(call.with_arguments("" if prompt.lower() in ("status", "ls") else prompt))
    except HermesError as error:
        said = error.explain()
    return f"{head}\n\n{said}"


def _submitted(call: Call, prompt: str, options: TaskOptions) -> Task:
    service, owner = call.service, OF_CHATS + call.key
    if before := started_by(service.store, owner, call.event_name):
        return before
    settings, workspace = service.conversations.settings(), str(service.conversations.folder(call.key))
    reply_to = call.event.message_id if call.event.source.is_group else ""
    options = replace(options, event=call.event_name, reply_to=reply_to)
    session = service.conversations.session(call.key) if options.context else ""
    messages = service.store.messages(session) if session else []
    return service.tasks.submit(
        prompt,
        owner=owner,
        settings=settings,
        options=options,
        cwd=workspace,
        parent=session,
        history=reports.context_for(messages, prompt, moved=options.worktree) if session else (),
    )


USAGE = "Usage: /background <prompt>\nExample: /background summarize the top stories of today"


# -- answers to questions --------------------------------------------------------------------------


async def approve(call: Call) -> str:
    number, _, scope = call.arguments.partition(" ")
    if call.arguments.lower() in ("once", "session", "always"):
        number, scope = "", call.arguments
    return await _answer(call, number, task_orders.approval(scope))


async def deny(call: Call) -> str:
    number, _, reason = call.arguments.partition(" ")
    if not number.removeprefix("#").isdecimal():
        number, reason = "", call.arguments
    return await _answer(call, number, Decision(False, reason.strip()))


async def _answer(call: Call, number: str, decision: Decision, mark: str = "") -> str:
    # Here, and not only where the command is read: several commands and the buttons lead here.
    if not call.verdict.may("approve" if decision.allowed else "deny"):
        raise HermesError("That is not yours to answer.", hint=call.whom_to_ask)
    if decision.scope == "always" and not call.verdict.admin:
        # It would go into the owner's policy.toml, and count for every chat and terminal.
        raise HermesError("`always` is for admins of this gateway.", hint="/approve session holds for now.")

    def settle() -> str:
        task = call.find(number) if number else _that_waits(call)
        request = call.service.tasks.answer(task.id, decision, mark=mark, via=call.event.source.platform.value)
        if request is None:
            raise _too_late(call, task)
        # The pool that runs turns looks by itself, too; this spares it the wait.
        call.service.turns.look()
        return f"{'Approved' if decision.allowed else 'Denied'}: {request.tool} {literal(visible(request.title))}"

    return await call.service.aside(settle)


async def _reply(call: Call, number: str, text: str, mark: str = "") -> str:
    """Answer a question in words: whoever may write here may."""
    if not call.verdict.allowed:
        raise HermesError("That is not yours to answer.")

    def settle() -> str:
        task = call.find(number)
        request = call.service.tasks.reply(task.id, text, mark=mark, via=call.event.source.platform.value)
        if request is None:
            raise _too_late(call, task)
        call.service.turns.look()
        return f"Answered: {literal(visible(request.title))}"

    return await call.service.aside(settle)


def _too_late(call: Call, task: Task) -> HermesError:
    """What was answered first counts."""
    found = call.service.tasks.answered(task.id)
    if found is None:
        return HermesError("Nothing waits for an answer there.")
    request, decision = found
    return HermesError(f"That was answered already: {settled(request, decision, call.event.source.chat)}")


def _that_waits(call: Call) -> Task:
    owners = (OF_TURNS + call.key, OF_CHATS + call.key)
    waiting = [
        task for owner in owners for task in call.service.store.tasks(owner=owner, states=frozenset({"waiting"}))
    ]
    if not waiting and call.verdict.admin:
        # In a group each person has a conversation of their own, and all see what is asked.
        here = call.event.source.chat
        asked = [task for task in call.tasks() if task.state == "waiting" and not task.owner.startswith(OF_TERMINALS)]
        waiting = [task for task in asked if chat_of(key_of(task.owner)) == here]
    if len(waiting) != 1:
        what = "Nothing waits for an answer." if not waiting else "Several wait for an answer."
        raise HermesError(what, hint="/tasks lists them; name one by its number.")
    return waiting[0]


async def press(service: Service, event: MessageEvent, key: str, *, verdict: Verdict) -> str:
    """A button was pressed; "" where its question then shows what was answered. Raises: HermesError."""
    what, _, named = event.data.partition(":")
    task_id, _, mark = named.partition(":")
    shown = service.telling.shows_answer(task_id)
    call = Call(service, event, key, "", verdict)
    decisions = {"ok": Decision(True), "session": Decision(True, scope="session"), "no": Decision(False)}
    if not task_id or not mark or not (what.isdecimal() or what in decisions):
        raise HermesError("That button means nothing here.")
    if what.isdecimal():
        answer = await _reply(call, task_id, what, mark)
    else:
        answer = await _answer(call, task_id, decisions[what], mark)
    return "" if shown else answer


# -- tasks -----------------------------------------------------------------------------------------


async def tasks(call: Call) -> str:
    if not call.arguments or call.word == "list":
        return await call.service.aside(lambda: _list(call))
    if call.word.removeprefix("#").isdecimal():
        return await call.service.aside(lambda: _show(call, call.word, ""))
    action = SUBCOMMANDS.get(call.word)
    if action is None:
        raise HermesError(f"/tasks knows no {call.word!r}.", hint=f"It knows: list, {', '.join(SUBCOMMANDS)}.")
    if call.word in ("approve", "deny"):
        answer = approve if call.word == "approve" else deny
        return await answer(call.with_arguments(call.rest))
    number, _, text = call.rest.partition(" ")
    if not number or (call.word == "answer" and not text.strip()):
        words = " <answer>" if call.word == "answer" else ""
        raise HermesError(f"Usage: /tasks {call.word} N{words}", hint="/tasks lists the numbers.")
    if call.word == "answer":
        return await _reply(call, number, text)
    return await call.service.aside(lambda: action(call, number, text.strip()))


def _list(call: Call) -> str:
    found = call.tasks()
    live = [task for task in found if task.state in LIVE_STATES]
    over = [task for task in found if task.state not in LIVE_STATES]
    room = max(LISTED - len(live), FEWEST)
    shown = {task.id for task in (*live, *over[-room:])}
    lines = [_line(call, task) for task in found if task.id in shown]
    if hidden := len(found) - len(lines):
        lines.insert(0, f"({hidden} older ones are over: /tasks show N)")
    return "\n".join(lines) or "No background tasks. /background <prompt> starts one."


def _line(call: Call, task: Task) -> str:
    doing = task.activity or preview(task.prompt)
    if task.state == "waiting" and (request := call.service.tasks.open_request(task.id)):
        doing = f"needs you: {request.tool} {request.title}"
    where = f" [{key_of(task.owner) or 'terminal'}]" if task.owner != OF_CHATS + call.key else ""
    return f"#{task.number} {task.state}{where}  {literal(doing)} · {_spent(task)} · {task.id}"


def _spent(task: Task) -> str:
    seconds = (task.finished or time.time()) - (task.started or task.created)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _show(call: Call, number: str, text: str) -> str:
    del text
    task = call.find(number)
    lines = [
        f"#{task.number} {task.state} · {_spent(task)} · {task.steps} step{'s' * (task.steps != 1)} · {task.id}",
        literal(preview(task.prompt, 200)),
    ]
    return "\n\n".join([*lines, *[part for part in (task.error, task.result, _receipt(task)) if part]])


def _receipt(task: Task) -> str:
    """The commands with their exit codes, and the files changed."""
    done = receipt_of(task)
    runs = [
        f"{one.command}  {'cut off' if one.exit_code is None else f'exit {one.exit_code}'}" for one in done.commands
    ]
    return "\n".join(as_code(line) for line in [*runs, *(f"changed {name}" for name in done.files)][:RECEIPT_LINES])


def _log(call: Call, number: str, text: str) -> str:
    del text
    task = call.find(number)
    lines: list[str] = []
    for event in call.service.store.events(task.id):
        match event:
            case TurnStarted(prompt):
                lines.append(f"prompt: {literal(preview(prompt, 200))}")
            case StepFinished(step=step, text=said):
                lines.append(f"step {step}: {literal(preview(said, 200))}")
            case ToolFinished(name=name, title=title, summary=summary):
                lines.append(f"{name} {literal(title)}  {literal(summary)}")
            case TurnFinished(outcome=outcome, error=error):
                lines.append(f"{outcome} {error}".strip())
    return "\n".join(lines[-LOG_LINES:]) or f"#{task.number} is {task.state}; nothing has happened yet."


def _stop_task(call: Call, number: str, text: str) -> str:
    del text
    if number == "all":
        found = call.service.store.tasks(owner=OF_CHATS + call.key, states=LIVE_STATES)
    else:
        found = [call.find(number)]
    said = task_orders.stop(call.service.tasks, found, chat=call.key)
    call.service.turns.look()
    return said


def _steer_task(call: Call, number: str, text: str) -> str:
    task, store = call.find(number), call.service.store
    with store.together():
        said = task_orders.steer(call.service.tasks, task, text)
        # Read again after a crash it would be a second line.
        store.dealt_with(call.event.source.platform.value, call.event.event_id)
    return said


def _resume(call: Call, number: str, text: str) -> str:
    del text
    task = call.find(number)
    if not call.verdict.admin and (reason := used_up(call.service.store, call.values, task)):
        raise HermesError(f"#{task.number} is paused: {reason}.", hint=call.whom_to_ask)
    said = task_orders.resume(call.service.tasks, task)
    call.service.turns.look()
    return said


def _retry_task(call: Call, number: str, text: str) -> str:
    del text
    task = call.find(number)
    before = started_by(call.service.store, task.owner, call.event_name)
    options = options_of(task)
    _require(call, replace(options, limits=stricter(options.limits, call.limits)))
    again = before or call.service.tasks.retry(task.id, event=call.event_name, limits=call.limits)
    return started(again.prompt, again.id)


def _never(call: Call, number: str, text: str) -> str:
    raise AssertionError(f"what answers a question is dealt with before: {call} {number} {text}")


SUBCOMMANDS: dict[str, Callable[[Call, str, str], str]] = {
    "show": _show,
    "log": _log,
    "stop": _stop_task,
    "steer": _steer_task,
    "approve": _never,
    "deny": _never,
    "answer": _never,
    "resume": _resume,
    "retry": _retry_task,
}
