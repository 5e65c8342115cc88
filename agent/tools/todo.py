"""The list of what is to be done. It is kept nowhere but in the conversation: the last call holds all of it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from agent.cancel import CancelToken
from agent.messages import Message
from agent.protocols import Action, ToolContext, ToolResult
from agent.records import SessionStore
from agent.tools.prose import prose

ANCESTORS = 20
"""Sessions gone back through: a conversation that was made shorter may have lost the call."""


class TodoItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: Annotated[str, Meta(min_length=1, max_length=200)]
    state: Literal["open", "doing", "done"] = "open"


class TodoArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    items: Annotated[tuple[TodoItem, ...], Meta(max_length=40, description="The whole list, in order.")]


class Todo:
    """Takes a list; whoever shows it reads the call. See `items_in`."""

    name = "todo"
    arguments = TodoArguments

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: TodoArguments, context: ToolContext) -> Action:
        # It touches nothing.
        return Action("read", progress(args.items), (context.cwd,))

    def preview(self, args: TodoArguments, context: ToolContext) -> str:
        del args, context
        return ""

    def run(self, args: TodoArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        del context
        cancel.raise_if_cancelled()
        doing = next((item.text for item in args.items if item.state == "doing"), "")
        signs = {"open": "[ ]", "doing": "[>]", "done": "[x]"}
        shown = "\n".join(f"{signs[item.state]} {item.text}" for item in args.items)
        return ToolResult(f"Kept: {progress(args.items)}.", summary=doing, display=shown, own=True)


def progress(items: tuple[TodoItem, ...]) -> str:
    if not items:
        return "an empty list"
    return f"{sum(item.state == 'done' for item in items)} of {len(items)} done"


def items_in(arguments: str) -> tuple[TodoItem, ...] | None:
    """The list in a call's arguments, None when they do not fit: such a call changes nothing."""
    try:
        return msgspec.json.decode(arguments, type=TodoArguments).items
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


def last_list(store: SessionStore, session_id: str) -> tuple[TodoItem, ...]:
    """The list as a stored conversation left it. Raises: StoreError."""
    for _ in range(ANCESTORS):
        if (found := _last(store.messages(session_id))) is not None:
            return found
        row = store.session(session_id)
        if row is None or not row.parent:
            break
        session_id = row.parent
    return ()


def _last(messages: Iterable[Message]) -> tuple[TodoItem, ...] | None:
    for message in reversed(list(messages)):
        for call in reversed(message.tool_calls):
            if call.name == Todo.name and (items := items_in(call.arguments)) is not None:
                return items
    return None


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = Todo()
