"""Order within a conversation, whatever the store and the turns do."""

import asyncio
from collections.abc import Callable

import pytest

from agent.chats import Inbound
from agent.errors import StoreError
from gateway import lines as module
from gateway.config import Platform
from gateway.lines import Item, Lines
from gateway.platforms.base import MessageEvent
from gateway.session import SessionSource


def item(text: str, chat: str = "memory:1") -> Item:
    source = SessionSource(platform=Platform.MEMORY, chat_id="1", user_id="7")
    return Item(MessageEvent(text=text, source=source, event_id=text), Inbound("memory", text, chat, "", 0.0))


class Turns:
    """A message starts a turn in its chat when none runs, else it is held; `!` messages never wait."""

    def __init__(self) -> None:
        self.running = ""
        self.dealt: list[str] = []
        self.faults = 0
        self.lines = Lines(self.deal, self.busy)

    async def deal(self, one: Item, behind: bool) -> bool:
        text = one.event.text
        await asyncio.sleep(0)
        if self.faults:
            self.faults -= 1
            raise StoreError("the disk is full")
        if not text.startswith("!") and (self.running or behind):
            return False
        if not text.startswith("!"):
            self.running = text
        self.dealt.append(text)
        return True

    async def busy(self, key: str) -> bool:
        await asyncio.sleep(0)
        return bool(self.running)

    def over(self) -> None:
        self.running = ""
        self.lines.look("memory:1")

    async def shows(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not met():
                await asyncio.sleep(0)


async def test_what_was_held_comes_before_what_came_later_and_commands_pass_by() -> None:
    turns = Turns()
    for text in ("1", "2", "3", "!stop"):
        turns.lines.add(item(text))
    await turns.shows(lambda: "!stop" in turns.dealt)
    assert turns.dealt == ["1", "!stop"]
    turns.running = ""
    turns.lines.add(item("4"))
    for number in "234":
        await turns.shows(lambda number=number: number in turns.dealt)
        turns.over()
    assert turns.dealt == ["1", "!stop", "2", "3", "4"]
    await turns.shows(lambda: not len(turns.lines))


async def test_what_the_store_would_not_hear_of_is_tried_again_before_what_came_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    turns = Turns()
    turns.faults = 3
    turns.lines.add(item("!a"))
    turns.lines.add(item("!b"))
    await turns.shows(lambda: turns.dealt == ["!a", "!b"])


async def test_chats_do_not_wait_for_each_other_and_closing_waits_for_nobody_long() -> None:
    never, dealt = asyncio.Event(), list[str]()

    async def deal(one: Item, behind: bool) -> bool:
        if one.inbound.chat == "slow":
            await never.wait()
        dealt.append(one.event.text)
        return True

    async def busy(key: str) -> bool:
        return False

    lines = Lines(deal, busy)
    lines.add(item("a", "slow"))
    lines.add(item("b", "quick"))
    async with asyncio.timeout(5):
        while not dealt:
            await asyncio.sleep(0)
        await lines.close(0.05)
    assert dealt == ["b"]
