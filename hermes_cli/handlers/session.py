"""Commands about the conversation itself."""

import time
from typing import TYPE_CHECKING

from rich.text import Text

from agent.errors import HermesError
from hermes_cli.text import count, money, seconds

if TYPE_CHECKING:
    from hermes_cli.chat import Chat


def new(chat: "Chat", arguments: str) -> None:
    del arguments
    chat.new_session()
    chat.screen.show(chat.screen.renderer().note("A new conversation. Background tasks go on."))


def clear(chat: "Chat", arguments: str) -> None:
    del arguments
    chat.screen.clear()


def history(chat: "Chat", arguments: str) -> None:
    if arguments and not arguments.isdecimal():
        raise HermesError(f"{arguments!r} is no number.", hint="/history 5 shows the last five exchanges.")
    messages = [m for m in chat.store.messages(chat.conversation) if m.role in ("user", "assistant") and m.content]
    if not messages:
        chat.screen.show(chat.screen.renderer().note("Nothing was said yet."))
        return
    starts = [number for number, message in enumerate(messages) if message.role == "user"]
    first = starts[-int(arguments) :][0] if arguments and int(arguments) else 0
    renderer = chat.screen.renderer()
    for message in messages[first:]:
        shown = renderer.person(message.content) if message.role == "user" else renderer.answer(message.content)
        chat.screen.show(shown)


def queue(chat: "Chat", arguments: str) -> None:
    if not arguments:
        raise HermesError("Usage: /queue <prompt>", hint="Example: /queue now run the tests")
    chat.queue(arguments)


def steer(chat: "Chat", arguments: str) -> None:
    if not arguments:
        raise HermesError("Usage: /steer <text>", hint="Example: /steer use tabs, not spaces")
    chat.send(arguments)


def stop(chat: "Chat", arguments: str) -> None:
    del arguments
    if not chat.interrupt():
        raise HermesError("No turn is running.", hint="/tasks stop N stops a background task.")


def status(chat: "Chat", arguments: str) -> None:
    del arguments
    live = chat.background.live()
    turn = f"{chat.turn.activity}, {seconds(time.monotonic() - chat.turn.started)}" if chat.turn else "none"
    choice = chat.model.choice
    rows = [
        ("model", f"{choice.model} ({choice.provider})" if choice else "being looked for"),
        ("endpoint", choice.base_url if choice and choice.base_url else "built in" if choice else ""),
        ("directory", str(chat.cwd)),
        ("session", chat.conversation or "begins with the first message"),
        ("approvals", chat.policy.mode),
        ("turn", turn),
        ("queued", str(len(chat.steering) + len(chat.queued))),
        ("tasks", f"{len(live)} live, {len(chat.background.all())} in all"),
        ("tokens", f"{count(chat.usage.input_tokens)} in, {count(chat.usage.output_tokens)} out"),
        ("cost", money(chat.usage.cost) if chat.usage.cost is not None else "unknown"),
    ]
    chat.screen.show("\n" + chat.screen.renderer().table([(Text(name, "cyan"), Text(value)) for name, value in rows]))


def quit(chat: "Chat", arguments: str) -> None:
    del arguments
    chat.leave()
