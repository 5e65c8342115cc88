"""Going back to before a prompt: the conversation, the files that were changed since, or both."""

from typing import TYPE_CHECKING

from agent.errors import HermesError
from hermes_cli import undoing
from hermes_cli.picker import Choice, Picker
from hermes_cli.questions import Question
from hermes_cli.resuming import back_to
from hermes_cli.sessions import exchanges
from hermes_cli.text import clip

if TYPE_CHECKING:
    from agent.checkpoints import Plan
    from agent.undo import Undo
    from hermes_cli.chat import Chat


def rewind(chat: "Chat", number: int = 0) -> None:
    """Let the person pick a prompt to go back to, or take the last but so many. Raises: HermesError."""
    said = exchanges(chat.store.messages(chat.conversation)) if chat.conversation else []
    if not said:
        raise HermesError("Nothing was said yet that one could go back to.")
    if number > len(said):
        raise HermesError(f"There are only {len(said)} prompts in this conversation.", hint="/rewind lists them.")
    if number:
        _to(chat, said[-number].at, said[-number].prompt)
        return

    def settle(at: int | None) -> None:
        if at is not None:
            _to(chat, at, next(exchange.prompt for exchange in said if exchange.at == at))

    def row(number: int, prompt: str, at: int) -> Choice[int]:
        return Choice(prompt, (f"{number} back",), at)

    choices = [row(number, exchange.prompt, exchange.at) for number, exchange in enumerate(reversed(said), 1)]
    chat.screen.pick(Picker("Go back to before which prompt?", choices, settle))


def _to(chat: "Chat", at: int, prompt: str) -> None:
    """To before the prompt at `at`; where files were changed since, the person says what goes back."""
    from agent import undo

    session_id, state, cwd = chat.conversation, chat.config.dirs.state, chat.cwd
    chat.hold()

    def look() -> "tuple[Undo, Plan] | HermesError":
        try:
            found = undo.of_conversation(chat.store, state, session_id, cwd, message=at)
            return found, found.plan()
        except HermesError as error:
            return error

    def then(found: "tuple[Undo, Plan] | HermesError") -> None:
        if isinstance(found, HermesError):
            chat.complain(f"Files cannot be put back: {found}", found.hint)
        if isinstance(found, HermesError) or not found[1].restores:
            _leave(chat, at)
            return
        chat.release(keep=False)
        _ask(chat, *found, at, prompt)

    chat.aside(look, then, failed=lambda: chat.release(keep=False))


def _ask(chat: "Chat", undo: "Undo", plan: "Plan", at: int, prompt: str) -> None:
    options = {"b": "both", "c": "the conversation only", "f": "the files only", "n": "nothing"}

    def settle(letter: str, _words: str) -> None:
        if letter != "n" and _too_late(chat):
            return
        if letter == "c":
            _leave(chat, at)
        elif letter != "n":
            _put_back(chat, undo, plan, None if letter == "f" else at)

    short = clip(prompt, 60, chat.screen.glyphs.ellipsis)
    lines = [
        f"{undoing.counted(plan)} changed since “{short}”. What goes back to before it?",
        *undoing.listed(chat, plan),
    ]
    chat.ask(Question(lines, options, "n", settle, about="rewind"))


def _put_back(chat: "Chat", undo: "Undo", plan: "Plan", at: int | None) -> None:
    """The files, and then the conversation where there is a place in it to go back to."""

    def do(*, overwrite: bool) -> None:
        if at is not None:
            chat.hold()
        then = None if at is None else lambda: _leave(chat, at)
        undoing.put_back(chat, undo, plan, overwrite=overwrite, then=then)

    def settle(letter: str, _words: str) -> None:
        if letter != "n" and not _too_late(chat):
            do(overwrite=letter == "o")

    if not plan.edited:
        do(overwrite=False)
        return
    options = {"k": "keep those", "o": "overwrite them, too", "n": "change nothing"}
    lines = ["Some were edited since:", *undoing.listed(chat, plan)]
    # Another subject than the question before it, which still stands.
    chat.ask(Question(lines, options, "n", settle, about="rewind over edits"))


def _too_late(chat: "Chat") -> bool:
    """A question may be answered after something else was sent: then nothing goes back under a turn that runs."""
    if chat.turn is not None:
        chat.complain(
            "A turn runs by now, so nothing was put back.", f"Stop it with {chat.screen.stop_key}, and go back again."
        )
    return chat.turn is not None


def _leave(chat: "Chat", at: int) -> None:
    back_to(chat, at, lambda prompt: chat.screen.draft(prompt.content))
