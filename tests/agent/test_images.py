"""Images in a turn: named in a prompt, read by a tool, refused where the model takes none."""

from pathlib import Path

import pytest

from agent import images
from agent.config import ModelChoice
from agent.errors import HermesError
from agent.models import catalog
from agent.models.scripted import Call, Say, ScriptedModel
from agent.records import Limits
from run_agent import AIAgent
from tests.support.pictures import GIF, JPEG, PNG, WEBP


@pytest.fixture
def shot(tmp_path: Path, home: Path) -> Path:
    (tmp_path / "shot.png").write_bytes(PNG)
    return tmp_path / "shot.png"


def test_an_image_reaches_the_model_and_the_store(shot: Path) -> None:
    model = ScriptedModel([[Call("read_file", path="shot.png")], [Say("a cat")]])
    agent = AIAgent(model=model, choice=ModelChoice(provider="custom", model="unknown"), cwd=shot.parent)
    agent.run_turn("what is on @shot.png?")
    asked, *_, read, _answer = agent.store.messages(agent.session_id)[1:]
    assert [part.name for part in asked.images] == ["shot.png"]
    assert asked.content == "what is on @shot.png?"
    assert [part.name for part in read.images] == ["shot.png"]


def test_who_is_kept_to_a_folder_cannot_name_an_image_elsewhere(shot: Path) -> None:
    folder = shot.parent / "chat"
    folder.mkdir()
    (folder / "own.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(shot)
    asked = f"what is on @{shot}, @../shot.png, @link.png and @own.png?"
    seen = []
    for limits in (Limits(), None):
        agent = AIAgent(
            model=ScriptedModel([[Say("a cat")]]), choice=ModelChoice(provider="custom", model="unknown"),
            cwd=folder, limits=limits,
        )  # fmt: skip
        agent.run_turn(asked)
        seen.append([part.name for part in agent.store.messages(agent.session_id)[1].images])
    assert seen == [["own.png"], [str(shot), "../shot.png", "link.png", "own.png"]]


def test_a_model_that_takes_none_is_not_asked(shot: Path) -> None:
    agent = AIAgent(
        model=ScriptedModel([]), choice=ModelChoice(provider="custom", model="deepseek-chat"), cwd=shot.parent
    )
    with pytest.raises(HermesError, match=r"deepseek-chat takes no images, and shot\.png is one"):
        agent.run_turn("what is on @shot.png?")
    assert not agent.store.messages(agent.session_id)


@pytest.mark.parametrize(
    ("model", "takes"),
    [("gpt-5-mini", True), ("openai/gpt-4o", True), ("o1-mini", False), ("o1", True), ("gpt-oss-20b", False),
     ("anthropic/claude-sonnet-4.5", True), ("my-own-model", None)],
)  # fmt: skip
def test_what_is_known_of_models(model: str, takes: bool | None) -> None:
    assert catalog.takes_images(model) is takes


@pytest.mark.parametrize("data", [PNG, GIF, JPEG, WEBP], ids=["png", "gif", "jpeg", "webp"])
def test_an_image_that_ends_early_is_not_kept(data: bytes, tmp_path: Path) -> None:
    assert images.keep(data, "x", tmp_path)
    for length in range(16, len(data)):
        with pytest.raises(HermesError, match="x is damaged"):
            images.keep(data[:length], "x", tmp_path)


def test_a_picture_with_a_wrong_sum_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(HermesError, match="x is damaged"):
        images.keep(PNG.replace(b"\xda", b"\xdb"), "x", tmp_path)


def test_a_damaged_image_is_not_sent(tmp_path: Path, home: Path) -> None:
    (tmp_path / "bad.png").write_bytes(PNG[:15])
    model = ScriptedModel([[Call("read_file", path="bad.png")], [Say("it is damaged")]])
    agent = AIAgent(model=model, choice=ModelChoice(provider="custom", model="unknown"), cwd=tmp_path)
    with pytest.raises(HermesError, match=r"bad\.png is damaged"):
        agent.run_turn("what is on @bad.png?")
    agent.run_turn("read bad.png")
    assert not any(message.images for message in agent.store.messages(agent.session_id))
