"""What each command does in a chat. Adding one: a row in `agent/commands.py`, a function here."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from agent import __version__
from agent.commands import (
    CommandDef,
    Parsed,
    background_prompt,
    commands_for,
    help_lines,
    preview,
    search,
    task_options,
)
from agent.errors import HermesError
from agent.events import StepFinished, ToolFinished, TurnFinished, TurnStarted
from agent.messages import Usage
from agent.protocols import Decision, Scope, Task
from agent.records import LIVE_STATES, TaskOptions
from gateway.authorization import Verdict
from gateway.conversations import CHAT, TURN, key_of, started_by
from gateway.model import ModelOfChats
from gateway.platforms.base import MessageEvent
from gateway.service import Prompt, Service

LISTED = 15
"""Tasks in a list, newest last."""

LOG_LINES = 40


@dataclass(frozen=True, slots=True)
class Call:
    """A command in a chat. `key` is the conversation's; `verdict` says what whoever gave it may do.

    `event_name` names the message for ever, so that what it starts is started once.
    """

    service: Service
    event: MessageEvent
    key: str
    arguments: str
    verdict: Verdict
    model: ModelOfChats | None = None

    def with_arguments(self, arguments: str) -> "Call":
        """The same, for the command that another one stands for."""
        return replace(self, arguments=arguments)

    @property
    def event_name(self) -> str:
        source = self.event.source
        return f"in:{source.platform.value}:{self.event.event_id or self.event.message_id}"

    @property
    def word(self) -> str:
        return self.arguments.partition(" ")[0].lower()

    @property
    def rest(self) -> str:
        return self.arguments.partition(" ")[2].strip()

    def tasks(self) -> list[Task]:
        """The background tasks this person may see, oldest first: an admin those of every chat."""
        return self.service.store.tasks(owner=CHAT if self.verdict.admin else CHAT + self.key)

    def find(self, text: str) -> Task:
        """One of them, or a turn (the chat's own; for admins anybody's), by number or id. Raises: HermesError."""
        wanted = text.removeprefix("#").strip()
        own = [
            *self.tasks(),
            *self.service.store.tasks(owner=TURN if self.verdict.admin else TURN + self.key, states=LIVE_STATES),
        ]
        found = [task for task in own if wanted and (str(task.number) == wanted or task.id.startswith(wanted))]
        if len(found) != 1:
            raise HermesError(f"There is no task {text!r} here.", hint="/tasks lists them.")
        return found[0]


Command = Callable[[Call], Awaitable[str | Prompt]]


def find(parsed: Parsed) -> Command:
    """The function of a command that is for chats."""
    return _COMMANDS[parsed.command.name]


async def _help(call: Call) -> str:
    if not call.arguments:
        return "\n".join(help_lines("gateway"))
    found = search(call.arguments, "gateway")
    return "\n".join(map(_explained, found)) or f"Nothing is known of {call.arguments!r}. See /help."


def _explained(command: CommandDef) -> str:
    subs = [f"  {sub.name} {sub.arguments} - {sub.summary}" for sub in command.subcommands if sub.name in _TASKS]
    return "\n".join([f"{command.usage} - {command.summary}", *subs])


async def background(call: Call) -> str:
    """Start a task and say so at once. Raises: StoreError."""
    options, arguments = task_options(call.arguments)
    prompt, for_tasks = background_prompt(arguments)
    if for_tasks:
        head = f"That is /tasks. To send it as a prompt: /background -- {prompt}"
        word = "" if prompt.lower() in ("status", "ls") else prompt
        return f"{head}\n\n{await _tasks(call.with_arguments(word))}"
    if not prompt:
        return USAGE
    task = await call.service.aside(lambda: _submitted(call, prompt, options))
    return started(prompt, task.id)


def _submitted(call: Call, prompt: str, options: TaskOptions) -> Task:
    service, owner = call.service, CHAT + call.key
    if started := started_by(service.store, owner, call.event_name):
        return started
    settings, workspace = service.conversations.settings(), str(service.conversations.folder(call.key))
    reply_to = call.event.message_id if call.event.source.is_group else ""
    options = replace(options, event=call.event_name, reply_to=reply_to)
    return service.tasks.submit(prompt, owner=owner, settings=settings, options=options, cwd=workspace)


USAGE = "Usage: /background <prompt>\nExample: /background summarize the top stories of today"


def started(prompt: str, task_id: str) -> str:
    """What is answered to /background."""
    return f'🔄 Background task started: "{preview(prompt)}"\nTask ID: {task_id}'


# -- the conversation ------------------------------------------------------------------------------


async def _new(call: Call) -> str:
    def begin() -> tuple[str, str]:
        conversations = call.service.conversations
        conversations.stop(call.key)
        return conversations.session(call.key), conversations.begin(call.key)

    old, new = await call.service.aside(begin)
    call.service.happened("session:end", {"chat": call.key, "session": old})
    call.service.happened("session:reset", {"chat": call.key, "session": new})
    return "A new conversation. Background tasks go on."


async def _stop(call: Call) -> str:
    stopped = await call.service.aside(lambda: call.service.conversations.stop(call.key))
    if stopped is None:
        raise HermesError("No turn is running.", hint="/tasks stop N stops a background task.")
    return "Stopping."


async def _steer(call: Call) -> Prompt:
    if not call.arguments:
        raise HermesError("Usage: /steer <text>", hint="Example: /steer use tabs, not spaces")
    return Prompt(call.arguments, busy="steer")


async def _queue(call: Call) -> Prompt:
    if not call.arguments:
        raise HermesError("Usage: /queue <prompt>", hint="Example: /queue now run the tests")
    return Prompt(call.arguments, busy="queue")


async def _retry(call: Call) -> Prompt:
    taken = await _cut(call, 1)
    return Prompt(call.arguments or taken)


async def _undo(call: Call) -> str:
    if call.arguments and not call.arguments.isdecimal():
        raise HermesError("Usage: /undo [N]", hint="Example: /undo 2")
    taken = await _cut(call, int(call.arguments or 1))
    return f"Taken back, and what came after it: {preview(taken, 200)}\nFiles that were changed stay so."


async def _cut(call: Call, prompts: int) -> str:
    """Go back to before a prompt; gives its text. Raises: HermesError."""
    conversations = call.service.conversations
    if await call.service.aside(lambda: conversations.turn(call.key)):
        raise HermesError("A turn is running.", hint="/stop ends it.")
    taken = await call.service.aside(lambda: conversations.cut(call.key, prompts))
    if taken is None:
        raise HermesError("There is nothing so far back in this conversation.")
    return taken


async def _history(call: Call) -> str:
    if call.arguments and not (call.arguments.isdecimal() and int(call.arguments)):
        raise HermesError("Usage: /history [N]", hint="Example: /history 5")

    def look() -> str:
        messages = call.service.store.messages(call.service.conversations.session(call.key))
        said = [one for one in messages if one.role in ("user", "assistant") and one.content.strip()]
        who = {"user": "›", "assistant": "●"}
        return "\n".join(f"{who[one.role]} {preview(one.content, 300)}" for one in said[-int(call.arguments or 10) :])

    return await call.service.aside(look) or "Nothing was said yet."


async def _go_on_with(call: Call) -> str:
    def resume() -> str:
        conversations = call.service.conversations
        others = [one for one in conversations.sessions(call.key) if one.id != conversations.session(call.key)]
        if not call.arguments:
            lines = [
                f"{number}. {one.title or one.id} ({one.messages} messages)" for number, one in enumerate(others, 1)
            ]
            return "\n".join([*lines, "/resume N goes on with one."]) if lines else "There are no other conversations."
        wanted = call.arguments.lower()
        if wanted.isdecimal() and 0 < int(wanted) <= len(others):
            found = [others[int(wanted) - 1]]
        else:
            found = [one for one in others if one.id.startswith(wanted) or wanted in one.title.lower()]
        if len(found) != 1:
            how_many = "More than one" if found else "No"
            raise HermesError(f"{how_many} conversation of this chat fits.", hint="/resume lists them.")
        if conversations.turn(call.key):
            raise HermesError("A turn is running.", hint="/stop ends it.")
        conversations.resume(call.key, found[0].id)
        return f"This goes on with: {found[0].title or found[0].id}"

    return await call.service.aside(resume)


async def _model(call: Call) -> str:
    if (model := call.model) is None:
        raise HermesError("The model cannot be switched here.")
    if not call.arguments:
        return f"{await call.service.aside(model.name)}, in all chats of this gateway."
    return f"{await call.service.aside(lambda: model.switch(call.arguments))}, in all chats, from the next turn on."


async def _sethome(call: Call) -> str:
    chat = call.event.source.chat
    await call.service.aside(lambda: call.service.homes.set(chat))
    return f"This is the home of {chat.platform.value} now: notices and open questions come here."


async def _status(call: Call) -> str:
    service, now = call.service, time.time()

    def look() -> str:
        turn = service.conversations.turn(call.key)
        live = [task for task in call.tasks() if task.state in LIVE_STATES]
        doing = f"{turn.state}, {turn.activity or 'starting'}, {now - turn.created:.0f} s" if turn else "none"
        lines = [
            f"session: {service.conversations.session(call.key)}",
            f"turn: {doing}",
            f"tasks: {len(live)} live",
        ]
        lines += [
            f"{platform.value}: {adapter.problem or 'connected'}" for platform, adapter in service.adapters.items()
        ]
        return "\n".join(lines)

    return await service.aside(look)


async def _usage(call: Call) -> str:
    def look() -> str:
        session = call.service.conversations.session(call.key)
        used = sum((row.usage for row in call.service.store.usage(session_id=session)), Usage())
        cost = "unknown" if used.cost is None else f"${used.cost:.4f}"
        return f"{used.input_tokens} tokens in, {used.output_tokens} out, cost {cost}"

    return await call.service.aside(look)


async def _title(call: Call) -> str:
    def name() -> str:
        session_id = call.service.conversations.session(call.key)
        if call.arguments:
            call.service.store.rename_session(session_id, call.arguments)
        session = call.service.store.session(session_id)
        return session.title if session and session.title else "It has no title yet."

    return await call.service.aside(name)


async def _version(call: Call) -> str:
    del call
    return f"hermes {__version__}"


# -- answers to questions --------------------------------------------------------------------------


async def _approve(call: Call) -> str:
    number, _, scope = call.arguments.partition(" ")
    if call.arguments.lower() in ("once", "session", "always"):
        number, scope = "", call.arguments
    scopes: dict[str, Scope] = {"": "once", "once": "once", "session": "session", "always": "always"}
    if scope.strip().lower() not in scopes:
        raise HermesError(f"{scope!r} is no scope.", hint="There are: once, session, always.")
    return await _answer(call, number, Decision(True, scope=scopes[scope.strip().lower()]))


async def _deny(call: Call) -> str:
    number, _, reason = call.arguments.partition(" ")
    if not number.removeprefix("#").isdecimal():
        number, reason = "", call.arguments
    return await _answer(call, number, Decision(False, reason.strip()))


async def _answer(call: Call, number: str, decision: Decision, mark: str = "") -> str:
    # Here, and not only where the command is read: several commands and the buttons lead here.
    if not call.verdict.may("approve" if decision.allowed else "deny"):
        raise HermesError("That is not yours to answer.", hint="An admin of this gateway can do it.")
    if decision.scope == "always" and not call.verdict.admin:
        # It would go into the owner's policy.toml, and count for every chat and terminal.
        raise HermesError("`always` is for admins of this gateway.", hint="/approve session holds for now.")

    def settle() -> str:
        task = call.find(number) if number else _that_waits(call)
        request = call.service.tasks.answer(task.id, decision, mark=mark)
        if request is None:
            raise HermesError("Nothing waits for an answer there.")
        # The pool that runs turns looks by itself, too; this spares it the wait.
        call.service.turns.look()
        return f"{'Approved' if decision.allowed else 'Denied'}: {request.tool} {request.title}"

    return await call.service.aside(settle)


def _that_waits(call: Call) -> Task:
    owners = (TURN + call.key, CHAT + call.key)
    waiting = [
        task for owner in owners for task in call.service.store.tasks(owner=owner, states=frozenset({"waiting"}))
    ]
    if len(waiting) != 1:
        what = "Nothing waits for an answer." if not waiting else "Several wait for an answer."
        raise HermesError(what, hint="/tasks lists them; name one by its number.")
    return waiting[0]


async def press(service: Service, event: MessageEvent, key: str, *, verdict: Verdict) -> str:
    """A button under a question was pressed. Raises: HermesError."""
    what, _, named = event.data.partition(":")
    task_id, _, mark = named.partition(":")
    decisions = {"ok": Decision(True), "session": Decision(True, scope="session"), "no": Decision(False)}
    if what not in decisions or not task_id or not mark:
        raise HermesError("That button means nothing here.")
    return await _answer(Call(service, event, key, "", verdict), task_id, decisions[what], mark)


# -- tasks -----------------------------------------------------------------------------------------


async def _tasks(call: Call) -> str:
    if not call.arguments or call.word == "list":
        return await call.service.aside(lambda: _list(call))
    if call.word.removeprefix("#").isdecimal():
        return await call.service.aside(lambda: _show(call, call.word, ""))
    action = _TASKS.get(call.word)
    if action is None:
        raise HermesError(f"/tasks knows no {call.word!r}.", hint=f"It knows: list, {', '.join(_TASKS)}.")
    if call.word in ("approve", "deny"):
        answer = _approve if call.word == "approve" else _deny
        return await answer(call.with_arguments(call.rest))
    number, _, text = call.rest.partition(" ")
    if not number:
        raise HermesError(f"Usage: /tasks {call.word} N", hint="/tasks lists the numbers.")
    return await call.service.aside(lambda: action(call, number, text.strip()))


def _list(call: Call) -> str:
    found = call.tasks()[-LISTED:]
    lines = [_line(call, task) for task in found]
    return "\n".join(lines) or "No background tasks. /background <prompt> starts one."


def _line(call: Call, task: Task) -> str:
    doing = task.activity or preview(task.prompt)
    if task.state == "waiting" and (request := call.service.tasks.open_request(task.id)):
        doing = f"needs you: {request.tool} {request.title}"
    where = f" [{key_of(task.owner)}]" if task.owner != CHAT + call.key else ""
    return f"#{task.number} {task.state}{where}  {doing}"


def _show(call: Call, number: str, text: str) -> str:
    del text
    task = call.find(number)
    spent = (task.finished or time.time()) - (task.started or task.created)
    lines = [f"#{task.number} {task.state} · {spent:.0f} s · {task.steps} steps", preview(task.prompt, 200)]
    return "\n\n".join([*lines, *[part for part in (task.error, task.result) if part]])


def _log(call: Call, number: str, text: str) -> str:
    del text
    task = call.find(number)
    lines: list[str] = []
    for event in call.service.store.events(task.id):
        match event:
            case TurnStarted(prompt):
                lines.append(f"prompt: {preview(prompt, 200)}")
            case StepFinished(step=step, text=said):
                lines.append(f"step {step}: {preview(said, 200)}")
            case ToolFinished(name=name, title=title, summary=summary):
                lines.append(f"{name} {title}  {summary}")
            case TurnFinished(outcome=outcome, error=error):
                lines.append(f"{outcome} {error}".strip())
    return "\n".join(lines[-LOG_LINES:]) or f"#{task.number} is {task.state}; nothing has happened yet."


def _stop_task(call: Call, number: str, text: str) -> str:
    del text
    if number == "all":
        found = call.service.store.tasks(owner=CHAT + call.key, states=LIVE_STATES)
    else:
        found = [call.find(number)]
    stopped = [task for task in found if call.service.tasks.stop(task.id)]
    if not stopped:
        raise HermesError("No task is running." if number == "all" else f"#{found[0].number} is over already.")
    call.service.turns.look()
    return f"Stopped {', '.join(f'#{task.number}' for task in stopped)}."


def _steer_task(call: Call, number: str, text: str) -> str:
    task = call.find(number)
    if not text:
        raise HermesError("Usage: /tasks steer N <text>")
    if not call.service.tasks.steer(task.id, text):
        raise HermesError(f"#{task.number} is over already.")
    return f"#{task.number} reads it before its next step."


def _resume(call: Call, number: str, text: str) -> str:
    del text
    task = call.find(number)
    if call.service.tasks.resume(task.id) is None:
        raise HermesError(f"#{task.number} is not paused.")
    call.service.turns.look()
    return f"#{task.number} goes on."


def _retry_task(call: Call, number: str, text: str) -> str:
    del text
    again = call.service.tasks.retry(call.find(number).id)
    return started(again.prompt, again.id)


def _never(call: Call, number: str, text: str) -> str:
    raise AssertionError(f"approve and deny are dealt with before: {call} {number} {text}")


_TASKS: dict[str, Callable[[Call, str, str], str]] = {
    "show": _show,
    "log": _log,
    "stop": _stop_task,
    "steer": _steer_task,
    "approve": _never,
    "deny": _never,
    "resume": _resume,
    "retry": _retry_task,
}

_COMMANDS: dict[str, Command] = {
    "help": _help,
    "background": background,
    "tasks": _tasks,
    "new": _new,
    "stop": _stop,
    "steer": _steer,
    "status": _status,
    "usage": _usage,
    "title": _title,
    "queue": _queue,
    "retry": _retry,
    "undo": _undo,
    "history": _history,
    "resume": _go_on_with,
    "model": _model,
    "sethome": _sethome,
    "version": _version,
    "approve": _approve,
    "deny": _deny,
}

KNOWN = frozenset(_COMMANDS)


def missing() -> set[str]:
    """Commands that the table says are for chats, and that nothing here carries out."""
    return {command.name for command in commands_for("gateway")} - KNOWN
