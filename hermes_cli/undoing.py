"""Putting files back as they were: what would change is shown, and what the person edited since is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import HermesError
from hermes_cli.questions import Question
from hermes_cli.text import harmless

if TYPE_CHECKING:
    from agent.checkpoints import Plan
    from agent.undo import Undo
    from hermes_cli.chat import Chat

FILES_SHOWN = 10

Then = Callable[[], None]


def listed(chat: "Chat", plan: "Plan") -> list[str]:
    """The files that would be put back, and what was never saved: a line each, not too many."""
    edited = {restore.path for restore in plan.edited}
    names = [f"  {_name(chat, item.path)}{'  (edited since)' * (item.path in edited)}" for item in plan.restores]
    more = [f"  and {len(names) - FILES_SHOWN} more"] if len(names) > FILES_SHOWN else []
    folders = [f"  {len(plan.folders)} empty folder{'s' * (len(plan.folders) != 1)}"] if plan.folders else []
    return [*names[:FILES_SHOWN], *more, *folders, *(f"  not saved: {what}" for what in plan.skipped[:FILES_SHOWN])]


def counted(plan: "Plan") -> str:
    return f"{len(plan.restores)} file{'s' * (len(plan.restores) != 1)}"


def offer(chat: "Chat", undo: "Undo", plan: "Plan") -> None:
    """Put the files back when the person agrees; what was edited since only when told so. Raises: HermesError."""
    if not plan.restores and not plan.folders:
        raise HermesError("There is nothing to put back.", hint=" ".join(listed(chat, plan)))
    head = f"Put {counted(plan)} back as before “{plan.records[0].prompt}”?"
    options = {"y": "yes", "n": "no"}
    if plan.edited:
        options = {"k": "yes, but keep what was edited since", "o": "overwrite that, too", "n": "no"}

    def settle(letter: str, _words: str) -> None:
        if letter != "n":
            put_back(chat, undo, plan, overwrite=letter == "o")

    chat.ask(Question([head, *listed(chat, plan)], options, "n", settle, about="rollback"))


def put_back(chat: "Chat", undo: "Undo", plan: "Plan", *, overwrite: bool, then: Then | None = None) -> None:
    """Do it, say which, and `then` what follows; without one the conversation stays, and that is said."""

    def done(paths: list[Path]) -> None:
        names = ", ".join(_name(chat, path) for path in paths[:FILES_SHOWN])
        stays = "" if then else " The conversation stays."
        text = f"Put back: {names}{' …' * (len(paths) > FILES_SHOWN)}.{stays}" if paths else "No file was changed."
        chat.screen.show(chat.screen.renderer().note(text))
        if then:
            then()

    chat.aside(lambda: undo.roll_back(plan, overwrite=overwrite), done, failed=lambda: chat.release(keep=False))


def _name(chat: "Chat", path: Path) -> str:
    root = chat.cwd.resolve()
    return harmless(path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path))
