"""A conversation goes from a terminal to a chat and back: a real `hermes`, and a gateway on the same store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.config import load_config
from tests.gateway.test_serve import Serving, serving
from tests.support.openai_server import OpenAIServer, Stream, call
from tests.support.screen import Terminal

from .conftest import Start

HOUSE = '[gateway.memory]\nallow = ["7"]\nadmins = ["9"]\n'
"""Ann (7) may speak, Ada (9) is the admin; their direct chats are 1 and 9."""


@asynccontextmanager
async def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OpenAIServer) -> AsyncIterator[Serving]:
    """Serves the memory platform, whose home is Ada's chat."""
    home = tmp_path / "hermes"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(HOUSE)
    monkeypatch.setenv("HERMES_HOME", str(home))
    monkeypatch.setenv("HERMES_PROVIDER", "custom")
    monkeypatch.setenv("HERMES_BASE_URL", server.base_url)
    monkeypatch.setenv("HERMES_MODEL", "test-model")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    async with serving(load_config(cwd=tmp_path)) as serve:
        await serve.platform.say("/sethome", chat_id="9", user_id="9")
        await serve.shows("is the home of memory", "9")
        yield serve


async def answered(terminal: Terminal, text: str) -> Terminal:
    """The text was shown and the turn is over."""
    return await seen(terminal, lambda now: text in now.text and "Esc interrupts" not in now.text)


async def seen(terminal: Terminal, wanted: str | Callable[[Terminal], object]) -> Terminal:
    return await asyncio.to_thread(terminal.wait_for, wanted)


def said(server: OpenAIServer) -> list[str]:
    return [one["content"] for one in server.bodies[-1]["messages"] if one["role"] in ("user", "assistant")]


async def test_a_conversation_goes_to_a_chat_and_comes_back(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer(["One.", "Two.", "Three.", "Four."]) as server:
        async with gateway(tmp_path, monkeypatch, server) as serve:
            hermes = await asyncio.to_thread(start, server)
            await answered(hermes.send("first"), "One.")
            await seen(hermes.send("/handoff memory"), "Handed to memory:9")
            await serve.shows("› first\n\n● One.", "9")

            # Somebody else's message, and somebody else's chat, are no part of it.
            await serve.platform.say("/handoff terminal", chat_id="9", user_id="7", is_group=True, addressed=True)
            await serve.shows("/handoff is not for you", "9")
            await serve.platform.say("second", chat_id="9", user_id="9")
            await serve.shows("Two.", "9")
            assert said(server) == ["first", "One.", "second"]

            # Here a new conversation has begun.
            await answered(hermes.send("other"), "Three.")
            assert said(server) == ["other"]

            await serve.platform.say("/handoff terminal", chat_id="9", user_id="9")
            await serve.shows("The terminal it came from is told", "9")
            await seen(hermes, "first is back from memory:9")
            (back,) = [one for one in serve.gateway.store.sessions(source="terminal") if one.title == "first"]
            await seen(hermes.send(f"/resume {back.id}"), "Two.")
            await answered(hermes.send("fourth"), "Four.")
            assert said(server) == ["first", "One.", "second", "Two.", "fourth"]


async def test_a_terminal_that_opens_a_chat_s_conversation_may_take_it(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer(["One.", "Two.", "Three."]) as server:
        async with gateway(tmp_path, monkeypatch, server) as serve:
            await serve.platform.say("first", chat_id="1")
            await serve.shows("One.")
            (row,) = serve.gateway.store.sessions(source="memory:1")
            hermes = await asyncio.to_thread(start, server, "-r", row.id)
            await seen(hermes, "open in the chat memory:1")
            await seen(hermes.send("t"), "Resumed")
            await serve.shows("goes on in a terminal")
            await answered(hermes.send("second"), "Two.")
            assert said(server) == ["first", "One.", "second"]
            await serve.platform.say("third")
            await serve.shows("Three.")
            assert said(server) == ["third"]


async def test_a_copy_of_a_chat_s_conversation_is_the_terminal_s(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer(["One.", "Two.", "Three."]) as server:
        async with gateway(tmp_path, monkeypatch, server) as serve:
            await serve.platform.say("first", chat_id="1")
            await serve.shows("One.")
            (row,) = serve.gateway.store.sessions(source="memory:1")
            hermes = await asyncio.to_thread(start, server, "-r", row.id)
            await seen(hermes, "open in the chat memory:1")
            await seen(hermes.send("b"), "Resumed")
            await answered(hermes.send("second"), "Two.")
            await serve.platform.say("third")
            await serve.shows("Three.")
            assert said(server) == ["first", "One.", "third"]


async def test_what_cannot_be_handed_over_stays(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(["One."]) as server:
        hermes = await asyncio.to_thread(start, server)
        await seen(hermes.send("/handoff telegram"), "Nothing was said yet")
        await answered(hermes.send("first"), "One.")
        await seen(hermes.send("/handoff telegram"), "No platform 'telegram' is set up")
        await seen(hermes.send("/handoff"), "Usage: /handoff")
        await seen(hermes.send("/title"), "first")


async def test_a_task_s_question_may_be_answered_in_a_chat_and_the_terminal_sees_it(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer([call("terminal", command="touch x"), "Touched."]) as server:
        async with gateway(tmp_path, monkeypatch, server) as serve:
            hermes = await asyncio.to_thread(start, server)
            await seen(hermes.send("/background touch it"), "#1 needs you")
            await serve.platform.say("/tasks", chat_id="9", user_id="9")
            await serve.shows("#1 waiting [terminal]  needs you: terminal touch x", "9")
            await serve.platform.say("/approve 1", chat_id="9", user_id="9")
            await serve.shows("Approved: terminal touch x", "9")
            await seen(hermes, "In memory: Approved for #1: terminal touch x")
            await seen(hermes, "Touched.")


async def test_who_could_not_go_on_with_it_is_handed_nothing(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer(["One.", "Two."]) as server:
        async with gateway(tmp_path, monkeypatch, server) as serve:
            await serve.platform.say("hello", chat_id="1")
            await serve.shows("One.")
            hermes = await asyncio.to_thread(start, server)
            await answered(hermes.send("first"), "Two.")
            await seen(hermes.send("/handoff memory:1"), "memory:1 is the chat of somebody else")
            assert not any("From the terminal" in text for text in serve.platform.texts("1"))


async def test_the_terminal_is_told_that_its_task_was_stopped_in_a_chat(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer(default=Stream(delay=60)) as server:
        async with gateway(tmp_path, monkeypatch, server) as serve:
            hermes = await asyncio.to_thread(start, server)
            await seen(hermes.send("/bg look around"), "▶ 1 task")
            await serve.platform.say("/tasks stop 1", chat_id="9", user_id="9")
            await serve.shows("Stopped #1.", "9")
            await seen(hermes, "#1 was stopped in memory: look around")
