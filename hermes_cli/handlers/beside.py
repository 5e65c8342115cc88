"""/btw: a question about the conversation that does not become part of it."""

import threading
from typing import TYPE_CHECKING

from agent.cancel import CancelToken
from agent.commands import preview
from agent.errors import Cancelled, HermesError

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

TITLE = 60
"""Characters of a question above its answer."""


def btw(chat: "Chat", arguments: str) -> None:
    if not arguments:
        raise HermesError("Usage: /btw <question>", hint="Example: /btw which file was that in?")
    cancel = CancelToken()
    chat.beside.append(cancel)
    threading.Thread(target=_ask, args=(chat, arguments, cancel), daemon=True, name="btw").start()
    chat.screen.show(
        chat.screen.renderer().note(f"Asked beside the conversation; {chat.screen.stop_key} takes it back.")
    )


def _ask(chat: "Chat", question: str, cancel: CancelToken) -> None:
    """On a thread of its own: a turn may run meanwhile."""
    answer, error, hint = "", "", ""
    try:
        answer = chat.ask_beside(question, cancel)
    except Cancelled:
        error = "The question was taken back."
    except HermesError as failure:
        error, hint = chat.cleaned(str(failure)), failure.hint

    def over() -> None:
        chat.beside.remove(cancel)
        if error:
            chat.complain(error, hint)
            return
        head = f"by the way · {preview(question, TITLE)}"
        chat.screen.notify(
            lambda: chat.screen.renderer().panel(head, answer or "(no text)", "not part of the conversation"),
            urgent=False,
        )

    chat.post(over)
