"""What the words of a line may stand for when it runs: its own variables, those of the environment, and wildcards.

This is for what holds a line back, never for letting one run: too many meanings do no harm, one too few does.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from agent.reading import named_by
from agent.shell import Command, Line, Word

_MOST = 64
"""Meanings of a word that are followed; with more of them it is not known what it stands for."""
_DEPTH = 5
"""How many variables in one another are followed."""
_SETTERS = frozenset(
    "read mapfile readarray getopts printf export declare typeset local readonly let unset wait".split()
)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_NUMBERS = re.compile(r"\$[?#$!]")
_OPEN = Word("$()", "open")
"""Nobody knows what it stands for."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A command with its words as they may be when it runs, each with all its meanings; `sure` when these are all."""

    command: Command
    sure: bool

    @property
    def words(self) -> tuple[str, ...]:
        return self.command.argv[1:]


Given = Mapping[str, list[Word]]
"""What a line puts into its variables."""


def given_by(line: Line) -> Given:
    found: dict[str, list[Word]] = {}
    for command in line.commands:
        for name, value in command.assigned:
            found.setdefault(name, []).append(value)
        if command.name in _SETTERS:
            for word in command.words[1:]:
                named = re.findall(r"^\w+", word.text, re.ASCII)
                found.update({name: [*found.get(name, ()), _OPEN] for name in named})
    return found


def meaning_of(command: Command, folder: Path, given: Given) -> Meaning:
    """A command in a folder, as it may be when it runs."""
    sure = True
    words = list(command.words[:1])
    for word in command.words[1:]:
        texts, known = _texts(word, folder, given, _DEPTH)
        sure = sure and known
        for text in texts:
            words.append(Word(text))
            if word.kind != "text" and re.search(r"[*?\[]", text):
                names = named_by(expanded(text), folder)
                sure = sure and names is not None
                words += map(Word, names or ())
            if word.kind == "open" and len(parts := text.split()) > 1:
                words += map(Word, parts)
    return Meaning(replace(command, words=tuple(words)), sure)


def expanded(text: str) -> str:
    return re.sub(r"^(?:~|\$HOME|\$\{HOME\})(?=/|$)", lambda _: str(Path.home()), text)


def texts_of(word: Word, folder: Path, given: Given) -> list[str]:
    """What one word may be; as it is written where that is not known."""
    return _texts(word, folder, given, _DEPTH)[0]


def _texts(word: Word, folder: Path, given: Given, depth: int) -> tuple[list[str], bool]:
    if word.kind != "open":
        return [word.text], True
    bare = word.text.replace('"', "")
    found, sure, position = [""], True, 0
    for match in _VARIABLE.finditer(bare):
        values, known = _values(match[1] or match[2], folder, given, depth)
        sure = sure and known and len(found) * len(values) <= _MOST
        before = bare[position : match.start()]
        found = [text + before + value for text in found for value in values or [match[0]]][:_MOST]
        position = match.end()
    found = [text + bare[position:] for text in found]
    unknown = re.search(r"[$`\\'{}]|[<>]\(|^~[^/]", _NUMBERS.sub("", _VARIABLE.sub("", bare)))
    return found, sure and not unknown


def _values(name: str, folder: Path, given: Given, depth: int) -> tuple[list[str], bool]:
    found: list[str] = []
    sure = depth > 0
    for word in given.get(name, ()) if depth else ():
        texts, known = _texts(word, folder, given, depth - 1)
        found, sure = found + texts, sure and known
    if name == "PWD":
        found.append(str(folder))
    elif name in os.environ:
        found.append(os.environ[name])
    return found, sure and bool(found)
