"""Where Hermes keeps what holds it back and what it must not lose: settings, rules, credentials, the store."""

import fnmatch
import os
from dataclasses import dataclass
from pathlib import Path

from agent.config import Directories

WORKTREES = "worktrees"
"""Below the state directory: the working copies of tasks."""
CHATS = "chats"
"""Below the state directory: the folders of chats, unless the settings name another place."""


@dataclass(frozen=True, slots=True)
class OwnPlaces:
    """Hermes's own folders: as written, and where their links lead.

    `free` is a workspace that lies in the state directory, a task's copy or a chat's folder: it may do there what it
    likes.
    """

    folders: tuple[Path, ...] = ()
    free: tuple[Path, ...] = ()

    @classmethod
    def of(cls, dirs: Directories | None, cwd: Path) -> "OwnPlaces":
        """Those that an agent with the workspace `cwd` must keep out of."""
        if dirs is None:
            return cls()
        states = {dirs.state, dirs.state.resolve()}
        free = [place for base in states for name in (WORKTREES, CHATS) if (place := _workspace_in(base / name, cwd))]
        return cls(tuple({*states, dirs.config, dirs.config.resolve()}), tuple(free))

    def holds(self, path: Path) -> bool:
        if any(is_below(path, place) for place in self.free):
            return False
        return any(is_below(path, place) for place in self.folders)

    def lie_in(self, path: Path) -> bool:
        """Whether a path is a folder above one of them."""
        return any(folder != path and is_below(folder, path) for folder in self.folders)

    def may_hold(self, pattern: Path) -> bool:
        """Whether a path with wildcards may stand for one that lies in them, also for one that is not there yet."""
        written = Path(os.path.normpath(pattern))
        if any(is_below(written, place) for place in self.free):
            return False
        return any(_matches(_folded(written), _folded(folder)) for folder in self.folders)

    def named_in(self, text: str) -> bool:
        """Whether a text spells one of them."""
        for place in self.free:
            text = text.replace(str(place), "")
        return any(spelling in text for folder in self.folders for spelling in _spellings(folder))


def _workspace_in(folder: Path, cwd: Path) -> Path | None:
    """The one of the workspaces in `folder` that `cwd` is in; `folder` itself where all share it."""
    there = cwd.resolve()
    if not there.is_relative_to(folder):
        return None
    inside = there.relative_to(folder).parts
    return folder / inside[0] if inside else folder if folder.name == CHATS else None


def is_below(path: Path, folder: Path) -> bool:
    """Whether a path is the folder or inside it. Case does not count: some disks do not know it."""
    there, above = _folded(path), _folded(folder)
    return there[: len(above)] == above


def _matches(pattern: list[str], folder: list[str]) -> bool:
    fits = (fnmatch.fnmatchcase(name, part) for name, part in zip(folder, pattern, strict=False))
    return len(pattern) >= len(folder) and all(fits)


def _folded(path: Path) -> list[str]:
    return [part.casefold() for part in path.parts]


def _spellings(folder: Path) -> list[str]:
    home = str(Path.home())
    written = str(folder)
    if not written.startswith(f"{home}/"):
        return [written]
    rest = written.removeprefix(home)
    return [written, f"~{rest}", f"$HOME{rest}", f"${{HOME}}{rest}"]
