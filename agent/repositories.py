"""Whether git, asked only to tell something, would run what a repository names: filters, drivers, hooks, fetches.

A repository comes with what is in its folder, so its own settings are as strange as its files; those of the person are
not looked at. Only settings that are known to run nothing when git reads are let pass. Submodules count, for
`git status` and `git diff` look into them, and git takes away there what Hermes sets for the outer one.
"""

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

_MOST_BYTES = 1_000_000
"""Of a file with settings; nobody writes longer ones."""
_MOST_SUBMODULES = 200
_GITLINK = b"\x00\x00\xe0\x00"
"""The mode of a submodule in the index."""

_HARMLESS_SECTIONS = frozenset(
    "advice author branch color column commit committer credential difftool feature fetch gc github gitflow gui "
    "http i18n index init lfs maintenance merge mergetool notes pack pull push rebase receive rerere stash submodule "
    "tag transfer url user versionsort vscode".split()
)
"""Sections in which no setting makes a command that only reads run anything, read elsewhere or fetch."""
_HARMLESS = re.compile(
    r"core\.(?:repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks|autocrlf|eol|"
    r"safecrlf|quotepath|abbrev|compression|loosecompression|bigfilethreshold|longpaths|untrackedcache|preloadindex|"
    r"sharedrepository|sparsecheckout|sparsecheckoutcone|commitgraph|multipackindex|protecthfs|protectntfs|trustctime|"
    r"checkstat|fscache|hidedotfiles|whitespace|warnambiguousrefs|commentchar|editor|splitindex)|"
    r"remote\..*\.(?:url|fetch|pushurl|push|mirror|tagopt|prune|prunetags|gh-resolved|skipfetchall|skipdefaultupdate)|"
    r"diff\.(?:algorithm|renames|renamelimit|colormoved|mnemonicprefix|noprefix|context|indentheuristic|wserrorhighlight)|"
    r"diff\..*\.(?:xfuncname|funcname|wordregex|binary)|log\.(?:date|decorate|follow|abbrevcommit)|remote\.pushdefault|"
    r"status\.(?:short|branch|showuntrackedfiles|relativepaths|showstash)|"
    r"extensions\.(?:worktreeconfig|objectformat|refstorage|preciousobjects|noop|relativeworktrees)",
    re.DOTALL,
)
_HEAD = re.compile(rb"(?:ref: refs/[\x21-\x7e\x80-\xff]+|[0-9a-f]{40}|[0-9a-f]{64})\n")
_PATH_IN_FILE = re.compile(rb"([^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?)\n?")
"""A path as git writes it. Git keeps blanks at its ends, which are easily lost elsewhere."""
_PLAIN_PATH = re.compile(r"[\w./~-]+", re.ASCII)
_SECTION = re.compile(r"\[\s*([\w.-]+)\s*(?:\"((?:[^\"\\]|\\.)*)\"\s*)?\]", re.ASCII)
_SETTING = re.compile(r"([A-Za-z][A-Za-z0-9-]*)[ \t]*(?:=[ \t]*(.*))?")


def runs_nothing(folder: Path) -> bool:
    """True when git may be asked in a folder: nothing runs but git, and nothing is fetched."""
    try:
        return all(map(_is_harmless, _found_from(folder.resolve())))
    except (OSError, RuntimeError, ValueError, IndexError, struct.error):
        return False


def _found_from(folder: Path) -> Iterator[Path]:
    """The worktree that a folder is in, if any. Without a `HEAD` git takes no folder for a repository.

    Raises: ValueError: git would take a folder for a repository without a worktree.
    """
    for place in (folder, *folder.parents):
        git = place / ".git"
        if git.exists() and (not git.is_dir() or os.path.lexists(git / "HEAD")):
            yield place
            return
        if _is_bare(place):
            raise ValueError("a repository without a worktree")


def _is_bare(folder: Path) -> bool:
    """Whether a folder is itself what `.git` is elsewhere. Its objects may lie where `commondir` says."""
    there = (folder / "HEAD").exists() or (folder / "HEAD").is_symlink()
    return there and ((folder / "commondir").exists() or (folder / "refs").exists())


