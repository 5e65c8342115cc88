"""Commands that leave this conversation for another. None is ever changed: going back makes a branch."""

from typing import TYPE_CHECKING

from agent.errors import HermesError
from hermes_cli import resuming, rewinding
from hermes_cli.sessions import exchanges, find, offered

if TYPE_CHECKING:
    from hermes_cli.chat import Chat


def undo(chat: "Chat", arguments: str) -> None:
    """Back to before the last prompt, or the last N; it becomes the draft."""
    if arguments and (not arguments.isdecimal() or not int(arguments)):
        raise HermesError(f"{arguments!r} is no number.", hint="/undo 2 takes back the last two exchanges.")
    _back(chat, int(arguments or 1), lambda prompt: chat.screen.draft(prompt.content))


def rewind(chat: "Chat", arguments: str) -> None:
    """Back to before a prompt, picked or the last but so many: the conversation, the files, or both."""
    if arguments and (not arguments.isdecimal() or not int(arguments)):
        raise HermesError(f"{arguments!r} is no number.", hint="/rewind 2 goes back to before the last prompt but one.")
    rewinding.rewind(chat, int(arguments or 0))


def retry(chat: "Chat", arguments: str) -> None:
    """The last prompt once more; with words, those instead of it."""
    _back(chat, 1, lambda prompt: chat.send(arguments or prompt.content))


def _back(chat: "Chat", number: int, then: "resuming.Then") -> None:
    said = exchanges(chat.store.messages(chat.conversation)) if chat.conversation else []
    if not said:
        raise HermesError("Nothing was said yet.")
    if number > len(said):
        raise HermesError(f"There are only {len(said)} prompts in this conversation.", hint="/rewind lists them.")
    resuming.back_to(chat, said[-number].at, then)


def branch(chat: "Chat", arguments: str) -> None:
    if not chat.conversation:
        raise HermesError("Nothing was said yet that could be branched.")
    resuming.branch(chat, arguments)


def resume(chat: "Chat", arguments: str) -> None:
    """Go on with another session: named, or picked."""
    if arguments:
        several = find(chat.store, arguments)
        if len(several) == 1:
            _resume_other(chat, several[0].id)
            return
    else:
        several = [one for one in offered(chat.store, chat.cwd) if one.id != chat.conversation]
        if not several:
            raise HermesError("There is no other session yet.")
    resuming.pick(chat, several)


def _resume_other(chat: "Chat", session_id: str) -> None:
    session = chat.store.session(session_id)
    if session is None or session_id == chat.conversation:
        raise HermesError("That is this conversation.")
    resuming.resume(chat, session)
