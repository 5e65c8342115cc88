"""/handoff: the conversation goes on in a chat, and comes back."""

from typing import TYPE_CHECKING

from agent.errors import HermesError
from agent.handoff import TERMINAL, Handoffs, alone_in, direct_chats
from agent.store.leases import is_alive
from hermes_cli.sessions import exchanges
from hermes_cli.text import shortened

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

RECAP, RECAP_LINES, RECAP_LENGTH = 2, 6, 350
"""Exchanges that the chat is shown, and lines and characters of each part."""


def handoff(chat: "Chat", arguments: str) -> None:
    """Have the conversation wait in a chat, and begin another here."""
    tables = [name for name, table in chat.config.values.gateway.items() if isinstance(table, dict) and name != "voice"]
    if not arguments or arguments.strip().lower() == TERMINAL:
        what = "This is the terminal." if arguments else "Usage: /handoff <platform>[:chat]"
        raise HermesError(what, hint=f"Set up: {', '.join(tables) or 'none; hermes gateway setup'}")
    if not chat.conversation:
        raise HermesError("Nothing was said yet that could be handed over.")
    session_id, handoffs = chat.conversation, Handoffs(chat.store, is_alive)
    chat.hold()

    def work() -> str:
        address = handoffs.place(arguments, tables)
        _require_somebody(chat, address)
        handoffs.send(session_id, address, terminal=chat.owner, said=_last_words(chat, session_id))
        return address

    def then(address: str) -> None:
        chat.new_session()
        chat.returns.expect()
        back = f"Back: /handoff terminal there, or /resume {session_id} here."
        text = f"Handed to {address}: the next message there goes on with it. {back} This is a new conversation."
        chat.screen.show(chat.screen.renderer().note(text))
        chat.release(keep=False)

    chat.aside(work, then, failed=lambda: chat.release(keep=False))


def _require_somebody(chat: "Chat", address: str) -> None:
    """May wait for the store. Raises: HermesError where nobody could go on with it."""
    platform = address.partition(":")[0]
    alone = alone_in(address, direct_chats(chat.store, platform))
    admins = chat.config.values.gateway.get(platform, {}).get("admins")
    if admins and alone and not alone & {str(one).strip() for one in admins}:
        hint = f"/handoff {platform} takes its home chat."
        raise HermesError(f"Only an admin may go on with it, and {address} is the chat of somebody else.", hint=hint)
    if not admins:
        hint = f'Name yourself in config.toml: [gateway.{platform}] admins = ["your id"], and start the gateway again.'
        raise HermesError(f"Only an admin may go on with it in {platform}, and there is none.", hint=hint)


def _last_words(chat: "Chat", session_id: str) -> str:
    lines = []
    for one in exchanges(chat.store.messages(session_id))[-RECAP:]:
        lines += [f"› {_cut(one.prompt)}", *([f"● {_cut(one.answer)}"] if one.answer else [])]
    return "\n\n".join(lines)


def _cut(text: str) -> str:
    # Without fences: one that the cut leaves open would take in all that follows.
    lines = [line for line in text.strip().split("\n") if not line.lstrip().startswith("```")]
    text = shortened("\n".join(lines), RECAP_LINES)
    return text if len(text) <= RECAP_LENGTH else f"{text[:RECAP_LENGTH]}…"
