"""A task's own worktree: made late, merged with care, never the grave of anybody's work."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.git import GitError
from agent.git import git as run_git
from agent.worktree import Worktree

TASK = "bg_120000_abcdef"


def git(*words: str, at: Path) -> str:
    return subprocess.run(["git", *words], cwd=at, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(autouse=True)
def person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's settings but those of the test; the person has told git no name."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "P")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "p@localhost")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    (root / "src").mkdir(parents=True)
    git("init", "-q", "-b", "main", at=root)
    for name in ("a.txt", "b.txt", "src/c.txt"):
        (root / name).write_text(f"{name} 1\n")
    (root / ".gitignore").write_text("*.secret\nbuild/\n__pycache__/\n")
    git("add", "-A", at=root)
    git("commit", "-q", "-m", "first", at=root)
    return root


@pytest.fixture
def tree(repo: Path, tmp_path: Path) -> Worktree:
    return Worktree(TASK, repo, tmp_path / "state" / "worktrees", "Hermes task #1: do it")


Tree = Callable[..., None]


def test_git_is_not_given_the_keys(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it runs (filters, credential helpers) is the repository's or the person's choice, not theirs to know."""
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-that-is-secret")
    monkeypatch.setenv("HARMLESS", "word")
    told = run_git("-c", "alias.told=!echo $OPENAI_API_KEY/$HARMLESS", "told", cwd=repo)
    assert told.strip() == "/word"


def commit(root: Path, **files: str) -> None:
    for name, text in files.items():
        (root / f"{name}.txt").write_text(text)
    git("add", "-A", at=root)
    git("commit", "-q", "-m", "more", at=root)


def everything(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


# -- whose repository it is ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["another file", "a link", "a repository", "another common folder"])
def test_no_git_runs_in_a_tree_whose_repository_was_exchanged(
    how: str, tree: Worktree, repo: Path, tmp_path: Path
) -> None:
    """Its settings could name programs: `fsmonitor` runs with the first `git add`."""
    tree.make()
    (tree.root / "a.txt").write_text("task\n")
    evil, ran, dotgit = tmp_path / "evil", tmp_path / "ran", tree.root / ".git"
    evil.mkdir()
    git("init", "-q", at=evil)
    git("config", "filter.x.clean", f"touch {ran}", at=evil)
    (tree.root / ".gitattributes").write_text("* filter=x\n")
    match how:
        case "another common folder":
            (repo / ".git" / "worktrees" / TASK / "commondir").write_text(f"{evil}/.git\n")
        case "another file":
            dotgit.write_text(f"gitdir: {evil}/.git\n")
        case _:
            dotgit.unlink()
            dotgit.symlink_to(evil / ".git") if how == "a link" else (evil / ".git").rename(dotgit)
    for use in (tree.commit, tree.diff, tree.remove):
        with pytest.raises(GitError, match="leads to another repository"):
            use()
    assert not ran.exists()
    assert (tree.root / "a.txt").read_text() == "task\n"


# -- before and at the start -------------------------------------------------------------------------


def test_a_tree_is_made_on_a_branch_of_its_own_and_the_person_sees_nothing_of_it(tree: Worktree, repo: Path) -> None:
    before = everything(repo)
    assert tree.check() == []
    assert not tree.made
    tree.make()
    tree.make()
    assert tree.made
    assert git("symbolic-ref", "--short", "HEAD", at=tree.root) == f"hermes/{TASK}"
    assert (tree.root / "src" / "c.txt").read_text() == "src/c.txt 1\n"
    assert everything(repo) == before
    assert git("status", "--porcelain", at=repo) == ""


def test_what_is_not_committed_is_told_before_and_is_not_in_it(tree: Worktree, repo: Path) -> None:
    (repo / "a.txt").write_text("mine\n")
    (repo / "new.txt").write_text("mine\n")
    assert tree.check() == ["a.txt", "new.txt"]
    assert not tree.is_as_the_person_sees()
    tree.make()
    assert (tree.root / "a.txt").read_text() == "a.txt 1\n"
    assert not (tree.root / "new.txt").exists()


def test_ignored_files_that_the_repository_names_are_copied(tree: Worktree, repo: Path) -> None:
    (repo / "keys.secret").write_text("k")
    (repo / "other.secret").write_text("o")
    (repo / "loose.txt").write_text("untracked, but not ignored")
    (repo / ".worktreeinclude").write_text("keys.secret\nloose.txt\n")
    commit(repo)
    (repo / "loose2.txt").write_text("x")
    tree.make()
    assert (tree.root / "keys.secret").read_text() == "k"
    assert not (tree.root / "other.secret").exists()
    assert not (tree.root / "loose2.txt").exists()


def test_a_task_works_as_deep_in_its_tree_as_the_person_in_theirs(repo: Path, tmp_path: Path) -> None:
    (repo / "fresh").mkdir()
    for folder in ("src", "fresh"):
        tree = Worktree(f"bg_{folder}", repo / folder, tmp_path / "trees")
        tree.make()
        assert tree.cwd == tree.root / folder
        assert tree.cwd.is_dir()


def test_no_repository_no_commit_submodules_and_a_branch_in_the_way_are_told(tmp_path: Path, repo: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(GitError, match="no git repository"):
        Worktree(TASK, outside, tmp_path / "trees").check()
    git("init", "-q", at=outside)
    with pytest.raises(GitError, match="no commit"):
        Worktree(TASK, outside, tmp_path / "trees").check()
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repo), "sub", at=repo)
    with pytest.raises(GitError, match="submodules"):
        Worktree(TASK, repo, tmp_path / "trees").check()
    git("reset", "-q", "--hard", at=repo)
    git("branch", "hermes", at=repo)
    with pytest.raises(GitError, match="in the way"):
        Worktree(TASK, repo, tmp_path / "trees").check()


