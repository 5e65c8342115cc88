"""A list to pick from, in the live region: search by typing, arrows, Enter. It knows neither keys nor terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from prompt_toolkit.formatted_text import StyleAndTextTuples

from hermes_cli.glyphs import Glyphs
from hermes_cli.text import clip, columns, harmless

_Value = TypeVar("_Value")

MOST_ROWS = 14
"""Rows of the list at once."""

NARROW = 60
"""Columns under which only the title of a choice and the first of its details are shown."""


@dataclass(frozen=True, slots=True)
class Choice(Generic[_Value]):
    """A row: what it is called, and what tells it from others. `words` are found by a search, but not shown."""

    title: str
    details: tuple[str, ...]
    value: _Value
    words: str = ""

    @property
    def searched(self) -> str:
        return " ".join((self.title, *self.details, self.words)).casefold()


class Picker(Generic[_Value]):
    """`settle` hears the value that was chosen, or None when the person thought better of it.

    `more` finds choices beyond the list, for what was typed; it is called on a thread.
    """

    def __init__(
        self,
        title: str,
        choices: Sequence[Choice[_Value]],
        settle: Callable[[_Value | None], None],
        *,
        more: Callable[[str], list[Choice[_Value]]] | None = None,
    ) -> None:
        self.title = title
        self.more = more
        self.shown: list[Choice[_Value]] = list(choices)
        self.selected = 0
        self.typed = ""
        self._choices = list(choices)
        self._settle = settle

    def search(self, typed: str) -> None:
        """Keep the choices that hold every word."""
        self.typed = typed
        words = typed.casefold().split()
        self.shown = [choice for choice in self._choices if all(word in choice.searched for word in words)]
        self.selected = 0

    def add(self, typed: str, found: Sequence[Choice[_Value]]) -> None:
        """What `more` found for `typed`; nothing when something else was typed meanwhile."""
        if typed == self.typed:
            known = {choice.title + " ".join(choice.details) for choice in self.shown}
            self.shown += [choice for choice in found if choice.title + " ".join(choice.details) not in known]

    def move(self, by: int) -> None:
        self.selected = max(0, min(self.selected + by, len(self.shown) - 1))

    def choose(self) -> None:
        if self.shown:
            self._settle(self.shown[self.selected].value)

    def cancel(self) -> None:
        self._settle(None)

    def fragments(self, glyphs: Glyphs, *, width: int, rows: int) -> StyleAndTextTuples:
        """At most `rows` rows, the selected choice among them."""
        room = max(min(rows - 3, MOST_ROWS), 1)
        first = max(0, min(self.selected - room // 2, len(self.shown) - room))
        lines: StyleAndTextTuples = [("class:question.head", f"{clip(self._head(), width - 1, glyphs.ellipsis)}\n")]
        for number, choice in enumerate(self.shown[first : first + room], first):
            chosen = number == self.selected
            mark = f"{glyphs.prompt if chosen else ' '} "
            lines.append(("class:picker.chosen" if chosen else "", f"{mark}{_row(choice, glyphs, width - 3)}\n"))
        if not self.shown:
            lines.append(("class:question.hint", "  nothing fits\n"))
        hint = f"type to search {glyphs.dot} Enter takes it {glyphs.dot} Esc leaves"
        lines.append(("class:question.hint", f"  {clip(hint, width - 3, glyphs.ellipsis)}\n"))
        return lines

    def _head(self) -> str:
        where = f" ({self.selected + 1} of {len(self.shown)})" if len(self.shown) > 1 else ""
        return f"{self.title}{where}"


def _row(choice: Choice[_Value], glyphs: Glyphs, width: int) -> str:
    shown = choice.details if width >= NARROW else choice.details[:1]
    details = clip(harmless(f" {glyphs.dot} ".join(shown)), max(width // 2, 10), glyphs.ellipsis)
    title = clip(harmless(choice.title), width - columns(details) - 2, glyphs.ellipsis)
    return f"{title}{' ' * (width - columns(title) - columns(details))}{details}"
