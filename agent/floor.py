"""What no rule allows and no answer makes run: wiping a machine, bombs, and changing what holds Hermes itself back.

Only `--yolo` goes below it. The floor is coarse on purpose. It knows the few commands that end a machine or these
safeguards; what is merely unwise is for the person who is asked.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from agent import guards, memory
from agent.config import Directories
from agent.meaning import Given, Meaning, expanded, given_by, meaning_of, texts_of
from agent.own_places import OwnPlaces, is_below
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


def beyond_wall(action: Action, cwd: Path, hidden: Iterable[Path], owns: Callable[[Path], bool]) -> str:
    """Why a tool may not do in files what no command could behind the wall that `hidden` places are kept by; or "".

    Commands are kept by the wall itself. What the conversation `owns` it may read.
    """
    here = cwd.resolve()
    places = {place.resolve() for place in hidden}
    # A place that the folder itself lies in is hidden but for the folder.
    within = {place for place in places if not is_below(here, place)}
    for path in action.paths if action.kind in ("read", "write") else ():
        inside = is_below(path, here)
        if action.kind == "write" and not inside:
            return "only files in this conversation's folder may be changed"
        if action.kind == "write" and guards.holds(path.parts[len(here.parts) :]):
            return "git and Hermes act on what stands there"
        kept = action.kind == "write" or not owns(path)
        if kept and any(is_below(path, place) or is_below(place, path) for place in (within if inside else places)):
            return "there are files there that this conversation must not see"
    return ""


def _notes(dirs: Directories | None) -> set[Path]:
    """What the agent may note things in, when a person agrees."""
    return (
        {path for folder in (dirs.config, dirs.config.resolve()) for path in memory.places(folder)} if dirs else set()
    )


def _of_line(action: Action, line: Line, cwd: Path, own: OwnPlaces) -> str:
    if _BOMB.search(action.command):
        return "it is a fork bomb"
    given = given_by(line)
    folders = _folders(line, action.directory or cwd, given)
    for command in line.commands:
        if why := _of_hermes(command):
            return why
        for folder in folders:
            meaning = meaning_of(command, folder, given)
            if why := _of_command(meaning.command, folder, cwd) or _against_own(command, meaning, folder, cwd, own):
                return why
    if not line.understood and own.named_in(action.command):
        return "it names Hermes's own folders in a line that is not understood"
    return ""


def _folders(line: Line, start: Path, given: Given) -> list[Path]:
    """Where a command of the line may find itself: unlike `reading.places`, what is not certain counts, too."""
    found = [start]
    for command in line.commands:
        if command.name not in ("cd", "pushd"):
            continue
        named = [text for word in command.words[1:] for text in texts_of(word, start, given)]
        for text in [text for text in named if not text.startswith("-") or text == "-"] or ["~"]:
            target = expanded(text)
            with suppress(OSError, RuntimeError, ValueError):
                found += [(folder / target).resolve() for folder in found]
                found = list(dict.fromkeys(found))[:_MOST_FOLDERS]
    return found


def _of_command(command: Command, folder: Path, cwd: Path) -> str:
    name = _program(command)
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
    if name == "mv" and (source := next((word for word in _moved(words) if _is_system(word, folder, cwd)), "")):
        return f"mv of {source} would take the machine down"
    if name == "find" and words and {"-delete", "rm"}.intersection(words) and _is_system(words[0], folder, cwd):
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
    stem = "." if stem == "*" else expanded(stem)
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


def _moved(words: Sequence[str]) -> list[str]:
    """What `mv` takes away, as far as it can be told from where it goes."""
    into = any(word.startswith(("-t", "--target")) for word in words)
    operands = [word for word in words if not word.startswith("-")]
    return operands if into else operands[:-1]


def _against_own(command: Command, meaning: Meaning, folder: Path, cwd: Path, own: OwnPlaces) -> str:
    """Whatever a command that is not known to only read may do to Hermes's own folders, it may not do."""
    written = written_by(command, frozenset({folder})) or []
    if any(map(own.holds, written)):
        return "it would change Hermes's own settings, rules or store"
    if command.name in ("cd", "pushd", "popd") or read_by(command, frozenset({folder}), folder) is not None:
        return ""
    within = folder != cwd and own.holds(folder)
    taken = _moved(meaning.words) if _program(command) == "mv" else _removed(command, meaning)
    if within or _names_any(meaning.words, folder, own) or any(map(own.lie_in, _paths(taken, folder))):
        return "it could change Hermes's own settings, rules or store"
    return ""