def test_hooks_signing_and_a_detached_head_do_not_disturb(tree: Worktree, repo: Path, tmp_path: Path) -> None:
    (tmp_path / "gitconfig").write_text("[commit]\n gpgSign = true\n[gpg]\n program = false\n[merge]\n ff = only\n")
    for name in ("pre-commit", "post-checkout", "commit-msg", "pre-merge-commit"):
        hook = repo / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        hook.chmod(0o755)
    git("-c", "core.hooksPath=/dev/null", "checkout", "-q", "--detach", at=repo)
    tree.make()
    (tree.root / "a.txt").write_text("task\n")
    assert tree.commit()
    with pytest.raises(GitError, match="no branch"):
        tree.merge()
    git("-c", "core.hooksPath=/dev/null", "checkout", "-q", "main", at=repo)
    assert tree.merge() == ["a.txt"]
    assert not (tmp_path / "ran").exists()


# -- at the end --------------------------------------------------------------------------------------


def test_work_is_committed_and_shown_new_files_too(tree: Worktree, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tree.diff() == ""
    assert not tree.commit()
    tree.make()
    assert not tree.commit()
    (tree.root / "a.txt").write_text("task\n")
    (tree.root / "new.txt").write_text("new\n")
    running = tree.diff()
    assert "+task" in running
    assert "+new" in running
    assert git("diff", "--cached", "--name-only", at=tree.root) == "", "the task's own index is left alone"
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{role}_NAME")
        monkeypatch.delenv(f"GIT_{role}_EMAIL")
    assert tree.commit()
    assert git("log", "-1", "--format=%an %s", at=tree.root) == "Hermes Hermes task #1: do it"
    assert tree.diff() == running
    assert tree.changed() == ["a.txt", "new.txt"]
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "P")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "p@localhost")
    commit(repo, b="the person goes on")
    assert tree.diff() == running


# -- merging -----------------------------------------------------------------------------------------


def test_what_is_committed_is_counted_by_file(tree: Worktree, repo: Path) -> None:
    assert tree.stat() == {}
    tree.make()
    (tree.cwd / "a.txt").write_text("one\ntwo\n")
    (tree.cwd / "new \n file").write_text("")
    (tree.cwd / "bytes").write_bytes(b"\0\1")
    tree.commit()
    root = tree.root
    assert tree.stat() == {str(root / "a.txt"): (2, 1), str(root / "bytes"): None, str(root / "new \n file"): (0, 0)}


def worked(tree: Worktree, **files: str) -> None:
    tree.make()
    for name, text in files.items():
        (tree.root / f"{name}.txt").write_text(text)


def refused(tree: Worktree, repo: Path) -> str:
    """Why a merge is refused; nothing may have changed."""
    before, head = everything(repo), git("rev-parse", "HEAD", at=repo)
    status = git("status", "--porcelain", at=repo)
    with pytest.raises(GitError) as error:
        tree.merge()
    assert (everything(repo), git("rev-parse", "HEAD", at=repo)) == (before, head)
    assert git("status", "--porcelain", at=repo) == status
    return error.value.explain()


def test_a_merge_brings_what_the_task_changed_beside_what_the_person_did(tree: Worktree, repo: Path) -> None:
    worked(tree, a="task\n", new="new\n")
    commit(repo, b="mine\n")
    (repo / "src" / "c.txt").write_text("not committed\n")
    (repo / "untracked.txt").write_text("mine\n")
    assert tree.merge() == ["a.txt", "new.txt"]
    found = everything(repo)
    assert (found["a.txt"], found["b.txt"], found["new.txt"]) == (b"task\n", b"mine\n", b"new\n")
    assert found["src/c.txt"] == b"not committed\n"
    assert found["untracked.txt"] == b"mine\n"
    assert "nothing to merge" in refused(tree, repo)


