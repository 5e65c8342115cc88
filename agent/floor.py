"""What no rule allows and no answer makes run: wiping a machine, bombs, and changing what holds Hermes itself back.

Only `--yolo` goes below it. The floor is coarse on purpose. It knows the few commands that end a machine or these
safeguards; what is merely unwise is for the person who is asked.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from agent import memory
from agent.config import Directories
from agent.protocols import Action
from agent.reading import read_by, written_by
from agent.shell import Command, Line

_SYSTEM = frozenset(
    "/ /bin /boot /dev /etc /home /lib /lib64 /opt /proc /root /run /sbin /srv /sys /usr /usr/bin /usr/lib /usr/local "
    "/var /var/lib /Applications /Library /System /Users /Volumes".split()
)
_DISK = re.compile(r"/dev/(?:sd|hd|vd|xvd|nvme|mmcblk|disk|rdisk|mapper/|dm-|md|loop|zram|mem$|kmem$|port$)")
_BOMB = re.compile(r"(?P<name>[\w:.]+)\s*\(\)\s*\{[^}]*?(?P=name)\s*\|\s*(?P=name)\s*&[^}]*\}")
_WIPERS = re.compile(r"mkfs(?:\..*)?|wipefs|blkdiscard|sgdisk|fdisk|sfdisk|parted|mkswap|cryptsetup|badblocks|hdparm")
_REMOVERS = frozenset({"rm", "shred", "unlink", "srm", "rmdir", "mv", "chmod", "chown", "chgrp", "chattr", "setfacl"})


def below_floor(tool: str, action: Action, line: Line, cwd: Path, dirs: Directories | None) -> str:
    """Why an action may not be done at all; "" when it may be thought about."""
    own = _own_places(dirs)
    if action.kind == "execute":
        return _of_line(action.command, line, cwd, own)
    changed = set(action.paths) - (_notes(dirs) if tool == "memory" else set())
    if action.kind == "write" and any(_holds(place, path) for path in changed for place in own):
        return "it would change Hermes's own settings, rules or store"
    return ""


def _own_places(dirs: Directories | None) -> tuple[Path, ...]:
    """The folders that hold settings, rules, credentials and the store: as written, and where their links lead."""
    folders = (dirs.config, dirs.state) if dirs else ()
    return tuple({place for folder in folders for place in (folder, folder.resolve())})


def _notes(dirs: Directories | None) -> set[Path]:
    """What the agent may note things in, when a person agrees."""
    return (
        {path for folder in (dirs.config, dirs.config.resolve()) for path in memory.places(folder)} if dirs else set()
    )


def _holds(folder: Path, path: Path) -> bool:
    there, above = _folded(path), _folded(folder)
    return there[: len(above)] == above


def _folded(path: Path) -> list[str]:
    return [part.casefold() for part in path.parts]


def _of_line(text: str, line: Line, cwd: Path, own: Sequence[Path]) -> str:
    if _BOMB.search(text):
        return "it is a fork bomb"
    for command in line.commands:
        if why := _of_command(command, cwd):
            return why
        if why := _against_own(command, cwd, own):
            return why
    if not line.understood and any(spelling in text for folder in own for spelling in _spellings(folder)):
        return "it names Hermes's own folders in a line that is not understood"
    return ""


def _of_command(command: Command, cwd: Path) -> str:
    name = PurePosixPath(command.name).name
    words = command.argv[1:]
    for target in command.writes:
        if _DISK.match(target.text):
            return f"it would write over the disk {target.text}"
    if _WIPERS.fullmatch(name) and any(not word.startswith("-") for word in words) and "-l" not in words:
        return f"{name} changes or wipes disks"
    if name in ("dd", "tee", "cp", "shred", "cat") and (disk := _disk_written(name, words)):
        return f"it would write over the disk {disk}"
    if name in _REMOVERS and any(re.match(r"-\w*[rRf]|--recursive|--no-preserve-root", word) for word in words):
        for word in words:
            if not word.startswith("-") and _is_system(word, cwd):
                return f"{name} on {word} would take the machine down"
    if name == "find" and {"-delete", "rm"}.intersection(words) and _is_system(words[0], cwd):
        return f"find on {words[0]} would take the machine down"
    if name in ("kill", "pkill", "killall") and words and words[-1] == "-1":
        return "it would end every process"
    return ""


def _disk_written(name: str, words: Sequence[str]) -> str:
    targets = [word.removeprefix("of=") for word in words if word.startswith("of=")] if name == "dd" else list(words)
    targets = targets[-1:] if name == "cp" else targets if name != "cat" else []
    return next((word for word in targets if _DISK.match(word)), "")


def _is_system(word: str, cwd: Path) -> bool:
    """Whether a word names the root, a home as a whole, or a folder that the system lives in, or all that is in one."""
    stem = re.sub(r"(?<=/)(?:\*|\.\*|\{.*\})$", "", word.strip("'\""))
    stem = re.sub(r"^(?:~|\$HOME|\$\{HOME\})(?=/|$)", str(Path.home()), stem)
    if not stem or re.search(r"[$`*?\[]", stem):
        return False
    try:
        path = (cwd / stem).resolve()
        written = Path(PurePosixPath(re.sub(r"/+", "/", str(cwd / stem))))
    except (OSError, RuntimeError, ValueError):
        return False
    if path == cwd.resolve():
        return False
    return str(path) in _SYSTEM or str(written) in _SYSTEM or path == Path.home().resolve() or path in cwd.parents


def _against_own(command: Command, cwd: Path, own: Sequence[Path]) -> str:
    """Whatever a command that is not known to only read may do to Hermes's own folders, it may not do."""
    written = written_by(command, frozenset({cwd})) or []
    if any(_holds(place, path) for path in written for place in own):
        return "it would change Hermes's own settings, rules or store"
    if read_by(command, frozenset({cwd}), cwd) is not None or not _names_any(command, cwd, own):
        return ""
    return "it could change Hermes's own settings, rules or store"


def _names_any(command: Command, cwd: Path, own: Sequence[Path]) -> bool:
    texts = [word.text for word in command.words[1:]]
    if any(spelling in text for text in texts for folder in own for spelling in _spellings(folder)):
        return True
    named = [path for path in _paths(texts, cwd) if path != cwd]
    return any(_holds(place, path) for path in named for place in own)


def _paths(texts: Iterable[str], cwd: Path) -> Iterable[Path]:
    for text in texts:
        if "/" in text and not re.search(r"[\s$*?\[]|://", text):
            try:
                yield (cwd / text.rpartition("=")[2]).resolve()
            except (OSError, RuntimeError, ValueError):
                continue


def _spellings(folder: Path) -> list[str]:
    home = str(Path.home())
    written = str(folder)
    if not written.startswith(f"{home}/"):
        return [written]
    rest = written.removeprefix(home)
    return [written, f"~{rest}", f"$HOME{rest}", f"${{HOME}}{rest}"]
