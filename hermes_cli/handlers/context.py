"""Commands about the room a conversation takes, and what it costs."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.text import Text

from agent.context import Gauge, Part, parts, size_of_tools
from agent.errors import HermesError
from agent.messages import Usage
from agent.models import portable
from agent.money import dollars
from agent.prompt import own_part
from agent.records import Session, UsageRow
from hermes_cli.text import clip, count

if TYPE_CHECKING:
    from hermes_cli.chat import Chat
    from hermes_cli.render import Renderer

BAR = 20
"""Columns of the longest bar."""
DAYS = 30
"""How far back `/usage` looks for models."""


def context(chat: "Chat", arguments: str) -> None:
    """What takes up the model's window."""
    del arguments
    agent, conversation, window = chat.agent, chat.conversation, chat.model.window
    if not conversation:
        room = f"The model's window holds {count(window)} tokens." if window else "The model's window is unknown."
        chat.screen.show(chat.screen.renderer().note(f"The conversation begins with the first message. {room}"))
        return

    def measure() -> list[Part]:
        messages = chat.store.messages(conversation)
        gauge = agent.gauge if agent else _estimating(chat.store.session(conversation))
        return parts(messages, gauge, own=own_part(messages[0].content) if messages else "", window=window)

    chat.aside(measure, lambda found: chat.screen.show(_context_table(chat, found, window)))


def _estimating(session: Session | None) -> Gauge:
    """For a conversation that was resumed, and nothing asked in it yet."""
    return Gauge(size_of_tools(portable.tools(session.settings)) if session else 0)


def _context_table(chat: "Chat", found: list[Part], window: int) -> str:
    renderer, glyphs = chat.screen.renderer(), chat.screen.glyphs
    total = sum(part.tokens for part in found if part.name != "free")
    whole = max(window or total, 1)
    rows = []
    for part in found:
        share = part.tokens / whole
        full = min(BAR, max(round(share * BAR), 1 if part.tokens else 0))
        bar = glyphs.full * full + glyphs.empty * (BAR - full)
        sign = "~" if part.estimated and part.tokens else ""
        figures = (Text(f"{sign}{count(part.tokens)}"), Text(f"{share:.0%}"), Text(bar, "dim"))
        rows.append((Text(part.name, "cyan"), *figures))
    line = f"{count(total)} of {count(window)} tokens" if window else f"{count(total)} tokens; the window is unknown"
    notes = ["~ estimated" if any(part.estimated for part in found) else ""]
    if window and chat.config.values.compact:
        at = round(window * chat.config.values.compact_at)
        notes.append(f"summarised by itself at {count(at)}, now by /compress")
    line = f" {glyphs.dot} ".join([line, *(note for note in notes if note)])
    return "\n" + renderer.table(rows) + renderer.note(line)


def usage(chat: "Chat", arguments: str) -> None:
    """Tokens and cost of the session, of today, and of each model."""
    del arguments
    today = time.strftime("%Y-%m-%d")
    since = time.strftime("%Y-%m-%d", time.localtime(time.time() - DAYS * 86_400))
    conversation = chat.conversation

    def read() -> tuple[list[UsageRow], list[UsageRow]]:
        return chat.store.usage(session_id=conversation) if conversation else [], chat.store.usage(since=since)

    chat.aside(read, lambda rows: chat.screen.show(_usage_table(chat.screen.renderer(), *rows, today)))


def _usage_table(renderer: "Renderer", own: list[UsageRow], found: list[UsageRow], today: str) -> str:
    lines = [("this session", _sum(own)), ("today", _sum(row for row in found if row.day == today))]
    models = dict.fromkeys(row.model for row in reversed(found))
    lines += [(model, _sum(row for row in found if row.model == model)) for model in models]
    rows = []
    for number, (name, spent) in enumerate(lines):
        cost = dollars(spent.cost) if spent.cost is not None else "unknown" if spent != Usage() else ""
        tokens = (spent.input_tokens, spent.cached_tokens, spent.output_tokens, spent.reasoning_tokens)
        style = "" if number < 2 else "dim"
        rows.append((Text(clip(name, 40), "cyan"), *(Text(count(each), style) for each in tokens), Text(cost, style)))
    table = renderer.table(rows, ("", "in", "cached", "out", "reasoning", "cost"))
    note = f"Models: the last {DAYS} days, tasks included. Cached is part of in, reasoning part of out."
    return "\n" + table + renderer.note(note)


def _sum(rows: Iterable[UsageRow]) -> Usage:
    return sum((row.usage for row in rows), Usage())


def compress(chat: "Chat", arguments: str) -> None:
    """Summarise the conversation and go on in a new session; the words after the command say what matters."""
    if not chat.conversation:
        raise HermesError("There is nothing to compress.", hint="/context shows what takes the room.")
    chat.compress(arguments)
