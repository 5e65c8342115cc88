"""Which shell commands plainly only read, and which a rule covers. What is not understood here counts as not plain.

A plain line is made of words, quoted or not, and the operators `;`, `&&`, `||` and `|`; nothing in it expands.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from agent.readers import FIND_FILES, FIND_FLAGS, FIND_TEXTS, PRINTF, READERS, Reader

_PIECE = r"""[\w\-./,:=+@%]+|'[^']*'|"[^"$`\\]*\""""
_TOKEN = re.compile(rf" +|(?P<operator>;|&&|\|\|?)|(?P<word>(?:{_PIECE})+)", re.ASCII)
"""Outside of quotes a word is ASCII: what else counts as a blank is the shell's affair and depends on the locale."""
_PIECES = re.compile(_PIECE, re.ASCII)
_NUMBER = re.compile(r"-\d.*")

_WHOLE_PROGRAMS = frozenset(
    "black ctest eslint flake8 jest mocha mypy phpunit prettier pylint pyright pytest rspec ruff tsc vitest".split()
)
"""What a person may trust with any arguments: it checks the project, running at most the project's own code."""

_WRAPPERS = frozenset(
    ". ash bash builtin busybox command csh dash doas env eval exec find fish ionice ksh nice nohup parallel script "
    "setsid sh source ssh stdbuf su sudo tcsh time timeout unshare watch xargs zsh".split()
)
"""Programs whose arguments are, or may hold, another command."""


# -- lines -----------------------------------------------------------------------------------------


def parse(command: str) -> list[list[str]] | None:
    """The words of each simple command of a plain line; None when the line is not plain.

    A quoted operator is a word like any other. No simple command is empty. Windows has another shell, so nothing is
    plain there.
    """
    if sys.platform == "win32" or not command.isprintable():
        return None
    simple: list[list[str]] = [[]]
    position = 0
    while position < len(command):
        token = _TOKEN.match(command, position)
        if token is None:
            return None
        if token["operator"]:
            simple.append([])
        elif token["word"]:
            simple[-1].append(_unquoted(token["word"]))
        position = token.end()
    return simple if all(simple) else None


def _unquoted(word: str) -> str:
    return "".join(piece[1:-1] if piece[0] in "'\"" else piece for piece in _PIECES.findall(word))


# -- reading ---------------------------------------------------------------------------------------


def paths_read(command: str, cwd: Path) -> frozenset[Path] | None:
    """What a line reads at most, resolved; None unless it plainly only reads, and only inside `cwd`."""
    found: set[Path] = set()
    for words in parse(command) or [[]]:
        names = _names_read(words, cwd)
        if names is None:
            return None
        for name in names:
            path = _inside(name, cwd)
            if path is None:
                return None
            found.add(path)
    return frozenset(found)


def only_reads(command: str, cwd: Path) -> bool:
    """True when every command of the line is known to only read, and only inside `cwd`."""
    return paths_read(command, cwd) is not None


def _names_read(words: Sequence[str], cwd: Path) -> list[str] | None:
    """The words of one simple command that name, or might name, what it reads. None when it may do more than read."""
    match words:
        case ["echo", *_]:
            return []
        case ["printf", form, *_] if not form.startswith("-") and PRINTF.fullmatch(form):
            return []
        case ["find", *arguments]:
            return _names_found(arguments)
        case [program, *arguments] if program in READERS:
            reader = READERS[program]
            names = _names_of(arguments, reader)
            if names and not reader.directories and any((cwd / name).is_dir() for name in names):
                return None  # It would follow the links inside.
            return names
    return None


def _names_of(arguments: Sequence[str], reader: Reader) -> list[str] | None:
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
        case "pattern" if not pattern_given:
            operands = operands[1:]
    return operands or (["."] if reader.walks else [])


def _names_found(arguments: Sequence[str]) -> list[str] | None:
    """As `_names_of`, for `find`: starting points, then an expression in which every word has one meaning."""
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


def _inside(word: str, cwd: Path) -> Path | None:
    """The resolved path when it lies in `cwd` and is one that can be followed, such as no loop of links."""
    path = cwd / word
    try:
        with suppress(FileNotFoundError):
            path.stat()  # Since Python 3.13 `resolve` takes a loop for a path.
        resolved = path.resolve()
        return resolved if resolved.is_relative_to(cwd.resolve()) else None
    except (OSError, RuntimeError, ValueError):
        return None


# -- rules -----------------------------------------------------------------------------------------


def rule_pattern(command: str) -> str:
    """What "always" would cover: a known checker with any arguments, anything else word for word."""
    match parse(command):
        case [[program, *_]] if program in _WHOLE_PROGRAMS:
            return f"{program} *"
    return command


def matches(pattern: str, command: str) -> bool:
    """Whether a rule's pattern covers the command: the same line, or `words *` and a plain line beginning so."""
    if pattern == command:
        return True
    match parse(command):
        case [words] if pattern.endswith(" *"):
            wanted = pattern.removesuffix(" *").split()
            return bool(wanted) and words[: len(wanted)] == wanted
    return False


def may_match(pattern: str, command: str) -> bool | None:
    """Whether a pattern covers any simple command of a line; None when that cannot be told.

    For a rule that forbids, so in doubt it says more than `matches`: a program counts by its name wherever it lies,
    and a line that is not plain, or hands a command to another program, may hold anything.
    """
    if pattern == command or pattern.strip() == "*":
        return True
    wanted = _wanted(pattern)
    if wanted is None:
        return False
    commands = parse(command)
    if commands is None:
        return None
    found = [_covers(wanted, words, exact=not pattern.endswith(" *")) for words in map(_bare, commands)]
    return True if True in found else None if None in found else False


def _wanted(pattern: str) -> list[str] | None:
    """The words that a command must begin with; None for a whole line that is no single plain command."""
    if pattern.endswith(" *"):
        return pattern.removesuffix(" *").split()
    match parse(pattern):
        case [words]:
            return words
    return None


def _bare(words: list[str]) -> list[str]:
    """The command without what is assigned before it."""
    first = next((index for index, word in enumerate(words) if not re.match(r"\w+\+?=", word)), len(words))
    return words[first:]


def _covers(wanted: list[str], words: list[str], *, exact: bool) -> bool | None:
    if not words:
        return False
    for program in (words[0], Path(words[0]).name):
        named = [program, *words[1:]]
        if named == wanted if exact else named[: len(wanted)] == wanted:
            return True
    plain_find = words[0] == "find" and _names_found(words[1:]) is not None
    return None if Path(words[0]).name in _WRAPPERS and not plain_find else False
