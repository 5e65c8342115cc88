"""`hermes --worktree`: a session that changes nothing in the person's own tree."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.openai_server import OpenAIServer, call

Run = Callable[..., subprocess.CompletedProcess[str]]
At = Callable[[OpenAIServer], dict[str, str]]


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    return subprocess.run(
        ["git", *settings, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(work: Path) -> Path:
    git(work, "init", "-q", "-b", "main")
    (work / "a.txt").write_text("as it was\n")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "first")
    return work


def test_what_it_does_is_on_a_branch_and_the_person_s_tree_is_as_it_was(run: Run, at: At, repository: Path) -> None:
    (repository / "a.txt").write_text("not committed\n")
    with OpenAIServer([call("write_file", path="b.txt", content="new\n"), "Done."]) as server:
        done = run("-p", "write it", "--worktree", "--yolo", env=at(server))
    assert (done.returncode, done.stdout) == (0, "Done.\n")
    assert "without your changes in a.txt" in done.stderr
    assert sorted(path.name for path in repository.iterdir()) == [".git", "a.txt"]
    assert (repository / "a.txt").read_text() == "not committed\n"
    command = done.stderr.splitlines()[-1].strip()
    branch = command.removeprefix("git merge ")
    assert command.startswith("git merge hermes/wt_"), "a line of its own, to be copied"
    assert git(repository, "show", f"{branch}:b.txt") == "new"
    git(repository, "merge", "-q", branch)
    assert (repository / "b.txt").exists()


def test_a_tree_in_which_nothing_was_done_is_gone_afterwards(run: Run, at: At, repository: Path) -> None:
    with OpenAIServer(["Nothing to do."]) as server:
        assert run("-p", "look", "--worktree", env=at(server)).returncode == 0
    assert git(repository, "branch", "--format=%(refname:short)") == "main"
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_outside_a_repository_it_says_so(run: Run) -> None:
    done = run("-p", "look", "--worktree")
    assert done.returncode == 1
    assert "is in no git repository" in done.stderr


def test_it_begins_a_session_and_goes_on_with_none(run: Run) -> None:
    done = run("-c", "--worktree")
    assert done.returncode == 2
    assert "--worktree begins a session" in done.stderr
