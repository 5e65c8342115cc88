"""Each command that the table promises to chats, given in one: it does what it says, or says what it wants."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.commands import commands_for
from agent.config import Config
from agent.models.scripted import Answer, Say, Wait
from gateway.chat_commands import missing
from tests.gateway.test_serve import Serving, configured, serving  # noqa: F401  (one is a fixture)
from tests.gateway.test_service import served

HOUSE = '[gateway.memory]\nallow = ["7"]\nadmins = ["9"]\n'

SAYS = {
    "help": ("/help", "/background"),
    "start": ("/start", "I am Hermes"),
    "new": ("/new", "A new conversation"),
    "history": ("/history", "› list files"),
    "retry": ("/retry", "no files"),
    "undo": ("/undo", "Taken back"),
    "title": ("/title the cart", "the cart"),
    "resume": ("/resume", "no other conversations"),
    "background": ("/background list files", "Background task started"),
    "tasks": ("/tasks", "No background tasks"),
    "queue": ("/queue list files", "no files"),
    "steer": ("/steer list files", "no files"),
    "compress": ("/compress the cart", "nothing to compress"),
    "stop": ("/stop", "No turn is running"),
    "status": ("/status", "model: offline"),
    "approve": ("/approve", "Nothing waits for an answer"),
    "deny": ("/deny", "Nothing waits for an answer"),
    "handoff": ("/handoff terminal", "Handed over"),
    "voice": ("/voice", "no audio endpoint"),
    "sethome": ("/sethome", "is the home of memory"),
    "model": ("/model", "offline"),
    "usage": ("/usage", "tokens in"),
    "context": ("/context", "tokens"),
    "version": ("/version", "Python 3."),
}
"""Command → what is written, and what the answer holds, after one exchange."""

BADLY = {
    "undo": ("/undo x", "Usage: /undo"),
    "history": ("/history 0", "Usage: /history"),
    "resume": ("/resume nowhere", "No conversation of this chat"),
    "background": ("/background", "Usage: /background"),
    "tasks": ("/tasks 99", "There is no task"),
    "queue": ("/queue", "Usage: /queue"),
    "steer": ("/steer", "Usage: /steer"),
    "approve": ("/approve 1 for ever", "is no scope"),
    "handoff": ("/handoff telegram", "Usage: /handoff terminal"),
    "voice": ("/voice loud", "Usage: /voice"),
    "model": ("/model nobody:nothing", "nobody"),
    "help": ("/help gibberish", "Nothing is known"),
}


@pytest.fixture
def config(configured: Callable[[str], Config]) -> Config:  # noqa: F811
    return configured(HOUSE)


async def idle(serve: Serving) -> None:
    """Until no turn runs, and all was told and sent."""
    store, service = serve.gateway.store, serve.gateway.service

    def works() -> object:
        owed = store.undelivered() or service._changes
        return service.conversations.turn("memory:1") or owed or store.unsent() or store.received()

    async with asyncio.timeout(15):
        while works():
            await asyncio.sleep(0.01)


async def answer(serve: Serving, text: str) -> str:
    """What an admin is answered to this."""
    before = len(serve.platform.texts("1"))
    await serve.platform.say(text, user_id="9")
    async with asyncio.timeout(15):
        while len(serve.platform.texts("1")) == before or serve.gateway.store.received():
            await asyncio.sleep(0.01)
    await idle(serve)
    return "\n".join(serve.platform.texts("1")[before:])


async def test_a_command_is_explained_with_its_aliases_and_an_example(config: Config) -> None:
    async with serving(config) as serve:
        said = await answer(serve, "/help bg")
    assert "(/bg)" in said
    assert "Example: /background" in said


async def test_help_names_what_one_may_give(config: Config) -> None:
    async with serving(config) as serve:
        assert "/model" in await answer(serve, "/help")
        await serve.platform.say("/help", chat_id="2", user_id="7")
        await serve.shows("/background", "2")
        assert not any("/model" in text or "/approve" in text for text in serve.platform.texts("2"))


def test_all_of_the_table_are_here() -> None:
    assert missing() == set()
    assert SAYS.keys() == {command.name for command in commands_for("gateway")}


@pytest.mark.parametrize("name", SAYS)
async def test_it_does_what_it_says(config: Config, name: str) -> None:
    async with serving(config) as serve:
        await serve.platform.say("list files", user_id="9")
        await serve.shows("no files")
        await idle(serve)
        text, wanted = SAYS[name]
        assert wanted in await answer(serve, text)


@pytest.mark.parametrize("name", BADLY)
async def test_given_wrongly_it_says_what_it_wants(config: Config, name: str) -> None:
    async with serving(config) as serve:
        text, wanted = BADLY[name]
        assert wanted in await answer(serve, text)


async def test_before_anything_was_said_none_falls_over(config: Config) -> None:
    async with serving(config) as serve:
        for command in commands_for("gateway"):
            said = await answer(serve, f"/{command.name}")
            assert "went wrong" not in said, command.name


async def test_a_conversation_is_made_shorter_and_goes_on(tmp_path: Path) -> None:
    script: list[Answer] = [Say("x" * 4_000), Say("y" * 4_000), Say("They talked about carts."), Say("Go on.")]
    async with served(tmp_path, script) as house:
        for number, text in enumerate(("one", "two")):
            await house.platform.say(text)
            await house.shows(lambda number=number: len(house.model.requests) > number)  # type: ignore[misc]
            await house.quiet()
        await house.platform.say("/compress carts")
        await house.shows(lambda: any("shorter: from about" in text for text in house.platform.texts("1")))
        assert "dwell on this: carts" in house.model.requests[2].messages[0].content
        await house.quiet()
        await house.platform.say("three")
        await house.shows(lambda: "Go on." in house.platform.texts("1"))
        said = house.model.requests[3].messages
        assert any("They talked about carts." in one.content for one in said)
        assert said[-1].content == "three"


async def test_a_message_while_it_is_made_shorter_comes_after_it(tmp_path: Path) -> None:
    script: list[Answer] = [Say("x" * 4_000), Say("y" * 4_000), [Wait(0.5), Say("Carts.")], Say("Three.")]
    async with served(tmp_path, script) as house:
        for number, text in enumerate(("one", "two")):
            await house.platform.say(text)
            await house.shows(lambda number=number: len(house.model.requests) > number)  # type: ignore[misc]
            await house.quiet()
        await house.platform.say("/compress")
        await house.shows(lambda: len(house.model.requests) == 3)
        await house.platform.say("three")
        await house.shows(lambda: "Three." in house.platform.texts("1"))
        assert any("shorter" in text for text in house.platform.texts("1"))


async def test_stop_ends_it_and_the_conversation_is_as_it_was(tmp_path: Path) -> None:
    script: list[Answer] = [Say("x" * 4_000), Say("y" * 4_000), [Wait(30), Say("Carts.")], Say("Three.")]
    async with served(tmp_path, script) as house:
        for number, text in enumerate(("one", "two")):
            await house.platform.say(text)
            await house.shows(lambda number=number: len(house.model.requests) > number)  # type: ignore[misc]
            await house.quiet()
        session = house.service.conversations.session("memory:1")
        await house.platform.say("/compress")
        await house.shows(lambda: len(house.model.requests) == 3)
        await house.platform.say("/stop")
        await house.shows(lambda: "Stopping." in house.platform.texts("1"))
        await house.shows(lambda: not house.store.tasks(states=frozenset({"running", "queued"})))
        assert house.service.conversations.session("memory:1") == session
