"""Agents that nobody watches: without a gate of their own, and those of the gateway."""

from pathlib import Path

import pytest

import run_agent
from agent.config import Settings
from agent.models.scripted import Call, ScriptedModel
from gateway.run import _resolve_runtime_agent_kwargs


def answer(agent: run_agent.AIAgent) -> str:
    return next(m.content for m in agent.run_conversation("x")["messages"] if m.role == "tool")


def test_an_agent_without_a_gate_does_not_do_everything_because_the_settings_would(tmp_path: Path) -> None:
    model = ScriptedModel([Call("terminal", command="touch made"), "ok"])
    agent = run_agent.AIAgent(model=model, settings=Settings(approvals="yolo"), cwd=tmp_path)
    assert "nobody is there" in answer(agent)
    assert not (tmp_path / "made").exists()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HERMES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HERMES_APPROVALS", "yolo")
    return tmp_path


def in_the_gateway(cwd: Path, command: str) -> str:
    kwargs = _resolve_runtime_agent_kwargs()
    kwargs.pop("api_key")
    return answer(run_agent.AIAgent(**kwargs, model=ScriptedModel([Call("terminal", command=command), "ok"]), cwd=cwd))


def test_a_chat_never_gets_the_mode_that_asks_for_nothing(home: Path) -> None:
    assert "nobody is there" in in_the_gateway(home, "touch made")
    assert not (home / "made").exists()


def test_the_rules_of_the_policy_file_hold_in_a_chat(home: Path) -> None:
    from agent.config import load_config

    file = load_config().dirs.policy_file
    file.parent.mkdir(parents=True, exist_ok=True)
    rules = [("touch made", "allow"), ("ls *", "deny")]
    lines = [f'[[rule]]\ntool = "terminal"\npattern = "{pattern}"\nverdict = "{said}"\n' for pattern, said in rules]
    file.write_text("".join(lines))
    assert "exit 0" in in_the_gateway(home, "touch made")
    assert (home / "made").exists()
    assert "a rule forbids ls *" in in_the_gateway(home, "ls")
