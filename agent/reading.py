"""Which commands plainly only read, and what: the table of `agent/readers.py` laid over the words of a command.

Where systems differ in reading a command, the union of the readings must be harmless: a value never looks like an
option, and an option after the first operand is looked at as a file too.
"""

import fnmatch
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePath

from agent import programs, readers, repositories, wrappers
from agent.readers import FIND_FILES, FIND_FLAGS, FIND_TEXTS, PRINTF, READERS, Reader
from agent.shell import Command, Line, Word

MOST_NAMES = 2_000
"""Files that a wildcard may stand for, and entries of a folder that are looked at for it."""

NOWHERE = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr", "/dev/tty"})
"""Writing there changes nothing."""

_RANGE = re.compile(r"[\w/~^@{}-]*[\w^@}]\.{2,3}[\w/~^@{}-]*")
"""Two revisions; a path that goes up has nothing but a slash before its dots."""
_NUMBER = re.compile(r"-\d.*")
_KNOWN_VARIABLE = re.compile(
    r"LC_[A-Z]+|LANG|TZ|NO_COLOR|CI|COLUMNS|LINES|TERM|DEBUG|VERBOSE|FORCE_COLOR|"
    r"PYTHONUNBUFFERED|PYTHONDONTWRITEBYTECODE|NODE_ENV|RUST_BACKTRACE|RUST_LOG"
)
_HARMLESS_VARIABLE = re.compile(
    rf"(?!npm_|yarn_|[a-z_]*proxy$)[a-z_][a-z0-9_]*|{_KNOWN_VARIABLE.pattern}",
)
"""Variables that change no reading program's doings: a shell's own small ones, and a few that everybody knows."""
_PLAIN_VALUE = re.compile(r"[\w.,:=/+-]*", re.ASCII)
"""One in which `make` and its like find nothing to expand."""
_LOCALE = re.compile(r"LC_[A-Z]+|LANG")
_PLAIN_LOCALE = re.compile(r"C|POSIX|(?:C|[a-z]{2,3}_[A-Z]{2})\.(?:UTF-8|utf8)")
"""In other encodings a character may end in a byte that is a `\\` or `|` here, and a script has other words."""
_CHOOSERS, _FROM_OWN = frozenset({"shims", ".volta"}), frozenset({".pyenv", "pyenv", ".rbenv", "rbenv"})
"""Parts of the places where version managers put programs that look into the folder for which one to run, and those
that run none but what is installed for the person."""


def only_reads(line: Line, start: Path, cwd: Path) -> bool:
    """True when every command of a line that begins in `start` is known to only read, and only inside `cwd`."""
    return paths_read(line, start, cwd) is not None


def paths_read(line: Line, start: Path, cwd: Path) -> frozenset[Path] | None:
    """What a line reads at most, resolved; None unless it plainly only reads, and only inside `cwd`."""
    if not line.understood:
        return None
    found: set[Path] = set()
    for command, folders in places(line, start):
        read = read_by(command, folders, cwd)
        if read is None or written_by(command, folders) != []:
            return None
        found |= read
    return frozenset(found)


def places(line: Line, start: Path) -> Iterator[tuple[Command, frozenset[Path]]]:
    """Each command with the folders in which it may find itself; none where that is not known."""
    moves = [command for command in line.commands if command.name in ("cd", "pushd", "popd")]
    lost = any(command.via or not command.sure or command.name != "cd" for command in moves)
    here = [start]
    for command in line.commands:
        yield command, frozenset() if lost else frozenset(here)
        if command.name == "cd" and not lost:
            target = command.words[1].text if len(command.words) == 2 and command.words[1].kind == "text" else ""
            lost = lost or not target or target.startswith("-")
            # It may fail, so the places before it count on.
            there = [folder / target for folder in here]
            here += there
            lost = lost or len(here) > 32 or any(map(_strays, there))


def _strays(place: Path) -> bool:
    """Whether `cd` may lead elsewhere than the disk says: Bash strikes out `link/..` as it is written."""
    try:
        return ".." in place.parts and Path(os.path.normpath(place)).resolve() != place.resolve()
    except (OSError, RuntimeError, ValueError):
        return True


