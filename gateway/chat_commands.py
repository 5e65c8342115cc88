"""What each command does in a chat. Adding one: a row in `agent/commands.py`, a function here."""

import platform
import time
from functools import partial

from agent import __version__
from agent.commands import CommandDef, Parsed, alias_note, commands_for, help_lines, preview, search
from agent.context import Gauge, parts, size_of_tools
from agent.errors import HermesError
from agent.messages import Usage
from agent.models import portable
from agent.prompt import own_part
from agent.quoting import literal
from agent.records import LIVE_STATES, OF_TURNS
from gateway import task_commands
from gateway.calls import Call, Command
from gateway.outbox import address
from gateway.service import Prompt


def find(parsed: Parsed) -> Command:
    """The function of a command that is for chats."""
    return _COMMANDS[parsed.command.name]


async def _help(call: Call) -> str:
    if not call.arguments:
        return "\n".join(help_lines("gateway"))
    found = search(call.arguments, "gateway")
    return "\n".join(map(_explained, found)) or f"Nothing is known of {call.arguments!r}. See /help."


async def _start(call: Call) -> str:
    """What Telegram has people say first."""
    del call
    return (
        "I am Hermes, an agent. Write what you want to know or have done; files, pictures and voice messages may come "
        "along. /background <prompt> does something aside, /new begins a new conversation, /help lists the commands."
    )


def _explained(command: CommandDef) -> str:
    # Nothing is followed in a chat.
    subs = [
        f"  {sub.name} {sub.arguments.removesuffix(' [-f]')} - {sub.summary.partition('; -f')[0]}"
        for sub in command.subcommands
        if sub.name in task_commands.SUBCOMMANDS
    ]
    example = [f"Example: {command.example.removesuffix(' -f')}"] if command.example else []
    options = [f"  {option.name} {option.arguments}".rstrip() + f" - {option.summary}" for option in command.options]
    return "\n".join([f"{command.usage}{alias_note(command)} - {command.summary}", *options, *subs, *example])


async def _new(call: Call) -> str:
    conversations = call.service.conversations

    def end() -> str:
        conversations.stop(call.key)
        return conversations.session(call.key)

    old = await call.service.aside(end)
    call.service.happened("session:end", {"chat": call.key, "session": old})
    new = await call.service.aside(lambda: conversations.begin(call.key))
    call.service.happened("session:reset", {"chat": call.key, "session": new})
    return "A new conversation. Background tasks go on."


async def _stop(call: Call) -> str:
    if await call.service.aside(lambda: call.service.conversations.stop(call.key)) is None:
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
    return f"Taken back, and what came after it: {literal(preview(taken, 200))}\nFiles that were changed stay so."


async def _cut(call: Call, prompts: int) -> str:
    """Go back to before a prompt; gives its text. Raises: HermesError."""
    behind = call.service.lines.held(call.key) > 0
    cut = partial(call.service.conversations.cut, call.key, prompts, event=call.event_name, behind=behind)
    return await call.service.patiently(cut)


async def _history(call: Call) -> str:
    if call.arguments and not (call.arguments.isdecimal() and int(call.arguments)):
        raise HermesError("Usage: /history [N]", hint="Example: /history 5")

    def look() -> str:
        messages = call.service.store.messages(call.service.conversations.session(call.key))
        said = [one for one in messages if one.role in ("user", "assistant") and one.content.strip()]
        who = {"user": "›", "assistant": "●"}
        return "\n".join(
            f"{who[one.role]} {literal(preview(one.content, 300))}" for one in said[-int(call.arguments or 10) :]
        )

    return await call.service.aside(look) or "Nothing was said yet."


async def _go_on_with(call: Call) -> str:
    def resume() -> str:
        conversations = call.service.conversations
        others = [one for one in conversations.sessions(call.key) if one.id != conversations.session(call.key)]
        if not call.arguments:
            lines = [
                f"{number}. {literal(one.title or one.id)} ({one.messages} messages)"
                for number, one in enumerate(others, 1)
            ]
            return "\n".join([*lines, "/resume N goes on with one."]) if lines else "There are no other conversations."
        wanted = call.arguments.lower()
        if wanted == "latest":
            found = others[:1]
        elif wanted.isdecimal() and 0 < int(wanted) <= len(others):
            found = [others[int(wanted) - 1]]
        else:
            found = [one for one in others if one.id.startswith(wanted) or wanted in one.title.lower()]
        if len(found) != 1:
            how_many = "More than one" if found else "No"
            raise HermesError(f"{how_many} conversation of this chat fits.", hint="/resume lists them.")
        if conversations.turn(call.key):
            raise HermesError("A turn is running.", hint="/stop ends it.")
        conversations.resume(call.key, found[0].id)
        return f"This goes on with: {literal(found[0].title or found[0].id)}"

    return await call.service.aside(resume)


async def _model(call: Call) -> str:
    if (model := call.model) is None:
        raise HermesError("The model cannot be switched here.")
    if not call.arguments:
        return f"{await call.service.aside(model.name)}, in all chats of this gateway."
    return f"{await call.service.aside(lambda: model.switch(call.arguments))}, in all chats, from the next turn on."