def _removed(command: Command, meaning: Meaning) -> Sequence[str]:
    """What is taken away or locked up with everything that lies in it."""
    deep = any(re.match(r"-\w*[rR]|--recursive", word) for word in meaning.words)
    return (
        [word for word in meaning.words if not word.startswith("-")] if deep and _program(command) in _REMOVERS else ()
    )


def _program(command: Command) -> str:
    return PurePosixPath(command.name).name


def _names_any(texts: Sequence[str], folder: Path, own: OwnPlaces) -> bool:
    if any(map(own.named_in, texts)):
        return True
    wild = [text.rpartition("=")[2] for text in texts if re.search(r"[*?\[]", text)]
    if any(own.may_hold(folder / expanded(text)) for text in wild):
        return True
    return any(path != folder and own.holds(path) for path in _paths(texts, folder))


def _paths(texts: Iterable[str], folder: Path) -> Iterator[Path]:
    for text in texts:
        if text and not re.search(r"[$*?\[]|://", text):
            try:
                yield (folder / expanded(text.rpartition("=")[2])).resolve()
            except (OSError, RuntimeError, ValueError):
                continue


# -- what a person may allow, but no rule -----------------------------------------------------------

_CHANGERS = _REMOVERS | frozenset(
    "cp ln tee dd install rsync scp tar unzip cpio truncate touch mkdir patch sponge split csplit".split()
)
_UNPACKERS = frozenset({"tar", "unzip", "cpio", "patch", "find"})
"""They change what is in the folder without naming it."""
_FIND_CHANGES = frozenset("-delete -exec -execdir -ok -okdir -fprint -fprint0 -fprintf -fls".split())


def only_by_a_person(command: Command, line: Line, folders: Iterable[Path], cwd: Path, dirs: Directories | None) -> str:
    """Why a rule cannot allow a command that it covers: it may change what lies below the floor. "" when it can."""
    if (words := _hermes_words(command)) is not None and not _HERMES_TELLS.fullmatch(" ".join(words)):
        return "it runs Hermes itself"
    if any(_STEERS.fullmatch(name) for name, _value in command.assigned):
        return "it sets a variable that decides what is run"
    if not _changes(command):
        return ""
    if command.via in ("xargs", "parallel"):
        return "what it changes is known only when it runs"
    own, given, places = OwnPlaces.of(dirs, cwd), given_by(line), list(folders)
    for folder in places:
        meaning = meaning_of(command, folder, given)
        if not meaning.sure:
            return "what it changes is known only when it runs"
        named = [*meaning.words, *(["."] if _program(command) in _UNPACKERS else [])]
        if any(map(own.lie_in, _paths(named, folder))):
            return "Hermes's own settings, rules or store lie in what it changes"
    return "" if places else "in which folder it changes something is known only when it runs"


def _changes(command: Command) -> bool:
    words = command.argv[1:]
    match _program(command):
        case "sed" | "perl":
            return any(re.match(r"-\w*i|--in-place", word) for word in words)
        case "find":
            return not _FIND_CHANGES.isdisjoint(words)
        case "sort":
            return any(re.match(r"-\w*o|--o", word) for word in words)
        case "curl" | "wget":
            return any(re.match(r"-\w*[oOP]|--output|--directory-prefix", word) for word in words)
        case name:
            return name in _CHANGERS


_STEERS = re.compile(r"PATH|HOME|IFS|PS4|ENV|SHELL|SHELLOPTS|(?:LD|DYLD|BASH|GIT)_\w+")
_HERMES_RUNNERS = re.compile(r"uvx?|pipx|poetry|pdm|hatch|rye|python[\d.]*")
_HERMES_TELLS = re.compile(r"-V|--version|-h|--help|doctor|config (?:show|path|get [\w.]+)|(?:\w+ )+(?:-h|--help)")


def _hermes_words(command: Command) -> list[str] | None:
    """What Hermes itself is started with; None when something else is."""
    for number, word in enumerate(command.argv):
        if number and not _HERMES_RUNNERS.fullmatch(_program(command)):
            return None
        if PurePosixPath(word).name in ("hermes", "hermes_cli", "hermes_cli.main"):
            return list(command.argv[number + 1 :])
    return None


def _of_hermes(command: Command) -> str:
    """Hermes may not be told to hold itself back less, nor to answer its own questions."""
    words = _hermes_words(command)
    if words is None:
        return ""
    if "--yolo" in words or any(name.startswith("HERMES_") for name, _value in command.assigned):
        return "it would start Hermes with other safeguards"
    said = set(words)
    loosens = ("config" in said and {"set", "edit"} & said) or ("tasks" in said and {"approve", "answer"} & said)
    if loosens or ("pairing" in said and "list" not in said):
        return "it would change Hermes's own settings, or give its answers"
    return ""