def read_by(command: Command, folders: frozenset[Path], cwd: Path) -> frozenset[Path] | None:
    """What one command reads, in whichever folder; None when it may do more than read, or reads outside `cwd`."""
    if command.name and programs.is_of_workspace(command.name, cwd):
        return None
    if not folders or not all(_sets_little(name, value) for name, value in command.assigned):
        return None
    found: set[Path] = set()
    for folder in folders:
        names = _names_read(command, folder)
        listed = _names_listed((*command.words[1:], *(value for _name, value in command.assigned)), folder)
        if listed is None or any(inside(name, folder, cwd) is None for name in listed):
            return None
        connected = _literal(command.reads, folder)
        if names is None or connected is None:
            return None
        for name in [*names, *(name for name in connected if name not in NOWHERE)]:
            path = inside(name, folder, cwd)
            if path is None:
                return None
            found.add(path)
    return frozenset(found)


def unsettled(line: Line) -> Iterator[bool]:
    """For each command, whether its wildcards may come to stand for files that other commands of the line make."""
    made = [
        (number, word)
        for number, command in enumerate(line.commands)
        for word in command.writes
        if word.text not in NOWHERE
    ]
    for place, command in enumerate(line.commands):
        wild = any(word.kind == "glob" for word in command.words)
        # What comes later in the text may run at the same time, and does harm when its name is like an option.
        yield wild and any(number < place or not command.sure or not _is_plain_file(word) for number, word in made)


def _is_plain_file(word: Word) -> bool:
    return word.kind == "text" and not PurePath(word.text).name.startswith("-")


def written_by(command: Command, folders: frozenset[Path]) -> list[Path] | None:
    """The files a command's output goes to, resolved; None when one of them is known only when it runs."""
    found: list[Path] = []
    for word in command.writes:
        if word.kind != "text" or not folders:
            return None
        if word.text in NOWHERE:
            continue
        try:
            found += [(folder / word.text).resolve() for folder in folders]
        except (OSError, RuntimeError, ValueError):
            return None
    return found


def inside(word: str, folder: Path, cwd: Path) -> Path | None:
    """The resolved path when it lies in `cwd` and is one that can be followed, such as no loop of links."""
    path = folder / word
    try:
        with suppress(FileNotFoundError):
            path.stat()  # Since Python 3.13 `resolve` takes a loop for a path.
        resolved = path.resolve()
        return resolved if resolved.is_relative_to(cwd.resolve()) else None
    except (OSError, RuntimeError, ValueError):
        return None


# -- words -----------------------------------------------------------------------------------------


def _literal(words: Iterable[Word], folder: Path) -> list[str] | None:
    """What the words are when the command runs; None where that is not known."""
    found: list[str] = []
    for word in words:
        if word.kind == "text":
            found.append(word.text)
            continue
        names = named_by(word.text, folder) if word.kind == "glob" else None
        if names is None:
            return None
        found += names
    return found


def named_by(pattern: str, folder: Path) -> list[str] | None:
    """At least the names a wildcard stands for; itself where there are none. None when they are too many."""
    found = ["/"] if pattern.startswith("/") else [""]
    for part in (part for part in pattern.split("/") if part):
        matcher = re.compile(fnmatch.translate("*" if "[" in part else part))
        following: list[str] = []
        for start in found:
            try:
                entries = [entry.name for entry in (folder / start).iterdir()] if re.search(r"[*?\[]", part) else [part]
            except OSError:
                continue
            following += [f"{start}{name}/" for name in entries if name == part or matcher.match(name)]
            if len(entries) > MOST_NAMES or len(following) > MOST_NAMES:
                return None
        found = following
    return [name.rstrip("/") for name in found] or [pattern]


# -- commands --------------------------------------------------------------------------------------