def _is_harmless(worktree: Path, *, nested: bool = False, depth: int = 4) -> bool:
    git, common = _git_directories(worktree / ".git")
    hooks, plain = [common / "hooks"], True
    for file in {git / "config", common / "config", git / "config.worktree", common / "config.worktree"}:
        for name, value in _settings(file):
            plain = plain and name != "extensions.objectformat"
            if name == "core.hookspath" and _PLAIN_PATH.fullmatch(value):
                hooks.append(worktree / Path(value).expanduser())
            elif name == "core.worktree" and (git / value).resolve() == worktree.resolve():
                continue  # As in a submodule.
            elif name == "blame.ignorerevsfile" and (worktree / value).resolve().is_relative_to(worktree):
                continue
            elif not _is_known(name, value, nested=nested):
                return False
    if any((folder / "post-index-change").exists() for folder in hooks):
        return False  # Git writes the index when it only looks whether files have changed.
    inner = [worktree / name for name in _submodules(git, plain=plain)]
    there = [place for place in inner if (place / ".git").exists()]
    return depth > 0 and all(_is_harmless(place, nested=True, depth=depth - 1) for place in there)


def _git_directories(named: Path) -> tuple[Path, Path]:
    """What `.git` leads to, and the folder that it shares with other worktrees.

    Raises: ValueError: it is not certain that git takes it for a repository; if not, it goes on to the folders above.
    """
    git = named if named.is_dir() else named.parent / _path_in(named, b"gitdir: ")
    shared = git / "commondir"
    common = git / _path_in(shared, b"") if os.path.lexists(shared) else git
    head = git / "HEAD"
    plain = not head.is_symlink() and _HEAD.fullmatch(_read(head))
    if not plain or not all(_can_be_entered(common / name) for name in ("objects", "refs")):
        raise ValueError("not a repository for certain")
    return git, common


def _path_in(file: Path, start: bytes) -> str:
    """The path that is all a file holds behind `start`. Raises: ValueError: it is not plainly written."""
    text = _read(file)
    found = _PATH_IN_FILE.fullmatch(text.removeprefix(start)) if text.startswith(start) else None
    if found is None:
        raise ValueError("a path of an unusual kind")
    return os.fsdecode(found[1])


def _read(file: Path) -> bytes:
    """What is in a file of git's. Raises: ValueError: it is none, or too long."""
    if not file.is_file():
        raise ValueError("not a file")
    with file.open("rb") as opened:
        text = opened.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise ValueError("a file of an unusual size")
    return text


def _can_be_entered(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.X_OK)


def _is_known(name: str, value: str, *, nested: bool) -> bool:
    if name == "core.fsmonitor":
        # In the outer repository Hermes switches it off.
        return not nested or value.lower() in ("true", "false")
    return name.partition(".")[0] in _HARMLESS_SECTIONS or bool(_HARMLESS.fullmatch(name))


def _settings(file: Path) -> Iterator[tuple[str, str]]:
    """The names, in small letters, and values in a file. What is not plainly written has a name that nobody knows."""
    if not file.exists():
        return
    text = _read(file).decode(errors="replace")
    if "\r" in text.replace("\r\n", "\n") or "\\\n" in text.replace("\r\n", "\n"):
        yield "", ""
    section = ""
    for line in text.removeprefix("\ufeff").split("\n"):
        rest = line.strip()
        if found := _SECTION.match(rest):
            section = f"{found[1]}.{found[2]}" if found[2] is not None else found[1]
            rest = rest[found.end() :].strip()
        if not rest or rest[0] in "#;":
            continue
        setting = _SETTING.fullmatch(rest)
        yield (f"{section}.{setting[1]}".lower(), setting[2] or "") if setting else ("", "")


def _submodules(git: Path, *, plain: bool) -> list[str]:
    """The paths of submodules in the index, `plain` with short names of objects. Raises: ValueError: not known."""
    if any(_GITLINK in shared.read_bytes() for shared in git.glob("sharedindex.*")):
        raise ValueError("a shared index with submodules")
    index = git / "index"
    data = index.read_bytes() if index.is_file() else b""
    if _GITLINK not in data:
        return []
    _signature, version, count = struct.unpack_from(">4sII", data)
    names = [name for mode, name in _entries(data, count) if mode == 0o160000] if plain and version in (2, 3) else []
    if not names or len(names) > _MOST_SUBMODULES:
        raise ValueError("an index of an unusual kind")
    return names


def _entries(data: bytes, count: int) -> Iterator[tuple[int, str]]:
    """Mode and path of each entry of an index with names of 20 bytes for its objects."""
    position = 12
    for _ in range(count):
        (mode,) = struct.unpack_from(">I", data, position + 24)
        (flags,) = struct.unpack_from(">H", data, position + 60)
        start = position + (64 if flags & 0x4000 else 62)
        end = data.index(b"\0", start)
        yield mode, data[start:end].decode(errors="surrogateescape")
        position += (end - position + 8) // 8 * 8
