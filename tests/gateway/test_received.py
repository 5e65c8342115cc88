"""Files that people send: where they are put, and what the agent sees of them."""

from pathlib import Path

import pytest

from agent import images
from agent.models import catalog, portable
from agent.store.memory import MemoryStore
from gateway.config import Platform
from gateway.media import take_in
from gateway.platforms.base import MessageEvent
from gateway.session import SessionSource
from tests.gateway.test_service import House, served
from tests.support.pictures import PNG


def asked(house: House) -> list[str]:
    return [message.content for message in house.model.requests[-1].messages if message.role == "user"]


async def send(house: House, name: str, data: bytes, text: str = "look") -> None:
    await house.platform.say(text, attachments=(house.platform.upload(name, data),))
    await house.quiet_lines()
    await house.shows(lambda: any("Seen." in text or "❌" in text for text in house.platform.texts("1")))
    assert "Seen." in house.platform.texts("1"), house.platform.texts("1")


@pytest.mark.parametrize("target", ["folder", "nowhere"])
async def test_a_file_is_not_written_through_a_link_that_the_agent_made(tmp_path: Path, target: str) -> None:
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    if target == "folder":
        elsewhere.mkdir()
    (work / "received").symlink_to(elsewhere)
    async with served(work, ["Seen."]) as house:
        await send(house, "plan.txt", b"plan")
        assert "could not be fetched" in asked(house)[0]
    assert not elsewhere.exists() or list(elsewhere.iterdir()) == []


async def test_a_file_that_the_agent_put_a_link_for_is_not_taken_for_the_one_that_came(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "received").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (work / "received" / "2-1-plan.txt").symlink_to(tmp_path / "secret")
    async with served(work, ["Seen."]) as house:
        await send(house, "plan.txt", b"plan")
        assert "could not be fetched" in asked(house)[0]
    assert (tmp_path / "secret").read_text() == "secret"


@pytest.mark.parametrize("name", ["shot.png", "my shot.dat.png"])
async def test_an_image_goes_to_the_model_like_one_that_a_prompt_mentions(tmp_path: Path, name: str) -> None:
    """The agent sends it along, or says that its own model cannot: here it is the offline one."""
    async with served(tmp_path, []) as house:
        house.service.conversations.settings = lambda: '{"provider": "openai", "model": "gpt-5-mini", "base_url": ""}'
        await house.platform.say("look", attachments=(house.platform.upload(name, PNG),))
        await house.shows(lambda: any("takes no images" in text for text in house.platform.texts("1")))
        assert f"offline takes no images, and received/2-1-{name} is one." in house.platform.texts("1")[0]
        (task,) = house.store.tasks()
        assert task.prompt == f'look\n[document received: @"received/2-1-{name}"]'
        (image,) = images.mentioned(task.prompt, tmp_path, tmp_path / "kept")
        assert image.media_type == "image/png"


async def test_what_only_calls_itself_an_image_is_a_file(tmp_path: Path) -> None:
    async with served(tmp_path, ["Seen."]) as house:
        await send(house, "shot.png", b"no image")
        assert asked(house)[0] == "look\n[document received: received/2-1-shot.png]"


async def test_a_model_that_takes_no_images_has_them_as_files_and_that_is_said(tmp_path: Path) -> None:
    assert catalog.takes_images("deepseek-chat") is False
    async with served(tmp_path, ["Seen."], MemoryStore()) as house:
        house.service.conversations.settings = lambda: (
            '{"provider": "deepseek", "model": "deepseek-chat", "base_url": ""}'
        )
        await send(house, "shot.png", PNG)
        assert any(text.startswith("deepseek-chat takes no images") for text in house.platform.texts("1"))
        assert asked(house)[0] == "look\n[document received: received/2-1-shot.png]"


def test_the_name_of_no_model_is_empty() -> None:
    assert portable.model_name(portable.NOTHING) == ""


async def test_an_image_whose_name_does_not_say_so_gets_the_name_of_one_and_is_fetched_once(tmp_path: Path) -> None:
    async with served(tmp_path, []) as house:
        source = SessionSource(platform=Platform.MEMORY, chat_id="1", user_id="7")
        event = MessageEvent(text="", source=source, message_id="2", attachments=(house.platform.upload("shot", PNG),))
        (first,) = await take_in(house.platform, event, tmp_path, house.service.aside)
        house.platform.uploads.clear()
        (again,) = await take_in(house.platform, event, tmp_path, house.service.aside)
        assert first.path == again.path == tmp_path / "received" / "2-1-shot.png"
        assert again.is_image
