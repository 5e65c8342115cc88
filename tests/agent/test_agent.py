"""The one door to the agent: a session, its system prompt, its model."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from agent.approvals import Gatekeeper, Policy
from agent.cancel import CancelToken
from agent.config import ModelChoice, Settings
from agent.errors import RefusedError
from agent.events import (
    ApprovalRequested,
    Event,
    StepRestarted,
    StepStarted,
    ToolFinished,
    ToolStarted,
    TurnFinished,
)
from agent.messages import Message
from agent.models import portable
from agent.models.scripted import Call, Fail, Restart, Say, ScriptedModel, Until
from agent.prompt import PROJECT_FILES_LIMIT, build, project_files
from agent.protocols import Decision, Sink
from agent.redact import Redactor
from agent.store.memory import MemoryStore
from run_agent import AIAgent
from tests.support.turns import Note, check_history, check_stream, wait_until

# -- the system prompt -----------------------------------------------------------------------------


def test_the_prompt_says_where_the_agent_works(tmp_path: Path) -> None:
    assert f"Working directory: {tmp_path}" in build(tmp_path)


def test_a_folder_whose_name_has_braces_is_a_folder_like_any_other(tmp_path: Path) -> None:
    folder = tmp_path / "{cwd} {0}"
    folder.mkdir()
    (folder / "AGENTS.md").write_text("Use {braces}.")
    text = build(folder)
    assert str(folder) in text
    assert "Use {braces}." in text


def test_instructions_of_the_project_are_read_from_its_root_down_the_nearest_last(tmp_path: Path) -> None:
    inner = tmp_path / "repo" / "src" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "repo" / ".git").mkdir()
    (tmp_path / "AGENTS.md").write_text("outside the repository")
    (tmp_path / "repo" / "AGENTS.md").write_text("of the root")
    (tmp_path / "repo" / "CLAUDE.md").write_text("not read beside AGENTS.md")
    (tmp_path / "repo" / "src" / "CLAUDE.md").write_text("of src")
    (inner / "AGENTS.md").write_text("of deep")
    text = build(inner)
    assert text.index("of the root") < text.index("of src") < text.index("of deep")
    assert "outside" not in text
    assert "not read" not in text


def test_instructions_edited_between_two_sessions_are_seen_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    file = tmp_path / "AGENTS.md"
    seen = []
    for text in ("Use tabs.", "Use spaces.", "Use colons."):
        file.write_text(text)
        seen.append(build(tmp_path).endswith(text))
    file.unlink()
    (tmp_path / "CLAUDE.md").write_text("Use dots.")
    assert [*seen, build(tmp_path).endswith("Use dots.")] == [True] * 4


def test_sessions_that_start_together_read_the_instructions_once(tmp_path: Path) -> None:
    file = tmp_path / "AGENTS.md"
    file.write_text("Use tabs.")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    assert build(tmp_path) is build(tmp_path)


def test_without_a_repository_only_the_folder_itself_counts(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_text("above")
    (tmp_path / "work").mkdir()
    assert project_files(tmp_path / "work") == []


def test_long_instructions_are_cut_and_the_nearest_keep_the_most(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "AGENTS.md").write_text("r" * PROJECT_FILES_LIMIT)
    (inner / "AGENTS.md").write_text("near" * 100)
    text = build(inner)
    assert "near" * 100 in text
    assert f"the whole is in {tmp_path / 'AGENTS.md'}" in text
    assert len(text) < PROJECT_FILES_LIMIT + 5_000


# -- the session -----------------------------------------------------------------------------------


def agent_with(*answers: object, **fields: object) -> tuple[AIAgent, ScriptedModel]:
    model = ScriptedModel(list(answers))  # type: ignore[arg-type]
    return AIAgent(model=model, tools=(), **fields), model  # type: ignore[arg-type]


def test_an_agent_in_a_chat_is_told_so_and_how_a_file_is_sent_in_few_words(tmp_path: Path) -> None:
    at_terminal, in_chat = build(tmp_path), build(tmp_path, chat="telegram")
    assert "in a person's terminal" in at_terminal
    assert "terminal" not in in_chat
    assert "a chat on Telegram" in in_chat
    assert "[report](report.txt)" in in_chat
    assert len(in_chat.split()) - len(at_terminal.split()) < 120


def test_the_system_prompt_is_stored_once_and_stays(tmp_path: Path) -> None:
    agent, model = agent_with("one", "two", cwd=tmp_path)
    agent.run_turn("first")
    (tmp_path / "AGENTS.md").write_text("new rules")
    agent.run_turn("second")
    systems = [message for message in model.requests[1].messages if message.role == "system"]
    assert systems == [model.requests[0].messages[0]]
    assert "new rules" not in systems[0].content


def test_another_agent_goes_on_with_a_stored_session() -> None:
    store = MemoryStore()
    first, _model = agent_with("one", store=store)
    first.run_turn("hello")
    second, model = agent_with("two", store=store, session_id=first.session_id)
    second.run_turn("and again")
    assert [message.content for message in model.requests[0].messages[1:]] == ["hello", "one", "and again"]


def test_a_model_that_cannot_be_built_is_a_failed_turn() -> None:
    agent, events = AIAgent(choice=ModelChoice(provider="custom", model="m")), list[Event]()
    end = agent.run_turn("hi", emit=events.append)
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.error_kind) == ("failed", "ConfigError")
    check_stream(events)


def test_the_model_can_be_changed_between_turns_and_the_conversation_stays() -> None:
    agent, _model = agent_with("from the script")
    agent.run_turn("hi")
    agent.use(ModelChoice(provider="offline", model="offline"))
    end = agent.run_turn("list files")
    assert isinstance(end, TurnFinished)
    assert end.outcome == "done"
    roles = [message.role for message in agent.store.messages(agent.session_id)]
    assert roles[:4] == ["system", "user", "assistant", "user"]


def test_closing_stops_a_turn_that_still_runs() -> None:
    agent, events = agent_with([Until(threading.Event()), Say("never")])[0], list[Event]()
    thread = threading.Thread(target=agent.run_turn, args=("hi",), kwargs={"emit": events.append})
    thread.start()
    wait_until(lambda: any(isinstance(event, StepStarted) for event in events))
    agent.close()
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].outcome == "cancelled"


def test_turns_of_one_agent_run_one_at_a_time() -> None:
    gate = threading.Event()
    agent, model = agent_with([Until(gate), "one"], "two")
    threads = [threading.Thread(target=agent.run_turn, args=(text,)) for text in ("a", "b")]
    threads[0].start()
    wait_until(lambda: len(model.requests) == 1)
    threads[1].start()
    assert len(model.requests) == 1
    gate.set()
    for thread in threads:
        thread.join(10)
    check_history(agent.store.messages(agent.session_id))
    assert [m.content for m in model.requests[1].messages[1:]] == ["a", "one", "b"]


def test_without_a_gate_nobody_is_asked_and_a_change_is_refused(tmp_path: Path) -> None:
    agent = AIAgent(model=ScriptedModel([Call("write_file", path="a", content="x"), "ok"]), cwd=tmp_path)
    found = agent.run_conversation("write")
    assert (found["final_response"], found["outcome"], found["steps"]) == ("ok", "done", 2)
    assert not (tmp_path / "a").exists()


def test_the_limits_of_the_settings_hold() -> None:
    agent, _model = agent_with(*[[Call("nothing")]] * 5, settings=Settings(max_steps=2))
    found = agent.run_conversation("x")
    assert (found["outcome"], found["steps"]) == ("limit", 2)
    assert "max_steps" in found["error"]


def test_a_turn_takes_the_cancel_it_was_given() -> None:
    cancel = CancelToken()
    cancel.cancel()
    agent, _model = agent_with("never")
    end = agent.run_turn("hi", cancel=cancel)
    assert isinstance(end, TurnFinished)
    assert end.outcome == "cancelled"
    assert agent.store.messages(agent.session_id)[-1] == Message("user", "hi")


@pytest.mark.parametrize("secret", ["sk-live-0123456789abcdef"])
def test_no_event_tells_a_secret_in_an_error_or_a_question(secret: str, tmp_path: Path) -> None:
    events: list[Event] = []
    broken = Fail(RefusedError(f"no credit for {secret}", hint=f"pay for {secret}"))

    def ask(request: ApprovalRequested, *, emit: Sink, cancel: CancelToken) -> Decision:
        emit(request)
        return Decision(False)

    model = ScriptedModel([[Restart(f"lost {secret}"), Call("terminal", command=f"curl -u {secret}")], broken])
    gate = Gatekeeper(Policy("ask"), ask, session_id="s")
    with AIAgent(model=model, cwd=tmp_path, redact=Redactor([secret]), gate=gate, session_id="s") as agent:
        end = agent.run_turn("x", emit=events.append)
    kinds = {type(event) for event in events}
    assert {StepRestarted, ApprovalRequested, ToolStarted, ToolFinished, TurnFinished} <= kinds
    assert secret not in str(events)
    assert isinstance(end, TurnFinished)
    assert (end.error, end.hint) == ("no credit for [redacted]", "pay for [redacted]")


@pytest.mark.parametrize("secret", ["sk-live-0123456789abcdef"])
def test_a_key_in_use_never_reaches_the_model_nor_the_store(secret: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"key is {secret}\n")
    model = ScriptedModel([Call("read_file", path="a.txt"), "ok"])
    agent = AIAgent(model=model, cwd=tmp_path, redact=Redactor([secret]))
    agent.run_turn("read it")
    assert secret not in "".join(message.content for message in agent.store.messages(agent.session_id))
    assert "[redacted]" in model.requests[1].messages[-1].content


def test_a_session_keeps_where_it_works_and_which_model_it_asked_last() -> None:
    store = MemoryStore()
    first = ModelChoice(provider="openai", model="one", base_url="http://localhost:1/v1", api_key="sk-secret")
    agent = AIAgent(choice=first, model=ScriptedModel(["a"]), store=store, cwd=Path("/"), tools=[])
    agent.run_turn("hi")
    row = store.session(agent.session_id)
    assert row is not None
    assert (row.cwd, row.model, row.source, row.title) == ("/", "one", "terminal", "hi")
    assert "sk-secret" not in row.settings
    agent.use(replace(first, provider="offline", model="two", base_url=""))
    agent.run_turn("again")
    row = store.session(agent.session_id)
    assert row is not None
    assert row.model == "two"
    assert json.loads(row.settings)["model"] == "two"


def test_a_resumed_session_shows_the_model_the_very_tools_it_had() -> None:
    store, note = MemoryStore(), Note()
    first = AIAgent(model=ScriptedModel(["a"]), store=store, tools=[note])
    first.run_turn("hi")
    told = first.tool_specs
    model = ScriptedModel(["b"])
    changed, more = Note(description="Says it better."), Note(name="more")
    second = AIAgent(model=model, store=store, session_id=first.session_id, tools=[changed, more])
    second.run_turn("again")
    assert second.tool_specs == told
    assert model.requests[0].tools == told
    row = store.session(first.session_id)
    assert row is not None
    assert portable.tools(row.settings) == told
