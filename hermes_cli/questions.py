"""Questions to the person, answered with a line: a letter, and words after it where they mean something.

A question is shown in the live region and never takes a key: what is being typed stays a draft. Only a line begun
after the question appeared can be its answer.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent import trust
from agent.approvals import NO_ANSWER, answer_to, unattended
from agent.commands import Parsed, Unknown, parse
from agent.events import ApprovalRequested
from agent.protocols import Decision
from agent.visible import both_ends, visible
from hermes_cli.glyphs import Glyphs
from hermes_cli.text import clip, columns, harmless, wrap

GRACE = 0.5
"""Seconds in which Enter on an empty line is taken for one that was meant for something else."""

PREVIEW_LINES, PREVIEW_LENGTH = 10, 400
"""Lines and characters shown with a question; where there is more, all of it goes to the scrollback as well."""
PREVIEW_COLUMNS = 1_000
"""Characters of one line of a preview; a longer one is cut in the middle."""

UNFINISHED = "unfinished"
"""The subject of the question whether a turn that did not come to its end goes on."""

_LABELLED = re.compile(r"(?:this |the )?(\w+)")
"""The word of a label that stands for its letter."""


@dataclass(slots=True)
class Question:
    """A question that stands.

    `options` maps a letter to what it does, `settle` takes the letter and what was typed after it.
    `full` is what is asked about without any cut, "" when `lines` hold all of it.
    `listed`: the lines name the options already. `free`: any words are an answer, but for a command; they come to
    `settle` behind the letter "".
    `ready` becomes true when the draft is empty while the question stands: only then can a line be its answer.
    """

    lines: list[str]
    options: Mapping[str, str]
    default: str
    settle: Callable[[str, str], None]
    about: str = ""
    full: str = ""
    with_words: frozenset[str] = frozenset()
    asked: float = field(default_factory=time.monotonic)
    ready: bool = False
    listed: bool = False
    free: bool = False

    def take(self, line: str) -> bool:
        """Settle with this line, if it is an answer."""
        if self.free:
            return self._take_words(line)
        word, _, rest = line.strip().partition(" ")
        letter = self._letter(word.lower().rstrip(",.;:!"))
        if not letter:
            if time.monotonic() - self.asked < GRACE:
                return False
            letter = self.default
        if letter not in self.options or (rest and letter not in self.with_words):
            return False
        self.settle(letter, rest.strip())
        return True

    def _letter(self, word: str) -> str:
        """The letter that a word stands for in this question: a `stop` that is no option here must not be one's s."""
        if word in ("yes", "no"):
            return word[0]
        if word in self.options:
            return word
        first = ((letter, _LABELLED.match(label.lower())) for letter, label in self.options.items())
        return next((letter for letter, match in first if match and match[1] == word), word)

    def _take_words(self, line: str) -> bool:
        # A slash, or the sign of a shell command, means what it means elsewhere.
        if not line.strip() or line.startswith("!") or isinstance(parse(line.strip(), "terminal"), Parsed | Unknown):
            return False
        self.settle("", line.strip())
        return True

    @property
    def hint(self) -> str:
        """What to press."""
        if not self.free:
            return "a letter, then Enter"
        what = "a number or your own words" if self.listed else "your answer"
        return f"{what}, then Enter; {NO_ANSWER} for no answer"

    @property
    def labels(self) -> list[str]:
        """The options, the default marked."""
        return [
            f"{letter.upper() if letter == self.default else letter} {label}" for letter, label in self.options.items()
        ]

    def choices(self, width: int, *, each: int = 0, ellipsis: str = "…") -> list[str]:
        """The options in rows; a row ends between two of them, or between words of a long one.

        With `each` an option is its first words, in no more columns than that.
        """
        rows: list[str] = []
        short = (clip(re.split(r",| \(", label)[0], each, ellipsis) for label in self.labels)
        for option in short if each else self.labels:
            if rows and columns(rows[-1]) + columns(option) + 3 <= width:
                rows[-1] += f"   {option}"
            else:
                first, *others = wrap(option, max(width - 2, 1))
                rows += [first, *(f"  {row}" for row in others)]
        return rows


