"""Images in a turn: named in a prompt, read by a tool, refused where the model takes none."""

from pathlib import Path

import pytest

from agent.config import ModelChoice
from agent.errors import HermesError
from agent.models import catalog
from agent.models.scripted import Call, Say, ScriptedModel
from agent.records import Limits
from run_agent import AIAgent

PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)


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