def test_a_file_changed_on_both_sides_is_named_and_nothing_merged(tree: Worktree, repo: Path) -> None:
    worked(tree, a="task\n", b="the same\n")
    commit(repo, a="mine\n", b="the same\n")
    why = refused(tree, repo)
    assert "changed here and by the task:\n  a.txt" in why
    assert "b.txt" not in why
    assert f"git merge hermes/{TASK}" in why


@pytest.mark.parametrize("staged", [False, True])
def test_uncommitted_changes_of_the_person_are_in_the_way(tree: Worktree, repo: Path, staged: bool) -> None:
    worked(tree, a="task\n")
    (repo / "a.txt").write_text("precious\n")
    if staged:
        git("add", "a.txt", at=repo)
    assert "a.txt" in refused(tree, repo)


def test_files_that_git_does_not_know_or_ignores_are_in_the_way(tree: Worktree, repo: Path) -> None:
    worked(tree, new="task\n")
    (tree.root / "x.secret").write_text("task\n")
    git("add", "-f", "x.secret", at=tree.root)
    (repo / "x.secret").write_text("precious\n")
    assert "x.secret" in refused(tree, repo)
    (repo / "x.secret").unlink()
    (repo / "new.txt").write_text("precious\n")
    assert "new.txt" in refused(tree, repo)


def test_other_staged_changes_and_a_merge_under_way_are_told(tree: Worktree, repo: Path) -> None:
    worked(tree, a="task\n")
    (repo / "b.txt").write_text("staged\n")
    git("add", "b.txt", at=repo)
    assert "staged" in refused(tree, repo)
    git("commit", "-q", "-m", "b", at=repo)
    git("branch", "side", "HEAD~1", at=repo)
    git("switch", "-q", "side", at=repo)
    commit(repo, b="other\n")
    subprocess.run(["git", "merge", "main"], cwd=repo, capture_output=True, check=False)
    assert "Another merge" in refused(tree, repo)


def test_a_folder_in_the_place_of_a_file_leaves_everything_as_it_was(tree: Worktree, repo: Path) -> None:
    worked(tree, new="task\n")
    (repo / "new.txt").mkdir()
    (repo / "new.txt" / "inside").write_text("x")
    git("add", "-A", at=repo)
    git("commit", "-q", "-m", "folder", at=repo)
    refused(tree, repo)
    assert git("status", "--porcelain", at=repo) == ""


# -- cleaning up -------------------------------------------------------------------------------------


def test_a_merged_and_clean_tree_goes_with_its_branch(tree: Worktree, repo: Path) -> None:
    assert not tree.remove()
    worked(tree, a="task\n")
    (tree.root / "__pycache__").mkdir()
    (tree.root / "__pycache__" / "x.pyc").write_text("made again")
    tree.merge()
    assert tree.remove()
    assert not tree.root.exists()
    assert git("branch", "--list", "hermes/*", at=repo) == ""
    assert (repo / "a.txt").read_text() == "task\n"
    assert not tree.remove()


def test_nothing_uncommitted_ignored_or_unmerged_is_ever_deleted(tree: Worktree, repo: Path) -> None:
    worked(tree, a="task\n")
    with pytest.raises(GitError, match=r"not committed.*\n  a\.txt"):
        tree.remove()
    tree.commit()
    with pytest.raises(GitError, match="not merged"):
        tree.remove()
    tree.merge()
    (tree.root / "build").mkdir()
    (tree.root / "build" / "model.bin").write_text("took all night")
    with pytest.raises(GitError, match="build"):
        tree.remove()
    (tree.root / "build" / "model.bin").unlink()
    git("checkout", "-q", "-b", "of-its-own", at=tree.root)
    with pytest.raises(GitError, match="left its branch"):
        tree.remove()
    assert tree.made


def test_copies_of_the_persons_ignored_files_may_go(tree: Worktree, repo: Path) -> None:
    (repo / "keys.secret").write_text("k")
    (repo / ".worktreeinclude").write_text("*.secret\n")
    tree.make()
    (tree.root / "keys.secret").write_text("changed by the task")
    with pytest.raises(GitError, match=r"keys\.secret"):
        tree.remove()
    (tree.root / "keys.secret").write_text("k")
    assert tree.remove()


def test_a_tree_whose_folder_is_gone_is_made_again_on_its_branch(tree: Worktree, repo: Path) -> None:
    worked(tree, a="task\n")
    tree.commit()
    subprocess.run(["rm", "-rf", str(tree.root)], check=True)
    assert "+task" in tree.diff()
    tree.make()
    assert (tree.root / "a.txt").read_text() == "task\n"
