"""An agent whose tools work in a worktree: the model sees one place, the person's stays as it was."""

from pathlib import Path

from agent import trust
from agent.approvals import Gatekeeper, Policy, nobody
from agent.config import directories
from agent.events import TurnFinished
from agent.models.scripted import Call, ScriptedModel
from agent.worktree import Worktree
from run_agent import AIAgent
from tests.agent.test_worktree import commit, everything, git, person, repo, tree

__all__ = ["person", "repo", "tree"]


def run(tree: Worktree, *calls: Call, mode: str = "edits") -> tuple[list[str], TurnFinished, AIAgent]:
    """What the tools answered, one step a call."""
    agent = AIAgent(
        model=ScriptedModel([*([call] for call in calls), "done"]),
        cwd=tree.source,
        worktree=tree,
        gate=Gatekeeper(Policy(mode), nobody, session_id="s"),  # type: ignore[arg-type]
    )
    with agent:
        end = agent.run_turn("x")
    assert isinstance(end, TurnFinished)
    return [m.content for m in agent.store.messages(agent.session_id) if m.role == "tool"], end, agent


def test_reading_makes_no_tree_whichever_name_is_used(tree: Worktree, repo: Path) -> None:
    answers, end, _ = run(
        tree,
        Call("read_file", path="a.txt"),
        Call("search_files", pattern="txt 1"),
        Call("search_files", glob="*.txt"),
        Call("read_file", path=str(repo / "b.txt")),
    )
    assert "a.txt 1" in answers[0]
    assert "src/c.txt:1" in answers[1]
    assert "b.txt" in answers[2]
    assert "b.txt 1" in answers[3]
    assert end.outcome == "done"
    assert not tree.made


def test_the_first_change_makes_it_and_the_persons_tree_is_left_alone(tree: Worktree, repo: Path) -> None:
    before = everything(repo)
    answers, end, _ = run(
        tree,
        Call("read_file", path="a.txt"),
        Call("edit_file", path="a.txt", old="a.txt 1", new="task"),
        Call("write_file", path="new/d.txt", content="d\n"),
        Call("read_file", path="a.txt"),
        Call("terminal", command="pwd; cat a.txt; rm b.txt"),
        mode="yolo",
    )
    assert "task" in answers[3]
    assert f"{tree.root}\ntask" in answers[4]
    assert end.outcome == "done"
    assert everything(repo) == before
    assert git("status", "--porcelain", at=tree.root) == "", "committed at the end"
    assert tree.changed() == ["a.txt", "b.txt", "new/d.txt"]


def test_the_name_of_the_tree_may_be_used_before_it_is_there(tree: Worktree) -> None:
    answers, _, _ = run(tree, Call("read_file", path=str(tree.root / "a.txt")))
    assert "a.txt 1" in answers[0]


def test_with_uncommitted_changes_a_task_reads_what_it_will_change(tree: Worktree, repo: Path) -> None:
    (repo / "a.txt").write_text("not committed\n")
    answers, _, _ = run(tree, Call("read_file", path="a.txt"))
    assert "a.txt 1" in answers[0]
    assert tree.made


def test_the_persons_tree_is_elsewhere_for_writing(tree: Worktree, repo: Path) -> None:
    """Without somebody to ask, the absolute name of the person's own file is refused."""
    answers, _, _ = run(
        tree,
        Call("write_file", path=str(repo / "a.txt"), content="x"),
        Call("edit_file", path="../../../shop/a.txt", old="a.txt 1", new="x"),
    )
    assert all("Not run" in answer for answer in answers)
    assert (repo / "a.txt").read_text() == "a.txt 1\n"


def test_a_link_out_of_the_tree_opens_nothing_unasked(tree: Worktree, repo: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("private\n")
    (repo / "link").symlink_to(tmp_path / "private")
    commit(repo)
    answers, _, _ = run(tree, Call("read_file", path="link"), Call("read_file", path=str(tree.root / "link")))
    assert not any("private\n" in answer for answer in answers)


def test_the_model_is_told_of_one_place_with_the_projects_instructions(tree: Worktree, repo: Path) -> None:
    (repo / "AGENTS.md").write_text(f"Use tabs in {repo}/src, not in {repo}-old.")
    commit(repo)
    trust.remember(directories().state, repo, True)
    _, _, agent = run(tree)
    system = agent.store.messages(agent.session_id)[0].content
    assert f"Working directory: {tree.root}" in system
    assert f"Use tabs in {tree.root}/src, not in {repo}-old." in system


def test_in_a_folder_below_the_root(repo: Path, tmp_path: Path) -> None:
    tree = Worktree("bg_sub", repo / "src", tmp_path / "trees")
    answers, _, _ = run(tree, Call("read_file", path="c.txt"), Call("write_file", path="c.txt", content="task\n"))
    assert "src/c.txt 1" in answers[0]
    assert (tree.root / "src" / "c.txt").read_text() == "task\n"
    assert (repo / "src" / "c.txt").read_text() == "src/c.txt 1\n"


def test_a_tree_that_cannot_be_made_is_told_and_changes_nothing(tree: Worktree, repo: Path) -> None:
    tree.folder.parent.mkdir(parents=True)
    tree.folder.write_text("in the way")
    answers, _, _ = run(tree, Call("write_file", path="a.txt", content="x"))
    assert "worktree cannot be made" in answers[0]
    assert (repo / "a.txt").read_text() == "a.txt 1\n"


def test_work_that_cannot_be_committed_is_kept_and_told(tree: Worktree, repo: Path) -> None:
    tree.make()
    lock = repo / ".git" / "worktrees" / tree.task_id / "index.lock"
    lock.write_text("")
    _, end, _ = run(tree, Call("edit_file", path="a.txt", old="a.txt 1", new="task"))
    assert f"Not committed, but kept in {tree.root}" in end.text
    assert (tree.root / "a.txt").read_text() == "task\n"
    lock.unlink()
    assert tree.merge() == ["a.txt"]
