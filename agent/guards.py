"""What of a workspace other programs run or believe, and how it is kept from commands behind the wall.

Git runs what a repository's hooks and settings name, Hermes believes `.hermes`. What is there is shut; what is missing
is masked where the means can; and what came all the same, or was exchanged, is put aside when the command is over.
"""

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_IN_GIT = ("hooks", "config", "config.worktree", "commondir", "modules", "worktrees")
"""In a repository's folder: what leads git to programs, by itself or through another folder."""
_MASKED = {"hooks": True, "config": False}
"""Those that an empty folder (True) or an empty file stands in for: git takes that as if there were none."""
_FIRST = 4_096
"""Bytes of a file that are remembered."""

_SECTION = re.compile(r'\[(core|user|init|pull|extensions|(branch|remote) "[^"\\]*")\]')
_PLAIN = re.compile(
    r"(repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks|name|email|"
    r"defaultbranch|remote|merge|rebase|fetch|url|objectformat|refstorage)\s*=(?!.*(::|\\$)).*",
    re.IGNORECASE,
)


def holds(parts: Sequence[str]) -> bool:
    """Whether a path in a workspace, relative to it, is of what git or Hermes act on. Case does not count."""
    return not {part.casefold() for part in parts}.isdisjoint((".git", ".hermes"))


def git_folders(workspace: Path) -> tuple[Path, ...]:
    """Where the workspace's repository keeps its own, links followed: none, one, or a worktree's and the common one."""
    here = workspace / ".git"
    if not here.is_file():
        return (here.resolve(),) if here.is_dir() else ()
    found = _named(here, "gitdir: ")
    if found is None:
        return ()
    common = _named(found / "commondir", "")
    return tuple(dict.fromkeys((found, common or found)))


def _named(file: Path, lead: str) -> Path | None:
    """The folder that a file names after `lead`, relative to its own."""
    try:
        text = file.read_text("utf-8", errors="surrogateescape")[:_FIRST].strip()
        return (file.parent / text.removeprefix(lead)).resolve() if text.startswith(lead) and text else None
    except (OSError, ValueError):
        return None


def shut(workspace: Path) -> list[Path]:
    """What is there and must stay as it is, as written and where links lead."""
    places = [workspace / ".hermes", *(folder / name for folder in git_folders(workspace) for name in _IN_GIT)]
    if (workspace / ".git").is_file():
        places.append(workspace / ".git")
    return list(dict.fromkeys(place.resolve() for place in places if place.exists()))


def missing(workspace: Path) -> dict[Path, bool]:
    """What is not there and must not come: whether an empty folder stands in for it, or an empty file."""
    inside = [folder for folder in git_folders(workspace) if folder.is_relative_to(workspace)]
    places = {folder / name: is_folder for folder in inside for name, is_folder in _MASKED.items()}
    places[workspace / ".hermes"] = True
    return {place: is_folder for place, is_folder in places.items() if not os.path.lexists(place)}


# -- when the command is over ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guard:
    """What was not there before a command, and a `.git` that is no folder. `settle` is called when it is over."""

    workspace: Path
    before: dict[Path, str | bytes | None]

    @classmethod
    def of(cls, workspace: Path) -> "Guard":
        inside = [folder for folder in git_folders(workspace) if folder.is_relative_to(workspace)]
        places = [workspace / ".hermes", *(folder / name for folder in inside for name in _IN_GIT)]
        before: dict[Path, str | bytes | None] = dict.fromkeys(place for place in places if not os.path.lexists(place))
        if (now := _look(workspace / ".git")) != "folder":
            before[workspace / ".git"] = now
        return cls(workspace, before)

    def settle(self) -> str:
        """Put aside what other programs would run or believe. Says what and where, "" when there was nothing."""
        return "; ".join(self._put_aside())

    def _put_aside(self) -> Iterator[str]:
        for place, before in self.before.items():
            now = _look(place)
            if now is None or now == before or (before is None and _is_harmless(place)):
                continue
            away = place.with_name(f"{place.name}.refused-{secrets.token_hex(2)}")
            with suppress(OSError):
                place.rename(away)
                _restore(place, before)
                name = place.relative_to(self.workspace) if place.is_relative_to(self.workspace) else place
                yield f"{name} may not be made or changed in the sandbox and was moved to {away.name}"


def _look(place: Path) -> str | bytes | None:
    """What a place is: None, "folder", where a link leads (a text), or how a file begins."""
    try:
        if place.is_symlink():
            return f"link {place.readlink()}"
        if place.is_dir():
            return "folder"
        with place.open("rb") as file:
            return file.read(_FIRST)
    except OSError:
        return "unreadable" if os.path.lexists(place) else None


def _restore(place: Path, before: str | bytes | None) -> None:
    """Only what is small is exchanged at all: files and links."""
    if isinstance(before, bytes):
        place.write_bytes(before)
    elif before is not None and before.startswith("link "):
        place.symlink_to(before.removeprefix("link "))


def _is_harmless(place: Path) -> bool:
    """Whether something new leads to no program: a plain repository, hooks that are samples, plain settings."""
    if place.is_symlink():
        return False
    match place.name:
        case ".git":
            return place.is_dir() and all(
                not os.path.lexists(place / name) or _is_harmless(place / name) for name in _IN_GIT
            )
        case "hooks":
            return place.is_dir() and all(entry.name.endswith(".sample") for entry in place.iterdir())
        case "config":
            return place.is_file() and _is_plain(place)
        case _:
            return place.is_dir() and not any(place.iterdir())


def _is_plain(config: Path) -> bool:
    try:
        lines = [line.strip() for line in config.read_text("utf-8").split("\n")]
    except (OSError, ValueError):
        return False
    return all(not line or _SECTION.fullmatch(line) or _PLAIN.fullmatch(line) for line in lines)
