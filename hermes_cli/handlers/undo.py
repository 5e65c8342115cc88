"""Commands about what the agent did to files: see it, undo it."""

from typing import TYPE_CHECKING

from agent.errors import HermesError
from hermes_cli.questions import Question
from hermes_cli.text import harmless

if TYPE_CHECKING:
    from pathlib import Path

    from agent.checkpoints import Checkpoints, Plan
    from hermes_cli.chat import Chat

FILES_SHOWN = 10


def diff(chat: "Chat", arguments: str) -> None:
    """What the last turn changed, the last N, or the session."""
    turns = None if arguments == "session" else _number(arguments or "1")
    checkpoints = _checkpoints(chat)

    def show(text: str) -> None:
        if not text:
            chat.screen.show(chat.screen.renderer().note("No file was changed, or all are as they were before."))
        for piece in chat.screen.renderer().quote(harmless(text)) if text else ():
            chat.screen.show(piece)

    chat.aside(lambda: checkpoints.diff(turns), show)


def rollback(chat: "Chat", arguments: str) -> None:
    """Put files back as they were before the last turn, or the last N; all of them, or one."""
    first, _, rest = arguments.partition(" ")
    turns, file = (_number(first), rest.strip()) if first.isdecimal() else (1, arguments)
    checkpoints = _checkpoints(chat)
    chat.aside(lambda: checkpoints.plan(turns, file=file), lambda plan: _ask(chat, checkpoints, plan))


def _ask(chat: "Chat", checkpoints: "Checkpoints", plan: "Plan") -> None:
    skipped = [f"  not saved: {what}" for what in plan.skipped[:FILES_SHOWN]]
    if not plan.restores:
        raise HermesError("There is nothing to put back.", hint=" ".join(skipped))
    edited = {restore.path for restore in plan.edited}
    names = [f"  {_name(chat, item.path)}{'  (edited since)' * (item.path in edited)}" for item in plan.restores]
    more = [f"  and {len(names) - FILES_SHOWN} more"] if len(names) > FILES_SHOWN else []
    count = len(plan.restores)
    head = f"Put {count} file{'s' * (count != 1)} back as before “{plan.records[0].prompt}”?"
    options = {"y": "yes", "n": "no"}
    if edited:
        options = {"k": "yes, but keep what was edited since", "o": "overwrite that, too", "n": "no"}

    def settle(letter: str, _words: str) -> None:
        if letter != "n":
            chat.aside(
                lambda: checkpoints.roll_back(plan, overwrite=letter == "o"),
                lambda done: chat.screen.show(chat.screen.renderer().note(_told(chat, done))),
            )

    chat.ask(Question([head, *names[:FILES_SHOWN], *more, *skipped], options, "n", settle, about="rollback"))


def _told(chat: "Chat", done: "list[Path]") -> str:
    names = ", ".join(_name(chat, path) for path in done[:FILES_SHOWN])
    return (
        f"Put back: {names}{' …' * (len(done) > FILES_SHOWN)}. The conversation stays." if done else "Nothing changed."
    )


def _name(chat: "Chat", path: "Path") -> str:
    root = chat.cwd.resolve()
    return harmless(path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path))


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise HermesError(f"{text!r} is no number of turns.")
    return int(text)


def _checkpoints(chat: "Chat") -> "Checkpoints":
    from agent.checkpoints import Checkpoints

    if not chat.conversation:
        raise HermesError("Nothing was done in this session yet.")
    return Checkpoints(chat.config.dirs.state, chat.conversation, chat.cwd)
