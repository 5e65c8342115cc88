"""Files and albums: what has to be fetched keeps its place, and holds up no command."""

import asyncio
from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.store.memory import MemoryStore
from gateway import preparing
from gateway.platforms.memory import MemoryPlatform
from tests.gateway.test_service import House, served


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "ALBUM_PAUSE", 0.15)


async def photo(platform: MemoryPlatform, name: str, text: str = "", **more: object) -> None:
    await platform.say(text, attachments=(platform.upload(name, name.encode()),), **more)


def asked(house: House) -> list[str]:
    return [message.content for message in house.model.requests[-1].messages if message.role == "user"]


async def test_commands_pass_by_a_slow_download_and_messages_do_not(tmp_path: Path) -> None:
    async with served(tmp_path, ["Seen.", "Read."]) as house:
        house.platform.hands_out.clear()
        await photo(house.platform, "plan.txt", "look at this")
        await house.platform.say("and this")
        for command, answer in (
            ("/status", "turn: none"),
            ("/stop", "No turn is running"),
            ("/tasks", "No background"),
        ):
            await house.platform.say(command)
            await house.shows(lambda answer=answer: any(answer in text for text in house.platform.texts("1")))
        assert house.model.requests == []
        assert len(house.store.received()) == 2
        house.platform.hands_out.set()
        await house.shows(lambda: bool(house.model.requests) and len(asked(house)) == 2)
        said = asked(house)
        assert said[0].startswith("look at this\n[document received: received/")
        assert said[1] == "and this"


async def test_a_new_conversation_waits_for_the_message_before_it(tmp_path: Path) -> None:
    """What is for one conversation must not come into the next."""
    async with served(tmp_path, ["Seen."]) as house:
        house.platform.hands_out.clear()
        await photo(house.platform, "plan.txt", "look at this")
        await house.platform.say("/new")
        await house.platform.say("/version")
        await house.shows(lambda: any("hermes 0" in text for text in house.platform.texts("1")))
        assert not any("new conversation" in text for text in house.platform.texts("1"))
        house.platform.hands_out.set()
        await house.shows(lambda: any("new conversation" in text for text in house.platform.texts("1")))


async def test_another_chat_does_not_wait(tmp_path: Path) -> None:
    async with served(tmp_path, ["Hello."]) as house:
        house.platform.hands_out.clear()
        await photo(house.platform, "plan.txt", "look at this")
        await house.platform.say("hi", chat_id="2")
        await house.shows(lambda: house.platform.texts("2") == ["Hello."])
        house.platform.hands_out.set()


async def test_an_album_is_one_message(tmp_path: Path) -> None:
    async with served(tmp_path, ["Two carts."]) as house:
        await photo(house.platform, "a.jpg", "what are these?", album="x")
        await photo(house.platform, "b.jpg", album="x")
        await photo(house.platform, "c.jpg", album="x")
        await house.shows(lambda: house.platform.texts("1") == ["Two carts."])
        await house.quiet()
        (said,) = asked(house)
        assert said.startswith("what are these?")
        assert [name in said for name in ("a.jpg", "b.jpg", "c.jpg")] == [True, True, True]
        assert len(list((tmp_path / "received").iterdir())) == 3
        assert house.store.received() == []


class Unwilling(MemoryStore):
    """Will not hear, so many times, that a message was dealt with."""

    faults = 0

    def dealt_with(self, platform: str, message_id: str) -> None:
        if self.faults:
            self.faults -= 1
            raise StoreError("the disk is full")
        super().dealt_with(platform, message_id)


async def test_an_album_stays_one_message_when_the_store_will_not_hear_that_it_was_dealt_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.lines.PAUSE", 0.01)
    store = Unwilling()
    store.faults = 2
    async with served(tmp_path, lambda messages: f"Answer {len(messages)}.", store) as house:
        await photo(house.platform, "a.jpg", "what are these?", album="x")
        await photo(house.platform, "b.jpg", album="x")
        await photo(house.platform, "c.jpg", album="x")
        await house.shows(lambda: store.received() == [] and store.faults == 0 and bool(house.platform.texts("1")))
        await house.quiet()
        assert len(house.platform.texts("1")) == 1
        (said,) = asked(house)
        assert "c.jpg" in said


async def test_albums_of_two_people_are_two(tmp_path: Path) -> None:
    async with served(tmp_path, lambda messages: messages[-1].content.partition("\n")[0]) as house:
        await photo(house.platform, "a.jpg", "mine", album="x")
        await photo(house.platform, "b.jpg", "yours", album="x", chat_id="2", user_id="8")
        await house.shows(lambda: house.platform.texts("1") == ["mine"] and house.platform.texts("2") == ["yours"])


async def test_what_was_not_fetched_when_the_process_ended_is_fetched_by_the_next(tmp_path: Path) -> None:
    async with served(tmp_path, []) as house:
        house.platform.hands_out.clear()
        await photo(house.platform, "a.jpg", "what are these?", album="x")
        await photo(house.platform, "b.jpg", album="x")
        await asyncio.sleep(0)
        store, uploads = house.store, house.platform.uploads
    assert len(store.received()) == 2
    async with served(tmp_path, ["Two."], store, "two") as house:
        house.platform.uploads.update(uploads)
        await house.shows(lambda: house.platform.texts("1") == ["Two."])
        (said,) = asked(house)
        assert "a.jpg" in said
        assert "b.jpg" in said


@pytest.mark.parametrize("command", ["/background", "/queue", "/steer"])
async def test_a_file_that_comes_with_a_prompt_after_a_command_reaches_the_agent(tmp_path: Path, command: str) -> None:
    async with served(tmp_path, ["Seen."]) as house:
        house.platform.hands_out.clear()
        await photo(house.platform, "plan.txt", f"{command} what does this say?")
        await house.platform.say("/version")
        await house.shows(lambda: any("hermes 0" in text for text in house.platform.texts("1")))
        assert house.model.requests == []
        house.platform.hands_out.set()
        await house.shows(lambda: bool(house.model.requests))
        (said,) = asked(house)
        assert said.startswith("what does this say?\n[document received: received/")
        assert "plan.txt" in said


async def test_a_file_that_comes_with_another_command_is_said_to_be_left(tmp_path: Path) -> None:
    async with served(tmp_path, []) as house:
        await photo(house.platform, "plan.txt", "/version")
        await house.shows(lambda: any("hermes 0" in text for text in house.platform.texts("1")))
        assert house.platform.texts("1")[0].endswith("(What came with it was not looked at.)")
        assert not (tmp_path / "received").exists()
