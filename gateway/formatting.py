"""Markdown for chats: what a platform's markup is, and how long a message may be in it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one platform writes. `limit` is the longest message, in the units that `measure` counts in rendered text."""

    render: Callable[[str], str]
    measure: Callable[[str], int]
    limit: int


PLAIN = Dialect(render=str, measure=len, limit=4000)
"""Shows Markdown as it is, counted in code points."""
