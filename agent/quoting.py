"""Markdown that shows a text as it is, whatever stands in it."""

import re


def literal(text: str) -> str:
    """Somebody's words as Markdown that shows them as they are."""
    text = re.sub(r"([\\`*_~\[\]<&])", r"\\\1", text)
    return re.sub(r"^([ \t]*\d*)([#>+=|.)-])", r"\1\\\2", text, flags=re.MULTILINE)


def as_code(line: str) -> str:
    """A line that nothing in it is taken for markup of."""
    fence = "`" * (_longest_run(line) + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def fenced(text: str) -> str:
    """A block of code that nothing within can end."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    """Of backticks: a fence must be longer."""
    return max(map(len, re.findall("`+", text)), default=0)