def trust_question(cwd: Path, state: Path, named: Iterable[str]) -> Question | None:
    """May the project's files be read? None when that is known, or there are none. Enter alone means no."""
    from agent import prompt

    files = [*prompt.project_files(cwd), *(path for path in [cwd / ".hermes" / "config.toml"] if path.is_file())]
    if not files or trust.answer(state, cwd) is not None or trust.is_trusted(state, cwd, named):
        return None
    names = ", ".join(harmless(str(path)) for path in files)
    lines = [f"Do you trust {harmless(str(trust.root_of(cwd)))}? Its files would instruct the agent:", f"  {names}"]
    options = {"y": "yes, read them", "n": "no"}
    return Question(lines, options, "n", lambda _letter, _words: None, about="trust")


def approval_question(
    request: ApprovalRequested, settle: Callable[[ApprovalRequested, Decision], None], glyphs: Glyphs
) -> Question:
    """May this call run? Enter alone means no. To a question of the agent Enter alone is no answer."""
    if request.kind == "ask":
        return _asked_by_agent(request, settle, glyphs)
    answers = {
        "y": Decision(True),
        "s": Decision(True, scope="session"),
        "a": Decision(True, scope="always"),
    }

    def answer(letter: str, reason: str) -> None:
        settle(request, answers.get(letter, Decision(False, reason)))

    pattern = visible(request.pattern)
    short = clip(pattern, 40, glyphs.ellipsis)
    whole = [] if short == pattern else [f"  for always, a would allow: {pattern}"]
    options = {
        "y": "yes, once",
        "s": "this session",
        "a": f"always {short}",
        "n": "no (and why)",
    }
    lines = approval_lines(request, glyphs)
    # The last line says why it is asked, and is what is left of a question that is too long to be shown.
    end = len(lines) - bool(request.why)
    return Question(
        [*lines[:end], *whole, *lines[end:]],
        options,
        "n",
        answer,
        about=request.request_id,
        full=request.preview,
        with_words=frozenset({"n"}),
    )


def _asked_by_agent(
    request: ApprovalRequested, settle: Callable[[ApprovalRequested, Decision], None], glyphs: Glyphs
) -> Question:
    def answer(_letter: str, words: str) -> None:
        settle(request, answer_to(request, words) if words else unattended(request))

    lines = approval_lines(request, glyphs)
    listed = bool(request.choices)
    return Question(lines, {}, "", answer, about=request.request_id, full=request.preview, free=True, listed=listed)


def approval_lines(request: ApprovalRequested, glyphs: Glyphs) -> list[str]:
    """What a person reads before an answer: exactly what would run or change, and where; or what is asked."""
    if request.kind == "ask":
        lines = harmless(request.preview).rstrip().split("\n")
        asks = f"{f'The {harmless(request.who)}' if request.who else 'The agent'} asks:"
        return [asks, *(f"  {_shortened(line, glyphs)}" for line in lines)]
    lines = visible(request.preview).rstrip().split("\n")
    left_out = len(lines) - PREVIEW_LINES
    more = [f"{glyphs.ellipsis} {left_out} more lines"] if left_out > 0 else []
    verb = {"execute": "run", "write": "change", "read": "read"}[request.kind]
    who = f"{request.who}: " if request.who else ""
    head = f"{harmless(who)}{request.tool} wants to {verb}, in {visible(request.directory)}:"
    why = [f"  ({visible(request.why)})"] if request.why else []
    return [head, *(f"  {_shortened(line, glyphs)}" for line in [*lines[:PREVIEW_LINES], *more]), *why]


def _shortened(line: str, glyphs: Glyphs) -> str:
    return both_ends(line, PREVIEW_COLUMNS, glyphs.ellipsis)
