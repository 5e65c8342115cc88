"""The agent's list: taken whole, read back from the conversation, wrong calls change nothing."""

import json
from collections.abc import Callable

import pytest

from agent.messages import Message, ToolCall
from agent.protocols import ToolResult
from agent.store.memory import MemoryStore
from agent.tools.todo import TodoItem, items_in, last_list


def listed(*states: str) -> list[dict[str, str]]:
    return [{"text": f"step {number}", "state": state} for number, state in enumerate(states, 1)]


def test_a_call_tells_how_far_it_is_and_what_is_being_done(call: Callable[..., ToolResult]) -> None:
    result = call("todo", items=listed("done", "doing", "open"))
    assert result.content == "Kept: 1 of 3 done."
    assert result.summary == "step 2"
    assert result.display == "[x] step 1\n[>] step 2\n[ ] step 3"
    assert call("todo", items=[]).content == "Kept: an empty list."


@pytest.mark.parametrize(
    "arguments", ["", "{", '{"items": [{"text": ""}]}', '{"items": [{}]}', '{"items": 1}', "\ud800"]
)
def test_arguments_that_do_not_fit_are_no_list(arguments: str) -> None:
    assert items_in(arguments) is None


def calling(*items: dict[str, str]) -> Message:
    return Message("assistant", "", (ToolCall("c", "todo", json.dumps({"items": items})),))


def test_the_last_list_of_a_conversation_is_found_also_when_it_was_made_shorter_since() -> None:
    store = MemoryStore()
    store.create_session("s", source="terminal")
    assert last_list(store, "s") == ()
    for message in (calling(*listed("open")), calling(*listed("doing")), Message("assistant", "Well.")):
        store.append("s", message)
    store.append("s", Message("assistant", "", (ToolCall("c", "todo", "not JSON"),)))
    child = store.continue_session("s", [Message("system", "x"), Message("user", "a summary")])
    assert last_list(store, child) == (TodoItem("step 1", "doing"),)
    store.append(child, calling())
    assert last_list(store, child) == ()
