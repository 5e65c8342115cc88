"""Turns that change a tree at random, and rollbacks that must give back what was there, byte for byte."""

import os
import random
import shutil
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from agent.checkpoints import Checkpoints
from agent.protocols import Action
from agent.unsaved import is_older, made_at
from tests.support.turns import wait_until

NAMES = ["a.txt", "b.bin", "src/main.py", "src/deep/er/x.txt", "docs/ü n.md", "run.sh", "-dash", "l1", "l2"]
SWAPPED = ["swap", "swap/in", "swap/in/deep", "src"]
"""A file, a folder or a link, by turns."""


def contents(root: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file but git's own: what it holds, and whether it may be run. A link holds where it leads."""
    found: dict[str, tuple[bytes, bool]] = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = (b"-> " + os.fsencode(path.readlink()), False)
        elif path.is_file() and not name.startswith(".git/"):
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
    return found


class Undone:
    """A workspace, what it held before each turn, and the checkpoints that must agree."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self._root = root / "work"
        self._root.mkdir()
        self._chance = chance
        self._kept = Checkpoints(root / "state", "random", self._root)
        self._before: list[dict[str, tuple[bytes, bool]]] = []
        self.turns = self.rollbacks = 0

    def run(self, turns: int) -> None:
        """Raises: AssertionError when a rollback gives back anything else."""
        while self.turns < turns:
            self._turn()
            if self._before and self._chance.random() < 0.25:
                self._roll_back(self._chance.randint(1, min(len(self._before), 6)))
        self._roll_back(len(self._before))

    def _turn(self) -> None:
        before = contents(self._root)
        self._kept.begin(f"turn {self.turns}", self.turns)
        for _ in range(self._chance.randint(1, 4)):
            names = self._chance.sample([*NAMES, *SWAPPED], self._chance.randint(1, 3))
            paths = tuple(self._root / name for name in names)
            by_command = self._chance.random() < 0.5
            by_command = by_command or any(map(self._blocked, paths))
            action = Action("execute", "x", command="make") if by_command else Action("write", "x", paths)
            assert self._kept.before(action) == ""
            for path in paths:
                if by_command:
                    self._clear(path)
                if by_command or not self._blocked(path):
                    self._change(path, links=by_command)
            self._kept.after(action)
        self._kept.end()
        self.turns += 1
        if contents(self._root) != before:
            self._before.append(before)
        else:
            # Nothing changed on the whole: what is kept of it changes nothing, too.
            if self._counts() > len(self._before):
                self._kept.roll_back(self._kept.plan(1))

    def _counts(self) -> int:
        return len(self._kept.turns())

    def _blocked(self, path: Path) -> bool:
        """Whether something else stands there, or on the way, than a file that a tool could write."""
        parents = [parent for parent in path.parents if parent.is_relative_to(self._root)]
        return path.is_symlink() or path.is_dir() or any(one.is_symlink() or one.is_file() for one in parents)

    def _clear(self, path: Path) -> None:
        for parent in reversed([parent for parent in path.parents if parent.is_relative_to(self._root)]):
            if parent.is_symlink() or parent.is_file():
                parent.unlink()
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)

    def _change(self, path: Path, *, links: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        match self._chance.randint(0, 6):
            case 0 if path.exists() or path.is_symlink():
                path.unlink()
            case 1 if path.is_file() and not path.is_symlink():
                path.chmod(path.stat().st_mode ^ 0o111)
            case 2 if links:
                path.unlink(missing_ok=True)
                path.symlink_to(self._chance.choice([f"target {self._chance.random()}", str(self._root / "docs")]))
            case 3 if links and not path.is_symlink() and not path.exists():
                path.mkdir()
            case _:
                if path.is_symlink():
                    path.unlink()
                path.write_bytes(self._chance.choice([b"", b"x\r\ny\n", self._chance.randbytes(200)]))

    def _roll_back(self, turns: int) -> None:
        if not turns:
            return
        plan = self._kept.plan(turns)
        assert not plan.edited
        self._kept.roll_back(plan)
        del self._before[len(self._before) - turns + 1 :]
        assert contents(self._root) == self._before.pop()
        self.rollbacks += 1


class Unsaved:
    """A turn over files that a snapshot leaves out, which no rollback may delete."""

    NAMES = ("a.txt", "data.txt", "huge.bin", "cache/one", "cache/two", "src/b.txt", ".git/config", "nested/c.txt")
    IGNORED = ("data.txt", "cache/", "*.bin", "src/b.txt", "nested", "none")

    def __init__(self, root: Path, chance: random.Random, *, largest: int) -> None:
        self._root, self._chance, self._largest = root / "work", chance, largest
        self._kept = Checkpoints(root / "state", "random", self._root)
        for name in self.NAMES:
            self._write(name)
        for name in ("objects", "refs"):
            (self._root / "nested" / ".git" / name).mkdir(parents=True)
        (self._root / "nested" / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        self._ignore()

    def run(self) -> None:
        """Raises: AssertionError when a rollback deletes a file that was there, or the last copy of what was in one."""
        before = self._held()
        wait_until(lambda: self._is_old(before))
        self._kept.begin("x", 0)
        assert self._kept.before(Action("execute", "x", command="make")) == ""
        for _ in range(self._chance.randint(1, 6)):
            self._change()
        self._kept.end()
        after = self._held()
        self._kept.roll_back(self._kept.plan(), overwrite=True)
        now = self._held()
        assert before.keys() & after.keys() <= now.keys()
        assert {*before.values()} & {*after.values()} <= {*now.values()}

    def _held(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self._root.rglob("*") if path.is_file()}

    def _is_old(self, paths: Iterable[Path]) -> bool:
        return made_at(self._root) is None or all(is_older(path, time.time()) for path in paths)

    def _change(self) -> None:
        match self._chance.randint(0, 4):
            case 0:
                self._ignore()
            case 1:
                self._any().rename(self._root / f"moved-{self._chance.random()}")
            case 2:
                path = self._any()
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            case _:
                self._write(self._chance.choice([*self.NAMES, "new.txt", "cache/new"]))

    def _any(self) -> Path:
        return self._chance.choice([path for path in sorted(self._root.rglob("*")) if path.name != ".gitignore"])

    def _ignore(self) -> None:
        (self._root / ".gitignore").write_text("\n".join(self._chance.sample(self.IGNORED, 3)))

    def _write(self, name: str) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = self._chance.choice([8, self._largest - 1, self._largest + 1])
        path.write_bytes(self._chance.randbytes(size))
