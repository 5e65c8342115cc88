"""The agent looks up what was said before: by the same person or in the same chat, and nowhere else."""

from pathlib import Path

import msgspec
import pytest

from agent.approvals import Gatekeeper, Policy, nobody
from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.messages import Message
from agent.models.scripted import Call, ScriptedModel
from agent.protocols import Store, ToolContext, ToolResult
from agent.records import TASK_SOURCE
from agent.redact import Redactor
from agent.store.memory import MemoryStore
from agent.store.sqlite import SqliteStore
from agent.tools.session_search import AT_THE_MACHINE, SessionSearch, SessionSearchArguments, sources_for
from run_agent import AIAgent


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "s.db")


def talk(store: Store, name: str, *texts: str, source: str = "terminal", parent: str = "") -> None:
    store.create_session(name, source=source, parent=parent)
    for number, text in enumerate(texts):
        store.append(name, Message("assistant" if number % 2 else "user", text))


def look(store: Store, sources: tuple[str, ...] = AT_THE_MACHINE, *, secrets: tuple[str, ...] = (), **arguments):
    tool = SessionSearch(store, sources, current=lambda: "now")
    args = msgspec.convert(arguments, SessionSearchArguments)
    context = ToolContext(Path.cwd(), redact=Redactor(secrets))
    tool.plan(args, context)
    found: ToolResult = tool.run(args, context, CancelToken())
    return found


def test_what_was_said_before_is_found_with_where_it_is_and_not_what_is_said_now(store: Store) -> None:
    talk(store, "old", "The needle is blue.", "Noted.")
    talk(store, "scripted", "A needle, too.", source="print")
    talk(store, "now", *["Where is the needle?"] * 30)
    found = look(store, query="needle", limit=2)
    assert found.summary == "2 messages"
    newest, oldest = found.display.split("\n")
    assert newest.startswith("scripted 1 · 20")
    assert oldest.endswith("· The needle is blue. · user: The needle is blue.")
    assert found.content == found.display
    assert not found.own
    assert look(store, query="haystack").content == "[nothing was found]"


def test_the_messages_around_a_hit_can_be_read(store: Store) -> None:
    talk(store, "old", *(f"line {number} " + "x" * 3_000 * (number == 5) for number in range(1, 12)))
    found = look(store, session="old", number=5).display
    assert [part.split()[0] for part in found.split("\n\n")[1:]] == ["2", "3", "4", "5", "6", "7", "8"]
    assert "\n\n5 user: line 5 xxx" in found
    assert "xxx…\n\n6 assistant: line 6" in found
    assert len(found) < 2_000


@pytest.mark.parametrize("arguments", [{}, {"query": " "}, {"query": "x", "session": "old"}])
def test_it_is_either_a_search_or_a_look(store: Store, arguments: dict[str, str]) -> None:
    with pytest.raises(ToolError, match="either a query"):
        look(store, **arguments)


def test_what_others_said_is_neither_found_nor_read(store: Store) -> None:
    talk(store, "mine", "needle", source="telegram:1")
    talk(store, "theirs", "needle", source="telegram:2")
    talk(store, "local", "needle")
    talk(store, "aside", "needle", source=TASK_SOURCE)
    assert [line.split()[0] for line in look(store, ("telegram:1",), query="needle").display.split("\n")] == ["mine"]
    assert [line.split()[0] for line in look(store, query="needle").display.split("\n")] == ["local"]
    for name in ("theirs", "local", "aside", "nowhere"):
        with pytest.raises(ToolError, match="no session"):
            look(store, ("telegram:1",), session=name)
    with pytest.raises(ToolError, match="has 1 messages, and no number 2"):
        look(store, session="local", number=2)


def test_a_secret_is_shown_neither_whole_nor_cut(store: Store) -> None:
    secret = "hunter2-" * 30
    talk(store, "old", f"needle {'y' * 60} {secret} end")
    for found in (look(store, secrets=(secret,), query="needle"), look(store, secrets=(secret,), session="old")):
        assert "hunter2" not in found.display + found.content
    assert look(store, secrets=(secret,), query="needle").display.endswith("· user: [redacted]")


def test_a_task_may_search_what_the_conversation_that_sent_it_may(store: Store) -> None:
    talk(store, "chat", source="telegram:1")
    talk(store, "task", source=TASK_SOURCE, parent="chat")
    talk(store, "compacted", source=TASK_SOURCE, parent="task")
    talk(store, "alone", source=TASK_SOURCE)
    assert sources_for(store, store.session("compacted"), TASK_SOURCE) == ("telegram:1",)
    assert sources_for(store, store.session("alone"), TASK_SOURCE) == ()
    assert sources_for(store, None, TASK_SOURCE) == ()
    assert sources_for(store, None, "print") == AT_THE_MACHINE


def test_an_agent_searches_unasked_and_within_its_source_whatever_it_is_told_to_be(tmp_path: Path) -> None:
    store = MemoryStore()
    talk(store, "before", "The needle is blue.")
    talk(store, "chat", source="telegram:1")
    model = ScriptedModel([Call("session_search", query="needle"), "Blue."])
    gate = Gatekeeper(Policy("plan"), nobody, session_id="s")
    with AIAgent(model=model, store=store, cwd=tmp_path, gate=gate) as agent:
        agent.run_turn("which needle?")
    assert "The needle is blue." in model.requests[1].messages[-1].content
    model = ScriptedModel([Call("session_search", query="needle"), "None."])
    with AIAgent(model=model, store=store, cwd=tmp_path, gate=gate, session_id="chat", source=TASK_SOURCE) as agent:
        agent.run_turn("which needle?")
    assert model.requests[1].messages[-1].content == "[nothing was found]"
    with AIAgent(model=ScriptedModel(["x"]), store=store, cwd=tmp_path, source=TASK_SOURCE) as alone:
        assert "session_search" not in [tool.name for tool in alone.tool_specs]
