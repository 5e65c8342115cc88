"""Commands about the conversation itself."""

import time
from typing import TYPE_CHECKING

from rich.text import Text

from agent.errors import HermesError
from agent.money import dollars
from hermes_cli.text import count, seconds

if TYPE_CHECKING:
    from hermes_cli.chat import Chat


def new(chat: "Chat", arguments: str) -> None:
    del arguments
    old = chat.conversation
    chat.new_session()
    back = f" The old one: /resume {old}" if old else ""
    chat.screen.show(chat.screen.renderer().note(f"A new conversation. Background tasks go on.{back}"))


def clear(chat: "Chat", arguments: str) -> None:
    del arguments
    chat.screen.clear()


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
    if not chat.stop():
        raise HermesError("No turn is running.", hint="/tasks stop N stops a background task.")


def status(chat: "Chat", arguments: str) -> None:
    del arguments
    tasks, live = chat.background.all(), chat.background.live()
    parked = sum(task.state == "parked" for task in live)
    turn = f"{chat.turn.activity}, {seconds(time.monotonic() - chat.turn.started)}" if chat.turn else "none"
    choice = chat.model.choice
    row = chat.store.session(chat.conversation) if chat.conversation else None
    rows = [
        ("model", f"{chat.model.name or 'not known yet'} ({choice.provider})" if choice else "being looked for"),
        ("answered by", chat.model.stepped_in),
        ("endpoint", choice.base_url if choice and choice.base_url else "built in" if choice else ""),
        ("directory", str(chat.cwd)),
        ("session", chat.conversation or "begins with the first message"),
        ("title", row.title if row else ""),
        ("branched from", row.parent if row else ""),
        ("approvals", chat.policy.mode),
        ("turn", turn),
        ("queued", str(len(chat.steering) + len(chat.queued))),
        ("tasks", f"{len(live) - parked} live, {parked} parked, {len(tasks)} in all"),
        ("tokens", f"{count(chat.usage.input_tokens)} in, {count(chat.usage.output_tokens)} out"),
        ("cost", dollars(chat.usage.cost) if chat.usage.cost is not None else "unknown"),
    ]
    chat.screen.show(
        "\n" + chat.screen.renderer().table([(Text(name, "cyan"), Text(value)) for name, value in rows if value])
    )


def quit(chat: "Chat", arguments: str) -> None:
    del arguments
    chat.leaving.ask()
