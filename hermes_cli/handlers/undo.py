"""Commands about what was done to files, by this conversation or by a task: see it, undo it."""

from typing import TYPE_CHECKING

from agent.errors import HermesError
from agent.protocols import LIVE_STATES, Task
from hermes_cli import undoing

if TYPE_CHECKING:
    from agent.undo import Undo
    from hermes_cli.chat import Chat


def diff(chat: "Chat", arguments: str) -> None:
    """What the last turn changed, the last N, or the session."""
    turns = None if arguments == "session" else _number(arguments or "1")
    undo = _undo(chat)
    chat.aside(lambda: undo.diff(turns), lambda text: _show(chat, text))


def rollback(chat: "Chat", arguments: str) -> None:
    """Put files back as they were before the last turn, or the last N; all of them, or one."""
    first, _, rest = arguments.partition(" ")
    turns, file = (_number(first), rest.strip()) if first.isdecimal() else (1, arguments)
    _roll_back(chat, _undo(chat), turns, file)


def diff_of_task(chat: "Chat", task: Task) -> None:
    """What a task has changed in the folder it was sent from, while it works, too."""
    undo = _undo_of(chat, task)
    chat.aside(undo.diff, lambda text: _show(chat, text))


def roll_back_task(chat: "Chat", task: Task, file: str) -> None:
    """Put back what a task changed in the folder it was sent from; all of it, or one file or folder."""
    if task.state in LIVE_STATES:
        raise HermesError(f"#{task.number} is not over.", hint=f"Stop it first: /tasks stop {task.number}")
    _roll_back(chat, _undo_of(chat, task), 1, file)


def _roll_back(chat: "Chat", undo: "Undo", turns: int, file: str) -> None:
    chat.aside(lambda: undo.plan(turns, file=file), lambda plan: undoing.offer(chat, undo, plan))


def _show(chat: "Chat", text: str) -> None:
    if not text:
        chat.screen.show(chat.screen.renderer().note("No file was changed, or all are as they were before."))
    for piece in chat.screen.renderer().quote(text) if text else ():
        chat.screen.show(piece)


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise HermesError(f"{text!r} is no number of turns.")
    return int(text)


def _undo(chat: "Chat") -> "Undo":
    from agent import undo

    if not chat.conversation:
        raise HermesError("Nothing was done in this session yet.")
    return undo.of_conversation(chat.store, chat.config.dirs.state, chat.conversation, chat.cwd)


def _undo_of(chat: "Chat", task: Task) -> "Undo":
    from agent import undo

    if (found := undo.of_task(chat.store, chat.config.dirs.state, task)) is None:
        raise HermesError(f"The conversation of #{task.number} is gone, and with it what it changed.")
    return found
