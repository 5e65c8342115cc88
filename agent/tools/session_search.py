"""Looking for what was said before, in the sessions of the same person or chat."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.lineage import lineage
from agent.messages import Message
from agent.protocols import Action, Redact, ToolContext, ToolResult
from agent.records import TASK_SOURCE, Hit, Session, SessionStore
from agent.redact import REDACTED
from agent.tools.output import printable
from agent.tools.prose import prose

AT_THE_MACHINE = ("terminal", "print")
"""Sources of the sessions that the person had here, who owns the store."""

AROUND = 3
"""Messages shown on each side of the one that was asked for."""
SHOWN = 1_500
"""Characters of each."""


class SessionSearchArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    query: Annotated[str, Meta(max_length=400, description="Words that one message holds.")] = ""
    limit: Annotated[int, Meta(ge=1, le=50, description="Most messages to find.")] = 10
    session: Annotated[str, Meta(max_length=200, description="To read in: the id of a session.")] = ""
    number: Annotated[int, Meta(ge=1, description="To read in: the number of a message.")] = 1


class SessionSearch:
    """Finds messages in sessions of `sources`, and of nobody else; not in the one that `current` names."""

    name = "session_search"
    arguments = SessionSearchArguments

    def __init__(self, store: SessionStore, sources: Sequence[str], *, current: Callable[[], str]) -> None:
        self._store = store
        self._sources = tuple(sources)
        self._current = current

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: SessionSearchArguments, context: ToolContext) -> Action:
        if bool(args.query.strip()) == bool(args.session):
            raise ToolError("Give either a query, or a session (and number) to read in.")
        # It was said to this very agent: looking it up is free.
        return Action("read", args.query or f"{args.session} {args.number}", (context.cwd,))

    def preview(self, args: SessionSearchArguments, context: ToolContext) -> str:
        del args, context
        return ""

    def run(self, args: SessionSearchArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        cancel.raise_if_cancelled()
        if args.session:
            found = self._read(args.session, args.number, context.redact)
            return ToolResult(found, summary="read", display=found)
        # What is said now is before the model's eyes, and one's own question would be the first hit.
        hits = self._store.search(args.query, limit=args.limit, sources=self._sources, besides=self._current())
        if not hits:
            return ToolResult("[nothing was found]", summary="nothing found", own=True)
        found = "\n".join(self._line(hit, context.redact) for hit in hits)
        return ToolResult(found, summary=f"{len(hits)} message{'s' * (len(hits) != 1)}", display=found)

    def _line(self, hit: Hit, redact: Redact) -> str:
        # The cut may go through a secret: then its line is not found in the text without secrets.
        messages = self._store.messages(hit.session_id)[hit.number - 1 : hit.number]
        whole = "".join(message.content for message in messages)
        snippet = hit.snippet if hit.snippet.strip("…") in _one_line(redact(whole)) else REDACTED
        head = f"{hit.session_id} {hit.number} · {_day(hit.at)} · {redact(hit.title) or 'untitled'} · {hit.role}"
        return printable(f"{head}: {snippet}")

    def _read(self, session_id: str, number: int, redact: Redact) -> str:
        """Raises: ToolError."""
        row = self._store.session(session_id)
        if row is None or row.source not in self._sources:
            raise ToolError(f"There is no session {session_id!r} here. Take an id that a search gave.")
        messages = self._store.messages(session_id)
        if number > len(messages):
            raise ToolError(f"That session has {len(messages)} messages, and no number {number}.")
        around = range(max(number - AROUND, 1), min(number + AROUND, len(messages)) + 1)
        parts = [_told(each, messages[each - 1], redact) for each in around if messages[each - 1].role != "system"]
        return "\n\n".join([f"{row.title or 'untitled'} ({_day(row.updated)})", *parts])


def _told(number: int, message: Message, redact: Redact) -> str:
    text = message.content or f"(calls {', '.join(call.name for call in message.tool_calls)})"
    cut = "…" if len(text) > SHOWN else ""
    return f"{number} {message.role}: {printable(redact.part(text, 0, min(len(text), SHOWN)))}{cut}"


def _one_line(text: str) -> str:
    """As the store makes a line of a text."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))


def sources_for(store: SessionStore, session: Session | None, source: str) -> tuple[str, ...]:
    """The sources that the agent of a session may search; none for a task that took no conversation along."""
    found = source
    if session is not None:
        found = next((one.source for one in lineage(store, session.id) if one.source != TASK_SOURCE), TASK_SOURCE)
    if found in AT_THE_MACHINE:
        return AT_THE_MACHINE
    return () if found == TASK_SOURCE else (found,)


if TYPE_CHECKING:
    from agent.protocols import Tool
    from agent.store.memory import MemoryStore

    _: Tool = SessionSearch(MemoryStore(), (), current=str)
