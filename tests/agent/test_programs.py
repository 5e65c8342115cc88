"""Programs that a workspace offers under names that are trusted."""

import os
from pathlib import Path

import pytest

from agent import programs
from agent.approvals import Policy
from agent.git import attempt
from agent.protocols import Action


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One whose own environment is switched on: PATH begins in it."""
    folder = tmp_path / "shop"
    (folder / ".venv" / "bin").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return folder


def offered(workspace: Path, name: str) -> Path:
    file = workspace / ".venv" / "bin" / name
    file.write_text(f"#!/bin/sh\ntouch {workspace / 'pwned'}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("line", ["ls", "cat a.txt", "pip --version", "grep x a.txt", "timeout 5 ls", "echo $(ls)"])
def test_what_the_workspace_puts_in_a_reader_s_place_is_asked_for(workspace: Path, line: str) -> None:
    (workspace / "a.txt").write_text("x")

    def verdict() -> str:
        action = Action("execute", line, (workspace,), command=line)
        return Policy("edits").verdict("terminal", action, workspace).verdict

    before = verdict()
    for name in ("ls", "cat", "pip", "grep"):
        offered(workspace, name)
    assert (before, verdict()) == ("allow", "ask")


def test_hermes_itself_runs_none_of_them(workspace: Path) -> None:
    for name in ("git", "bash", "rg"):
        offered(workspace, name)
    assert programs.find("git", workspace) != str(workspace / ".venv" / "bin" / "git")
    attempt("status", cwd=workspace)
    assert not (workspace / "pwned").exists()
    assert programs.is_of_workspace("git", workspace)


def test_a_link_into_the_workspace_is_the_workspace_s(workspace: Path, tmp_path: Path) -> None:
    tool = offered(workspace, "tool")
    outside = tmp_path / "bin"
    outside.mkdir()
    (outside / "tool").symlink_to(tool)
    assert programs.find("tool", workspace, path=str(outside)) is None


@pytest.mark.parametrize("folder", ["", ".", "bin"])
def test_a_folder_named_from_wherever_one_is_counts_as_the_workspace_s(workspace: Path, folder: str) -> None:
    assert programs.find("sh", workspace, path=folder) is None
