"""Tools switched off and on: kept in the settings, from the next conversation on."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import Settings, load_config
from agent.errors import HermesError
from agent.models.scripted import Call, ScriptedModel
from agent.store.memory import MemoryStore
from agent.tools import NAMES
from hermes_cli.tool_switches import rows, switch
from run_agent import AIAgent

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HERMES_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_every_tool_of_an_agent_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAVILY_API_KEY", "x")
    agent = AIAgent(model=ScriptedModel([]), owner="terminal:me")
    assert set(agent.tool_names) == set(NAMES)
    assert [row.state for row in rows(load_config())] == ["on"] * len(NAMES)
    assert all(row.summary for row in rows(load_config()))


def test_what_is_off_is_kept_beside_the_other_settings(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text('# mine\nmodel = "m"\n')
    config = switch(load_config(), ["web_fetch", "todo"], on=False)
    assert config.values.tools_off == load_config().values.tools_off == ["web_fetch", "todo"]
    config = switch(config, ["todo"], on=True)
    assert load_config().values.tools_off == ["web_fetch"]
    assert "# mine" in (home / "config.toml").read_text()
    states = {row.name: row.state for row in rows(config, now=NAMES, env={})}
    assert states["web_fetch"] == "off, from the next conversation on"
    assert states["todo"] == "on"
    assert states["web_search"] == "not set up"


def test_an_unknown_name_is_refused_with_the_nearest_and_one_that_is_kept_can_be_dropped(home: Path) -> None:
    with pytest.raises(HermesError) as failure:
        switch(load_config(), ["web_fech"], on=False)
    assert failure.value.hint == "Did you mean web_fetch?"
    home.mkdir()
    (home / "config.toml").write_text('tools_off = ["of_old"]\n')
    assert rows(load_config())[-1].state == "not known"
    assert switch(load_config(), ["of_old"], on=True).values.tools_off == []


def test_what_the_environment_says_is_not_hidden_by_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_TOOLS_OFF", '["todo"]')
    with pytest.raises(HermesError, match="set by the environment"):
        switch(load_config(), ["todo"], on=True)


def test_a_conversation_keeps_the_tools_that_it_was_begun_with() -> None:
    store, model = MemoryStore(), ScriptedModel(["One.", Call("todo", items=[]), "Two.", "Three."])
    AIAgent(model=model, store=store, session_id="s").run_turn("x")
    AIAgent(model=model, store=store, session_id="s", settings=Settings(tools_off=["todo"])).run_turn("y")
    AIAgent(model=model, store=store, session_id="new", settings=Settings(tools_off=["todo"])).run_turn("z")
    told = [[spec.name for spec in request.tools] for request in model.requests]
    assert told[0] == told[1] == told[2]
    assert "todo" in told[0]
    assert "todo" not in told[3]
    assert any("Kept: an empty list" in message.content for message in store.messages("s"))


def test_the_shell_has_the_same_switches(sub_command: Run) -> None:
    assert "off" in sub_command("tools", "off", "web_fetch", "todo").stdout.lower()
    listed = [line.split() for line in sub_command("tools").stdout.splitlines()]
    assert {line[0] for line in listed if line[1] == "off"} == {"web_fetch", "todo"}
    assert sub_command("tools", "on", "web_fetch").returncode == 0
    failed = sub_command("tools", "off", "nonsense")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "There is no tool 'nonsense'" in failed.stderr