def _names_read(command: Command, folder: Path) -> list[str] | None:
    """The words of a command that name, or might name, what it reads. None when it may do more than read."""
    if not command.words:
        return []
    name, rest = command.name, command.words[1:]
    if command.words[0].kind != "text":
        return None
    if name in readers.ALWAYS_HARMLESS:
        return []
    if name in ("export", "local", "readonly"):
        return [] if all(_is_plain_name(word) for word in rest) else None
    if name == "printf":
        form = rest[0] if rest else Word("", "open")
        known = form.kind == "text" and not form.text.startswith("-") and PRINTF.fullmatch(form.text)
        return [] if known else None
    if wrappers.is_free(command.words):
        return [] if name != "env" or _sets_harmless(rest) else None
    if any(word.kind == "glob" for word in rest) and not _takes_wildcards(name, rest, folder):
        return None
    words = _literal(rest, folder)
    return None if words is None else _names_of_program(name, words, folder)


def _takes_wildcards(name: str, rest: Sequence[Word], folder: Path) -> bool:
    """Whether the wildcards of a command do no harm, whatever names there are when it runs.

    A name may be an option, or a word that the command takes for something else than a file to read.
    """
    if name not in {*READERS, *readers.SCRIPTED, "find", "git", "test", "["}:
        return False
    if name in READERS and READERS[name].most == 1:
        return False  # One word more may be a file that is written.
    first = next(number for number, word in enumerate(rest) if word.kind == "glob")
    before = [word.text for word in rest[:first]]
    if name in {*readers.SCRIPTED, "git"} and _names_of_program(name, before, folder) is None:
        return False  # A wildcard stands where the script is, or what git is asked.
    end = next((number for number, word in enumerate(rest) if word == Word("--")), len(rest))
    may_be_options = any(word.kind == "glob" and word.text[0] in "-*?[" for word in rest[:end])
    return name in readers.OBEY_NOTHING or not may_be_options


def _names_of_program(name: str, words: list[str], folder: Path) -> list[str] | None:
    if _is_stand_in(name, os.environ.get("PATH", "")):
        return None
    if len(words) == 1 and words[0] in readers.TELL_THEIR_VERSION.get(name, ()):
        return []
    match name:
        case "cd":
            return words[:1] if len(words) == 1 and not words[0].startswith("-") else None
        case "wait" | "jobs":
            return [] if not words else None
        case "command":
            return [] if words[:1] in (["-v"], ["-V"]) else None
        case "env":
            return [] if not words else None
        case "find":
            return _names_found(words)
        case "git":
            return _names_for_git(words, folder)
        case "read":
            return [] if words[:1] == ["-r"] and all(map(_can_be_read, words[1:])) else None
        case "set":
            return [] if words and all(readers.SET_OPTIONS.fullmatch(word) for word in words) else None
        case "test" | "[":
            return [] if not {"-v", "-R"}.intersection(words) else None
        case "ps" if not _tells_of_no_environment(words):
            return None
        case "strings" if any(word.startswith("@") for word in words):
            return None  # It takes further words, and files, from the one that is named.
        case "zcat" if not all(word.endswith((".gz", ".tgz", ".Z")) for word in words):
            return None  # It would look for another name, which may be that of a link.
        case "sed":
            return _names_of_script(words, readers.SED, readers.SED_SCRIPT.fullmatch)
        case "awk" | "gawk" | "mawk" | "nawk":
            return _names_of_script(words, readers.AWK, lambda text: not readers.AWK_DANGER.search(text))
        case "jq":
            return _names_of_script(words, readers.JQ, lambda text: not readers.JQ_DANGER.search(text))
    if name not in READERS:
        return None
    reader = READERS[name]
    names = names_of(words, reader)
    if names and not reader.directories and any((folder / word).is_dir() for word in names):
        return None  # It would follow the links inside.
    return names


def _names_listed(words: Iterable[Word], folder: Path) -> list[str] | None:
    """The folders that wildcards look into, also those in words that are not taken for files. None when not known."""
    found: list[str] = []
    for word in words:
        if word.kind == "text" or (word.kind == "open" and not _is_wild(word.text)):
            continue
        names = named_by(word.text, folder) if word.kind == "glob" else None
        if names is None:
            return None
        found += [str(Path(name).parent) for name in names]
    return found


