"""A project's instructions and settings count in folders that the person trusts, and nowhere else."""

from pathlib import Path

import pytest

from agent import trust
from agent.config import Settings, directories, load_config
from agent.errors import ConfigError
from agent.models.scripted import ScriptedModel
from run_agent import AIAgent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "src").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".hermes").mkdir()
    (folder / "AGENTS.md").write_text("Use tabs.")
    return folder


def told(cwd: Path, settings: Settings | None = None) -> str:
    """What the model of a new session is told."""
    model = ScriptedModel(["ok"])
    AIAgent(model=model, tools=(), cwd=cwd, settings=settings).run_turn("hello")
    return model.requests[0].messages[0].content


def test_instructions_of_a_folder_that_is_not_trusted_are_not_read(project: Path) -> None:
    assert "Use tabs." not in told(project)
    trust.remember(directories().state, project, False)
    assert "Use tabs." not in told(project)
    trust.remember(directories().state, project, True)
    assert "Use tabs." in told(project)


def test_trust_is_for_the_repository_as_a_whole_and_for_no_other(project: Path, tmp_path: Path) -> None:
    state = directories().state
    assert trust.answer(state, project) is None
    trust.remember(state, project / "src", True)
    assert trust.is_trusted(state, project)
    assert trust.answer(state, tmp_path) is None
    assert trust.answer(state, project.parent / "shop2") is None


def test_the_settings_may_name_trusted_folders(project: Path) -> None:
    assert "Use tabs." in told(project, Settings(trusted_folders=[str(project)]))
    assert "Use tabs." not in told(project, Settings(trusted_folders=[str(project.parent)]))


def test_settings_of_a_trusted_project_count_and_may_not_loosen_anything(project: Path) -> None:
    file = project / ".hermes" / "config.toml"
    file.write_text("max_steps = 7\n")
    assert load_config(env={}, cwd=project).values.max_steps == 60
    trust.remember(directories({}).state, project, True)
    assert load_config(env={}, cwd=project).values.max_steps == 7
    for line in ('approvals = "yolo"', 'sandbox = "off"', "sandbox_network = true", 'trusted_folders = ["/"]'):
        file.write_text(line)
        with pytest.raises(ConfigError, match="may not set"):
            load_config(env={}, cwd=project)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"/x": "yes"}', "\x00"])
def test_a_file_of_answers_that_is_damaged_trusts_nobody(text: str, project: Path) -> None:
    state = directories().state
    state.mkdir(parents=True)
    (state / trust.FILE).write_text(text)
    assert not trust.is_trusted(state, project)
    trust.remember(state, project, True)
    assert trust.is_trusted(state, project)
