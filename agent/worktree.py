"""A background task's own git worktree and branch, so that it changes nothing in the person's tree before they say so.

The tree begins as the last commit. What is not committed is never deleted: not in the person's tree, not in the task's.
See docs/background.md for what is copied, merged and cleaned up, and docs/decisions/0010 for why.
"""

import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path, PurePath

from agent import programs
from agent.commands import preview
from agent.git import GitError, attempt, author, git, names_of
from agent.guards import git_folders
from agent.own_places import WORKTREES
from agent.records import Task

BRANCHES = "hermes/"
INCLUDE = ".worktreeinclude"
"""A file at the root of a repository: patterns, as in .gitignore, of ignored files that a worktree gets a copy of."""

_MADE_AGAIN = frozenset("__pycache__ .pytest_cache .mypy_cache .ruff_cache .tox .venv venv node_modules".split())
"""Ignored folders that hold nothing of a person's: tools make them again."""
_LISTED = 12
_PLAIN = ("--no-ext-diff", "--no-textconv")
_adding = threading.Lock()


def of_task(task: Task, cwd: str, state: Path) -> "Worktree":
    """The worktree of a task that was sent from `cwd`; `state` is the state directory."""
    return Worktree(task.id, Path(cwd), state / WORKTREES, f"Hermes task #{task.number}: {preview(task.prompt)}")


