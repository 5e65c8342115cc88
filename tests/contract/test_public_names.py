"""The names given from outside: whoever wrote against them finds them where they were."""

import importlib
import inspect
from typing import Any

import pytest
from prompt_toolkit.completion import Completer
from prompt_toolkit.document import Document

import run_agent
from agent.commands import commands_for
from agent.models.scripted import ScriptedModel

NAMES = {
    "hermes_cli.commands": ("COMMANDS", "COMMANDS_BY_CATEGORY", "GATEWAY_KNOWN_COMMANDS", "SlashCommandCompleter"),
    "gateway.config": ("Platform",),
    "gateway.platforms.base": ("MessageEvent",),
    "gateway.session": ("SessionSource",),
    "gateway.hooks": ("HookRegistry",),
    "gateway.run": ("GatewayRunner", "_resolve_runtime_agent_kwargs"),
    "run_agent": ("AIAgent",),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_a_name_is_where_it_was(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


# -- commands --------------------------------------------------------------------------------------


def test_commands_by_slash_name_hold_every_alias_and_a_summary() -> None:
    from hermes_cli.commands import COMMANDS

    assert set(COMMANDS) == {f"/{name}" for command in commands_for("terminal") for name in command.names}
    assert all(isinstance(summary, str) and summary for summary in COMMANDS.values())
    assert COMMANDS["/bg"] == COMMANDS["/background"]


def test_commands_by_category_hold_the_same() -> None:
    from hermes_cli.commands import COMMANDS, COMMANDS_BY_CATEGORY

    assert {"/background", "/bg"} <= set(COMMANDS_BY_CATEGORY["Session"])
    flat = {name: summary for commands in COMMANDS_BY_CATEGORY.values() for name, summary in commands.items()}
    assert flat == COMMANDS


def test_the_gateway_knows_bare_names_and_aliases() -> None:
    from hermes_cli.commands import GATEWAY_KNOWN_COMMANDS

    assert {"background", "bg", "help"} <= GATEWAY_KNOWN_COMMANDS
    assert not any(name.startswith("/") for name in GATEWAY_KNOWN_COMMANDS)
    assert "quit" not in GATEWAY_KNOWN_COMMANDS


def test_the_completer_works_without_an_event_and_without_arguments() -> None:
    from hermes_cli.commands import SlashCommandCompleter

    completer = SlashCommandCompleter()
    assert isinstance(completer, Completer)
    found = list(completer.get_completions(Document("/backgro"), None))
    assert [completion.text for completion in found] == ["/background"]
    assert "/background" in str(found[0].display)
    assert list(completer.get_completions(Document("backgro"), None)) == []


# -- the agent -------------------------------------------------------------------------------------


def test_a_conversation_gives_its_answer_and_its_messages() -> None:
    agent = run_agent.AIAgent(model=ScriptedModel(["Hello."]), tools=())
    found = agent.run_conversation("hi")
    assert found["final_response"] == "Hello."
    assert [message.role for message in found["messages"]] == ["system", "user", "assistant"]
    agent.shutdown_memory_provider()
    agent.close()


# -- the gateway -----------------------------------------------------------------------------------

RUNNER_ATTRIBUTES: dict[str, Any] = {
    "adapters": {},
    "_voice_mode": {},
    "_session_db": None,
    "_reasoning_config": None,
    "_provider_routing": {},
    "_fallback_model": None,
    "_running_agents": {},
    "_background_tasks": set(),
    "session_store": None,
}


def bare_runner() -> Any:
    """A runner on which only the ten known attributes were set."""
    from gateway.hooks import HookRegistry
    from gateway.run import GatewayRunner

    runner = object.__new__(GatewayRunner)
    for name, value in RUNNER_ATTRIBUTES.items():
        setattr(runner, name, type(value)(value) if isinstance(value, dict | set) else value)
    runner.hooks = HookRegistry()
    return runner


def message(text: str) -> Any:
    from gateway.config import Platform
    from gateway.platforms.base import MessageEvent
    from gateway.session import SessionSource

    source = SessionSource(platform=Platform.TELEGRAM, user_id="1", chat_id="2", user_name="somebody")
    return MessageEvent(text=text, source=source)


def test_the_platforms_are_named() -> None:
    from gateway.config import Platform

    assert {"TELEGRAM", "DISCORD", "SLACK"} <= set(Platform.__members__)


def test_a_source_and_a_message_take_these_fields_and_keep_them() -> None:
    event = message("/bg x")
    assert (event.text, event.source.chat_id, event.source.user_name) == ("/bg x", "2", "somebody")


def test_the_runners_handlers_are_coroutines_with_these_parameters() -> None:
    from gateway.run import GatewayRunner

    expected = {
        "_handle_background_command": ["self", "event"],
        "_run_background_task": ["self", "prompt", "source", "task_id"],
        "_handle_help_command": ["self", "event"],
    }
    for name, parameters in expected.items():
        method = getattr(GatewayRunner, name)
        assert inspect.iscoroutinefunction(method), name
        assert list(inspect.signature(method).parameters)[: len(parameters)] == parameters


@pytest.mark.parametrize("text", ["/background", "/bg", "/background   "])
async def test_a_bare_runner_explains_background(text: str) -> None:
    answer = await bare_runner()._handle_background_command(message(text))
    assert "Usage:" in answer
    assert "/background" in answer


async def test_a_bare_runner_helps() -> None:
    answer = await bare_runner()._handle_help_command(message("/help"))
    assert "/background" in answer


async def test_a_task_for_a_platform_that_is_gone_ends_quietly() -> None:
    assert await bare_runner()._run_background_task("x", message("x").source, "bg_000000_000000") is None


def test_what_the_runtime_resolves_names_a_key() -> None:
    from gateway.run import _resolve_runtime_agent_kwargs

    assert "api_key" in _resolve_runtime_agent_kwargs()