async def _voice(call: Call) -> str:
    voices = call.service.voices
    match call.arguments.lower():
        case "" | "status":
            return await call.service.aside(lambda: voices.status(call.key))
        case "on" | "off" | "tts" as mode:
            return await call.service.aside(lambda: voices.switch(call.key, mode))
    raise HermesError("Usage: /voice on|off|tts|status", hint="tts: answers are spoken, too.")


async def _sethome(call: Call) -> str:
    chat = call.event.source.chat
    await call.service.aside(lambda: call.service.homes.set(chat))
    return f"This is the home of {chat.platform.value} now: notices and open questions come here."


async def _handoff(call: Call) -> str:
    if call.word != "terminal":
        hint = "/handoff telegram, discord or slack is given in the terminal, and brings its conversation to a chat."
        raise HermesError("Usage: /handoff terminal", hint=hint)

    where = address(call.event.source.chat)
    session_id, heard = await call.service.patiently(lambda: call.service.conversations.give_back(call.key, where))
    there = "The terminal it came from is told." if heard else "In a terminal:"
    return f"Handed over. {there} `hermes -r {session_id}` goes on with it; here a new conversation begins."


async def _status(call: Call) -> str:
    service, now = call.service, time.time()

    def look() -> str:
        turn = service.conversations.turn(call.key)
        tasks = [task for task in call.tasks() if not task.owner.startswith(OF_TURNS)]
        live = [task for task in tasks if task.state in LIVE_STATES]
        doing = f"{turn.state}, {turn.activity or 'starting'}, {now - turn.created:.0f} s" if turn else "none"
        lines = [
            f"model: {call.model.name() if call.model else 'unknown'}",
            f"directory: {service.conversations.folder(call.key)}",
            f"session: {service.conversations.session(call.key)}",
            f"turn: {doing}",
            f"tasks: {len(live)} live",
        ]
        for where, adapter in service.adapters.items():
            problem = adapter.problem if service.reaches(where) else "not connected"
            lines.append(f"{where.value}: {problem or 'connected'}")
        return "\n".join(lines)

    return await service.aside(look)


async def _usage(call: Call) -> str:
    def look() -> str:
        session = call.service.conversations.session(call.key)
        used = sum((row.usage for row in call.service.store.usage(session_id=session)), Usage())
        cost = "unknown" if used.cost is None else f"${used.cost:.4f}"
        return f"{used.input_tokens} tokens in, {used.output_tokens} out, cost {cost}"

    return await call.service.aside(look)


async def _compress(call: Call) -> str:
    """The answer comes when it is done: a model summarises."""
    source = call.event.source
    reply_to = call.event.message_id if source.is_group else ""
    await call.service.patiently(
        lambda: call.service.conversations.compress(
            call.key, call.arguments, event=call.event_name, reply_to=reply_to, limits=call.limits
        )
    )
    return ""


async def _context(call: Call) -> str:
    def look() -> str:
        row = call.service.store.session(call.service.conversations.session(call.key))
        messages = call.service.store.messages(row.id) if row else []
        window = call.model.window() if call.model else 0
        if row is None or not messages:
            room = f"The model's window holds {window:,} tokens." if window else "The model's window is unknown."
            return f"The conversation begins with the next message. {room}"
        gauge = Gauge(size_of_tools(portable.tools(row.settings)))
        found = parts(messages, gauge, own=own_part(messages[0].content), window=window)
        total = sum(part.tokens for part in found if part.name != "free")
        whole = f" of {window:,}" if window else "; the window is unknown"
        return "\n".join([f"about {total:,} tokens{whole}", *(f"{part.name}: {part.tokens:,}" for part in found)])

    return await call.service.aside(look)


async def _title(call: Call) -> str:
    def name() -> str:
        session_id = call.service.conversations.session(call.key)
        if call.arguments:
            call.service.store.rename_session(session_id, call.arguments)
        session = call.service.store.session(session_id)
        return literal(session.title) if session and session.title else "It has no title yet."

    return await call.service.aside(name)


async def _version(call: Call) -> str:
    del call
    return f"hermes {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"


_COMMANDS: dict[str, Command] = {
    "help": _help,
    "start": _start,
    "background": task_commands.background,
    "tasks": task_commands.tasks,
    "new": _new,
    "stop": _stop,
    "steer": _steer,
    "status": _status,
    "usage": _usage,
    "title": _title,
    "compress": _compress,
    "context": _context,
    "queue": _queue,
    "retry": _retry,
    "undo": _undo,
    "history": _history,
    "resume": _go_on_with,
    "model": _model,
    "sethome": _sethome,
    "voice": _voice,
    "handoff": _handoff,
    "version": _version,
    "approve": task_commands.approve,
    "deny": task_commands.deny,
}

KNOWN = frozenset(_COMMANDS)


def missing() -> set[str]:
    """Commands that the table says are for chats, and that nothing here carries out."""
    return {command.name for command in commands_for("gateway")} - KNOWN