@dataclass(frozen=True, slots=True)
class Worktree:
    """The tree of the task `task_id`, whose person works in `source` (absolute), kept below `folder`. `title` is the
    first line of its commits.

    Nothing is looked at before it is needed: building one is free, and it need not exist. Methods run git, so they
    block; all raise GitError.
    """

    task_id: str
    source: Path
    folder: Path
    title: str = "Work of a background task"

    @property
    def root(self) -> Path:
        return self.folder / self.task_id

    @property
    def branch(self) -> str:
        return BRANCHES + self.task_id

    @property
    def made(self) -> bool:
        return (self.root / ".git").exists()

    @property
    def cwd(self) -> Path:
        """Where the task works: as deep in its tree as the person is in theirs."""
        return self.root / self.source.resolve().relative_to(_root_of(self.source))

    # -- making --------------------------------------------------------------------------------------

    def check(self) -> list[str]:
        """Before a task starts: whether a worktree can be made, and which files it will lack, being uncommitted."""
        if programs.find("git", self.source) is None:
            raise GitError("--worktree needs git.", hint="Install git, or leave --worktree out.")
        root = _root_of(self.source)
        if attempt("rev-parse", "--verify", "-q", "HEAD^{commit}", cwd=root) is None:
            raise GitError("This repository has no commit to start from.", hint="Commit something first.")
        if (root / ".gitmodules").exists() and attempt("config", "-f", ".gitmodules", "--list", cwd=root):
            raise GitError(
                "This repository has submodules, which would be empty in a worktree.", hint="Leave --worktree out."
            )
        if attempt("rev-parse", "--verify", "-q", f"refs/heads/{BRANCHES.rstrip('/')}", cwd=root) is not None:
            raise GitError(
                "A branch called hermes is in the way of hermes/….", hint="Rename it: git branch -m hermes other-name"
            )
        return _uncommitted(root)

    def is_as_the_person_sees(self) -> bool:
        """Whether reading in `source` shows what the tree would hold."""
        return not _uncommitted(_root_of(self.source))

    def make(self) -> None:
        """Make the tree, on its branch, from the last commit; nothing where it is made already."""
        with _adding:
            if self.made:
                return
            self.check()
            try:
                self._make(_root_of(self.source))
            except OSError as error:
                raise GitError(f"{error.filename or self.root}: {error.strerror or error}.") from error

    def _make(self, root: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._tip(root):
            git("worktree", "add", "-q", "--force", str(self.root), self.branch, cwd=root)
        else:
            git("worktree", "add", "-q", "--no-track", "-b", self.branch, str(self.root), "HEAD", cwd=root)
        self._copy_included(root)
        self.cwd.mkdir(parents=True, exist_ok=True)

    def _copy_included(self, root: Path) -> None:
        if not (root / INCLUDE).is_file():
            return
        listed = names_of("ls-files", "-z", "--others", "--ignored", f"--exclude-from={root / INCLUDE}", cwd=root)
        for name in listed:
            source, target = root / name, self.root / name
            ignored = attempt("check-ignore", "-q", "--", name, cwd=root) is not None
            if ignored and source.is_file() and not source.is_symlink() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    # -- what the task did ---------------------------------------------------------------------------

    def commit(self) -> bool:
        """Commit whatever the task has changed, on its branch. False when there was nothing."""
        if not self.made:
            return False
        self._require_its_own()
        git("add", "-A", cwd=self.root)
        if attempt("diff-index", "--cached", "--quiet", "HEAD", cwd=self.root) is not None:
            return False
        git("commit", "-q", "--no-verify", "-m", self.title, cwd=self.root, env=author(self.root))
        return True

    def diff(self) -> str:
        """All that the task has changed so far, committed or not, new files included: a unified diff."""
        root = _root_of(self.source)
        tip = self._tip(root)
        if not self.made:
            return git("diff", *_PLAIN, self._base(root, tip), tip, cwd=root) if tip else ""
        self._require_its_own()
        with tempfile.TemporaryDirectory() as folder:
            # An index aside: the task may be using its own right now.
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            git("read-tree", "HEAD", cwd=self.root, env=env)
            git("add", "-A", cwd=self.root, env=env)
            return git("diff", *_PLAIN, "--cached", self._base(root, "HEAD", at=self.root), cwd=self.root, env=env)

    def changed(self) -> list[str]:
        """The files that are changed on the branch, as far as it is committed."""
        root = _root_of(self.source)
        tip = self._tip(root)
        return _changes(root, self._base(root, tip), tip) if tip else []

    def stat(self) -> dict[str, tuple[int, int] | None]:
        """The files that are `changed`, by their paths, with the lines added and removed; None for one of no text."""
        root = _root_of(self.source)
        if not (tip := self._tip(root)):
            return {}
        flags = (*_PLAIN, "--numstat", "--no-renames", "-z")
        rows = [row.split("\t", 2) for row in names_of("diff", *flags, self._base(root, tip), tip, cwd=root)]
        return {str(self.root / name): None if added == "-" else (int(added), int(gone)) for added, gone, name in rows}

    # -- bringing it home ----------------------------------------------------------------------------

    def merge(self) -> list[str]:
        """Bring the branch into the person's, and say which files came.

        Refused, with nothing changed, where a file was changed on both sides or would be overwritten.
        """
        root = _root_of(self.source)
        self.commit()
        tip = self._tip(root)
        if not tip:
            raise GitError("The task has changed nothing.")
        if attempt("symbolic-ref", "-q", "HEAD", cwd=root) is None:
            raise GitError("You are on no branch.", hint="Make one first: git switch -c NAME")
        files = self.changed()
        if not files:
            raise GitError("There is nothing to merge: the task has changed nothing that is not here already.")
        if attempt("rev-parse", "--verify", "-q", "MERGE_HEAD", cwd=root) is not None:
            raise GitError("Another merge is under way here.", hint="End it first: git commit, or git merge --abort")
        self._require_one_side(root, tip, files)
        _require_free(root, files)
        flags = ["--ff", "--no-edit", "--no-verify", "--no-autostash", "-q", "-m", f"Merge {self.branch}: {self.title}"]
        try:
            git("merge", *flags, self.branch, cwd=root, env=author(root))
        except GitError:
            attempt("merge", "--abort", cwd=root)
            raise
        return files

    def _require_one_side(self, root: Path, tip: str, files: list[str]) -> None:
        mine = set(_changes(root, self._base(root, tip), "HEAD")) & set(_changes(root, "HEAD", tip))
        if both := [name for name in files if name in mine]:
            raise GitError(
                f"Not merged: changed here and by the task:\n{_listed(both)}",
                hint=f"See `git diff HEAD...{self.branch}`; to settle it by hand: git merge {self.branch}",
            )

    # -- cleaning up ---------------------------------------------------------------------------------

    def remove(self) -> bool:
        """Remove tree and branch. False when there are none.

        Refused unless everything in the tree is committed and the person's branch has all of it.
        """
        root = _root_of(self.source)
        tip = self._tip(root)
        if not self.made and not tip:
            return False
        if self.made:
            self._require_its_own()
        if self.made and (left := self._only_here(root)):
            raise GitError(f"Kept: not committed in {self.root}:\n{_listed(left)}")
        if self.made and attempt("symbolic-ref", "-q", "HEAD", cwd=self.root) != f"refs/heads/{self.branch}":
            raise GitError(f"Kept: the task has left its branch in {self.root}.")
        on_branch = attempt("symbolic-ref", "-q", "HEAD", cwd=root) is not None
        if tip and not (on_branch and attempt("merge-base", "--is-ancestor", tip, "HEAD", cwd=root) is not None):
            hint = "/tasks diff N shows it, /tasks merge N merges it."
            raise GitError(f"Kept: {self.branch} is not merged.", hint=hint)
        if self.made:
            # What is left is made again by tools, or a copy; `--force` would also take what came since.
            git("worktree", "remove", str(self.root), cwd=root)
        if tip:
            git("update-ref", "-d", f"refs/heads/{self.branch}", tip, cwd=root)
        return True

    def _only_here(self, root: Path) -> list[str]:
        found = names_of("status", "--porcelain", "-z", "--no-renames", "-uall", "--ignored=matching", cwd=self.root)
        rest = [name for name in found if not (name[:2] == "!!" and _MADE_AGAIN & set(PurePath(name[3:]).parts))]
        names = [name[3:].rstrip("/") for name in rest]
        return [name for name in names if not _same(self.root / name, root / name)]

    # -- where it stands -----------------------------------------------------------------------------

    def _require_its_own(self) -> None:
        """That `.git` in the tree still leads to the person's repository: git runs what the one it leads to names.

        Raises: GitError.
        """
        common = attempt("rev-parse", "--path-format=absolute", "--git-common-dir", cwd=_root_of(self.source))
        folders = git_folders(self.root)
        if not common or (self.root / ".git").is_symlink() or folders[1:] != (Path(common).resolve(),):
            hint = "Look at what is there by hand; no git command is safe in that folder before."
            raise GitError(f"{self.root / '.git'} leads to another repository than it did.", hint=hint)

    def _tip(self, root: Path) -> str:
        """The branch's last commit, "" when there is no branch."""
        return attempt("rev-parse", "--verify", "-q", f"refs/heads/{self.branch}^{{commit}}", cwd=root) or ""

    def _base(self, root: Path, tip: str, at: Path | None = None) -> str:
        """The last commit that the person's branch and the task's have in common."""
        here = git("rev-parse", "HEAD", cwd=root).strip()
        common = attempt("merge-base", here, tip, cwd=at or root)
        if common is None:
            raise GitError(f"{self.branch} and your branch have no commit in common.")
        return common


# -- the person's tree -------------------------------------------------------------------------------


def _root_of(folder: Path) -> Path:
    found = attempt("rev-parse", "--show-toplevel", cwd=folder) if programs.find("git", folder) else None
    if not found:
        raise GitError(f"{folder} is in no git repository.", hint="Leave --worktree out, or run `git init`.")
    return Path(found)


def _uncommitted(root: Path) -> list[str]:
    found = names_of("status", "--porcelain", "-z", "--no-renames", "-uall", cwd=root)
    return [name[3:] for name in found]


def _changes(root: Path, before: str, after: str) -> list[str]:
    return names_of("diff", "--name-only", "--no-renames", "-z", before, after, cwd=root)


def _require_free(root: Path, files: list[str]) -> None:
    """That nothing of the person's stands where a merge would write."""
    tracked = set(names_of("ls-files", "-z", cwd=root))
    # What git ignores it would overwrite without a word.
    in_the_way = {name for name in files if name not in tracked and os.path.lexists(root / name)}
    if mine := sorted(in_the_way | (set(_uncommitted(root)) & set(files))):
        raise GitError(
            f"Not merged: these have changes of yours that are not committed:\n{_listed(mine)}",
            hint="Commit, stash or move them, then merge again.",
        )
    if staged := names_of("diff", "--cached", "--name-only", "-z", cwd=root):
        raise GitError(
            f"Not merged: these changes of yours are staged:\n{_listed(staged)}",
            hint="Commit or unstage them, then merge again.",
        )


def _same(one: Path, other: Path) -> bool:
    if one.is_dir() and not one.is_symlink():
        return all(_same(child, other / child.name) for child in one.iterdir())
    try:
        return not one.is_symlink() and other.is_file() and one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _listed(names: list[str]) -> str:
    more = [f"  … and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return "\n".join([*(f"  {name}" for name in names[:_LISTED]), *more])
