"""Text on its way into a store, and how it is found again."""

import re
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, cast

from agent.reports import gist, is_report

TITLE = 60
"""Characters of a session's title."""

SNIPPET = 120
"""Characters of a hit's line, about."""

_SURROGATE = re.compile("[\ud800-\udfff]")

_Value = TypeVar("_Value")


def cleaned(value: _Value) -> _Value:
    """The value with lone surrogates replaced, in itself, its items or its fields: UTF-8 has no room for them."""
    found: Any = value
    match found:
        case str():
            if not found.isascii() and _SURROGATE.search(found):
                # Two halves that belong together are one character again.
                found = found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case tuple() | list():
            found = type(found)(cleaned(item) for item in found)
        case dict():
            found = {name: cleaned(item) for name, item in found.items()}
        case _ if is_dataclass(found) and not isinstance(found, type):
            changes: dict[str, Any] = {}
            for name in _names(type(found)):
                before = getattr(found, name)
                kind = type(before)
                # Most fields are empty, or ASCII; this is asked of each field of all that is stored.
                if not before or (before.isascii() if kind is str else kind is int or kind is float or kind is bool):
                    continue
                if (after := cleaned(before)) != before:
                    changes[name] = after
            found = replace(found, **changes) if changes else found
    return cast("_Value", found)


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def title_from(text: str) -> str:
    """One line of at most `TITLE` characters."""
    text = gist(text) if is_report(text) else text
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: TITLE * 20]).split())
    if len(line) <= TITLE:
        return line
    cut = line[: TITLE - 1]
    whole_words = cut.rpartition(" ")[0]
    return f"{whole_words if len(whole_words) > TITLE // 2 else cut}…"


class Query:
    """What to look for: words, and "phrases in quotes"; all of them, anywhere, in any case."""

    def __init__(self, text: str) -> None:
        pairs = re.findall(r'"([^"]+)"|(\S+)', cleaned(text))
        self.words = [quoted or bare for quoted, bare in pairs]
        self._patterns = [re.compile(re.escape(word), re.IGNORECASE) for word in self.words]

    def snippet(self, text: str) -> str | None:
        """A line of the text around the first word; None when the text does not hold them all."""
        spans: list[re.Match[str]] = []
        for pattern in self._patterns:
            found = pattern.search(text)
            if found is None:
                return None
            spans.append(found)
        return _line_around(text, *spans[0].span()) if spans else None


def _line_around(text: str, start: int, end: int) -> str:
    before = max(0, start - SNIPPET // 3)
    after = max(end, before + SNIPPET)
    line = " ".join("".join(c if c.isprintable() else " " for c in text[before:after]).split())
    return f"{'…' if before else ''}{line}{'…' if after < len(text) else ''}"