def _is_wild(written: str) -> bool:
    """Whether a word that is known only when it runs holds a wildcard besides."""
    if re.fullmatch(r'"[^"]*"|\$\(.*\)|`[^`]*`', written, re.DOTALL):
        return False  # What a substitution prints is not looked at, nor what stands in quotes.
    # A pattern that takes something away stands for no names, but what is put for a missing value (`:-`) does.
    return bool(re.search(r"[*?\[]", re.sub(r"\$[?*]|\$\{#?\w+(?:[#%][^}]*)?\}", "", written)))


@lru_cache(256)
def _is_stand_in(name: str, path: str) -> bool:
    """Whether what runs by this name lets the folder decide which program that is, which may be one of its own."""
    found = shutil.which(name, path=path) if "/" not in name else None
    parts = frozenset(Path(found).parts if found else ())
    return not _CHOOSERS.isdisjoint(parts) and _FROM_OWN.isdisjoint(parts)


def _tells_of_no_environment(words: Sequence[str]) -> bool:
    """Whether `ps` shows no variables of other programs, however it takes its words.

    `e` shows them, and so does `-e` where `ps` takes it for that because it cannot make sense of other options.
    """
    rest = iter(words)
    every = old = False
    for word in rest:
        found = re.fullmatch(r"(-?)([A-Za-z]*?)(?:o(.*))?", word)
        if word in ("--forest", "--sort") or word.startswith("--sort=") or re.fullmatch(r"[\d,]+", word):
            continue
        if found is None or (found[3] is not None and not readers.PS_COLUMNS.fullmatch(found[3] or next(rest, ""))):
            return False
        dash, letters, _columns = found.groups()
        if "e" in letters and not dash:
            return False
        every, old = every or "e" in letters, old or not re.fullmatch("[efFlAjwH]*[pC]?", letters)
        if dash and letters[-1:] in ("p", "u", "C"):
            next(rest, "")
    return not (every and old)


def _is_plain_name(word: Word) -> bool:
    return word.kind == "text" and bool(_HARMLESS_VARIABLE.fullmatch(word.text))


def _sets_little(name: str, value: Word) -> bool:
    """Whether a variable with such a value changes no program's doings."""
    if _LOCALE.fullmatch(name):
        return value.kind == "text" and bool(_PLAIN_LOCALE.fullmatch(value.text))
    return bool(_HARMLESS_VARIABLE.fullmatch(name))


def steers_nothing(name: str, value: Word) -> bool:
    """Whether no program, reading or not, does anything else for a variable with such a value."""
    plain = value.kind == "text" and _PLAIN_VALUE.fullmatch(value.text)
    return bool(plain and _KNOWN_VARIABLE.fullmatch(name)) and _sets_little(name, value)


def _sets_harmless(words: Sequence[Word]) -> bool:
    """Whether what `env` is given before its command is known to do no harm."""
    for word in words:
        name, equals, value = word.text.partition("=")
        if not equals:
            return word.kind == "text" and not word.text.startswith("-")
        if not _sets_little(name, Word(value, word.kind)):
            return False
    return True


def _can_be_read(name: str) -> bool:
    """Whether `read` may set a variable to whatever comes."""
    return bool(_HARMLESS_VARIABLE.fullmatch(name)) and not _LOCALE.fullmatch(name)


def _names_of_script(words: list[str], reader: Reader, harmless: Callable[[str], object]) -> list[str] | None:
    """As `names_of`, for a program whose pattern is a script of its own."""
    operands: list[str] = []
    scripts: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--" or (operands and word.startswith("-") and word != "-"):
            return None
        if word == "-" or not word.startswith("-"):
            operands.append(word)
            continue
        used = _option(word, rest, reader)
        if used is None:
            return None
        scripts += [used[1]] if not {"-e", "--expression", "-v"}.isdisjoint(used[0]) else []
    scripted = reader is readers.SED and bool(scripts)
    scripts += operands[:1] if not scripted else []
    names = operands if scripted else operands[1:]
    return names if scripts and all(harmless(script) for script in scripts) else None


