"""A first look by ripgrep, where it is installed: which files can hold a match at all.

Whatever matches a pattern holds certain plain words; they are searched for as bytes, in files that are named one
by one. So nothing depends on what ripgrep thinks of patterns, letters or ignore files: it leaves out only what cannot
match.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from agent import programs
from agent.cancel import CancelToken
from agent.redact import scrubbed_environment

SHORTEST = 3
"""Characters of a word worth searching for."""
MOST_WORDS = 20
WITHIN = 60.0
"""Seconds for one batch of files."""

_OTHER_CASES = frozenset("iksIKS")
"""Letters of which Unicode knows another case outside of ASCII; engines do not agree on them."""


def words_of(pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Plain ASCII words, one of which every match holds; none when that is not known for certain."""
    flags = pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, str) else pattern.flags
    found = _words(parser.parse(pattern.pattern, flags), ignore_case=bool(pattern.flags & re.IGNORECASE))
    return found if len(found) <= MOST_WORDS else ()


def _words(parsed: Iterable[tuple[Any, Any]], *, ignore_case: bool) -> tuple[str, ...]:
    """Of a sequence: those of the part that has the longest."""
    best: tuple[str, ...] = ()
    run = ""

    def offer(words: tuple[str, ...]) -> None:
        nonlocal best
        if words and min(map(len, words)) > min(map(len, best), default=SHORTEST - 1):
            best = words

    for op, value in parsed:
        if op is codes.LITERAL and 32 <= value < 127 and not (ignore_case and chr(value) in _OTHER_CASES):
            run += chr(value)
            continue
        offer((run,) if run else ())
        run = ""
        if op is codes.BRANCH:
            each = [_words(branch, ignore_case=ignore_case) for branch in value[1]]
            offer(tuple(word for words in each for word in words) if all(each) else ())
        elif op is codes.SUBPATTERN:
            _, added, dropped, inner = value
            if not (added or dropped):
                offer(_words(inner, ignore_case=ignore_case))
        elif op is codes.MAX_REPEAT and value[0] >= 1:
            offer(_words(value[2], ignore_case=ignore_case))
    offer((run,) if run else ())
    return best


class FirstLook:
    """Asks ripgrep. `program` is its path."""

    def __init__(self, program: str, words: Sequence[str], *, ignore_case: bool) -> None:
        patterns = [part for word in words for part in ("-e", word)]
        fold = ["--ignore-case"] if ignore_case else ["--case-sensitive"]
        self._command = [
            program, "--no-config", "--files-with-matches", "--null", "--fixed-strings", "--text", "--encoding", "none",
            *fold, *patterns, "--",
        ]  # fmt: skip

    def __call__(self, paths: Sequence[str], cancel: CancelToken) -> frozenset[str] | None:
        """Those of these regular files that may match; None when it cannot tell. Paths are absolute."""
        try:
            process = subprocess.Popen(
                [*self._command, *paths],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=scrubbed_environment(os.environ),
            )
        except OSError:
            return None
        with process, cancel.closing(process.kill):
            try:
                listed, _ = process.communicate(timeout=WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                return None
        cancel.raise_if_cancelled()
        # 1: nothing was found. 2: something could not be read, and is told by whoever reads it.
        return frozenset(os.fsdecode(listed).split("\0")) if process.returncode in (0, 1) else None


def found_for(pattern: re.Pattern[str], workspace: Path) -> FirstLook | None:
    """A look for this pattern; None where it is of no use, or ripgrep is not there."""
    words = words_of(pattern)
    if not words or (program := programs.find("rg", workspace)) is None:
        return None
    return FirstLook(program, words, ignore_case=bool(pattern.flags & re.IGNORECASE))
