"""What no rule allows and no answer makes run: wiping a machine, bombs, and changing what holds Hermes itself back.

Only `--yolo` goes below it. The floor is coarse on purpose. It knows the few commands that end a machine or these
safeguards; what is merely unwise is for the person who is asked.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from agent import memory
from agent.config import Directories
from agent.own_places import OwnPlaces
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
_MOST_FOLDERS = 32
_REMOVERS = frozenset({"rm", "shred", "unlink", "srm", "rmdir", "mv", "chmod", "chown", "chgrp", "chattr", "setfacl"})


def below_floor(tool: str, action: Action, line: Line, cwd: Path, dirs: Directories | None) -> str:
    """Why an action may not be done at all in the workspace `cwd`; "" when it may be thought about."""
    own = OwnPlaces.of(dirs, cwd)
    if action.kind == "execute":
        return _of_line(action, line, cwd, own)
    changed = set(action.paths) - (_notes(dirs) if tool == "memory" else set())
    if action.kind == "write" and any(map(own.holds, changed)):
        return "it would change Hermes's own settings, rules or store"
    return ""


def _notes(dirs: Directories | None) -> set[Path]:
    """What the agent may note things in, when a person agrees."""
    return (
        {path for folder in (dirs.config, dirs.config.resolve()) for path in memory.places(folder)} if dirs else set()
    )


def _of_line(action: Action, line: Line, cwd: Path, own: OwnPlaces) -> str:
    if _BOMB.search(action.command):
        return "it is a fork bomb"
    folders = _folders(line, action.directory or cwd)
    for command in line.commands:
        for folder in folders:
            if why := _of_command(command, folder, cwd):
                return why
            if why := _against_own(command, folder, cwd, own):
                return why
    if not line.understood and own.named_in(action.command):
        return "it names Hermes's own folders in a line that is not understood"
    return ""


def _folders(line: Line, start: Path) -> list[Path]:
    """Where a command of the line may find itself: unlike `reading.places`, what is not certain counts, too."""
    found = [start]
    for command in line.commands:
        if command.name not in ("cd", "pushd"):
            continue
        named = [word.text for word in command.words[1:] if not word.text.startswith("-") or word.text == "-"]
        for text in named or ["~"]:
            target = _expanded(text)
            with suppress(OSError, RuntimeError, ValueError):
                found += [(folder / target).resolve() for folder in found]
                found = list(dict.fromkeys(found))[:_MOST_FOLDERS]
    return found


def _expanded(text: str) -> str:
    return re.sub(r"^(?:~|\$HOME|\$\{HOME\})(?=/|$)", lambda _: str(Path.home()), text)


def _of_command(command: Command, folder: Path, cwd: Path) -> str:
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
            if not word.startswith("-") and _is_system(word, folder, cwd):
                return f"{name} on {word} would take the machine down"
    if name == "find" and {"-delete", "rm"}.intersection(words) and _is_system(words[0], folder, cwd):
        return f"find on {words[0]} would take the machine down"
    if name in ("kill", "pkill", "killall") and words and words[-1] == "-1":
        return "it would end every process"
    return ""


def _disk_written(name: str, words: Sequence[str]) -> str:
    targets = [word.removeprefix("of=") for word in words if word.startswith("of=")] if name == "dd" else list(words)
    targets = targets[-1:] if name == "cp" else targets if name != "cat" else []
    return next((word for word in targets if _DISK.match(word)), "")


def _is_system(word: str, folder: Path, cwd: Path) -> bool:
    """Whether a word names the root, a home as a whole, or a folder that the system lives in, or all that is in one."""
    stem = re.sub(r"(?<=/)(?:\*|\.\*|\{.*\})$", "", word.strip("'\""))
    stem = "." if stem == "*" else _expanded(stem)
    if not stem or re.search(r"[$`*?\[]", stem):
        return False
    try:
        path = (folder / stem).resolve()
        written = Path(PurePosixPath(re.sub(r"/+", "/", str(folder / stem))))
    except (OSError, RuntimeError, ValueError):
        return False
    if path == cwd.resolve():
        return False
    return str(path) in _SYSTEM or str(written) in _SYSTEM or path == Path.home().resolve() or path in cwd.parents


def _against_own(command: Command, folder: Path, cwd: Path, own: OwnPlaces) -> str:
    """Whatever a command that is not known to only read may do to Hermes's own folders, it may not do."""
    written = written_by(command, frozenset({folder})) or []
    if any(map(own.holds, written)):
        return "it would change Hermes's own settings, rules or store"
    if command.name in ("cd", "pushd", "popd") or read_by(command, frozenset({folder}), folder) is not None:
        return ""
    within = folder != cwd and own.holds(folder)
    if not within and not _names_any(command, folder, own):
        return ""
    return "it could change Hermes's own settings, rules or store"


def _names_any(command: Command, folder: Path, own: OwnPlaces) -> bool:
    texts = [word.text for word in command.words[1:]]
    if any(map(own.named_in, texts)):
        return True
    return any(path != folder and own.holds(path) for path in _paths(texts, folder))


def _paths(texts: Iterable[str], folder: Path) -> Iterator[Path]:
    for text in texts:
        if text and not re.search(r"[\s$*?\[]|://", text):
            try:
                yield (folder / _expanded(text.rpartition("=")[2])).resolve()
            except (OSError, RuntimeError, ValueError):
                continue