def _names_for_git(words: list[str], folder: Path) -> list[str] | None:
    """As `names_of`, for git: its own options, a sub-command that only tells, and that one's words."""
    start: list[str] = []
    while words and words[0].startswith("-"):
        option, words = words[0], words[1:]
        if option == "-C" and words and not words[0].startswith("-"):
            start, words = [*start, words[0]], words[1:]
        elif option not in ("--no-pager", "-P", "--no-optional-locks"):
            return None
    if len(start) > 1 or not words or not repositories.runs_nothing(folder / (start or ["."])[0]):
        return None
    place = start or ["."]
    if tuple(words[:2]) in readers.GIT_TWO_WORDS and not any(word.startswith("-") for word in words[2:]):
        return place
    if words[0] == "config":
        asked = words[2:] if words[1:2] == ["--get"] else words[1:]
        return place if len(asked) == 1 and readers.GIT_ASKED_SETTING.fullmatch(asked[0]) else None
    if words == ["reflog"]:
        return place
    names = names_of(words[1:], readers.GIT[words[0]]) if words[0] in readers.GIT else None
    if names is None:
        return None
    # Outside of a repository, or with two paths, it compares files anywhere: what could be a path has to lie inside.
    within = folder / start[0] if start else folder
    return [*place, *(str(within / name) for name in names if not _RANGE.fullmatch(name))]


def names_of(arguments: Sequence[str], reader: Reader) -> list[str] | None:
    """The arguments that name files, by the table; None when one is not known to be harmless."""
    rest = iter(arguments)
    names: list[str] = []
    operands: list[str] = []
    late: list[str] = []
    pattern_given = False
    for word in rest:
        if word == "--":
            operands += rest
        elif word == "-" or not word.startswith("-"):
            operands.append(word)
        else:
            used = _option(word, rest, reader)
            if used is None:
                return None
            option, value = used
            pattern_given = pattern_given or not reader.instead.isdisjoint(option)
            names += [value] if not reader.files.isdisjoint(option) else []
            # Where options end at the first operand, this one is an operand too.
            late += [word, value] if operands and reader.operands in ("paths", "pattern") else []
    of_operands = _operand_names(operands, reader, pattern_given=pattern_given)
    if of_operands is None or len(operands) + len(late) > reader.most:
        return None
    return names + late + of_operands


def _option(word: str, rest: Iterator[str], reader: Reader) -> tuple[list[str], str] | None:
    """The names of the options in a word and the value of the last, "" without one. None when one is not known.

    A value that is a word of its own must not look like an option: programs differ in how they take that.
    """
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        if name in reader.flags:
            return [name], value
        names, value = [name], value if equals else ""
    else:
        end = next((index for index, letter in enumerate(word[1:], 1) if f"-{letter}" not in reader.flags), len(word))
        names = [f"-{letter}" for letter in word[1 : end + 1]]
        if end == len(word):
            return names, ""
        equals, value = word[end + 1 :], word[end + 1 :]
    if names[-1] not in reader.texts | reader.files:
        return None
    if not equals:
        value = next(rest, "-")
        if value.startswith("-") and not _NUMBER.fullmatch(value):
            return None
    return names, value


def _operand_names(operands: list[str], reader: Reader, *, pattern_given: bool) -> list[str] | None:
    match reader.operands:
        case "none":
            return None if operands else []
        case "words":
            return []
        case "format":
            # Anything else sets the clock.
            return [] if all(word.startswith("+") for word in operands) else None
        case "revisions":
            return operands
        case "pattern" if not pattern_given:
            operands = operands[1:]
    return operands or (["."] if reader.walks else [])


def _names_found(arguments: Sequence[str]) -> list[str] | None:
    """As `names_of`, for `find`: starting points, then an expression in which every word has one meaning."""
    start = next((index for index, word in enumerate(arguments) if word.startswith(("-", "(", "!"))), len(arguments))
    names = list(arguments[:start]) or ["."]
    rest = iter(arguments[start:])
    for word in rest:
        if word in FIND_FLAGS:
            continue
        value = next(rest, "-")
        if value.startswith("-") and not _NUMBER.fullmatch(value):
            return None
        if word in FIND_FILES:
            names.append(value)
        elif word not in FIND_TEXTS:
            return None
    return names
